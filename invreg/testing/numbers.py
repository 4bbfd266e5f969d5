"""Random images, and comparisons whose failures say by how much."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from invreg.testing.checks import Refused


def images(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random images with values in (0, 1), the same for the same seed."""
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def vectors(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random directions, normally distributed."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def transposed_in_memory(x: Tensor) -> Tensor:
    """The same tensor with its columns, instead of its rows, in one piece."""
    return x.transpose(-1, -2).contiguous().transpose(-1, -2)


def distance(a: Tensor, b: Tensor) -> float:
    """The norm of a - b relative to the larger norm of both; 0 if both are zero, infinite if their shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.detach().double(), b.detach().double()
    scale = max(float(a.norm()), float(b.norm()))
    gap = float((a - b).norm())
    return gap / scale if scale else gap


def demand_close(a: Tensor, b: Tensor, tolerance: float, what: str, fix: str) -> None:
    """Refuses tensors whose relative distance exceeds the tolerance or is NaN."""
    gap = distance(a, b)
    if not gap <= tolerance:
        raise Refused(f"{what}: relative difference {gap:.3g}", f"at most {tolerance:g}", fix)


def demand_same(a: Tensor, b: Tensor, what: str, fix: str) -> None:
    """Refuses tensors that are not the same bit for bit (NaN equals NaN)."""
    if a.shape != b.shape or a.dtype != b.dtype or not torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)):
        raise Refused(f"{what}: relative difference {distance(a, b):.3g}", "the same numbers", fix)


def demand_finite(a: Tensor, what: str, fix: str) -> None:
    """Refuses NaN and infinite values."""
    if not torch.isfinite(a).all():
        bad = int((~torch.isfinite(a)).sum())
        raise Refused(f"{what}: {bad} of {a.numel()} values are NaN or infinite", "finite values", fix)


def demand_equal(found: Any, expected: Any, what: str, fix: str) -> None:
    """Refuses anything but the expected value."""
    if found != expected:
        raise Refused(f"{what} is {found}", str(expected), fix)
