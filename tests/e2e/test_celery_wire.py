"""Messages as other versions of Celery and other programs write them, whole and broken ones, put
into the lists of Redis by hand; and those that our server puts there, byte by byte.

Only Celery 5.2 can be run here: what 5.3 to 5.6 write is composed by their sources.
"""

import base64
import datetime
import json
import time
import uuid

import celery as celery_package
import pytest
import redis as redis_client

import celery_peer
from harness import wait_until

RESULT = "celery-task-meta-"


@pytest.fixture(scope="module")
def redis():
    with celery_peer.redis_server.RedisServer() as server:
        yield server


@pytest.fixture(scope="module", params=celery_peer.KINDS)
def worker(request, redis, tmp_path_factory):
    worker = celery_peer.WORKERS[request.param](redis, tmp_path_factory.mktemp(request.param))
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def ours(redis, tmp_path_factory):
    worker = celery_peer.SubforgeWorker(redis, tmp_path_factory.mktemp("ours"))
    yield worker
    worker.stop()


@pytest.fixture
def broker(redis):
    with redis_client.Redis(port=redis.port, db=0) as connection:
        yield connection


@pytest.fixture
def results(redis):
    with redis_client.Redis(port=redis.port, db=1) as connection:
        yield connection


def encoded(body):
    text = body if isinstance(body, str) else json.dumps(body)
    return base64.b64encode(text.encode()).decode()


def message(task_id, task="peer.echo", args=(), kwargs=None, embed=None, queue="celery", **more):
    """What every worker of Celery 5.2 takes; `more` replaces members, None removes one."""
    parts = {
        "body": encoded([list(args), kwargs or {}, {} if embed is None else embed]),
        "content-encoding": "utf-8", "content-type": "application/json",
        "headers": {"task": task, "id": task_id},
        "properties": {"delivery_tag": str(uuid.uuid4()), "body_encoding": "base64",
                       "delivery_info": {"exchange": "", "routing_key": queue}},
    }
    parts.update({name.replace("_", "-"): value for name, value in more.items()})
    return {name: value for name, value in parts.items() if value is not None}


def new_id(what="wire"):
    return f"{what}-{uuid.uuid4().hex[:10]}"


def push(broker, text, queue="celery"):
    broker.lpush(queue, text if isinstance(text, (str, bytes)) else json.dumps(text))


def result_of(results, task_id, seconds=15):
    def ended():
        text = results.get(RESULT + task_id)
        meta = text and json.loads(text)
        return meta if meta and meta["status"] in ("SUCCESS", "FAILURE", "REVOKED") else None

    return wait_until(ended, seconds, f"the result of {task_id}")


def assert_works(broker, results):
    task_id = new_id("works")
    push(broker, message(task_id, "peer.add", [20, 22]))
    assert result_of(results, task_id)["result"] == 42


def settled(broker):
    """Nothing lies in a list or in the book of what was not acknowledged."""
    wait_until(lambda: not broker.llen("celery") and not broker.hlen("unacked")
               and not broker.zcard("unacked_index"), 10, "that all is acknowledged")


# ---- Whole ones --------------------------------------------------------------------------------


def test_the_least_that_a_worker_takes(worker, broker, results):
    task_id = new_id()
    push(broker, message(task_id, args=[1], kwargs={"a": 2}))
    meta = result_of(results, task_id)
    assert meta["result"] == {"args": [1], "kwargs": {"a": 2}} and meta["task_id"] == task_id
    assert meta["status"] == "SUCCESS" and meta["traceback"] is None
    assert 0 < results.ttl(RESULT + task_id) <= 86_400
    done = datetime.datetime.fromisoformat(meta["date_done"])
    assert abs(done.replace(tzinfo=datetime.timezone.utc).timestamp() - time.time()) < 30
    settled(broker)


def test_as_celery_5_6_writes_it(worker, broker, results):
    task_id = str(uuid.uuid4())
    headers = {
        "lang": "py", "task": "peer.echo", "id": task_id, "shadow": None, "eta": None,
        "expires": None, "group": None, "group_index": None, "retries": 0,
        "timelimit": [None, None], "root_id": task_id, "parent_id": None, "argsrepr": "(1,)",
        "kwargsrepr": "{}", "origin": "gen7@elsewhere", "ignore_result": False,
        "replaced_task_nesting": 0, "stamped_headers": ["order"], "stamps": {"order": [17]},
        "order": [17], "unknown_to_all": {"x": 1}}
    whole = message(task_id, args=[1], headers=headers, embed={
        "callbacks": None, "errbacks": None, "chain": None, "chord": None})
    whole["properties"].update(correlation_id=task_id, reply_to=str(uuid.uuid4()),
                               delivery_mode=2, priority=0)
    whole["properties"]["delivery_info"]["redelivered"] = False
    push(broker, whole)
    assert result_of(results, task_id)["result"] == {"args": [1], "kwargs": {}}
    settled(broker)


def test_tagged_values_of_kombu_5_3(ours, broker, results):
    """What 5.2 would take for objects comes back as it was."""
    values = [
        {"__type__": "datetime", "__value__": "2020-01-02T03:04:05+00:00"},
        {"__type__": "decimal", "__value__": "0.1"},
        {"__type__": "uuid", "__value__": {"hex": "0" * 32}},
        {"__type__": "bytes", "__value__": "text"}, {"__type__": "base64", "__value__": "/w=="},
        {"__type__": "of tomorrow", "__value__": [1]},
    ]
    task_id = new_id()
    push(broker, message(task_id, args=values, kwargs={"k": values[0]}))
    assert result_of(results, task_id)["result"] == {"args": values, "kwargs": {"k": values[0]}}


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    """A worker that is to speak as Celery 5.6, on a Redis of its own."""
    with celery_peer.redis_server.RedisServer() as server:
        worker = celery_peer.SubforgeWorker(server, tmp_path_factory.mktemp("newer"),
                                            CELERY_WIRE_VERSION="5.6",
                                            CELERY_RESULT_KEY_PREFIX="app")
        with redis_client.Redis(port=server.port, db=0) as lists, \
                redis_client.Redis(port=server.port, db=1) as kept:
            yield worker, lists, kept
        worker.stop()


def newer_result(kept, task_id):
    key = f"app_{RESULT}{task_id}"  # A mark is put between, as the prefix ends in none.
    return json.loads(wait_until(lambda: kept.get(key), 15, key))


def test_what_newer_versions_write_if_a_setting_asks_for_it(newer):
    worker, lists, kept = newer
    task_id = str(uuid.uuid4())
    with kept.pubsub() as listener:
        listener.psubscribe("*")
        push(lists, message(task_id, "peer.add", [20, 22]))
        meta = newer_result(kept, task_id)
        heard = wait_until(lambda: (m := listener.get_message()) and m["type"] == "pmessage" and m,
                           5, "that it is published")
    assert heard["channel"].decode() == f"app_{RESULT}{task_id}"
    assert (meta["status"], meta["result"]) == ("SUCCESS", 42)
    done = datetime.datetime.fromisoformat(meta["date_done"])
    assert done.utcoffset() == datetime.timedelta(0)
    assert [key for key in kept.keys() if not key.startswith(b"app_")] == []
    settled(lists)


def test_an_application_of_5_3_with_a_prefix_gets_its_results(newer):
    """Its keys are those of 5.2 behind the prefix; chords keep theirs there, too."""
    worker, lists, kept = newer
    app = celery_peer.client(worker.redis)
    for name in ("task", "group", "chord"):
        key = f"{name}_keyprefix"
        plain = getattr(app.backend, key)
        setattr(app.backend, key, b"app_" + plain if isinstance(plain, bytes) else "app_" + plain)
    tasks = app.tasks
    assert tasks["peer.add"].delay(20, 22).get(timeout=15) == 42
    header = [tasks["peer.add"].s(n, n) for n in range(3)]
    assert celery_package.chord(header)(tasks["peer.total"].s()).get(timeout=15) == 6
    api = worker.server.client()
    answer = api.post("/api/v2/background-tasks", {
        "task_name": "python.task", "queue": "python"}).json()["task_id"]
    stored = {"status": "SUCCESS", "result": 7, "traceback": None, "children": [],
              "date_done": "2020-01-02T03:04:05.000006+00:00", "task_id": answer}
    wait_until(lambda: lists.llen("python\x06\x166"), 10, "its message")
    kept.set(f"app_{RESULT}{answer}", json.dumps(stored))
    kept.publish(f"app_{RESULT}{answer}", json.dumps(stored))
    wait_until(lambda: api.get(f"/api/v2/background-tasks/{answer}").json()["result"] == 7, 10)
    api.close()
    app.close()


def test_stamps_are_kept_and_can_be_revoked_by(newer):
    worker, lists, kept = newer
    app = celery_peer.client(worker.redis)

    def stamped(task_id, name, args, **stamps):
        one = message(task_id, name, args)
        one["headers"].update(stamps=stamps, stamped_headers=list(stamps))
        push(lists, one)

    def control(headers, **more):
        [answer] = app.control.broadcast(
            "revoke_by_stamped_headers", arguments={"headers": headers, **more}, reply=True,
            timeout=5, limit=1)
        return answer[worker.node]["ok"]

    # Through a pause in the database and another start.
    again = new_id("again")
    stamped(again, "peer.flaky", [9], order=[17])
    wait_until(lambda: newer_result(kept, again)["status"] == "RETRY", 10, "the first retry")
    runs = new_id("runs")
    stamped(runs, "peer.nap", [30], order=[17], user="ann")
    wait_until(lambda: [one["id"] for one in app.control.inspect([worker.node], timeout=1).active()[
        worker.node] if one["name"] == "peer.nap"] == [runs], 10, "that it runs")
    assert control({"order": [17, 18]}, terminate=True) == "headers {'order': [17, 18]} revoked"
    for task_id in (again, runs):
        meta = wait_until(
            lambda task_id=task_id: (m := newer_result(kept, task_id))["status"] == "REVOKED" and m,
            15, "that it is revoked")
        assert meta["result"]["exc_type"] == "TaskRevokedError"
    late, other = new_id("late"), new_id("other")
    stamped(late, "peer.add", [1, 2], order=17)
    stamped(other, "peer.add", [1, 2], order=19)
    assert newer_result(kept, other)["result"] == 3
    assert newer_result(kept, late)["status"] == "REVOKED"
    app.close()


def test_5_6_tells_at_once_what_is_revoked(newer):
    worker, lists, kept = newer
    app = celery_peer.client(worker.redis)
    task_id = new_id("never-sent")
    app.control.revoke(task_id)
    assert newer_result(kept, task_id)["result"]["exc_message"] == ["revoked"]
    app.close()


def test_body_as_plain_text(worker, broker, results):
    """kombu 5.4 calls that utf-8; others leave the name of the encoding out."""
    for encoding in (None, "utf-8"):
        if encoding and worker.kind == "celery":
            continue  # Which only later ones know.
        task_id = new_id()
        plain = message(task_id, body=json.dumps([[1], {}, {}]))
        del plain["properties"]["body_encoding"]
        if encoding:
            plain["properties"]["body_encoding"] = encoding
        push(broker, plain)
        assert result_of(results, task_id)["result"]["args"] == [1]


def test_first_protocol(worker, broker, results):
    task_id = new_id()
    push(broker, message(task_id, headers={}, body=encoded({
        "task": "peer.add", "id": task_id, "args": [1, 2], "kwargs": {}, "retries": 0,
        "eta": None, "expires": None, "utc": True, "callbacks": None, "errbacks": None,
        "timelimit": [None, None], "taskset": None, "chord": None})))
    assert result_of(results, task_id)["result"] == 3


def test_what_may_be_left_out_or_odd(worker, broker, results):
    for change in (
            {"content_encoding": None}, {"embed": {}}, {"lang": "cpp"}, {"priority": "high"},
            {"unknown": [1]}):
        task_id = new_id()
        odd = message(task_id, "peer.add", [1, 2])
        if "lang" in change or "unknown" in change:
            odd["headers"].update(change)
        elif "priority" in change:
            odd["properties"].update(change)
        elif "content_encoding" in change:
            del odd["content-encoding"]
        push(broker, odd)
        assert result_of(results, task_id)["result"] == 3, change


def test_one_tag_twice(worker, broker, results):
    first, second = (message(new_id(), "peer.add", [1, 2]) for _ in range(2))
    second["properties"]["delivery_tag"] = first["properties"]["delivery_tag"]
    for one in (first, second):
        push(broker, one)
        assert result_of(results, one["headers"]["id"])["result"] == 3
    settled(broker)


@pytest.mark.parametrize("form", ["{}Z", "{}+00:00", "{}"])
def test_times(worker, broker, results, form):
    soon = datetime.datetime.utcnow() + datetime.timedelta(seconds=1)
    past = datetime.datetime.utcnow() - datetime.timedelta(seconds=60)
    on_time, expired = new_id("eta"), new_id("expires")
    one = message(on_time, "peer.add", [1, 2])
    one["headers"]["eta"] = form.format(soon.isoformat())
    push(broker, one)
    other = message(expired, "peer.add", [1, 2])
    other["headers"]["expires"] = form.format(past.isoformat())
    push(broker, other)
    meta = result_of(results, expired)
    assert meta["status"] == "REVOKED"
    assert meta["result"]["exc_type"] == "TaskRevokedError"
    assert meta["result"]["exc_message"] in (["expired"], "expired")
    assert results.get(RESULT + on_time) is None or datetime.datetime.utcnow() >= soon
    assert result_of(results, on_time)["result"] == 3
    assert datetime.datetime.utcnow() >= soon
    settled(broker)


def test_bands(worker, broker, results):
    for band in ("", "\x06\x163", "\x06\x166", "\x06\x169"):
        task_id = new_id()
        push(broker, message(task_id, "peer.add", [1, 2]), "celery" + band)
        assert result_of(results, task_id)["result"] == 3


def test_taken_and_never_acknowledged(redis, broker, results, tmp_path):
    """What a worker left behind long ago goes to whoever looks first."""
    task_id = new_id()
    left = message(task_id, "peer.add", [1, 2])
    tag = left["properties"]["delivery_tag"]
    broker.hset("unacked", tag, json.dumps([left, "", "celery"]))
    broker.zadd("unacked_index", {tag: time.time() - 4_000})
    worker = celery_peer.SubforgeWorker(redis, tmp_path / "late")
    try:
        assert result_of(results, task_id, 30)["result"] == 3
        settled(broker)
    finally:
        worker.stop()


# ---- Broken ones -------------------------------------------------------------------------------


def without(*path):
    def change(broken):
        inner = broken
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]
        return broken
    return change


def with_body(body):
    return lambda broken: {**broken, "body": body}


# Most of these end Celery's own workers. True: who waits for the result is told that it failed.
BROKEN = [
    ("not JSON", lambda broken: "{not json", False),
    ("nothing", lambda broken: "", False),
    ("bytes", lambda broken: b"\xff\x00\xfe", False),
    ("a list", lambda broken: [1, 2], False),
    ("a number", lambda broken: "7", False),
    ("no headers", without("headers"), False),
    ("no task", without("headers", "task"), None),
    ("no id", without("headers", "id"), False),
    ("no properties", without("properties"), None),
    ("no tag", without("properties", "delivery_tag"), None),
    ("no delivery_info", without("properties", "delivery_info"), None),
    ("no body", without("body"), True),
    ("body is no base64", with_body("%%%"), True),
    ("body is no JSON", with_body(encoded("no json")), True),
    ("body is an object", with_body(encoded({"a": 1})), True),
    ("body of two", with_body(encoded([[], {}])), True),
    ("kwargs is a list", with_body(encoded([[], [], {}])), True),
    ("deep", with_body(encoded("[" * 5_000)), True),
    ("pickle", lambda broken: {**broken, "content-type": "application/x-python-serialize"}, True),
    ("yaml", lambda broken: {**broken, "content-type": "application/x-yaml"}, True),
    ("eta", lambda broken: {**broken, "headers": {**broken["headers"], "eta": "soon"}}, True),
    ("id is a number", lambda broken: {**broken, "headers": {**broken["headers"], "id": 7}}, None),
]


@pytest.mark.parametrize("change, told", [(change, told) for _, change, told in BROKEN],
                         ids=[name for name, _, _ in BROKEN])
def test_broken_ones_are_survived(ours, broker, results, change, told):
    task_id = new_id("broken")
    push(broker, change(message(task_id)))
    assert_works(broker, results)
    if told:
        meta = result_of(results, task_id)
        assert meta["status"] == "FAILURE" and meta["result"]["exc_type"], meta
    settled(broker)


# ---- What our server writes --------------------------------------------------------------------


@pytest.mark.parametrize("priority, band", [(10, ""), (8, "\x06\x163"), (5, "\x06\x166"),
                                            (1, "\x06\x169")])
def test_what_our_server_writes(ours, broker, priority, band):
    queue = f"nobody-{priority}"
    client = ours.server.client()
    answer = client.post("/api/v2/background-tasks", {
        "task_name": "some.task", "task_args": [1, "ü"], "task_kwargs": {"k": None},
        "priority": priority, "queue": queue})
    task_id = answer.json()["task_id"]
    text = wait_until(lambda: broker.rpop(queue + band), 10, "the message")
    client.close()
    whole = json.loads(text)
    body = json.loads(base64.b64decode(whole["body"]))
    assert body == [[1, "ü"], {"k": None}, {"callbacks": None, "errbacks": None, "chain": None,
                                            "chord": None}]
    assert (whole["content-type"], whole["content-encoding"]) == ("application/json", "utf-8")
    headers, properties = whole["headers"], whole["properties"]
    assert headers["task"] == "some.task" and headers["id"] == headers["root_id"] == task_id
    assert set(headers) >= {
        "lang", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit",
        "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result"}
    assert (headers["argsrepr"], headers["kwargsrepr"]) == ("(1, 'ü')", "{'k': None}")
    assert headers["retries"] == 0 and headers["timelimit"] in ([None, None], [1800, 1500])
    assert properties["delivery_info"]["exchange"] == ""
    assert properties["delivery_info"]["routing_key"] == queue
    assert properties["correlation_id"] == task_id and properties["body_encoding"] == "base64"
    assert properties["delivery_mode"] == 2 and properties["delivery_tag"]
    assert 0 <= properties["priority"] <= 9
