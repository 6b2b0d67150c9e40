"""Workers that die, on either side, and a Redis that is started anew in between: every task is
done, its effect counted once by its key.
"""

import glob
import random
import shutil
import time

import pytest

import celery_peer
from harness import DATABASE_FILE, FULL, ON_POSTGRESQL, wait_until

TASKS = 400 if FULL else 40
ROUNDS = 8 if FULL else 2
NAP = 0.15


class Worked:
    """Two workers of one kind, or one of each, of which now and then one is killed."""

    def __init__(self, redis, folder, kinds):
        self.workers = []
        beside = None
        for number, kind in enumerate(kinds):
            if kind == "celery":
                worker = celery_peer.CeleryWorker(
                    redis, folder / f"{kind}-{number}", task_acks_late=True,
                    task_reject_on_worker_lost=True)
            else:
                worker = celery_peer.SubforgeWorker(
                    redis, folder / f"{kind}-{number}", alone=beside is not None, beside=beside)
                worker.server.errors_expected = True
                beside = beside or worker
            self.workers.append(worker)

    def kill_one(self, chance):
        worker = chance.choice(self.workers)
        worker.kill()
        return worker

    def stop(self):
        for worker in reversed(self.workers):
            worker.stop()


def wait_while_it_goes_on(folder, count):
    """Whether so many are done; or nothing more is, for longer than what comes back by itself takes
    to do so."""
    done, seen_at = -1, time.monotonic()
    while done < count:
        before, done = done, len(list(folder.glob("done-*")))
        if done > before:
            seen_at = time.monotonic()
        elif time.monotonic() > seen_at + celery_peer.VISIBILITY_SECONDS + 17:
            return False
        time.sleep(0.05)
    return True


def finish(app, worked, results, folder):
    """Waits until all is done; how many had to be sent again for that.

    What a worker of Celery's held comes back after the visibility timeout, at the latest by its
    sweep, which is every 100 s; a worker that starts looks at once. One that has lost Redis may
    stand still for good.
    """
    python = [worker for worker in worked.workers if worker.kind == "celery"]
    sent_again = 0
    for _ in range(6):
        if wait_while_it_goes_on(folder, len(results)):
            return sent_again
        assert python, "not all done, and nothing goes on"
        for worker in python:
            worker.stop()
            worker.start()
        if wait_while_it_goes_on(folder, len(results)):
            return sent_again
        for key, result in results.items():
            if not (folder / f"done-{key}").exists():
                sent_again += 1
                app.tasks["peer.note"].apply_async((str(folder), key, NAP), task_id=result.id)
    raise AssertionError("not all done")


KINDS = [("subforge", "subforge"), ("subforge", "celery")] + [("celery", "celery")] * FULL


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_every_task_is_done_once(tmp_path, seed, kinds):
    chance = random.Random(seed)
    with celery_peer.redis_server.RedisServer() as redis:
        worked = Worked(redis, tmp_path, kinds)
        app = celery_peer.client(redis)
        try:
            keys = [f"k{number}" for number in range(TASKS)]
            results = {}
            for number in range(ROUNDS):
                for key in keys[number::ROUNDS]:
                    results[key] = app.tasks["peer.note"].apply_async(
                        (str(tmp_path), key, NAP), task_id=f"task-{key}")
                time.sleep(chance.uniform(0.3, 1.0))
                killed = worked.kill_one(chance)
                if number % 2 == 1:
                    redis.kill()
                    time.sleep(chance.uniform(0, 0.5))
                    redis.start()
                time.sleep(chance.uniform(0, 0.5))
                killed.start()
            done = {path.name.removeprefix("done-") for path in tmp_path.glob("done-*")}
            print(f"{len(done)} of {TASKS} done when the last one was started again")

            sent_again = finish(app, worked, results, tmp_path)
            assert {path.name for path in tmp_path.glob("done-*")} == {f"done-{k}" for k in keys}
            print(f"{sent_again} sent again")
            # Nothing that ours took is lost. Celery's take a message and enter it in the book of
            # unacknowledged ones in two steps, so that one may fall between.
            assert sent_again == 0 or "celery" in kinds

            # A worker of Celery's that cannot store a result has a failure to tell, or nothing.
            wait_until(lambda: "celery" in kinds or all(
                result.state == "SUCCESS" for result in results.values()), 30, "all results")
        finally:
            app.close()
            worked.stop()


def test_a_jump_of_our_clock_starts_nothing_again(tmp_path):
    """How long a worker of Celery's has had a message is told by the clock of Redis."""
    hour = 3600
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")[0]
    with celery_peer.redis_server.RedisServer() as redis:
        ours = celery_peer.SubforgeWorker(
            redis, tmp_path / "ours", queues="other", CELERY_VISIBILITY_TIMEOUT=hour,
            LD_PRELOAD=library, FAKETIME_TIMESTAMP_FILE=clock, FAKETIME_NO_CACHE=1,
            FAKETIME_DONT_FAKE_MONOTONIC=1, DONT_FAKE_MONOTONIC=1)
        ours.server.errors_expected = True
        python = celery_peer.CeleryWorker(
            redis, tmp_path / "python", task_acks_late=True,
            broker_transport_options={"visibility_timeout": hour})
        app = celery_peer.client(redis, broker_transport_options={"visibility_timeout": hour})
        try:
            # Ours looks every ten seconds.
            result = app.tasks["peer.note"].apply_async((str(tmp_path), "long", 13))
            wait_until((tmp_path / "starts").exists, 10, "its start")
            other = tmp_path / "other-clock"
            other.write_text("+1d\n")
            other.rename(clock)
            assert result.get(timeout=40) == "done"
            starts = (tmp_path / "starts").read_text().splitlines()
            assert len(starts) == 1, starts
        finally:
            app.close()
            python.stop()
            ours.stop()


def test_a_task_of_ours_may_run_for_longer_than_the_visibility_timeout(tmp_path):
    """Whoever else takes from the queue looks for what was not acknowledged in time: a worker of
    Celery's when it begins, another one of ours once in a while. Ours puts that off."""
    path = "/api/v2/background-tasks"
    with celery_peer.redis_server.RedisServer() as redis:
        ours = celery_peer.SubforgeWorker(redis, tmp_path / "ours")
        others = [ours]
        app, api = celery_peer.client(redis), ours.server.client()
        try:
            sent = app.tasks["peer.hold"].delay(str(tmp_path), "sent")
            answer = api.post(path, {"task_name": "peer.hold", "queue": "celery",
                                     "task_args": [str(tmp_path), "asked"]})
            asked = answer.json()["task_id"]
            wait_until(lambda: len(list(tmp_path.glob("done-*"))) == 2, 15, "both run")
            for kind in ("celery", "subforge"):
                more = {"alone": True, "beside": ours} if kind == "subforge" else {
                    "task_acks_late": True}
                time.sleep(celery_peer.VISIBILITY_SECONDS + 1)
                others.append(celery_peer.WORKERS[kind](redis, tmp_path / kind, **more))
            # Both would take what waits, so that one more task finds somebody.
            assert app.tasks["peer.add"].delay(20, 22).get(timeout=20) == 42
            time.sleep(1)
            (tmp_path / "go").touch()
            assert sent.get(timeout=20) == "sent"
            wait_until(lambda: api.get(f"{path}/{asked}").json()["status"] == "success", 20)
            starts = (tmp_path / "starts").read_text().splitlines()
            assert sorted(line.split()[0] for line in starts) == ["asked", "sent"], starts
        finally:
            (tmp_path / "go").touch()
            api.close()
            app.close()
            for worker in reversed(others):
                worker.stop()


def test_ours_is_killed_while_its_server_lives(tmp_path, seed):
    """What was asked for over REST: a worker that dies is noticed in seconds."""
    chance = random.Random(seed)
    path = "/api/v2/background-tasks"
    with celery_peer.redis_server.RedisServer() as redis:
        server = celery_peer.SubforgeWorker(redis, tmp_path / "server", queues="default",
                                            ENABLE_BACKGROUND_TASKS="false")
        server.server.errors_expected = True
        workers = [celery_peer.SubforgeWorker(redis, tmp_path / f"worker-{number}", alone=True,
                                              beside=server, queues="default", TASK_LEASE_SECONDS=2)
                   for number in range(2)]
        api = server.server.client()
        try:
            ids = []
            for number in range(TASKS):
                answer = api.post(path, {"task_name": "peer.note", "task_args": [
                    str(tmp_path), f"k{number}", NAP]})
                assert answer.status == 201, answer
                ids.append(answer.json()["task_id"])
            for number in range(ROUNDS):
                time.sleep(chance.uniform(0.2, 0.8))
                worker = chance.choice(workers)
                worker.kill()
                if number % 2 == 1:
                    redis.kill()
                    time.sleep(chance.uniform(0, 0.5))
                    redis.start()
                worker.start()

            def statuses():
                tasks = api.get(f"{path}?limit=1000", headers={"Cache-Control": "no-cache"}).json()
                return {task["id"]: task["status"] for task in tasks}

            begun = time.monotonic()
            # Each is a program of its own, and the machine may do other things.
            wait_until(lambda: all(statuses()[i] == "success" for i in ids), 30 + TASKS * 4 * NAP,
                       "all successes")
            print(f"{TASKS} done {time.monotonic() - begun:.0f} s after the last blow")
            assert all((tmp_path / f"done-k{number}").exists() for number in range(TASKS))
        finally:
            api.close()
            for worker in workers:
                worker.stop()
            server.stop()


@pytest.mark.skipif(ON_POSTGRESQL, reason="the database is a file")
def test_an_older_copy_of_the_database_loses_no_task_asked_for_since(make_server):
    """Redis knows of tasks that the database has lost, and must not take new ones for them."""
    path = "/api/v2/background-tasks"
    with celery_peer.redis_server.RedisServer() as redis:
        server = make_server(CELERY_BROKER_URL=redis.url())
        server.errors_expected = True

        def ask(count):
            ids = []
            for _ in range(count):
                answer = server.client().post(path, {"task_name": "celery.accumulate"})
                assert answer.status == 201, answer
                ids.append(answer.json()["task_id"])
            return ids

        def wait_for(ids):
            api = server.client()
            wait_until(lambda: all(api.get(f"{path}/{task}").json()["status"] == "success"
                                   for task in ids), 15, "all successes")

        wait_for(ask(2))
        server.stop()
        shutil.copy(server.folder / DATABASE_FILE, server.folder / "copy.db")
        server.start()
        wait_for(ask(9))
        server.stop()
        for name in (f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm"):
            (server.folder / name).unlink(missing_ok=True)
        shutil.move(server.folder / "copy.db", server.folder / DATABASE_FILE)
        server.start()
        wait_for(ask(12))
        [line] = [line for line in server.log_lines() if "the database lost" in line["message"]]
        assert line["level"] == "WARNING" and line["from"] < line["to"], line


def test_what_no_worker_will_tell_of_any_more_has_failed(tmp_path):
    """Celery's default: a worker acknowledges before it runs, so that a killed one's task is lost.
    It holds up neither its unique key nor its schedule for ever."""
    path, schedules = "/api/v2/background-tasks", "/api/v2/task-schedules"
    with celery_peer.redis_server.RedisServer() as redis:
        ours = celery_peer.SubforgeWorker(redis, tmp_path / "ours", queues="default",
                                          CELERY_LOST_AFTER=4)
        ours.server.errors_expected = True
        python = celery_peer.CeleryWorker(redis, tmp_path / "python", slots=1, queues="python")
        app = celery_peer.client(redis)
        api = ours.server.client()
        try:
            asked = {"task_name": "peer.nap", "queue": "python", "unique_key": "one at a time"}
            answer = api.post(path, {**asked, "task_args": [60]})
            assert answer.status == 201, answer
            task = answer.json()["task_id"]
            answer = api.post(schedules, {"name": "often", "task": "peer.add", "args": [1, 2],
                                          "queue": "nobody", "every_seconds": 1})
            assert answer.status == 201, answer

            def last_of_schedule():
                return api.get(f"{schedules}/often").json()["last_job_id"]

            first = wait_until(last_of_schedule, 10, "its start")
            wait_until(lambda: app.control.inspect([python.node]).active()[python.node], 10,
                       "its start")
            python.kill()
            with app.connection() as connection:
                connection.default_channel.queue_purge("nobody")
            python.start()

            def ended(one):
                record = api.get(f"{path}/{one}").json()
                return record if record["status"] == "failure" else None

            for one in (task, first):
                record = wait_until(lambda one=one: ended(one), 15, "its end")
                assert record["error"].startswith("Nobody told of its end"), record
            again = api.post(path, {**asked, "task_args": [0]}).json()["task_id"]
            assert again != task
            wait_until(lambda: api.get(f"{path}/{again}").json()["status"] == "success", 10)
            wait_until(lambda: last_of_schedule() != first, 10, "the next start")
        finally:
            api.close()
            app.close()
            python.stop()
            ours.stop()


def test_health_tells_of_redis(make_server):
    with celery_peer.redis_server.RedisServer() as redis:
        server = make_server(CELERY_BROKER_URL=redis.url())
        server.errors_expected = True
        api = server.client()
        assert api.get("/").json()["services"]["redis"] == "enabled"

        def told():
            """Of the two health endpoints: the database's state, Redis's, and the second's word."""
            one, two = api.get("/health").json(), api.get("/api/v2/system/health").json()
            for body in (one, two):
                part = body["details"]["redis"]
                assert body["checks"]["redis"] is (part["status"] == "up"), body
                assert ("down_since" in part) is (part["status"] == "down"), body
                assert part["server"] == f"127.0.0.1:{redis.port}/0", body
            return one["status"], one["details"]["redis"]["status"], two["status"]

        wait_until(lambda: told() == ("healthy", "up", "healthy"), 5, "Redis seen")
        redis.kill()
        wait_until(lambda: told() == ("healthy", "down", "unhealthy"), 5, "Redis missed")
        redis.start()
        wait_until(lambda: told() == ("healthy", "up", "healthy"), 5, "Redis back")
