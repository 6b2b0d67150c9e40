"""A client of Engine.IO and Socket.IO that shows every packet: the tests' own, with nothing in it
that reconnects, answers pings or upgrades by itself."""

import asyncio
import http.client
import json
import re

import live_document
import sockets
import websockets
from harness import Client
from sockets import ARRIVES_SECONDS

SEPARATOR = "\x1e"
# Comes at any time within a second of a change; only the tests that mean it are to see it.
COUNTS = '42["dashboard_update",'
# Each change comes under its name on /ws too, and before; only the tests that mean those see them.
NAMES_OF_V1 = re.compile(
    r'42\["((agent|tasks?|workflow|system_metrics)_\w*ed|system_notification)",')
PATH = "/socket.io/"


def url(**query):
    # Without offsets, but for the tests that mean them.
    parts = {"EIO": "4", "transport": "polling", "offsets": "false", **query}
    return PATH + "?" + "&".join(f"{name}={value}" for name, value in parts.items()
                                 if value is not None)


def get(server, path, method="GET", headers=None, body=None):
    client = Client(server.port)
    try:
        return client.request(method, path, body=body, headers=headers)
    finally:
        client.close()


def event(name, *arguments, ack=""):
    return f"42{ack}{json.dumps([name, *arguments])}"


def read_event(packet):
    """The event's name and arguments."""
    parts = json.loads(packet[2:])
    if len(parts) > 1:
        live_document.check("socketio", parts[0], parts[1])
    return parts


def is_beside(packet):
    if NAMES_OF_V1.match(packet):
        read_event(packet)
        return True
    return packet.startswith(COUNTS)


class Polling:
    """A session over long polling; each request has a connection of its own, so that they come in
    on any of the server's event loops."""

    def __init__(self, server, **query):
        self.server = server
        self.waiting = []
        answer = self.request("GET", **query)
        assert answer.status == 200, answer
        assert answer.body.startswith("0"), answer.body
        self.handshake = json.loads(answer.body[1:])
        self.sid = self.handshake["sid"]

    def request(self, method, body=None, headers=None, **query):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            connection.request(method, url(**query), body=body and body.encode(),
                               headers=headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.read().decode(), response.getheaders())
        finally:
            connection.close()

    def try_poll(self):
        return self.request("GET", sid=self.sid)

    def try_post(self, *packets):
        return self.request("POST", SEPARATOR.join(packets), sid=self.sid)

    def poll(self):
        answer = self.try_poll()
        assert answer.status == 200, answer
        return answer.body.split(SEPARATOR)

    def post(self, *packets):
        answer = self.try_post(*packets)
        assert (answer.status, answer.body) == (200, "ok"), answer

    def receive(self):
        """The next packet, whatever poll brings it."""
        while not self.waiting:
            self.waiting = [one for one in self.poll() if not is_beside(one)]
        return self.waiting.pop(0)

    def receive_event(self):
        packet = self.receive()
        assert packet.startswith("42["), packet
        return read_event(packet)

    def connect(self, auth=None):
        """Connects to the namespace; returns its answer and the greeting's data."""
        self.post("40" + (json.dumps(auth) if auth is not None else ""))
        packet = self.receive()
        assert packet.startswith("40{"), packet
        name, greeting = self.receive_event()[:2]
        assert name == "connected", name
        return json.loads(packet[2:]), greeting

    def ask(self, name, *arguments):
        self.post(event(name, *arguments))
        return self.receive_event()


class Reply:
    def __init__(self, status, body, headers):
        self.status = status
        self.body = body
        self.headers = {name.lower(): value for name, value in headers}

    def __repr__(self):
        return f"<{self.status} {self.body!r}>"


class Socket:
    """A session over a WebSocket, or with `sid` one that would take over from polling."""

    def __init__(self, server, sid=None, token=None, offsets="false", **options):
        query = url(transport="websocket", sid=sid, token=token, offsets=offsets)
        self.url = server.ws_url(query)
        self.options = {"ping_interval": None, "compression": None, "max_size": 2**24, **options}
        self.sid = sid

    async def __aenter__(self):
        self.ws = await websockets.connect(self.url, **self.options)
        if self.sid is None:
            packet = await self.receive()
            assert packet.startswith("0"), packet
            self.handshake = json.loads(packet[1:])
            self.sid = self.handshake["sid"]
        return self

    async def __aexit__(self, *_):
        await self.ws.close()

    async def send(self, packet):
        await self.ws.send(packet)

    async def receive(self, seconds=ARRIVES_SECONDS):
        packet = await asyncio.wait_for(self.ws.recv(), seconds)
        return await self.receive(seconds) if is_beside(packet) else packet

    async def receive_counts(self):
        while True:
            packet = await asyncio.wait_for(self.ws.recv(), ARRIVES_SECONDS)
            if packet.startswith(COUNTS):
                return json.loads(packet[2:])[1]

    async def receive_event(self):
        packet = await self.receive()
        assert packet.startswith("42["), packet
        return read_event(packet)

    async def connect(self, auth=None):
        await self.send("40" + (json.dumps(auth) if auth is not None else ""))
        packet = await self.receive()
        assert packet.startswith("40{"), packet
        name, greeting = (await self.receive_event())[:2]
        assert name == "connected", name
        return json.loads(packet[2:]), greeting

    async def ask(self, name, *arguments):
        await self.send(event(name, *arguments))
        return await self.receive_event()

    async def closed(self, seconds=ARRIVES_SECONDS):
        return await sockets.closed(self.ws, seconds)
