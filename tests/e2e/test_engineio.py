"""Engine.IO packet by packet: handshakes, polling, pings, the change to a WebSocket."""

import asyncio
import concurrent.futures
import json
import time

import pytest
import websockets

from engine_packets import SEPARATOR, Polling, Socket, event, get, url
from harness import Server, wait_until
from sockets import run_async


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), LOOPS=4)
    server.start()
    yield server
    server.stop()


# ---- Handshakes


def test_the_handshake_tells_what_to_expect(server):
    handshake = Polling(server).handshake
    sid = handshake.pop("sid")
    assert len(sid) > 20
    assert handshake == {"upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20000,
                         "maxPayload": 1000000}


@run_async
async def test_a_websocket_needs_no_upgrade(server):
    async with Socket(server) as socket:
        assert socket.handshake["upgrades"] == []
        answer, greeting = await socket.connect()
        assert answer["sid"] == greeting["session_id"] != socket.sid


@pytest.mark.parametrize("query, code, message", [
    ("EIO=4&transport=carrier-pigeon", 0, "Transport unknown"),
    ("EIO=4", 0, "Transport unknown"),
    ("EIO=4&transport=polling&sid=none", 1, "Session ID unknown"),
    ("EIO=4&transport=polling&sid=none.0", 1, "Session ID unknown"),
    ("EIO=4&transport=polling&sid=none.99", 1, "Session ID unknown"),
    ("EIO=4&transport=websocket", 3, "Bad request"),
    ("EIO=3&transport=polling", 5, "Unsupported protocol version"),
    ("EIO=x&transport=polling", 5, "Unsupported protocol version"),
    ("transport=polling", 5, "Unsupported protocol version"),
])
def test_errors_have_the_codes_of_engine_io(server, query, code, message):
    answer = get(server, "/socket.io/?" + query)
    assert answer.status == 400
    assert answer.json() == {"code": code, "message": message}


def test_a_session_is_not_opened_by_post(server):
    answer = get(server, url(), "POST", body="40")
    assert (answer.status, answer.json()["code"]) == (400, 2)


@pytest.mark.parametrize("query", ["EIO=3&transport=websocket", "EIO=4&transport=polling",
                                   "EIO=4&transport=websocket&sid=none.99"])
@run_async
async def test_a_wrong_websocket_handshake_is_refused(server, query):
    with pytest.raises(websockets.InvalidStatusCode) as refused:
        await websockets.connect(server.ws_url("/socket.io/?" + query))
    assert refused.value.status_code == 400


@run_async
async def test_an_upgrade_of_an_unknown_session_is_closed(server):
    async with Socket(server, sid="none.1") as socket:
        assert await socket.closed() == 1000


# ---- Polling


def test_looking_without_taking_leaves_the_packets(server):
    session = Polling(server)
    session.connect()
    session.post(event("ping", 1))
    answer = session.request("HEAD", sid=session.sid)
    assert (answer.status, answer.body) == (400, "")
    assert session.receive_event()[0] == "pong"


def test_polls_wait_for_packets(server):
    session = Polling(server)
    session.connect()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(session.poll)
        time.sleep(0.1)
        assert not waiting.done()
        session.post(event("ping", 1))
        [packet] = waiting.result(5)
    name, data = json.loads(packet[2:])
    assert (name, data["data"]) == ("pong", 1)


def test_many_packets_each_way_keep_their_order(server):
    session = Polling(server)
    session.connect()
    session.post(*(event("ping", number) for number in range(100)))
    sizes, numbers = [], []
    while len(numbers) < 100:
        packets = session.poll()
        sizes.append(len(packets))
        numbers += [json.loads(packet[2:])[1]["data"] for packet in packets]
    assert numbers == list(range(100))
    assert max(sizes) == 16, "python-engineio takes no more than 16 packets at once"


def test_a_second_poll_ends_the_session(server):
    session = Polling(server)
    session.connect()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        first = threads.submit(session.try_poll)
        time.sleep(0.1)
        second = session.try_poll()
        assert (second.status, json.loads(second.body)["code"]) == (400, 3)
        assert (first.result(5).status, first.result().body) == (200, "1")
    assert json.loads(session.try_poll().body)["code"] == 1


def test_closing_ends_the_waiting_poll(server):
    session = Polling(server)
    session.connect()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(session.poll)
        time.sleep(0.1)
        session.post("1")
        assert waiting.result(5) == ["6"]
    assert session.try_poll().status == 400


@pytest.mark.parametrize("body", ["", "abc", "4", "42", "42{}", "42[]", "4abc", '42abc["x"]', "9",
                                  f"3{SEPARATOR}", "2", "0", "40[]", "43x", "44", "42[1]"])
def test_what_is_no_packet_ends_the_session(server, body):
    session = Polling(server)
    session.connect()
    answer = session.request("POST", body, sid=session.sid)
    if answer.status == 200:  # Engine.IO's part was well-formed, Socket.IO's was not.
        assert session.receive() == "1"
    assert json.loads(session.try_poll().body)["code"] == 1


def test_text_that_is_not_utf_8_ends_the_session(server):
    session = Polling(server)
    session.connect()
    answer = get(server, url(sid=session.sid), "POST", body=b'42["ping","\xff"]')
    assert (answer.status, answer.json()["code"]) == (400, 3)
    assert session.try_poll().status == 400


def test_a_payload_over_the_limit_is_refused(server):
    session = Polling(server)
    session.connect()
    answer = session.try_post(event("ping", "x" * 1_000_001))
    assert answer.status == 413
    session.post(event("ping", "x" * 900_000))
    assert len(session.receive_event()[1]["data"]) == 900_000


def test_too_many_packets_at_once_end_the_session(server):
    session = Polling(server)
    session.connect()
    assert session.try_post(*["3"] * 10_000).status == 200
    assert session.try_post(*["3"] * 10_001).status == 400
    assert session.try_poll().status == 400


def test_a_queue_over_the_limit_ends_the_session(make_server):
    server = make_server(WEBSOCKET_QUEUE_BYTES_MAX=65536)
    session, other = Polling(server), Polling(server)
    session.connect()
    other.connect()
    for _ in range(3):
        session.try_post(event("ping", "x" * 40_000))
    assert json.loads(session.try_poll().body)["code"] == 1
    assert other.ask("ping", 1)[0] == "pong"


@run_async
async def test_an_event_longer_than_the_queue_comes(make_server):
    server = make_server(WEBSOCKET_QUEUE_BYTES_MAX=65536)
    polling = Polling(server)
    polling.connect()
    async with Socket(server) as socket:
        await socket.connect()
        for _ in range(3):
            for answer in (polling.ask("ping", "x" * 300_000),
                           await socket.ask("ping", "x" * 300_000)):
                assert answer[0] == "pong" and len(answer[1]["data"]) == 300_000


@run_async
async def test_who_sends_too_many_packets_is_closed(make_server):
    server = make_server(WEBSOCKET_MESSAGES_PER_SECOND=10, RATE_LIMIT_MULTIPLIER=1)
    async with Socket(server) as calm:
        await calm.connect()
        for _ in range(10):
            await calm.send(event("ping", 1))
        # The others are passed over; the last is WebSocket's own.
        for packet in (event("ping", 1), "3", b"binary", None):
            async with Socket(server) as flood:
                await flood.connect()
                for _ in range(50):
                    await (flood.ws.pong() if packet is None else flood.send(packet))
                assert await flood.closed() == 4429
        for _ in range(10):
            assert (await calm.receive_event())[0] == "pong"


# ---- Pings


def test_a_client_that_answers_pings_lives(make_server):
    server = make_server(SOCKETIO_PING_SECONDS=1, SOCKETIO_PING_TIMEOUT_SECONDS=1)
    session = Polling(server)
    assert (session.handshake["pingInterval"], session.handshake["pingTimeout"]) == (1000, 1000)
    session.connect()
    for _ in range(3):
        assert session.receive() == "2"
        session.post("3")


def test_a_client_that_does_not_is_gone(make_server):
    server = make_server(SOCKETIO_PING_SECONDS=1, SOCKETIO_PING_TIMEOUT_SECONDS=1)
    silent, absent = Polling(server), Polling(server)
    silent.connect()
    absent.connect()
    start = time.monotonic()
    assert silent.receive() == "2"
    assert silent.try_poll().status == 400
    assert 1.5 < time.monotonic() - start < 4
    # A pong without a poll that could have brought the ping is no sign of life.
    wait_until(lambda: absent.try_post("3").status == 400, 2, "the end of the absent one")


@run_async
async def test_a_websocket_is_pinged_too(make_server):
    server = make_server(SOCKETIO_PING_SECONDS=1, SOCKETIO_PING_TIMEOUT_SECONDS=1)
    async with Socket(server) as socket:
        await socket.connect()
        assert await socket.receive() == "2"
        await socket.send("3")
        assert await socket.receive() == "2"
        assert await socket.closed() == 1000


# ---- The change from polling to a WebSocket


@run_async
async def test_the_upgrade_loses_nothing(server):
    for _ in range(8):  # Sessions and sockets on the same loop and on different ones.
        await upgrade(server)


async def upgrade(server):
    session = Polling(server)
    session.connect()
    waiting = asyncio.create_task(asyncio.to_thread(session.poll))
    await asyncio.sleep(0.02)
    async with Socket(server, sid=session.sid) as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        assert await waiting == ["6"]
        assert session.poll() == ["6"], "no poll waits during the change"
        session.post(event("ping", 1), event("ping", 2))
        await socket.send("5")
        for number in (1, 2):
            name, data = await socket.receive_event()
            assert (name, data["data"]) == ("pong", number)
        assert (await socket.ask("ping", 3))[1]["data"] == 3
        assert json.loads(session.try_poll().body)["code"] == 3
        assert session.try_post("3").status == 400
        assert session.request("GET", sid=session.sid).status == 400
        async with Socket(server, sid=session.sid) as second:
            assert await second.closed() == 1000
        assert (await socket.ask("ping", 4))[1]["data"] == 4


@run_async
async def test_a_change_that_fails_leaves_the_session_polling(server):
    session = Polling(server)
    session.connect()
    async with Socket(server, sid=session.sid) as socket:
        await socket.send("5")
        assert await socket.closed() == 1002
    async with Socket(server, sid=session.sid) as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
    wait_until(lambda: session.ask("ping", 1)[0] == "pong")


# ---- WebSockets


@pytest.mark.parametrize("packet", ["", "abc", "42{}", "7", "2", "41x", "b1234"])
@run_async
async def test_what_is_no_packet_closes_the_socket(server, packet):
    async with Socket(server) as socket:
        await socket.connect()
        await socket.send(packet)
        assert await socket.closed() in (1000, 1002)


@run_async
async def test_closing_is_answered(server):
    async with Socket(server) as socket:
        await socket.connect()
        await socket.send("1")
        assert await socket.closed() == 1000
