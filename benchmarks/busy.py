"""The quickstart and its search for the weight of tv, on a quiet machine and beside programs that keep it busy.

    python benchmarks/busy.py [--before PYTHON] [--steps 60] [--busy 0 1 2 8] [--policy NAME=VALUE ...]

Beside n busy processes on c cores, two threads have a fair share of 2 c / (n + 2) cores: the table compares times with
max(1, (n + 2) / c) times that of the quiet machine. The busy processes are started here and ended by their ids. With
`--before`, the Python of another installation takes turns with this one; `--policy` adds turns with other variables of
the environment, such as `GOMP_SPINCOUNT=0` or `OMP_NUM_THREADS=1,OMP_WAIT_POLICY=PASSIVE`. Run it on a machine that
does nothing else.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from invreg import available_cores

#: What chooses threads and how they wait: it is the program's, not the caller's, that is measured.
_CHOSEN = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS")


def spec(steps: int, trials: int) -> dict[str, Any]:
    """The quickstart, with fewer steps and without analyses."""
    return {
        "title": "Busy",
        "data": {"name": "photos", "image_size": 96, "train_size": 48, "downsample": 2, "color": "grey"},
        "operator": {"name": "gaussian_blur", "kernel_size": 11, "std": 1.6667, "boundary": "symmetric"},
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {
            "tv": {"reconstructor": "tv", "trainer": {"name": "parameter_search", "trials": trials}},
            "iresnet": {
                "reconstructor": {"name": "iresnet", "subnetworks": 8, "channels": 8, "hidden": 16},
                "trainer": {"name": "reconstruction", "steps": steps, "batch_size": 8},
            },
        },
        "metrics": ["psnr"],
        "analyses": [],
    }


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes beside, each of which takes all of a core that it can get."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def seconds(python: str, variables: dict[str, str], content: dict[str, Any]) -> dict[str, float]:
    """Seconds of both trainings in a run of its own."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "spec.json").write_text(json.dumps(content))
        environment = {name: value for name, value in os.environ.items() if name not in _CHOSEN} | variables
        command = [python, "-m", "invreg", "run", "spec.json", "--output", "runs", "--device", "cpu"]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        [summary] = Path(place).glob("runs/*/summary.csv")
        with summary.open(newline="") as file:
            return {row["method"]: float(row["training_seconds"]) for row in csv.DictReader(file)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="Python of the installation to compare with")
    parser.add_argument("--policy", action="append", default=[], help="variables of the environment, for more turns")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2, 8], help="numbers of busy processes")
    parser.add_argument("--steps", type=int, default=60, help="of the training")
    parser.add_argument("--trials", type=int, default=4, help="of the search")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--quiet-turns", type=int, default=5, help="turns on the quiet machine")
    options = parser.parse_args()
    content = spec(options.steps, options.trials)
    contestants: dict[str, tuple[str, dict[str, str]]] = {"this": (sys.executable, {})}
    if options.before:
        contestants["before"] = options.before, {}
    for policy in options.policy:
        contestants[policy] = sys.executable, dict(part.split("=", 1) for part in policy.split(","))
    cores = available_cores()
    quiet: dict[tuple[str, str], float] = {}
    print("| busy processes | | method | seconds | to the quiet time | fair share | to this in the same turn |")
    print("|---|---|---|---|---|---|---|")
    for processes in options.busy:
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
        with busy(processes):
            for _ in range(options.turns if processes else options.quiet_turns):
                for name, (python, variables) in contestants.items():
                    taken[name].append(seconds(python, variables, content))
        for name, turns in taken.items():
            for method in turns[0]:
                median = statistics.median(turn[method] for turn in turns)
                if processes == 0:
                    quiet[name, method] = median
                slower = f"{median / quiet[name, method]:.2f}" if (name, method) in quiet else ""
                to_this = statistics.median(
                    turn[method] / ours[method] for turn, ours in zip(turns, taken["this"], strict=True)
                )
                fair = max(1.0, (processes + 2) / cores)
                print(f"| {processes} | {name} | {method} | {median:.1f} | {slower} | {fair:.2f} | {to_this:.2f} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
