"""What it costs to deliver each message of a room to its many members, beside a bare sender."""

import contextlib
import json

import harness
from harness import Target, median, middle_half, paired_ratios

ROUNDS = 80  # Short ones, so that what else the machine does meets both sides of a ratio.
RECEIVERS = 2000
BURST = 50
BURSTS = 5
X_BARE_MIN = 0.8

# What the bare sender delivers when there is no server to take a message from.
SAMPLE_MESSAGE = {
    "type": "room_message", "room": "bench",
    "data": {"message": "seq-0000000001 " + "." * 100, "sent_by": "bench",
             "sent_at": "2026-01-02T03:04:05.000000Z"},
    "timestamp": "2026-01-02T03:04:05.000000Z",
    "message_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "correlation_id": None,
    "event_id": "0000000000000042",
}


def run(context):
    harness.stay_on_load_core()
    load = context.program("ws_load")
    message = context.file("message", json.dumps(SAMPLE_MESSAGE, separators=(",", ":")))
    servers, options = {}, {}
    if not context.peers_only:
        server = context.start_subforge()
        server.require_conditions()
        headers = context.file("headers", f"Authorization: Bearer {server.token}\r\n")
        servers["subforge"], options["subforge"] = server, {"port": server.port, "headers": headers}
        # One delivery first, so that the bare sender can deliver the same bytes.
        harness.run_load(load, server=server, **options["subforge"], receivers=1, burst=1,
                         bursts=1, warmup_bursts=0, capture=message)
    servers["bare"], port = context.start_peer(
        "bare", [context.program("bare_fanout"), "--message", message])
    options["bare"] = {"port": port}

    results = {name: [] for name in servers}
    foreign = harness.ForeignLoad()
    with contextlib.ExitStack() as stack:
        loads = {name: stack.enter_context(harness.LoadByTurns(
            load, server, **options[name], receivers=RECEIVERS, burst=BURST, bursts=BURSTS))
            for name, server in servers.items()}
        for load in loads.values():
            load.once()  # All are connected then.
        for _, name in harness.alternating(list(servers), context.rounds or ROUNDS):
            with foreign.watching(servers[name], loads[name]):
                results[name].append(loads[name].once())
        for load in loads.values():
            load.end()
    return conclude(results, foreign)


def conclude(results, foreign):
    per_cpu = {name: [result["deliveries"] / (1e-9 * result["server_cpu_ns"]) for result in rounds]
               for name, rounds in results.items()}
    rows = []
    for name, rounds in results.items():
        values = per_cpu[name]
        ratios = paired_ratios(values, per_cpu["bare"])
        low, high = middle_half(ratios)
        rows.append([
            name, f"{median(values) / 1e6:.2f} M",
            f"{min(values) / 1e6:.2f}-{max(values) / 1e6:.2f}",
            f"{median(ratios):.2f}", f"{low:.2f}-{high:.2f}",
            f"{median([result['rate'] for result in rounds]) / 1e6:.2f} M",
            f"{median([result['burst_p50_us'] for result in rounds]) / 1e3:.1f}",
            rounds[-1]["frame_bytes"]])
    harness.print_table(
        f"{RECEIVERS} receivers, bursts of {BURST} messages, medians of {len(rounds)} rounds",
        ["server", "deliveries/CPU s", "range", "x bare", "half of them", "deliveries/s",
         "burst ms", "frame bytes"], rows)
    targets = []
    if "subforge" in results:
        ratio = median(paired_ratios(per_cpu["subforge"], per_cpu["bare"]))
        targets = [Target("deliveries per CPU second, x bare", ratio, X_BARE_MIN, at_most=False)]
    figures = {"deliveries_per_cpu_second": {name: median(v) for name, v in per_cpu.items()},
               "rounds": results}
    return harness.conclude("fanout", targets, figures, foreign)
