"""How long it takes until invreg answers, each command in a fresh process.

Commands that keep their answers are timed with an empty cache and with one that they have filled before. Beside the
wall-clock time is the CPU time, which other programs on the machine change less.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: As the console script, without the working directory on the search path.
INVREG = [sys.executable, "-P", "-m", "invreg"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
    "python -c 'import invreg'": [sys.executable, "-c", "import invreg"],
    "invreg --help": [*INVREG, "--help"],
}
CACHED = {
    "invreg plugins": [*INVREG, "plugins"],
    "invreg describe operator radon": [*INVREG, "describe", "operator", "radon"],
    "invreg schema": [*INVREG, "schema"],
    "invreg new-plugin": [*INVREG, "new-plugin", "invreg-new"],
    "invreg validate": [*INVREG, "validate"],
}


def seconds(command: list[str], cache: Path | None) -> tuple[float, float]:
    """Wall-clock and CPU time of a command in an empty folder; without a cache, in an empty one."""
    folder = Path(tempfile.gettempdir()) / "invreg-startup"  # of one name: `validate` remembers where it was asked
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "INVREG_CACHE": str(cache or empty)}
        start, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, env=environment)
        wall, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cache = Path(tempfile.mkdtemp())
    cases = {name: (command, cache) for name, command in COMMANDS.items()}
    for name, command in CACHED.items():
        cases |= {f"{name}, empty cache": (command, None), name: (command, cache)}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for run in range(options.runs + 1):
        for name, (command, kept) in cases.items():
            times = seconds(command, kept)
            if run:  # the first fills the caches
                measured[name].append(times)
    shutil.rmtree(cache)
    print("| command | median | fastest | slowest | CPU time |\n|---|---|---|---|---|")
    for name, times in measured.items():
        walls, used = zip(*times, strict=True)
        middle = statistics.median(walls)
        print(
            f"| `{name}` | {middle:.2f} s | {min(walls):.2f} s | {max(walls):.2f} s | {statistics.median(used):.2f} s |"
        )
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
