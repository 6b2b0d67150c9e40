"""How the system fares: /api/v1/system, /api/v2/system and what sockets hear of it."""

import json
import re
import uuid

import pytest

from harness import Client, Server, wait_until
from sockets import Socket, run_async

V1 = "/api/v1/system"
V2 = "/api/v2/system"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")

GROUPS = {
    "system_overview": {"total_agents", "active_agents", "idle_agents", "offline_agents"},
    "task_overview": {"total_tasks", "pending_tasks", "in_progress_tasks", "completed_tasks",
                      "failed_tasks"},
    "workflow_overview": {"total_workflows", "active_workflows", "completed_workflows",
                          "paused_workflows"},
    "performance_metrics": {"system_load_percentage", "memory_usage_percentage",
                            "cpu_usage_percentage", "disk_usage_percentage"},
    "response_time_metrics": {"avg_response_time_ms", "min_response_time_ms",
                              "max_response_time_ms", "p95_response_time_ms"},
    "success_rates": {"task_success_rate", "workflow_success_rate", "agent_success_rate",
                      "overall_success_rate"},
    "network_metrics": {"websocket_connections", "api_requests_per_minute",
                        "error_rate_percentage", "bytes_received_per_second",
                        "bytes_sent_per_second"},
    "system_health": {"uptime_percentage", "last_restart", "is_healthy", "health_checks"},
    "detailed_metrics": {"agent_metrics", "task_metrics", "workflow_metrics"},
    "time_series": {"hourly_stats", "daily_stats", "weekly_stats"},
    "process_metrics": {"cpu_percentage", "resident_bytes", "open_files", "uptime_seconds"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("system"), METRICS_UPDATE_INTERVAL=1,
                    ENABLE_CACHING="false", ENVIRONMENT="testing", DEBUG="false")
    server.start()
    yield server
    server.stop()


def check_snapshot(snapshot):
    assert set(snapshot) == {*GROUPS, "id", "recorded_at", "created_at", "updated_at"}
    for group, members in GROUPS.items():
        assert set(snapshot[group]) == members, group
    assert str(uuid.UUID(snapshot["id"])) == snapshot["id"]
    assert TIME.match(snapshot["recorded_at"])


def issues(answer):
    assert answer.status == 422, answer
    return [(issue["type"], issue["loc"]) for issue in answer.detail]


# ---- Version 1: health and status --------------------------------------------------------------


def test_health_of_version_1(api):
    answer = api.get(f"{V1}/health")
    assert answer.status == 200
    body = answer.json()
    assert body["status"] == "healthy"
    assert body["checks"] == {"database": True, "websocket": True, "file_watcher": True}
    assert body["uptime_seconds"] > 0
    assert body["version"] == "1.0.0"
    assert TIME.match(body["timestamp"])


def test_status_counts_records_and_connections(make_server):
    server = make_server()
    api = Client(server.port)
    for status in ("active", "idle", "idle", "offline"):
        api.agent_v1(status=status)
    body = api.get(f"{V1}/status").json()
    assert body["status"] == "running"
    assert body["agents"] == {
        "total_agents": 4, "active_agents": 1, "idle_agents": 2, "offline_agents": 1,
    }
    assert set(body["tasks"]) == GROUPS["task_overview"]
    assert set(body["workflows"]) == GROUPS["workflow_overview"]
    assert re.match(r"^0d 0h \d+m \d+s$", body["uptime"])
    assert body["connected_clients"] == 0
    assert TIME.match(body["last_updated"])


# ---- Version 1: snapshots ----------------------------------------------------------------------


def test_the_first_snapshot_is_there_at_once(make_server):
    server = make_server(METRICS_UPDATE_INTERVAL=3600)
    api = Client(server.port)
    (snapshot,) = api.get(f"{V1}/metrics/history").json()
    check_snapshot(snapshot)
    # One reading tells no rate.
    assert snapshot["performance_metrics"]["cpu_usage_percentage"] is None
    assert snapshot["performance_metrics"]["memory_usage_percentage"] > 0
    assert snapshot["performance_metrics"]["disk_usage_percentage"] > 0
    assert snapshot["process_metrics"]["resident_bytes"] > 1 << 20
    assert snapshot["process_metrics"]["open_files"] > 3
    assert snapshot["network_metrics"]["api_requests_per_minute"] == 0
    assert snapshot["system_health"]["last_restart"] is not None


def test_samples_tell_of_requests(api):
    def sampled():
        for _ in range(20):
            api.get("/health/live")
        newest = api.get(f"{V1}/metrics/current").json()
        return newest if newest["network_metrics"]["api_requests_per_minute"] > 600 else None

    newest = wait_until(sampled, 10, "a sample with requests")
    check_snapshot(newest)
    times = newest["response_time_metrics"]
    assert 0 < times["min_response_time_ms"] <= times["p95_response_time_ms"]
    assert times["p95_response_time_ms"] <= times["max_response_time_ms"]
    assert 0 < times["avg_response_time_ms"] <= times["max_response_time_ms"] * 17 / 16
    assert 0 <= newest["performance_metrics"]["cpu_usage_percentage"] <= 100
    assert newest["process_metrics"]["cpu_percentage"] >= 0
    assert newest["time_series"]["hourly_stats"]["snapshots"] >= 2
    assert newest["system_health"]["uptime_percentage"] == pytest.approx(100)


def test_history_is_newest_first_within_a_range(api):
    wait_until(lambda: len(api.get(f"{V1}/metrics/history").json()) >= 3, 10, "three samples")
    rows = api.get(f"{V1}/metrics/history?limit=3").json()
    assert len(rows) == 3
    times = [row["recorded_at"] for row in rows]
    assert times == sorted(times, reverse=True)
    one = times[1]
    query = f"start_date={one}&end_date={one}&granularity=minute"
    assert [row["id"] for row in api.get(f"{V1}/metrics/history?{query}").json()] == [rows[1]["id"]]
    # The reference reads the range from the body of the GET.
    body = json.dumps({"start_date": one, "end_date": one, "granularity": "hour"})
    answer = api.get(f"{V1}/metrics/history", body=body,
                     headers={"Content-Type": "application/json"})
    assert [row["id"] for row in answer.json()] == [rows[1]["id"]]


@pytest.mark.parametrize("query, expected", [
    ("limit=0", ("greater_than_equal", ["query", "limit"])),
    ("limit=10001", ("less_than_equal", ["query", "limit"])),
    ("start_date=2026-01-01", ("missing", ["query", "end_date"])),
    ("end_date=2026-01-01", ("missing", ["query", "start_date"])),
    ("start_date=x&end_date=2026-01-01", ("datetime_parsing", ["query", "start_date"])),
])
def test_a_wrong_range_is_named(api, query, expected):
    assert issues(api.get(f"{V1}/metrics/history?{query}")) == [expected]


def test_an_unknown_granularity_is_refused(api):
    (issue,) = issues(api.get(f"{V1}/metrics/history?granularity=year"))
    assert issue[1] == ["query", "granularity"]


def test_a_range_in_the_body_needs_both_ends(api):
    answer = api.get(f"{V1}/metrics/history", body='{"start_date":"2026-01-01"}',
                     headers={"Content-Type": "application/json"})
    assert issues(answer) == [("missing", ["body", "end_date"])]


def test_what_is_posted_replaces_what_was_measured(make_server):
    server = make_server(METRICS_UPDATE_INTERVAL=3600)
    api = Client(server.port)
    api.agent_v1(status="active")
    sent = {
        "system_load_percentage": 95, "memory_usage_percentage": 50.5, "cpu_usage_percentage": 1,
        "disk_usage_percentage": 2, "error_rate_percentage": 3, "websocket_connections": 4,
        "api_requests_per_minute": 5,
        "detailed_metrics": {"agent_metrics": {"a": 1}, "task_metrics": {"b": [2]}, "other": 1},
    }
    answer = api.post(f"{V1}/metrics", sent)
    assert answer.status == 200, answer
    posted = answer.json()
    check_snapshot(posted)
    assert posted["performance_metrics"] == {
        "system_load_percentage": 95.0, "memory_usage_percentage": 50.5,
        "cpu_usage_percentage": 1.0, "disk_usage_percentage": 2.0,
    }
    network = posted["network_metrics"]
    assert (network["websocket_connections"], network["api_requests_per_minute"]) == (4, 5.0)
    assert network["error_rate_percentage"] == 3.0
    assert posted["detailed_metrics"] == {
        "agent_metrics": {"a": 1}, "task_metrics": {"b": [2]}, "workflow_metrics": {},
    }
    # Health is derived after what was sent.
    assert posted["system_health"]["is_healthy"] is False
    assert posted["system_health"]["health_checks"]["system_load"] is False
    assert posted["system_overview"]["active_agents"] == 1
    current = api.get(f"{V1}/metrics/current").json()
    assert current["id"] == posted["id"]
    measured = api.post(f"{V1}/metrics", {}).json()
    assert measured["performance_metrics"]["memory_usage_percentage"] != 50.5
    assert measured["detailed_metrics"]["agent_metrics"] == {}


@pytest.mark.parametrize("body, loc", [
    ({"cpu_usage_percentage": 101}, ["body", "cpu_usage_percentage"]),
    ({"memory_usage_percentage": -1}, ["body", "memory_usage_percentage"]),
    ({"websocket_connections": 1.5}, ["body", "websocket_connections"]),
    ({"websocket_connections": -1}, ["body", "websocket_connections"]),
    ({"api_requests_per_minute": "x"}, ["body", "api_requests_per_minute"]),
    ({"detailed_metrics": []}, ["body", "detailed_metrics"]),
    ({"detailed_metrics": {"agent_metrics": 1}}, ["body", "detailed_metrics", "agent_metrics"]),
    ([], ["body"]),
])
def test_a_wrong_snapshot_is_named(api, body, loc):
    answer = api.request("POST", f"{V1}/metrics", body=json.dumps(body),
                         headers={"Content-Type": "application/json"})
    (issue,) = issues(answer)
    assert issue[1] == loc


def test_figures_about_agents(make_server):
    server = make_server()
    api = Client(server.port)
    assert api.get(f"{V1}/metrics/agents").json() == {"total_agents": 0, "metrics": {}}
    one = api.agent_v1(status="busy", agent_type="digger")
    api.agent_v1(agent_type="scout")
    api.patch(f"/api/v1/agents/{one['id']}/metrics", {"tasks_completed": 3, "tasks_failed": 1})
    assert api.get(f"{V1}/metrics/agents").json() == {
        "total_agents": 2, "by_status": {"busy": 1, "idle": 1},
        "by_type": {"digger": 1, "scout": 1},
        "performance": {
            "avg_success_rate": 37.5, "avg_response_time": 0.0, "avg_uptime": 100.0,
            "total_tasks_completed": 3.0, "total_tasks_failed": 1.0,
        },
    }


def test_figures_about_tasks(make_server):
    server = make_server()
    api = Client(server.port)
    assert api.get(f"{V1}/metrics/tasks").json() == {"total_tasks": 0, "metrics": {}}
    made = [api.post("/api/v1/tasks/", {"title": f"task {i}", **body}).json()
            for i, body in enumerate(({"priority": "high", "task_type": "dig"}, {}, {}))]
    for status in ("in_progress", "completed"):
        path = f"/api/v1/tasks/{made[0]['id']}/status"
        assert api.patch(path, {"status": status}).status == 200
    assert api.patch(f"/api/v1/tasks/{made[1]['id']}/progress",
                     {"progress_percentage": 50}).status == 200
    assert api.get(f"{V1}/metrics/tasks").json() == {
        "total_tasks": 3, "by_status": {"completed": 1, "pending": 2},
        "by_priority": {"high": 1, "medium": 2}, "by_type": {"dig": 1, "unspecified": 2},
        "performance": {
            "completion_rate": pytest.approx(100 / 3), "avg_progress": 50.0, "avg_duration": 0.0,
            "blocked_count": 0, "urgent_count": 0,
        },
    }
    assert api.get(f"{V1}/status").json()["tasks"] == {
        "total_tasks": 3, "pending_tasks": 2, "in_progress_tasks": 0, "completed_tasks": 1,
        "failed_tasks": 0,
    }
    posted = api.post(f"{V1}/metrics", {}).json()
    assert posted["task_overview"]["completed_tasks"] == 1
    assert posted["success_rates"]["task_success_rate"] == 100.0
    assert api.get(f"{V2}/metrics").json()["completed_tasks"] == 1


def test_figures_about_workflows(make_server):
    server = make_server()
    api = Client(server.port)
    assert api.get(f"{V1}/metrics/workflows").json() == {"total_workflows": 0, "metrics": {}}
    made = [api.post("/api/v1/workflows/", body).json() for body in (
        {"name": "one", "workflow_type": "release"}, {"name": "two"},
        {"name": "three", "workflow_type": "release", "status": "paused"},
    )]
    path = f"/api/v1/workflows/{made[0]['id']}"
    assert api.put(path, {"progress_percentage": 30, "success_rate": 60}).status == 200
    assert api.patch(f"/api/v1/workflows/{made[1]['id']}/status",
                     {"status": "completed"}).status == 200
    shown = [api.get(f"/api/v1/workflows/{one['id']}").json() for one in made]
    body = api.get(f"{V1}/metrics/workflows").json()
    performance = body.pop("performance")
    assert body == {
        "total_workflows": 3, "by_status": {"active": 1, "completed": 1, "paused": 1},
        "by_type": {"release": 2, "unspecified": 1},
    }
    mean = lambda values: pytest.approx(sum(values) / 3)
    assert performance == {
        "completion_rate": pytest.approx(100 / 3),
        "avg_progress": mean([one["progress"]["percentage"] for one in shown]),
        "avg_success_rate": mean([one["quality_metrics"]["success_rate"] for one in shown]),
        "avg_duration": shown[1]["time_tracking"]["actual_duration_hours"] or 0,
        "template_count": 0,
    }
    overview = api.get(f"{V1}/status").json()["workflows"]
    assert overview == {"total_workflows": 3, "active_workflows": 1, "completed_workflows": 1,
                        "paused_workflows": 1}


def test_clean_up_tells_what_it_removed(make_server):
    server = make_server(METRICS_UPDATE_INTERVAL=3600)
    api = Client(server.port)
    for _ in range(3):
        api.post(f"{V1}/metrics", {})
    answer = api.post(f"{V1}/maintenance/cleanup?days_to_keep=1")
    assert answer.status == 200
    body = answer.json()
    assert (body["deleted_records"], body["remaining_records"]) == (0, 4)
    assert body["message"] == "Cleanup completed" and TIME.match(body["cutoff_date"])
    body = api.post(f"{V1}/maintenance/cleanup?days_to_keep=0").json()
    assert (body["deleted_records"], body["remaining_records"]) == (4, 0)
    # With none left, one is computed and stored.
    current = api.get(f"{V1}/metrics/current").json()
    check_snapshot(current)
    assert [row["id"] for row in api.get(f"{V1}/metrics/history").json()] == [current["id"]]
    (issue,) = issues(api.post(f"{V1}/maintenance/cleanup?days_to_keep=x"))
    assert issue[1] == ["query", "days_to_keep"]


# ---- Version 2 ---------------------------------------------------------------------------------


def test_metrics_of_version_2(api):
    body = api.get(f"{V2}/metrics").json()
    assert {"total_agents", "active_agents", "total_tasks", "completed_tasks", "system_load",
            "memory_usage", "disk_usage", "network_io", "avg_response_time", "success_rate",
            "uptime", "error_rate"} <= set(body)
    assert isinstance(body["total_agents"], int)
    assert 0 < body["memory_usage"] <= 100
    assert all(isinstance(value, float) for value in body["network_io"].values())


def test_cached_metrics_follow_the_records(make_server):
    server = make_server()
    api = Client(server.port)
    assert api.get(f"{V2}/metrics").json()["total_agents"] == 0
    assert api.get(f"{V2}/metrics").header("X-Cache") == "HIT"
    api.agent_v1()
    assert api.get(f"{V2}/metrics").json()["total_agents"] == 1


def test_health_of_version_2(api):
    body = api.get(f"{V2}/health").json()
    assert body["status"] == "healthy"
    assert body["checks"] == {
        "database": True, "redis": True, "websocket_manager": True, "file_system": True,
        "background_tasks": True,
    }
    assert body["details"]["redis"] == {"status": "not_configured"}
    assert (body["version"], body["environment"]) == ("1.0.0", "testing")


def test_analytics_count_what_was_asked(make_server):
    server = make_server(ENABLE_CACHING="false")
    api = Client(server.port)
    for _ in range(30):
        api.get("/api/v1/agents/")
    for _ in range(10):
        api.get(f"/api/v1/agents/{uuid.uuid4()}")
    body = api.get(f"{V2}/analytics").json()
    assert body["time_range"] == "24h"
    routes = {row["route"]: row for row in body["routes"]}
    assert routes["v1_list_agents"]["requests"] == 30
    assert routes["v1_get_agent"]["client_errors"] == 10
    times = routes["v1_list_agents"]["response_time_ms"]
    assert 0 < times["min"] <= times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
    assert body["totals"]["requests"] >= 40
    assert body["error_rates"] == {"1h": 0.0, "24h": 0.0, "7d": 0.0, "30d": 0.0}
    assert body["usage_patterns"]["busiest_day"].endswith("day")
    assert re.match(r"^\d\d:00$", body["usage_patterns"]["peak_hours"][0])
    assert set(body["performance_trends"].values()) == {"insufficient_data"}
    assert [text for text in body["recommendations"] if "refused as wrong (4xx)" in text]
    assert sum(row["requests"] for row in body["users"]) == body["totals"]["requests"]


@pytest.mark.parametrize("span", ["1h", "24h", "7d", "30d"])
def test_every_range_is_served(api, span):
    body = api.get(f"{V2}/analytics?time_range={span}").json()
    assert body["time_range"] == span
    assert body["totals"]["requests"] > 0


def test_another_range_is_refused(api):
    (issue,) = issues(api.get(f"{V2}/analytics?time_range=2h"))
    assert issue[1] == ["query", "time_range"]


def test_active_agents_are_named(make_server):
    server = make_server()
    api = Client(server.port)
    agent = api.agent_v1()
    body = api.get(f"{V2}/analytics?time_range=1h").json()
    assert body["usage_patterns"]["most_active_agents"] == [agent["id"]]


def test_counts_survive_a_restart(make_server):
    server = make_server(ENABLE_CACHING="false")
    api = Client(server.port)
    for _ in range(5):
        api.get("/api/v1/agents/")
    server.stop()
    server.start()
    api = Client(server.port)
    routes = {row["route"]: row for row in api.get(f"{V2}/analytics").json()["routes"]}
    assert routes["v1_list_agents"]["requests"] == 5
    body = api.get(f"{V1}/metrics/current").json()
    assert body["system_health"]["uptime_percentage"] < 100  # It was down for a moment.


# ---- Sockets -----------------------------------------------------------------------------------


@run_async
async def test_sockets_hear_of_samples_and_of_what_is_posted(make_server):
    server = make_server(METRICS_UPDATE_INTERVAL=1)
    async with Socket(server, "/ws") as v1, Socket(server, "/ws/v2") as v2:
        frame = await v1.find(lambda frame: frame["type"] == "system_metrics_updated")
        check_snapshot(frame["data"])
        assert "event_id" not in frame, "samples are not in the log"
        frame = await v2.find(lambda frame: frame["type"] == "metrics_update")
        assert frame["room"] is None and "event_id" not in frame
        assert "memory_usage" in frame["data"]
        posted = Client(server.port).post(f"{V1}/metrics", {"cpu_usage_percentage": 42}).json()
        frame = await v1.find(lambda frame: frame.get("data", {}).get("id") == posted["id"])
        assert frame["type"] == "system_metrics_updated"
        assert frame["data"] == posted
        assert "event_id" not in frame
        frame = await v2.find(lambda frame: frame["data"].get("cpu_usage") == 42)
        assert frame["type"] == "metrics_update" and "event_id" not in frame
    path = "/api/v2/websocket/event-history?event_types=metrics_update"
    assert Client(server.port).get(path).json()["events"] == []


@run_async
async def test_who_asked_for_rooms_alone_hears_of_samples_in_theirs(make_server):
    server = make_server(METRICS_UPDATE_INTERVAL=1)
    async with Socket(server, "/ws/v2?rooms_only=true") as inside:
        await inside.ask({"type": "join_room", "room": "metrics"}, "join_room")
        frame = await inside.find(lambda frame: frame["type"] == "metrics_update")
        assert frame["room"] == "metrics"
