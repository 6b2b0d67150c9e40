"""The API's document and what people look at in a browser: /docs, /redoc and /app."""

import gzip
import hashlib
import json
import re
import subprocess

import pytest

from browser import ENVIRONMENT, NODE_FOLDER, Browser, node_program
from harness import ROOT, unique

PAGES = ["/docs", "/redoc", "/app"]


@pytest.fixture(scope="module")
def chromium():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium):
    """The browser, for a test that has to end without a complaint."""
    yield chromium
    assert chromium.complaints() == []


@pytest.fixture
def guarded(make_server):
    """A server that asks for credentials, and a viewer's key."""
    server = make_server(start=False)
    token = server.create_token("viewer-key", "viewer")
    server.start()
    return server, token


# -- The document


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.json"])
def test_the_documents_have_no_fault_for_redocly(api, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(api.get(f"/{name}").body)
    linter = NODE_FOLDER / "node_modules" / "@redocly" / "cli" / "bin" / "cli.js"
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    done = subprocess.run(
        [node_program(), linter, "lint", "--extends=recommended", "--format=json", path.name],
        cwd=tmp_path,
        env={**ENVIRONMENT, **quiet},
        capture_output=True,
        text=True,
        timeout=60,
    )
    report = json.loads(done.stdout)
    problems = [(one["ruleId"], one["message"], one["location"][0].get("pointer"))
                for one in report["problems"]]
    # The contract has /files/upload/{file_type} beside /files/{file_id}/download; what is written
    # out comes before what a parameter matches.
    problems = [one for one in problems
                if one[0] != "no-ambiguous-paths" or "~1api~1v2~1files~1" not in one[2]]
    assert problems == []
    assert done.returncode == 0, done.stderr


def test_the_live_document_describes_what_is_spoken(api):
    document = api.get("/asyncapi.json").json()
    assert document["asyncapi"] == "3.0.0"
    assert {name: channel["address"] for name, channel in document["channels"].items()} == {
        "websocket-v2": "/ws/v2", "websocket-v1": "/ws", "event-stream": "/api/v2/events",
        "socketio": "/socket.io/"}
    messages = document["components"]["messages"]
    assert {one["action"] for one in document["operations"].values()} == {"send", "receive"}
    # What slow readers get only the newest of.
    assert {name for name, one in messages.items() if one.get("x-conflated")} == {
        "v2-heartbeat", "v2-heartbeat-2", "sse-heartbeat", "v1-ping",
        "v2-metrics_update", "v2-metrics_update-2", "sse-metrics_update", "sse-metrics_update-2",
        "v1-system_metrics_updated", "socketio-system_metrics_updated",
        "socketio-system_metrics_update-2", "v2-room_message-2", "sse-room_message-2"}
    assert messages["v2-client-ack"]["payload"]["allOf"][0]["properties"] == {
        "type": {"type": "string", "const": "ack"}}


def test_the_page_of_the_protocols_names_every_message(api):
    text = (ROOT / "docs" / "websocket-protocol.md").read_text()
    sections = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    read_first = {"websocket-v2": ["/ws/v2", "Coming back"], "websocket-v1": ["/ws", "Coming back"],
                  "event-stream": ["Server-sent events", "/ws/v2"],
                  "socketio": ["Socket.IO", "/ws"]}
    document = api.get("/asyncapi.json").json()
    for name, channel in document["channels"].items():
        told = "".join(sections[title] for title in read_first[name])
        types = {document["components"]["messages"][key]["name"] for key in channel["messages"]}
        assert {type_ for type_ in types if f"`{type_}`" not in told} == set(), name


def test_the_document_describes_what_is_served(api):
    answer = api.get("/openapi.json")
    assert answer.status == 200
    assert answer.header("Content-Type") == "application/json"
    document = answer.json()
    assert document["openapi"].startswith("3.1.")
    paths = document["paths"]
    assert set(paths["/api/v2/agents"]) == {"get", "post"}
    assert set(paths["/api/v2/agents/{agent_id}"]) == {"get", "put", "delete"}
    assert set(paths["/api/v1/agents/{agent_id}"]) == {"get", "put", "delete"}
    for path in ("/", "/health", "/health/live", "/health/ready", "/metrics"):
        assert set(paths[path]) == {"get"}
    assert not any(path.startswith(("/docs", "/redoc", "/app", "/ws")) for path in paths)
    # Every operation without path values is there: nothing but an unknown path answers 404.
    for path, operations in paths.items():
        if "{" in path or "get" not in operations:
            continue
        # A stream has no end that could be waited for; it has tests of its own.
        if "text/event-stream" not in operations["get"]["responses"]["200"].get("content", {}):
            assert api.get(path).status == 200, path


def test_a_created_agent_has_the_shape_that_the_document_says(api):
    document = api.get("/openapi.json").json()
    operation = document["paths"]["/api/v2/agents"]["post"]
    reference = operation["responses"]["201"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
    agent = api.agent_v2()
    assert set(agent) == set(schema["properties"])
    assert set(schema["required"]) <= set(agent)


# Where an answer has an object that the document says nothing of, and why.
FREE = {
    "AgentFiguresV1.metrics": "always empty: without agents there are no figures",
    "TaskFiguresV1.metrics": "the same without tasks",
    "WorkflowFiguresV1.metrics": "the same without workflows",
    "PastEvent.data": "what the event's type has in /asyncapi.json",
}


def loose_objects(document):
    """Places in answers of success whose schema says nothing of an object: which members the whole
    has in any case, or anything at all of a part."""
    schemas, seen = document["components"]["schemas"], set()

    def walk(schema, place):
        name = schema.get("$ref", "").rpartition("/")[2]
        if name and name not in seen:
            seen.add(name)
            yield from walk(schemas[name], (name,))
        for forms in ("oneOf", "anyOf", "allOf"):
            for form in schema.get(forms, []):
                yield from walk(form, place)
        if "items" in schema:
            yield from walk(schema["items"], place)
        if schema.get("type") != "object":
            return
        members, others = schema.get("properties"), schema.get("additionalProperties")
        whole = len(place) == 1
        if (whole and not schema.get("required")) or (members is None and not others):
            yield place
        for member, said in (members or {}).items():
            yield from walk(said, (*place, member))
        if isinstance(others, dict):
            yield from walk(others, (*place, "*"))

    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                schema = answer.get("content", {}).get("application/json", {}).get("schema")
                if status.startswith("2") and schema is not None:
                    yield from walk(schema, (operation["operationId"],))


def test_every_answer_says_what_it_always_holds(make_server):
    document = make_server(DEBUG="true").client().get("/openapi.json").json()
    assert sorted({".".join(place) for place in loose_objects(document)}) == sorted(FREE)


def test_the_document_is_not_sent_twice(api):
    first = api.get("/openapi.json")
    again = api.get("/openapi.json", headers={"If-None-Match": first.header("ETag")})
    assert again.status == 304
    assert again.body == b""


def test_the_document_needs_the_right_to_read_but_the_pages_do_not(guarded):
    server, token = guarded
    assert server.client().get("/openapi.json").status == 401
    assert server.client(token).get("/openapi.json").status == 200
    for path in PAGES:
        assert server.client().get(path).status == 200


def test_the_documents_can_be_switched_off(make_server):
    api = make_server(DOCS="false").client()
    for path in ("/docs", "/redoc", "/openapi.json", "/docs/assets/swagger.js"):
        assert api.get(path).status == 404, path
    assert api.get("/app").status == 200
    assert api.get("/").json()["docs_url"] is None


# -- The files


def test_files_come_packed_where_that_is_welcome(api):
    path = "/docs/assets/redoc.standalone.js"
    plain = api.get(path)
    packed = api.get(path, headers={"Accept-Encoding": "br, GZIP;q=0.5"})
    assert plain.header("Content-Encoding") is None
    assert packed.header("Content-Encoding") == "gzip"
    assert len(packed.body) < len(plain.body) / 2
    assert gzip.decompress(packed.body) == plain.body
    assert packed.header("ETag") == plain.header("ETag")[:-1] + '-gzip"'
    for answer in (plain, packed):
        assert answer.header("Content-Type") == "text/javascript; charset=utf-8"
        assert answer.header("Vary") == "Accept-Encoding"
    digest = hashlib.sha256(plain.body).hexdigest()
    assert plain.header("ETag") == f'"{digest[:16]}"'


@pytest.mark.parametrize("field", ["", "identity", "gzip;q=0", "gzip; q=0.000, *", "br", "gzipx"])
def test_files_come_plain_where_gzip_is_not_welcome(api, field):
    answer = api.get("/app/app.js", headers={"Accept-Encoding": field})
    assert answer.header("Content-Encoding") is None
    assert answer.body.startswith(b"//")


@pytest.mark.parametrize("field", ["gzip", "*", "deflate, gzip;q=1.0", "identity;q=0, *;q=0.1"])
def test_files_come_packed_for_each_way_to_say_so(api, field):
    answer = api.get("/app/app.js", headers={"Accept-Encoding": field})
    assert answer.header("Content-Encoding") == "gzip"


def test_files_are_asked_for_again_but_not_sent_again(api):
    for coding in ("identity", "gzip"):
        headers = {"Accept-Encoding": coding}
        first = api.get("/app", headers=headers)
        assert first.header("Cache-Control") == "no-cache"
        again = api.get("/app", headers={**headers, "If-None-Match": first.header("ETag")})
        assert again.status == 304
        assert again.body == b""


@pytest.mark.parametrize("path", PAGES)
def test_pages_name_no_other_host_and_run_nothing_inline(api, path):
    answer = api.get(path)
    page = answer.body.decode()
    assert "//" not in re.sub(r"<!.*?>", "", page)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)
    policy = answer.header("Content-Security-Policy")
    assert "default-src 'self'" in policy
    assert "script-src" not in policy
    assert ("'unsafe-inline'" in policy) == (path != "/app")


# -- In the browser


def test_swagger_ui_shows_and_tries_the_operations(server, browser):
    browser.open(server, "/docs")
    browser.until("document.querySelectorAll('.opblock').length > 3")
    # It draws only what is in sight, so that one looks for a part of it.
    browser.fill(".operation-filter-input", "server")
    operation = "#operations-server-health_live"
    browser.until(f"document.querySelector('{operation}')")
    browser.click(f"{operation} .opblock-summary-control")
    browser.click(f"{operation} .try-out__btn")
    browser.click(f"{operation} .execute")
    browser.until(f"document.querySelector('{operation} .live-responses-table')")
    assert "alive" in browser.text(f"{operation} .live-responses-table")


def test_redoc_shows_and_finds_the_operations(server, browser):
    browser.open(server, "/redoc")
    browser.until("document.querySelector('[data-section-id]')")
    assert "List, filter, sort and page agents" in browser.text("#reader")
    browser.fill("input[type=text]", "bulk")  # The search runs in a worker.
    browser.until("document.querySelector('[role=search] [role=menuitem]')")


@pytest.mark.parametrize("path, shown", [("/docs", ".opblock"), ("/redoc", "[data-section-id]")])
def test_the_readers_ask_for_a_key(guarded, browser, path, shown):
    server, token = guarded
    browser.expect("401 (Unauthorized)")
    browser.open(server, path)
    browser.until("!document.querySelector('#sign-in').hidden")
    browser.fill("#token", "wrong")
    browser.click("button[type=submit]")
    browser.until("document.querySelector('#why').textContent.startsWith('The server says')")
    browser.fill("#token", token)
    browser.click("button[type=submit]")
    browser.until(f"document.querySelector('{shown}')")


def rows(browser):
    return browser.evaluate(
        "[...document.querySelectorAll('#rows tr')].map((row) => ({"
        " name: row.querySelector('th').firstChild.textContent,"
        " status: row.querySelector('.status').textContent,"
        " task: row.cells[2].textContent }))"
    )


def until_live(browser):
    browser.until("document.querySelector('#connection').dataset.state === 'live'")


def test_the_first_page_shows_agents_live(fresh, browser):
    api = fresh.client()
    browser.open(fresh, "/app")
    until_live(browser)
    browser.until("!document.querySelector('#empty').hidden")

    # The command that the page offers is one that works.
    command = browser.text("#command")
    subprocess.run(["sh", "-c", command + " --silent --fail"], check=True, timeout=10,
                   stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    browser.until("document.querySelectorAll('#rows tr').length === 1")
    assert rows(browser) == [{"name": "My first agent", "status": "active", "task": ""}]
    assert browser.evaluate("document.querySelector('#empty').hidden")

    second = api.agent_v1(name="Second")
    browser.until("document.querySelectorAll('#rows tr').length === 2")
    assert [row["name"] for row in rows(browser)] == ["Second", "My first agent"]

    api.put(f"/api/v2/agents/{second['id']}", {"status": "busy", "current_task": "Counting"})
    browser.until("document.querySelector('#rows .status').textContent === 'busy'")
    assert rows(browser)[0] == {"name": "Second", "status": "busy", "task": "Counting"}
    assert browser.text("#counts [data-status=busy] strong") == "1"
    browser.click("#counts [data-status=busy]")
    browser.until("document.querySelectorAll('#rows tr').length === 1")
    browser.click("#counts [data-status=busy]")

    api.post("/api/v2/agents/bulk-operation", {"agent_ids": [second["id"]], "operation": "stop"})
    browser.until("document.querySelector('#rows .status').textContent !== 'busy'")

    api.delete(f"/api/v2/agents/{second['id']}")
    browser.until("document.querySelectorAll('#rows tr').length === 1")
    assert browser.evaluate("document.title") == "1 agent – SubForge"


@pytest.mark.parametrize("docs", ["true", "false"])
def test_the_first_page_links_only_to_documents_that_are_there(make_server, browser, docs):
    browser.open(make_server(DOCS=docs), "/app")
    until_live(browser)
    hidden = "false" if docs == "true" else "true"
    browser.until(f"document.querySelector('#documentation').hidden === {hidden}")


def test_the_first_page_shows_markup_as_text(fresh, browser):
    name = "<img src=x onerror=alert(1)>" + unique()
    fresh.client().agent_v2(name=name, type="<b>bold</b>", tags=["<i>"])
    browser.open(fresh, "/app")
    browser.until("document.querySelector('#rows tr')")
    assert rows(browser)[0]["name"] == name
    assert browser.evaluate("document.querySelectorAll('#rows img, #rows b, #rows i').length") == 0


def test_the_first_page_comes_back_after_a_restart(make_server, browser):
    server = make_server()
    browser.expect("ERR_CONNECTION_REFUSED")
    browser.expect("WebSocket connection to")
    browser.open(server, "/app")
    until_live(browser)
    server.stop()
    browser.until("document.querySelector('#connection').dataset.state === 'waiting'")
    server.start(PORT=server.port)
    server.client().agent_v2(name="Made meanwhile")
    until_live(browser)
    browser.until("document.querySelector('#rows tr')")
    assert rows(browser)[0]["name"] == "Made meanwhile"
    server.client().agent_v2(name="Made later")
    browser.until("document.querySelectorAll('#rows tr').length === 2")


def test_the_first_page_signs_in_and_out(guarded, browser):
    server, token = guarded
    operator = server.create_token("operator-key", "operator")
    browser.expect("401 (Unauthorized)")
    browser.open(server, "/app")
    browser.until("document.querySelector('#sign-in').open")
    browser.fill("#token", token)
    browser.click("#sign-in button")
    until_live(browser)
    server.client(operator).agent_v2(name="Seen by a viewer")
    browser.until("document.querySelectorAll('#rows tr').length === 1")
    assert token not in browser.evaluate("location.href + document.documentElement.outerHTML")

    browser.click("#forget")
    browser.until("document.querySelector('#sign-in').open")
    assert browser.evaluate("sessionStorage.length") == 0
    assert browser.evaluate("document.querySelectorAll('#rows tr').length") == 0
