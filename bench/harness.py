"""What every benchmark needs: processes on loopback, their CPU time, rounds, tables and verdicts.

The machine is split in two: servers run on one core, whatever loads them (and this program) on
another. Both are taken from what this process may use; on a single core they share it.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "bench"
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 15
LOAD_SECONDS_MAX = 120
ANSWER_BYTES_MAX = 1 << 20


class CannotRun(Exception):
    """Something that a benchmark needs is not there or does not work."""


class WrongAnswers(Exception):
    """A server said something that it must not, so that no figure of it counts."""


# ---- Cores and CPU time -----------------------------------------------------------------------

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _CORES[0], _CORES[-1]


def stay_on_load_core():
    """Keeps this process, and what it starts without a core of its own, off the servers' core."""
    os.sched_setaffinity(0, {LOAD_CORE})


def cpu_seconds(pid):
    """User and system time of all threads of a process, those that have ended included.

    This is the kernel's clock of the thread group (what clock_getcpuclockid(3) returns), exact to
    the nanosecond. /proc/<pid>/schedstat is as exact but knows the first thread only, and those of
    /proc/<pid>/task know the living ones only.
    """
    return time.clock_gettime((~pid << 3) | 2)


def family_cpu_seconds(pid):
    """The same of a process and its children; of those that have ended in steps of 10 ms."""
    ended = stat_fields(pid)[13:15]
    total = cpu_seconds(pid) + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        for child in file.read().split():
            with contextlib.suppress(OSError):  # It has just ended.
                total += cpu_seconds(int(child))
    return total


def stat_fields(pid):
    """Of /proc/<pid>/stat, those behind the name."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()


def cpu_seconds_by_stat(pid):
    """The same as /proc/<pid>/stat has it, in steps of 10 ms: to check the other one by."""
    fields = stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_busy_seconds():
    """CPU time that was not idle since boot, over all cores; what a hypervisor took included."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class ForeignLoad:
    """Finds how much of the machine was busy with something else while rounds ran."""

    def __init__(self):
        self._foreign = 0.0
        self._available = 0.0

    @contextlib.contextmanager
    def watching(self, *processes):
        """Around one load on one server, and the load's process if it began before and goes on;
        these, and this process, are not foreign."""
        def own_seconds():
            usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(
                resource.RUSAGE_CHILDREN)
            return (sum(process.cpu_seconds() for process in processes)
                    + sum(u.ru_utime + u.ru_stime for u in usages))

        busy, own, begin = machine_busy_seconds(), own_seconds(), time.monotonic()
        yield
        self._foreign += machine_busy_seconds() - busy - (own_seconds() - own)
        self._available += (time.monotonic() - begin) * os.cpu_count()

    def share(self):
        return max(0.0, self._foreign / self._available) if self._available else 0.0


# ---- Processes --------------------------------------------------------------------------------

class Process:
    """A server under measurement, started in a folder of its own and stopped at the end."""

    def __init__(self, name, command, folder, *, environment=None, core=SERVER_CORE):
        self.name = name
        self.log = pathlib.Path(folder) / f"{name}.log"
        command = [str(word) for word in command]
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        with open(self.log, "wb") as log:
            self.started = time.perf_counter()
            self.popen = subprocess.Popen(command, cwd=folder, env=environment, stderr=log,
                                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.pid = self.popen.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def require_alive(self):
        if self.popen.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise CannotRun(f"{self.name} ended with status {self.popen.returncode}\n{tail}")

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    def wait_until_listening(self, port):
        give_up = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < give_up:
            self.require_alive()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise CannotRun(f"{self.name} does not listen after {START_SECONDS_MAX} s")

    def wait_until_idle(self):
        """Returns once the server has done what clients that left had caused."""
        before, give_up = self.cpu_seconds(), time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < give_up:
            time.sleep(0.1)
            now = self.cpu_seconds()
            if now - before < 0.002:
                return
            before = now
        raise CannotRun(f"{self.name} is still busy {START_SECONDS_MAX} s after its load ended")

    def stop(self):
        if self.popen.poll() is not None:
            return
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not end within {STOP_SECONDS_MAX} s of SIGTERM",
                  file=sys.stderr)
            self.popen.kill()
            self.popen.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def workspace():
    """A folder for one run, on the disk that the build is on: a temporary one may be in memory."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=OUTPUT) as folder:
        yield pathlib.Path(folder)


def raise_on_sigterm():
    """Lets a terminated benchmark stop its servers too."""
    def stop(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, stop)


def run_load(program, *, server=None, **options):
    """Runs a load generator; its JSON as a dict. Wrong answers and failures are exceptions."""
    command = [str(program)]
    if server is not None:
        options["server_pid"] = server.pid
    for name, value in options.items():
        command += ["--" + name.replace("_", "-"), str(value)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LOAD_SECONDS_MAX,
                              encoding="utf-8", errors="replace")
    except subprocess.TimeoutExpired as error:
        raise WrongAnswers(f"no end after {LOAD_SECONDS_MAX} s: {' '.join(command)}") from error
    except OSError as error:
        raise CannotRun(str(error)) from error
    if server is not None:
        server.require_alive()
    if done.returncode == 1:
        raise WrongAnswers(f"{server.name if server else command[0]}: {done.stderr.strip()}")
    if done.returncode != 0:
        raise CannotRun(done.stderr.strip())
    return json.loads(done.stdout)


class LoadByTurns:
    """A load generator that stays connected and loads its server each time that it is asked to."""

    def __init__(self, program, server, **options):
        self._server = server
        command = [str(program)]
        for name, value in {**options, "by_turns": 1, "server_pid": server.pid}.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, encoding="utf-8", errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def cpu_seconds(self):
        return cpu_seconds(self._popen.pid)

    def once(self):
        """One turn; the figures as a dict. Wrong answers and failures are exceptions."""
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.write("\n")
            self._popen.stdin.flush()
        ready, _, _ = select.select([self._popen.stdout], [], [], LOAD_SECONDS_MAX)
        line = self._popen.stdout.readline() if ready else ""
        figures = json.loads(line) if line.endswith("\n") else None
        if figures is None or figures["errors"] > 0:
            self._fail()
        return figures

    def end(self):
        """Makes sure that nothing came once too often."""
        self._popen.stdin.close()
        if self._popen.wait(LOAD_SECONDS_MAX) != 0:
            self._fail()

    def _fail(self):
        self._server.require_alive()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(1)
        self._popen.kill()
        why = f"{self._server.name}: {self._popen.stderr.read().strip()}"
        raise WrongAnswers(why) if self._popen.returncode == 1 else CannotRun(why)


# ---- HTTP by hand -----------------------------------------------------------------------------

def http_request(method, path, port, headers=None, body=""):
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "User-Agent: bench",
             "Accept: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body.encode())}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@dataclasses.dataclass
class Answer:
    raw: bytes
    status: int
    headers: dict  # Names in lower case.
    body: bytes


def exchange(port, request, timeout=10):
    """Sends one request and returns the Answer, byte for byte as it came."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(request)
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += _more(connection, raw)
        head, _, _ = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        total = len(head) + 4 + int(headers.get("content-length", 0))
        while len(raw) < total:
            raw += _more(connection, raw)
    return Answer(raw, int(first.split()[1]), headers, raw[len(head) + 4:])


def _more(connection, so_far):
    data = connection.recv(65536)
    if not data or len(so_far) > ANSWER_BYTES_MAX:
        raise ConnectionError(f"an answer without end: {so_far[:300]!r}")
    return data


# ---- Figures ----------------------------------------------------------------------------------

def paired_ratios(ours, theirs):
    """Round by round, so that whatever slowed both is left out."""
    return [a / b for a, b in zip(ours, theirs)]


def median(values):
    return statistics.median(values)


def middle_half(values):
    """Between which two the middle half of them is."""
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return low, high


def alternating(names, rounds):
    """Yields (round, name): every name once per round, each second round in the other order."""
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            yield number, name


def measure_fdatasync(folder, count, block_bytes=4096):
    """Seconds that fdatasync took after each of `count` small appended writes."""
    times = []
    path = pathlib.Path(folder) / "fdatasync.probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for _ in range(count):
            os.write(descriptor, b"x" * block_bytes)
            begin = time.perf_counter_ns()
            os.fdatasync(descriptor)
            times.append((time.perf_counter_ns() - begin) / 1e9)
    finally:
        os.close(descriptor)
        path.unlink()
    return times


@dataclasses.dataclass
class Target:
    what: str
    measured: float
    wanted: float
    at_most: bool
    unit: str = ""

    def reached(self):
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted

    def row(self):
        unit = f" {self.unit}" if self.unit else ""
        return [self.what, f"{self.measured:.2f}{unit}",
                f"{'at most' if self.at_most else 'at least'} {self.wanted:.2f}{unit}",
                "reached" if self.reached() else "FALLS SHORT"]


def print_table(title, head, rows):
    """Columns as wide as they must be; all but the first one are set to the right."""
    print(f"\n{title}\n")
    table = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for number, row in enumerate(table):
        first, *others = (cell.ljust(width) if column == 0 else cell.rjust(width)
                          for column, (cell, width) in enumerate(zip(row, widths)))
        print("  ".join([first, *others]).rstrip())
        if number == 0:
            print("-" * (sum(widths) + 2 * (len(widths) - 1)))


def describe_machine():
    model = "unknown"
    with contextlib.suppress(OSError, StopIteration), open("/proc/cpuinfo", encoding="ascii") as f:
        model = next(line.partition(":")[2].strip() for line in f if line.startswith("model name"))
    try:
        commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
                                capture_output=True, text=True).stdout.strip()
    except OSError:
        commit = ""
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "server_core": SERVER_CORE, "load_core": LOAD_CORE, "commit": commit,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def conclude(name, targets, figures, foreign=None):
    """Prints the verdicts, writes build/bench/<name>.json, and tells whether all were reached."""
    if targets:
        print_table("Targets", ["", "measured", "wanted", ""],
                    [target.row() for target in targets])
    if foreign is not None and foreign.share() > 0.05:
        print(f"\nNote: {foreign.share():.0%} of the machine was busy with something else. "
              "Rates and times suffer much from that, ratios of CPU time less.")
    document = {
        "benchmark": name, "machine": describe_machine(),
        "foreign_load": None if foreign is None else round(foreign.share(), 4),
        "targets": [{**dataclasses.asdict(target), "reached": target.reached()}
                    for target in targets],
        **figures,
    }
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"\nAll figures: {path.relative_to(ROOT)}")
    return all(target.reached() for target in targets)
