"""/api/v1/tasks: every endpoint and error of the contract, and what tasks mean for agents."""

import random
import uuid

import pytest

from harness import unique
from sockets import Socket, run_async

MISSING = str(uuid.uuid4())
SUMMARY = "/api/v1/tasks/stats/summary"


@pytest.fixture
def agent(api):
    return api.agent_v1(name=unique())


def create(api, **members):
    answer = api.post("/api/v1/tasks/", {"title": "Do it", **members})
    assert answer.status == 200, answer
    return answer.json()


def patch(api, task, what, body=None):
    answer = api.patch(f"/api/v1/tasks/{task['id']}/{what}", body)
    assert answer.status == 200, answer
    return answer.json()


def agent_now(api, agent):
    return api.get(f"/api/v1/agents/{agent['id']}").json()


def test_a_new_task_has_the_defaults(api):
    task = create(api)
    stored = api.get(f"/api/v1/tasks/{task['id']}")
    assert stored.json() == task and stored.header("ETag") == '"1"'
    assert task == {
        "id": task["id"], "title": "Do it", "description": None, "status": "pending",
        "priority": "medium", "assigned_agent": {"id": None, "name": None}, "workflow_id": None,
        "task_type": None, "tags": [], "metadata": {},
        "time_tracking": {"estimated_duration_minutes": None, "actual_duration_minutes": None,
                          "started_at": None, "completed_at": None},
        "dependencies": [], "dependents": [],
        "progress": {"percentage": 0, "subtasks_completed": 0, "subtasks_total": 0},
        "quality_metrics": {"quality_score": None, "complexity_score": None,
                            "effort_points": None},
        "flags": {"is_blocked": False, "is_urgent": False, "requires_review": False},
        "result": None, "created_at": task["created_at"], "updated_at": task["created_at"],
        "due_date": None}


def test_everything_that_is_sent_is_kept(api, agent):
    workflow = str(uuid.uuid4())
    task = create(api, description="Carefully", priority="critical", task_type="review",
                  tags=["a", "b"], metadata={"k": [1, {"x": None}]},
                  assigned_agent_id=agent["id"], workflow_id=workflow,
                  estimated_duration_minutes=30, complexity_score=10, effort_points=3,
                  due_date="2027-01-02T03:04:05", dependencies=["anything"])
    assert task["metadata"] == {"k": [1, {"x": None}]}
    assert task["assigned_agent"] == {"id": agent["id"], "name": agent["name"]}
    assert task["due_date"] == "2027-01-02T03:04:05.000000Z"
    assert task["dependencies"] == ["anything"] and task["workflow_id"] == workflow


@pytest.mark.parametrize("body, place, kind", [
    ({}, ["body", "title"], "missing"),
    ({"title": ""}, ["body", "title"], "string_too_short"),
    ({"title": "x" * 501}, ["body", "title"], "string_too_long"),
    ({"title": "x", "status": "odd"}, ["body", "status"], "string_pattern_mismatch"),
    ({"title": "x", "priority": 3}, ["body", "priority"], None),
    ({"title": "x", "complexity_score": 11}, ["body", "complexity_score"], "less_than_equal"),
    ({"title": "x", "estimated_duration_minutes": 0}, ["body", "estimated_duration_minutes"],
     None),
    ({"title": "x", "assigned_agent_id": "7"}, ["body", "assigned_agent_id"], "uuid_parsing"),
])
def test_a_wrong_body_is_told_where(api, body, place, kind):
    answer = api.post("/api/v1/tasks", body)
    assert answer.status == 422
    problem = answer.json()["detail"][0]
    assert problem["loc"] == place and kind in (None, problem["type"])


def test_what_does_not_exist(api):
    assert api.get(f"/api/v1/tasks/{MISSING}").json()["detail"] == "Task not found"
    assert api.get("/api/v1/tasks/7").status == 422
    for method, path, body in [
            ("PUT", "", {}), ("DELETE", "", None), ("PATCH", "/status", {"status": "pending"}),
            ("PATCH", "/progress", {"progress_percentage": 1}), ("PATCH", "/start", None),
            ("PATCH", "/complete", None), ("PATCH", "/fail", {"result": 1}),
            ("POST", "/dependencies", {"dependency_id": MISSING}),
            ("PATCH", "/assign", {"assigned_agent_id": MISSING}),
            ("DELETE", f"/dependencies/{MISSING}", None)]:
        answer = api.request(method, f"/api/v1/tasks/{MISSING}{path}", json_body=body)
        assert (answer.status, answer.json()["detail"]) == (404, "Task not found"), path
    answer = api.post("/api/v1/tasks", {"title": "x", "assigned_agent_id": MISSING})
    assert (answer.status, answer.json()["detail"]) == (400, "Assigned agent not found")
    task = create(api)
    answer = api.put(f"/api/v1/tasks/{task['id']}", {"assigned_agent_id": MISSING})
    assert (answer.status, answer.json()["detail"]) == (400, "Assigned agent not found")
    answer = api.patch(f"/api/v1/tasks/{task['id']}/assign", {"assigned_agent_id": MISSING})
    assert (answer.status, answer.json()["detail"]) == (400, "Agent not found")


def test_a_change_touches_only_what_is_sent(api):
    task = create(api, description="Old", tags=["t"])
    changed = api.put(f"/api/v1/tasks/{task['id']}",
                      {"title": "New", "is_urgent": True, "quality_score": 12.5, "unknown": 1})
    assert changed.status == 200
    new = changed.json()
    assert (new["title"], new["description"], new["tags"]) == ("New", "Old", ["t"])
    assert new["flags"]["is_urgent"] and new["quality_metrics"]["quality_score"] == 12.5
    same = api.put(f"/api/v1/tasks/{task['id']}", {"description": None}).json()
    assert same["description"] is None
    # No transition logic, whatever status is set.
    done = api.put(f"/api/v1/tasks/{task['id']}", {"status": "completed"}).json()
    assert done["time_tracking"]["completed_at"] is None and done["progress"]["percentage"] == 0


@pytest.mark.parametrize("path", ["{}", "bulk"])
def test_a_task_that_is_taken_away_names_nobody(api, agent, path):
    task = create(api, assigned_agent_id=agent["id"])
    assert task["assigned_agent"] == {"id": agent["id"], "name": agent["name"]}
    nobody = {"assigned_agent_id": None}
    if path == "bulk":
        nobody = {"task_ids": [task["id"]], "updates": nobody}
        answer = api.patch("/api/v1/tasks/bulk", nobody)
    else:
        answer = api.put(f"/api/v1/tasks/{task['id']}", nobody)
    assert answer.status == 200
    assert api.get(f"/api/v1/tasks/{task['id']}").json()["assigned_agent"] == {
        "id": None, "name": None}
    assert api.get(f"/api/v2/tasks/{task['id']}").json()["assigned_agent"] is None
    assert api.get(f"/api/v2/tasks?assigned_agent={agent['name']}").json() == []


def test_an_old_version_is_not_overwritten(api):
    task = create(api)
    path = f"/api/v1/tasks/{task['id']}"
    assert api.put(path, {"title": "a"}, headers={"If-Match": '"1"'}).status == 200
    assert api.put(path, {"title": "b"}, headers={"If-Match": '"1"'}).status == 412
    assert api.delete(path, headers={"If-Match": '"1"'}).status == 412
    assert api.delete(path, headers={"If-Match": '"2"'}).status == 200


def test_status_changes_keep_time(api):
    task = create(api)
    begun = patch(api, task, "status", {"status": "in_progress"})
    started = begun["time_tracking"]["started_at"]
    assert started and begun["status"] == "in_progress"
    done = patch(api, task, "status", {"status": "completed", "quality_score": 80})
    assert done["progress"]["percentage"] == 100 and done["quality_metrics"]["quality_score"] == 80
    assert done["time_tracking"]["started_at"] == started
    assert done["time_tracking"]["completed_at"] and \
        done["time_tracking"]["actual_duration_minutes"] == 0
    again = patch(api, task, "status", {"status": "in_progress", "progress_percentage": 40})
    assert again["time_tracking"]["started_at"] == started
    assert again["progress"]["percentage"] == 40
    other = create(api)
    assert patch(api, other, "status", {"status": "failed", "quality_score": 3})[
        "quality_metrics"]["quality_score"] is None


def test_progress(api):
    task = create(api)
    half = patch(api, task, "progress", {"progress_percentage": 50, "subtasks_completed": 1,
                                         "subtasks_total": 2})
    assert half["progress"] == {"percentage": 50, "subtasks_completed": 1, "subtasks_total": 2}
    done = patch(api, task, "progress", {"progress_percentage": 100})
    assert done["status"] == "completed" and done["time_tracking"]["completed_at"]
    lower = patch(api, task, "progress", {"progress_percentage": 10})
    assert lower["status"] == "completed"
    for body in ({"progress_percentage": 101}, {}, {"progress_percentage": 1,
                 "subtasks_completed": 3, "subtasks_total": 2}):
        assert api.patch(f"/api/v1/tasks/{task['id']}/progress", body).status == 422


def test_dependencies_have_an_inverse_and_no_cycles(api):
    first, second, third = create(api), create(api), create(api)
    def depend(a, b):
        return api.post(f"/api/v1/tasks/{a['id']}/dependencies", {"dependency_id": b["id"]})
    assert depend(second, first).json()["dependencies"] == [first["id"]]
    assert depend(second, first).json()["dependencies"] == [first["id"]]
    assert depend(third, second).status == 200
    assert api.get(f"/api/v1/tasks/{first['id']}").json()["dependents"] == [second["id"]]
    assert depend(first, third).status == 409
    assert depend(first, first).status == 409
    for unknown in (MISSING, "no id"):
        answer = api.post(f"/api/v1/tasks/{first['id']}/dependencies", {"dependency_id": unknown})
        assert (answer.status, answer.json()["detail"]) == (400, "Dependency task not found")
    path = f"/api/v1/tasks/{second['id']}/dependencies/{first['id']}"
    assert api.delete(path).json()["dependencies"] == []
    assert api.delete(path).status == 200
    assert api.get(f"/api/v1/tasks/{first['id']}").json()["dependents"] == []
    assert depend(first, third).status == 200
    assert api.delete(f"/api/v1/tasks/{first['id']}").json() == {
        "message": "Task deleted successfully"}
    assert api.get(f"/api/v1/tasks/{third['id']}").json()["dependents"] == []


def test_an_agent_is_busy_with_its_tasks(api, agent):
    first = create(api, title="One", assigned_agent_id=agent["id"])
    second = create(api, title="Two")
    now = agent_now(api, agent)
    assert now["status"] == "busy" and now["current_task"] == {"id": first["id"], "title": "One"}
    patch(api, second, "assign", {"agent_id": agent["id"]})
    patch(api, second, "start")
    assert agent_now(api, agent)["current_task"]["title"] == "Two"
    done = patch(api, second, "complete", {"result": {"files": 3}})
    assert done["result"] == {"files": 3}
    now = agent_now(api, agent)
    assert now["status"] == "busy" and now["current_task"]["title"] == "One"
    patch(api, first, "fail", {"result": "broken"})
    now = agent_now(api, agent)
    assert now["status"] == "idle" and now["current_task"] == {"id": None, "title": None}
    figures = now["performance_metrics"]
    assert (figures["tasks_completed"], figures["tasks_failed"], figures["success_rate"]) == (
        1, 1, 50)
    # What a client sets is a base: the tasks go on counting from it.
    api.patch(f"/api/v1/agents/{agent['id']}/metrics", {"tasks_completed": 10})
    patch(api, create(api, assigned_agent_id=agent["id"]), "complete")
    assert agent_now(api, agent)["performance_metrics"]["tasks_completed"] == 11


def test_bulk_changes_all_or_none(api):
    tasks = [create(api), create(api)]
    ids = [task["id"] for task in tasks]
    answer = api.patch("/api/v1/tasks/bulk", {"task_ids": ids, "updates": {
        "priority": "high", "due_date": "2027-01-01T00:00:00Z"}})
    assert answer.status == 200
    assert [(task["id"], task["priority"]) for task in answer.json()] == [
        (one, "high") for one in ids]
    for wrong in ([*ids, MISSING], [ids[0], ids[0]]):
        answer = api.patch("/api/v1/tasks/bulk", {"task_ids": wrong,
                                                  "updates": {"priority": "low"}})
        assert (answer.status, answer.json()["detail"]) == (400, "Some tasks not found")
    assert api.get(f"/api/v1/tasks/{ids[0]}").json()["priority"] == "high"
    for body in ({}, {"task_ids": [], "updates": {}}, {"task_ids": ["7"], "updates": {}},
                 {"task_ids": ids}, {"task_ids": ids, "updates": {"status": "odd"}}):
        assert api.patch("/api/v1/tasks/bulk", body).status == 422, body


def test_lists_filter_and_page(fresh):
    api = fresh.client()
    agent = api.agent_v1(name=unique())
    made = [create(api, title=str(i), priority="high" if i % 2 else "low",
                   assigned_agent_id=agent["id"] if i < 2 else None,
                   task_type="odd" if i == 4 else None) for i in range(5)]
    def titles(query):
        answer = api.get(f"/api/v1/tasks?{query}")
        assert answer.status == 200, answer
        return [task["title"] for task in answer.json()], answer
    assert titles("")[0] == ["4", "3", "2", "1", "0"]
    assert titles("priority=high")[0] == ["3", "1"]
    assert titles(f"assigned_agent_id={agent['id']}&priority=low")[0] == ["0"]
    assert titles("task_type=odd&is_urgent=false")[0] == ["4"]
    api.put(f"/api/v1/tasks/{made[2]['id']}", {"is_blocked": True, "status": "failed"})
    assert titles("is_blocked=true")[0] == ["2"] == titles("status=failed")[0]
    page, answer = titles("limit=2")
    assert page == ["4", "3"] and answer.header("X-Total-Count") == "5"
    link = answer.header("Link").split(";")[0].strip("<>")
    assert [task["title"] for task in api.get(link).json()] == ["2", "1"]
    for query in ("status=odd", "limit=0", "skip=-1", "assigned_agent_id=7", "is_urgent=maybe",
                  "cursor=abc"):
        assert api.get(f"/api/v1/tasks?{query}").status == 422, query


def test_the_summary_never_disagrees_with_the_tasks(fresh, seed):
    """Random changes; the kept counts must be what counting the tasks gives."""
    api = fresh.client()
    empty = api.get(SUMMARY).json()
    assert set(empty.values()) == {0}
    chance = random.Random(seed)
    agents = [api.agent_v1(name=unique()) for _ in range(3)]
    ids = []
    statuses = ["pending", "in_progress", "completed", "failed", "blocked", "cancelled"]
    for _ in range(150):
        act = chance.randrange(6) if ids else 0
        one = f"/api/v1/tasks/{chance.choice(ids)}" if ids else ""
        if act == 0:
            ids.append(create(api, status=chance.choice(statuses), assigned_agent_id=chance.choice(
                [None, *[agent["id"] for agent in agents]]))["id"])
        elif act == 1:
            api.patch(f"{one}/status", {"status": chance.choice(statuses)})
        elif act == 2:
            api.put(one, {"is_urgent": chance.random() < .5, "is_blocked": chance.random() < .5})
        elif act == 3:
            api.patch(f"{one}/progress", {"progress_percentage": chance.randrange(101)})
        elif act == 4:
            api.patch(f"{one}/assign", {"assigned_agent_id": chance.choice(agents)["id"]})
        elif chance.random() < .3:
            api.delete(one)
            ids.remove(one.rsplit("/", 1)[1])
    tasks = api.get("/api/v1/tasks?limit=1000").json()
    summary = api.get(SUMMARY).json()
    def count(status):
        return sum(task["status"] == status for task in tasks)
    assert summary == {
        "total_tasks": len(tasks), "pending_tasks": count("pending"),
        "in_progress_tasks": count("in_progress"), "completed_tasks": count("completed"),
        "failed_tasks": count("failed"),
        "blocked_tasks": sum(task["flags"]["is_blocked"] for task in tasks),
        "urgent_tasks": sum(task["flags"]["is_urgent"] for task in tasks),
        "avg_progress": pytest.approx(
            sum(task["progress"]["percentage"] for task in tasks) / max(len(tasks), 1)),
        "completion_rate": pytest.approx(count("completed") / max(len(tasks), 1) * 100)}, seed
    for agent in agents:
        now = agent_now(api, agent)
        open_ones = {task["id"] for task in tasks if task["assigned_agent"]["id"] == agent["id"]
                     and task["status"] in ("pending", "in_progress", "blocked")}
        assert (now["status"] == "busy") == bool(open_ones), seed
        assert (now["current_task"]["id"] in open_ones) == bool(open_ones), seed


@run_async
async def test_events_on_the_first_versions_socket(server, api):
    async with Socket(server, "/ws") as socket:
        task = create(api, title=unique("task"))
        patch(api, task, "status", {"status": "in_progress"})
        patch(api, task, "progress", {"progress_percentage": 5})
        api.patch("/api/v1/tasks/bulk", {"task_ids": [task["id"]],
                                         "updates": {"due_date": "2027-01-01T00:00:00Z"}})
        api.delete(f"/api/v1/tasks/{task['id']}")
        seen = []
        while not seen or seen[-1]["type"] != "task_deleted":
            frame = await socket.receive()
            if frame["type"].startswith("task"):
                seen.append(frame)
    assert [frame["type"] for frame in seen] == [
        "task_created", "task_status_updated", "task_progress_updated", "tasks_bulk_updated",
        "task_deleted"]
    assert seen[0]["data"] == task
    assert seen[1]["data"] == {"task_id": task["id"], "old_status": "pending",
                               "new_status": "in_progress", "progress": 0}
    assert seen[3]["data"] == {"task_ids": [task["id"]],
                               "updates": {"due_date": "2027-01-01T00:00:00Z"}}


def test_a_long_list_is_whole_and_leads_on(fresh):
    api = fresh.client()
    ids = [create(api, title=str(i))["id"] for i in range(620)][::-1]
    answer = api.get("/api/v1/tasks?limit=10000")
    assert [task["id"] for task in answer.json()] == ids and answer.header("Link") is None
    answer = api.get("/api/v1/tasks?limit=600&skip=5")
    assert [task["id"] for task in answer.json()] == ids[5:605]
    link = answer.header("Link").split(";")[0].strip("<>")
    assert [task["id"] for task in api.get(link).json()] == ids[605:]
    answer = api.get("/api/v1/tasks?skip=9223372036854775807&limit=10000")
    assert (answer.status, answer.json()) == (200, [])
