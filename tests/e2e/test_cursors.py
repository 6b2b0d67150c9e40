"""Cursors: pages that begin where the last one ended, whatever comes and goes meanwhile."""

import base64
import random
import re
import urllib.parse

import pytest

from harness import FULL, unique


def next_of(answer):
    link = answer.header("Link")
    if link is None:
        return None
    found = re.fullmatch(r'<([^<>"]+)>; rel="next"', link)
    assert found, link
    return found[1]


def cursor_of(answer):
    query = urllib.parse.urlsplit(next_of(answer)).query
    return urllib.parse.parse_qs(query)["cursor"][0]


def walk(api, url, between=lambda: None):
    """All pages from this one on, and what happens `between` them."""
    while url is not None:
        answer = api.get(url)
        assert answer.status == 200, answer
        yield answer
        url = next_of(answer)
        between()


SORTS = [f"sort_by={by}&sort_order={order}" for by in ("created_at", "name", "status", "updated_at")
         for order in ("asc", "desc")]


@pytest.fixture(scope="module")
def filled(server):
    api = server.client()
    for i in range(23):
        agent = api.agent_v2(name=f"{'Ab'[i % 2]}{i % 5} <\u00e4>", tags=["kept", f"t{i % 2}"])
        status = ("active", "busy", "error")[i % 3]
        assert api.put("/api/v2/agents/" + agent["id"], {"status": status}).status == 200
    return api


@pytest.mark.parametrize("sort", SORTS)
def test_pages_make_up_the_list(filled, sort):
    url = f"/api/v2/agents?tags=kept&{sort}"
    whole = [agent["id"] for agent in filled.get(url + "&limit=1000").json()]
    assert len(whole) == 23
    pages = list(walk(filled, url + "&limit=5"))
    assert [len(page.json()) for page in pages] == [5, 5, 5, 5, 3]
    assert [agent["id"] for page in pages for agent in page.json()] == whole
    assert [page.header("X-Current-Page") for page in pages] == ["1", None, None, None, None]
    for page in pages:
        assert page.header("X-Total-Count") == "23" and page.header("X-Total-Pages") == "5"


def test_a_page_that_ends_the_list_names_no_next(filled):
    assert next_of(filled.get("/api/v2/agents?tags=kept&limit=23")) is None
    assert next_of(filled.get("/api/v2/agents?tags=kept&skip=20&limit=3")) is None
    assert next_of(filled.get("/api/v2/agents?tags=kept&skip=20&limit=2")) is not None
    assert next_of(filled.get("/api/v2/agents?tags=none-has-it")) is None


def test_the_next_page_keeps_the_filters_and_forgets_skip(filled):
    link = next_of(filled.get("/api/v2/agents/?tags=kept%2Ct1&search=%C3%A4%3E&skip=2&limit=3"))
    assert link.startswith("/api/v2/agents/?tags=kept%2Ct1&search=%C3%A4%3E&limit=3&cursor=")
    assert len(filled.get(link).json()) == 3


def test_another_page_size_may_be_asked_for(filled):
    first = filled.get("/api/v2/agents?tags=kept&sort_by=name&limit=4")
    cursor = cursor_of(first)
    # Names that are no parameter of the list make no difference, nor does the order.
    rest = filled.get(f"/api/v2/agents?_=1&limit=100&sort_by=name&cursor={cursor}&tags=kept")
    assert len(rest.json()) == 19


def test_v1(fresh):
    api = fresh.client()
    ids = [api.agent_v1(agent_type=f"t{i % 2}")["id"] for i in range(9)]
    pages = list(walk(api, "/api/v1/agents?limit=4"))
    assert [agent["id"] for page in pages for agent in page.json()] == ids
    pages = list(walk(api, "/api/v1/agents/?agent_type=t0&limit=2"))
    assert [agent["id"] for page in pages for agent in page.json()] == ids[::2]
    other = "/api/v1/agents?agent_type=t1&limit=2&cursor="
    assert api.get(other + cursor_of(pages[0])).status == 422


def test_streamed_lists_have_a_next_page_too(fresh):
    api = fresh.client()
    count = 1210
    made = [api.agent_v1()["id"] for _ in range(count)]
    pages = list(walk(api, "/api/v1/agents?limit=600"))
    assert [len(page.json()) for page in pages] == [600, 600, 10]
    assert [agent["id"] for page in pages for agent in page.json()] == made
    assert [page.header("Transfer-Encoding") for page in pages] == ["chunked", "chunked", None]


@pytest.mark.parametrize("sort", SORTS)
def test_stable_while_agents_come_and_go(make_server, sort):
    """Whatever is not touched while somebody pages is seen, once and in order."""
    api = make_server().client()
    chance = random.Random(f"cursors {sort}")
    count = 400 if FULL else 60
    made = [api.agent_v2(name=f"n{chance.randrange(8)}") for _ in range(count)]
    doomed = chance.sample(made, count // 4)
    untouched = {agent["id"] for agent in made} - {agent["id"] for agent in doomed}
    url = f"/api/v2/agents?{sort}"
    order = [agent["id"] for agent in api.get(url + "&limit=1000").json()]

    def disturb():
        api.agent_v2(name=f"n{chance.randrange(8)}")
        if doomed:
            assert api.delete("/api/v2/agents/" + doomed.pop()["id"]).status == 204

    seen = []
    for page in walk(api, url + "&limit=7", disturb):
        seen += [agent["id"] for agent in page.json()]
    assert len(seen) == len(set(seen))
    assert [id_ for id_ in seen if id_ in untouched] == [id_ for id_ in order if id_ in untouched]


def test_cursors_of_something_else_are_refused(filled):
    base = "/api/v2/agents?limit=5&tags=kept"
    cursor = cursor_of(filled.get(base))
    assert filled.get(f"{base}&cursor={cursor}").status == 200
    for url in (
        f"{base}&sort_by=name&cursor={cursor}",
        f"{base}&sort_order=asc&cursor={cursor}",
        f"/api/v2/agents?limit=5&cursor={cursor}",
        f"/api/v2/agents?limit=5&tags=t1&cursor={cursor}",
        f"/api/v1/agents?limit=5&cursor={cursor}",
        f"{base}&skip=5&cursor={cursor}",
        f"{base}&skip=0&cursor={cursor}",
    ):
        answer = filled.get(url)
        assert answer.status == 422, url
        assert [issue["loc"] for issue in answer.detail] == [["query", "cursor"]]


def test_edited_cursors_are_refused(filled):
    base = "/api/v2/agents?limit=5&sort_by=name&tags=kept"
    cursor = cursor_of(filled.get(base))
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    chance = random.Random("edited cursors")

    def edited():
        data = bytearray(raw)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        cut = chance.randrange(len(data) + 1)
        return bytes(data if chance.random() < 0.5 else data[:cut])

    texts = [base64.urlsafe_b64encode(edited()).rstrip(b"=").decode() for _ in range(300)]
    texts += ["x", "!", "AAAA", "a" * 7000, cursor + "A", cursor[:-1], "\u00e4"]
    for text in texts:
        if text in ("", cursor):
            continue
        answer = filled.get(f"{base}&cursor={urllib.parse.quote(text)}")
        assert answer.status == 422, text
        assert answer.detail[0]["loc"] == ["query", "cursor"]


def test_an_empty_cursor_begins_at_the_front(filled):
    answer = filled.get("/api/v2/agents?limit=5&tags=kept&skip=1&cursor=")
    assert answer.status == 200 and answer.header("X-Current-Page") == "1"


def test_cursors_outlive_a_restart(make_server):
    server = make_server()
    for _ in range(3):
        server.client().agent_v2(name=unique())
    link = next_of(server.client().get("/api/v2/agents?limit=2"))
    server.stop()
    server.start()
    assert len(server.client().get(link).json()) == 1
