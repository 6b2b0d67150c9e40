"""Rate limits of routes and users."""

import re
import time

LIMITS = [
    ("GET", "/api/v2/agents", None, 100),
    ("GET", "/api/v2/agents/x", None, 200),
    ("POST", "/api/v2/agents", {}, 20),
    ("PUT", "/api/v2/agents/x", {}, 50),
    ("DELETE", "/api/v2/agents/x", None, 20),
    ("POST", "/api/v2/agents/bulk-operation", {}, 10),
    ("POST", "/api/v2/agents/x/configuration/upload", None, 10),
    ("GET", "/api/v2/agents/x/metrics", None, 100),
    ("GET", "/api/v2/agents/x/logs", None, 50),
]


def early_in_a_minute(seconds):
    """Windows are calendar minutes; a test must not begin at the end of one."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left + 0.05)


def test_rate_limits(make_server):
    server = make_server(RATE_LIMIT_MULTIPLIER=1)
    early_in_a_minute(5)
    for method, path, body, limit in LIMITS:
        api = server.client()
        for count in range(1, limit + 1):
            answer = api.request(method, path, body)
            assert answer.status != 429, (method, path, count)
            assert answer.header("RateLimit-Policy") == (
                f'"minute";q={limit};w=60, "hour";q=1000;w=3600')
            match = re.fullmatch(r'"minute";r=(\d+);t=(\d+), "hour";r=(\d+);t=(\d+)',
                                 answer.header("RateLimit"))
            minute_left, minute_t, hour_left, hour_t = map(int, match.groups())
            assert minute_left == limit - count and hour_left == 1000 - count
            assert 0 < minute_t <= 60 and 0 < hour_t <= 3600
        for _ in range(2):  # What is refused is not counted.
            answer = api.request(method, path, body)
            assert answer.status == 429, (method, path)
            assert answer.detail == f"Rate limit exceeded: {limit} requests per minute"
            assert answer.header("Retry-After") == "60"
            assert answer.header("RateLimit").startswith('"minute";r=0;')
    # Each route counts for itself, and version 1 and health are not limited at all.
    api = server.client()
    for _ in range(300):
        assert api.get("/api/v1/agents/").status == 200
    assert api.get("/api/v1/agents/").header("RateLimit") is None


def test_refused_requests_do_nothing(make_server):
    server = make_server(RATE_LIMIT_MULTIPLIER=1)
    api = server.client()
    early_in_a_minute(5)
    answers = [api.post("/api/v2/agents", {"name": "x", "type": "t"}) for _ in range(30)]
    assert [answer.status for answer in answers] == [201] * 20 + [429] * 10
    assert api.get("/api/v2/agents").header("X-Total-Count") == "20"


def test_writes_are_counted_per_user(make_server):
    server = make_server(start=False, RATE_LIMIT_MULTIPLIER=1)
    tokens = [server.create_token(name, "operator") for name in ("a", "b")]
    server.start()
    early_in_a_minute(5)
    for token in tokens:
        api = server.client(token)
        statuses = [api.post("/api/v2/agents/bulk-operation", {}).status for _ in range(11)]
        assert statuses == [422] * 10 + [429]


def test_rate_limits_can_be_switched_off(make_server):
    api = make_server(RATE_LIMIT_MULTIPLIER=1, ENABLE_RATE_LIMITING="false").client()
    for _ in range(30):
        answer = api.post("/api/v2/agents/bulk-operation", {})
        assert answer.status == 422 and answer.header("RateLimit") is None
