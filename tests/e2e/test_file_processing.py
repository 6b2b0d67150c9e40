"""What background tasks make of uploads: agents, tables, texts that are found, thumbnails."""

import contextlib
import json
import resource
import struct
import subprocess
from urllib.parse import quote

import pytest
from harness import BINARY, FULL, Server, environment, unique, wait_until
from hostile_uploads import END, FORM, part
from image_samples import chunk, gif, grey_png, png, unpack_png
from sockets import Room, run_async

FILES = "/api/v2/files"
TASKS = "/api/v2/background-tasks"
AGENT = {"model": "claude-3-opus", "tools": ["read"], "capabilities": ["x"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("processing"), DISK_FREE_BYTES_MIN=0)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(server):
    client = server.client()
    yield client
    client.close()


def upload(client, files, file_type="agent_configs"):
    """[(name, content)] in one upload; the rows as they are right then."""
    body = b"".join(part(filename=name, content=content) for name, content in files) + END
    answer = client.post(f"{FILES}/upload/{file_type}", body=body,
                         headers={"Content-Type": FORM})
    assert answer.status == 200, answer
    return answer.json()["files"]


def ended(client, file, seconds=30):
    def look():
        now = client.get(f"{FILES}/{file['id']}").json()
        return now if now["analysis"]["status"] in ("done", "failed") else None

    return wait_until(look, seconds, f"the end of processing {file['original_filename']}")


def process(client, name, content, file_type):
    file, = upload(client, [(name, content)], file_type)
    return ended(client, file)


def task_of(client, file):
    def look():
        task = client.get(f"{TASKS}/{file['analysis']['task_id']}").json()
        return task if task["status"] in ("success", "failure", "revoked") else None

    return wait_until(look, 20, "the end of the task")


def agents_named(client, name):
    found = client.get(f"/api/v2/agents?search={name}&limit=1000").json()
    return [agent for agent in found if agent["name"] == name]


# --- Configurations


def test_an_upload_of_configurations_makes_agents_and_reports_per_file(client):
    names = [unique("made") for _ in range(3)]
    yaml = (f"name: {names[1]}\ntype: writer\ndescription: Writes.\nmodel: m\ntools: read, edit\n"
            "capabilities: []\n")
    files = upload(client, [
        ("a.json", json.dumps({"name": names[0], "type": "tester", **AGENT}).encode()),
        ("b.yaml", yaml.encode()),
        ("broken.json", b'{\n "name": "x",\n "model": }'),
        (f"{names[2]}.yml", b"model: m\n"),
        ("bad.json", b'{"model": 3, "tools": [], "capabilities": []}'),
    ])
    assert {file["analysis"]["status"] for file in files} == {"pending"}
    assert len({file["analysis"]["task_id"] for file in files}) == 1
    task = task_of(client, files[0])
    assert (task["name"], task["priority"]) == ("process_uploaded_agent_configs", 8)
    assert task["args"] == [[file["id"] for file in files]]
    assert task["metadata"]["uploaded_by"] == "local"
    assert len(bytes.fromhex(task["metadata"]["upload_session_id"])) == 8
    assert (task["status"], task["progress"]) == ("success", 100)
    result = task["result"]
    assert (result["total"], result["successful"], result["failed"]) == (5, 3, 2)
    first, second, broken, third, bad = result["results"]
    assert [one["file_id"] for one in result["results"]] == [file["id"] for file in files]
    assert first["success"] and first["action"] == "created" and first["agent_name"] == names[0]
    assert first["warnings"] == []
    assert third["warnings"] == ["Missing recommended fields: tools, capabilities"]
    assert not broken["success"] and broken["error"].startswith("line 3, column ")
    assert bad["error"].startswith("line 1, column ") and "model: " in bad["error"]

    agent = client.get(f"/api/v2/agents/{first['agent_id']}").json()
    assert (agent["name"], agent["type"], agent["status"]) == (names[0], "tester", "active")
    assert agent["configuration"]["tools"] == ["read"]
    writer = client.get(f"/api/v1/agents/{second['agent_id']}").json()
    assert (writer["type"], writer["description"]) == ("writer", "Writes.")
    assert writer["tools"] == ["read", "edit"]
    by_name, = agents_named(client, names[2])
    assert by_name["type"] == "agent" and by_name["id"] == third["agent_id"]
    rows = [client.get(f"{FILES}/{file['id']}").json()["analysis"] for file in files]
    assert [row["status"] for row in rows] == ["done", "done", "failed", "done", "failed"]
    assert rows[0]["agent_id"] == first["agent_id"] and rows[2]["error"] == broken["error"]


def test_a_second_upload_updates_the_agent_or_leaves_it(client):
    name = unique("again")
    document = {"name": name, "type": "tester", **AGENT}
    first = process(client, "a.json", json.dumps(document).encode(), "agent_configs")["analysis"]
    assert first["action"] == "created"
    before = client.get(f"/api/v2/agents/{first['agent_id']}")
    same = process(client, "other.json", json.dumps(document).encode(), "agent_configs")["analysis"]
    assert (same["action"], same["agent_id"]) == ("unchanged", first["agent_id"])
    assert client.get(f"/api/v2/agents/{first['agent_id']}").header("ETag") == before.header("ETag")
    document["max_tokens"] = 77
    document["configuration"] = {"timeout": 9}
    changed = process(client, "b.json", json.dumps(document).encode(), "agent_configs")["analysis"]
    assert (changed["action"], changed["agent_id"]) == ("updated", first["agent_id"])
    agent, = agents_named(client, name)
    assert agent["configuration"]["max_tokens"] == 77 and agent["configuration"]["timeout"] == 9
    logs = client.get(f"/api/v2/agents/{agent['id']}/logs").json()["logs"]
    assert logs[0]["message"] == "Configuration uploaded from b.json"


def test_markdown_with_front_matter_is_asked_for_by_name(client):
    name = unique("reviewer")
    text = (f"---\nname: {name}\ndescription: Reads code.\ntools: Read, Grep\nmodel: opus\n---\n"
            "Be kind.\n")
    files = upload(client, [("reviewer.md", text.encode()), ("plain.md", b"# No agent\n")],
                   "documents")
    ids = [file["id"] for file in files] + ["000000000000", files[0]["id"]]
    for file in files:
        assert ended(client, file)["analysis"]["kind"] == "text"
    asked = client.post(TASKS, {"task_name": "process_uploaded_agent_configs", "task_args": [ids]})
    assert asked.status == 201
    task = task_of(client, {"analysis": asked.json()})
    good, plain, unknown = task["result"]["results"]
    assert good["action"] == "created"
    agent, = agents_named(client, name)
    assert agent["configuration"]["custom_instructions"] == "Be kind.\n"
    assert agent["configuration"]["tools"] == ["Read", "Grep"]
    assert plain["error"].startswith("line 1, column 1: no YAML in front")
    assert unknown == {"file_id": "000000000000", "success": False,
                       "error": "File 000000000000 not found"}
    for arguments, error in (([], "list of texts"), ([["a", 1]], "list of texts"),
                             ([["0"] * 3 + [str(i) for i in range(1001)]], "more than 1000")):
        asked = client.post(TASKS, {"task_name": "process_uploaded_agent_configs",
                                    "task_args": arguments})
        task = task_of(client, {"analysis": asked.json()})
        assert task["status"] == "failure" and error in task["error"]


def test_a_file_that_is_gone_is_reported(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0, ENABLE_BACKGROUND_TASKS="false")
    client = server.client()
    gone, lost, text = (upload(client, [("a.json", json.dumps(AGENT).encode())])[0],
                        upload(client, [("b.json", json.dumps(AGENT).encode())])[0],
                        upload(client, [("a.txt", b"x")], "data_files")[0])
    assert client.get(f"{FILES}/{gone['id']}").json()["analysis"]["status"] == "pending"
    for file in (gone, text):
        assert client.delete(f"{FILES}/{file['id']}").status == 204
    next((server.folder / "uploads").rglob(f"*.{lost['id']}")).unlink()
    worker = subprocess.Popen([BINARY, "worker"], cwd=server.folder,
                              env=environment(server.settings), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        assert task_of(client, gone)["result"]["results"][0]["error"] == (
            f"File {gone['id']} not found")
        assert task_of(client, text)["status"] == "revoked"
        assert ended(client, lost)["analysis"]["error"] == "File not found on disk"
    finally:
        worker.terminate()
        worker.wait()


# --- Tables and texts


def test_a_table_is_described(client):
    text = ("id;name;price;born;seen;ok\r\n"
            '1;"A; B";1.5;2026-01-02;2026-01-02T03:04:05Z;true\r\n'
            "2;C;;2026-02-03;2026-01-02 03:04:05;no\r\n\r\n3;D\r\n")
    file = process(client, "t.csv", text.encode(), "data_files")
    analysis = file["analysis"]
    assert analysis["status"] == "done" and analysis["kind"] == "csv"
    assert (analysis["separator"], analysis["rows"], analysis["column_count"]) == (";", 3, 6)
    assert [(c["name"], c["type"], c["empty"]) for c in analysis["columns"]] == [
        ("id", "integer", 0), ("name", "text", 0), ("price", "number", 2), ("born", "date", 1),
        ("seen", "datetime", 1), ("ok", "boolean", 1)]
    assert (analysis["uneven_rows"], analysis["first_uneven_line"]) == (1, 5)
    task = task_of(client, file)
    assert (task["name"], task["status"]) == ("process_uploaded_text", "success")
    assert task["result"]["rows"] == 3 and task["result"]["file_id"] == file["id"]
    listed = next(one for one in client.get(FILES).json() if one["id"] == file["id"])
    assert listed == file


def test_a_large_table_takes_little_memory(server, client):
    rows = 300_000 if FULL else 60_000
    body = b"number,text\n" + b"".join(b"%d,some words of it\n" % i for i in range(rows))
    analysis = process(client, "large.csv", body, "data_files")["analysis"]
    assert analysis["rows"] == rows
    assert [c["type"] for c in analysis["columns"]] == ["integer", "text"]


def test_a_table_without_an_end_fails_and_is_found_all_the_same(client):
    word = unique("word")
    file = process(client, "t.csv", f'a,b\n1,"{word}\n'.encode(), "data_files")
    assert file["analysis"]["status"] == "failed"
    assert file["analysis"]["error"] == "line 2: a quoted field begins here and has no end"
    assert task_of(client, file)["status"] == "failure"
    assert [one["id"] for one in client.get(f"{FILES}?search={word}").json()] == [file["id"]]


def test_searches_find_what_is_in_texts(client):
    names = ("a.txt", "b.log", "c.md", "d.json", "e.csv", "f.yaml", "g.svg")
    marks = {name: unique("found") for name in names}
    kinds = {".md": "documents", ".yaml": "agent_configs", ".svg": "images"}
    ids = {}
    for name, mark in marks.items():
        text = {"d.json": f'{{"a": "{mark}"}}', "f.yaml": f"name: {mark}\nmodel: m\n",
                "g.svg": f'<svg xmlns="http://www.w3.org/2000/svg"><text>{mark}</text></svg>',
                }.get(name, f"Über {mark} und, mehr\nzwei Zeilen\n")
        file_type = kinds.get(name[1:], "data_files")
        ids[name] = process(client, name, text.encode(), file_type)["id"]
    for name, mark in marks.items():
        found = client.get(f"{FILES}?search={mark.upper()}").json()
        assert [one["id"] for one in found] == [ids[name]], name
        assert found[0]["analysis"]["status"] == "done"
    assert client.get(f"{FILES}/{ids['a.txt']}").json()["analysis"]["lines"] == 2
    client.delete(f"{FILES}/{ids['a.txt']}")
    assert client.get(f"{FILES}?search={marks['a.txt']}").json() == []


def test_a_text_that_is_deleted_leaves_nothing_of_its_index(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0)
    client = server.client()
    file = process(client, "long.txt", b"a word of many " * 4000, "data_files")

    def parts():
        with contextlib.closing(server.database()) as database:
            return len(database.execute("SELECT part FROM file_parts").fetchall())

    assert parts() == 4
    assert client.delete(f"{FILES}/{file['id']}").status == 204
    assert parts() == 0


def test_searches_find_letters_of_texts_that_are_not_utf8(client):
    name = unique("José")
    text = f"a;Größe\n{name};5 €\n".encode("cp1252")
    plain = process(client, "names.txt", text, "data_files")
    table = process(client, "names.csv", text, "data_files")
    found = client.get(f"{FILES}?search={quote(name.upper())}&sort_by=filename&sort_order=asc")
    assert [one["id"] for one in found.json()] == [table["id"], plain["id"]]
    assert [column["name"] for column in table["analysis"]["columns"]] == ["a", "Größe"]


def test_only_the_beginning_of_a_text_is_indexed(client):
    near, far = unique("near"), unique("far")
    text = near.encode() + b" " + "ä".encode() * 33_000 + b"\xff\n" + far.encode() + b"\n"
    file = process(client, "long.txt", text, "data_files")
    assert file["analysis"]["indexed_bytes"] in range(65_532, 65_537)
    assert file["analysis"]["lines"] == 2
    assert [one["id"] for one in client.get(f"{FILES}?search={near}").json()] == [file["id"]]
    assert client.get(f"{FILES}?search={far}").json() == []


# --- Images


def thumbnail_of(client, file):
    answer = client.get(f"{FILES}/{file['id']}/thumbnail")
    assert answer.status == 200, answer
    shown = file["analysis"]["thumbnail"]
    assert shown["path"] == f"{FILES}/{file['id']}/thumbnail"
    assert answer.header("Content-Type") == shown["mime_type"]
    assert len(answer.body) == shown["file_size"]
    return answer


def half_clear(x, y):
    return bytes((255, 0, 0, 255)) if x < 300 else bytes((0, 0, 255, 0))


@pytest.mark.parametrize("interlaced", (False, True))
def test_a_png_gets_its_size_and_a_small_version(client, interlaced):
    image = png(600, 150, half_clear, interlaced)
    file = process(client, "a.png", image, "images")
    analysis = file["analysis"]
    assert (analysis["status"], analysis["kind"], analysis["format"]) == ("done", "image", "png")
    assert (analysis["width"], analysis["height"]) == (600, 150)
    answer = thumbnail_of(client, file)
    width, height, rows = unpack_png(answer.body)
    assert (width, height) == (256, 64) == (analysis["thumbnail"]["width"],
                                            analysis["thumbnail"]["height"])
    for row in rows:
        assert row[:4] == b"\xff\0\0\xff" and row[4 * 120:4 * 121] == b"\xff\0\0\xff"
        assert row[4 * 140 + 3] == row[-1] == 0
    assert client.get(f"{FILES}/{file['id']}/download").body == image


def test_the_small_version_of_an_opaque_image_is_a_jpeg(client):
    file = process(client, "a.png", png(40, 20, lambda x, y: bytes((x, y, 200)), kind=2), "images")
    answer = thumbnail_of(client, file)
    assert answer.body.startswith(b"\xff\xd8\xff") and answer.header("Content-Type") == "image/jpeg"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Content-Security-Policy") == "sandbox; default-src 'none'"
    assert answer.header("Content-Disposition").startswith("attachment; ")
    assert answer.header("Cache-Control") == "private, no-cache"
    again = client.get(f"{FILES}/{file['id']}/thumbnail",
                       headers={"If-None-Match": answer.header("ETag")})
    assert again.status == 304
    # Which gives a JPEG to try.
    jpeg = process(client, "b.jpg", answer.body, "images")
    assert jpeg["analysis"]["format"] == "jpeg"
    assert (jpeg["analysis"]["width"], jpeg["analysis"]["height"]) == (40, 20)
    assert thumbnail_of(client, jpeg).body.startswith(b"\xff\xd8\xff")
    # A camera that was held upright notes it so.
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = (answer.body[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
              + answer.body[2:])
    shown = process(client, "c.jpg", turned, "images")["analysis"]
    assert (shown["width"], shown["height"]) == (40, 20)
    assert (shown["thumbnail"]["width"], shown["thumbnail"]["height"]) == (20, 40)


@pytest.mark.parametrize("interlaced", (False, True))
def test_a_gif_is_shown_as_its_first_picture(client, interlaced):
    image = gif(20, 20, lambda x, y: int(y >= 10), transparent=1, interlaced=interlaced)
    file = process(client, "a.gif", image, "images")
    assert file["analysis"]["format"] == "gif", file
    _, _, rows = unpack_png(thumbnail_of(client, file).body)
    assert rows[9] == b"\xff\0\0\xff" * 20 and rows[10] == b"\0\0\0\0" * 20


def test_no_thumbnail_where_there_is_none(client):
    text = process(client, "a.txt", b"x", "data_files")
    pdf, = upload(client, [("a.pdf", b"%PDF-1.4\n%%EOF\n")], "documents")
    assert pdf["analysis"] is None
    for file in (text, pdf):
        answer = client.get(f"{FILES}/{file['id']}/thumbnail")
        assert (answer.status, answer.detail) == (404, f"File {file['id']} has no thumbnail")
    assert client.get(f"{FILES}/000000000000/thumbnail").detail == "File 000000000000 not found"
    image = process(client, "a.gif", gif(2, 2, lambda x, y: 0), "images")
    assert client.delete(f"{FILES}/{image['id']}").status == 204
    assert client.get(f"{FILES}/{image['id']}/thumbnail").status == 404


def test_hostile_images_harm_nobody(server, client):
    good = png(30, 30, half_clear)
    # What is cut off is not taken at all.
    gif_cut = gif(50, 50, lambda x, y: 0)[:-40] + b";"
    for name, image in {"cut.png": good[:60] + good[-12:], "cut.gif": gif_cut}.items():
        refused = client.post(f"{FILES}/upload/images", headers={"Content-Type": FORM},
                              body=part(filename=name, content=image) + END)
        assert refused.status == 400 and "is cut off" in refused.detail, refused
    flipped = bytearray(good)
    flipped[50] ^= 0x55
    head = struct.pack(">IIBBBBB", 9_000, 9_000, 16, 6, 0, 0, 1)
    empty = good[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    comment = good[:33] + chunk(b"zTXt", b"a\0\0" + b"\x78\x9c" + b"\0" * 99) + good[33:]
    long_line = grey_png(99_000, 5)
    jpeg = (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
            b"\xff\xc0\0\x11\x08\x20\0\x20\0\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xd9")
    failures = {"flipped.png": bytes(flipped), "empty.png": empty,
                "line.png": long_line, "none.jpg": jpeg}
    for name, image in failures.items():
        analysis = process(client, name, image, "images")["analysis"]
        assert analysis["status"] == "failed", (name, analysis)
        assert analysis["error"], name
    assert process(client, "comment.png", comment, "images")["analysis"]["status"] == "done"
    before = resource.getpagesize() * int(
        open(f"/proc/{server.process.pid}/statm", encoding="ascii").read().split()[1])
    # 100 million pixels in a hundred kilobytes.
    large = process(client, "large.png", grey_png(10_000, 10_000), "images")["analysis"]
    assert large["status"] == "done" and large["width"] == 10_000, large
    after = resource.getpagesize() * int(
        open(f"/proc/{server.process.pid}/statm", encoding="ascii").read().split()[1])
    assert after - before < 32 << 20
    assert client.get("/health").status == 200


# --- Whatever happens


@run_async
async def test_viewers_hear_how_far_it_is(server, client):
    async with Room(server, "files") as viewer:
        file, = upload(client, [("seen.csv", b"a\n1\n")], "data_files")
        told = []
        while len(told) < 3:
            message = await viewer.receive()
            if message["type"] == "file_change" and message["data"]["file_id"] == file["id"]:
                told.append((message["data"]["event"], message["data"]["analysis"]["status"]))
        assert told == [("file_created", "pending"), ("file_processing", "processing"),
                        ("file_processed", "done")]


def test_a_task_that_is_cancelled_has_failed_its_files(make_server):
    server = make_server(DISK_FREE_BYTES_MIN=0, ENABLE_BACKGROUND_TASKS="false")
    client = server.client()
    file, = upload(client, [("a.txt", b"x")], "data_files")
    task = file["analysis"]["task_id"]
    assert client.post(f"{TASKS}/{task}/cancel").status == 200
    shown = client.get(f"{FILES}/{file['id']}").json()["analysis"]
    assert (shown["status"], shown["task_id"]) == ("failed", task) and shown["error"]
    assert client.post(f"{TASKS}/{task}/retry").status == 200
    server.stop()
    server.start(ENABLE_BACKGROUND_TASKS="true")
    wait_until(lambda: server.client().get(f"{FILES}/{file['id']}").json()["analysis"]["status"]
               == "done", 20)


def test_kill_9_in_the_midst_loses_nothing_and_repeats_nothing(make_server, seed):
    server = make_server(DISK_FREE_BYTES_MIN=0, TASK_LEASE_SECONDS=2)
    client = server.client()
    names = [unique("once") for _ in range(8)]
    files = []
    for start in range(3):
        batch = [(f"{name}.json", json.dumps({**AGENT, "max_tokens": start}).encode())
                 for name in names]
        files += upload(client, batch)
        files += upload(client, [(f"{i}.csv", b"a\n" + b"1\n" * 50_000) for i in range(4)],
                        "data_files")
        files += upload(client, [("a.png", grey_png(3_000, 2_000))], "images")
        server.kill()
        server.start()
        client = server.client()
    for file in files:
        assert ended(client, file, 60)["analysis"]["status"] == "done"
    for name in names:
        agent, = agents_named(client, name)
        assert agent["configuration"]["max_tokens"] in range(3)
    for file in files:
        kind = client.get(f"{FILES}/{file['id']}").json()["analysis"]["kind"]
        if kind == "image":
            assert client.get(f"{FILES}/{file['id']}/thumbnail").status == 200
