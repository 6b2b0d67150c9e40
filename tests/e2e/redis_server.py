"""A Redis server of our own, on a free port of this machine, its files in a temporary folder.

The tests and the benchmarks use it.
"""

import ctypes
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

START_SECONDS = 15


def end_with_parent():
    """In the child: what the tests leave behind when they are killed ends by itself."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RedisServer:
    """What was written is there again after a restart, on the same port; without `durable` it is in
    memory alone. The server stays on `core`, if one is named."""

    def __init__(self, *, durable=True, core=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="subforge-redis-"))
        self.files = ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
        self.prefix = [] if core is None else ["taskset", "-c", str(core)]
        self.process = None
        self.port = 0
        for attempt in range(5):  # Somebody else may take the port between the look and the start.
            self.port = free_port()
            try:
                self.start()
                return
            except AssertionError:
                if attempt == 4:
                    raise

    @property
    def pid(self):
        return self.process.pid

    def url(self, database=0):
        return f"redis://127.0.0.1:{self.port}/{database}"

    def start(self):
        """Returns once it answers."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, "redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
                 "--dir", str(self.folder), "--save", "", *self.files],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < end, \
                (self.folder / "log").read_text()[-2000:]
            time.sleep(0.01)

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")  # -LOADING is none yet.
        except OSError:
            return False

    def stop(self):
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)

    def _end(self, number):
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def freeze(self):
        """It stands still without letting go of its connections."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def remove(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
