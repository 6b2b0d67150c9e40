"""If-Match: a change is made to the version that the client has seen, or not at all."""

import threading

import pytest

from harness import FULL, Client, unique

CHANGES = [
    ("PUT", "/api/v1/agents/{}", {"name": "renamed"}),
    ("PATCH", "/api/v1/agents/{}/status", {"status": "busy"}),
    ("PATCH", "/api/v1/agents/{}/metrics", {"tasks_completed": 3}),
    ("DELETE", "/api/v1/agents/{}", None),
    ("PUT", "/api/v2/agents/{}", {"name": "renamed"}),
    ("DELETE", "/api/v2/agents/{}", None),
]


@pytest.mark.parametrize("method,path,body", CHANGES)
def test_only_the_named_version_is_changed(api, method, path, body):
    agent = "/api/v2/agents/" + api.agent_v2()["id"]
    url = path.format(agent.rsplit("/", 1)[1])
    old = api.get(agent).header("ETag")
    new = api.put(agent, {"tags": ["changed"]}).header("ETag")
    before = api.get(agent).json()
    for field in (old, f"W/{new}", new.strip('"'), f'{old}, "x"'):
        refused = api.request(method, url, body, headers={"If-Match": field})
        assert refused.status == 412, field
        assert refused.json()["title"] == "Precondition Failed"
        assert new in refused.detail
    assert api.get(agent).json() == before
    accepted = api.request(method, url, body, headers={"If-Match": f'"x", {new}'})
    assert accepted.status in (200, 204)


@pytest.mark.parametrize("tag", ["*", "{}-gzip", "{}-br"])
def test_other_forms_of_the_current_version(api, tag):
    agent = "/api/v2/agents/" + api.agent_v2()["id"]
    version = api.get(agent).header("ETag").strip('"')
    field = tag if tag == "*" else '"' + tag.format(version) + '"'
    assert api.put(agent, {"name": "x"}, headers={"If-Match": field}).status == 200


def test_tags_in_several_lines(server, api):
    agent = "/api/v2/agents/" + api.agent_v2()["id"]
    tag = api.get(agent).header("ETag")
    lines = f'Host: 127.0.0.1\r\nIf-Match: "a"\r\nIf-Match: {tag}\r\n'
    with server.raw() as raw:
        assert raw.send(f"DELETE {agent} HTTP/1.1\r\n{lines}\r\n").read_answer().status == 204


def test_what_is_not_there_is_not_found(api):
    agent = "/api/v2/agents/" + api.agent_v2()["id"]
    assert api.delete(agent).status == 204
    assert api.delete(agent, headers={"If-Match": '"1"'}).status == 404
    assert api.put(agent, {}, headers={"If-Match": "*"}).status == 404


def test_an_uploaded_configuration(api):
    agent = "/api/v2/agents/" + api.agent_v2()["id"]
    tag = api.get(agent).header("ETag")
    api.connection.close()
    boundary = "b"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.json"\r\n\r\n'
        f'{{"model": "m"}}\r\n--{boundary}--\r\n'
    )
    fields = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    url = agent + "/configuration/upload"
    refused = api.post(url, body=body, headers={**fields, "If-Match": '"0"'})
    assert refused.status == 412
    assert api.get(agent).header("ETag") == tag
    assert api.post(url, body=body, headers={**fields, "If-Match": tag}).status == 200


# Of eight, one comes through each time; whoever is shown what has been overwritten never does.
TRIES_MAX = 1000


def test_nobody_overwrites_what_he_has_not_seen(make_server):
    """Many clients count up one number by reading, adding and writing it back conditionally."""
    server = make_server(LOOPS=2)
    agent = "/api/v2/agents/" + server.client().agent_v2(metadata={"count": 0})["id"]
    clients, rounds, failures = 8, 40 if FULL else 10, []

    def count_up():
        client = Client(server.port)
        for _ in range(rounds):
            for _ in range(TRIES_MAX):
                seen = client.get(agent)
                count = seen.json()["metadata"]["count"]
                headers = {"If-Match": seen.header("ETag")}
                wanted = {"metadata": {"count": count + 1, "by": unique()}}
                answer = client.put(agent, wanted, headers=headers)
                if answer.status == 200:
                    break
                assert answer.status == 412, answer
            else:
                failures.append((seen.header("ETag"), dict(seen.fields), answer))
                return

    threads = [threading.Thread(target=count_up) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert server.client().get(agent).json()["metadata"]["count"] == clients * rounds


# What each operation needs beside its path; those that are not here take no body.
BODIES = {
    "v1_update_agent": {"name": "x"},
    "v1_set_agent_status": {"status": "idle"},
    "v1_set_agent_metrics": {"tasks_completed": 1},
    "v1_agent_heartbeat": {"status": "busy", "timestamp": "2026-01-02T03:04:05Z"},
    "v2_update_agent": {"name": "x"},
    "v1_update_task": {"title": "x"},
    "v1_set_task_status": {"status": "completed"},
    "v1_set_task_progress": {"progress_percentage": 5},
    "v1_assign_task": {"assigned_agent_id": "{agent}"},
    "v1_add_task_dependency": {"dependency_id": "{task}"},
    "v2_update_task": {"title": "x"},
    "v1_update_workflow": {"name": "x"},
    "v1_set_workflow_status": {"status": "paused"},
    "v1_set_workflow_progress": {"progress_percentage": 5},
    "v1_add_workflow_agent": {"agent_id": "{agent}"},
    "v1_execute_workflow": {},
    "v2_update_workflow": {"name": "x"},
}
# It answers what it calculates, and changes no record that was there.
NO_CHANGE = {"v1_history_calculate"}


def changes(api):
    for path, operations in api.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            kinds = [kind for kind in ("agent", "task", "workflow") if f"{{{kind}_id}}" in path]
            name = operation["operationId"]
            # What is done to a background task depends on where it stands, not on a version.
            background = operation["tags"] == ["background tasks v2"]
            if kinds and method != "get" and name not in NO_CHANGE and not background:
                yield name, method, path, operation


def test_every_change_of_a_record_takes_the_field(api):
    records = {
        "agent": api.agent_v2()["id"],
        "task": api.post("/api/v2/tasks", {"title": unique()}).json()["id"],
        "workflow": api.post("/api/v2/workflows", {"name": unique(), "steps": []}).json()["id"],
    }
    filled = {f"{{{kind}_id}}": id_ for kind, id_ in records.items()}
    filled["{dependency_id}"] = records["task"]
    seen = 0
    for name, method, path, operation in changes(api):
        taken = [one.get("name") for one in operation.get("parameters", [])]
        assert "If-Match" in taken, name
        for mark, value in filled.items():
            path = path.replace(mark, value)
        body = BODIES.get(name)
        if body is not None:
            body = {key: records.get(str(value).strip("{}"), value) for key, value in body.items()}
        headers = {"If-Match": '"0"'}
        if name == "v2_upload_agent_configuration":
            body = ('--b\r\nContent-Disposition: form-data; name="file"; filename="a.json"\r\n\r\n'
                    '{}\r\n--b--\r\n')
            headers["Content-Type"] = "multipart/form-data; boundary=b"
        before = [api.get(f"/api/v2/{kind}s/{id_}").json() for kind, id_ in records.items()]
        if isinstance(body, str):
            answer = api.request(method.upper(), path, body=body, headers=headers)
        else:
            answer = api.request(method.upper(), path, body, headers=headers)
        assert answer.status == 412, (name, answer)
        after = [api.get(f"/api/v2/{kind}s/{id_}").json() for kind, id_ in records.items()]
        assert after == before, name
        seen += 1
    assert seen >= 24
