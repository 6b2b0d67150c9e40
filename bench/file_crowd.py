"""What a hundred uploads at once do to everybody else, and to the server's memory."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import statistics
import time

import file_peers
import harness
from file_peers import FILES, MARK_BYTES, Connection
from subforge import AGENTS, Subforge

CROWD = 100
FILE_BYTES = 10_000_000
FILE_BYTES_FULL = file_peers.FILE_BYTES
QUIET_SECONDS = 10
PROBE_PAUSE_SECONDS = 0.002


def upload_together(port, token, content, barrier, results):
    """A process that gives way to the others: it is the server that is measured."""
    os.nice(19)

    def one(number):
        connection = Connection(port, token)
        barrier.wait()
        mark = f"{number:0{MARK_BYTES}}".encode()
        connection.request(f"POST {FILES}/upload/data_files", file_peers.FORM_FIELDS,
                           file_peers.form(mark, content, f"crowd-{number}.txt"))
        file = json.loads(connection.answer(200)[1])["files"][0]
        return file["sha256"] == hashlib.sha256(content + mark).hexdigest()
    with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
        results.put(sum(pool.map(one, range(CROWD))))


@contextlib.contextmanager
def let_in_at_once():
    """Where the system allows it, this thread waits for no core: as a client on another machine
    would not."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@let_in_at_once()
def probe(server, paths, times, while_):
    """Adds to `times` what each path takes; returns the most memory that the server had."""
    connection, most = Connection(server.port, server.token), 0
    while while_():
        for path in paths:
            begin = time.perf_counter()
            connection.request(f"GET {path}")
            connection.answer(200)
            times[path].append(time.perf_counter() - begin)
            time.sleep(PROBE_PAUSE_SECONDS)
        with open(f"/proc/{server.pid}/statm", encoding="ascii") as file:
            most = max(most, int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    connection.close()
    return most


@dataclasses.dataclass
class Crowd:
    quiet: dict  # Path to the seconds that each request took.
    crowded: dict
    memory_mb: float
    mb_per_s: float
    file_mb: float

    def worst(self, name):
        return max(quantiles(self.crowded[path])[name] / quantiles(self.quiet[path])[name]
                   for path in self.quiet)

    def print(self):
        rows = []
        for path in self.quiet:
            calm, busy = quantiles(self.quiet[path]), quantiles(self.crowded[path])
            shown = path if "/agents/" not in path else f"{AGENTS}/{{id}}"
            rows.append([f"GET {shown}", *(cell for name in ("p50", "p99") for cell in (
                f"{calm[name]:.0f}", f"{busy[name]:.0f}", f"{busy[name] / calm[name]:.2f}"))])
        harness.print_table(
            f"Others beside {CROWD} uploads of {self.file_mb:.0f} MB at once, "
            f"{self.mb_per_s:.0f} MB/s, on all cores; {self.memory_mb:.0f} MB of memory",
            ["", "p50 µs quiet", "beside", "x", "p99 µs quiet", "beside", "x"], rows)

    def figures(self):
        return {"quiet_us": {path: quantiles(seconds) for path, seconds in self.quiet.items()},
                "crowded_us": {path: quantiles(seconds) for path, seconds in self.crowded.items()},
                "memory_mb": self.memory_mb, "mb_per_s": self.mb_per_s, "file_mb": self.file_mb}


def measure(context, contents):
    """Latency of others before, during and after a hundred uploads at once, on all cores."""
    content = contents.body[:FILE_BYTES_FULL if context.full else FILE_BYTES]
    os.sched_setaffinity(0, {harness.SERVER_CORE, harness.LOAD_CORE})
    server = context.stack.enter_context(Subforge(
        context.binary, context.folder / "crowded", name="crowded", core=None,
        settings={"DISK_FREE_BYTES_MIN": "0", "LOOPS": None}))
    server.wait_until_listening(server.port)
    paths = [server.add_agent(), f"{AGENTS}?limit=20", "/health"]
    quiet, crowded = ({path: [] for path in paths} for _ in range(2))

    def be_quiet():
        until = time.monotonic() + QUIET_SECONDS
        return probe(server, paths, quiet, lambda: time.monotonic() < until)

    least = be_quiet()
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(CROWD + 1), fork.Queue()
    crowd = fork.Process(target=upload_together,
                         args=(server.port, server.token, content, barrier, results))
    crowd.start()
    barrier.wait()
    begin = time.monotonic()
    most = probe(server, paths, crowded, crowd.is_alive)
    seconds = time.monotonic() - begin
    crowd.join()
    if results.get(timeout=1) != CROWD:
        raise harness.WrongAnswers("the crowd's files are not those that were uploaded")
    server.wait_until_idle()
    be_quiet()
    return Crowd(quiet, crowded, memory_mb=(most - least) / 1e6,
                 mb_per_s=CROWD * len(content) / 1e6 / seconds, file_mb=len(content) / 1e6)


def quantiles(seconds):
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": 1e6 * cuts[49], "p99": 1e6 * cuts[98]}
