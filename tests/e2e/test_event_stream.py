"""Server-sent events: what curl, proxies and EventSource get."""

import contextlib
import time

from browser import Browser
from event_streams import Stream
from harness import wait_until


def create(server, **members):
    with contextlib.closing(server.client()) as api:
        # By version 1, which starts no background task: its events are those of the test alone.
        return api.agent_v1(**members)


def say(server, room, **data):
    """Through a connection of its own."""
    import asyncio

    from sockets import Room

    async def go():
        async with Room(server, room) as inside:
            await inside.send({"type": "room_message", "room": room, "data": data,
                               "correlation_id": "c"})
            await inside.find(lambda m: m["type"] == "ack")

    asyncio.run(go())


def test_events_come_as_they_happen(server):
    with Stream(server) as stream:
        assert stream.answer.status == 200
        assert stream.answer.getheader("Content-Type").startswith("text/event-stream")
        assert stream.answer.getheader("Cache-Control") == "no-store"
        first = stream.next()
        assert first["event"] == "connection_state"
        assert first["id"] == first["data"]["data"]["last_event_id"]
        agent = create(server)
        event = stream.next()
        assert event["event"] == event["data"]["type"] == "agent_update"
        assert event["data"]["data"]["agent"]["id"] == agent["id"]
        assert event["id"] == event["data"]["event_id"]


def test_what_was_missed_comes_first(server):
    with Stream(server) as stream:
        last = stream.next()["id"]
    ids = [create(server)["id"] for _ in range(3)]
    for query, headers in (("", {"Last-Event-ID": last}), (f"?last_event_id={last}", {})):
        with Stream(server, query, headers) as stream:
            greeting = stream.next()
            assert "id" not in greeting, "the client keeps the id that it has"
            events = []
            while (end := stream.next())["event"] == "agent_update":
                events.append(end)
            seen = [event["data"]["data"]["agent"]["id"] for event in events]
            assert seen == ids
            assert end["data"]["data"]["recovered"] is True
            assert end["id"] == events[-1]["id"]
            agent = create(server)
            assert stream.next()["data"]["data"]["agent"]["id"] == agent["id"]
            ids.append(agent["id"])


def test_rooms_narrow_it_down(server):
    agent = create(server)
    other = create(server)
    with Stream(server, f"?rooms=agent:{agent['id']},lab") as stream:
        assert stream.next()["data"]["data"]["rooms"] == [f"agent:{agent['id']}", "lab"]
        with contextlib.closing(server.client()) as api:
            for one in (other, agent):
                assert api.put(f"/api/v2/agents/{one['id']}", {"name": "new"}).status == 200
        say(server, "elsewhere", text="not for us")
        say(server, "lab", text="for us")
        event = stream.find("agent_update")
        assert event["data"]["room"] == f"agent:{agent['id']}"
        message = stream.next()
        while "text" not in message["data"]["data"]:  # Comings and goings.
            message = stream.next()
        assert message["data"]["data"]["text"] == "for us"


def test_credentials(make_server):
    server = make_server(AUTH="required")
    reader = server.create_token("reader", "viewer")
    with Stream(server) as stream:
        assert stream.answer.status == 401
    with Stream(server, "?token=nonsense") as stream:
        assert stream.answer.status == 401
    with Stream(server, f"?token={reader}&rooms=admin,lab") as stream:
        assert stream.answer.status == 200
        assert stream.next()["data"]["data"]["rooms"] == ["lab"]
    with Stream(server, headers={"Authorization": f"Bearer {reader}"}) as stream:
        assert stream.next()["event"] == "connection_state"
        server.run_tool("token", "revoke", "reader")
        end = stream.find("connection_state")
        assert end["data"]["data"]["state"] == "disconnected"
        assert end["data"]["data"]["code"] == 4401
        assert stream.next() is None


def test_a_stopping_server_ends_streams(make_server):
    server = make_server()
    with Stream(server) as stream:
        stream.next()
        begin = time.monotonic()
        server.signal_stop()
        end = stream.next()
        assert end["data"]["data"]["code"] == 1012
        assert stream.next() is None
        server.wait_stopped()
        assert time.monotonic() - begin < 3


def test_who_goes_is_forgotten(make_server):
    server = make_server()
    with contextlib.closing(server.client()) as api:
        def watchers():
            return api.get("/api/v1/system/status").json()["connected_clients"]

        with Stream(server, "?rooms=lab") as stream:
            stream.next()
            assert watchers() == 1
        wait_until(lambda: watchers() == 0, 5, "the end of the stream")


def test_a_slow_reader_does_not_hold_memory(make_server):
    server = make_server(WEBSOCKET_QUEUE_BYTES_MAX=65536)
    with Stream(server) as stream:
        stream.next()
        with contextlib.closing(server.client()) as api:
            tags = ["x" * 90] * 40
            for _ in range(1500):
                assert api.post("/api/v2/agents", {"name": "n", "type": "t", "tags": tags}
                                ).status in (201, 422)
        seen = []
        while (event := stream.next()) is not None:
            seen.append(event)
    assert 10 < len(seen) < 1500
    # It is told, and keeps the id of the last event that it got.
    assert seen[-1]["data"]["data"]["code"] == 4408 and "id" not in seen[-1]
    with Stream(server, headers={"Last-Event-ID": seen[-2]["id"]}) as again:
        again.next()
        missed = again.next()["data"]["event_id"]
        assert int(missed.split("-")[1]) > int(seen[-2]["id"].split("-")[1])


def test_an_event_longer_than_the_queue_comes(make_server):
    server = make_server(WEBSOCKET_QUEUE_BYTES_MAX=65536)
    with Stream(server, "?rooms=lab") as stream:
        last = stream.next()["id"]
        for text in ("short", "x" * 300_000, "after"):
            say(server, "lab", text=text)
        with Stream(server, "?rooms=lab", {"Last-Event-ID": last}) as again:
            for one in (stream, again):
                texts = []
                while len(texts) < 3:
                    event = one.next()
                    assert event is not None, f"the stream ended after {len(texts)}"
                    if "text" in event["data"]["data"]:
                        texts.append(len(event["data"]["data"]["text"]))
                assert texts == [5, 300_000, 5]


def test_event_source_of_a_browser(server):
    page = Browser()
    try:
        page.open(server, "/app")
        page.evaluate("""(() => {
            window.seen = [];
            window.source = new EventSource("/api/v2/events");
            for (const type of ["connection_state", "agent_update"])
              source.addEventListener(type, (event) => seen.push(JSON.parse(event.data)));
        })()""")
        page.until("seen.length === 1")
        agent = create(server)
        page.until("seen.length === 2")
        assert page.evaluate("seen[1].data.agent.id") == agent["id"]
        page.evaluate("source.close()")
        assert page.complaints() == []
    finally:
        page.close()


def test_event_source_of_a_browser_is_shown_what_is_kept(make_server):
    server = make_server()
    page = Browser()
    try:
        with contextlib.closing(server.client()) as api:
            sent = api.post("/api/v2/websocket/broadcast", {
                "message_type": "system_notification", "user_id": "local", "data": {"n": 1}}).json()
            page.open(server, "/app")
            page.evaluate("""(() => {
                window.seen = [];
                window.source = new EventSource("/api/v2/events");
                for (const type of ["connection_state", "system_notification"])
                  source.addEventListener(type, (event) =>
                    seen.push([event.lastEventId, JSON.parse(event.data)]));
            })()""")
            page.until("seen.length === 3")
            (first, _), (kept_at, kept), (last, end) = page.evaluate("seen")
            assert kept["inbox"] is True and kept["event_id"] == sent["event_id"]
            assert end["data"]["inbox_messages"] == 1
            # It would come back with where it stands, not with the older id of what was kept.
            assert first == kept_at == last == end["data"]["last_event_id"]
            acknowledged = api.post("/api/v2/websocket/inbox/ack", {"event_id": kept["event_id"]})
            assert acknowledged.json()["removed"] == 1
        page.evaluate("source.close()")
        assert page.complaints() == []
    finally:
        page.close()
