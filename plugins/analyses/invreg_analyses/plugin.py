"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg.hookspecs import hookimpl
from invreg_analyses.architecture import Architecture
from invreg_analyses.certificate import Certificate
from invreg_analyses.convergence import Convergence
from invreg_analyses.edge_saliency import EdgeSaliency
from invreg_analyses.example_grid import ExampleGrid
from invreg_analyses.examples import Examples
from invreg_analyses.firm_nonexpansiveness import FirmNonexpansiveness
from invreg_analyses.forward_map import ForwardMap
from invreg_analyses.forward_map_accuracy import ForwardMapAccuracy
from invreg_analyses.ill_posedness_by_noise import IllPosednessByNoise
from invreg_analyses.lipschitz_sweep import LipschitzSweep
from invreg_analyses.local_ill_posedness import LocalIllPosedness
from invreg_analyses.method_comparison import MethodComparison
from invreg_analyses.quality import Quality
from invreg_analyses.radial_transfer import RadialTransfer
from invreg_analyses.regularization_map import RegularizationMap
from invreg_analyses.saliency_by_noise import SaliencyByNoise
from invreg_analyses.saliency_clusters import SaliencyClusters
from invreg_analyses.settings_table import SettingsTable
from invreg_analyses.stability import Stability
from invreg_analyses.training_curves import TrainingCurves


@hookimpl
def invreg_interface() -> int:
    return 1


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
        "architecture": Architecture,
        "certificate": Certificate,
        "stability": Stability,
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
    }
