"""Workflows that really run: steps become tasks, agents report, time passes, the server dies."""

import datetime
import random
import threading

import pytest

from harness import FULL, Client, unique, wait_until
from sockets import Room, Socket, run_async

V1 = "/api/v1/workflows"
V2 = "/api/v2/workflows"
TASKS = "/api/v1/tasks"


def step(key, *dependencies, **members):
    return {
        "id": key, "name": f"Step {key}", "task_template": f"Do {key}",
        "dependencies": list(dependencies), **members,
    }


class Flow:
    """A workflow as its agents and its owner see it."""

    def __init__(self, api, *steps, execute=True, **members):
        self.api = api
        answer = api.post(V2, {"name": unique("flow"), "steps": list(steps), **members})
        assert answer.status == 201, answer.body
        self.id = answer.json()["id"]
        if execute:
            self.execute()

    def execute(self):
        answer = self.api.post(f"{V2}/{self.id}/execute")
        assert answer.status == 200, answer.body

    def get(self):
        return self.api.get(f"{V2}/{self.id}").json()

    def v1(self):
        return self.api.get(f"{V1}/{self.id}").json()

    def steps(self):
        return {one["id"]: one for one in self.get()["steps"]}

    def states(self):
        return {key: one["status"] for key, one in self.steps().items()}

    def tasks(self):
        answer = self.api.get(f"{V1}/{self.id}/tasks")
        assert answer.status == 200, answer.body
        return answer.json()

    def task(self, key):
        return self.api.get(f"{TASKS}/{self.steps()[key]['task_id']}").json()

    def open(self):
        return sorted(key for key, state in self.states().items() if state == "running")

    def report(self, key, how="complete", result=None):
        path = f"{TASKS}/{self.steps()[key]['task_id']}/{how}"
        answer = self.api.patch(path, {"result": result})
        assert answer.status == 200, answer.body
        return answer.json()

    def set_status(self, status, expected=200):
        answer = self.api.patch(f"{V1}/{self.id}/status", {"status": status})
        assert answer.status == expected, answer.body
        return answer.json()

    def history(self):
        runs = self.api.get("/api/v1/history/workflows?limit=1000").json()["workflows"]
        return [self.api.get(f"/api/v1/history/workflows/{run['id']}").json()
                for run in runs if run["workflow_id"] == self.id]


def test_a_run_from_its_start_to_its_history(api):
    agent = api.agent_v1()
    flow = Flow(
        api, step("build", agent_id=agent["id"], timeout=60), step("test", "build"),
        step("ship", "build", "test"), execute=False,
    )
    assert flow.tasks() == []
    api.post(f"{V1}/{flow.id}/execute", {"parameters": {"branch": "main"}})
    assert flow.get()["status"] == "running"
    task = flow.task("build")
    assert task["title"] == "Step build" and task["description"] == "Do build"
    assert task["workflow_id"] == flow.id and task["task_type"] == "workflow_step"
    assert task["assigned_agent"] == {"id": agent["id"], "name": agent["name"]}
    assert task["metadata"]["parameters"] == {"branch": "main"}
    about = task["metadata"]["workflow"]
    assert about["id"] == flow.id and about["step"] == "build"
    assert (about["run"], about["attempt"], about["attempts_max"]) == (1, 1, 4)
    assert about["deadline_at"] == flow.steps()["build"]["deadline_at"]
    busy = api.get(f"/api/v1/agents/{agent['id']}").json()
    assert busy["status"] == "busy" and busy["current_task"]["id"] == task["id"]
    assert flow.open() == ["build"]

    flow.report("build", result={"binary": "app"})
    free = api.get(f"/api/v1/agents/{agent['id']}").json()
    assert free["status"] == "idle" and free["performance_metrics"]["tasks_completed"] == 1
    assert flow.steps()["build"]["output"] == {"binary": "app"}
    assert flow.open() == ["test"]
    assert flow.task("test")["metadata"]["input"] == {"build": {"binary": "app"}}
    progress = flow.v1()["progress"]
    assert progress == {
        "percentage": pytest.approx(100 / 3), "total_tasks": 3, "completed_tasks": 1,
        "failed_tasks": 0,
    }
    flow.report("test", result="all green")
    assert flow.task("ship")["metadata"]["input"] == {
        "build": {"binary": "app"}, "test": {"result": "all green"},
    }
    answer = api.patch(f"{TASKS}/{flow.task('ship')['id']}/status", {"status": "completed"})
    assert answer.status == 200
    done = flow.get()
    assert done["status"] == "completed" and done["progress"] == 100
    assert done["completed_at"] >= done["started_at"]
    assert flow.steps()["ship"]["output"] is None
    assert len(flow.tasks()) == 3

    (run,) = flow.history()
    assert run["status"] == "completed" and run["final_result"] == "success"
    assert run["execution_number"] == 1
    assert run["progress"]["phases"] == {"total": 3, "completed": 3, "failed": 0, "skipped": 0}
    assert run["progress"]["tasks"] == {"total": 3, "completed": 3, "failed": 0}
    assert run["agents"]["assigned"] == [{"id": agent["id"], "name": agent["name"]}]
    assert [phase["phase"]["name"] for phase in run["phases"]] == [
        "Step build", "Step test", "Step ship"]
    assert run["phases"][0]["parameters"]["output"] == {"binary": "app"}
    hands = sorted((hand["source"]["phase_name"], hand["target"]["phase_name"])
                   for hand in run["handoffs"])
    assert hands == [("Step build", "Step ship"), ("Step build", "Step test"),
                     ("Step test", "Step ship")]


def test_failures_are_tried_again_and_then_fail_the_run(api):
    flow = Flow(api, step("a", max_retries=2), step("other"), step("b", "a"))
    seen = set()
    for attempt in range(3):
        assert "a" in flow.open()
        task = flow.task("a")
        assert task["metadata"]["workflow"]["attempt"] == attempt + 1
        assert flow.steps()["a"]["retry_count"] == attempt
        seen.add(task["id"])
        flow.report("a", "fail", {"why": attempt})
    assert len(seen) == 3, "each attempt is a task of its own"
    assert flow.get()["status"] == "failed"
    assert flow.states() == {"a": "failed", "other": "cancelled", "b": "cancelled"}
    assert flow.steps()["a"]["output"] == {"why": 2}
    assert sorted(task["status"] for task in flow.tasks()) == [
        "cancelled", "failed", "failed", "failed"]
    (run,) = flow.history()
    assert run["status"] == "failed" and run["final_result"] == "failure"
    assert run["issues"]["errors"] == [{"step": "a", "output": {"why": 2}}]
    flow.execute()
    assert flow.get()["status"] == "running" and flow.steps()["a"]["retry_count"] == 0
    assert flow.open() == ["a", "other"]


def test_time_outs(api):
    flow = Flow(api, step("slow", timeout=1, max_retries=1))
    first = flow.task("slow")["id"]
    wait_until(lambda: flow.steps()["slow"]["retry_count"] == 1, seconds=5)
    assert api.get(f"{TASKS}/{first}").json()["status"] == "failed"
    late = api.patch(f"{TASKS}/{first}/complete", {"result": "late"})
    assert late.status == 409 and flow.get()["status"] == "running", "it comes too late"
    wait_until(lambda: flow.get()["status"] == "failed", seconds=5)
    assert flow.steps()["slow"]["output"] == {"error": "Timed out after 1 seconds"}


def test_pause_resume_cancel(api):
    flow = Flow(api, step("a"), step("b", "a"), step("c", "b"))
    assert flow.set_status("paused")["flags"]["is_paused"]
    flow.report("a")
    assert flow.open() == [], "nothing new while paused"
    assert flow.set_status("active")["status"] == "active"
    assert flow.open() == ["b"]
    assert api.post(f"{V2}/{flow.id}/execute").status == 409
    flow.set_status("paused")
    flow.execute()
    assert flow.get()["status"] == "running" and flow.open() == ["b"]
    task = flow.task("b")["id"]
    flow.set_status("cancelled")
    assert api.get(f"{TASKS}/{task}").json()["status"] == "cancelled"
    assert flow.states() == {"a": "completed", "b": "cancelled", "c": "cancelled"}
    (run,) = flow.history()
    assert run["status"] == "cancelled" and run["final_result"] == "partial"


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_task_that_is_called_off_fails_its_step(api, end):
    flow = Flow(api, step("a", max_retries=5))
    task = f"{TASKS}/{flow.task('a')['id']}"
    if end == "delete":
        assert api.delete(task).status == 200
    else:
        assert api.patch(f"{task}/status", {"status": "cancelled"}).status == 200
    assert flow.get()["status"] == "failed" and flow.open() == []


def test_what_was_reported_stays_reported(api):
    flow = Flow(api, step("a"), step("b", "a"))
    path = f"{TASKS}/{flow.report('a', result={'v': 1})['id']}"
    assert api.patch(f"{path}/complete", {"result": {"v": 2}}).status == 409
    assert api.patch(f"{path}/complete", {"result": {"v": 1}}).status == 200, "the same once more"
    assert api.get(path).json()["result"] == {"v": 1}
    assert flow.task("b")["metadata"]["input"] == {"a": {"v": 1}}


def test_what_was_cancelled_has_not_failed(api):
    flow = Flow(api, step("a"), step("b", "a"))
    flow.set_status("cancelled")
    flow.execute()
    flow.report("a")
    api.patch(f"{TASKS}/{flow.task('b')['id']}/status", {"status": "cancelled"})
    called_off, cancelled = flow.history()
    assert cancelled["progress"]["tasks"] == {"total": 1, "completed": 0, "failed": 0}
    assert called_off["progress"]["tasks"] == {"total": 2, "completed": 1, "failed": 0}
    for run in (called_off, cancelled):
        assert [phase["tasks"]["failed"] for phase in run["phases"]] == [0, 0]


def test_a_workflow_written_back_as_it_was_read_stays_as_it_is(api):
    agent = api.agent_v1()
    flow = Flow(api, step("a", agent_id=agent["id"]), step("b", "a", timeout=60, max_retries=1),
                execute=False)
    api.put(f"{V1}/{flow.id}", {"estimated_duration_hours": 2})

    def write_back(**members):
        read = flow.get()
        answer = api.put(f"{V2}/{flow.id}", {**read, **members})
        assert answer.status == 200, answer.body
        changed = answer.json()
        assert changed.pop("updated_at") > read.pop("updated_at")
        assert changed == {**read, **members}

    v1 = flow.v1()
    write_back()
    assert flow.v1()["description"] is v1["description"] is None
    flow.execute()
    write_back(metadata={"noted": "running"})
    assert api.put(f"{V2}/{flow.id}", {"name": "n", "status": "running"}).status == 200
    flow.set_status("paused")
    write_back()
    flow.set_status("active")
    flow.report("a", result={"v": 1})
    assert api.delete(f"/api/v1/agents/{agent['id']}").status == 200
    flow.report("b", result={"v": 2})
    write_back(metadata={"noted": "completed"})
    done = flow.get()
    assert done["progress"] == 100 and flow.states() == {"a": "completed", "b": "completed"}
    steps = [{**one, "timeout": 61} for one in done["steps"]]
    del steps[0]["agent_id"]
    anew = api.put(f"{V2}/{flow.id}", {"steps": steps}).json()
    assert [one["status"] for one in anew["steps"]] == ["pending", "pending"], "other steps"
    assert len(flow.history()) == 1


def test_a_run_is_over_when_nothing_of_it_is_open(api):
    flow = Flow(api, step("a"), execute=False)
    beside = api.post(TASKS, {"title": "Beside", "workflow_id": flow.id}).json()["id"]
    flow.execute()
    flow.report("a")
    assert flow.get()["status"] == "running" and flow.get()["progress"] == 50
    assert api.patch(f"{TASKS}/{beside}/complete", {}).status == 200
    assert flow.get()["status"] == "completed" and flow.get()["progress"] == 100
    assert flow.history()[0]["final_result"] == "success"

    done = Flow(api, execute=False)
    api.post(TASKS, {"title": "Done", "workflow_id": done.id, "status": "completed"})
    answer = api.post(f"{V1}/{done.id}/execute", {})
    assert answer.status == 200 and answer.json()["status"] == "completed"
    done.execute()
    assert len(done.history()) == 2


def test_a_result_that_is_too_large_is_refused(api):
    flow = Flow(api, step("a"))
    path = f"{TASKS}/{flow.task('a')['id']}"
    answer = api.patch(f"{path}/complete", {"result": {"x": "x" * 65_536}})
    assert answer.status == 413 and "65536" in answer.detail
    assert api.get(path).json()["status"] == "pending", "all of the report is undone"
    assert flow.open() == ["a"]


def test_a_scheduled_run_starts_by_itself(api):
    flow = Flow(api, step("a"), execute=False)
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1.5)
    answer = api.post(f"{V1}/{flow.id}/execute", {"scheduled_at": at.isoformat()})
    assert answer.json()["status"] == "scheduled" and flow.tasks() == []
    wait_until(lambda: flow.get()["status"] == "running", seconds=5)
    assert flow.open() == ["a"]
    assert flow.get()["started_at"] >= at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    flow.report("a")
    assert flow.history()[0]["trigger"]["by"] == "schedule"


def test_deleting_a_workflow_ends_its_tasks(api):
    flow = Flow(api, step("a"))
    task = flow.task("a")["id"]
    assert api.delete(f"{V2}/{flow.id}").status == 204
    assert api.get(f"{TASKS}/{task}").json()["status"] == "cancelled"
    assert len(flow.history()) == 1


def test_an_agent_that_was_deleted(api):
    agent = api.agent_v1()
    flow = Flow(api, step("a"), step("b", "a", agent_id=agent["id"]))
    assert api.delete(f"/api/v1/agents/{agent['id']}").status == 200
    flow.report("a")
    assert flow.get()["status"] == "failed"
    assert flow.steps()["b"]["output"] == {"error": f"Agent {agent['id']} not found"}


def test_tasks_of_a_workflow_without_steps(api):
    workflow = api.post(V1 + "/", {"name": "w"}).json()
    path = f"{V1}/{workflow['id']}"
    assert api.get(f"{V1}/00000000-0000-4000-8000-000000000000/tasks").json() == []
    assert api.get(f"{V1}/nope/tasks").status == 422
    made = [api.post(TASKS + "/", {"title": f"t{index}", "workflow_id": workflow["id"]}).json()
            for index in range(3)]
    listed = api.get(f"{path}/tasks").json()
    assert sorted(task["id"] for task in listed) == sorted(task["id"] for task in made)
    api.post(f"{path}/execute", {})

    def progress():
        return api.get(path).json()["progress"]

    assert progress()["total_tasks"] == 3
    api.patch(f"{TASKS}/{made[0]['id']}/status", {"status": "completed"})
    assert progress()["completed_tasks"] == 1
    assert api.patch(f"{path}/progress", {"progress_percentage": 90}).json()["progress"][
        "percentage"] == pytest.approx(100 / 3), "the tasks tell"
    api.put(f"{TASKS}/{made[1]['id']}", {"workflow_id": None})
    assert progress() == {
        "percentage": 50, "total_tasks": 2, "completed_tasks": 1, "failed_tasks": 0}
    api.delete(f"{TASKS}/{made[0]['id']}")
    assert progress()["percentage"] == 0
    api.patch(f"{TASKS}/{made[2]['id']}/status", {"status": "completed"})
    assert api.get(path).json()["status"] == "completed"
    assert progress()["percentage"] == 100


@run_async
async def test_what_viewers_hear_of_a_run(fresh):
    api = fresh.client()
    agent = api.agent_v1()
    flow = Flow(api, step("a", agent_id=agent["id"]), execute=False)
    async with (
        Socket(fresh, "/ws") as first,
        Room(fresh, f"workflow:{flow.id}", path="/ws/v2?rooms_only=true") as second,
        Room(fresh, f"agent:{agent['id']}", path="/ws/v2?rooms_only=true") as worker,
    ):
        flow.execute()
        heard = await first.receive_type("workflow_executed")
        assert heard["data"]["status"] == "running"
        heard = await second.find(lambda m: m["data"].get("event") == "workflow_progress_updated")
        assert heard["data"]["steps"] == [{
            "id": "a", "status": "running", "retry_count": 0,
            "task_id": flow.steps()["a"]["task_id"],
        }]
        heard = await worker.receive_type("task_update")
        assert heard["data"]["task"]["id"] == flow.steps()["a"]["task_id"]
        flow.report("a")
        heard = await first.find(lambda m: m["type"] == "workflow_status_updated")
        assert heard["data"] == {
            "workflow_id": flow.id, "old_status": "running", "new_status": "completed",
            "progress": 100,
        }


def test_a_run_goes_on_after_kill_minus_9(make_server):
    server = make_server()
    api = server.client()
    agent = api.agent_v1()
    flow = Flow(
        api, step("a", agent_id=agent["id"]), step("b", "a", timeout=2, max_retries=1),
        step("c", "a"), step("d", "b", "c"),
    )
    flow.report("a", result={"n": 1})
    before = flow.steps()
    late = before["b"]["task_id"]
    server.kill()
    server.start()
    flow.api = api = server.client()
    # It timed out while nobody was there to notice.
    wait_until(lambda: flow.steps()["b"]["retry_count"] == 1, seconds=10)
    assert flow.steps()["c"] == before["c"]
    assert api.get(f"{TASKS}/{late}").json()["status"] == "failed"
    flow.report("b")
    server.kill()
    server.start()
    flow.api = server.client()
    flow.report("c", result={"n": 2})
    assert flow.task("d")["metadata"]["input"] == {"b": None, "c": {"n": 2}}
    flow.report("d")
    assert flow.get()["status"] == "completed"
    assert len(flow.tasks()) == 5, "nothing was given out twice"
    (run,) = flow.history()
    assert run["progress"]["phases"]["completed"] == 4


def test_many_agents_and_owners_at_once(fresh):
    """Reports, pauses and reads at once: at the end each step was done once, in order."""
    layers, width, workers = 4, 5, 64
    steps = [
        step(f"s{layer}_{index}", *[f"s{layer - 1}_{one}" for one in range(width) if layer],
             max_retries=20)
        for layer in range(layers) for index in range(width)
    ]
    agents = [fresh.client().agent_v1() for _ in range(3)]
    for index, one in enumerate(steps):
        one["agent_id"] = agents[index % 3]["id"]
    flows = [Flow(fresh.client(), *steps) for _ in range(6 if FULL else 2)]
    failures = []

    def work(seed):
        chance = random.Random(seed)
        api = Client(fresh.port)
        try:
            while True:
                states = [api.get(f"{V2}/{flow.id}").json() for flow in flows]
                # Who resumes may come after the end, so the status alone does not tell.
                if all(state["progress"] == 100 for state in states):
                    return
                for state in states:
                    ended = sum(one["status"] == "completed" for one in state["steps"])
                    assert abs(state["progress"] - 100 * ended / len(steps)) < 0.01, (
                        "an answer tells of one moment")
                    if chance.random() < 0.05 and state["status"] in ("running", "active"):
                        api.patch(f"{V1}/{state['id']}/status", {"status": "paused"})
                        api.patch(f"{V1}/{state['id']}/status", {"status": "active"})
                    running = [s for s in state["steps"] if s["status"] == "running"]
                    for one in chance.sample(running, min(2, len(running))):
                        how = "fail" if chance.random() < 0.1 else "complete"
                        answer = api.patch(f"{TASKS}/{one['task_id']}/{how}",
                                           {"result": {"by": seed}})
                        # Another one may have told the contrary just before.
                        assert answer.status in (200, 409), answer.body
        except Exception as failure:
            failures.append(failure)
        finally:
            api.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not failures, failures[0]
    attempts = 0
    for flow in flows:
        done = flow.get()
        assert done["progress"] == 100
        by_key = {one["id"]: one for one in done["steps"]}
        for one in done["steps"]:
            attempts += one["retry_count"] + 1
            for key in one["dependencies"]:
                assert by_key[key]["completed_at"] <= one["started_at"]
        assert len(flow.tasks()) == sum(one["retry_count"] + 1 for one in done["steps"])
        assert len(flow.history()) == 1
    api = fresh.client()
    for agent in agents:
        seen = api.get(f"/api/v1/agents/{agent['id']}").json()
        assert seen["status"] != "busy" and seen["current_task"]["id"] is None
