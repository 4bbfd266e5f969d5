"""One run: its plan checked against the data, and its stages in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from invreg.components.events import Events
from invreg.components.problem import Problem
from invreg.computing.processes import processes
from invreg.errors import InvregError, nothing_computed
from invreg.plugins.tracking import open_trackers
from invreg.running.inputs import RunInputs, load_inputs, set_up_methods
from invreg.running.listeners import TrainingLogFiles
from invreg.running.progress import TerminalProgress
from invreg.running.shared_work import SharedWork
from invreg.running.stages import Stages
from invreg.storage.run_folder import RunFolder

if TYPE_CHECKING:
    import torch

    from invreg.plugins.tracking import Tracker
    from invreg.specs.plan import Plan
    from invreg.storage.result import Result


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; what it computes stands in its spec.

    Attributes:
        output: the folder in which the run folder is made.
        device: where to compute.
        progress: whether progress is shown on the terminal.
        tracked: names of experiment trackers that follow the run.
        waits: whether to wait for another process that writes to the same folder, instead of being turned away.
    """

    output: Path
    device: torch.device
    progress: bool = False
    tracked: Sequence[str] = ()
    waits: bool = False


def run_single(plan: Plan, options: RunOptions) -> Result:
    """Checks a plan against the data and runs it.

    Raises:
        InvregError: if images, problem, methods and analyses do not fit together, or the run cannot be finished.
    """
    shared = SharedWork()
    with open_trackers(plan.registry, options.tracked) as trackers:
        return run_plan(plan, check_plan(plan, options.device, shared), options, shared, trackers)


def check_plan(plan: Plan, device: torch.device, shared: SharedWork) -> RunInputs:
    """Reads the images and checks that problem, images, methods and analyses fit together; nothing is trained.

    Raises:
        InvregError: if they do not; its exit status is that of a wrong spec, since nothing has been computed.
    """
    try:
        images, batch_size = shared.images(plan, device), plan.spec.evaluation.batch_size
        problem = Problem(plan.operator, plan.noise)
        inputs = load_inputs(problem, images, plan.metrics, plan.spec.seed, batch_size, device)
        return replace(inputs, builders=set_up_methods(plan, inputs, device))
    except InvregError as error:
        nothing_computed(error)
        raise


def run_plan(
    plan: Plan,
    inputs: RunInputs,
    options: RunOptions,
    shared: SharedWork,
    trackers: Mapping[str, Tracker],
    folder: RunFolder | None = None,
    listeners: Sequence[object] = (),
) -> Result:
    """Runs a plan, whose check gave the inputs, in its folder, by default the one that title and digest name."""
    together = processes()
    given = folder
    path = together.from_main(lambda: (given or RunFolder.create(options.output, plan.spec.title, plan.digest)).path)
    if not together.is_main:
        return Stages(plan, inputs, RunFolder(path), options.device, Events(), shared).execute()
    folder = RunFolder(path)
    terminal = [TerminalProgress()] if options.progress else []
    with folder.locked(options.waits):
        events = Events(plan.registry.manager, [*terminal, TrainingLogFiles(folder), *listeners], trackers)
        try:
            return Stages(plan, inputs, folder, options.device, events, shared).execute()
        finally:
            for listener in terminal:
                listener.close()
