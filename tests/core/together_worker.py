"""Runs of toys that go well and badly, in one process or in several; what each process got, as JSON.

Usage: together_worker.py FOLDER OUTPUT
"""

from __future__ import annotations

import copy
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import invreg
import toy
from invreg.computing.processes import part
from invreg.plugins.registry import Registry
from invreg_training import plugin as training


class Fussy(toy.Gain):
    """Cannot be set up with some starts."""

    def setup(self, problem: invreg.Problem, image_shape: tuple[int, ...]) -> None:
        if self.start == 3.0:
            raise RuntimeError("not with 3")
        super().setup(problem, image_shape)


class FailsOnce(toy.Raw):
    """Fails for the second batch, which the second of two processes has, and warns for each."""

    def __init__(self, fail: bool = False) -> None:
        super().__init__()
        self.fail = fail

    def forward(self, z: Tensor) -> Tensor:
        if len(z) == 1 and abs(float(z.mean()) - BATCH_MEANS[1]) < 1e-6:
            if self.fail:
                raise RuntimeError("a bad image")
            warnings.warn("the second image", invreg.ConvergenceWarning, stacklevel=1)
        return super().forward(z)


class ToyPlugin:
    @invreg.hookimpl
    def invreg_components(self) -> Mapping[str, type]:
        return {"fussy": Fussy, "fails_once": FailsOnce}


BATCH_MEANS: list[float] = []


def registry() -> Registry:
    return Registry({**toy.plugins(), "training": training, "worker": ToyPlugin()})


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(toy.SPEC), **parts}


def searched() -> dict[str, Any]:
    trainer = {"name": "reconstruction", "steps": 4, "batch_size": 2, "validations": 2, "optimizer": "adam"}
    search = {
        "name": "parameter_search",
        "trials": 4,
        "parameters": {"start": {"choices": [1.0, 2.0, 3.0]}},
        "trainer": trainer,
    }
    return {"net": {"reconstructor": "fussy", "trainer": search}}


def outcome(result: Any) -> dict[str, Any]:
    summary = result.summary.drop(columns=[name for name in result.summary if "seconds" in name])
    found: dict[str, Any] = {
        "folder": result.folder.name,
        "summary": summary.to_dict("list"),
        "failures": result.failures,
        "warnings": result.warnings,
        "findings": {name: findings.scalars for name, findings in result.findings.items()},
    }
    if isinstance(result, invreg.Result):
        found["metrics"] = result.metrics.drop(columns="seconds").to_dict("list")
        found["weights"] = {
            f"{label}.{name}": value.tolist()
            for label, method in result.methods.items()
            for name, value in method.reconstructor.state_dict().items()
        }
        found["logs"] = {
            label: [{key: value for key, value in row.items() if key != "seconds"} for row in method.log.rows]
            for label, method in result.methods.items()
        }
    return found


def work(output: Path) -> dict[str, Any]:
    """The outcome, or the error, of each run, with what was computed in this process."""
    BATCH_MEANS[:] = [float(0.5 * image.mean()) for image in toy.ToyImages().splits().test.images]
    shares = {"name": "fails_once"}
    quiet = {"noise": {"name": "none"}, "evaluation": {"batch_size": 1}, "analyses": []}
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "plain": lambda: changed(),
        "again": lambda: changed(),
        "study": lambda: toy.study(matrix={"methods.gain.trainer.fail": ["", "broken"]}, study_analyses=[]),
        "search": lambda: changed(methods=searched(), analyses=[]),
        "warns": lambda: changed(methods={"shared": shares}, **quiet),
        "fails": lambda: changed(methods={"shared": {**shares, "fail": True}}, **quiet),
        "analysis": lambda: changed(analyses=[{"name": "peek", "fail": True}]),
        "spoilt": lambda: changed(
            methods={"gain": {"reconstructor": {"name": "gain", "spoil": True}, "trainer": "least_squares"}}
        ),
    }
    told: dict[str, Any] = {}
    for name, spec in runs.items():
        toy.CALLS.clear()
        try:
            told[name] = outcome(invreg.run(spec(), output, "cpu", progress=False, registry=registry()))
        except invreg.InvregError as error:
            told[name] = {"error": str(error)}
        told[name]["calls"] = list(toy.CALLS)
    return told


def main() -> None:
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    told = work(folder)
    part()
    output.with_suffix(f".{os.environ['RANK']}").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
