"""Request ids, the access log and /metrics."""

import re

import pytest

from harness import Client, unique, wait_until


def test_request_ids(server):
    api = Client(server.port)
    made = [api.get("/health/live").header("X-Request-ID") for _ in range(3)]
    assert len(set(made)) == 3 and all(re.fullmatch(r"[0-9a-f]{16}", one) for one in made)
    kept = "client-42.X/y:z"
    assert api.get("/nowhere", headers={"X-Request-ID": kept}).header("X-Request-ID") == kept
    for bad in ('quo"te', "x" * 129, "a b", ""):
        answer = api.get("/health/live", headers={"X-Request-ID": bad})
        assert re.fullmatch(r"[0-9a-f]{16}", answer.header("X-Request-ID"))


@pytest.mark.parametrize(
    "method, path, body, status, route",
    [
        ("GET", "/api/v2/agents?limit=5&secret=1", None, 200, "v2_list_agents"),
        ("POST", "/api/v2/agents", {"name": "n", "type": "t"}, 201, "v2_create_agent"),
        ("GET", "/api/v2/agents/x", None, 404, "v2_get_agent"),
        ("POST", "/api/v1/agents/", {}, 422, "v1_create_agent"),
        ("GET", "/nowhere", None, 404, "unrouted"),
        ("DELETE", "/api/v2/agents", None, 405, "unrouted"),
    ],
)
def test_access_log(server, method, path, body, status, route):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"X-Request-ID": unique("log"), "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = Client(server.port).request(method, path, body, headers=headers)
    assert answer.status == status
    line = server.access_line(headers["X-Request-ID"])
    assert set(line) == {"timestamp", "level", "message", "request_id", "method", "route", "path",
                         "status", "duration_ms", "bytes", "user", "peer", "trace_id"}
    assert line["level"] == "INFO" and line["method"] == method and line["route"] == route
    assert line["path"] == path.split("?")[0]  # A query may hold what is nobody's business.
    assert line["status"] == status and line["bytes"] == len(answer.body)
    assert 0 <= line["duration_ms"] < 5000 and line["peer"] == "127.0.0.1"
    if route != "unrouted":
        assert line["user"] == "local"
    assert line["trace_id"] == trace


@pytest.mark.parametrize("traceparent", [
    "nonsense", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{'a' * 32}-{'0' * 16}-01",
    f"ff-{'a' * 32}-00f067aa0ba902b7-01", f"00-{'A' * 32}-00f067aa0ba902b7-01",
    f"00-{'a' * 32}-00f067aa0ba902b7-01-more"])
def test_malformed_traceparent_is_not_logged(server, traceparent):
    headers = {"X-Request-ID": unique("log"), "traceparent": traceparent}
    Client(server.port).get("/health/live", headers=headers)
    assert "trace_id" not in server.access_line(headers["X-Request-ID"])


def test_text_log(make_server):
    server = make_server(start=False, LOG_FORMAT="text")
    server.spawn()
    server.errors_expected = True
    text = wait_until(lambda: "listening" in server.log_path.read_text()
                      and server.log_path.read_text(), 5)
    server.port = int(re.search(r"port=(\d+)", text).group(1))
    server.client().get("/health/live", headers={"X-Request-ID": "text-1"})
    wait_until(lambda: "request_id=text-1" in server.log_path.read_text(), 3)
    line = [one for one in server.log_path.read_text().splitlines() if "text-1" in one][0]
    assert "INFO" in line and "route=health_live" in line and "status=200" in line
    server.signal_stop()
    assert server.process.wait(10) == 0
    server.process = None


METRIC = re.compile(
    r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*"(?:,[a-zA-Z_]\w*="(?:[^"\\\n]'
    r'|\\.)*")*\})? (-?[0-9.]+(?:[eE][-+]?\d+)?|NaN|[-+]Inf)$')


def parse_metrics(text):
    """Samples by name and labels; fails where the text is not Prometheus' format."""
    assert text.endswith("\n")
    samples, types, helps = {}, {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types and kind in ("counter", "gauge", "histogram", "summary")
            types[name] = kind
        elif line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helps
            helps.add(name)
        else:
            match = METRIC.match(line)
            assert match, line
            name, labels, value = match.groups()
            family = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
            assert family in types, f"{name} has no type"
            assert (name, labels) not in samples
            samples[name, labels or ""] = float(value)
    assert helps == set(types)
    return samples, types


def test_metrics(fresh):
    api = fresh.client()
    for _ in range(3):
        api.agent_v2()
    api.get("/api/v2/agents")
    api.get("/api/v2/agents")
    api.get("/api/v2/agents/x")
    answer = api.get("/metrics")
    assert answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    samples, types = parse_metrics(answer.body.decode())
    requests = "subforge_http_requests_total"
    assert samples[requests, '{route="v2_create_agent",status="2xx"}'] == 3
    assert samples[requests, '{route="v2_get_agent",status="4xx"}'] == 1
    assert samples["subforge_cache_hits_total", ""] == 1
    # Those of the agents, and what is told of the background tasks that look at them.
    assert samples["subforge_events_total", ""] >= 6
    assert types["subforge_http_request_duration_seconds"] == "histogram"
    duration = "subforge_http_request_duration_seconds"
    buckets = [value for (name, labels), value in samples.items()
               if name == duration + "_bucket" and "v2_create_agent" in labels]
    assert buckets == sorted(buckets) and buckets[-1] == 3
    assert samples[duration + "_count", '{route="v2_create_agent"}'] == 3
    assert samples[duration + "_sum", '{route="v2_create_agent"}'] > 0
