"""RFC 6455 and RFC 7692, case by case: these bytes are sent, and this must come back.

`/ws` repeats the data of a `subscribe` message, so what it understood is seen from outside: the
client says something and hears it again. Every case begins on a new connection behind the greeting.
After the last thing expected nothing else may come: either the end, if that was a close frame, or
the answer to a ping, which shows that the connection is in order.
"""

import json
import pathlib
import struct
import zlib
from typing import NamedTuple, Optional

import pytest

from harness import RawConnection, Server
from websocket_frames import (
    ACCEPT, BINARY, CLOSE, CONTINUATION, DEFLATE, DEFLATE_ANSWER, PING, PONG, RSV1, RSV2, RSV3,
    TEXT, FrameSocket, close, deflate, fragments, frame, handshake, text,
)

LIMIT_BYTES = 70_000  # Of a message.
TORN_BYTES_MAX = 300  # Shorter cases are also sent byte by byte.


class Heard(NamedTuple):
    """What the client said comes back, compressed or not."""
    what: str
    packed: bool = False


class Pong(NamedTuple):
    payload: bytes = b""


class Closed(NamedTuple):
    """The last frame; None for one without code."""
    code: Optional[int]


class Case(NamedTuple):
    section: str
    name: str
    sent: bytes
    back: list
    offers: Optional[str] = None  # Extensions.


def say(what):
    """The payload of a message that makes the server repeat `what` (text, or any bytes)."""
    what = what.encode() if isinstance(what, str) else what
    return b'{"type":"subscribe","data":{"x":"' + what + b'"}}'


EMPTY_BYTES = len(say(""))


def say_bytes(size):
    """A message of this size, and what is heard of it."""
    what = "a" * (size - EMPTY_BYTES)
    return say(what), Heard(what)


def cut(payload, *places):
    return [payload[i:j] for i, j in zip((0, *places), (*places, len(payload)))]


HELLO = say("hello")
HEARD = Heard("hello")


def framing():
    """RFC 6455 section 5.2."""
    yield "a text", text(HELLO), [HEARD]
    yield "two texts", text(HELLO) + text(say("again")), [HEARD, Heard("again")]
    yield "an empty text", text(b""), []
    yield "a binary message", frame(BINARY, b"\0\xff"), []
    yield "an empty binary message", frame(BINARY), []
    for size in (125, 126, 127, 128, 65535, 65536, 65537):
        payload, heard = say_bytes(size)
        yield f"a text of {size} bytes", text(payload), [heard]
    for length, length_bytes in ((0, 2), (1, 2), (125, 2), (0, 8), (126, 8), (65535, 8)):
        yield (f"length {length} in {length_bytes} bytes",
               text(b"", length=length, length_bytes=length_bytes), [Closed(1002)])
    for length in (1 << 63, (1 << 64) - 1):
        yield f"length {length:#x}, with the top bit", text(b"", length=length), [Closed(1002)]
    yield "the longest length", text(b"", length=(1 << 63) - 1), [Closed(1009)]
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield f"opcode {opcode}", frame(opcode), [Closed(1002)]
        yield f"opcode {opcode} behind a text", text(HELLO) + frame(opcode), [HEARD, Closed(1002)]
    for name, rsv in (("first", RSV1), ("second", RSV2), ("third", RSV3), ("every", 0x70)):
        yield f"{name} reserved bit, text", text(HELLO, rsv=rsv), [Closed(1002)]
        yield f"{name} reserved bit, ping", frame(PING, rsv=rsv), [Closed(1002)]
        yield f"{name} reserved bit, close", close(1000, rsv=rsv), [Closed(1002)]
        yield (f"{name} reserved bit, continuation",
               text(b"", fin=False) + frame(CONTINUATION, HELLO, rsv=rsv), [Closed(1002)])


def masks():
    """RFC 6455 section 5.3."""
    for mask in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"):
        yield f"a mask of {mask.hex()}", text(HELLO, mask=mask), [HEARD]
    for name, opcode in (("text", TEXT), ("binary message", BINARY), ("ping", PING),
                         ("pong", PONG), ("close frame", CLOSE)):
        yield f"an empty {name} without mask", frame(opcode, mask=b""), [Closed(1002)]
    yield "a text without mask", text(HELLO, mask=b""), [Closed(1002)]
    yield ("a continuation without mask",
           text(HELLO, fin=False) + frame(CONTINUATION, mask=b""), [Closed(1002)])


def fragmentation():
    """RFC 6455 section 5.4."""
    ping = frame(PING, b"p")
    yield "two fragments", fragments(TEXT, *cut(HELLO, 5)), [HEARD]
    yield "fragments of one byte", fragments(TEXT, *cut(HELLO, *range(1, len(HELLO)))), [HEARD]
    yield "an empty first fragment", fragments(TEXT, b"", HELLO), [HEARD]
    yield "an empty last fragment", fragments(TEXT, HELLO, b""), [HEARD]
    yield "empty fragments between", fragments(TEXT, HELLO[:9], b"", b"", HELLO[9:]), [HEARD]
    yield "nothing but empty fragments", fragments(TEXT, b"", b"", b""), []
    yield "a binary message in fragments", fragments(BINARY, b"\0", b"\xff"), []
    yield "pings between", fragments(TEXT, *cut(HELLO, 5, 9), between=ping), [
        Pong(b"p"), Pong(b"p"), HEARD]
    yield "pongs between", fragments(TEXT, *cut(HELLO, 5, 9), between=frame(PONG, b"p")), [HEARD]
    yield ("a close frame between",
           fragments(TEXT, *cut(HELLO, 5), between=close(1000)), [Closed(1000)])
    yield "a continuation of nothing", frame(CONTINUATION, b"x"), [Closed(1002)]
    yield ("a fragment of nothing that is not the last",
           frame(CONTINUATION, b"x", fin=False), [Closed(1002)])
    yield ("a continuation of what is finished",
           text(HELLO) + frame(CONTINUATION), [HEARD, Closed(1002)])
    yield ("a continuation of finished fragments",
           fragments(TEXT, *cut(HELLO, 5)) + frame(CONTINUATION), [HEARD, Closed(1002)])
    yield "a text within a text", text(b"x", fin=False) + text(HELLO), [Closed(1002)]
    yield "a fragment of a text within a text", text(b"x", fin=False) * 2, [Closed(1002)]
    yield ("a binary message within a text",
           text(b"x", fin=False) + frame(BINARY, b"x"), [Closed(1002)])
    yield ("a text within a binary message",
           frame(BINARY, b"x", fin=False) + ping + text(HELLO), [Pong(b"p"), Closed(1002)])


def control_frames():
    """RFC 6455 section 5.5."""
    longest = bytes(range(125))
    yield "an empty ping", frame(PING), [Pong()]
    yield "a ping of 125 bytes", frame(PING, longest), [Pong(longest)]
    yield "a ping that is no text", frame(PING, b"\xff\xfe"), [Pong(b"\xff\xfe")]
    yield "ten pings", b"".join(frame(PING, b"%d" % i) for i in range(10)), [
        Pong(b"%d" % i) for i in range(10)]
    yield "a pong nobody asked for", frame(PONG, b"x"), []
    for name, opcode in (("ping", PING), ("pong", PONG), ("close frame", CLOSE)):
        yield f"a {name} of 126 bytes", frame(opcode, bytes(126)), [Closed(1002)]
        yield f"a {name} of 65536 bytes", frame(opcode, b"", length=65536), [Closed(1002)]
        yield (f"a {name} with two bytes of length",
               frame(opcode, b"", length=0, length_bytes=2), [Closed(1002)])
        yield f"a {name} in fragments", frame(opcode, fin=False), [Closed(1002)]


GOOD_CODES = (*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4408, 4999)
BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


def closing():
    """RFC 6455 sections 5.5.1, 7.1.5 and 7.4."""
    yield "no code", close(), [Closed(None)]
    for code in GOOD_CODES:
        yield f"code {code}", close(code), [Closed(code)]
    for code in BAD_CODES:
        yield f"code {code}", close(code), [Closed(1002)]
        yield f"code {code} with a reason", close(code, b"reason"), [Closed(1002)]
    yield "half a code", frame(CLOSE, b"\x03"), [Closed(1002)]
    yield "a reason", close(1001, "für heute".encode()), [Closed(1001)]
    yield "the longest reason", close(1000, b"r" * 123), [Closed(1000)]
    yield "a reason that is too long", close(1000, b"r" * 124), [Closed(1002)]
    yield "a reason that is no text", close(1000, b"\xff"), [Closed(1007)]
    yield "a reason that is cut off", close(1000, b"\xe2\x82"), [Closed(1007)]
    yield "a text after it", close(1000) + text(HELLO), [Closed(1000)]
    yield "a ping after it", close(1000) + frame(PING), [Closed(1000)]
    yield "nonsense after it", close(1000) + b"\xff" * 20, [Closed(1000)]
    yield "a second one", close(1000) + close(1001), [Closed(1000)]
    yield "a text before it", text(HELLO) + close(4000), [HEARD, Closed(4000)]


# Either side of every bound of The Unicode Standard, table 3-7.
GOOD_CHARACTERS = ("\x7f\x80\u07ff\u0800\u0fff\u1000\ucfff\ud000\ud7ff\ue000\ufffd\ufffe\uffff"
                   "\U00010000\U0003ffff\U00040000\U000fffff\U00100000\U0010ffff")
# Bytes, and how many of them may still become a character.
BAD_TEXTS = (
    ("80", 0), ("bf", 0), ("c080", 0), ("c1bf", 0), ("f5808080", 0), ("fe", 0), ("ff", 0),
    ("c328", 1), ("c3c3", 1), ("e08080", 1), ("e09fbf", 1), ("e228a1", 1), ("eda080", 1),
    ("edbfbf", 1), ("f0808080", 1), ("f08fbfbf", 1), ("f0288c", 1), ("f4908080", 1),
    ("e28228", 2), ("f09f28", 2), ("f09f9828", 3),
)


def utf8():
    """RFC 6455 sections 5.6 and 8.1."""
    for character in GOOD_CHARACTERS:
        name = f"U+{ord(character):04X}"
        payload = say(character)
        yield name, text(payload), [Heard(character)]
        begin = payload.index(character.encode())
        for at in range(1, len(character.encode())):
            yield (f"{name} split behind byte {at}",
                   fragments(TEXT, *cut(payload, begin + at), between=frame(PING)),
                   [Pong(), Heard(character)])
        for size in range(1, len(character.encode())):
            start = character.encode()[:size]
            yield f"{name} cut off after byte {size}", text(b"x" + start), [Closed(1007)]
            yield (f"{name} cut off after byte {size}, in fragments",
                   fragments(TEXT, b"x", start, b""), [Closed(1007)])
    for digits, hopeful in BAD_TEXTS:
        bad = bytes.fromhex(digits)
        for before in (0, 1, 15, 16, 31):
            whole = b"a" * before + bad
            yield f"{digits} behind {before} bytes", text(whole + b"z"), [Closed(1007)]
            # As soon as nothing can mend it, though the frame has 99 bytes more to come.
            hopeless = whole[:before + hopeful + 1]
            yield (f"{digits} behind {before} bytes, told at once",
                   text(hopeless, length=len(hopeless) + 99), [Closed(1007)])
            # And not sooner.
            yield (f"{digits} behind {before} bytes, in fragments",
                   text(whole[:before + hopeful], fin=False) + frame(PING)
                   + frame(CONTINUATION, bad[hopeful:hopeful + 1], fin=False, length=99),
                   [Pong(), Closed(1007)])
    yield "a binary message that is no text", frame(BINARY, b"\xff\xc0"), []


def limits():
    """RFC 6455 section 10.4."""
    most, heard = say_bytes(LIMIT_BYTES)
    yield "the longest message", text(most), [heard]
    yield "a longer one, by its header", text(b"", length=LIMIT_BYTES + 1), [Closed(1009)]
    yield "the longest message in fragments", fragments(TEXT, *cut(most, 1, 69_000)), [heard]
    yield ("a longer one in fragments, by the header of the last",
           text(most, fin=False) + frame(CONTINUATION, b"", length=1), [Closed(1009)])
    yield ("a long message behind another", text(most) + text(most), [heard, heard])
    yield ("pings do not count",
           fragments(TEXT, *cut(most, 40_000), between=frame(PING, b"p" * 125)),
           [Pong(b"p" * 125), heard])


def packed(what, **options):
    return deflate(say(what), **options)


def stored(message, block_bytes):
    """Deflated without being shortened (RFC 1951 section 3.2.4), in blocks of that size."""
    out = b""
    for at in range(0, len(message), block_bytes):
        block = message[at:at + block_bytes]
        out += b"\0" + struct.pack("<HH", len(block), len(block) ^ 0xFFFF) + block
    return out + b"\0"


def compression():
    """RFC 7692 sections 6 and 7.2."""
    hello = packed("hello")
    long = "hello " * 1000
    yield "a compressed text", text(hello, rsv=RSV1), [HEARD]
    yield "a plain text", text(HELLO), [HEARD]
    yield ("plain and compressed by turns", (text(HELLO) + text(hello, rsv=RSV1)) * 2, [HEARD] * 4)
    yield "a compressed binary message", frame(BINARY, hello, rsv=RSV1), []
    yield "fragments", fragments(TEXT, *cut(hello, 1, 9), rsv=RSV1), [HEARD]
    yield ("fragments of one byte, pings between",
           fragments(TEXT, *cut(hello, *range(1, len(hello))), rsv=RSV1, between=frame(PING)),
           [Pong()] * (len(hello) - 1) + [HEARD])
    yield "empty fragments", fragments(TEXT, b"", hello, b"", rsv=RSV1), [HEARD]
    yield "an empty message", text(b"\0", rsv=RSV1), []
    yield "an empty message in other words", text(b"\x02\0", rsv=RSV1), []
    for level in (0, 1, 9):
        yield f"level {level}", text(packed(long, level=level), rsv=RSV1), [Heard(long, True)]
    yield "a small window", text(packed(long, window_bits=9), rsv=RSV1), [Heard(long, True)]
    yield "stored blocks", text(stored(HELLO, 7), rsv=RSV1), [HEARD]
    yield ("a final block", text(b"\x01" + stored(HELLO, 999)[1:], rsv=RSV1), [HEARD])
    yield ("two final blocks", text(b"".join(b"\x01" + stored(part, 999)[1:-1]
                                             for part in cut(HELLO, 9)) + b"\0", rsv=RSV1), [HEARD])
    yield ("a long answer to each of two", text(packed(long), rsv=RSV1) * 2,
           [Heard(long, True)] * 2)
    yield "a character split by fragments", fragments(
        TEXT, *cut(stored(say("🦊"), 999), EMPTY_BYTES + 2), rsv=RSV1), [Heard("🦊")]
    # The bit belongs to the first frame of a message, and to that of no other kind.
    yield ("the bit on a continuation", text(hello[:5], fin=False, rsv=RSV1)
           + frame(CONTINUATION, hello[5:], rsv=RSV1), [Closed(1002)])
    yield ("the bit on a continuation of a plain text", text(HELLO[:5], fin=False)
           + frame(CONTINUATION, HELLO[5:], rsv=RSV1), [Closed(1002)])
    for name, opcode in (("ping", PING), ("pong", PONG), ("close frame", CLOSE), ("opcode 3", 3)):
        yield f"the bit on a {name}", frame(opcode, rsv=RSV1), [Closed(1002)]
    for name, rsv in (("second", RSV1 | RSV2), ("third", RSV1 | RSV3), ("second alone", RSV2)):
        yield f"the {name} reserved bit", text(hello, rsv=rsv), [Closed(1002)]
    # Payloads that are none.
    yield "no payload", text(b"", rsv=RSV1), [Closed(1007)]
    yield "a payload that is cut off", text(hello[:-3], rsv=RSV1), [Closed(1007)]
    yield "a plain payload", text(HELLO, rsv=RSV1), [Closed(1007)]
    yield "a block of the reserved kind", text(b"\x06", rsv=RSV1), [Closed(1007)]
    yield "a reference to before the beginning", text(b"\x63\0\x02\0", rsv=RSV1), [Closed(1007)]
    yield "a final block and no more", text(b"\x01" + stored(HELLO, 999)[1:-1], rsv=RSV1), [
        Closed(1007)]
    yield "a text that is none", text(packed(b"\xff"), rsv=RSV1), [Closed(1007)]
    yield "a text that is cut off", text(deflate(b"x\xe2\x82"), rsv=RSV1), [Closed(1007)]
    # A client that goes on using its compressor, which it was told not to.
    packer = zlib.compressobj(wbits=-15)
    yield "a reference to the message before", b"".join(
        text(deflate(HELLO, packer=packer), rsv=RSV1) for _ in range(2)), [HEARD, Closed(1007)]
    # The limit is on what is behind the payload.
    most, heard = say_bytes(LIMIT_BYTES)
    heard = Heard(heard.what, True)
    yield "the longest message", text(deflate(most), rsv=RSV1), [heard]
    yield "the longest message, stored", text(stored(most, 1000), rsv=RSV1), [heard]
    yield "a longer one", text(deflate(most + b" "), rsv=RSV1), [Closed(1009)]
    yield "a bomb", text(deflate(bytes(50_000_000)), rsv=RSV1), [Closed(1009)]
    yield ("a payload that no message has, by its header",
           text(b"", rsv=RSV1, length=2 * LIMIT_BYTES), [Closed(1009)])


CASES = [
    Case(section, name, sent, back, offers)
    for section, offers, cases in (
        ("5.2", None, framing), ("5.3", None, masks), ("5.4", None, fragmentation),
        ("5.5", None, control_frames), ("7.4", None, closing), ("8.1", None, utf8),
        ("10.4", None, limits), ("7692", DEFLATE, compression),
    )
    for name, sent, back in cases()
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), WEBSOCKET_MESSAGE_BYTES_MAX=LIMIT_BYTES)
    server.start()
    yield server
    server.stop()


def check(case, ws, send):
    assert ws.extensions == (DEFLATE_ANSWER if case.offers else None)
    send(case.sent)
    for expected in case.back:
        opcode, is_packed, message = ws.read_frame()
        if isinstance(expected, Heard):
            assert opcode == TEXT
            heard = json.loads(message)
            assert heard["type"] == "subscription_acknowledged"
            assert heard["data"] == {"x": expected.what}
            assert is_packed == expected.packed
        elif isinstance(expected, Pong):
            assert (opcode, is_packed, message) == (PONG, False, expected.payload)
        else:
            assert (opcode, is_packed) == (CLOSE, False), message
            code = struct.unpack(">H", message[:2])[0] if message else None
            assert code == expected.code, message
            message[2:].decode()
            assert ws.at_end()
            return
    ws.send(frame(PING, b"in order"))
    assert ws.read_frame() == (PONG, False, b"in order")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section} {case.name}")
def test_case(server, case):
    with FrameSocket(server, extensions=case.offers) as ws:
        check(case, ws, ws.send)
    if len(case.sent) <= TORN_BYTES_MAX:
        with FrameSocket(server, extensions=case.offers) as ws:
            check(case, ws, ws.send_torn)


def test_a_handshake_in_pieces_and_all_at_once(server):
    sent = handshake().encode() + text(HELLO) + close(1000)
    for torn in (False, True):
        with RawConnection(server.port) as raw:
            for at in range(len(sent)) if torn else [slice(None)]:
                raw.send(sent[at:at + 1] if torn else sent)
            assert raw.read_answer(to_head=True).header("Sec-WebSocket-Accept") == ACCEPT
            rest = raw.read_rest()
            assert b'{"x":"hello"}' in rest
            assert rest.endswith(b"\x88\x02\x03\xe8")


# ---- Agreeing on compression (RFC 7692 section 7.1) --------------------------------------------

WINDOW_10 = DEFLATE_ANSWER + "; server_max_window_bits=10"


@pytest.mark.parametrize(
    "offers, answer",
    [
        (None, None),
        ("permessage-deflate", DEFLATE_ANSWER),
        ("permessage-deflate; client_max_window_bits", DEFLATE_ANSWER),  # Of browsers.
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover",
         DEFLATE_ANSWER),
        ("permessage-deflate; server_max_window_bits=10", WINDOW_10),
        ('permessage-deflate; server_max_window_bits="10"', WINDOW_10),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", WINDOW_10),
        ("permessage-deflate; unknown, permessage-deflate", DEFLATE_ANSWER),
        ("x-unknown, permessage-deflate", DEFLATE_ANSWER),
        ("permessage-deflate; unknown", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; client_max_window_bits=99", None),
        ("permessage-deflate; client_no_context_takeover=1", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("x-webkit-deflate-frame", None),
        ('"', None),
        (";;,;=,", None),
    ],
)
def test_offers(server, offers, answer):
    with FrameSocket(server, extensions=offers) as ws:
        assert ws.extensions == answer
        ws.send(text(HELLO))
        assert json.loads(ws.read_frame()[2])["data"] == {"x": "hello"}
        ws.send(text(packed("hello"), rsv=RSV1))
        opcode, _, message = ws.read_frame()
        assert opcode == (TEXT if answer else CLOSE)
        assert answer or message[:2] == struct.pack(">H", 1002)


def test_a_small_window_is_kept_to(server):
    """In a message no longer than the window nothing can refer further back; others come plain."""
    with FrameSocket(server, extensions=DEFLATE + "; server_max_window_bits=13") as ws:
        for size in (8000, 9000):
            payload, heard = say_bytes(size)
            ws.send(text(payload))
            _, is_packed, message = ws.read_frame()
            assert json.loads(message)["data"] == {"x": heard.what}
            assert is_packed == (len(message) <= 1 << 13)


def test_compression_is_a_setting(make_server):
    server = make_server(WEBSOCKET_COMPRESSION="false")
    with FrameSocket(server, extensions=DEFLATE) as ws:
        assert ws.extensions is None
        ws.send(text(packed("hello"), rsv=RSV1))
        assert ws.read_frame()[2][:2] == struct.pack(">H", 1002)


def peak_kb(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def test_bombs_and_unfinished_messages_take_no_memory(server):
    bomb = deflate(bytes(50_000_000))
    before = peak_kb(server)
    begun = []
    for _ in range(200):
        with FrameSocket(server, extensions=DEFLATE) as ws:
            ws.send(text(bomb, rsv=RSV1))
            assert ws.read_frame()[2][:2] == struct.pack(">H", 1009)
        # These keep the server waiting for the rest, of which it has a few bytes each.
        ws = FrameSocket(server, extensions=DEFLATE)
        ws.send(text(bomb[:100], rsv=RSV1, fin=False))
        begun.append(ws)
    assert peak_kb(server) - before < 4096
    for ws in begun:
        ws.send(frame(PING))
        assert ws.read_frame()[0] == PONG
        ws.close()
