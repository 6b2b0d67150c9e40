"""Small and large images, made byte by byte."""

import struct
import zlib


def chunk(kind, data):
    return (struct.pack(">I", len(data)) + kind + data
            + struct.pack(">I", zlib.crc32(kind + data)))


def png(width, height, pixel, interlaced=False, kind=6, level=6):
    """`pixel(x, y)` gives the bytes of a pixel; kind 6 is RGBA, 2 RGB, 0 grey."""
    def rows(columns, lines):
        for y in lines:
            yield b"\0" + b"".join(pixel(x, y) for x in columns)

    if interlaced:
        passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                  (1, 0, 2, 2), (0, 1, 1, 2))
        data = b"".join(b"".join(rows(range(x, width, dx), range(y, height, dy)))
                        for x, y, dx, dy in passes if x < width)
    else:
        data = b"".join(rows(range(width), range(height)))
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
            + chunk(b"IDAT", zlib.compress(data, level)) + chunk(b"IEND", b""))


def grey_png(width, height):
    """Large and all of one grey: next to nothing to send."""
    packer = zlib.compressobj(9)
    line = b"\0" + b"\x80" * width
    data = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data)
            + chunk(b"IEND", b""))


def gif(width, height, index, transparent=None, interlaced=False):
    """Two colours, red and blue; the codes are never longer than three bits."""
    lines = list(range(height))
    if interlaced:
        lines = (lines[0::8] + lines[4::8] + lines[2::4] + lines[1::2])
    codes = []
    for y in lines:
        for x in range(width):
            if len(codes) % 2 == 0:  # Clearing the table keeps the codes short.
                codes.append(4)
            codes.append(index(x, y))
    codes.append(5)
    number, bits, data = 0, 0, b""
    for code in codes:
        number |= code << bits
        bits += 3
        while bits >= 8:
            data += bytes([number & 255])
            number, bits = number >> 8, bits - 8
    data += bytes([number])
    blocks = b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255]
                      for i in range(0, len(data), 255))
    control = b"" if transparent is None else b"!\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
    return (b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\xff\0\0\0\0\xff"
            + control + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0x40 * interlaced)
            + b"\x02" + blocks + b"\0;")


def unpack_png(data):
    """(width, height, rows of RGBA bytes) of a PNG with eight bits and all filters."""
    width, height = struct.unpack(">II", data[16:24])
    assert data[24:26] == b"\x08\x06", "it is not RGBA"
    at, packed = 8, b""
    while at < len(data):
        length, = struct.unpack(">I", data[at:at + 4])
        if data[at + 4:at + 8] == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += 12 + length
    raw, rows, before = zlib.decompress(packed), [], bytes(4 * width)
    for y in range(height):
        begin = y * (4 * width + 1)
        kind, line = raw[begin], bytearray(raw[begin + 1:begin + 1 + 4 * width])
        for i in range(4 * width):
            left = line[i - 4] if i >= 4 else 0
            up, corner = before[i], before[i - 4] if i >= 4 else 0
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda value: abs(guess - value))
            line[i] = (line[i] + (0, left, up, (left + up) // 2, paeth)[kind]) & 255
        rows.append(bytes(line))
        before = bytes(line)
    return width, height, rows
