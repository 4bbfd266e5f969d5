"""A study that is killed and started again, through the command line."""

from __future__ import annotations

import csv
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import Command

import invreg
from invreg.storage.result import StudyResult

SPEC = {
    "title": "Killed",
    "data": {"name": "image_folder", "path": "photos", "image_size": 24, "val": 2, "test": 3},
    "operator": "gaussian_blur",
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {
        "observation": "observation",
        "unet": {
            "reconstructor": {"name": "unet", "channels": [2, 4]},
            "trainer": {
                "name": "reconstruction",
                "steps": 40,
                "batch_size": 2,
                "validations": 2,
                "checkpoint_minutes": 0,
            },
        },
    },
    "metrics": ["psnr"],
    "matrix": {"noise.std": [0.01, 0.05]},
}
WAIT = 120.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a spec and small photographs."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(9):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8))
        coarse.resize((30, 30), Image.Resampling.BICUBIC).save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    return tmp_path


def start(place: Path, output: str) -> Command:
    return Command("invreg", "run", "spec.json", "--output", output, "--device", "cpu", "--quiet", cwd=place)


def finish(process: Command) -> Path:
    """Waits for the end of a study; the last line that it prints is its folder."""
    done = process.finish(WAIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.splitlines()[-1])


def kill_when(process: Command, moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not moment():
        assert process.poll() is None, f"ended before it could be killed: {process.finish()}"
        assert time.monotonic() < deadline, "the moment has not come"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.finish().returncode == -signal.SIGKILL


def finished_files(folder: Path) -> dict[Path, int]:
    """The files of trainings and evaluations that are done, with the times at which they were written."""
    done = {path.parent for path in folder.glob("cells/*/methods/*/training.json")}
    names = ("weights.safetensors", "training.json", "log.csv", "metrics.csv")
    files = [method / name for method in done for name in names]
    return {file: file.stat().st_mtime_ns for file in files if file.exists()}


def without_times(path: Path) -> list[str]:
    """The text of a table line by line, without its columns of seconds."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    kept = [index for index, name in enumerate(header) if not name.endswith("seconds")]
    assert len(kept) < len(header)
    return [",".join(row[index] for index in kept) for row in (header, *rows)]


def steps_heard(cell: Path) -> list[int]:
    """The validated steps of the training, in the order in which they were heard over all sittings."""
    with (cell / "methods/unet/progress.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_killed_study_does_only_what_was_missing(place: Path) -> None:
    whole = start(place, "whole")

    def found(pattern: str) -> list[Path]:
        return sorted((place / "cut").glob(f"*/cells/*{pattern}"))

    def validated_in(name: str) -> bool:
        """Whether a checkpoint has been written since the first validation of the cell's training."""
        heard, saved = (found(f"{name}*/methods/unet/{file}") for file in ("progress.csv", "training/checkpoint*"))
        try:
            return bool(heard and saved) and saved[0].stat().st_mtime_ns > heard[0].stat().st_mtime_ns
        except FileNotFoundError:  # a file that is just being replaced
            return False

    moments: list[Callable[[], bool]] = [
        lambda: validated_in("0-01"),  # while the first cell trains
        lambda: bool(found("0-01*/report.html")),  # between the cells
        lambda: validated_in("0-05"),  # while the second cell trains
    ]
    done: dict[Path, int] = {}
    for moment in moments:
        kill_when(start(place, "cut"), moment)
        (folder,) = (place / "cut").iterdir()
        done = finished_files(folder) | done
        with pytest.raises(invreg.StoreError, match="not finished"):
            invreg.load(folder)
    reference, resumed = place / finish(whole), place / finish(start(place, "cut"))

    assert resumed == folder
    assert without_times(resumed / "study.csv") == without_times(reference / "study.csv")
    assert len(without_times(resumed / "study.csv")) == 1 + 2 * 2
    assert {path.parent.name for path in done} == {"observation", "unet"}
    assert finished_files(resumed).items() >= done.items()
    for name in ("0-01", "0-05"):
        (cell,) = found(f"{name}*")
        (other,) = reference.glob(f"cells/*{name}*")
        assert steps_heard(cell) == [20, 40]  # no step was trained twice after a checkpoint
        weights = "methods/unet/weights.safetensors"
        assert (cell / weights).read_bytes() == (other / weights).read_bytes()
        assert without_times(cell / "methods/unet/log.csv") == without_times(other / "methods/unet/log.csv")
    loaded = invreg.load(resumed)
    assert isinstance(loaded, StudyResult)
    assert not loaded.failures
