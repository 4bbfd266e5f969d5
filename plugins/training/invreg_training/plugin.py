"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl


@hookimpl
def invreg_components() -> Mapping[str, type]:
    from invreg_training.gradient.approximation import ApproximationTraining
    from invreg_training.gradient.denoising import DenoisingTraining
    from invreg_training.gradient.trainer import ReconstructionTraining
    from invreg_training.search.search import ParameterSearch

    return {
        "reconstruction": ReconstructionTraining,
        "approximation": ApproximationTraining,
        "denoising": DenoisingTraining,
        "parameter_search": ParameterSearch,
    }
