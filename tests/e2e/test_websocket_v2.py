"""/api/v2/websocket: who is connected, rooms, broadcasts and the past (contract, rest-v2.md 7)."""

import asyncio
import re
import uuid

import pytest

from harness import Client, Server, wait_until
from engine_packets import Socket as SocketIo
from sockets import Room, Socket, run_async

BASE = "/api/v2/websocket"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
TYPES = ("auth_request auth_success auth_error join_room leave_room room_message"
         " system_notification agent_update task_update metrics_update file_change"
         " analytics_update analytics_alert analytics_report ping pong heartbeat"
         " connection_state event_history replay_events").split()


@pytest.fixture
def live(make_server):
    return make_server()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("guarded"), AUTH="required")
    server.start()
    server.tokens = {access: server.create_token(access, role, "--user", access) for access, role
                     in (("read", "viewer"), ("write", "operator"), ("admin", "admin"))}
    yield server
    server.stop()


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def by_id(api):
    return {one["connection_id"]: one for one in api.get(f"{BASE}/connections").json()}


# ---- Connections


@run_async
async def test_connections_of_every_protocol(live):
    api = live.client()
    assert api.get(f"{BASE}/connections").json() == []
    async with Room(live, "lab", "attic", extra_headers={"User-Agent": "tester/1"}) as two, \
            Socket(live, "/ws") as one, SocketIo(live) as three:
        answer, _ = await three.connect()
        known = by_id(api)
        assert sorted(row["protocol"] for row in known.values()) == ["socketio", "v1", "v2"]
        row = known[two.connection_id]
        assert set(row) == {"connection_id", "user_id", "state", "connected_at", "last_activity",
                            "rooms", "message_count", "protocol", "client_info"}
        assert row["user_id"] == "local" and row["state"] == "authenticated"
        assert sorted(row["rooms"]) == ["attic", "lab"]
        assert TIME.match(row["connected_at"]) and row["last_activity"] >= row["connected_at"]
        assert row["client_info"]["host"] == "127.0.0.1"
        assert "tester/1" in row["client_info"]["user_agent"]
        assert answer["sid"] in known
        # It counts what the connection was sent.
        before = row["message_count"]
        await two.ask({"type": "ping"}, "pong")
        api.agent_v2()
        await two.receive_type("agent_update")
        assert api.get(f"{BASE}/connections/{two.connection_id}").json()["message_count"] == \
            before + 2
        await one.find(lambda message: message["type"] == "agent_created")
    unknown = uuid.uuid4()
    answer = api.get(f"{BASE}/connections/{unknown}")
    assert (answer.status, answer.detail) == (404, f"Connection {unknown} not found")


@run_async
async def test_an_administrator_ends_a_connection(live):
    api = live.client()
    async with Room(live, "lab") as one, Room(live, "lab") as other:
        await one.settled()
        assert api.delete(f"{BASE}/connections/{one.connection_id}").status == 204
        assert await one.closed() == 4403
        await asyncio.to_thread(
            wait_until, lambda: api.get(f"{BASE}/rooms/lab").json()["members_count"] == 1, 5,
            "that it is in no room")
        answer = api.delete(f"{BASE}/connections/{one.connection_id}")
        assert answer.status == 404
        assert answer.detail == (f"Connection {one.connection_id} not found or already"
                                 " disconnected")
    async with SocketIo(live) as polling:
        sid = (await polling.connect())[0]["sid"]
        assert api.delete(f"{BASE}/connections/{sid}").status == 204
        assert await polling.closed() == 4403


@run_async
async def test_users_end_their_own_connections(guarded):
    clients = {access: Client(guarded.port, token) for access, token in guarded.tokens.items()}

    def path(socket):
        return f"{BASE}/connections/{socket.connection_id}"

    for access in ("read", "write", "admin"):
        async with Socket(guarded, f"/ws/v2?token={guarded.tokens[access]}") as own:
            others = [clients[one] for one in ("read", "write") if one != access]
            for other in others:
                answer = other.delete(path(own))
                assert answer.status == 403
                assert answer.detail == "Only administrators end the connections of others"
            await own.silent()
            assert clients[access].delete(path(own)).status == 204
            assert await own.closed() == 4403
    # Whose it is is not known yet: an administrator's matter.
    async with Socket(guarded, "/ws/v2") as unknown:
        assert clients["write"].delete(path(unknown)).status == 403
        assert clients["admin"].delete(path(unknown)).status == 204
        assert await unknown.closed() == 4403


# ---- Rooms


@run_async
async def test_rooms(live):
    api = live.client()
    assert api.get(f"{BASE}/rooms").json() == []
    assert api.get(f"{BASE}/rooms/lab").detail == "Room lab not found"
    async with Room(live, "lab") as one, Room(live, "lab", "a b/c"):
        rooms = {row["name"]: row for row in api.get(f"{BASE}/rooms").json()}
        assert set(rooms) == {"lab", "a b/c"}
        lab = rooms["lab"]
        assert lab["members_count"] == 2 and lab["members"] == ["local"]
        assert TIME.match(lab["created_at"]) and lab["last_activity"] >= lab["created_at"]
        assert api.get(f"{BASE}/rooms/a%20b%2Fc").json()["members_count"] == 1
        # What is said there is activity too.
        await one.ask({"type": "room_message", "room": "lab", "data": {}, "correlation_id": "c"},
                      "ack")
        assert api.get(f"{BASE}/rooms/lab").json()["last_activity"] > lab["last_activity"]
    for _ in range(100):
        if api.get(f"{BASE}/rooms/lab").status == 404:
            break
        await asyncio.sleep(0.02)
    assert api.get(f"{BASE}/rooms").json() == []


@run_async
async def test_joining_and_leaving_over_rest(live):
    api = live.client()
    path = f"{BASE}/rooms/lab"
    answer = api.post(f"{path}/join", {"room_name": "x"})
    assert (answer.status, answer.detail) == (404, "No active connection found for user local")
    async with Socket(live, "/ws/v2") as one, Socket(live, "/ws/v2") as two:
        answer = api.post(f"{path}/join", {"room_name": "x", "user_id": "local"})
        assert answer.status == 200
        assert answer.json() == {"message": "Successfully joined room lab", "room_name": "lab",
                                 "user_id": "local",
                                 "connection_id": answer.json()["connection_id"]}
        for socket in (one, two):
            told = await socket.find(lambda m: m["type"] == "join_room")
            assert (told["room"], told["data"]["status"]) == ("lab", "joined")
        assert api.get(path).json()["members_count"] == 2
        answer = api.post(f"{path}/leave")
        assert answer.json()["message"] == "Successfully left room lab"
        for socket in (one, two):
            told = await socket.find(lambda m: m["type"] == "leave_room")
            assert told["data"] == {"room": "lab", "status": "left"}
        assert api.get(path).status == 404
        answer = api.post(f"{path}/leave")
        assert (answer.status, answer.detail) == (400, "Failed to leave room")
        answer = api.post(f"{BASE}/rooms/{'x' * 201}/join", {"room_name": "x"})
        assert (answer.status, answer.detail) == (400, "Failed to join room")
    answer = api.post(f"{path}/join", {})
    assert answer.status == 422 and answer.detail[0]["loc"] == ["body", "room_name"]


# ---- Broadcasts


@run_async
async def test_a_broadcast_to_everybody(live):
    api = live.client()
    async with Socket(live, "/ws/v2") as one, Socket(live, "/ws") as old:
        answer = api.post(f"{BASE}/broadcast", {"message_type": "system_notification",
                                                "data": {"text": "at five"}})
        assert answer.status == 200
        body = answer.json()
        assert body["message"] == "Broadcast sent successfully"
        assert body["recipients_count"] == 2
        told = await one.receive_type("system_notification")
        assert told["room"] is None
        assert told["message_id"] == body["message_id"]
        assert told["event_id"] == body["event_id"]
        assert told["timestamp"] == body["timestamp"]
        assert told["data"] == {"text": "at five", "sent_by": "local",
                                "sent_at": body["timestamp"]}
        old_form = await old.receive_type("system_notification")
        assert old_form["data"]["text"] == "at five"
        # Only /ws/v2 carries the others.
        for type_ in TYPES:
            answer = api.post(f"{BASE}/broadcast", {"message_type": type_, "data": {"n": 1}})
            assert answer.json()["recipients_count"] == 1 + (type_ == "system_notification")
            told = await one.receive_type(type_)
            assert told["data"]["n"] == 1 and told["message_id"] == answer.json()["message_id"]
            # Of what the next makes worthless nothing is in the log.
            in_log = type_ not in ("metrics_update", "heartbeat")
            assert ("event_id" in told) == in_log
            assert answer.json()["event_id"] == told.get("event_id")
    path = f"{BASE}/event-history?event_types=metrics_update,heartbeat,ping"
    assert [event["event_type"] for event in api.get(path).json()["events"]] == ["ping"]


@run_async
async def test_a_broadcast_to_a_room_or_without_somebody(live):
    api = live.client()
    async with Room(live, "lab") as inside, Socket(live, "/ws/v2") as outside:
        await inside.settled()
        answer = api.post(f"{BASE}/broadcast", {"message_type": "task_update", "room": "lab",
                                                "exclude_user_id": "local"})
        assert answer.json()["recipients_count"] == 1, "nobody is left out of a room"
        assert (await inside.receive_type("task_update"))["room"] == "lab"
        await outside.silent()
        answer = api.post(f"{BASE}/broadcast", {"message_type": "task_update", "room": "empty"})
        assert answer.status == 200
        assert answer.json()["recipients_count"] == 0
        assert answer.json()["message_id"] and answer.json()["timestamp"]
        answer = api.post(f"{BASE}/broadcast", {"message_type": "task_update",
                                                "exclude_user_id": "local"})
        assert answer.json()["recipients_count"] == 0
        await inside.silent()
        answer = api.post(f"{BASE}/broadcast", {"message_type": "task_update",
                                                "exclude_user_id": "somebody"})
        assert answer.json()["recipients_count"] == 2


@run_async
async def test_a_broadcast_is_not_missed(live):
    """Who was away is shown it on coming back, but for who is not to get it."""
    api = live.client()
    async with Room(live, "lab") as one:
        then = (await one.ask({"type": "room_message", "room": "lab", "correlation_id": "c"},
                              "ack"))["event_id"]
    for message in ({"message_type": "system_notification", "data": {"n": 1}},
                    {"message_type": "agent_update", "room": "lab", "data": {"n": 2}},
                    {"message_type": "agent_update", "room": "elsewhere", "data": {"n": 3}},
                    {"message_type": "agent_update", "exclude_user_id": "local",
                     "data": {"n": 4}}):
        assert api.post(f"{BASE}/broadcast", message).status == 200
    async with Socket(live, f"/ws/v2?last_event_id={then}&rooms=lab") as again:
        seen = []
        await again.find(lambda m: seen.append(m) or m["data"].get("recovered"))
        assert [m["data"]["n"] for m in seen if "n" in m["data"]] == [1, 2]


@run_async
async def test_relayed_numbers_keep_their_digits(live):
    """Live, to who comes back, and in the past that is asked for."""
    data = {"n": 123456789012345678901234567890, "list": [-2**63 - 1, 2**64, 0.5]}
    async with Room(live, "lab") as one, Room(live, "lab") as two:
        then = (await one.ask({"type": "room_message", "room": "lab", "correlation_id": "c"},
                              "ack"))["event_id"]
        await one.send({"type": "room_message", "room": "lab", "data": data})
        told = (await two.find(lambda m: "n" in m.get("data", {})))["data"]
        assert {name: told[name] for name in data} == data
    async with Socket(live, f"/ws/v2?last_event_id={then}&rooms=lab") as again:
        assert (await again.find(lambda m: "n" in m.get("data", {})))["data"] == told
    events = live.client().get(f"{BASE}/event-history?room=lab").json()["events"]
    assert events[-1]["data"] == told


@pytest.mark.parametrize("body, place", [
    ({}, "message_type"),
    ({"message_type": "shout"}, "message_type"),
    ({"message_type": "ping", "room": 5}, "room"),
    ({"message_type": "ping", "room": ""}, "room"),
    ({"message_type": "ping", "room": "x" * 201}, "room"),
    ({"message_type": "ping", "data": [1]}, "data"),
    ({"message_type": "ping", "exclude_user_id": {}}, "exclude_user_id"),
])
def test_a_broadcast_that_is_wrong(server, body, place):
    answer = server.client().post(f"{BASE}/broadcast", body)
    assert answer.status == 422
    assert answer.detail[0]["loc"][:2] == ["body", place]


# ---- The past


@run_async
async def test_history(live):
    api = live.client()
    empty = api.get(f"{BASE}/event-history").json()
    assert empty == {"events": [], "total_count": 0, "complete": True, "filters": {
        "room": None, "event_types": None, "since": None, "limit": 50}}
    agent = api.agent_v1()
    for query, status in (("order=desc", 200), ("order=down", 422), ("after=nonsense", 400)):
        assert api.get(f"{BASE}/event-history?{query}").status == status
    task = api.post("/api/v1/tasks/", {"title": "t"}).json()
    api.patch(f"/api/v1/tasks/{task['id']}/assign", {"assigned_agent_id": agent["id"]})
    api.post("/api/v1/workflows/", {"name": "w"})
    middle = api.post(f"{BASE}/broadcast", {"message_type": "system_notification",
                                            "room": "lab", "data": {"n": 1}}).json()["timestamp"]
    api.post(f"{BASE}/broadcast", {"message_type": "file_change", "data": {"n": 2}})

    def types(query=""):
        answer = api.get(f"{BASE}/event-history?{query}")
        assert answer.status == 200, answer
        body = answer.json()
        assert body["total_count"] == len(body["events"])
        ids = [int(event["event_id"].rsplit("-", 1)[1]) for event in body["events"]]
        assert ids == sorted(ids), "oldest first"
        return [event["event_type"] for event in body["events"]]

    everything = types()
    assert everything[0] == "agent_update" and "task_update" in everything
    assert everything[-2:] == ["system_notification", "file_change"]
    assert types("limit=2") == ["system_notification", "file_change"]
    assert types("event_types=file_change,%20system_notification") == everything[-2:]
    assert types("event_types=workflow_update") == ["workflow_update"]
    assert types("event_types=file_change,agent_update&limit=1") == ["file_change"]
    assert types("room=lab") == ["system_notification"]
    assert set(types("room=agents")) == {"agent_update"}
    assert "task_update" in types(f"room=agent:{agent['id']}")
    assert set(types(f"room=task:{task['id']}")) <= {"task_update"}
    assert types(f"since={middle}") == ["file_change"]
    assert types(f"since={middle}&room=lab") == []
    assert types("since=2020-01-01") == everything
    everything = api.get(f"{BASE}/event-history").json()["events"]
    turned = api.get(f"{BASE}/event-history?order=desc").json()["events"]
    assert turned == everything[::-1]
    second = everything[1]["event_id"]
    behind = api.get(f"{BASE}/event-history?limit=2&after={second}").json()
    assert behind["events"] == everything[2:4] and behind["next"] == everything[3]["event_id"]
    newest = api.get(f"{BASE}/event-history?limit=2&order=desc&after={second}").json()
    assert newest["events"] == turned[:2] and "next" not in newest
    assert api.get(f"{BASE}/event-history?after={turned[0]['event_id']}").json()["next"] is None
    last = api.get(f"{BASE}/event-history?room=lab").json()["events"][0]
    assert last["room"] == "lab" and last["user_id"] == "local" and last["timestamp"] == middle
    assert last["data"] == {"n": 1, "sent_by": "local", "sent_at": middle}


@pytest.mark.parametrize("query, status, detail", [
    ("event_types=shout", 400, "Invalid event type: shout"),
    ("event_types=ping,shout", 400, "Invalid event type: shout"),
    ("since=yesterday", 400, "Invalid datetime format. Use ISO format"),
    ("limit=0", 422, "limit"),
    ("limit=501", 422, "limit"),
    ("limit=x", 422, "limit"),
])
def test_history_that_is_asked_wrongly(server, query, status, detail):
    answer = server.client().get(f"{BASE}/event-history?{query}")
    assert answer.status == status
    assert answer.detail == detail if status == 400 else answer.detail[0]["loc"][-1] == detail


@run_async
async def test_history_on_the_socket(live):
    api = live.client()
    async with Room(live, "lab") as one:
        await one.settled()
        at = []
        for n in range(3):
            sent = api.post(f"{BASE}/broadcast", {"message_type": "task_update", "room": "lab",
                                                  "data": {"n": n}})
            at.append(sent.json()["timestamp"])
            await one.receive_type("task_update")
        for since, numbers in ((at[0], [1, 2]), (at[2], [])):
            question = {"room": "lab", "since": since}
            told = await one.ask({"type": "event_history", "data": question}, "event_history")
            assert [event["data"]["n"] for event in told["data"]["events"]] == numbers
            await one.send({"type": "replay_events", "data": question})
            for n in numbers:
                told = await one.receive_type("event_history")
                assert told["data"]["original_data"]["n"] == n
            assert (await one.receive_type("replay_events"))["data"]["events_count"] == len(numbers)
        told = await one.ask({"type": "event_history", "correlation_id": "q",
                              "data": {"room": "lab", "limit": 2}}, "event_history")
        assert told["correlation_id"] == "q" and told["room"] == "lab"
        assert [event["data"]["n"] for event in told["data"]["events"]] == [1, 2]
        assert told["data"]["total_count"] == 2
        # Sent again one by one, with their own ids and times.
        await one.send({"type": "replay_events", "room": "lab", "correlation_id": "r",
                        "data": {"event_types": ["task_update"]}})
        for n in range(3):
            again = await one.receive_type("event_history")
            assert again["room"] == "lab" and again["correlation_id"] == "r"
            data = again["data"]
            assert set(data) == {"event_id", "event_type", "original_data", "timestamp",
                                 "is_replay"}
            assert data["event_type"] == "task_update" and data["is_replay"] is True
            assert data["original_data"]["n"] == n
            assert "event_id" not in again, "a client's place in the log does not move"
        end = await one.receive_type("replay_events")
        assert end["data"] == {"status": "completed", "events_count": 3}


@pytest.mark.parametrize("data, words", [
    ({"limit": 0}, "limit"),
    ({"limit": 501}, "limit"),
    ({"limit": "many"}, "limit"),
    ({"since": "yesterday"}, "since"),
    ({"event_types": "ping"}, "event_types"),
    ({"event_types": ["shout"]}, "Invalid event type: shout"),
    ({"room": 5}, "room"),
    ([], "data must be an object"),
])
@run_async
async def test_history_that_is_asked_wrongly_on_the_socket(server, data, words):
    async with Socket(server, "/ws/v2") as one:
        for type_ in ("event_history", "replay_events"):
            told = await one.ask({"type": type_, "data": data, "correlation_id": "q"}, "error")
            assert told["data"]["code"] == "invalid" and told["correlation_id"] == "q"
            assert words in told["data"]["message"], told


@run_async
async def test_a_long_replay_waits_for_its_reader(make_server):
    """500 messages of 30 kB are more than a connection's queue holds."""
    server = make_server(WEBSOCKET_QUEUE_BYTES_MAX=1_000_000)
    api = server.client()
    async with Room(server, "lab") as writer:
        for n in range(500):
            await writer.send({"type": "room_message", "room": "lab", "correlation_id": str(n),
                               "data": {"n": n, "text": "x" * 30_000}})
        await writer.find(lambda m: m["type"] == "ack" and m["correlation_id"] == "499")
    # Told at once are the newest that are not too much.
    body = api.get(f"{BASE}/event-history?room=lab&limit=500").json()
    assert body["complete"] is False
    assert [event["data"]["n"] for event in body["events"]] == list(range(
        500 - len(body["events"]), 500)) and 100 < len(body["events"]) < 150
    # From the beginning, as many requests as it takes.
    numbers, after = [], body["events"][0]["event_id"].rsplit("-", 1)[0] + "-0"
    while after:
        page = api.get(f"{BASE}/event-history?room=lab&limit=200&after={after}").json()
        numbers += [event["data"].get("n") for event in page["events"]]
        after = page["next"]
    assert [n for n in numbers if n is not None] == list(range(500))
    async with Socket(server, "/ws/v2") as one:
        told = await one.ask({"type": "event_history", "data": {"room": "lab", "limit": 500}},
                             "event_history")
        assert [event["data"]["n"] for event in told["data"]["events"]] == [498, 499]
        answer = api.post(f"{BASE}/connections/{one.connection_id}/replay-events",
                          {"room": "lab", "limit": 500})
        assert answer.status == 200
        await asyncio.sleep(0.3)
        again = api.post(f"{BASE}/connections/{one.connection_id}/replay-events", {})
        assert again.status == 409, "one at a time"
        for n in range(500):
            told = await one.receive_type("event_history")
            assert told["data"]["original_data"]["n"] == n


@run_async
async def test_replay_over_rest(live):
    api = live.client()
    async with Socket(live, "/ws/v2") as one:
        api.agent_v1(name="a")
        await one.receive_type("agent_update")
        path = f"{BASE}/connections/{one.connection_id}/replay-events"
        answer = api.post(path, {"limit": 5})
        assert answer.json() == {"message": "Events replayed successfully",
                                 "connection_id": one.connection_id,
                                 "filters": {"room": None, "since": None, "limit": 5}}
        told = await one.receive_type("event_history")
        assert told["room"] is None
        assert told["data"]["original_data"]["agent"]["name"] == "a"
        assert api.post(path, {"event_types": ["shout"]}).status == 400
        assert api.post(path, {"limit": 501}).detail[0]["loc"] == ["body", "limit"]
    async with Socket(live, "/ws") as old:
        known = by_id(api)
        v1 = next(id_ for id_, row in known.items() if row["protocol"] == "v1")
        for id_ in (v1, str(uuid.uuid4())):
            answer = api.post(f"{BASE}/connections/{id_}/replay-events", {})
            assert (answer.status, answer.detail) == (
                404, f"Connection {id_} not found or inactive")
        await old.silent()


# ---- Figures


@run_async
async def test_statistics(live):
    api = live.client()
    before = api.get(f"{BASE}/statistics").json()
    assert before["total_connections"] == before["total_rooms"] == 0
    assert before["peak_connections"] == 0 and before["error_rate"] == 0
    async with Room(live, "lab") as one, Room(live, "lab", "attic"):
        api.agent_v1()
        await one.find(lambda m: m["type"] == "agent_update")
        # Of five messages (three joins, these two) one is refused.
        await one.ask({"type": "room_message", "room": "nowhere"}, "error")
        await one.ask({"type": "ping"}, "pong")
        now = api.get(f"{BASE}/statistics").json()
        assert now["total_connections"] == now["authenticated_connections"] == 2
        assert now["peak_connections"] == 2
        assert now["rooms"] == {"attic": 1, "lab": 2} and now["total_rooms"] == 2
        assert now["event_history_size"] == 1
        assert now["message_queue_size"] == 0
        assert re.match(r"^\d+d \d+h \d+m \d+s$", now["uptime"])
        sent = now["message_throughput"]
        assert sent["last_minute"] <= sent["last_hour"] == sent["last_day"]
        # Greetings, joined, presence, agent_update twice, error, pong.
        assert 9 <= sent["last_hour"] <= 14
        assert now["error_rate"] == pytest.approx(1 / 5)
    assert api.get(f"{BASE}/statistics").json()["peak_connections"] == 2


# ---- Rights


CALLS = [
    ("GET", "/connections", "read", 200),
    ("GET", "/connections/x", "read", 404),
    ("DELETE", "/connections/x", "read", 404),
    ("POST", "/connections/x/replay-events", "write", 404),
    ("GET", "/rooms", "read", 200),
    ("GET", "/rooms/x", "read", 404),
    ("POST", "/rooms/x/join", "read", 404),
    ("POST", "/rooms/x/leave", "read", 404),
    ("POST", "/broadcast", "write", 200),
    ("GET", "/event-history", "read", 200),
    ("GET", "/statistics", "read", 200),
]


@pytest.mark.parametrize("method, path, role, status", CALLS)
def test_rights(guarded, method, path, role, status):
    body = {"message_type": "ping", "room_name": "x"} if method == "POST" else None
    roles = ["read", "write", "admin"]
    assert Client(guarded.port).request(method, BASE + path, body).status == 401
    for other in roles:
        answer = Client(guarded.port, guarded.tokens[other]).request(method, BASE + path, body)
        expected = status if roles.index(other) >= roles.index(role) else 403
        assert answer.status == expected, (other, answer)


@run_async
async def test_the_rooms_of_administrators(guarded):
    admin = Client(guarded.port, guarded.tokens["admin"])
    writer = Client(guarded.port, guarded.tokens["write"])
    admins, writers = (bearer(guarded.tokens[access]) for access in ("admin", "write"))
    async with Room(guarded, "admin-lab", extra_headers=admins) as one, \
            Socket(guarded, "/ws/v2", extra_headers=writers) as other:
        sent = admin.post(f"{BASE}/broadcast", {"message_type": "task_update",
                                                "room": "admin-lab"})
        assert sent.json()["recipients_count"] == 1
        assert [row["name"] for row in admin.get(f"{BASE}/rooms").json()] == ["admin-lab"]
        assert writer.get(f"{BASE}/rooms").json() == []
        assert "admin-lab" in admin.get(f"{BASE}/statistics").json()["rooms"]
        for client, rooms in ((admin, ["admin-lab"]), (writer, [])):
            assert by_id(client)[one.connection_id]["rooms"] == rooms
            assert client.get(f"{BASE}/connections/{one.connection_id}").json()["rooms"] == rooms
        assert writer.get(f"{BASE}/statistics").json()["rooms"] == {}
        for answer in (writer.get(f"{BASE}/rooms/admin-lab"),
                       writer.get(f"{BASE}/event-history?room=admin-lab"),
                       writer.post(f"{BASE}/rooms/admin-lab/join", {"room_name": "x"}),
                       writer.post(f"{BASE}/broadcast", {"message_type": "ping",
                                                         "room": "admin-lab"})):
            assert (answer.status, answer.detail) == (403, "This room is for administrators")
        # Neither do they see it in what happened, however it is asked.
        for client, sees in ((admin, True), (writer, False)):
            events = client.get(f"{BASE}/event-history").json()["events"]
            assert ("admin-lab" in [event["room"] for event in events]) == sees
        path = f"{BASE}/connections/{other.connection_id}/replay-events"
        assert admin.post(path, {"event_types": ["task_update"]}).status == 200
        await other.silent()
        told = await other.ask({"type": "event_history", "room": "admin-lab"}, "error")
        assert told["data"]["code"] == "forbidden"
        # And who may move whom.
        users = {row["connection_id"]: row["user_id"]
                 for row in admin.get(f"{BASE}/connections").json()}
        body = {"room_name": "x", "user_id": users[one.connection_id]}
        answer = writer.post(f"{BASE}/rooms/lab/join", body)
        assert answer.status == 403
        body = {"room_name": "x", "user_id": users[other.connection_id]}
        assert admin.post(f"{BASE}/rooms/lab/join", body).json()["connection_id"] == \
            other.connection_id
