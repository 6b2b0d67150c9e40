"""Backups with uploaded files: full, incremental, beside deletions, and restored byte for byte."""

import hashlib
import os
import re
import shutil
import subprocess
import threading

import pytest

from harness import BINARY, Server, environment
from hostile_uploads import END, FORM, part
from postgres import shared

FILES = "/api/v2/files"


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request, tmp_path):
    url = ("sqlite:///./subforge_dashboard.db" if request.param == "sqlite"
           else shared().create_database())
    server = Server(tmp_path / "first", DATABASE_URL=url, DISK_FREE_BYTES_MIN=0,
                    ENABLE_BACKGROUND_TASKS="false")
    server.start()
    yield server
    server.stop()


def upload(client, content):
    answer = client.post(f"{FILES}/upload/data_files", headers={"Content-Type": FORM},
                         body=part(filename="a.txt", content=content) + END)
    assert answer.status == 200, answer
    return answer.json()["files"][0]


def text(length, mark):
    """Text that no packer makes short."""
    return (mark + os.urandom(length // 2).hex()).encode()


def take(server, *arguments):
    done = server.run_tool("backup", *arguments)
    found = re.match(r"A (\w+) backup of \d+ rows and (\d+) files took (\d+) bytes", done.stdout)
    assert found, done.stdout
    return (found[1], int(found[2]), int(found[3]),
            server.folder / done.stdout.splitlines()[-1], done.stderr)


def downloads(client):
    listed = client.get(f"{FILES}?limit=1000").json()
    return {file["id"]: client.get(f"{FILES}/{file['id']}/download").body for file in listed}


def test_files_come_back_byte_for_byte(server, tmp_path):
    client = server.client()
    contents = {}
    for size in (1, 100, 300_000, 2_000_000):
        content = text(size, f"{size} ")
        contents[upload(client, content)["id"]] = content
    big = text(700_000, "twin")
    twin = upload(client, big)
    assert downloads(client) == {**contents, twin["id"]: big}
    kind, files, whole, _, _ = take(server)
    assert (kind, files) == ("full", 5) and whole > 1_200_000
    # A twin, a new one, and one that is gone.
    upload(client, big)
    upload(client, b"new")
    assert client.delete(f"{FILES}/{next(iter(contents))}").status == 204
    kind, files, more, manifest, _ = take(server)
    assert (kind, files) == ("incremental", 6) and more < 200_000
    before = downloads(client)
    assert len(before) == 6
    upload(client, b"too late")

    places = {"sqlite": "sqlite:///./restored.db", "postgresql": shared().create_database()}
    for name, url in places.items():
        folder = tmp_path / name
        folder.mkdir()
        restored = server.run_tool("restore", str(manifest), "--to", url, "--upload-dir",
                                   str(folder / "uploads"))
        assert "Restored the backup" in restored.stdout
        if name == "sqlite":
            shutil.move(server.folder / "restored.db", folder / "restored.db")
        again = Server(folder, DATABASE_URL=url, DISK_FREE_BYTES_MIN=0)
        again.start()
        try:
            client = again.client()
            assert downloads(client) == before
            for file in client.get(FILES).json():
                assert hashlib.sha256(before[file["id"]]).hexdigest() == file["sha256"]
            # Nothing was swept that is needed; deleting and uploading go on.
            assert client.delete(f"{FILES}/{twin['id']}").status == 204
            assert len(downloads(client)) == 5
            upload(client, b"after")
        finally:
            again.stop()


def test_what_is_deleted_meanwhile_is_in_the_backup(server, tmp_path):
    client = server.client()
    files = [upload(client, text(400_000, f"{i} ")) for i in range(30)]
    process = subprocess.Popen([BINARY, "backup", "--full"], cwd=server.folder,
                               env=environment(server.settings), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    deleted = []

    def delete():
        mine = server.client()
        for file in files:
            if process.poll() is not None:
                break
            assert mine.delete(f"{FILES}/{file['id']}").status == 204
            deleted.append(file["id"])

    deleter = threading.Thread(target=delete)
    deleter.start()
    output, errors = process.communicate(timeout=60)
    deleter.join()
    assert process.returncode == 0, errors
    assert "is missing" not in errors
    manifest = server.folder / output.splitlines()[-1]
    folder = tmp_path / "again"
    folder.mkdir()
    url = shared().create_database()
    server.run_tool("restore", str(manifest), "--to", url, "--upload-dir",
                    str(folder / "uploads"))
    again = Server(folder, DATABASE_URL=url, DISK_FREE_BYTES_MIN=0)
    again.start()
    try:
        for file in again.client().get(f"{FILES}?limit=1000").json():
            body = again.client().get(f"{FILES}/{file['id']}/download").body
            assert hashlib.sha256(body).hexdigest() == file["sha256"]
    finally:
        again.stop()
    # What was put aside goes once nobody needs it.
    server.stop()
    server.start()
    kept = [path for path in (server.folder / "uploads").rglob("*")
            if path.is_file() and path.name != ".owner"]
    assert len(kept) == len(files) - len(deleted)


def test_a_lost_file_is_told_and_the_rest_is_kept(server):
    client = server.client()
    lost, kept = upload(client, b"lost"), upload(client, b"kept")
    next((server.folder / "uploads").rglob(f"*.{lost['id']}")).unlink()
    _, files, _, manifest, errors = take(server, "--full")
    assert files == 1 and f"{lost['id']} is missing" in errors
    assert "is whole" in server.run_tool("restore", str(manifest), "--verify").stdout
    assert client.get(f"{FILES}/{kept['id']}/download").body == b"kept"
