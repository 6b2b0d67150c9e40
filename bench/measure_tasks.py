"""How many background tasks that do nothing get through the queue, and what each costs.

The queue in the database is driven through its port, in one process that submits and works; every
task that was acknowledged is on disk and counted at the end.

Over Redis a worker of ours and Celery's own take turns at the same messages in the same Redis: they
lie there before, and each worker stores and publishes a result for every one of them. Ours keeps a
record of each in its database beside that, on disk, as it always does.
"""

import json
import os
import subprocess
import sys
import time

import harness
from harness import Target, median

E2E = str(harness.ROOT / "tests" / "e2e")
sys.path.append(E2E)
import redis_server  # noqa: E402

ROUNDS = 3
TASKS = 60_000
KEPT = 1_000_000
# As many as a claim takes: tasks that are over at once wait for nothing but the disk, and share
# commits by as many as run at once.
SLOTS = 512
SECONDS_MAX = 120

RATE_MIN = 20_000  # Tasks completed a second.
START_MS_MAX = 5  # From the call that enqueues to the handler, in the middle.
# CPU seconds that Celery's worker takes for a task to those of ours, its cheapest kind of pool.
CELERY_RATIO_MIN = 30
CELERY_TASKS = 2_000
OUR_CELERY_TASKS = 20_000
# Before what is counted each does a fourth as many, so that none is measured while it asks the
# kernel for memory for the first time.
WARM_UP_SHARE = 4
CELERY_SLOTS = 256
PYTHON = "/usr/bin/python3"
POOLS = {"Celery, solo": ["-P", "solo"], "Celery, prefork": ["-P", "prefork", "-c", "1"]}
OURS = "subforge"
# A database of a million ended tasks may take no longer to submit to, within what rounds differ.
KEPT_SHARE_MIN = 0.8


def run_embedded(context, kept):
    context.folder.joinpath("embedded").mkdir(exist_ok=True)
    folder = context.folder / "embedded" / str(len(list((context.folder / "embedded").iterdir())))
    folder.mkdir()
    done = subprocess.run(
        [context.program("embedded_tasks"), folder, str(TASKS), str(kept), str(SLOTS)],
        capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    if done.returncode == 2 or not done.stdout:
        raise harness.CannotRun(f"embedded_tasks: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if result["ended_once"] != result["wanted"]:
        raise harness.WrongAnswers(
            f"{result['wanted']} tasks acknowledged, {result['ended_once']} ended once")
    return result


# ---- Over Redis --------------------------------------------------------------------------------

def client_of(redis):
    """An application of Celery's, with the tasks that both kinds of worker know; it waits for no
    results."""
    import peer_tasks

    return peer_tasks.application(redis.url(), "disabled://")


def fill(app, queue, count):
    """Puts messages into the queue as Celery's clients write them; the ids are theirs, too."""
    import redis as redis_client

    task = app.tasks["peer.nothing"]
    with app.producer_pool.acquire() as producer:
        ids = [task.apply_async(queue=queue, producer=producer).id for _ in range(count)]
    with redis_client.Redis.from_url(app.conf.broker_url) as connection:
        if connection.llen(queue) != count:
            raise harness.CannotRun(f"{connection.llen(queue)} of {count} messages in {queue}")
    return ids


def take_results(redis, queue, ids):
    """Counts the results, every one of which has to be a success, and removes them."""
    import redis as redis_client

    with redis_client.Redis.from_url(redis.url(1)) as connection:
        names = [f"celery-task-meta-{task_id}" for task_id in ids]
        good = sum(json.loads(text)["status"] == "SUCCESS"
                   for text in connection.mget(names) if text)
        connection.flushdb()
    if good != len(ids):
        raise harness.WrongAnswers(f"{queue}: {good} results of {len(ids)} tasks")


def run_ours_on_redis(context, redis, app, number):
    queue = f"ours-{number}"
    folder = context.folder / "redis" / queue
    folder.mkdir(parents=True)
    warm_up = OUR_CELERY_TASKS // WARM_UP_SHARE
    ids = fill(app, queue, warm_up) + fill(app, f"{queue}-kept", OUR_CELERY_TASKS)
    done = subprocess.run(
        ["taskset", "-c", str(harness.SERVER_CORE), context.program("celery_tasks"), folder,
         redis.url(), redis.url(1), queue, str(warm_up), str(OUR_CELERY_TASKS),
         str(CELERY_SLOTS)],
        capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    if done.returncode == 2 or not done.stdout:
        raise harness.CannotRun(f"celery_tasks: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if result["ended_once"] != len(ids):
        raise harness.WrongAnswers(
            f"{len(ids)} tasks in Redis, {result['ended_once']} ended once")
    take_results(redis, queue, ids)
    return result


def wait_for(holds, process, what):
    end = time.monotonic() + SECONDS_MAX
    while not holds():
        process.require_alive()
        if time.monotonic() > end:
            raise harness.WrongAnswers(f"{what}: not done after {SECONDS_MAX} s")
        time.sleep(0.01)


def run_celery(context, redis, app, pool, number):
    """The worker does some tasks first; then those that are counted, which lay beside them, are let
    in."""
    import redis as redis_client

    queue = f"theirs-{pool[8:].strip()}-{number}"
    warm_up = CELERY_TASKS // WARM_UP_SHARE
    fill(app, queue, warm_up)
    ids = fill(app, f"{queue}-kept", CELERY_TASKS)
    environment = {
        "PATH": os.environ.get("PATH", ""), "PYTHONPATH": E2E, "LANG": "C.UTF-8",
        "PEER_BROKER": redis.url(), "PEER_BACKEND": redis.url(1), "PEER_SETTINGS": "{}"}
    process = harness.Process(
        queue, [PYTHON, "-B", "-m", "celery", "-A", "peer_tasks", "worker", "-n", f"{queue}@bench",
                "-Q", queue, "-l", "WARNING", "--without-gossip", "--without-mingle",
                "--without-heartbeat", *POOLS[pool]],
        context.folder, environment=environment)
    with process, redis_client.Redis.from_url(redis.url()) as broker, \
            redis_client.Redis.from_url(redis.url(1)) as results:
        wait_for(lambda: results.dbsize() == warm_up and not broker.hlen("unacked"), process, pool)
        results.flushdb()
        begin_cpu = harness.family_cpu_seconds(process.pid)
        begin = time.monotonic()
        broker.rename(f"{queue}-kept", queue)
        wait_for(lambda: results.dbsize() == CELERY_TASKS and not broker.hlen("unacked"), process,
                 pool)
        seconds = time.monotonic() - begin
        cpu = harness.family_cpu_seconds(process.pid) - begin_cpu
    take_results(redis, queue, ids)
    return {"tasks": CELERY_TASKS, "seconds": seconds, "rate": CELERY_TASKS / seconds,
            "cpu_us": cpu * 1e6 / CELERY_TASKS}


def run_on_redis(context):
    results = {OURS: [], **{pool: [] for pool in POOLS}}
    with redis_server.RedisServer(durable=False, core=harness.LOAD_CORE) as redis:
        app = client_of(redis)
        for number, name in harness.alternating(list(results), context.rounds or ROUNDS):
            if name == OURS:
                results[name].append(run_ours_on_redis(context, redis, app, number))
            else:
                results[name].append(run_celery(context, redis, app, name, number))
        app.close()
    return results


def show_redis(results):
    """The table, and by how much ours is cheaper, round by round."""
    ratios = {pool: median(harness.paired_ratios([r["cpu_us"] for r in results[pool]],
                                                 [r["cpu_us"] for r in results[OURS]]))
              for pool in POOLS}
    harness.print_table(
        "Tasks that do nothing, messages of Celery's in one Redis",
        ["worker", "tasks/s", "CPU µs/task", "CPU / ours"],
        [[name, f"{median([r['rate'] for r in rounds]):.0f}",
          f"{median([r['cpu_us'] for r in rounds]):.1f}",
          "" if name == OURS else f"{ratios[name]:.1f}"] for name, rounds in results.items()])
    return min(ratios.values())


# ---- Both --------------------------------------------------------------------------------------

def run(context):
    context.require_server()
    results = {0: [], KEPT: []}
    for _, kept in harness.alternating(list(results), context.rounds or ROUNDS):
        results[kept].append(run_embedded(context, kept))
    return conclude(results, run_on_redis(context))


def conclude(results, on_redis):
    def middle(kept, key):
        return median([result[key] for result in results[kept]])

    harness.print_table(
        "Tasks that do nothing, queue in the database",
        ["ended tasks kept", "tasks/s", "CPU µs/task", "submitted/s alone", "call to start ms",
         "events/task"],
        [[kept, f"{middle(kept, 'rate'):.0f}", f"{middle(kept, 'cpu_us'):.1f}",
          f"{middle(kept, 'submit_rate'):.0f}", f"{middle(kept, 'call_to_start_ms'):.2f}",
          f"{middle(kept, 'events_per_task'):.3f}"] for kept in results])
    ratio = show_redis(on_redis)
    targets = [
        Target("Celery's CPU for a task to ours", ratio, CELERY_RATIO_MIN, at_most=False),
        Target("tasks completed a second", middle(0, "rate"), RATE_MIN, at_most=False),
        Target("enqueue to start", middle(0, "call_to_start_ms"), START_MS_MAX, at_most=True,
               unit="ms"),
        Target("submitting beside a million ended ones",
               middle(KEPT, "submit_rate") / middle(0, "submit_rate"), KEPT_SHARE_MIN,
               at_most=False),
    ]
    return harness.conclude("tasks", targets, {"rounds": results, "redis": on_redis})
