"""Engine.IO and Socket.IO packet by packet: sessions, transports, wrong packets, rooms, events."""

import asyncio
import concurrent.futures
import json
import re
import time

import pytest
import websockets

from engine_packets import SEPARATOR, Polling, Socket, event, url
from harness import Client, wait_until
from sockets import run_async

ROOMS = ["agents", "tasks", "metrics", "workflows", "system", "dashboard", "admin"]
ISO = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from harness import Server

    server = Server(tmp_path_factory.mktemp("server"), LOOPS=4)
    server.start()
    yield server
    server.stop()


def get(server, path, method="GET", headers=None, body=None):
    client = Client(server.port)
    try:
        return client.request(method, path, body=body, headers=headers)
    finally:
        client.close()


# ---- Handshakes


def test_the_handshake_tells_what_to_expect(server):
    handshake = Polling(server).handshake
    sid = handshake.pop("sid")
    assert len(sid) > 20
    assert handshake == {"upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 60000,
                         "maxPayload": 1000000}


@run_async
async def test_a_websocket_needs_no_upgrade(server):
    async with Socket(server) as socket:
        assert socket.handshake["upgrades"] == []
        answer, greeting = await socket.connect()
        assert answer["sid"] == greeting["session_id"] != socket.sid


@pytest.mark.parametrize("query, code, message", [
    ("EIO=4&transport=carrier-pigeon", 0, "Transport unknown"),
    ("EIO=4", 0, "Transport unknown"),
    ("EIO=4&transport=polling&sid=none", 1, "Session ID unknown"),
    ("EIO=4&transport=polling&sid=none.0", 1, "Session ID unknown"),
    ("EIO=4&transport=polling&sid=none.99", 1, "Session ID unknown"),
    ("EIO=4&transport=websocket", 3, "Bad request"),
    ("EIO=3&transport=polling", 5, "Unsupported protocol version"),
    ("EIO=x&transport=polling", 5, "Unsupported protocol version"),
    ("transport=polling", 5, "Unsupported protocol version"),
])
def test_errors_have_the_codes_of_engine_io(server, query, code, message):
    answer = get(server, "/socket.io/?" + query)
    assert answer.status == 400
    assert answer.json() == {"code": code, "message": message}


def test_a_session_is_not_opened_by_post(server):
    answer = get(server, url(), "POST", body="40")
    assert (answer.status, answer.json()["code"]) == (400, 2)


@pytest.mark.parametrize("query", ["EIO=3&transport=websocket", "EIO=4&transport=polling",
                                   "EIO=4&transport=websocket&sid=none.99"])
@run_async
async def test_a_wrong_websocket_handshake_is_refused(server, query):
    with pytest.raises(websockets.InvalidStatusCode) as refused:
        await websockets.connect(server.ws_url("/socket.io/?" + query))
    assert refused.value.status_code == 400


@run_async
async def test_an_upgrade_of_an_unknown_session_is_closed(server):
    async with Socket(server, sid="none.1") as socket:
        assert await socket.closed() == 1000


# ---- Polling


def test_polls_wait_for_packets(server):
    session = Polling(server)
    session.connect()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(session.poll)
        time.sleep(0.1)
        assert not waiting.done()
        session.post(event("ping", 1))
        [packet] = waiting.result(5)
    name, data = json.loads(packet[2:])
    assert (name, data["data"]) == ("pong", 1)


def test_many_packets_each_way_keep_their_order(server):
    session = Polling(server)
    session.connect()
    session.post(*(event("ping", number) for number in range(100)))
    sizes, numbers = [], []
    while len(numbers) < 100:
        packets = session.poll()
        sizes.append(len(packets))
        numbers += [json.loads(packet[2:])[1]["data"] for packet in packets]
    assert numbers == list(range(100))
    assert max(sizes) == 16, "python-engineio takes no more than 16 packets at once"


def test_a_second_poll_ends_the_session(server):
    session = Polling(server)
    session.connect()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        first = threads.submit(session.try_poll)
        time.sleep(0.1)
        second = session.try_poll()
        assert (second.status, json.loads(second.body)["code"]) == (400, 3)
        assert (first.result(5).status, first.result().body) == (200, "1")
    assert json.loads(session.try_poll().body)["code"] == 1


def test_closing_ends_the_waiting_poll(server):
    session = Polling(server)
    session.connect()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(session.poll)
        time.sleep(0.1)
        session.post("1")
        assert waiting.result(5) == ["6"]
    assert session.try_poll().status == 400


@pytest.mark.parametrize("body", ["", "abc", "4", "42", "42{}", "42[]", "4abc", '42abc["x"]', "9",
                                  f"3{SEPARATOR}", "2", "0", "40[]", "43x", "44", "42[1]"])
def test_what_is_no_packet_ends_the_session(server, body):
    session = Polling(server)
    session.connect()
    answer = session.request("POST", body, sid=session.sid)
    if answer.status == 200:  # Engine.IO's part was well-formed, Socket.IO's was not.
        assert session.receive() == "1"
    assert json.loads(session.try_poll().body)["code"] == 1


def test_text_that_is_not_utf_8_ends_the_session(server):
    session = Polling(server)
    session.connect()
    answer = get(server, url(sid=session.sid), "POST", body=b'42["ping","\xff"]')
    assert (answer.status, answer.json()["code"]) == (400, 3)
    assert session.try_poll().status == 400


def test_a_payload_over_the_limit_is_refused(server):
    session = Polling(server)
    session.connect()
    answer = session.try_post(event("ping", "x" * 1_000_001))
    assert answer.status == 413
    session.post(event("ping", "x" * 900_000))
    assert len(session.receive_event()[1]["data"]) == 900_000


def test_too_many_packets_at_once_end_the_session(server):
    session = Polling(server)
    session.connect()
    assert session.try_post(*["3"] * 10_000).status == 200
    assert session.try_post(*["3"] * 10_001).status == 400
    assert session.try_poll().status == 400


def test_a_queue_over_the_limit_ends_the_session(make_server):
    server = make_server(WEBSOCKET_QUEUE_BYTES_MAX=65536)
    session, other = Polling(server), Polling(server)
    session.connect()
    other.connect()
    for _ in range(3):
        session.try_post(event("ping", "x" * 30_000))
    assert json.loads(session.try_poll().body)["code"] == 1
    assert other.ask("ping", 1)[0] == "pong"


# ---- Pings


def test_a_client_that_answers_pings_lives(make_server):
    server = make_server(SOCKETIO_PING_SECONDS=1, SOCKETIO_PING_TIMEOUT_SECONDS=1)
    session = Polling(server)
    assert (session.handshake["pingInterval"], session.handshake["pingTimeout"]) == (1000, 1000)
    session.connect()
    for _ in range(3):
        assert session.receive() == "2"
        session.post("3")


def test_a_client_that_does_not_is_gone(make_server):
    server = make_server(SOCKETIO_PING_SECONDS=1, SOCKETIO_PING_TIMEOUT_SECONDS=1)
    silent, absent = Polling(server), Polling(server)
    silent.connect()
    absent.connect()
    start = time.monotonic()
    assert silent.receive() == "2"
    assert silent.try_poll().status == 400
    assert 1.5 < time.monotonic() - start < 4
    # A pong without a poll that could have brought the ping is no sign of life.
    assert absent.try_post("3").status == 400


@run_async
async def test_a_websocket_is_pinged_too(make_server):
    server = make_server(SOCKETIO_PING_SECONDS=1, SOCKETIO_PING_TIMEOUT_SECONDS=1)
    async with Socket(server) as socket:
        await socket.connect()
        assert await socket.receive() == "2"
        await socket.send("3")
        assert await socket.receive() == "2"
        assert await socket.closed() == 1000


# ---- The change from polling to a WebSocket


@run_async
async def test_the_upgrade_loses_nothing(server):
    for _ in range(8):  # Sessions and sockets on the same loop and on different ones.
        await upgrade(server)


async def upgrade(server):
    session = Polling(server)
    session.connect()
    waiting = asyncio.create_task(asyncio.to_thread(session.poll))
    await asyncio.sleep(0.02)
    async with Socket(server, sid=session.sid) as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        assert await waiting == ["6"]
        assert session.poll() == ["6"], "no poll waits during the change"
        session.post(event("ping", 1), event("ping", 2))
        await socket.send("5")
        for number in (1, 2):
            name, data = await socket.receive_event()
            assert (name, data["data"]) == ("pong", number)
        assert (await socket.ask("ping", 3))[1]["data"] == 3
        assert json.loads(session.try_poll().body)["code"] == 3
        assert session.try_post("3").status == 400
        assert session.request("GET", sid=session.sid).status == 400
        async with Socket(server, sid=session.sid) as second:
            assert await second.closed() == 1000
        assert (await socket.ask("ping", 4))[1]["data"] == 4


@run_async
async def test_a_change_that_fails_leaves_the_session_polling(server):
    session = Polling(server)
    session.connect()
    async with Socket(server, sid=session.sid) as socket:
        await socket.send("5")
        assert await socket.closed() == 1002
    async with Socket(server, sid=session.sid) as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
    wait_until(lambda: session.ask("ping", 1)[0] == "pong")


# ---- WebSockets


@pytest.mark.parametrize("packet", ["", "abc", "42{}", "7", "2", "41x", "b1234"])
@run_async
async def test_what_is_no_packet_closes_the_socket(server, packet):
    async with Socket(server) as socket:
        await socket.connect()
        await socket.send(packet)
        assert await socket.closed() in (1000, 1002)


@run_async
async def test_closing_is_answered(server):
    async with Socket(server) as socket:
        await socket.connect()
        await socket.send("1")
        assert await socket.closed() == 1000


@run_async
async def test_binary_data_is_declined(server):
    async with Socket(server) as socket:
        await socket.connect()
        await socket.send('451-["upload",{"_placeholder":true,"num":0}]')
        await socket.send(b"\x01\x02")
        assert await socket.receive_event() == ["error", {"error": "Binary data is not supported"}]
        assert (await socket.ask("ping"))[0] == "pong"


# ---- The namespace


@run_async
async def test_the_greeting(server):
    async with Socket(server) as socket:
        answer, greeting = await socket.connect()
        assert greeting["message"] == "Connected to SubForge Dashboard"
        assert greeting["status"] == "connected"
        assert greeting["available_rooms"] == ROOMS
        assert ISO.match(greeting["timestamp"])
        assert greeting["session_id"] == answer["sid"]


@run_async
async def test_other_namespaces_do_not_exist(server):
    async with Socket(server) as socket:
        await socket.send("40/admin,{}")
        assert await socket.receive() == '44/admin,{"message":"Invalid namespace"}'
        await socket.connect()
        await socket.send('42/admin,["ping"]')
        assert await socket.closed() == 1002


@run_async
async def test_events_need_a_connection(server):
    async with Socket(server) as socket:
        await socket.send(event("ping"))
        assert await socket.closed() == 1002


@run_async
async def test_one_may_leave_and_come_back(server):
    async with Socket(server) as socket:
        first, _ = await socket.connect()
        await socket.send("41")
        second, _ = await socket.connect()
        assert first["sid"] != second["sid"]
        await socket.send("40")
        assert await socket.closed() == 1002


# ---- Events of clients


@run_async
async def test_rooms(server):
    async with Socket(server) as socket:
        await socket.connect()
        for room in ROOMS:
            for argument in ({"room": room}, room):
                name, data = await socket.ask("join_room", argument)
                assert (name, data["room"]) == ("room_joined", room)
                assert ISO.match(data["timestamp"])
        for argument in ({"room": "attic"}, "attic", {}, {"room": 3}, {"room": None}):
            assert await socket.ask("join_room", argument) == [
                "error", {"error": "Invalid room name"}]
        for arguments in ([], [3], [None], [["agents"]]):
            assert await socket.ask("join_room", *arguments) == [
                "error", {"error": "Failed to join room"}]
        for argument in ({"room": "agents"}, "attic"):
            name, data = await socket.ask("leave_room", argument)
            assert name == "room_left" and data["room"] in ("agents", "attic")
        await socket.send(event("leave_room", {}))  # Silence.
        assert (await socket.ask("ping"))[0] == "pong"


RELAYS = [
    ("agent_status_update", "agents", {"agent_id": "a", "status": "busy", "extra": [1, 2.5, None]}),
    ("task_update", "tasks", {"task_id": "t", "status": "done"}),
    ("system_metrics_update", "metrics", {"cpu": 0.5}),
    ("system_metrics_update", "metrics", "anything"),
    ("workflow_event", "workflows", {"workflow_id": "w"}),
]


@pytest.mark.parametrize("name, room, payload", RELAYS)
@run_async
async def test_what_is_told_to_a_room_comes_to_its_members(server, name, room, payload):
    members = [Socket(server) for _ in range(4)]
    outside = Polling(server)
    outside.connect()
    poller = Polling(server)
    poller.connect()
    poller.ask("join_room", room)
    for member in members:
        await member.__aenter__()
        await member.connect()
    for member in members[1:]:
        await member.ask("join_room", {"room": room})
    for sender in members[:2]:  # Not a member, and a member, who hears it too.
        await sender.send(event(name, payload))
        for member in members[1:]:
            assert await member.receive_event() == [name, payload]
        assert poller.receive_event() == [name, payload]
    assert (await members[0].ask("ping"))[0] == "pong"
    assert outside.ask("ping")[0] == "pong"
    for member in members:
        await member.__aexit__()


@pytest.mark.parametrize("name, payload, error", [
    ("agent_status_update", {"agent_id": "a"}, "Missing required fields for agent status update"),
    ("agent_status_update", "a", "Missing required fields for agent status update"),
    ("task_update", {"status": "done"}, "Missing required fields for task update"),
    ("workflow_event", {}, "Missing workflow_id for workflow event"),
    ("subscribe_workflow", {}, "Missing workflow_id"),
    ("subscribe_workflow", "w" * 201, "Missing workflow_id"),
])
@run_async
async def test_what_misses_a_member_is_refused(server, name, payload, error):
    async with Socket(server) as socket:
        await socket.connect()
        assert await socket.ask(name, payload) == ["error", {"error": error}]


@run_async
async def test_workflows_are_followed_by_both_names(server):
    async with Socket(server) as socket:
        await socket.connect()
        for prefix in ("subforge_workflow_", ""):
            subscribe = prefix + "subscribe" if prefix else "subscribe_workflow"
            unsubscribe = prefix + "unsubscribe" if prefix else "unsubscribe_workflow"
            for argument in ({"workflow_id": "w1"}, "w1"):
                assert await socket.ask(subscribe, argument) == [
                    "subforge_workflow_subscribed", {"workflow_id": "w1"}]
                assert await socket.ask(unsubscribe, argument) == [
                    "subforge_workflow_unsubscribed", {"workflow_id": "w1"}]


@run_async
async def test_the_number_of_rooms_is_bounded(server):
    async with Socket(server) as socket:
        await socket.connect()
        for number in range(99):  # And the dashboard.
            assert (await socket.ask("subscribe_workflow", f"w{number}"))[0] != "error"
        assert await socket.ask("subscribe_workflow", "one more") == [
            "error", {"error": "Too many rooms"}]
        assert (await socket.ask("subscribe_workflow", "w1"))[0] != "error"


@run_async
async def test_handled_events_are_acknowledged_and_others_are_not(server):
    async with Socket(server) as socket:
        await socket.connect()
        await socket.send(event("ping", 1, ack=7))
        assert (await socket.receive_event())[0] == "pong"
        assert await socket.receive() == "437[]"
        await socket.send(event("join_room", "attic", ack=8))
        assert (await socket.receive_event())[0] == "error"
        assert await socket.receive() == "438[]"
        await socket.send(event("leave_room", {}, ack=9))
        assert await socket.receive() == "439[]"
        await socket.send(event("unheard_of", 1, ack=10))
        await socket.send("4310[]")
        await socket.send(event("ping", 2, ack=11))
        assert (await socket.receive_event())[1]["data"] == 2
        assert await socket.receive() == "4311[]"


# ---- Who may connect


def test_a_foreign_origin_is_refused(server):
    origin = "http://evil.example"
    for method in ("GET", "POST"):
        answer = get(server, url(), method, headers={"Origin": origin})
        assert answer.status == 400
        assert answer.json() == f"{origin} is not an accepted origin."
        assert answer.header("Access-Control-Allow-Origin") is None
    own = get(server, url(), headers={"Origin": "http://localhost:3001"})
    assert own.status == 200
    assert own.header("Access-Control-Allow-Origin") == "http://localhost:3001"
    assert own.header("Access-Control-Allow-Credentials") == "true"


@run_async
async def test_a_foreign_origin_gets_no_websocket(server):
    with pytest.raises(websockets.InvalidStatusCode) as refused:
        await websockets.connect(server.ws_url(url(transport="websocket")),
                                 origin="http://evil.example")
    assert refused.value.status_code == 400


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    from harness import Server

    server = Server(tmp_path_factory.mktemp("guarded"), AUTH="required")
    server.start()
    server.tokens = {role: server.create_token(role, role)
                     for role in ("viewer", "operator", "admin")}
    yield server
    server.stop()


@run_async
async def test_without_credentials_there_is_no_connection(guarded):
    async with Socket(guarded) as socket:
        await socket.send("40")
        assert await socket.receive() == '44{"message":"Authentication required"}'
        await socket.send('40{"token":"sf_wrong"}')
        assert (await socket.receive()).startswith('44{"message":')
        await socket.connect({"token": guarded.tokens["viewer"]})


@run_async
async def test_the_handshake_may_show_the_token(guarded):
    token = guarded.tokens["viewer"]
    async with Socket(guarded, token=token) as socket:
        await socket.connect()
    async with Socket(guarded, extra_headers={"Authorization": f"Bearer {token}"}) as socket:
        await socket.connect()
    Polling(guarded, token=token).connect()
    answer = get(guarded, url(token="sf_wrong"))
    assert answer.status == 401


@run_async
async def test_rights_are_those_of_the_token(guarded):
    async with Socket(guarded) as viewer, Socket(guarded) as operator:
        await viewer.connect({"token": guarded.tokens["viewer"]})
        await operator.connect({"token": guarded.tokens["operator"]})
        assert (await viewer.ask("join_room", "tasks"))[0] == "room_joined"
        payload = {"task_id": "t", "status": "s"}
        assert await viewer.ask("task_update", payload) == [
            "error", {"error": "Permission 'write' required"}]
        await operator.send(event("task_update", payload))
        assert await viewer.receive_event() == ["task_update", payload]
        for socket in (viewer, operator):
            assert await socket.ask("join_room", "admin") == [
                "error", {"error": "Permission 'admin' required"}]


@run_async
async def test_revoking_a_key_ends_its_connections(guarded):
    token = guarded.create_token("passing", "viewer")
    polling = Polling(guarded)
    polling.connect({"token": token})
    async with Socket(guarded) as socket:
        await socket.connect({"token": token})
        guarded.run_tool("token", "revoke", "passing")
        assert await socket.receive(15) == "41"
        assert await socket.closed() == 4401
        assert polling.receive() == "41"
        assert polling.receive() == "1"


@run_async
async def test_who_does_not_connect_is_closed(make_server):
    server = make_server()
    async with Socket(server) as socket:
        assert await socket.closed(15) == 1000


def test_connections_are_counted_and_bounded(make_server):
    server = make_server(MAX_WEBSOCKET_CONNECTIONS=2)
    server.errors_expected = True
    first, _ = Polling(server), Polling(server)
    assert get(server, url()).status == 503
    first.post("1")
    Polling(server)


@run_async
async def test_stopping_ends_waiting_polls_and_sockets(make_server):
    server = make_server()
    session = Polling(server)
    session.connect()
    waiting = asyncio.create_task(asyncio.to_thread(session.try_poll))
    async with Socket(server) as socket:
        await socket.connect()
        await asyncio.sleep(0.1)
        start = time.monotonic()
        server.signal_stop()
        assert await socket.closed() == 1012
        assert (await waiting).status == 400
        await asyncio.to_thread(server.wait_stopped)
        assert time.monotonic() - start < 5
