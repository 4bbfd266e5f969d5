"""How long it takes until invreg answers: import, `--help`, `plugins`, each in a fresh process."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
    "python -c 'import invreg'": [sys.executable, "-c", "import invreg"],
    "invreg --help": [sys.executable, "-m", "invreg", "--help"],
    "invreg plugins": [sys.executable, "-m", "invreg", "plugins"],
}


def seconds(command: list[str], runs: int) -> list[float]:
    """Wall-clock times of so many runs, after one that warms the disk cache."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured = {name: seconds(command, options.runs) for name, command in COMMANDS.items()}
    print("| command | median | fastest | slowest |\n|---|---|---|---|")
    for name, times in measured.items():
        print(f"| `{name}` | {statistics.median(times):.2f} s | {min(times):.2f} s | {max(times):.2f} s |")
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
