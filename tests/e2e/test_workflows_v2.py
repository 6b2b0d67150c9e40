"""The endpoints of /api/v2/workflows: fields, steps and their graph, errors, what viewers hear."""

import re
import uuid

import pytest

from harness import unique
from sockets import Room, run_async

BASE = "/api/v2/workflows"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
NOBODY = "00000000-0000-4000-8000-000000000000"
FIELDS = {
    "id", "name", "description", "status", "steps", "created_at", "updated_at", "started_at",
    "completed_at", "estimated_completion", "progress", "metadata", "created_by", "scheduled_at",
}
STEP_FIELDS = {
    "id", "name", "task_template", "agent_id", "dependencies", "timeout", "retry_count",
    "max_retries", "status", "started_at", "completed_at", "output", "task_id", "deadline_at",
}


def good(answer, status=200):
    assert answer.status == status, (answer, answer.body)
    workflow = answer.json()
    assert set(workflow) == FIELDS
    for step in workflow["steps"]:
        assert set(step) == STEP_FIELDS
    assert str(uuid.UUID(workflow["id"])) == workflow["id"]
    assert TIME.match(workflow["created_at"]) and TIME.match(workflow["updated_at"])
    assert isinstance(workflow["progress"], float)
    return workflow


def step(key, *dependencies, **members):
    return {
        "id": key, "name": f"Step {key}", "task_template": f"Do {key}",
        "dependencies": list(dependencies), **members,
    }


def make(api, *steps, **members):
    body = {"name": unique("workflow"), "steps": list(steps), **members}
    return good(api.post(BASE, body), 201)


def issues(answer):
    assert answer.status == 422, (answer, answer.body)
    return [(issue["type"], issue["loc"]) for issue in answer.json()["detail"]]


@pytest.mark.parametrize("slash", ["", "/"])
def test_create_with_defaults(api, slash):
    workflow = good(api.post(BASE + slash, {"name": "W", "unknown": 1}), 201)
    assert workflow["description"] == "" and workflow["status"] == "active"
    assert workflow["steps"] == [] and workflow["progress"] == 0
    assert workflow["metadata"] == {}
    assert workflow["started_at"] is workflow["completed_at"] is None
    assert workflow["estimated_completion"] is None
    assert workflow["created_by"] == "local"
    assert good(api.get(f"{BASE}/{workflow['id']}")) == workflow


def test_steps(api):
    agent = api.agent_v2()
    workflow = make(
        api, step("a"), step("b", "a", agent_id=agent["id"], timeout=7, max_retries=0),
        metadata={"k": [1]}, description="d", estimated_completion="2999-01-01T00:00:00Z",
    )
    assert workflow["metadata"] == {"k": [1]} and workflow["description"] == "d"
    assert workflow["estimated_completion"] == "2999-01-01T00:00:00.000000Z"
    assert workflow["steps"] == [
        {"id": "a", "name": "Step a", "task_template": "Do a", "agent_id": None,
         "dependencies": [], "timeout": 300, "retry_count": 0, "max_retries": 3,
         "status": "pending", "started_at": None, "completed_at": None, "output": None,
         "task_id": None, "deadline_at": None},
        {"id": "b", "name": "Step b", "task_template": "Do b", "agent_id": agent["id"],
         "dependencies": ["a"], "timeout": 7, "retry_count": 0, "max_retries": 0,
         "status": "pending", "started_at": None, "completed_at": None, "output": None,
         "task_id": None, "deadline_at": None},
    ]
    assert good(api.get(f"{BASE}/{workflow['id']}")) == workflow
    v1 = api.get(f"/api/v1/workflows/{workflow['id']}").json()
    assert v1["progress"]["total_tasks"] == 2, "each step counts"


@pytest.mark.parametrize("body,problem", [
    ({}, ("missing", ["body", "name"])),
    ({"name": "x" * 256}, ("string_too_long", ["body", "name"])),
    ({"name": "w", "steps": {}}, ("list_type", ["body", "steps"])),
    ({"name": "w", "steps": [1]}, ("dict_type", ["body", "steps", 0])),
    ({"name": "w", "steps": [{}]}, ("missing", ["body", "steps", 0, "id"])),
    ({"name": "w", "steps": [{}]}, ("missing", ["body", "steps", 0, "task_template"])),
    ({"name": "w", "steps": [step("")]}, ("string_too_short", ["body", "steps", 0, "id"])),
    ({"name": "w", "steps": [step("a"), step("a")]}, ("value_error", ["body", "steps", 1, "id"])),
    ({"name": "w", "steps": [step("a", "b")]},
     ("value_error", ["body", "steps", 0, "dependencies", 0])),
    ({"name": "w", "steps": [step("b"), step("a", "b", "b")]},
     ("value_error", ["body", "steps", 1, "dependencies", 1])),
    ({"name": "w", "steps": [step("a", timeout=0)]},
     ("greater_than_equal", ["body", "steps", 0, "timeout"])),
    ({"name": "w", "steps": [step("a", timeout=2592001)]},
     ("less_than_equal", ["body", "steps", 0, "timeout"])),
    ({"name": "w", "steps": [step("a", max_retries=101)]},
     ("less_than_equal", ["body", "steps", 0, "max_retries"])),
    ({"name": "w", "steps": [step("a", agent_id="x")]},
     ("uuid_parsing", ["body", "steps", 0, "agent_id"])),
    ({"name": "w", "steps": [step(str(index)) for index in range(101)]},
     ("too_long", ["body", "steps"])),
    ({"name": "w", "status": "running"}, ("string_pattern_mismatch", ["body", "status"])),
])
def test_create_refuses(api, body, problem):
    assert problem in issues(api.post(BASE, body))


@pytest.mark.parametrize("steps,cycle", [
    ([step("a", "a")], "a -> a"),
    ([step("a", "b"), step("b", "a")], "a -> b -> a"),
    ([step("x"), step("y", "c"), step("a", "x", "c"), step("b", "a"), step("c", "b")],
     "c -> b -> a -> c"),
])
def test_cycles(api, steps, cycle):
    answer = api.post(BASE, {"name": "w", "steps": steps})
    assert answer.status == 409, answer.body
    assert answer.detail == "Steps depend on each other in a cycle: " + cycle
    workflow = make(api, step("a"))
    assert api.put(f"{BASE}/{workflow['id']}", {"steps": steps}).status == 409
    assert good(api.get(f"{BASE}/{workflow['id']}")) == workflow


def test_the_largest_graph(api):
    keys = [f"s{index}" for index in range(100)]
    steps = [step(key, *keys[:index]) for index, key in enumerate(keys)]
    workflow = make(api, *steps)
    assert [s["dependencies"] for s in workflow["steps"]] == [keys[:i] for i in range(100)]


def test_unknown_agent(api):
    answer = api.post(BASE, {"name": "w", "steps": [step("a", agent_id=NOBODY)]})
    assert answer.status == 400 and answer.detail == f"Agent {NOBODY} not found"
    workflow = make(api)
    answer = api.put(f"{BASE}/{workflow['id']}", {"steps": [step("a", agent_id=NOBODY)]})
    assert answer.status == 400 and answer.detail == f"Agent {NOBODY} not found"


@pytest.mark.parametrize("method,tail,body", [
    ("GET", "", None), ("PUT", "", {}), ("DELETE", "", None), ("POST", "/execute", None),
])
@pytest.mark.parametrize("unknown", [NOBODY, "nope"])
def test_unknown_ids(api, method, tail, body, unknown):
    answer = api.request(method, f"{BASE}/{unknown}{tail}", body)
    assert answer.status == 404 and answer.detail == f"Workflow {unknown} not found"


def test_update(api):
    workflow = make(api, step("a"))
    path = f"{BASE}/{workflow['id']}"
    changed = good(api.put(path, {"name": "n", "steps": [step("x"), step("y", "x")]}))
    assert [s["id"] for s in changed["steps"]] == ["x", "y"]
    assert good(api.put(path, {"status": "paused"}))["status"] == "paused"
    assert good(api.get(path))["name"] == "n"
    for body in ({"name": None}, {"steps": None}, {"status": "nope"}, {"metadata": 1}):
        assert issues(api.put(path, body))
    old = changed["updated_at"]
    assert good(api.put(path, {"steps": []}))["updated_at"] > old
    etag = api.get(path).header("ETag")
    api.put(path, {"name": "newer"})
    assert api.put(path, {"name": "z"}, headers={"If-Match": etag}).status == 412
    assert api.delete(path).status == 204
    assert api.get(path).status == 404


def test_list_and_cache(fresh):
    api = fresh.client()
    assert api.get(BASE).json() == []
    made = [make(api, step("a"), step("b", "a")), make(api), make(api, step("c"))]
    answer = api.get(BASE)
    assert answer.json() == made[::-1], "what was cached is dropped by what is new"
    assert answer.header("X-Cache") == "MISS" and api.get(BASE).header("X-Cache") == "HIT"
    assert answer.header("X-Total-Count") == "3"
    assert api.get(f"{BASE}?skip=1&limit=1").json() == [made[1]]
    assert api.get(f"{BASE}?status=paused").json() == []
    one = f"{BASE}/{made[0]['id']}"
    assert api.get(one).header("X-Cache") == "MISS" and api.get(one).header("X-Cache") == "HIT"
    api.patch(f"/api/v1/workflows/{made[0]['id']}/status", {"status": "paused"})
    assert api.get(one).json()["status"] == "paused"
    assert [w["id"] for w in api.get(f"{BASE}?status=paused").json()] == [made[0]["id"]]
    for query in ("limit=0", "limit=201", "skip=-1", "status=nope"):
        assert issues(api.get(f"{BASE}?{query}"))


@pytest.mark.parametrize("form", [str.upper, lambda text: text.replace("-", "")])
def test_the_cache_knows_an_id_in_every_form(api, form):
    workflow = make(api)
    path = f"{BASE}/{form(workflow['id'])}"
    assert api.get(path).json() == workflow
    changed = api.put(f"{BASE}/{workflow['id']}", {"name": "changed"}).json()
    assert api.get(path).json() == changed


def test_rate_limit(make_server):
    api = make_server(RATE_LIMIT_MULTIPLIER=1).client()
    workflow = make(api)
    statuses = [api.post(f"{BASE}/{workflow['id']}/execute").status for _ in range(11)]
    assert statuses == [200] * 10 + [429]


def test_execute_without_steps(api):
    workflow = make(api)
    answer = api.post(f"{BASE}/{workflow['id']}/execute")
    assert answer.status == 200
    assert answer.json() == {
        "message": "Workflow execution started", "workflow_id": workflow["id"],
    }
    assert good(api.get(f"{BASE}/{workflow['id']}"))["status"] == "running"


@run_async
async def test_viewers_of_version_2(fresh):
    api = fresh.client()
    async with Room(fresh, "workflows", path="/ws/v2?rooms_only=true") as viewer:
        workflow = make(api, step("a"))
        heard = await viewer.receive_type("workflow_update")
        assert heard["room"] == "workflows"
        assert heard["data"] == {
            "event": "workflow_created", "workflow": workflow, "created_by": "local",
        }
        await viewer.ask({"type": "join_room", "room": f"workflow:{workflow['id']}"}, "join_room")
        changed = api.put(f"{BASE}/{workflow['id']}", {"name": "n"}).json()
        heard = await viewer.receive_type("workflow_update")
        assert heard["data"] == {
            "event": "workflow_updated", "workflow": changed, "updated_by": "local",
        }
        api.patch(f"/api/v1/workflows/{workflow['id']}/status", {"status": "paused"})
        heard = await viewer.receive_type("workflow_update")
        assert heard["data"] == {
            "event": "workflow_status_updated", "workflow_id": workflow["id"],
            "old_status": "active", "new_status": "paused", "progress": 0,
            "updated_by": "local",
        }
        api.delete(f"{BASE}/{workflow['id']}")
        heard = await viewer.receive_type("workflow_update")
        assert heard["data"] == {
            "event": "workflow_deleted", "workflow_id": workflow["id"], "deleted_by": "local",
        }
