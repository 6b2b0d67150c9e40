"""The example of docs/background-tasks.md with workers and clients in Python, as it is printed."""

import os
import re
import signal
import subprocess

import celery_peer
from harness import BINARY, ROOT, environment, wait_until

PAGE = ROOT / "docs" / "background-tasks.md"
FENCE = re.compile(r"^```(\w+) celery\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRELUDE = """set -euo pipefail
curl() { command curl --silent --show-error --fail-with-body "$@"; }
"""


def running(node_or_port, check):
    return f"for i in $(seq 200); do {check} && break; sleep 0.1; done # {node_or_port}\n"


def test_example(tmp_path):
    blocks = FENCE.findall(PAGE.read_text())
    assert [language for language, _ in blocks] == ["python", "sh", "sh", "sh"]
    with celery_peer.redis_server.RedisServer() as redis:
        port = celery_peer.redis_server.free_port()

        def adapted(code):
            return (code.replace("localhost:6379", f"127.0.0.1:{redis.port}")
                    .replace("localhost:8000", f"localhost:{port}")
                    .replace("build/release/subforge", str(BINARY))
                    .replace("python3", celery_peer.PYTHON))

        (tmp_path / "tasks.py").write_text(adapted(blocks[0][1]))
        start, rest, in_python = (adapted(code) for _, code in blocks[1:])
        session = PRELUDE + start + running(
            "both listen", f"curl localhost:{port}/health/ready >/dev/null 2>&1") + running(
            "both answer", f"[[ $({celery_peer.PYTHON} -m celery -A tasks status 2>/dev/null |"
            " grep -c OK) == 2 ]]") + rest + in_python
        env = {**environment({"PORT": port}), "LANG": "C.UTF-8", "no_proxy": "localhost"}
        out = tmp_path / "out"
        with open(out, "wb") as file:
            process = subprocess.Popen(["bash", "-c", session], cwd=tmp_path, env=env, stdout=file,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       start_new_session=True)
        try:
            assert process.wait(60) == 0, out.read_text()[-4000:]
            text = out.read_text()
            assert '"result":{"total":6}' in text and "total_requests" in text
            assert "2 nodes online." in text
        finally:
            # What it started in the background ends with it.
            os.killpg(process.pid, signal.SIGTERM)
            wait_until(lambda: not alive(process.pid), 20, "the end of what was started")


def alive(group):
    """Whether any process of the group is left that has not ended."""
    done = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True)
    lines = (line.split() for line in done.stdout.splitlines())
    return any(int(line[0]) == group and not line[1].startswith("Z") for line in lines)
