"""The hooks that plugins may implement.

Implementations are ordinary functions marked with `@invreg.hookimpl`; an implementation may leave out arguments
it does not need. Life-cycle hooks are called one by one: one that raises is named and set aside for the rest of the
run, and the others still hear.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from invreg.components.analyzer import Findings
    from invreg.components.trainer import TrainedMethod
    from invreg.specs.spec import Spec
    from invreg.storage.result import Result

PROJECT = "invreg"

#: The version of the interface between invreg and plugins: the hooks, and what components may rely on.
INTERFACE_VERSION = 1

#: Plugins that were written for earlier interfaces, down to this one, are still accepted.
OLDEST_INTERFACE = 1

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Decorator: marks a function as the implementation of the hook of its name."""


@hookspec
def invreg_components() -> Mapping[str, type]:  # type: ignore[empty-body]
    """Names to component classes; what kind each is follows from its base class."""


@hookspec
def invreg_trackers() -> Mapping[str, type]:  # type: ignore[empty-body]
    """Names to classes of trackers: listeners that a run makes, without arguments, when it is asked for them."""


@hookspec
def invreg_interface() -> int:  # type: ignore[empty-body]
    """The version of the plugin interface that this plugin was written for; 1 if it does not say."""


@hookspec
def invreg_run_started(folder: Path, spec: Spec) -> None:
    """A run starts, or continues, in `folder`."""


@hookspec
def invreg_progress(label: str, stage: str, done: float, total: float, values: Mapping[str, Any]) -> None:
    """Work on `label` (a method or an analysis) has reached `done` of `total`; `values` are worth showing now."""


@hookspec
def invreg_epoch_finished(label: str, epoch: int, values: Mapping[str, Any]) -> None:
    """Method `label` finished an epoch of training (or a search finished a trial) with these values."""


@hookspec
def invreg_method_trained(label: str, trained: TrainedMethod) -> None:
    """Method `label` is trained, or was loaded from a finished training."""


@hookspec
def invreg_findings_made(name: str, findings: Findings) -> None:
    """The analysis `name` has its findings."""


@hookspec
def invreg_run_finished(result: Result) -> None:
    """The run is complete, its report written."""
