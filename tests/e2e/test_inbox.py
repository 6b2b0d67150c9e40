"""Messages to one user: live, kept until acknowledged, in order, on whichever device comes next."""

import asyncio
import json
import random
import time
import urllib.parse

import engine_packets
import pytest

from event_streams import Stream
from harness import Client, Server, wait_until
from sockets import Socket, run_async

BROADCAST = "/api/v2/websocket/broadcast"
INBOX = "/api/v2/websocket/inbox"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("guarded"), AUTH="required")
    server.start()
    names = [("ops", "admin")] + [(f"u{i}", "viewer") for i in range(11)]
    server.tokens = {name: server.create_token(name, role, "--user", name) for name, role in names}
    yield server
    server.stop()


@pytest.fixture
def ops(guarded):
    return Client(guarded.port, guarded.tokens["ops"])


def send(ops, user, text, type_="system_notification"):
    answer = ops.post(BROADCAST, {"message_type": type_, "user_id": user, "data": {"text": text}})
    assert answer.status == 200, answer
    return answer.json()


def device(server, user, path="/ws/v2"):
    joiner = "&" if "?" in path else "?"
    return Socket(server, f"{path}{joiner}token={server.tokens[user]}")


def texts(messages):
    return [message["data"]["text"] for message in messages]


async def kept(socket):
    """What the inbox held, and the data of the message that ends it."""
    messages = []
    while True:
        message = await socket.receive()
        if message["type"] == "connection_state":
            return messages, message["data"]
        messages.append(message)


async def acknowledge(socket, event_id):
    answer = await socket.ask({"type": "ack", "event_id": event_id, "correlation_id": "a"}, "ack")
    assert answer["correlation_id"] == "a" and answer["data"]["event_id"] == event_id
    return answer["data"]["removed"]


@run_async
async def test_kept_for_who_is_away_until_acknowledged(guarded, ops):
    sent = [send(ops, "u0", f"m{i}") for i in range(3)]
    assert [one["recipients_count"] for one in sent] == [0, 0, 0]
    async with device(guarded, "u0") as phone:
        messages, end = await kept(phone)
        assert texts(messages) == ["m0", "m1", "m2"]
        assert [m["event_id"] for m in messages] == [one["event_id"] for one in sent]
        assert [m["message_id"] for m in messages] == [one["message_id"] for one in sent]
        assert all(m["inbox"] is True and m["type"] == "system_notification" for m in messages)
        assert messages[0]["data"]["sent_by"] == "ops"
        assert end["inbox_messages"] == 3 and end["last_event_id"]
        assert await acknowledge(phone, sent[1]["event_id"]) == 2
        # Another device of the same user gets what is left, and nobody else anything.
        async with device(guarded, "u0") as laptop, device(guarded, "u1") as other:
            messages, _ = await kept(laptop)
            assert texts(messages) == ["m2"]
            await other.silent()
            # Live it comes to both, without the mark.
            assert send(ops, "u0", "m3")["recipients_count"] == 2
            for socket in (phone, laptop):
                live = await socket.receive_type("system_notification")
                assert live["data"]["text"] == "m3" and "inbox" not in live
            assert await acknowledge(laptop, live["event_id"]) == 2
            assert await acknowledge(laptop, live["event_id"]) == 0
    async with device(guarded, "u0") as again:
        await again.silent()


@run_async
async def test_authentication_by_message(guarded, ops):
    send(ops, "u2", "hello", "room_message")
    async with Socket(guarded, "/ws/v2") as socket:
        await socket.silent()
        await socket.ask({"type": "auth_request", "data": {"token": guarded.tokens["u2"]}},
                         "auth_success")
        messages, end = await kept(socket)
        assert texts(messages) == ["hello"] and messages[0]["type"] == "room_message"
        # The same user again changes nothing; another one gets what is theirs.
        await socket.ask({"type": "auth_request", "data": {"token": guarded.tokens["u2"]}},
                         "auth_success")
        send(ops, "u3", "for the other")
        await socket.silent()
        await socket.ask({"type": "auth_request", "data": {"token": guarded.tokens["u3"]}},
                         "auth_success")
        messages, end = await kept(socket)
        assert texts(messages) == ["for the other"]


@run_async
async def test_coming_back_brings_the_rest_from_the_log(guarded, ops):
    async with device(guarded, "u4") as socket:
        then = socket.first["data"]["last_event_id"]
        send(ops, "u4", "a")
        seen = await socket.receive_type("system_notification")
    ops.post(BROADCAST, {"message_type": "system_notification", "data": {"text": "to all"}})
    send(ops, "u4", "b")
    path = f"/ws/v2?last_event_id={seen['event_id']}"
    async with device(guarded, "u4", path) as again:
        messages, end = await kept(again)
        # What was not acknowledged comes first, then what was missed, each once.
        assert texts(messages) == ["a", "to all", "b"]
        assert ["inbox" in m for m in messages] == [True, False, False]
        assert end["recovered"] is True and end["missed_events"] == 2
    async with device(guarded, "u4", f"/ws/v2?last_event_id={then}") as again:
        messages, end = await kept(again)
        assert texts(messages) == ["a", "to all", "b"] and end["missed_events"] == 3
    async with device(guarded, "u4", "/ws/v2?last_event_id=0-0") as lost:
        _, end = await kept(lost)
        assert end["recovered"] is False
        messages, end = await kept(lost)
        assert texts(messages) == ["a", "b"] and end["inbox_messages"] == 2
        await acknowledge(lost, messages[-1]["event_id"])
    # As the first message, too.
    async with device(guarded, "u4") as socket:
        await socket.send({"type": "recover", "last_event_id": then})
        messages, end = await kept(socket)
        assert texts(messages) == ["a", "to all", "b"] and end["recovered"] is True


def test_over_rest(guarded, ops):
    mine = Client(guarded.port, guarded.tokens["u5"])
    sent = [send(ops, "u5", f"m{i}") for i in range(5)]
    first = mine.get(f"{INBOX}?limit=3").json()
    assert texts(first["events"]) == ["m0", "m1", "m2"] and first["complete"] is False
    assert first["next"] == first["events"][-1]["event_id"]
    last = first["events"][-1]
    assert last["event_type"] == "system_notification" and last["user_id"] == "ops"
    rest = mine.get(f"{INBOX}?after={last['event_id']}").json()
    assert texts(rest["events"]) == ["m3", "m4"] and rest["complete"] is True
    assert ops.get(INBOX).json()["events"] == []
    answer = mine.post(f"{INBOX}/ack", {"event_id": sent[3]["event_id"]})
    assert answer.status == 200 and answer.json()["removed"] == 4
    assert texts(mine.get(INBOX).json()["events"]) == ["m4"]
    # A colleague's acknowledgement is about the colleague's inbox.
    other = Client(guarded.port, guarded.tokens["u6"])
    assert other.post(f"{INBOX}/ack", {"event_id": sent[4]["event_id"]}).json()["removed"] == 0
    for path, body in ((f"{INBOX}/ack", {"event_id": "nonsense"}),):
        assert mine.post(path, body).status == 400
    assert mine.get(f"{INBOX}?after=nonsense").detail == "event_id is that of no event here"
    assert mine.post(f"{INBOX}/ack", {}).status == 422


def test_whom_it_is_for(guarded, ops):
    both = {"message_type": "system_notification", "user_id": "u0", "room": "lab"}
    assert ops.post(BROADCAST, both).status == 400
    for type_ in ("metrics_update", "heartbeat"):
        answer = ops.post(BROADCAST, {"message_type": type_, "user_id": "u0"})
        assert (answer.status, answer.detail) == (
            400, "Messages of this type are not kept for a user")
    viewer = Client(guarded.port, guarded.tokens["u6"])
    assert viewer.post(BROADCAST, {"message_type": "system_notification",
                                   "user_id": "u0"}).status == 403


# ---- Each protocol in its own words. `kept()` is what the inbox held, `next()` the message after
# that; messages have a text, an event_id and, if they were kept, the mark.


def told(data, message):
    return {"text": data["text"], "event_id": message["event_id"], "kept": "inbox" in message}


class OnWebSocket:
    def __init__(self, server, user=None, last=None):
        query = {**({"token": server.tokens[user]} if user else {}),
                 **({"last_event_id": last} if last else {})}
        self.socket = Socket(server, f"{self.path}?{urllib.parse.urlencode(query)}")

    async def __aenter__(self):
        await self.socket.__aenter__()
        return self

    async def __aexit__(self, *_):
        await self.socket.__aexit__()

    async def kept(self):
        messages = []
        while True:
            message = await self.socket.receive()
            if message["type"] in self.ends:
                return messages, message["data"]
            messages.append(told(message["data"], message))

    async def next(self):
        message = await self.socket.receive()
        return told(message["data"], message)

    async def acknowledge(self, event_id):
        answer = await self.socket.ask(
            {"type": "ack", "event_id": event_id, "correlation_id": "c"}, "ack")
        assert answer["data"]["event_id"] == event_id
        return answer["data"]["removed"]

    async def silent(self):
        await self.socket.silent(0.1)


class OnVersionTwo(OnWebSocket):
    path, ends = "/ws/v2", ["connection_state"]


class OnVersionOne(OnWebSocket):
    path, ends = "/ws", ["inbox_shown", "connection_recovered"]


class OnEventStream:
    """Acknowledges over HTTP, since a stream goes one way."""

    def __init__(self, server, user=None, last=None):
        token = server.tokens[user] if user else None
        self.api = Client(server.port, token) if token else server.client()
        self.arguments = (server, f"?token={token}" if token else "",
                          {"Last-Event-ID": last} if last else {})

    async def __aenter__(self):
        self.stream = await asyncio.to_thread(Stream, *self.arguments)
        self.last = (await self.receive()).get("id", self.arguments[2].get("Last-Event-ID"))
        return self

    async def __aexit__(self, *_):
        await asyncio.to_thread(self.stream.__exit__)

    async def receive(self):
        return await asyncio.to_thread(self.stream.next)

    async def kept(self):
        messages = []
        while (event := await self.receive())["event"] != "connection_state":
            messages.append(self.read(event))
        assert event["id"] == event["data"]["data"]["last_event_id"]
        return messages, event["data"]["data"]

    @staticmethod
    def read(event):
        message = told(event["data"]["data"], event["data"])
        # An EventSource comes back with the newest id of its stream.
        assert event.get("id") == (None if message["kept"] else message["event_id"])
        return message

    async def next(self):
        return self.read(await self.receive())

    async def acknowledge(self, event_id):
        answer = await asyncio.to_thread(self.api.post, f"{INBOX}/ack", {"event_id": event_id})
        return answer.json()["removed"]

    async def silent(self):
        self.stream.connection.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            self.stream.next()


class OnSocketIo:
    def __init__(self, server, user=None, last=None):
        self.session = engine_packets.Socket(server, offsets="true")
        self.auth = {"token": server.tokens[user]} if user else {}
        if last:
            self.auth["offset"] = last
        self.first = []

    async def __aenter__(self):
        await self.session.__aenter__()
        await self.session.send("40" + json.dumps(self.auth))
        # What was missed comes before the answer; the client's library puts it behind.
        while True:
            packet = await self.session.ws.recv()
            if packet.startswith("40"):
                return self
            self.first.append(packet)

    async def __aexit__(self, *_):
        await self.session.__aexit__()

    async def receive(self):
        while True:
            packet = self.first.pop(0) if self.first else await self.session.ws.recv()
            if packet.startswith("42") and not packet.startswith(engine_packets.COUNTS):
                return engine_packets.read_event(packet)

    async def kept(self):
        messages = []
        while True:
            name, data, *offset = await self.receive()
            if name == "inbox_shown" or (name == "connected" and "offset" in self.auth):
                return messages, data
            if name != "connected":
                messages.append(self.read(data, offset))

    @staticmethod
    def read(data, offset):
        message = told(data, data)
        assert offset == ([] if message["kept"] else [message["event_id"]])
        return message

    async def next(self):
        _, data, *offset = await self.receive()
        return self.read(data, offset)

    async def acknowledge(self, event_id):
        await self.session.send(engine_packets.event("inbox_ack", event_id, ack="7"))
        name, answer, _ = await self.receive()
        assert name == "inbox_acknowledged" and answer["event_id"] == event_id
        assert await self.session.ws.recv() == "437[]"
        return answer["removed"]

    async def silent(self):
        heard = []
        try:
            while True:
                heard.append(await asyncio.wait_for(self.receive(), 0.1))
        except asyncio.TimeoutError:
            assert [name for name, *_ in heard] in ([], ["connected"])


PROTOCOLS = [OnVersionOne, OnVersionTwo, OnEventStream, OnSocketIo]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@run_async
async def test_every_protocol_shows_what_is_kept(guarded, ops, protocol):
    user = f"u{7 + PROTOCOLS.index(protocol)}"
    # Whatever its type, though of what is for all some protocols tell notifications alone.
    sent = [send(ops, user, f"m{i}", type_) for i, type_ in enumerate(
        ["system_notification", "analytics_alert", "room_message"])]
    ids = [one["event_id"] for one in sent]
    async with protocol(guarded, user) as phone:
        messages, end = await phone.kept()
        assert messages == [{"text": f"m{i}", "event_id": ids[i], "kept": True} for i in range(3)]
        assert end["inbox_messages"] == 3
        then = end["last_event_id"]
        assert await phone.acknowledge(ids[1]) == 2
        # Live it comes without the mark, and is kept, too.
        live = send(ops, user, "m3", "file_change")
        assert live["recipients_count"] == 1
        assert await phone.next() == {"text": "m3", "event_id": live["event_id"], "kept": False}
    # Who comes back gets what was not acknowledged, then what was missed, each once.
    ops.post(BROADCAST, {"message_type": "system_notification", "data": {"text": "to all"}})
    missed = send(ops, user, "m4", "task_update")
    async with protocol(guarded, user, then) as again:
        messages, end = await again.kept()
        assert [(m["text"], m["kept"]) for m in messages] == [
            ("m2", True), ("m3", False), ("to all", False), ("m4", False)]
        assert end["recovered"] is True and end["missed_events"] == 3
        assert await again.acknowledge(missed["event_id"]) == 3
    async with protocol(guarded, user) as nothing_kept:
        await nothing_kept.silent()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@run_async
async def test_the_rest_of_the_inbox_follows_a_snapshot(make_server, protocol):
    server = make_server()
    send(server.client(), "local", "kept")
    async with protocol(server, last="0-0") as lost:
        messages, end = await lost.kept()
        assert messages == [] and end["recovered"] is False and "snapshot" in end
        messages, end = await lost.kept()
        assert [(message["text"], message["kept"]) for message in messages] == [("kept", True)]
        assert end["inbox_messages"] == 1 and "recovered" not in end


@run_async
async def test_what_is_refused(guarded):
    async with device(guarded, "u6") as socket:
        answer = await socket.ask({"type": "ack", "event_id": "nonsense"}, "error")
        assert answer["data"]["code"] == "invalid"
    async with Socket(guarded, "/ws/v2") as socket:
        answer = await socket.ask({"type": "ack", "event_id": "nonsense"}, "error")
        assert answer["data"]["code"] == "unauthorized"
    # /ws has no message for it.
    async with device(guarded, "u4", "/ws") as socket, Socket(guarded, "/ws") as nobody:
        for one in (socket, nobody):
            for message in ({"type": "ack"}, {"type": "ack", "event_id": "nonsense"}):
                await one.send(message)
            await one.silent()
    async with OnSocketIo(guarded, "u4") as phone:
        assert (await phone.receive())[0] == "connected"
        for argument in ("nonsense", {}, 7, None):
            await phone.session.send(engine_packets.event("inbox_ack", argument, ack="7"))
            name, data = await phone.receive()
            assert (name, data["error"]) == ("error", "event_id is that of no event here")


@run_async
async def test_large_messages_come_a_few_at_a_time(make_server):
    """Twelve of half a megabyte are more than an answer or a connection's queue may hold."""
    server = make_server(WEBSOCKET_QUEUE_BYTES_MAX=1_000_000)
    api = server.client()
    for n in range(12):
        send(api, "local", f"{n:02}" + "x" * 500_000)
    found, after = [], ""
    while after is not None:
        page = api.get(f"{INBOX}?limit=100" + (f"&after={after}" if after else "")).json()
        assert page["complete"] is (page["next"] is None) and len(page["events"]) < 12
        found += [text[:2] for text in texts(page["events"])]
        after = page["next"]
    assert found == [f"{n:02}" for n in range(12)]
    async with Socket(server, "/ws/v2") as socket:
        messages, _ = await kept(socket)
        assert [text[:2] for text in texts(messages)] == found


@run_async
async def test_its_bounds(make_server):
    server = make_server(INBOX_MESSAGES_MAX=3)
    api = server.client()
    for i in range(5):
        send(api, "local", f"m{i}")
    send(api, "somebody", "kept")
    async with Socket(server, "/ws/v2") as socket:
        messages, end = await kept(socket)
        assert texts(messages) == ["m2", "m3", "m4"] and end["inbox_messages"] == 3
    assert any("inbox is full" in line.get("message", "") and line.get("user") == "local"
               for line in server.log_lines())
    # What is too old goes, with the next round of housekeeping after a start.
    server.stop()
    month_ago = int((time.time() - 31 * 86400) * 1e6)
    with server.database(writable=True) as database:
        database.execute("UPDATE inbox SET at = ? WHERE user_id = 'local'", (month_ago,))
    server.start()

    def left():
        with server.database() as database:
            return [row[0] for row in database.execute("SELECT user_id FROM inbox").fetchall()]

    wait_until(lambda: left() == ["somebody"], 10, "that what is too old is removed")
    server.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@run_async
async def test_nothing_is_lost_over_crashes(make_server, seed, protocol):
    """Each message comes, in order, until its acknowledgement was answered; then never again."""
    chance = random.Random(seed)
    server = make_server()
    sent, done = [], 0
    for _ in range(8):
        api = server.client()
        for _ in range(chance.randrange(4)):
            send(api, "local", str(len(sent)))
            sent.append(str(len(sent)))
        api.close()
        async with protocol(server) as phone:
            if done == len(sent):
                await phone.silent()
            else:
                messages, _ = await phone.kept()
                assert [message["text"] for message in messages] == sent[done:]
                upto = chance.randrange(len(messages))
                await phone.acknowledge(messages[upto]["event_id"])
                done += upto + 1
            server.kill()
        server.start()
