"""Small cells of a study as jobs, and one who listens to what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import invreg
from invreg.storage.run_folder import RunFolder
from invreg.storage.study_folder import StudyFolder
from invreg.studies.jobs import is_finished
from invreg.studies.plan import plan_study


def study_spec(cells: int, steps: int = 4) -> dict[str, Any]:
    """A study whose cells train a small network for some steps."""
    return {
        "title": "Cells",
        "data": {"name": "phantoms", "image_size": 12, "train": 4, "val": 2, "test": 2},
        "operator": {"name": "gaussian_blur", "kernel_size": 3},
        "methods": {
            "unet": {
                "reconstructor": {"name": "unet", "channels": [2, 4]},
                "trainer": {
                    "name": "reconstruction",
                    "steps": steps,
                    "batch_size": 2,
                    "validations": max(2, steps // 5),
                },
            },
        },
        "metrics": ["psnr"],
        "matrix": {"seed": list(range(cells))},
    }


def study_with_cells(output: Path, cells: int, steps: int = 4) -> tuple[StudyFolder, list[invreg.Job]]:
    """The folder of a study in which nothing is computed yet, and the jobs to do."""
    plan = plan_study(study_spec(cells, steps), invreg.Registry.installed())
    study = StudyFolder.create(output, plan.title, plan.digest)
    study.begin(plan.content)
    jobs = []
    for cell in plan.cells:
        folder = RunFolder.create(study.cells_folder, cell.plan.spec.title, cell.plan.digest)
        folder.write_spec(cell.plan.spec)
        jobs.append(invreg.Job(study.path, folder.path.name, device="cpu"))
    return study, jobs


class Listener:
    """Remembers what an executor says, and has every job tried a few times."""

    def __init__(self, study: Path, tries: int = 1) -> None:
        self.study, self.tries = StudyFolder(study), tries
        self.beginnings: list[str] = []
        self.endings: dict[str, list[str | None]] = {}

    def started(self, name: str) -> None:
        self.beginnings.append(name)

    def ended(self, name: str, why: str | None = None) -> bool:
        self.endings.setdefault(name, []).append(why)
        return not self.is_finished(name) and len(self.endings[name]) < self.tries

    def is_finished(self, name: str) -> bool:
        return is_finished(self.study, name)
