"""How far a learned forward map is from its operator, image by image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from invreg import SSIM_WINDOW, mean_squared_error, structural_similarity

if TYPE_CHECKING:
    import pandas as pd

    from invreg_analyses.shared.progress import Progress


def on_all(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    device: torch.device,
    batch_size: int,
    progress: Progress | None = None,
) -> Tensor:
    """The function on all images, batch by batch; on the CPU."""
    found = []
    with torch.no_grad():
        for batch in x.split(batch_size):
            found.append(function(batch.to(device)).cpu())
            if progress:
                progress.advance(len(batch))
    return torch.cat(found)


def accuracy(x: Tensor, names: Sequence[str], phi: Tensor, target: Tensor) -> pd.DataFrame:
    """One row per image.

    - `mse` and `ssim` between phi(x) and F(x), the latter NaN for images that are too small;
    - `relative` = ||phi(x) - F(x)|| / ||F(x)||, and `identity` = ||x - F(x)|| / ||F(x)||.

    Args:
        x: images, `[N, C, H, W]`.
        names: their names.
        phi: phi(x).
        target: F(x).
    """
    import pandas as pd

    has_ssim = min(x.shape[-2:]) >= SSIM_WINDOW
    return pd.DataFrame(
        {
            "image": list(names),
            "mse": mean_squared_error(phi, target).tolist(),
            "ssim": structural_similarity(phi, target).tolist() if has_ssim else math.nan,
            "relative": relative(phi, target),
            "identity": relative(x, target),
        }
    )


def relative(given: Tensor, reference: Tensor) -> list[float]:
    """||given - reference|| / ||reference||, image by image."""
    difference = (given.double() - reference.double()).flatten(1).norm(dim=1)
    values: list[float] = (difference / reference.double().flatten(1).norm(dim=1)).tolist()
    return values
