"""A server whose clock jumps by a day either way: leases, schedules, times and expiry do what
docs/background-tasks.md says, with the queue in the database and over Redis."""

import datetime
import glob
import json
import time

import pytest
import redis_server
from harness import ON_POSTGRESQL, wait_until

TASKS = "/api/v2/background-tasks"
SCHEDULES = "/api/v2/task-schedules"
QUICK = "analyze_system_metrics"
HOUR = 3600
SOON = 20  # Only a test that fails waits for that long.
LONG = """
import json, os, time
with open("begun", "a") as file:
    file.write("begun\\n")
while not os.path.exists("go"):
    time.sleep(0.05)
print(json.dumps({"result": 1}))
"""


class Clock:
    """Of the processes that have its settings."""

    def __init__(self, folder):
        self.path = folder / "clock"
        self.offset = datetime.timedelta()
        self.jump(days=0)
        self.settings = {
            "LD_PRELOAD": glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")[0],
            "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": 1,
            "FAKETIME_DONT_FAKE_MONOTONIC": 1, "DONT_FAKE_MONOTONIC": 1}

    def jump(self, days):
        """To so many days from the right time."""
        self.offset = datetime.timedelta(days=days)
        other = self.path.with_name("other-clock")
        other.write_text(f"{days * 86400:+d}\n")
        other.rename(self.path)

    def now(self):
        return datetime.datetime.now(datetime.timezone.utc) + self.offset


def text(at):
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def parsed(value):
    return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))


@pytest.mark.skipif(ON_POSTGRESQL, reason="schedules go by the clock of PostgreSQL there")
@pytest.mark.parametrize("broker", ["", "redis"])
def test_a_day_forward_and_back(make_server, tmp_path, broker):
    clock = Clock(tmp_path)
    with redis_server.RedisServer(durable=False) as redis:
        server = make_server(start=False, TASK_LEASE_SECONDS=2, TASK_RETENTION_DAYS=3650,
                             CELERY_BROKER_URL=redis.url() if broker else "", **clock.settings)
        folder = server.folder / "tasks.d"
        folder.mkdir()
        (folder / "long.py").write_text(LONG)
        (folder / "long.yaml").write_text(json.dumps(
            {"name": "long", "command": ["/usr/bin/python3", "long.py"], "limit_seconds": 600}))
        server.start()
        api = server.client()

        def ask(name=QUICK, **members):
            answer = api.post(TASKS, {"task_name": name, **members})
            assert answer.status == 201, answer
            return answer.json()["task_id"]

        def status(task):
            return api.get(f"{TASKS}/{task}").json()["status"]

        def becomes(task, wanted):
            wait_until(lambda: status(task) == wanted, SOON, f"that it is {wanted}")

        def started(name):
            listed = api.get(f"{TASKS}?limit=1000", headers={"Cache-Control": "no-cache"}).json()
            return [one for one in listed if one["metadata"].get("schedule") == name]

        long = ask("long")
        becomes(long, "started")
        wait_until((folder / "begun").exists, SOON, "its start")
        in_six_hours = clock.now() + datetime.timedelta(hours=6)
        cron = f"{in_six_hours.minute} {in_six_hours.hour} * * *"
        for name, members in (("daily", {"cron": cron}), ("skipping", {
                "cron": cron, "missed": "skip"}), ("hourly", {"every_seconds": HOUR})):
            answer = api.post(SCHEDULES, {"name": name, "task": QUICK, **members})
            assert answer.status == 201, answer
        delayed = ask(countdown=HOUR)
        expiring = ask(countdown=2 * HOUR, expires=text(clock.now() + datetime.timedelta(hours=1)))
        kept = ask(countdown=48 * HOUR, expires=text(clock.now() + datetime.timedelta(days=3)))

        def starts():
            return [len(started(name)) for name in ("daily", "hourly", "skipping")]

        def next_at(name):
            return parsed(api.get(f"{SCHEDULES}/{name}").json()["next_at"])

        def settled():
            """The next times are those that follow from the clock as it is."""
            now = clock.now()
            return (now < next_at("hourly") <= now + datetime.timedelta(hours=1, minutes=1)
                    and all(now < next_at(name) <= now + datetime.timedelta(days=1, minutes=1)
                            for name in ("daily", "skipping")))

        assert settled()
        clock.jump(days=1)
        # What lies in between is made up for once, and what expired in between has.
        for name in ("daily", "hourly"):
            wait_until(lambda name=name: started(name), SOON, f"a start of {name}")
        becomes(delayed, "success")
        becomes(expiring, "revoked")
        wait_until(settled, SOON, "the next times")
        time.sleep(2)  # For what must not happen: looks come once a second.
        assert starts() == [1, 1, 0]

        # Back to the right time and a day behind it, and forward again.
        for days, made in ((0, 1), (-1, 1), (0, 2)):
            clock.jump(days)
            later = ask(countdown=HOUR)
            becomes(ask(), "success")
            wait_until(settled, SOON, "the next times")
            wait_until(lambda made=made: starts() == [made, made, 0], SOON, "what was missed")
            time.sleep(2)
            assert starts() == [made, made, 0]
            assert (status(later), status(kept)) == ("pending", "pending")
        assert status(long) == "started"
        (folder / "go").touch()
        becomes(long, "success")
        assert (folder / "begun").read_text().splitlines() == ["begun"]
        api.close()
