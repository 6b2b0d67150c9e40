"""/api/v2/tasks: every endpoint and error, and the frames of /ws/v2."""

import contextlib
import uuid

import pytest

from harness import ON_POSTGRESQL, unique
from sockets import Room, run_async

MISSING = str(uuid.uuid4())


def create(api, **members):
    answer = api.post("/api/v2/tasks", {"title": "Do it", **members})
    assert answer.status == 201, answer
    return answer.json()


def test_a_new_task_has_the_defaults(api):
    task = create(api)
    answer = api.get(f"/api/v2/tasks/{task['id']}")
    assert answer.status == 200 and answer.json() == task and answer.header("ETag") == '"1"'
    expected = {"title": "Do it", "description": "", "status": "pending", "priority": "medium",
                "assigned_agent": None, "due_date": None, "estimated_duration": None,
                "actual_duration": None, "progress": 0, "dependencies": [], "tags": [],
                "metadata": {}, "created_by": "local"}
    assert {name: task[name] for name in expected} == expected
    assert api.get(f"/api/v1/tasks/{task['id']}").json()["title"] == "Do it"


def test_everything_that_is_sent_is_kept(api):
    first = create(api)
    agent = api.agent_v2(name=unique())
    sent = {"title": "Second", "description": "Long", "status": "in_progress", "priority": "high",
            "assigned_agent": agent["id"], "due_date": "2027-01-02T03:04:05.000000Z",
            "estimated_duration": 5, "progress": 12.5,
            "dependencies": [{"task_id": first["id"], "dependency_type": "soft"}],
            "tags": ["x"], "metadata": {"a": [1.5]}}
    task = create(api, **sent)
    assert {name: task[name] for name in sent} == sent
    assert api.get(f"/api/v2/tasks/{first['id']}").json()["dependents"] == [task["id"]]
    assert api.get(f"/api/v2/agents/{agent['id']}").json()["status"] == "busy"
    assert create(api, assigned_agent="Somebody")["assigned_agent"] == "Somebody"


@pytest.mark.parametrize("body, place", [
    ({}, ["body", "title"]), ({"title": "x", "status": "odd"}, ["body", "status"]),
    ({"title": "x", "progress": 101}, ["body", "progress"]),
    ({"title": "x", "dependencies": [{"dependency_type": "soft"}]},
     ["body", "dependencies", 0, "task_id"]),
    ({"title": "x", "dependencies": [{"task_id": "a", "dependency_type": "odd"}]},
     ["body", "dependencies", 0, "dependency_type"])])
def test_a_wrong_body_is_told_where(api, body, place):
    answer = api.post("/api/v2/tasks", body)
    assert answer.status == 422 and answer.json()["detail"][0]["loc"] == place


def test_what_does_not_exist(api):
    for id in (MISSING, "7"):
        for method, body in (("GET", None), ("PUT", {}), ("DELETE", None)):
            answer = api.request(method, f"/api/v2/tasks/{id}", json_body=body)
            assert (answer.status, answer.json()["detail"]) == (404, f"Task {id} not found")
    answer = api.post("/api/v2/tasks", {"title": "x", "assigned_agent": MISSING})
    assert (answer.status, answer.json()["detail"]) == (400, "Assigned agent not found")


def test_changes_and_deletes(api):
    first, second = create(api), create(api)
    path = f"/api/v2/tasks/{first['id']}"
    changed = api.put(path, {"progress": 30, "dependencies": [{"task_id": second["id"]}]})
    assert changed.status == 200 and changed.json()["progress"] == 30
    cycle = api.put(f"/api/v2/tasks/{second['id']}",
                    {"dependencies": [{"task_id": first["id"]}]})
    assert cycle.status == 409
    assert api.put(path, {"title": "x"}, headers={"If-Match": '"1"'}).status == 412
    assert api.delete(path).status == 204 and api.get(path).status == 404


def test_a_task_that_took_no_minute_can_be_written_back(api):
    task = create(api, status="pending")
    for status in ("in_progress", "completed"):
        assert api.patch(f"/api/v1/tasks/{task['id']}/status", {"status": status}).status == 200
    read = api.get(f"/api/v2/tasks/{task['id']}").json()
    assert read["actual_duration"] == 0
    answer = api.put(f"/api/v2/tasks/{task['id']}", read)
    assert answer.status == 200
    assert {**answer.json(), "updated_at": read["updated_at"]} == read


def test_a_task_of_a_deleted_agent_can_be_written_back(api):
    agent = api.agent_v2(name=unique())
    task = create(api, assigned_agent=agent["id"])
    assert api.delete(f"/api/v2/agents/{agent['id']}").status == 204
    read = api.get(f"/api/v2/tasks/{task['id']}").json()
    assert read["assigned_agent"] == agent["id"]
    answer = api.put(f"/api/v2/tasks/{task['id']}", {**read, "tags": ["new"]})
    assert answer.status == 200 and answer.json()["assigned_agent"] == agent["id"]
    assert api.put(f"/api/v2/tasks/{create(api)['id']}",
                   {"assigned_agent": agent["id"]}).status == 400


def test_lists(fresh):
    api = fresh.client()
    for i in range(4):
        create(api, title=f"Task {i}", tags=["even"] if i % 2 == 0 else ["odd", "more"],
               description="ÄPFEL" if i == 3 else "", assigned_agent="Ann" if i == 1 else None)
    def titles(query):
        answer = api.get(f"/api/v2/tasks?{query}")
        assert answer.status == 200, answer
        return [task["title"][-1] for task in answer.json()]
    assert titles("") == ["3", "2", "1", "0"]
    assert titles("tags=even") == ["2", "0"] and titles("tags=more,even") == ["3", "2", "1", "0"]
    assert titles("search=%C3%A4pfel") == ["3"] and titles("search=task%202") == ["2"]
    assert titles("search=%25") == []
    assert titles("assigned_agent=Ann") == ["1"] and titles("status=odd") == []
    assert titles("limit=2&skip=1") == ["2", "1"]
    assert api.get("/api/v2/tasks?limit=1").header("X-Total-Count") == "4"
    assert api.get("/api/v2/tasks?limit=1001").status == 422
    # A list is kept for a while, but never beyond a change.
    assert api.get("/api/v2/tasks").header("X-Cache") in ("MISS", "HIT")
    create(api, title="Task 9")
    assert titles("")[0] == "9"


def copy_task(server, times):
    """The only task so many times more, put into the database itself: creating each of ten thousand
    would take a minute."""
    with contextlib.closing(server.database(writable=True)) as database, database:
        names = [row["name"] for row in database.execute("PRAGMA table_info(tasks)")]
        kept = ", ".join(name for name in names if name not in ("seq", "id"))
        id_ = "decode(md5(CAST(i AS TEXT)), 'hex')" if ON_POSTGRESQL else "randomblob(16)"
        database.execute(
            "WITH RECURSIVE numbers (i) AS"
            f" (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {times})"
            f" INSERT INTO tasks (id, {kept}) SELECT {id_}, {kept} FROM tasks, numbers")
        database.execute(f"UPDATE record_counts SET n = n + {times}"
                         " WHERE name IN ('tasks', 'tasks.status=pending')")


def test_a_searched_total_is_counted_to_ten_thousand(fresh):
    api = fresh.client()

    def total(query):
        answer = api.get("/api/v2/tasks?limit=1&" + query)
        assert answer.status == 200, answer
        return answer.header("X-Total-Count"), answer.header("X-Total-Count-Capped")

    create(api, title="capped")
    copy_task(fresh, 9999)
    assert total("search=capped") == ("10000", None)
    create(api, title="capped")
    assert total("search=capped") == ("10000", "true")
    assert total("status=pending") == ("10001", None)  # Kept, not counted.


@run_async
async def test_events_reach_the_rooms(server, api):
    async with Room(server, "tasks") as room:
        task = create(api, title=unique("task"))
        created = await room.find(lambda m: m["type"] == "task_update")
        assert created["data"] == {"event": "task_created", "task_id": task["id"],
                                   "status": "pending", "progress": 0, "task": task,
                                   "updated_by": "local"}
        api.delete(f"/api/v2/tasks/{task['id']}")
        deleted = await room.find(lambda m: m["type"] == "task_update")
        assert deleted["data"]["event"] == "task_deleted" and deleted["event_id"]
