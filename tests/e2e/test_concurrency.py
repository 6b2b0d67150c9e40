"""Many clients change the same tasks, agents and workflows at once: at the end everything that is
derived from the tasks says what the tasks say."""

import collections
import random
import threading

import postgres
from harness import DATABASE, FULL, Client, unique

CLIENTS = 64
MOVES = 400 if FULL else 60
STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled", "blocked")
OPEN = ("pending", "in_progress", "blocked")


class Fleet:
    """What all of them work on, and what they did to it that is no longer to be seen."""

    def __init__(self, api):
        self.agents = [api.agent_v1()["id"] for _ in range(6)]
        self.flows = [api.post("/api/v1/workflows/", {"name": unique()}).json()["id"]
                      for _ in range(4)]
        self.tasks = []
        self.removed = collections.Counter()  # By agent and status.
        self.lock = threading.Lock()

    def pick(self, chance, count=1):
        with self.lock:
            return chance.sample(self.tasks, min(count, len(self.tasks)))


class Worker:
    """One client. What another one did just before may make a move void, never wrong."""

    def __init__(self, fleet, api, seed):
        self.fleet, self.api, self.chance = fleet, api, random.Random(seed)

    def work(self):
        moves = [self.create, self.set_status, self.set_status, self.assign, self.progress,
                 self.update, self.link, self.bulk, self.remove, self.read]
        for _ in range(MOVES):
            self.chance.choice(moves)()

    def send(self, method, path, body=None, headers=None, may=()):
        answer = self.api.request(method, path, body, headers=headers)
        assert answer.status in (200, 404, *may), (method, path, body, answer)
        return answer

    def create(self):
        body = {"title": unique(), "priority": self.chance.choice(["low", "high"])}
        if self.chance.random() < 0.7:
            body["assigned_agent_id"] = self.chance.choice(self.fleet.agents)
        if self.chance.random() < 0.7:
            body["workflow_id"] = self.chance.choice(self.fleet.flows)
        made = self.send("POST", "/api/v1/tasks/", body)
        with self.fleet.lock:
            self.fleet.tasks.append(made.json()["id"])

    def change(self, how, body):
        for task in self.fleet.pick(self.chance):
            self.send("PATCH" if how else "PUT", f"/api/v1/tasks/{task}{how}", body)

    def set_status(self):
        self.change("/status", {"status": self.chance.choice(STATUSES)})

    def assign(self):
        self.change("/assign", {"assigned_agent_id": self.chance.choice(self.fleet.agents)})

    def progress(self):
        self.change("/progress", {"progress_percentage": self.chance.choice([0, 50, 100])})

    def update(self):
        body = {"is_blocked": self.chance.random() < 0.5}
        if self.chance.random() < 0.5:
            body["workflow_id"] = self.chance.choice([*self.fleet.flows, None])
        if self.chance.random() < 0.5:
            body["assigned_agent_id"] = self.chance.choice([*self.fleet.agents, None])
        if self.chance.random() < 0.5:
            body["status"] = self.chance.choice(STATUSES)
        self.change("", body)

    def link(self):
        chosen = self.fleet.pick(self.chance, 2)
        if len(chosen) < 2:
            return
        task, other = chosen
        if self.chance.random() < 0.3:
            self.send("DELETE", f"/api/v1/tasks/{task}/dependencies/{other}")
        else:
            # A cycle is refused, and so is one that is gone.
            self.send("POST", f"/api/v1/tasks/{task}/dependencies", {"dependency_id": other},
                      may=(400, 409))

    def bulk(self):
        chosen = self.fleet.pick(self.chance, 3)
        body = {"task_ids": chosen, "updates": {"status": self.chance.choice(STATUSES)}}
        if chosen:
            self.send("PATCH", "/api/v1/tasks/bulk", body, may=(400,))

    def remove(self):
        """Only as it was seen, so that it is known what is gone."""
        if self.chance.random() < 0.5:
            return
        for task in self.fleet.pick(self.chance):
            seen = self.send("GET", f"/api/v1/tasks/{task}")
            if seen.status == 404:
                return
            gone = self.send("DELETE", f"/api/v1/tasks/{task}", may=(412,),
                             headers={"If-Match": seen.header("ETag")})
            if gone.status == 200:
                task = seen.json()
                with self.fleet.lock:
                    self.fleet.removed[task["assigned_agent"]["id"], task["status"]] += 1

    def read(self):
        """Within one answer nothing contradicts itself."""
        flow = self.api.get(f"/api/v1/workflows/{self.chance.choice(self.fleet.flows)}").json()
        told = flow["progress"]
        assert 0 <= told["completed_tasks"] + told["failed_tasks"] <= told["total_tasks"], told
        agent = self.api.get(f"/api/v1/agents/{self.chance.choice(self.fleet.agents)}").json()
        assert (agent["status"] == "busy") == (agent["current_task"]["id"] is not None), agent


def everything(api):
    tasks = api.get("/api/v1/tasks/?limit=10000").json()
    return {task["id"]: task for task in tasks}


def check_agents(api, fleet, tasks):
    for id_ in fleet.agents:
        mine = collections.Counter(task["status"] for task in tasks.values()
                                   if task["assigned_agent"]["id"] == id_)
        agent = api.get(f"/api/v1/agents/{id_}").json()
        assert (agent["status"] == "busy") == any(mine[status] for status in OPEN), agent
        current = agent["current_task"]["id"]
        if current is not None:
            working = mine["in_progress"] > 0
            assert tasks[current]["assigned_agent"]["id"] == id_
            assert tasks[current]["status"] in (("in_progress",) if working else OPEN)
        told = agent["performance_metrics"]
        ended = [mine[status] + fleet.removed[id_, status] for status in ("completed", "failed")]
        assert [told["tasks_completed"], told["tasks_failed"]] == ended, agent


def check_flows(api, fleet, tasks):
    for id_ in fleet.flows:
        parts = collections.Counter(task["status"] for task in tasks.values()
                                    if task["workflow_id"] == id_)
        told = api.get(f"/api/v1/workflows/{id_}").json()["progress"]
        assert told["total_tasks"] == sum(parts.values()), (told, parts)
        assert told["completed_tasks"] == parts["completed"], (told, parts)
        assert told["failed_tasks"] == parts["failed"], (told, parts)
        assert len(api.get(f"/api/v1/workflows/{id_}/tasks?limit=10000").json()) == sum(
            parts.values())


def check_links(tasks):
    """Each knows who depends on it, and nobody depends on itself by any way round."""
    needs = {id_: task["dependencies"] for id_, task in tasks.items()}
    dependents = collections.defaultdict(set)
    for id_, others in needs.items():
        for other in others:
            dependents[other].add(id_)
    for id_, task in tasks.items():
        assert set(task["dependents"]) == dependents[id_], task
    seen = {}

    def visit(id_):
        assert seen.get(id_) != "begun", "a cycle"
        if id_ in seen or id_ not in needs:
            return
        seen[id_] = "begun"
        for other in needs[id_]:
            visit(other)
        seen[id_] = "done"

    for id_ in needs:
        visit(id_)


def check_counts(api, tasks):
    states = collections.Counter(task["status"] for task in tasks.values())
    summary = api.get("/api/v1/tasks/stats/summary").json()
    assert summary["total_tasks"] == len(tasks)
    for status in ("pending", "in_progress", "completed", "failed"):
        assert summary[f"{status}_tasks"] == states[status]
    for status in STATUSES:
        listed = api.get(f"/api/v1/tasks/?status={status}&limit=1")
        assert int(listed.header("X-Total-Count")) == states[status]


def servers_of(make_server):
    """On PostgreSQL two processes share the database."""
    if DATABASE != "postgresql":
        return [make_server(LOOPS=2)]
    url = postgres.shared().create_database()
    return [make_server(DATABASE_URL=url) for _ in range(2)]


def test_what_is_derived_says_what_the_tasks_say(make_server, seed):
    servers = servers_of(make_server)
    api = servers[0].client()
    fleet = Fleet(api)
    failures = []

    def run(number):
        client = Client(servers[number % len(servers)].port)
        try:
            Worker(fleet, client, seed + number).work()
        except Exception as failure:
            failures.append(failure)
        finally:
            client.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    api = servers[0].client()  # The one from before was silent for longer than the server waits.
    tasks = everything(api)
    assert len(tasks) > CLIENTS
    check_agents(api, fleet, tasks)
    check_flows(api, fleet, tasks)
    check_links(tasks)
    check_counts(api, tasks)
