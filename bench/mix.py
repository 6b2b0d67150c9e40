"""The rows and the requests of the mixed load: made up from a seed, the same for every server."""

import dataclasses
import json
import random

import harness

AGENTS = "/api/v2/agents"
TASKS = "/api/v2/tasks"
AGENT_COUNT = 1_000
TASK_COUNT = 10_000
PAGE = 20

STATUSES = ["pending", "in_progress", "completed", "failed", "cancelled"]
PRIORITIES = ["low", "medium", "high", "critical"]
TYPES = ["backend-developer", "frontend-developer", "code-reviewer", "data-scientist",
         "devops-engineer", "security-auditor", "test-engineer", "api-developer"]
TAGS = ["api", "backend", "bug", "database", "docs", "frontend", "performance", "security"]
WORDS = ("add answers before cache change client count create error event export field filter fix "
         "handle index limit list log message move page query read remove report request retry row "
         "schema server sort state table test token update user value write").split()

# What of 100 requests is what: 90 read, 10 write.
SHARES = {"get_task": 40, "get_agent": 15, "list_tasks_by_status": 15, "list_tasks_by_agent": 10,
          "list_agents_by_type": 10, "update_task": 5, "create_task": 3, "update_agent": 1,
          "create_agent": 1}


@dataclasses.dataclass
class Call:
    """A request, and what its answer must be: the status, and what the body contains."""
    method: str
    path: str
    status: int
    word: str
    body: str = ""


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def quoted(name, value):
    """As it stands in a body: both servers write JSON without blanks."""
    return f'"{name}":"{value}"'


class Mix:
    """Makes calls up. Ids of what exists come from outside, as servers choose them."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self._created = 0
        self.agent_ids = []
        self.task_ids = []

    def create_agent(self):
        name = self._name("agent")
        agent = {"name": name, "type": self._random.choice(TYPES), "tags": self._tags(),
                 "configuration": {"model": "claude-3-sonnet", "max_tokens": 4096,
                                   "tools": ["read", "write", "edit"]}}
        return Call("POST", AGENTS, 201, quoted("name", name), compact(agent))

    def create_task(self):
        title = self._name("task")
        task = {"title": title, "description": " ".join(self._random.choices(WORDS, k=30)),
                "status": self._random.choice(STATUSES),
                "priority": self._random.choice(PRIORITIES),
                # In turns, so that each one has some.
                "assigned_agent": self.agent_ids[self._created % len(self.agent_ids)],
                "tags": self._tags(),
                "metadata": {"branch": f"{self._random.choice(WORDS)}-{self._created}"},
                "estimated_duration": self._random.randint(5, 480)}
        return Call("POST", TASKS, 201, quoted("title", title), compact(task))

    def calls(self, count, shares=None):
        """A load: what SHARES, or others, say, in any order."""
        shares = shares or SHARES
        names = self._random.choices(list(shares), shares.values(), k=count)
        return [getattr(self, name)() for name in names]

    def get_task(self):
        return self._one("GET", TASKS, self.task_ids)

    def get_agent(self):
        return self._one("GET", AGENTS, self.agent_ids)

    def update_task(self):
        status = self._random.choice(STATUSES)
        progress = 100 if status == "completed" else self._random.randint(0, 99)
        return self._one("PUT", TASKS, self.task_ids, {"status": status, "progress": progress})

    def update_agent(self):
        status = self._random.choice(["active", "idle", "offline"])
        return self._one("PUT", AGENTS, self.agent_ids, {"status": status})

    def list_tasks_by_status(self):
        return self._list(TASKS, "status", self._random.choice(STATUSES))

    def list_tasks_by_agent(self):
        return self._list(TASKS, "assigned_agent", self._random.choice(self.agent_ids))

    def list_agents_by_type(self):
        return self._list(AGENTS, "type", self._random.choice(TYPES))

    def _one(self, method, path, ids, body=None):
        id_ = self._random.choice(ids)
        return Call(method, f"{path}/{id_}", 200, quoted("id", id_), compact(body) if body else "")

    def _list(self, path, name, value):
        return Call("GET", f"{path}?{name}={value}&limit={PAGE}", 200, quoted(name, value))

    def _name(self, what):
        self._created += 1
        return f"{what} {self._created:06} {' '.join(self._random.choices(WORDS, k=5))}"

    def _tags(self):
        return self._random.sample(TAGS, 2)


def as_bytes(call, port, token):
    return harness.http_request(call.method, call.path, port, {"Authorization": f"Bearer {token}"},
                                call.body)


def load_file(calls, port, token):
    """What http_load --mix reads."""
    parts = []
    for call in calls:
        request = as_bytes(call, port, token)
        parts += [f"{call.status} {len(request)} {call.word}\n".encode(), request]
    return b"".join(parts)
