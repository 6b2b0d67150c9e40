"""Idempotency-Key: a request that is sent again has its effect once and gets the same answer."""

import datetime
import random
import threading
import time
import uuid

import pytest

from harness import FULL, Client, Server, unique, wait_until
from uploads import stored


def keyed(key=None):
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def total(api):
    return int(api.get("/api/v2/agents?limit=1").header("X-Total-Count"))


def same(first, again):
    assert first.header("Idempotency-Replayed") is None
    assert again.header("Idempotency-Replayed") == "true"
    assert again.status == first.status
    assert again.body == first.body
    for name in ("Content-Type", "ETag"):
        assert again.header(name) == first.header(name)


NOW = "2026-01-02T03:04:05Z"
POSTS = [
    ("/api/v1/agents/", lambda agent: {"name": unique(), "agent_type": "t"}),
    ("/api/v2/agents", lambda agent: {"name": unique(), "type": "t"}),
    ("/api/v1/agents/{}/heartbeat", lambda agent: {"status": "busy", "timestamp": NOW}),
    ("/api/v2/agents/bulk-operation",
     lambda agent: {"agent_ids": [agent], "operation": "restart"}),
]


@pytest.mark.parametrize("path,body", POSTS, ids=[path for path, _ in POSTS])
def test_sent_again(api, path, body):
    agent = api.agent_v2()["id"]
    path, body, headers = path.format(agent), body(agent), keyed()
    first = api.post(path, body, headers=headers)
    assert first.status in (200, 201)
    count, tag = total(api), api.get("/api/v2/agents/" + agent).header("ETag")
    for _ in range(3):
        same(first, api.post(path, body, headers=headers))
    assert total(api) == count
    assert api.get("/api/v2/agents/" + agent).header("ETag") == tag
    other = api.post(path, body, headers=keyed())
    assert other.header("Idempotency-Replayed") is None


CREATIONS = [
    ("/api/v1/agents", {"agent_type": "t"}, "name"),
    ("/api/v2/agents", {"type": "t"}, "name"),
    ("/api/v1/tasks", {}, "title"),
    ("/api/v2/tasks", {}, "title"),
    ("/api/v1/workflows", {}, "name"),
    ("/api/v2/workflows", {"steps": []}, "name"),
]


@pytest.mark.parametrize("path,body,name", CREATIONS, ids=[path for path, _, _ in CREATIONS])
def test_answer_and_effect_share_a_transaction(server, api, path, body, name):
    """A transaction has one time: where the record's and the key's agree, they were one."""
    headers, body = keyed(), {**body, name: unique()}
    first = api.post(path, body, headers=headers)
    assert first.status in (200, 201), first
    same(first, api.post(path, body, headers=headers))
    database = server.database()
    row = database.execute("SELECT status, created_at FROM idempotency_keys WHERE key = ?",
                           [headers["Idempotency-Key"]]).fetchone()
    database.close()
    made = datetime.datetime.fromisoformat(first.json()["created_at"].replace("Z", "+00:00"))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    assert row["status"] == first.status
    assert row["created_at"] == (made - epoch) // datetime.timedelta(microseconds=1)


def test_a_clean_up_sent_again(server, api):
    """What it removed, what it tells of that, and its answer are one transaction."""
    headers = keyed()
    path = "/api/v1/system/maintenance/cleanup?days_to_keep=3000"
    first = api.post(path, headers=headers)
    assert first.status == 200, first
    same(first, api.post(path, headers=headers))
    database = server.database()
    events = database.execute("SELECT at FROM events WHERE kind = 'system.cleaned'").fetchall()
    row = database.execute("SELECT created_at FROM idempotency_keys WHERE key = ?",
                           [headers["Idempotency-Key"]]).fetchone()
    database.close()
    assert [event["at"] for event in events] == [row["created_at"]]


def test_an_upload_sent_again(api):
    agent = "/api/v2/agents/" + api.agent_v2()["id"]
    body = (
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.json"\r\n\r\n'
        '{"model": "m"}\r\n--b--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b", **keyed()}
    first = api.post(agent + "/configuration/upload", body=body, headers=headers)
    assert first.status == 200
    tag = api.get(agent).header("ETag")
    same(first, api.post(agent + "/configuration/upload", body=body, headers=headers))
    assert api.get(agent).header("ETag") == tag


def test_a_key_is_for_one_request(api):
    headers = keyed()
    assert api.post("/api/v2/agents", {"name": "a", "type": "t"}, headers=headers).status == 201
    count = total(api)
    refused = api.post("/api/v2/agents", {"name": "b", "type": "t"}, headers=headers)
    assert refused.status == 422
    assert refused.detail[0]["loc"] == ["header", "Idempotency-Key"]
    assert api.post("/api/v2/agents?x=1", {"name": "a", "type": "t"}, headers=headers).status == 422
    assert total(api) == count
    # Of another route it is another key, and a slash more makes no other request.
    assert api.post("/api/v1/agents", {"name": unique(), "agent_type": "t"},
                    headers=headers).header("Idempotency-Replayed") is None
    again = api.post("/api/v2/agents/", {"name": "a", "type": "t"}, headers=headers)
    assert again.header("Idempotency-Replayed") == "true"


def test_another_agents_path_is_another_request(api):
    headers = keyed()
    ids = [api.agent_v2()["id"] for _ in range(2)]
    beat = {"status": "busy", "timestamp": NOW}
    statuses = [
        api.post(f"/api/v1/agents/{id_}/heartbeat", beat, headers=headers).status for id_ in ids
    ]
    assert statuses == [200, 422]


def test_what_failed_may_be_mended(api):
    """Only what was carried out is kept: a refused request can be corrected with its key."""
    headers = keyed()
    assert api.post("/api/v2/agents", {"name": "a"}, headers=headers).status == 422
    created = api.post("/api/v2/agents", {"name": "a", "type": "t"}, headers=headers)
    assert created.status == 201 and created.header("Idempotency-Replayed") is None
    taken = {"name": unique(), "agent_type": "t"}
    assert api.post("/api/v1/agents", taken).status == 200
    headers = keyed()
    assert api.post("/api/v1/agents", taken, headers=headers).status == 409
    fresh = {"name": unique(), "agent_type": "t"}
    assert api.post("/api/v1/agents", fresh, headers=headers).status == 200


def test_forms_of_a_key(api):
    body = {"name": unique(), "type": "t"}
    key = str(uuid.uuid4())
    assert api.post("/api/v2/agents", body, headers=keyed(f'"{key}"')).status == 201
    again = api.post("/api/v2/agents", body, headers=keyed(key))
    assert again.header("Idempotency-Replayed") == "true"
    assert api.post("/api/v2/agents", body, headers=keyed("k" * 255)).status == 201
    for bad in ("k" * 256, '""', '"a', 'a\tb"', "k\u00e9y"):
        headers = {"Idempotency-Key": bad.encode("utf-8")}
        if bad == '"a':  # A bare text may hold a quote.
            assert api.post("/api/v2/agents", body, headers=headers).status == 201
            continue
        assert api.post("/api/v2/agents", body, headers=headers).status == 400, bad
    count = total(api)
    for _ in range(2):
        assert api.post("/api/v2/agents", body, headers={"Idempotency-Key": ""}).status == 201
    assert total(api) == count + 2, "an empty field is none"


def test_keys_belong_to_a_user(make_server):
    server = make_server()
    body, headers = {"name": "a", "type": "t"}, keyed()
    tokens = [server.create_token(name, "operator", "--user", name) for name in ("one", "two")]
    ids = [server.client(token).post("/api/v2/agents", body, headers=headers).json()["id"]
           for token in tokens * 2]
    assert ids[0] == ids[2] and ids[1] == ids[3] and ids[0] != ids[1]
    reader = server.create_token("reader", "viewer", "--user", "one")
    assert server.client(reader).post("/api/v2/agents", body, headers=headers).status == 403


def test_no_other_method_takes_a_key(api):
    agent = "/api/v2/agents/" + api.agent_v2()["id"]
    headers = keyed()
    for name in ("a", "b"):
        answer = api.put(agent, {"name": name}, headers=headers)
        assert answer.json()["name"] == name


def test_uploads(fresh):
    """Whatever parts the parts of the form; the body is streamed, and compared all the same."""
    api = fresh.client()

    def send(content, headers, name="a.txt"):
        return api.upload("/api/v2/files/upload/data_files", name, content, "files",
                          headers=headers)

    headers = keyed()
    first = send("text", headers)
    assert first.status == 200, first
    before = stored(fresh)
    for _ in range(3):
        same(first, send("text", headers))
    assert send("another", headers).status == 422
    assert send("text", headers, "b.txt").status == 422
    assert api.get("/api/v2/files/").header("X-Total-Count") == "1"
    wait_until(lambda: stored(fresh) == before)
    assert send("text", keyed()).header("Idempotency-Replayed") is None
    # What was refused may be mended and sent with the same key.
    headers = keyed()
    assert send("", headers, "a.exe").status == 400
    assert send("text", headers).status == 200


def test_configuration_upload(api):
    agent = api.agent_v2()["id"]
    path, headers = f"/api/v2/agents/{agent}/configuration/upload", keyed()
    first = api.upload(path, "c.json", '{"a": 1}', headers=headers)
    assert first.status == 200, first
    same(first, api.upload(path, "c.json", '{"a": 1}', headers=headers))
    assert api.upload(path, "c.json", '{"a": 2}', headers=headers).status == 422


def test_every_post_that_changes_something_takes_a_key(api):
    document = api.get("/openapi.json").json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            names = [parameter["name"] for parameter in operation.get("parameters", [])]
            # Uploads by tus go on where they were broken off instead.
            without = ("/api/v2/auth/token", "/api/v2/files/tus",
                       "/api/v2/files/tus/{upload_id}",
                       "/api/v2/files/{file_id}/validate")
            expected = method == "post" and path not in without
            assert ("Idempotency-Key" in names) == expected, (method, path)


def test_the_same_request_many_times_at_once(make_server):
    server = make_server(LOOPS=2)
    rounds = 60 if FULL else 12
    for _ in range(rounds):
        body, headers, answers = {"name": unique(), "type": "t"}, keyed(), []
        start = threading.Barrier(8, timeout=20)

        def send():
            client = Client(server.port)
            client.get("/health/live")
            start.wait()
            answers.append(client.post("/api/v2/agents", body, headers=headers))

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {answer.status for answer in answers} <= {201, 409}
        for answer in answers:
            if answer.status == 409:
                assert answer.header("Retry-After") == "1"
        assert len({answer.json()["id"] for answer in answers if answer.status == 201}) == 1
    assert total(server.client()) == rounds


def test_kept_over_a_restart_and_forgotten_in_time(make_server):
    server = make_server(IDEMPOTENCY_HOURS=2)
    body, headers = {"name": "a", "type": "t"}, keyed()
    first = server.client().post("/api/v2/agents", body, headers=headers)
    server.stop()
    grow_older(server, 1.9)
    server.start()
    same(first, server.client().post("/api/v2/agents", body, headers=headers))
    server.stop()
    grow_older(server, 0.2)
    server.start()
    again = server.client().post("/api/v2/agents", body, headers=headers)
    assert again.status == 201 and again.json()["id"] != first.json()["id"]
    assert server.client().post("/api/v2/agents", body, headers=headers).body == again.body


def grow_older(server, hours):
    with server.database(writable=True) as database:
        database.execute("UPDATE idempotency_keys SET created_at = created_at - ?",
                         (int(hours * 3_600_000_000),))
    database.close()


class Retrier(threading.Thread):
    """Creates agents and sends each request again, with its key, until it is answered."""

    def __init__(self, server, number, kept_going):
        super().__init__()
        self.server, self.number, self.kept_going = server, number, kept_going
        self.ids = {}
        self.retries = 0
        self.wrong = []

    def run(self):
        count = 0
        while self.kept_going():
            name = f"r{self.number}-{count}"
            count += 1
            body, headers = {"name": name, "type": "t"}, keyed(name)
            seen = set()
            repeat = 0
            # Answered requests are sent once more, too, so that keys are used again over a crash.
            while repeat < 2:
                client = Client(self.server.port)
                try:
                    answer = client.post("/api/v2/agents", body, headers=headers)
                except Exception:
                    self.retries += 1
                    time.sleep(0.02)
                    if not self.kept_going() and self.server.process is None:
                        return
                    continue
                finally:
                    client.close()
                if answer.status == 409:
                    time.sleep(0.01)
                    continue
                if answer.status != 201:
                    return self.wrong.append(answer)
                seen.add(answer.json()["id"])
                repeat += 1
            if len(seen) != 1:
                return self.wrong.append((name, seen))
            self.ids[name] = seen.pop()


def test_kill_minus_nine_creates_nothing_twice(tmp_path):
    chance = random.Random("idempotency and crashes")
    server = Server(tmp_path / "server").start()
    port = server.port
    running = True
    retriers = [Retrier(server, number, lambda: running) for number in range(6)]
    for retrier in retriers:
        retrier.start()
    try:
        for _ in range(25 if FULL else 5):
            time.sleep(chance.uniform(0.2, 0.8))
            server.kill()
            server.start(PORT=port)
        time.sleep(0.3)
    finally:
        running = False
        for retrier in retriers:
            retrier.join(60)
    assert not any(retrier.is_alive() for retrier in retriers)
    assert [retrier.wrong for retrier in retriers] == [[]] * len(retriers)
    server.stop()
    stored = {}
    with server.database() as database:
        for name, id_ in database.execute("SELECT name, id FROM agents"):
            assert name not in stored, f"{name} was created twice"
            stored[name] = str(uuid.UUID(bytes=id_))
        keys = {row[0] for row in database.execute("SELECT key FROM idempotency_keys")}
    answered = {name: id_ for retrier in retriers for name, id_ in retrier.ids.items()}
    assert len(answered) > 20 and sum(retrier.retries for retrier in retriers) > 0
    assert {name: stored[name] for name in answered} == answered
    assert keys == set(stored), "a key and its effect are committed together"
