"""Analyses: from a finished run to findings, from findings to figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from invreg.components.events import Events
from invreg.schema.component import Component
from invreg.schema.kinds import base_of
from invreg.summaries import Summarized, Summary

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from matplotlib.figure import Figure

    from invreg.components.certificate import StabilityCertificate
    from invreg.components.dataset import Splits
    from invreg.components.metric import Metric
    from invreg.components.problem import Problem
    from invreg.components.trainer import TrainedMethod


@dataclass(repr=False)
class Findings(Summarized):
    """What an analysis found. The harness saves it and can draw it again without computing anything.

    Attributes:
        scalars: single numbers or short texts.
        tables: tables by name, saved as CSV.
        arrays: NumPy arrays of numbers by name, saved as NPZ.
        text: one or two sentences, plain text, that say what is seen; shown above the figures.
    """

    scalars: dict[str, float | int | str | bool] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    text: str = ""

    def _summary(self) -> Summary:
        rows: list[tuple[str, Any]] = list(self.scalars.items())
        parts = {"tables": self.tables, "arrays": self.arrays}
        for kind, values in parts.items():
            shapes = [f"{name} {'x'.join(map(str, value.shape))}" for name, value in values.items()]
            if shapes:
                rows.insert(0, (kind, ", ".join(shapes)))
        return Summary("Findings", (), rows, [self.text] if self.text else [])


@dataclass(frozen=True)
class CompletedRun:
    """A run after training and evaluation, as analyses see it.

    Attributes:
        title: the spec's title.
        seed: the run's seed.
        device: where to compute.
        problem: operator and noise.
        images: the splits; test images on the CPU.
        measurements: the noisy test measurements, `[N, ...range]`, on the CPU.
        methods: the trained methods by label, in the order of the spec.
        reconstructions: `[N, C, H, W]` by label, on the CPU; `[N, C, D, H, W]` of volumes.
        metrics: one row per method and image: method, image, one column per metric, seconds.
        metric_components: the metrics by name.
        batch_size: number of images to handle at once.
        certificates: of the methods that certify their stability, by label; each is made (or read and verified) when it
            is first asked for.
        events: who listens to the progress of long analyses.
    """

    title: str
    seed: int
    device: torch.device
    problem: Problem
    images: Splits
    measurements: torch.Tensor
    methods: Mapping[str, TrainedMethod]
    reconstructions: Mapping[str, torch.Tensor]
    metrics: pd.DataFrame
    metric_components: Mapping[str, Metric]
    batch_size: int = 16
    certificates: Mapping[str, StabilityCertificate] = field(default_factory=dict)
    events: Events = field(default_factory=Events)


@base_of("analyzer")
class Analyzer(Component, ABC):
    """An analysis of one run. It neither writes files nor prints: the harness does."""

    #: The capabilities (protocols of `invreg.components.reconstructor`) that a method needs to be analysed; an analysis
    #: that no method of a spec can satisfy is refused before anything is computed.
    requires: ClassVar[Sequence[type]] = ()

    #: Whether it evaluates the operator; it is then refused where nothing but measurements is known of that.
    needs_operator: ClassVar[bool] = False

    #: Whether it also understands volumes, images `[C, D, H, W]`; it is refused for them otherwise.
    takes_volumes: ClassVar[bool] = False

    def check(self, problem: Problem, images: Splits, metrics: Collection[str]) -> None:
        """Refuses what it cannot analyse, before anything is trained; here, nothing.

        Args:
            problem: operator and noise.
            images: the splits.
            metrics: the names of the metrics, in the order of the spec.

        Raises:
            SpecError: with the parameter as its place.
        """

    @abstractmethod
    def analyze(self, run: CompletedRun) -> Findings:
        """Computes the findings."""

    @abstractmethod
    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        """Figures by name, from the findings alone (they may come from a file)."""

    def methods_of(self, run: CompletedRun) -> dict[str, Any]:
        """The reconstructors of the run that have every required capability, by label."""
        return {
            label: trained.reconstructor
            for label, trained in run.methods.items()
            if all(isinstance(trained.reconstructor, capability) for capability in self.requires)
        }

    def left_out(self, run: CompletedRun) -> dict[str, str]:
        """The labels of all other methods, with what they lack in words."""
        lacking = {}
        for label, trained in run.methods.items():
            missing = [needed for needed in self.requires if not isinstance(trained.reconstructor, needed)]
            if missing:
                lacking[label] = "; ".join(f"not {_in_words(needed)}" for needed in missing)
        return lacking


def _in_words(capability: type) -> str:
    """The first sentence about a capability, for the middle of a sentence."""
    said = (capability.__doc__ or capability.__name__).splitlines()[0].rstrip(".")
    return f"{said[:1].lower()}{said[1:]}" if capability.__doc__ else said
