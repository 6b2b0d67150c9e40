"""Celery's monitors and command line, with workers of ours in place of Celery's: `celery status`,
`inspect`, `control`, `events`. Where it says so, both kinds of worker answer side by side.
"""

import json
import re
import signal
import subprocess
import time

import pytest
from celery import exceptions

import celery_peer
from celery_peer import PYTHON, celery
from harness import wait_until

GET = {"timeout": 15, "interval": 0.02}


@pytest.fixture(scope="module")
def redis():
    with celery_peer.redis_server.RedisServer() as server:
        yield server


@pytest.fixture(scope="module", params=celery_peer.KINDS)
def worker(request, redis, tmp_path_factory):
    worker = celery_peer.WORKERS[request.param](redis, tmp_path_factory.mktemp(request.param),
                                                slots=2)
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def app(redis, worker):
    app = celery_peer.client(redis)
    yield app
    app.close()


def asked(redis, worker, *arguments):
    """What this worker answers to `celery inspect` or `control`, as JSON."""
    text = celery(redis, *arguments, "--json", "-d", worker.node, "-t", "3")
    answers = json.loads(text[min(text.find(mark) % len(text) for mark in "[{") :])
    if isinstance(answers, list):  # As `control` prints them.
        [answers] = answers
    assert list(answers) == [worker.node], answers
    return answers[worker.node]


@pytest.fixture
def runs(app, worker):
    """Two that run and one that has to wait behind them."""
    naps = [app.tasks["peer.nap"].delay(50) for _ in range(2)]
    inspect = app.control.inspect(timeout=0.5, destination=[worker.node])
    wait_until(lambda: len((inspect.active() or {}).get(worker.node, [])) == 2, 30, "both run")
    yield naps
    for nap in naps:
        nap.revoke(terminate=True)
    wait_until(lambda: (inspect.active() or {}).get(worker.node) == [], 30, "both ended")


def test_status(redis, worker):
    text = celery(redis, "status", "-t", "2")
    assert re.search(rf"->?\s+{re.escape(worker.node)}: OK", text), text
    assert "1 node online." in text


def test_ping(redis, worker):
    text = celery(redis, "inspect", "ping", "-t", "2")
    assert worker.node in text and "pong" in text and "1 node online." in text, text
    assert asked(redis, worker, "inspect", "ping") == {"ok": "pong"}


def test_active(redis, worker, runs):
    active = asked(redis, worker, "inspect", "active")
    assert {task["id"] for task in active} == {nap.id for nap in runs}
    for task in active:
        assert set(task) == {"id", "name", "args", "kwargs", "type", "hostname", "time_start",
                             "acknowledged", "delivery_info", "worker_pid"}
        assert (task["name"], task["args"], task["kwargs"]) == ("peer.nap", [50], {})
        assert abs(task["time_start"] - time.time()) < 30
        assert task["hostname"] == worker.node and task["worker_pid"] > 0
        assert set(task["delivery_info"]) == {"exchange", "routing_key", "priority", "redelivered"}
        assert task["delivery_info"]["routing_key"] == "celery"
    found = asked(redis, worker, "inspect", "query_task", runs[0].id, "unknown")
    assert list(found) == [runs[0].id]
    assert found[runs[0].id][0] == "active" and found[runs[0].id][1]["name"] == "peer.nap"


def test_scheduled_and_reserved(redis, worker, app):
    later = app.tasks["peer.add"].apply_async((1, 2), countdown=600)
    inspect = app.control.inspect(timeout=0.5, destination=[worker.node])
    wait_until(lambda: (inspect.scheduled() or {}).get(worker.node), 5, "that it was taken")
    [entry] = asked(redis, worker, "inspect", "scheduled")
    assert set(entry) == {"eta", "priority", "request"}
    assert entry["eta"].startswith("20") and entry["request"]["id"] == later.id
    assert entry["request"]["time_start"] is None
    assert isinstance(asked(redis, worker, "inspect", "reserved"), list)
    later.revoke()


def test_registered(redis, worker):
    names = asked(redis, worker, "inspect", "registered")
    assert {"peer.add", "peer.nap", "peer.note"} <= set(names)


def test_stats(redis, worker, app):
    app.tasks["peer.add"].delay(1, 1).get(**GET)
    stats = asked(redis, worker, "inspect", "stats")
    assert stats["total"]["peer.add"] >= 1
    assert isinstance(stats["clock"], str) and isinstance(stats["uptime"], int)
    assert stats["pool"]["max-concurrency"] == 2 and stats["pool"]["processes"]
    assert stats["broker"]["transport"] == "redis" and stats["broker"]["port"] == redis.port
    assert stats["prefetch_count"] >= 1 and stats["rusage"]["maxrss"] > 0


def test_active_queues(redis, worker):
    [queue] = asked(redis, worker, "inspect", "active_queues")
    assert queue["name"] == queue["routing_key"] == "celery"
    assert queue["exchange"]["type"] == "direct"
    assert "max_priority" in queue and "bindings" in queue


def test_conf_and_report(redis, worker):
    conf = asked(redis, worker, "inspect", "conf")
    assert "task_default_queue" in conf
    assert "redis" in celery(redis, "inspect", "report", "-t", "2", "-d", worker.node)


def test_revoked(redis, worker):
    celery(redis, "control", "revoke", "id-a", "id-b", "-t", "2", "-d", worker.node)
    assert {"id-a", "id-b"} <= set(asked(redis, worker, "inspect", "revoked"))


def test_control_terminate(redis, worker, runs, app):
    celery(redis, "control", "terminate", "SIGTERM", runs[0].id, "-t", "2", "-d", worker.node)
    with pytest.raises(exceptions.TaskRevokedError):
        runs[0].get(**GET)
    inspect = app.control.inspect(timeout=0.5, destination=[worker.node])
    running = lambda: (inspect.active() or {}).get(worker.node, [])
    wait_until(lambda: [task["id"] for task in running()] == [runs[1].id], 10,
               "that only the other one runs")


def test_what_is_revoked_while_it_runs_is_not_tried_again(app):
    result = app.tasks["peer.flaky"].delay(9)
    wait_until(lambda: result.state == "RETRY", 10, "that it was tried once")
    app.control.revoke(result.id)
    with pytest.raises(exceptions.TaskRevokedError):
        result.get(**GET)


def test_rate_limit(redis, worker, app):
    """One a second from now on; the first ones may go at once."""
    answer = asked(redis, worker, "control", "rate_limit", "peer.nothing", "1/s")
    assert answer == {"ok": "new rate limit set successfully"}
    assert "peer.nothing [rate_limit=1/s]" in asked(redis, worker, "inspect", "registered")
    begin = time.monotonic()
    results = [app.tasks["peer.nothing"].delay() for _ in range(4)]
    for result in results:
        result.get(**GET)
    assert time.monotonic() - begin > 1.9
    answer = asked(redis, worker, "control", "rate_limit", "peer.nothing", "0")
    assert "ok" in answer
    begin = time.monotonic()
    for result in [app.tasks["peer.nothing"].delay() for _ in range(16)]:
        result.get(**GET)
    assert time.monotonic() - begin < 14.9
    text = celery(redis, "control", "rate_limit", "peer.none", "1/s", "-t", "2", check=False)
    assert "unknown task" in text


def test_time_limit(redis, worker, app):
    answer = asked(redis, worker, "control", "time_limit", "peer.steps", "60", "1")
    assert answer == {"ok": "time limits set successfully"}
    if worker.kind == "celery":
        return  # It says so, and lets its tasks run on (5.2.6).
    begin = time.monotonic()
    with pytest.raises(Exception, match=r"TimeLimitExceeded|^1"):
        app.tasks["peer.steps"].delay(100, 0.2).get(**GET)
    assert time.monotonic() - begin < 12  # By itself it takes 20 seconds.
    asked(redis, worker, "control", "time_limit", "peer.steps", "1", "10")
    with pytest.raises(Exception, match="SoftTimeLimitExceeded"):
        app.tasks["peer.steps"].delay(100, 0.2).get(**GET)
    asked(redis, worker, "control", "time_limit", "peer.steps", "60", "70")
    assert app.tasks["peer.steps"].delay(3, 0.5).get(**GET) == 3


def test_unknown_command(redis, worker, app):
    [answer] = app.control.broadcast("no_such_command", reply=True, timeout=1,
                                     destination=[worker.node])
    assert "no_such_command" in answer[worker.node]["error"]


def test_other_nodes_are_not_disturbed(app, worker):
    pong = [{worker.node: {"ok": "pong"}}]
    assert app.control.ping(timeout=0.5, destination=["nobody@nowhere"]) == []
    assert app.control.ping(timeout=5, limit=1, destination=[worker.node]) == pong
    for pattern, matcher in ((worker.node[:4] + "*", "glob"), (worker.node[:4] + ".*", "pcre")):
        assert app.control.broadcast("ping", reply=True, timeout=5, limit=1, pattern=pattern,
                                     matcher=matcher) == pong
    assert app.control.broadcast("ping", reply=True, timeout=0.5, pattern="x*",
                                 matcher="glob") == []


# ---- Events ------------------------------------------------------------------------------------


class Dump:
    """`celery events --dump`, which prints a line for each event."""

    def __init__(self, redis):
        self.path = redis.folder / f"events-{time.monotonic_ns()}"
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen(
                [PYTHON, "-u", "-B", "-m", "celery", "-b", redis.url(), "events", "--dump"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def text(self):
        return self.path.read_text()

    def wait_for(self, pattern, seconds=30):
        return wait_until(lambda: re.search(pattern, self.text()), seconds, pattern)

    def __enter__(self):
        self.wait_for("evdump")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def test_events(redis, worker, app, tmp_path):
    celery(redis, "control", "enable_events", "-t", "2", "-d", worker.node)
    node = re.escape(worker.node)
    with Dump(redis) as dump:
        dump.wait_for(rf"{node} \[.*\] heartbeat")
        good = app.tasks["peer.add"].delay(20, 22)
        bad = app.tasks["peer.boom"].delay("told")
        again = app.tasks["peer.flaky"].delay(1)
        assert good.get(**GET) == 42 and again.get(**GET) == 2
        assert isinstance(bad.get(propagate=False, **GET), ValueError)
        gone = app.tasks["peer.add"].apply_async((1, 1), expires=-5)
        gone.get(propagate=False, **GET)
        for what, result in (("received", good), ("started", good), ("succeeded", good),
                             ("failed", bad), ("retried", again)):
            dump.wait_for(rf"{node} \[.*\] task {what}: .*{result.id}")
        dump.wait_for(rf"{node} \[.*\] task revoked: .*expired=True")
        text = dump.text()
    assert re.search(r"received: peer\.add\([0-9a-f-]+\) args=\(20, 22\) kwargs={}", text), text
    assert re.search(r"result=(')?42", text), text
    assert "ValueError('told')" in text


def test_the_state_that_monitors_keep(redis, worker, app):
    """Flower and `celery events` keep one of these."""
    app.control.enable_events(destination=[worker.node])
    state = app.events.State()

    def take(event):
        state.event(event)
        receiver.should_stop = event["type"] == "task-succeeded" and event["uuid"] == result.id

    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": take})
        iterator = receiver.itercapture(limit=None, timeout=15)
        next(iterator)  # It listens.
        result = app.tasks["peer.add"].delay(1, 2)
        list(iterator)
    task = state.tasks[result.id]
    assert task.state == "SUCCESS" and task.name == "peer.add"
    assert state.workers[worker.node].alive
    assert task.worker.hostname == worker.node and task.args == "(1, 2)"
    assert task.runtime >= 0 and task.result in ("3", "'3'")


# ---- The end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", celery_peer.KINDS)
def test_shutdown_and_events_of_workers(tmp_path, kind):
    with celery_peer.redis_server.RedisServer() as redis, Dump(redis) as dump:
        other = celery_peer.CeleryWorker(redis, tmp_path / "other")
        worker = celery_peer.WORKERS[kind](redis, tmp_path / "worker")
        with celery_peer.ended(other, worker):
            node = worker.node
            process = worker.process or worker.server.process
            dump.wait_for(rf"{re.escape(node)} \[.*\] started")
            text = celery(redis, "status", "-t", "2")
            assert "2 nodes online." in text and node in text
            celery(redis, "control", "shutdown", "-d", node, "-t", "1", check=False)
            assert process.wait(20) == 0
            dump.wait_for(rf"{re.escape(node)} \[.*\] shutdown")
            text = celery(redis, "status", "-t", "2")
            assert "1 node online." in text and node not in text
