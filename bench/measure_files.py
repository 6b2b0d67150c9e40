"""What a gigabyte of files costs on its way in and out, beside nginx and FastAPI."""

import concurrent.futures
import hashlib
import os
import socket
import time

import file_crowd
import file_peers
import harness
from file_crowd import CROWD, ELSEWHERE, HERE, QUIET
from file_peers import FASTAPI, FILE_BYTES, NGINX, OURS, Connection, Contents, Ours
from harness import Target, median, paired_ratios

ROUNDS = 9
CONNECTIONS = 4
UPLOADS_EACH = 2  # On each connection, in each round.
DOWNLOADS_EACH = 8
BLOCK_BYTES = 256 << 10
HASHING = "hashing"

UPLOAD_X_NGINX_MAX = 2
DOWNLOAD_X_NGINX_MAX = 1.3
CROWDED_X_QUIET_MAX = 1.5
CROWD_MEMORY_MB_MAX = 128


# ---- Rounds -----------------------------------------------------------------------------------

def on_all(contender, work):
    """Calls work(connection, number) on each connection at once; the CPU seconds of the server."""
    connections = [Connection(contender.port, contender.token) for _ in range(CONNECTIONS)]
    contender.process.wait_until_idle()
    before = contender.process.cpu_seconds()
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        results = list(pool.map(work, connections, range(CONNECTIONS)))
    contender.process.wait_until_idle()
    used = contender.process.cpu_seconds() - before
    for connection in connections:
        connection.close()
    return used, [one for many in results for one in many]


def upload_round(contender, contents, each=UPLOADS_EACH):
    marks = [[contents.next() for _ in range(each)] for _ in range(CONNECTIONS)]

    def work(connection, number):
        return [(contender.upload(connection, f"file-{number}-{one}.txt", mark, digest,
                                  contents.body), digest)
                for one, (mark, digest) in enumerate(marks[number])]
    worked = -contender.worker_seconds()
    with contender.without_worker():
        used, stored = on_all(contender, work)
    for path, digest in stored:
        contender.check(path, digest)
        contender.wait_until_processed(path)
    worked += contender.worker_seconds()
    for path, _ in stored:
        contender.forget(path)
    gigabytes = len(stored) * FILE_BYTES / 1e9
    contender.uploads.append(used / gigabytes)
    contender.processing.append(worked / gigabytes)


def download_round(contender, path, expected, each=DOWNLOADS_EACH):
    def work(connection, _):
        for _ in range(each):
            connection.request(f"GET {path}")
            connection.receive_file(expected)
        return [each]
    used, counts = on_all(contender, work)
    return used * 1e9 / (sum(counts) * FILE_BYTES)


def hashing_round(contents):
    """CPU seconds per GB for both digests alone: the same bytes come the same way to the servers'
    core, where the same library takes as large blocks of them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
    with sender, receiver, concurrent.futures.ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(hash_all, receiver)
        for _ in range(CONNECTIONS * UPLOADS_EACH):
            sender.sendall(contents.body)
        sender.shutdown(socket.SHUT_WR)
        return hashed.result() * 1e9 / (CONNECTIONS * UPLOADS_EACH * len(contents.body))


def hash_all(receiver):
    os.sched_setaffinity(0, {harness.SERVER_CORE})  # Of this thread.
    block, used = bytearray(BLOCK_BYTES), 0.0
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    while got := receiver.recv_into(block, 0, socket.MSG_WAITALL):
        piece = memoryview(block)[:got]
        begin = time.thread_time()
        sha256.update(piece)
        md5.update(piece)
        used += time.thread_time() - begin
    return used


def store_one(contender, contents):
    """A file to download: its path, and what it must be."""
    mark, digest = contents.next()
    connection = Connection(contender.port, contender.token)
    stored = contender.upload(connection, "download.txt", mark, digest, contents.body)
    connection.close()
    contender.check(stored, digest)
    return contender.path(stored), contents.body + mark


def run(context):
    context.require_server()
    harness.stay_on_load_core()
    contents = Contents()
    contenders = file_peers.start_all(context)
    foreign, hashing, rounds = harness.ForeignLoad(), [], context.rounds or ROUNDS
    for contender in contenders.values():
        upload_round(contender, contents, each=1)
        contender.uploads.clear()
        contender.processing.clear()
    for _, name in harness.alternating([*contenders, HASHING], rounds):
        if name == HASHING:
            hashing.append(hashing_round(contents))
            continue
        with foreign.watching(contenders[name].process):
            upload_round(contenders[name], contents)
    downloaded = {name: contenders[name] for name in (OURS, NGINX, FASTAPI)}
    files = {name: store_one(contender, contents) for name, contender in downloaded.items()}
    for name, contender in downloaded.items():
        download_round(contender, *files[name], each=1)
    for _, name in harness.alternating(list(downloaded), rounds):
        with foreign.watching(contenders[name].process):
            contenders[name].downloads.append(download_round(contenders[name], *files[name]))
    crowd = file_crowd.measure(context, contents, contenders[NGINX])
    return conclude(contenders, downloaded, hashing, crowd, foreign)


# ---- Figures ----------------------------------------------------------------------------------

def without_hashing(contender, hashing):
    if not isinstance(contender, Ours):
        return contender.uploads
    return [one - other for one, other in zip(contender.uploads, hashing)]


def print_uploads(contenders, hashing):
    nginx = contenders[NGINX].uploads
    rows = []
    for name, contender in contenders.items():
        plain = without_hashing(contender, hashing)
        rows.append([name, f"{median(contender.uploads):.2f}",
                     f"{min(contender.uploads):.2f}-{max(contender.uploads):.2f}",
                     f"{median(plain):.2f}", f"{median(paired_ratios(plain, nginx)):.2f}"])
    tasks = contenders[OURS].processing
    for name, seconds in (("hashing alone", hashing), ("the worker's tasks", tasks)):
        rows.append([name, f"{median(seconds):.2f}", f"{min(seconds):.2f}-{max(seconds):.2f}",
                     "", ""])
    harness.print_table(
        f"Uploads of {FILE_BYTES // 10**6} MB, {CONNECTIONS} connections, medians of "
        f"{len(nginx)} rounds", ["server", "CPU s/GB", "range", "without hashing", "x nginx"], rows)


def print_downloads(downloaded):
    nginx = downloaded[NGINX].downloads
    harness.print_table(
        "Downloads of the same", ["server", "CPU s/GB", "range", "x nginx"],
        [[name, f"{median(contender.downloads):.3f}",
          f"{min(contender.downloads):.3f}-{max(contender.downloads):.3f}",
          f"{median(paired_ratios(contender.downloads, nginx)):.2f}"]
         for name, contender in downloaded.items()])


def crowd_target(crowd, kind, requests, name):
    """What others wait beside the uploads, by what they wait on the quiet machine; but if that is
    too much wherever the uploads go, by what they wait when nginx gets them."""
    floor = crowd.worst(requests, name, ELSEWHERE, QUIET)
    reference = QUIET if floor <= CROWDED_X_QUIET_MAX else ELSEWHERE
    by = "x quiet" if reference == QUIET else f"x beside nginx's, which is {floor:.1f} x quiet"
    return Target(f"{kind} beside {CROWD} uploads, {name}, {by}",
                  crowd.worst(requests, name, HERE, reference), CROWDED_X_QUIET_MAX, at_most=True)


def conclude(contenders, downloaded, hashing, crowd, foreign):
    print_uploads(contenders, hashing)
    print_downloads(downloaded)
    crowd.print()
    ours, nginx = contenders[OURS], contenders[NGINX]
    uploads = paired_ratios(without_hashing(ours, hashing), nginx.uploads)
    downloads = paired_ratios(ours.downloads, nginx.downloads)
    targets = [
        Target("upload without hashing, x nginx", median(uploads), UPLOAD_X_NGINX_MAX,
               at_most=True),
        Target("download, x nginx", median(downloads), DOWNLOAD_X_NGINX_MAX, at_most=True),
        *(crowd_target(crowd, kind, requests, name)
          for kind, requests in (("reads", crowd.reads()), ("writes", [file_crowd.WRITE]))
          for name in ("p50", "p99")),
        Target(f"memory of {CROWD} uploads", crowd.memory_mb, CROWD_MEMORY_MB_MAX, at_most=True,
               unit="MB")]
    figures = {"hashing_s_per_gb": hashing, "tasks_s_per_gb": ours.processing,
               "crowd": crowd.figures(),
               "servers": {name: {"upload_s_per_gb": contender.uploads,
                                  "download_s_per_gb": contender.downloads}
                           for name, contender in contenders.items()}}
    return harness.conclude("files", targets, figures, foreign)
