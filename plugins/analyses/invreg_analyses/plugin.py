"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_analyses.architecture.architecture import ArchitectureAnalysis
from invreg_analyses.comparison.lipschitz_sweep import LipschitzSweep
from invreg_analyses.comparison.method_comparison import MethodComparison
from invreg_analyses.comparison.settings_table import SettingsTable
from invreg_analyses.comparison.training_size import TrainingSize
from invreg_analyses.conformal.conformal import Conformal
from invreg_analyses.convergence.convergence import Convergence
from invreg_analyses.examples.examples import Examples
from invreg_analyses.examples.grid import ExampleGrid
from invreg_analyses.forward_map.accuracy import ForwardMapAccuracy
from invreg_analyses.forward_map.firm_nonexpansiveness import FirmNonexpansiveness
from invreg_analyses.forward_map.forward_map import ForwardMap
from invreg_analyses.forward_map.radial_transfer import RadialTransfer
from invreg_analyses.forward_map.regularization_map import RegularizationMap
from invreg_analyses.ill_posedness.by_noise import IllPosednessByNoise
from invreg_analyses.ill_posedness.local_ill_posedness import LocalIllPosedness
from invreg_analyses.measurements.new_measurements import NewMeasurements
from invreg_analyses.mismatch.by_training import NoiseMismatchByTraining
from invreg_analyses.mismatch.noise_mismatch import NoiseMismatch
from invreg_analyses.quality.quality import Quality
from invreg_analyses.saliency.by_noise import SaliencyByNoise
from invreg_analyses.saliency.clusters import SaliencyClusters
from invreg_analyses.saliency.edges import EdgeSaliency
from invreg_analyses.stability.adversarial import Adversarial
from invreg_analyses.stability.certificate import Certificate
from invreg_analyses.stability.quality_against_bound import QualityAgainstBound
from invreg_analyses.stability.stability import Stability
from invreg_analyses.training.curves import TrainingCurves


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {
        "quality": Quality,
        "examples": Examples,
        "training_curves": TrainingCurves,
        "forward_map": ForwardMap,
        "local_ill_posedness": LocalIllPosedness,
        "regularization_map": RegularizationMap,
        "radial_transfer": RadialTransfer,
        "new_measurements": NewMeasurements,
        "architecture": ArchitectureAnalysis,
        "certificate": Certificate,
        "stability": Stability,
        "adversarial": Adversarial,
        "conformal": Conformal,
        "noise_mismatch": NoiseMismatch,
        "firm_nonexpansiveness": FirmNonexpansiveness,
        "saliency_clusters": SaliencyClusters,
        "edge_saliency": EdgeSaliency,
        "method_comparison": MethodComparison,
        "lipschitz_sweep": LipschitzSweep,
        "example_grid": ExampleGrid,
        "settings_table": SettingsTable,
        "convergence": Convergence,
        "forward_map_accuracy": ForwardMapAccuracy,
        "ill_posedness_by_noise": IllPosednessByNoise,
        "saliency_by_noise": SaliencyByNoise,
        "noise_mismatch_by_training": NoiseMismatchByTraining,
        "training_size": TrainingSize,
        "quality_against_bound": QualityAgainstBound,
    }
