"""How many background tasks that do nothing get through the queue, and what each costs.

The queue in the database is driven through its port, in one process that submits and works; every
task that was acknowledged is on disk and counted at the end.
"""

import json
import subprocess

import harness
from harness import Target, median

ROUNDS = 3
TASKS = 60_000
KEPT = 1_000_000
SLOTS = 128
SECONDS_MAX = 120

RATE_MIN = 20_000  # Tasks completed a second.
START_MS_MAX = 5  # From the call that enqueues to the handler, in the middle.
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


def run(context):
    context.require_server()
    results = {0: [], KEPT: []}
    for _, kept in harness.alternating(list(results), context.rounds or ROUNDS):
        results[kept].append(run_embedded(context, kept))
    return conclude(results)


def conclude(results):
    def middle(kept, key):
        return median([result[key] for result in results[kept]])

    harness.print_table(
        "Tasks that do nothing, queue in the database",
        ["ended tasks kept", "tasks/s", "CPU µs/task", "submitted/s alone", "call to start ms",
         "events/task"],
        [[kept, f"{middle(kept, 'rate'):.0f}", f"{middle(kept, 'cpu_us'):.1f}",
          f"{middle(kept, 'submit_rate'):.0f}", f"{middle(kept, 'call_to_start_ms'):.2f}",
          f"{middle(kept, 'events_per_task'):.3f}"] for kept in results])
    targets = [
        Target("tasks completed a second", middle(0, "rate"), RATE_MIN, at_most=False),
        Target("enqueue to start", middle(0, "call_to_start_ms"), START_MS_MAX, at_most=True,
               unit="ms"),
        Target("submitting beside a million ended ones",
               middle(KEPT, "submit_rate") / middle(0, "submit_rate"), KEPT_SHARE_MIN,
               at_most=False),
    ]
    return harness.conclude("tasks", targets, {"rounds": results})
