"""Prints the ten files that took longest to compile, from the log of a Ninja build folder.

    tools/build_times.py build/dev

The log keeps the last compilation of each file, so a file that ccache served shows the time of
that: `CCACHE_RECACHE=1 ./dev build --times` after `./dev clean` gives true times for all.
"""

import os
import sys

SHOWN_MAX = 10


def compile_times(lines):
    """Seconds by object file; the last line of an output counts (one command may have many)."""
    seconds = {}
    for line in lines:
        if line.startswith("#"):
            continue
        start_ms, end_ms, _, output, *_ = line.rstrip("\n").split("\t")
        if output.endswith(".o"):
            seconds[output] = (int(end_ms) - int(start_ms)) / 1000
    return seconds


def main(arguments):
    [folder] = arguments
    with open(os.path.join(folder, ".ninja_log"), encoding="utf-8") as log:
        seconds = compile_times(log)
    # Objects of files that are gone stay in the log.
    seconds = {name: s for name, s in seconds.items() if os.path.exists(os.path.join(folder, name))}
    slowest = sorted(seconds.items(), key=lambda entry: -entry[1])[:SHOWN_MAX]
    for name, taken in slowest:
        source = name.replace("/CMakeFiles/", "/").removesuffix(".o")
        print(f"{taken:7.1f} s  {source}")
    print(f"{sum(seconds.values()):7.1f} s  in all, {len(seconds)} files")


if __name__ == "__main__":
    main(sys.argv[1:])
