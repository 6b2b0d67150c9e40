"""Background tasks from outside: asked for, looked at, cancelled, tried again, started by the clock
and by programs' files, told live, and done once whatever becomes of the process that had them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from harness import BINARY, ROOT, environment, unique, wait_until
from sockets import Room, run_async

TASKS = "/api/v2/background-tasks"
LETTERS = "/api/v2/dead-letters"
SCHEDULES = "/api/v2/task-schedules"
ANALYSIS = "analyze_system_metrics"
CONFIGURE = "process_agent_configuration"
CREATOR = {"created_by": "local", "created_by_username": "local administrator"}
ENDED = ("success", "failure", "revoked")
SOON = 15  # For what a task does; only tests that fail wait for it.

MEMBERS = {"id", "name", "status", "priority", "progress", "result", "error", "created_at",
           "started_at", "completed_at", "retry_count", "max_retries", "metadata", "queue", "eta",
           "expires_at"}


def ask(client, name=ANALYSIS, *args, **members):
    answer = client.post(TASKS, {"task_name": name, "task_args": list(args), **members})
    assert answer.status == 201, answer
    return answer.json()["task_id"]


def read(client, task):
    answer = client.get(f"{TASKS}/{task}")
    assert answer.status == 200, answer
    return answer.json()


def wait_for(client, task, *statuses, seconds=SOON):
    """The record once it is at one of these, or has ended."""

    def there():
        record = read(client, task)
        return record if record["status"] in (statuses or ENDED) else None

    return wait_until(there, seconds, f"that {task} is {statuses or 'ended'}")


def failed(client, **members):
    """A task that has failed for good."""
    task = ask(client, CONFIGURE, **members)
    assert wait_for(client, task)["status"] == "failure"
    return task


def waiting(client, **members):
    """A task whose time has not come."""
    return ask(client, countdown=3600, **members)


def add_program(server, name, script, **keys):
    """A command task that is a Python script."""
    folder = server.folder / "tasks.d"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(script)
    (folder / f"{name}.yaml").write_text(json.dumps(
        {"name": name, "command": ["/usr/bin/python3", f"{name}.py"], **keys}))


@contextlib.contextmanager
def worker(server, **settings):
    """`subforge worker` alone, beside the server or without it."""
    name = f"worker-{unique('log')}.txt"
    log, errors = server.folder / name, server.folder / f"errors-{name}"
    with open(log, "wb") as out, open(errors, "wb") as err:
        process = subprocess.Popen([BINARY, "worker"], cwd=server.folder, stdin=subprocess.DEVNULL,
                                   env=environment({**server.settings, **settings}), stdout=out,
                                   stderr=err)
    process.log = log
    try:
        wait_until(lambda: '"working"' in log.read_text() or process.poll() is not None, SOON,
                   "that the worker works")
        assert process.poll() is None, errors.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        code = process.wait(SOON)
        assert code in (0, -signal.SIGKILL), (code, errors.read_text(), log.read_text()[-2000:])


def stop(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(SOON) == 0


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


# ---- Asking and looking ------------------------------------------------------------------------


def test_a_task_runs_and_its_record_tells_all(api):
    task = ask(api, ANALYSIS, "24h", priority="normal", metadata={"analysis_type": "performance"})
    record = wait_for(api, task)
    assert set(record) >= MEMBERS
    assert (record["status"], record["progress"], record["error"]) == ("success", 100, None)
    assert (record["name"], record["args"], record["kwargs"]) == (ANALYSIS, ["24h"], {})
    assert (record["priority"], record["retry_count"], record["max_retries"]) == (5, 0, 3)
    assert record["created_at"] <= record["started_at"] <= record["completed_at"]
    assert record["metadata"] == {"analysis_type": "performance", "analysis_time_range": "24h",
                                  **CREATOR}
    result = record["result"]
    assert result["total_requests"] > 0 and result["average_response_time"] > 0
    assert len(result["peak_usage_hour"]) == 5 and isinstance(result["recommendations"], list)
    [listed] = api.get(f"{TASKS}?created_after={record['created_at']}"
                       f"&created_before={record['created_at']}").json()
    assert listed == {**{name: record[name] for name in MEMBERS}, "result_truncated": False,
                      "metadata_truncated": False}


def test_arguments_by_name_and_all_priorities(api):
    for given, number in (("low", 1), (1, 1), ("normal", 5), ("high", 8), (10, 10)):
        task = ask(api, priority=given, task_kwargs={"time_range": "7d"}, max_retries=0)
        record = wait_for(api, task)
        assert (record["priority"], record["max_retries"]) == (number, 0)
        assert record["metadata"]["analysis_time_range"] == "7d"
    wrong = wait_for(api, ask(api, ANALYSIS, "2h"))
    assert wrong["status"] == "failure" and wrong["result"] is None
    assert wrong["error"] == "The argument time_range must be 1h, 24h, 7d or 30d"


def test_names_that_nobody_knows_are_refused_with_those_that_are_known(api):
    answer = api.post(TASKS, {"task_name": "nope"})
    assert answer.status == 400
    for name in (ANALYSIS, CONFIGURE, "backup_agent_data", "retention_cleanup"):
        assert name in answer.detail
    assert answer.detail.startswith("Unknown task 'nope'; known are: ")


def test_numbers_that_would_lose_digits_are_refused(api):
    """They would not reach the task as they were sent."""
    for place in ({"task_args": [2**64]}, {"task_kwargs": {"a": [-2**63 - 1]}},
                  {"metadata": {"a": 10**30}}):
        answer = api.post(TASKS, {"task_name": ANALYSIS, **place})
        assert (answer.status, "send it as a text" in answer.body.decode()) == (422, True)
    schedule = {"name": unique("long"), "task": ANALYSIS, "every_seconds": 3600}
    assert api.post(SCHEDULES, {**schedule, "args": [2**64]}).status == 422
    taken = api.post(TASKS, {"task_name": ANALYSIS, "countdown": 3600,
                             "metadata": {"a": [2**64 - 1, -2**63, 1e30, str(2**64)]}})
    assert taken.status == 201
    record = api.get(f"{TASKS}/{taken.json()['task_id']}").json()
    assert record["metadata"]["a"] == [2**64 - 1, -2**63, 1e30, str(2**64)]


def test_a_repeated_request_asks_once(api):
    key = {"Idempotency-Key": unique("key")}
    body = {"task_name": ANALYSIS, "countdown": 3600}
    first = api.post(TASKS, body, headers=key)
    assert api.post(TASKS, body, headers=key).json() == first.json()
    assert api.post(TASKS, {**body, "countdown": 7}, headers=key).status == 422


def test_times_delay_and_expire(api):
    began = time.time()
    late = ask(api, countdown=1)
    assert read(api, late)["status"] == "pending" and read(api, late)["eta"] is not None
    assert wait_for(api, late)["status"] == "success" and time.time() - began >= 1
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began + 3600))
    dated = ask(api, eta=soon + "+00:00")
    assert read(api, dated)["eta"] == soon + ".000000Z"
    expiring = ask(api, countdown=3600,
                   expires=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began + 2)))
    record = wait_for(api, expiring)
    assert record["status"] == "revoked" and "expired" in record["error"]
    assert record["started_at"] is None


def test_one_at_a_time_with_a_unique_key(api):
    key = unique("key")
    first = ask(api, countdown=3600, unique_key=key)
    again = api.post(TASKS, {"task_name": ANALYSIS, "unique_key": key})
    assert again.json() == {"task_id": first, "status": "submitted",
                            "message": "A task with this unique key is under way"}
    assert api.post(f"{TASKS}/{first}/cancel").status == 200
    assert ask(api, unique_key=key) != first


def test_64_clients_with_one_unique_key_get_one_task(server):
    key, found = unique("key"), []

    def enter():
        client = server.client()
        found.append(ask(client, countdown=3600, unique_key=key))
        client.close()

    threads = [threading.Thread(target=enter) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 64 and len(set(found)) == 1


def test_lists_are_filtered_sorted_and_paged(fresh):
    api = fresh.client()
    urgency = ["low", "high", "normal", "critical"]
    tasks = [waiting(api, priority=urgency[i % 4], queue="q-odd" if i % 2 else "q-even")
             for i in range(12)]
    bad = [failed(api, max_retries=0), failed(api, max_retries=0)]
    cancelled = waiting(api)
    assert api.post(f"{TASKS}/{cancelled}/cancel").status == 200

    def ids(query):
        answer = api.get(f"{TASKS}?{query}")
        assert answer.status == 200, answer
        assert int(answer.header("X-Total-Count")) >= len(answer.json())
        return [task["id"] for task in answer.json()]

    everything = [*tasks, *bad, cancelled]
    assert ids("") == everything[::-1]
    assert ids("sort_order=asc") == ids("sort_by=colour&sort_order=asc") == everything
    assert set(ids("status=failure")) == set(bad) and ids("status=revoked") == [cancelled]
    assert ids("status=pending&priority=8") == tasks[1::4][::-1]
    assert ids("priority=high") == tasks[1::4][::-1]
    assert set(ids("task_name=AGENT_CONF")) == set(bad) and ids("task_name=100%25") == []
    assert ids("queue=q-odd&limit=2&skip=1") == tasks[1::2][::-1][1:3]
    assert ids("batch_id=00000000-0000-4000-8000-000000000000") == []
    assert ids("created_after=2100-01-01") == []
    assert ids("created_before=2000-01-01T00:00:00%2B01:00") == []

    everything = api.get(f"{TASKS}?sort_order=asc").json()
    for column in ("name", "status", "priority", "progress", "created_at"):
        for order in ("asc", "desc"):
            wanted = sorted(everything, key=lambda task: task[column])
            if order == "desc":
                wanted = sorted(everything[::-1], key=lambda task: task[column], reverse=True)
            wanted = [task["id"] for task in wanted]
            query = f"sort_by={column}&sort_order={order}"
            assert ids(query) == wanted, query
            seen, path = [], f"{TASKS}?{query}&limit=4"
            while path:
                page = api.get(path)
                seen += [task["id"] for task in page.json()]
                link = page.header("Link")
                path = link.partition("<")[2].partition(">")[0] if link else None
            assert seen == wanted, query


def test_statistics_and_queues_tell_the_moment(fresh):
    api = fresh.client()
    nothing = api.get(f"{TASKS}/statistics").json()
    assert nothing["total"] == 0 and set(nothing["by_status"].values()) == {0}
    for _ in range(3):
        wait_for(api, ask(api))
    failed(api, max_retries=0)
    waiting(api, priority="critical", queue="high_priority")
    figures = api.get(f"{TASKS}/statistics").json()
    assert figures["total"] == 5 and figures["success_rate"] == 60
    assert figures["by_status"] == {"pending": 1, "started": 0, "success": 3, "failure": 1,
                                    "retry": 0, "revoked": 0}
    assert figures["by_priority"] == {"low": 0, "normal": 4, "high": 0, "critical": 1}
    assert 0 < figures["average_duration"] < SOON
    status = api.get(f"{TASKS}/queue-status")
    assert status.header("X-Cache") is None  # It tells of workers, whose beats change no record.
    found = status.json()
    assert found["queues"] == {"default": {"pending": 0, "active": 0, "failed": 1},
                               "high_priority": {"pending": 1, "active": 0, "failed": 0},
                               "low_priority": {"pending": 0, "active": 0, "failed": 0}}
    [one] = found["workers"]["list"]
    assert (found["workers"]["active"], found["workers"]["available"]) == (1, 1)
    assert (one["slots"], one["busy"]) == (16, 0) and "default" in one["queues"]
    assert found["health"]["status"] == "healthy" and found["health"]["last_heartbeat"]
    waiting(api)
    assert api.get(f"{TASKS}/queue-status").json()["queues"]["default"]["pending"] == 1
    metrics = api.get("/metrics").body.decode()
    for line in ("subforge_background_tasks_total 4", "subforge_background_workers 1",
                 'subforge_background_queue_tasks{queue="default",state="waiting"} 1',
                 'subforge_background_queue_due_seconds{queue="default"} 0',
                 'subforge_background_tasks_ended_total{status="success"} 3',
                 'subforge_background_tasks_ended_total{status="failure"} 1',
                 "subforge_background_task_duration_seconds_count 4"):
        assert f"\n{line}\n" in metrics, line


def test_the_tasks_that_come_ready_made(api):
    answer = api.post(f"{TASKS}/predefined/analyze-metrics?time_range=7d").json()
    assert answer["message"] and answer["estimated_duration"] == "3-5 minutes"
    record = wait_for(api, answer["task_id"])
    assert (record["name"], record["status"], record["priority"]) == (ANALYSIS, "success", 5)
    assert record["metadata"] == {**CREATOR,
                                  "task_type": "predefined", "analysis_range": "7d",
                                  "analysis_time_range": "7d"}
    answer = api.post(f"{TASKS}/predefined/backup-data?backup_type=full").json()
    assert answer["estimated_duration"] == "5-10 minutes"
    record = wait_for(api, answer["task_id"])
    assert (record["name"], record["status"]) == ("backup_agent_data", "success")
    assert record["priority"] == 1 and record["metadata"]["backup_type"] == "full"
    assert record["result"]["backup_type"] == "full" and " MB" in record["result"]["backup_size"]
    assert record["metadata"]["backup_location"]


# ---- By hand -----------------------------------------------------------------------------------


def test_who_did_what_by_hand(fresh):
    admin = fresh.client(fresh.create_token("root", "admin"))
    ann = fresh.client(fresh.create_token("ann-key", "operator", "--user", "ann"))
    ben = fresh.client(fresh.create_token("ben-key", "operator", "--user", "ben"))
    viewer = fresh.client(fresh.create_token("vic", "viewer"))
    task = ask(ann, CONFIGURE, max_retries=1)
    record = wait_for(ann, task)
    assert record["created_by"] == "ann" and record["metadata"]["created_by"] == "ann"
    assert record["error"] == "The argument agent_id is missing"
    answer = ben.post(f"{TASKS}/{task}/retry")
    assert answer.json() == {"message": f"Task {task} retry initiated successfully",
                             "retried_by": "ben"}
    record = wait_for(ann, task)
    assert (record["status"], record["retry_count"]) == ("failure", 1)
    assert ben.post(f"{TASKS}/{task}/retry").status == 400, "its retries are used up"

    # A dead letter is read, edited and put back.
    letter = viewer.get(f"{LETTERS}/{task}").json()
    assert letter["id"] == task and letter["args"] == []
    assert task in [one["id"] for one in viewer.get(f"{LETTERS}?task_name=CONFIG").json()]
    for refused in (viewer.patch(f"{LETTERS}/{task}", {"max_retries": 5}),
                    viewer.post(f"{LETTERS}/{task}/put-back")):
        assert refused.status == 403
    agent = ann.agent_v2()["id"]
    edited = ben.patch(f"{LETTERS}/{task}", {"task_args": [agent, {"model": "m"}], "priority": 8})
    assert edited.json()["args"] == [agent, {"model": "m"}] and edited.json()["priority"] == 8
    back = ann.post(f"{LETTERS}/{task}/put-back")
    assert back.status == 200 and back.json()["retry_count"] == 0
    assert wait_for(ann, task)["status"] == "success"
    assert ann.get(f"/api/v2/agents/{agent}").json()["configuration"]["model"] == "m"
    assert viewer.get(f"{LETTERS}/{task}").status == 404
    actions = viewer.get(f"{TASKS}/{task}/actions").json()
    assert [(one["actor"], one["action"]) for one in actions] == [
        ("ann", "put_back"), ("ben", "edited"), ("ben", "retried")]
    assert actions[1]["detail"] == "args, priority"

    # What only administrators may ask for, nobody else puts back, edits or takes off the clock.
    schedule = f"{SCHEDULES}/daily-backup"
    backup = ask(admin, "backup_agent_data", "full", countdown=3600)
    assert ann.post(f"{TASKS}/{backup}/cancel").status == 403
    answer = ann.post(f"{TASKS}/bulk-operation", {"task_ids": [backup], "operation": "cancel"})
    assert answer.json()["successful"] == 0
    assert ann.delete(schedule).status == 403
    assert ann.put(schedule, {"task": ANALYSIS}).status == 403
    assert ann.post(TASKS, {"task_name": ANALYSIS, "countdown": 3600,
                            "unique_key": "schedule:daily-backup"}).status == 422
    assert admin.post(f"{TASKS}/{backup}/cancel").status == 200
    assert ann.post(f"{TASKS}/{backup}/retry").status == 403
    assert admin.get(schedule).status == 200
    broken = ask(admin, "backup_agent_data", "no such kind")
    assert wait_for(admin, broken)["status"] == "failure"
    assert ann.patch(f"{LETTERS}/{broken}", {"task_args": ["full"]}).status == 403
    assert ann.post(f"{LETTERS}/{broken}/put-back").status == 403
    for client, status in ((ann, 403), (admin, 201)):
        body = {"task_name": "retention_cleanup"}
        assert client.post(TASKS, body).status == status
    assert ann.post(f"{TASKS}/predefined/backup-data").status == 403
    assert ann.post(f"{TASKS}/cleanup").status == 403


def test_cancelling_what_waits_and_what_has_ended(api):
    task = waiting(api)
    answer = api.post(f"{TASKS}/{task}/cancel")
    assert answer.json() == {"message": f"Task {task} cancelled successfully",
                             "cancelled_by": "local"}
    record = read(api, task)
    assert record["status"] == "revoked" and record["completed_at"]
    for id_ in (task, wait_for(api, ask(api))["id"], "not-even-an-id"):
        refused = api.post(f"{TASKS}/{id_}/cancel")
        assert refused.status == 400
        assert refused.detail == f"Task {id_} cannot be cancelled: it is unknown or has ended"
    assert api.post(f"{TASKS}/{task}/retry").status == 200
    assert wait_for(api, task)["status"] == "success"
    refused = api.post(f"{TASKS}/{task}/retry")
    assert refused.status == 400 and "cannot be retried" in refused.detail


def test_many_at_once_by_hand(api):
    tasks = [waiting(api), failed(api, max_retries=1), "nonsense"]
    body = {"task_ids": tasks, "operation": "cancel"}
    outcome = api.post(f"{TASKS}/bulk-operation", body).json()
    assert (outcome["total_tasks"], outcome["successful"], outcome["failed"]) == (3, 1, 2)
    assert outcome["results"] == [
        {"task_id": tasks[0], "success": True, "action": "cancelled"},
        {"task_id": tasks[1], "success": False, "action": "failed"},
        {"task_id": tasks[2], "success": False, "action": "failed"}]
    outcome = api.post(f"{TASKS}/bulk-operation", {**body, "operation": "retry"}).json()
    assert [one["success"] for one in outcome["results"]] == [True, True, False]
    assert outcome["performed_by"] == "local"
    assert api.post(f"{TASKS}/bulk-operation",
                    {"task_ids": [], "operation": "cancel"}).json()["results"] == []


def test_clearing_up_removes_what_ended_long_ago(fresh):
    api = fresh.client()
    old, new = failed(api), failed(api)
    day = 86_400_000_000
    with fresh.database(writable=True) as database:
        database.execute(f"UPDATE jobs SET created_at = created_at - {8 * day},"
                         f" completed_at = completed_at - {8 * day} WHERE id = ?",
                         [bytes.fromhex(old.replace("-", ""))])
    assert api.post(f"{TASKS}/cleanup?older_than_days=30").json()["removed"] == 0
    answer = api.post(f"{TASKS}/cleanup").json()
    assert answer == {"message": "Cleaned up tasks older than 7 days", "cleaned_by": "local",
                      "removed": 1}
    assert api.get(f"{TASKS}/{old}").status == 404
    assert [task["id"] for task in api.get(TASKS).json()] == [new]
    assert api.get(f"{TASKS}/statistics").json()["by_status"]["failure"] == 1


# ---- By the clock ------------------------------------------------------------------------------


def test_schedules_start_tasks_while_they_are_on(fresh):
    api = fresh.client()
    names = [one["name"] for one in api.get(SCHEDULES).json()]
    assert names == ["daily-backup", "daily-cleanup"]
    made = api.post(SCHEDULES, {"name": "often", "task": ANALYSIS, "args": ["1h"],
                                "every_seconds": 1, "priority": 8})
    assert made.status == 201 and made.header("ETag") == '"1"'
    wait_until(lambda: len(api.get(f"{TASKS}?status=success").json()) >= 2, SOON, "two starts")
    record = api.get(f"{TASKS}?status=success&limit=1").json()[0]
    assert record["metadata"]["schedule"] == "often" and record["priority"] == 8
    schedule = api.get(f"{SCHEDULES}/often").json()
    assert schedule["last_at"] < schedule["next_at"] and schedule["last_job_id"]

    stale = api.put(f"{SCHEDULES}/often", {"enabled": False}, headers={"If-Match": '"99"'})
    assert stale.status == 412
    off = api.put(f"{SCHEDULES}/often", {"enabled": False})
    assert off.status == 200 and off.json()["next_at"] is None
    assert off.json()["created_by"] == "local"
    wait_until(lambda: not api.get(f"{TASKS}?status=pending").json()
               and not api.get(f"{TASKS}?status=started").json(), SOON, "that all have ended")
    before = api.get(f"{TASKS}/statistics").json()["total"]
    time.sleep(1.5)
    assert api.get(f"{TASKS}/statistics").json()["total"] == before
    for wrong, status, why in (
            ({"cron": "61 * * * *"}, 422, "cron: '61' is no minute"),
            ({"cron": "0 0 31 2 *"}, 422, "cron: there is no such day"),
            ({}, 422, "A schedule has either cron or every_seconds"),
            ({"task": "nope", "every_seconds": 5}, 400, "Unknown task 'nope'")):
        answer = api.post(SCHEDULES, {"name": "x", "task": ANALYSIS, **wrong})
        assert answer.status == status and answer.detail.startswith(why), answer
    assert api.delete(f"{SCHEDULES}/often").status == 204
    assert api.get(f"{SCHEDULES}/often").status == 404


# ---- Programs ----------------------------------------------------------------------------------

TELLING = """
import json, os, sys
task = json.load(sys.stdin)
print(json.dumps({"progress": 40, "note": "under way"}), flush=True)
print(json.dumps({"log": "hello", "level": "warning"}), flush=True)
print("plain words", flush=True)
while not os.path.exists("go"):
    pass
print(json.dumps({"result": {"task": task, "environment": dict(os.environ)}}))
"""


def test_a_program_is_a_task(make_server):
    server = make_server(start=False)
    add_program(server, "tell", TELLING, environment={"REGION": "eu"}, priority="high")
    server.start()
    api = server.client()
    task = ask(api, "tell", 1, "ä", task_kwargs={"full": True}, metadata={"m": 1})
    record = wait_until(lambda: (lambda found: found if found["progress"] == 40 else None)(
        read(api, task)), SOON, "what it tells of itself")
    assert (record["status"], record["progress_note"]) == ("started", "under way")
    assert record["priority"] == 8
    (server.folder / "tasks.d" / "go").touch()
    record = wait_for(api, task)
    assert record["status"] == "success", record
    given = record["result"]["task"]
    assert given["args"] == [1, "ä"] and given["kwargs"] == {"full": True}
    assert given["task_id"] == task and given["attempt"] == 1 and given["metadata"]["m"] == 1
    assert set(record["result"]["environment"]) - {"LC_CTYPE"} == {
        "PATH", "LANG", "REGION", "SUBFORGE_TASK_ID", "SUBFORGE_TASK_NAME",
        "SUBFORGE_TASK_ATTEMPT"}

    def log(query=""):
        return api.get(f"{TASKS}/{task}/log{query}").json()

    wait_until(lambda: len(log()["lines"]) == 2, SOON, "its lines")
    first, second = log()["lines"]
    assert (first["level"], first["message"]) == ("WARNING", "hello")
    assert (second["level"], second["message"]) == ("INFO", "plain words")
    page = log("?limit=1")
    assert page["lines"] == [first] and page["next"] == first["number"]
    assert log(f"?after={page['next']}") == {"task_id": task, "lines": [second], "next": None}


def test_the_example_of_the_page_runs(make_server):
    server = make_server(start=False)
    page = (ROOT / "docs" / "background-tasks.md").read_text()
    files = re.findall(r"^```\w+\n(# (tasks\.d/\S+)\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [name for _, name in files] == ["tasks.d/report.yaml", "tasks.d/report.py"]
    (server.folder / "tasks.d").mkdir()
    for text, name in files:
        (server.folder / name).write_text(text)
    server.start()
    api = server.client()
    task = ask(api, "report", 7)
    record = wait_for(api, task)
    assert (record["status"], record["result"]) == ("success", {"args": [7]}), record
    [line] = wait_until(lambda: api.get(f"{TASKS}/{task}/log").json()["lines"], SOON, "its line")
    assert (line["level"], line["message"]) == ("WARNING", "nothing to report")
    assert api.get(f"{SCHEDULES}/report").json()["cron"] == "30 6 * * mon-fri"


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
with open("pids", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename("pids", "running")
time.sleep(600)
"""


def has_ended(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return ") Z " in stat.read()
    except (FileNotFoundError, ProcessLookupError):  # Before it was opened, or since.
        return True


def pids_of(server):
    path = server.folder / "tasks.d" / "running"
    wait_until(path.exists, SOON, "that the program runs")
    pids = [int(pid) for pid in path.read_text().split()]
    path.unlink()
    return pids


def test_lists_leave_out_what_is_long(make_server):
    server = make_server(start=False)
    add_program(server, "long", 'import json; print(json.dumps({"result": "x" * 20_000}))')
    server.start()
    api = server.client()
    task = ask(api, "long", metadata={"m": "y" * 20_000})
    record = wait_for(api, task)
    assert record["result"] == "x" * 20_000 and record["metadata"]["m"] == "y" * 20_000
    [listed] = api.get(f"{TASKS}?task_name=long").json()
    assert (listed["result"], listed["result_truncated"]) == (None, True)
    assert (listed["metadata"], listed["metadata_truncated"]) == ({}, True)


def test_the_limit_and_a_cancel_end_the_whole_group(make_server):
    server = make_server(start=False)
    add_program(server, "stubborn", STUBBORN, limit_seconds=1, grace_seconds=0.3)
    add_program(server, "patient", STUBBORN, grace_seconds=0.3)
    server.start()
    api = server.client()
    task = ask(api, "stubborn")
    pids = pids_of(server)
    record = wait_for(api, task)
    assert record["status"] == "failure" and record["error"] == (
        "SoftTimeLimitExceeded: it ran for more than 1 s")
    wait_until(lambda: all(map(has_ended, pids)), SOON, "the end of the group")

    task = ask(api, "patient")
    pids = pids_of(server)
    assert wait_for(api, task, "started")["progress"] == 0
    assert api.post(f"{TASKS}/{task}/cancel").status == 200
    assert read(api, task)["status"] == "revoked"
    wait_until(lambda: all(map(has_ended, pids)), SOON, "the end of the group")
    assert read(api, task)["status"] == "revoked" and read(api, task)["result"] is None


@pytest.mark.parametrize("files,complaint", [
    ({"a.yaml": "name: x\ncommand: run me\n"}, "tasks.d/a.yaml, line 2: command must be a list"),
    ({"a.yaml": f"name: {ANALYSIS}\ncommand: [true]\n"},
     f"tasks.d/a.yaml: name: {ANALYSIS} is a task of the program itself"),
    ({"a.yaml": "name: x\ncommand: [a]\n", "b.yaml": "name: x\ncommand: [a]\n"},
     "tasks.d/b.yaml: name: tasks.d/a.yaml has a task named x already"),
    ({f"{name}.yaml": f"name: {name}\ncommand: [a]\nschedule: {{name: s, cron: '@daily'}}\n"
      for name in "ab"},
     "tasks.d/b.yaml: schedule.name: tasks.d/a.yaml has a schedule named s already"),
    ({"a.yaml": "name: x\ncommand: [a]\nschedule: {name: daily-backup, cron: '@daily'}\n"},
     "tasks.d/a.yaml: schedule: there is one named daily-backup that no file made"),
    ({"a.yaml": "name: x\ncommand: [a]\nschedule: {cron: '0 0 31 2 *'}\n"},
     "tasks.d/a.yaml: schedule: cron: there is no such day"),
])
def test_whoever_gets_a_file_wrong_is_told_which(make_server, files, complaint):
    server = make_server(start=False)
    (server.folder / "tasks.d").mkdir()
    for name, text in files.items():
        (server.folder / "tasks.d" / name).write_text(text)
    done = server.run_tool("serve", check=False)
    assert done.returncode == 2 and complaint in done.stderr, done.stderr


def test_a_schedule_of_the_name_that_a_file_has_keeps_no_server_from_starting(make_server):
    server = make_server()
    made = server.client().post(SCHEDULES, {"name": "tick", "task": ANALYSIS, "cron": "@daily"})
    assert made.status == 201, made
    server.stop()
    add_program(server, "tick", "print()", schedule={"every_seconds": 1})
    server.start()
    assert server.client().get(f"{SCHEDULES}/tick").json()["task"] == ANALYSIS
    [line] = [line for line in server.log_lines() if "the schedule of a file" in line["message"]]
    assert line["level"] == "WARNING" and line["name"] == "tick" and "tick" in line["file"]


def test_whoever_changes_what_a_schedule_starts_answers_for_its_tasks(make_server):
    server = make_server()
    ann, bob = (server.client(server.create_token(name, "operator")) for name in ("ann", "bob"))
    place = f"{SCHEDULES}/mine"
    assert ann.post(SCHEDULES, {"name": "mine", "task": ANALYSIS, "cron": "@daily"}).status == 201
    assert bob.put(place, {"enabled": False}).json()["created_by"] == "ann"
    changed = bob.put(place, {"kwargs": {"time_range": "1h"}, "cron": None, "every_seconds": 1,
                                "enabled": True})
    assert changed.status == 200 and changed.json()["created_by"] == "bob", changed
    task = wait_until(lambda: ann.get(f"{TASKS}?task_name={ANALYSIS}").json(), SOON)[0]
    assert read(ann, task["id"])["created_by"] == "bob"


def test_the_schedule_of_a_file_comes_and_goes_with_it(make_server):
    server = make_server(start=False)
    add_program(server, "tick", "print()", schedule={"every_seconds": 1, "args": [7]})
    server.start()
    api = server.client()
    wait_until(lambda: api.get(f"{TASKS}?task_name=tick&status=success").json(), SOON, "a start")
    assert api.get(f"{SCHEDULES}/tick").json()["created_by"] == "tasks.d"
    assert api.put(f"{SCHEDULES}/tick", {"enabled": False}).status == 200
    server.stop()
    server.start()
    assert server.client().get(f"{SCHEDULES}/tick").json()["enabled"] is False
    server.stop()
    (server.folder / "tasks.d" / "tick.yaml").unlink()
    server.start()
    assert server.client().get(f"{SCHEDULES}/tick").status == 404


# ---- Live --------------------------------------------------------------------------------------


@run_async
async def test_news_come_to_the_room_and_to_nobody_else(make_server):
    server = make_server(start=False)
    add_program(server, "tell", TELLING)
    server.start()
    api = server.client()
    async with Room(server, "background_tasks") as room, Room(server, "elsewhere") as other:
        task = ask(api, "tell")

        async def news(status, progress=None):
            return await room.find(lambda m: m["data"].get("task_id") == task
                                   and m["data"]["status"] == status
                                   and progress in (None, m["data"]["progress"]), SOON)

        created = await news("pending")
        assert created["type"] == "task_update" and created["room"] == "background_tasks"
        assert created["data"]["event"] == "background_task_created"
        assert created["data"]["updated_by"] == "local" and created["data"]["name"] == "tell"
        update = await news("started", 40)
        assert update["data"]["event"] == "background_task_updated"
        assert update["data"]["progress_note"] == "under way"
        (server.folder / "tasks.d" / "go").touch()
        ended = await news("success")
        assert ended["data"]["updated_by"] == "" and ended["event_id"] > update["event_id"]
        late = waiting(api)
        api.post(f"{TASKS}/{late}/cancel")
        revoked = await room.find(lambda m: m["data"].get("task_id") == late
                                  and m["data"]["status"] == "revoked", SOON)
        assert revoked["data"]["updated_by"] == "local"
        assert not [m for m in await other.settled() if m["type"] == "task_update"]


@run_async
async def test_agents_bring_their_configuration_task(fresh):
    api = fresh.client()
    async with Room(fresh, "agent_monitoring") as room:
        agent = api.agent_v2(configuration={"model": "first"})
        created = await room.find(lambda m: m["type"] == "agent_update")
        task = created["data"]["background_task_id"]
        record = wait_for(api, task)
        assert (record["name"], record["priority"]) == (CONFIGURE, 8)
        assert record["args"][0] == agent["id"] and record["args"][1]["model"] == "first"
        assert record["metadata"]["agent_name"] == agent["name"]
        assert record["metadata"]["created_by"] == "local"
        assert record["metadata"]["processing_time"] == 5
        assert record["result"] == {"agent_id": agent["id"], "processed": True, "changed": False,
                                    "warnings": []}
    path = f"/api/v2/agents/{agent['id']}/configuration/upload"
    answer = api.upload(path, "c.yaml", "model: second\ntools: [a, a]\n").json()
    record = wait_for(api, answer["background_task_id"])
    assert (record["status"], record["priority"]) == ("success", 5)
    assert record["metadata"]["filename"] == "c.yaml"
    assert record["result"]["warnings"] == ["tools: a is there twice"]
    lines = wait_until(lambda: api.get(f"{TASKS}/{record['id']}/log").json()["lines"], SOON)
    assert (lines[0]["level"], lines[0]["message"]) == ("WARNING", "tools: a is there twice")
    # Agents made by the first version of the API have none.
    before = api.get(f"{TASKS}/statistics").json()["total"]
    api.agent_v1()
    assert api.get(f"{TASKS}/statistics").json()["total"] == before


# ---- Processes ---------------------------------------------------------------------------------

COUNTED = """
import json, os, sys, time
task = json.load(sys.stdin)
with open("begun", "a") as file:
    file.write(task["task_id"] + "\\n")
for _ in range(3000):
    if os.path.exists("go"):
        break
    time.sleep(0.01)
with open("done", "a") as file:
    file.write(task["task_id"] + "\\n")
print(json.dumps({"result": task["args"]}))
"""


def test_workers_alone_beside_a_server_without(make_server):
    server = make_server(start=False)
    add_program(server, "counted", COUNTED)
    server.start(["--no-worker"])
    (server.folder / "tasks.d" / "go").touch()
    api = server.client()
    assert api.get(f"{TASKS}/queue-status").json()["health"]["status"] == "unhealthy"
    tasks = [ask(api, "counted", i) for i in range(20)]
    analysis, agent = ask(api), api.agent_v2()
    time.sleep(0.5)
    assert {read(api, task)["status"] for task in [*tasks, analysis]} == {"pending"}
    with worker(server), worker(server):
        for i, task in enumerate(tasks):
            assert wait_for(api, task)["result"] == [i]
        record = wait_for(api, analysis)
        assert record["status"] == "success" and record["result"]["total_requests"] >= 0
        configured = api.get(f"{TASKS}?task_name={CONFIGURE}").json()[0]
        record = wait_for(api, configured["id"])
        assert record["result"]["agent_id"] == agent["id"]
        found = api.get(f"{TASKS}/queue-status").json()
        assert found["workers"]["active"] == 2 and found["health"]["status"] == "healthy"
        backup = wait_for(api, ask(api, "backup_agent_data", "full"))
        assert backup["status"] == "success", backup
    done = lines_of(server.folder / "tasks.d" / "done")
    assert sorted(done) == sorted(tasks)
    wait_until(lambda: api.get(f"{TASKS}/queue-status").json()["workers"]["active"] == 0, SOON,
               "that the workers have left")


def test_a_stop_right_after_the_start_warns_of_nothing(make_server):
    server = make_server()
    for _ in range(5):
        server.stop()
        assert [line for line in server.log_lines() if line["level"] != "INFO"] == []
        server.start()


def test_a_stop_lets_finish_or_hands_back(make_server):
    server = make_server(start=False)
    add_program(server, "counted", COUNTED)
    server.start(["--no-worker"])
    api = server.client()
    program = server.folder / "tasks.d"
    with worker(server, SHUTDOWN_SECONDS=20) as one:
        task = ask(api, "counted", "finished")
        wait_until(lambda: lines_of(program / "begun"), SOON, "its start")
        one.send_signal(signal.SIGTERM)
        wait_until(lambda: '"stopping"' in one.log.read_text(), SOON, "that it has heard of it")
        late = ask(api, "counted", "not taken")
        time.sleep(0.3)
        (program / "go").touch()
        assert one.wait(SOON) == 0
    assert read(api, task)["status"] == "success" and read(api, late)["status"] == "pending"
    (program / "go").unlink()
    with worker(server, SHUTDOWN_SECONDS=1) as one:
        wait_until(lambda: late in lines_of(program / "begun"), SOON, "its start")
        began = time.monotonic()
        stop(one)
        assert time.monotonic() - began < 5
    record = read(api, late)
    assert (record["status"], record["retry_count"]) == ("pending", 0)
    (program / "go").touch()
    with worker(server):
        assert wait_for(api, late)["result"] == ["not taken"]
    assert lines_of(program / "done") == [task, late]


def test_what_a_killed_worker_had_is_done_by_another_once(make_server):
    server = make_server(start=False, TASK_LEASE_SECONDS=2)
    add_program(server, "counted", COUNTED)
    server.start(["--no-worker"])
    api = server.client()
    program = server.folder / "tasks.d"
    with worker(server) as first:
        tasks = [ask(api, "counted", i) for i in range(5)]
        wait_until(lambda: len(lines_of(program / "begun")) == 5, SOON, "their start")
        children = [int(pid) for pid in os.popen(f"ps -o pid= --ppid {first.pid}").read().split()]
        first.kill()
        first.wait()
        assert len(children) == 5
        wait_until(lambda: all(map(has_ended, children)), SOON, "the end of its programs")
        (program / "go").touch()
        with worker(server):
            for i, task in enumerate(tasks):
                record = wait_for(api, task)
                assert (record["status"], record["result"]) == ("success", [i])
                assert record["retry_count"] == 0
    assert sorted(lines_of(program / "done")) == sorted(tasks)
    figures = api.get(f"{TASKS}/statistics").json()
    assert figures["by_status"]["success"] == figures["total"] == 5


def test_a_server_that_was_killed_goes_on_where_it_was(make_server):
    server = make_server(start=False, TASK_LEASE_SECONDS=2)
    add_program(server, "counted", COUNTED)
    server.start()
    api = server.client()
    task, later = ask(api, "counted", "x"), waiting(api)
    wait_for(api, task, "started")
    server.kill()
    (server.folder / "tasks.d" / "go").touch()
    server.start()
    api = server.client()
    assert wait_for(api, task)["result"] == ["x"]
    assert read(api, later)["status"] == "pending"
