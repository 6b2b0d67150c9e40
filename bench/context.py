"""What a benchmark is given: where the programs lie, a folder, and how to start servers."""

import contextlib
import dataclasses
import pathlib

import harness
from subforge import Subforge


@dataclasses.dataclass
class Context:
    build: pathlib.Path
    folder: pathlib.Path
    stack: contextlib.ExitStack  # Stops what was started.
    rounds: int | None
    peers_only: bool
    full: bool

    @property
    def binary(self):
        path = self.build / "subforge"
        if not path.exists():
            raise harness.CannotRun(f"{path} is not there; ./dev bench builds it")
        return path

    def require_server(self):
        if self.peers_only:
            raise harness.CannotRun("this benchmark has no peers, only the server")
        return self.binary

    def program(self, name):
        return self.build / "bench" / name

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def start_peer(self, name, command):
        """Returns a server that listens, and its port."""
        port = harness.free_port()
        process = self.stack.enter_context(
            harness.Process(name, [*command, "--port", port], self.folder))
        process.wait_until_listening(port)
        return process, port

    def start_subforge(self, name="subforge", settings=None):
        server = self.stack.enter_context(
            Subforge(self.binary, self.folder / name, name=name, settings=settings))
        server.wait_until_listening(server.port)
        return server
