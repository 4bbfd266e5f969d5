"""A plugin that is installed for the tests of executors: a training in steps, one that can die, and an engine."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

import invreg

#: Names of jobs that `inline` was given, in the order in which it began with them.
BEGUN: list[str] = []


class Dot(invreg.Reconstructor):
    """x = z * gain."""

    def setup(self, problem: invreg.Problem, image_shape: tuple[int, ...]) -> None:
        self.gain = torch.nn.Parameter(torch.ones(1))
        super().setup(problem, image_shape)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z * self.gain


class Steps(invreg.Trainer):
    """Counts steps, and keeps each; `fails` lets it fail instead.

    Variables of the environment, which change no result: TOY_DIES is a step at which it dies once, without notice;
    TOY_SECONDS is how long a step takes; TOY_LOG is a file for what was done.
    """

    def __init__(self, steps: int = 6, fails: str = "") -> None:
        self.steps, self.fails = steps, fails

    def fit(self, method: invreg.Method, context: invreg.TrainingContext) -> invreg.TrainedMethod:
        if self.fails:
            raise invreg.TrainingError(self.fails)
        net: Any = method.build()
        kept, died = context.folder / "kept.json", context.folder / "died"
        first = json.loads(kept.read_text()) if kept.exists() else 0
        for step in range(first, self.steps):
            if str(step) == os.environ.get("TOY_DIES") and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
            kept.write_text(str(step + 1))
            if log := os.environ.get("TOY_LOG"):
                with Path(log).open("a") as file:
                    threads, cell = torch.get_num_threads(), context.folder.parents[2].name
                    file.write(f"{cell} {method.label} {step} {os.getpid()} {threads}\n")
            values = {"loss": 1 / (step + 1)}
            context.events.emit(
                "invreg_progress", label="net", stage="steps", done=step + 1, total=self.steps, values=values
            )
        with torch.no_grad():
            net.gain.fill_(1 + 1 / self.steps + context.seed / 100)
        return invreg.TrainedMethod(net, invreg.TrainingLog([{"step": self.steps}], {"steps": self.steps}))


class Inline(invreg.Executor):
    """Jobs in this process, the last one first where that is allowed; `dies` lets as many starts die as it says."""

    def __init__(
        self,
        dies: Annotated[int, Field(description="starts that die")] = 0,
        mode: Annotated[str, Field(description="what it does wrong")] = "",
    ) -> None:
        self.dies, self.mode = dies, mode

    def check(self) -> None:
        if self.mode == "unusable":
            raise invreg.ExecutorError("the engine is out of order", where="executor")

    def execute(self, jobs: Sequence[invreg.Job], watch: invreg.Watch) -> None:
        if self.mode == "breaks":
            raise ZeroDivisionError("a bug in the engine")
        if self.mode == "nothing":
            return
        waiting = list(jobs)
        while waiting:
            names = {job.name for job in waiting}
            job = next(job for job in reversed(waiting) if self.mode == "cells first" or names.isdisjoint(job.needs))
            waiting.remove(job)
            BEGUN.append(job.name)
            watch.started(job.name)
            if self.dies > 0:
                self.dies -= 1
                again = watch.ended(job.name, "killed by SIGKILL")
            else:
                job.run()
                again = self.mode != "silent" and watch.ended(job.name)
            if again:
                waiting.append(job)


@invreg.hookimpl
def invreg_components() -> Mapping[str, type]:
    return {"dot": Dot, "steps": Steps, "inline": Inline}


def install(folder: Path) -> None:
    """Writes what makes this file an installed plugin for processes that have the folder in their path."""
    (folder / "cluster_plugin.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    info = folder / "cluster_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cluster-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[invreg]\ncluster = cluster_plugin\n")
    sys.path_importer_cache.pop(str(folder), None)
