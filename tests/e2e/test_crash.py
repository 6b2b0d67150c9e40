"""Killed with -9 while many clients create agents, the server loses nothing that it acknowledged.

Each round starts the server on the database that the round before left behind, checks what is
there and kills it again at a random moment under load. SIGKILL keeps the system's page cache; what
a power cut takes is tested in C++, beneath SQLite.
"""

import collections
import http.client
import json
import random
import threading
import time
import uuid

from harness import FULL, ON_POSTGRESQL, Server

KILLS = 200 if FULL else 20
WRITERS = 8
# Moments at which a kill finds different things under way: at once, at the first group commits,
# and after a checkpoint or two.
LOAD_SECONDS = (0.02, 0.5)


class Writers:
    """Connections that create agents as fast as they are answered, until the server is gone."""

    def __init__(self, port, round_number):
        self.acknowledged = {}  # Id to name.
        self.attempted = 0
        self.lock = threading.Lock()
        self.unexpected = []
        self.threads = [
            threading.Thread(target=self.write, args=(port, f"r{round_number}w{i}"), daemon=True)
            for i in range(WRITERS)
        ]
        for thread in self.threads:
            thread.start()

    def write(self, port, prefix):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        path, key, status = ("/api/v2/agents", "type", 201)
        if prefix.endswith(("1", "3")):
            path, key, status = ("/api/v1/agents/", "agent_type", 200)
        count = 0
        while True:
            name = f"{prefix}n{count}"
            count += 1
            with self.lock:
                self.attempted += 1
            try:
                connection.request("POST", path, json.dumps({"name": name, key: "crash"}),
                                   {"Content-Type": "application/json"})
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException):
                return  # Killed; whether this one was stored is open.
            if response.status != status:
                self.unexpected.append((response.status, body))
                return
            with self.lock:
                self.acknowledged[json.loads(body)["id"]] = name

    def join(self):
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        assert not self.unexpected, self.unexpected[:3]


def check_file(server, acknowledged, attempted):
    """What the closed database holds, read without the server."""
    with server.database() as database:
        if not ON_POSTGRESQL:
            assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        agents = {str(uuid.UUID(bytes=row["id"])): row["name"]
                  for row in database.execute("SELECT id, name FROM agents")}
        rows = database.execute("SELECT count(*) FROM agents").fetchone()[0]
        created = collections.Counter()
        names = {}
        for row in database.execute(
            "SELECT subject, payload FROM events WHERE kind = 'agent.created'"
        ):
            created[row["subject"]] += 1
            names[row["subject"]] = json.loads(row["payload"])["agent"]["name"]
        event_ids = [row["id"] for row in database.execute("SELECT id FROM events ORDER BY id")]
    lost = set(acknowledged) - set(agents)
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged agents are lost"
    for id_, name in acknowledged.items():
        assert agents[id_] == name
    assert rows == len(agents) == len(set(agents.values())), "an agent is there twice"
    assert len(agents) <= attempted
    # Row and event were committed together: exactly one event for each agent, and none without.
    assert created == {f"agent:{id_}": 1 for id_ in agents}
    assert names == {f"agent:{id_}": name for id_, name in agents.items()}
    assert len(set(event_ids)) == len(event_ids)


def test_kill_minus_nine(tmp_path, seed):
    chance = random.Random(seed)
    server = Server(tmp_path / "server")
    acknowledged, attempted = {}, 0
    begin = time.monotonic()
    for number in range(KILLS):
        server.start()
        api = server.client()
        total = int(api.get("/api/v1/agents/?limit=1").header("X-Total-Count"))
        assert len(acknowledged) <= total <= attempted
        # Spot checks over HTTP; every one of them is looked up in the file at the end.
        for id_ in chance.sample(sorted(acknowledged), min(20, len(acknowledged))):
            answer = api.get(f"/api/v2/agents/{id_}")
            assert answer.status == 200, f"{acknowledged[id_]} is lost after kill {number}"
            assert answer.json()["name"] == acknowledged[id_]
        writers = Writers(server.port, number)
        time.sleep(chance.uniform(*LOAD_SECONDS))
        server.kill()
        writers.join()
        acknowledged.update(writers.acknowledged)
        attempted += writers.attempted
    server.start()
    server.stop()
    check_file(server, acknowledged, attempted)
    assert len(acknowledged) > 10 * KILLS, "the load was too small to prove anything"
    print(f"{KILLS} kills, {len(acknowledged)} acknowledged of {attempted} attempted creates,"
          f" {time.monotonic() - begin:.1f} s")


def test_acknowledged_room_messages_survive(tmp_path, seed):
    """An `ack` on /ws/v2 is a promise too."""
    import asyncio

    import websockets

    from sockets import Room

    server = Server(tmp_path / "server")
    chance = random.Random(seed)
    acknowledged = set()

    async def flood(number):
        async def killer():
            await asyncio.sleep(chance.uniform(0.05, 0.3))
            server.kill()

        try:
            async with Room(server, "r") as room:
                task = asyncio.ensure_future(killer())
                for count in range(100_000):
                    await room.send({"type": "room_message", "room": "r", "data": {},
                                     "correlation_id": f"{number}-{count}"})
                    message = await room.find(lambda m: m["type"] == "ack")
                    acknowledged.add((message["data"]["event_id"], message["correlation_id"]))
        except websockets.ConnectionClosed:
            pass
        await task

    for number in range(20 if FULL else 4):
        server.start()
        asyncio.run(flood(number))
    server.start()
    server.stop()
    with server.database() as database:
        stored = collections.Counter(
            row["correlation_id"]
            for row in database.execute("SELECT correlation_id FROM events"
                                        " WHERE kind = 'room.message'")
        )
    assert len(acknowledged) > 10
    assert {correlation for _, correlation in acknowledged} <= set(stored)
    assert set(stored.values()) == {1}
    assert len({event_id for event_id, _ in acknowledged}) == len(acknowledged)
