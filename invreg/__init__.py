"""invreg: inverse problems with learned reconstruction that can be trusted.

The public names are imported on first use, so that `import invreg` stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

from invreg.hookspecs import INTERFACE_VERSION, hookimpl

__version__ = "0.1.0"

_HOMES = {
    "ActsOnLiftedStates": "invreg.reconstructor",
    "Analyzer": "invreg.analyzer",
    "Architecture": "invreg.architecture",
    "CompletedRun": "invreg.analyzer",
    "CompletedStudy": "invreg.study_analyzer",
    "CertificateError": "invreg.errors",
    "CertifiesStability": "invreg.reconstructor",
    "Component": "invreg.component",
    "ConvergenceError": "invreg.errors",
    "ConvergenceWarning": "invreg.errors",
    "DataError": "invreg.errors",
    "DescribesArchitecture": "invreg.reconstructor",
    "FinalisesWeights": "invreg.reconstructor",
    "Findings": "invreg.analyzer",
    "FollowsTraining": "invreg.reconstructor",
    "ImageDataset": "invreg.dataset",
    "ImageStack": "invreg.dataset",
    "InvregError": "invreg.errors",
    "LearnsForwardMap": "invreg.reconstructor",
    "LinearOperator": "invreg.operator",
    "Linearization": "invreg.operator",
    "Method": "invreg.trainer",
    "Metric": "invreg.metrics",
    "Noise": "invreg.noise",
    "NormalOperator": "invreg.operator",
    "Operator": "invreg.operator",
    "PluginError": "invreg.errors",
    "Problem": "invreg.problem",
    "Reconstructor": "invreg.reconstructor",
    "Registry": "invreg.registry",
    "Result": "invreg.result",
    "ShapeError": "invreg.errors",
    "StabilityCertificate": "invreg.certificate",
    "Spec": "invreg.spec",
    "SpecError": "invreg.errors",
    "Splits": "invreg.dataset",
    "StudyAnalyzer": "invreg.study_analyzer",
    "StudyResult": "invreg.study",
    "StoreError": "invreg.errors",
    "TrainedMethod": "invreg.trainer",
    "Trainer": "invreg.trainer",
    "TrainingContext": "invreg.trainer",
    "TrainingError": "invreg.errors",
    "TrainingImages": "invreg.crops",
    "TrainingLog": "invreg.trainer",
    "load": "invreg.pipeline",
    "reconstruct_in_tiles": "invreg.tiles",
    "run": "invreg.pipeline",
    "search_choices": "invreg.trainer",
    "search_range": "invreg.trainer",
    "spec_of": "invreg.registry",
    "stream_key": "invreg.streams",
}

__all__ = ["INTERFACE_VERSION", "__version__", "hookimpl", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'invreg' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
