"""What clients were told over HTTP of background tasks, held against what became of them: servers,
workers and what they store in are killed, and stand still for longer than a lease, at random. Each
task that a client heard of ends once, and so does each that a change has caused.
"""

import collections
import contextlib
import json
import random
import signal
import threading
import time
import uuid

import postgres
import pytest
from harness import FULL, ON_POSTGRESQL, Client, PostgresDatabase, Server
from redis_server import RedisServer
from test_background_tasks import CONFIGURE, TASKS, worker

CLIENTS = 4
ASKED = 1500 if FULL else 60  # By each client; every fifth is an agent, which causes a task.
BLOWS = 60 if FULL else 5
LEASE_SECONDS = 2
# Far more than anything that was held by somebody dead takes to be taken up again.
STANDSTILL_SECONDS = 60
# Its effect is counted by its name: whoever dies in its midst has it started again.
NOTE = """#!/bin/sh
cat > /dev/null
echo started >> "effects/$SUBFORGE_TASK_ID"
sleep 0.02
echo '{"result": "noted"}'
"""


class Asking(threading.Thread):
    """A client that sends each request again, with its key, until it is answered."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.server, self.number = server, number
        self.heard = {}  # What the server named what was asked for, by the key.
        self.sent_again, self.wrong = 0, []

    def run(self):
        for count in range(ASKED):
            key = f"{self.number}-{count}"
            if count % 5 == 4:
                self.heard[key] = self.until_answered(
                    key, "/api/v2/agents", {"name": key, "type": "t"}, "id")
            else:
                self.heard[key] = self.until_answered(
                    key, TASKS, {"task_name": "note", "task_args": [key]}, "task_id")
            if self.wrong:
                return
            time.sleep(0.02)

    def until_answered(self, key, path, body, member):
        while True:
            client = Client(self.server.port)
            try:
                answer = client.post(path, body, headers={"Idempotency-Key": key})
            except Exception:  # It was killed, or is not there yet.
                self.sent_again += 1
                time.sleep(0.05)
                continue
            finally:
                client.close()
            if answer.status == 201:
                return answer.json()[member]
            if answer.status not in (409, 503):  # Still under way; its database is not there.
                self.wrong.append(answer)
                return None
            self.sent_again += 1
            time.sleep(0.05)


class Fleet:
    """A server with a worker inside, two workers alone, and what they store in."""

    def __init__(self, folder, broker, stack):
        self.stack = stack
        settings = {"TASK_LEASE_SECONDS": LEASE_SECONDS, "TASK_SLOTS": 4}
        self.cluster, self.redis = None, None
        if ON_POSTGRESQL:
            self.cluster = postgres.Cluster()
            stack.callback(self.cluster.remove)
            settings["DATABASE_URL"] = self.cluster.create_database()
        if broker == "redis":
            self.redis = stack.enter_context(RedisServer())
            settings.update(CELERY_BROKER_URL=self.redis.url(),
                            CELERY_RESULT_BACKEND=self.redis.url(1), CELERY_VISIBILITY_TIMEOUT=10)
        self.server = Server(folder, **settings)
        self.server.errors_expected = True
        (self.server.folder / "tasks.d" / "effects").mkdir(parents=True)
        (self.server.folder / "tasks.d" / "note.sh").write_text(NOTE)
        (self.server.folder / "tasks.d" / "note.yaml").write_text(json.dumps(
            {"name": "note", "command": ["/bin/sh", "note.sh"]}))
        self.server.start()
        stack.callback(self.server.kill)
        self.port = self.server.port
        self.workers = [stack.enter_context(worker(self.server)) for _ in range(2)]

    def kill_server(self, chance):
        self.server.kill()
        time.sleep(chance.uniform(0, 0.5))
        self.server.start(PORT=self.port)

    def kill_worker(self, chance):
        at = chance.randrange(len(self.workers))
        self.workers[at].kill()
        self.workers[at].wait()
        time.sleep(chance.uniform(0, 0.5))
        self.workers[at] = self.stack.enter_context(worker(self.server))

    def freeze(self, chance):
        """One that holds tasks, until somebody else has them."""
        process = chance.choice([self.server.process, *self.workers])
        process.send_signal(signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + chance.uniform(0.5, 1.5))
        process.send_signal(signal.SIGCONT)

    def kill_redis(self, chance):
        self.redis.kill()
        time.sleep(chance.uniform(0, 0.5))
        self.redis.start()

    def freeze_redis(self, chance):
        self.redis.freeze()
        time.sleep(chance.uniform(0.2, 1.5))
        self.redis.thaw()

    def crash_database(self, chance):
        self.cluster.process.send_signal(signal.SIGQUIT)  # It ends at once, and recovers.
        self.cluster.process.wait(30)
        time.sleep(chance.uniform(0, 0.3))
        self.cluster.start()

    def freeze_database(self, chance):
        with self.cluster.frozen():
            time.sleep(chance.uniform(0.2, 1.0))

    def rows(self, query):
        if self.cluster:
            url = self.server.settings["DATABASE_URL"]
            return PostgresDatabase(url, self.cluster).execute(query)
        with contextlib.closing(self.server.database()) as database:
            return database.execute(query).fetchall()

    def blows(self):
        return [self.kill_server, self.kill_worker, self.freeze,
                *([self.kill_redis, self.freeze_redis] if self.redis else []),
                *([self.crash_database, self.freeze_database] if self.cluster else [])]


def stored_tasks(fleet):
    return [(str(uuid.UUID(bytes=row["id"])), row["name"], row["status"], json.loads(row["args"]))
            for row in fleet.rows("SELECT id, name, status, args FROM jobs")]


def ends_told(fleet):
    """How often the log says of each task that it has ended."""
    told = collections.Counter()
    for row in fleet.rows("SELECT payload FROM events WHERE kind = 'job.ended'"):
        told.update(one["task_id"] for one in json.loads(row["payload"])["jobs"])
    return told


def wait_for_the_end(fleet):
    """As long as anything goes on."""
    left, seen_at = None, time.monotonic()
    while left != 0:
        before, left = left, sum(status in ("pending", "started", "retry")
                                 for _, _, status, _ in stored_tasks(fleet))
        if left != before:
            seen_at = time.monotonic()
        assert time.monotonic() < seen_at + STANDSTILL_SECONDS, f"{left} tasks never end"
        time.sleep(0.2)


@pytest.mark.parametrize("broker", ["", "redis"])
def test_each_task_that_a_client_heard_of_ends_once(tmp_path, seed, broker):
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        fleet = Fleet(tmp_path / "server", broker, stack)
        server = fleet.server
        asking = [Asking(server, number) for number in range(CLIENTS)]
        for one in asking:
            one.start()
        blows = fleet.blows()
        dealt = collections.Counter()
        # Each kind once, and others until the clients are done.
        for number in range(BLOWS * 3):
            if number >= max(BLOWS, len(blows)) and not any(one.is_alive() for one in asking):
                break
            time.sleep(chance.uniform(0.1, 0.8))
            blow = blows[number] if number < len(blows) else chance.choice(blows)
            blow(chance)
            dealt[blow.__name__] += 1
        for one in asking:
            one.join(120)
        assert not any(one.is_alive() for one in asking)
        assert not [one.wrong for one in asking if one.wrong]
        wait_for_the_end(fleet)

        heard = {key: name for one in asking for key, name in one.heard.items()}
        tasks = stored_tasks(fleet)
        notes = {args[0]: task for task, name, _, args in tasks if name == "note"}
        caused = {args[0]: task for task, name, _, args in tasks if name == CONFIGURE}
        assert len(heard) == CLIENTS * ASKED
        assert len(notes) + len(caused) == len(tasks) == len(heard), "one was made twice"
        for key, name in heard.items():
            assert notes.get(key) == name or name in caused, f"{key} is lost"
        assert {status for _, _, status, _ in tasks} == {"success"}
        told = ends_told(fleet)
        assert {task: told[task] for task, *_ in tasks} == {task: 1 for task, *_ in tasks}
        effects = {path.name: len(path.read_text().splitlines())
                   for path in (server.folder / "tasks.d" / "effects").iterdir()}
        assert set(effects) == set(notes.values())
        print(f"{len(tasks)} tasks, {dict(dealt)}, {sum(one.sent_again for one in asking)} requests"
              f" sent again, {sum(effects.values()) - len(effects)} started again")
