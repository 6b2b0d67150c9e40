"""How well durable creates from many connections share the syncs of the disk."""

import harness
from harness import Target, median
from subforge import AGENTS, new_agent

ROUNDS = 3
MANY = 64
MEASURE_MS = {MANY: 4000, 1: 2000}
FSYNCS_PER_SAMPLE = 150
SHARE_MIN = 0.6  # Of what sharing each sync among all connections could give.

NUMBER_MARK = "@" * 10  # http_load puts a running number here.


def create_request(server):
    return server.request("POST", AGENTS, new_agent(f"bench {NUMBER_MARK}"))


def run(context):
    context.require_server()
    harness.stay_on_load_core()
    server = context.start_subforge()
    server.require_conditions()
    request = context.file("create", create_request(server))
    results = {MANY: [], 1: []}
    foreign, fsyncs, acknowledged = harness.ForeignLoad(), [], 0
    for _, connections in harness.alternating([MANY, 1], context.rounds or ROUNDS):
        fsyncs += harness.measure_fdatasync(context.folder, FSYNCS_PER_SAMPLE)
        with foreign.watching(server):
            result = harness.run_load(
                context.program("http_load"), server=server, port=server.port, request=request,
                status=201, connections=connections, first_number=acknowledged + 1,
                measure_ms=MEASURE_MS[connections])
        results[connections].append(result)
        acknowledged += result["acknowledged"]
    stored = server.agent_count()
    if stored != acknowledged:
        raise harness.WrongAnswers(f"{acknowledged} creates acknowledged, {stored} agents stored")
    return conclude(fsyncs, results, stored, foreign)


def conclude(fsyncs, results, stored, foreign):
    def middle(count, key):
        return median([result[key] for result in results[count]])

    f = median(fsyncs)
    cpu = {count: median([1e-9 * result["server_cpu_ns"] / result["requests"] for result in rounds])
           for count, rounds in results.items()}
    c = cpu[MANY]
    many, one, unshared = middle(MANY, "rate"), middle(1, "rate"), 1 / (f + c)
    gain = (f + c) / (f / MANY + c)

    harness.print_table(
        "Durable POST of one agent", ["connections", "creates/s", "CPU µs/create", "p50 µs",
                                      "p99 µs"],
        [[count, f"{middle(count, 'rate'):.0f}", f"{1e6 * cpu[count]:.1f}",
          f"{middle(count, 'p50_us'):.0f}", f"{middle(count, 'p99_us'):.0f}"]
         for count in results])
    harness.print_table("What it is held against", ["", ""], [
        ["f: one fdatasync of a small append", f"{1e6 * f:.0f} µs"],
        [f"c: our CPU per create from {MANY} connections", f"{1e6 * c:.1f} µs"],
        ["one fsync per create: 1/(f+c)", f"{unshared:.0f} /s"],
        [f"sharing among {MANY} could give: (f+c)/(f/{MANY}+c)", f"x {gain:.2f}"],
        ["we give", f"x {many / unshared:.2f}"],
        ["the same against our own rate from 1 connection", f"x {many / one:.2f}"],
        ["creates acknowledged, and agents stored", stored],
    ])
    target = Target(f"creates/s from {MANY} connections", many, SHARE_MIN * gain * unshared,
                    at_most=False)
    figures = {"f_us": 1e6 * f, "c_us": 1e6 * c, "c_from_one_us": 1e6 * cpu[1],
               "gain_possible": gain, "gain": many / unshared, "stored": stored,
               "fsync_us": [round(1e6 * seconds, 1) for seconds in sorted(fsyncs)],
               "rounds": results}
    return harness.conclude("writes", [target], figures, foreign)
