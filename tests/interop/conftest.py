"""DeepInverse, also beside a torchvision that does not fit torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="session")
def dinv() -> ModuleType:
    """The package `deepinv`; the test is skipped where it is not installed."""
    found = importlib.util.find_spec("torchvision")
    if found is not None and found.origin is not None:
        _declare_operators(Path(found.origin).parent)
    return pytest.importorskip("deepinv", reason="DeepInverse is not installed")


def _declare_operators(torchvision: Path) -> None:
    """Lets torchvision be imported where it was built for another torch (for CUDA, beside a torch for the CPU).

    It declares two operators that its own library was to define. Nothing in these tests calls them.
    """
    try:
        for library in torchvision.glob("_C.*"):
            torch.ops.load_library(library)
    except OSError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
