"""The eight endpoints of /api/v1/history, under both prefixes: filters, figures and errors.

Runs are written by whatever executes workflows; here the rows are put into the tables from outside,
so that each figure can be told beforehand.
"""

import datetime
import json
import re
import uuid

import pytest

from harness import Client, Server

PREFIXES = ("/api/v1/history", "/api/v1/history/history")
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
NOW = int(datetime.datetime.now(datetime.timezone.utc).timestamp() * SECOND)
NOBODY = "00000000-0000-4000-8000-000000000000"


def text_of(micros):
    at = datetime.datetime.fromtimestamp(micros // SECOND, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + f".{micros % SECOND:06d}Z"


def insert(connection, table, **values):
    info = connection.execute(f"PRAGMA table_info({table})").fetchall()
    row = {}
    for _, name, kind, required, _, is_key in info:
        if is_key and name == "seq":
            continue
        if required:
            row[name] = {"INTEGER": 0, "REAL": 0.0, "BLOB": uuid.uuid4().bytes}.get(kind, "{}")
    row.update({name: "[]" for name in ("errors", "warnings", "critical", "dependencies",
                                         "dependents", "validation_failures", "agents_assigned")
                if name in row})
    row.update(values)
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", [*row.values()])
    return row


class Past:
    """Three runs: 40 days, 2 days and 1 hour ago; the last has two phases and a handoff."""

    def __init__(self, server):
        with server.database(writable=True) as connection:
            self.runs = [
                self.run(connection, NOW - 40 * DAY, "old", "failed", "failure", None),
                self.run(connection, NOW - 2 * DAY, "web", "failed", "failure", 60.0),
                self.run(connection, NOW - DAY // 24, "web", "completed", "success", 120.0),
            ]
            last = self.runs[2]["id"]
            self.phases = [
                insert(connection, "phase_history", workflow_history_id=last, phase_name=name,
                       phase_type="build", phase_order=order, status=status, result=result,
                       started_at=at, sort_at=at, completed_at=at + 30 * SECOND,
                       duration_seconds=30.0, agent_id="scout", agent_name="The Scout",
                       tasks_total=2, tasks_completed=1, tasks_failed=1, created_at=at,
                       updated_at=at, error_count=1, errors='["oh"]')
                for order, name, status, result, at in (
                    (1, "second", "failed", "failure", NOW - DAY // 24 + 60 * SECOND),
                    (0, "first", "completed", "success", NOW - DAY // 24),
                )
            ]
            insert(connection, "handoff_history", workflow_history_id=last, handoff_name="over",
                   source_agent_id="scout", target_agent_id="other", status="completed",
                   result="success", initiated_at=NOW - DAY // 24, duration_seconds=2.0,
                   created_at=NOW, updated_at=NOW)
        connection.close()

    @staticmethod
    def run(connection, at, project, status, result, duration):
        row = insert(connection, "workflow_history", execution_id=str(uuid.uuid4()),
                     workflow_name="flow", project_id=project, status=status, final_result=result,
                     started_at=at, duration_seconds=duration, tasks_total=4, tasks_completed=3,
                     phases_total=2, agents_assigned='[{"id":"scout"}]', trigger_event="null",
                     created_at=at, updated_at=at)
        connection.execute("INSERT INTO workflow_history_agents VALUES (?, ?, ?)",
                           ["scout", at, row["id"]])
        insert(connection, "workflow_history_hours", hour=at - at % HOUR, status=status, runs=1,
               successful=int(result == "success"), tasks_total=4, tasks_completed=3,
               duration=int(1e6 * (duration or 0)), durations=int(duration is not None))
        return row


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("history"))
    server.start()
    server.past = Past(server)
    yield server
    server.stop()


@pytest.fixture(params=PREFIXES)
def base(request):
    return request.param


def ids(answer, key):
    assert answer.status == 200, answer
    return [row["id"] for row in answer.json()[key]]


def id_text(row):
    return str(uuid.UUID(bytes=row["id"]))


def issue_of(answer):
    assert answer.status == 422, answer
    (issue,) = answer.detail
    return issue["type"], issue["loc"]


# ---- Runs --------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first(api, server, base):
    answer = api.get(f"{base}/workflows")
    assert ids(answer, "workflows") == [id_text(run) for run in reversed(server.past.runs)]
    assert answer.json()["pagination"] == {"limit": 50, "offset": 0, "total": 3, "has_more": False}
    assert answer.header("X-Total-Count") == "3"


def test_a_run_has_the_shape_of_the_contract(api, server, base):
    run = api.get(f"{base}/workflows?limit=1").json()["workflows"][0]
    assert set(run) == {
        "id", "workflow_id", "execution_id", "execution_number", "workflow", "status",
        "final_result", "time_tracking", "progress", "quality_metrics", "agents", "issues",
        "resource_usage", "trigger", "created_at", "updated_at",
    }
    assert run["workflow"] == {
        "name": "flow", "type": None, "project_id": "web", "project_name": None,
    }
    assert run["time_tracking"] == {
        "started_at": text_of(server.past.runs[2]["started_at"]), "completed_at": None,
        "duration_seconds": 120.0,
    }
    assert run["progress"] == {
        "phases": {"total": 2, "completed": 0, "failed": 0, "skipped": 0},
        "tasks": {"total": 4, "completed": 3, "failed": 0},
    }
    assert run["agents"] == {"assigned": [{"id": "scout"}], "performance_summary": {}}
    assert run["issues"] == {"errors": [], "warnings": [], "critical": []}
    assert run["trigger"] == {"by": None, "event": None}


def test_runs_are_filtered_and_cut(api, server, base):
    old, middle, new = map(id_text, server.past.runs)
    get = lambda query: ids(api.get(f"{base}/workflows?{query}"), "workflows")
    assert get("project_id=web") == [new, middle]
    assert get("status_filter=failed") == [middle, old]
    assert get("status_filter=failed&project_id=web") == [middle]
    assert get("project_id=") == [new, middle, old], "empty equals not given"
    assert get("status_filter=nonsense") == []
    start = text_of(server.past.runs[1]["started_at"])
    assert get(f"start_date={start}") == [new, middle], "both ends belong to the range"
    assert get(f"end_date={start}") == [middle], "from 30 days before now on"
    assert get(f"start_date=2000-01-01&end_date={start}") == [middle, old]
    answer = api.get(f"{base}/workflows?limit=1&offset=1")
    assert ids(answer, "workflows") == [middle]
    assert answer.json()["pagination"] == {"limit": 1, "offset": 1, "total": 3, "has_more": True}


@pytest.mark.parametrize("query, kind, name", [
    ("limit=0", "greater_than_equal", "limit"),
    ("limit=1001", "less_than_equal", "limit"),
    ("offset=-1", "greater_than_equal", "offset"),
    ("limit=x", "int_parsing", "limit"),
    ("start_date=yesterday", "datetime_parsing", "start_date"),
])
def test_a_wrong_query_is_named(api, base, query, kind, name):
    assert issue_of(api.get(f"{base}/workflows?{query}")) == (kind, ["query", name])


def test_a_run_is_shown_with_its_parts_in_order(api, server, base):
    answer = api.get(f"{base}/workflows/{id_text(server.past.runs[2])}")
    assert answer.status == 200
    run = answer.json()
    assert [phase["phase"]["name"] for phase in run["phases"]] == ["first", "second"]
    assert [handoff["handoff"]["name"] for handoff in run["handoffs"]] == ["over"]
    assert api.get(f"{base}/workflows?limit=1").json()["workflows"][0] == {
        name: value for name, value in run.items() if name not in ("phases", "handoffs")
    }


@pytest.mark.parametrize("run", [NOBODY, "no-uuid"])
def test_an_unknown_run_is_not_found(api, base, run):
    answer = api.get(f"{base}/workflows/{run}")
    assert answer.status == 404
    assert answer.detail == "Workflow history not found"


# ---- Phases and handoffs -----------------------------------------------------------------------


def test_phases(api, server, base):
    get = lambda query="": api.get(f"{base}/phases{query}").json()
    found = get()
    assert found["total_records"] == 2
    assert [phase["phase"]["name"] for phase in found["phases"]] == ["second", "first"]
    assert set(found["phases"][0]) == {
        "id", "workflow_history_id", "phase", "status", "result", "time_tracking", "agent",
        "config", "parameters", "quality_metrics", "tasks", "relationships", "issues",
        "resource_usage", "created_at", "updated_at",
    }
    assert found["phases"][0]["agent"] == {
        "id": "scout", "name": "The Scout", "utilization": None,
    }
    assert get("?status_filter=failed")["total_records"] == 1
    assert get("?agent_id=scout&limit=1")["total_records"] == 1
    assert get("?agent_id=nobody")["total_records"] == 0
    assert get(f"?workflow_history_id={id_text(server.past.runs[2])}")["total_records"] == 2
    assert get(f"?workflow_history_id={NOBODY}")["total_records"] == 0
    assert get("?workflow_history_id=no-uuid")["total_records"] == 0
    assert issue_of(api.get(f"{base}/phases?limit=1001"))[1] == ["query", "limit"]


def test_handoffs(api, server, base):
    get = lambda query="": api.get(f"{base}/handoffs{query}").json()
    found = get()
    assert found["total_records"] == 1
    assert set(found["handoffs"][0]) == {
        "id", "workflow_history_id", "handoff", "source", "target", "status", "result",
        "time_tracking", "data", "quality_metrics", "issues", "context", "metadata", "created_at",
        "updated_at",
    }
    for query, count in (("agent_id=scout", 1), ("agent_id=other", 1), ("agent_id=nobody", 0),
                         ("status_filter=failed", 0), ("workflow_history_id=x", 0)):
        assert get("?" + query)["total_records"] == count, query
    assert issue_of(api.get(f"{base}/handoffs?limit=0"))[1] == ["query", "limit"]


# ---- Figures -----------------------------------------------------------------------------------


def test_the_summary_is_of_the_range(api, server, base):
    summary = api.get(f"{base}/analytics/summary").json()
    assert summary == {
        "total_workflows": 3, "successful_workflows": 1, "failed_workflows": 2,
        "success_rate": pytest.approx(1 / 3), "average_duration_seconds": 90.0,
        "average_duration": 90.0, "total_tasks": 12, "completed_tasks": 9,
        "task_completion_rate": 0.75, "average_quality_score": 0.0,
        "average_efficiency_score": 0.0, "period_start": None, "period_end": None,
        "performance_summary": {"completed": 1, "failed": 2},
    }
    start = text_of(NOW - 3 * DAY)
    summary = api.get(f"{base}/analytics/summary?start_date={start}").json()
    assert summary["total_workflows"] == 2
    assert summary["period_start"] == start and summary["period_end"] is not None
    none = api.get(f"{base}/analytics/summary?start_date=1990-01-01&end_date=1991-01-01").json()
    assert none["total_workflows"] == none["total_tasks"] == 0
    assert none["success_rate"] == none["average_duration"] == 0
    assert none["performance_summary"] == {}
    assert issue_of(api.get(f"{base}/analytics/summary?end_date=x"))[1] == ["query", "end_date"]


def test_a_performance_is_calculated_from_the_agents_rows(api, base):
    answer = api.post(f"{base}/agents/scout/performance")
    assert answer.status == 200, answer
    assert answer.json()["message"] == "Performance calculation completed"
    row = answer.json()["metrics"]
    assert row["agent"] == {"id": "scout", "name": "The Scout", "type": None}
    assert row["period"]["type"] == "day"
    assert row["performance"] == {
        "workflows": {"total": 1, "successful": 1, "failed": 0, "success_rate": 1.0},
        "phases": {"total": 2, "successful": 1, "failed": 1, "success_rate": 0.5},
        "tasks": {"total": 4, "successful": 2, "failed": 2, "success_rate": 0.5},
    }
    assert row["time_metrics"] == {
        "total_active_time_seconds": 60.0, "average_task_duration_seconds": 15.0,
        "average_phase_duration_seconds": 30.0,
    }
    assert row["quality_metrics"]["consistency_score"] == 1.0
    assert row["utilization"] == {
        "utilization_percentage": pytest.approx(60 / 864), "idle_time_seconds": 86340.0,
        "overload_incidents": 0,
    }
    assert row["issues"] == {"total_errors": 2, "total_warnings": 0, "critical_issues": 0}
    assert row["collaboration"] == {
        "successful_handoffs": 1, "failed_handoffs": 0, "average_handoff_time_seconds": 2.0,
        "handoff_success_rate": 1.0,
    }
    assert row["specialization"]["task_category_performance"] == {
        "build": {"total": 2, "success_rate": 0.5},
    }
    assert row["resource_usage"]["average_cpu_usage"] is None
    listed = api.get(f"{base}/agents/performance?agent_id=scout").json()
    assert listed["metrics"][0] == row


def test_an_unknown_agent_gets_a_row_too(api, base):
    row = api.post(f"{base}/agents/n%20obody/performance?period_type=week"
                   "&start_date=2026-01-01&end_date=2026-01-08").json()["metrics"]
    assert row["agent"] == {"id": "n obody", "name": "n obody", "type": None}
    assert row["period"] == {"start": "2026-01-01T00:00:00.000000Z",
                             "end": "2026-01-08T00:00:00.000000Z", "type": "week"}
    assert row["performance"]["workflows"] == {
        "total": 0, "successful": 0, "failed": 0, "success_rate": 0.0,
    }
    assert row["utilization"]["idle_time_seconds"] == 7 * 86400


def test_a_registered_agent_has_its_own_name(api, base):
    agent = api.agent_v1(agent_type="digger")
    row = api.post(f"{base}/agents/{agent['id']}/performance").json()["metrics"]
    assert row["agent"] == {"id": agent["id"], "name": agent["name"], "type": "digger"}


def test_a_period_must_end_after_its_start(api, base):
    answer = api.post(f"{base}/agents/x/performance?start_date=2026-02-01&end_date=2026-01-01")
    assert issue_of(answer) == ("value_error", ["query", "end_date"])
    assert issue_of(api.post(f"{base}/agents/x/performance?end_date=soon"))[1] == [
        "query", "end_date",
    ]
    assert issue_of(api.post(f"{base}/agents/{'x' * 300}/performance"))[1] == ["path", "agent_id"]


def test_performances_are_filtered(api, base):
    mark = uuid.uuid4().hex
    for day in (1, 2, 3):
        answer = api.post(f"{base}/agents/{mark}/performance?period_type=type-{mark}"
                          f"&start_date=2026-01-0{day}&end_date=2026-01-0{day + 1}")
        assert answer.status == 200
    get = lambda query: api.get(f"{base}/agents/performance?{query}").json()
    found = get(f"agent_id={mark}")
    assert [row["period"]["start"][:10] for row in found["metrics"]] == [
        "2026-01-03", "2026-01-02", "2026-01-01",
    ]
    assert found["summary"] == {
        "total_records": 3, "agents_covered": 1, "date_range": {"start": None, "end": None},
    }
    assert get(f"period_type=type-{mark}&limit=2")["summary"]["total_records"] == 2
    within = get(f"agent_id={mark}&start_date=2026-01-02&end_date=2026-01-03")
    assert len(within["metrics"]) == 1
    assert within["summary"]["date_range"] == {"start": "2026-01-02", "end": "2026-01-03"}


@pytest.mark.parametrize("path,key", [
    ("/workflows?limit=2", "workflows"),
    ("/phases?agent_id=scout&limit=1", "phases"),
    ("/handoffs?limit=1", "handoffs"),
    ("/agents/performance?period_type=paged&limit=2", "metrics"),
])
def test_lists_go_on_where_a_page_ends(api, server, base, path, key):
    if key == "metrics":
        for _ in range(5 if base == PREFIXES[0] else 0):
            made = api.post(f"{base}/agents/paged/performance?period_type=paged"
                            "&start_date=2026-01-01&end_date=2026-01-02")
            assert made.status == 200
    name, size = path.rsplit("limit=", 1)
    whole = ids(api.get(f"{base}{name}limit=1000"), key)
    seen, url = [], base + path
    while url:
        answer = api.get(url)
        page = ids(answer, key)
        assert len(page) <= int(size)
        seen += page
        if key == "workflows":
            assert answer.json()["pagination"]["has_more"] == (answer.header("Link") is not None)
        url = answer.header("Link") and re.fullmatch('<(.*)>; rel="next"', answer.header("Link"))[1]
    assert seen == whole and len(whole) >= 1
    if len(whole) > int(size):
        cursor = api.get(base + path).header("Link").split("cursor=")[1].split(">")[0]
        for query in (f"offset=0&cursor={cursor}", f"cursor={cursor}&agent_id=x&project_id=x"):
            refused = api.get(f"{base}{name}{query}")
            assert issue_of(refused) == ("value_error", ["query", "cursor"])


# ---- Clean-up ----------------------------------------------------------------------------------


def test_clean_up_removes_what_is_older(make_server, base):
    server = make_server()
    Past(server)
    api = Client(server.port)
    api.post(f"{base}/agents/x/performance?start_date=2020-01-01&end_date=2020-01-02")
    api.post(f"{base}/agents/x/performance")
    answer = api.delete(f"{base}/cleanup?retention_days=30")
    assert answer.status == 200
    assert answer.json() == {
        "message": "Cleanup completed successfully",
        "deleted_records": {"workflow_history_deleted": 1, "performance_metrics_deleted": 1},
    }
    assert api.get(f"{base}/workflows").json()["pagination"]["total"] == 2
    assert api.delete(f"{base}/cleanup?retention_days=1").json()["deleted_records"] == {
        "workflow_history_deleted": 1, "performance_metrics_deleted": 1,
    }
    # Phases and handoffs of the run that is left are left too.
    assert api.get(f"{base}/phases").json()["total_records"] == 2
    for days in (0, 366, "x"):
        refused = api.delete(f"{base}/cleanup?retention_days={days}")
        assert issue_of(refused)[1] == ["query", "retention_days"]
    with server.database() as database:
        payload = database.execute(
            "SELECT payload FROM events WHERE kind = 'history.cleaned' ORDER BY id").fetchone()[0]
    assert json.loads(payload)["runs"] == 1
