"""One run: its plan checked against the data, and its stages in its folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from invreg.components.events import Events
from invreg.plugins.tracking import close_trackers, make_trackers
from invreg.running.listeners import TerminalProgress, TrainingLogFiles
from invreg.running.setting import Setting, load_setting, set_up_methods
from invreg.running.shared_work import Shared
from invreg.running.stages import Stages
from invreg.storage.run_folder import RunFolder

if TYPE_CHECKING:
    import torch

    from invreg.specs.plan import Plan
    from invreg.storage.result import Result


def check_plan(plan: Plan, device: torch.device, shared: Shared) -> Setting:
    """Reads the images and checks that problem, images, methods and analyses fit together; nothing is trained."""
    setting = load_setting(plan, shared.images(plan, device), device)
    return replace(setting, builders=set_up_methods(plan, setting, device))


def run_plan(
    plan: Plan,
    setting: Setting,
    output: Path,
    device: torch.device,
    progress: bool,
    shared: Shared,
    tracked: Iterable[str] = (),
) -> Result:
    """Runs a plan, whose check gave the setting, in its folder below `output`."""
    folder = RunFolder.create(output, plan.spec.title, plan.digest)
    terminal = [TerminalProgress()] if progress else []
    trackers = make_trackers(plan.registry, tracked)
    with folder.locked():
        events = Events(plan.registry.manager, [*terminal, TrainingLogFiles(folder)], trackers)
        try:
            return Stages(plan, setting, folder, device, events, shared).execute()
        finally:
            for listener in terminal:
                listener.close()
            close_trackers(trackers)
