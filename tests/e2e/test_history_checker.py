"""Every viewer's history is the log's: clients of all protocols watch, stall, drop and come back
while others write and the server is killed and started again; afterwards what each one was shown
is compared with what the log held for it, event by event. Where the log forgets, some stay away for
so long that it does not reach back: they have to be told, and shown the present state."""

import asyncio
import collections
import contextlib
import json
import random
import socket
import sqlite3
import time
import urllib.parse

import pytest
import websockets
from engine_packets import Polling
from harness import FULL, wait_until

SECONDS = 240 if FULL else 7
SECONDS_MAX = SECONDS + 120
ROOMS = ["red", "green", "blue"]
# Which kinds of events each protocol carries; of those that the writers here cause.
AGENTS = {"agent.created", "agent.updated", "agent.status", "agent.deleted"}
TO_ALL = "broadcast.system_notification"
# What a client sees of a server that is killed, and of its own going.
GONE = (OSError, EOFError, asyncio.TimeoutError, websockets.WebSocketException)


def number_of(event_id):
    return int(event_id.rsplit("-", 1)[1])


class Log:
    """All that the log ever held behind a position: it is read more often than it is thinned."""

    def __init__(self, server, begin):
        self.server = server
        self.position = begin
        self.first = 0  # That it holds still ...
        self.firsts = []  # ... and held at a time.
        self.rows = []  # (id, kind, subject, audience)

    def read(self):
        at = time.monotonic()
        with contextlib.closing(self.server.database()) as database:
            rows = database.execute("SELECT id, kind, subject, audience FROM events"
                                    f" WHERE id > {self.position} ORDER BY id").fetchall()
            self.first = database.execute("SELECT min(id) AS oldest FROM events"
                                          ).fetchall()[0]["oldest"]
        self.firsts.append((at, self.first))
        for row in rows:
            assert row["id"] == self.position + 1, "this test reads the log too seldom"
            self.position = row["id"]
            self.rows.append((row["id"], row["kind"], row["subject"],
                              json.loads(row["audience"])))

    async def follow(self, stop):
        while not stop.is_set():
            # Not while the server is away, or begins.
            if self.server.port != 0:
                with contextlib.suppress(sqlite3.OperationalError):
                    await asyncio.to_thread(self.read)
            await asyncio.sleep(0.05)


class Viewer:
    """Keeps what it was shown, over all its connections."""

    def __init__(self, name, server, rng, log, begin, rooms):
        self.name, self.server, self.rng, self.rooms = name, server, rng, rooms
        self.log = log
        self.last = begin
        self.first = number_of(begin)
        self.stays_away = False  # Until the log does not reach back.
        self.heard = []
        self.lost = []  # What it was told it would not hear: from behind one id up to another.
        self.losses = []  # When it was told that, where it stood, and what it was shown instead.
        self.ends = collections.Counter()
        self.enough = None  # Once nothing more is written: the last that is for it.

    def done(self, deadline):
        reached = max([*self.heard[-1:], *(up_to for _, up_to in self.lost[-1:])], default=0)
        if self.enough is not None and reached >= self.enough:
            return True
        return time.monotonic() > deadline

    def hear(self, event_id, position=None):
        self.heard.append(number_of(event_id))
        self.last = position or event_id

    def told(self, data):
        """What ends coming back, among other messages."""
        if data.get("recovered") is not False:
            return
        up_to = number_of(data["last_event_id"])
        self.losses.append((time.monotonic(), number_of(self.last), up_to, data["snapshot"]))
        self.lost.append((self.heard[-1] if self.heard else self.first, up_to))
        self.last = data["last_event_id"]

    async def away(self, stop):
        """Until what it saw last is no longer in the log, nor in the memory of a server."""
        while not stop.is_set() and self.log.first <= number_of(self.last) + 1:
            await asyncio.sleep(0.05)
        runs = self.server.runs
        while not stop.is_set() and self.server.runs == runs:
            await asyncio.sleep(0.05)

    async def live(self, stop):
        while not stop.is_set():
            if self.stays_away and self.heard:
                await self.away(stop)
                if stop.is_set():
                    return
            try:
                longest = 0.5 if self.stays_away else 2.5
                await self.session(time.monotonic() + self.rng.uniform(0.05, longest))
                self.ends["left"] += 1
            except GONE as error:
                closed = getattr(getattr(error, "rcvd", None), "code", None)
                self.ends[closed or "cut"] += 1
                await asyncio.sleep(0.05)

    async def finish(self, last, seconds=60):
        self.enough = last
        deadline = time.monotonic() + seconds
        while last is not None and not self.done(deadline):
            try:
                await self.session(deadline)
            except GONE:
                await asyncio.sleep(0.05)

    def is_shown(self, kind, audience):
        raise NotImplementedError

    def check(self):
        """Everything that is for it came, once and in order, but for what it was told is lost."""
        for before, up_to in self.lost:
            assert before < up_to
        wanted = [id_ for id_, kind, _, audience in self.log.rows
                  if self.is_shown(kind, audience)
                  and not any(before < id_ <= up_to for before, up_to in self.lost)]
        if self.heard != wanted:
            at = next(i for i, pair in enumerate(zip([*self.heard, None], [*wanted, None]))
                      if pair[0] != pair[1])
            raise AssertionError(
                f"{self.name} in {self.rooms}: after {wanted[:at][-3:]} it heard"
                f" {self.heard[at:at + 5]} and not {wanted[at:at + 5]}; lost: {self.lost}")
        created, deleted = {}, {}
        for id_, kind, subject, _ in self.log.rows:
            if kind in ("agent.created", "agent.deleted"):
                (created if kind == "agent.created" else deleted)[subject.split(":", 1)[1]] = id_
        for at, stood, up_to, snapshot in self.losses:
            first = next(first for read_at, first in self.log.firsts if read_at >= at)
            assert first > stood + 1, \
                f"{self.name} stood at {stood}, and the log reached back to {first}"
            assert set(snapshot) == {"agents", "tasks", "workflows"}
            agents = {agent["id"] for agent in snapshot["agents"]["items"]}
            # What follows the position may be in the state already.
            there = {one for one, id_ in created.items() if id_ <= up_to and one not in deleted}
            assert there <= agents or not snapshot["agents"]["complete"]
            assert not any(deleted[one] <= up_to for one in agents if one in deleted)


class WebSocketViewer(Viewer):
    def url(self):
        raise NotImplementedError

    async def started(self, ws):
        pass

    def take(self, text):
        """What is to be answered, or nothing."""
        raise NotImplementedError

    async def session(self, deadline):
        # Little is buffered on the way, so that a stall is felt.
        sock = socket.create_connection(("127.0.0.1", self.server.port), timeout=5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        ws = await websockets.connect(self.url(), sock=sock, ping_interval=None, max_queue=4,
                                      read_limit=4096, close_timeout=1)
        try:
            await self.started(ws)
            while not self.done(deadline):
                if self.enough is None and self.rng.random() < 0.003:
                    await asyncio.sleep(self.rng.uniform(0.2, 1.5))
                answer = self.take(await asyncio.wait_for(ws.recv(), 5))
                if answer:
                    await ws.send(answer)
            if self.rng.random() < 0.5:
                await ws.close()
        finally:
            ws.transport.abort()


class VersionOne(WebSocketViewer):
    def url(self):
        return self.server.ws_url("/ws?last_event_id=" + self.last)

    def take(self, text):
        message = json.loads(text)
        self.told(message["data"])
        if "event_id" in message:
            self.hear(message["event_id"])

    def is_shown(self, kind, audience):
        return kind in AGENTS or (kind == TO_ALL and audience[0] == "all")


class VersionTwo(WebSocketViewer):
    def url(self):
        query = {"last_event_id": self.last, "rooms": ",".join(self.rooms)}
        return self.server.ws_url("/ws/v2?" + urllib.parse.urlencode(query))

    def take(self, text):
        message = json.loads(text)
        self.told(message["data"])
        if "event_id" in message:
            self.hear(message["event_id"])

    def is_shown(self, kind, audience):
        if audience[0] == "rooms":
            return bool(set(audience[1:]) & set(self.rooms))
        return audience[0] == "all" and (kind in AGENTS or kind == TO_ALL)


class SocketIo(WebSocketViewer):
    def url(self):
        return self.server.ws_url("/socket.io/?EIO=4&transport=websocket&offsets=true")

    async def started(self, ws):
        await ws.send("40" + json.dumps({"offset": self.last}))

    def take(self, text):
        if text == "2":
            return "3"
        if not text.startswith("42"):
            return None
        name, data, *offset = json.loads(text[2:])
        if name == "connected":
            self.told(data)
        if offset and "event_id" in data:
            self.hear(data["event_id"], offset[0])
        return None

    # What is told under two names counts once: only the second one has an offset.
    def is_shown(self, kind, audience):
        return kind in AGENTS or (kind == TO_ALL and audience[0] == "all")


class SocketIoPolling(SocketIo):
    async def session(self, deadline):
        await asyncio.to_thread(self.poll, deadline)

    def poll(self, deadline):
        session = Polling(self.server, offsets="true")
        session.post("40" + json.dumps({"offset": self.last}))
        while not self.done(deadline):
            for packet in session.poll():
                answer = self.take(packet)
                if answer:
                    session.post(answer)


class EventStream(VersionTwo):
    async def session(self, deadline):
        query = urllib.parse.urlencode({"rooms": ",".join(self.rooms), "rooms_only": "false"})
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(f"GET /api/v2/events?{query} HTTP/1.1\r\nHost: localhost\r\n"
                         f"Last-Event-ID: {self.last}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise ConnectionError(head)
            pending = b""
            while not self.done(deadline):
                size = int(await asyncio.wait_for(reader.readline(), 5) or b"0", 16)
                if size == 0:
                    raise EOFError
                pending += (await reader.readexactly(size + 2))[:-2]
                *events, pending = pending.split(b"\n\n")
                for event in events:
                    self.take_event(event.decode())
        finally:
            writer.transport.abort()

    def take_event(self, text):
        fields = dict(line.split(": ", 1) for line in text.split("\n")
                      if ": " in line and not line.startswith(":"))
        if "data" not in fields:
            return
        message = json.loads(fields["data"])
        self.told(message["data"])
        if "event_id" in message:
            assert fields["id"] == message["event_id"]
            self.hear(message["event_id"])
        elif "id" in fields:
            self.last = fields["id"]


async def write_over_rest(server, rng, stop, created):
    """Changes of agents and broadcasts; notes which creations were acknowledged."""
    count = 0

    def change():
        nonlocal count
        with contextlib.closing(server.client()) as api:
            mine = []
            while not stop.is_set():
                count += 1
                agent = api.post("/api/v1/agents/",
                                 {"name": f"{rng.random()}", "agent_type": "checker"})
                assert agent.status in (200, 503), agent
                if agent.status == 200:
                    created.add(agent.json()["id"])
                    mine.append(agent.json()["id"])
                if mine:
                    one = f"/api/v1/agents/{rng.choice(mine)}"
                    api.put(one, {"description": f"{count}"})
                    api.patch(one + "/status", {"status": rng.choice(["idle", "busy"])})
                if len(mine) > 5:
                    api.delete("/api/v1/agents/" + mine.pop(0))
                room = rng.choice([None, *ROOMS])
                api.post("/api/v2/websocket/broadcast",
                         {"message_type": "system_notification", "data": {"n": count},
                          **({"room": room} if room else {})})
                time.sleep(rng.uniform(0, 0.05))

    while not stop.is_set():
        try:
            await asyncio.to_thread(change)
        except Exception as error:
            assert isinstance(error, OSError) or type(error).__module__ == "http.client", error
            await asyncio.sleep(0.05)


async def write_to_rooms(server, rng, stop, acknowledged):
    while not stop.is_set():
        try:
            async with websockets.connect(server.ws_url("/ws/v2?rooms=" + ",".join(ROOMS)),
                                          ping_interval=None, close_timeout=1) as ws:
                for n in range(rng.randrange(1, 40)):
                    if stop.is_set():
                        break
                    text = "x" * rng.choice([*[10] * 8, 2_000, 20_000])
                    await ws.send(json.dumps({"type": "room_message", "room": rng.choice(ROOMS),
                                              "correlation_id": f"{n}", "data": {"text": text}}))
                    while (message := json.loads(await asyncio.wait_for(ws.recv(), 5)))[
                            "type"] != "ack":
                        pass
                    acknowledged.add(number_of(message["data"]["event_id"]))
                    await asyncio.sleep(rng.uniform(0, 0.01))
        except GONE:
            await asyncio.sleep(0.05)


async def kill_now_and_then(server, rng, stop):
    kills = 0
    while not stop.is_set():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), rng.uniform(1.5, 4))
        if stop.is_set():
            break
        server.port = 0  # Soon another test's server may have the port.
        await asyncio.to_thread(server.kill)
        kills += 1
        await asyncio.sleep(rng.uniform(0, 0.3))
        await asyncio.to_thread(server.start)
        server.runs += 1
    return kills


async def check(server, seed, kept):
    rng = random.Random(seed)
    with contextlib.closing(server.client()) as api:
        api.agent_v2()
        newest = api.get("/api/v2/websocket/event-history?limit=1").json()["events"][0]
    begin = newest["event_id"]
    server.runs = 1
    log = Log(server, number_of(begin))
    viewers = []
    for kind, count in ((VersionOne, 2), (VersionTwo, 5), (EventStream, 3), (SocketIo, 2),
                        (SocketIoPolling, 1)):
        for i in range(count):
            rooms = rng.sample(ROOMS, rng.randrange(1, 1 + len(ROOMS)))
            own = random.Random(rng.random())
            viewers.append(kind(f"{kind.__name__} {i}", server, own, log, begin, rooms))
            viewers[-1].stays_away = kept is not None and i == 0
    stop = asyncio.Event()
    created, acknowledged = set(), set()
    running = [asyncio.create_task(viewer.live(stop)) for viewer in viewers]
    running += [asyncio.create_task(write_over_rest(server, random.Random(rng.random()), stop,
                                                    created)) for _ in range(2)]
    running += [asyncio.create_task(write_to_rooms(server, random.Random(rng.random()), stop,
                                                   acknowledged)) for _ in range(2)]
    running.append(asyncio.create_task(log.follow(stop)))
    killer = asyncio.create_task(kill_now_and_then(server, rng, stop))
    at_most = time.monotonic() + SECONDS_MAX
    failed, _ = await asyncio.wait([*running, killer], timeout=SECONDS,
                                   return_when=asyncio.FIRST_EXCEPTION)
    # On a busy machine it takes longer until the log has lost what somebody missed.
    while kept is not None and not failed and len(log.rows) < 2 * kept:
        assert time.monotonic() < at_most, f"only {len(log.rows)} events in {SECONDS_MAX} s"
        failed, _ = await asyncio.wait([*running, killer], timeout=0.2,
                                       return_when=asyncio.FIRST_EXCEPTION)
    stop.set()
    await asyncio.gather(*running)
    kills = await killer
    log.read()
    ids = {id_ for id_, *_ in log.rows}
    assert acknowledged <= ids, "a message was acknowledged and is not in the log"
    assert created
    in_log = {subject.split(":", 1)[1] for _, kind, subject, _ in log.rows
              if kind == "agent.created"}
    assert created <= in_log, "a creation was acknowledged and is not in the log"
    if kept is not None:
        # Who is away still comes back to a server that remembers no more than its log.
        server.kill()
        server.start()
        wait_until(lambda: log.read() or log.first > log.position - kept, 10, "a thinner log")
    ends = {viewer: [id_ for id_, kind, _, audience in log.rows
                     if viewer.is_shown(kind, audience)][-1] for viewer in viewers}
    await asyncio.gather(*(viewer.finish(ends[viewer]) for viewer in viewers))
    log.read()
    closed = sum((viewer.ends for viewer in viewers), collections.Counter())
    lost = {viewer.name: len(viewer.lost) for viewer in viewers if viewer.lost}
    print(f"{len(log.rows)} events, {kills} kills, {len(viewers)} viewers,"
          f" connections by how they ended: {dict(closed)}, told of a loss: {lost}")
    for viewer in viewers:
        assert len(viewer.heard) > 20 or viewer.lost
        viewer.check()
        assert kept is not None or not viewer.lost
        assert viewer.lost or not viewer.stays_away, f"{viewer.name} stayed away and lost nothing"
    assert kills > 0


@pytest.mark.parametrize("kept", [None, 300])
def test_what_viewers_were_shown_is_what_the_log_holds(make_server, seed, kept):
    server = make_server(WEBSOCKET_QUEUE_BYTES_MAX=200_000, EVENT_RETENTION_COUNT=kept)
    asyncio.run(check(server, seed, kept))
