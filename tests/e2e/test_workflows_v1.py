"""The endpoints of /api/v1/workflows: every field, status, error and rule of the contract."""

import re
import uuid

import pytest

from harness import unique
from sockets import Socket, run_async

BASE = "/api/v1/workflows"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
NOBODY = "00000000-0000-4000-8000-000000000000"
LATER = "2999-01-02T03:04:05.000000Z"
STATUSES = (
    "active", "inactive", "paused", "completed", "failed", "cancelled", "running", "scheduled",
)


def is_time(text):
    return isinstance(text, str) and bool(TIME.match(text))


def maybe(holds):
    return lambda value: value is None or holds(value)


def is_text(value):
    return isinstance(value, str)


def is_float(value):
    return isinstance(value, float)


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_object(value):
    return isinstance(value, dict)


# Every row of the response table, with what its value has to be.
FIELDS = {
    "id": lambda v: str(uuid.UUID(v)) == v,
    "name": is_text,
    "description": maybe(is_text),
    "status": lambda v: v in STATUSES,
    "workflow_type": maybe(is_text),
    "project": {"id": maybe(is_text), "name": maybe(is_text)},
    "configuration": is_object,
    "parameters": is_object,
    "progress": {
        "percentage": is_float, "total_tasks": is_count, "completed_tasks": is_count,
        "failed_tasks": is_count,
    },
    "time_tracking": {
        "estimated_duration_hours": maybe(is_float), "actual_duration_hours": maybe(is_float),
        "started_at": maybe(is_time), "completed_at": maybe(is_time),
    },
    "quality_metrics": {
        "success_rate": is_float, "quality_score": maybe(is_float),
        "efficiency_score": maybe(is_float),
    },
    "agents": {"assigned": lambda v: isinstance(v, list), "utilization": is_object},
    "tags": lambda v: isinstance(v, list) and all(map(is_text, v)),
    "metadata": is_object,
    "flags": {name: lambda v: isinstance(v, bool)
              for name in ("is_paused", "is_template", "requires_approval")},
    "created_at": is_time,
    "updated_at": is_time,
    "scheduled_at": maybe(is_time),
}


def check_shape(value, fields=FIELDS):
    assert set(value) == set(fields)
    for name, holds in fields.items():
        if isinstance(holds, dict):
            check_shape(value[name], holds)
        else:
            assert holds(value[name]), (name, value[name])


def good(answer, status=200):
    assert answer.status == status, (answer, answer.body)
    workflow = answer.json()
    check_shape(workflow)
    return workflow


def make(api, **members):
    return good(api.post(BASE + "/", {"name": unique("workflow"), **members}))


def issues(answer):
    assert answer.status == 422, (answer, answer.body)
    return [(issue["type"], issue["loc"]) for issue in answer.json()["detail"]]


def check_problem(answer, status, detail):
    assert answer.status == status, (answer, answer.body)
    assert answer.detail == detail


# ---- Create, get, list, delete -----------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_create_with_defaults(api, slash):
    workflow = good(api.post(BASE + slash, {"name": "Release", "unknown": 1, "steps": "ignored"}))
    assert workflow["name"] == "Release"
    assert workflow["status"] == "active"
    assert workflow["description"] is None
    assert workflow["progress"] == {
        "percentage": 0, "total_tasks": 0, "completed_tasks": 0, "failed_tasks": 0,
    }
    assert workflow["flags"] == {
        "is_paused": False, "is_template": False, "requires_approval": False,
    }
    assert workflow["agents"] == {"assigned": [], "utilization": {}}
    assert workflow["created_at"] == workflow["updated_at"]
    assert good(api.get(f"{BASE}/{workflow['id']}")) == workflow


def test_create_with_everything(api):
    agent = api.agent_v1()
    entry = {"id": agent["id"], "name": "Ann", "role": "lead"}
    workflow = make(
        api, description="d", workflow_type="ci", configuration={"a": [1, 0.7]},
        parameters={"p": None}, metadata={"kept": "ä"}, tags=["x", "y"], status="inactive",
        project_id="p1", project_name="Project", estimated_duration_hours=1.5,
        assigned_agents=[entry], is_template=True, requires_approval=True, scheduled_at=LATER,
    )
    assert workflow["configuration"] == {"a": [1, 0.7]}
    assert workflow["parameters"] == {"p": None}
    assert workflow["metadata"] == {"kept": "ä"}
    assert workflow["tags"] == ["x", "y"]
    assert workflow["project"] == {"id": "p1", "name": "Project"}
    assert workflow["agents"]["assigned"] == [entry]
    assert workflow["time_tracking"]["estimated_duration_hours"] == 1.5
    assert workflow["flags"]["is_template"] and workflow["flags"]["requires_approval"]
    assert workflow["scheduled_at"] == LATER
    assert workflow["status"] == "inactive"
    assert api.get(f"{BASE}/{workflow['id']}").json() == workflow


@pytest.mark.parametrize("body,problem", [
    ({}, ("missing", ["body", "name"])),
    ({"name": ""}, ("string_too_short", ["body", "name"])),
    ({"name": "n" * 256}, ("string_too_long", ["body", "name"])),
    ({"name": 5}, ("string_type", ["body", "name"])),
    ({"name": "n", "status": "running"}, ("string_pattern_mismatch", ["body", "status"])),
    ({"name": "n", "status": ""}, ("string_pattern_mismatch", ["body", "status"])),
    ({"name": "n", "workflow_type": "t" * 101}, ("string_too_long", ["body", "workflow_type"])),
    ({"name": "n", "project_id": "p" * 256}, ("string_too_long", ["body", "project_id"])),
    ({"name": "n", "configuration": []}, ("dict_type", ["body", "configuration"])),
    ({"name": "n", "tags": "x"}, ("list_type", ["body", "tags"])),
    ({"name": "n", "estimated_duration_hours": 0},
     ("greater_than", ["body", "estimated_duration_hours"])),
    ({"name": "n", "scheduled_at": "soon"}, ("datetime_parsing", ["body", "scheduled_at"])),
    ({"name": "n", "assigned_agents": {}}, ("list_type", ["body", "assigned_agents"])),
    ({"name": "n", "assigned_agents": [1]}, ("dict_type", ["body", "assigned_agents", 0])),
    ({"name": "n", "assigned_agents": [{"name": "x"}]},
     ("value_error", ["body", "assigned_agents", 0])),
    ({"name": "n", "assigned_agents": [{"id": 7}]},
     ("string_type", ["body", "assigned_agents", 0, "id"])),
    ({"name": "n", "is_template": "perhaps"}, ("bool_type", ["body", "is_template"])),
])
def test_create_refuses(api, body, problem):
    assert problem in issues(api.post(BASE + "/", body))


@pytest.mark.parametrize("agent", [NOBODY, "not-an-id", ""])
def test_create_with_an_unknown_agent(api, agent):
    answer = api.post(BASE + "/", {"name": "n", "assigned_agents": [{"id": agent}]})
    check_problem(answer, 400, f"Agent {agent} not found")


@pytest.mark.parametrize("method,path,body", [
    ("GET", "", None), ("PUT", "", {}), ("DELETE", "", None),
    ("PATCH", "/status", {"status": "active"}),
    ("PATCH", "/progress", {"progress_percentage": 1}),
    ("POST", "/agents", {"agent_id": "x"}), ("DELETE", "/agents/x", None),
    ("POST", "/execute", {}), ("PATCH", "/start", None), ("PATCH", "/complete", None),
])
def test_unknown_and_malformed_ids(api, method, path, body):
    check_problem(api.request(method, f"{BASE}/{NOBODY}{path}", body), 404, "Workflow not found")
    found = issues(api.request(method, f"{BASE}/nope{path}", body))
    assert ("uuid_parsing", ["path", "workflow_id"]) in found


def test_list_newest_first_with_filters(fresh):
    api = fresh.client()
    mine = [make(api, workflow_type="t", project_id="p", status="inactive"),
            make(api, workflow_type="t", is_template=True), make(api, project_id="p")]
    names = [workflow["name"] for workflow in mine]

    def listed(query):
        answer = api.get(f"{BASE}/{query}")
        assert answer.status == 200, answer.body
        return [names.index(workflow["name"]) for workflow in answer.json()]

    assert listed("") == [2, 1, 0]
    assert listed("?skip=1&limit=1") == [1]
    assert listed("?skip=999999999999") == []
    assert listed("?status=inactive") == [0]
    assert listed("?status=running") == listed("?status=scheduled") == []
    assert listed("?workflow_type=t") == [1, 0]
    assert listed("?workflow_type=") == [2, 1, 0]
    assert listed("?project_id=p&workflow_type=t") == [0]
    assert listed("?is_template=yes") == [1]
    assert listed("?is_template=0") == [2, 0]
    page = api.get(f"{BASE}/?project_id=p&limit=1")
    assert page.header("X-Total-Count") == "2" and page.header("X-Total-Pages") == "2"
    assert api.get(f"{BASE}/?status=inactive").header("X-Total-Count") == "1"


@pytest.mark.parametrize("query,problem", [
    ("status=", "status"), ("status=nope", "status"), ("is_template=perhaps", "is_template"),
    ("skip=-1", "skip"), ("limit=0", "limit"), ("limit=10001", "limit"), ("limit=x", "limit"),
])
def test_list_refuses(api, query, problem):
    assert issues(api.get(f"{BASE}/?{query}"))[0][1] == ["query", problem]


def test_a_long_list_is_streamed_whole(fresh):
    api = fresh.client()
    for index in range(620):
        make(api, name=f"w{index}")
    answer = api.get(f"{BASE}/?limit=10000&skip=10")
    assert [w["name"] for w in answer.json()] == [f"w{index}" for index in range(609, -1, -1)]
    assert answer.header("X-Total-Count") == "620"


def test_delete(api):
    workflow = make(api)
    answer = api.delete(f"{BASE}/{workflow['id']}")
    assert answer.status == 200
    assert answer.json() == {"message": "Workflow deleted successfully"}
    check_problem(api.get(f"{BASE}/{workflow['id']}"), 404, "Workflow not found")


# ---- Update ------------------------------------------------------------------------------------


def test_update_changes_only_what_is_sent(api):
    workflow = make(api, description="d", tags=["x"])
    changed = good(api.put(f"{BASE}/{workflow['id']}", {
        "name": "new", "description": None, "metadata": {"k": 1}, "progress_percentage": 40,
        "total_tasks": 10, "completed_tasks": 4, "failed_tasks": 1, "success_rate": 80,
        "quality_score": 90, "efficiency_score": 70, "actual_duration_hours": 2,
        "agent_utilization": {"a": 0.5}, "is_paused": True, "requires_approval": True,
        "assigned_agents": [{"name": "without id"}],
    }))
    assert changed["name"] == "new" and changed["description"] is None
    assert changed["tags"] == ["x"] and changed["metadata"] == {"k": 1}
    assert changed["progress"] == {
        "percentage": 40, "total_tasks": 10, "completed_tasks": 4, "failed_tasks": 1,
    }
    assert changed["quality_metrics"] == {
        "success_rate": 80, "quality_score": 90, "efficiency_score": 70,
    }
    assert changed["time_tracking"]["actual_duration_hours"] == 2
    assert changed["agents"] == {
        "assigned": [{"name": "without id"}], "utilization": {"a": 0.5},
    }
    assert changed["flags"]["is_paused"] and changed["flags"]["requires_approval"]
    assert changed["updated_at"] > workflow["updated_at"]
    again = good(api.put(f"{BASE}/{workflow['id']}", {}))
    assert {**again, "updated_at": ""} == {**changed, "updated_at": ""}


@pytest.mark.parametrize("body,problem", [
    ({"name": None}, ["body", "name"]),
    ({"status": None}, ["body", "status"]),
    ({"progress_percentage": 101}, ["body", "progress_percentage"]),
    ({"total_tasks": -1}, ["body", "total_tasks"]),
    ({"total_tasks": 1, "completed_tasks": 2}, ["body", "completed_tasks"]),
    ({"quality_score": -1}, ["body", "quality_score"]),
    ({"actual_duration_hours": 0}, ["body", "actual_duration_hours"]),
    ({"agent_utilization": 1}, ["body", "agent_utilization"]),
])
def test_update_refuses(api, body, problem):
    workflow = make(api)
    assert problem in [loc for _, loc in issues(api.put(f"{BASE}/{workflow['id']}", body))]
    assert api.get(f"{BASE}/{workflow['id']}").json() == workflow


def test_if_match(api):
    path = f"{BASE}/{make(api)['id']}"
    old = api.get(path).header("ETag")
    new = api.put(path, {"name": "x"}).header("ETag")
    assert old != new
    assert api.get(path, headers={"If-None-Match": new}).status == 304
    for method, tail, body in (
        ("PUT", "", {"name": "y"}), ("PATCH", "/status", {"status": "paused"}),
        ("PATCH", "/progress", {"progress_percentage": 1}), ("DELETE", "", None),
    ):
        assert api.request(method, path + tail, body, headers={"If-Match": old}).status == 412
    assert api.delete(path, headers={"If-Match": new}).status == 200


# ---- Status, progress, agents ------------------------------------------------------------------


def set_status(api, workflow, status, **more):
    return good(api.patch(f"{BASE}/{workflow['id']}/status", {"status": status, **more}))


def test_status_transitions(api):
    workflow = make(api)
    paused = set_status(api, workflow, "paused")
    assert paused["status"] == "paused" and paused["flags"]["is_paused"]
    active = set_status(api, workflow, "active", progress_percentage=33)
    assert active["status"] == "active" and not active["flags"]["is_paused"]
    assert active["progress"]["percentage"] == 33
    running = set_status(api, workflow, "running")
    assert running["status"] == "running" and running["time_tracking"]["started_at"]
    done = set_status(api, workflow, "completed")
    assert done["status"] == "completed" and done["progress"]["percentage"] == 100
    assert done["time_tracking"]["completed_at"]
    assert done["time_tracking"]["actual_duration_hours"] >= 0
    for status in ("failed", "cancelled", "inactive", "scheduled"):
        assert set_status(api, workflow, status)["status"] == status


def test_completing_takes_the_success_rate_from_the_counters(api):
    workflow = make(api)
    api.put(f"{BASE}/{workflow['id']}", {"total_tasks": 8, "completed_tasks": 6})
    done = set_status(api, workflow, "completed", progress_percentage=75)
    assert done["quality_metrics"]["success_rate"] == 75
    assert done["progress"]["percentage"] == 75, "the percentage sent is applied last"


@pytest.mark.parametrize("body,problem", [
    ({}, ("missing", ["body", "status"])),
    ({"status": "nope"}, ("string_pattern_mismatch", ["body", "status"])),
    ({"status": "active", "progress_percentage": 101},
     ("less_than_equal", ["body", "progress_percentage"])),
])
def test_status_refuses(api, body, problem):
    assert problem in issues(api.patch(f"{BASE}/{make(api)['id']}/status", body))


def set_progress(api, workflow, **body):
    return good(api.patch(f"{BASE}/{workflow['id']}/progress", body))


def test_progress(api):
    workflow = make(api)
    kept = set_progress(api, workflow, progress_percentage=40)
    assert kept["progress"]["percentage"] == 40, "without counters the percentage sent is kept"
    counted = set_progress(api, workflow, progress_percentage=1, total_tasks=10,
                           completed_tasks=3, failed_tasks=1)
    assert counted["progress"] == {
        "percentage": 30, "total_tasks": 10, "completed_tasks": 3, "failed_tasks": 1,
    }
    assert counted["quality_metrics"]["success_rate"] == 75
    done = set_progress(api, workflow, progress_percentage=100)
    assert done["status"] == "completed" and done["progress"]["percentage"] == 100
    assert done["time_tracking"]["completed_at"]


@pytest.mark.parametrize("body,problem", [
    ({}, ("missing", ["body", "progress_percentage"])),
    ({"progress_percentage": -1}, ("greater_than_equal", ["body", "progress_percentage"])),
    ({"progress_percentage": 1, "failed_tasks": -1},
     ("greater_than_equal", ["body", "failed_tasks"])),
    ({"progress_percentage": 1, "total_tasks": 1, "completed_tasks": 2},
     ("value_error", ["body", "completed_tasks"])),
])
def test_progress_refuses(api, body, problem):
    assert problem in issues(api.patch(f"{BASE}/{make(api)['id']}/progress", body))


def test_an_agent_in_capitals_is_the_same_one(api):
    agent = api.agent_v1()
    path = f"{BASE}/{make(api)['id']}/agents"
    own = {"id": agent["id"], "name": agent["name"]}
    capitals = agent["id"].upper()
    assert good(api.post(path, {"agent_id": capitals}))["agents"]["assigned"] == [own]
    assert good(api.post(path, {"agent_id": agent["id"]}))["agents"]["assigned"] == [own]
    assert good(api.delete(f"{path}/{capitals}"))["agents"]["assigned"] == []
    sent = {"id": capitals, "name": "as it was sent"}
    path = f"{BASE}/{make(api, assigned_agents=[sent])['id']}/agents"
    assert good(api.delete(f"{path}/{agent['id']}"))["agents"]["assigned"] == []


def test_agents(api):
    workflow = make(api)
    agent = api.agent_v1()
    path = f"{BASE}/{workflow['id']}/agents"
    own = {"id": agent["id"], "name": agent["name"]}
    other = {"id": agent["id"], "name": "Ann"}
    assert good(api.post(path, {"agent_id": agent["id"]}))["agents"]["assigned"] == [own]
    assert good(api.post(path, {"agent_id": agent["id"]}))["agents"]["assigned"] == [own]
    named = good(api.post(path, {"agent_id": agent["id"], "agent_name": "Ann"}))
    assert named["agents"]["assigned"] == [own, other]
    assert good(api.delete(f"{path}/{NOBODY}"))["agents"]["assigned"] == [own, other]
    assert good(api.delete(f"{path}/{agent['id']}"))["agents"]["assigned"] == []
    assert good(api.get(f"{BASE}/{workflow['id']}"))["agents"]["assigned"] == []
    for unknown in (NOBODY, "not-an-id"):
        check_problem(api.post(path, {"agent_id": unknown}), 400, "Agent not found")
    assert issues(api.post(path, {})) == [("missing", ["body", "agent_id"])]
    assert issues(api.post(path, {"agent_id": ""})) == [("string_too_short", ["body", "agent_id"])]


# ---- Templates, execution, summary -------------------------------------------------------------


def test_template(api):
    template = good(api.post(f"{BASE}/templates", {
        "name": "T", "workflow_type": "ci", "default_agents": [{"role": "any", "count": 2}],
        "parameters": {"a": 1}, "estimated_duration_hours": 3, "tags": ["t"],
    }))
    assert template["flags"]["is_template"] and template["status"] == "inactive"
    assert template["agents"]["assigned"] == [{"role": "any", "count": 2}]
    assert good(api.get(f"{BASE}/{template['id']}")) == template
    assert issues(api.post(f"{BASE}/templates", {"name": "T"})) == [
        ("missing", ["body", "workflow_type"])]
    assert issues(api.post(f"{BASE}/templates", {
        "name": "T", "workflow_type": "x", "estimated_duration_hours": 0,
    })) == [("greater_than", ["body", "estimated_duration_hours"])]


def test_execute_now(api):
    workflow = make(api, parameters={"kept": 1, "changed": 1})
    set_status(api, workflow, "paused")
    running = good(api.post(f"{BASE}/{workflow['id']}/execute", {
        "workflow_id": workflow["id"], "parameters": {"changed": 2, "new": 3},
        "assigned_agents": [{"id": "x"}],
    }))
    assert running["status"] == "running" and not running["flags"]["is_paused"]
    assert is_time(running["time_tracking"]["started_at"])
    assert running["parameters"] == {"kept": 1, "changed": 2, "new": 3}
    assert running["agents"]["assigned"] == [{"id": "x"}]
    again = good(api.post(f"{BASE}/{workflow['id']}/execute", {"assigned_agents": []}))
    assert again["agents"]["assigned"] == [{"id": "x"}]
    assert good(api.get(f"{BASE}/{workflow['id']}")) == again


def test_execute_later(api):
    workflow = make(api)
    scheduled = good(api.post(f"{BASE}/{workflow['id']}/execute", {"scheduled_at": LATER}))
    assert scheduled["status"] == "scheduled" and scheduled["scheduled_at"] == LATER
    assert scheduled["time_tracking"]["started_at"] is None
    assert scheduled["id"] in [w["id"] for w in api.get(f"{BASE}/?status=scheduled").json()]


@pytest.mark.parametrize("body,problem", [
    ({"parameters": 1}, ("dict_type", ["body", "parameters"])),
    ({"scheduled_at": "x"}, ("datetime_parsing", ["body", "scheduled_at"])),
    ({"workflow_id": "x"}, ("uuid_parsing", ["body", "workflow_id"])),
    ({"assigned_agents": [1]}, ("dict_type", ["body", "assigned_agents", 0])),
])
def test_execute_refuses(api, body, problem):
    assert problem in issues(api.post(f"{BASE}/{make(api)['id']}/execute", body))


def test_parameters_cannot_grow_without_end(api):
    path = f"{BASE}/{make(api, parameters={'a': 'x' * 300_000})['id']}"
    answer = api.post(f"{path}/execute", {"parameters": {"b": "x" * 300_000}})
    check_problem(answer, 413, "A workflow's parameters may have 524288 bytes")
    assert set(api.get(path).json()["parameters"]) == {"a"}


def test_other_names_of_start_and_complete(api):
    workflow = make(api)
    assert good(api.patch(f"{BASE}/{workflow['id']}/start"))["status"] == "running"
    assert good(api.patch(f"{BASE}/{workflow['id']}/complete"))["status"] == "completed"


def test_summary(fresh):
    api = fresh.client()
    empty = {
        "total_workflows": 0, "active_workflows": 0, "paused_workflows": 0,
        "completed_workflows": 0, "failed_workflows": 0, "template_workflows": 0,
        "avg_progress": 0, "avg_success_rate": 0,
    }
    assert api.get(f"{BASE}/stats/summary").json() == empty
    first, second, third = make(api), make(api, status="failed"), make(api, status="paused")
    api.post(f"{BASE}/templates", {"name": "t", "workflow_type": "x"})
    set_progress(api, first, progress_percentage=0, total_tasks=3, completed_tasks=1)
    set_status(api, second, "completed")
    assert api.get(f"{BASE}/stats/summary").json() == {
        "total_workflows": 4, "active_workflows": 1, "paused_workflows": 1,
        "completed_workflows": 1, "failed_workflows": 0, "template_workflows": 1,
        "avg_progress": pytest.approx((100 / 3 + 100) / 4, abs=1e-6), "avg_success_rate": 25,
    }
    for workflow in (first, second, third):
        api.delete(f"{BASE}/{workflow['id']}")
    assert api.get(f"{BASE}/stats/summary").json() == {
        **empty, "total_workflows": 1, "template_workflows": 1}


# ---- What viewers hear -------------------------------------------------------------------------


@run_async
async def test_viewers_of_version_1(fresh):
    api = fresh.client()
    agent = api.agent_v1()
    async with Socket(fresh, "/ws") as viewer:
        workflow = make(api)
        path = f"{BASE}/{workflow['id']}"
        heard = await viewer.receive_type("workflow_created")
        assert heard["data"] == workflow
        assert heard["event_id"] and isinstance(heard["broadcast_id"], int)
        updated = api.put(path, {"name": "x"}).json()
        assert (await viewer.receive_type("workflow_updated"))["data"] == updated
        api.patch(f"{path}/status", {"status": "paused"})
        assert (await viewer.receive_type("workflow_status_updated"))["data"] == {
            "workflow_id": workflow["id"], "old_status": "active", "new_status": "paused",
            "progress": 0,
        }
        api.patch(f"{path}/progress", {"progress_percentage": 5, "total_tasks": 4,
                                       "completed_tasks": 1, "failed_tasks": 2})
        assert (await viewer.receive_type("workflow_progress_updated"))["data"] == {
            "workflow_id": workflow["id"], "progress": 25,
            "tasks": {"total": 4, "completed": 1, "failed": 2},
        }
        api.post(f"{path}/agents", {"agent_id": agent["id"], "agent_name": "Ann"})
        assert (await viewer.receive_type("workflow_agent_assigned"))["data"] == {
            "workflow_id": workflow["id"], "agent_id": agent["id"], "agent_name": agent["name"],
        }
        api.delete(f"{path}/agents/{agent['id']}")
        assert (await viewer.receive_type("workflow_agent_removed"))["data"] == {
            "workflow_id": workflow["id"], "agent_id": agent["id"],
        }
        api.post(f"{path}/execute", {"scheduled_at": LATER})
        assert (await viewer.receive_type("workflow_executed"))["data"] == {
            "workflow_id": workflow["id"], "status": "scheduled", "scheduled_at": LATER,
        }
        api.post(f"{BASE}/templates", {"name": "t", "workflow_type": "x"})
        api.delete(path)
        heard = await viewer.receive()
        assert heard["type"] == "workflow_deleted", "nothing is told of a template"
        assert heard["data"] == {"workflow_id": workflow["id"]}
