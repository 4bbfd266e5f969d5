"""Searches in a process of its own, to be killed.

Usage: search_worker.py FOLDER OUTPUT SECONDS_PER_STEP
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from training_helpers import RestlessConvs, make_context, make_method

from invreg.components.trainer import TrainedMethod
from invreg.testing.toys import ToyNoise
from invreg_training.gradient.trainer import ReconstructionTraining
from invreg_training.search.search import ParameterSearch


def search(folder: Path, delay: float = 0.0) -> TrainedMethod:
    """Eight trials, some of which are stopped: some rates are far too small, and some networks too narrow."""
    context = make_context(folder, noise=ToyNoise(0.02))
    measure = context.problem.measure

    def slow_measure(*args: object, **kwargs: object) -> torch.Tensor:
        time.sleep(delay)
        return measure(*args, **kwargs)  # type: ignore[arg-type]

    context.problem.measure = slow_measure  # type: ignore[method-assign]
    trainer = ReconstructionTraining(steps=12, batch_size=2, validations=4, checkpoint_minutes=0.0)
    parameters = {
        "trainer.muon_lr": {"low": 1e-5, "high": 0.1, "log": True},
        "reconstructor.hidden": {"low": 2, "high": 8},
    }
    return ParameterSearch(trials=8, parameters=parameters, trainer=trainer, startup_trials=2).fit(
        make_method(RestlessConvs, context), context
    )


if __name__ == "__main__":
    trained = search(Path(sys.argv[1]), float(sys.argv[3]))
    Path(sys.argv[2]).write_text(json.dumps(trained.log.rows))
