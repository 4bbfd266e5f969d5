"""A study of 1,000 cells: how long its plan takes, and its table, analyses and report, and how large the report is.

    python tests/long/thousand_cells.py --cells 1000

One cell is computed, and copied: what the others hold is the same, under specs of their own.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import invreg
from invreg.storage.seal import digest, parse_seal, seal_text
from invreg.storage.study_folder import StudyFolder
from invreg.studies.execution import JobPlan, dry_run
from invreg.studies.plan import plan_study
from invreg.studies.status import read_status

#: Seconds and bytes that are allowed.
PLAN, REPORT, SIZE = 5.0, 20.0, 5_000_000


def study(cells: int) -> dict[str, Any]:
    trainer = {"name": "reconstruction", "steps": 5, "batch_size": 2}
    return {
        "title": "A thousand cells",
        "data": {"name": "phantoms", "image_size": 16, "train": 4, "val": 2, "test": 3},
        "operator": "gaussian_blur",
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {
            "observation": "observation",
            "net": {"reconstructor": {"name": "unet", "channels": [2, 4]}, "trainer": trainer},
        },
        "analyses": ["quality"],
        "study_analyses": ["method_comparison", "settings_table"],
        "matrix": {"methods.net.trainer.lr": [0.001, 0.0001], "seed": list(range(cells // 2))},
        "executor": "local",
    }


def make_cells(spec: dict[str, Any], output: Path) -> StudyFolder:
    """The folders of all cells, finished."""
    one = {**spec, "matrix": {"seed": [0]}, "study_analyses": [], "executor": None}
    result = invreg.run(one, output / "one", "cpu", progress=False)
    (source,) = (result.folder / "cells").iterdir()
    plan = plan_study(spec, invreg.Registry.installed(), to_look_at=True)
    folder = StudyFolder.create(output, plan.title, plan.digest)
    for name, cell in JobPlan(plan, folder).cells.items():
        target = folder.cells_folder / name
        shutil.copytree(source, target)
        content = cell.spec.to_yaml().encode()
        (target / "spec.yaml").write_bytes(content)
        seal = parse_seal((target / "run.sha256").read_text())
        (target / "run.sha256").write_text(seal_text({**seal, "spec.yaml": digest(content)}))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    options = parser.parse_args()
    spec = study(options.cells)
    with tempfile.TemporaryDirectory(prefix="invreg-thousand-") as place:
        output = Path(place)
        start = time.process_time()
        dry_run(spec, output)
        plan = time.process_time() - start
        folder = make_cells(spec, output)
        start = time.process_time()
        result = invreg.run(spec, output, "cpu", progress=False)
        report = time.process_time() - start
        assert len(result.summary) == 2 * options.cells
        size = result.report.stat().st_size
        start = time.process_time()
        assert read_status(folder.path).finished == options.cells
        status = time.process_time() - start
    print(
        f"{options.cells} cells, CPU time: plan {plan:.1f} s; table, analyses and report {report:.1f} s, "
        f"{size / 1e6:.2f} MB; status {status:.1f} s"
    )
    if plan > PLAN or report > REPORT or size > SIZE:
        sys.exit("too much")


if __name__ == "__main__":
    main()
