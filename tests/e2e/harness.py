"""What the tests from outside share: the running server and small clients for it.

Only Python's own library is used, so that nothing between a test and the bytes on the wire does
something clever.
"""

import contextlib
import functools
import http.client
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import uuid

import postgres

FULL = os.environ.get("SUBFORGE_TEST_SIZE") == "full"
# Which database the servers of all tests use; each server has one of its own.
DATABASE = os.environ.get("SUBFORGE_TEST_DATABASE", "sqlite")
assert DATABASE in ("sqlite", "postgresql"), DATABASE
ON_POSTGRESQL = DATABASE == "postgresql"
ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(
    os.environ.get("SUBFORGE_BINARY", ROOT / "build" / "release" / "subforge")
).resolve()

# Of the surrounding environment only this reaches the server, so that a developer's own settings
# cannot change what a test finds.
PASSED_ON = ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "ASAN_SYMBOLIZER_PATH")

# Where the server has its database when nothing is set.
DATABASE_FILE = "subforge_dashboard.db"

START_SECONDS = 15
STOP_SECONDS = 15


def environment(settings):
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env.update({"PORT": "0", "RATE_LIMIT_MULTIPLIER": "10000"})
    # Sockets hear of each sample; tests that do not mean them are not to be surprised by one.
    env.update({"METRICS_UPDATE_INTERVAL": "3600"})
    if ON_POSTGRESQL:  # That shares its two cores with five others.
        env.update({"DATABASE_SILENCE_MS": "5000"})
    env.update({name: str(value) for name, value in settings.items() if value is not None})
    return env


def unique(prefix="agent"):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def wait_until(holds, seconds=5, what="the condition"):
    """Waits for something that has no event of its own; returns what `holds` returned."""
    end = time.monotonic() + seconds
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(0.01)


class Answer:
    """An HTTP answer, read to its end."""

    def __init__(self, status, headers, body, reason=""):
        self.status = status
        self.reason = reason
        self.fields = list(headers)
        self.body = body

    def header(self, name, default=None):
        found = self.headers(name)
        return found[0] if found else default

    def headers(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def json(self):
        return json.loads(self.body)

    @property
    def detail(self):
        return self.json()["detail"]

    def __repr__(self):
        return f"<{self.status} {self.body[:600]!r}>"


class Client:
    """A keep-alive connection that speaks JSON; opened anew when the server has closed it, and
    before it does so to one that was silent for long."""

    SILENT_SECONDS_MAX = 30
    # Is shown every answer: (method, path, answer).
    looks_at = None

    def __init__(self, port, token=None):
        self.port = port
        self.token = token
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.used_at = time.monotonic()

    def request(self, method, path, json_body=None, body=None, headers=None):
        fields = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body)
            fields.setdefault("Content-Type", "application/json")
        if self.token is not None:
            fields.setdefault("Authorization", f"Bearer {self.token}")
        if isinstance(body, str):
            body = body.encode()
        if time.monotonic() - self.used_at > self.SILENT_SECONDS_MAX:
            self.connection.close()
        self.connection.request(method, path, body=body, headers=fields)
        response = self.connection.getresponse()
        self.used_at = time.monotonic()
        answer = Answer(response.status, response.getheaders(), response.read(), response.reason)
        if Client.looks_at is not None:
            Client.looks_at(method, path, answer)
        return answer

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, json_body=None, **options):
        return self.request("POST", path, json_body, **options)

    def put(self, path, json_body=None, **options):
        return self.request("PUT", path, json_body, **options)

    def patch(self, path, json_body=None, **options):
        return self.request("PATCH", path, json_body, **options)

    def delete(self, path, **options):
        return self.request("DELETE", path, **options)

    def upload(self, path, filename, content, field="file", headers=(), **options):
        boundary = "part-" + uuid.uuid4().hex
        if isinstance(content, str):
            content = content.encode()
        name = f'; filename="{filename}"' if filename is not None else ""
        body = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{field}"{name}\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode() + content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", **dict(headers)}
        return self.request("POST", path, body=body, headers=headers, **options)

    def agent_v1(self, **members):
        answer = self.post("/api/v1/agents/", {"name": unique(), "agent_type": "tester", **members})
        assert answer.status == 200, answer
        return answer.json()

    def agent_v2(self, **members):
        answer = self.post("/api/v2/agents", {"name": unique(), "type": "tester", **members})
        assert answer.status == 201, answer
        return answer.json()

    def close(self):
        self.connection.close()


class RawConnection:
    """A socket on which a test writes the bytes itself and reads answers one by one."""

    def __init__(self, port, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def _fill(self):
        got = self.socket.recv(65536)
        self.buffer += got
        return bool(got)

    def read_until(self, mark):
        while mark not in self.buffer:
            if not self._fill():
                raise EOFError(f"closed after {self.buffer!r}")
        at = self.buffer.index(mark) + len(mark)
        head, self.buffer = self.buffer[:at], self.buffer[at:]
        return head

    def read_exactly(self, count):
        while len(self.buffer) < count:
            if not self._fill():
                raise EOFError(f"closed after {len(self.buffer)} of {count} bytes")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_answer(self, to_head=False):
        head = self.read_until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        version, status, reason = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        fields = [tuple(line.split(": ", 1)) for line in lines]
        answer = Answer(int(status), fields, b"", reason)
        if to_head or answer.status < 200 or answer.status in (204, 304):
            return answer
        if (answer.header("Transfer-Encoding") or "").lower() == "chunked":
            answer.chunks = []
            while True:
                size = int(self.read_until(b"\r\n").strip(), 16)
                data = self.read_exactly(size)
                assert self.read_exactly(2) == b"\r\n"
                if size == 0:
                    break
                answer.chunks.append(data)
            answer.body = b"".join(answer.chunks)
        elif answer.header("Content-Length") is not None:
            answer.body = self.read_exactly(int(answer.header("Content-Length")))
        else:
            answer.body = self.read_rest()
        return answer

    def read_rest(self):
        try:
            while self._fill():
                pass
        except ConnectionResetError:
            pass
        data, self.buffer = self.buffer, b""
        return data

    def at_end(self, seconds=5):
        """Whether the server closes the connection without sending more."""
        self.socket.settimeout(seconds)
        try:
            return self.buffer == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return self.buffer == b""
        except socket.timeout:
            return False

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# What SQLite's PRAGMA table_info tells, in its words.
TABLE_INFO = """SELECT ordinal_position - 1 AS cid, column_name AS name,
  CASE data_type WHEN 'bigint' THEN 'INTEGER' WHEN 'double precision' THEN 'REAL'
    WHEN 'bytea' THEN 'BLOB' ELSE 'TEXT' END AS type,
  CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END AS notnull, column_default AS dflt_value,
  CASE WHEN is_identity = 'YES' THEN 1 ELSE 0 END AS pk
FROM information_schema.columns WHERE table_name = ? ORDER BY ordinal_position"""


class PostgresDatabase:
    """As much of sqlite3.Connection as the tests need."""

    def __init__(self, url, cluster=None):
        self.name = url.partition("@/")[2].partition("?")[0]
        self.cluster = cluster or postgres.shared()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def close(self):
        pass

    def execute(self, sql, parameters=()):
        parts = sql.split("?")
        assert len(parts) == len(parameters) + 1, sql
        sql = parts[0] + "".join(self._literal(value) + part
                                 for value, part in zip(parameters, parts[1:]))
        if sql.startswith("PRAGMA table_info("):
            return self.execute(TABLE_INFO, [sql.partition("(")[2].rstrip(")")])
        if not sql.startswith("SELECT"):
            self.cluster.query(self.name, sql)
            return None
        found = self.cluster.query(self.name, f"SELECT row_to_json(t) FROM ({sql}) t")
        rows = (json.loads(cells[0]) for cells in found)
        return Rows(PostgresRow({key: self._value(value) for key, value in row.items()})
                    for row in rows)

    @staticmethod
    def _literal(value):
        if value is None:
            return "NULL"
        if isinstance(value, bytes):
            return f"'\\x{value.hex()}'"
        if isinstance(value, str):
            return "'" + value.replace("'", "''") + "'"
        return str(int(value) if isinstance(value, bool) else value)

    @staticmethod
    def _value(value):
        is_bytes = isinstance(value, str) and value.startswith("\\x")
        return bytes.fromhex(value[2:]) if is_bytes else value


class PostgresRow:
    """A row as sqlite3.Row is: by name, by number, and one value after the other."""

    def __init__(self, values):
        self.values = values

    def __getitem__(self, key):
        return [*self.values.values()][key] if isinstance(key, int) else self.values[key]

    def __iter__(self):
        return iter(self.values.values())

    def keys(self):
        return self.values.keys()


class Rows(list):
    def fetchall(self):
        return self

    def fetchone(self):
        return self[0] if self else None


# Tables are made once and copied: for each server anew that would take most of its start.
NEW_IDENTITY = "UPDATE meta SET value = {} WHERE key = 'log_epoch'"


def make_tables(url):
    """In a new database."""
    if url.startswith("sqlite:///"):
        pathlib.Path(url.removeprefix("sqlite:///")).touch()
    subprocess.run([BINARY, "token", "list"], env=environment({"DATABASE_URL": url}), check=True,
                   capture_output=True, timeout=START_SECONDS)


@functools.cache
def made_database():
    """The folder of a database that only has its tables."""
    folder = tempfile.TemporaryDirectory(prefix="subforge-db-")
    make_tables(f"sqlite:///{folder.name}/{DATABASE_FILE}")
    return folder


def copy_database(folder):
    shutil.copyfile(pathlib.Path(made_database().name) / DATABASE_FILE, folder / DATABASE_FILE)
    with contextlib.closing(sqlite3.connect(folder / DATABASE_FILE)) as copy, copy:
        copy.execute(NEW_IDENTITY.format("lower(hex(randomblob(4)))"))


class Server:
    """The real binary, serving from a folder of its own."""

    def __init__(self, folder, **settings):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        if "DATABASE_URL" not in settings:
            if ON_POSTGRESQL:
                self.settings["DATABASE_URL"] = postgres.shared().create_copy(
                    make_tables, NEW_IDENTITY.format("left(CAST(gen_random_uuid() AS TEXT), 8)"))
            elif not (self.folder / DATABASE_FILE).exists():
                copy_database(self.folder)
        self.process = None
        self.port = 0
        self.starts = 0
        self.errors_expected = False
        self.descriptors_max = None

    # -- The process

    def start(self, arguments=(), **settings):
        """Starts and waits until the server is ready for requests."""
        self.settings.update(settings)
        self.spawn(*arguments)
        try:
            self.port = wait_until(self._listening, START_SECONDS, "listening")
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def spawn(self, *arguments):
        self.starts += 1
        self.log_path = self.folder / f"log-{self.starts}.txt"
        self.stderr_path = self.folder / f"stderr-{self.starts}.txt"
        with open(self.log_path, "wb") as log, open(self.stderr_path, "wb") as errors:
            self.process = subprocess.Popen(
                [BINARY, "serve", *arguments],
                cwd=self.folder,
                env=environment(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                preexec_fn=self._limit_descriptors if self.descriptors_max else None,
            )

    def _limit_descriptors(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors_max, self.descriptors_max))

    def _listening(self):
        if self.process.poll() is not None:
            raise AssertionError(
                f"the server ended with {self.process.returncode} instead of listening:\n"
                + self.stderr()
            )
        for line in self.log_lines():
            if line.get("message") == "listening":
                return line["port"]
        return None

    def wait_ready(self):
        def ready():
            client = self.client()
            try:
                return client.get("/health/ready", headers={"Host": "127.0.0.1"}).status == 200
            except OSError:
                return False
            finally:
                client.close()

        wait_until(ready, START_SECONDS, "readiness")

    def signal_stop(self):
        self.process.send_signal(signal.SIGTERM)

    def wait_stopped(self, seconds=STOP_SECONDS):
        code = self.process.wait(seconds)
        process, self.process = self.process, None
        assert code == 0, f"exit code {code}:\n{self.stderr()}\n{self.log_tail()}"
        if not self.errors_expected:
            bad = [line for line in self.log_lines() if line["level"] in ("ERROR", "CRITICAL")]
            assert not bad, f"the server logged errors: {bad[:5]}"
        return process

    def stop(self):
        if self.process is None:
            return
        self.signal_stop()
        try:
            self.wait_stopped()
        finally:
            self.kill()

    def kill(self):
        """The end by SIGKILL, which no process can prepare for."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def run_tool(self, *arguments, check=True, **settings):
        """Another subcommand of the binary in the same folder."""
        done = subprocess.run(
            [BINARY, *arguments],
            cwd=self.folder,
            env=environment({**self.settings, **settings}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        if check:
            assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return done

    def create_token(self, name, role, *options):
        """A new key's token; where the server runs, it knows it by then."""
        output = self.run_tool("token", "create", "--name", name, "--role", role, *options).stdout
        token = output.rstrip("\n").split("\n")[-1]
        if self.process is not None:
            client = self.client(token)

            def known():
                return client.get("/api/v1/agents/stats/summary").status == 200

            wait_until(known, 3, "that the server knows the new key")
        return token

    # -- What it says and keeps

    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def log_tail(self):
        return "\n".join(self.log_path.read_text(errors="replace").split("\n")[-20:])

    def log_lines(self):
        """The complete JSON lines of the log so far."""
        text = self.log_path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line]

    def access_line(self, request_id):
        """The log line of one request, which is written a moment after the answer."""

        def find():
            for line in self.log_lines():
                if line.get("request_id") == request_id and line["message"] == "request":
                    return line
            return None

        return wait_until(find, 3, f"the log line of request {request_id}")

    def database(self, writable=False):
        """To look into what is stored: execute() gives rows by name."""
        if ON_POSTGRESQL:
            return PostgresDatabase(self.settings["DATABASE_URL"])
        path = self.folder / DATABASE_FILE
        mode = "rw" if writable else "ro"
        connection = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=10)
        connection.row_factory = sqlite3.Row
        return connection

    # -- Clients

    def client(self, token=None):
        return Client(self.port, token)

    def raw(self, timeout=10):
        return RawConnection(self.port, timeout)

    def ws_url(self, path):
        return f"ws://127.0.0.1:{self.port}{path}"
