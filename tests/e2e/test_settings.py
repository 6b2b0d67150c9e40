"""Where settings come from, and what stops a start."""

import json
import re

import pytest


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"PORT": "eighty"}, "PORT=eighty (from the environment): must be a whole number from 0 to"
                             " 65535"),
        ({"PORT": "65536"}, "PORT=65536 (from the environment): must be a whole number from 0 to"
                            " 65535"),
        ({"AUTH": "maybe"}, "AUTH=maybe (from the environment): must be one of auto, required,"
                            " off"),
        ({"DEBUG": "perhaps"}, "DEBUG=perhaps (from the environment): must be true or false"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL=LOUD (from the environment): must be one of DEBUG, INFO,"
                                " WARNING, ERROR, CRITICAL"),
        ({"ALLOWED_ORIGINS": "a,b"}, "ALLOWED_ORIGINS=a,b (from the environment): must be a JSON"
                                     ' list of texts, like ["a","b"]'),
        ({"WEBSOCKET_PATH": "ws"}, "WEBSOCKET_PATH=ws: must be a path like /ws"),
        ({"WEBSOCKET_PATH": "/api/v1"}, "WEBSOCKET_PATH=/api/v1: must be a path of its own like "
                                        "/ws, none that begins with /api"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL=mysql://x: must be sqlite:///relative/path,"
                                        " sqlite:////absolute/path or"
                                        " postgresql://user:password@host/database"),
        ({"REDIS_URL": "redis://:pw@h"}, "REDIS_URL is set (in the environment), but this version"
                                         " has no Redis adapter yet; leave it empty"),
        ({"CELERY_BROKER_URL": "amqp://h"}, "CELERY_BROKER_URL must be"
                                            " redis://[[user]:password@]host[:port][/database]"),
        ({"CELERY_RESULT_BACKEND": "redis://h"}, "CELERY_RESULT_BACKEND is of use with"
                                                 " CELERY_BROKER_URL only: set both or none"),
        ({"SECRET_KEY": "x", "ALGORITHM": "none"}, "ALGORITHM=none (from the environment): must be"
                                                   " one of HS256"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_settings_stop_the_start(make_server, settings, sentence):
    server = make_server(start=False)
    done = server.run_tool("serve", check=False, **settings)
    assert done.returncode == 2
    assert done.stderr == f"subforge: {sentence}\n"
    assert "pw" not in done.stderr


def test_sockets_take_no_path_of_another_route(make_server):
    paths = make_server().client().get("/openapi.json").json()["paths"]
    firsts = {path.split("/")[1] for path in paths} - {"", "ws"}
    assert {"api", "health", "metrics"} <= firsts
    for first in firsts | {"app", "docs", "redoc", "openapi.json", "asyncapi.json", "socket.io"}:
        done = make_server(start=False).run_tool("serve", check=False, WEBSOCKET_PATH=f"/{first}")
        assert done.returncode == 2 and "must be a path of its own" in done.stderr, first


def test_where_settings_come_from(make_server):
    server = make_server(start=False, PORT="1111", APP_NAME="from environment",
                         SECRET_KEY="quiet please")
    (server.folder / ".env").write_text(
        "# A comment\nPORT=2222\nexport APP_NAME='from file'\nLOOPS=3 # three\n"
        'APP_DESCRIPTION="with # inside"\nLOG_LVEL=DEBUG\n')
    done = server.run_tool("config", "--json", "--port", "3333")
    values = {row["name"]: (row["value"], row["from"]) for row in json.loads(done.stdout)}
    assert values["PORT"] == ("3333", "flag")
    assert values["APP_NAME"] == ("from environment", "environment")
    assert values["LOOPS"] == ("3", ".env")
    assert values["APP_DESCRIPTION"] == ("with # inside", ".env")
    assert values["HOST"] == ("localhost", "default")
    assert values["SECRET_KEY"] == ("***", "environment")
    text = server.run_tool("config").stdout
    assert "quiet please" not in text
    assert re.search(r"^PORT +1111 +environment", text, re.MULTILINE)


def test_a_taken_port(server, make_server):
    other = make_server(start=False)
    done = other.run_tool("serve", check=False, PORT=server.port)
    assert done.returncode != 0 and str(server.port) in done.stderr


def test_a_newer_database_is_refused(make_server):
    server = make_server()
    server.stop()
    with server.database(writable=True) as database:
        database.execute("INSERT INTO schema_migrations (version, name, applied_at)"
                         " VALUES (999, 'of the future', 0)")
    done = server.run_tool("serve", check=False)
    assert done.returncode != 0 and "newer" in done.stderr, done
