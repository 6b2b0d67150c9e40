"""What lists, searches and figures cost when there are more and more records, on both databases."""

import contextlib
import json
import random
import sqlite3
import subprocess
import sys
import time
import uuid

import harness
import mix
from harness import Target, median

sys.path.append(str(harness.ROOT / "tests" / "e2e"))  # Behind our own harness.
import postgres  # noqa: E402

SIZES = [1_000, 10_000, 100_000]
SIZES_FULL = [*SIZES, 1_000_000]
AGENT_COUNT = 100  # That have tasks.
OTHERS_SHARE = 10  # So many times fewer than tasks are the agents without any, and the workflows.
ROUNDS = 3
CALLS = 400
SEARCH_CALLS = 4  # Those that read every task take long.
WARMUP_CALLS = 2
GROWTH_MAX = 3
PAGE = 50
MOVE_SECONDS_MAX = 900  # From SQLite to PostgreSQL.
FIRST_AT_US = 1_700_000_000_000_000
RARE = "zebra"  # In the titles of a few tasks of each size, and their tag.
RARE_COUNT = 20

AGENT = "00000000-0000-4000-8000-000000000001"

V1, V2, SYSTEM = "/api/v1", "/api/v2", "/api/v1/system/metrics"
LISTS = {
    "v2 first page": f"{mix.TASKS}?limit={PAGE}",
    "v2 of a status": f"{mix.TASKS}?status=pending&limit={PAGE}",
    "v2 of two filters": f"{mix.TASKS}?status=pending&priority=high&limit={PAGE}",
    # As few as an agent has of the fewest tasks; by the id that fill() gives to one of them.
    "v2 of an agent": f"{mix.TASKS}?assigned_agent={AGENT}&limit=5",
    "v2 of a tag that few have": f"{mix.TASKS}?tags={RARE}&limit={PAGE}",
    "v2 of an agent, none of a status": f"{mix.TASKS}?assigned_agent={AGENT}&status=in_progress",
    "v1 first page": f"{V1}/tasks/?limit={PAGE}",
    "v1 of a status": f"{V1}/tasks/?status=pending&limit={PAGE}",
    "v1 of a type": f"{V1}/tasks/?task_type={mix.TYPES[0]}&limit={PAGE}",
    "v1 of a workflow, none of a status": f"{V1}/tasks/?workflow_id={AGENT}&status=pending",
    "the page's board": "/api/tasks",
    "v2 agents by name": f"{mix.AGENTS}?sort_by=name&sort_order=asc&limit={PAGE}",
    "v2 agents by their last change": f"{mix.AGENTS}?sort_by=updated_at&limit={PAGE}",
    "v2 agents of a status by name":
        f"{mix.AGENTS}?status=active&sort_by=name&sort_order=asc&limit={PAGE}",
    "v1 agents": f"{V1}/agents/?limit={PAGE}",
    "v2 workflows": f"{V2}/workflows?limit={PAGE}",
    "v1 workflows of a status": f"{V1}/workflows/?status=active&limit={PAGE}",
}
# Pages in the middle of a list, behind a cursor.
DEEP = {
    "v2 deep page": f"{mix.TASKS}?limit={PAGE}",
    "v2 deep page of a status": f"{mix.TASKS}?status=pending&limit={PAGE}",
    "v2 deep page of agents by name": f"{mix.AGENTS}?sort_by=name&sort_order=asc&limit={PAGE}",
    "v2 deep page of agents by their last change": f"{mix.AGENTS}?sort_by=updated_at&limit={PAGE}",
}
STATISTICS = {
    "tasks' summary": f"{V1}/tasks/stats/summary",
    "agents' summary": f"{V1}/agents/stats/summary",
    "workflows' summary": f"{V1}/workflows/stats/summary",
    "system status": f"{V1}/system/status",
    "system figures of tasks": f"{SYSTEM}/tasks",
    "system figures of agents": f"{SYSTEM}/agents",
    "system figures of workflows": f"{SYSTEM}/workflows",
    "v2 system metrics": f"{V2}/system/metrics",
    "the page's overview": "/api/dashboard/overview",
    "the page's metrics": "/api/metrics?range=90d",
}
SEARCHES = {
    "search, few have it": f"{mix.TASKS}?search={RARE}&limit={PAGE}",
    "search, nobody has it": f"{mix.TASKS}?search=quagga&limit={PAGE}",
    "search, all have it": f"{mix.TASKS}?search=task&limit={PAGE}",
    "search, two characters": f"{mix.TASKS}?search=zz&limit={PAGE}",
}


def run(context):
    context.require_server()
    harness.stay_on_load_core()
    sizes = SIZES_FULL if context.full else SIZES
    cluster = postgres.Cluster(durable=True, core=harness.SERVER_CORE)
    context.stack.callback(cluster.remove)
    foreign = harness.ForeignLoad()
    servers = {"SQLite": {}, "PostgreSQL": {}}
    for size in sizes:
        began = time.monotonic()
        servers["SQLite"][size] = start_with(context, size)
        servers["PostgreSQL"][size] = move(context, servers["SQLite"][size], size, cluster)
        print(f"{size} tasks: ready after {time.monotonic() - began:.0f} s", flush=True)
    targets, figures = [], {}
    for database, of_sizes in servers.items():
        results = measure(context, of_sizes, foreign)
        for title, queries, held in (("lists", [*LISTS, *DEEP], True),
                                     ("figures", list(STATISTICS), True),
                                     ("searches", list(SEARCHES), False)):
            print_results(f"{database}, {title}", queries, sizes, results)
            if held:
                targets += [Target(f"{database}, {query}: {sizes[-1]} tasks, x {sizes[0]}",
                                   growth(results, query, sizes), GROWTH_MAX, at_most=True)
                            for query in queries]
        figures[database] = {query: {str(size): results[query, size] for size in sizes}
                             for query in [*LISTS, *DEEP, *STATISTICS, *SEARCHES]}
    return harness.conclude("growth", targets, {"databases": figures}, foreign)


# ---- Databases ---------------------------------------------------------------------------------

def start_with(context, size):
    """A server whose database has so many tasks, filled while it was stopped."""
    name = f"tasks-{size}"
    empty = context.start_subforge(name)
    empty.require_conditions()
    agents = [json.loads(empty.call(
        "POST", mix.AGENTS, mix.compact({"name": f"agent {i}", "type": mix.TYPES[i % 8]}),
        status=201).body)["id"] for i in range(AGENT_COUNT)]
    sample = json.loads(empty.call("POST", mix.TASKS, mix.compact(
        {"title": "a task", "description": "of the server's own"}), status=201).body)
    path = empty.folder / "bench.db"
    others = [Copies(path, "agents", lambda: make_agent(empty)),
              Copies(path, "workflows", lambda: make_workflow(empty))]
    empty.stop()
    fill(path, size, agents, sample["id"], others)
    # Without the cache, which would tell nothing about the database.
    server = context.start_subforge(name, {"ENABLE_CACHING": "false"})
    require_all(server, size)
    return server


def make_agent(server):
    return json.loads(server.call("POST", mix.AGENTS, mix.compact(
        {"name": "agent without tasks", "type": mix.TYPES[0]}), status=201).body)["id"]


def make_workflow(server):
    return json.loads(server.call("POST", f"{V2}/workflows", mix.compact(
        {"name": "a workflow", "steps": [{"id": "a", "name": "A", "task_template": "Do it"}]}),
        status=201).body)["id"]


class Copies:
    """Of a record that the server makes: with each copy, its counts change as they did with it."""

    COUNTS = {"record_counts": ("name", ["n"]),
              "workflow_totals": ("status", ["workflows", "templates", "progress", "success"])}

    def __init__(self, path, table, make):
        self.path, self.table = path, table
        before = self.counts()
        self.id = make()
        self.change = {key: [after - was for after, was in zip(counts, before.get(key, [0] * 4))]
                       for key, counts in self.counts().items()}

    def counts(self):
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
            return {(table, row[0]): list(row[1:])
                    for table, (name, columns) in self.COUNTS.items()
                    for row in database.execute(
                        f"SELECT {name}, {', '.join(columns)} FROM {table}")}

    def add(self, database, count, chance):
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({self.table})")]
        row = dict(zip(columns, database.execute(
            f"SELECT * FROM {self.table} WHERE id = ?", [uuid.UUID(self.id).bytes]).fetchone()))
        [[last]] = database.execute(f"SELECT max(seq) FROM {self.table}")
        marks = ", ".join("?" * len(columns))
        database.executemany(
            f"INSERT INTO {self.table} ({', '.join(columns)}) VALUES ({marks})",
            (list({**row, "seq": last + 1 + number,
                   "id": uuid.UUID(int=chance.getrandbits(128)).bytes,
                   "name": f"{chance.choice(mix.WORDS)} {number:07}",
                   "created_at": FIRST_AT_US + number * 1000,
                   "updated_at": FIRST_AT_US + number * 1000}.values())
             for number in range(count)))
        for (table, key), changes in self.change.items():
            name, fields = self.COUNTS[table]
            for field, change in zip(fields, changes):
                database.execute(f"UPDATE {table} SET {field} = {field} + ? WHERE {name} = ?",
                                 [count * change, key])


def move(context, server, size, cluster):
    """A server with the same rows in PostgreSQL; the first one goes on after it."""
    url = cluster.create_database()
    done = subprocess.run(
        [context.binary, "migrate", "--from", server.environment["DATABASE_URL"], "--to", url],
        cwd=server.folder, env=server.environment, capture_output=True, text=True,
        timeout=MOVE_SECONDS_MAX)
    if done.returncode != 0:
        raise harness.CannotRun(f"migrate failed: {done.stdout}{done.stderr}")
    cluster.query(url.partition("@/")[2].partition("?")[0], "VACUUM ANALYZE")
    folder = context.folder / f"tasks-{size}-postgresql"
    folder.mkdir()
    (folder / "token").write_text(server.token)
    moved = context.start_subforge(folder.name, {"ENABLE_CACHING": "false", "DATABASE_URL": url})
    require_all(moved, size)
    return moved


def require_all(server, size):
    shown = json.loads(server.call("GET", STATISTICS["tasks' summary"]).body)
    counted = int(server.call("GET", LISTS["v2 first page"]).headers["x-total-count"])
    found = json.loads(server.call("GET", SEARCHES["search, few have it"]).body)
    for record, own in (("agents", AGENT_COUNT + 1), ("workflows", 1)):
        total = json.loads(server.call("GET", f"{V1}/{record}/stats/summary").body)[
            f"total_{record}"]
        listed = int(server.call("GET", f"{V2}/{record}?limit=1").headers["x-total-count"])
        if (total, listed) != (own + size // OTHERS_SHARE,) * 2:
            raise harness.WrongAnswers(f"{size} tasks stored; of {record} the summary tells "
                                       f"{total} and the list {listed}")
    if (shown["total_tasks"], counted, len(found)) != (size, size, RARE_COUNT):
        raise harness.WrongAnswers(
            f"{size} tasks stored; summary, list and search tell of {shown['total_tasks']}, "
            f"{counted} and {len(found)}")


def fill(path, size, agents, sample, others):
    """The server's own task, over and over, with its texts, states and times varied."""
    chance = random.Random(size)
    database = sqlite3.connect(path, isolation_level=None)
    try:
        # The texts are ASCII, of which SQLite's own lower() makes the same as the server's.
        columns = [row[1] for row in database.execute("PRAGMA table_info(tasks)")]
        row = dict(zip(columns, database.execute(
            "SELECT * FROM tasks WHERE id = ?", [uuid.UUID(sample).bytes]).fetchone()))
        database.execute("PRAGMA synchronous=OFF")
        database.execute("PRAGMA cache_size=-500000")
        indexed = database.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'task_texts'").fetchone() is not None
        if indexed:
            database.execute("INSERT INTO task_texts (task_texts, rank) VALUES ('hashsize', "
                             "200000000)")
        database.execute("BEGIN")
        marks = ", ".join("?" * len(columns))
        database.executemany(f"INSERT INTO tasks ({', '.join(columns)}) VALUES ({marks})",
                             made_rows(row, size - 1, agents, chance))
        recount(database)
        for copies in others:
            copies.add(database, size // OTHERS_SHARE, chance)
        database.execute("COMMIT")
        if indexed:
            database.execute("INSERT INTO task_texts (task_texts, rank) VALUES ('hashsize', "
                             "1048576)")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        database.close()


def made_rows(row, count, agents, chance):
    ids = [uuid.UUID(agent).bytes for agent in [AGENT, *agents[1:]]]
    first = row["seq"] + 1
    for number in range(count):
        rare = f" {RARE}" if number % (count // RARE_COUNT) == 0 and (
            number // (count // RARE_COUNT) < RARE_COUNT) else ""
        at = FIRST_AT_US + number * 1000
        agent = chance.randrange(len(ids))
        made = {**row, "seq": first + number, "id": uuid.UUID(int=chance.getrandbits(128)).bytes,
                "title": f"task {number:07} {chance.choice(mix.WORDS)}{rare}",
                "description": " ".join(chance.choices(mix.WORDS, k=4)),
                "tags": f'["{RARE}"]' if rare else row["tags"],
                # Ended ones, which keep no agent busy.
                "status": chance.choice(["pending", "completed", "failed", "cancelled"]),
                "priority": chance.choice(mix.PRIORITIES), "task_type": chance.choice(mix.TYPES),
                "created_at": at, "updated_at": at}
        if made["status"] != "pending":
            made["assigned_agent_id"] = ids[agent]
            made["assigned_agent_name"] = f"agent {agent}"
        yield list(made.values())


def recount(database):
    """What the server keeps up to date with each change."""
    database.execute("DELETE FROM record_counts WHERE name LIKE 'task%'")
    add = "INSERT INTO record_counts (name, n) SELECT "
    database.execute(f"{add} 'tasks', count(*) FROM tasks")
    for column in ("status", "priority"):
        database.execute(f"{add} 'tasks.{column}=' || {column}, count(*) FROM tasks GROUP BY 1")
    database.execute(f"{add} 'tasks.status,priority=' || status || ',' || priority, count(*) "
                     "FROM tasks GROUP BY 1")
    database.execute(f"{add} 'task_agents.' || lower(hex(assigned_agent_id)), count(*) FROM tasks "
                     "WHERE assigned_agent_id IS NOT NULL GROUP BY 1")
    database.execute("DELETE FROM task_days")
    database.execute(
        "INSERT INTO task_days (day, agent, completed, failed) SELECT updated_at / 86400000000, "
        "coalesce(lower(hex(assigned_agent_id)), ''), count(CASE WHEN status = 'completed' THEN 1 "
        "END), count(CASE WHEN status = 'failed' THEN 1 END) FROM tasks "
        "WHERE status IN ('completed', 'failed') GROUP BY 1, 2")
    database.execute(f"{add} 'task_types' || coalesce('.' || task_type, ''), count(*) "
                     "FROM tasks GROUP BY 1")


# ---- Rounds ------------------------------------------------------------------------------------

def measure(context, servers, foreign):
    """(query, size) to what each round showed."""
    queries = {**LISTS, **DEEP, **STATISTICS, **SEARCHES}
    deep = {(query, size): deep_page(server, path)
            for query, path in DEEP.items() for size, server in servers.items()}
    results = {(query, size): [] for query in queries for size in servers}
    for query, path in queries.items():
        for _, size in harness.alternating(list(servers), context.rounds or ROUNDS):
            server = servers[size]
            word = "{" if query in STATISTICS or path == "/api/tasks" else "["
            call = mix.Call("GET", deep.get((query, size), path), 200, word)
            count = WARMUP_CALLS + (SEARCH_CALLS if query in SEARCHES else CALLS)
            file = context.file("growth.mix", mix.load_file(
                [call] * count, server.port, server.token))
            with foreign.watching(server):
                results[query, size].append(harness.run_load(
                    context.program("http_load"), server=server, port=server.port,
                    mix=file, connections=1, warmup_ms=0, warmup_count=WARMUP_CALLS))
    return results


def deep_page(server, path):
    """The path of a page in the middle, behind a cursor; led there by the number of records."""
    total = int(server.call("GET", path).headers["x-total-count"])
    answer = server.call("GET", f"{path}&skip={total // 2}")
    link = next(part for part in answer.headers["link"].split(",") if 'rel="next"' in part)
    return link[link.index("<") + 1:link.index(">")]


# ---- Figures -----------------------------------------------------------------------------------

def cpu_us(rounds):
    return median([1e-3 * result["server_cpu_ns"] / result["requests"] for result in rounds])


def p50_us(rounds):
    return median([result["p50_us"] for result in rounds])


def growth(results, query, sizes, figure=p50_us):
    """The last size by the first one."""
    return figure(results[query, sizes[-1]]) / figure(results[query, sizes[0]])


def print_results(title, queries, sizes, results):
    rows = [[query,
             *(f"{p50_us(results[query, size]):.0f}" for size in sizes),
             f"{growth(results, query, sizes):.2f}",
             *(f"{cpu_us(results[query, size]):.0f}" for size in sizes),
             f"{growth(results, query, sizes, cpu_us):.2f}"] for query in queries]
    harness.print_table(
        f"{title}: median µs and server CPU µs per request, by number of tasks",
        ["", *(f"p50 {size // 1000}k" for size in sizes), "x",
         *(f"CPU {size // 1000}k" for size in sizes), "x"], rows)
