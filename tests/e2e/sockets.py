"""WebSocket clients for the tests: asyncio and Debian's websockets, nothing more."""

import asyncio
import functools
import json

import live_document
import websockets

# Long enough for a busy machine; only tests that fail wait for it.
ARRIVES_SECONDS = 15
# How long silence is listened to; messages take well under a millisecond.
SILENCE_SECONDS = 0.15


def run_async(test):
    """Lets pytest run an `async def` test."""

    @functools.wraps(test)
    def wrapper(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 150))

    return wrapper


async def closed(ws, seconds=ARRIVES_SECONDS):
    """Waits until the server closes and returns the code; messages before are passed over."""

    async def drain():
        while True:
            await ws.recv()

    try:
        await asyncio.wait_for(drain(), seconds)
    except websockets.ConnectionClosed as closing:
        return closing.rcvd.code if closing.rcvd else None


class Socket:
    """A connection whose messages are JSON objects; usable as `async with`."""

    def __init__(self, server, path, greeted=True, **options):
        self.url = path if "://" in path else server.ws_url(path)
        self.options = {"ping_interval": None, "compression": None, "max_size": 2**24, **options}
        self.greeted = greeted
        self.first = None
        base = self.url.split("?")[0]
        self.protocol = "v2" if base.endswith("/ws/v2") else "v1" if base.endswith("/ws") else None

    async def __aenter__(self):
        self.ws = await websockets.connect(self.url, **self.options)
        if self.greeted:
            self.first = await self.receive()
        return self

    async def __aexit__(self, *_):
        await self.ws.close()

    @property
    def connection_id(self):
        return self.first["data"]["connection_id"]

    async def send(self, message):
        await self.ws.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    def parse(self, text):
        message = json.loads(text)
        if self.protocol:
            live_document.check(self.protocol, message["type"], message)
        return message

    async def receive(self, seconds=ARRIVES_SECONDS):
        return self.parse(await asyncio.wait_for(self.ws.recv(), seconds))

    async def receive_type(self, type_, seconds=ARRIVES_SECONDS):
        """The next message, which has to be of this type."""
        message = await self.receive(seconds)
        assert message["type"] == type_, message
        return message

    async def find(self, holds, seconds=ARRIVES_SECONDS):
        """Passes over messages until one for which `holds`."""

        async def search():
            while True:
                message = self.parse(await self.ws.recv())
                if holds(message):
                    return message

        return await asyncio.wait_for(search(), seconds)

    async def ask(self, message, type_):
        await self.send(message)
        return await self.receive_type(type_)

    async def silent(self, seconds=SILENCE_SECONDS):
        """Nothing comes, and a ping proves that the connection is open and in order."""
        try:
            message = await self.receive(seconds)
        except asyncio.TimeoutError:
            message = None
        assert message is None, message
        await self.ask({"type": "ping"}, "pong")

    async def settled(self):
        """Whatever was on its way has come before the answer to this ping; returns it."""
        await self.send({"type": "ping"})
        seen = []
        while True:
            message = await self.receive()
            if message["type"] == "pong":
                return seen
            seen.append(message)

    async def closed(self, seconds=ARRIVES_SECONDS):
        return await closed(self.ws, seconds)


class Room(Socket):
    """A connection of /ws/v2 that has joined rooms."""

    def __init__(self, server, *rooms, path="/ws/v2", **options):
        super().__init__(server, path, **options)
        self.rooms = rooms

    async def __aenter__(self):
        await super().__aenter__()
        for room in self.rooms:
            await self.send({"type": "join_room", "room": room})
            # News of the rooms before may come in between.
            await self.find(lambda m: m["type"] in ("join_room", "error") and m["room"] == room)
        return self
