"""Every operation of /openapi.json, with inputs made from its schemas: whatever comes, the server
does not fail, answers as its document says, takes what that allows and names the field that is
wrong."""

import collections
import http.client
import json
import random
import urllib.parse

import pytest

import openapi_inputs
from harness import FULL, Server, unique
from openapi_document import Document
from openapi_inputs import Inputs

SEED = 20_260_101  # The fixed one.
VALID_CALLS = 40 if FULL else 6  # Of each operation.
WRONG_SHARE = 1 if FULL else 0.5  # Of all that can be wrong with a body, how much is tried.
# They answer for as long as somebody listens, or speak another protocol.
LEFT_OUT = {"events_v2", "ws_v1", "ws_v2"}
KINDS = ("agent", "task", "workflow")

# What is wrong with an input that its schema cannot say: by operation and place.
BEYOND_SCHEMAS = {
    ("v1_metrics_history", "start_date"): "only together with the other end",
    ("v1_metrics_history", "end_date"): "only together with the other end",
    ("v1_history_calculate", "end_date"): "behind the start",
    ("v1_history_nested_calculate", "end_date"): "behind the start",
    ("v1_agent_heartbeat", "timestamp"): "it, or agent_id",
    ("v1_create_workflow", "assigned_agents"): "each entry has an id, and texts alone",
    ("v1_update_workflow", "assigned_agents"): "each entry has texts alone",
    ("v1_execute_workflow", "assigned_agents"): "each entry has texts alone",
    ("v1_update_workflow", "completed_tasks"): "no more than total_tasks",
    ("v1_set_workflow_progress", "completed_tasks"): "no more than total_tasks",
    ("v1_set_task_progress", "subtasks_completed"): "no more than subtasks_total",
    ("v2_create_workflow", "steps"): "ids of their own, dependencies among them",
    ("v2_update_workflow", "steps"): "ids of their own, dependencies among them",
}
# By place alone.
BEYOND_ALL_SCHEMAS = {
    "cursor": "one that the server gave",
}


class Records:
    """Ids to ask for: of records that are there, or were, and of none."""

    def __init__(self, api, chance):
        self.chance = chance
        self.known = collections.defaultdict(list)
        for _ in range(3):
            self.known["agent"].append(api.agent_v2()["id"])
            self.known["task"].append(
                api.post("/api/v2/tasks", {"title": unique()}).json()["id"])
            self.known["workflow"].append(
                api.post("/api/v2/workflows", {"name": unique(), "steps": []}).json()["id"])

    def id(self, name):
        kind = next((kind for kind in KINDS if kind in name), self.chance.choice(KINDS))
        if self.chance.random() < 0.2:
            return openapi_inputs.nobody(self.chance)
        return self.chance.choice(self.known[kind])

    def learn(self, operation, answer):
        if answer.status in (200, 201) and "create" in operation:
            kind = next(kind for kind in KINDS if kind in operation)
            self.known[kind].append(answer.json()["id"])


class Caller:
    """Sends inputs and keeps what was against a rule."""

    def __init__(self, server, seed):
        self.api = server.client()
        self.chance = random.Random(seed)
        self.document = Document(self.api.get("/openapi.json").json())
        self.records = Records(self.api, self.chance)
        self.inputs = Inputs(self.chance, self.records.id)
        self.faults = {}
        self.calls = 0

    def operations(self):
        for (method, path), operation in self.document.operations.items():
            if operation["operationId"] not in LEFT_OUT:
                yield method, path, operation

    def schema(self, operation):
        """Of the body, if it takes JSON."""
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is None:
            return None
        return self.document.components["schemas"][body["schema"]["$ref"].rpartition("/")[2]]

    # ---- Parameters

    def parameters(self, operation, place):
        return [one for one in operation.get("parameters", []) if one.get("in") == place]

    def fill(self, path, operation, wrong=None):
        """The path with values, and the names and values of the query."""
        for one in self.parameters(operation, "path"):
            name = one["name"]
            text = wrong[1] if wrong and wrong[0] == name else \
                openapi_inputs.parameter_texts(one["schema"], self.chance, self.records.id, name)
            if not (one["schema"].get("format") or wrong) and name.endswith("_id"):
                text = self.records.id(name)
            path = path.replace(f"{{{name}}}", urllib.parse.quote(text or "x", safe=""))
        query = {}
        for one in self.parameters(operation, "query"):
            name = one["name"]
            if wrong and wrong[0] == name:
                query[name] = wrong[1]
            elif self.chance.random() < 0.3 and not (wrong or name == "cursor"):
                query[name] = openapi_inputs.parameter_texts(
                    one["schema"], self.chance, self.records.id, name)
        return path + ("?" + urllib.parse.urlencode(query) if query else "")

    # ---- Calls

    def call(self, method, template, operation, path, body=None, content_type="application/json"):
        """The answer, after it was held against the rules for all."""
        self.calls += 1
        name = operation["operationId"]
        headers = {} if body is None else {"Content-Type": content_type}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.sent = (method, path, body)
        try:
            answer = self.api.request(method, path, body=body, headers=headers)
        except (OSError, http.client.HTTPException) as failure:
            self.fault(name, "no answer", failure)
            self.api.connection.close()
            return None
        if answer.status >= 500:
            self.fault(name, "failed", answer)
            return None
        try:
            self.document.check((method, template), answer)
        except AssertionError as failure:
            self.fault(name, "not as the document says", f"{answer} {failure}"[:1500])
        self.records.learn(name, answer)
        return answer

    def fault(self, operation, rule, what):
        method, path, body = self.sent
        self.faults.setdefault((operation, rule), f"{method} {path} {(body or b'')[:600]!r}\n"
                                                  f"    -> {what}")

    def expect_named(self, operation, what, place, answer):
        """It is refused, and what is wrong is named; where it is not too long to be read."""
        if answer is None or answer.status == 413:
            return
        if answer.status != 422:
            self.fault(operation, f"{what} at {place} is taken", answer)
            return
        told = [tuple(str(step) for step in issue["loc"]) for issue in answer.detail]
        if not any(loc[:len(place)] == place for loc in told):
            self.fault(operation, f"{what} at {place} is not named", answer)

    # ---- Rules

    def send_valid(self, method, template, operation):
        name, schema = operation["operationId"], self.schema(operation)
        for number in range(VALID_CALLS):
            body = None if schema is None else self.inputs.value(schema)
            if isinstance(body, dict) and number == 0:
                body["surprise \u2603"] = {"unknown": [1]}
            answer = self.call(method, template, operation, self.fill(template, operation), body)
            if answer is None or answer.status != 422:
                continue
            for issue in answer.detail:
                place = str(issue["loc"][1]) if len(issue["loc"]) > 1 else ""
                if place in BEYOND_ALL_SCHEMAS or (name, place) in BEYOND_SCHEMAS:
                    continue
                self.fault(name, f"what the schema allows is refused: {issue['loc']}", answer)

    def send_wrong_parameters(self, method, template, operation):
        schema = self.schema(operation)
        for place in ("path", "query"):
            for one in self.parameters(operation, place):
                for text in openapi_inputs.wrong_parameters(one["schema"]):
                    path = self.fill(template, operation, (one["name"], text))
                    body = None if schema is None else self.inputs.value(schema)
                    answer = self.call(method, template, operation, path, body)
                    self.expect_named(operation["operationId"], repr(text), (place, one["name"]),
                                      answer)

    def send_wrong_members(self, method, template, operation):
        schema = self.schema(operation)
        if schema is None:
            return
        for what, where, body in self.inputs.wrong_members(schema):
            if self.chance.random() > WRONG_SHARE:
                continue
            answer = self.call(method, template, operation, self.fill(template, operation), body)
            self.expect_named(operation["operationId"], what, ("body", *where), answer)

    def send_wrong_bodies(self, method, template, operation):
        schema = self.schema(operation)
        if schema is None:
            return
        name = operation["operationId"]
        good = self.inputs.value(schema)
        for what, body in openapi_inputs.wrong_bodies(good):
            answer = self.call(method, template, operation, self.fill(template, operation), body)
            taken = answer is not None and answer.status < 400
            anything = parts_are_free(schema) or (what == "empty" and takes_nothing(schema))
            if taken and not anything and what not in ("half a surrogate",):
                self.fault(name, f"a body is taken: {what}", answer)
        answer = self.call(method, template, operation, self.fill(template, operation),
                           json.dumps(good).encode(), "text/plain")
        if answer is not None and answer.status not in (413, 415):
            self.fault(name, "another type of body is taken", answer)

    def run(self):
        for method, template, operation in self.operations():
            self.send_valid(method, template, operation)
            self.send_wrong_parameters(method, template, operation)
            self.send_wrong_members(method, template, operation)
            self.send_wrong_bodies(method, template, operation)


def parts_are_free(schema):
    """Any JSON is an input."""
    return "properties" not in schema


def takes_nothing(schema):
    return not schema.get("required")


@pytest.fixture
def server(make_server):
    # Rates are another test's matter.
    return make_server(DEBUG="true", ENABLE_RATE_LIMITING="false")


def check(server: Server, seed):
    caller = Caller(server, seed)
    caller.run()
    print(f"{caller.calls} calls, {len(caller.faults)} faults")
    assert caller.calls > 2_000
    told = "\n".join(f"{operation}: {rule}\n    {what}"
                     for (operation, rule), what in sorted(caller.faults.items())[:60])
    assert not caller.faults, f"{len(caller.faults)} faults\n{told}"


def test_a_fixed_seed(server):
    check(server, SEED)


def test_a_seed_of_its_own(server, seed):
    check(server, seed)
