"""What nine reads and one write cost, beside FastAPI with SQLAlchemy on the same databases."""

import dataclasses
import datetime
import json
import re
import shutil
import subprocess
import sys

import harness
import mix
from harness import Target, median, paired_ratios

# The tests' PostgreSQL; behind the folder of this file, whose `harness` is another one.
sys.path.append(str(harness.ROOT / "tests" / "e2e"))
import postgres  # noqa: E402

ROUNDS = 10
CALLS = 2_000
WARMUP_CALLS = 200
KIND_ROUNDS = 3
KIND_CALLS = 300
CONNECTIONS = 64
FASTAPI_X_OURS_MIN = 15
COMPARED_CALLS = 100
PAGE_MAX = 1000
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*")

OURS, UNCACHED, FASTAPI = "subforge", "subforge, uncached", "fastapi"


@dataclasses.dataclass
class Contender:
    process: harness.Process
    port: int
    rounds: list = dataclasses.field(default_factory=list)

    def cpu_us(self):
        return [1e-3 * result["server_cpu_ns"] / result["requests"] for result in self.rounds]

    def with_database_us(self):
        return [own + 1e6 * result["database_cpu_s"] / result["acknowledged"]
                for own, result in zip(self.cpu_us(), self.rounds)]


def run(context):
    context.require_server()
    harness.stay_on_load_core()
    load = mix.Mix(seed=1)
    template, records = make_rows(context, load)
    cluster = postgres.Cluster(durable=True, core=harness.SERVER_CORE)
    context.stack.callback(cluster.remove)
    seed = context.file("seed.json", json.dumps(records))
    databases = {"SQLite": (start_on_sqlite(context, template, seed), None),
                 "PostgreSQL": (start_on_postgres(context, template, seed, cluster), cluster)}
    foreign, figures, targets = harness.ForeignLoad(), {}, []
    for database, (contenders, used_cluster) in databases.items():
        require_same_answers(contenders, load, template.token)
        measure(context, contenders, load, template.token, used_cluster, foreign)
        print_results(database, contenders)
        kinds = measure_kinds(context, contenders, load, template.token, foreign)
        print_kinds(database, kinds)
        targets.append(Target(f"{database}: fastapi, x ours", times_ours(contenders, OURS),
                              FASTAPI_X_OURS_MIN, at_most=False))
        figures[database] = {"servers": figures_of(contenders), "cpu_us_by_kind": kinds}
    return harness.conclude("mixed", targets, {"shares": mix.SHARES, "databases": figures}, foreign)


# ---- The same rows for everybody --------------------------------------------------------------

def make_rows(context, load):
    """A stopped server with agents and tasks in its SQLite, and these as it shows them."""
    server = context.start_subforge("template")
    server.require_conditions()
    send(context, server, [load.create_agent() for _ in range(mix.AGENT_COUNT)])
    agents = all_records(server, mix.AGENTS)
    load.agent_ids = [agent["id"] for agent in agents]
    send(context, server, [load.create_task() for _ in range(mix.TASK_COUNT)])
    tasks = all_records(server, mix.TASKS)
    load.task_ids = [task["id"] for task in tasks]
    if (len(agents), len(tasks)) != (mix.AGENT_COUNT, mix.TASK_COUNT):
        raise harness.WrongAnswers(f"{len(agents)} agents and {len(tasks)} tasks stored")
    # Again: tasks that are worked on have made agents busy.
    agents = all_records(server, mix.AGENTS)
    server.stop()
    return server, {"agents": agents, "tasks": tasks}


def send(context, server, calls):
    file = context.file("rows.mix", mix.load_file(calls, server.port, server.token))
    harness.run_load(context.program("http_load"), server=server, port=server.port, mix=file,
                     connections=CONNECTIONS, warmup_ms=0)


def all_records(server, path):
    """Oldest first."""
    records = []
    while True:
        page = json.loads(server.call(
            "GET", f"{path}?limit={PAGE_MAX}&skip={len(records)}").body)
        records += page
        if len(page) < PAGE_MAX:
            return records[::-1]


def start_ours(context, template, name, url_of, settings):
    """One with the rows of the template; `url_of(folder)` makes its database."""
    folder = context.folder / name.replace(", ", "-")
    folder.mkdir()
    shutil.copy(template.folder / "token", folder)
    server = context.start_subforge(folder.name, {"DATABASE_URL": url_of(folder), **settings})
    server.require_conditions()
    return Contender(server, server.port)


def start_fastapi(context, name, url, seed):
    app = harness.ROOT / "bench" / "fastapi_sqlalchemy_app.py"
    return Contender(*context.start_peer(
        name, ["/usr/bin/python3", app, "--database", url, "--seed", seed]))


def start_on_sqlite(context, template, seed):
    def copied(folder):
        for file in template.folder.glob("bench.db*"):
            shutil.copy(file, folder)
        return f"sqlite:///{folder}/bench.db"

    def ours(name, settings):
        return start_ours(context, template, f"{name}, sqlite", copied, settings)
    return {OURS: ours(OURS, {}),
            UNCACHED: ours(UNCACHED, {"ENABLE_CACHING": "false"}),
            FASTAPI: start_fastapi(context, "fastapi-sqlite",
                                   f"sqlite:///{context.folder}/fastapi.db", seed)}


def start_on_postgres(context, template, seed, cluster):
    def moved(_):
        url = cluster.create_database()
        done = subprocess.run(
            [context.binary, "migrate", "--from", template.environment["DATABASE_URL"], "--to",
             url], cwd=template.folder, env=template.environment, capture_output=True, text=True,
            timeout=harness.LOAD_SECONDS_MAX)
        if done.returncode != 0:
            raise harness.CannotRun(f"migrate failed: {done.stdout}{done.stderr}")
        return url

    def ours(name, settings):
        return start_ours(context, template, f"{name}, postgresql", moved, settings)
    contenders = {OURS: ours(OURS, {}),
                  UNCACHED: ours(UNCACHED, {"ENABLE_CACHING": "false"}),
                  FASTAPI: start_fastapi(context, "fastapi-postgresql", cluster.create_database(),
                                         seed)}
    for [database] in cluster.query("postgres", "SELECT datname FROM pg_database "
                                                "WHERE NOT datistemplate"):
        cluster.query(database, "ANALYZE")
    return contenders


# ---- Rounds -----------------------------------------------------------------------------------

def require_same_answers(contenders, load, token):
    """A peer that shows less, or other rows, would be another measurement."""
    for call in load.calls(COMPARED_CALLS):
        if call.method != "GET":
            continue
        shown = {}
        for name, contender in contenders.items():
            answer = harness.exchange(contender.port, mix.as_bytes(call, contender.port, token))
            if answer.status != 200:
                raise harness.WrongAnswers(f"{contender.process.name}: {call.path} gave "
                                           f"{answer.status}: {answer.body[:300]!r}")
            shown[name] = without_zones(json.loads(answer.body))
        for name in (UNCACHED, FASTAPI):
            if shown[name] != shown[OURS]:
                raise harness.WrongAnswers(f"{contenders[name].process.name} answers {call.path} "
                                           f"with {shown[name]}, not {shown[OURS]}")


def without_zones(value):
    """Times as such: Python writes those of UTC without a zone, or with another word for it."""
    if isinstance(value, dict):
        return {name: without_zones(member) for name, member in value.items()}
    if isinstance(value, list):
        return [without_zones(member) for member in value]
    if isinstance(value, str) and TIME.fullmatch(value):
        return datetime.datetime.fromisoformat(value).replace(tzinfo=None)
    return value


class Measured:
    """A server together with its database's processes."""

    def __init__(self, process, cluster):
        self._process, self._cluster = process, cluster

    def database_seconds(self):
        return harness.family_cpu_seconds(self._cluster.process.pid) if self._cluster else 0.0

    def cpu_seconds(self):
        return self._process.cpu_seconds() + self.database_seconds()


def measure(context, contenders, load, token, cluster, foreign):
    calls = [load.calls(WARMUP_CALLS + CALLS) for _ in range(context.rounds or ROUNDS)]
    for number, name in harness.alternating(list(contenders), len(calls)):
        contender = contenders[name]
        file = context.file("round.mix", mix.load_file(calls[number], contender.port, token))
        both = Measured(contender.process, cluster)
        before = both.database_seconds()
        with foreign.watching(both):
            result = harness.run_load(
                context.program("http_load"), server=contender.process, port=contender.port,
                mix=file, connections=CONNECTIONS, warmup_ms=0, warmup_count=WARMUP_CALLS)
        result["database_cpu_s"] = both.database_seconds() - before
        contender.rounds.append(result)


def measure_kinds(context, contenders, load, token, foreign):
    """Microseconds of CPU for a request of each kind alone: what the mix is made of."""
    kinds = {}
    for kind in mix.SHARES:
        cpu = {name: [] for name in contenders}
        calls = [load.calls(KIND_CALLS, {kind: 1}) for _ in range(KIND_ROUNDS)]
        for number, name in harness.alternating(list(contenders), KIND_ROUNDS):
            contender = contenders[name]
            file = context.file("kind.mix", mix.load_file(calls[number], contender.port, token))
            with foreign.watching(contender.process):
                result = harness.run_load(
                    context.program("http_load"), server=contender.process, port=contender.port,
                    mix=file, connections=CONNECTIONS, warmup_ms=0, warmup_count=CONNECTIONS)
            cpu[name].append(1e-3 * result["server_cpu_ns"] / result["requests"])
        kinds[kind] = {name: median(values) for name, values in cpu.items()}
    return kinds


# ---- Figures ----------------------------------------------------------------------------------

def times_ours(contenders, name, figure=Contender.cpu_us):
    """How much more FastAPI needs, as the median over the rounds."""
    return median(paired_ratios(figure(contenders[FASTAPI]), figure(contenders[name])))


def print_results(database, contenders):
    rows = []
    for name, contender in contenders.items():
        rounds, cpu = contender.rounds, contender.cpu_us()
        busy = median([1e-9 * result["server_cpu_ns"] / result["seconds"] for result in rounds])
        row = [name, f"{median(cpu):.1f}", f"{min(cpu):.1f}-{max(cpu):.1f}",
               f"{times_ours(contenders, name):.1f}"]
        if database == "PostgreSQL":
            row += [f"{median(contender.with_database_us()):.1f}",
                    f"{times_ours(contenders, name, Contender.with_database_us):.1f}"]
        rows.append(row + [f"{busy:.0%}", *(f"{median([result[key] for result in rounds]):.0f}"
                                            for key in ("rate", "p50_us", "p99_us"))])
    head = ["server", "CPU µs/request", "range", "fastapi x"]
    if database == "PostgreSQL":
        head += ["with PostgreSQL", "fastapi x"]
    harness.print_table(
        f"90 % reads and 10 % writes on {database}, {CONNECTIONS} connections, medians of "
        f"{len(contenders[OURS].rounds)} rounds",
        [*head, "busy", "requests/s", "p50 µs", "p99 µs"], rows)


def print_kinds(database, kinds):
    harness.print_table(
        f"CPU µs/request of each kind alone, on {database}",
        ["kind", "% of the mix", OURS, UNCACHED, FASTAPI, "x ours", "x uncached"],
        [[kind.replace("_", " "), mix.SHARES[kind],
          *(f"{cpu[name]:.0f}" for name in (OURS, UNCACHED, FASTAPI)),
          *(f"{cpu[FASTAPI] / cpu[name]:.1f}" for name in (OURS, UNCACHED))]
         for kind, cpu in kinds.items()])


def figures_of(contenders):
    return {name: {"cpu_us_per_request": median(contender.cpu_us()),
                   "with_database_us_per_request": median(contender.with_database_us()),
                   "fastapi_x": times_ours(contenders, name),
                   "fastapi_x_with_database": times_ours(contenders, name,
                                                         Contender.with_database_us),
                   "rounds": contender.rounds}
            for name, contender in contenders.items()}
