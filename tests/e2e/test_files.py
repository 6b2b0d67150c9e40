"""Files: the contract's examples and rules, downloads, ownership, hostile uploads."""

import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import select
import socket
import threading
import time

import pytest

import hostile_senders
import hostile_uploads
from harness import Server, unique, wait_until
from hostile_uploads import END, FORM, part
from sockets import Socket, run_async
from uploads import FILES, send, stored, upload

FILE_BYTES_MAX = 3_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    # Rows stay as they are until somebody changes them: test_file_processing.py has the rest.
    running = Server(folder, MAX_FILE_SIZE=FILE_BYTES_MAX, DISK_FREE_BYTES_MIN=0,
                     ENABLE_BACKGROUND_TASKS="false")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(server):
    client = server.client()
    yield client
    client.close()


def test_every_hostile_upload_gets_its_answer_and_leaves_nothing(server, client):
    rows = list(hostile_uploads.corpus())
    assert len(rows) >= 150
    before = stored(server)
    wrong = []
    for what, request, status, expected in rows:
        answer = send(client, request["body"], request["type"],
                      request.get("content_type", FORM))
        told = (answer.json()["files"][0]["original_filename"] if answer.status == 200
                else json.dumps(answer.detail, ensure_ascii=False))
        if answer.status != status or expected not in told:
            wrong.append(f"{what}: {answer.status} {told[:200]}, not {status} {expected}")
        if answer.status == 200:
            for file in answer.json()["files"]:
                assert client.request("DELETE", f"{FILES}/{file['id']}").status == 204
    assert not wrong, "\n".join(wrong)
    assert stored(server) == before


def act_out(server, steps):
    """Does on a connection what a hostile sender does; the first answer that is final, or nothing
    where the connection was closed without one."""
    with server.raw() as raw, contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        for step in steps:
            if isinstance(step, bytes):
                raw.send(step)
            elif step == hostile_senders.HANG_UP:
                raw.socket.shutdown(socket.SHUT_WR)
            elif step == hostile_senders.TRICKLE:
                while not select.select([raw.socket], [], [], 0.1)[0]:
                    raw.send(b"x")
            else:
                time.sleep(step)
        answer = raw.read_answer()
        return raw.read_answer() if answer.status == 100 else answer


def test_every_hostile_sender_gets_its_answer_and_leaves_nothing(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0, BODY_TIMEOUT_SECONDS=1, HEADER_TIMEOUT_SECONDS=1)
    server.errors_expected = True
    rows = list(hostile_senders.corpus())

    def fault(row):
        what, steps, status, expected = row
        answer = act_out(server, steps)
        if answer is None:
            return f"{what}: no answer" if status else None
        told = answer.body.decode()
        if answer.status == status and expected in told:
            return None
        return f"{what}: {answer.status} {told[:200]}, not {status} {expected}"
    with concurrent.futures.ThreadPoolExecutor(len(rows)) as pool:
        faults = [found for found in pool.map(fault, rows) if found]
    assert not faults, "\n".join(faults)
    client = server.client()
    for file in client.get(f"{FILES}?limit=1000").json():
        assert client.delete(f"{FILES}/{file['id']}").status == 204
    wait_until(lambda: not stored(server))


def test_answers_what_the_contract_says(server, client):
    body = (part(filename="one.json", content=b'{"a": 1}') + part(filename="two.csv",
            content=b"a,b\n") +
            part(name="tags", filename=None, content=b" red, blue,") +
            part(name="metadata", filename=None, content=b'{"project": "x"}') + END)
    answer = send(client, body)
    assert answer.status == 200
    told = answer.json()
    assert set(told) == {"files", "total_uploaded", "total_size", "upload_session_id"}
    assert (told["total_uploaded"], told["total_size"]) == (2, 12)
    assert len(bytes.fromhex(told["upload_session_id"])) == 8
    one, two = told["files"]
    assert len(bytes.fromhex(one["id"])) == 6
    assert one["filename"].startswith(one["id"] + "_2") and one["filename"].endswith(".json")
    assert one["upload_path"] == f"uploads/data_files/{one['filename']}"
    assert one["checksum"] == hashlib.md5(b'{"a": 1}').hexdigest()
    assert one["sha256"] == hashlib.sha256(b'{"a": 1}').hexdigest()
    assert (one["mime_type"], two["mime_type"]) == ("application/json", "text/csv")
    assert one["tags"] == two["tags"] == ["red", "blue"]
    assert one["metadata"] == {"project": "x"} and one["uploaded_by"] == "local"
    got = client.get(f"{FILES}/{one['id']}")
    assert got.json() == one
    assert client.get(f"{FILES}/000000000000").detail == "File 000000000000 not found"
    assert client.get(f"{FILES}/000000000000/download").detail == "File 000000000000 not found"


def test_lists_filter_sort_and_page(server, client):
    mark = unique("mark")
    for name, size in (("b.txt", 3), ("A.csv", 1), ("c.log", 2)):
        upload(client, name, b"x" * size, tags=mark)

    def names(query):
        listed = client.get(f"{FILES}?tags={mark}&{query}").json()
        return [file["original_filename"] for file in listed]

    assert names("") == ["c.log", "A.csv", "b.txt"]
    assert names("sort_order=asc") == ["b.txt", "A.csv", "c.log"]
    assert names("sort_by=filename&sort_order=asc") == ["A.csv", "b.txt", "c.log"]
    assert names("sort_by=file_size") == ["b.txt", "c.log", "A.csv"]
    assert names("sort_by=nonsense") == ["c.log", "A.csv", "b.txt"]
    assert names("search=B.T") == ["b.txt"] and names("search=.lo") == ["c.log"]
    assert names("mime_type=text/csv") == ["A.csv"]
    assert names("file_type=images") == names("file_type=nothing") == names("uploaded_by=me") == []
    assert names("skip=1&limit=1") == ["A.csv"]
    for query in ("sort_order=up", "limit=0", "limit=1001", "skip=-1"):
        assert client.get(f"{FILES}?{query}").status == 422
    seen, path = [], f"{FILES}?tags={mark}&limit=1&sort_by=filename&sort_order=asc"
    while path:
        page = client.get(path)
        seen += [f["original_filename"] for f in page.json()]
        link = page.header("Link")
        path = link[1:link.index(">")] if link else None
    assert seen == ["A.csv", "b.txt", "c.log"]


def test_statistics_follow_every_change(server, client):
    before = client.get(f"{FILES}/statistics").json()
    file = upload(client, "s.csv", b"1,2,3")
    after = client.get(f"{FILES}/statistics").json()
    assert after["total_files"] == before["total_files"] + 1
    assert after["total_size"] == before["total_size"] + 5
    assert after["by_mime_type"]["text/csv"] == before["by_mime_type"].get("text/csv", 0) + 1
    assert after["upload_trends"]["today"] == before["upload_trends"]["today"] + 1
    assert after["total_size_formatted"].endswith(" MB")
    client.request("DELETE", f"{FILES}/{file['id']}")
    assert client.get(f"{FILES}/statistics").json() == before


def test_metadata_merges_and_tags_replace(client):
    file = upload(client, metadata='{"a": 1, "b": {"c": 2}}', tags="x")
    path = f"{FILES}/{file['id']}/metadata"
    assert client.put(path).json()["tags"] == ["x"]
    changed = client.put(path, {"metadata": {"b": 3, "d": None}})
    assert changed.json()["metadata"] == {"a": 1, "b": 3, "d": None}
    tag = changed.header("ETag")
    assert client.put(path, {"tags": ["y", "z"]}).json()["tags"] == ["y", "z"]
    assert client.put(path, {"tags": []}, headers={"If-Match": tag}).status == 412
    assert client.put(path, {"tags": "y"}).status == 422
    assert client.put(f"{FILES}/nothing/metadata", {}).status == 404


def test_metadata_and_tags_keep_the_bounds_of_an_upload(client):
    file = upload(client, metadata='{"a": 1}', tags="x")
    path = f"{FILES}/{file['id']}/metadata"
    assert client.put(path, {"metadata": {"b": "x" * 60_000}}).status == 200
    more = client.put(path, {"metadata": {"c": "x" * 6_000}})
    assert (more.status, more.detail.startswith("metadata: ")) == (413, True)
    assert set(client.get(f"{FILES}/{file['id']}").json()["metadata"]) == {"a", "b"}
    # A member in place of another one makes it no larger.
    assert client.put(path, {"metadata": {"b": "y" * 60_000}}).status == 200
    for tags in ([f"t{i}" for i in range(101)], ["a,b"], ["ok", "b, c"]):
        answer = client.put(path, {"tags": tags})
        assert (answer.status, answer.detail[0]["loc"][:2]) == (422, ["body", "tags"]), answer
    assert client.put(path, {"tags": ["a", " b", " ", "a"]}).json()["tags"] == ["a", "b"]


def test_downloads_whole_and_in_parts(server, client):
    text = "".join(chr(33 + i % 90) for i in range(10_000)).encode()
    file = upload(client, 'q"\u00fc.txt'.replace('"', '\\"'), text)
    path = f"{FILES}/{file['id']}/download"
    whole = client.get(path)
    assert whole.body == text and whole.header("Content-Type") == "text/plain"
    assert whole.header("Content-Disposition") == (
        'attachment; filename="q\\"_.txt"; filename*=utf-8\'\'q%22%C3%BC.txt')
    assert "sandbox" in whole.header("Content-Security-Policy")
    assert whole.header("X-Content-Type-Options") == "nosniff"
    etag, modified = whole.header("ETag"), whole.header("Last-Modified")

    def ranged(value, **more):
        return client.get(path, headers={"Range": value, **more})
    for value, expected in (("bytes=0-9", text[:10]), ("bytes=9990-", text[-10:]),
                            ("bytes=-5", text[-5:]), ("bytes=5-99999", text[5:]),
                            ("bytes=-99999", text), ("Bytes=3-3", text[3:4]),
                            (f"bytes=9998-{'9' * 30}", text[-2:]), (f"bytes=-{'9' * 30}", text)):
        answer = ranged(value)
        assert (answer.status, answer.body) == (206, expected), value
        assert answer.header("Content-Range").endswith("/10000")
    for value in ("bytes=5-2", "bytes=x-", "chars=0-1", "bytes=", "bytes=0-0," * 17, "bytes=0-,0-"):
        assert (ranged(value).status, ranged(value).body) == (200, text), value
    for value in ("bytes=10000-", "bytes=-0", f"bytes={'9' * 30}-", "bytes=99999-,10000-10001"):
        answer = ranged(value)
        assert (answer.status, answer.header("Content-Range")) == (416, "bytes */10000"), value
    parts = ranged("bytes=0-1,5-6, -2")
    boundary = parts.header("Content-Type").partition("boundary=")[2]
    pieces = parts.body.split(f"--{boundary}".encode())
    assert [piece.partition(b"\r\n\r\n")[2][:-2] for piece in pieces[1:-1]] == [
        text[:2], text[5:7], text[-2:]]
    assert pieces[-1] == b"--\r\n"
    assert ranged("bytes=0-1", **{"If-Range": etag}).status == 206
    assert ranged("bytes=0-1", **{"If-Range": modified}).status == 206
    assert ranged("bytes=0-1", **{"If-Range": '"other"'}).body == text
    assert client.get(path, headers={"If-None-Match": etag}).status == 304
    assert client.get(path, headers={"If-Modified-Since": modified}).status == 304
    for fields, status in (
            ({"If-Modified-Since": "Fri, 01 Jan 2038 00:00:00 GMT"}, 304),
            ({"If-Modified-Since": "Friday, 01-Jan-38 00:00:00 GMT"}, 304),
            ({"If-Modified-Since": "Fri Jan  1 00:00:00 2038"}, 304),
            ({"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}, 200),
            ({"If-Modified-Since": "yesterday"}, 200),
            ({"If-Modified-Since": modified, "If-None-Match": '"other"'}, 200),
            ({"If-Unmodified-Since": modified}, 200),
            ({"If-Unmodified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}, 412),
            ({"If-Unmodified-Since": "yesterday"}, 200),
            ({"If-Match": etag}, 200), ({"If-Match": "*"}, 200),
            ({"If-Match": f'"other", {etag}'}, 200), ({"If-Match": '"other"'}, 412),
            ({"If-Match": f"W/{etag}"}, 412),
            ({"If-Match": etag, "If-Unmodified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}, 200),
            ({"If-Match": '"other"', "Range": "bytes=0-1"}, 412)):
        assert client.get(path, headers=fields).status == status, fields
    head = client.request("HEAD", path)
    assert head.body == b"" and head.header("Content-Length") == "10000"
    # Only GET has parts.
    head = client.request("HEAD", path, headers={"Range": "bytes=0-4"})
    assert (head.status, head.header("Content-Length")) == (200, "10000")
    assert ranged("bytes=0-1", **{"If-None-Match": '"other"'}).body == text[:2]
    assert ranged("bytes=0-1", **{"If-None-Match": etag}).status == 304


def test_nothing_that_runs_is_shown_inline(client):
    file = upload(client, "x.svg",
                  b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
                  "images")
    answer = client.get(f"{FILES}/{file['id']}/download")
    assert answer.header("Content-Disposition").startswith("attachment")
    assert answer.header("Content-Security-Policy") == "sandbox; default-src 'none'"
    page = upload(client, "x.md", b"<!DOCTYPE html><script>1</script>", "documents")
    for one in (file, page):
        for asked in ({"Range": "bytes=0-4"}, {"Range": "bytes=0-4,6-7"}, {"Accept": "text/html"}):
            part_of = client.get(f"{FILES}/{one['id']}/download", headers=asked)
            assert part_of.status in (200, 206)
            assert "html" not in part_of.header("Content-Type")
            assert part_of.header("Content-Disposition").startswith("attachment")
            assert part_of.header("Content-Security-Policy") == "sandbox; default-src 'none'"
            assert part_of.header("X-Content-Type-Options") == "nosniff"


def test_a_damaged_content_is_no_twin_of_what_comes_whole(server, client):
    content = b"whole " * 2_000
    first = upload(client, "a.txt", content)
    [path] = server.folder.glob(f"uploads/*/*.{first['id']}")
    for damage in (content[:100], b"DAMAGED" + content[7:]):
        path.write_bytes(damage)
        again = upload(client, "b.txt", content)
        assert client.get(f"{FILES}/{again['id']}/download").body == content
        client.delete(f"{FILES}/{again['id']}")


def test_no_database_sweeps_the_files_of_another(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    file = upload(server.client(), "a.txt", b"mine")
    server.stop()
    other = server.run_tool("serve", check=False, DATABASE_URL="sqlite:///other.db")
    assert other.returncode == 2
    assert "UPLOAD_DIR: uploads holds the files of another database" in other.stderr
    # Nor without the mark, as long as the other has no files itself.
    (server.folder / "uploads" / ".owner").unlink()
    assert server.run_tool("serve", check=False, DATABASE_URL="sqlite:///o2.db").returncode == 2
    server.start()
    assert server.client().get(f"{FILES}/{file['id']}/download").body == b"mine"


def test_names_that_nothing_can_have_are_unknown(client):
    for path in ("%00", "a%00", "a%00/thumbnail", "%00/download"):
        assert client.get(f"{FILES}/{path}").status == 404
    assert client.delete(f"{FILES}/%00").status == 404


def test_readiness_tells_that_files_cannot_be_stored(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    server.errors_expected = True  # A 503 is told as one.
    client, folder = server.client(), server.folder / "uploads"
    assert client.get("/health/ready").status == 200
    away = folder.rename(server.folder / "away")
    wait_until(lambda: client.get("/health/ready").status == 503)  # Looked at once a second.
    assert client.get("/health/ready").json() == {
        "status": "not_ready", "checks": {"database": True, "file_system": False}}
    health = client.get("/api/v2/system/health").json()
    assert (health["status"], health["checks"]["file_system"]) == ("unhealthy", False)
    assert health["details"]["file_system"] == "the folder of uploads cannot be written to"
    away.rename(folder)
    wait_until(lambda: client.get("/health/ready").status == 200)


def test_a_delete_does_not_end_a_download(server, client):
    content = b"0123456789" * 250_000
    file = upload(client, content=content)
    with server.raw() as slow:
        slow.send(f"GET {FILES}/{file['id']}/download HTTP/1.1\r\nHost: localhost\r\n\r\n")
        slow.read_until(b"\r\n\r\n")
        assert client.request("DELETE", f"{FILES}/{file['id']}").status == 204
        assert client.get(f"{FILES}/{file['id']}").status == 404
        assert slow.read_exactly(len(content)) == content


def test_equal_contents_share_their_bytes_until_the_last_is_gone(server, client):
    content = unique().encode()
    one, two = upload(client, "one.txt", content), upload(client, "two.txt", content)
    paths = [path for path in stored(server) if path.name.startswith(one["sha256"])]
    assert len(paths) == 2 and paths[0].stat().st_ino == paths[1].stat().st_ino
    client.request("DELETE", f"{FILES}/{one['id']}")
    assert client.get(f"{FILES}/{two['id']}/download").body == content
    client.request("DELETE", f"{FILES}/{two['id']}")
    assert not [path for path in stored(server) if path.name.startswith(one["sha256"])]


VALIDATIONS = [
    ("a.json", b'{"model": "m", "tools": [], "capabilities": []}', "auto", True, "", ""),
    ("a.json", b'{"model": "m"', "auto", False, "Invalid JSON: line 1, column 14", ""),
    ("a.json", b'{"a": 1,\n "a": 2}', "json", False,
     "line 2, column 2: the key 'a' is given twice", ""),
    ("a.json", b"[" * 5000 + b"]" * 5000, "json", False, "Invalid JSON: line 1", ""),
    ("a.json", b"1e999", "json", False, "Invalid JSON: line 1, column 1: a number is too large",
     ""),
    ("a.json", b'{"a":\n [1e999]}', "auto", False, "line 2, column 3: a number is too large", ""),
    ("a.json", b'{"max_tokens": 99999999999999999999}', "json", False,
     "line 1, column 16: a number is too large", ""),
    ("a.yaml", b"a: 1\nb: 1e999\n", "yaml", False, "line 2, column 4: a number is too large", ""),
    ("a.yaml", b"max_tokens: 99999999999999999999", "agent_config", False,
     "line 1, column 13: a number is too large", ""),
    ("a.json", b'{"config": {"model": "m",\n "tools": 5}}', "agent_config", False,
     "line 2, column 11: config.tools", ""),
    ("a.json", b'{"model": "\\ud83d\\ude00",\n "max_tokens": "many"}', "agent_config", False,
     "line 2, column 16: max_tokens", ""),
    ("a.json", b'{"name": 5, "model": "m"}', "agent_config", False, "line 1, column 10: name", ""),
    ("a.yaml", b"a: 1\nb: [", "auto", False, "Invalid YAML: line 2", ""),
    ("a.yaml", b"a: 1\na: 2", "yaml", False, "line 2, column 1: the key 'a' is given twice", ""),
    ("a.yaml", b"a: &a [x]\n" + b"".join(b"%c: &%c [%s]\n" % (c, c,
            b",".join([b"*%c" % (c - 1)] * 9))
                                          for c in range(98, 110)), "yaml", False,
                                          "too many values", ""),
    ("a.yaml", b"a: &a " + b"x" * 500_000 + b"\nb: [" + b"*a," * 90_000 + b"]", "yaml", False,
     "too much text", ""),
    # The parser would find an empty document in these, and another one, without an end.
    ("a.yaml", b", " * 400, "yaml", False, "several documents", ""),
    ("a.yaml", b", " * 400_000, "yaml", False, "too many brackets and commas", ""),
    ("a.yaml", b"[" + b"1," * 400_000 + b"]", "yaml", False, "too many brackets and commas", ""),
    ("a.yaml", b"tools: [" + b"{}," * 900 + b"]", "agent_config", False,
     "line 1, column 9: tools.0", ""),
    ("a.yaml", b"[" * 1000, "yaml", False, "Invalid YAML", ""),
    ("a.yaml", b"- " * 9000 + b"x", "yaml", False, "Invalid YAML", ""),
    ("a.yaml", b"model: m\ntools: 5\n", "agent_config", False, "line 2, column 8: tools", ""),
    ("a.yaml", b"model: m\n", "agent_config", True, "", "tools, capabilities"),
    ("a.json", b'{"max_tokens":\n "many"}', "agent_config", False, "line 2, column 2: max_tokens",
     ""),
    ("a.yaml", b"just text", "agent_config", False, "not an object", ""),
    ("a.json", b"{}", "nothing", False, "", ""),
    ("a.yaml", b"name: caf\xe9\n", "auto", False, "not UTF-8", ""),
]


@pytest.mark.parametrize("row", VALIDATIONS, ids=lambda row: f"{row[0]} {row[1][:20]!r} {row[2]}")
def test_validates(client, row):
    name, content, asked, valid, error, warning = row
    answer = send(client, part(filename=name, content=content) + END, "agent_configs")
    id_ = answer.json()["files"][0]["id"]
    for method in ("GET", "POST"):
        began = time.monotonic()
        got = client.request(method, f"{FILES}/{id_}/validate?validation_type={asked}")
        assert got.status == 200 and time.monotonic() - began < 15
        told = got.json()
        assert told["validation_type"] == asked and told["filename"] == name
        assert told["is_valid"] is valid, told
        assert error in " ".join(told["errors"]) and bool(error) == bool(told["errors"]), told
        assert warning in " ".join(told["warnings"]), told
        assert bool(warning) == bool(told["warnings"]), told
    assert client.get(f"{FILES}/{id_}/validate").json()["validation_type"] == "auto"


def test_a_file_whose_content_is_gone_is_told_apart(server, client):
    file = upload(client, content=unique().encode())
    next(path for path in stored(server) if path.name.endswith(file["id"])).unlink()
    for path in ("download", "validate"):
        answer = client.get(f"{FILES}/{file['id']}/{path}")
        assert (answer.status, answer.detail) == (404, "File not found on disk")
    assert client.request("DELETE", f"{FILES}/{file['id']}").status == 204


def test_limits_act_before_the_rest_is_sent(server):
    with server.raw() as raw:
        raw.send(f"POST {FILES}/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
                 f"Content-Type: {FORM}\r\nContent-Length: 2000000\r\n\r\n")
        raw.send(part(filename="a.exe")[:-2])
        answer = raw.read_answer()
        assert answer.status == 400 and answer.header("Connection") == "close"
    with server.raw() as raw:
        raw.send(f"POST {FILES}/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
                 f"Content-Type: {FORM}\r\nContent-Length: 31000000\r\n\r\n")
        raw.send(part(content=b"x" * (FILE_BYTES_MAX + 1)))
        assert "file too large" in raw.read_answer().detail
    with server.raw() as raw:
        raw.send(f"POST {FILES}/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
                 f"Content-Type: {FORM}\r\nContent-Length: 2000000\r\n\r\n")
        raw.send((part() * 11)[:-3])  # Of the one too many the content has not come.
        assert "Too many files" in raw.read_answer().detail
    with server.raw() as raw:
        # What all of them may have together is known only as it comes.
        raw.send(f"POST {FILES}/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
                 f"Content-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n")
        raw.send(b"7fffffff\r\n" + part()[:-2])
        assert raw.read_answer().status == 413
    with server.raw() as raw:
        raw.send(f"POST {FILES}/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
                 f"Content-Type: {FORM}\r\nContent-Length: 900000000\r\n"
                 "Expect: 100-continue\r\n\r\n")
        assert raw.read_answer().status == 413
    with server.raw() as raw:
        raw.send(f"POST {FILES}/upload/nothing HTTP/1.1\r\nHost: localhost\r\n"
                 f"Content-Type: {FORM}\r\nContent-Length: 9000\r\nExpect: 100-continue\r\n\r\n")
        assert raw.read_answer().status == 400
    # What had come is removed beside the answer.
    wait_until(lambda: not list((server.folder / "uploads" / "incoming").iterdir()))


def test_an_upload_that_is_broken_off_leaves_nothing(server, client):
    before = stored(server)
    for _ in range(3):
        with server.raw() as raw:
            raw.send(f"POST {FILES}/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
                     f"Content-Type: {FORM}\r\nContent-Length: 2000000\r\n\r\n")
            raw.send(part(content=b"x" * 1_000_000)[:-2])
            wait_until(lambda: len(stored(server)) > len(before))
    wait_until(lambda: stored(server) == before)


@run_async
async def test_viewers_hear_of_files(server, client):
    async with Socket(server, "/ws/v2") as viewer:
        file = upload(client, "seen.txt")
        client.request("DELETE", f"{FILES}/{file['id']}")
        told = []
        while len(told) < 2:
            message = await viewer.receive()
            if message["type"] == "file_change" and message["data"]["file_id"] == file["id"]:
                told.append(message["data"]["event"])
        assert told == ["file_created", "file_deleted"]


# --- Credentials, quotas, crashes


def test_other_peoples_files_are_not_ours_to_change(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    tokens = {name: server.create_token(name, role)
              for name, role in (("ann", "operator"), ("bob", "operator"), ("eve", "viewer"),
                                 ("root", "admin"))}
    ann, bob, eve, root = (server.client(tokens[name]) for name in ("ann", "bob", "eve", "root"))
    wait_until(lambda: server.client().get(FILES).status == 401)
    files = [upload(ann), upload(ann)]
    assert files[0]["uploaded_by"] == "ann"
    path = f"{FILES}/{files[0]['id']}"
    assert eve.get(f"{path}/download").body == b"text"
    assert send(eve, part() + END).status == 403
    for change in (bob.request("DELETE", path), bob.put(f"{path}/metadata", {"tags": ["x"]})):
        assert change.status == 403 and change.detail.startswith("Permission denied. ")
    assert eve.request("DELETE", path).status == 403
    assert ann.put(f"{path}/metadata", {"tags": ["x"]}).json()["tags"] == ["x"]
    assert root.put(f"{path}/metadata", {"tags": ["y"]}).json()["tags"] == ["y"]
    assert ann.request("DELETE", path).status == 204
    assert root.request("DELETE", f"{FILES}/{files[1]['id']}").status == 204


def test_a_quota_holds_and_leaves_nothing(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0, UPLOAD_QUOTA_BYTES=10)
    client = server.client()
    file = upload(client, content=b"12345678")
    answer = send(client, part(content=b"abc") + END)
    assert (answer.status, "quota" in answer.detail) == (413, True)
    wait_until(lambda: len(stored(server)) == 1)
    client.request("DELETE", f"{FILES}/{file['id']}")
    upload(client, content=b"abc")


def test_everybody_has_a_quota_of_his_own(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0, UPLOAD_QUOTA_BYTES=10)
    ann, bob, root = (server.client(server.create_token(name, role)) for name, role in
                      (("ann", "operator"), ("bob", "operator"), ("root", "admin")))
    wait_until(lambda: server.client().get(FILES).status == 401)
    file = upload(ann, content=b"12345678")
    assert send(ann, part(content=b"abc") + END).status == 413
    for other in (bob, root):
        assert upload(other, content=b"1234567890")["file_size"] == 10
        assert send(other, part(content=b"a") + END).status == 413
    # Whoever deletes it, it is the owner who has the room.
    assert root.delete(f"{FILES}/{file['id']}").status == 204
    upload(ann, content=b"1234567890")


def test_a_quota_acts_while_the_bytes_come(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0, UPLOAD_QUOTA_BYTES=1_000_000)

    def begin_form(raw, content):
        raw.send(f"POST {FILES}/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
                 f"Content-Type: {FORM}\r\nContent-Length: 9000000\r\n\r\n")
        raw.send(part(content=content)[:-2])

    def arrived():
        return sum(path.stat().st_size for path in stored(server))
    with server.raw() as one, server.raw() as two:
        begin_form(one, b"x" * 900_000)
        wait_until(lambda: arrived() > 500_000)
        # Another one of the same user.
        begin_form(two, b"x" * 600_000)
        answer = two.read_answer()
        assert (answer.status, "quota" in answer.detail) == (413, True)
        one.send(b"x" * 400_000)
        answer = one.read_answer()
        assert (answer.status, "quota" in answer.detail) == (413, True)
    wait_until(lambda: not stored(server))
    upload(server.client(), content=b"x" * 1_000_000)


def test_a_full_disk_is_told_and_leaves_nothing(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=10**12)
    server.errors_expected = True
    answer = send(server.client(), part() + END)
    assert (answer.status, answer.detail) == (507, "There is no room left for files")
    wait_until(lambda: stored(server) == set())


def test_a_crash_loses_no_file_and_leaves_none_behind(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    acknowledged = {}
    for round_ in range(3):
        stop = threading.Event()

        def send_many(mine):
            client = server.client()
            while not stop.is_set():
                content = unique().encode() * 20_000
                try:
                    file = upload(client, content=content)
                except (OSError, http.client.HTTPException):
                    return
                acknowledged[file["id"]] = hashlib.sha256(content).hexdigest()
        threads = [threading.Thread(target=send_many, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) >= before + 5)
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        server.start()
    client = server.client()
    rows = {file["id"]: file["sha256"] for file in client.get(f"{FILES}?limit=1000").json()}
    assert acknowledged.items() <= rows.items()
    assert {path.name for path in stored(server)} == {f"{sha}.{id_}" for id_, sha in rows.items()}
    for id_ in acknowledged:
        got = client.get(f"{FILES}/{id_}/download").body
        assert hashlib.sha256(got).hexdigest() == rows[id_]


@pytest.mark.parametrize("how", ["upload", "process"])
def test_no_file_makes_a_configuration_that_no_request_could(make_server, how):
    client = make_server(DISK_FREE_BYTES_MIN=0).client()
    long = "model: m\ncustom_instructions: " + "x" * 600_000
    if how == "upload":
        agent = client.agent_v2()
        answer = client.upload(f"/api/v2/agents/{agent['id']}/configuration/upload", "c.yaml", long)
        assert answer.status == 400 and "more than 524288 bytes" in answer.detail
    else:
        file = upload(client, "long.yaml", long.encode(), "agent_configs")
        path = f"{FILES}/{file['id']}"
        wait_until(lambda: client.get(path).json()["analysis"]["status"] in ("done", "failed"))
        assert "more than 524288 bytes" in client.get(path).json()["analysis"]["error"]


def test_nobody_has_anothers_file_processed(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    owner, other = (server.client(server.create_token(name, "operator")) for name in ("a", "b"))
    file = upload(owner, "a.txt", b"some text")
    path = f"{FILES}/{file['id']}"
    wait_until(lambda: (owner.get(path).json()["analysis"] or {}).get("status") == "done")
    before = owner.get(path).json()

    def process(client, name, arguments):
        task = client.post("/api/v2/background-tasks", {"task_name": name, "task_args": arguments})
        assert task.status == 201, task
        place = f"/api/v2/background-tasks/{task.json()['task_id']}"
        wait_until(lambda: client.get(place).json()["completed_at"], 20)
        return client.get(place).json()
    for name, arguments in (("process_uploaded_image", [file["id"]]),
                            ("process_uploaded_text", [file["id"]]),
                            ("process_uploaded_agent_configs", [[file["id"]]])):
        ended = process(other, name, arguments)
        assert "somebody else's" in json.dumps(ended), ended
    assert owner.get(path).json() == before
    assert process(owner, "process_uploaded_text", [file["id"]])["status"] == "success"


def test_as_many_files_as_may_be_have_room_for_fields(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0, MAX_FILES_PER_UPLOAD=100)
    body = b"".join(part(filename=f"{i}.txt", content=b"%d" % i) for i in range(100))
    tags = part(name="tags", filename=None, content=b"a,b")
    assert send(server.client(), body + tags + END).json()["total_uploaded"] == 100


def test_names_that_browsers_would_read_in_two_ways_are_given_in_both_forms(client):
    for name in ("a%22b.txt", 'q".txt'):
        file = upload(client, name.replace('"', '\\"'), b"x")
        disposition = client.get(f"{FILES}/{file['id']}/download").header("Content-Disposition")
        assert "; filename*=utf-8''" in disposition, disposition


def test_uploads_leave_descriptors_for_others(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0, start=False)
    server.errors_expected = True
    server.descriptors_max = 200
    server.start()
    slow = []
    for _ in range(17):
        raw = server.raw()
        body = b"".join(part(filename=f"{i}.txt", content=b"x") for i in range(10))
        raw.send(f"POST {FILES}/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
                 f"Content-Type: {FORM}\r\nContent-Length: {len(body) + 100}\r\n\r\n")
        raw.send(body)
        slow.append(raw)
    time.sleep(1)
    assert server.client().get("/health").status == 200
    answer = slow[-1].read_answer()
    assert answer.status == 503 and "Too many files" in answer.detail
    for raw in slow:
        raw.close()
    wait_until(lambda: send(server.client(), part() + END).status == 200, 10)
