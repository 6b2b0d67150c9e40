"""What a hundred uploads at once do to everybody else, and to the server's memory.

The clients, and what the kernel does for them, take the cores from everybody on a small machine. So
the same clients also send the same bytes to nginx while the same requests are timed: what is slower
then is not the server's doing. nginx leaves what it gets in memory, and what we have acknowledged
is on the disk; so nginx is also timed with each file synced behind its answer.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import socket
import statistics
import time

import file_peers
import harness
from file_peers import FILES, MARK_BYTES, Connection
from subforge import AGENTS, Subforge

CROWD = 100
ROUNDS = 2
FILE_BYTES = 10_000_000
QUIET_SECONDS = 5  # Between two crowds.
PROBE_PAUSE_SECONDS = 0.002
# What a client of the crowd gives to the kernel at once. A system call is not interrupted on many
# kernels, and the clients of a real server do not share its cores.
PIECE_BYTES = 64 << 10

WRITE = "POST /api/v2/tasks"
# What happens while others are timed: nothing, the uploads go to nginx on the same machine, the
# same with each file synced, or they go to the server that the others ask.
QUIET = "quiet"
ELSEWHERE, SYNCED, HERE = "uploads to nginx", "synced uploads to nginx", "uploads here"
BESIDE_UPLOADS = (ELSEWHERE, SYNCED, HERE)


def upload_together(upload, barrier, results):
    """A process that gives way to the others: it is the servers that are measured."""
    os.nice(19)
    with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
        results.put(sum(pool.map(lambda number: upload(number, barrier.wait), range(CROWD))))


def connect(server, token=""):
    connection = Connection(server.port, token)
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE_BYTES)
    return connection


def in_pieces(content):
    view = memoryview(content)
    return [view[at:at + PIECE_BYTES] for at in range(0, len(content), PIECE_BYTES)]


def to_ours(server, content):
    def upload(number, wait):
        connection = connect(server, server.token)
        wait()
        mark = f"{number:0{MARK_BYTES}}".encode()
        head, body, *end = file_peers.form(mark, content, f"crowd-{number}.txt")
        connection.request(f"POST {FILES}/upload/data_files", file_peers.FORM_FIELDS,
                           [head, *in_pieces(body), *end])
        file = json.loads(connection.answer(200)[1])["files"][0]
        return file["sha256"] == hashlib.sha256(content + mark).hexdigest()
    return upload


def to_nginx(nginx, content, synced):
    def upload(number, wait):
        connection = connect(nginx)
        wait()
        mark = f"{number:0{MARK_BYTES}}".encode()
        connection.request(f"PUT /crowd-{number}", "", [*in_pieces(content), mark])
        connection.answer(201, 204)
        if synced:
            with open(nginx.folder / f"crowd-{number}", "rb") as file:
                os.fsync(file.fileno())
        return True
    return upload


@contextlib.contextmanager
def let_in_at_once():
    """Where the system allows it, this thread waits for no core: as a client on another machine
    would not."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


TASK = json.dumps({"title": "Beside uploads", "description": "One of many"}).encode()


def requests_of_others(server):
    """Names to how they are asked, what they send, and the status that they are answered with."""
    agent = server.add_agent()
    connection = Connection(server.port, server.token)
    content = file_peers.form(b"mark", b"a small file\n", "small.txt")
    connection.request(f"POST {FILES}/upload/data_files", file_peers.FORM_FIELDS, content)
    file = json.loads(connection.answer(200)[1])["files"][0]
    connection.close()
    return {f"GET {AGENTS}/{{id}}": (f"GET {agent}", "", [], 200),
            f"GET {AGENTS}?limit=20": (f"GET {AGENTS}?limit=20", "", [], 200),
            "GET /health": ("GET /health", "", [], 200),
            "GET a small file": (f"GET {FILES}/{file['id']}/download", "", [], 200),
            WRITE: ("POST /api/v2/tasks", "Content-Type: application/json\r\n", [TASK], 201)}


@let_in_at_once()
def probe(server, requests, times, while_):
    """Adds to `times` what each request takes; returns the most memory that the server had: of its
    own, and with what it has mapped of files, such as the database, which the kernel takes back
    when it is short of memory."""
    connection, most = Connection(server.port, server.token), (0, 0)
    # Or the kernel holds a body back until the head before it is acknowledged.
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while while_():
        for name, (line, fields, pieces, status) in requests.items():
            begin = time.perf_counter()
            connection.request(line, fields, pieces)
            connection.answer(status)
            times[name].append(time.perf_counter() - begin)
            time.sleep(PROBE_PAUSE_SECONDS)
        with open(f"/proc/{server.pid}/statm", encoding="ascii") as file:
            resident, shared = (int(pages) * os.sysconf("SC_PAGE_SIZE")
                                for pages in file.read().split()[1:3])
        most = max(most[0], resident - shared), max(most[1], resident)
    connection.close()
    return most


@dataclasses.dataclass
class Crowd:
    times: dict  # Of each state and request, the seconds that each time took.
    memory_mb: float  # Of its own.
    resident_mb: float
    mb_per_s: dict  # Of each state with uploads.
    file_mb: float

    def ratio(self, request, name, state, reference):
        return (quantiles(self.times[state][request])[name]
                / quantiles(self.times[reference][request])[name])

    def reads(self):
        return [request for request in self.times[QUIET] if request != WRITE]

    def worst(self, requests, name, state, reference):
        return max(self.ratio(request, name, state, reference) for request in requests)

    def print(self):
        rows = []
        for request in self.times[QUIET]:
            for name in ("p50", "p99"):
                rows.append([f"{request}, {name}",
                             *(f"{quantiles(self.times[state][request])[name]:.0f}"
                               for state in (QUIET, *BESIDE_UPLOADS)),
                             *(f"{self.ratio(request, name, state, reference):.2f}"
                               for state, reference in ((ELSEWHERE, QUIET), (HERE, QUIET),
                                                        (HERE, ELSEWHERE), (HERE, SYNCED)))])
        harness.print_table(
            f"Others beside {CROWD} uploads of {self.file_mb:.0f} MB at once, on all cores; MB/s: "
            + ", ".join(f"{state} {rate:.0f}" for state, rate in self.mb_per_s.items())
            + f"; {self.memory_mb:.0f} MB of memory, with mapped files {self.resident_mb:.0f} MB",
            ["", "µs quiet", "beside nginx's", "beside nginx's, synced", "beside ours",
             "nginx's x quiet", "ours x quiet", "ours x nginx's", "ours x synced"], rows)

    def figures(self):
        return {"us": {state: {name: quantiles(seconds) for name, seconds in requests.items()}
                       for state, requests in self.times.items()},
                "memory_mb": self.memory_mb, "resident_mb": self.resident_mb,
                "mb_per_s": self.mb_per_s, "file_mb": self.file_mb}


def measure(context, contents, nginx):
    """Latency of others in each of the three states, on all cores."""
    size = len(contents.body) - ROUNDS if context.full else FILE_BYTES
    cores = {harness.SERVER_CORE, harness.LOAD_CORE}
    for pid in (0, nginx.process.pid):
        os.sched_setaffinity(pid, cores)
    server = context.stack.enter_context(Subforge(
        context.binary, context.folder / "crowded", name="crowded", core=None,
        settings={"DISK_FREE_BYTES_MIN": "0", "LOOPS": None}))
    server.wait_until_listening(server.port)
    requests = requests_of_others(server)
    times = {state: {name: [] for name in requests} for state in (QUIET, *BESIDE_UPLOADS)}
    seconds = dict.fromkeys(BESIDE_UPLOADS, 0)

    def be_quiet():
        until = time.monotonic() + QUIET_SECONDS
        return probe(server, requests, times[QUIET], lambda: time.monotonic() < until)

    least, most = be_quiet(), (0, 0)
    fork = multiprocessing.get_context("fork")
    for number, state in harness.alternating(BESIDE_UPLOADS, ROUNDS):
        content = contents.body[number:number + size]  # In no round what it was in another.
        if state == HERE:
            upload = to_ours(server, content)
        else:
            upload = to_nginx(nginx, content, synced=state == SYNCED)
        barrier, results = fork.Barrier(CROWD + 1), fork.Queue()
        crowd = fork.Process(target=upload_together, args=(upload, barrier, results))
        crowd.start()
        barrier.wait()
        begin = time.monotonic()
        memory = probe(server, requests, times[state], crowd.is_alive)
        seconds[state] += time.monotonic() - begin
        if state == HERE:
            most = tuple(map(max, most, memory))
        crowd.join()
        if results.get(timeout=1) != CROWD:
            raise harness.WrongAnswers("the crowd's files are not those that were uploaded")
        os.sync()  # What is left in memory now would else go to the disk beside the next crowd.
        server.wait_until_idle()
        be_quiet()
    return Crowd(times, memory_mb=(most[0] - least[0]) / 1e6,
                 resident_mb=(most[1] - least[1]) / 1e6,
                 mb_per_s={state: ROUNDS * CROWD * size / 1e6 / taken
                           for state, taken in seconds.items()}, file_mb=size / 1e6)


def quantiles(seconds):
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": 1e6 * cuts[49], "p99": 1e6 * cuts[98]}
