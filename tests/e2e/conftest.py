import os
import pathlib
import random
import sys

import pytest

# Each process reads all tests: what one has compiled the others, and the next run, need not.
sys.pycache_prefix = str(pathlib.Path(__file__).resolve().parents[2] / "build" / "pycache")
sys.dont_write_bytecode = False

import hanging
import live_document
import postgres
from harness import BINARY, DATABASE, FULL, Client, Server
from openapi_document import Document


def pytest_report_header():
    return f"server: {BINARY}, database: {DATABASE}, size: {'full' if FULL else 'normal'}"


def pytest_sessionfinish():
    postgres.stop_shared()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """No test hangs: it fails, and says where it and its servers stand."""
    with hanging.deadline(item.nodeid):
        yield


@pytest.fixture(scope="session", autouse=True)
def described():
    """Before any test counts time: what the tests' clients hear, and what they are answered, is
    held against the documents from here on."""
    Client.looks_at = Document(live_document.document("openapi")).check_success


@pytest.fixture
def make_server(tmp_path):
    """Makes servers with settings of their own; all are stopped, and have to stop well."""
    made = []

    def make(start=True, **settings):
        server = Server(tmp_path / f"server-{len(made)}", **settings)
        made.append(server)
        if start:
            server.start()
        return server

    yield make
    failures = []
    for server in made:
        try:
            server.stop()
        except Exception as failure:  # The others are to be stopped all the same.
            failures.append(failure)
    if failures:
        raise failures[0]


@pytest.fixture
def seed():
    """For what a test leaves to chance; shown when it fails, so that it can be repeated."""
    chosen = int(os.environ.get("SUBFORGE_TEST_SEED", "0")) or random.SystemRandom().randrange(
        1, 2**32)
    print(f"repeat with SUBFORGE_TEST_SEED={chosen}")
    return chosen


@pytest.fixture
def fresh(make_server):
    """A server without any record, for this test alone."""
    return make_server()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for all tests of a file that do not mind each other's records."""
    server = Server(tmp_path_factory.mktemp("server"), RESTART_SECONDS=1)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def api(server):
    client = Client(server.port)
    yield client
    client.close()
