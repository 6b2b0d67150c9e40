"""ETag and If-None-Match: whoever has an answer already is not sent it again; and every list can be
paged. Over all operations that the server describes."""

import pytest

from harness import unique, wait_until

BACKGROUND = "/api/v2/background-tasks"
DEAD_LETTERS = "/api/v2/dead-letters"

# No records: nobody keeps their answers.
NOT_TAGGED = {"front", "v1_front", "v2_front", "health", "health_live", "health_ready", "metrics"}
# Paged by event ids, which their answers hold.
PAGED_BY_EVENTS = {"v2_event_history", "v2_inbox"}
# Paged by the numbers of lines.
PAGED_BY_LINES = {"v2_background_task_log"}
# They tell the time they were asked at, or how long the server is up.
TELLS_THE_MOMENT = {"v1_system_health", "v1_system_status", "v2_system_health", "v2_system_metrics",
                    "v1_current_metrics", "dashboard_overview", "v2_websocket_statistics",
                    "v2_system_analytics", "dashboard_metrics", "v2_background_queue_status"}


@pytest.fixture(scope="module")
def filled(server):
    api = server.client()
    records = {
        "agent": api.agent_v2()["id"],
        "task": api.post("/api/v2/tasks", {"title": unique()}).json()["id"],
        "workflow": api.post("/api/v2/workflows", {"name": unique(), "steps": []}).json()["id"],
    }
    assert api.post(f"/api/v1/workflows/{records['workflow']}/execute", {}).status == 200
    assert api.patch(f"/api/v1/workflows/{records['workflow']}/complete").status == 200
    runs = api.get("/api/v1/history/workflows").json()["workflows"]
    records["workflow_history"] = runs[0]["id"]
    api.paths = {f"{{{kind}_id}}": id_ for kind, id_ in records.items()}
    # One that has failed for good is a dead letter, too.
    failing = {"task_name": "process_agent_configuration", "task_args": [], "max_retries": 0}
    api.background_task = api.post(BACKGROUND, failing).json()["task_id"]
    wait_until(lambda: api.get(f"{DEAD_LETTERS}/{api.background_task}").status == 200, 10,
               "the failure of a background task")
    return api


def readings(api):
    for path, operations in api.get("/openapi.json").json()["paths"].items():
        if "get" not in operations:
            continue
        operation = operations["get"]
        for mark, value in api.paths.items():
            if path.startswith((BACKGROUND, DEAD_LETTERS)) and mark == "{task_id}":
                value = api.background_task
            path = path.replace(mark, value)
        answers = operation["responses"].get("200", {}).get("content", {})
        if "{" not in path and "application/json" in answers:
            yield operation["operationId"], path, operation


def test_what_a_client_has_is_not_sent_again(filled):
    seen = 0
    for name, path, _ in readings(filled):
        first = filled.get(path)
        assert first.status == 200, (name, first)
        tag = first.header("ETag")
        if tag is None:
            assert name in NOT_TAGGED, name
            continue
        seen += 1
        again = filled.get(path, headers={"If-None-Match": tag})
        if name not in TELLS_THE_MOMENT:
            assert (again.status, again.body) == (304, b""), name
            assert again.header("ETag") == tag, name
    assert seen > 30


def test_a_changed_list_is_sent(filled):
    first = filled.get("/api/v1/tasks/")
    filled.post("/api/v1/tasks/", {"title": unique()})
    again = filled.get("/api/v1/tasks/", headers={"If-None-Match": first.header("ETag")})
    assert again.status == 200
    assert again.header("ETag") != first.header("ETag")


def test_a_packed_list_has_a_tag_of_its_own(filled):
    for _ in range(5):
        filled.post("/api/v1/tasks/", {"title": unique()})
    plain = filled.get("/api/v1/tasks/").header("ETag")
    packed = filled.get("/api/v1/tasks/", headers={"Accept-Encoding": "gzip"}).header("ETag")
    assert packed == plain[:-1] + '-gzip"'
    again = filled.get("/api/v1/tasks/",
                       headers={"Accept-Encoding": "gzip", "If-None-Match": packed})
    assert again.status == 304


def test_every_list_can_be_paged(filled):
    lists = []
    for name, path, operation in readings(filled):
        parameters = {one.get("name") for one in operation.get("parameters", [])}
        if "limit" not in parameters or name in PAGED_BY_EVENTS | PAGED_BY_LINES:
            continue
        lists.append(name)
        assert "cursor" in parameters, name
        answer = filled.get(path + "?limit=1")
        assert answer.header("X-Page-Size") == "1", name
        total = int(answer.header("X-Total-Count"))
        assert answer.header("X-Total-Pages") == str(total), name
        assert (answer.header("Link") is not None) == (total > 1), name
    assert len(lists) >= 12, lists
