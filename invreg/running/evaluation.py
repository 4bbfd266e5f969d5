"""Reconstructing the test images and measuring how well that went."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from invreg.components.foreign import blamed, call_unchanged, require_values
from invreg.components.image_quality import mean_squared_error
from invreg.components.metric import Metric
from invreg.components.reconstructor import Reconstructor
from invreg.components.tiles import MOST_MEMORY, is_too_large, reconstruct_within
from invreg.computing.memory import memory_guard
from invreg.computing.processes import processes
from invreg.errors import InvregError, ShapeError, recorded_warnings

if TYPE_CHECKING:
    import pandas as pd

#: The columns that come before `seconds` in the metrics table, where the run has them.
_LEADING = ("psnr", "ssim")

#: A root mean square error that is good for any image, 30 dB: images of nearly one grey are no measure for others.
_GOOD = 0.03

_SMALLER = "a smaller evaluation.batch_size; or, in Python, invreg.reconstruct_in_tiles for images that are too large"


def reconstruct(
    reconstructor: Reconstructor, z: Tensor, device: torch.device, batch_size: int, where: str = ""
) -> tuple[Tensor, list[float], list[str]]:
    """Reconstructions of all measurements, the seconds that each image took (its share of its batch), and the warnings.

    The processes of a command share the batches, which are those of a single process: so the values are the same.

    Args:
        reconstructor: the method.
        z: measurements `[N, ...range]`; they are kept, whatever the method does with its input.
        device: where the method is.
        batch_size: images at once.
        where: the path of the method in the spec, for messages.

    Raises:
        InvregError: if a reconstruction is not finite, or the method raises anything or changes its input.
        OutOfMemory: naming the size of the images.
    """
    together = processes()
    mine = slice(together.rank, None, together.count)
    shares = together.gather(lambda: _reconstructed(reconstructor, z, device, batch_size, where, mine))
    batches = [share[number] for number in range(len(shares[0])) for share in shares if number < len(share)]
    result = torch.cat([batch.x_hat for batch in batches])
    if not torch.isfinite(result).all():
        count = int((~torch.isfinite(result)).flatten(1).any(1).sum())
        raise InvregError(
            f"{count} of {len(result)} reconstructions are NaN or infinite",
            where=type(reconstructor).__name__,
            hint="a smaller learning rate, or more training",
        )
    seconds = [batch.seconds / len(batch.x_hat) for batch in batches for _ in batch.x_hat]
    return result, seconds, [message for batch in batches for message in batch.warnings]


class _Batch(NamedTuple):
    """The reconstructions of a batch, on the CPU, the seconds that it took, and the warnings of invreg."""

    x_hat: Tensor
    seconds: float
    warnings: list[str]


def _reconstructed(
    reconstructor: Reconstructor, z: Tensor, device: torch.device, batch_size: int, where: str, batches: slice
) -> list[_Batch]:
    within: Callable[[Tensor], Any] = reconstructor
    # On a CPU, a lack of memory ends the process; a GPU says it.
    if device.type == "cpu" and is_too_large(reconstructor, z, MOST_MEMORY):
        within = partial(reconstruct_within, reconstructor)
    found = []
    with torch.no_grad():
        for batch in z.split(batch_size)[batches]:
            messages: list[str] = []
            start = time.perf_counter()
            with (
                recorded_warnings(messages),
                memory_guard(f"reconstruction by {type(reconstructor).__name__} on {device}", batch.shape, _SMALLER),
            ):
                x_hat = call_unchanged(within, batch.to(device), where)
                x_hat = require_values(x_hat, None, reconstructor, where).cpu()
            found.append(_Batch(x_hat, time.perf_counter() - start, messages))
    return found


def doubt(x_hat: Tensor, x: Tensor, learned: bool) -> str | None:
    """What has to be said of reconstructions that are worse than none, such as those of a training that diverged.

    Args:
        x_hat: reconstructions `[N, C, H, W]`.
        x: the images, in [0, 1].
        learned: whether the method has weights: then it should do better than the mean grey of each image. Any other is
            only expected to do better than every image in [0, 1] does.

    Returns:
        The warning; None if there is nothing to say.
    """
    if x_hat.shape != x.shape:
        return None
    errors = mean_squared_error(x_hat, x).sqrt().tolist()
    mean = x.mean(tuple(range(2, x.ndim)), keepdim=True).expand_as(x)
    greys = mean_squared_error(mean, x).sqrt().clamp(min=_GOOD).tolist() if learned else [1.0] * len(x)
    error, grey = (sum(values) / len(values) for values in (errors, greys))
    if error <= grey:
        return None
    worse = sum(one > other for one, other in zip(errors, greys, strict=True))
    than = f"the mean grey of each image ({grey:.2g})" if learned else "any image in [0, 1] (1)"
    hint = (
        "training diverged, or has hardly begun: a smaller lr (and muon_lr), a longer warmup, or more training"
        if learned
        else "other parameters of the method; invreg.testing.check_operator looks for mistakes in the operator"
    )
    return str(
        InvregError(
            f"its reconstructions are worse than {than}: root mean square error {error:.2g}",
            where=f"{worse} of {len(errors)} test images",
            expected="a method that has learned more than the mean" if learned else "errors below 1",
            hint=hint,
        )
    )


def measure_quality(
    label: str, x_hat: Tensor, x: Tensor, names: list[str], seconds: list[float], metrics: Mapping[str, Metric]
) -> pd.DataFrame:
    """One row per image: method, image, psnr, ssim, seconds, further metrics."""
    import pandas as pd

    if x_hat.shape != x.shape:
        raise ShapeError(
            f"reconstructs shape {tuple(x_hat.shape[1:])}",
            where=f"methods.{label}",
            expected=f"the images' shape {tuple(x.shape[1:])}",
        )
    values = {}
    for index, (name, metric) in enumerate(metrics.items()):
        values[name] = measured(metric, x_hat, x, f"metrics.{index}").tolist()
    leading = [name for name in _LEADING if name in values]
    columns = {
        "method": label,
        "image": names,
        **{name: values[name] for name in leading},
        "seconds": seconds,
        **values,
    }
    return pd.DataFrame(columns)


def measured(metric: Metric, x_hat: Tensor, x: Tensor, where: str) -> Tensor:
    """One value of a metric for each image.

    Raises:
        InvregError: if the metric raises anything, or gives something else.
    """
    with blamed(metric, where):
        values = metric(x_hat, x)
    return require_values(values, x.shape[:1], metric, where)


def summarize(
    metrics: pd.DataFrame, parameters: Mapping[str, int], training_seconds: Mapping[str, float]
) -> pd.DataFrame:
    """One row per method: means and standard deviations over the images, size and times."""
    import pandas as pd

    names = [name for name in metrics.columns if name not in ("method", "image", "seconds")]
    leading = [name for name in _LEADING if name in names]
    rows = []
    for label, group in metrics.groupby("method", sort=False):
        spread = {key: value for name in names for key, value in _moments(name, group[name]).items()}
        first = {key: spread[key] for name in leading for key in (name, f"{name}_std")}
        sizes = {
            "parameters": parameters[str(label)],
            "training_seconds": training_seconds[str(label)],
            "reconstruction_seconds": group["seconds"].mean(),
        }
        rows.append({"method": label, **first, **sizes, **{key: spread[key] for key in spread if key not in first}})
    return pd.DataFrame(rows)


def _moments(name: str, values: pd.Series) -> dict[str, float]:
    return {name: values.mean(), f"{name}_std": values.std(ddof=1) if len(values) > 1 else 0.0}
