"""PostgreSQL beneath the server: it goes away and comes back, several processes share it, and a
database moves from SQLite to it and back."""

import asyncio
import base64
import collections
import concurrent.futures
import contextlib
import datetime
import glob
import json
import re
import selectors
import signal
import socket
import threading
import time

import pytest
import redis as redis_client

import postgres
import redis_server
from cache_model import check_reads
from engine_packets import Socket as SocketIo, event
from harness import Client, Server, unique, wait_until
from hostile_uploads import END, part
from sockets import Room, Socket, run_async
from uploads import FILES, send, stored


@pytest.fixture(scope="module")
def cluster():
    """One of its own: the others' must not be stopped beneath them."""
    cluster = postgres.Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture(autouse=True)
def running(cluster):
    """Whatever became of the test before."""
    if cluster.process is None:
        cluster.start()


def timed(call):
    begin = time.monotonic()
    answer = call()
    return answer, time.monotonic() - begin


def all_at_once(calls):
    """What each answers, and in how many seconds."""
    outcomes = [None] * len(calls)

    def run(at):
        outcomes[at] = timed(calls[at])

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def tell_of_a_retry(redis, task):
    """As a worker of Celery's does."""
    key = f"celery-task-meta-{task}"
    told = json.dumps({
        "status": "RETRY", "traceback": "", "children": [], "date_done": None, "task_id": task,
        "result": {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}})
    with redis_client.Redis.from_url(redis.url()) as client:
        client.set(key, told)
        client.publish(key, told)


def beat(api, agent):
    answer = api.post(f"/api/v1/agents/{agent}/heartbeat", {"status": "active", "agent_id": agent})
    assert answer.status == 200, answer


def test_schedules_retries_and_leases_go_by_the_clock_that_all_share(cluster, make_server):
    """Neither starts what the other has started, counts what it has counted, or ends a lease that
    it gave, though one is ten minutes ahead."""
    library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")[0]
    with redis_server.RedisServer(durable=False) as redis:
        shared = {"DATABASE_URL": cluster.create_database(), "CELERY_BROKER_URL": redis.url(),
                  "AGENT_LEASE_SECONDS": 4}
        ahead = make_server(**shared, LD_PRELOAD=library, FAKETIME="+10m",
                            FAKETIME_DONT_FAKE_MONOTONIC=1, DONT_FAKE_MONOTONIC=1).client()
        api = make_server(**shared).client()
        silent, alive = ahead.agent_v1()["id"], api.agent_v1()["id"]
        beat(ahead, silent)
        made = api.post("/api/v2/task-schedules", {
            "name": "minutely", "task": "analyze_system_metrics", "cron": "* * * * *",
            "overlap": True})
        assert made.status == 201, made.text
        task = api.post("/api/v2/background-tasks", {
            "task_name": "python.flaky", "queue": "python"}).json()["task_id"]
        for _ in range(7):  # Both have looked what waits for workers of Celery's, and for leases.
            beat(api, alive)
            time.sleep(1)
            assert api.get(f"/api/v1/agents/{alive}").json()["status"] == "active"
        assert api.get(f"/api/v1/agents/{silent}").json()["status"] == "offline"
        started = api.get("/api/v2/background-tasks?task_name=analyze_system_metrics").json()
        assert len(started) <= 1, "a minute began at most"
        tell_of_a_retry(redis, task)
        record = f"/api/v2/background-tasks/{task}"
        wait_until(lambda: api.get(record).json()["status"] == "retry", seconds=20)
        time.sleep(0.5)
        assert api.get(record).json()["retry_count"] == 1


async def how_it_closes(server):
    async with Socket(server, "/ws/v2") as viewer:
        return await viewer.closed()


def test_a_database_that_does_not_answer_is_gone(cluster, make_server):
    """Who waits for it is told within a second, who comes later at once; then all goes on."""
    server = make_server(DATABASE_URL=cluster.create_database(), LOOPS=2, DATABASE_SILENCE_MS=700)
    server.errors_expected = True
    agent = server.client().agent_v2()["id"]
    clients = [server.client() for _ in range(5)]
    requests = [
        lambda: clients[0].get(f"/api/v1/agents/{agent}"),
        lambda: clients[1].get("/api/v1/agents/"),
        lambda: clients[2].get("/api/v1/agents/stats/summary"),
        lambda: clients[3].post("/api/v2/agents", {"name": "lost", "type": "tester"}),
        lambda: clients[4].get("/health"),
    ]
    for outcome in all_at_once(requests[:3]):
        assert outcome[0].status == 200
    first, later = [], []
    for _ in range(3):
        with cluster.frozen():
            down_at = time.time()
            outcomes = all_at_once(requests)
            for answer, _ in outcomes:
                assert answer.status == 503, answer
                assert answer.header("Retry-After") is not None, answer
            first.append(max(seconds for _, seconds in outcomes))
            for _ in range(2):
                outcomes = all_at_once(requests)
                assert all(answer.status == 503 for answer, _ in outcomes), outcomes
                later.append(max(seconds for _, seconds in outcomes))
            # What is kept for its user cannot be read: it is to come again.
            assert asyncio.run(how_it_closes(server)) == 1013
            part = clients[4].get("/health").json()["details"]["database"]
            since = datetime.datetime.fromisoformat(part["down_since"].replace("Z", "+00:00"))
            assert part["status"] == "down"
            assert 0 < since.timestamp() - down_at < first[-1] + 0.3
        wait_until(lambda: requests[4]().status == 200, 5, "recovery")
        wait_until(lambda: requests[3]().status == 201, 5, "a write")
        for answer, _ in all_at_once(requests):
            assert answer.status in (200, 201), answer
    # A machine that is busy with something else only ever adds to it.
    assert min(first) < 1.1 and max(first) < 5, first
    assert min(later) < 0.2 and max(later) < 2, later


def test_a_machine_that_stood_still_is_no_database_that_does(cluster, make_server):
    server = make_server(DATABASE_URL=cluster.create_database(), DATABASE_SILENCE_MS=1500)
    agent = server.client().agent_v2()["id"]
    for _ in range(2):
        with cluster.frozen():
            time.sleep(0.5)  # So that the server is waiting for an answer.
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(2)
            server.process.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        assert server.client().get(f"/api/v2/agents/{agent}").status == 200
        time.sleep(0.3)  # An error in the log would fail the test.


def test_a_table_that_is_locked_holds_up_nobody_for_long(cluster, make_server):
    url = cluster.create_database()
    server = make_server(DATABASE_URL=url)
    server.errors_expected = True
    api = server.client()
    agent = api.agent_v2()["id"]
    task = api.post("/api/v2/tasks", {"title": "t"}).json()["id"]
    clients = [server.client() for _ in range(3)]
    paths = [f"/api/v1/agents/{agent}", "/api/v1/agents/", f"/api/v1/tasks/{task}"]
    database = url.split("/")[3].split("?")[0]
    locked = threading.Thread(target=cluster.query, args=(
        database, "BEGIN; LOCK TABLE agents; SELECT pg_sleep(4); COMMIT"))
    locked.start()
    wait_until(lambda: cluster.query(database, "SELECT 1 FROM pg_locks WHERE granted AND relation ="
                                               " 'agents'::regclass AND mode LIKE 'AccessE%'"))
    outcomes = all_at_once([lambda at=at: clients[at].get(paths[at]) for at in range(3)])
    for (answer, seconds), status in zip(outcomes, (503, 503, 200)):
        assert answer.status == status and seconds < 1.9, outcomes
        assert status == 200 or answer.header("Retry-After"), answer
    locked.join()
    assert [api.get(path).status for path in paths] == [200] * 3


def test_a_server_that_takes_no_writes_is_not_there_for_them(cluster, make_server):
    """Such as a standby, or one whose disk is nearly full."""
    server = make_server(DATABASE_URL=cluster.create_database())
    server.errors_expected = True
    api = server.client()
    agent = api.agent_v2()
    try:
        cluster.query("postgres", "ALTER SYSTEM SET default_transaction_read_only = on")
        cluster.query("postgres", "SELECT pg_reload_conf()")
        answer = wait_until(lambda: (lambda one: one.status != 201 and one)(
            api.post("/api/v2/agents", {"name": "x", "type": "y"})))
        assert answer.status == 503 and answer.header("Retry-After"), answer
        assert api.get(f"/api/v2/agents/{agent['id']}").json() == agent
    finally:
        cluster.query("postgres", "ALTER SYSTEM RESET default_transaction_read_only")
        cluster.query("postgres", "SELECT pg_reload_conf()")
    wait_until(lambda: api.post("/api/v2/agents", {"name": "x", "type": "y"}).status == 201)


@run_async
async def test_the_database_goes_and_comes_back(cluster, make_server):
    server = make_server(DATABASE_URL=cluster.create_database())
    server.errors_expected = True
    api = server.client()
    async with Socket(server, "/ws") as viewer:
        kept = api.agent_v2()
        # What is kept for its user was read before: who cannot be shown that has to come again.
        await viewer.receive_type("agent_created")
        cluster.stop()
        down_at = time.time()
        requests = [
            lambda: api.get(f"/api/v2/agents/{kept['id']}"),
            lambda: api.get("/api/v2/agents"),
            lambda: api.get("/api/v1/agents/stats/summary"),
            lambda: api.post("/api/v2/agents", {"name": "lost", "type": "tester"}),
            lambda: api.get("/health"),
        ]
        # At once, and after the first tries to connect again have failed.
        for _ in range(3):
            for request in requests:
                answer, seconds = timed(request)
                assert answer.status == 503 and seconds < 1, (answer, seconds)
                assert answer.header("Retry-After") is not None, answer
            time.sleep(0.4)
        assert api.get("/health/live").status == 200
        assert api.get("/health/ready").status == 503  # Looked at once a second.
        health = api.get("/health").json()
        assert health["status"] == "unhealthy" and health["checks"]["database"] is False
        database = health["details"]["database"]
        assert database["adapter"] == "postgresql" and database["status"] == "down"
        since = datetime.datetime.fromisoformat(database["down_since"].replace("Z", "+00:00"))
        assert abs(since.timestamp() - down_at) < 5, (since, down_at)
        for path in ("/api/v1/system/health", "/api/v2/system/health"):
            body = api.get(path).json()
            assert body["status"] == "unhealthy" and body["checks"]["database"] is False
            assert body["details"]["database"]["down_since"] == database["down_since"]
        cluster.start()
        wait_until(lambda: api.get("/health").status == 200, 5, "recovery")
        assert api.get("/health").json()["details"]["database"] == {"adapter": "postgresql",
                                                                     "status": "up"}
        assert api.get(f"/api/v2/agents/{kept['id']}").json()["id"] == kept["id"]
        new = api.agent_v2()
        event = await viewer.receive_type("agent_created")
        assert event["data"]["id"] == new["id"]
        await viewer.silent()
    lines = [line["message"] for line in server.log_lines()]
    assert "the database is gone" in lines and "the database is back" in lines


@run_async
async def test_two_processes_share_one_database(cluster, make_server):
    url = cluster.create_database()
    here, there = make_server(DATABASE_URL=url), make_server(DATABASE_URL=url)
    async with Socket(here, "/ws") as viewer:
        agent = there.client().agent_v2()
        event = await viewer.receive_type("agent_created")
        assert event["data"]["id"] == agent["id"]
    assert here.client().get(f"/api/v2/agents/{agent['id']}").status == 200

    def create(server):
        client = server.client()
        for _ in range(25):
            client.agent_v2()

    threads = [threading.Thread(target=create, args=(server,)) for server in [here, there] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    database = url.partition("@/")[2].partition("?")[0]
    [[ids]] = cluster.query(database,
                            "SELECT string_agg(CAST(id AS TEXT), ' ' ORDER BY id) FROM events")
    ids = [int(id_) for id_ in ids.split()]
    assert ids == list(range(1, len(ids) + 1))
    created = "SELECT count(*) FROM events WHERE kind = 'agent.created'"
    assert cluster.query(database, created) == [["201"]]


@run_async
async def test_news_reach_the_viewers_of_all_servers(cluster, make_server):
    """What is in no log: each viewer hears it once, in order, as the same message."""
    url = cluster.create_database()
    here, there = make_server(DATABASE_URL=url), make_server(DATABASE_URL=url)
    api = here.client()
    posted = [{"message_type": "metrics_update", "room": "lab", "data": {"text": "ü" * 20_000}},
              {"message_type": "heartbeat", "data": {"n": 2, "text": "\u2028\"\\"}}]

    def figures(message):
        data = message["data"].get("network_metrics", message["data"])
        return data.get("websocket_connections")

    async def hears_all(viewer):
        """Not the newest alone, as who is still being shown the past does."""
        for _ in range(20):
            api.post("/api/v1/system/metrics", {"websocket_connections": 7000})
            with contextlib.suppress(asyncio.TimeoutError):
                return await viewer.find(lambda message: figures(message) == 7000, 1)
        raise AssertionError("it hears nothing")

    async with (Socket(here, "/ws") as v1_here, Socket(there, "/ws") as v1_there,
                Room(here, "lab") as v2_here, Room(there, "lab") as v2_there):
        for viewer in (v1_here, v1_there, v2_here, v2_there):
            await hears_all(viewer)
        for count in (7001, 7002):
            answer = api.post("/api/v1/system/metrics", {"websocket_connections": count})
            assert answer.status == 200, answer
        sent = [api.post("/api/v2/websocket/broadcast", body).json() for body in posted]
        assert [each["recipients_count"] for each in sent] == [1, 1]
        seen = []
        for viewer in (v2_here, v2_there):
            # Each server's first sample of the machine is its own.
            first = await viewer.find(lambda message: figures(message) == 7001)
            seen.append([first] + [await viewer.receive() for _ in range(3)])
        assert seen[0] == seen[1]
        metrics, heartbeat = seen[0][:3], seen[0][3]
        assert [each["type"] for each in metrics] == ["metrics_update"] * 3
        assert [figures(each) for each in metrics] == [7001, 7002, None]
        assert metrics[2]["room"] == "lab" and heartbeat["type"] == "heartbeat"
        for message, body, answer in zip(seen[0][2:], posted, sent):
            assert message["data"]["text"] == body["data"]["text"] and "event_id" not in message
            assert message["message_id"] == answer["message_id"]
        for viewer in (v1_here, v1_there):
            first = await viewer.find(lambda message: figures(message) == 7001)
            second = await viewer.receive_type("system_metrics_updated")
            assert first["data"]["id"] != second["data"]["id"] and figures(second) == 7002
        for viewer in (v1_here, v1_there, v2_here, v2_there):
            await viewer.silent()


@run_async
async def test_relays_of_socketio_reach_the_rooms_of_all_servers(cluster, make_server):
    """Each member hears each once, in order; who is in no room of theirs hears none."""
    url = cluster.create_database()
    here, there = (make_server(DATABASE_URL=url, DEBUG="true") for _ in range(2))
    async with (SocketIo(here) as one, SocketIo(there) as two, SocketIo(there) as outside):
        for each in (one, two, outside):
            await each.connect()
        for each in (one, two):
            assert (await each.ask("join_room", {"room": "tasks"}))[0] == "room_joined"
        told = [{"task_id": "ü\u2028\"", "status": "s" * 9_000, "n": n, "digits": 10**30}
                for n in range(50)]
        for data in told:
            await one.send(event("task_update", data))
        for each in (one, two):
            assert [await each.receive_event() for _ in told] == [["task_update", data]
                                                                  for data in told]
        answer = there.client().post("/debug/socketio/broadcast",
                                     {"event": "maintenance", "data": {"soon": True}})
        assert answer.status == 200, answer
        for each in (one, two, outside):
            assert json.loads((await each.receive())[2:]) == ["maintenance", {"soon": True}]
        for each in (one, two, outside):
            with pytest.raises(asyncio.TimeoutError):
                await each.receive(0.2)


@run_async
async def test_who_is_in_a_room_is_told_by_all_servers(cluster, make_server):
    """A user comes with the first connection to any of them, and goes with the last."""
    url = cluster.create_database()
    here = make_server(start=False, DATABASE_URL=url)
    tokens = {user: here.create_token(user, "operator", "--user", user)
              for user in ("ann", "bob", "carl")}
    here.start()

    def room(server, user):
        return Room(server, "lab", path=f"/ws/v2?token={tokens[user]}")

    async def news(viewer):
        data = (await viewer.find(lambda m: m["type"] == "room_message"))["data"]
        return data["event"], data["user_id"], data["members_count"]

    api = here.client(tokens["ann"])
    async with room(here, "ann") as ann:
        there = make_server(DATABASE_URL=url)
        # It asks who is with the others when it starts.
        await asyncio.to_thread(
            wait_until, lambda: there.client(tokens["bob"]).get(
                "/api/v2/websocket/rooms").json(), 5, "that it has heard")
        async with room(there, "bob") as bob:
            assert await news(ann) == ("user_joined", "bob", 2)
            async with room(here, "bob") as second:
                await ann.silent()
                await bob.silent()
                lab = api.get("/api/v2/websocket/rooms/lab").json()
                assert (lab["members_count"], lab["members"]) == (3, ["ann", "bob"])
                await bob.ws.close()
                await ann.silent()
                async with room(there, "carl"):
                    for viewer in (ann, second):
                        assert await news(viewer) == ("user_joined", "carl", 3)
                for viewer in (ann, second):
                    assert await news(viewer) == ("user_left", "carl", 2)
            assert await news(ann) == ("user_left", "bob", 1)
        async with room(there, "bob"):
            assert await news(ann) == ("user_joined", "bob", 2)
            there.stop()
            assert await news(ann) == ("user_left", "bob", 1)


@run_async
async def test_who_returns_to_another_server_is_where_it_was(cluster, make_server):
    """Also to one that has not yet heard of the event that another has told the client."""
    url = cluster.create_database()
    database = url.split("/")[3].split("?")[0]
    server = make_server(DATABASE_URL=url)
    async with Room(server, "r") as viewer:
        await viewer.send({"type": "room_message", "room": "r", "echo": True})
        seen = (await viewer.receive_type("room_message"))["event_id"]
    log, _, number = seen.rpartition("-")
    # Its writer waits for its turn, and meanwhile somebody who has it writes, and is not heard of.
    turn = "8391727402650183"
    add = ("INSERT INTO events (at, kind, level, subject, actor, audience, version, correlation_id,"
           " payload) SELECT at, kind, level, subject, actor, audience, version, correlation_id,"
           f" payload FROM events WHERE id = {number}")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        other = pool.submit(cluster.query, database, f"BEGIN; SELECT pg_advisory_lock({turn});"
                            f" SELECT pg_sleep(0.5); {add}; COMMIT; SELECT pg_sleep(3)")
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND"
        wait_until(lambda: cluster.query(database, f"{waits} granted"))
        write = pool.submit(server.client().agent_v2)
        wait_until(lambda: cluster.query(database, f"{waits} NOT granted"))
        ahead = f"{log}-{int(number) + 1}"
        wait_until(lambda: cluster.query(database,
                                         f"SELECT 1 FROM events WHERE id = {int(number) + 1}"))
        async with (Socket(server, f"/ws/v2?last_event_id={ahead}&rooms=r") as back,
                    Socket(server, f"/ws?last_event_id={ahead}") as old,
                    Socket(server, f"/ws/v2?last_event_id={log}-{int(number) + 9}") as foreign):
            end = await back.find(lambda message: "recovered" in message["data"])
            assert end["data"]["recovered"] is True and end["data"]["missed_events"] == 0, end
            assert end["data"]["last_event_id"] == ahead
            end = await old.receive_type("connection_recovered")
            assert end["data"]["recovered"] is True, end
            end = await foreign.find(lambda message: "recovered" in message["data"])
            assert end["data"]["recovered"] is False, end  # That the log has not given.
            assert not write.done(), "it has heard of it too early"
            other.result()
            agent = write.result()
            event = await back.receive_type("agent_update")
            assert int(event["event_id"].rpartition("-")[2]) > int(number) + 1
            assert event["data"]["agent"]["id"] == agent["id"]
            await old.receive_type("agent_created")


CROWD, MISSED = 700, 30


def ends_of(server, connections):
    """What each hears of how its coming back ended; nothing if it is closed before."""
    ends, waiting = [], {}
    with selectors.DefaultSelector() as ready:
        for connection in connections:
            waiting[connection] = b""
            ready.register(connection, selectors.EVENT_READ)
        until = time.monotonic() + 30
        while waiting:
            assert time.monotonic() < until, (len(ends), server.log_tail())
            for key, _ in ready.select(1):
                got = key.fileobj.recv(65536)
                seen = waiting[key.fileobj] = waiting[key.fileobj] + got
                end = re.search(rb'"recovered":(\w+).*?"missed_events":(\d+)', seen)
                if end or not got or b"reconnect" in seen:
                    ends.append(end and end.groups())
                    ready.unregister(key.fileobj)
                    del waiting[key.fileobj]
    return ends


@run_async
async def test_a_crowd_that_comes_back_at_once_is_recovered(cluster, make_server):
    """After a restart, with what it missed no longer in the memory of the server before."""
    server = make_server(DATABASE_URL=cluster.create_database(), LOOPS=1)
    async with Room(server, "r") as writer:
        then = writer.first["data"]["last_event_id"]
        for _ in range(MISSED):
            await writer.send({"type": "room_message", "room": "r", "correlation_id": "a"})
            await writer.find(lambda message: message["type"] == "ack")
    server.stop()
    server.start()
    handshake = "\r\n".join((
        f"GET /ws/v2?last_event_id={then}&rooms=r HTTP/1.1", f"Host: localhost:{server.port}",
        "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "")).encode()
    with contextlib.ExitStack() as open_ones:
        # All of them are there before it serves the first.
        server.process.send_signal(signal.SIGSTOP)
        connections = []
        for _ in range(CROWD):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connections.append(open_ones.enter_context(connection))
            connection.sendall(handshake)
        server.process.send_signal(signal.SIGCONT)
        ends = collections.Counter(ends_of(server, connections))
    assert ends == {(b"true", str(MISSED).encode()): CROWD}, ends


@run_async
async def test_texts_that_no_database_takes_are_refused_one_by_one(cluster, make_server):
    server = make_server(DATABASE_URL=cluster.create_database())
    async with Room(server, "ok") as viewer:
        zero = "a\0b"
        messages = [{"type": "join_room", "room": zero},
                    {"type": "recover", "data": {"rooms": [zero]}},
                    {"type": "room_message", "room": "ok", "correlation_id": "first"},
                    {"type": "room_message", "room": "ok", "correlation_id": zero},
                    {"type": "room_message", "room": "ok", "data": {zero: zero},
                     "correlation_id": "last", "echo": True}]
        for message in messages:
            await viewer.send(message)
        answers = [await viewer.receive() for _ in range(6)]
        codes = collections.Counter(answer["data"].get("code") for answer in answers)
        assert codes == {"invalid": 3, None: 3}, answers
        assert "U+0000" in answers[0]["data"]["message"], answers[0]
        acknowledged = [a["correlation_id"] for a in answers if a["type"] == "ack"]
        assert acknowledged == ["first", "last"]
        [message] = [a for a in answers if a["type"] == "room_message"]
        assert message["data"][zero] == zero


def test_reads_of_one_server_show_what_was_written_through_another(cluster, make_server):
    url = cluster.create_database()
    check_reads([make_server(DATABASE_URL=url, LOOPS=2) for _ in range(2)], "two servers")


def test_changes_of_one_record_by_two_processes_are_not_lost(cluster, make_server):
    url = cluster.create_database()
    servers = [make_server(DATABASE_URL=url) for _ in range(2)]
    agent = servers[0].client().agent_v2()
    statuses = collections.Counter()

    def beat(server):
        client = server.client()
        for _ in range(20):
            answer = client.put(f"/api/v1/agents/{agent['id']}", {"description": unique()})
            statuses[answer.status] += 1

    threads = [threading.Thread(target=beat, args=(server,)) for server in servers * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    name = url.partition("@/")[2].partition("?")[0]
    [[version]] = cluster.query(name, "SELECT version FROM agents")
    assert int(version) == 1 + statuses[200] and statuses[200] == 120, statuses


def table_lines(output):
    return dict(re.findall(r"^(\w+) (\d+ [0-9a-f]{32})$", output, re.MULTILINE))


def test_from_sqlite_to_postgresql_and_back(cluster, tmp_path):
    first = Server(tmp_path / "first", DATABASE_URL="sqlite:///./first.db")
    first.start()
    api = first.client()
    agents = [api.agent_v2(name=f"agent {i} \u00e4\U0001f600", tags=["a", "b"]) for i in range(30)]
    for agent in agents[:5]:
        assert api.delete(f"/api/v2/agents/{agent['id']}").status in (200, 204)
    last = api.agent_v2()
    assert api.delete(f"/api/v2/agents/{last['id']}").status in (200, 204)
    token = first.run_tool("token", "create", "--name", "ci", "--role", "admin").stdout.split()[-1]
    first.stop()
    in_postgresql = cluster.create_database()

    def migrate(source, target, check=True):
        return first.run_tool("migrate", "--from", source, "--to", target, check=check)

    there = migrate("sqlite:///./first.db", in_postgresql)
    back = migrate(in_postgresql, "sqlite:///./second.db")
    tables = table_lines(there.stdout)
    assert tables == table_lines(back.stdout)
    assert tables["agents"].startswith("25 ") and int(tables["events"].split()[0]) >= 38
    assert "agents: 25 rows" in there.stderr

    # What was there serves on, each id as it was, and no id is given twice.
    listed = {}
    for folder, url in (("a", in_postgresql), ("b", f"sqlite:///{first.folder}/second.db")):
        server = Server(tmp_path / folder, DATABASE_URL=url)
        server.start()
        try:
            client = server.client(token)
            page = client.get("/api/v2/agents?limit=100").json()
            listed[folder] = page
            for agent in agents[5:]:
                assert client.get(f"/api/v2/agents/{agent['id']}").json() == agent
            client.agent_v2()
        finally:
            server.stop()
    assert json.dumps(listed["a"], sort_keys=True) == json.dumps(listed["b"], sort_keys=True)
    name = in_postgresql.partition("@/")[2].partition("?")[0]
    events = int(tables["events"].split()[0])
    # Besides the new agent there is what is told of its background task.
    [[newest, count]] = cluster.query(name, "SELECT max(id), count(*) FROM events")
    assert newest == count and int(count) > events
    assert cluster.query(name, "SELECT max(seq) FROM agents") == [["32"]]

    # A target that has something is left alone.
    for source, target in (("sqlite:///./second.db", in_postgresql),
                           (in_postgresql, "sqlite:///./first.db")):
        refused = migrate(source, target, check=False)
        assert refused.returncode == 2 and "The target is not empty" in refused.stderr
    missing = migrate("sqlite:///./missing.db", cluster.create_database(), check=False)
    assert missing.returncode == 2 and "there is no file ./missing.db" in missing.stderr
    empty = migrate(cluster.create_database(), "sqlite:///./third.db", check=False)
    assert empty.returncode == 2 and "The source was empty" in empty.stderr


def test_tokens_beside_a_running_server(cluster, make_server):
    server = make_server(DATABASE_URL=cluster.create_database())
    token = server.create_token("ops", "operator")
    assert Client(server.port, token).get("/api/v2/agents").status == 200
    server.run_tool("token", "revoke", "ops")
    wait_until(lambda: Client(server.port, token).get("/api/v2/agents").status == 401, 2,
               "that the server knows of the revocation")


def test_a_server_that_is_not_there_is_told_and_the_password_is_not(make_server):
    server = make_server(start=False, DATABASE_URL="postgresql://me:hidden@/x?host=/nowhere",
                         DATABASE_CONNECT_TIMEOUT_SECONDS=1)
    done = server.run_tool("serve", check=False)
    assert done.returncode == 1 and "The database is not available" in done.stderr
    assert "/nowhere" in done.stderr and "hidden" not in done.stderr
    shown = server.run_tool("config").stdout
    assert "me:***@" in shown and "hidden" not in shown


# --- An answer that is lost

class LossyProxy:
    """Between the server and the database. It breaks a connection once: where `mark` is sent on it,
    or, with `committed`, before the answer to the COMMIT behind that."""

    def __init__(self, cluster, mark, *, committed):
        self.mark, self.committed, self.done = mark, committed, False
        self.path = next(str(path) for path in cluster.folder.glob(".s.PGSQL.*")
                         if not path.name.endswith(".lock"))
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def url(self, database_url):
        name = database_url.partition("@/")[2].partition("?")[0]
        port = self.listener.getsockname()[1]
        return f"postgresql://subforge@127.0.0.1:{port}/{name}?sslmode=disable"

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.path)
                state = {"marked": False}
                for args in ((client, server, state, True), (server, client, state, False)):
                    threading.Thread(target=self.pump, args=args, daemon=True).start()

    def loses(self, data, state, upwards):
        if upwards and self.mark in data:
            state["marked"] = True
        answered = not upwards and b"COMMIT\0" in data
        return not self.done and state["marked"] and (answered or not self.committed)

    def pump(self, source, target, state, upwards):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.loses(data, state, upwards):
                    self.done = True
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def writes(client):
    """Whether the server has a connection to write with again; it loses it after its answer."""
    return client.post("/api/v2/agents", {"name": "x", "type": "y"}).status == 201


def behind_a_lossy_proxy(cluster, make_server, *, committed):
    proxy = LossyProxy(cluster, b"lossy.txt", committed=committed)
    server = make_server(DATABASE_URL=proxy.url(cluster.create_database()), DISK_FREE_BYTES_MIN=0,
                         ENABLE_BACKGROUND_TASKS="false")
    server.errors_expected = True
    return proxy, server


@pytest.mark.parametrize("committed", (True, False))
def test_an_upload_whose_commit_is_not_answered_keeps_what_has_a_row(cluster, make_server,
                                                                     committed):
    proxy, server = behind_a_lossy_proxy(cluster, make_server, committed=committed)
    client = server.client()
    answer = send(client, part(filename="lossy.txt", content=b"precious") + END)
    assert (answer.status, proxy.done) == (503, True), answer
    assert answer.header("Retry-After") is not None
    wait_until(lambda: client.get(FILES).status == 200, 10, "recovery")
    files = client.get(FILES).json()
    assert len(files) == committed
    for file in files:
        assert client.get(f"{FILES}/{file['id']}/download").body == b"precious"
    # What has no row is removed, once the database is there again to tell.
    wait_until(lambda: len(stored(server)) == len(files))


@pytest.mark.parametrize("committed", (True, False))
def test_a_resumable_upload_whose_commit_is_not_answered_is_not_lost(cluster, make_server,
                                                                     committed):
    proxy, server = behind_a_lossy_proxy(cluster, make_server, committed=committed)
    client = server.client()
    fields = {"Tus-Resumable": "1.0.0"}
    name = base64.b64encode(b"lossy.txt").decode()
    place = client.post(f"{FILES}/tus", headers={
        **fields, "Upload-Length": "8",
        "Upload-Metadata": f"filename {name},file_type ZGF0YV9maWxlcw=="}).header("Location")

    def resume(content, at):
        return client.patch(place, body=content, headers={
            **fields, "Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"})

    answer = resume(b"precious", 0)
    assert (answer.status, proxy.done) == (503, True), answer
    wait_until(lambda: writes(client), 10, "recovery")
    head = lambda: client.request("HEAD", place, headers=fields)
    wait_until(lambda: head().status == 200)
    assert head().header("Upload-Offset") == ("8" if committed else "7")
    if not committed:
        assert client.get(FILES).json() == []
        assert resume(b"s", 7).status == 204
    file, = client.get(FILES).json()
    assert client.get(f"{FILES}/{file['id']}/download").body == b"precious"
    assert head().header("Content-Location") == f"{FILES}/{file['id']}"
    wait_until(lambda: len(stored(server)) == 1)


def test_uploads_tell_a_lost_database_from_a_full_disk(cluster, make_server):
    server = make_server(DATABASE_URL=cluster.create_database(), DISK_FREE_BYTES_MIN=0)
    server.errors_expected = True
    client = server.client()
    cluster.stop()
    whole = client.post(f"{FILES}/tus", body=b"x", headers={
        "Tus-Resumable": "1.0.0", "Upload-Length": "1",
        "Content-Type": "application/offset+octet-stream",
        "Upload-Metadata": "filename ci50eHQ=,file_type ZGF0YV9maWxlcw=="})
    for answer in (send(client, part() + END), whole):
        assert answer.status == 503 and answer.header("Retry-After") is not None, answer
    wait_until(lambda: not stored(server))
