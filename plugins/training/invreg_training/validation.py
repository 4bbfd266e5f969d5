"""The value of a reconstructor on the validation images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from invreg import Metric, ShapeError, TrainingError, processes

if TYPE_CHECKING:
    from invreg import Processes, Reconstructor, TrainingContext


def deciding_metric(context: TrainingContext) -> tuple[str, Metric]:
    """The metric that chooses between weights and between parameters: the first of the run.

    Raises:
        TrainingError: if there is none.
    """
    for name, metric in context.metrics.items():
        return name, metric
    raise TrainingError("the run has no metric to choose by", where="metrics", expected="at least one metric")


def validate(reconstructor: Reconstructor, context: TrainingContext) -> float:
    """Mean of the deciding metric over the validation images; the processes share the work.

    The reconstructor is left in evaluation mode.

    Raises:
        TrainingError: if there are no validation images, or a value is not a number.
        ShapeError: if reconstructions do not have the images' shape.
    """
    name, metric = deciding_metric(context)
    images, measurements = context.images.val.images, context.val_measurements
    if len(images) == 0 or len(images) != len(measurements):
        raise TrainingError(
            f"{len(images)} validation images, {len(measurements)} measurements of them",
            where="trainer",
            expected="at least one image, and a measurement of each",
        )
    together = processes()
    reconstructor.eval()
    shares = together.gather(lambda: _values(reconstructor, context, metric, together))
    total = math.fsum(value for share in shares for value in share)
    if math.isnan(total):
        raise TrainingError(
            f"the {name} of the validation images is not a number",
            where="trainer",
            hint="a smaller learning rate",
        )
    return total / len(images)


def _values(reconstructor: Reconstructor, context: TrainingContext, metric: Metric, together: Processes) -> list[float]:
    """The values of this process's share of the images: whole batches, so that each value is that of one process."""
    parts = [tensor.split(context.batch_size) for tensor in (context.val_measurements, context.images.val.images)]
    values: list[float] = []
    with torch.no_grad():
        for z, x in list(zip(*parts, strict=True))[together.rank :: together.count]:
            x_hat = reconstructor.preview(z.to(context.device))
            if x_hat.shape != x.shape:
                raise ShapeError(
                    f"{type(reconstructor).__name__} gives reconstructions of shape {tuple(x_hat.shape)}",
                    where="trainer",
                    expected=f"the shape {tuple(x.shape)} of the validation images",
                )
            values += metric(x_hat, x.to(context.device)).tolist()
    return values


def is_better(value: float, best: float | None, metric: Metric) -> bool:
    """Whether a value beats the best one so far."""
    if best is None:
        return True
    return value > best if metric.higher_is_better else value < best
