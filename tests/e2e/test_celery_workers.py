"""Background tasks of our server that Celery's own workers run, alone and beside ours."""

import datetime
import re
import time

import pytest

import celery_peer
from harness import unique, wait_until
from sockets import Room, run_async

PATH = "/api/v2/background-tasks"
QUEUES = "celery,default,high_priority,low_priority"
FINAL = ("success", "failure", "revoked")
FRESH = {"Cache-Control": "no-cache"}


@pytest.fixture(scope="module")
def redis():
    with celery_peer.redis_server.RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def ours(redis, tmp_path_factory):
    """A server that runs nothing itself."""
    worker = celery_peer.SubforgeWorker(redis, tmp_path_factory.mktemp("ours"),
                                        ENABLE_BACKGROUND_TASKS="false")
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def python(redis, tmp_path_factory):
    worker = celery_peer.CeleryWorker(redis, tmp_path_factory.mktemp("python"), queues=QUEUES,
                                      task_track_started=True)
    yield worker
    worker.stop()


@pytest.fixture
def api(ours, python):
    client = ours.server.client()
    yield client
    client.close()


def submit(api, name, *args, **members):
    answer = api.post(PATH, {"task_name": name, "task_args": list(args), **members})
    assert answer.status == 201, answer
    return answer.json()["task_id"]


def look(api, task_id):
    answer = api.get(f"{PATH}/{task_id}", headers={"Cache-Control": "no-cache"})
    assert answer.status == 200, answer
    return answer.json()


def ended(api, task_id, seconds=20):
    def is_over():
        task = look(api, task_id)
        return task if task["status"] in FINAL else None

    return wait_until(is_over, seconds, f"the end of {task_id}")


def test_result(api):
    task = ended(api, submit(api, "peer.add", 20, 22, metadata={"mine": 1}))
    assert (task["status"], task["result"], task["error"]) == ("success", 42, None)
    assert task["progress"] == 100 and task["metadata"]["mine"] == 1
    assert task["created_at"] <= task["started_at"] <= task["completed_at"]


@pytest.mark.parametrize("value", [None, True, 2**53 + 1, 0.1, "naïve 😀", [], {"a": [1, {}]}])
def test_values(api, value):
    task = ended(api, submit(api, "peer.echo", value, task_kwargs={"key": value}))
    assert task["result"] == {"args": [value], "kwargs": {"key": value}}


def test_a_result_without_bounds(api):
    task = ended(api, submit(api, "peer.power", 3, 50))
    assert (task["status"], task["result"]) == ("success", 3**50)


def test_failure(api):
    task = ended(api, submit(api, "peer.boom", "it is broken"))
    assert (task["status"], task["error"]) == ("failure", "ValueError: it is broken")
    assert "peer_tasks.py" in task["traceback"] and task["result"] is None


def test_unknown_name(api):
    """Where there is a broker, others may know what this server does not."""
    task = ended(api, submit(api, "peer.nobody_knows_it"))
    assert task["status"] == "failure" and "NotRegistered" in task["error"]


def test_retry(api):
    task_id = submit(api, "peer.flaky", 2)
    seen = set()
    wait_until(lambda: seen.add(look(api, task_id)["status"]) or seen & set(FINAL), 20, "the end")
    task = ended(api, task_id)
    assert (task["status"], task["result"]) == ("success", 3)
    assert "retry" in seen and task["retry_count"] == 2


def test_progress(api):
    task_id = submit(api, "peer.steps", 5, 0.3)
    seen = []

    def over():
        task = look(api, task_id)
        seen.append((task["progress"], task["progress_note"]))
        return task["status"] in FINAL

    wait_until(over, 20, "the end")
    told = sorted({progress for progress, _ in seen})
    assert {20, 40, 60} & set(told) and told[-1] == 100, told
    assert {f"step {number} of 5" for number in (2, 3, 4)} & {note for _, note in seen}, seen
    assert [progress for progress, _ in seen] == sorted(progress for progress, _ in seen)


@run_async
async def test_live(api, ours):
    async with Room(ours.server, "background_tasks") as room:
        task_id = submit(api, "peer.steps", 4, 0.4)
        seen = []
        while not seen or seen[-1]["status"] not in FINAL:
            message = await room.find(lambda m: m["type"] == "task_update", 20)
            data = message["data"]
            for task in data.get("tasks", [data]):
                if task["task_id"] == task_id:
                    seen.append(task)
        assert [task["status"] for task in seen][0] == "pending"
        assert seen[-1]["status"] == "success"
        progress = [task["progress"] for task in seen]
        assert progress == sorted(progress) and {25, 50, 75} & set(progress), progress
        failing = submit(api, "peer.boom", "it is broken")
        told = (await room.find(lambda m: m["data"].get("task_id") == failing
                                and m["data"]["status"] == "failure", 20))["data"]
        assert told["error"] == "ValueError: it is broken", told


def test_countdown_and_eta(api):
    begin = time.time()
    soon = submit(api, "peer.add", 1, 1, countdown=1)
    at = submit(api, "peer.add", 1, 2, eta=datetime.datetime.fromtimestamp(
        begin + 1, datetime.timezone.utc).isoformat())
    for task_id, result in ((soon, 2), (at, 3)):
        task = ended(api, task_id)
        assert task["result"] == result
        started = datetime.datetime.fromisoformat(task["started_at"].replace("Z", "+00:00"))
        assert 0.9 <= started.timestamp() - begin < 6


def test_cancel_while_it_waits(api):
    naps = [submit(api, "peer.nap", 1.5) for _ in range(3)]
    task_id = submit(api, "peer.add", 1, 1, priority=1)
    assert api.post(f"{PATH}/{task_id}/cancel").status == 200
    assert look(api, task_id)["status"] == "revoked"
    for nap in naps:
        assert ended(api, nap)["status"] == "success"
    time.sleep(0.5)
    assert look(api, task_id)["status"] == "revoked"


def test_a_cancelled_task_is_put_back(api, python):
    """By another id: of those that they were told to revoke workers of Celery's start none."""
    naps = [submit(api, "peer.nap", 1.5) for _ in range(3)]
    task_id = submit(api, "peer.add", 1, 1, priority=1)
    for _ in range(2):
        assert api.post(f"{PATH}/{task_id}/cancel").status == 200
        for nap in naps:
            assert ended(api, nap)["status"] == "success"
        time.sleep(0.5)
        naps = [submit(api, "peer.nap", 1) for _ in range(3)]
        time.sleep(0.3)
        assert api.post(f"{PATH}/{task_id}/retry").status == 200
    task = ended(api, task_id)
    assert (task["status"], task["result"], task["error"]) == ("success", 2, None)
    app = celery_peer.client(python.redis)
    assert app.AsyncResult(task_id).get(timeout=5) == 2
    app.close()


def test_cancel_while_it_runs(api, python):
    task_id = submit(api, "peer.nap", 30)
    wait_until(lambda: look(api, task_id)["status"] == "started", 15, "that it runs")
    assert api.post(f"{PATH}/{task_id}/cancel").status == 200
    assert ended(api, task_id)["status"] == "revoked"
    app = celery_peer.client(python.redis)
    inspect = app.control.inspect(timeout=0.5, destination=[python.node])
    wait_until(lambda: (inspect.active() or {}).get(python.node) == [], 15, "that it was ended")
    app.close()


def test_priority(api, python):
    naps = [submit(api, "peer.nap", 1.5) for _ in range(2)]
    time.sleep(0.5)
    first = [submit(api, "peer.nap", 0.3, priority=10) for _ in range(4)]
    order = [1, 5, 8, 10, 1, 5, 8, 10]
    tasks = {submit(api, "peer.add", number, 0, priority=priority): priority
             for number, priority in enumerate(order)}
    for task_id in [*naps, *first, *tasks]:
        assert ended(api, task_id)["status"] == "success"
    # The order in which it took them: two that it starts at once may begin in any order.
    taken = re.findall(r"Task peer\.add\[([-0-9a-f]+)\] received", python.log.read_text())
    ranks = [tasks[task_id] for task_id in taken if task_id in tasks]
    assert ranks == sorted(order, reverse=True)


def test_put_back(api):
    task_id = submit(api, "peer.boom", "again")
    assert ended(api, task_id)["status"] == "failure"
    answer = api.post(f"{PATH}/{task_id}/retry")
    assert answer.status == 200, answer
    task = wait_until(lambda: (t := look(api, task_id))["status"] == "failure" and t, 15, "failure")
    assert task["retry_count"] == 1


def test_names_of_ours_run_on_the_same_broker(redis, ours, python, tmp_path):
    """A built-in task that a Python program asks for by its name, and one that Python knows."""
    worker = celery_peer.SubforgeWorker(redis, tmp_path / "second", alone=True, beside=ours,
                                        queues="reports")
    app = celery_peer.client(redis)
    try:
        result = app.send_task("analyze_system_metrics", ["1h"], queue="reports")
        value = result.get(timeout=15, interval=0.02)
        assert {"total_requests", "average_response_time", "error_rate"} <= set(value)
        api = ours.server.client()
        task = wait_until(lambda: api.get(f"{PATH}/{result.id}").status == 200
                          and look(api, result.id), 5, "its record")
        assert (task["name"], task["status"]) == ("analyze_system_metrics", "success")
        api.close()
    finally:
        app.close()
        worker.stop()


def test_both_kinds_share_a_queue(redis, ours, python, tmp_path):
    worker = celery_peer.SubforgeWorker(redis, tmp_path / "second", alone=True, beside=ours)
    app = celery_peer.client(redis)
    api = ours.server.client()
    try:
        def answer():
            names = {name for reply in app.control.ping(timeout=2) for name in reply}
            return {worker.node, python.node} <= names

        wait_until(answer, 30, "an answer of both workers")
        keys = [unique("k") for _ in range(30)]
        results = [app.tasks["peer.note"].delay(str(tmp_path), key, 0.1) for key in keys[:15]]
        ids = [submit(api, "peer.note", str(tmp_path), key, 0.1, queue="celery")
               for key in keys[15:]]
        assert [result.get(timeout=30, interval=0.02) for result in results] == ["done"] * 15
        assert [ended(api, task_id)["result"] for task_id in ids] == ["done"] * 15
        lines = [line.split() for line in (tmp_path / "starts").read_text().splitlines()]
        assert sorted(line[0] for line in lines) == sorted(keys)  # Each started once.
        assert {line[2] for line in lines} == {"celery", "subforge"}
    finally:
        api.close()
        app.close()
        worker.stop()


def test_figures(api):
    ended(api, submit(api, "peer.add", 1, 1))
    figures = api.get(f"{PATH}/queue-status").json()
    assert figures["queues"]["default"]["active"] >= 0

    def counted():
        return api.get(f"{PATH}/statistics", headers=FRESH).json()["by_status"]

    def there():
        found = {status: 0 for status in counted()}
        for task in api.get(f"{PATH}?limit=1000", headers=FRESH).json():
            found[task["status"]] += 1
        return found

    wait_until(lambda: counted() == there(), 5, "that what is counted is what is there")
    assert counted()["success"] >= 1
