"""Senders whose bytes come too slowly, too late, or in other numbers than they said: what each does
on the wire, and the answer that it has to get: (what it is, steps, status, part of the detail). No
status: the connection is closed without an answer.

A step is bytes to send, a number of seconds to wait, or one of the words below.
"""

import gzip

from hostile_uploads import END, FORM, part

HANG_UP = "hang up"  # Sends no more, but still listens.
TRICKLE = "trickle"  # A byte every now and then, until there is an answer.

HEAD = "POST /api/v2/files/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
GOOD = part() + END


def head(*fields, content_type=FORM):
    lines = [f"Content-Type: {content_type}", *fields]
    return (HEAD + "".join(line + "\r\n" for line in lines) + "\r\n").encode()


def sized(length, *fields):
    return head(f"Content-Length: {length}", *fields)


def chunked(*chunks, last=b"0\r\n\r\n"):
    return head("Transfer-Encoding: chunked") + b"".join(
        b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + last


def wrong_lengths():
    more = len(GOOD) + 10
    yield "a length too long, then silence", [sized(more), GOOD], 408, ""
    yield "a length too long, then the end", [sized(more), GOOD, HANG_UP], None, ""
    yield "a length too short", [sized(len(GOOD) - 5), GOOD], 400, "lacks its last boundary"
    yield "a length of nothing", [sized(0), GOOD], 400, "no boundary"
    yield "a length that is far too long", [sized(10**12), GOOD], 413, ""
    for length in ("-1", "+5", "0x10", "5 5", "5,6", "", "99999999999999999999", "1e3", "five"):
        yield f"the length {length!r}", [head(f"Content-Length: {length}"), GOOD], 400, ""
    yield ("two lengths", [head("Content-Length: 5", f"Content-Length: {len(GOOD)}"), GOOD], 400,
           "")
    yield ("a length and chunks",
           [head(f"Content-Length: {len(GOOD)}", "Transfer-Encoding: chunked"), GOOD], 400, "")
    yield "no length at all", [head(), GOOD], 400, ""


def wrong_chunks():
    yield "one chunk", [chunked(GOOD)], 200, "a.txt"
    yield "a chunk for each byte", [chunked(*(bytes([c]) for c in GOOD))], 200, "a.txt"
    yield "chunks with extensions", [
        head("Transfer-Encoding: chunked"), b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    ], 200, "a.txt"
    yield "no last chunk, then silence", [chunked(GOOD, last=b"")], 408, ""
    yield "no last chunk, then the end", [chunked(GOOD, last=b""), HANG_UP], None, ""
    yield "half a form in chunks", [chunked(GOOD[:30])], 400, "header has no end"
    yield "the last chunk first", [chunked() + GOOD], 400, "no boundary"
    for size in (b"x", b"-1", b"0x5", b" 5", b"", b"f" * 17, b"ffffffffffffffff", b"5 ;"):
        yield (f"the chunk size {size!r}",
               [head("Transfer-Encoding: chunked"), size + b"\r\n" + GOOD + b"\r\n0\r\n\r\n"],
               413 if size == b"f" * 16 else 400, "")
    yield ("a chunk longer than it says",
           [head("Transfer-Encoding: chunked"), b"5\r\n" + GOOD + b"\r\n0\r\n\r\n"], 400, "")
    yield ("a line without an end",
           [head("Transfer-Encoding: chunked"), b"5;" + b"x" * 100_000], 400, "")
    for coding in ("gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "identity"):
        yield (f"the transfer coding {coding}",
               [head(f"Transfer-Encoding: {coding}"), b"0\r\n\r\n"], 501, "transfer coding")


def slow_senders():
    body = GOOD
    yield "nothing but a header", [sized(len(body))], 408, ""
    yield "silence in a header line", [HEAD.encode()[:30]], 408, ""
    yield "a trickled header", [HEAD.encode()[:30], TRICKLE], 408, ""
    for cut, what in ((10, "boundary"), (40, "part's header"), (len(body) - 15, "content"),
                      (len(body) - 4, "last boundary")):
        yield f"silence in the {what}", [sized(len(body)), body[:cut]], 408, ""
    yield "a trickled body", [sized(10**6), part(content=b"x")[:-3], TRICKLE], 408, ""
    yield "a trickled body in chunks", [
        head("Transfer-Encoding: chunked"), b"fffff\r\n", part(content=b"x")[:-3], TRICKLE
    ], 408, ""
    yield ("silence after Expect", [sized(len(body), "Expect: 100-continue")], 408, "")
    yield ("a pause that is allowed", [sized(len(body)), body[:20], 0.3, body[20:]], 200, "a.txt")


def other_requests():
    yield "an Expect nobody knows", [sized(len(GOOD), "Expect: cookies"), GOOD], 417, ""
    yield ("another method",
           [sized(len(GOOD)).replace(b"POST", b"PUT", 1), GOOD], 405, "")
    packed = gzip.compress(GOOD)
    yield ("a packed body",
           [sized(len(packed), "Content-Encoding: gzip"), packed], 400, "no boundary")
    yield "another host", [sized(len(GOOD)).replace(b"localhost", b"evil.example"), GOOD], 400, ""


def corpus():
    for group in (wrong_lengths, wrong_chunks, slow_senders, other_requests):
        yield from group()
