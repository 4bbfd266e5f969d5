"""Sensitivities of receive coils."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invreg import SpecError

#: How far the coils are from the centre, in half sides of the image: outside of its corners.
_RADIUS = 1.5


@lru_cache(maxsize=16)
def ring_maps(coils: int, height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The sensitivities of coils on a ring around the image, complex `[coils, height, width]`, sum of |S_c|² = 1."""
    # Not an inference tensor, even if first needed in inference mode: gradients pass through it later.
    with torch.inference_mode(False):
        half = max(height, width) / 2
        rows, columns = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / half for n in (height, width))
        places = torch.complex(*torch.broadcast_tensors(columns[None, :], -rows[:, None]))
        turns = torch.arange(coils, dtype=torch.float64) * (2 * math.pi / coils)
        wires = _RADIUS * torch.polar(torch.ones_like(turns), turns)
        maps = 1 / (1 - places / wires[:, None, None])
        return (maps / maps.abs().square().sum(0).sqrt()).to(device, dtype)


def maps_in(path: Path) -> Tensor:
    """The sensitivities in an NPY file, complex `[coils, height, width]`.

    Raises:
        SpecError: if there are none; `where` is the parameter.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SpecError(
            f"{path} cannot be read: {error}",
            where="maps",
            expected="an NPY file of sensitivities",
            hint="np.save(path, maps)",
        ) from error
    if not isinstance(values, np.ndarray) or values.ndim != 3 or not values.size or values.dtype.kind not in "fc":
        found = f"{values.dtype} of shape {list(values.shape)}" if isinstance(values, np.ndarray) else "several arrays"
        raise SpecError(
            f"{path} holds {found}", where="maps", expected="complex numbers of shape [coils, height, width]"
        )
    if not np.isfinite(values).all():
        raise SpecError(f"{path} holds NaN or infinite values", where="maps", expected="finite sensitivities")
    silent = [str(coil) for coil, each in enumerate(values) if not each.any()]
    if silent:
        raise SpecError(
            f"{path}: the map of coil {', '.join(silent)} is zero everywhere",
            where="maps",
            expected="coils that see something",
            hint="leave these coils out",
        )
    unseen = int((~values.any(0)).sum())
    if unseen:
        raise SpecError(
            f"{path}: all maps vanish at {unseen} of {values[0].size} pixels, which no coil sees",
            where="maps",
            expected="a sensitivity that is not zero at each pixel",
            hint="where there is nothing to see any value does: maps[:, (maps == 0).all(0)] = len(maps) ** -0.5",
        )
    with torch.inference_mode(False):
        return torch.from_numpy(values.astype(np.complex128))
