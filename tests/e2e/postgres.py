"""A PostgreSQL server of our own, in a temporary folder, reached over a socket file only.

The tests and the benchmarks use it.
"""

import contextlib
import ctypes
import itertools
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

START_SECONDS = 30


def binaries():
    """Debian keeps each version's programs in a folder of its own."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"),
                   key=lambda path: int(path.parts[-3]))
    assert found, "no PostgreSQL server is installed; ./dev setup does it"
    return found[-1].parent


def unprivileged():
    """PostgreSQL refuses to run as root; the user to run as then, else nothing."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def end_with_parent():
    """In the child: what the tests leave behind when they are killed ends by itself."""
    user = unprivileged()
    if user is not None:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


class Cluster:
    """Without `durable`, what was committed may be lost when the machine fails, which is faster.
    All its processes stay on `core`, if one is named."""

    def __init__(self, *, durable=False, core=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="subforge-pg-"))
        self.process = None
        self.names = itertools.count(1)
        self.original = None
        self.settings = ["-c", f"fsync={'on' if durable else 'off'}"]
        self.prefix = [] if core is None else ["taskset", "-c", str(core)]
        user = unprivileged()
        if user is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._run("initdb", "-D", self.folder / "data", "-U", "subforge", "-A", "trust", "-E",
                  "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        self.start()

    def _run(self, program, *arguments):
        done = subprocess.run([binaries() / program, *arguments], capture_output=True, text=True,
                              cwd=self.folder, preexec_fn=end_with_parent, timeout=60)
        assert done.returncode == 0, (program, done.stdout, done.stderr)
        return done.stdout

    def start(self):
        """Returns once it takes connections."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, binaries() / "postgres", "-D", self.folder / "data",
                 "-k", self.folder, "-c", "listen_addresses=",
                 "-c", "max_connections=400", "-c", "shared_buffers=64MB", *self.settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                preexec_fn=end_with_parent)
        end = time.monotonic() + START_SECONDS
        while subprocess.run([binaries() / "pg_isready", "-q", "-h", self.folder],
                             check=False).returncode != 0:
            assert self.process.poll() is None and time.monotonic() < end, \
                (self.folder / "log").read_text()[-2000:]
            time.sleep(0.02)

    def stop(self):
        """As an administrator does: sessions end at once, what was committed stays."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            self.process = None

    @contextlib.contextmanager
    def frozen(self):
        """It stands still: what is asked of it arrives, and is not answered."""
        main = self.process.pid
        children = pathlib.Path(f"/proc/{main}/task/{main}/children")
        os.kill(main, signal.SIGSTOP)  # First, so that it makes no more of them.
        stopped = [main, *map(int, children.read_text().split())]
        try:
            for process in stopped[1:]:
                os.kill(process, signal.SIGSTOP)
            yield
        finally:
            for process in reversed(stopped):
                os.kill(process, signal.SIGCONT)

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database):
        return f"postgresql://subforge@/{database}?host={self.folder}"

    def query(self, database, *commands):
        """The rows of queries, each a list of texts."""
        out = self._run("psql", "-X", "-q", "-A", "-t", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-h",
                        str(self.folder), "-U", "subforge", "-d", database,
                        *(part for command in commands for part in ("-c", command)))
        return [line.split("\x1f") for line in out.splitlines()]

    def create_database(self):
        name = f"test_{next(self.names)}"
        self.query("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def create_copy(self, make, rename):
        """A database as `make(url)` leaves a new one, which is called for the first copy only.
        `rename` is the SQL that gives the copy an identity of its own."""
        if self.original is None:
            url = self.create_database()
            make(url)
            self.original = url.split("/")[3].split("?")[0]
        name = f"test_{next(self.names)}"
        self.query("postgres",
                   f"CREATE DATABASE {name} TEMPLATE {self.original} STRATEGY FILE_COPY",
                   f"\\connect {name}", rename)
        return self.url(name)


_shared = None


def shared():
    """The one of this run, started when it is first asked for."""
    global _shared
    if _shared is None:
        _shared = Cluster()
    return _shared


def stop_shared():
    global _shared
    if _shared is not None:
        _shared.remove()
        _shared = None
