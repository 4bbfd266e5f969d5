"""How much sooner a study ends when several processes compute its cells.

Twelve equal cells (the same training from twelve seeds), one thread each, by `--executor local` with one job and with
several, one after the other, as often as asked:

    python benchmarks/executors.py --jobs 2

The time is that of the whole command: starting Python, planning, the table and the report are in it. The tables have to
agree to the last bit, but for seconds.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml


def study(cells: int, steps: int) -> dict[str, object]:
    trainer = {"name": "reconstruction", "steps": steps, "batch_size": 8, "validations": 1}
    network = {"name": "conv_resnet", "subnetworks": 4, "channels": 8, "hidden": 16}
    return {
        "title": "Equal cells",
        "data": {"name": "phantoms", "image_size": 48, "train": 32, "val": 4, "test": 4},
        "operator": "gaussian_blur",
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {"net": {"reconstructor": network, "trainer": trainer} if steps else {"name": "tv", "weight": 0.01}},
        "metrics": ["psnr"],
        "matrix": {"seed": list(range(cells))},
    }


def run(spec: Path, output: Path, jobs: int) -> float:
    """Seconds of the whole command."""
    command = [sys.executable, "-m", "invreg", "run", str(spec), "--output", str(output), "--device", "cpu", "--quiet"]
    start = time.perf_counter()
    subprocess.run(
        [*command, "--executor", "local", "--jobs", str(jobs)],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def table(output: Path) -> list[dict[str, str]]:
    """The rows of the study's table, without seconds."""
    (path,) = output.glob("*/study.csv")
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(file)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=12)
    parser.add_argument("--steps", type=int, default=150, help="steps of each training; 0 for tv, without one")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="invreg-executors-") as place:
        spec = Path(place) / "study.yaml"
        spec.write_text(yaml.safe_dump(study(options.cells, options.steps)))
        for repetition in range(options.repeat):
            outputs = {jobs: Path(place) / f"{repetition}-{jobs}" for jobs in (1, options.jobs)}
            seconds = {jobs: run(spec, output, jobs) for jobs, output in outputs.items()}
            if table(outputs[1]) != table(outputs[options.jobs]):
                sys.exit("the tables differ")
            one, several = seconds[1], seconds[options.jobs]
            print(
                f"{options.cells} cells: {one:.1f} s with one job, {several:.1f} s with {options.jobs}: "
                f"{several / one:.2f}; the same table",
                flush=True,
            )


if __name__ == "__main__":
    main()
