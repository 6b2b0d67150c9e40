"""Pages of other origins: which of them may read what, as browsers ask for it (Fetch standard)."""

import pytest

from harness import unique

ORIGIN = "http://localhost:3000"
EXPOSED = ["ETag", "Link", "X-Total-Count", "X-Page-Size", "X-Current-Page", "X-Total-Pages",
           "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID", "X-Cache",
           "Idempotency-Replayed"]


def names(answer, field):
    return {name.strip().lower() for name in (answer.header(field) or "").split(",")}


def allows(answer, origin):
    """Whether a browser that sends credentials lets the page read the answer."""
    return (answer.header("Access-Control-Allow-Origin") == origin
            and answer.header("Access-Control-Allow-Credentials") == "true")


def preflight(api, path, origin, method, fields=""):
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    if fields:
        headers["Access-Control-Request-Headers"] = fields
    return api.request("OPTIONS", path, headers=headers)


@pytest.mark.parametrize("method,path,status", [
    ("GET", "/api/v2/agents", 200),
    ("GET", "/api/v1/agents", 200),
    ("GET", "/api/v2/agents/nobody", 404),
    ("POST", "/api/v2/agents", 422),
    ("POST", "/api/v2/agents/nobody", 405),
    ("GET", "/nowhere", 404),
    ("GET", "/health", 200),
    ("GET", "/openapi.json", 200),
])
def test_simple_requests(api, method, path, status):
    body = {} if method == "POST" else None
    answer = api.request(method, path, body, headers={"Origin": ORIGIN})
    assert answer.status == status
    assert allows(answer, ORIGIN)
    assert "origin" in {name.lower() for value in answer.headers("Vary")
                        for name in value.split(", ")}
    assert {name.lower() for name in EXPOSED} <= names(answer, "Access-Control-Expose-Headers")


def test_what_is_exposed_is_there(api):
    headers = {"Origin": ORIGIN, "Idempotency-Key": unique()}
    for _ in range(2):
        made = api.post("/api/v2/agents", {"name": "x", "type": "t"}, headers=headers)
    api.agent_v2()
    listed = api.get("/api/v2/agents?limit=1", headers={"Origin": ORIGIN})
    one = api.get("/api/v2/agents/" + made.json()["id"], headers={"Origin": ORIGIN})
    present = {name.lower() for answer in (made, listed, one) for name, _ in answer.fields}
    assert {name.lower() for name in EXPOSED} - present == {"retry-after"}


@pytest.mark.parametrize("cached", [False, True])
def test_cached_answers_belong_to_no_origin(api, cached):
    url = f"/api/v2/agents?limit=1&search={unique()}"
    if cached:
        api.get(url, headers={"Origin": ORIGIN})
    for origin, allowed in ((ORIGIN, True), ("http://evil.example", False),
                            ("http://localhost:3001", True)):
        answer = api.get(url, headers={"Origin": origin})
        assert allows(answer, origin) == allowed
    assert api.get(url).header("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize("method,path", [
    ("POST", "/api/v2/agents"), ("PUT", "/api/v2/agents/x"), ("DELETE", "/api/v2/agents/x"),
    ("PATCH", "/api/v1/agents/x/status"), ("GET", "/api/v2/agents"),
])
def test_preflights(api, method, path):
    wanted = "authorization, content-type, idempotency-key, if-match, x-request-id"
    answer = preflight(api, path, ORIGIN, method, wanted)
    assert answer.status == 204 and answer.body == b""
    assert allows(answer, ORIGIN)
    assert method.lower() in names(answer, "Access-Control-Allow-Methods")
    assert set(wanted.split(", ")) <= names(answer, "Access-Control-Allow-Headers")
    assert int(answer.header("Access-Control-Max-Age")) > 0
    assert "Origin" in answer.headers("Vary")


def test_preflights_need_no_credentials_and_count_for_no_limit(make_server):
    server = make_server(RATE_LIMIT_MULTIPLIER=1, AUTH="required")
    for _ in range(30):
        answer = preflight(server.client(), "/api/v2/agents", ORIGIN, "POST", "authorization")
        assert answer.status == 204 and allows(answer, ORIGIN)
    # Without credentials the real request is refused, in words that the page may read.
    refused = server.client().get("/api/v2/agents", headers={"Origin": ORIGIN})
    assert refused.status == 401 and allows(refused, ORIGIN)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000.evil.x",
                                    "https://localhost:3000", "http://localhost"])
def test_other_origins_may_read_nothing(api, origin):
    for answer in (api.get("/api/v2/agents", headers={"Origin": origin}),
                   preflight(api, "/api/v2/agents", origin, "POST")):
        assert answer.header("Access-Control-Allow-Origin") is None
        assert answer.header("Access-Control-Allow-Credentials") is None
        assert "Origin" in answer.headers("Vary")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000.evil.x"])
def test_other_origins_may_change_nothing(api, origin):
    """A browser sends such requests unasked; where no token is needed they would be let in."""
    agent = api.agent_v2()
    path = f"/api/v2/agents/{agent['id']}"
    for method, url, body in (("POST", "/api/v2/agents", {"name": "x", "type": "t"}),
                              ("PUT", path, {"name": "y"}), ("DELETE", path, None),
                              ("POST", "/api/v1/system/maintenance/cleanup", None)):
        answer = api.request(method, url, body, headers={"Origin": origin})
        assert answer.status == 403 and "ALLOWED_ORIGINS" in answer.detail, answer
    assert api.get(path).json()["name"] == agent["name"]


def test_a_token_is_proof_enough(make_server):
    server = make_server(AUTH="required")
    token = server.create_token("page", "operator")
    body = {"name": "x", "type": "t"}
    headers = {"Origin": "http://evil.example"}
    assert server.client(token).post("/api/v2/agents", body, headers=headers).status == 201
    assert server.client().post("/api/v2/agents", body, headers=headers).status == 401


def test_what_a_page_asks_to_send_it_may(api):
    answer = preflight(api, "/api/v2/agents", ORIGIN, "POST", "x-of-its-own, content-type")
    assert names(answer, "Access-Control-Allow-Headers") == {"x-of-its-own", "content-type"}


def test_who_may_is_a_setting(make_server):
    api = make_server(ALLOWED_ORIGINS='["https://app.example"]', ALLOW_CREDENTIALS="false",
                      ALLOWED_METHODS='["GET"]', ALLOWED_HEADERS='["X-One","X-Two"]').client()
    answer = preflight(api, "/api/v2/agents", "https://app.example", "GET")
    assert answer.header("Access-Control-Allow-Origin") == "https://app.example"
    assert answer.header("Access-Control-Allow-Credentials") is None
    assert answer.header("Access-Control-Allow-Methods") == "GET"
    assert names(answer, "Access-Control-Allow-Headers") == {"x-one", "x-two"}
    assert api.get("/", headers={"Origin": ORIGIN}).header("Access-Control-Allow-Origin") is None


def test_a_limited_page_learns_when_to_come_back(make_server):
    api = make_server(RATE_LIMIT_MULTIPLIER=1).client()
    answers = [api.post("/api/v2/agents/bulk-operation", {}, headers={"Origin": ORIGIN})
               for _ in range(30)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused and all(allows(answer, ORIGIN) for answer in refused)
    assert refused[0].header("Retry-After") == "60"


def test_a_page_may_read_why_its_body_is_not_taken(api):
    for method in ("POST", "PUT"):
        answer = api.request(method, "/api/v2/agents", body=b"x" * (2 << 20), headers={
            "Origin": ORIGIN, "Content-Type": "application/json", "X-Request-ID": "too-much",
            "Accept": "application/problem+json"})
        assert answer.status == 413 and allows(answer, ORIGIN)
        assert answer.header("X-Request-ID") == "too-much"
        assert answer.header("Content-Type") == "application/problem+json"
        assert answer.json()["instance"] == "/api/v2/agents"


def test_problems_in_the_form_that_is_asked_for(api):
    for path, status in (("/nowhere", 404), ("/api/v2/agents/nobody", 404),
                         ("/api/v2/agents?limit=0", 422)):
        for accept, media_type in (
            ("application/problem+json", "application/problem+json"),
            ("application/json, application/problem+json;q=0.9", "application/problem+json"),
            ('text/html;a="q", Application/Problem+JSON ; charset=utf-8',
             "application/problem+json"),
            ("application/problem+json;q=0.0, application/json", "application/json"),
            ("application/problem+json; Q=0", "application/json"),
            ("application/problem+jsonx", "application/json"),
            ("application/json", "application/json"),
            ("*/*", "application/json"),
            (None, "application/json"),
        ):
            answer = api.get(path, headers={"Accept": accept} if accept else {})
            assert answer.status == status and answer.header("Content-Type") == media_type
            problem = answer.json()
            assert problem["status"] == status and problem["type"] == "about:blank"
            assert problem["title"] == answer.reason
            assert problem["instance"] == path.split("?")[0]
            assert problem["detail"]
    # What succeeds is no problem, whatever is asked for.
    answer = api.get("/api/v2/agents", headers={"Accept": "application/problem+json"})
    assert answer.header("Content-Type") == "application/json"
