"""/debug: a look inside, for administrators of a server with DEBUG=true."""

import json
import re

import pytest

from harness import Client
from engine_packets import Polling
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


def test_the_file_watcher_is_not_served_and_says_so(debugged):
    api = Client(debugged.port)
    watcher = api.get("/debug/file-watcher").json()
    assert watcher == api.get("/health").json()["checks"]["file_watcher"]


ROOMS = {"agents", "tasks", "metrics", "workflows", "system", "dashboard", "admin"}


def test_socketio_shows_who_is_in_which_room(debugged):
    api = Client(debugged.port)
    session = Polling(debugged)
    sid = session.connect()[0]["sid"]
    session.ask("join_room", "tasks")
    body = api.get("/debug/socketio").json()
    assert body["connection_info"]["total_connections"] == 1
    assert list(body["connection_info"]["clients"]) == [sid]
    client = body["connection_info"]["clients"][sid]
    assert client["ip_address"] == "127.0.0.1"
    assert sorted(client["rooms"]) == ["dashboard", "tasks"]
    assert set(body["room_members"]) == ROOMS == set(body["connection_info"]["room_counts"])
    assert body["room_members"]["tasks"] == body["room_members"]["dashboard"] == [sid]
    assert body["room_members"]["agents"] == []
    session.post("1")
    assert api.get("/debug/socketio").json()["connection_info"]["total_connections"] == 0


def test_socketio_hears_what_is_broadcast(debugged):
    api = Client(debugged.port)
    member, other = Polling(debugged), Polling(debugged)
    for session in (member, other):
        session.connect()
    member.ask("join_room", "tasks")
    sent = {"event": "hello", "data": [1, {"a": None}], "room": "tasks"}
    answer = api.post("/debug/socketio/broadcast", sent)
    assert answer.json() == {"status": "message_broadcasted", "room": "tasks"}
    assert json.loads(member.receive()[2:]) == ["hello", [1, {"a": None}]]
    for answer in (api.post("/debug/socketio/broadcast", {}),
                   api.post("/debug/socketio/broadcast")):
        assert answer.json() == {"status": "message_broadcasted", "room": None}
        for session in (member, other):
            assert json.loads(session.receive()[2:]) == ["ping",
                                                         {"test": True, "timestamp": "now"}]
    for body in ({"event": "connect"}, {"event": "disconnect"}, {"event": 3}, {"room": 3}, []):
        assert api.post("/debug/socketio/broadcast", body).status == 422
    for session in (member, other):
        session.post("1")


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
