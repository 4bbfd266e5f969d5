"""Trains in a process of its own, to be killed or to train together with others.

Usage: training_worker.py reconstruction,approximation FOLDER OUTPUT SECONDS_PER_STEP
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch
from training_helpers import RestlessConvs, ThreeConvs, make_context, make_method

from invreg.components.reconstructor import Reconstructor
from invreg.testing.toys import ToyNet, ToyNoise
from invreg_training.gradient.approximation import ApproximationTraining
from invreg_training.gradient.trainer import ReconstructionTraining

STEPS = {"steps": 24, "batch_size": 4, "validations": 4, "checkpoint_minutes": 0.0}


def train(kind: str, folder: Path, delay: float, together: bool) -> Reconstructor:
    context = make_context(folder / kind, noise=None if together else ToyNoise(0.02))
    measure = context.problem.measure

    def slow_measure(*args: object, **kwargs: object) -> torch.Tensor:
        time.sleep(delay)
        return measure(*args, **kwargs)  # type: ignore[arg-type]

    context.problem.measure = slow_measure  # type: ignore[method-assign]
    if kind == "approximation":
        return ApproximationTraining(**STEPS).fit(make_method(ToyNet, context, start=1.0), context).reconstructor
    cls = ThreeConvs if together else RestlessConvs
    return ReconstructionTraining(**STEPS).fit(make_method(cls, context), context).reconstructor


def main() -> None:
    kinds, folder, output, delay = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
    together = "WORLD_SIZE" in os.environ
    weights = {
        f"{kind}.{name}": value
        for kind in kinds.split(",")
        for name, value in train(kind, folder, delay, together).state_dict().items()
    }
    count = torch.distributed.get_world_size() if together else 1
    torch.save({"processes": torch.tensor(count), **weights}, output)


if __name__ == "__main__":
    main()
