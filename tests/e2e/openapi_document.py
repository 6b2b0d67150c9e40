"""The server's /openapi.json, to find operations in and to hold answers against."""

import json
import re

import jsonschema


class Document:
    def __init__(self, document):
        self.components = document["components"]
        self.operations = {}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                self.operations[method.upper(), path] = operation
        # What is written out comes before what a parameter matches.
        self.order = sorted(document["paths"], key=lambda path: (path.count("{"), path))
        self.validators = {}

    def find(self, method, path):
        """The operation that a row's path is of; None if there is none."""
        path = path.partition("?")[0]
        path = path.rstrip("/") or "/"
        for known in self.order:
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(known))
            if (method, known) in self.operations and re.fullmatch(pattern, path):
                return method, known
        return None

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
                {**schema, "components": self.components})
        fault = jsonschema.exceptions.best_match(self.validators[name].iter_errors(answer.json()))
        assert fault is None, f"not as /openapi.json says: {fault and fault.json_path}: {fault}"
