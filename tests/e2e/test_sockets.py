"""/ws and /ws/v2 as clients of the reference know them, and what was promised beyond."""

import asyncio
import json
import re
import socket
import struct
import uuid

import pytest
import websockets
import websockets.extensions.permessage_deflate

from browser import Browser
from harness import Client, unique, wait_until
from sockets import Room, Socket, run_async
from websocket_frames import ACCEPT, KEY, handshake, text

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
ENVELOPE = {"type", "room", "data", "timestamp", "message_id", "correlation_id"}


def check_envelope(message, logged=False):
    assert set(message) == ENVELOPE | ({"event_id"} if logged else set()), message
    assert TIME.match(message["timestamp"])
    assert uuid.UUID(message["message_id"])
    assert isinstance(message["data"], dict)
    if logged:
        assert isinstance(message["event_id"], str) and message["event_id"]


def check_v1(message, broadcast=False):
    more = {"broadcast_id", "event_id"} if broadcast else set()
    assert set(message) == {"type", "data", "timestamp"} | more, message
    assert TIME.match(message["timestamp"])
    if broadcast:
        assert isinstance(message["broadcast_id"], int)
        assert isinstance(message["event_id"], str) and message["event_id"]


# ---- /ws ---------------------------------------------------------------------------------------


@run_async
async def test_v1_first_frame(server):
    async with Socket(server, "/ws") as a, Socket(server, "/ws/") as b:
        for one in (a, b):
            check_v1(one.first)
            assert one.first["type"] == "connection_established"
            data = one.first["data"]
            assert set(data) == {"message", "timestamp", "connection_id", "last_event_id"}
            assert data["message"] == "Connected to SubForge Dashboard"
            assert TIME.match(data["timestamp"])
            assert isinstance(data["connection_id"], int) and 0 < data["connection_id"] < 2**53
        assert a.connection_id != b.connection_id


@run_async
async def test_v1_ping_and_subscribe(server):
    async with Socket(server, "/ws") as ws, Socket(server, "/ws") as other:
        pong = await ws.ask({"type": "ping"}, "pong")
        check_v1(pong)
        assert set(pong["data"]) == {"timestamp"} and TIME.match(pong["data"]["timestamp"])
        data = {"topics": ["agents"], "ünï": None}
        reply = await ws.ask({"type": "subscribe", "data": data}, "subscription_acknowledged")
        assert reply["data"] == data
        reply = await ws.ask({"type": "subscribe"}, "subscription_acknowledged")
        assert reply["data"] == {}
        await other.silent()  # Replies go to the sender alone.


SILENT_V1 = ["not json", "", "[]", "123", "null", '"ping"', "{}",
             '{"type": "join_room", "room": "a"}',
             '{"type": "nonsense"}', '{"type": 5}', '{"type": "room_message", "room": "a"}',
             b"\x00\x01", b'{"type": "ping"}', "{" * 1000]


@pytest.mark.parametrize("message", SILENT_V1, ids=lambda m: repr(m)[:25])
@run_async
async def test_v1_is_silent_about(server, message):
    async with Socket(server, "/ws") as ws:
        await ws.send(message)
        await ws.silent(0.05)


@run_async
async def test_v1_hears_every_change_of_an_agent(fresh):
    api = fresh.client()
    async with Socket(fresh, "/ws") as a, Socket(fresh, "/ws") as b:

        async def heard(type_):
            message = await a.receive_type(type_)
            check_v1(message, broadcast=True)
            assert await b.receive() == message
            return message["data"]

        agent = api.agent_v1(configuration={"free": 1})
        assert await heard("agent_created") == agent
        url = f"/api/v1/agents/{agent['id']}"
        updated = api.put(url, {"description": "new"}).json()
        assert await heard("agent_updated") == updated
        task = str(uuid.uuid4())
        api.patch(url + "/status", {"status": "busy", "current_task_id": task,
                                    "current_task_title": "t"})
        assert await heard("agent_status_updated") == {
            "agent_id": agent["id"], "status": "busy", "current_task": {"id": task, "title": "t"},
        }
        metrics = api.patch(url + "/metrics", {"tasks_completed": 2}).json()["performance_metrics"]
        assert await heard("agent_metrics_updated") == {
            "agent_id": agent["id"], "metrics": metrics,
        }
        # A heartbeat is not announced, whatever it brings.
        api.post(url + "/heartbeat", {"status": "idle", "timestamp": "2026-01-01T00:00:00Z"})
        # Nor is what failed.
        api.post("/api/v1/agents/", {"name": agent["name"], "agent_type": agent["type"]})
        api.put(url, {"name": None})
        api.delete(url)
        assert await heard("agent_deleted") == {"agent_id": agent["id"]}


@run_async
async def test_v1_hears_what_v2_changes(fresh):
    api = fresh.client()
    async with Socket(fresh, "/ws") as ws:
        made = api.agent_v2(tags=["x"])
        created = await ws.receive_type("agent_created")
        assert created["data"] == api.get(f"/api/v1/agents/{made['id']}").json()
        api.put(f"/api/v2/agents/{made['id']}", {"status": "inactive"})
        updated = await ws.receive_type("agent_updated")
        assert updated["data"]["status"] == "offline"
        api.upload(f"/api/v2/agents/{made['id']}/configuration/upload", "c.json", '{"model":"m"}')
        assert (await ws.receive_type("agent_updated"))["data"]["model"] == "m"
        # A bulk operation is told agent by agent.
        other = api.agent_v2()["id"]
        await ws.receive_type("agent_created")
        api.post("/api/v2/agents/bulk-operation",
                 {"agent_ids": [made["id"], other], "operation": "start"})
        for id_ in (made["id"], other):
            message = await ws.receive_type("agent_status_updated")
            assert message["data"]["agent_id"] == id_ and message["data"]["status"] == "active"
        api.delete(f"/api/v2/agents/{made['id']}")
        assert (await ws.receive_type("agent_deleted"))["data"] == {"agent_id": made["id"]}


# ---- /ws/v2: greeting, ping, silence -----------------------------------------------------------


@run_async
async def test_v2_first_frame(server):
    async with Socket(server, "/ws/v2") as a, Socket(server, "/ws/v2/") as b:
        for one in (a, b):
            check_envelope(one.first)
            assert one.first["type"] == "connection_state"
            assert one.first["room"] is None and one.first["correlation_id"] is None
            data = one.first["data"]
            assert data["state"] == "authenticated"  # Local mode.
            assert data["message"] == "Connection established"
            assert str(uuid.UUID(data["connection_id"])) == data["connection_id"]
        assert a.connection_id != b.connection_id


@pytest.mark.parametrize("message", [{"type": "ping"}, {}, {"data": 1}], ids=str)
@run_async
async def test_v2_ping(server, message):
    async with Socket(server, "/ws/v2") as ws:
        pong = await ws.ask(message, "pong")
        check_envelope(pong)
        assert pong["room"] is None and TIME.match(pong["data"]["timestamp"])
        pong = await ws.ask({**message, "correlation_id": "c1"}, "pong")
        assert pong["correlation_id"] == "c1"


SILENT_V2 = ["not json", "", "[]", "123", '{"type": "nonsense"}', '{"type": null}',
             '{"type": "join_room"}', '{"type": "join_room", "room": ""}',
             '{"type": "join_room", "data": {"room": "a"}}',
             '{"type": "leave_room"}', '{"type": "room_message", "data": {}}',
             '{"type": "heartbeat"}', '{"type": "agent_update", "data": {}}',
             '{"type": "system_notification", "room": "a"}', b'{"type": "ping"}',
             '{"a":' * 1000]


@pytest.mark.parametrize("message, fault", [
    ({"type": "join_room", "room": 5}, "room must be text"),
    ({"type": "leave_room", "room": None}, "room must be text"),
    ({"type": "room_message", "room": "a", "data": "text"}, "data must be an object or null"),
    ({"type": "room_message", "room": "a", "echo": "yes"}, "echo must be true or false or null"),
    ({"type": "ping", "correlation_id": 5}, "correlation_id must be text or null"),
    ({"type": "recover", "last_event_id": "x", "rooms": [1]},
     "rooms must be a list, each of it text"),
])
@run_async
async def test_v2_names_what_is_wrong(server, message, fault):
    async with Socket(server, "/ws/v2") as ws:
        error = await ws.ask(message, "error")
        assert error["data"] == {"code": "invalid", "message": fault}


@pytest.mark.parametrize("message", SILENT_V2, ids=lambda m: repr(m)[:40])
@run_async
async def test_v2_is_silent_about(server, message):
    async with Socket(server, "/ws/v2") as ws:
        await ws.send(message)
        await ws.silent(0.05)


# ---- Rooms -------------------------------------------------------------------------------------


# Comings and goings within 50 ms are told together; after this long they are news of their own.
TICK_SECONDS = 0.2


def joined(room, members):
    return {"room": room, "members_count": members, "status": "joined"}


@run_async
async def test_join_and_leave(fresh):
    room = "agent_monitoring"
    join, leave = {"type": "join_room", "room": room}, {"type": "leave_room", "room": room}
    async with Socket(fresh, "/ws/v2") as a, Socket(fresh, "/ws/v2") as b:
        reply = await a.ask(join, "join_room")
        check_envelope(reply)
        assert reply["room"] == room and reply["data"] == joined(room, 1)
        reply = await a.ask({**leave, "correlation_id": "c"}, "leave_room")
        check_envelope(reply)
        assert reply["room"] == room and reply["correlation_id"] == "c"
        assert reply["data"] == {"room": room, "status": "left"}
        # Leaving is confirmed also to who is no member.
        assert (await b.ask(leave, "leave_room"))["data"]["status"] == "left"
        # The room was deleted with its last member; a new one begins at one again.
        assert (await b.ask(join, "join_room"))["data"] == joined(room, 1)
        assert (await a.ask(join, "join_room"))["data"] == joined(room, 2)



@run_async
async def test_presence_of_two_users(make_server):
    server = make_server(start=False)
    tokens = {user: server.create_token(user, "operator", "--user", user)
              for user in ("ann", "bob")}
    server.start()

    def entered(user):
        return Socket(server, f"/ws/v2?token={tokens[user]}")

    join = {"type": "join_room", "room": "r"}
    async with entered("ann") as ann:
        await ann.ask(join, "join_room")
        await asyncio.sleep(TICK_SECONDS)
        async with entered("bob") as bob:
            reply = await bob.ask(join, "join_room")
            assert reply["data"] == joined("r", 2)
            news = await ann.receive_type("room_message")
            check_envelope(news)
            assert news["room"] == "r"
            assert news["data"] == {"event": "user_joined", "connection_id": bob.connection_id,
                                    "user_id": "bob", "members_count": 2}
            await asyncio.sleep(TICK_SECONDS)
            # Joining twice repeats both messages with an unchanged count.
            assert (await bob.ask(join, "join_room"))["data"] == joined("r", 2)
            assert (await ann.receive_type("room_message"))["data"]["members_count"] == 2
            # The same user's second connection is a member but no news.
            async with entered("bob") as again:
                assert (await again.ask(join, "join_room"))["data"] == joined("r", 3)
                await ann.silent()
            await ann.silent()
            await bob.ask({"type": "leave_room", "room": "r"}, "leave_room")
            news = await ann.receive_type("room_message")
            assert news["data"] == {"event": "user_left", "connection_id": bob.connection_id,
                                    "user_id": "bob", "members_count": 1}
            await bob.ask(join, "join_room")
            await ann.receive_type("room_message")
            # Going without a word is announced too.
            bob.ws.transport.abort()
            news = await ann.receive_type("room_message")
            assert news["data"]["event"] == "user_left" and news["data"]["user_id"] == "bob"
            assert news["data"]["members_count"] == 1


@run_async
async def test_a_storm_of_comings_is_one_message(make_server):
    server = make_server(start=False)
    watcher_token = server.create_token("watcher", "viewer")
    tokens = [server.create_token(f"user{i}", "viewer") for i in range(6)]
    server.start()
    async with Room(server, "hall", path=f"/ws/v2?token={watcher_token}") as watcher:
        await asyncio.sleep(TICK_SECONDS)
        crowd = [Socket(server, f"/ws/v2?token={token}") for token in tokens]
        for one in crowd:
            await one.__aenter__()
        for one in crowd:
            await one.send({"type": "join_room", "room": "hall"})
        seen, messages = set(), 0
        while len(seen) < len(crowd):
            data = (await watcher.receive_type("room_message"))["data"]
            messages += 1
            if data["event"] == "user_joined":
                seen.add(data["user_id"])
            else:
                assert data["event"] == "presence_diff" and data["left"] == []
                assert data["joined_count"] == len(data["joined"])
                seen.update(one["user_id"] for one in data["joined"])
        assert seen == {f"user{i}" for i in range(6)}
        assert messages < 6
        for one in crowd:
            await one.__aexit__()


@run_async
async def test_room_message(fresh):
    async with Room(fresh, "r") as a, Room(fresh, "r") as b, Room(fresh, "other") as c, \
            Socket(fresh, "/ws") as v1:
        data = {"message": "Hello room members!", "deep": [1, {"ü": None}]}
        await a.send({"type": "room_message", "room": "r", "data": data})
        message = await b.find(lambda m: m["data"].get("message"))
        check_envelope(message, logged=True)
        assert message["type"] == "room_message" and message["room"] == "r"
        assert message["correlation_id"] is None
        assert TIME.match(message["data"].pop("sent_at"))
        assert message["data"].pop("sent_by") == "local"
        assert message["data"] == data
        # Not to the sender, not to other rooms, not to /ws.
        assert [m for m in await a.settled() if "message" in m["data"]] == []
        await c.silent()
        await v1.silent()


@run_async
async def test_room_message_echo_and_ack(fresh):
    async with Room(fresh, "r") as a, Room(fresh, "r") as b:
        await a.settled()
        await a.send({"type": "room_message", "room": "r", "data": {"n": 1}, "echo": True,
                      "correlation_id": "c-1"})
        got = {}
        for _ in range(2):
            message = await a.find(lambda m: m["type"] == "ack" or "n" in m["data"])
            got[message["type"]] = message
        check_envelope(got["ack"], logged=True)
        assert got["ack"]["correlation_id"] == "c-1" and got["ack"]["room"] == "r"
        event_id = got["ack"]["event_id"]
        assert got["ack"]["data"] == {"event_id": event_id}
        assert got["room_message"]["event_id"] == event_id
        assert got["room_message"]["correlation_id"] == "c-1"
        other = await b.find(lambda m: "n" in m["data"])
        assert other == got["room_message"]  # One message id and time for all receivers.
        # Acknowledged is durable: the event is in the file.
        with fresh.database() as database:
            [row] = database.execute("SELECT * FROM events WHERE kind = 'room.message'").fetchall()
        assert row["subject"] == "room:r" and json.loads(row["payload"])["data"] == {"n": 1}


@run_async
async def test_room_message_needs_membership(fresh):
    async with Room(fresh, "r") as member, Socket(fresh, "/ws/v2") as outsider:
        await outsider.send({"type": "room_message", "room": "r", "data": {"n": 1},
                             "correlation_id": "c"})
        error = await outsider.receive_type("error")
        check_envelope(error)
        assert error["room"] == "r" and error["correlation_id"] == "c"
        assert error["data"]["code"] == "not_a_member" and error["data"]["message"]
        await member.silent()


@run_async
async def test_room_messages_keep_their_order(fresh):
    async with Room(fresh, "r") as a, Room(fresh, "r") as b:
        for n in range(500):
            await a.send({"type": "room_message", "room": "r", "data": {"n": n}})
        numbers = [(await b.find(lambda m: "n" in m["data"]))["data"]["n"] for _ in range(500)]
        assert numbers == list(range(500))


@run_async
async def test_limits_of_rooms(fresh):
    async with Socket(fresh, "/ws/v2") as ws:
        name = "r" * 201
        error = await ws.ask({"type": "join_room", "room": name}, "error")
        assert error["data"]["code"] == "limit"
        for i in range(100):
            await ws.ask({"type": "join_room", "room": f"room {i}"}, "join_room")
        error = await ws.ask({"type": "join_room", "room": "one more"}, "error")
        assert error["data"]["code"] == "limit"


# ---- Changes on /ws/v2 -------------------------------------------------------------------------


@run_async
async def test_v2_hears_every_change(fresh):
    api = fresh.client()
    async with Socket(fresh, "/ws/v2") as a, Socket(fresh, "/ws/v2") as b:

        async def heard():
            message = await a.receive_type("agent_update")
            check_envelope(message, logged=True)
            assert message["room"] is None
            assert await b.receive() == message
            return message["data"]

        agent = api.agent_v2(tags=["t"])
        url = f"/api/v2/agents/{agent['id']}"
        told = await heard()
        started = told.pop("background_task_id")
        assert told == {"event": "agent_created", "agent": agent}
        assert api.get(f"/api/v2/background-tasks/{started}").json()["id"] == started
        updated = api.put(url, {"status": "busy"}).json()
        assert await heard() == {
            "event": "agent_updated", "agent": updated, "updated_by": "local",
        }
        bulk = api.post("/api/v2/agents/bulk-operation",
                        {"agent_ids": [agent["id"], "nobody"], "operation": "stop"}).json()
        assert await heard() == {
            "event": "bulk_operation", "operation": "stop", "results": bulk["results"],
            "performed_by": "local",
        }
        api.delete(url)
        assert await heard() == {
            "event": "agent_deleted", "agent_id": agent["id"], "deleted_by": "local",
        }
        await a.silent()


@run_async
async def test_v2_hears_what_v1_changes(fresh):
    api = fresh.client()
    async with Socket(fresh, "/ws/v2") as ws:
        agent = api.agent_v1()
        message = await ws.receive_type("agent_update")
        assert message["data"]["event"] == "agent_created"
        assert message["data"]["agent"] == api.get(f"/api/v2/agents/{agent['id']}").json()
        url = f"/api/v1/agents/{agent['id']}"
        for change in (
            lambda: api.put(url, {"description": "x"}),
            lambda: api.patch(url + "/status", {"status": "error"}),
            lambda: api.patch(url + "/metrics", {"tasks_failed": 1}),
            lambda: api.post(url + "/heartbeat",
                             {"status": "busy", "timestamp": "2026-01-01T00:00:00Z"}),
        ):
            assert change().status == 200
            message = await ws.receive_type("agent_update")
            assert message["data"]["event"] == "agent_updated"
            assert message["data"]["agent"] == api.get(f"/api/v2/agents/{agent['id']}").json()
        api.delete(url)
        message = await ws.receive_type("agent_update")
        assert message["data"]["event"] == "agent_deleted"


@run_async
async def test_protocols_share_event_ids_and_order(fresh):
    api = fresh.client()
    async with Socket(fresh, "/ws") as v1, Socket(fresh, "/ws/v2") as v2:
        for _ in range(20):
            api.agent_v1()
            api.agent_v2()
        ids = [[(await ws.receive())["event_id"] for _ in range(40)] for ws in (v1, v2)]
        assert ids[0] == ids[1]
        assert len(set(ids[0])) == 40


@run_async
async def test_rooms_only(fresh):
    api = fresh.client()
    async with Room(fresh, path="/ws/v2?rooms_only=true") as ws:
        api.agent_v2()
        await ws.silent()
        await ws.ask({"type": "join_room", "room": "agents"}, "join_room")
        agent = api.agent_v2()
        message = await ws.receive_type("agent_update")
        check_envelope(message, logged=True)
        assert message["room"] == "agents" and message["data"]["agent"] == agent
        # Once, though it is in a second room of the audience.
        room = f"agent:{agent['id']}"
        await ws.ask({"type": "join_room", "room": room}, "join_room")
        api.put(f"/api/v2/agents/{agent['id']}", {"name": "n"})
        assert (await ws.receive_type("agent_update"))["room"] == "agents"
        await ws.silent()
        await ws.ask({"type": "leave_room", "room": "agents"}, "leave_room")
        api.put(f"/api/v2/agents/{agent['id']}", {"name": "m"})
        assert (await ws.receive_type("agent_update"))["room"] == room
        api.agent_v2()
        await ws.silent()


@run_async
async def test_members_of_topic_rooms_hear_a_change_once(fresh):
    api = fresh.client()
    async with Room(fresh, "agents") as ws:
        api.agent_v2()
        assert (await ws.receive_type("agent_update"))["room"] is None
        await ws.silent()


# ---- Heartbeat, limits, the end ----------------------------------------------------------------


@run_async
async def test_heartbeat(make_server):
    server = make_server(WEBSOCKET_HEARTBEAT_SECONDS=1)
    async with Socket(server, "/ws/v2") as a, Socket(server, "/ws") as v1:
        for _ in range(2):
            beat = await a.receive_type("heartbeat", 2)
            check_envelope(beat)
            assert beat["room"] is None and TIME.match(beat["data"]["timestamp"])
        await v1.silent()


@run_async
async def test_protocol_pings(make_server):
    server = make_server(WEBSOCKET_PING_SECONDS=1, WEBSOCKET_PING_TIMEOUT_SECONDS=1)
    async with Socket(server, "/ws") as answering:
        quiet = raw_socket(server)  # Answers no ping.
        await asyncio.sleep(3)
        quiet.settimeout(2)
        data = b""
        while piece := quiet.recv(4096):
            data += piece
        assert data.count(b"\x89\x00") == 1  # One ping, and then the end.
        quiet.close()
        await answering.silent()


@pytest.mark.parametrize("path", ["/ws", "/ws/v2"])
@run_async
async def test_shutdown_closes_with_1012(make_server, path):
    server = make_server()
    async with Socket(server, path) as a, Socket(server, path) as b:
        server.signal_stop()
        assert await a.closed() == 1012
        assert await b.closed() == 1012
    server.wait_stopped()


@pytest.mark.parametrize("offer", [
    {},
    {"server_max_window_bits": 15, "client_max_window_bits": 15},
    {"server_max_window_bits": 9, "client_max_window_bits": 9},
    {"server_no_context_takeover": True, "client_no_context_takeover": True},
], ids=str)
@run_async
async def test_compressed_messages(fresh, offer):
    deflate = websockets.extensions.permessage_deflate.ClientPerMessageDeflateFactory(**offer)
    async with Room(fresh, "r", extensions=[deflate]) as a, \
            Room(fresh, "r", compression="deflate") as b, Room(fresh, "r") as plain:
        assert a.ws.extensions and b.ws.extensions and not plain.ws.extensions
        for n, sent in enumerate(["x", "", "Grüße 🦊 " * 50, "Grüße 🦊 " * 50, "y" * 500_000]):
            await a.send({"type": "room_message", "room": "r", "data": {"text": sent, "n": n},
                          "echo": True})
            for one in (a, b, plain):
                message = await one.find(lambda m: m["data"].get("n") == n)
                assert message["data"]["text"] == sent


# Says something long twice, and then nothing at all; what comes back, and what was agreed on.
IN_A_BROWSER = """new Promise((resolve, reject) => {
  const socket = new WebSocket(`ws://${location.host}/ws`);
  const heard = [];
  const say = (x) => socket.send(JSON.stringify({ type: "subscribe", data: { x } }));
  socket.onerror = () => reject(new Error("the socket broke"));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "connection_established") {
      for (const x of ["Grüße 🦊 ".repeat(5000), "Grüße 🦊 ".repeat(5000), ""]) say(x);
    } else if (heard.push(message.data.x) === 3) {
      socket.onclose = ({ code }) => resolve({ heard, code, extensions: socket.extensions });
      socket.close(1000);
    }
  };
})"""


def test_a_browser_compresses(fresh):
    browser = Browser()
    try:
        browser.open(fresh, "/app")
        result = browser.evaluate(IN_A_BROWSER)
        assert browser.complaints() == []
    finally:
        browser.close()
    assert result["heard"] == ["Grüße 🦊 " * 5000] * 2 + [""]
    assert result["code"] == 1000
    assert result["extensions"].startswith("permessage-deflate")


@run_async
async def test_slow_reader_is_closed_and_nobody_else(make_server):
    server = make_server(WEBSOCKET_QUEUE_BYTES_MAX=65536)
    slow = raw_socket(server, "/ws/v2", receive_buffer=4096)
    async with Room(server, "r") as sender, Room(server, "r") as quick:
        # The slow one joins and then reads nothing any more.
        slow.sendall(text(json.dumps({"type": "join_room", "room": "r"}).encode()))
        await quick.find(lambda m: m["data"].get("members_count") == 3)
        data = {"pad": "x" * 20_000}
        for n in range(1000):
            await sender.send({"type": "room_message", "room": "r", "data": {**data, "n": n}})
            message = await quick.find(lambda m: "n" in m["data"])
            assert message["data"]["n"] == n
            if n % 20 == 0:
                health = server.client().get("/health").json()
                if health["details"]["websocket_v2"]["active_connections"] == 2:
                    break
        else:
            raise AssertionError("the slow reader is still there after 20 MB")
        await quick.settled()
        await sender.settled()
    # What the slow one finds when it reads after all ends with the close frame.
    slow.settimeout(5)
    received_bytes = b""
    try:
        while piece := slow.recv(65536):
            received_bytes += piece
    except ConnectionResetError:
        pass
    assert struct.pack(">H", 4408) in received_bytes[-200:]
    slow.close()


@run_async
async def test_auth_request_in_local_mode(server):
    async with Socket(server, "/ws/v2") as ws:
        error = await ws.ask({"type": "auth_request", "data": {"token": "nonsense"}}, "auth_error")
        check_envelope(error)
        assert error["data"]["error"]
        await ws.silent(0.05)


@run_async
async def test_quota_of_sockets(make_server):
    server = make_server(MAX_WEBSOCKET_CONNECTIONS=2)
    async with Socket(server, "/ws"), Socket(server, "/ws/v2") as b:
        with pytest.raises(websockets.InvalidStatusCode) as refused:
            async with Socket(server, "/ws"):
                pass
        assert refused.value.status_code == 503
        await b.silent(0.05)
    server.errors_expected = True


@run_async
async def test_path_is_a_setting(make_server):
    server = make_server(WEBSOCKET_PATH="/live")
    async with Socket(server, "/live") as a, Socket(server, "/live/v2") as b:
        assert a.first["type"] == "connection_established"
        assert b.first["type"] == "connection_state"
    with pytest.raises(websockets.InvalidStatusCode):
        await websockets.connect(server.ws_url("/ws"))


# ---- The handshake, byte by byte ---------------------------------------------------------------

def raw_socket(server, path="/ws", receive_buffer=None):
    made = socket.socket()
    if receive_buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.settimeout(5)
    made.connect(("127.0.0.1", server.port))
    made.sendall(handshake(path).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += made.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return made


@pytest.mark.parametrize("path", ["/ws", "/ws/", "/ws/v2", "/ws/v2/"])
def test_handshake(server, path):
    with server.raw() as raw:
        answer = raw.send(handshake(path)).read_answer(to_head=True)
        assert answer.status == 101
        assert answer.header("Upgrade").lower() == "websocket"
        assert answer.header("Connection").lower() == "upgrade"
        assert answer.header("Sec-WebSocket-Accept") == ACCEPT
        assert answer.header("Sec-WebSocket-Protocol") is None
        assert answer.header("Sec-WebSocket-Extensions") is None


def test_frames_right_behind_the_handshake(server):
    with server.raw() as raw:
        raw.send(handshake("/ws").encode() + text(b'{"type": "ping"}'))
        assert raw.read_answer(to_head=True).status == 101
        assert b"connection_established" in raw.read_until(b"}")
        assert raw.read_until(b'"pong"')


@pytest.mark.parametrize(
    "changes, status",
    [
        ({"Sec_WebSocket_Version": "8", "Sec-WebSocket-Version": None}, 426),
        ({"Sec-WebSocket-Version": None}, 426),
        ({"Upgrade": None}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": "keep-alive"}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": KEY[:-2]}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example:3000"}, 403),
        ({"Origin": "http://localhost:3000.evil.example"}, 403),
        ({"Host": "evil.example"}, 400),
        ({"Host": "127.0.0.1.evil.example"}, 400),
        ({"Content-Length": "1"}, 400),
    ],
    ids=str,
)
def test_handshake_refused(server, changes, status):
    with server.raw() as raw:
        raw.send(handshake("/ws", **changes) + ("x" if "Content-Length" in changes else ""))
        answer = raw.read_answer()
        assert answer.status == status, answer
        if status == 426:
            assert answer.header("Sec-WebSocket-Version") == "13"
            assert answer.header("Upgrade").lower() == "websocket"


@pytest.mark.parametrize("origin", [None, "http://localhost:3000", "http://localhost:3001",
                                    "http://127.0.0.1:9999", "http://localhost", "OWN"])
def test_origins_accepted(server, origin):
    own = f"127.0.0.1:{server.port}"
    changes = {"Host": own, "Origin": f"http://{own}" if origin == "OWN" else origin}
    with server.raw() as raw:
        assert raw.send(handshake("/ws", **changes)).read_answer(to_head=True).status == 101


def test_origins_are_a_setting(make_server):
    server = make_server(ALLOWED_ORIGINS='["https://dash.example"]')
    for origin, status in (("https://dash.example", 101), ("https://other.example", 403)):
        with server.raw() as raw:
            raw.send(handshake("/ws", Origin=origin))
            assert raw.read_answer(to_head=status == 101).status == status


def test_plain_requests_are_told_to_upgrade(server):
    answer = Client(server.port).get("/ws")
    assert answer.status == 426 and answer.header("Sec-WebSocket-Version") == "13"
    assert Client(server.port).post("/ws", {}).status == 405
