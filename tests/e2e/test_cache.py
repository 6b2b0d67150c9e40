"""ETag, 304 and the cache of answers."""

import re
import threading
import time

import pytest

from harness import FULL, Client, unique
from http_texts import get


@pytest.mark.parametrize("path", ["/api/v1/agents/{}", "/api/v2/agents/{}"])
def test_etag(server, path):
    api = Client(server.port)
    url = path.format(api.agent_v2()["id"])
    first = api.get(url)
    etag = first.header("ETag")
    assert re.fullmatch(r'"[^"]+"', etag)
    for field in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = api.get(url, headers={"If-None-Match": field})
        assert answer.status == 304 and answer.body == b"", field
        assert answer.header("ETag") == etag
    for field in ('"other"', etag.strip('"')):
        answer = api.get(url, headers={"If-None-Match": field})
        assert answer.status == 200 and answer.body == first.body
    changed = api.put(url, {"name": unique()})
    assert changed.header("ETag") not in (None, etag)
    again = api.get(url, headers={"If-None-Match": etag})
    assert again.status == 200 and again.header("ETag") == changed.header("ETag")


def test_304_keeps_the_connection_in_step(server):
    url = "/api/v2/agents/" + Client(server.port).agent_v2()["id"]
    with server.raw() as raw:
        etag = raw.send(get(url)).read_answer().header("ETag")
        raw.send(get(url, f"If-None-Match: {etag}\r\n") + get())
        assert raw.read_answer().status == 304
        assert raw.read_answer().json() == {"status": "alive"}


def test_cache(fresh):
    api, other = fresh.client(), fresh.client()
    agent = api.agent_v2()
    url = f"/api/v2/agents/{agent['id']}"
    paths = ["/api/v2/agents", "/api/v2/agents?limit=5", url, url + "/metrics"]

    def states(client):
        return [client.get(path).header("X-Cache") for path in paths]

    assert states(api) == ["MISS"] * 4
    assert states(other) == ["HIT"] * 4
    hit = api.get(url)
    assert hit.json() == agent and hit.header("ETag") and hit.header("X-Request-ID")
    assert hit.header("Content-Type") == "application/json"
    # The other form of a path, sorted names and what is no parameter share an answer.
    assert api.get("/api/v2/agents/").header("X-Cache") == "HIT"
    assert api.get("/api/v2/agents?timestamp=1&limit=5&cache_bust=2").header("X-Cache") == "HIT"
    api.get("/api/v2/agents?limit=6&skip=1")
    assert api.get("/api/v2/agents?skip=1&limit=6").header("X-Cache") == "HIT"
    # A write is visible at once, on whatever connection and whatever version it was made.
    for number in range(20):
        name = f"name {number}"
        writer = (api, other)[number % 2]
        writer.put(f"/api/v{number % 2 + 1}/agents/{agent['id']}", {"name": name})
        for client in (api, other):
            assert client.get(url).json()["name"] == name
            assert client.get("/api/v2/agents").json()[0]["name"] == name
    # Another agent's change leaves this one's answer, but not the lists.
    api.get(url)
    second = api.agent_v2()
    assert api.get(url).header("X-Cache") == "HIT"
    assert api.get("/api/v2/agents").json()[0] == second
    # Errors are never kept.
    for _ in range(2):
        assert api.get("/api/v2/agents/x").header("X-Cache") == "MISS"
    api.delete(url)
    assert api.get(url).status == 404
    assert api.get(url + "/metrics").status == 404
    # Logs and version 1 are not cached.
    assert api.get(f"/api/v2/agents/{second['id']}/logs").header("X-Cache") is None
    assert api.get("/api/v1/agents/").header("X-Cache") is None


@pytest.mark.parametrize("one, other", [
    ("search=alp&type=aa", "search=alp?type=aa"),
    ("search=alp?type=aa", "search=alp&type=aa"),
    ("limit=1&status=active", "limit=1?status=active"),
    ("limit=2&%6Cimit=1", "%6Cimit=1&limit=2"),
    ("limit=2&limit=1", "limit=1&limit=2"),
])
def test_cache_tells_questions_apart(fresh, make_server, one, other):
    """A question has the answer that it has without a cache, whichever came first."""
    api, honest = fresh.client(), make_server(ENABLE_CACHING="false").client()
    for client in (api, honest):
        for name in ("alp", "alpine", "other"):
            client.agent_v2(name=name, type="aa")

    def told(client, query):
        answer = client.get(f"/api/v2/agents?{query}")
        return answer.status, len(answer.json()), answer.header("X-Total-Count")

    for query in (one, other, one):
        assert told(api, query) == told(honest, query), query


def test_cache_can_be_switched_off(make_server):
    api = make_server(ENABLE_CACHING="false").client()
    agent = api.agent_v2()
    for _ in range(2):
        answer = api.get(f"/api/v2/agents/{agent['id']}")
        assert answer.header("X-Cache") == "BYPASS" and answer.header("ETag")
        assert answer.json() == agent


def test_readers_never_see_the_past(fresh):
    """After an acknowledged write no read begun later returns the value before it."""
    writer = fresh.client()
    agent = writer.agent_v2()
    url = f"/api/v2/agents/{agent['id']}"
    acknowledged, stop, failures, reads = [0], threading.Event(), [], [0]

    def read():
        client = fresh.client()
        while not stop.is_set():
            floor = acknowledged[0]
            seen = client.get(url).json()["metadata"].get("n", 0)
            reads[0] += 1
            if seen < floor:
                failures.append((floor, seen))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    end = time.monotonic() + (20 if FULL else 1.5)
    number = 0
    try:
        while time.monotonic() < end:
            number += 1
            assert writer.put(url, {"metadata": {"n": number}}).status == 200
            acknowledged[0] = number
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not failures, failures[:3]
    assert reads[0] > 100 and number > 20
