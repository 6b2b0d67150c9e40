"""The nine endpoints of /api/v2/agents: every field, status, error and rule of the contract."""

import json
import random
import re
import time
import uuid

import pytest

from harness import unique, wait_until

BASE = "/api/v2/agents"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
NOBODY = "00000000-0000-4000-8000-000000000000"

DEFAULT_CONFIGURATION = {
    "model": "claude-3-sonnet",
    "tools": ["read", "write", "edit"],
    "capabilities": [],
    "max_tokens": 4096,
    "temperature": 0.7,
    "timeout": 300,
    "custom_instructions": None,
    "environment_vars": {},
}
METRICS = {
    "tasks_completed": int,
    "tasks_failed": int,
    "success_rate": float,
    "avg_response_time": float,
    "total_runtime": float,
    "last_activity": (str, type(None)),
    "error_count": int,
    "uptime_percentage": float,
}
FIELDS = {
    "id": str,
    "name": str,
    "type": str,
    "status": str,
    "current_task": (str, type(None)),
    "configuration": dict,
    "metrics": dict,
    "created_at": str,
    "updated_at": str,
    "tags": list,
    "metadata": dict,
}


def check_agent(agent):
    assert set(agent) == set(FIELDS)
    for name, kind in FIELDS.items():
        assert isinstance(agent[name], kind), (name, agent[name])
    assert uuid.UUID(agent["id"]).version == 4
    assert TIME.match(agent["created_at"]) and TIME.match(agent["updated_at"])
    assert set(agent["configuration"]) == set(DEFAULT_CONFIGURATION)
    check_metrics(agent["metrics"])


def check_metrics(metrics):
    assert set(metrics) == set(METRICS)
    for name, kind in METRICS.items():
        assert isinstance(metrics[name], kind), (name, metrics[name])


def issues(answer):
    assert answer.status == 422, answer
    body = answer.json()
    assert body["status"] == 422 and body["instance"]
    for issue in body["detail"]:
        assert {"type", "loc", "msg", "input"} <= set(issue)
        assert issue["loc"][0] in ("path", "query", "body")
    return [(issue["type"], issue["loc"]) for issue in body["detail"]]


def check_problem(answer, status, detail):
    assert answer.status == status, answer
    assert answer.json()["detail"] == detail
    assert answer.json()["status"] == status


def page_heads(answer):
    names = ("Total-Count", "Page-Size", "Current-Page", "Total-Pages")
    return tuple(answer.header(f"X-{name}") for name in names)


# ---- Create ------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_create_with_defaults(api, slash):
    name = unique()
    answer = api.post(BASE + slash, {"name": name, "type": "t", "unknown": 1, "status": "busy"})
    assert answer.status == 201
    agent = answer.json()
    check_agent(agent)
    assert agent["name"] == name and agent["type"] == "t"
    assert agent["status"] == "active"  # It is not for the client to choose on create.
    assert agent["current_task"] is None
    assert agent["configuration"] == DEFAULT_CONFIGURATION
    assert agent["tags"] == [] and agent["metadata"] == {}
    metrics = dict(agent["metrics"])
    assert TIME.match(metrics.pop("last_activity"))
    assert metrics == {
        "tasks_completed": 0, "tasks_failed": 0, "success_rate": 0, "avg_response_time": 0,
        "total_runtime": 0, "error_count": 0, "uptime_percentage": 100,
    }
    assert api.get(f"{BASE}/{agent['id']}").json() == agent


def test_create_with_everything(api):
    configuration = {
        "model": "gpt", "tools": [], "capabilities": ["c"], "max_tokens": 1, "temperature": 2,
        "timeout": 3, "custom_instructions": 'be "kind"\n', "environment_vars": {"A": "b", "": ""},
    }
    sent = {
        "name": unique("ünï 漢"), "type": "data-scientist", "configuration": configuration,
        "tags": ["x", "y,z", "x"], "metadata": {"deep": {"list": [1, 2.5, None, True]}},
    }
    agent = api.agent_v2(**sent)
    check_agent(agent)
    for name, value in sent.items():
        assert agent[name] == value
    assert api.get(f"{BASE}/{agent['id']}").json() == agent


def test_create_fills_up_a_partial_configuration(api):
    agent = api.agent_v2(configuration={"max_tokens": 5, "unknown": 1})
    assert agent["configuration"] == {**DEFAULT_CONFIGURATION, "max_tokens": 5}


def test_names_need_not_be_unique(api):
    first = api.agent_v2()
    assert api.agent_v2(name=first["name"])["id"] != first["id"]


@pytest.mark.parametrize(
    "change, loc",
    [
        ({"name": None}, ["body", "name"]),
        ({"name": ""}, ["body", "name"]),
        ({"name": "n" * 256}, ["body", "name"]),
        ({"type": None}, ["body", "type"]),
        ({"type": 7}, ["body", "type"]),
        ({"tags": "a,b"}, ["body", "tags"]),
        ({"tags": None}, ["body", "tags"]),
        ({"tags": ["a", None]}, ["body", "tags", 1]),
        ({"metadata": []}, ["body", "metadata"]),
        ({"metadata": None}, ["body", "metadata"]),
        ({"configuration": None}, ["body", "configuration"]),
        ({"configuration": "x"}, ["body", "configuration"]),
        ({"configuration": {"max_tokens": "lots"}}, ["body", "configuration", "max_tokens"]),
        ({"configuration": {"max_tokens": 1.5}}, ["body", "configuration", "max_tokens"]),
        ({"configuration": {"temperature": "hot"}}, ["body", "configuration", "temperature"]),
        ({"configuration": {"tools": [1]}}, ["body", "configuration", "tools", 0]),
        (
            {"configuration": {"environment_vars": {"A": 1}}},
            ["body", "configuration", "environment_vars", "A"],
        ),
    ],
    ids=str,
)
def test_create_refuses(api, change, loc):
    found = issues(api.post(BASE, {"name": unique(), "type": "t", **change}))
    assert [where for _, where in found] == [loc]


@pytest.mark.parametrize(
    "text",
    ["0.1", "1.0", "-0.0", "1e22", "5e-324", "1.7976931348623157e308", "0.30000000000000004",
     "9007199254740993", "-9223372036854775808", "18446744073709551615", '"\\u0001"',
      '"\\ud83e\\udd8a"',
     '"\\u2028 </script>"', "[[], {}, null, true]", '{"": {"": 0}}'],
)
def test_free_values_come_back_as_they_were_sent(api, text):
    body = '{"name": "n", "type": "t", "metadata": {"value": %s}}' % text
    made = api.post(BASE, body=body, headers={"Content-Type": "application/json"})
    assert made.status == 201, made
    for answer in (made, api.get(f"{BASE}/{made.json()['id']}")):
        value = answer.json()["metadata"]["value"]
        assert value == json.loads(text) and type(value) is type(json.loads(text))


@pytest.mark.parametrize(
    "metadata, loc",
    [
        ('{"a": [1, {"b": 1e400}]}', ["a", 1, "b"]),
        ('{"a": -1e999}', ["a"]),
    ],
)
def test_numbers_beyond_a_double_are_refused(api, metadata, loc):
    body = '{"name": "n", "type": "t", "metadata": %s}' % metadata
    answer = api.post(BASE, body=body, headers={"Content-Type": "application/json"})
    assert issues(answer) == [("finite_number", ["body", "metadata", *loc])]


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 40])
def test_whole_numbers_that_would_lose_digits_are_refused(api, number):
    body = '{"name": "n", "type": "t", "metadata": {"a": [%s, {"b": %s}]}}' % (number, number)
    answer = api.post(BASE, body=body, headers={"Content-Type": "application/json"})
    assert issues(answer) == [("int_parsing_size", ["body", "metadata", "a", 0]),
                              ("int_parsing_size", ["body", "metadata", "a", 1, "b"])]
    assert "send it as a text" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize("number", [2**64 - 1, -2**63, 1e20])
def test_numbers_are_what_was_sent(api, number):
    sent = api.post(BASE, {"name": "n", "type": "t", "metadata": {"a": number}})
    assert api.get(f"{BASE}/{sent.json()['id']}").json()["metadata"] == {"a": number}


@pytest.mark.parametrize("body", ['{"name": "\\ud800", "type": "t"}',
                                  b'{"name": "\xff", "type": "t"}',
                                  b'\xef\xbb\xbf{"name": "n", "type": "t"}',
                                  '{"name": "n", "type": "t"} x', '{"name": NaN, "type": "t"}',
                                  '{"name": "n", "type": "t", "metadata": %s1%s}'
                                  % ('{"a":' * 500, "}" * 500)],
                         ids=lambda value: repr(value)[:40])
def test_what_is_no_json(api, body):
    answer = api.post(BASE, body=body, headers={"Content-Type": "application/json"})
    [(type_, loc)] = issues(answer)
    assert type_ == "json_invalid" and loc[0] == "body" and isinstance(loc[1], int)


def test_json_has_to_be_called_json(api):
    body = '{"name": "n", "type": "t"}'
    answer = api.post(BASE, body=body, headers={"Content-Type": "text/plain"})
    assert answer.status == 415
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/x+json"):
        answer = api.post(BASE, body=body, headers={"Content-Type": kind})
        assert answer.status == 201, kind


def test_create_names_every_problem(api):
    body = {"tags": 1, "configuration": {"timeout": "x"}}
    found = issues(api.post(BASE, body))
    assert ("missing", ["body", "name"]) in found
    assert ("missing", ["body", "type"]) in found
    assert ("list_type", ["body", "tags"]) in found
    assert ["body", "configuration", "timeout"] in [loc for _, loc in found]
    assert len(found) == 4


@pytest.mark.parametrize("method, path", [("POST", BASE), ("PUT", f"{BASE}/{NOBODY}"),
                                          ("POST", f"{BASE}/bulk-operation")])
@pytest.mark.parametrize("body", ["{", "", "[]", '"text"'])
def test_bodies_that_are_no_object(api, method, path, body):
    headers = {"Content-Type": "application/json"}
    answer = api.request(method, path, body=body, headers=headers)
    assert issues(answer)[0][1][0] == "body"


# ---- One agent ---------------------------------------------------------------------------------

WITH_ID = [
    ("GET", "", None),
    ("PUT", "", {}),
    ("DELETE", "", None),
    ("GET", "/metrics", None),
    ("GET", "/logs", None),
]


@pytest.mark.parametrize("method, tail, body", WITH_ID)
@pytest.mark.parametrize("id_", [NOBODY, "agent123", "Ünï%20x"])
def test_unknown_and_malformed_ids_are_404(api, method, tail, body, id_):
    # Ids are plain text here: one that is no UUID names no agent.
    path = f"{BASE}/{id_}{tail}".replace("Ünï", "%C3%9Cn%C3%AF")
    answer = api.request(method, path, body)
    shown = id_.replace("%20", " ")
    check_problem(answer, 404, f"Agent {shown} not found")


@pytest.mark.parametrize("method, tail, body", WITH_ID)
def test_trailing_slash_of_items(api, method, tail, body):
    agent = api.agent_v2()
    answer = api.request(method, f"{BASE}/{agent['id']}{tail}/", body)
    assert answer.status in (200, 204), answer


def test_ids_in_capitals_name_the_same_agent(api):
    agent = api.agent_v2()
    answer = api.get(f"{BASE}/{agent['id'].upper()}")
    assert answer.status == 200 and answer.json() == agent
    api.put(f"{BASE}/{agent['id']}", {"name": "renamed"})
    assert api.get(f"{BASE}/{agent['id'].upper()}").json()["name"] == "renamed"


def test_update_changes_only_what_is_sent(api):
    agent = api.agent_v2(tags=["a"], metadata={"k": 1}, configuration={"max_tokens": 9})
    answer = api.put(f"{BASE}/{agent['id']}", {"name": "renamed"})
    assert answer.status == 200
    changed = answer.json()
    check_agent(changed)
    assert changed["name"] == "renamed"
    assert changed["updated_at"] > agent["updated_at"]
    for name in ("id", "type", "status", "current_task", "configuration", "tags", "metadata",
                 "created_at"):
        assert changed[name] == agent[name]
    assert api.get(f"{BASE}/{agent['id']}").json() == changed


def test_an_agent_written_back_as_it_was_read_keeps_its_task(api):
    agent = api.agent_v2()["id"]
    task = api.post("/api/v1/tasks", {"title": "Dig", "assigned_agent_id": agent}).json()["id"]
    read = api.get(f"{BASE}/{agent}").json()
    assert read["current_task"] == "Dig"
    assert api.put(f"{BASE}/{agent}", {**read, "tags": ["new"]}).status == 200
    assert api.get(f"/api/v1/agents/{agent}").json()["current_task"] == {
        "id": task, "title": "Dig"}
    assert api.patch(f"/api/v1/tasks/{task}/complete", {}).status == 200
    free = api.get(f"{BASE}/{agent}").json()
    assert (free["status"], free["current_task"], free["tags"]) == ("idle", None, ["new"])


def test_update_replaces_whole_members(api):
    agent = api.agent_v2(tags=["a", "b"], metadata={"k": 1},
                         configuration={"max_tokens": 9, "temperature": 0.1})
    body = {"configuration": {"timeout": 1}, "tags": ["c"], "metadata": {"l": 2},
            "status": "error", "current_task": "digging", "type": "ignored"}
    changed = api.put(f"{BASE}/{agent['id']}", body).json()
    assert changed["configuration"] == {**DEFAULT_CONFIGURATION, "timeout": 1}
    assert changed["tags"] == ["c"] and changed["metadata"] == {"l": 2}
    assert changed["status"] == "error" and changed["current_task"] == "digging"
    assert changed["type"] == agent["type"]
    assert changed["metrics"]["error_count"] == 1
    cleared = api.put(f"{BASE}/{agent['id']}", {"current_task": None}).json()
    assert cleared["current_task"] is None
    assert cleared["status"] == "error"


@pytest.mark.parametrize("status", ["active", "idle", "busy", "offline", "error", "inactive",
                                    "restarting"])
def test_update_takes_every_status(api, status):
    agent = api.agent_v2()
    changed = api.put(f"{BASE}/{agent['id']}", {"status": status}).json()
    assert changed["status"] == status


@pytest.mark.parametrize(
    "body, loc",
    [
        ({"name": None}, ["body", "name"]),
        ({"name": ""}, ["body", "name"]),
        ({"status": None}, ["body", "status"]),
        ({"status": "sleeping"}, ["body", "status"]),
        ({"configuration": None}, ["body", "configuration"]),
        ({"configuration": {"tools": "x"}}, ["body", "configuration", "tools"]),
        ({"tags": None}, ["body", "tags"]),
        ({"metadata": None}, ["body", "metadata"]),
        ({"current_task": 5}, ["body", "current_task"]),
    ],
    ids=str,
)
def test_update_refuses(api, body, loc):
    agent = api.agent_v2()
    assert [where for _, where in issues(api.put(f"{BASE}/{agent['id']}", body))] == [loc]
    assert api.get(f"{BASE}/{agent['id']}").json() == agent


def test_delete(api):
    agent = api.agent_v2()
    answer = api.delete(f"{BASE}/{agent['id']}")
    assert answer.status == 204 and answer.body == b""
    gone = f"Agent {agent['id']} not found"
    check_problem(api.get(f"{BASE}/{agent['id']}"), 404, gone)
    check_problem(api.delete(f"{BASE}/{agent['id']}"), 404, gone)


def test_metrics_come_from_the_record_shared_with_v1(api):
    agent = api.agent_v2()
    v1 = f"/api/v1/agents/{agent['id']}"
    api.patch(v1 + "/metrics", {"tasks_completed": 3, "tasks_failed": 1, "avg_response_time": 2.5,
                                "uptime_percentage": 99})
    api.patch(v1 + "/status", {"status": "error"})
    api.patch(v1 + "/status", {"status": "busy"})
    time.sleep(0.05)
    api.patch(v1 + "/status", {"status": "idle"})
    answer = api.get(f"{BASE}/{agent['id']}/metrics")
    assert answer.status == 200
    metrics = answer.json()
    check_metrics(metrics)
    assert TIME.match(metrics.pop("last_activity"))
    assert 0.04 < metrics.pop("total_runtime") < 5
    assert metrics == {
        "tasks_completed": 3, "tasks_failed": 1, "success_rate": 75, "avg_response_time": 2.5,
        "error_count": 1, "uptime_percentage": 99,
    }
    assert api.get(f"{BASE}/{agent['id']}").json()["metrics"]["error_count"] == 1


def test_v1_agent_in_v2(api):
    made = api.agent_v1(model="m", tools=["x"], capabilities=["c"],
                        configuration={"temperature": 0.1, "free": True, "timeout": "odd"})
    agent = api.get(f"{BASE}/{made['id']}").json()
    check_agent(agent)
    assert agent["name"] == made["name"] and agent["type"] == made["type"]
    assert agent["status"] == "idle"
    assert agent["configuration"] == {
        **DEFAULT_CONFIGURATION, "model": "m", "tools": ["x"], "capabilities": ["c"],
        "temperature": 0.1,
    }
    # The task of version 1 has a title here.
    api.patch(f"/api/v1/agents/{made['id']}/status",
              {"status": "busy", "current_task_title": "sorting"})
    assert api.get(f"{BASE}/{made['id']}").json()["current_task"] == "sorting"
    # A configuration of version 2 keeps keys that only version 1 knows.
    api.put(f"{BASE}/{made['id']}", {"configuration": {"max_tokens": 1}})
    assert api.get(f"/api/v1/agents/{made['id']}").json()["configuration"]["free"] is True


# ---- List --------------------------------------------------------------------------------------


@pytest.fixture
def zoo(make_server):
    """Six known agents; returns the client and their ids in the order of making."""
    server = make_server()
    api = server.client()
    ids = []
    for name, kind, tags in (
        ("Zebra", "grass", ["wild", "striped"]),
        ("ant", "small", ["wild"]),
        ("Bee", "small", ["striped", "useful animal"]),
        ("cow 100%", "grass", ["useful animal"]),
        ("Dog_x", "house", []),
        ("Äffchen", "house", ["a,b", 'quo"ted']),
    ):
        ids.append(api.agent_v2(name=name, type=kind, tags=tags)["id"])
    api.put(f"{BASE}/{ids[1]}", {"status": "idle"})
    api.put(f"{BASE}/{ids[0]}", {"status": "busy"})
    return api, ids


def listed(api, query):
    answer = api.get(f"{BASE}?{query}")
    assert answer.status == 200, answer
    return [agent["name"] for agent in answer.json()]


@pytest.mark.parametrize("slash", ["", "/"])
def test_list(zoo, slash):
    api, ids = zoo
    answer = api.get(BASE + slash)
    assert answer.status == 200
    assert [agent["id"] for agent in answer.json()] == ids[::-1]  # Newest first.
    for agent in answer.json():
        check_agent(agent)
        assert agent == api.get(f"{BASE}/{agent['id']}").json()
    assert page_heads(answer) == ("6", "100", "1", "1")


def test_list_when_empty(fresh):
    answer = fresh.client().get(BASE)
    assert answer.json() == [] and page_heads(answer) == ("0", "100", "1", "0")


@pytest.mark.parametrize(
    "query, names",
    [
        ("sort_by=name&sort_order=asc", ["ant", "Bee", "cow 100%", "Dog_x", "Zebra", "Äffchen"]),
        ("sort_by=name", ["Äffchen", "Zebra", "Dog_x", "cow 100%", "Bee", "ant"]),
        ("sort_order=asc", ["Zebra", "ant", "Bee", "cow 100%", "Dog_x", "Äffchen"]),
        ("sort_by=nonsense&sort_order=asc&limit=2", ["Zebra", "ant"]),
        ("sort_by=created_at&limit=2", ["Äffchen", "Dog_x"]),
        ("sort_by=updated_at&limit=3", ["Zebra", "ant", "Äffchen"]),
        ("sort_by=updated_at&sort_order=asc&limit=2", ["Bee", "cow 100%"]),
        ("sort_by=status&sort_order=asc",
         ["Bee", "cow 100%", "Dog_x", "Äffchen", "Zebra", "ant"]),
        ("status=active&sort_by=name&sort_order=asc", ["Bee", "cow 100%", "Dog_x", "Äffchen"]),
        ("status=busy", ["Zebra"]),
        ("status=unheard-of", []),
        ("status=", ["Äffchen", "Dog_x", "cow 100%", "Bee", "ant", "Zebra"]),
        ("type=small&sort_by=name&sort_order=asc", ["ant", "Bee"]),
        ("type=small&status=idle", ["ant"]),
        ("type=none", []),
        ("tags=striped&sort_by=name", ["Zebra", "Bee"]),
        ("tags=striped,%20useful%20animal%20&sort_by=name&sort_order=asc",
         ["Bee", "cow 100%", "Zebra"]),
        ("tags=strip", []),
        ("tags=useful", []),
        ("tags=quo%22ted", ["Äffchen"]),
        ("search=b&sort_by=name&sort_order=asc", ["Bee", "Zebra"]),
        ("search=BEE", ["Bee"]),
        ("search=%25", ["cow 100%"]),
        ("search=_", ["Dog_x"]),
        ("search=ffchen", ["Äffchen"]),
        ("search=useful", []),
        ("search=b&tags=wild", ["Zebra"]),
        ("unknown=1&limit=1", ["Äffchen"]),
        ("limit=1&limit=2", ["Äffchen", "Dog_x"]),
    ],
)
def test_list_filters_and_sorts(zoo, query, names):
    assert listed(zoo[0], query) == names


def test_search_in_any_case_beyond_ascii(zoo):
    assert listed(zoo[0], "search=%C3%A4FF") == ["Äffchen"]


@pytest.mark.parametrize(
    "query, names, heads",
    [
        ("skip=0&limit=4", ["Äffchen", "Dog_x", "cow 100%", "Bee"], ("6", "4", "1", "2")),
        ("skip=4&limit=4", ["ant", "Zebra"], ("6", "4", "2", "2")),
        ("skip=3&limit=2", ["Bee", "ant"], ("6", "2", "2", "3")),
        ("skip=6&limit=2", [], ("6", "2", "4", "3")),
        ("type=small&limit=1", ["Bee"], ("2", "1", "1", "2")),
        ("limit=1000", ["Äffchen", "Dog_x", "cow 100%", "Bee", "ant", "Zebra"],
         ("6", "1000", "1", "1")),
    ],
)
def test_list_pages(zoo, query, names, heads):
    api, _ = zoo
    answer = api.get(f"{BASE}?{query}")
    assert [agent["name"] for agent in answer.json()] == names
    assert page_heads(answer) == heads
    # Served from the cache it is the same, headers included.
    again = api.get(f"{BASE}?{query}")
    assert again.header("X-Cache") == "HIT"
    assert again.body == answer.body and page_heads(again) == heads


@pytest.mark.parametrize(
    "query, expected",
    [
        ("skip=-1", ("greater_than_equal", ["query", "skip"])),
        ("skip=one", ("int_parsing", ["query", "skip"])),
        ("limit=0", ("greater_than_equal", ["query", "limit"])),
        ("limit=1001", ("less_than_equal", ["query", "limit"])),
        ("limit=1e3", ("int_parsing", ["query", "limit"])),
        ("sort_order=up", (None, ["query", "sort_order"])),
        ("sort_order=", (None, ["query", "sort_order"])),
        ("limit=99999999999999999999", ("int_parsing", ["query", "limit"])),
    ],
)
def test_list_refuses(api, query, expected):
    [(type_, loc)] = issues(api.get(f"{BASE}?{query}"))
    assert loc == expected[1] and expected[0] in (None, type_)


@pytest.mark.parametrize("query", ["search=%ff", "search=%zz", "tags=%", "type=%00"])
def test_broken_escapes_in_the_query(api, query):
    assert api.get(f"{BASE}?{query}").status == 400


@pytest.mark.parametrize("id_", ["%zz", "%ff", "%"])
def test_broken_escapes_in_the_path(api, id_):
    assert api.get(f"{BASE}/{id_}").status == 400


def test_the_largest_numbers_are_only_far_away(api):
    answer = api.get(f"{BASE}?skip=9223372036854775807&limit=1000")
    assert answer.status == 200 and answer.json() == []


# ---- Bulk operations ---------------------------------------------------------------------------


def bulk(api, ids, operation, **more):
    answer = api.post(BASE + "/bulk-operation", {"agent_ids": ids, "operation": operation, **more})
    assert answer.status == 200, answer
    body = answer.json()
    assert set(body) == {"operation", "total_agents", "successful", "failed", "results"}
    assert body["operation"] == operation
    assert body["total_agents"] == len(ids) == body["successful"] + body["failed"]
    assert [item["agent_id"] for item in body["results"]] == ids
    assert sum(item["success"] for item in body["results"]) == body["successful"]
    return body["results"]


@pytest.mark.parametrize(
    "operation, action, status",
    [
        ("start", "start", "active"),
        ("stop", "stop", "inactive"),
        ("restart", "restart", "restarting"),
        ("delete", "deleted", None),
    ],
)
def test_bulk(api, operation, action, status):
    a, b = api.agent_v2()["id"], api.agent_v1()["id"]
    results = bulk(api, [a, NOBODY, "agent1", b], operation)
    missing = {"success": False, "error": "Agent not found"}
    assert results == [
        {"agent_id": a, "success": True, "action": action},
        {"agent_id": NOBODY, **missing},
        {"agent_id": "agent1", **missing},
        {"agent_id": b, "success": True, "action": action},
    ]
    for id_ in (a, b):
        answer = api.get(f"{BASE}/{id_}")
        if status is None:
            assert answer.status == 404
        else:
            assert answer.json()["status"] == status


def test_bulk_update(api):
    a, b = api.agent_v2(tags=["x"]), api.agent_v2()
    parameters = {"tags": ["new"], "metadata": {"k": 1}, "status": "busy", "name": "shared",
                  "id": NOBODY, "created_at": "2000-01-01T00:00:00Z", "unknown": 5}
    results = bulk(api, [a["id"], b["id"]], "update", parameters=parameters)
    assert all(item == {"agent_id": item["agent_id"], "success": True, "action": "update"}
               for item in results)
    for before in (a, b):
        after = api.get(f"{BASE}/{before['id']}").json()
        assert after["tags"] == ["new"] and after["metadata"] == {"k": 1}
        assert after["status"] == "busy" and after["name"] == "shared"
        assert after["created_at"] == before["created_at"]
        assert after["configuration"] == before["configuration"]


def test_bulk_update_checks_types_item_by_item(api):
    agent = api.agent_v2()
    [item] = bulk(api, [agent["id"]], "update", parameters={"tags": "no list"})
    assert item["success"] is False and "tags" in item["error"] and "action" not in item
    assert api.get(f"{BASE}/{agent['id']}").json() == agent


@pytest.mark.parametrize("parameters", [{}, {"parameters": None}, {"parameters": {}}], ids=str)
def test_bulk_update_without_parameters_touches(api, parameters):
    agent = api.agent_v2()
    [item] = bulk(api, [agent["id"]], "update", **parameters)
    assert item["success"] is True
    after = api.get(f"{BASE}/{agent['id']}").json()
    assert after.pop("updated_at") > agent["updated_at"]
    assert after == {k: v for k, v in agent.items() if k != "updated_at"}


def test_bulk_with_unknown_operation(api):
    agent = api.agent_v2()
    [item] = bulk(api, [agent["id"]], "explode")
    assert item == {"agent_id": agent["id"], "success": False,
                    "error": "Unknown operation: explode"}
    assert api.get(f"{BASE}/{agent['id']}").json() == agent


def test_bulk_without_agents(api):
    assert bulk(api, [], "start") == []


def test_bulk_with_an_agent_twice(api):
    agent = api.agent_v2()["id"]
    results = bulk(api, [agent, agent], "delete")
    assert [item["success"] for item in results] == [True, False]


def test_bulk_with_trailing_slash(api):
    answer = api.post(BASE + "/bulk-operation/", {"agent_ids": [], "operation": "start"})
    assert answer.status == 200


@pytest.mark.parametrize(
    "body, expected",
    [
        ({}, [("missing", ["body", "agent_ids"]), ("missing", ["body", "operation"])]),
        ({"agent_ids": "x", "operation": "start"}, [("list_type", ["body", "agent_ids"])]),
        ({"agent_ids": [1], "operation": "start"}, [("string_type", ["body", "agent_ids", 0])]),
        ({"agent_ids": [], "operation": 1}, [("string_type", ["body", "operation"])]),
        ({"agent_ids": [], "operation": "update", "parameters": []},
         [("dict_type", ["body", "parameters"])]),
    ],
    ids=str,
)
def test_bulk_refuses(api, body, expected):
    assert issues(api.post(BASE + "/bulk-operation", body)) == expected


# ---- Configuration upload ----------------------------------------------------------------------

JSON_FILE = '{"model": "m", "max_tokens": 10, "unknown": 1, "environment_vars": {"A": "b"}}'
YAML_FILE = """\
# A comment.
model: m
max_tokens: 10
unknown: 1
environment_vars:
  A: "b"
"""


@pytest.mark.parametrize(
    "filename, content",
    [
        ("config.json", JSON_FILE),
        ("CONFIG.JSON", JSON_FILE),
        ("config.yaml", YAML_FILE),
        ("config.yml", YAML_FILE),
        ("config.yml", JSON_FILE),  # JSON is YAML too.
        ("config.json", "\ufeff" + JSON_FILE),  # As some editors write it.
        ("config.yml", "\ufeff" + YAML_FILE),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_upload(api, filename, content, slash):
    agent = api.agent_v2(configuration={"timeout": 1}, tags=["t"])
    answer = api.upload(f"{BASE}/{agent['id']}/configuration/upload{slash}", filename, content)
    assert answer.status == 200, answer
    expected = {**DEFAULT_CONFIGURATION, "model": "m", "max_tokens": 10,
                "environment_vars": {"A": "b"}}
    task_id = answer.json()["background_task_id"]
    task = api.get(f"/api/v2/background-tasks/{task_id}").json()
    assert task["name"] == "process_agent_configuration" and task["priority"] == 5
    assert answer.json() == {
        "message": "Configuration uploaded successfully", "agent_id": agent["id"],
        "background_task_id": task_id, "configuration": expected,
    }
    after = api.get(f"{BASE}/{agent['id']}").json()
    assert after["configuration"] == expected and after["tags"] == ["t"]


@pytest.mark.parametrize("how", ["create", "upload"])
def test_a_configuration_that_is_too_long_for_a_task_is_the_agents_all_the_same(api, how):
    long = {"model": "m", "custom_instructions": "x" * 400_000}
    if how == "create":
        answer = api.post(BASE, {"name": unique(), "type": "t", "configuration": long})
        assert answer.status == 201, answer
        agent = answer.json()
    else:
        agent = api.agent_v2()
        to = f"{BASE}/{agent['id']}/configuration/upload"
        answer = api.upload(to, "c.json", json.dumps(long))
        assert answer.status == 200, answer
    assert api.get(f"{BASE}/{agent['id']}").json()["configuration"] == {
        **DEFAULT_CONFIGURATION, **long}
    [task_id] = [answer.json()["background_task_id"]] if how == "upload" else [
        task["id"] for task in api.get("/api/v2/background-tasks/?limit=20").json()
        if task["metadata"].get("agent_name") == agent["name"]]

    def ended():
        task = api.get(f"/api/v2/background-tasks/{task_id}").json()
        return task if task["completed_at"] else None

    task = wait_until(ended, 20)
    assert task["status"] == "success", task
    assert task["result"]["processed"] is True and task["result"]["agent_id"] == agent["id"]


def test_upload_of_an_empty_object_gives_defaults(api):
    agent = api.agent_v2(configuration={"timeout": 1})
    answer = api.upload(f"{BASE}/{agent['id']}/configuration/upload", "c.json", "{}")
    assert answer.json()["configuration"] == DEFAULT_CONFIGURATION


@pytest.mark.parametrize("filename", ["config.txt", "config", "json", "config.json.exe", ".toml"])
def test_upload_refuses_other_files(api, filename):
    sentence = "Only JSON and YAML configuration files are supported"
    agent = api.agent_v2()["id"]
    for id_ in (agent, NOBODY, "agent123"):  # Checked before the agent's existence.
        answer = api.upload(f"{BASE}/{id_}/configuration/upload", filename, "{}")
        check_problem(answer, 400, sentence)


@pytest.mark.parametrize("id_", [NOBODY, "agent123"])
def test_upload_for_an_unknown_agent(api, id_):
    answer = api.upload(f"{BASE}/{id_}/configuration/upload", "config.json", "{}")
    check_problem(answer, 404, f"Agent {id_} not found")


@pytest.mark.parametrize(
    "filename, content",
    [
        ("c.json", "{"),
        ("c.json", ""),
        ("c.json", "[]"),
        ("c.json", "3"),
        ("c.json", '{"max_tokens": "lots"}'),
        ("c.json", '{"tools": "read"}'),
        ("c.json", b'{"model": "\xff"}'),
        ("c.json", '{"a": 1} trailing'),
        ("c.yaml", "a: [1"),
        ("c.yaml", "- a\n- b\n"),
        ("c.yaml", "just text"),
        ("c.yaml", "max_tokens: lots"),
        ("c.yml", "a: &a [*a]"),
        ("c.yaml", "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n"
                   "c: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n"
                   "e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\n"
                   "g: &g [*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g]\n"),
        ("c.json", "[" * 5000),
        ("c.yaml", "[" * 5000),
    ],
    ids=lambda value: str(value)[:30],
)
def test_upload_refuses_bad_content(api, filename, content):
    agent = api.agent_v2()
    answer = api.upload(f"{BASE}/{agent['id']}/configuration/upload", filename, content)
    assert answer.status == 400, answer
    prefix = "Invalid configuration format: "
    assert answer.detail.startswith(prefix) and len(answer.detail) > len(prefix)
    assert api.get(f"{BASE}/{agent['id']}").json() == agent


def test_upload_without_the_field(api):
    agent = api.agent_v2()["id"]
    path = f"{BASE}/{agent}/configuration/upload"
    assert issues(api.upload(path, "c.json", "{}", field="other")) == [
        ("missing", ["body", "file"])
    ]


@pytest.mark.parametrize("headers", [{"Content-Type": "application/json"}, {},
                                     {"Content-Type": "multipart/form-data"}])
def test_upload_that_is_no_multipart(api, headers):
    agent = api.agent_v2()["id"]
    answer = api.post(f"{BASE}/{agent}/configuration/upload", body="{}", headers=headers)
    assert answer.status in (400, 422), answer


# ---- Logs --------------------------------------------------------------------------------------


def test_logs_are_stored_lines_newest_first(api):
    agent = api.agent_v2()
    v1 = f"/api/v1/agents/{agent['id']}"
    task = str(uuid.uuid4())
    api.put(f"{BASE}/{agent['id']}", {"name": "renamed"})
    body = {"status": "busy", "current_task_id": task, "current_task_title": "sorting"}
    api.patch(v1 + "/status", body)
    api.patch(v1 + "/status", {"status": "error"})
    api.upload(f"{BASE}/{agent['id']}/configuration/upload", "c.json", "{}")
    answer = api.get(f"{BASE}/{agent['id']}/logs")
    assert answer.status == 200
    body = answer.json()
    assert set(body) == {"agent_id", "logs", "total_count", "level_filter"}
    assert body["agent_id"] == agent["id"]
    assert body["total_count"] == len(body["logs"]) == 5
    assert body["level_filter"] is None
    for line in body["logs"]:
        assert set(line) == {"timestamp", "level", "message", "details"}
        assert TIME.match(line["timestamp"]) and line["message"]
        assert set(line["details"]) == {"task_id", "duration"}
    times = [line["timestamp"] for line in body["logs"]]
    assert times == sorted(times, reverse=True)
    levels = [line["level"] for line in body["logs"]]
    assert levels == ["INFO", "ERROR", "INFO", "INFO", "INFO"]
    assert "c.json" in body["logs"][0]["message"]
    assert "sorting" in body["logs"][2]["message"]
    assert body["logs"][2]["details"]["task_id"] == task
    assert body["logs"][4]["details"]["task_id"] is None


def test_logs_filter_and_limit(api):
    agent = api.agent_v2()
    v1 = f"/api/v1/agents/{agent['id']}/status"
    for status in ("error", "idle", "error"):
        api.patch(v1, {"status": status})
    url = f"{BASE}/{agent['id']}/logs"
    errors = api.get(url + "?level=ERROR").json()
    assert errors["level_filter"] == "ERROR" and errors["total_count"] == 2
    assert {line["level"] for line in errors["logs"]} == {"ERROR"}
    every = api.get(url).json()["logs"]
    assert len(every) == 4
    assert api.get(url + "?limit=2").json()["logs"] == every[:2]
    for level in ("WARNING", "CRITICAL"):
        assert api.get(f"{url}?level={level}").json()["logs"] == []


def test_heartbeats_without_news_are_shown_but_make_no_version(api):
    agent = api.agent_v2()
    v2, v1 = (f"{base}/{agent['id']}" for base in (BASE, "/api/v1/agents"))
    beat = {"status": agent["status"], "timestamp": "2026-01-01T00:00:00Z"}
    first, seen = api.get(v2), api.get(v1)
    for _ in range(3):
        assert api.post(v1 + "/heartbeat", beat).status == 200
        now = api.get(v1)
        assert now.json()["last_heartbeat"] > seen.json()["last_heartbeat"]
        assert now.header("ETag") != seen.header("ETag")
        assert api.get(v1, headers={"If-None-Match": seen.header("ETag")}).status == 200
        assert api.get(v1, headers={"If-None-Match": now.header("ETag")}).status == 304
        seen = now
        again = api.get(v2)
        assert (again.json(), again.header("ETag")) == (first.json(), first.header("ETag"))
    # Whoever read it before may still change it, by what either version told.
    for tag in (first.header("ETag"), None):
        tag = tag or api.get(v1).header("ETag")
        assert api.post(v1 + "/heartbeat", beat).status == 200
        assert api.put(v1, {"description": tag}, headers={"If-Match": tag}).status == 200
        assert api.put(v1, {"description": tag}, headers={"If-Match": tag}).status == 412
    agent = api.agent_v2()
    v1 = f"/api/v1/agents/{agent['id']}"
    assert api.post(v1 + "/heartbeat", beat).status == 200
    lines = api.get(f"{BASE}/{agent['id']}/logs").json()["logs"]
    assert [line["message"] for line in lines] == ["Agent created"]
    assert api.post(v1 + "/heartbeat", {**beat, "status": "busy"}).status == 200
    lines = api.get(f"{BASE}/{agent['id']}/logs").json()["logs"]
    assert [line["message"] for line in lines] == ["Status: busy", "Agent created"]


@pytest.mark.parametrize(
    "query, loc",
    [
        ("limit=0", ["query", "limit"]),
        ("limit=1001", ["query", "limit"]),
        ("limit=x", ["query", "limit"]),
        ("level=LOUD", ["query", "level"]),
        ("level=info", ["query", "level"]),
    ],
)
def test_logs_refuses(api, query, loc):
    agent = api.agent_v2()["id"]
    assert [where for _, where in issues(api.get(f"{BASE}/{agent}/logs?{query}"))] == [loc]


def test_totals_never_disagree_with_the_agents(fresh, seed):
    """Random changes; the kept counts must be what counting the agents gives."""
    api = fresh.client()
    chance = random.Random(seed)
    statuses = ["active", "idle", "busy", "offline", "error", "inactive"]
    ids = []
    for _ in range(120):
        act = chance.randrange(5) if ids else 0
        if act == 0:
            ids.append(api.agent_v2()["id"])
        elif act == 1:
            api.put(f"/api/v2/agents/{chance.choice(ids)}", {"status": chance.choice(statuses)})
        elif act == 2:
            api.patch(f"/api/v1/agents/{chance.choice(ids)}/status",
                      {"status": chance.choice(statuses[:5])})
        elif act == 3:
            some = chance.sample(ids, min(3, len(ids)))
            api.post("/api/v2/agents/bulk-operation",
                     {"agent_ids": some, "operation": chance.choice(["start", "stop"])})
        elif chance.random() < 0.4:
            gone = ids.pop(chance.randrange(len(ids)))
            api.delete(f"/api/v2/agents/{gone}")
    agents = api.get("/api/v2/agents?limit=1000").json()
    assert {agent["id"] for agent in agents} == set(ids)
    for status in [*statuses, "restarting"]:
        listed = api.get(f"/api/v2/agents?limit=1&status={status}")
        count = sum(agent["status"] == status for agent in agents)
        assert int(listed.header("X-Total-Count")) == count, (status, seed)
    assert int(api.get("/api/v2/agents?limit=1").header("X-Total-Count")) == len(ids), seed
