"""Socket.IO as seen by python-socketio, with requests and websocket-client beneath it."""

import queue
import threading

import pytest
import socketio

from harness import wait_until

TRANSPORTS = [["polling"], ["websocket"], None]  # None: polling, then a change to a WebSocket.
WAIT_SECONDS = 5
# While it sends something the library leaves without a word, and waits for the answer to its poll,
# which comes with the server's next ping.
LEAVES_SECONDS = 60


class Client:
    def __init__(self, server, transports=None, **options):
        self.client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.2)
        self.heard = {}
        self.server = server
        for name in ("connected", "pong", "error", "room_joined", "room_left", "task_update",
                     "room_message", "inbox_shown", "inbox_acknowledged"):
            self.client.on(name, self._keep(name))
        self.client.connect(f"http://127.0.0.1:{server.port}", transports=transports,
                            wait_timeout=WAIT_SECONDS, **options)

    def _keep(self, name):
        self.heard[name] = queue.Queue()
        return lambda data: self.heard[name].put(data)  # Takes one argument and no more.

    def next(self, name):
        return self.heard[name].get(timeout=WAIT_SECONDS)

    def emit(self, *arguments):
        self.client.emit(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        ended = threading.Thread(target=self.client.wait, daemon=True)
        ended.start()
        ended.join(LEAVES_SECONDS)
        assert not ended.is_alive(), "the library goes on after disconnect()"


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_connecting_and_asking(server, transports):
    with Client(server, transports) as client:
        greeting = client.next("connected")
        assert greeting["status"] == "connected"
        assert greeting["session_id"] == client.client.get_sid()
        client.emit("ping", {"number": 0.7})
        assert client.next("pong")["data"] == {"number": 0.7}
        expected = "websocket" if transports != ["polling"] else "polling"
        assert client.client.transport() == expected
        assert client.client.call("ping", 1, timeout=WAIT_SECONDS) is None


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_rooms_and_relays(server, transports):
    with Client(server, transports) as member, Client(server, transports) as other:
        member.emit("join_room", {"room": "tasks"})
        assert member.next("room_joined")["room"] == "tasks"
        payload = {"task_id": "t", "status": "done", "text": "漢字 🦊"}
        other.emit("task_update", payload)
        assert member.next("task_update") == payload
        other.emit("task_update", {"task_id": "t"})
        assert "Missing required fields" in other.next("error")["error"]
        assert other.heard["task_update"].empty()
        member.emit("leave_room", "tasks")
        assert member.next("room_left")["room"] == "tasks"


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_many_packets_at_once(server, transports):
    with Client(server, transports) as client:
        for number in range(300):
            client.emit("ping", number)
        numbers = [client.next("pong")["data"] for _ in range(300)]
        # The library starts a thread for each event that it hears.
        assert sorted(numbers) == list(range(300))
        assert client.client.connected


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_pings_are_answered_and_restarts_survived(make_server, transports):
    server = make_server(SOCKETIO_PING_SECONDS=1, SOCKETIO_PING_TIMEOUT_SECONDS=2)
    with Client(server, transports) as client:
        first = client.next("connected")["session_id"]
        client.client.sleep(3.5)
        assert client.client.call("ping", 1, timeout=WAIT_SECONDS) is None
        assert client.client.get_sid() == first
        port = server.port
        server.stop()
        server.start(PORT=port)
        assert client.next("connected")["session_id"] != first
        # Whoever leaves the library before it has noticed that it is back makes it come once more.
        wait_until(lambda: client.client.connected)


def test_tokens_are_shown_in_the_auth_payload(make_server):
    server = make_server(AUTH="required")
    token = server.create_token("watcher", "viewer")
    with pytest.raises(socketio.exceptions.ConnectionError):
        Client(server)
    with Client(server, auth={"token": token}) as client:
        client.next("connected")
    with Client(server, headers={"Authorization": f"Bearer {token}"}) as client:
        client.next("connected")


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_changes_arrive_with_one_argument(fresh, transports):
    with Client(fresh, transports) as client:
        client.next("connected")
        client.emit("join_room", "tasks")
        client.next("room_joined")
        for number in range(40):
            answer = fresh.client().post("/api/v1/tasks/", {"title": f"t{number}"})
            assert answer.status == 200
        titles = {client.next("task_update")["title"] for _ in range(40)}
        assert titles == {f"t{number}" for number in range(40)}


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_what_is_kept_comes_until_it_is_acknowledged(make_server, transports):
    server = make_server()
    api = server.client()
    for text in ("one", "two", "three"):
        for type_ in ("room_message", "analytics_report"):  # To the latter nobody listens.
            assert api.post("/api/v2/websocket/broadcast", {
                "message_type": type_, "user_id": "local", "data": {"text": text}}).status == 200

    def kept(client):
        assert client.next("connected")["recovered"] is False
        shown = client.next("inbox_shown")["inbox_messages"]
        messages = [client.next("room_message") for _ in range(shown // 2)]
        # The library starts a thread for each event that it hears.
        return sorted(messages, key=lambda message: int(message["event_id"].rsplit("-", 1)[1]))

    with Client(server, transports) as client:
        messages = kept(client)
        assert [message["text"] for message in messages] == ["one", "two", "three"]
        assert all(message["inbox"] for message in messages)
    # Hearing is not acknowledging.
    with Client(server, transports) as client:
        messages = kept(client)
        assert len(messages) == 3
        answer = client.client.call("inbox_ack", {"event_id": messages[1]["event_id"]},
                                    timeout=WAIT_SECONDS)
        assert answer is None and client.next("inbox_acknowledged")["removed"] == 3
    with Client(server, transports) as client:
        assert client.next("connected") and client.next("inbox_shown")["inbox_messages"] == 3
        assert client.next("room_message")["text"] == "three"


def test_who_leaves_is_gone(fresh):
    def sessions():
        line = next(line for line in fresh.client().get("/metrics").body.decode().splitlines()
                    if line.startswith("subforge_socketio_sessions "))
        return float(line.split()[1])

    for transports in TRANSPORTS:
        with Client(fresh, transports):
            assert sessions() == 1
        wait_until(lambda: sessions() == 0)
