"""/debug: a look inside, for administrators of a server with DEBUG=true."""

import re

import pytest

from harness import Client
from sockets import Socket, run_async

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
PATHS = (("GET", "/debug/connections"), ("POST", "/debug/broadcast"),
         ("GET", "/debug/file-watcher"), ("GET", "/debug/socketio"),
         ("POST", "/debug/socketio/broadcast"))


@pytest.fixture
def debugged(make_server):
    return make_server(DEBUG="true")


@run_async
async def test_connections_tell_who_is_there(debugged):
    api = Client(debugged.port)
    assert api.get("/debug/connections").json() == {"total_connections": 0, "connections": []}
    async with Socket(debugged, "/ws", extra_headers={"User-Agent": "tester/1"}) as one:
        async with Socket(debugged, "/ws"):
            await one.ask({"type": "ping"}, "pong")
            body = api.get("/debug/connections").json()
            assert body["total_connections"] == len(body["connections"]) == 2
            known = {row["connection_id"]: row for row in body["connections"]}
            row = known[one.connection_id]
            assert TIME.match(row["connected_at"]) and TIME.match(row["last_activity"])
            assert row["last_activity"] >= row["connected_at"]
            assert 0 <= row["duration_seconds"] < 60
            assert row["message_count"] == 1
            assert row["client_info"]["host"] == "127.0.0.1"
            assert "tester/1" in row["client_info"]["user_agent"]


@run_async
async def test_a_broadcast_reaches_everybody(debugged):
    api = Client(debugged.port)
    async with Socket(debugged, "/ws") as one, Socket(debugged, "/ws") as two:
        answer = api.post("/debug/broadcast", {"any": ["thing", 1]})
        assert answer.status == 200
        assert answer.json() == {"status": "message_broadcasted"}
        for socket in (one, two):
            frame = await socket.receive_type("debug_message")
            assert frame["data"] == {"any": ["thing", 1]}


@pytest.mark.parametrize("body", ["[]", "1", '"x"', "null"])
def test_a_broadcast_needs_an_object(debugged, body):
    answer = Client(debugged.port).request("POST", "/debug/broadcast", body=body,
                                           headers={"Content-Type": "application/json"})
    assert answer.status == 422
    assert answer.detail[0]["loc"] == ["body"]


def test_what_is_not_served_says_so(debugged):
    api = Client(debugged.port)
    watcher = api.get("/debug/file-watcher").json()
    assert watcher == api.get("/health").json()["checks"]["file_watcher"]
    body = api.get("/debug/socketio").json()
    assert body == {
        "connection_info": {"total_connections": 0, "clients": {}, "room_counts": {}},
        "room_members": {},
    }
    answer = api.post("/debug/socketio/broadcast", {"event": "ping"})
    assert answer.status == 409
    assert answer.detail == "Socket.IO is not served by this server"


@pytest.mark.parametrize("method, path", PATHS)
def test_without_debug_there_is_nothing(api, method, path):
    assert api.request(method, path).status == 404


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_it_is_for_administrators(make_server, role):
    server = make_server(start=False, DEBUG="true")
    token = server.create_token("some-key", role)
    server.start()
    for method, path in PATHS:
        assert server.client(token).request(method, path, json_body={}).status == 403, path
        assert server.client().request(method, path, json_body={}).status == 401, path
