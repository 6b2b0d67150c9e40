"""The cache against a model: nobody misses a write that was acknowledged before he began to read.

Each worker has its own agents, which nobody else changes, so that it knows exactly what each of its
reads has to show. All workers read and write at once, over connections that lie on different loops
and servers, through both versions, in all forms of the answers, and now and then over another's
connection.
"""

import gzip
import json
import random
import threading

from harness import FULL, Client, unique

WORKERS = 6
STEPS = 4000 if FULL else 250


class Worker(threading.Thread):
    def __init__(self, servers, seed, number, steps=STEPS):
        super().__init__()
        self.chance = random.Random(f"{seed}/{number}")
        self.type = unique(f"w{number}")
        self.steps = steps
        # Opened one by one, connections go to the loops in turn.
        self.clients = [Client(server.port) for server in servers for _ in range(3)]
        self.model = {}  # Id → what a reader has to see.
        self.deleted = []
        self.done, self.hits, self.wrong = 0, 0, []

    def run(self):
        try:
            for _ in range(self.steps):
                self.chance.choice([self.write, self.read, self.read, self.list, self.list])()
                self.done += 1
        except Exception as failure:
            self.wrong.append(repr(failure))

    def client(self):
        return self.chance.choice(self.clients)

    def check(self, what, seen, expected):
        if seen != expected:
            self.wrong.append((what, seen, expected))

    def pick(self):
        return self.chance.choice(sorted(self.model)) if self.model else None

    # -- Writes

    def write(self):
        if not self.model or (len(self.model) < 12 and self.chance.random() < 0.3):
            return self.create()
        self.chance.choice([self.rename, self.rename, self.set_status, self.bulk, self.delete])()

    def create(self):
        name, text = f"n{self.chance.randrange(100)}", "x" * self.chance.choice([1, 2000])
        answer = self.client().post("/api/v2/agents", {
            "name": name, "type": self.type, "metadata": {"text": text}})
        self.model[answer.json()["id"]] = {"name": name, "status": "active", "size": len(text)}

    def rename(self):
        id_, name = self.pick(), f"n{self.chance.randrange(100)}-{self.done}"
        version = self.chance.choice([1, 2])
        answer = self.client().put(f"/api/v{version}/agents/{id_}", {"name": name})
        self.check("rename", answer.status, 200)
        self.model[id_]["name"] = name

    def set_status(self):
        id_, status = self.pick(), self.chance.choice(["idle", "busy", "error"])
        answer = self.client().patch(f"/api/v1/agents/{id_}/status", {"status": status})
        self.check("status", answer.status, 200)
        self.model[id_]["status"] = status

    def bulk(self):
        ids = self.chance.sample(sorted(self.model), min(3, len(self.model)))
        answer = self.client().post("/api/v2/agents/bulk-operation",
                                    {"agent_ids": ids, "operation": "stop"})
        self.check("bulk", answer.json()["successful"], len(ids))
        for id_ in ids:
            self.model[id_]["status"] = "inactive"

    def delete(self):
        id_ = self.pick()
        answer = self.client().delete(f"/api/v2/agents/{id_}")
        self.check("delete", answer.status, 204)
        del self.model[id_]
        self.deleted.append(id_)

    # -- Reads

    def get(self, path):
        fields = {"Accept-Encoding": self.chance.choice(["", "gzip"])}
        answer = self.client().get(path, headers=fields)
        self.hits += answer.header("X-Cache") == "HIT"
        packed = answer.header("Content-Encoding") == "gzip"
        return answer, json.loads(gzip.decompress(answer.body) if packed else answer.body)

    @staticmethod
    def shown(agent):
        return {"name": agent["name"], "status": agent["status"],
                "size": len(agent["metadata"]["text"])}

    def read(self):
        if self.deleted and self.chance.random() < 0.2:
            answer, _ = self.get("/api/v2/agents/" + self.chance.choice(self.deleted))
            return self.check("read deleted", answer.status, 404)
        id_ = self.pick()
        if id_ is None:
            return None
        answer, agent = self.get(f"/api/v2/agents/{id_}")
        if answer.status != 200:
            return self.check("read", answer.status, 200)
        return self.check("read", self.shown(agent), self.model[id_])

    def list(self):
        status = self.chance.choice([None, "busy"])
        query = f"type={self.type}&limit=100" + (f"&status={status}" if status else "")
        answer, agents = self.get("/api/v2/agents?" + query)
        expected = {id_: agent for id_, agent in self.model.items()
                    if status is None or agent["status"] == status}
        self.check(f"list {status}", {a["id"]: self.shown(a) for a in agents}, expected)
        self.check("total", answer.header("X-Total-Count"), str(len(expected)))


def check_reads(servers, seed, steps=STEPS):
    workers = [Worker(servers, seed, number, steps) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.wrong[:3] for worker in workers] == [[]] * WORKERS
    assert [worker.done for worker in workers] == [steps] * WORKERS
    assert sum(worker.hits for worker in workers) > steps / 10, "the cache had no part in it"
