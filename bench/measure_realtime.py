"""Rooms of many sizes beside Node's `ws` and a bare sender; memory, stuck readers, replays and
clients that all come back at once."""

import json
import os
import urllib.parse

import harness
from harness import Target, median
from measure_fanout import SAMPLE_MESSAGE

ROUNDS = 3
SIZES = [500, 2000]
FULL_SIZES = [500, 2000, 10000]
BURST = 50
DELIVERIES = 1_000_000  # In a round with bursts; a tenth of it one by one.
X_WS_MIN = 10  # Of bursts. One by one, everybody makes a system call for each delivery: see bare.
X_BARE_MIN = 0.8
MEMBER_BYTES_MAX = 2000
STUCK_RECEIVERS, STUCK_MESSAGES, STUCK_X_MAX = 200, 400, 1.2
REPLAYED, REPLAY_RATE_MIN = 100_000, 300_000
COMING_BACK, STORM_SECONDS_MAX = 5000, 3
NODE_FOLDER = harness.ROOT / "tests" / "node"


def run(context):
    harness.stay_on_load_core()
    load = context.program("ws_load")
    server = None
    servers, options = {}, {}
    if not context.peers_only:
        server = context.start_subforge(settings={"MAX_WEBSOCKET_CONNECTIONS": "20000",
                                                  "MAX_CONNECTIONS": "20000"})
        headers = context.file("headers", f"Authorization: Bearer {server.token}\r\n")
        servers["subforge"] = server
        options["subforge"] = {"port": server.port, "headers": headers}
    node = NODE_FOLDER / "node_modules" / f"node-linux-{machine()}" / "bin" / "node"
    os.environ["NODE_MODULES"] = str(NODE_FOLDER / "node_modules")
    servers["ws"], port = context.start_peer(
        "ws", [str(node) if node.exists() else "node", harness.ROOT / "bench" / "ws_fanout.mjs"])
    options["ws"] = {"port": port}
    message = context.file("message", json.dumps(SAMPLE_MESSAGE, separators=(",", ":")))
    servers["bare"], port = context.start_peer(
        "bare", [context.program("bare_fanout"), "--message", message])
    options["bare"] = {"port": port}

    foreign = harness.ForeignLoad()
    results, targets = {}, []
    for size in FULL_SIZES if context.full else SIZES:
        for burst in (BURST, 1):
            results[f"{size} x {burst}"] = fan_out(context, load, servers, options, foreign, size,
                                                   burst)
    print_fan_out(results)
    if server is not None:
        targets += fan_out_targets(results)
        targets += measure_alone(load, server, options["subforge"])
    return harness.conclude("realtime", targets, {"rounds": results}, foreign)


def machine():
    return {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def fan_out(context, load, servers, options, foreign, size, burst):
    deliveries = DELIVERIES if burst > 1 else DELIVERIES // 10
    bursts = max(3, deliveries // (size * burst))
    results = {name: [] for name in servers}
    for _, name in harness.alternating(list(servers), context.rounds or ROUNDS):
        with foreign.watching(servers[name]):
            results[name].append(harness.run_load(
                load, server=servers[name], **options[name], receivers=size, burst=burst,
                bursts=bursts, warmup_bursts=1))
            servers[name].wait_until_idle()
    return results


def per_cpu_second(rounds):
    return median([one["deliveries"] / (1e-9 * one["server_cpu_ns"]) for one in rounds])


def print_fan_out(results):
    rows = []
    for name, by_server in results.items():
        size, _, burst = name.split()
        for server, rounds in by_server.items():
            rows.append([size, burst, server, f"{per_cpu_second(rounds) / 1e6:.2f} M",
                         f"{per_cpu_second(rounds) / per_cpu_second(by_server['ws']):.1f}",
                         f"{per_cpu_second(rounds) / per_cpu_second(by_server['bare']):.2f}",
                         f"{median([one['burst_p50_us'] for one in rounds]) / 1e3:.1f}",
                         f"{rounds[0]['bytes_per_connection']}"])
    harness.print_table("Deliveries of messages to the members of a room",
                        ["members", "burst", "server", "per CPU s", "x ws", "x bare", "burst ms",
                         "bytes/member"], rows)


def fan_out_targets(results):
    targets = []
    for name, by_server in results.items():
        one_by_one = name.endswith(" x 1")
        peer, wanted = ("bare", X_BARE_MIN) if one_by_one else ("ws", X_WS_MIN)
        ratio = per_cpu_second(by_server["subforge"]) / per_cpu_second(by_server[peer])
        targets.append(Target(f"{name}, deliveries per CPU second, x {peer}", ratio, wanted,
                              at_most=False))
    # The first round met a server that had never held so many.
    largest = list(results.values())[-1]["subforge"][0]
    targets.append(Target(f"bytes resident per member, {largest['receivers']} of them",
                          largest["bytes_per_connection"], MEMBER_BYTES_MAX, at_most=True))
    return targets


def measure_alone(load, server, options):
    targets = [stuck(load, server, options)]
    server.add_agent()
    newest = "/api/v2/websocket/event-history?limit=1"
    begin = json.loads(server.call("GET", newest).body)["events"][-1]["event_id"]
    harness.run_load(load, server=server, **options, receivers=1, burst=500,
                     bursts=REPLAYED // 500, warmup_bursts=0)
    replay = come_back(load, server, options, begin, 1)
    rate = replay["messages"] / replay["seconds"]
    targets.append(Target(f"replay of {replay['messages']} messages to one client, per second",
                          rate, REPLAY_RATE_MIN, at_most=False))
    begin = json.loads(server.call("GET", newest).body)["events"][-1]["event_id"]
    harness.run_load(load, server=server, **options, receivers=1, burst=20, bursts=1,
                     warmup_bursts=0)
    storm = come_back(load, server, options, begin, COMING_BACK)
    print(f"\n{COMING_BACK} clients came back at once and were shown {storm['messages']} messages"
          f" in {storm['seconds']:.2f} s; one client {replay['messages']} in"
          f" {replay['seconds']:.2f} s")
    targets.append(Target(f"{COMING_BACK} clients come back, seconds", storm["seconds"],
                          STORM_SECONDS_MAX, at_most=True))
    return targets


def stuck(load, server, options):
    """What one member that reads nothing does to the slowest hundredth of the others' messages."""
    slowest = {0: [], 1: []}
    for _, count in harness.alternating([0, 1], 5):
        result = harness.run_load(load, server=server, **options, receivers=STUCK_RECEIVERS,
                                  burst=1, bursts=STUCK_MESSAGES, data_bytes=4000, stuck=count)
        slowest[count].append(result["burst_p99_us"])
    ratio = median(harness.paired_ratios(slowest[1], slowest[0]))
    return Target("99th percentile beside a stuck reader, x without", ratio, STUCK_X_MAX,
                  at_most=True)


def come_back(load, server, options, last_event_id, clients):
    query = urllib.parse.urlencode({"last_event_id": last_event_id, "rooms": "bench"})
    return harness.run_load(load, server=server, **options, path=f"/ws/v2?{query}",
                            receivers=clients, recover=1)
