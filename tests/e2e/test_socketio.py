"""Socket.IO packet by packet: the namespace, rooms, events, who may connect."""

import asyncio
import concurrent.futures
import contextlib
import json
import re
import time

import pytest
import websockets

from engine_packets import COUNTS, Polling, Socket, event, get, url
from harness import Client, Server
from sockets import Socket as V1, run_async

ROOMS = ["agents", "tasks", "metrics", "workflows", "system", "dashboard", "admin"]
ISO = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), LOOPS=4)
    server.start()
    yield server
    server.stop()


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
async def test_answers_and_relays_count_as_messages(make_server):
    server = make_server()
    api = Client(server.port)

    def shown(connection_id):
        return api.get(f"/api/v2/websocket/connections/{connection_id}").json()["message_count"]

    async with Socket(server) as socket:
        answer, _ = await socket.connect()
        await socket.ask("leave_room", "dashboard")  # Where samples and counts come at any time.
        before = shown(answer["sid"])
        assert before >= 2
        for _ in range(10):
            await socket.ask("ping")
        await socket.ask("join_room", "tasks")
        await socket.ask("join_room", "nowhere")
        assert shown(answer["sid"]) == before + 12
        await socket.send(event("task_update", {"task_id": "t", "status": "s"}, ack="7"))
        packets = {await socket.receive() for _ in range(2)}
        assert "437[]" in packets
        assert shown(answer["sid"]) == before + 14
        throughput = api.get("/api/v2/websocket/statistics").json()["message_throughput"]
        assert throughput["last_minute"] >= 15


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
    ("task_update", "tasks", {"task_id": "t", "status": "done", "tokens": 10**30}),
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
    ("subscribe_workflow", "w" * 181, "Missing workflow_id"),
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


# ---- What happens on the server


def made(server):
    """Changes by way of both versions of the API, with what they are to be told as."""
    api = Client(server.port)
    agent = api.agent_v1(name="Scout", agent_type="backend")
    task = api.post("/api/v1/tasks/", {"title": "Dig", "priority": "critical"}).json()
    workflow = api.post("/api/v2/workflows", {"name": "Mine", "type": "sequential"})
    assert workflow.status == 201, workflow
    workflow = workflow.json()
    assert api.delete(f"/api/v2/agents/{agent['id']}").status == 204
    api.close()
    return agent, task, workflow


def check_made(events, agent, task, workflow):
    created, dug, mine, deleted = events
    assert created[0] == deleted[0] == "agent_status_update"
    for event_, action in ((created, "create"), (deleted, "delete")):
        data = event_[1]
        assert data["agent_id"] == data["agentId"] == agent["id"]
        assert (data["action"], data["name"], data["status"]) == (action, "Scout", "idle")
        assert ISO.match(data["timestamp"]) and data["event_id"]
    assert dug[0] == "task_update"
    data = dug[1]
    assert data["task_id"] == data["taskId"] == task["id"] == data["task"]["id"]
    assert (data["status"], data["priority"], data["agent"]) == ("pending", "high", "Unassigned")
    assert (data["action"], data["task"]["status"], data["task"]["tags"]) == ("create", "todo", [])
    assert mine[0] == "workflow_event"
    data = mine[1]
    assert data["workflow_id"] == workflow["id"]
    assert (data["event_type"], data["name"]) == ("workflow_created", "Mine")


@run_async
async def test_changes_come_to_everybody_in_the_dashboard_once(make_server):
    server = make_server(LOOPS=3)
    polling = Polling(server)
    polling.connect()
    polling.ask("join_room", "agents")
    async with Socket(server) as socket, Socket(server) as member:
        await socket.connect()
        await member.connect()
        for room in ROOMS:
            await member.ask("join_room", room)
        records = made(server)
        for client in (socket, member):
            check_made([await client.receive_event() for _ in range(4)], *records)
        check_made([polling.receive_event() for _ in range(4)], *records)
        assert (await member.ask("ping"))[0] == "pong"


@run_async
async def test_who_left_the_dashboard_hears_of_the_rooms_it_is_in(make_server):
    server = make_server(LOOPS=3)
    async with Socket(server) as socket:
        await socket.connect()
        await socket.ask("leave_room", "dashboard")
        agent, task, workflow = made(server)
        assert (await socket.ask("ping"))[0] == "pong"
        await socket.ask("join_room", "tasks")
        await socket.ask("subscribe_workflow", workflow["id"])
        made(server)
        assert (await socket.receive_event())[0] == "task_update"
        api = Client(server.port)
        answer = api.put(f"/api/v2/workflows/{workflow['id']}", {"name": "Renamed"})
        assert answer.status == 200, answer
        name, data = await socket.receive_event()
        assert (name, data["event_type"]) == ("workflow_event", "workflow_updated")
        assert data["name"] == "Renamed"
        await socket.ask("join_room", "dashboard")
        made(server)
        assert [(await socket.receive_event())[0] for _ in range(4)] == [
            "agent_status_update", "task_update", "workflow_event", "agent_status_update"]


@run_async
async def test_the_dashboard_hears_when_counts_change(make_server):
    server = make_server(LOOPS=3)
    async with Socket(server) as socket, Socket(server) as away:
        await socket.connect()
        await away.connect()
        await away.ask("leave_room", "dashboard")
        made(server)
        counts = await socket.receive_counts()
        while counts["tasks"]["total"] == 0 or counts["agents"]["total"] > 0:
            counts = await socket.receive_counts()  # In the middle of what was made.
        api = Client(server.port)
        shown = api.get("/api/dashboard/overview").json()
        assert counts["tasks"] == shown["tasks"] and counts["agents"] == shown["agents"]
        assert counts["system"].keys() == shown["system"].keys()
        api.post("/api/v1/agents/", {"name": "One", "agent_type": "t"})
        assert (await socket.receive_counts())["agents"]["total"] == 1
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(away.receive_counts(), 0.1)


def check_offsets(events):
    for event_ in events:
        assert event_[2] == event_[1]["event_id"]


@run_async
async def test_who_comes_back_is_shown_what_it_missed(make_server):
    server = make_server(LOOPS=3)
    async with Socket(server, offsets="true") as socket:
        answer, greeting = await socket.connect()
        first = made(server)
        events = [await socket.receive_event() for _ in range(4)]
        check_made(events, *first)
        check_offsets(events)
    second = made(server)
    auth = {"pid": answer["pid"], "offset": events[1][2]}
    for restarted in (False, True):
        if restarted:
            port = server.port
            server.kill()
            server.start(PORT=port)
        polling = Polling(server, offsets="true")
        async with Socket(server, offsets="true") as socket:
            await socket.send("40" + json.dumps(auth))
            polling.post("40" + json.dumps(auth))
            for client in (socket, polling):
                missed = []
                for _ in range(6):
                    got = client.receive_event()
                    missed.append(await got if client is socket else got)
                assert [one[2] for one in missed[:2]] == [one[2] for one in events[2:]]
                check_made(missed[2:], *second)
                check_offsets(missed)
                packet = client.receive()
                packet = await packet if client is socket else packet
                assert json.loads(packet[2:])["pid"] == answer["pid"], "known again"
                got = client.receive_event()
                name, greeting, offset = await got if client is socket else got
                assert (name, greeting["recovered"], greeting["missed_events"]) == (
                    "connected", True, 6)
                assert offset == greeting["last_event_id"] == missed[-1][2]
        polling.post("1")


@run_async
async def test_rooms_are_those_that_one_was_in(make_server):
    server = make_server(LOOPS=3)
    api = Client(server.port)
    workflow = api.post("/api/v2/workflows", {"name": "w", "type": "sequential"}).json()["id"]
    async with Socket(server, offsets="true") as socket:
        answer, _ = await socket.connect()
        await socket.ask("leave_room", "dashboard")
        await socket.ask("subscribe_workflow", workflow)
        offset = (await socket.ask("join_room", "tasks"))[2]
    made(server)
    api.put(f"/api/v2/workflows/{workflow}", {"name": "x"})
    port = server.port
    server.stop()
    server.start(PORT=port)
    async with Socket(server, offsets="true") as socket:
        await socket.send("40" + json.dumps({"pid": answer["pid"], "offset": offset}))
        first, second = [await socket.receive_event() for _ in range(2)]
        assert (first[0], second[0]) == ("task_update", "workflow_event")
        assert second[1]["workflow_id"] == workflow
        assert (await socket.receive()).startswith("40{")
        assert (await socket.receive_event())[1]["recovered"] is True
        made(server)
        live = await socket.receive_event()
        assert live[0] == "task_update"
        assert live[2] == live[1]["event_id"] + offset[offset.index("~"):]
        assert (await socket.ask("ping"))[0] == "pong"


@pytest.mark.parametrize("offset", ["nonsense", "~?", "-1", "~a~b",
                                    pytest.param("x" * 1000, id="long")])
@run_async
async def test_who_cannot_be_shown_everything_is_told(make_server, offset):
    server = make_server()
    made(server)
    async with Socket(server, offsets="true") as socket:
        await socket.send("40" + json.dumps({"pid": "mine", "offset": offset}))
        answer = json.loads((await socket.receive())[2:])
        assert answer["pid"] != "mine"
        name, greeting, _ = await socket.receive_event()
        assert (name, greeting["recovered"]) == ("connected", False)
        assert [task["title"] for task in greeting["snapshot"]["tasks"]["items"]] == ["Dig"]


@run_async
async def test_the_seam_has_no_gap_and_no_repeat(make_server):
    server = make_server(LOOPS=3)
    with concurrent.futures.ThreadPoolExecutor(1) as threads, contextlib.ExitStack() as over:
        stop = []

        def write():
            api, titles = Client(server.port), []
            while not stop:
                titles.append(f"t{len(titles)}")
                assert api.post("/api/v1/tasks/", {"title": titles[-1]}).status == 200
            return titles

        async with Socket(server, offsets="true") as socket:
            answer, greeting = await socket.connect()
            auth = {"pid": answer["pid"], "offset": greeting["last_event_id"]}
        writing = threads.submit(write)
        over.callback(stop.append, True)  # The threads are waited for.
        heard = []
        for turn in range(12):
            # Without a bound: a full queue of the library holds up its leaving for ten seconds.
            socket = Socket(server, offsets="true", max_queue=None)
            async with socket:
                await socket.send("40" + json.dumps(auth))
                end = time.monotonic() + 0.2
                if turn == 11:
                    stop.append(True)
                    await asyncio.wrap_future(writing)
                    end += 1
                while time.monotonic() < end:
                    try:
                        packet = await socket.receive(0.05)
                    except asyncio.TimeoutError:
                        continue
                    if packet.startswith("40"):
                        assert json.loads(packet[2:])["pid"] == auth["pid"]
                        continue
                    name, data, *offset = json.loads(packet[2:])
                    if name == "task_update":
                        heard.append(data["title"])
                    auth["offset"] = offset[0]
        assert heard == writing.result()
        assert len(heard) > 50


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
        async with Socket(guarded) as admin:
            _, greeting = await admin.connect({"token": guarded.tokens["admin"]})
            assert greeting["available_rooms"] == ROOMS
        async with Socket(guarded) as another:
            _, greeting = await another.connect({"token": guarded.tokens["operator"]})
            assert greeting["available_rooms"] == ROOMS[:-1], "admin is the administrators'"
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


# ---- The names of /ws


@run_async
async def test_changes_come_under_the_names_of_version_one_too(fresh):
    polling = Polling(fresh, offsets="true")
    polling.connect()
    async with Socket(fresh, offsets="true") as socket, V1(fresh, "/ws") as plain:
        await socket.connect()
        api = fresh.client()
        agent = api.agent_v1()
        heard = [json.loads((await socket.ws.recv())[2:]) for _ in range(2)]
        assert [event[0] for event in heard] == ["agent_created", "agent_status_update"]
        told = await plain.receive_type("agent_created")
        data = dict(heard[0][1])
        assert data.pop("timestamp") == told["timestamp"]
        assert data.pop("event_id") == told["event_id"] == heard[1][1]["event_id"]
        assert data == told["data"] and data["id"] == agent["id"]
        # Only with the second one is all of it heard.
        assert len(heard[0]) == 2 and heard[1][2] == told["event_id"]
        packets = []
        while len(packets) < 2:
            packets += [json.loads(one[2:]) for one in polling.poll() if not one.startswith(COUNTS)]
        assert packets == heard
        # What has no other name there ends with its offset itself.
        api.post("/api/v2/websocket/broadcast",
                 {"message_type": "system_notification", "data": {"text": "five o'clock"}})
        while (packet := await socket.ws.recv()).startswith(COUNTS):
            pass
        name, data, offset = json.loads(packet[2:])
        assert (name, data["text"], offset) == ("system_notification", "five o'clock",
                                                data["event_id"])
