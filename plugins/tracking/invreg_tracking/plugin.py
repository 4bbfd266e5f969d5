"""Registration of this plugin's trackers."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_tracking.mlflow import MLflowTracker
from invreg_tracking.tensorboard import TensorBoardTracker


@hookimpl
def invreg_trackers() -> Mapping[str, type]:
    return {"mlflow": MLflowTracker, "tensorboard": TensorBoardTracker}
