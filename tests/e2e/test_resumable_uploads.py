"""Resumable uploads (tus 1.0): breaks, crashes, limits, whose they are."""

import base64
import email.utils
import fcntl
import hashlib
import os
import time

import pytest

from harness import Server, unique, wait_until
from hostile_uploads import END, part
from uploads import FILES, send, stored, upload

FILE_BYTES_MAX = 3_000_000
TUS = f"{FILES}/tus"


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


def tus(client, method, path, body=None, **fields):
    headers = {"Tus-Resumable": "1.0.0",
               **{name.replace("_", "-"): str(value) for name, value in fields.items()}}
    if body is not None:
        headers["Content-Type"] = "application/offset+octet-stream"
    return client.request(method, path, body=body, headers=headers)


def described(**values):
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}"
                    for name, value in values.items())


def begin(client, length, **values):
    values = {"filename": "r.txt", "file_type": "data_files", **values}
    return tus(client, "POST", TUS, Upload_Length=length, Upload_Metadata=described(**values))


def test_resumable_uploads_count_for_a_quota_from_their_beginning(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0, UPLOAD_QUOTA_BYTES=100)
    client = server.client()
    assert begin(client, 101).status == 413
    place = begin(client, 80).header("Location")
    for _ in range(2):
        assert begin(client, 30).status == 413
        assert send(client, part(content=b"x" * 30) + END).status == 413
        server.stop()
        server.start()
        client = server.client()
    upload(client, content=b"x" * 20)
    assert tus(client, "PATCH", place, b"x" * 80, Upload_Offset=0).status == 204
    assert begin(client, 1).status == 413
    for file in client.get(FILES).json():
        assert client.delete(f"{FILES}/{file['id']}").status == 204
    place = begin(client, 100).header("Location")
    assert tus(client, "DELETE", place).status == 204
    assert begin(client, 100).status == 201


def test_a_resumable_upload_survives_breaks_and_crashes(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    client = server.client()
    able = client.request("OPTIONS", TUS)
    assert (able.status, able.header("Tus-Version")) == (204, "1.0.0")
    assert "termination" in able.header("Tus-Extension")
    content = unique().encode() * 10_000
    made = begin(client, len(content), tags="a,b", metadata='{"k": 1}')
    assert made.status == 201 and made.header("Upload-Expires")
    place = made.header("Location")
    assert tus(client, "PATCH", place, content[:1000],
               Upload_Offset=0).header("Upload-Offset") == "1000"
    assert tus(client, "PATCH", place, content[:1000], Upload_Offset=0).status == 409
    with server.raw() as raw:
        raw.send(f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
                 "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 1000\r\n"
                 f"Content-Length: {len(content) - 1000}\r\n\r\n")
        raw.send(content[1000:60_000])
    where = lambda: tus(client, "HEAD", place).header("Upload-Offset")
    wait_until(lambda: where() == "60000")
    server.kill()
    server.start()
    client = server.client()
    head = tus(client, "HEAD", place)
    assert (head.header("Upload-Offset"), head.header("Upload-Length")) == ("60000",
            str(len(content)))
    bad = base64.b64encode(b"0" * 20).decode()
    refused = tus(client, "PATCH", place, content[60_000:], Upload_Offset=60_000,
                  Upload_Checksum=f"sha1 {bad}")
    assert (refused.status, where()) == (460, "60000")
    good = base64.b64encode(hashlib.sha1(content[60_000:]).digest()).decode()
    done = tus(client, "PATCH", place, content[60_000:], Upload_Offset=60_000,
               Upload_Checksum=f"sha1 {good}")
    assert done.status == 204, done
    file = client.get(done.header("Content-Location")).json()
    assert (file["original_filename"], file["tags"], file["metadata"]) == ("r.txt", ["a", "b"],
            {"k": 1})
    assert client.get(f"{FILES}/{file['id']}/download").body == content
    assert len(stored(server)) == 1


def test_whoever_missed_the_last_answer_of_a_resumable_upload_finds_its_file(make_server):
    """Also after a crash between the commit and the answer, which leaves what had arrived: with a
    twin's content its bytes are not those that are stored."""
    server = make_server(DISK_FREE_BYTES_MIN=0)
    client = server.client()
    content = unique().encode() * 100
    for twins in (0, 1):
        place = begin(client, len(content)).header("Location")
        folder = server.folder / "uploads" / "resumable"
        plan = folder / (place.rpartition("/")[2] + ".plan")
        planned = plan.read_bytes()
        with server.raw() as raw:
            raw.send(f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
                     "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
                     f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
            wait_until(lambda: len(client.get(f"{FILES}?limit=9").json()) == twins + 1)
        wait_until(lambda: not list(folder.iterdir()))
        for crash in (False, True):
            if crash:
                server.kill()
                plan.with_suffix("").write_bytes(content)
                plan.write_bytes(planned)
                server.start()
                client = server.client()
            head = tus(client, "HEAD", place)
            size = str(len(content))
            assert (head.status, head.header("Upload-Offset"), head.header("Upload-Length")) == (
                200, size, size)
            file = client.get(head.header("Content-Location")).json()
            assert file["sha256"] == hashlib.sha256(content).hexdigest()
            assert not list(folder.iterdir())
        last = tus(client, "PATCH", place, content[-1:], Upload_Offset=len(content) - 1)
        assert last.status == 409
        assert tus(client, "PATCH", place, b"", Upload_Offset=size).header(
            "Content-Location") == head.header("Content-Location")
        assert tus(client, "DELETE", place).status == 404
        assert len(client.get(f"{FILES}?limit=9").json()) == twins + 1
    assert client.delete(head.header("Content-Location")).status == 204
    assert tus(client, "HEAD", place).status == 404


def test_a_clock_that_is_wrong_at_the_start_ends_no_upload(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    place = begin(server.client(), 100).header("Location")
    server.stop()
    # To one that is two days ahead, the upload is two days old.
    old = time.time() - 2 * 86_400
    for path in (server.folder / "uploads" / "resumable").iterdir():
        os.utime(path, (old, old))
    server.start()
    time.sleep(2)  # The first looks at what is old come after one second.
    assert tus(server.client(), "HEAD", place).status == 404
    for path in (server.folder / "uploads" / "resumable").iterdir():
        os.utime(path)
    assert tus(server.client(), "HEAD", place).status == 200


def test_an_upload_lives_on_from_its_last_byte(server, client):
    made = begin(client, 100)
    time.sleep(2.1)
    later = tus(client, "PATCH", made.header("Location"), b"x" * 10, Upload_Offset=0)
    at = [email.utils.parsedate_to_datetime(answer.header("Upload-Expires"))
          for answer in (made, later)]
    assert (at[1] - at[0]).total_seconds() >= 2


def test_whoever_lost_the_connection_without_a_word_goes_on_at_once(server, client):
    content = unique().encode() * 20_000
    place = begin(client, len(content)).header("Location")
    head = (f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
            "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
            f"Content-Length: {len(content)}\r\n\r\n").encode()
    with server.raw() as dead:
        dead.send(head + content[:300_000])
        wait_until(lambda: int(tus(client, "HEAD", place).header("Upload-Offset")) >= 262_144)
        began = time.monotonic()
        for _ in range(3):  # What the old one had at hand may have been written meanwhile.
            at = int(tus(client, "HEAD", place).header("Upload-Offset"))
            answer = tus(client, "PATCH", place, content[at:], Upload_Offset=at)
            if answer.status != 409:
                break
        assert answer.status == 204 and time.monotonic() - began < 5
        old = dead.read_answer()
        assert old.status == 409 and "Another request" in old.detail
    file = client.get(answer.header("Content-Location")).json()
    assert file["sha256"] == hashlib.sha256(content).hexdigest()


def test_resumable_uploads_are_held_to_the_same_rules(server, client):
    before = stored(server)
    assert client.request("POST", TUS, headers={"Upload-Length": "1"}).status == 412
    for length in (FILE_BYTES_MAX + 1, 2**64):
        assert begin(client, length).status == 413, length
    for length in (-1, "", "1.5", "0x10", "1e3"):
        assert begin(client, length).status == 400, length
    assert tus(client, "POST", TUS, Upload_Metadata=described(filename="a.txt")).status == 400
    assert "one of agent_configs, data_files" in begin(client, 1, file_type="x").detail
    for values in ({"filename": "a.exe"}, {"filename": ""}, {"file_type": "x"}, {"tags": "x" * 101},
                   {"metadata": "["}, {"filetype": "text/html"}):
        assert begin(client, 1, **values).status == 400, values
    assert tus(client, "POST", TUS, Upload_Length=1, Upload_Metadata="filename ???").status == 400
    parts = tus(client, "POST", TUS, Upload_Length=1, Upload_Concat="partial",
                Upload_Metadata=described())
    assert parts.status == 400 and "Upload-Concat" in parts.detail
    whole = tus(client, "POST", TUS, b"all at once", Upload_Length=11,
                Upload_Metadata=described(filename="a.txt", file_type="data_files"))
    assert (whole.status, whole.header("Upload-Offset")) == (201, "11")
    id_ = whole.header("Content-Location").rpartition("/")[2]
    assert client.request("DELETE", f"{FILES}/{id_}").status == 204
    place = begin(client, 5).header("Location")
    assert tus(client, "PATCH", place, b"123456", Upload_Offset=0).status == 413
    assert client.request("PATCH", place, body=b"1", headers={
        "Tus-Resumable": "1.0.0", "Upload-Offset": "0"}).status == 415
    assert tus(client, "DELETE", place).status == 204
    place = begin(client, 5).header("Location")
    assert tus(client, "PATCH", place, b"a\0bcd", Upload_Offset=0).status == 400
    assert tus(client, "HEAD", place).status == 404
    assert tus(client, "HEAD", f"{TUS}/..%2f..%2fetc").status == 404
    assert stored(server) == before


def test_a_resumable_upload_that_is_given_up_under_way_ends(make_server):
    """Not with an error of the server, which would be in its log."""
    server = make_server(DISK_FREE_BYTES_MIN=0)
    client = server.client()
    for length in (1000, 2000):  # All of it, and a part.
        place = begin(client, length).header("Location")
        with server.raw() as raw:
            raw.send(f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
                     "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
                     "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n".encode())
            assert raw.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            raw.send(b"x" * 500)
            assert tus(client, "DELETE", place).status == 204
            raw.send(b"x" * 500)
            assert raw.read_answer().status == 404
    assert client.get(FILES).json() == []
    wait_until(lambda: not stored(server))


def test_a_creation_that_fails_leaves_nothing_that_nobody_knows_of(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    client = server.client()
    fields = {"Upload_Length": 100, "Upload_Metadata": described(filename="r.txt",
                                                                 file_type="data_files")}
    bad = f"sha1 {base64.b64encode(b'0' * 20).decode()}"
    assert tus(client, "POST", TUS, b"x" * 50, Upload_Checksum=bad, **fields).status == 460
    assert tus(client, "POST", TUS, b"x" * 50, Upload_Checksum="crc32 x", **fields).status == 400
    assert tus(client, "POST", TUS, b"x" * 150, **fields).status == 413
    with server.raw() as raw:
        raw.send(f"POST {TUS} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
                 f"Upload-Length: 1000\r\nUpload-Metadata: {fields['Upload_Metadata']}\r\n"
                 "Content-Type: application/offset+octet-stream\r\nContent-Length: 1000\r\n\r\n"
                 "abc")
        wait_until(lambda: stored(server))
    wait_until(lambda: not stored(server))
    # Where a part was wanted, its place is told.
    made = tus(client, "POST", TUS, b"x" * 50, **fields)
    assert (made.status, made.header("Upload-Offset")) == (201, "50")
    assert tus(client, "DELETE", made.header("Location")).status == 204


def test_a_resumable_upload_is_its_creators_whoever_ends_it(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    ann, root = (server.client(server.create_token(name, role))
                 for name, role in (("ann", "operator"), ("root", "admin")))
    wait_until(lambda: server.client().get(FILES).status == 401)
    place = begin(ann, 5).header("Location")
    assert tus(ann, "PATCH", place, b"abc", Upload_Offset=0).status == 204
    done = tus(root, "PATCH", place, b"de", Upload_Offset=3)
    assert done.status == 204
    file = ann.get(done.header("Content-Location")).json()
    assert file["uploaded_by"] == "ann"
    assert tus(ann, "HEAD", place).status == 200
    assert ann.delete(done.header("Content-Location")).status == 204


def test_whoever_finds_another_server_at_an_upload_is_told_when_to_come_back(server, client):
    place = begin(client, 5).header("Location")
    with open(server.folder / "uploads" / "resumable" / place.rpartition("/")[2], "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        answer = tus(client, "PATCH", place, b"12345", Upload_Offset=0)
    assert (answer.status, answer.header("Retry-After")) == (423, "1")
    assert tus(client, "PATCH", place, b"12345", Upload_Offset=0).status == 204


def test_resumable_uploads_pass_where_only_post_does(server, client):
    fields = {"Tus-Resumable": "1.0.0"}

    def create():
        made = client.post(f"{FILES}/tus", headers={
            **fields, "Upload-Length": "4",
            "Upload-Metadata": "filename ci50eHQ=,file_type ZGF0YV9maWxlcw=="})
        assert made.status == 201
        return made.header("Location")
    place = create()
    patch = {**fields, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert client.post(place, body=b"abcd", headers=patch).status == 400
    done = client.post(place, body=b"abcd", headers={**patch, "X-HTTP-Method-Override": "PATCH"})
    assert (done.status, done.header("Upload-Offset")) == (204, "4")
    assert client.get(done.header("Content-Location") + "/download").body == b"abcd"
    place = create()
    gone = client.post(place, headers={**fields, "X-HTTP-Method-Override": "DELETE"})
    assert gone.status == 204
    assert client.request("HEAD", place, headers=fields).status == 404
    abilities = client.request("OPTIONS", place)
    assert abilities.header("Tus-Version") == "1.0.0" and abilities.header("Tus-Max-Size")
    exposed = client.request("OPTIONS", f"{FILES}/tus", headers={
        "Origin": "http://localhost:3000"}).header("Access-Control-Expose-Headers")
    for name in ("Content-Location", "Tus-Version", "Tus-Extension", "Tus-Max-Size",
                 "Tus-Checksum-Algorithm", "Upload-Metadata"):
        assert name in exposed.split(", ")
