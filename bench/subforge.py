"""The server under test: all that a benchmark has to know about how it is started and used."""

import json
import os
import subprocess

import harness

AGENTS = "/api/v2/agents"

# As in production, but one loop, and limits whose numbers no load reaches: requests are counted as
# ever. Standard output, with the log of every request, goes to /dev/null.
SETTINGS = {"HOST": "127.0.0.1", "LOG_LEVEL": "INFO", "LOOPS": "1", "AUTH": "required",
            "RATE_LIMIT_MULTIPLIER": "1000000"}


def new_agent(name):
    """The body of a create."""
    agent = {"name": name, "type": "backend-developer",
             "configuration": {"model": "claude-3-sonnet", "tools": ["read", "write", "edit"],
                               "max_tokens": 4096},
             "tags": ["bench", "load"]}
    return json.dumps(agent, separators=(",", ":"))


class Subforge(harness.Process):
    """A running server, with a database and a token in its own folder; both outlive it there."""

    def __init__(self, binary, folder, *, name="subforge", settings=None, core=harness.SERVER_CORE):
        self.binary = binary
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Nothing of the machine's own settings may leak in: no environment, and no .env of the
        # current folder. A setting of None is left at its default.
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder),
                       "DATABASE_URL": f"sqlite:///{folder}/bench.db",
                       **SETTINGS, **(settings or {})}
        self.environment = {key: value for key, value in environment.items() if value is not None}
        self.token = self._create_token()
        self.port = harness.free_port()
        super().__init__(name, [binary, "serve", "--port", self.port], folder,
                         environment=self.environment, core=core)

    def _create_token(self):
        """What `token create` prints on its last line; kept beside the database."""
        path = self.folder / "token"
        if not path.exists():
            done = subprocess.run(
                [self.binary, "token", "create", "--name", "bench", "--role", "admin"],
                cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=30)
            if done.returncode != 0 or not done.stdout.strip():
                raise harness.CannotRun(f"token create failed: {done.stdout}{done.stderr}")
            path.write_text(done.stdout.splitlines()[-1].strip())
        return path.read_text()

    def request(self, method, path, body="", *, anonymous=False):
        """The bytes of a request that this server accepts."""
        headers = {} if anonymous else {"Authorization": f"Bearer {self.token}"}
        return harness.http_request(method, path, self.port, headers, body)

    def call(self, method, path, body="", *, status=200, anonymous=False):
        answer = harness.exchange(self.port, self.request(method, path, body, anonymous=anonymous))
        if answer.status != status:
            raise harness.WrongAnswers(
                f"{self.name}: {method} {path} gave {answer.status}, not {status}: "
                f"{answer.body[:300]!r}")
        return answer

    def add_agent(self):
        """Returns the path of a new agent."""
        body = new_agent("Bench Agent")
        agent = json.loads(self.call("POST", AGENTS, body, status=201).body)
        return f"{AGENTS}/{agent['id']}"

    def agent_count(self):
        return int(self.call("GET", f"{AGENTS}?limit=1").headers["x-total-count"])

    def require_conditions(self):
        """A server that leaves out checks would come off too well."""
        self.call("GET", AGENTS, status=401, anonymous=True)
        self.call("GET", "/metrics")
        if not any(name.startswith("ratelimit") for name in self.call("GET", AGENTS).headers):
            raise harness.WrongAnswers(f"{self.name}: no RateLimit field, so nothing is counted")
