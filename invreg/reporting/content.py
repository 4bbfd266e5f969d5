"""What a report shows, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from invreg.storage.analysis_folder import SavedFigure


@dataclass(frozen=True)
class ComponentContent:
    """A component: its name in specs, one sentence about it, its parameters."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricContent:
    """A metric: its name in specs, its unit (may be empty), and whether a larger value is a better one."""

    name: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class MethodContent:
    """A method of the run.

    Attributes:
        label: its name in the spec.
        reconstructor: with the parameters that were used in the end.
        trainer: None if nothing was trained.
        weights: number of trainable parameters.
        training_seconds: 0 if nothing was trained.
        log: the training log; None or empty if there is none.
        log_summary: single values from the training.
        warnings: what did not go as it should.
        certificate: what is proven of its stability, in words; empty if nothing was certified.
    """

    label: str
    reconstructor: ComponentContent
    trainer: ComponentContent | None
    weights: int
    training_seconds: float
    log: pd.DataFrame | None = None
    log_summary: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    certificate: str = ""


@dataclass(frozen=True)
class AnalysisContent:
    """An analysis: its key in the run, a sentence about it, what it found or why it failed, and what it left out."""

    name: str
    description: str = ""
    text: str = ""
    scalars: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Sequence[SavedFigure] = ()
    failure: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportContent:
    """Everything that the report of a run shows.

    Attributes:
        title: the spec's title.
        seed: the run's seed.
        operator: the forward operator.
        noise: the noise.
        data: the dataset.
        image_shape: (C, H, W) of the test images.
        image_counts: number of images by split, in words of one's own ("training images", "test images").
        test_images: number of test images.
        metrics: in the order of the spec; the first ranks the methods.
        summary: one row per method: method, each metric with its `_std`, parameters, training_seconds,
            reconstruction_seconds.
        methods: in the order of the spec.
        analyses: in the order of the spec.
        spec_yaml: the resolved spec.
        environment: versions and machine; mappings may be nested one level deep.
        command: the command that repeats the run.
    """

    title: str
    seed: int
    operator: ComponentContent
    noise: ComponentContent
    data: ComponentContent
    image_shape: tuple[int, int, int]
    image_counts: Mapping[str, int]
    test_images: int
    metrics: Sequence[MetricContent]
    summary: pd.DataFrame
    methods: Sequence[MethodContent]
    analyses: Sequence[AnalysisContent]
    spec_yaml: str
    environment: Mapping[str, Any]
    command: str
