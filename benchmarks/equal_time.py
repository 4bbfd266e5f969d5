"""Learned methods at equal time, over several seeds; see specs/equal_time.yaml.

    python benchmarks/equal_time.py --set "operator={name: perona_malik}" --set noise.std=0.05
    python benchmarks/equal_time.py --cpu-seconds 90 --budgets budgets.json

Other photographs: --set "data={name: image_folder, path: FOLDER, ...}".

The spec's budget is the clock, which is fair if nothing else runs. With `--cpu-seconds`, each training takes as many
steps as fit into so many seconds of the processor, one thread: pilots of each method say what a step takes. Such
trainings can be repeated exactly, and on a busy machine. `--budgets` keeps the numbers of steps for further calls.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from over_seeds import arguments, print_table, run_over_seeds, write_json

import invreg

SPEC = Path(__file__).parents[1] / "specs/equal_time.yaml"
#: Steps of the pilots: each has as many of the first half of a training as of the second. The first one warms up: it
#: imports, compiles and reads what the others find.
PILOTS = 10, 30, 110


def steps_within(seconds: float, spec: dict[str, Any], label: str, overrides: list[str]) -> int:
    """How many steps of a method fit into so many seconds of the processor."""
    content = {**spec, "methods": {label: spec["methods"][label]}, "analyses": [], "metrics": ["psnr"]}
    taken = []
    for steps in PILOTS:
        with tempfile.TemporaryDirectory() as output:
            own = [*overrides, f"methods.{label}.trainer={trainer_of(spec, label, steps)}"]
            start = time.process_time()
            invreg.run(content, output, "cpu", progress=False, overrides=own)
            taken.append(time.process_time() - start)
    return round(seconds * (PILOTS[2] - PILOTS[1]) / (taken[2] - taken[1]))


def trainer_of(spec: dict[str, Any], label: str, steps: int) -> str:
    """The trainer of a method with a number of steps in place of the clock, as a value for `--set`."""
    trainer = {key: value for key, value in spec["methods"][label]["trainer"].items() if key != "max_minutes"}
    return json.dumps({**trainer, "steps": steps})


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=1.5, help="time for the training of each method")
    parser.add_argument("--cpu-seconds", type=float, help="of the processor, one thread, in place of minutes")
    parser.add_argument("--budgets", type=Path, help="file with the numbers of steps, written where they are missing")
    parser.add_argument("--methods", nargs="+", help="only these; by default, all of the spec")
    options = parser.parse_args()
    spec = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
    if options.methods:
        spec["methods"] = {label: spec["methods"][label] for label in options.methods}
    learned = [
        label
        for label, method in spec["methods"].items()
        if isinstance(method, dict) and "max_minutes" in method["trainer"]
    ]
    if options.cpu_seconds:
        if torch.get_num_threads() != 1:
            raise SystemExit("--cpu-seconds counts those of one thread: set OMP_NUM_THREADS=1")
        budgets: dict[str, int] = {}
        if options.budgets and options.budgets.exists():
            budgets = json.loads(options.budgets.read_text(encoding="utf-8"))
        for label in learned:
            if label not in budgets:
                budgets[label] = steps_within(options.cpu_seconds, spec, label, options.set)
        if options.budgets:
            options.budgets.write_text(json.dumps(budgets, indent=2), encoding="utf-8")
        given = [f"methods.{label}.trainer={trainer_of(spec, label, budgets[label])}" for label in learned]
        length = f"{options.cpu_seconds:g} seconds of one core"
    else:
        given = [f"methods.{label}.trainer.max_minutes={options.minutes}" for label in learned]
        length = f"{options.minutes:g} minutes"
    options.set = [*options.set, *given]
    table = run_over_seeds(spec, options)
    print_table(table)
    print(f"\n{length} for each training; seeds {options.seeds}.")
    write_json(table, options)


if __name__ == "__main__":
    main()
