"""Tasks that Celery's worker and ours both know: the same functions, called by Celery where this is
a module of its application, and by ours where it is the program of command tasks.
"""

import json
import os
import pathlib
import sys
import time


class TryAgain(Exception):
    pass


def add(call, x, y):
    return x + y


def total(call, numbers):
    return sum(numbers)


def echo(call, *args, **kwargs):
    return {"args": list(args), "kwargs": kwargs}


def nothing(call):
    return None


def boom(call, text="it failed"):
    raise ValueError(text)


def flaky(call, fails):
    """Asks to be tried again until it has failed so often."""
    if call.attempt <= fails:
        raise TryAgain(f"try number {call.attempt}")
    return call.attempt


def power(call, base, exponent):
    return base**exponent


def nap(call, seconds):
    time.sleep(seconds)
    return seconds


def steps(call, count, seconds):
    """Tells how far it is."""
    for number in range(count):
        call.progress(100 * number / count, f"step {number + 1} of {count}")
        time.sleep(seconds)
    return count


def note(call, folder, key, seconds=0):
    """Something done in the world outside, once however often it is started: each start leaves a
    line, and the key is taken once."""
    folder = pathlib.Path(folder)
    with open(folder / "starts", "a", encoding="ascii") as starts:
        starts.write(f"{key} {os.getpid()} {call.worker}\n")
    time.sleep(seconds)
    try:
        os.close(os.open(folder / f"done-{key}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "again"
    return "done"


def hold(call, folder, key):
    """The same, until the test lets it go."""
    folder = pathlib.Path(folder)
    note(call, folder, key)
    while not (folder / "go").exists():
        time.sleep(0.05)
    return key


def failed(call, task_id, folder):
    """What link_error starts, with the id of what has failed."""
    pathlib.Path(folder, "failed").write_text(task_id)


FUNCTIONS = {function.__name__: function for function in (
    add, total, echo, power, nothing, boom, flaky, nap, steps, note, hold, failed)}
PREFIX = "peer."


# ---- As the program of a command task ----------------------------------------------------------

EX_TEMPFAIL = 75  # What the worker takes as a wish to be tried again.


class Command:
    worker = "subforge"

    def __init__(self, task):
        self.attempt = task["attempt"]

    def progress(self, percent, text):
        print(json.dumps({"progress": percent, "note": text}), flush=True)


def run_command():
    task = json.load(sys.stdin)
    function = FUNCTIONS[task["name"].removeprefix(PREFIX)]
    try:
        result = function(Command(task), *task["args"], **task["kwargs"])
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        sys.exit(EX_TEMPFAIL if isinstance(error, TryAgain) else 1)
    print(json.dumps({"result": result}))


def write_command_tasks(folder, **keys):
    """A file for each task; `keys` are more lines of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    more = "".join(f"{name}: {value}\n" for name, value in keys.items())
    for name in FUNCTIONS:
        command = json.dumps(["/usr/bin/python3", "-I", "-S", "-B", __file__])
        (folder / f"{name}.yaml").write_text(
            f"name: {PREFIX}{name}\ncommand: {command}\n{more}", encoding="ascii")


# ---- As a module of a Celery application -------------------------------------------------------


def application(broker, backend, **settings):
    """For clients and workers alike; Celery's own worker imports `app`, which is made of this."""
    from celery import Celery

    app = Celery("peer", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(task_default_queue="celery", broker_connection_retry=True, **settings)
    for name, function in FUNCTIONS.items():
        register(app, name, function)
    return app


def register(app, name, function):
    class Call:
        worker = "celery"

        def __init__(self, task):
            self.task = task
            self.attempt = task.request.retries + 1

        def progress(self, percent, text):
            self.task.update_state(state="PROGRESS", meta={
                "current": percent, "total": 100, "note": text})

    def run(self, *args, **kwargs):
        try:
            return function(Call(self), *args, **kwargs)
        except TryAgain as error:
            raise self.retry(exc=error, countdown=0.5, max_retries=3)

    return app.task(run, name=PREFIX + name, bind=True)


if __name__ == "__main__":
    run_command()
elif "PEER_BROKER" in os.environ:
    app = application(os.environ["PEER_BROKER"], os.environ["PEER_BACKEND"],
                      **json.loads(os.environ.get("PEER_SETTINGS", "{}")))
