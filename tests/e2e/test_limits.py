"""Each route of version 2 against the contract's columns RL (requests a minute) and C (cache)."""

import re
import time

import pytest

from harness import Server, unique

IP, USER = "address", "user"

# Requests a minute, counted by, seconds in the cache.
CONTRACT = {
    ("get", "/agents"): (100, IP, 60),
    ("get", "/agents/{agent_id}"): (200, IP, 30),
    ("post", "/agents"): (20, USER, None),
    ("put", "/agents/{agent_id}"): (50, USER, None),
    ("delete", "/agents/{agent_id}"): (20, USER, None),
    ("post", "/agents/bulk-operation"): (10, USER, None),
    ("post", "/agents/{agent_id}/configuration/upload"): (10, USER, None),
    ("get", "/agents/{agent_id}/metrics"): (100, IP, 30),
    ("get", "/agents/{agent_id}/logs"): (50, IP, None),
    ("get", "/tasks"): (100, IP, 30),
    ("post", "/tasks"): (30, USER, None),
    ("get", "/workflows"): (100, IP, 60),
    ("post", "/workflows"): (20, USER, None),
    ("post", "/workflows/{workflow_id}/execute"): (10, USER, None),
    ("get", "/system/metrics"): (120, IP, 30),
    ("get", "/system/health"): (200, IP, None),
    ("get", "/system/analytics"): (60, IP, 300),
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("limits"), RATE_LIMIT_MULTIPLIER=1)
    server.tokens = []
    for name in ("one", "two"):
        server.tokens.append(server.create_token(name, "operator", "--user", name))
    server.start()
    server.document = server.client(server.tokens[0]).get("/openapi.json").json()
    yield server
    server.stop()


def early_in_a_minute(seconds):
    """Windows are calendar minutes; a test must not begin at the end of one."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left + 0.05)


def operations(document):
    for path, item in document["paths"].items():
        if path.startswith("/api/v2/"):
            for method, operation in item.items():
                yield (method, path.removeprefix("/api/v2")), operation


def test_the_document_tells_the_contracts_numbers(guarded):
    told = dict(operations(guarded.document))
    for key, (limit, by, seconds) in CONTRACT.items():
        description = told[key]["description"]
        sentence = f"At most {limit} requests per minute and 1000 per hour for each {by}."
        assert sentence in description, key
        cached = re.search(r"cached for up to (\d+) s", description)
        assert (int(cached[1]) if cached else None) == seconds, key
        assert "429" in told[key]["responses"]


def test_no_route_of_version_2_is_without_a_limit(guarded):
    for key, operation in operations(guarded.document):
        assert "requests per minute" in operation["description"], key


@pytest.mark.parametrize("key", CONTRACT, ids=" ".join)
def test_each_route_keeps_its_own_count_of_each_client(guarded, key):
    """Both clients share an address: where users are counted, the second one begins anew."""
    method, path = key
    limit, by, seconds = CONTRACT[key]
    path = "/api/v2" + re.sub(r"\{\w+\}", unique(), path)
    left = []
    early_in_a_minute(3)
    for token in guarded.tokens * 2:
        answer = guarded.client(token).request(
            method.upper(), path, {} if method in ("post", "put") else None)
        policy = f'"minute";q={limit};w=60, "hour";q=1000;w=3600'
        assert answer.header("RateLimit-Policy") == policy
        left.append(int(re.match(r'"minute";r=(\d+)', answer.header("RateLimit"))[1]))
        assert (answer.header("X-Cache") is not None) == (seconds is not None)
    used = [limit - each for each in left]
    assert used == ([1, 1, 2, 2] if by == USER else [1, 2, 3, 4])
