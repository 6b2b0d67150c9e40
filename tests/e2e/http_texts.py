"""Requests as the text that goes over the wire."""

import json

from harness import unique

HOST = "Host: 127.0.0.1\r\n"


def get(path="/health/live", more="", method="GET", version="HTTP/1.1"):
    return f"{method} {path} {version}\r\n{HOST}{more}\r\n"


def post(path, body, more=""):
    return (f"POST {path} HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{more}\r\n{body}")


def create_body(name=None):
    return json.dumps({"name": name or unique(), "type": "t"})
