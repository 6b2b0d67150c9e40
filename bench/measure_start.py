"""How long a start takes on an existing database, and what an idle server occupies."""

import socket
import time

import harness
from harness import Target, median
from measure_writes import create_request
from subforge import Subforge

ROUNDS = 10
AGENTS_STORED = 1000
IDLE_SECONDS = 2
READY_MS_MAX = 200
IDLE_MB_MAX = 40


def run(context):
    context.require_server()
    folder = context.folder / "subforge"
    fill_database(context, folder)
    ready_ms, memory = [], {}
    rounds = context.rounds or ROUNDS
    for number in range(rounds):
        # As users have it: as many loops as it likes, on all cores.
        with Subforge(context.binary, folder, settings={"LOOPS": None}, core=None) as server:
            ready_ms.append(1e3 * (wait_until_ready(server) - server.started))
            if number == rounds - 1:
                time.sleep(IDLE_SECONDS)
                server.require_alive()
                memory = read_memory(server.pid)

    harness.print_table(f"From exec to the first 200 of /health/ready, {rounds} times, database "
                        f"of {AGENTS_STORED} agents", ["", ""], [
        ["median", f"{median(ready_ms):.1f} ms"],
        ["range", f"{min(ready_ms):.1f}-{max(ready_ms):.1f} ms"],
        *([f"{name} after {IDLE_SECONDS} s idle", f"{megabytes:.1f} MB"]
          for name, megabytes in memory.items()),
    ])
    targets = [
        Target("ready after exec", median(ready_ms), READY_MS_MAX, at_most=True, unit="ms"),
        Target("resident when idle", memory["VmRSS"], IDLE_MB_MAX, at_most=True, unit="MB"),
    ]
    return harness.conclude("start", targets, {"ready_ms": ready_ms, "memory_mb": memory})


def fill_database(context, folder):
    with Subforge(context.binary, folder) as server:
        server.wait_until_listening(server.port)
        harness.run_load(
            context.program("http_load"), server=server, port=server.port, status=201,
            request=context.file("create", create_request(server)), warmup_ms=0,
            count=AGENTS_STORED)


def wait_until_ready(server):
    """The moment of the first 200, by asking without a pause."""
    request = harness.http_request("GET", "/health/ready", server.port)
    give_up = time.perf_counter() + harness.START_SECONDS_MAX
    while time.perf_counter() < give_up:
        try:
            if harness.exchange(server.port, request).status == 200:
                return time.perf_counter()
        except (ConnectionRefusedError, ConnectionResetError, socket.timeout):
            server.require_alive()
    raise harness.WrongAnswers(f"not ready after {harness.START_SECONDS_MAX} s")


def read_memory(pid):
    """Megabytes (of 10^6 bytes), by the names that /proc/<pid>/status gives them."""
    memory = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in ("VmRSS", "RssAnon", "RssFile"):
                memory[name] = int(value.split()[0]) * 1024 / 1e6
    return memory
