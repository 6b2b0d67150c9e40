"""Coming back to a socket: what was missed, once and in order, also after a crash."""

import asyncio
import contextlib
import json
import random
import socket
import time
import urllib.parse

from harness import unique, wait_until
from sockets import Room, Socket, run_async


def path(base, **query):
    return base + "?" + urllib.parse.urlencode(query)


def create(server, name):
    with contextlib.closing(server.client()) as api:
        # By version 1, which starts no background task: its events are those of the test alone.
        return api.agent_v1(name=name, agent_type=unique())["id"]


def ended(message):
    return message["type"] == "connection_state" and "recovered" in message["data"]


async def until_end(socket):
    """The messages up to the one that ends coming back, and the data of that."""
    missed = []
    while True:
        message = await socket.receive()
        if ended(message):
            return missed, message["data"]
        if "event_id" in message:
            missed.append(message)


@run_async
async def test_what_was_missed_comes_before_what_happens(server):
    async with Socket(server, "/ws/v2") as first:
        then = first.first["data"]["last_event_id"]
    ids = [create(server, f"missed {i}") for i in range(5)]
    async with Socket(server, path("/ws/v2", last_event_id=then)) as again:
        missed, end = await until_end(again)
        mine = [m["data"]["agent"]["id"] for m in missed if m["type"] == "agent_update"
                and m["data"]["event"] == "agent_created" and m["data"]["agent"]["id"] in ids]
        assert mine == ids
        assert end["recovered"] is True and end["missed_events"] == len(missed)
        assert end["last_event_id"] == missed[-1]["event_id"]
        new = create(server, "live")
        live = await again.find(lambda m: m["type"] == "agent_update")
        assert live["data"]["agent"]["id"] == new


@run_async
async def test_an_id_of_another_log_brings_the_state(server):
    agent = create(server, "there")
    async with Socket(server, path("/ws/v2", last_event_id="00000000-12")) as socket:
        _, end = await until_end(socket)
        assert end["recovered"] is False
        agents = end["snapshot"]["agents"]
        assert agents["list"] == "/api/v2/agents"
        assert agents["items"][0]["id"] == agent
        assert {"tasks", "workflows"} <= set(end["snapshot"])


@run_async
async def test_version_one_comes_back(server):
    async with Socket(server, "/ws") as first:
        then = first.first["data"]["last_event_id"]
    agent = create(server, "missed in v1")
    async with Socket(server, path("/ws", last_event_id=then)) as again:
        assert again.first["type"] == "connection_established"
        event = await again.receive()
        assert event["type"] == "agent_created" and event["data"]["id"] == agent
        end = await again.receive()
        assert end["type"] == "connection_recovered" and end["data"]["recovered"] is True


@run_async
async def test_rooms_of_the_handshake_are_joined(server):
    async with Room(server, "lab") as inside:
        then = inside.first["data"]["last_event_id"]
        await inside.send({"type": "room_message", "room": "lab", "data": {"text": "while away"},
                           "correlation_id": "c"})
        await inside.find(lambda m: m["type"] == "ack")
        url = path("/ws/v2", last_event_id=then, rooms="lab, other")
        async with Socket(server, url) as again:
            missed, end = await until_end(again)
            texts = [m["data"].get("text") for m in missed if m["type"] == "room_message"]
            assert texts == ["while away"]
            assert "lab" in end["rooms"]


@run_async
async def test_nothing_is_lost_or_doubled_over_kills(make_server, seed):
    rng = random.Random(seed)
    server = make_server()
    heard, last = [], None
    created = []

    async def follow(up_to=None):
        """Listens for a while from the last event on, or up to an agent, then drops the
        connection."""
        nonlocal last
        query = {"last_event_id": last} if last else {}
        enough = time.monotonic() + (20 if up_to else rng.uniform(0.05, 0.5))
        try:
            # Without a bound on its queue the client also reads on while it closes.
            async with Socket(server, path("/ws/v2", **query), max_queue=None) as socket:
                if last is None:
                    last = socket.first["data"]["last_event_id"]
                while time.monotonic() < enough and (up_to is None or up_to not in heard):
                    message = await socket.receive(10 if up_to else 0.2)
                    assert not ended(message) or message["data"]["recovered"], message
                    if "event_id" in message:
                        last = message["event_id"]
                        heard.append(message["data"]["agent"]["name"])
        except (asyncio.TimeoutError, OSError):
            pass
        except Exception as error:  # The server was killed while we read.
            assert "Connection" in type(error).__name__ or "close" in str(error), error

    async def write(stop):
        number = 0
        while not stop.is_set():
            name = f"agent {number}"
            number += 1
            try:
                await asyncio.to_thread(create, server, name)
                created.append(name)
            except (OSError, AssertionError, ValueError):
                await asyncio.sleep(0.05)
            except Exception as error:
                assert type(error).__name__ in ("RemoteDisconnected", "IncompleteRead"), error
                await asyncio.sleep(0.05)

    await follow()
    stop = asyncio.Event()
    writer = asyncio.create_task(write(stop))
    for _ in range(4):
        for _ in range(3):
            await follow()
        server.kill()
        await asyncio.to_thread(server.start)
    stop.set()
    await writer
    await follow(up_to=created[-1])
    assert len(heard) == len(set(heard)), "an event came twice"
    numbers = [int(name.split()[1]) for name in heard]
    assert numbers == sorted(numbers)
    missing = set(created) - set(heard)
    assert not missing, f"acknowledged, and not heard: {sorted(missing)[:5]} of {len(missing)}"
    assert len(created) > 20


@run_async
async def test_where_old_events_have_left_the_log_the_state_comes(make_server):
    server = make_server(EVENT_RETENTION_COUNT=5)
    async with Socket(server, "/ws/v2") as first:
        then = first.first["data"]["last_event_id"]
    names = [f"agent {i}" for i in range(30)]
    for name in names:
        create(server, name)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)  # A second later it looks for what is old.

    def events():
        with contextlib.closing(server.database()) as database:
            return database.execute("SELECT count(*) AS n FROM events").fetchone()["n"]

    await asyncio.to_thread(wait_until, lambda: events() == 5, 10, "the end of old events")
    async with Socket(server, path("/ws/v2", last_event_id=then)) as again:
        _, end = await until_end(again)
        assert end["recovered"] is False
        assert {agent["name"] for agent in end["snapshot"]["agents"]["items"]} >= set(names)


@run_async
async def test_much_is_shown_as_fast_as_it_is_read(make_server):
    """What was missed is 30 times what a connection's queue holds."""
    server = make_server(WEBSOCKET_QUEUE_BYTES_MAX=200_000)
    async with Room(server, "lab") as writer:
        then = writer.first["data"]["last_event_id"]
        for n in range(300):
            await writer.send({"type": "room_message", "room": "lab", "correlation_id": str(n),
                               "data": {"n": n, "text": "x" * 20_000}})
        await writer.find(lambda m: m["type"] == "ack" and m["correlation_id"] == "299")
    # From the disk, as after a crash; and from memory.
    for again in range(2):
        if again == 0:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        small = socket.create_connection(("127.0.0.1", server.port))
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        url = path("/ws/v2", last_event_id=then, rooms="lab")
        async with Socket(server, url, sock=small, max_queue=1, read_limit=4096) as reader:
            await asyncio.sleep(0.5)
            missed, end = await until_end(reader)
            assert [m["data"]["n"] for m in missed if "n" in m["data"]] == list(range(300))
            assert end["recovered"] is True


@run_async
async def test_the_longest_message_that_may_be_sent_comes(server):
    """Its envelope makes it longer than what may wait for a reader."""
    async with Room(server, "big") as writer, Room(server, "big") as reader:
        then = reader.first["data"]["last_event_id"]
        message = {"type": "room_message", "room": "big", "correlation_id": "c", "data": {"t": ""}}
        message["data"]["t"] = "x" * (2**20 - len(json.dumps(message)))
        await writer.send(message)
        live = await reader.find(lambda m: "t" in m["data"])
        assert live["data"]["t"] == message["data"]["t"]
        for _ in range(2):
            async with Socket(server, path("/ws/v2", last_event_id=then, rooms="big")) as again:
                missed, end = await until_end(again)
                assert [len(m["data"]["t"]) for m in missed] == [len(message["data"]["t"])]
                assert end["recovered"] is True


@run_async
async def test_a_snapshot_has_a_bound_in_bytes(make_server):
    """40 tasks of 30 KB are more than is told of each kind; the newest are, and that it is cut."""
    server = make_server()
    with contextlib.closing(server.client()) as api:
        for n in range(40):
            answer = api.post("/api/v1/tasks/",
                              {"title": f"t{n}", "metadata": {"notes": "y" * 30_000}})
            assert answer.status == 200, answer
    create(server, "small")
    for base in ("/ws/v2", "/ws"):
        async with Socket(server, path(base, last_event_id="00000000-12")) as socket:
            end = await socket.find(lambda m: "snapshot" in m["data"])
            snapshot = end["data"]["snapshot"]
            assert end["data"]["recovered"] is False
            assert len(json.dumps(snapshot["tasks"])) < 2**18 + 1000
            assert snapshot["tasks"]["complete"] is False
            titles = [task["title"] for task in snapshot["tasks"]["items"]]
            assert titles == [f"t{n}" for n in range(39, 39 - len(titles), -1)] and len(titles) > 3
            assert snapshot["agents"]["complete"] is True
            assert [agent["name"] for agent in snapshot["agents"]["items"]] == ["small"]
