"""What the reference's own web dashboard asks for without a version in the path."""

import re

import pytest

from harness import Client

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
PATHS = ("/api/dashboard/overview", "/api/agents", "/api/agents/detailed", "/api/tasks/recent",
         "/api/tasks", "/api/metrics", "/api/history")


def numbers(value, names):
    assert set(value) == set(names)
    for name in names:
        assert isinstance(value[name], (int, float)) and not isinstance(value[name], bool), name


@pytest.fixture
def fleet(make_server):
    """Two agents and three tasks: one done, one failed, one to do."""
    server = make_server()
    api = Client(server.port)
    server.busy = api.agent_v1(name="Digger", agent_type="Development", status="error",
                               model="claude-3-opus", capabilities=["dig"])
    api.agent_v1(name="Scout", agent_type="Quality")
    server.tasks = {}
    for title, priority in (("first", "critical"), ("second", "low"), ("third", "medium")):
        answer = api.post("/api/v1/tasks/", {"title": title, "priority": priority, "tags": ["x"]})
        assert answer.status == 200, answer
        server.tasks[title] = answer.json()["id"]
    for title, path in (("first", ("in_progress", "completed")), ("second", ("failed",))):
        for status in path:
            answer = api.patch(f"/api/v1/tasks/{server.tasks[title]}/status", {"status": status})
            assert answer.status == 200, answer
    server.api = api
    return server


def test_overview(fleet):
    body = fleet.api.get("/api/dashboard/overview").json()
    assert body["agents"] == {"total": 2, "active": 0, "idle": 1, "error": 1}
    assert body["tasks"] == {"completed": 1, "pending": 1, "failed": 1, "total": 3}
    numbers(body["system"], ("uptime", "cpu", "memory", "connections"))
    assert body["system"]["memory"] > 0


def test_agents_in_short(fleet):
    agents = fleet.api.get("/api/agents").json()["agents"]
    assert agents[0] == {
        "id": fleet.busy["id"], "name": "Digger", "type": "Development", "status": "error",
        "lastActive": "just now", "tasksCompleted": 0,
    }
    assert [agent["name"] for agent in agents] == ["Digger", "Scout"]


def test_agents_in_detail(fleet):
    agent = fleet.api.get("/api/agents/detailed").json()["agents"][0]
    assert agent["model"] == "Claude 3 Opus"
    assert agent["capabilities"] == ["dig"]
    assert TIME.match(agent["createdAt"])
    assert agent["performance"] == {"successRate": 0.0, "avgResponseTime": 0.0, "totalTasks": 0}


def test_recent_tasks(fleet):
    tasks = fleet.api.get("/api/tasks/recent").json()["tasks"]
    assert [(task["title"], task["status"], task["priority"]) for task in tasks] == [
        ("third", "pending", "medium"), ("second", "failed", "low"), ("first", "completed", "high"),
    ]
    assert all(task["agent"] == "Unassigned" for task in tasks)
    assert tasks[2]["duration"] >= 0
    assert tasks[0]["timestamp"] == "just now"


def test_a_task_that_was_reopened_took_no_time_yet(fleet):
    for status in ("pending", "in_progress"):
        answer = fleet.api.patch(f"/api/v1/tasks/{fleet.tasks['first']}/status",
                                 {"status": status})
        assert answer.status == 200
    (task,) = [one for one in fleet.api.get("/api/tasks/recent").json()["tasks"]
               if one["title"] == "first"]
    assert task["status"] == "in_progress" and "duration" not in task


def test_recent_tasks_are_ten(fleet):
    for i in range(9):
        assert fleet.api.post("/api/v1/tasks/", {"title": f"more {i}"}).status == 200
    assert len(fleet.api.get("/api/tasks/recent").json()["tasks"]) == 10


def test_the_board(fleet):
    tasks = fleet.api.get("/api/tasks").json()["tasks"]
    assert [(task["title"], task["status"]) for task in tasks] == [
        ("third", "todo"), ("second", "review"), ("first", "done"),
    ]
    for task in tasks:
        assert task["tags"] == ["x"] and task["dependencies"] == []
        assert isinstance(task["description"], str)
        assert TIME.match(task["createdAt"]) and TIME.match(task["updatedAt"])


@pytest.mark.parametrize("span, days", [("24h", 2), (None, 8), ("7d", 8), ("30d", 31),
                                        ("90d", 91)])
def test_metrics(fleet, span, days):
    body = fleet.api.get("/api/metrics" + (f"?range={span}" if span else "")).json()
    assert len(body["taskCompletion"]) == len(body["productivity"]) == days
    today = body["taskCompletion"][-1]
    assert (today["completed"], today["failed"], today["total"]) == (1, 1, 2)
    assert body["productivity"][-1]["efficiency"] == 50.0
    assert body["productivity"][0]["efficiency"] == 0
    assert [agent["agentName"] for agent in body["agentPerformance"]] == ["Digger", "Scout"]
    assert len(body["systemHealth"]) == 24
    assert body["systemHealth"][-1]["memory"] > 0
    assert body["systemHealth"][0]["memory"] == 0


def test_history(fleet):
    events = fleet.api.get("/api/history?range=1h").json()["events"]
    assert [(event["type"], event["task"], event["status"]) for event in events] == [
        ("task_failed", "second", "error"), ("task_completed", "first", "success"),
        ("task_created", "third", "info"), ("task_created", "second", "info"),
        ("task_created", "first", "info"),
    ]
    for event in events:
        assert event["title"] and event["description"] == event["task"]
        assert TIME.match(event["timestamp"])


def test_history_tells_what_happened_however_it_was_asked_for(fleet):
    """By a PUT, by progress or with the task itself."""
    api, agent = fleet.api, fleet.busy["id"]
    made = api.post("/api/v1/tasks/", {"title": "given", "assigned_agent_id": agent}).json()["id"]
    assert api.patch(f"/api/v1/tasks/{made}/progress", {"progress_percentage": 40}).status == 200
    assert api.patch(f"/api/v1/tasks/{made}/progress", {"progress_percentage": 100}).status == 200
    third = fleet.tasks["third"]
    assert api.put(f"/api/v1/tasks/{third}", {"assigned_agent_id": agent}).status == 200
    assert api.put(f"/api/v1/tasks/{third}", {"status": "failed"}).status == 200
    assert api.put(f"/api/v1/tasks/{third}", {"tags": ["late"]}).status == 200
    events = api.get("/api/history").json()["events"]
    assert [(event["type"], event["task"], event.get("agent")) for event in events[:5]] == [
        ("task_failed", "third", "Digger"), ("agent_assigned", "third", "Digger"),
        ("task_completed", "given", "Digger"), ("agent_assigned", "given", "Digger"),
        ("task_created", "given", "Digger"),
    ]
    assert len({event["id"] for event in events}) == len(events)
    today = api.get("/api/metrics?range=24h").json()
    assert today["taskCompletion"][-1] == {
        "date": today["productivity"][-1]["date"], "completed": 2, "failed": 2, "total": 4}
    assert today["productivity"][-1]["agentsActive"] == 1


def test_history_names_workflows(fleet):
    made = fleet.api.post("/api/v1/workflows/", {"name": "Release"})
    assert made.status == 200, made
    path = f"/api/v1/workflows/{made.json()['id']}"
    assert fleet.api.post(f"{path}/execute", {}).status == 200
    assert fleet.api.patch(f"{path}/status", {"status": "completed"}).status == 200
    events = fleet.api.get("/api/history").json()["events"]
    assert [event["description"] for event in events if event["type"] == "workflow_completed"] == [
        "Release",
    ]


@pytest.mark.parametrize("path, span", [("/api/metrics", "1h"), ("/api/history", "2h")])
def test_another_range_is_refused(fleet, path, span):
    answer = fleet.api.get(f"{path}?range={span}")
    assert answer.status == 422
    assert answer.detail[0]["loc"] == ["query", "range"]


@pytest.mark.parametrize("path", PATHS)
def test_an_empty_server_answers_too(fresh, path):
    assert Client(fresh.port).get(path).status == 200


@pytest.mark.parametrize("path", PATHS)
def test_the_page_may_ask(api, path):
    """Each of its requests is preflighted, since it says Content-Type even on GET."""
    headers = {"Origin": "http://localhost:3001", "Access-Control-Request-Method": "GET",
               "Access-Control-Request-Headers": "content-type"}
    answer = api.request("OPTIONS", path, headers=headers)
    assert answer.status == 204
    assert answer.header("Access-Control-Allow-Origin") == "http://localhost:3001"
    assert "GET" in answer.header("Access-Control-Allow-Methods")
    assert "content-type" in answer.header("Access-Control-Allow-Headers").lower()
