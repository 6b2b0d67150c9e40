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


def test_nobody_overwrites_what_he_has_not_seen(make_server):
    """Many clients count up one number by reading, adding and writing it back conditionally."""
    server = make_server(LOOPS=2)
    agent = "/api/v2/agents/" + server.client().agent_v2(metadata={"count": 0})["id"]
    clients, rounds = 8, 40 if FULL else 10

    def count_up():
        client = Client(server.port)
        for _ in range(rounds):
            while True:
                seen = client.get(agent)
                count = seen.json()["metadata"]["count"]
                headers = {"If-Match": seen.header("ETag")}
                wanted = {"metadata": {"count": count + 1, "by": unique()}}
                if client.put(agent, wanted, headers=headers).status == 200:
                    break

    threads = [threading.Thread(target=count_up) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.client().get(agent).json()["metadata"]["count"] == clients * rounds
