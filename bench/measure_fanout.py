"""What it costs to deliver each message of a room to its many members, beside a bare sender."""

import json

import harness
from harness import Target, median, paired_ratios

ROUNDS = 5
RECEIVERS = 2000
BURST = 50
BURSTS = 20
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
    for _, name in harness.alternating(list(servers), context.rounds or ROUNDS):
        with foreign.watching(servers[name]):
            results[name].append(harness.run_load(
                load, server=servers[name], **options[name], receivers=RECEIVERS, burst=BURST,
                bursts=BURSTS))
            # Members that leave are work too, which must not fall on whoever is next.
            servers[name].wait_until_idle()
    return conclude(results, foreign)


def conclude(results, foreign):
    per_cpu = {name: [result["deliveries"] / (1e-9 * result["server_cpu_ns"]) for result in rounds]
               for name, rounds in results.items()}
    rows = []
    for name, rounds in results.items():
        values = per_cpu[name]
        rows.append([
            name, f"{median(values) / 1e6:.2f} M",
            f"{min(values) / 1e6:.2f}-{max(values) / 1e6:.2f}",
            f"{median(paired_ratios(values, per_cpu['bare'])):.2f}",
            f"{median([result['rate'] for result in rounds]) / 1e6:.2f} M",
            f"{median([result['burst_p50_us'] for result in rounds]) / 1e3:.1f}",
            rounds[-1]["frame_bytes"]])
    harness.print_table(
        f"{RECEIVERS} receivers, bursts of {BURST} messages, medians of {len(rounds)} rounds",
        ["server", "deliveries/CPU s", "range", "x bare", "deliveries/s", "burst ms",
         "frame bytes"], rows)
    targets = []
    if "subforge" in results:
        ratio = median(paired_ratios(per_cpu["subforge"], per_cpu["bare"]))
        targets = [Target("deliveries per CPU second, x bare", ratio, X_BARE_MIN, at_most=False)]
    figures = {"deliveries_per_cpu_second": {name: median(v) for name, v in per_cpu.items()},
               "rounds": results}
    return harness.conclude("fanout", targets, figures, foreign)
