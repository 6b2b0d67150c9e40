"""Backups: taken beside a running server, killed, damaged and restored, on either database."""

import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from harness import BINARY, Server, environment, wait_until
from postgres import shared


def newest_of_agents(client):
    """The newest change of an agent, whatever is told of background tasks meanwhile."""
    path = "/api/v2/websocket/event-history?event_types=agent_update&limit=1"
    return client.get(path).json()["events"][0]


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request, tmp_path):
    url = ("sqlite:///./subforge_dashboard.db" if request.param == "sqlite"
           else shared().create_database())
    server = Server(tmp_path / "first", DATABASE_URL=url)
    server.start()
    yield server
    server.stop()


def take(server, *arguments):
    output = server.run_tool("backup", *arguments).stdout
    kind = re.match(r"A (\w+) backup of \d+ rows", output)
    return kind[1], server.folder / output.splitlines()[-1]


def listed(client):
    return client.get("/api/v2/agents?limit=1000&sort_by=name&sort_order=asc").json()


def test_everything_comes_back_and_what_came_later_does_not(server, tmp_path):
    client = server.client()
    for i in range(40):
        client.agent_v2(name=f"agent {i:02} ä\U0001f600", tags=["a", "b"])
    kind, _ = take(server)
    assert kind == "full"  # There was none to build on.
    client.agent_v2(name="one more")
    kind, manifest = take(server)
    assert kind == "incremental"
    before = listed(client)
    newest = newest_of_agents(client)["event_id"]
    client.agent_v2(name="too late")

    # Into SQLite and PostgreSQL, whichever it came from.
    places = {"sqlite": "sqlite:///./restored.db", "postgresql": shared().create_database()}
    for name, url in places.items():
        restored = server.run_tool("restore", str(manifest), "--to", url)
        assert "Restored the backup" in restored.stdout
        folder = tmp_path / name
        if name == "sqlite":
            folder.mkdir()
            shutil.move(server.folder / "restored.db", folder / "restored.db")
        again = Server(folder, DATABASE_URL=url)
        again.start()
        try:
            assert listed(again.client()) == before
            # An id that was given out since the backup is not taken for one of the new log.
            agent = again.client().agent_v2(name="after")
            event = newest_of_agents(again.client())
            assert event["data"]["agent"]["id"] == agent["id"]
            assert event["event_id"].partition("-")[0] != newest.partition("-")[0]
        finally:
            again.stop()


def test_damage_is_refused_and_nothing_is_touched(server):
    server.client().agent_v2()
    _, manifest = take(server, "--full")
    pack = manifest.parent / "chunks.pack"
    whole = pack.read_bytes()
    pack.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    refused = server.run_tool("restore", str(manifest), "--to", "sqlite:///./new.db", check=False)
    assert refused.returncode == 2 and "is damaged" in refused.stderr
    assert not (server.folder / "new.db").exists()
    pack.write_bytes(whole)
    assert "is whole" in server.run_tool("restore", str(manifest), "--verify").stdout
    manifest.write_text(manifest.read_text().replace('"rows":1', '"rows":2', 1))
    refused = server.run_tool("restore", str(manifest), "--verify", check=False)
    assert refused.returncode == 2 and "checksum does not fit" in refused.stderr


def test_in_place_of_a_file_that_nobody_uses(tmp_path):
    server = Server(tmp_path / "one", DATABASE_URL="sqlite:///./subforge_dashboard.db")
    server.start()
    client = server.client()
    kept = client.agent_v2(name="kept")
    _, manifest = take(server)
    client.agent_v2(name="gone")
    refused = server.run_tool("restore", str(manifest), check=False)
    assert refused.returncode == 1 and "is in use; stop the server first" in refused.stderr
    assert len(listed(client)) == 2
    server.stop()
    restored = server.run_tool("restore", str(manifest))
    assert "What was there before is now" in restored.stdout
    server.start()
    try:
        assert [agent["id"] for agent in listed(server.client())] == [kept["id"]]
    finally:
        server.stop()
    before = list(server.folder.glob("subforge_dashboard.db.before-*"))
    assert len(before) == 1
    with sqlite3.connect(before[0]) as database:
        assert database.execute("SELECT count(*) FROM agents").fetchone() == (2,)


def test_one_that_is_killed_leaves_nothing_that_looks_whole(tmp_path):
    server = Server(tmp_path / "one", DATABASE_URL="sqlite:///./subforge_dashboard.db")
    server.start()
    client = server.client()
    for i in range(60):
        client.agent_v2(metadata={"text": "x" * 60_000, "i": i})
    backups = pathlib.Path(server.folder) / "backups"
    unfinished = 0
    for delay in (0.0, 0.005, 0.01, 0.02, 0.04):
        process = subprocess.Popen(
            [BINARY, "backup", "--full"], cwd=server.folder, env=environment(server.settings),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: process.poll() is not None or list(backups.glob(".unfinished-*")),
                   what="a backup under way")
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        unfinished += len(list(backups.glob(".unfinished-*")))
        for folder in backups.glob("2*"):  # One that came to its end just before.
            assert "is whole" in server.run_tool(
                "restore", str(folder / "manifest.json"), "--verify").stdout
    assert unfinished > 0
    kind, manifest = take(server, "--full")
    assert kind == "full" and not list(backups.glob(".unfinished-*"))
    assert "is whole" in server.run_tool("restore", str(manifest), "--verify").stdout
    server.stop()
