"""Messages to one user: live, kept until acknowledged, in order, on whichever device comes next."""

import asyncio
import random
import time

import pytest

from harness import Client, Server, wait_until
from sockets import Room, Socket, run_async

BROADCAST = "/api/v2/websocket/broadcast"
INBOX = "/api/v2/websocket/inbox"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("guarded"), AUTH="required")
    server.start()
    names = [("ops", "admin")] + [(f"u{i}", "viewer") for i in range(9)]
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
        assert texts([await lost.receive(), await lost.receive()]) == ["a", "b"]
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
    viewer = Client(guarded.port, guarded.tokens["u6"])
    assert viewer.post(BROADCAST, {"message_type": "system_notification",
                                   "user_id": "u0"}).status == 403


@run_async
async def test_what_is_refused(guarded):
    async with device(guarded, "u6") as socket:
        answer = await socket.ask({"type": "ack", "event_id": "nonsense"}, "error")
        assert answer["data"]["code"] == "invalid"
    async with Socket(guarded, "/ws/v2") as socket:
        answer = await socket.ask({"type": "ack", "event_id": "nonsense"}, "error")
        assert answer["data"]["code"] == "unauthorized"


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


@run_async
async def test_nothing_is_lost_over_crashes(make_server, seed):
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
        async with Room(server, "lab") if done == len(sent) else Socket(server, "/ws/v2") as socket:
            if done == len(sent):
                await socket.silent(0.1)
            else:
                messages, _ = await kept(socket)
                assert texts(messages) == sent[done:]
                upto = chance.randrange(len(messages))
                await acknowledge(socket, messages[upto]["event_id"])
                done += upto + 1
            server.kill()
        server.start()
