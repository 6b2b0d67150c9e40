"""The contract of the REST API, row by row of the tables in contract/rest.md.

Each row is a test; how it is read stands there. Every operation of the server's own document has to
have a row, and every answer the shape that the document says.
"""

import dataclasses
import datetime
import json
import pathlib
import re
import time
import uuid

import pytest

from harness import Server
from openapi_document import Document

TABLES = pathlib.Path(__file__).parent / "contract" / "rest.md"
NOBODY = "00000000-0000-4000-8000-000000000000"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
NAME = re.compile(r"\{([a-z][a-z0-9_]*)((?:\.\w+)*)\}")
WORDS = re.compile(r"(after( \{\w+\})+)?( ?as (nobody|viewer|operator|admin))?"
                   r"|on an empty server|on a broken database")
LETTERS = re.compile(r"\{(\d+) letters\}")
FAULTS_MAX = 10  # Told of one answer.
ROLES = ("viewer", "operator", "admin")
TABLES_OF_RECORDS = ("agents", "tasks", "workflows", "workflow_history", "workflow_history_hours",
                     "phase_history", "handoff_history", "agent_performance")


# ---- The tables --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Cell:
    """What stands in backticks, and the words beside it."""

    codes: list
    words: str

    @staticmethod
    def read(text):
        return Cell(re.findall(r"`([^`]+)`", text), re.sub(r"`[^`]*`", "", text).strip())


@dataclasses.dataclass(frozen=True)
class Request:
    method: str
    path: str
    fields: list
    words: str  # What has to be there before, and who asks.
    body: Cell

    @staticmethod
    def read(request, body):
        request = Cell.read(request)
        assert WORDS.fullmatch(request.words), f"not understood: {request.words}"
        method, path = request.codes[0].split(" ")
        return Request(method, path, request.codes[1:], request.words, Cell.read(body))


@dataclasses.dataclass(frozen=True)
class Row:
    line: int
    section: str
    name: str
    request: Request
    status: int
    answer: Cell

    def __str__(self):
        return f"{self.section}: {self.name}"


@dataclasses.dataclass(frozen=True)
class Record:
    request: Request
    member: str


class Contract:
    """The rows, the shapes of answers, the records that rows need, and the exceptions."""

    def __init__(self, text):
        self.rows, self.shapes, self.records, self.exceptions = [], {}, {}, {}
        for name, shape in re.findall(r"^### `<(.+?)>`[^`#]*```json\n(.*?)^```$", text,
                                      re.DOTALL | re.MULTILINE):
            self.shapes[name] = json.loads(shape)
        section, heads = "", []
        for number, line in enumerate(text.split("\n"), 1):
            if line.startswith("## "):
                section = line[3:]
            if not line.startswith("|"):
                heads = []
                continue
            cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
            if not heads:
                heads = cells
            elif not line.startswith("|---"):
                assert len(cells) == len(heads), f"{TABLES}:{number}: {len(cells)} cells"
                self._take(number, section, dict(zip(heads, cells)))

    def _take(self, number, section, cells):
        if "answer" in cells:
            request = Request.read(cells["request"], cells["body"])
            self.rows.append(Row(number, section, cells["what"], request, int(cells["status"]),
                                 Cell.read(cells["answer"])))
        elif "record" in cells:
            request = Request.read(cells["request"], cells["body"])
            self.records[cells["record"].strip("`")] = Record(request, cells["is"].strip("`"))
        elif "operation" in cells:
            self.exceptions[cells["operation"].strip("`")] = cells["why"]


CONTRACT = Contract(TABLES.read_text(encoding="utf-8"))


# ---- What an answer has to hold ----------------------------------------------------------------


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_uuid(value):
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def is_time(value):
    return (isinstance(value, str) and TIME.fullmatch(value) is not None
            and datetime.datetime.fromisoformat(value) is not None)


KINDS = {
    "any": lambda value: True,
    "bool": lambda value: isinstance(value, bool),
    "count": lambda value: is_int(value) and value >= 0,
    "fraction": lambda value: is_number(value) and 0 <= value <= 1,
    "int": is_int,
    "list": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
    "number": is_number,
    "object": lambda value: isinstance(value, dict),
    "percent": lambda value: is_number(value) and 0 <= value <= 100,
    "string": lambda value: isinstance(value, str),
    "text": lambda value: isinstance(value, str) and value != "",
    "time": is_time,
    "uuid": is_uuid,
}


def faults_of_kind(kind, value, at):
    if kind in CONTRACT.shapes:
        return faults(CONTRACT.shapes[kind], value, at)
    if " or " in kind:
        found = [faults_of_kind(part, value, at) for part in kind.split(" or ")]
        return [] if [] in found else found[0]
    if kind.startswith("one of "):
        known = value in kind.removeprefix("one of ").split(", ")
        return [] if known else [f"{at}: {value!r} is not {kind}"]
    if kind.startswith("list of "):
        if not isinstance(value, list):
            return [f"{at}: {value!r} is no list"]
        return [fault for index, item in enumerate(value)
                for fault in faults_of_kind(kind.removeprefix("list of "), item, f"{at}.{index}")]
    if kind.startswith("map to "):
        if not isinstance(value, dict):
            return [f"{at}: {value!r} is no object"]
        return [fault for key, item in value.items()
                for fault in faults_of_kind(kind.removeprefix("map to "), item, f"{at}.{key}")]
    return [] if KINDS[kind](value) else [f"{at}: {value!r} is not <{kind}>"]


def faults_of_object(expected, value, at):
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is no object"]
    named = {key.rstrip("?"): one for key, one in expected.items() if key != "..."}
    found = [f"{at}.{key} is missing" for key in expected if key in named and key not in value]
    for key, one in named.items():
        if key in value:
            found += faults(one, value[key], f"{at}.{key}")
    rest = expected.get("...")
    if rest is None:
        found += [f"{at}.{key} is not in the contract" for key in value if key not in named]
    elif rest != "...":
        found += faults(rest, value, at)
    return found


def faults_of_list(expected, value, at):
    if not isinstance(value, list):
        return [f"{at}: {value!r} is no list"]
    if expected and expected[-1] == "...":
        expected = expected[:-1] + expected[-2:-1] * (len(value) - len(expected) + 1)
    if len(value) != len(expected):
        return [f"{at} has {len(value)} items instead of {len(expected)}: {value!r}"[:600]]
    return [fault for index, (one, item) in enumerate(zip(expected, value))
            for fault in faults(one, item, f"{at}.{index}")]


def faults(expected, value, at="answer"):
    """Where a value is not what the table says, in words."""
    if isinstance(expected, dict):
        return faults_of_object(expected, value, at)
    if isinstance(expected, list):
        return faults_of_list(expected, value, at)
    if isinstance(expected, str) and re.fullmatch(r"<.+>", expected):
        return faults_of_kind(expected[1:-1], value, at)
    same = expected == value and isinstance(expected, bool) == isinstance(value, bool)
    return [] if same else [f"{at}: {value!r} instead of {expected!r}"]


# ---- Requests ----------------------------------------------------------------------------------


def member(value, path):
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


class Scene:
    """The records of one row, made when they are first named."""

    def __init__(self, maker):
        self.maker = maker
        self.made = {}
        self.fixed = {"nobody": NOBODY, "unique": uuid.uuid4().hex[:12]}

    def fill(self, text):
        text = LETTERS.sub(lambda found: "x" * int(found[1]), text)
        return NAME.sub(lambda found: self.value(found[1], found[2][1:]), text)

    def value(self, name, path):
        if name in self.fixed:
            return self.fixed[name]
        record = CONTRACT.records[name]
        if name not in self.made:
            answer = self.send(self.maker, record.request)
            until = time.monotonic() + 10
            while record.request.method == "GET" and answer.status != 200:
                assert time.monotonic() < until, f"{name}: {answer}"
                time.sleep(0.02)
                answer = self.send(self.maker, record.request)
            assert answer.status in (200, 201), f"{name}: {answer}"
            self.made[name] = answer.json()
        return str(member(self.made[name], path or record.member))

    def send(self, client, request):
        self.fill(request.words)
        path, body = self.fill(request.path), [self.fill(code) for code in request.body.codes]
        fields = dict(self.fill(field).split(": ", 1) for field in request.fields)
        if len(body) == 2:
            field = "files" if "/files/upload/" in path else "file"
            return client.upload(path, *body, field=field)
        if body:
            fields.setdefault("Content-Type", "application/json")
        return client.request(request.method, path, body=body[0] if body else None, headers=fields)


def check_problem(answer, expected):
    """An error's sentence, or the places and kinds of everything that is wrong with the input."""
    if answer.header("Content-Type").startswith("text/plain"):
        assert answer.body.decode() == expected
        return
    problem = answer.json()
    assert problem["status"] == answer.status
    assert problem["title"] and problem["type"] and problem["instance"].startswith("/")
    assert ("error_type" in problem) == (answer.status == 500)
    if answer.status == 422:
        for one in problem["detail"]:
            assert {"type", "loc", "msg", "input"} <= set(one) <= {
                "type", "loc", "msg", "input", "url", "ctx"}, one
        found = [f"{'.'.join(map(str, one['loc']))} {one['type']}" for one in problem["detail"]]
        assert sorted(found) == sorted(expected.split(", "))
    elif expected.endswith("..."):
        assert problem["detail"].startswith(expected[:-3])
        assert len(problem["detail"]) > len(expected) - 3
    else:
        assert problem["detail"] == expected


def report(found, answer):
    if found:
        raise AssertionError("\n".join([*found[:FAULTS_MAX], answer.body.decode()[:3000]]))


def check(row, scene, answer):
    assert answer.status == row.status, answer
    codes = [scene.fill(code) for code in row.answer.codes]
    if codes and codes[0][0] in '{["':
        report(faults(json.loads(codes.pop(0)), answer.json()), answer)
    for code in codes:
        name, value = code.split(": ", 1)
        report(faults(value, answer.header(name), name), answer)
    words = scene.fill(row.answer.words)
    if row.status >= 400:
        check_problem(answer, words)
    elif words == "nothing":
        assert answer.body == b""
    else:
        assert words == "", f"not understood: {words}"


# ---- The server's document ---------------------------------------------------------------------


# ---- Servers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """In local mode, with the endpoints for debugging."""
    server = Server(tmp_path_factory.mktemp("open"), DEBUG="true", RESTART_SECONDS=1)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """One that asks for credentials."""
    server = Server(tmp_path_factory.mktemp("guarded"))
    server.tokens = {role: server.create_token(role, role) for role in ROLES}
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """One that nothing is ever put into."""
    server = Server(tmp_path_factory.mktemp("empty"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """One whose tables are gone."""
    server = Server(tmp_path_factory.mktemp("broken"))
    server.start()
    server.errors_expected = True
    with server.database(writable=True) as database:
        for name in TABLES_OF_RECORDS:
            database.execute(f"ALTER TABLE {name} RENAME TO {name}_gone")
    database.close()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def document(server):
    return Document(server.client().get("/openapi.json").json())


def clients(request):
    """Who makes the records of a row, and who sends its request."""
    words = request.node.callspec.params["row"].request.words
    for place, fixture in (("on an empty server", "empty"), ("on a broken database", "broken")):
        if place in words:
            return None, request.getfixturevalue(fixture).client()
    asker = re.search(r"\bas (\w+)", words)
    if asker is None:
        client = request.getfixturevalue("api")
        return client, client
    server = request.getfixturevalue("guarded")
    return server.client(server.tokens["admin"]), server.client(server.tokens.get(asker[1]))


# ---- Tests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected, right, wrong", [
    ("x", ["x"], ["y", None, ["x"]]),
    (1, [1, 1.0], [2, "1", True]),
    (True, [True], [1, "true", False]),
    (None, [None], [0, "", {}]),
    ("<int>", [0, -3], [1.5, 1.0, "1", True, None]),
    ("<count>", [0, 7], [-1, 1.5]),
    ("<percent>", [0, 99.5, 100], [-1, 100.1, None]),
    ("<text>", ["x"], ["", None]),
    ("<time or null>", ["2026-01-02T03:04:05.000000Z", None], ["2026-01-02T03:04:05Z", "null"]),
    ("<uuid>", [NOBODY], ["7", NOBODY.replace("-", ""), None]),
    ("<one of a, b or null>", ["a", "b", None], ["c", "a, b", ""]),
    ("<list of string>", [[], ["x"]], [[1], "x", None]),
    ("<map to int>", [{}, {"a": 1}], [{"a": "1"}, []]),
    (["<int>", "<string>"], [[1, "x"]], [[1], [1, "x", "x"], ["x", 1]]),
    (["<int>", "..."], [[1], [1, 2]], [[], [1, "x"]]),
    ([], [[]], [[1], {}]),
    ({"a": 1}, [{"a": 1}], [{}, {"a": 2}, {"a": 1, "b": 1}, []]),
    ({"a": 1, "...": "..."}, [{"a": 1}, {"a": 1, "b": 1}], [{"b": 1}]),
    ({"a?": 1}, [{}, {"a": 1}], [{"a": 2}, {"b": 1}]),
    ({"status": "alive", "...": {"status": "<text>", "x": "<int>"}},
     [{"status": "alive", "x": 1}], [{"status": "alive"}, {"status": "dead", "x": 1}]),
])
def test_the_words_of_the_tables(expected, right, wrong):
    for value in right:
        assert faults(expected, value) == [], value
    for value in wrong:
        assert faults(expected, value) != [], value


@pytest.mark.parametrize("row", CONTRACT.rows, ids=str)
def test_contract(row, request, document):
    maker, asker = clients(request)
    scene = Scene(maker)
    answer = scene.send(asker, row.request)
    try:
        check(row, scene, answer)
        key = document.find(row.request.method, row.request.path)
        if key is not None:
            document.check(key, answer)
    except AssertionError as failure:
        where = f"{TABLES.name}:{row.line}: {row.request.method} {scene.fill(row.request.path)}"
        raise AssertionError(f"{where}\n{failure}") from None


def test_rows_have_names_of_their_own():
    names = [str(row) for row in CONTRACT.rows]
    assert [name for name in names if names.count(name) > 1] == []


def is_exception(name):
    """Exceptions are written out, or end with a slash and hold for all below it."""
    return any(name == known or (known.endswith("/") and name.startswith(known))
               for known in CONTRACT.exceptions)


def test_every_operation_has_a_row(document):
    proved = {document.find(row.request.method, row.request.path)
              for row in CONTRACT.rows if row.status < 300}
    missing = {" ".join(key) for key in set(document.operations) - proved}
    assert sorted(name for name in missing if not is_exception(name)) == []


def test_every_row_is_of_an_operation(document):
    strange = [f"{row.request.method} {row.request.path}" for row in CONTRACT.rows
               if document.find(row.request.method, row.request.path) is None]
    assert [name for name in strange if not is_exception(name)] == []


def test_no_exception_is_left_over(document):
    names = [" ".join(key) for key in document.operations]
    names += [f"{row.request.method} {row.request.path}" for row in CONTRACT.rows]
    assert [known for known in CONTRACT.exceptions
            if not any(name == known or name.startswith(known) for name in names)] == []
