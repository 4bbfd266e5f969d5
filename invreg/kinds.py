"""The kinds of components, and the base class that makes a class one of them."""

from __future__ import annotations

import importlib
from functools import cache

from invreg.component import Component

#: Kind to the place of its base class; imported on first use, because most of them need torch.
KINDS = {
    "operator": "invreg.operator:Operator",
    "noise": "invreg.noise:Noise",
    "dataset": "invreg.dataset:ImageDataset",
    "reconstructor": "invreg.reconstructor:Reconstructor",
    "metric": "invreg.metrics:Metric",
    "trainer": "invreg.trainer:Trainer",
    "analyzer": "invreg.analyzer:Analyzer",
    "study_analyzer": "invreg.study_analyzer:StudyAnalyzer",
}


@cache
def base_class(kind: str) -> type[Component]:
    """The abstract class from which components of this kind derive."""
    module, name = KINDS[kind].split(":")
    base: type[Component] = getattr(importlib.import_module(module), name)
    return base


def kind_of(cls: type) -> str | None:
    """The kind of a component class, or None if it derives from no base class."""
    return next((kind for kind in KINDS if issubclass(cls, base_class(kind))), None)
