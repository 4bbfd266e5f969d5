"""From the folder of a finished run to its result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invreg.components.device import choose_device
from invreg.components.problem import Problem
from invreg.specs.methods import ReconstructorBuilder
from invreg.specs.plan import make_plan
from invreg.storage.result import MethodResult, Result
from invreg.storage.run_folder import RunFolder
from invreg.storage.run_images import LastImages, RunImages

if TYPE_CHECKING:
    from invreg.components.trainer import TrainedMethod
    from invreg.plugins.registry import Registry
    from invreg.storage.method_folder import MethodFolder


def load_run(path: Path, device: str, registry: Registry, last: LastImages | None = None) -> Result:
    """The result of a finished run.

    Args:
        path: the run folder.
        device: where reconstructors are put.
        registry: where components come from.
        last: images that runs share.

    Raises:
        StoreError: if the folder holds no run, or an unfinished one.
        SpecError: if a plugin that the run used is missing.
    """
    folder = RunFolder.existing(path)
    plan, where = make_plan(folder.spec, registry), choose_device(device)
    problem, shape = Problem(plan.operator, plan.noise).to(where), tuple(folder.identity.image_shape)
    methods = {}
    for label in plan.methods:
        own = folder.method(label)
        methods[label] = method_result(own, own.load(ReconstructorBuilder(plan, label, problem, shape, where)))
    return Result(
        folder=path,
        spec=plan.spec,
        problem=problem,
        metrics=folder.metrics,
        summary=folder.summary,
        methods=methods,
        findings={key: folder.analysis(key).findings for key in plan.analyses},
        _images=RunImages(folder, plan.spec, problem, where, registry, last or LastImages()),
    )


def method_result(folder: MethodFolder, trained: TrainedMethod) -> MethodResult:
    """A trained method with what its files say about its training and its evaluation."""
    return MethodResult(trained.reconstructor, trained.log, folder.training.seconds, folder.warnings, folder)
