"""The nine endpoints of /api/v1/agents: every field, status, error and rule of the contract."""

import asyncio
import datetime
import glob
import re
import signal
import time
import uuid

import pytest

from harness import unique, wait_until
from sockets import Socket, run_async

BASE = "/api/v1/agents"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
NOBODY = "00000000-0000-4000-8000-000000000000"


def is_uuid(text):
    return isinstance(text, str) and str(uuid.UUID(text)) == text


def is_time(text):
    return isinstance(text, str) and TIME.match(text)


def is_float(value):
    return isinstance(value, float)


def texts(value):
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


PERFORMANCE = (
    "tasks_completed",
    "tasks_failed",
    "success_rate",
    "avg_response_time",
    "uptime_percentage",
)

# Every row of the response table, with what its value has to be.
FIELDS = {
    "id": is_uuid,
    "name": lambda v: isinstance(v, str),
    "status": lambda v: v in ("active", "idle", "busy", "offline", "error"),
    "description": lambda v: v is None or isinstance(v, str),
    "type": lambda v: isinstance(v, str),
    "agent_type": lambda v: isinstance(v, str),
    "model": lambda v: isinstance(v, str),
    "tools": texts,
    "capabilities": texts,
    "configuration": lambda v: {"model", "tools", "capabilities"} <= set(v),
    "current_task": lambda v: set(v) == {"id", "title"},
    "performance_metrics": lambda v: set(v) == set(PERFORMANCE) and all(map(is_float, v.values())),
    "last_activity": lambda v: v is None or is_time(v),
    "last_heartbeat": lambda v: v is None or is_time(v),
    "is_active": lambda v: isinstance(v, bool),
    "created_at": is_time,
    "updated_at": is_time,
}


def check_agent(agent):
    assert set(agent) == set(FIELDS)
    for name, holds in FIELDS.items():
        assert holds(agent[name]), (name, agent[name])
    assert agent["type"] == agent["agent_type"]


def issues(answer):
    """The issues of a 422 as (type, loc), after checking the shape of each."""
    assert answer.status == 422, answer
    assert answer.header("Content-Type") == "application/json"
    body = answer.json()
    assert {"detail", "type", "title", "status", "instance"} <= set(body)
    assert body["status"] == 422
    for issue in body["detail"]:
        assert {"type", "loc", "msg", "input"} <= set(issue) <= {
            "type", "loc", "msg", "input", "url", "ctx",
        }
        assert isinstance(issue["msg"], str) and issue["msg"]
        assert issue["loc"][0] in ("path", "query", "body")
    return [(issue["type"], issue["loc"]) for issue in body["detail"]]


def check_problem(answer, status, detail):
    assert answer.status == status, answer
    body = answer.json()
    assert body["detail"] == detail
    assert body["status"] == status and isinstance(body["title"], str) and body["instance"]


# ---- Create ------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_create_with_defaults(api, slash):
    name = unique()
    answer = api.post(BASE + slash, {"name": name, "agent_type": "tester", "unknown": [1]})
    assert answer.status == 200
    agent = answer.json()
    check_agent(agent)
    assert agent["name"] == name
    assert agent["type"] == "tester"
    assert agent["status"] == "idle"
    assert agent["description"] is None
    assert agent["model"] == "claude-3-sonnet"
    assert agent["tools"] == agent["capabilities"] == []
    assert agent["configuration"] == {
        "model": "claude-3-sonnet", "tools": [], "capabilities": [],
    }
    assert agent["current_task"] == {"id": None, "title": None}
    assert agent["performance_metrics"] == {
        "tasks_completed": 0, "tasks_failed": 0, "success_rate": 0, "avg_response_time": 0,
        "uptime_percentage": 100,
    }
    assert agent["is_active"] is True
    assert agent["created_at"] == agent["updated_at"] == agent["last_activity"]
    assert api.get(f"{BASE}/{agent['id']}").json() == agent


def test_create_with_everything(api):
    sent = {
        "name": unique("älpha 漢字 <b>&"),
        "agent_type": "x" * 100,
        "description": 'quotes " and \\ and \n and \u0001',
        "model": "m" * 100,
        "tools": ["read", "write", "read"],
        "capabilities": ["a", ""],
        "configuration": {"max": 3, "nested": {"deep": [1, None, 2.5, "x"]}, "model": "own"},
        "status": "busy",
    }
    agent = api.agent_v1(**sent)
    check_agent(agent)
    for name in ("name", "agent_type", "description", "model", "tools", "capabilities", "status"):
        assert agent[name] == sent[name]
    # A free key of the same name wins over the field.
    assert agent["configuration"] == {
        "model": "own", "tools": sent["tools"], "capabilities": sent["capabilities"], "max": 3,
        "nested": {"deep": [1, None, 2.5, "x"]},
    }
    assert api.get(f"{BASE}/{agent['id']}").json() == agent


@pytest.mark.parametrize("status", ["active", "idle", "busy", "offline", "error"])
def test_create_takes_every_status(api, status):
    agent = api.agent_v1(status=status)
    assert agent["status"] == status
    assert agent["is_active"] is True  # Only a heartbeat changes it.


def test_create_bounds_are_inclusive(api):
    agent = api.agent_v1(name="n" * (255 - 32) + uuid.uuid4().hex, agent_type="t", model="")
    assert len(agent["name"]) == 255
    # Lengths are counted in characters, not in bytes.
    long = "é" * (255 - 32) + uuid.uuid4().hex
    assert api.agent_v1(name=long)["name"] == long


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"name": None}, [("string_type", ["body", "name"])]),
        ({"name": 5}, [("string_type", ["body", "name"])]),
        ({"name": ""}, [("string_too_short", ["body", "name"])]),
        ({"name": "n" * 256}, [("string_too_long", ["body", "name"])]),
        ({"agent_type": ""}, [("string_too_short", ["body", "agent_type"])]),
        ({"agent_type": "t" * 101}, [("string_too_long", ["body", "agent_type"])]),
        ({"model": "m" * 101}, [("string_too_long", ["body", "model"])]),
        ({"model": None}, [("string_type", ["body", "model"])]),
        ({"description": 1}, [("string_type", ["body", "description"])]),
        # Not every database can store this one character.
        ({"description": "a\0b"}, [("value_error", ["body", "description"])]),
        ({"tools": "read"}, [("list_type", ["body", "tools"])]),
        ({"tools": None}, [("list_type", ["body", "tools"])]),
        ({"tools": ["a", 1]}, [("string_type", ["body", "tools", 1])]),
        ({"capabilities": {}}, [("list_type", ["body", "capabilities"])]),
        ({"configuration": []}, [("dict_type", ["body", "configuration"])]),
        ({"configuration": None}, [("dict_type", ["body", "configuration"])]),
        ({"status": "sleeping"}, [(None, ["body", "status"])]),
        ({"status": None}, [(None, ["body", "status"])]),
        (
            {"name": "", "status": "x", "tools": [1, "a", 2]},
            [
                ("string_too_short", ["body", "name"]),
                (None, ["body", "status"]),
                ("string_type", ["body", "tools", 0]),
                ("string_type", ["body", "tools", 2]),
            ],
        ),
    ],
    ids=str,
)
def test_create_refuses(api, change, expected):
    body = {"name": unique(), "agent_type": "tester", **change}
    found = issues(api.post(BASE + "/", body))
    assert sorted(map(str, (loc for _, loc in found))) == sorted(str(loc) for _, loc in expected)
    for type_, loc in expected:
        assert type_ is None or (type_, loc) in found


def test_create_names_every_missing_field(api):
    assert issues(api.post(BASE + "/", {})) == [
        ("missing", ["body", "name"]),
        ("missing", ["body", "agent_type"]),
    ]


@pytest.mark.parametrize(
    "body, type_, loc",
    [
        ('{"name": "x",', "json_invalid", ["body", 13]),
        ('{"name": nope}', "json_invalid", ["body", 9]),
        ("[]", None, ["body"]),
        ("3", None, ["body"]),
        ("null", None, ["body"]),
        ("", "missing", ["body"]),
    ],
)
def test_create_refuses_what_is_no_object(api, body, type_, loc):
    answer = api.post(BASE + "/", body=body, headers={"Content-Type": "application/json"})
    [(found_type, found_loc)] = issues(answer)
    assert type_ is None or found_type == type_
    assert found_loc == loc


def test_create_conflicts_on_name_and_type_together(api):
    first = api.agent_v1(agent_type="one")
    answer = api.post(BASE + "/", {"name": first["name"], "agent_type": "one"})
    check_problem(answer, 409, "Agent with this name and type already exists")
    assert api.agent_v1(name=first["name"], agent_type="two")["id"] != first["id"]
    # It is not checked again on update.
    other = api.agent_v1(agent_type="one")
    renamed = api.put(f"{BASE}/{other['id']}", {"name": first["name"]})
    assert renamed.status == 200 and renamed.json()["name"] == first["name"]


# ---- Errors shared by all endpoints of one agent ----------------------------------------------

WITH_ID = [
    ("GET", "", None),
    ("PUT", "", {}),
    ("PATCH", "/status", {"status": "idle"}),
    ("PATCH", "/metrics", {}),
    ("POST", "/heartbeat", {"status": "idle", "timestamp": "2026-01-02T03:04:05Z"}),
    ("DELETE", "", None),
]


@pytest.mark.parametrize("method, tail, body", WITH_ID)
def test_unknown_agent(api, method, tail, body):
    check_problem(api.request(method, f"{BASE}/{NOBODY}{tail}", body), 404, "Agent not found")


@pytest.mark.parametrize("method, tail, body", WITH_ID)
@pytest.mark.parametrize("bad", ["nonsense", "123", "00000000-0000-4000-8000-00000000000g"])
def test_malformed_id(api, method, tail, body, bad):
    answer = api.request(method, f"{BASE}/{bad}{tail}", body)
    assert issues(answer) == [("uuid_parsing", ["path", "agent_id"])]


@pytest.mark.parametrize("method, tail, body", WITH_ID)
def test_trailing_slash_of_items(api, method, tail, body):
    agent = api.agent_v1()
    answer = api.request(method, f"{BASE}/{agent['id']}{tail}/", body)
    assert answer.status in (200, 307), answer
    if answer.status == 307:
        assert answer.header("Location").endswith(f"{agent['id']}{tail}")


@pytest.mark.parametrize("tail, body", [(tail, body) for m, tail, body in WITH_ID if body])
def test_malformed_json_everywhere(api, tail, body):
    method = "POST" if tail == "/heartbeat" else "PATCH"
    agent = api.agent_v1()
    answer = api.request(method, f"{BASE}/{agent['id']}{tail}", body="{",
                         headers={"Content-Type": "application/json"})
    assert issues(answer) == [("json_invalid", ["body", 1])]


# ---- List --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_list_is_in_the_order_of_making(fresh, slash):
    api = fresh.client()
    assert api.get(BASE + slash).json() == []
    made = [api.agent_v1(agent_type="a" if i % 2 else "b") for i in range(7)]
    answer = api.get(BASE + slash)
    assert answer.status == 200
    assert answer.json() == made
    for agent in answer.json():
        check_agent(agent)
    assert answer.header("X-Total-Count") == "7"
    assert answer.header("X-Page-Size") == "100"
    assert answer.header("X-Current-Page") == "1"
    assert answer.header("X-Total-Pages") == "1"


def test_list_pages(fresh):
    api = fresh.client()
    ids = [api.agent_v1(agent_type="even" if i % 2 == 0 else "odd")["id"] for i in range(10)]

    def page(query):
        answer = api.get(f"{BASE}/?{query}")
        assert answer.status == 200, answer
        heads = [answer.header(f"X-{n}") for n in
                 ("Total-Count", "Page-Size", "Current-Page", "Total-Pages")]
        return [agent["id"] for agent in answer.json()], heads

    assert page("skip=0&limit=3") == (ids[:3], ["10", "3", "1", "4"])
    assert page("skip=9&limit=3") == (ids[9:], ["10", "3", "4", "4"])
    assert page("skip=10") == ([], ["10", "100", "1", "1"])
    assert page("skip=999999999999") [0] == []
    # Filters apply before paging.
    assert page("agent_type=odd&skip=1&limit=2") == (ids[3::2][:2], ["5", "2", "1", "3"])
    assert page("agent_type=none") == ([], ["0", "100", "1", "0"])


def test_list_filters(fresh):
    api = fresh.client()
    a = api.agent_v1(agent_type="x", status="active")["id"]
    b = api.agent_v1(agent_type="y", status="active")["id"]
    c = api.agent_v1(agent_type="x", status="error")["id"]
    gone = {"status": "offline", "timestamp": "2026-01-01T00:00:00Z"}
    assert api.post(f"{BASE}/{b}/heartbeat", gone).status == 200

    def found(query):
        answer = api.get(f"{BASE}/?{query}")
        assert answer.status == 200, answer
        return [agent["id"] for agent in answer.json()]

    assert found("status=active") == [a]
    assert found("status=offline") == [b]
    assert found("status=error&agent_type=x") == [c]
    assert found("status=error&agent_type=y") == []
    assert found("status=unheard-of") == []
    assert found("status=") == [a, b, c]  # An empty text is as good as none.
    assert found("agent_type=") == [a, b, c]
    assert found("unknown=1") == [a, b, c]
    for word in ("true", "1", "yes", "on", "t", "y", "TRUE", "Yes"):
        assert found(f"is_active={word}") == [a, c], word
    for word in ("false", "0", "no", "off", "f", "n", "False"):
        assert found(f"is_active={word}") == [b], word


@pytest.mark.parametrize(
    "query, expected",
    [
        ("skip=-1", ("greater_than_equal", ["query", "skip"])),
        ("skip=x", ("int_parsing", ["query", "skip"])),
        ("skip=1.5", ("int_parsing", ["query", "skip"])),
        ("limit=0", ("greater_than_equal", ["query", "limit"])),
        ("limit=-1", ("greater_than_equal", ["query", "limit"])),
        ("limit=10001", ("less_than_equal", ["query", "limit"])),
        ("limit=999999", ("less_than_equal", ["query", "limit"])),
        ("limit=", ("int_parsing", ["query", "limit"])),
        ("is_active=maybe", ("bool_parsing", ["query", "is_active"])),
    ],
)
def test_list_refuses(api, query, expected):
    assert issues(api.get(f"{BASE}/?{query}")) == [expected]


# ---- Update ------------------------------------------------------------------------------------


def test_update_changes_only_what_is_sent(api):
    agent = api.agent_v1(description="before", tools=["a"], configuration={"k": 1})
    url = f"{BASE}/{agent['id']}"
    changed = api.put(url, {"description": "after"}).json()
    check_agent(changed)
    assert changed["description"] == "after"
    assert changed["updated_at"] > agent["updated_at"]
    assert changed["last_activity"] > agent["last_activity"]
    moving = {"description", "updated_at", "last_activity"}
    assert {k: v for k, v in changed.items() if k not in moving} == {
        k: v for k, v in agent.items() if k not in moving
    }
    assert api.get(url).json() == changed


def test_update_of_every_field(api):
    agent = api.agent_v1(configuration={"old": 1})
    task = str(uuid.uuid4())
    sent = {
        "name": unique("new"), "agent_type": "other", "description": "d", "model": "m",
        "tools": ["t"], "capabilities": ["c"], "status": "active",
    }
    more = {
        "configuration": {"new": 2}, "current_task_id": task, "current_task_title": "t" * 500,
    }
    changed = api.put(f"{BASE}/{agent['id']}", {**sent, **more}).json()
    for name, value in sent.items():
        assert changed[name] == value
    # Replaced whole, not merged.
    assert changed["configuration"] == {
        "model": "m", "tools": ["t"], "capabilities": ["c"], "new": 2,
    }
    assert changed["current_task"] == {"id": task, "title": "t" * 500}
    cleared = api.put(
        f"{BASE}/{agent['id']}",
        {"current_task_id": None, "current_task_title": None, "description": None},
    ).json()
    assert cleared["current_task"] == {"id": None, "title": None}
    assert cleared["description"] is None


def test_update_ignores_what_is_not_updatable(api):
    agent = api.agent_v1()
    body = {"id": NOBODY, "created_at": "2000-01-01T00:00:00Z", "is_active": False,
            "performance_metrics": {}, "tasks_completed": 9}
    changed = api.put(f"{BASE}/{agent['id']}", body).json()
    for name in ("id", "created_at", "is_active", "performance_metrics"):
        assert changed[name] == agent[name]


@pytest.mark.parametrize(
    "body, loc",
    [
        ({"name": None}, ["body", "name"]),
        ({"name": ""}, ["body", "name"]),
        ({"name": "n" * 256}, ["body", "name"]),
        ({"agent_type": None}, ["body", "agent_type"]),
        ({"agent_type": "t" * 101}, ["body", "agent_type"]),
        ({"status": None}, ["body", "status"]),
        ({"status": "gone"}, ["body", "status"]),
        ({"model": None}, ["body", "model"]),
        ({"tools": None}, ["body", "tools"]),
        ({"capabilities": [None]}, ["body", "capabilities", 0]),
        ({"configuration": None}, ["body", "configuration"]),
        ({"current_task_id": "x"}, ["body", "current_task_id"]),
        ({"current_task_title": "t" * 501}, ["body", "current_task_title"]),
    ],
    ids=str,
)
def test_update_refuses(api, body, loc):
    agent = api.agent_v1()
    found = issues(api.put(f"{BASE}/{agent['id']}", body))
    assert [where for _, where in found] == [loc]
    assert api.get(f"{BASE}/{agent['id']}").json() == agent


# ---- Status ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["active", "idle", "busy", "offline", "error"])
def test_status(api, status):
    agent = api.agent_v1()
    answer = api.patch(f"{BASE}/{agent['id']}/status", {"status": status})
    assert answer.status == 200
    changed = answer.json()
    check_agent(changed)
    assert changed["status"] == status
    assert changed["is_active"] is True
    assert changed["last_activity"] > agent["last_activity"]
    assert changed["last_heartbeat"] == agent["last_heartbeat"]


def test_status_and_its_task(api):
    agent = api.agent_v1()
    url = f"{BASE}/{agent['id']}/status"
    task = str(uuid.uuid4())
    body = {"status": "busy", "current_task_id": task, "current_task_title": "work"}
    assert api.patch(url, body).json()["current_task"] == {"id": task, "title": "work"}
    # Absent means unchanged, null means cleared.
    kept = api.patch(url, {"status": "active"}).json()
    assert kept["current_task"] == {"id": task, "title": "work"}
    half = api.patch(url, {"status": "active", "current_task_title": None}).json()
    assert half["current_task"] == {"id": task, "title": None}
    cleared = api.patch(url, {"status": "idle", "current_task_id": None}).json()
    assert cleared["current_task"] == {"id": None, "title": None}


@pytest.mark.parametrize(
    "body, expected",
    [
        ({}, ("missing", ["body", "status"])),
        ({"status": "gone"}, (None, ["body", "status"])),
        ({"status": None}, (None, ["body", "status"])),
        ({"status": "idle", "current_task_id": "x"}, ("uuid_parsing", ["body", "current_task_id"])),
        (
            {"status": "idle", "current_task_title": "t" * 501},
            ("string_too_long", ["body", "current_task_title"]),
        ),
    ],
    ids=str,
)
def test_status_refuses(api, body, expected):
    agent = api.agent_v1()
    [(type_, loc)] = issues(api.patch(f"{BASE}/{agent['id']}/status", body))
    assert loc == expected[1]
    assert expected[0] in (None, type_)


# ---- Metrics -----------------------------------------------------------------------------------


def test_metrics(api):
    agent = api.agent_v1()
    url = f"{BASE}/{agent['id']}/metrics"
    answer = api.patch(url, {"tasks_completed": 3, "tasks_failed": 1.0})
    assert answer.status == 200
    changed = answer.json()
    check_agent(changed)
    assert changed["performance_metrics"] == {
        "tasks_completed": 3, "tasks_failed": 1, "success_rate": 75, "avg_response_time": 0,
        "uptime_percentage": 100,
    }
    assert changed["last_activity"] > agent["last_activity"]
    body = {"avg_response_time": 1.25, "uptime_percentage": 99.5, "tasks_failed": None}
    later = api.patch(url, body).json()["performance_metrics"]
    assert later == {
        "tasks_completed": 3, "tasks_failed": 1, "success_rate": 75, "avg_response_time": 1.25,
        "uptime_percentage": 99.5,
    }
    none = api.patch(url, {"tasks_completed": 0, "tasks_failed": 0}).json()
    assert none["performance_metrics"]["success_rate"] == 0
    assert api.patch(url, {}).status == 200


@pytest.mark.parametrize(
    "body, expected",
    [
        ({"uptime_percentage": -0.1}, ("greater_than_equal", ["body", "uptime_percentage"])),
        ({"uptime_percentage": 100.1}, ("less_than_equal", ["body", "uptime_percentage"])),
        ({"tasks_completed": "many"}, ("float_parsing", ["body", "tasks_completed"])),
        ({"tasks_failed": []}, ("float_type", ["body", "tasks_failed"])),
        ({"avg_response_time": {}}, ("float_type", ["body", "avg_response_time"])),
    ],
    ids=str,
)
def test_metrics_refuses(api, body, expected):
    agent = api.agent_v1()
    assert issues(api.patch(f"{BASE}/{agent['id']}/metrics", body)) == [expected]


def test_metrics_have_no_other_bounds(api):
    agent = api.agent_v1()
    body = {"tasks_completed": -1, "tasks_failed": 1e12, "avg_response_time": -5,
            "uptime_percentage": 0}
    metrics = api.patch(f"{BASE}/{agent['id']}/metrics", body).json()["performance_metrics"]
    assert metrics["tasks_completed"] == -1 and metrics["tasks_failed"] == 1e12
    assert metrics["avg_response_time"] == -5 and metrics["uptime_percentage"] == 0


@pytest.mark.parametrize("figure", [-1e300, 1e300], ids=str)
@pytest.mark.parametrize("member", ["tasks_completed", "avg_response_time"])
def test_the_summary_gets_over_figures_that_no_sum_can_hold(api, member, figure):
    summary = lambda: api.get(f"{BASE}/stats/summary").json()
    agent = api.agent_v1()
    before = summary()
    url = f"{BASE}/{agent['id']}"
    assert api.patch(f"{url}/metrics", {member: figure}).status == 200
    # Less than none done is none done: only the other rates move.
    assert (summary() != before) is (figure > 0 or member == "avg_response_time")
    assert api.patch(f"{url}/metrics", {member: 0}).status == 200
    assert summary() == before
    assert api.patch(f"{url}/metrics", {member: figure}).status == 200
    assert api.get("/api/dashboard/overview").status == 200
    assert api.delete(url).status == 200
    api.agent_v1()
    assert summary() == before


# ---- Heartbeat ---------------------------------------------------------------------------------


def test_heartbeat(api):
    agent = api.agent_v1()
    task = str(uuid.uuid4())
    body = {
        "status": "busy",
        "timestamp": "2026-01-02T03:04:05.5+02:00",
        "current_task_id": task,
        "metrics": {"tasks_completed": 8, "success_rate": 40, "id": NOBODY, "name": "stolen",
                    "whatever": 1},
    }
    answer = api.post(f"{BASE}/{agent['id']}/heartbeat", body)
    assert answer.status == 200
    assert answer.json() == {
        "status": "heartbeat_received", "timestamp": "2026-01-02T01:04:05.500000Z",
    }
    after = api.get(f"{BASE}/{agent['id']}").json()
    check_agent(after)
    assert after["id"] == agent["id"] and after["name"] == agent["name"]
    assert after["status"] == "busy" and after["is_active"] is True
    assert after["current_task"]["id"] == task
    assert after["last_heartbeat"] > agent["last_heartbeat"]
    assert after["last_activity"] == agent["last_activity"]
    assert after["updated_at"] > agent["updated_at"]
    # The rate is taken as sent and not computed anew.
    assert after["performance_metrics"] == {
        "tasks_completed": 8, "tasks_failed": 0, "success_rate": 40, "avg_response_time": 0,
        "uptime_percentage": 100,
    }


def test_heartbeat_sets_activity(api):
    agent = api.agent_v1()
    url = f"{BASE}/{agent['id']}"
    for status, active in (("offline", False), ("error", True), ("offline", False), ("idle", True)):
        body = {"status": status, "timestamp": "2026-01-02T03:04:05"}
        assert api.post(url + "/heartbeat", body).status == 200
        after = api.get(url).json()
        assert (after["status"], after["is_active"]) == (status, active)


@pytest.mark.parametrize(
    "more, accepted",
    [
        ({}, False),
        ({"agent_id": NOBODY}, True),
        ({"timestamp": "2026-01-02T03:04:05"}, True),
        ({"agent_id": NOBODY, "timestamp": "2026-01-02T03:04:05Z"}, True),
        ({"metrics": {}}, False),
    ],
    ids=str,
)
def test_heartbeat_needs_an_agent_or_a_time(api, more, accepted):
    agent = api.agent_v1()
    answer = api.post(f"{BASE}/{agent['id']}/heartbeat", {"status": "idle", **more})
    if accepted:
        assert answer.status == 200, answer
        assert set(answer.json()) == {"status", "timestamp"}
        assert is_time(answer.json()["timestamp"])
    else:
        assert [type_ for type_, _ in issues(answer)] == ["missing"]


@pytest.mark.parametrize(
    "change, loc",
    [
        ({"status": None}, ["body", "status"]),
        ({"status": "gone"}, ["body", "status"]),
        ({"agent_id": "x"}, ["body", "agent_id"]),
        ({"timestamp": "yesterday"}, ["body", "timestamp"]),
        ({"timestamp": "2026-02-30T00:00:00Z"}, ["body", "timestamp"]),
        ({"current_task_id": "x"}, ["body", "current_task_id"]),
        ({"metrics": []}, ["body", "metrics"]),
        ({"metrics": {"tasks_completed": "many"}}, ["body", "metrics", "tasks_completed"]),
    ],
    ids=str,
)
def test_heartbeat_refuses(api, change, loc):
    agent = api.agent_v1()
    body = {"status": "idle", "timestamp": "2026-01-02T03:04:05Z", **change}
    found = issues(api.post(f"{BASE}/{agent['id']}/heartbeat", body))
    assert [where for _, where in found] == [loc]
    assert api.get(f"{BASE}/{agent['id']}").json() == agent


def test_heartbeat_missing_status(api):
    agent = api.agent_v1()
    answer = api.post(f"{BASE}/{agent['id']}/heartbeat", {"timestamp": "2026-01-02T03:04:05Z"})
    assert issues(answer) == [("missing", ["body", "status"])]


# ---- Delete and summary ------------------------------------------------------------------------


def test_delete(api):
    agent = api.agent_v1()
    answer = api.delete(f"{BASE}/{agent['id']}")
    assert answer.status == 200
    assert answer.json() == {"message": "Agent deleted successfully"}
    check_problem(api.get(f"{BASE}/{agent['id']}"), 404, "Agent not found")
    check_problem(api.delete(f"{BASE}/{agent['id']}"), 404, "Agent not found")
    # Its name is free again.
    assert api.agent_v1(name=agent["name"])["id"] != agent["id"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_summary(fresh, slash):
    api = fresh.client()
    url = f"{BASE}/stats/summary{slash}"
    assert api.get(url).json() == {
        "total_agents": 0, "active_agents": 0, "idle_agents": 0, "busy_agents": 0,
        "offline_agents": 0, "avg_success_rate": 0, "avg_response_time": 0, "avg_uptime": 100,
    }
    ids = [api.agent_v1(status=status)["id"]
           for status in ("active", "active", "idle", "busy", "offline", "error")]
    figures = {"tasks_completed": 3, "tasks_failed": 1, "avg_response_time": 6,
               "uptime_percentage": 40}
    api.patch(f"{BASE}/{ids[0]}/metrics", figures)
    assert api.get(url).json() == {
        "total_agents": 6, "active_agents": 2, "idle_agents": 1, "busy_agents": 1,
        "offline_agents": 1, "avg_success_rate": pytest.approx(75 / 6),
        "avg_response_time": pytest.approx(1), "avg_uptime": pytest.approx(90),
    }
    # States of version 2 count as what they look like here.
    v2 = "/api/v2/agents/bulk-operation"
    assert api.post(v2, {"agent_ids": [ids[0]], "operation": "stop"}).json()["successful"] == 1
    assert api.get(url).json()["offline_agents"] == 2


# ---- Both versions see one store ---------------------------------------------------------------


def test_v2_states_look_like_their_relatives(api):
    agent = api.agent_v1(agent_type=unique("type"))
    url = f"{BASE}/{agent['id']}"
    bulk = {"agent_ids": [agent["id"]], "operation": "stop"}
    assert api.post("/api/v2/agents/bulk-operation", bulk).status == 200
    assert api.get(f"/api/v2/agents/{agent['id']}").json()["status"] == "inactive"
    assert api.get(url).json()["status"] == "offline"
    found = api.get(f"{BASE}/?status=offline&agent_type={agent['type']}").json()
    assert [one["id"] for one in found] == [agent["id"]]

    bulk["operation"] = "restart"
    assert api.post("/api/v2/agents/bulk-operation", bulk).status == 200
    assert api.get(url).json()["status"] == "busy"
    assert api.get(f"/api/v2/agents/{agent['id']}").json()["status"] == "restarting"
    # RESTART_SECONDS is 1 for this server.
    begin = time.monotonic()
    wait_until(lambda: api.get(url).json()["status"] == "active", 5, "active after the restart")
    assert time.monotonic() - begin > 0.5
    assert api.get(f"/api/v2/agents/{agent['id']}").json()["status"] == "active"


def test_a_status_set_meanwhile_survives_the_restart(api):
    agent = api.agent_v1()
    bulk = {"agent_ids": [agent["id"]], "operation": "restart"}
    api.post("/api/v2/agents/bulk-operation", bulk)
    api.patch(f"{BASE}/{agent['id']}/status", {"status": "error"})
    time.sleep(2.2)
    assert api.get(f"{BASE}/{agent['id']}").json()["status"] == "error"


def test_v2_agent_in_v1(api):
    made = api.agent_v2(configuration={"model": "m", "tools": ["x"], "max_tokens": 7}, tags=["t"])
    agent = api.get(f"{BASE}/{made['id']}").json()
    check_agent(agent)
    assert agent["name"] == made["name"] and agent["type"] == made["type"]
    assert agent["status"] == "active"
    assert agent["model"] == "m" and agent["tools"] == ["x"]
    assert agent["configuration"]["max_tokens"] == 7
    # What version 1 changes, version 2 shows, and what it does not know stays.
    api.put(f"{BASE}/{made['id']}", {"model": "n"})
    after = api.get(f"/api/v2/agents/{made['id']}").json()
    assert after["configuration"]["model"] == "n"
    assert after["configuration"]["max_tokens"] == 7
    assert after["tags"] == ["t"]


@run_async
async def test_an_agent_that_dies_shows_offline(make_server):
    """Within its lease, live and in every version; time without a server is no time of it."""
    server = make_server(AGENT_LEASE_SECONDS=2)
    api = server.client()
    agent = api.agent_v1()
    path = f"/api/v1/agents/{agent['id']}"

    def beat():
        answer = api.post(f"{path}/heartbeat", {"status": "active", "agent_id": agent["id"]})
        assert answer.status == 200, answer

    async with Socket(server, "/ws/v2") as live, Socket(server, "/ws") as old:
        for _ in range(4):
            beat()
            await asyncio.sleep(0.8)
            assert api.get(path).json()["status"] == "active", "it is renewed"
        told = await live.find(lambda m: m["data"].get("agent", {}).get("status") == "offline")
        assert told["data"]["updated_by"] == ""
        silent = (datetime.datetime.fromisoformat(told["timestamp"])
                  - datetime.datetime.fromisoformat(api.get(path).json()["last_heartbeat"]))
        assert 1 < silent.total_seconds() <= 2, "within its lease"
        assert (await old.find(lambda m: m["type"] == "agent_status_updated"))["data"] == {
            "agent_id": agent["id"], "status": "offline", "current_task": {"id": None,
                                                                           "title": None}}
        assert api.get(path).json()["status"] == "offline"
        assert api.get(f"/api/v2/agents/{agent['id']}").json()["status"] == "offline"
        beat()
        assert api.get(path).json()["status"] == "active"
    server.kill()
    await asyncio.sleep(2.2)
    server.start()
    api = server.client()
    assert api.get(path).json()["status"] == "active", "it could not be heard meanwhile"
    end = time.monotonic() + 6
    while api.get(path).json()["status"] != "offline":
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


def test_a_restart_renews_no_lease(make_server):
    """Who was silent before it has what was left, and who was heard up to it nearly all."""
    server = make_server(AGENT_LEASE_SECONDS=6)
    api = server.client()
    dead, alive = api.agent_v1()["id"], api.agent_v1()["id"]

    def beat(agent):
        answer = api.post(f"/api/v1/agents/{agent}/heartbeat",
                          {"status": "active", "agent_id": agent})
        assert answer.status == 200, answer

    def status(agent):
        return api.get(f"/api/v1/agents/{agent}").json()["status"]

    beat(dead)
    for _ in range(4):
        time.sleep(1)
        beat(alive)
    server.kill()
    time.sleep(1)
    server.start()
    started = time.monotonic()
    api = server.client()
    assert (status(dead), status(alive)) == ("active", "active")
    wait_until(lambda: status(dead) == "offline", 6, "the end of the lease")
    # Of six seconds four had passed, and looks come a second and a bit before the end.
    assert time.monotonic() - started < 4
    assert status(alive) == "active"
    wait_until(lambda: status(alive) == "offline", 7, "the end of the other lease")
    assert time.monotonic() - started > 3.5


def test_leases_go_by_a_clock_that_does_not_jump(make_server, tmp_path):
    """Who is silent is offline in time though the wall clock was set back; who beats stays, though
    it was set forth or the server stood still for longer than a lease."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    server = make_server(
        AGENT_LEASE_SECONDS=5, FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE=1,
        LD_PRELOAD=glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")[0],
        FAKETIME_DONT_FAKE_MONOTONIC=1, DONT_FAKE_MONOTONIC=1)
    api = server.client()
    silent, alive = api.agent_v1()["id"], api.agent_v1()["id"]

    def beat(agent):
        answer = api.post(f"/api/v1/agents/{agent}/heartbeat",
                          {"status": "active", "agent_id": agent})
        assert answer.status == 200, answer

    def status(agent):
        return api.get(f"/api/v1/agents/{agent}").json()["status"]

    def ended(agent):
        beat(alive)
        return status(agent) == "offline"

    for time_set in ("-1h", "+1h"):
        beat(silent)
        beat(alive)
        clock.write_text(time_set)
        time.sleep(2)
        assert (status(silent), status(alive)) == ("active", "active"), time_set
        wait_until(lambda: ended(silent), 15, "the end of the lease")
        assert status(alive) == "active"
    beat(alive)
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(6)
    server.process.send_signal(signal.SIGCONT)
    time.sleep(1.2)
    assert status(alive) == "active", "it could not be heard meanwhile"
