"""Celery's own workers and command line, and ours with the same tasks, for tests and benchmarks."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import uuid

import harness
import peer_tasks
import redis_server
from celery.result import AsyncResult
from harness import BINARY, wait_until

PYTHON = "/usr/bin/python3"
FOLDER = pathlib.Path(peer_tasks.__file__).parent
START_SECONDS = 30
COMMAND_SECONDS = 60
# Redis's transport keeps what nobody acknowledged for so long, in seconds, before others get it.
VISIBILITY_SECONDS = 3


def settings_for(**settings):
    """Of an application whose messages come back soon."""
    return {"broker_transport_options": {"visibility_timeout": VISIBILITY_SECONDS},
            "result_expires": 3600, **settings}


class CeleryWorker:
    """A process group of Celery's own worker with the tasks of peer_tasks.py."""

    kind = "celery"

    def __init__(self, redis, folder, *arguments, name=None, slots=2, queues="celery",
                 prefix=(), environment=None, **settings):
        self.redis = redis
        self.node = f"{name or 'py-' + uuid.uuid4().hex[:6]}@here"
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.command = [
            *prefix, PYTHON, "-B", "-m", "celery", "-A", "peer_tasks", "worker", "-n", self.node,
            "-c", str(slots), "-Q", queues, "--prefetch-multiplier", "1", "-l", "INFO", *arguments]
        self.environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(FOLDER), "LANG": "C.UTF-8",
            "PEER_BROKER": redis.url(), "PEER_BACKEND": redis.url(1),
            "PEER_SETTINGS": json.dumps(settings_for(**settings)), **(environment or {})}
        self.starts = 0
        self.process = None
        self.start()

    def start(self):
        self.spawn()
        self.wait_ready()

    def spawn(self):
        self.starts += 1
        self.log = self.folder / f"{self.node}-{self.starts}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def wait_ready(self):
        def ready():
            text = self.log.read_text(errors="replace")
            assert self.process.poll() is None, text
            return " ready.\n" in text

        wait_until(ready, START_SECONDS, "that Celery's worker is ready")

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        self.kill()

    def kill(self):
        """It and its pool, by SIGKILL."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class SubforgeWorker:
    """`subforge serve` or `subforge worker` with the same tasks, on the same Redis."""

    kind = "subforge"

    def __init__(self, redis, folder, *, slots=2, queues="celery", alone=False, beside=None,
                 keys=None, **settings):
        self.redis = redis
        self.alone = alone
        folder.mkdir(parents=True, exist_ok=True)
        peer_tasks.write_command_tasks(folder / "tasks.d", **(keys or {}))
        settings = {
            "CELERY_BROKER_URL": redis.url(), "CELERY_RESULT_BACKEND": redis.url(1),
            "CELERY_VISIBILITY_TIMEOUT": VISIBILITY_SECONDS, "TASK_SLOTS": slots,
            "TASK_QUEUES": json.dumps(queues.split(",")), **settings}
        if beside is not None:  # The same database.
            settings.setdefault("DATABASE_URL", beside.server.settings.get(
                "DATABASE_URL", f"sqlite:///{beside.server.folder}/subforge_dashboard.db"))
        self.server = harness.Server(folder, **settings)
        self.process = None
        self.start()

    @property
    def node(self):
        host = os.uname().nodename
        return f"subforge-{self.pid}@{host}"

    @property
    def pid(self):
        return (self.process if self.alone else self.server.process).pid

    def start(self):
        if not self.alone:
            self.server.start()
            return
        self.log = self.server.folder / "worker.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "worker"], cwd=self.server.folder,
                env=harness.environment(self.server.settings), stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: '"working"' in self.log.read_text(), START_SECONDS, "working")

    def stop(self):
        if not self.alone:
            self.server.stop()
        elif self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(20)
            self.process = None
            assert code == 0, self.log.read_text()[-2000:]

    def kill(self):
        if not self.alone:
            self.server.kill()
        elif self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


WORKERS = {"subforge": SubforgeWorker, "celery": CeleryWorker}
# Tests of our worker run with Celery's in its place too, which proves that they ask for nothing
# else: in the long run of the tests.
KINDS = ["subforge", "celery"] if harness.FULL else ["subforge"]


def client(redis, **settings):
    """An application of this process, to send tasks and ask workers."""
    # A result that the collector comes upon when Redis is gone already would look for it for twenty
    # seconds, in the middle of whatever test runs then.
    AsyncResult.__del__ = lambda self: None
    return peer_tasks.application(redis.url(), redis.url(1), **settings_for(**settings))


def celery(redis, *arguments, check=True):
    """Celery's command line; returns what it printed."""
    done = subprocess.run(
        [PYTHON, "-B", "-m", "celery", "-b", redis.url(), "--result-backend", redis.url(1),
         *arguments],
        cwd=redis.folder, capture_output=True, text=True, timeout=COMMAND_SECONDS,
        stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})
    if check:
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


@contextlib.contextmanager
def ended(*things):
    """Stops workers and the like, whatever happens, the last one first."""
    with contextlib.ExitStack() as stack:
        for thing in things:
            stack.callback(thing.stop)
        yield things


__all__ = ["CeleryWorker", "SubforgeWorker", "WORKERS", "celery", "client", "ended",
           "redis_server"]
