"""./dev bench NAME: measures the server beside its peers and prints the ratios.

    bench/run.py http|writes|mixed|growth|fanout|realtime|start|tasks|files
                 [--rounds N] [--enforce] [--peers-only] [--full] [--build FOLDER]

Exits with 1 if any answer was wrong or missing, with 2 if it cannot run, and with 3 if a ratio
falls short and --enforce is given. bench/README.md says what each benchmark measures and how to
read it; all figures of a run are in build/bench/NAME.json.
"""

import argparse
import contextlib
import pathlib
import sys

import context
import harness
import measure_fanout
import measure_files
import measure_growth
import measure_http
import measure_mixed
import measure_realtime
import measure_start
import measure_tasks
import measure_writes

BENCHMARKS = {"http": measure_http, "writes": measure_writes, "mixed": measure_mixed,
              "growth": measure_growth, "fanout": measure_fanout,
              "realtime": measure_realtime, "start": measure_start, "tasks": measure_tasks,
              "files": measure_files}


def read_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measures beside peers.")
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--rounds", type=int, help="how often each one is measured")
    parser.add_argument("--enforce", action="store_true", help="fail where a ratio falls short")
    parser.add_argument("--peers-only", action="store_true", help="without the server itself")
    parser.add_argument("--full", action="store_true",
                        help="growth: up to a million tasks; realtime: 10,000 receivers")
    parser.add_argument("--build", type=pathlib.Path, default=harness.ROOT / "build" / "release",
                        help="the folder with the server, and bench/ with the other programs")
    arguments = parser.parse_args()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds takes a number from 1 on")
    return arguments


def main():
    arguments = read_arguments()
    harness.raise_on_sigterm()
    try:
        with harness.workspace() as folder, contextlib.ExitStack() as stack:
            reached = BENCHMARKS[arguments.name].run(context.Context(
                build=arguments.build.resolve(), folder=folder, stack=stack,
                rounds=arguments.rounds, peers_only=arguments.peers_only, full=arguments.full))
    except harness.WrongAnswers as error:
        print(f"\nWRONG ANSWERS: {error}", file=sys.stderr)
        return 1
    except (harness.CannotRun, OSError) as error:
        print(f"\ncannot run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 3 if arguments.enforce and not reached else 0


if __name__ == "__main__":
    sys.exit(main())
