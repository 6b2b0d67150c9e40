"""What the first description of the system shows its users, run as it is printed there."""

import json
import os
import re
import subprocess

import pytest

import browser as browser_module
from harness import ROOT, wait_until
from sockets import Room, run_async

# The section "Enhanced Agents API (v2)", character for character.
CURL_COMMANDS = r'''
# List agents with filtering
curl "http://localhost:8000/api/v2/agents?status=active&limit=10&sort_by=name"

# Create agent
curl -X POST "http://localhost:8000/api/v2/agents" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "Data Processor",
    "type": "data-scientist",
    "configuration": {
      "model": "claude-3-sonnet",
      "tools": ["read", "write", "analyze"],
      "max_tokens": 4096
    },
    "tags": ["data", "analysis"]
  }'

# Bulk operations
curl -X POST "http://localhost:8000/api/v2/agents/bulk-operation" \
  -H "Content-Type: application/json" \
  -d '{
    "agent_ids": ["agent1", "agent2"],
    "operation": "start"
  }'

# Upload agent configuration
curl -X POST "http://localhost:8000/api/v2/agents/agent123/configuration/upload" \
  -F "file=@config.json"
'''

# The section "Background Tasks API", character for character.
BACKGROUND_COMMANDS = r'''
# Submit a background task
curl -X POST "http://localhost:8000/api/v2/background-tasks" \
  -H "Content-Type: application/json" \
  -d '{
    "task_name": "analyze_system_metrics",
    "task_args": ["24h"],
    "priority": "normal",
    "metadata": {"analysis_type": "performance"}
  }'

# Get task status
curl "http://localhost:8000/api/v2/background-tasks/task_id_here"

# Get task statistics
curl "http://localhost:8000/api/v2/background-tasks/statistics"
'''

# The section "File Upload API", character for character.
FILE_COMMANDS = r'''
# Upload configuration files
curl -X POST "http://localhost:8000/api/v2/files/upload/agent_configs" \
  -F "files=@agent1.json" \
  -F "files=@agent2.yaml" \
  -F "tags=production,v2" \
  -F "metadata={\"project\": \"dashboard_upgrade\"}"

# List uploaded files
curl "http://localhost:8000/api/v2/files?file_type=agent_configs&limit=20"

# Download file
curl "http://localhost:8000/api/v2/files/file_id_here/download" -o downloaded_file.json

# Validate configuration file
curl "http://localhost:8000/api/v2/files/file_id_here/validate?validation_type=agent_config"
'''

# The section "Enhanced WebSocket (v2) Example", character for character.
JAVASCRIPT = r'''
const ws = new WebSocket('ws://localhost:8000/ws/v2');

// Join a room
ws.send(JSON.stringify({
    type: 'join_room',
    room: 'agent_monitoring'
}));

// Send a message to a room
ws.send(JSON.stringify({
    type: 'room_message',
    room: 'agent_monitoring',
    data: {
        message: 'Hello room members!'
    }
}));

// Listen for messages
ws.onmessage = (event) => {
    const message = JSON.parse(event.data);
    console.log('Received:', message);
};
'''

OPENING = "const ws = new WebSocket('ws://localhost:8000/ws/v2');\n"


def commands(text=CURL_COMMANDS):
    """The printed commands, by the comment above each."""
    found = {}
    for part in re.split(r"\n(?=# )", text.strip()):
        comment, command = part.split("\n", 1)
        found[comment.removeprefix("# ")] = command.strip()
    return found


def run(server, command):
    """Runs a command in a shell; returns the status and the body as JSON, if it is printed."""
    assert command.count("localhost:8000") == 1
    command = command.replace("localhost:8000", f"localhost:{server.port}")
    done = subprocess.run(
        ["bash", "-c", command + " --silent --show-error --write-out '\n%{http_code}'"],
        cwd=server.folder, capture_output=True, text=True, timeout=30,
        env={**os.environ, "no_proxy": "localhost"},
    )
    assert done.returncode == 0, done.stderr
    body, status = done.stdout.rsplit("\n", 1)
    return int(status), json.loads(body) if body else None


def test_the_commands_are_all_there():
    assert list(commands()) == [
        "List agents with filtering", "Create agent", "Bulk operations",
        "Upload agent configuration",
    ]


def test_enhanced_agents_api(fresh):
    printed = commands()
    assert run(fresh, printed["List agents with filtering"]) == (200, [])

    status, agent = run(fresh, printed["Create agent"])
    assert status == 201
    assert agent["name"] == "Data Processor" and agent["type"] == "data-scientist"
    assert agent["status"] == "active" and agent["tags"] == ["data", "analysis"]
    assert agent["configuration"]["model"] == "claude-3-sonnet"
    assert agent["configuration"]["tools"] == ["read", "write", "analyze"]
    assert agent["configuration"]["max_tokens"] == 4096

    assert run(fresh, printed["List agents with filtering"]) == (200, [agent])

    status, outcome = run(fresh, printed["Bulk operations"])
    assert status == 200
    missing = {"success": False, "error": "Agent not found"}
    assert outcome == {
        "operation": "start", "total_agents": 2, "successful": 0, "failed": 2,
        "results": [{"agent_id": "agent1", **missing}, {"agent_id": "agent2", **missing}],
    }

    (fresh.folder / "config.json").write_text('{"model": "uploaded", "max_tokens": 17}')
    upload = printed["Upload agent configuration"]
    status, problem = run(fresh, upload)
    assert status == 404 and problem["detail"] == "Agent agent123 not found"
    # With an agent that exists, in words that are otherwise the same.
    status, answer = run(fresh, upload.replace("agent123", agent["id"]))
    assert status == 200
    assert answer["message"] == "Configuration uploaded successfully"
    assert answer["configuration"]["model"] == "uploaded"
    status, [listed] = run(fresh, printed["List agents with filtering"])
    assert listed["configuration"]["max_tokens"] == 17

    with_agent = printed["Bulk operations"].replace('"agent1"', f'"{agent["id"]}"')
    status, outcome = run(fresh, with_agent.replace('"start"', '"stop"'))
    assert outcome["successful"] == 1 and outcome["failed"] == 1
    assert run(fresh, printed["List agents with filtering"]) == (200, [])


def test_background_tasks_api(fresh):
    printed = commands(BACKGROUND_COMMANDS)
    status, answer = run(fresh, printed["Submit a background task"])
    assert status == 201 and answer["status"] == "submitted"
    look = printed["Get task status"]
    status, problem = run(fresh, look)
    assert status == 404 and problem["detail"] == "Task task_id_here not found"
    look = look.replace("task_id_here", answer["task_id"])
    task = wait_until(lambda: (lambda found: found if found["status"] == "success" else None)(
        run(fresh, look)[1]), 15, "the end of the task")
    assert task["metadata"]["analysis_type"] == "performance" and task["progress"] == 100
    status, figures = run(fresh, printed["Get task statistics"])
    assert status == 200 and figures["total"] == 1 and figures["success_rate"] == 100


def test_file_upload_api(fresh):
    printed = commands(FILE_COMMANDS)
    configuration = b'{"model": "m", "tools": ["read"], "capabilities": []}'
    (fresh.folder / "agent1.json").write_bytes(configuration)
    (fresh.folder / "agent2.yaml").write_text("name: Second\nmodel: m\ntools: 5\n")
    status, answer = run(fresh, printed["Upload configuration files"])
    assert status == 200 and answer["total_uploaded"] == 2
    ids = {file["original_filename"]: file["id"] for file in answer["files"]}
    for file in answer["files"]:
        assert file["tags"] == ["production", "v2"]
        assert file["metadata"] == {"project": "dashboard_upgrade"}
    status, listed = run(fresh, printed["List uploaded files"])
    assert status == 200 and {file["id"] for file in listed} == set(ids.values())
    missing = (404, {"detail": "File file_id_here not found"})
    status, problem = run(fresh, printed["Validate configuration file"])
    assert (status, {"detail": problem["detail"]}) == missing
    download = printed["Download file"].replace("file_id_here", ids["agent1.json"])
    assert run(fresh, download) == (200, None)
    assert (fresh.folder / "downloaded_file.json").read_bytes() == configuration
    validate = printed["Validate configuration file"]
    status, told = run(fresh, validate.replace("file_id_here", ids["agent1.json"]))
    assert status == 200 and told["is_valid"] and told["parsed_content"]["model"] == "m"
    status, told = run(fresh, validate.replace("file_id_here", ids["agent2.yaml"]))
    assert status == 200 and not told["is_valid"]
    assert told["errors"][0].startswith("line 3, column 8: tools")


# ---- The JavaScript ----------------------------------------------------------------------------


def script(server, wait):
    """The example for this server; what it sends, it sends once the socket is open."""
    assert JAVASCRIPT.count(OPENING) == 1
    code = JAVASCRIPT.replace(OPENING, OPENING + wait)
    return code.replace("localhost:8000", f"localhost:{server.port}")


async def check_second_client(room):
    """Who is in the room sees the example's client come and hears what it says."""
    joined = await room.find(lambda m: m["data"].get("event") == "user_joined"
                             or "message" in m["data"], 20)
    if "message" not in joined["data"]:
        assert joined["data"]["members_count"] == 2
        joined = await room.find(lambda m: "message" in m["data"], 20)
    assert joined["type"] == "room_message" and joined["room"] == "agent_monitoring"
    assert joined["data"]["message"] == "Hello room members!"
    assert joined["data"]["sent_by"] == "local"


@run_async
async def test_websocket_example_in_node(fresh):
    folder = ROOT / "tests" / "node"
    if not (folder / "node_modules" / "ws").is_dir():
        pytest.fail("the npm packages of tests/node are missing: ./dev setup brings them")
    async with Room(fresh, "agent_monitoring") as room:
        code = "import WebSocket from 'ws';\n" + script(
            fresh, "await new Promise((open) => ws.addEventListener('open', open));\n")
        node = subprocess.Popen(
            ["node", "--input-type=module", "-e", code], cwd=folder,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        try:
            await check_second_client(room)
            # What the example itself prints once somebody speaks in the room.
            await room.send({"type": "room_message", "room": "agent_monitoring",
                             "data": {"message": "Hello yourself!"}})
            lines = ""
            while "Hello yourself!" not in lines:
                line = node.stdout.readline()
                assert line, lines
                lines += line
            assert "Received:" in lines and "'join_room'" in lines
        finally:
            node.kill()
            node.wait()
            node.stdout.close()


@run_async
async def test_websocket_example_in_the_browser(fresh):
    if not browser_module.node_program().exists():
        pytest.fail("the npm packages of tests/node are missing: ./dev setup brings them")
    browser = browser_module.Browser()
    try:
        async with Room(fresh, "agent_monitoring") as room:
            browser.open(fresh, "/health/live")
            code = script(fresh, "await new Promise((open) => { ws.onopen = open; });\n")
            browser.evaluate(
                "(async () => { window.seen = [];"
                " const console = { log: (...words) => window.seen.push(words) };\n"
                + code + "})()")
            await check_second_client(room)
            await room.send({"type": "room_message", "room": "agent_monitoring",
                             "data": {"message": "Hello yourself!"}})
            browser.until("window.seen.some((words) => words[1].data.message =="
                          " 'Hello yourself!')")
            seen = browser.evaluate("window.seen")
            assert all(words[0] == "Received:" for words in seen)
            types = [words[1]["type"] for words in seen]
            assert types[-1] == "room_message" and "join_room" in types
            # The sender gets no copy of what it says.
            assert not any(words[1]["data"].get("message") == "Hello room members!"
                           for words in seen)
    finally:
        browser.close()
