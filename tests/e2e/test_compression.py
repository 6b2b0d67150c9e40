"""Answers packed with gzip or brotli: where they are, what they keep, and what the cache does."""

import ctypes
import gzip
import json

import pytest

from harness import Server, unique

LONG, LARGE = 40, 900  # Agents in a list that is packed on the loop, and on the pool.


def unbrotli(packed, size_max=32 << 20):
    library = ctypes.CDLL("libbrotlidec.so.1")
    out, size = ctypes.create_string_buffer(size_max), ctypes.c_size_t(size_max)
    done = library.BrotliDecoderDecompress(
        ctypes.c_size_t(len(packed)), packed, ctypes.byref(size), out)
    assert done == 1
    return out.raw[: size.value]


def unpacked(answer):
    coding = answer.header("Content-Encoding")
    if coding is None:
        return answer.body
    return gzip.decompress(answer.body) if coding == "gzip" else unbrotli(answer.body)


def fill(api, count):
    for _ in range(count):
        api.agent_v2(metadata={"note": unique()})


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("packed"), LOOPS=2).start()
    fill(server.client(), LARGE)
    yield server
    server.stop()


def accept(field):
    return {"Accept-Encoding": field}


@pytest.mark.parametrize("coding", ["gzip", "br"])
@pytest.mark.parametrize("url", [
    f"/api/v2/agents?limit={LONG}",
    f"/api/v2/agents?limit={LARGE}",
    f"/api/v1/agents?limit={LONG}",
    "/api/v1/agents?limit=10000",  # Streamed.
    "/openapi.json",
    "/metrics",
])
def test_same_content_in_each_form(filled, url, coding):
    api = filled.client()
    plain = api.get(url, headers=accept("identity"))
    packed = api.get(url, headers=accept(coding))
    assert plain.header("Content-Encoding") is None
    assert packed.header("Content-Encoding") == coding
    assert len(packed.body) < len(plain.body) / 2
    if url != "/metrics":
        assert unpacked(packed) == plain.body
    else:
        assert unpacked(packed).startswith(b"# HELP")
    for answer in (plain, packed):
        assert "Accept-Encoding" in ", ".join(answer.headers("Vary"))
        assert answer.header("Content-Type") == plain.header("Content-Type")
        for name in ("X-Total-Count", "Link"):
            assert answer.header(name) == plain.header(name)
    head = api.request("HEAD", url, headers=accept(coding))
    assert head.header("Content-Encoding") == coding and head.body == b""
    if url not in ("/metrics", "/api/v1/agents?limit=10000"):
        assert head.header("Content-Length") == str(len(packed.body))


@pytest.mark.parametrize("field,coding", [
    ("gzip, deflate, br", "br"),
    ("gzip;q=1, br;q=0.5", "gzip"),
    ("*", "br"),
    ("br;q=0, *;q=0.1", "gzip"),
    ("identity", None),
    ("identity, gzip;q=0.5", None),
    ("gzip;q=0", None),
    ("deflate", None),
    ("", None),
])
def test_the_clients_choice(filled, field, coding):
    answer = filled.client().get(f"/api/v2/agents?limit={LONG}", headers=accept(field))
    assert answer.header("Content-Encoding") == coding
    assert len(json.loads(unpacked(answer))) == LONG


def test_short_answers_stay_as_they_are(filled):
    api = filled.client()
    for url in ("/health/live", "/api/v2/agents/nobody", "/api/v1/agents?limit=1"):
        answer = api.get(url, headers=accept("gzip, br"))
        assert answer.header("Content-Encoding") is None
        assert len(answer.body) < 1400
        assert answer.header("Vary") is None
    # The size alone decides: one a little longer is packed.
    agent = api.agent_v2(metadata={"text": "x" * 1400})
    answer = api.get(f"/api/v2/agents/{agent['id']}", headers=accept("gzip"))
    assert answer.header("Content-Encoding") == "gzip"
    assert json.loads(unpacked(answer)) == agent


def test_long_refusals_are_packed_too(filled):
    body = {"name": "x", "type": "t", "tags": list(range(60))}
    answer = filled.client().post("/api/v2/agents", body, headers=accept("gzip"))
    assert answer.status == 422 and answer.header("Content-Encoding") == "gzip"
    assert len(json.loads(unpacked(answer))["detail"]) == 60


def test_each_form_has_its_own_etag(filled):
    api = filled.client()
    agent = api.agent_v2(metadata={"text": "x" * 3000})
    url = f"/api/v2/agents/{agent['id']}"
    plain = api.get(url).header("ETag")
    for coding in ("gzip", "br"):
        packed = api.get(url, headers=accept(coding)).header("ETag")
        assert packed == f'{plain[:-1]}-{coding}"'
        for state in ("fresh", "cached"):
            fields = {**accept(coding), "If-None-Match": packed}
            again = api.get(url, headers=fields)
            assert again.status == 304 and again.header("ETag") == packed, state
            # What is kept in another form is no use for this one.
            assert api.get(url, headers={**accept(coding), "If-None-Match": plain}).status == 200
            assert api.get(url, headers={"If-None-Match": packed}).status == 200
        # For changes they all name the same version.
        changed = api.put(url, {"status": "busy"}, headers={"If-Match": packed})
        assert changed.status == 200
        plain = changed.header("ETag")


def test_the_cache_keeps_each_form(make_server):
    api = make_server().client()
    fill(api, LONG)
    url = "/api/v2/agents?limit=1000"
    fields = [accept("identity"), accept("gzip"), accept("br")]
    assert [api.get(url, headers=each).header("X-Cache") for each in fields] == ["MISS"] * 3
    for _ in range(3):
        answers = [api.get(url, headers=each) for each in fields]
        assert [answer.header("X-Cache") for answer in answers] == ["HIT"] * 3
        assert [answer.header("Content-Encoding") for answer in answers] == [None, "gzip", "br"]
        assert len({unpacked(answer) for answer in answers}) == 1
        assert {answer.header("X-Total-Count") for answer in answers} == {str(LONG)}
    # A change ends them all.
    api.agent_v2(name="new")
    for each in fields:
        assert json.loads(unpacked(api.get(url, headers=each)))[0]["name"] == "new"


def test_replayed_answers_are_packed_as_the_repetition_asks(filled):
    body = {"name": "x", "type": "t", "metadata": {"text": "x" * 3000}}
    fields = {"Idempotency-Key": unique()}
    first = filled.client().post("/api/v2/agents", body, headers=fields)
    again = filled.client().post("/api/v2/agents", body, headers={**fields, **accept("gzip")})
    assert again.header("Content-Encoding") == "gzip"
    assert unpacked(again) == first.body


def test_old_clients_get_a_stream_that_ends_with_the_connection(filled):
    with filled.raw() as raw:
        raw.send("GET /api/v1/agents?limit=10000 HTTP/1.0\r\nHost: localhost\r\n"
                 "Accept-Encoding: gzip\r\n\r\n")
        answer = raw.read_answer()
    assert answer.header("Content-Encoding") == "gzip"
    assert len(json.loads(gzip.decompress(answer.body))) >= LARGE
