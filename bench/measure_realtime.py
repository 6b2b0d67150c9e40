"""Rooms of many sizes beside Node's `ws` and a bare sender; memory, stuck readers, replays and
clients that all come back at once."""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import urllib.parse

import harness
from harness import Target, median
from measure_fanout import SAMPLE_MESSAGE

ROUNDS = 9  # Short ones, so that what else the machine does meets both sides of a ratio.
ROOMS = 50


@dataclasses.dataclass(frozen=True)
class Shape:
    """Each burst has as many messages for every room."""

    members: int
    rooms: int
    burst: int
    interval_us: int = 0  # Between two messages; 0 sends a burst in one piece.

    def one_by_one(self):
        """Whether nobody gets two messages of a burst."""
        return self.burst == self.rooms

    def each(self):
        if self.interval_us:
            return f"1 in {self.interval_us} us"
        return str(self.burst // self.rooms)

    def name(self):
        return f"{self.members} in {self.rooms} x {self.each()}"


SHAPES = [Shape(500, 1, 50), Shape(500, 1, 1), Shape(2000, 1, 50), Shape(2000, 1, 1),
          Shape(2000, ROOMS, 10 * ROOMS), Shape(2000, ROOMS, ROOMS), Shape(100, 1, 500, 250)]
FULL_SHAPES = [*SHAPES, Shape(10000, 1, 50), Shape(10000, 1, 1),
               Shape(10000, ROOMS, 10 * ROOMS), Shape(10000, ROOMS, ROOMS)]
DELIVERIES = 300_000  # In a round with bursts; a tenth of it one by one.
X_WS_MIN = 10  # Of bursts. One by one, `ws` makes a system call for each delivery, as bare does.
X_BARE_MIN = 0.8
MEMBER_BYTES_MAX = 2000
STUCK_RECEIVERS, STUCK_MESSAGES, STUCK_X_MAX = 200, 400, 1.2
STUCK_BYTES = 1800  # All of them are less than what the server cuts a slow reader off for.
REPLAYED, REPLAY_RATE_MIN = 100_000, 300_000
COMING_BACK, STORM_SECONDS_MAX = 5000, 3
X_UWEBSOCKETS_MIN = 1
NODE_FOLDER = harness.ROOT / "tests" / "node"
UWEBSOCKETS = "UWEBSOCKETS"  # Names a clone with its submodule, which is not of this repository.


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

    if program := uwebsockets(context):
        servers["uws"], port = context.start_peer("uws", [program])
        options["uws"] = {"port": port}

    foreign = harness.ForeignLoad()
    results, targets = {}, []
    for shape in FULL_SHAPES if context.full else SHAPES:
        able = {name: one for name, one in servers.items()
                if not (name == "bare" and shape.rooms > 1 or name == "ws" and shape.interval_us)}
        results[shape] = fan_out(context, load, able, options, foreign, shape)
    print_fan_out(results)
    if server is not None:
        targets += fan_out_targets(results)
        targets += measure_alone(load, server, options["subforge"])
    return harness.conclude("realtime", targets, {
        "rounds": {shape.name(): by_server for shape, by_server in results.items()}}, foreign)


def uwebsockets(context):
    """The peer, compiled from the source that the environment names; None where it names none."""
    if UWEBSOCKETS not in os.environ:
        print(f"uWebSockets is left out: {UWEBSOCKETS} names no clone of it with its submodule")
        return None
    source = pathlib.Path(os.environ[UWEBSOCKETS])
    sockets = source / "uSockets" / "src"
    options = ["-O3", "-DLIBUS_NO_SSL", "-DUWS_NO_ZLIB", f"-I{sockets}", f"-I{source / 'src'}"]
    parts = [*sockets.glob("*.c"), *sockets.glob("eventing/*.c"), *sockets.glob("crypto/*.c")]
    library = context.folder / "usockets"
    library.mkdir()
    subprocess.run(["clang-19", "-std=c11", *options, "-c", *parts], cwd=library, check=True)
    program = context.folder / "uws_fanout"
    subprocess.run(["clang++-19", "-std=c++20", *options,
                    harness.ROOT / "bench" / "uws_fanout.cpp", *library.glob("*.o"), "-o", program],
                   check=True)
    return program


def machine():
    return {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def fan_out(context, load, servers, options, foreign, shape):
    deliveries = DELIVERIES // 10 if shape.one_by_one() else DELIVERIES
    bursts = max(1, deliveries * shape.rooms // (shape.members * shape.burst))
    results = {name: [] for name in servers}
    with contextlib.ExitStack() as stack:
        loads = {name: stack.enter_context(harness.LoadByTurns(
            load, server, **options[name], receivers=shape.members, rooms=shape.rooms,
            burst=shape.burst, bursts=bursts, warmup_bursts=1, interval_us=shape.interval_us))
            for name, server in servers.items()}
        for each in loads.values():
            each.once()  # All are connected then.
        for _, name in harness.alternating(list(servers), context.rounds or ROUNDS):
            with foreign.watching(servers[name], loads[name]):
                results[name].append(loads[name].once())
        for each in loads.values():
            each.end()
    # Members that leave are work too, which must not fall on what is measured next.
    for server in servers.values():
        server.wait_until_idle()
    return results


def per_cpu_second(rounds):
    return median([one["deliveries"] / (1e-9 * one["server_cpu_ns"]) for one in rounds])


def ratio_to(by_server, peer, server="subforge", of="server_cpu_ns"):
    """Round by round, so that a busy machine slows both."""
    return median(harness.paired_ratios(*(
        [one["deliveries"] / one[of] for one in by_server[name]] for name in (server, peer))))


def stored_share(rounds):
    """Of the CPU time: what the first thread, which receives and delivers, has no part in."""
    return median([1 - one["server_first_thread_ns"] / one["server_cpu_ns"] for one in rounds])


def print_fan_out(results):
    peers = [name for name in ("ws", "uws", "bare") if name in next(iter(results.values()))]
    rows = []
    for shape, by_server in results.items():
        for server, rounds in by_server.items():
            rows.append([shape.members, shape.rooms, shape.each(), server,
                         f"{per_cpu_second(rounds) / 1e6:.2f} M",
                         *(f"{ratio_to(by_server, peer, server):.2f}" if peer in by_server else ""
                           for peer in peers),
                         *([f"{stored_share(rounds):.0%}",
                            f"{ratio_to(by_server, 'uws', of='server_first_thread_ns'):.2f}"
                            if "uws" in by_server else ""]
                           if server == "subforge" else ["", ""]),
                         f"{median([one['burst_p50_us'] for one in rounds]) / 1e3:.1f}",
                         f"{rounds[0]['bytes_per_connection']}"])
    harness.print_table("Deliveries of messages to the members of rooms, each message to one room",
                        ["members", "rooms", "burst", "server", "per CPU s",
                         *(f"x {peer}" for peer in peers), "storing", "x uws without",
                         "burst ms", "bytes/member"], rows)


def fan_out_targets(results):
    targets = []
    for shape, by_server in results.items():
        wanted = {"uws": X_UWEBSOCKETS_MIN}
        if shape.one_by_one():
            wanted["bare"] = X_BARE_MIN
        elif not shape.interval_us:
            wanted["ws"] = X_WS_MIN
        for peer, least in wanted.items():
            if peer not in by_server:  # bare knows one room.
                continue
            targets.append(Target(f"{shape.name()}, deliveries per CPU second, x {peer}",
                                  ratio_to(by_server, peer), least, at_most=False))
    # The first shape with so many met a server that had never held them; what it had for fewer
    # before is not counted, and so they are not either.
    sizes = sorted({shape.members for shape in results})
    largest = next(by_server for shape, by_server in results.items() if shape.members == sizes[-1])
    first = largest["subforge"][0]
    new = sizes[-1] - (sizes[-2] if len(sizes) > 1 else 0)
    targets.append(Target(f"bytes resident per member, {first['receivers']} of them",
                          first["bytes_per_connection"] * first["receivers"] / new,
                          MEMBER_BYTES_MAX, at_most=True))
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
        with harness.LoadByTurns(load, server, **options, receivers=STUCK_RECEIVERS, burst=1,
                                 bursts=STUCK_MESSAGES, data_bytes=STUCK_BYTES,
                                 stuck=count) as turns:
            slowest[count].append(turns.once()["burst_p99_us"])
            figures = json.loads(server.call("GET", "/api/v2/websocket/statistics").body)
            turns.end()
        waiting = figures["message_queue_size"]
        if (waiting > STUCK_MESSAGES * STUCK_BYTES // 2) != (count > 0):
            raise harness.WrongAnswers(f"beside {count} stuck readers {waiting} bytes wait in the"
                                       " server")
    ratio = median(harness.paired_ratios(slowest[1], slowest[0]))
    return Target("99th percentile beside a stuck reader, x without", ratio, STUCK_X_MAX,
                  at_most=True)


def come_back(load, server, options, last_event_id, clients):
    query = urllib.parse.urlencode({"last_event_id": last_event_id, "rooms": "bench"})
    return harness.run_load(load, server=server, **options, path=f"/ws/v2?{query}",
                            receivers=clients, recover=1)
