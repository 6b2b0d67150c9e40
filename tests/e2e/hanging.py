"""A test that waits for something that does not come has to fail by name instead of holding up all
others until somebody ends the whole run, which would tell nothing."""

import contextlib
import faulthandler
import os
import pathlib
import signal
import subprocess
import sys

from harness import FULL

# Far above what any test takes on a busy machine.
TEST_SECONDS_MAX = 3600 if FULL else 240
# What the test then has for its way out; behind that its process is ended, with the stacks of all
# threads on standard error, and the others go on in a new one.
WAY_OUT_SECONDS = 60


class TestHangs(BaseException):
    """Not an Exception, so that no test's own retries pass over it."""

    __test__ = False


def _read(path):
    try:
        return pathlib.Path(path).read_text(errors="replace").replace("\0", " ").strip()
    except OSError as error:
        return str(error)


def _children_of(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True,
                            text=True, check=False, timeout=10).stdout.split()
    for child in map(int, listed):
        yield child
        yield from _children_of(child)


def describe_processes(pid):
    """What each process below this one waits for in the kernel, and the last of its log."""
    lines = []
    for child in _children_of(pid):
        lines.append(f"{child}: {_read(f'/proc/{child}/cmdline')}")
        with contextlib.suppress(OSError):
            for thread in sorted(os.listdir(f"/proc/{child}/task"), key=int):
                task = f"/proc/{child}/task/{thread}"
                lines.append(f"  {_read(task + '/comm')}: {_read(task + '/wchan')}, system call "
                             f"{_read(task + '/syscall')}")
        output = f"/proc/{child}/fd/1"
        if pathlib.Path(output).is_file():
            lines += [f"  > {line}" for line in _read(output).split("\n")[-20:]]
    return "\n".join(lines)


@contextlib.contextmanager
def deadline(name):
    def fail(*_):
        faulthandler.dump_traceback(sys.__stderr__)
        raise TestHangs(f"{name} was not done after {TEST_SECONDS_MAX} s\n"
                        + describe_processes(os.getpid()))

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, TEST_SECONDS_MAX)
    faulthandler.dump_traceback_later(TEST_SECONDS_MAX + WAY_OUT_SECONDS, exit=True,
                                      file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
