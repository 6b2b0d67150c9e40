"""A real browser, Debian's Chromium, driven through tests/node/browser.mjs."""

import json
import os
import platform
import subprocess

from harness import ROOT

NODE_FOLDER = ROOT / "tests" / "node"

# The browser needs its own variables of the surrounding ones, but no proxy and no telemetry.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
}


def node_program():
    """Node as npm's packages carry it; Debian's own is too old for some tools."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return NODE_FOLDER / "node_modules" / f"node-linux-{machine}" / "bin" / "node"


class Browser:
    def __init__(self):
        self.process = subprocess.Popen(
            [node_program(), NODE_FOLDER / "browser.mjs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )

    def _do(self, command, **options):
        self.process.stdin.write(json.dumps({"command": command, **options}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the browser has ended"
        result = json.loads(line)
        assert "error" not in result, result["error"]
        return result["value"]

    def open(self, server, path, **options):
        """Opens a page in a new session; the options are Playwright's for a context."""
        url = f"http://127.0.0.1:{server.port}{path}"
        assert self._do("open", url=url, **options) == 200

    def until(self, expression):
        """Waits until the JavaScript expression holds."""
        self._do("until", holds=expression)

    def evaluate(self, expression):
        return self._do("evaluate", expression=expression)

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def fill(self, selector, text):
        self._do("fill", selector=selector, text=text)

    def click(self, selector):
        self._do("click", selector=selector)

    def screenshot(self, path):
        self._do("screenshot", path=str(path))

    def expect(self, text):
        """Complaints with this text are part of the test."""
        self._do("expect", text=text)

    def complaints(self):
        """Closes the page and tells what was wrong since the last time: errors on the console,
        exceptions, and requests to other hosts."""
        return self._do("complaints")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(15)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
