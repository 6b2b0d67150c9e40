"""Uploads while the server is killed, while the disk is full, and very many at once."""

import contextlib
import hashlib
import http.client
import json
import multiprocessing
import os
import random
import socket
import subprocess
import threading
import time

import pytest
from harness import FULL, unique, wait_until
from hostile_uploads import END, FORM, part
from uploads import FILES, send, stored, upload

KILLS = 200 if FULL else 20
UPLOADERS = 4
# A kill comes after so many files were acknowledged, in turn from none on, however slow the machine
# is, and so much later.
ACKNOWLEDGED_BEFORE_KILL = 8
KILL_DELAY_SECONDS = (0, 0.1)


class Uploaders:
    """Connections that upload files, some of them several at once, and delete some, until the
    server is gone."""

    def __init__(self, server, number):
        self.acknowledged = {}  # Id of each file, to its SHA-256.
        self.deleted = set()  # Whether the last one of each connection was, is open.
        self.unexpected = []
        self.threads = [threading.Thread(target=self.work, args=(server, 100 * number + i))
                        for i in range(UPLOADERS)]
        for thread in self.threads:
            thread.start()

    def work(self, server, seed):
        client, draw = server.client(), random.Random(seed)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(client):
            while True:
                count = draw.choice((1, 1, 2, 4))
                contents = [unique().encode() * draw.randrange(1, 40_000) for _ in range(count)]
                body = b"".join(part(content=content) for content in contents)
                mark = part(name="metadata", filename=None,
                            content=json.dumps({"upload": unique(), "of": count}).encode())
                answer = send(client, body + mark + END)
                if answer.status != 200:
                    self.unexpected.append(answer)
                    return
                files = answer.json()["files"]
                for file, content in zip(files, contents):
                    self.acknowledged[file["id"]] = hashlib.sha256(content).hexdigest()
                if count == 1 and draw.random() < 0.5:
                    self.deleted.add(files[0]["id"])
                    client.delete(f"{FILES}/{files[0]['id']}")

    def join(self):
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        assert not self.unexpected, self.unexpected[:3]


def all_files(client):
    files, path = [], f"{FILES}?limit=1000"
    while path:
        page = client.get(path)
        files += page.json()
        link = page.header("Link")
        path = link[1:link.index(">")] if link else None
    return files


def require_whole(server, acknowledged, deleted):
    """Every upload is there as a whole or not at all, and nothing else lies on the disk."""
    files = all_files(server.client())
    rows = {file["id"]: file["sha256"] for file in files}
    lost = {id_ for id_ in acknowledged if rows.get(id_) != acknowledged[id_]} - deleted
    assert not lost, f"acknowledged, but gone or different: {lost}"
    uploads = {}
    for file in files:
        uploads.setdefault(file["metadata"]["upload"], []).append(file["metadata"]["of"])
    torn = [mark for mark, counts in uploads.items() if len(counts) != counts[0]]
    assert not torn, f"uploads of which only a part is there: {torn}"
    paths = stored(server)
    assert {path.name for path in paths} == {f"{sha}.{id_}" for id_, sha in rows.items()}
    for path in paths:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.partition(".")[0]


def test_kills_during_uploads_lose_nothing_and_leave_nothing(make_server, seed):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    draw, acknowledged, deleted = random.Random(seed), {}, set()
    for number in range(KILLS):
        uploaders = Uploaders(server, seed + number)
        wait_until(lambda: len(uploaders.acknowledged) >= number % ACKNOWLEDGED_BEFORE_KILL,
                   seconds=60, what="that some files are acknowledged")
        time.sleep(draw.uniform(*KILL_DELAY_SECONDS))
        server.kill()
        uploaders.join()
        acknowledged |= uploaders.acknowledged
        deleted |= uploaders.deleted
        server.start()
        require_whole(server, acknowledged, deleted)
    assert len(acknowledged) > KILLS


# --- A full disk

DISK_BYTES = 24 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A folder that is a disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder],
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_is_told_and_leaves_nothing(make_server, small_disk):
    # Nothing is kept free: writing itself has to fail.
    server = make_server(DISK_FREE_BYTES_MIN=0, UPLOAD_DIR=small_disk)
    server.errors_expected = True
    client = server.client()

    def on_disk():
        return {path.name for path in small_disk.rglob("*")
                if path.is_file() and path.name != ".owner"}

    def rows():
        return {f"{file['sha256']}.{file['id']}" for file in all_files(client)}

    full = 0
    for _ in range(12):
        content = unique().encode() * 200_000
        # In chunks, so that the server cannot know beforehand how much will come.
        client.connection.putrequest("POST", f"{FILES}/upload/data_files")
        client.connection.putheader("Content-Type", FORM)
        client.connection.putheader("Transfer-Encoding", "chunked")
        client.connection.endheaders()
        body = part(content=b"small") + part(content=content) + END
        with contextlib.suppress(OSError):  # It closes while more is on its way.
            for at in range(0, len(body), 1 << 16):
                piece = body[at:at + (1 << 16)]
                client.connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            client.connection.send(b"0\r\n\r\n")
        response = client.connection.getresponse()
        told = json.loads(response.read())
        if response.status != 200:
            assert (response.status, told["detail"]) == (507, "There is no room left for files")
            full += 1
        client.close()
        client = server.client()
    assert full >= 5
    wait_until(lambda: on_disk() == rows(), what="that nothing is left behind")
    # Everything else goes on, and so do uploads once there is room.
    client.agent_v2()
    for file in all_files(client):
        assert client.delete(f"{FILES}/{file['id']}").status == 204
    wait_until(lambda: not on_disk())
    upload(client, content=b"x" * 2_000_000)


def test_uploads_side_by_side_leave_what_is_to_stay_free(make_server, small_disk):
    least, senders, block = 8 << 20, 6, 512 << 10
    server = make_server(DISK_FREE_BYTES_MIN=least, UPLOAD_DIR=small_disk)
    server.errors_expected = True

    def fill():
        with server.raw() as raw, contextlib.suppress(OSError, EOFError):
            raw.send(f"POST {FILES}/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
                     f"Content-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n")
            head = part(content=b"")[:-2]
            raw.send(b"%x\r\n%s\r\n" % (len(head), head))
            for _ in range(100):
                raw.send(b"%x\r\n%s\r\n" % (1 << 16, b"x" * (1 << 16)))
            time.sleep(2)

    def free():
        about = os.statvfs(small_disk)
        return about.f_bavail * about.f_frsize
    threads = [threading.Thread(target=fill) for _ in range(senders)]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen.append(free())
        time.sleep(0.002)
    assert least - senders * block <= min(seen) < least + (4 << 20), min(seen)
    wait_until(lambda: not [path for path in small_disk.rglob("*")
                            if path.is_file() and path.name != ".owner"])


def test_a_resumable_upload_waits_for_room(make_server, small_disk):
    server = make_server(DISK_FREE_BYTES_MIN=0, UPLOAD_DIR=small_disk)
    server.errors_expected = True
    client = server.client()
    ballast = small_disk / "ballast"
    content = unique().encode() * 100_000
    place = begin_resumable(client, len(content))
    ballast.write_bytes(b"x" * (DISK_BYTES - (1 << 20)))
    refused = resume(client, place, content, 0)
    assert (refused.status, refused.detail) == (507, "There is no room left for files")
    client.close()
    ballast.unlink()
    at = offset(client, place)
    assert 0 < at < len(content)
    file = client.get(resume(client, place, content[at:], at).header("Content-Location")).json()
    assert file["sha256"] == hashlib.sha256(content).hexdigest()


# --- The last byte of a resumable upload

TUS = {"Tus-Resumable": "1.0.0"}


def begin_resumable(client, length):
    answer = client.post(f"{FILES}/tus", headers={
        **TUS, "Upload-Length": str(length),
        "Upload-Metadata": "filename ci50eHQ=,file_type ZGF0YV9maWxlcw=="})
    assert answer.status == 201, answer
    return answer.header("Location")


def resume(client, place, content, at):
    return client.patch(place, body=content, headers={
        **TUS, "Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"})


def offset(client, place):
    return int(client.request("HEAD", place, headers=TUS).header("Upload-Offset"))


def test_the_last_byte_counts_once_the_file_is_stored(make_server, tmp_path):
    """Who is told that all has arrived does not ask again: so nothing may be open by then."""
    server = make_server(DISK_FREE_BYTES_MIN=0, MALWARE_SCANNER=f"clamd:{tmp_path}/nobody")
    server.errors_expected = True
    client = server.client()
    content = unique().encode() * 1000
    place = begin_resumable(client, len(content))
    assert resume(client, place, content, 0).status == 503
    assert offset(client, place) == len(content) - 1
    server.kill()
    server.start(MALWARE_SCANNER=None)
    client = server.client()
    assert offset(client, place) == len(content) - 1
    done = resume(client, place, content[-1:], len(content) - 1)
    assert (done.status, done.header("Upload-Offset")) == (204, str(len(content)))
    file = client.get(done.header("Content-Location")).json()
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert {path.name for path in stored(server)} == {f"{file['sha256']}.{file['id']}"}


def test_kills_at_the_end_of_resumable_uploads_lose_nothing_and_store_it_once(make_server, seed):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    draw = random.Random(seed)
    for _ in range(KILLS):
        client = server.client()
        content = unique().encode() * draw.randrange(1, 40_000)
        place = begin_resumable(client, len(content))
        killer = threading.Timer(draw.uniform(0, 0.02), server.kill)
        killer.start()
        acknowledged = None
        with contextlib.suppress(OSError, http.client.HTTPException):
            acknowledged = resume(client, place, content, 0).header("Content-Location")
        killer.join()
        server.start()
        client = server.client()
        if acknowledged is None:
            told = client.request("HEAD", place, headers=TUS)
            at = int(told.header("Upload-Offset"))
            if at < len(content):
                told = resume(client, place, content[at:], at)
            acknowledged = told.header("Content-Location")
        [file] = all_files(client)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert acknowledged == f"{FILES}/{file['id']}"
        assert {path.name for path in stored(server)} == {f"{file['sha256']}.{file['id']}"}
        client.delete(acknowledged)


# --- Very many at once

PARALLEL = 100
PARALLEL_BYTES = 50_000_000 if FULL else 2_000_000
# Two blocks of each upload, and what is being worked on.
MEMORY_BYTES_MAX = PARALLEL * (2 * 256 << 10) + (64 << 20)


def upload_all(port, content, barrier, results):
    """In a process of its own, so that it does not share Python's lock with the test."""
    head, tail = part(content=b"")[:-2], b"\r\n" + END

    def one(number):
        try:
            results.put(arrives(b"%032d" % number))
        except (OSError, threading.BrokenBarrierError):
            barrier.abort()
            results.put(False)

    def arrives(mark):
        length = len(head) + len(content) + len(mark) + len(tail)
        with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
            barrier.wait()
            connection.sendall(
                f"POST {FILES}/upload/data_files HTTP/1.1\r\nHost: localhost\r\n"
                f"Content-Type: {FORM}\r\nContent-Length: {length}\r\n"
                "Connection: close\r\n\r\n".encode())
            for piece in (head, content, mark, tail):
                connection.sendall(piece)
            answer = b""
            while more := connection.recv(65536):
                answer += more
        expected = hashlib.sha256(content + mark).hexdigest().encode()
        return answer.startswith(b"HTTP/1.1 200") and expected in answer

    threads = [threading.Thread(target=one, args=(i,)) for i in range(PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_hundred_uploads_at_once_stay_small_and_arrive_whole(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0, MAX_FILE_SIZE=PARALLEL_BYTES + 1000)
    client = server.client()
    client.agent_v2()
    quiet = resident_bytes(server.process.pid)
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(PARALLEL + 1), fork.Queue()
    content = b"0123456789abcde\n" * (PARALLEL_BYTES // 16)
    uploading = fork.Process(target=upload_all, args=(server.port, content, barrier, results),
                             daemon=True)
    uploading.start()
    barrier.wait()
    most = 0
    while uploading.is_alive():
        assert client.get("/api/v2/agents").status == 200
        most = max(most, resident_bytes(server.process.pid))
        time.sleep(0.01)
    uploading.join()
    assert sum(results.get(timeout=10) for _ in range(PARALLEL)) == PARALLEL
    assert most - quiet <= MEMORY_BYTES_MAX, f"{(most - quiet) >> 20} MiB more than before"
    files = all_files(client)
    assert len(files) == PARALLEL and len({file["sha256"] for file in files}) == PARALLEL
    wait_until(lambda: {path.name for path in stored(server)} ==
               {f"{file['sha256']}.{file['id']}" for file in files})
