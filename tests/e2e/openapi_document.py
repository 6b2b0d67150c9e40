"""The server's /openapi.json, to find operations in and to hold answers against."""

import collections
import json
import re

import jsonschema

# Of one operation, where every answer of every test is looked at; it takes about a millisecond.
CHECKED_MAX = 50


def closed(schema):
    """Members that a schema does not name are faults here, though clients must bear them. Where
    several schemas together say it, none of them can know."""
    if isinstance(schema, dict):
        if "allOf" in schema:
            return json.loads(json.dumps(schema).replace("#/components/", "#/open/"))
        schema = {key: closed(part) for key, part in schema.items()}
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    elif isinstance(schema, list):
        schema = [closed(part) for part in schema]
    return schema


class Document:
    def __init__(self, document):
        self.components = document["components"]
        self.closed_schemas = closed(document["components"]["schemas"])
        self.checked = collections.Counter()
        self.operations = {}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                self.operations[method.upper(), path] = operation
        # What is written out comes before what a parameter matches.
        order = sorted(document["paths"], key=lambda path: (path.count("{"), path))
        self.patterns = [(path, re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))))
                         for path in order]
        self.validators = {}

    def find(self, method, path):
        """The operation that a row's path is of; None if there is none."""
        path = path.partition("?")[0]
        path = path.rstrip("/") or "/"
        for known, pattern in self.patterns:
            if (method, known) in self.operations and pattern.fullmatch(path):
                return method, known
        return None

    def check_success(self, method, path, answer):
        """Of any request, if there is such an operation."""
        if not 200 <= answer.status < 300 or answer.header("Content-Encoding") is not None:
            return
        key = self.find(method, path)
        self.checked[key] += 1
        if key is not None and self.checked[key] <= CHECKED_MAX:
            self.check(key, answer)

    def check(self, key, answer):
        responses = self.operations[key]["responses"]
        # Said of all operations alike, or of a server whose settings are others.
        alike = answer.status in (304, 500) or (key[1].startswith("/debug/")
                                                and answer.status == 404)
        said = responses["default"] if alike else responses.get(str(answer.status))
        assert said is not None, f"/openapi.json knows no {answer.status} of {key}"
        while "$ref" in said:
            said = self.components["responses"][said["$ref"].rpartition("/")[2]]
        schema = said.get("content", {}).get("application/json", {}).get("schema")
        if schema is None or answer.body == b"" or answer.header("Content-Type") != \
                "application/json":
            return
        name = json.dumps(schema)
        if name not in self.validators:
            self.validators[name] = jsonschema.Draft202012Validator(
                {**schema, "components": {"schemas": self.closed_schemas},
                 "open": self.components})
        fault = jsonschema.exceptions.best_match(self.validators[name].iter_errors(answer.json()))
        assert fault is None, f"not as /openapi.json says: {fault and fault.json_path}: {fault}"
