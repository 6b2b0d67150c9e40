"""HTTP/1.1 as it looks on the wire: framing, limits, refusals, the end."""

import contextlib
import http.client
import json
import os
import re
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from harness import BINARY, Client, environment, unique, wait_until
from http_texts import HOST, create_body, get, post

# ---- Connections -------------------------------------------------------------------------------


def test_keep_alive(server):
    with server.raw() as raw:
        for _ in range(3):
            answer = raw.send(get()).read_answer()
            assert answer.status == 200 and answer.json() == {"status": "alive"}
            assert answer.header("Connection") is None
            assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
                                answer.header("Date"))
            assert answer.header("Server") is None


def test_connection_close(server):
    with server.raw() as raw:
        answer = raw.send(get(more="Connection: close\r\n")).read_answer()
        assert answer.status == 200 and answer.header("Connection") == "close"
        assert raw.at_end()


def test_http_1_0(server):
    with server.raw() as raw:
        answer = raw.send(get(version="HTTP/1.0")).read_answer()
        assert answer.status == 200 and raw.at_end()
    with server.raw() as raw:
        for _ in range(2):
            raw.send(get(version="HTTP/1.0", more="Connection: keep-alive\r\n"))
            assert raw.read_answer().header("Connection") == "keep-alive"


def test_pipelined_answers_come_in_order(server):
    # Slow ones (a durable write) before quick ones, all in one go.
    names = [unique() for _ in range(10)]
    wire = ""
    for name in names:
        wire += post("/api/v2/agents", create_body(name)) + get("/health/live") + get("/nowhere")
    with server.raw() as raw:
        raw.send(wire)
        for name in names:
            created = raw.read_answer()
            assert created.status == 201 and created.json()["name"] == name
            assert raw.read_answer().json() == {"status": "alive"}
            assert raw.read_answer().status == 404


def test_many_pipelined_requests(server):
    count = 5000
    with server.raw() as raw:
        sender = threading.Thread(target=lambda: raw.socket.sendall(get().encode() * count))
        sender.start()
        for _ in range(count):
            assert raw.read_answer().status == 200
        sender.join()


def test_who_does_not_read_is_not_read_from(server):
    """Answers wait within a limit; beyond it the client's requests wait in the client."""
    # Padded, so that the system's own buffers do not hold a hundred thousand of them.
    request = get("/", f"X-Pad: {'x' * 2000}\r\n").encode()
    length = len(request)
    with server.raw(30) as raw:
        raw.socket.setblocking(False)
        sent, idle_since = 0, time.monotonic()
        while time.monotonic() - idle_since < 0.5:
            try:
                sent += raw.socket.send(request[sent % length:])
                idle_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            assert sent < 64 << 20, "the server takes requests without end"
        raw.socket.settimeout(30)
        # Others are served meanwhile, and once it reads, nothing is missing.
        assert Client(server.port).get("/health/live").status == 200
        # The last request is completed while its predecessors' answers are read.
        rest = request[sent % length:] if sent % length else b""
        sender = threading.Thread(target=lambda: raw.socket.sendall(rest))
        sender.start()
        for _ in range(-(-sent // length)):
            assert raw.read_answer().json()["name"] == "SubForge Dashboard API"
        sender.join()


def test_requests_in_single_bytes(server):
    with server.raw() as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post("/api/v2/agents", create_body()).encode():
            raw.send(bytes([byte]))
        assert raw.read_answer().status == 201


def test_answer_after_the_client_finished_sending(server):
    with server.raw() as raw:
        raw.send(post("/api/v2/agents", create_body()))
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.read_answer().status == 201
        assert raw.at_end()


# ---- Methods -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/health", "/api/v1/agents/", "/api/v2/agents", "/metrics"])
def test_head(server, path):
    with server.raw() as raw:
        full = raw.send(get(path)).read_answer()
        head = raw.send(get(path, method="HEAD")).read_answer(to_head=True)
        assert head.status == full.status == 200
        assert head.header("Content-Type") == full.header("Content-Type")
        if path not in ("/metrics", "/health"):
            assert head.header("Content-Length") == full.header("Content-Length")
        # Nothing but heads: the connection is still in step.
        assert raw.send(get()).read_answer().json() == {"status": "alive"}


def test_options(server):
    api = Client(server.port)
    answer = api.request("OPTIONS", "/api/v2/agents")
    assert answer.status == 204
    assert set(answer.header("Allow").split(", ")) == {"GET", "HEAD", "POST", "OPTIONS"}
    assert api.request("OPTIONS", "/nowhere").status == 404
    with server.raw() as raw:
        assert raw.send(get("*", method="OPTIONS")).read_answer().status == 204


PREFLIGHT = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "content-type, authorization"}


def test_cors(server):
    api = Client(server.port)
    answer = api.request("OPTIONS", "/api/v2/agents", headers=PREFLIGHT)
    assert answer.status == 204
    assert answer.header("Access-Control-Allow-Origin") == "http://localhost:3000"
    assert answer.header("Access-Control-Allow-Credentials") == "true"
    assert "POST" in answer.header("Access-Control-Allow-Methods")
    assert "content-type" in answer.header("Access-Control-Allow-Headers").lower()
    assert "authorization" in answer.header("Access-Control-Allow-Headers").lower()
    assert "Origin" in answer.header("Vary")
    for path in ("/api/v2/agents", "/nowhere"):  # Also where it fails.
        answer = api.get(path, headers={"Origin": "http://localhost:3001"})
        assert answer.header("Access-Control-Allow-Origin") == "http://localhost:3001"
        exposed = answer.header("Access-Control-Expose-Headers")
        for name in ("X-Total-Count", "X-Page-Size", "X-Current-Page", "X-Total-Pages", "ETag",
                     "X-Request-ID", "Retry-After"):
            assert name in exposed
    for origin in ("http://evil.example", "http://localhost:3002", "null"):
        answer = api.get("/api/v2/agents", headers={"Origin": origin})
        assert answer.status == 200
        assert answer.header("Access-Control-Allow-Origin") is None
        answer = api.request("OPTIONS", "/api/v2/agents", headers={**PREFLIGHT, "Origin": origin})
        assert answer.header("Access-Control-Allow-Origin") is None
    # One client's origin is not cached for the next.
    assert api.get("/api/v2/agents").header("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize("path", ["/nowhere", "/api", "/api/v1/agent", "/api/v3/agents",
                                  "/api/v2/agents/x/y/z", "///", "/api/v2//agents"])
def test_not_found(server, path):
    answer = Client(server.port).get(path)
    assert answer.status == 404
    assert answer.json() == {"detail": "Not Found", "type": "about:blank", "title": "Not Found",
                             "status": 404, "instance": path}


@pytest.mark.parametrize(
    "method, path, allow",
    [
        ("DELETE", "/api/v2/agents", {"GET", "HEAD", "POST"}),
        ("PATCH", "/api/v1/agents/", {"GET", "HEAD", "POST"}),
        ("POST", "/api/v2/agents/x/metrics", {"GET", "HEAD"}),
        ("GET", "/api/v2/agents/bulk-operation", None),  # An agent's id as well.
        ("POST", "/", {"GET", "HEAD"}),
        ("BREW", "/health", {"GET", "HEAD"}),
    ],
)
def test_method_not_allowed(server, method, path, allow):
    answer = Client(server.port).request(method, path)
    if allow is None:
        assert answer.status in (404, 405)
        return
    assert answer.status == 405 and answer.detail == "Method Not Allowed"
    assert set(answer.header("Allow").split(", ")) == allow


def test_problem_members(server):
    api = Client(server.port)
    plain = api.get("/api/v2/agents/x")
    assert plain.header("Content-Type") == "application/json"
    problem = api.get("/api/v2/agents/x", headers={"Accept": "application/problem+json, */*"})
    assert problem.header("Content-Type") == "application/problem+json"
    assert problem.body == plain.body
    assert plain.json() == {"detail": "Agent x not found", "type": "about:blank",
                            "title": "Not Found", "status": 404, "instance": "/api/v2/agents/x"}


# ---- What is refused with a closed connection --------------------------------------------------

CLOSING = [
    ("GET / HTTP/2.0\r\n\r\n", 505),
    ("GET /\r\n\r\n", 400),
    ("GET / HTTX/1.1\r\n\r\n", 400),
    ("G@T / HTTP/1.1\r\n" + HOST + "\r\n", 400),
    ("GET  / HTTP/1.1\r\n" + HOST + "\r\n", 400),
    ("GET /a b HTTP/1.1\r\n" + HOST + "\r\n", 400),
    ("GET /ä HTTP/1.1\r\n" + HOST + "\r\n", 400),
    ("GET /x#y HTTP/1.1\r\n" + HOST + "\r\n", 400),
    ("CONNECT example.com:443 HTTP/1.1\r\n" + HOST + "\r\n", 501),
    ("GET / HTTP/1.1\r\n\r\n", 400),  # No Host.
    ("GET / HTTP/1.1\r\n" + HOST + HOST + "\r\n", 400),
    (get(more="No colon here\r\n"), 400),
    (get(more="Spaced : x\r\n"), 400),
    (get(more=" Folded: x\r\n"), 400),
    (get(more="A: b\r\n c\r\n"), 400),
    (get(more="A: b\x00c\r\n"), 400),
    (get(more="A: b\rc\r\n"), 400),
    ("GET / HTTP/1.1\n" + HOST + "\r\n", 400),
    (get(more="A: b\n"), 400),
    (get(more="Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), 400),
    (get(more="Content-Length: 3\r\nContent-Length: 4\r\n"), 400),
    (get(more="Content-Length: 3\r\nContent-Length: 3\r\n"), 400),
    (get(more="Content-Length: 3, 3\r\n"), 400),
    (get(more="Content-Length: +3\r\n"), 400),
    (get(more="Content-Length: -1\r\n"), 400),
    (get(more="Content-Length: 0x3\r\n"), 400),
    (get(more="Content-Length: \r\n"), 400),
    (get(more="Content-Length: 99999999999999999999\r\n"), None),
    (get(more="Transfer-Encoding: gzip, chunked\r\n"), 501),
    (get(more="Transfer-Encoding: chunked, chunked\r\n"), None),
    (get(more="Transfer-Encoding: xchunked\r\n"), 501),
    (get(more="Transfer-Encoding: chunked\r\n", version="HTTP/1.0"), 400),
    (get("/" + "x" * 9000), 414),
    (get(more="A: " + "x" * 40_000 + "\r\n"), 431),
    (get(more="A: x\r\n" * 1000), 431),
    (get(more="Expect: something\r\n"), 417),
    (get(method="M" * 100), 501),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "x" * 100, 400),  # TLS.
    ("\r\n\r\n\r\n" + get(), 400),
]


@pytest.mark.parametrize("wire, status", CLOSING, ids=lambda value: repr(value)[1:50])
def test_refused_and_closed(server, wire, status):
    with server.raw() as raw:
        # What follows must not be taken for a request.
        raw.send(wire.encode("latin-1") + get("/health/live").encode())
        answer = raw.read_answer()
        assert 400 <= answer.status < 600, answer
        if status is not None:
            assert answer.status == status, answer
        assert answer.header("Connection") == "close"
        assert answer.json()["status"] == answer.status and answer.detail
        assert raw.at_end()
    server.errors_expected = True  # 501 and 505 are logged as errors.


def test_one_empty_line_before_a_request_is_fine(server):
    with server.raw() as raw:
        assert raw.send("\r\n" + get()).read_answer().status == 200


BAD_CHUNKS = ["x\r\n", "-1\r\n", "1 \r\nx\r\n", "2\r\nxxx\r\n", "1\nx\r\n", "1\r\nx\n",
              "0x1\r\nx\r\n", "10000000000000000\r\n", ";a\r\n", "0\r\nBad Trailer\r\n\r\n"]


@pytest.mark.parametrize("chunks", BAD_CHUNKS, ids=repr)
def test_bad_chunks(server, chunks):
    with server.raw() as raw:
        raw.send(f"POST /api/v2/agents HTTP/1.1\r\n{HOST}"
                 f"Transfer-Encoding: chunked\r\n\r\n{chunks}")
        answer = raw.read_answer()
        assert answer.status == 400 and answer.header("Connection") == "close"
        assert raw.at_end()


def test_bodies_too_large(server):
    limit = 512 * 1024
    with server.raw() as raw:
        # The head alone is enough to know.
        raw.send(f"POST /api/v2/agents HTTP/1.1\r\n{HOST}Content-Length: {limit + 1}\r\n\r\n")
        answer = raw.read_answer()
        assert answer.status == 413 and answer.header("Connection") == "close"
        assert raw.at_end()
    with server.raw() as raw:
        raw.send(f"POST /api/v2/agents HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(9):
                raw.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert raw.read_answer().status == 413
    # The largest one allowed is read, and refused for what it says.
    body = json.dumps({"name": "x", "type": "t", "metadata": {"pad": ""}})
    body = body.replace('""', '"' + "x" * (limit - len(body)) + '"')
    assert len(body) == limit
    answer = Client(server.port).post("/api/v2/agents", body=body)
    assert answer.status == 201, answer
    Client(server.port).delete(f"/api/v2/agents/{answer.json()['id']}")


def test_limits_are_settings(make_server):
    server = make_server(JSON_BODY_BYTES_MAX=1024, TARGET_BYTES_MAX=256, HEADER_BYTES_MAX=1024)
    for wire, status in ((post("/api/v2/agents", "x" * 1025), 413), (get("/" + "x" * 256), 414),
                         (get(more="A: " + "x" * 1024 + "\r\n"), 431)):
        with server.raw() as raw:
            assert raw.send(wire).read_answer().status == status


# ---- Bodies ------------------------------------------------------------------------------------


def test_expect_100_continue(server):
    body = create_body()
    with server.raw() as raw:
        raw.send(f"POST /api/v2/agents HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
                 f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n")
        assert raw.read_answer().status == 100
        assert raw.send(body).read_answer().status == 201
        # With the body at hand nothing needs to be said.
        raw.send(post("/api/v2/agents", create_body(), "Expect: 100-continue\r\n"))
        assert raw.read_answer().status in (100, 201)
    with server.raw() as raw:
        raw.send(f"POST /api/v2/agents HTTP/1.1\r\n{HOST}Content-Length: 999999999\r\n"
                 "Expect: 100-continue\r\n\r\n")
        assert raw.read_answer().status == 413


def test_chunked_request(server):
    body = create_body(name="chünked " + unique()).encode()
    chunks = b"".join(b"%X;ext=\"v\"\r\n%b\r\n" % (len(piece), piece)
                      for piece in (body[:1], body[1:9], body[9:]))
    head = (f"POST /api/v2/agents HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
            "Transfer-Encoding: Chunked\r\n\r\n").encode()
    wire = head + chunks + b"0\r\nTrailer: x\r\n\r\n"
    with server.raw() as raw:
        answer = raw.send(wire + get().encode()).read_answer()
        assert answer.status == 201 and answer.json()["name"] == json.loads(body)["name"]
        assert raw.read_answer().json() == {"status": "alive"}
        # Torn anywhere it is the same.
        for at in (len(head) - 2, len(head) + 1, len(head) + 4, len(wire) - 3):
            raw.send(wire[:at])
            time.sleep(0.01)
            assert raw.send(wire[at:]).read_answer().status == 201


def test_long_lists_are_streamed_and_complete(fresh):
    count = 780
    api = fresh.client()
    with fresh.raw(30) as raw:
        raw.socket.sendall("".join(
            post("/api/v1/agents/", json.dumps({"name": f"agent {i}", "agent_type": "t"}))
            for i in range(count)).encode())
        for _ in range(count):
            assert raw.read_answer().status == 200
        answer = raw.send(get("/api/v1/agents/?limit=10000")).read_answer()
        assert answer.header("Transfer-Encoding") == "chunked"
        assert answer.header("Content-Length") is None
        assert len(answer.chunks) > 2
        assert [agent["name"] for agent in answer.json()] == [f"agent {i}" for i in range(count)]
        assert answer.header("X-Total-Count") == str(count)
        # The connection goes on.
        assert raw.send(get()).read_answer().status == 200
        part = raw.send(get("/api/v1/agents/?limit=700&skip=30")).read_answer().json()
        assert [agent["name"] for agent in part] == [f"agent {i}" for i in range(30, 730)]
        exact = raw.send(get("/api/v1/agents/?limit=750")).read_answer().json()
        assert len(exact) == 750
        rest = raw.send(get("/api/v1/agents/?limit=5000&skip=700")).read_answer().json()
        assert [agent["name"] for agent in rest] == [f"agent {i}" for i in range(700, count)]
        head = raw.send(get("/api/v1/agents/?limit=10000", method="HEAD")).read_answer(True)
        assert head.status == 200
        assert raw.send(get()).read_answer().json() == {"status": "alive"}
        # HTTP/1.0 knows no chunks: the end of the connection ends it.
        answer = raw.send(get("/api/v1/agents/?limit=10000", version="HTTP/1.0")).read_answer()
        assert answer.header("Transfer-Encoding") is None
        assert len(answer.json()) == count
    assert len(api.get("/api/v1/agents/?limit=500").json()) == 500


# ---- Host --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1234", "[::1]", "[::1]:80",
                                  "127.0.0.1:"])
def test_hosts_accepted(server, host):
    with server.raw() as raw:
        assert raw.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").read_answer().status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example",
                                  "localhost.evil.example",
                                  "evil.example:8000", "127.0.0.2", "0.0.0.0", "localhost.", ""])
def test_hosts_refused(server, host):
    with server.raw() as raw:
        answer = raw.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").read_answer()
        assert answer.status == 400
        if host:
            assert answer.body == b"Invalid host header"
            assert answer.header("Content-Type").startswith("text/plain")


def test_host_of_an_absolute_target_counts(server):
    with server.raw() as raw:
        answer = raw.send("GET http://evil.example/ HTTP/1.1\r\n" + HOST + "\r\n").read_answer()
        assert answer.status == 400
    with server.raw() as raw:
        wire = "GET http://127.0.0.1/health/live HTTP/1.1\r\n" + HOST + "\r\n"
        assert raw.send(wire).read_answer().json() == {"status": "alive"}


def test_hosts_are_a_setting(make_server):
    server = make_server(ALLOWED_HOSTS='["Dash.Example", "127.0.0.1"]')
    api = server.client()
    assert api.get("/", headers={"Host": "dash.example:80"}).status == 200
    assert api.get("/", headers={"Host": "localhost"}).status == 400


def test_local_mode_keeps_the_host_check(make_server):
    server = make_server(ALLOWED_HOSTS='["*", "127.0.0.1"]')
    assert server.client().get("/", headers={"Host": "evil.example"}).status == 400


# ---- The front, health -------------------------------------------------------------------------


def test_front_and_health(make_server):
    server = make_server(APP_NAME="My Dash", APP_VERSION="2.0", ENABLE_CACHING="false",
                         DOCS="false")
    api = server.client()
    front = api.get("/").json()
    assert front["name"] == "My Dash" and front["version"] == "2.0"
    assert front["docs_url"] is None
    assert front["api_versions"]["v1"] == {"base_url": "/api/v1", "websocket_url": "/ws",
                                           "status": "stable"}
    v2 = front["api_versions"]["v2"]
    assert (v2["base_url"], v2["websocket_url"], v2["status"]) == (
        "/api/v2", "/ws/v2", "enhanced")
    assert front["services"] == {
        "redis": "disabled", "background_tasks": "enabled", "file_uploads": "enabled",
        "rate_limiting": "enabled", "caching": "disabled", "socketio": "enabled"}
    health = api.get("/health").json()
    assert health["status"] == "healthy" and health["version"] == "2.0"
    assert health["checks"]["database"] is True
    assert set(health["checks"]["file_watcher"]) == {"is_running", "watched_paths",
                                                     "observer_alive"}
    assert health["checks"]["websocket_manager"] == {"active_connections": 0}
    assert set(health["checks"]["socketio_manager"]) == {"active_connections", "rooms"}
    assert api.get("/health/live").json() == {"status": "alive"}
    assert api.get("/health/ready").json() == {"status": "ready",
                                               "checks": {"database": True, "file_system": True}}
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert api.get(path).status == 404


def test_the_addresses_that_the_start_prints(make_server):
    server = make_server()
    api = server.client()
    printed = re.findall(r"  http://[^/\s]+(/\S*)", server.stderr_path.read_text())
    assert printed == ["/app", "/docs", "/api/v1/", "/api/v2/", "/health"]
    for path in printed:
        assert api.get(path).status == 200, path
    first, second = (api.get(f"/api/{version}").json() for version in ("v1", "v2"))
    assert first == {"base_url": "/api/v1", "websocket_url": "/ws", "status": "stable",
                     "docs_url": "/docs", "openapi_url": "/openapi.json"}
    assert second["base_url"] == "/api/v2" and "bulk_operations" in second["features"]


def test_default_name(server):
    front = Client(server.port).get("/").json()
    assert front["name"] == "SubForge Dashboard API" and front["docs_url"] == "/docs"


# ---- Timeouts, many connections, the end -------------------------------------------------------


def test_timeouts(make_server):
    server = make_server(HEADER_TIMEOUT_SECONDS=1, BODY_TIMEOUT_SECONDS=1, IDLE_TIMEOUT_SECONDS=2)
    begin = time.monotonic()
    slow_head, slow_body, idle = server.raw(), server.raw(), server.raw()
    slow_head.send("GET / HTTP/1.1\r\nHost")
    slow_body.send(f"POST /api/v2/agents HTTP/1.1\r\n{HOST}Content-Length: 9\r\n\r\nx")
    for raw in (slow_head, slow_body):
        answer = raw.read_answer()
        assert answer.status == 408 and answer.header("Connection") == "close"
        assert raw.at_end()
    assert 0.8 < time.monotonic() - begin < 3
    assert idle.at_end()  # Without a word.
    assert 1.8 < time.monotonic() - begin < 5


def test_a_higher_minor_version_is_answered_as_the_highest_known(server):
    with server.raw() as raw:
        for version in ["1.2", "1.9"]:
            raw.send(f"GET /health/live HTTP/{version}\r\nHost: localhost\r\n\r\n")
            answer = raw.read_answer()
            assert answer.status == 200 and answer.header("Connection") is None


@pytest.mark.parametrize("path", ["/api/v1/agents//", "/api/v2/agents//", "//", "/health//"])
def test_two_slashes_at_the_end_are_another_path(api, path):
    assert api.get(path).status == 404


def test_behind_another_process_that_holds_the_lock(make_server):
    server = make_server(DATABASE_URL="sqlite:///locked.db")
    server.errors_expected = True
    client = server.client()
    assert client.get("/health/ready").status == 200
    file = server.folder / "locked.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(1.1)  # Until the last answer is too old.
        waiting = threading.Thread(target=lambda: server.client().get("/health/ready"))
        waiting.start()
        time.sleep(1.5)
        begun = time.monotonic()
        answer = client.get("/health/ready")
        assert answer.status == 503 and answer.json()["status"] == "not_ready"
        assert time.monotonic() - begun < 0.5
        assert client.post("/api/v2/agents", {"name": "a", "type": "code-reviewer"}).status == 503
        waiting.join()
        begun = time.monotonic()
        assert client.post("/api/v2/agents", {"name": "b", "type": "code-reviewer"}).status == 503
        assert time.monotonic() - begun < 2
        other.execute("COMMIT")
    wait_until(lambda: client.get("/health/ready").status == 200, 3)
    assert client.post("/api/v2/agents", {"name": "c", "type": "code-reviewer"}).status == 201


def test_too_many_connections(make_server):
    server = make_server(MAX_CONNECTIONS=5)
    server.errors_expected = True
    wait_until(lambda: server.client().get("/health/live").status == 200, 3)
    time.sleep(0.1)
    held = [server.raw() for _ in range(5)]
    for raw in held:
        assert raw.send(get()).read_answer().status == 200
    with server.raw() as raw:
        answer = raw.read_answer()
        assert answer.status == 503 and answer.header("Connection") == "close"
        assert answer.header("Retry-After") == "5"
        assert raw.at_end()
    # Those that are in are served on, and one that leaves makes room.
    for raw in held:
        assert raw.send(get()).read_answer().status == 200
    held.pop().close()

    def let_in():
        with server.raw() as raw:
            return raw.send(get()).read_answer().status == 200

    wait_until(let_in, 3)


def test_connections_that_come_at_once_are_counted_one_by_one(make_server):
    server = make_server(MAX_CONNECTIONS=5, LOOPS=2)
    server.errors_expected = True
    clients = [socket.socket() for _ in range(30)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", server.port))
    served = 0
    for client in clients:
        client.settimeout(20)
        try:
            client.sendall(get().encode())
            served += client.recv(4096).startswith(b"HTTP/1.1 200 ")
        except OSError:
            pass  # Closed without an answer, as too many were refused already.
    for client in clients:
        client.close()
    assert 1 <= served <= 5  # The one that asked for readiness may not be gone yet.


def test_sigterm_ends_a_server_whose_log_nobody_reads(make_server):
    server = make_server(start=False, ENABLE_RATE_LIMITING="false")
    reader, writer = os.pipe()
    process = subprocess.Popen([BINARY, "serve"], cwd=server.folder, stdout=writer,
                               stderr=subprocess.DEVNULL, env=environment(server.settings))
    os.close(writer)
    try:
        port = None
        text = b""
        while port is None:
            text += os.read(reader, 4096)
            found = re.search(rb'"port":(\d+)', text)
            port = int(found.group(1)) if found else None
        client = Client(port)
        for _ in range(1500):  # About 300 bytes of log each, and the pipe holds 64 KiB.
            client.get("/health/live")
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def test_sigterm_finishes_what_is_under_way(make_server):
    server = make_server()
    api = server.client()
    idle = server.raw()
    idle.send(get()).read_answer()
    # A request whose body is still on its way.
    body = create_body(name="late")
    uploading = server.raw()
    uploading.send(f"POST /api/v2/agents HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n{body[:5]}")
    # And writers in the middle of their work.
    acknowledged, stop = [], threading.Event()

    def write():
        client = server.client()
        try:
            while True:
                answer = client.post("/api/v2/agents", {"name": unique(), "type": "t"})
                assert answer.status == 201
                acknowledged.append(answer.json()["id"])
        except OSError:
            pass  # No connections are taken any more.

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    wait_until(lambda: len(acknowledged) > 20, 5)
    server.signal_stop()
    assert idle.at_end()
    time.sleep(0.2)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=2)
    answer = uploading.send(body[5:]).read_answer()
    assert answer.status == 201 and answer.header("Connection") == "close"
    acknowledged.append(answer.json()["id"])
    begin = time.monotonic()
    server.wait_stopped()
    assert time.monotonic() - begin < 2
    for writer in writers:
        writer.join()
    messages = [line["message"] for line in server.log_lines()]
    assert messages[-1] == "stopped" and "stopping" in messages
    api.close()
    server.start()
    api = server.client()
    for id_ in acknowledged:
        assert api.get(f"/api/v2/agents/{id_}").status == 200


def test_sigterm_waits_only_so_long(make_server):
    server = make_server(SHUTDOWN_SECONDS=1)
    raw = server.raw()
    raw.send(f"POST /api/v2/agents HTTP/1.1\r\n{HOST}Content-Length: 9\r\n\r\nx")
    time.sleep(0.1)
    begin = time.monotonic()
    server.signal_stop()
    server.wait_stopped()
    assert 0.8 < time.monotonic() - begin < 3


def test_start_prints_the_service_urls(server):
    text = server.stderr()
    base = f"localhost:{server.port}"
    for url in (f"http://{base}/docs", f"http://{base}/api/v1/", f"http://{base}/api/v2/",
                f"ws://{base}/ws", f"ws://{base}/ws/v2", f"http://{base}/health"):
        assert re.search(rf"{re.escape(url)}$", text, re.MULTILINE), url


def test_localhost_is_both_of_its_addresses(server):
    families = {entry[0] for entry in socket.getaddrinfo("localhost", None)}
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        if family not in families:
            continue
        connection = http.client.HTTPConnection(address, server.port, timeout=5)
        connection.request("GET", "/health/live")
        assert connection.getresponse().status == 200, address
        connection.close()


def test_an_address_is_no_other(make_server):
    server = make_server(HOST="127.0.0.1")
    with pytest.raises(OSError):
        socket.create_connection(("::1", server.port), timeout=2)
