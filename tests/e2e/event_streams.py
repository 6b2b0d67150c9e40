"""A client of server-sent events for the tests."""

import http.client
import json

import live_document


class Stream:
    """Reads events of GET /api/v2/events."""

    def __init__(self, server, query="", headers=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        self.connection.request("GET", "/api/v2/events" + query, headers=headers or {})
        self.answer = self.connection.getresponse()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answer.close()
        self.connection.close()

    def next(self):
        """The fields of the next event; None at the end."""
        fields = {}
        while True:
            line = self.answer.readline()
            if not line:
                return None
            line = line.decode().rstrip("\n")
            if not line:
                if "data" in fields:
                    fields["data"] = json.loads(fields["data"])
                    live_document.check("sse", fields["event"], fields["data"])
                    return fields
                fields = {}  # Only "retry", or a sign of life.
                continue
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")

    def find(self, type_):
        while (event := self.next()) is not None:
            if event["event"] == type_:
                return event
        raise AssertionError(f"no {type_} before the end")
