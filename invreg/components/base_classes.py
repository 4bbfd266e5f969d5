"""The abstract class behind each kind of component."""

from __future__ import annotations

from invreg.components.analyzer import Analyzer
from invreg.components.dataset import ImageDataset
from invreg.components.executor import Executor
from invreg.components.metric import Metric
from invreg.components.noise import Noise
from invreg.components.operator import Operator
from invreg.components.reconstructor import Reconstructor
from invreg.components.study_analyzer import StudyAnalyzer
from invreg.components.trainer import Trainer
from invreg.schema.component import Component

BASE_CLASSES: dict[str, type[Component]] = {
    "operator": Operator,
    "noise": Noise,
    "dataset": ImageDataset,
    "reconstructor": Reconstructor,
    "metric": Metric,
    "trainer": Trainer,
    "analyzer": Analyzer,
    "study_analyzer": StudyAnalyzer,
    "executor": Executor,
}
