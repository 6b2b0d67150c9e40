"""Who may do what: local mode, API keys, tokens made of them, roles, revocation."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import subprocess
import time

import pytest
import websockets

from harness import BINARY, environment, unique, wait_until
from sockets import Room, Socket, run_async

READS = ["/api/v1/agents/", "/api/v2/agents", "/api/v1/agents/stats/summary", "/metrics"]
OPEN = ["/", "/health", "/health/live", "/health/ready"]
NOBODY = "00000000-0000-4000-8000-000000000000"

# The server promises to notice within a second; the rest is for a busy machine.
NOTICED_SECONDS = 1.5


def check_401(answer, detail=None):
    assert answer.status == 401, answer
    assert answer.header("WWW-Authenticate") == "Bearer"
    assert answer.json()["status"] == 401
    if detail is not None:
        assert answer.detail == detail


@pytest.fixture
def guarded(make_server):
    """A server with one key per role, and the tokens by role."""
    server = make_server(start=False)
    tokens = {role: server.create_token(f"{role}-key", role, "--user", f"{role}-user")
              for role in ("viewer", "operator", "admin")}
    server.start()
    return server, tokens


# ---- Local mode and its end --------------------------------------------------------------------


def test_local_mode_needs_no_token(fresh):
    api = fresh.client()
    for path in READS + OPEN:
        assert api.get(path).status == 200, path
    assert api.agent_v2()["id"]
    [listening] = [line for line in fresh.log_lines() if line["message"] == "listening"]
    assert listening["auth"] == "local"


def test_local_mode_still_refuses_a_wrong_token(fresh):
    for token in ("nonsense", "sf_" + "A" * 43, "a.b.c"):
        check_401(fresh.client(token).get("/api/v2/agents"))
    # Another scheme counts as no credentials.
    answer = fresh.client().get("/api/v2/agents", headers={"Authorization": "Basic Og=="})
    assert answer.status == 200


@run_async
async def test_the_first_key_ends_local_mode(fresh):
    api = fresh.client()
    agent = api.agent_v2()
    async with Socket(fresh, "/ws") as v1, Socket(fresh, "/ws/v2") as v2:
        output = fresh.run_tool("token", "create", "--name", "first", "--role", "admin").stdout
        token = output.rstrip("\n").split("\n")[-1]
        begin = time.monotonic()
        # Also for connections that were open, whatever they had been.
        assert await v1.closed() == 4401
        assert await v2.closed() == 4401
        wait_until(lambda: api.get("/api/v2/agents").status == 401, 5)
        assert time.monotonic() - begin < NOTICED_SECONDS
    for path in READS:
        check_401(api.get(path), "Authentication required")
    for method, path, body in (
        ("POST", "/api/v1/agents/", {"name": "x", "agent_type": "y"}),
        ("PUT", f"/api/v1/agents/{agent['id']}", {}),
        ("PATCH", f"/api/v1/agents/{agent['id']}/status", {"status": "idle"}),
        ("PATCH", f"/api/v1/agents/{agent['id']}/metrics", {}),
        ("POST", f"/api/v1/agents/{agent['id']}/heartbeat", {}),
        ("DELETE", f"/api/v1/agents/{agent['id']}", None),
        ("GET", f"/api/v1/agents/{agent['id']}", None),
        ("POST", "/api/v2/agents", {"name": "x", "type": "y"}),
        ("PUT", f"/api/v2/agents/{agent['id']}", {}),
        ("DELETE", f"/api/v2/agents/{agent['id']}", None),
        ("POST", "/api/v2/agents/bulk-operation", {}),
        ("POST", f"/api/v2/agents/{agent['id']}/configuration/upload", None),
        ("GET", f"/api/v2/agents/{agent['id']}", None),
        ("GET", f"/api/v2/agents/{agent['id']}/metrics", None),
        ("GET", f"/api/v2/agents/{agent['id']}/logs", None),
    ):
        check_401(api.request(method, path, body), "Authentication required")
    for path in OPEN:
        assert api.get(path).status == 200, path
    owner = fresh.client(token)
    assert owner.get(f"/api/v2/agents/{agent['id']}").json() == agent


def test_nobody_without_rights_learns_a_schema(guarded):
    server, tokens = guarded
    check_401(server.client().post("/api/v2/agents", {"name": 5}))
    check_401(server.client().get("/api/v2/agents?limit=x"))
    assert server.client(tokens["viewer"]).post("/api/v2/agents", {"name": 5}).status == 403


def test_a_cached_answer_is_not_for_strangers(guarded):
    server, tokens = guarded
    viewer = server.client(tokens["viewer"])
    assert viewer.get("/api/v2/agents").header("X-Cache") == "MISS"
    assert viewer.get("/api/v2/agents").header("X-Cache") == "HIT"
    check_401(server.client().get("/api/v2/agents"))


def test_local_mode_does_not_return(guarded):
    server, tokens = guarded
    for role in tokens:
        server.run_tool("token", "revoke", f"{role}-key")
    wait_until(lambda: server.client(tokens["admin"]).get("/api/v2/agents").status == 401, 3)
    check_401(server.client().get("/api/v2/agents"))
    server.stop()
    server.start()
    check_401(server.client().get("/api/v2/agents"))


# ---- Roles -------------------------------------------------------------------------------------


def test_roles_on_rest(guarded):
    server, tokens = guarded
    agent = server.client(tokens["operator"]).agent_v2()
    v1, v2 = f"/api/v1/agents/{agent['id']}", f"/api/v2/agents/{agent['id']}"
    writes = [
        ("POST", "/api/v1/agents/", {"name": unique(), "agent_type": "y"}),
        ("PUT", v1, {}),
        ("PATCH", v1 + "/status", {"status": "idle"}),
        ("PATCH", v1 + "/metrics", {}),
        ("POST", v1 + "/heartbeat", {"status": "idle", "agent_id": NOBODY}),
        ("DELETE", f"/api/v1/agents/{NOBODY}", None),
        ("POST", "/api/v2/agents", {"name": "x", "type": "y"}),
        ("PUT", v2, {}),
        ("DELETE", f"/api/v2/agents/{NOBODY}", None),
        ("POST", "/api/v2/agents/bulk-operation", {"agent_ids": [], "operation": "start"}),
    ]
    for role, token in tokens.items():
        client = server.client(token)
        for path in READS + [v1, v2, v2 + "/metrics", v2 + "/logs"] + OPEN:
            assert client.get(path).status == 200, (role, path)
        for method, path, body in writes:
            if isinstance(body, dict) and body.get("name") not in (None, "x"):
                body = {**body, "name": unique()}
            answer = client.request(method, path, body)
            if role == "viewer":
                assert answer.status == 403, (path, answer)
                assert answer.detail == "Permission 'write' required"
            else:
                assert answer.status in (200, 201, 404), (path, answer)
        upload = client.upload(v2 + "/configuration/upload", "c.json", "{}")
        assert upload.status == (403 if role == "viewer" else 200)


def test_the_actor_is_named(guarded):
    server, tokens = guarded
    answer = server.client(tokens["operator"]).post(
        "/api/v2/agents", {"name": "x", "type": "y"}, headers={"X-Request-ID": "who-1"})
    assert answer.status == 201
    assert server.access_line("who-1")["user"] == "operator-user"
    with server.database() as database:
        [row] = database.execute("SELECT actor FROM events WHERE kind = 'agent.created'")
    assert row["actor"] == "operator-user"


@run_async
async def test_roles_on_sockets(guarded):
    server, tokens = guarded

    def entered(role, *rooms):
        return Room(server, *rooms, path=f"/ws/v2?token={tokens[role]}")

    async with entered("viewer", "r") as viewer, entered("operator", "r") as operator, \
            entered("admin", "r", "admin_room") as admin:
        assert viewer.first["data"]["state"] == "authenticated"
        for one in (viewer, operator, admin):
            await one.settled()
        await viewer.send({"type": "room_message", "room": "r", "data": {"n": 1}})
        assert (await viewer.find(lambda m: m["type"] == "error"))["data"]["code"] == "forbidden"
        await operator.send({"type": "room_message", "room": "r", "data": {"n": 2}})
        for one in (viewer, admin):
            message = await one.find(lambda m: "n" in m["data"])
            assert message["data"]["n"] == 2 and message["data"]["sent_by"] == "operator-user"
        for one in (viewer, operator):
            for type_ in ("join_room", "room_message", "leave_room"):
                await one.send({"type": type_, "room": "admin_room", "data": {}})
                error = await one.find(lambda m: m["type"] == "error")
                assert error["data"]["code"] == "forbidden" and error["room"] == "admin_room"
        # Viewers see changes.
        agent = server.client(tokens["operator"]).agent_v2()
        message = await viewer.find(lambda m: m["type"] == "agent_update")
        assert message["data"]["agent"] == agent


# ---- Sockets without a token -------------------------------------------------------------------


@run_async
async def test_sockets_without_a_token_see_nothing(guarded):
    server, tokens = guarded
    operator = server.client(tokens["operator"])
    async with Socket(server, "/ws") as v1, Socket(server, "/ws/v2") as v2:
        assert v2.first["data"]["state"] == "connecting"
        agent = operator.agent_v2()
        await v1.silent()
        await v2.silent()
        error = await v2.ask({"type": "join_room", "room": "r"}, "error")
        assert error["data"]["code"] == "unauthorized"
        error = await v2.ask({"type": "room_message", "room": "r", "data": {}}, "error")
        assert error["data"]["code"] == "unauthorized"
        for ws in (v1, v2):
            for bad in ({}, {"data": {}}, {"data": {"token": "wrong"}}, {"data": {"token": 5}}):
                refused = await ws.ask({"type": "auth_request", **bad}, "auth_error")
                assert refused["data"]["error"]
            accepted = await ws.ask(
                {"type": "auth_request", "data": {"token": tokens["operator"]}}, "auth_success")
            assert accepted["data"]["user_id"] == "operator-user"
        assert accepted["data"]["state"] == "authenticated"
        assert sorted(accepted["data"]["permissions"]) == ["read", "write"]
        operator.delete(f"/api/v2/agents/{agent['id']}")
        assert (await v1.receive_type("agent_deleted"))["data"]["agent_id"] == agent["id"]
        assert (await v2.receive_type("agent_update"))["data"]["event"] == "agent_deleted"
        await v2.ask({"type": "join_room", "room": "r"}, "join_room")


@pytest.mark.parametrize("path", ["/ws", "/ws/v2"])
@run_async
async def test_tokens_at_the_handshake(guarded, path):
    server, tokens = guarded
    async with Socket(server, f"{path}?token={tokens['viewer']}") as by_query:
        async with Socket(server, path, extra_headers={
            "Authorization": f"Bearer {tokens['viewer']}"
        }) as by_header:
            server.client(tokens["operator"]).agent_v1()
            for ws in (by_query, by_header):
                assert (await ws.receive())["type"] in ("agent_created", "agent_update")
    for bad in ("nonsense", "sf_" + "A" * 43):
        with pytest.raises(websockets.InvalidStatusCode) as refused:
            await websockets.connect(server.ws_url(f"{path}?token={bad}"))
        assert refused.value.status_code == 401
    # The token of a handshake is not written into the log.
    server.stop()
    assert tokens["viewer"] not in server.log_path.read_text() + server.stderr()


# ---- Tokens made of keys -----------------------------------------------------------------------


def exchange(server, token):
    answer = server.client(token).post("/api/v2/auth/token")
    assert answer.status == 200, answer
    assert answer.header("Cache-Control") == "no-store"
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in"}
    assert body["token_type"] == "bearer"
    return body


def part(text):
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def encode(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def signed(header, claims, secret, digest=hashlib.sha256):
    head = f"{encode(header)}.{encode(claims)}"
    return f"{head}.{encode(hmac.new(secret.encode(), head.encode(), digest).digest())}"


@pytest.mark.parametrize(
    "role, permissions",
    [("viewer", ["read"]), ("operator", ["read", "write"]), ("admin", ["read", "write", "admin"])],
)
def test_exchange(guarded, role, permissions):
    server, tokens = guarded
    body = exchange(server, tokens[role])
    assert body["expires_in"] == 30 * 60
    header, claims, _ = body["access_token"].split(".")
    assert part(header) == {"alg": "HS256", "typ": "JWT"}
    claims = part(claims)
    assert claims["sub"] == f"{role}-user" and claims["name"] == f"{role}-key"
    assert claims["role"] == role and claims["permissions"] == permissions
    assert abs(claims["iat"] - time.time()) < 5
    assert claims["exp"] - claims["iat"] == 1800
    client = server.client(body["access_token"])
    assert client.get("/api/v2/agents").status == 200
    assert client.post("/api/v2/agents", {"name": "x", "type": "y"}).status == (
        403 if role == "viewer" else 201)


def test_exchange_needs_a_key(guarded):
    server, tokens = guarded
    check_401(server.client().post("/api/v2/auth/token"))
    check_401(server.client("nonsense").post("/api/v2/auth/token"))
    # A token cannot be renewed with itself.
    token = exchange(server, tokens["admin"])["access_token"]
    check_401(server.client(token).post("/api/v2/auth/token"))


SECRET = "a secret of this test that nobody else knows"


def test_forged_tokens(make_server):
    server = make_server(start=False, SECRET_KEY=SECRET)
    key = server.create_token("key", "viewer", "--user", "me")
    server.start()
    good = exchange(server, key)["access_token"]
    header, claims = (part(text) for text in good.split(".")[:2])

    def status(token):
        return server.client(token).get("/api/v2/agents").status

    # So the way forgeries are made here is right where nothing is wrong with them.
    assert status(good) == status(signed(header, claims, SECRET)) == 200
    head, body, signature = good.split(".")
    now = int(time.time())
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    forged = {
        "changed signature": f"{head}.{body}.{flipped}",
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{signature}",
        "changed claims": f"{head}.{encode({**claims, 'role': 'admin'})}.{signature}",
        "other secret": signed(header, claims, "guess"),
        "empty secret": signed(header, claims, ""),
        "alg none": f"{encode({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        "alg None": f"{encode({'alg': 'None'})}.{body}.",
        "alg none, signed": signed({"alg": "none"}, claims, SECRET),
        "alg HS512": signed({"alg": "HS512"}, claims, SECRET, hashlib.sha512),
        "alg RS256": signed({"alg": "RS256"}, claims, SECRET),
        "no alg": signed({}, claims, SECRET),
        "critical extension": signed({**header, "crit": ["x"]}, claims, SECRET),
        "expired": signed(header, {**claims, "exp": now - 1}, SECRET),
        "never expires": signed(header, {k: v for k, v in claims.items() if k != "exp"}, SECRET),
        "text expiry": signed(header, {**claims, "exp": "9999999999"}, SECRET),
        "huge expiry": signed(header, {**claims, "exp": 10**18}, SECRET),
        "unknown role": signed(header, {**claims, "role": "god"}, SECRET),
        "no key": signed(header, {k: v for k, v in claims.items() if k != "key"}, SECRET),
        "unknown key": signed(header, {**claims, "key": NOBODY}, SECRET),
        "no user": signed(header, {k: v for k, v in claims.items() if k != "sub"}, SECRET),
        "claims no object": signed(header, [], SECRET),
        "not base 64": f"{head}.{body}.{'*' * 43}",
        "empty": "..",
    }
    taken = {name for name, token in forged.items() if status(token) != 401}
    assert not taken
    server.errors_expected = False


def test_tokens_run_out(make_server):
    server = make_server(start=False, SECRET_KEY=SECRET)
    key = server.create_token("key", "viewer")
    server.start()
    header, claims = (part(text) for text in exchange(server, key)["access_token"].split(".")[:2])
    soon = signed(header, {**claims, "exp": int(time.time()) + 2}, SECRET)
    client = server.client(soon)
    assert client.get("/api/v2/agents").status == 200
    # On the same connection, whose credentials the server remembers.
    wait_until(lambda: client.get("/api/v2/agents").status == 401, 4)
    assert client.get("/api/v2/agents").detail == "The token has expired"


def test_life_of_tokens_is_a_setting(make_server):
    server = make_server(start=False, ACCESS_TOKEN_EXPIRE_MINUTES=1)
    key = server.create_token("key", "viewer")
    server.start()
    assert exchange(server, key)["expires_in"] == 60


@pytest.mark.parametrize("secret", ["", "your-secret-key-here-change-in-production"])
def test_a_placeholder_is_no_secret(make_server, secret):
    server = make_server(start=False, SECRET_KEY=secret)
    key = server.create_token("key", "admin")
    server.start()
    good = exchange(server, key)["access_token"]
    header, claims = (part(text) for text in good.split(".")[:2])
    assert server.client(signed(header, claims, secret)).get("/api/v2/agents").status == 401
    # The one made instead is kept with the data.
    server.stop()
    server.start()
    assert server.client(good).get("/api/v2/agents").status == 200


# ---- Revocation --------------------------------------------------------------------------------


@run_async
async def test_revoking_ends_everything_of_a_key_at_once(guarded):
    server, tokens = guarded
    jwt = exchange(server, tokens["operator"])["access_token"]
    clients = [server.client(tokens["operator"]), server.client(jwt)]
    for client in clients:
        assert client.get("/api/v2/agents").status == 200
    async with Socket(server, f"/ws?token={tokens['operator']}") as v1, \
            Socket(server, f"/ws/v2?token={jwt}") as v2, Socket(server, "/ws/v2") as late, \
            Socket(server, f"/ws/v2?token={tokens['viewer']}") as other:
        await late.ask({"type": "auth_request", "data": {"token": jwt}}, "auth_success")
        output = server.run_tool("token", "revoke", "operator-key").stdout
        begin = time.monotonic()
        assert output == "Revoked.\n"
        for ws in (v1, v2, late):
            assert await ws.closed() == 4401
        for client in clients:
            wait_until(lambda: client.get("/api/v2/agents").status == 401, 3)
        assert time.monotonic() - begin < NOTICED_SECONDS
        await other.silent()
    assert server.client(tokens["admin"]).get("/api/v2/agents").status == 200
    # And stays so after a restart.
    server.stop()
    server.start()
    for token in (tokens["operator"], jwt):
        check_401(server.client(token).get("/api/v2/agents"))


# ---- The modes of AUTH, and other addresses ----------------------------------------------------


def test_auth_required_without_any_key(make_server):
    server = make_server(AUTH="required")
    check_401(server.client().get("/api/v2/agents"))
    token = server.create_token("first", "admin")
    assert server.client(token).get("/api/v2/agents").status == 200


def test_no_body_is_asked_for_of_who_may_not_send_it(make_server):
    server = make_server(AUTH="required")
    tokens = {role: server.create_token(role, role) for role in ("viewer", "operator")}
    body = json.dumps({"name": unique(), "type": "worker"})
    for token, status in (("sf_no", 401), (tokens["viewer"], 403), (tokens["operator"], 100)):
        with server.raw() as raw:
            raw.send("POST /api/v2/agents HTTP/1.1\r\nHost: localhost\r\n"
                     f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n")
            answer = raw.read_answer()
            assert answer.status == status
            if status == 100:
                assert raw.send(body).read_answer().status == 201
            else:
                assert answer.header("Connection") == "close"


@run_async
async def test_auth_off_lets_everybody_in(make_server):
    server = make_server(start=False, AUTH="off")
    token = server.create_token("key", "viewer")
    server.start()
    assert server.client().agent_v2()["id"]
    async with Socket(server, "/ws/v2") as ws:
        assert ws.first["data"]["state"] == "authenticated"
        await ws.ask({"type": "join_room", "room": "admin"}, "join_room")
    # Who names himself is who he says.
    assert server.client(token).post("/api/v2/agents", {"name": "x", "type": "y"}).status == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_addresses_need_a_key(make_server, host):
    server = make_server(start=False)
    refused = server.run_tool("serve", check=False, HOST=host)
    assert refused.returncode == 2
    assert f"HOST={host} can be reached from other machines" in refused.stderr
    assert "subforge token create" in refused.stderr and "AUTH=off" in refused.stderr
    token = server.create_token("key", "admin")
    server.start(HOST=host, ALLOWED_HOSTS='["*"]')
    assert server.client(token).get("/api/v2/agents").status == 200
    check_401(server.client().get("/api/v2/agents"))


def test_told_so_it_runs_open(make_server):
    server = make_server(HOST="0.0.0.0", AUTH="off")
    assert server.client().get("/api/v2/agents").status == 200


# ---- The command line --------------------------------------------------------------------------


def test_keys_are_not_looked_for_where_no_database_is(tmp_path):
    for command in [("list",), ("list", "--json"), ("revoke", "ci")]:
        done = subprocess.run([BINARY, "token", *command], cwd=tmp_path, capture_output=True,
                              text=True, env=environment({"DATABASE_URL": "sqlite:///here.db"}))
        assert done.returncode == 1 and not done.stdout
        assert "There is no database" in done.stderr and "here.db" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_dot_env_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / ".env").mkdir()
    done = subprocess.run([BINARY, "config"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and ".env is there but cannot be read" in done.stderr


def test_token_commands(make_server):
    server = make_server(start=False)
    assert "no keys" in server.run_tool("token", "list").stdout
    assert json.loads(server.run_tool("token", "list", "--json").stdout) == []
    token = server.create_token("ci", "operator", "--user", "robot", "--expires-days", "7")
    assert re.fullmatch(r"sf_[A-Za-z0-9_-]{43}", token)
    server.create_token("plain", "viewer")
    [ci, plain] = json.loads(server.run_tool("token", "list", "--json").stdout)
    assert ci["name"] == "ci" and ci["role"] == "operator" and ci["user"] == "robot"
    assert ci["expires_at"] > ci["created_at"] and ci["revoked_at"] is None
    assert plain["user"] == "plain" and plain["expires_at"] is None
    text = server.run_tool("token", "list").stdout
    assert "ci  operator  user robot" in text and "plain  viewer" in text
    server.run_tool("token", "revoke", "ci")
    [ci, plain] = json.loads(server.run_tool("token", "list", "--json").stdout)
    assert ci["revoked_at"] and plain["revoked_at"] is None
    # Only its hash is stored.
    with server.database() as database:
        rows = database.execute("SELECT * FROM api_keys").fetchall()
    stored = b" ".join(str(value).encode() if not isinstance(value, bytes) else value
                       for row in rows for value in dict(row).values())
    assert rows and token.encode() not in stored and token[3:].encode() not in stored


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["create"], 2, "--name"),
        (["create", "--name", "x", "--role", "king"], 2, "king"),
        (["create", "--name", "x", "--expires-days", "0"], 2, "0"),
        (["create", "--name", "taken", "--role", "viewer"], 1, "taken"),
        (["revoke", "nobody"], 1, "nobody"),
        (["revoke"], 2, "name"),
        ([], 2, ""),
        (["dance"], 2, ""),
    ],
    ids=str,
)
def test_token_commands_that_fail(make_server, arguments, code, words):
    server = make_server(start=False)
    server.create_token("taken", "viewer")
    done = server.run_tool("token", *arguments, check=False)
    assert done.returncode == code
    assert words in done.stderr and done.stdout == ""
