"""What a keep-alive GET of one agent costs the server, beside a bare epoll loop and FastAPI."""

import dataclasses
import json
import pathlib

import harness
from harness import Target, median, paired_ratios
from subforge import AGENTS

ROUNDS = 25
MEASURE_MS = 300
WARMUP_MS = 100
CONNECTIONS = 64

CACHED_X_BARE_MAX = 1.35
FASTAPI_X_OURS_MIN = 14
UNCACHED_X_BARE_MAX = 2.4

# What the peers serve when there is no server to take an answer from.
SAMPLE_AGENT = {
    "id": "7b0f2f3e-9d41-4a55-8a64-2f5bd7a1c9e0", "name": "Bench Agent",
    "type": "backend-developer", "status": "active", "current_task": None,
    "configuration": {"model": "claude-3-sonnet", "tools": ["read", "write", "edit"],
                      "capabilities": [], "max_tokens": 4096, "temperature": 0.7, "timeout": 300,
                      "custom_instructions": None, "environment_vars": {}},
    "metrics": {"tasks_completed": 0, "tasks_failed": 0, "success_rate": 0.0,
                "avg_response_time": 0.0, "total_runtime": 0.0, "last_activity": None,
                "error_count": 0, "uptime_percentage": 100.0},
    "created_at": "2026-01-02T03:04:05.000000Z", "updated_at": "2026-01-02T03:04:05.000000Z",
    "tags": ["bench", "load"], "metadata": {},
}
SAMPLE_HEAD = """HTTP/1.1 200 OK
Date: Fri, 02 Jan 2026 03:04:05 GMT
Content-Type: application/json
Content-Length: {length}
X-Request-ID: 0f8fad5b-d9cb-469f-a165-70867728950e
ETag: "1"
X-Cache: HIT
RateLimit: "minute";r=199999999;t=60
RateLimit-Policy: "minute";q=200000000;w=60

"""


@dataclasses.dataclass
class Contender:
    process: harness.Process
    port: int
    request: pathlib.Path
    rounds: list = dataclasses.field(default_factory=list)

    def cpu_us(self):
        return [1e-3 * result["server_cpu_ns"] / result["requests"] for result in self.rounds]


def run(context):
    harness.stay_on_load_core()
    contenders = {}
    if context.peers_only:
        answer, path, token = sample_answer(), f"{AGENTS}/{SAMPLE_AGENT['id']}", "x" * 43
    else:
        ours, answer, path = start_subforge(context, "subforge", "HIT")
        contenders["subforge"] = ours
        contenders["subforge, uncached"], _, _ = start_subforge(
            context, "subforge-uncached", "BYPASS", {"ENABLE_CACHING": "false"})
        token = ours.process.token
    contenders |= start_peers(context, answer, path, token)

    foreign = measure(context, contenders)
    cpu = {name: contender.cpu_us() for name, contender in contenders.items()}
    print_results(contenders, cpu)
    figures = {"cpu_us_per_request": {name: median(values) for name, values in cpu.items()},
               "x_bare": {name: median(paired_ratios(values, cpu["bare"]))
                          for name, values in cpu.items()},
               "answer_bytes": len(answer), "clocks": check_clocks(contenders),
               "rounds": {name: contender.rounds for name, contender in contenders.items()}}
    return harness.conclude("http", [] if context.peers_only else targets(cpu), figures, foreign)


def sample_answer():
    body = json.dumps(SAMPLE_AGENT, separators=(",", ":"))
    return (SAMPLE_HEAD.format(length=len(body)).replace("\n", "\r\n") + body).encode()


def start_subforge(context, name, x_cache, settings=None):
    """The server with one agent: its Contender, the answer as it is served, the agent's path."""
    server = context.start_subforge(name, settings)
    server.require_conditions()
    path = server.add_agent()
    server.call("GET", path)
    answer = server.call("GET", path)
    if answer.headers.get("x-cache") != x_cache:
        raise harness.WrongAnswers(
            f"{name}: X-Cache is {answer.headers.get('x-cache')}, not {x_cache}")
    request = context.file(f"{name}.request", server.request("GET", path))
    return Contender(server, server.port, request), answer.raw, path


def start_peers(context, answer, path, token):
    """bare and asio serve the same bytes, fastapi the same JSON, all for the same request."""
    answer_file = context.file("answer", answer)
    agent_file = context.file("agent.json", answer.partition(b"\r\n\r\n")[2])
    app = harness.ROOT / "bench" / "fastapi_app.py"
    commands = {
        "bare": [context.program("bare_http"), "--answer", answer_file],
        "asio": [context.program("asio_http"), "--answer", answer_file],
        "fastapi": ["/usr/bin/python3", app, "--agent", agent_file],
    }
    peers = {}
    for name, command in commands.items():
        process, port = context.start_peer(name, command)
        request = harness.http_request("GET", path, port, {"Authorization": f"Bearer {token}"})
        if json.loads(harness.exchange(port, request).body) != json.loads(agent_file.read_bytes()):
            raise harness.WrongAnswers(f"{name} serves another agent")
        peers[name] = Contender(process, port, context.file(f"{name}.request", request))
    return peers


def measure(context, contenders):
    foreign = harness.ForeignLoad()
    for _, name in harness.alternating(list(contenders), context.rounds or ROUNDS):
        contender = contenders[name]
        with foreign.watching(contender.process):
            contender.rounds.append(harness.run_load(
                context.program("http_load"), server=contender.process, port=contender.port,
                request=contender.request, connections=CONNECTIONS, warmup_ms=WARMUP_MS,
                measure_ms=MEASURE_MS))
    return foreign


def print_results(contenders, cpu):
    rows = []
    for name, contender in contenders.items():
        rounds = contender.rounds
        ratios = paired_ratios(cpu[name], cpu["bare"])
        busy = median([1e-9 * result["server_cpu_ns"] / result["seconds"] for result in rounds])
        rows.append([name, f"{median(cpu[name]):.2f}", f"{min(cpu[name]):.2f}-{max(cpu[name]):.2f}",
                     f"{median(ratios):.2f}", f"{busy:.0%}",
                     *(f"{median([result[key] for result in rounds]):.0f}"
                       for key in ("rate", "p50_us", "p99_us"))])
    harness.print_table(
        f"GET of one agent, {CONNECTIONS} connections, medians of {len(cpu['bare'])} rounds",
        ["server", "CPU µs/request", "range", "x bare", "busy", "requests/s", "p50 µs", "p99 µs"],
        rows)


def targets(cpu):
    def ratio(one, other):
        return median(paired_ratios(cpu[one], cpu[other]))
    return [
        Target("from the cache, x bare", ratio("subforge", "bare"), CACHED_X_BARE_MAX,
               at_most=True),
        Target("fastapi, x ours", ratio("fastapi", "subforge"), FASTAPI_X_OURS_MIN, at_most=False),
        Target("from the database, x bare", ratio("subforge, uncached", "bare"),
               UNCACHED_X_BARE_MAX, at_most=True),
    ]


def check_clocks(contenders):
    """Two ways to ask for CPU time must agree, or neither can be believed."""
    clocks = {}
    for name, contender in contenders.items():
        exact = contender.process.cpu_seconds()
        coarse = harness.cpu_seconds_by_stat(contender.process.pid)
        clocks[name] = {"clock_s": round(exact, 3), "stat_s": coarse}
        if abs(exact - coarse) > 0.03 + 0.01 * exact:
            raise harness.CannotRun(f"CPU seconds of {name}: {exact:.3f} by its clock, "
                                    f"{coarse:.2f} by /proc/<pid>/stat")
    return clocks
