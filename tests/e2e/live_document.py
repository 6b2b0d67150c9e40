"""What clients hear is as /asyncapi.json says: the tests' own clients of the live protocols show
every message to `check`."""

import collections
import copy
import pathlib
import tempfile

import jsonschema

from harness import Server

CHANNELS = {"v1": "websocket-v1", "v2": "websocket-v2", "sse": "event-stream",
            "socketio": "socketio"}
# Of one kind of message; checking takes about a millisecond.
CHECKED_MAX = 200

_documents = {}
_checked = collections.Counter()
_validators = {}


def document(name="asyncapi"):
    """Of a server of its own, once for all tests of this process."""
    if not _documents:
        with tempfile.TemporaryDirectory() as folder:
            server = Server(pathlib.Path(folder), DEBUG="true")
            server.start()
            try:
                for one in ("asyncapi", "openapi"):
                    _documents[one] = server.client().get(f"/{one}.json").json()
            finally:
                server.stop()
    return _documents[name]


def close_objects(schema):
    """Members that a shape does not name are faults here, though clients must bear them."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            close_objects(part)
    elif isinstance(schema, list):
        for part in schema:
            close_objects(part)


def validators(protocol, type_):
    """One for each form of the type that clients may hear."""
    key = (protocol, type_)
    if key not in _validators:
        whole = document()
        names = whole["channels"][CHANNELS[protocol]]["messages"]
        _validators[key] = []
        for name in names:
            message = whole["components"]["messages"][name]
            if "-client-" in name or message["name"] != type_:
                continue
            payload = copy.deepcopy(message["payload"])
            if protocol != "socketio":
                close_objects(payload["properties"]["data"])
            _validators[key].append(jsonschema.Draft202012Validator(
                {**payload, "components": whole["components"]}))
    return _validators[key]


def check(protocol, type_, message):
    _checked[protocol, type_] += 1
    if _checked[protocol, type_] > CHECKED_MAX:
        return
    forms = validators(protocol, type_)
    assert forms, f"{type_} is no message of {protocol} in /asyncapi.json"
    faults = []
    for form in forms:
        fault = jsonschema.exceptions.best_match(form.iter_errors(message))
        if fault is None:
            return
        faults.append(f"{list(fault.absolute_path)}: {fault.message[:300]}")
    raise AssertionError(f"{protocol} {type_} is not as /asyncapi.json says: {faults}: {message}")
