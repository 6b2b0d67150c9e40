"""What built-in tasks take of memory while they work on much: as little as on some."""

import contextlib
import threading

import pytest
from harness import ON_POSTGRESQL, wait_until
from hostile_uploads import END, FORM, part

TASKS = "/api/v2/background-tasks"
MIB = 1 << 20
# Fewer rows than are read at a time, if it were not for their length: more than 100 MB.
ROWS = 800
ROW_BYTES = 128 << 10
AGENTS = 20_000
USERS, DAYS = 300, 30
FILE_BYTES = 100 * MIB
GROWTH_MAX = 40 * MIB  # Connections of SQLite keep 8 MiB of pages each.

NUMBERS = ("(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers"
           " WHERE n < {}) SELECT n FROM numbers) AS counted")
NEW_ID = "decode(md5(CAST(n AS TEXT)), 'hex')" if ON_POSTGRESQL else "randomblob(16)"
LONG = f"repeat('x', {ROW_BYTES})" if ON_POSTGRESQL else f"printf('%.{ROW_BYTES}c', 'x')"
DAY_US = 86_400_000_000


def copy_rows(database, table, count, **values):
    """So many rows like one that there is, but for some values."""
    columns = [row["name"] for row in database.execute(f"PRAGMA table_info({table})")
               if row["name"] != "seq"]
    chosen = ", ".join(str(values.get(name, name)) for name in columns)
    database.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen}"
                     f" FROM (SELECT * FROM {table} LIMIT 1) AS one, {NUMBERS.format(count)}")


@pytest.fixture
def full(make_server):
    """A server with long results, many agents, and a month of many users' requests."""
    server = make_server(TASK_RETENTION_DAYS=1, MAX_FILE_SIZE=2 * FILE_BYTES,
                         DISK_FREE_BYTES_MIN=0)
    api = server.client()
    api.agent_v2()
    run(api, "analyze_system_metrics")
    server.stop()
    with contextlib.closing(server.database(writable=True)) as database:
        old = f"created_at - {2 * DAY_US}"
        copy_rows(database, "jobs", ROWS, id=NEW_ID, result=f"'\"' || {LONG} || '\"'",
                  created_at=old, completed_at=old, status="'success'", stage="'ended'")
        copy_rows(database, "agents", AGENTS, id=NEW_ID, name="'agent ' || n")
        copy_rows(database, "api_usage", USERS * DAYS, span=DAY_US // 1_000_000, scope="'user'",
                  name=f"'user ' || (n % {USERS})",
                  started_at=f"started_at - started_at % {DAY_US} - n / {USERS} * {DAY_US}")
        if not ON_POSTGRESQL:
            database.commit()
    return server.start()


def memory_of(server):
    """Its own: the pages of files that it has mapped are everybody's."""
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return int(status.read().split("RssAnon:")[1].split()[0]) << 10


@contextlib.contextmanager
def growing_little(server, what):
    stop, before = threading.Event(), memory_of(server)
    most = [before]

    def watch():
        while not stop.wait(0.005):
            most[0] = max(most[0], memory_of(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
    told = f"{what}: {(most[0] - before) / MIB:.1f} MiB more than {before / MIB:.1f}"
    print(told)
    assert most[0] - before < GROWTH_MAX, told


def run(api, name, *args):
    answer = api.post(TASKS, {"task_name": name, "task_args": list(args)})
    assert answer.status == 201, answer
    return result_of(api, answer.json()["task_id"])


def result_of(api, task_id):
    def ended():
        task = api.get(f"{TASKS}/{task_id}").json()
        return task if task["status"] in ("success", "failure", "revoked") else None

    task = wait_until(ended, 120, f"the end of {task_id}")
    assert task["status"] == "success", task
    return task["result"]


def test_memory_does_not_grow_with_the_data(full):
    api = full.client()
    api.connection.timeout = 120  # Of a large upload on a busy machine.
    with growing_little(full, "analysis"):
        assert run(api, "analyze_system_metrics", "30d")["total_requests"] > 0
    with growing_little(full, "full backup"):
        assert run(api, "backup_agent_data", "full")["rows"] > ROWS + AGENTS + USERS * DAYS
    with growing_little(full, "incremental backup"):
        assert run(api, "backup_agent_data", "incremental")["backup_type"] == "incremental"
    with growing_little(full, "clean-up"):
        assert run(api, "retention_cleanup")["tasks_removed"] == ROWS
    line = b"number,some words of it,and some more of them\n"
    body = part(filename="large.csv", content=line * (FILE_BYTES // len(line))) + END
    with growing_little(full, "upload of a table and a look into it"):
        file, = api.post("/api/v2/files/upload/data_files", body=body,
                         headers={"Content-Type": FORM}).json()["files"]
        assert result_of(api, file["analysis"]["task_id"])["rows"] > 0
    api.close()
