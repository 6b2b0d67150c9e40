"""Whether the load generators notice what a server does wrong.

    /usr/bin/python3 bench/load_test.py [build/release/bench]

Each test runs a generator against a server that makes exactly one mistake.
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import harness

PROGRAMS = harness.ROOT / "build" / "release" / "bench"
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # To the key that ws_load always sends.


class Server:
    """Listens until it is closed; `serve(connection)` runs in a thread for each client."""

    def __init__(self, serve):
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        with connection:
            try:
                self._serve(connection)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()


def run(program, **options):
    """Exit status, figures, and the first error."""
    command = [str(PROGRAMS / program)]
    for name, value in options.items():
        command += ["--" + name.replace("_", "-"), str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def http_answer(body, status="200 OK", length=None):
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}".encode()


def serve_http(answer):
    """A server that sends answer(number of the request on this connection, its text): bytes, or a
    list of them to be sent one by one; None in their place closes the connection."""
    def serve(connection):
        count, data = 0, b""
        while received := connection.recv(65536):
            data += received
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                count += 1
                reply = answer(count, head.decode())
                for piece in reply if isinstance(reply, list) else [reply]:
                    if piece is None:
                        return
                    connection.sendall(piece)
    return Server(serve)


class HttpLoad(unittest.TestCase):
    def load(self, answer, path="/", **options):
        with serve_http(answer) as server, tempfile.TemporaryDirectory() as folder:
            request = pathlib.Path(folder) / "request"
            request.write_text(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            return run("http_load", port=server.port, request=request, connections=2, warmup_ms=0,
                       **{"count": 40, **options})

    def expect_fault(self, fault, answer, **options):
        status, figures, error = self.load(answer, **options)
        self.assertEqual(status, 1, error)
        self.assertGreater(figures["errors"], 0)
        self.assertIn(fault, error)

    def test_right_answers(self):
        status, figures, error = self.load(lambda *_: http_answer("same"))
        self.assertEqual((status, figures["errors"], error), (0, 0, ""))
        self.assertGreaterEqual(figures["requests"], 40)
        self.assertGreaterEqual(figures["acknowledged"], figures["requests"])

    def test_answers_in_pieces_are_right(self):
        whole = http_answer("same" * 100)
        status, _, error = self.load(lambda *_: [whole[:20], whole[20:90], whole[90:]])
        self.assertEqual((status, error), (0, ""))

    def test_every_request_has_a_number_of_its_own(self):
        seen = []
        def answer(_, head):
            seen.append(re.search(r"/(\d{10}) ", head).group(1))
            return http_answer(seen[-1], "201 Created")
        status, figures, error = self.load(answer, path="/@@@@@@@@@@", status=201, first_number=7)
        self.assertEqual((status, error), (0, ""))
        self.assertEqual(sorted(seen), [f"{n:010}" for n in range(7, 7 + figures["acknowledged"])])

    def mix(self, answer, calls, connections=2, **options):
        """`calls` are (status, path, word)."""
        content = ""
        for status, path, word in calls:
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"
            content += f"{status} {len(request)} {word}\n{request}"
        with serve_http(answer) as server, tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "mix"
            file.write_text(content)
            return run("http_load", port=server.port, mix=file, connections=connections,
                       warmup_ms=0, **options)

    def test_a_mix_is_sent_in_order_each_request_once(self):
        seen = []
        def answer(_, head):
            seen.append(re.search(r"/(\d+) ", head).group(1))
            return http_answer(f"it is {seen[-1]}.", "201 Created" if seen[-1] == "3" else "200 OK")
        calls = [(201 if n == 3 else 200, f"/{n}", f"is {n}.") for n in range(20)]
        status, figures, error = self.mix(answer, calls, warmup_count=5, connections=1)
        self.assertEqual((status, error), (0, ""))
        self.assertEqual(seen, [str(n) for n in range(20)])
        self.assertEqual((figures["acknowledged"], figures["requests"]), (20, 15))

    def test_wrong_status_within_a_mix(self):
        status, _, error = self.mix(lambda *_: http_answer("word"),
                                    [(200, "/", "word"), (201, "/", "word"), (200, "/", "word")])
        self.assertEqual(status, 1)
        self.assertIn("status 200", error)

    def test_wrong_word_within_a_mix(self):
        status, _, error = self.mix(lambda *_: http_answer("word"),
                                    [(200, "/", "word"), (200, "/", "other"), (200, "/", "word")])
        self.assertEqual(status, 1)
        self.assertIn("another request", error)

    def test_a_mix_that_is_cut_off(self):
        with serve_http(lambda *_: http_answer("word")) as server, \
                tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "mix"
            file.write_text("200 100 word\nGET / HTTP/1.1\r\n\r\n")
            status, _, error = run("http_load", port=server.port, mix=file)
        self.assertEqual(status, 2)
        self.assertIn("cannot go on with: 200 100 word", error)

    def test_wrong_status(self):
        self.expect_fault("status 503", lambda n, _: http_answer(
            "same", "503 Service Unavailable" if n == 5 else "200 OK"))

    def test_another_body(self):
        self.expect_fault("not the same body",
                          lambda n, _: http_answer("same" if n < 5 else "else"))

    def test_answer_to_another_request(self):
        self.expect_fault("another request", lambda *_: http_answer("0000000000"),
                          path="/@@@@@@@@@@")

    def test_more_bytes_than_announced(self):
        self.expect_fault("more bytes", lambda *_: http_answer("same", length=3))

    def test_connection_closed_instead_of_an_answer(self):
        self.expect_fault("closed", lambda n, _: None if n == 5 else http_answer("same"))

    def test_connection_closed_within_an_answer(self):
        self.expect_fault("closed", lambda n, _: [http_answer("same", length=9), None]
                          if n == 5 else http_answer("same"))

    def test_no_answer(self):
        self.expect_fault("no answer", lambda n, _: [] if n == 5 else http_answer("same"))


class Room:
    """A WebSocket server with one room; `mistake(number, receiver)` says how often to deliver."""

    def __init__(self, mistake=lambda number, receiver: 1, copies=False, swap=False):
        self._mistake, self._copies, self._swap = mistake, copies, swap
        self._members, self._lock = [], threading.Lock()

    def serve(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
                           f"Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode())
        data = data.partition(b"\r\n\r\n")[2]
        while received := connection.recv(65536):
            data += received
            while frame := self._take_frame(data):
                text, data = frame
                self._on_text(connection, text)

    @staticmethod
    def _take_frame(data):
        """(text, what follows it), or None while the frame is not complete."""
        if len(data) < 8:
            return None
        size, at = data[1] & 127, 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        if len(data) < at + 4 + size:
            return None
        mask, masked = data[at:at + 4], data[at + 4:at + 4 + size]
        return bytes(b ^ mask[i % 4] for i, b in enumerate(masked)), data[at + 4 + size:]

    @staticmethod
    def _frame(text):
        size = bytes([len(text)]) if len(text) < 126 else b"\x7e" + len(text).to_bytes(2, "big")
        return b"\x81" + size + text

    def _on_text(self, connection, text):
        with self._lock:
            if json.loads(text)["type"] == "join_room":
                self._members.append(connection)
                connection.sendall(self._frame(b'{"type":"join_room"}'))
                return
            number = int(re.search(rb"seq-(\d{10})", text).group(1))
            if self._swap and number in (3, 4):
                text = text.replace(b"%010d" % number, b"%010d" % (7 - number))
            receivers = [member for member in self._members if member is not connection]
            for index, receiver in enumerate(receivers):
                receiver.sendall(self._frame(text) * self._mistake(number, index))
            if self._copies:
                connection.sendall(self._frame(text))


class WebSocketLoad(unittest.TestCase):
    def load(self, room, **options):
        with Server(room.serve) as server:
            return run("ws_load", port=server.port, receivers=3, burst=5, bursts=2,
                       warmup_bursts=0, **options)

    def expect_fault(self, fault, room):
        status, figures, error = self.load(room)
        self.assertEqual(status, 1, error)
        self.assertGreater(figures["errors"], 0)
        self.assertIn(fault, error)

    def test_right_deliveries(self):
        status, figures, error = self.load(Room())
        self.assertEqual((status, error, figures["deliveries"]), (0, "", 30))
        self.assertEqual(figures["received_bytes"], 30 * figures["frame_bytes"])

    def test_messages_one_by_one(self):
        status, figures, error = self.load(Room(), interval_us=20_000)
        self.assertEqual((status, error, figures["deliveries"]), (0, "", 30))
        self.assertGreaterEqual(figures["burst_p50_us"], 4 * 20_000)

    def by_turns(self, server):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        process = harness.Process("sleep", ["sleep", "60"], folder.name)
        self.addCleanup(process.stop)
        return harness.LoadByTurns(PROGRAMS / "ws_load", process, port=server.port, receivers=3,
                                   burst=5, bursts=2, warmup_bursts=0)

    def test_turns(self):
        with Server(Room().serve) as server, self.by_turns(server) as load:
            for _ in range(3):
                figures = load.once()
                self.assertEqual((figures["errors"], figures["deliveries"]), (0, 30))
            load.end()

    def test_message_lost_in_a_later_turn(self):
        room = Room(lambda number, receiver: 0 if (number, receiver) == (13, 1) else 1)
        with Server(room.serve) as server, self.by_turns(server) as load:
            load.once()
            with self.assertRaisesRegex(harness.WrongAnswers, "seq-0000000013 should have come"):
                load.once()

    def test_last_message_of_all_turns_doubled(self):
        room = Room(lambda number, receiver: 2 if (number, receiver) == (10, 1) else 1)
        with Server(room.serve) as server, self.by_turns(server) as load:
            with self.assertRaisesRegex(harness.WrongAnswers, "once too often"):
                load.once()
                load.end()

    def test_message_lost(self):
        self.expect_fault("seq-0000000003 should have come",
                          Room(lambda number, receiver: 0 if (number, receiver) == (3, 1) else 1))

    def test_message_doubled(self):
        self.expect_fault("seq-0000000004 should have come",
                          Room(lambda number, receiver: 2 if (number, receiver) == (3, 1) else 1))

    def test_last_message_doubled(self):
        self.expect_fault("once too often",
                          Room(lambda number, receiver: 2 if (number, receiver) == (10, 1) else 1))

    def test_messages_disordered(self):
        self.expect_fault("seq-0000000003 should have come", Room(swap=True))

    def test_copy_to_the_sender(self):
        self.expect_fault("the sender got a copy", Room(copies=True))

    def test_no_websocket(self):
        with serve_http(lambda *_: http_answer("no", "403 Forbidden")) as server:
            status, _, error = run("ws_load", port=server.port, receivers=1)
        self.assertEqual(status, 1)
        self.assertIn("403 Forbidden", error)


if __name__ == "__main__":
    if len(sys.argv) > 1 and pathlib.Path(sys.argv[1]).is_dir():
        PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
