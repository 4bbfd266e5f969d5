"""Training: what a trainer gets and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.errors import InvregError
from invreg.schema.component import Component
from invreg.schema.kinds import base_of
from invreg.schema.parameters import validated_parameters
from invreg.summaries import Summarized, Summary, cell
from invreg.text import plural

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from pydantic import BaseModel

    from invreg.components.dataset import Splits
    from invreg.components.events import Events
    from invreg.components.metric import Metric
    from invreg.components.operator import Shape
    from invreg.components.problem import Problem
    from invreg.components.reconstructor import Reconstructor
    from invreg.plugins.registry import Registry


def never_stop(step: int, value: float) -> str | None:
    """The stop rule of trainings that run to their end."""
    return None


@dataclass(frozen=True)
class Method:
    """A reconstruction method as its trainer sees it.

    Attributes:
        label: its name in the spec.
        parameters: the parameters of its reconstructor, as given in the spec.
        schema: the model of all its parameters, with defaults, ranges and search ranges.
        build: makes a reconstructor that is set up; keyword arguments change parameters from those of the spec.
        registry: knows the components that parameters can name; None for those that are installed.
    """

    label: str
    parameters: Mapping[str, Any]
    schema: type[BaseModel]
    build: Callable[..., Reconstructor]
    registry: Registry | None = None

    def validated(self, **changes: Any) -> dict[str, Any]:
        """All parameters, some of them changed, as the reconstructor would get them; nothing is built.

        Raises:
            SpecError: if a value is not allowed; `where` is the parameter.
        """
        nested = None if self.registry is None else self.registry.nested
        return validated_parameters(self.schema, {**self.parameters, **changes}, nested)


@dataclass(frozen=True)
class TrainingContext:
    """Everything around a training.

    Attributes:
        problem: operator and noise, on the device.
        image_shape: (C, H, W) of the images to be reconstructed.
        images: the splits; `images.train` lies on the device.
        val_measurements: the noisy measurements of the validation images, on the device.
        device: where to compute.
        seed: the run's seed; derive streams from it with [`invreg.computing.streams.stream_key`][].
        folder: a folder of its own, kept until the training is done, for checkpoints.
        events: who listens to progress.
        metrics: the metrics of the run by name; the first is used to choose.
        batch_size: number of images to reconstruct at once when validating.
        stop_rule: to be asked after each validation that is not the last, with the number of steps done and the value
            of the first metric; it says why the training should end there, or None for going on. A trainer that does
            not ask cannot be stopped by a search. Where several processes train together, each of them asks.
    """

    problem: Problem
    image_shape: Shape
    images: Splits
    val_measurements: torch.Tensor
    device: torch.device
    seed: int
    folder: Path
    events: Events
    metrics: Mapping[str, Metric]
    batch_size: int = 16
    stop_rule: Callable[[int, float], str | None] = never_stop


@dataclass(repr=False)
class TrainingLog(Summarized):
    """What happened in a training, as a table.

    Attributes:
        rows: one mapping per epoch or trial, all with the same keys; the first key is the axis.
        summary: single values (steps, best epoch, why it ended), shown in the report.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def plot(self) -> Figure:
        """Loss and validation values over the steps, or the values of the trials, as a figure of matplotlib.

        Raises:
            InvregError: if nothing was trained.
        """
        from invreg.plots import draw_curves

        if not self.rows:
            raise InvregError("nothing was trained", where="TrainingLog.plot", expected="a log with rows")
        return draw_curves(self.rows)

    def _summary(self) -> Summary:
        columns = list(self.rows[0])[:8] if self.rows else []
        notes = [", ".join(f"{name} {cell(value)}" for name, value in self.summary.items())] if self.summary else []
        left_out = [f"the last of {plural(len(self.rows), 'row')}"] if len(self.rows) > 10 else []
        rows = [[row.get(name) for name in columns] for row in self.rows[-10:]]
        return Summary(
            "TrainingLog" if self.rows else "TrainingLog: nothing was trained", columns, rows, left_out + notes
        )


@dataclass(frozen=True)
class TrainedMethod:
    """A reconstructor ready to use, with the log of its training."""

    reconstructor: Reconstructor
    log: TrainingLog


@base_of("trainer")
class Trainer(Component, ABC):
    """A way to fit a reconstructor to the training images of a problem."""

    def fits_weights(self) -> bool:
        """Whether it fits weights; one that does not is refused for a network when the spec is checked."""
        return True

    def shares_work(self) -> bool:
        """Whether `fit` shares a training among the processes of a command, each of which calls it.

        If it does not, the main process trains alone, and the others get the trained method from it.
        """
        return False

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        """Refuses a method that this trainer cannot train, before anything is computed.

        Args:
            method: the method.
            reconstructor: an instance of it, set up, only to look at.

        Raises:
            SpecError: saying what is missing.
        """

    @abstractmethod
    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        """Trains the method. An interrupted fit, called again with the same folder, goes on where it was.

        Raises:
            TrainingError: if it cannot go on (a loss that is not finite, say).
        """


def search_range(low: float, high: float, *, log: bool = False) -> dict[str, Any]:
    """The range over which a parameter is searched by default, for `Field(json_schema_extra=...)`.

    Example:
        `weight: Annotated[float, Field(gt=0, json_schema_extra=search_range(1e-4, 1e-1, log=True))]`
    """
    return {"search": {"low": low, "high": high, "log": log}}


def search_choices(values: Sequence[Any]) -> dict[str, Any]:
    """The choices over which a parameter is searched by default, for `Field(json_schema_extra=...)`."""
    return {"search": {"choices": list(values)}}
