"""WebSocket frames byte by byte (RFC 6455 section 5.2), and a socket that speaks nothing else."""

import json
import os
import socket
import struct
import zlib

from harness import RawConnection

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3.

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10  # The first one marks a compressed message (RFC 7692).
DEFLATE = "permessage-deflate"
DEFLATE_ANSWER = DEFLATE + "; server_no_context_takeover; client_no_context_takeover"


def handshake(path="/ws", **changes):
    fields = {
        "Host": "127.0.0.1", "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13", **changes,
    }
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()
             if value is not None]
    return f"GET {path} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"


def apply_mask(payload, mask):
    whole = (mask * (len(payload) // 4 + 1))[:len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")
    return mixed.to_bytes(len(payload), "big")


def frame(opcode, payload=b"", fin=True, rsv=0, mask=None, length=None, length_bytes=None):
    """A client's frame. `mask` is random, b"" for none; `length` is what the header says where that
    differs, and `length_bytes` (0, 2 or 8) how, where that is not the shortest form."""
    mask = os.urandom(4) if mask is None else mask
    length = len(payload) if length is None else length
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65536 else 8
    first = bytes([(0x80 if fin else 0) | rsv | opcode])
    masked = 0x80 if mask else 0
    if length_bytes == 0:
        head = bytes([masked | length])
    else:
        head = bytes([masked | (126 if length_bytes == 2 else 127)])
        head += struct.pack(">H" if length_bytes == 2 else ">Q", length)
    return first + head + mask + (apply_mask(payload, mask) if mask else payload)


def text(payload, **options):
    return frame(TEXT, payload, **options)


def fragments(opcode, *payloads, between=b"", rsv=0):
    """One message in as many frames, with `between` between any two."""
    frames = [frame(CONTINUATION if i else opcode, payload, fin=i == len(payloads) - 1,
                    rsv=0 if i else rsv) for i, payload in enumerate(payloads)]
    return between.join(frames)


def close(code=None, reason=b"", **options):
    body = b"" if code is None else struct.pack(">H", code)
    return frame(CLOSE, body + reason, **options)


def deflate(message, level=6, window_bits=15, packer=None):
    """The payload of a compressed message (RFC 7692 section 7.2.1); with a `packer` one that may
    refer to what that packed before."""
    packer = packer or zlib.compressobj(level, wbits=-window_bits)
    packed = packer.compress(message) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert packed.endswith(b"\0\0\xff\xff")
    return packed[:-4]


def inflate(payload):
    """The message behind one payload, which must not need any other."""
    unpacker = zlib.decompressobj(wbits=-15)
    message = unpacker.decompress(payload + b"\0\0\xff\xff")
    assert not unpacker.unconsumed_tail and not unpacker.unused_data
    return message


class FrameSocket(RawConnection):
    """Behind the handshake and past the server's greeting."""

    def __init__(self, server, path="/ws", extensions=None, timeout=10):
        super().__init__(server.port, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(handshake(path, Sec_WebSocket_Extensions=extensions))
        self.answer = self.read_answer(to_head=True)
        assert self.answer.status == 101, self.answer
        self.extensions = self.answer.header("Sec-WebSocket-Extensions")
        self.greeting = json.loads(self.read_frame()[2])

    def read_frame(self):
        """(opcode, whether it is compressed, message)"""
        first, second = self.read_exactly(2)
        assert first & 0x80, "the server does not fragment"
        assert not first & (RSV2 | RSV3) and not second & 0x80
        length = second
        if length >= 126:
            extra = 2 if length == 126 else 8
            length = int.from_bytes(self.read_exactly(extra), "big")
            assert length >= (126 if extra == 2 else 65536), "not the shortest form"
        payload = self.read_exactly(length)
        packed = bool(first & RSV1)
        return first & 15, packed, inflate(payload) if packed else payload

    def send_torn(self, data):
        """Byte by byte. A server that has seen enough may have closed before the last one."""
        try:
            for at in range(len(data)):
                self.socket.sendall(data[at:at + 1])
        except ConnectionError:
            pass
