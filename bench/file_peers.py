"""Servers that take and give files, how each one is talked to, and what they are given."""

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import string
import time

import harness

FILE_BYTES = 50_000_000
PART_BYTES = 1_000_000  # What contents repeat, nobody looks at so many.
WORDS, WORDS_OF_LINE = 1000, 12
MARK_BYTES = 32  # At the end of a content: no two are equal.
TIMEOUT_S = 120
PROCESSED_PAUSE_S = 0.05

OURS, TUS, NGINX, FASTAPI = "subforge", "subforge, tus", "nginx", "fastapi"
FILES = "/api/v2/files"
BOUNDARY = "bench-boundary"

NGINX_CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 256; }}
http {{
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  client_max_body_size 100m;
  client_body_buffer_size 256k;
  client_body_temp_path {folder}/incoming;
  proxy_temp_path {folder}/unused;
  fastcgi_temp_path {folder}/unused;
  uwsgi_temp_path {folder}/unused;
  scgi_temp_path {folder}/unused;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/files;
    location / {{ dav_methods PUT; }}
  }}
}}
"""


def lines_of_words(draw, bytes_min):
    """As in a log: many lines, few words."""
    words = ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 10)))
             for _ in range(WORDS)]
    lines, size = [], 0
    while size < bytes_min:
        lines.append(" ".join(draw.choices(words, k=WORDS_OF_LINE)) + "\n")
        size += len(lines[-1])
    return "".join(lines).encode()


class Contents:
    """Texts of one size that differ at their ends, with the digest of each."""

    def __init__(self):
        part = lines_of_words(random.Random(1), PART_BYTES)
        self.body = (part * (FILE_BYTES // len(part) + 1))[: FILE_BYTES - MARK_BYTES]
        self.digest = hashlib.sha256(self.body)
        self.count = 0

    def next(self):
        """The end of a content that was not used before, and its SHA-256."""
        self.count += 1
        mark = f"{self.count:0{MARK_BYTES}}".encode()
        digest = self.digest.copy()
        digest.update(mark)
        return mark, digest.hexdigest()


class Connection:
    """Keeps alive, and looks at every answer."""

    def __init__(self, port, token=""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.buffer = bytearray(1 << 20)
        self.common = f"Host: 127.0.0.1:{port}\r\n"
        if token:
            self.common += f"Authorization: Bearer {token}\r\n"

    def close(self):
        self.socket.close()

    def request(self, line, fields="", pieces=()):
        length = sum(map(len, pieces))
        head = f"{line} HTTP/1.1\r\n{self.common}{fields}"
        head += f"Content-Length: {length}\r\n\r\n" if pieces or line[0] == "P" else "\r\n"
        self.socket.sendall(head.encode())
        for piece in pieces:
            self.socket.sendall(piece)

    def answer_head(self):
        """Status, fields, and what came of the body with them."""
        raw = b""
        while b"\r\n\r\n" not in raw:
            got = self.socket.recv(65536)
            if not got:
                raise harness.WrongAnswers(f"closed after {raw[:200]!r}")
            raw += got
        head, _, rest = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split()[1]), fields, rest

    def answer(self, *statuses):
        status, fields, body = self.answer_head()
        while len(body) < int(fields.get("content-length", 0)):
            body += self.socket.recv(65536)
        if status not in statuses:
            raise harness.WrongAnswers(f"{status}, not {statuses}: {body[:300]!r}")
        return fields, body

    def receive_file(self, expected):
        status, fields, have = self.answer_head()
        if status != 200 or int(fields["content-length"]) != len(expected):
            raise harness.WrongAnswers(f"a download gave {status} {fields}")
        at = len(have)
        right = have == expected[:at]
        while at < len(expected):
            got = self.socket.recv_into(self.buffer)
            if got == 0:
                raise harness.WrongAnswers("a download was cut off")
            right = right and self.buffer[:got] == expected[at:at + got]
            at += got
        if not right:
            raise harness.WrongAnswers("a download is not what was uploaded")


# ---- How each one is talked to ----------------------------------------------------------------

def form(mark, body, name):
    head = (f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"files\"; "
            f"filename=\"{name}\"\r\nContent-Type: text/plain\r\n\r\n")
    return [head.encode(), body, mark, f"\r\n--{BOUNDARY}--\r\n".encode()]


FORM_FIELDS = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"


@dataclasses.dataclass
class Contender:
    process: harness.Process
    port: int
    token: str = ""
    uploads: list = dataclasses.field(default_factory=list)  # CPU seconds per GB.
    downloads: list = dataclasses.field(default_factory=list)
    processing: list = dataclasses.field(default_factory=list)  # The same, of a worker beside it.
    worker: harness.Process | None = None

    def worker_seconds(self):
        return self.worker.cpu_seconds() if self.worker else 0.0

    @contextlib.contextmanager
    def without_worker(self):
        """It shares the server's core: meanwhile it does nothing."""
        if self.worker:
            self.worker.popen.send_signal(signal.SIGSTOP)
        yield
        if self.worker:
            self.worker.popen.send_signal(signal.SIGCONT)

    def wait_until_processed(self, path):
        """Until the worker has looked into what was uploaded."""


class Ours(Contender):
    def upload(self, connection, name, mark, digest, body):
        connection.request(f"POST {FILES}/upload/data_files", FORM_FIELDS, form(mark, body, name))
        _, answer = connection.answer(200)
        file = json.loads(answer)["files"][0]
        if (file["sha256"], file["file_size"]) != (digest, FILE_BYTES):
            raise harness.WrongAnswers(f"another file was stored: {file}")
        return f"{FILES}/{file['id']}"

    def check(self, path, digest):
        """The digest was the server's own; nothing is left to look at."""

    def wait_until_processed(self, path):
        give_up = time.monotonic() + TIMEOUT_S
        while True:
            analysis = json.loads(self.process.call("GET", path).body)["analysis"]
            if analysis["status"] == "done":
                return
            if analysis["status"] == "failed" or time.monotonic() > give_up:
                raise harness.WrongAnswers(f"a file was not looked into: {analysis}")
            time.sleep(PROCESSED_PAUSE_S)

    def forget(self, path):
        self.process.call("DELETE", path, status=204)

    def path(self, stored):
        return f"{stored}/download"


class Tus(Ours):
    """The same server: the content as the body of one PATCH, as it is in nginx's PUT."""

    def upload(self, connection, name, mark, digest, body):
        def encoded(text):
            return base64.b64encode(text.encode()).decode()
        connection.request(f"POST {FILES}/tus", "Tus-Resumable: 1.0.0\r\n"
                           f"Upload-Length: {FILE_BYTES}\r\nUpload-Metadata: "
                           f"filename {encoded(name)},file_type {encoded('data_files')}\r\n")
        place = connection.answer(201)[0]["location"]
        connection.request(f"PATCH {place}", "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
                           "Content-Type: application/offset+octet-stream\r\n", [body, mark])
        return connection.answer(204)[0]["content-location"]

    def check(self, path, digest):
        file = json.loads(self.process.call("GET", path).body)
        if (file["sha256"], file["file_size"]) != (digest, FILE_BYTES):
            raise harness.WrongAnswers(f"another file was stored: {file}")


@dataclasses.dataclass
class InFolder(Contender):
    """A peer whose files lie in a folder under their names."""

    folder: pathlib.Path = pathlib.Path()

    def check(self, path, digest):
        stored = hashlib.sha256((self.folder / path.rpartition("/")[2]).read_bytes())
        if stored.hexdigest() != digest:
            raise harness.WrongAnswers(f"{self.process.name} stored something else")

    def forget(self, path):
        (self.folder / path.rpartition("/")[2]).unlink()

    def path(self, stored):
        return stored


class Nginx(InFolder):
    def upload(self, connection, name, mark, digest, body):
        connection.request(f"PUT /{name}", "", [body, mark])
        connection.answer(201, 204)
        return f"/{name}"


class FastApi(InFolder):
    def upload(self, connection, name, mark, digest, body):
        connection.request("POST /upload", FORM_FIELDS, form(mark, body, name))
        connection.answer(200)
        return f"/files/{name}"


def start_ours(context):
    """What looks into stored files is a process of its own, so that its CPU is known apart."""
    server = context.start_subforge(
        "subforge", {"DISK_FREE_BYTES_MIN": "0", "ENABLE_BACKGROUND_TASKS": "false"})
    server.require_conditions()
    worker = context.stack.enter_context(harness.Process(
        "worker", [server.binary, "worker"], server.folder,
        environment={**server.environment, "ENABLE_BACKGROUND_TASKS": "true"}))
    return {OURS: Ours(server, server.port, server.token, worker=worker),
            TUS: Tus(server, server.port, server.token, worker=worker)}


def start_nginx(context):
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise harness.CannotRun("there is no nginx; ./dev setup installs it")
    folder, port = context.folder / "nginx", harness.free_port()
    (folder / "files").mkdir(parents=True)
    configuration = context.file("nginx/nginx.conf",
                                 NGINX_CONFIGURATION.format(folder=folder, port=port))
    process = context.stack.enter_context(
        harness.Process("nginx", [program, "-p", folder, "-c", configuration], folder))
    process.wait_until_listening(port)
    return Nginx(process, port, folder=folder / "files")


def start_fastapi(context):
    folder = context.folder / "fastapi"
    folder.mkdir()
    app = harness.ROOT / "bench" / "fastapi_files_app.py"
    # Its form parser's temporary files go to the same disk.
    environment = {**os.environ, "TMPDIR": str(folder)}
    port = harness.free_port()
    process = context.stack.enter_context(harness.Process(
        "fastapi", ["/usr/bin/python3", app, "--folder", folder, "--port", port],
        context.folder, environment=environment))
    process.wait_until_listening(port)
    return FastApi(process, port, folder=folder)


def start_all(context):
    return {**start_ours(context), NGINX: start_nginx(context), FASTAPI: start_fastapi(context)}
