"""Settings of all tests."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

# Threads that sleep while they wait: tests must not stall on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken by the other workers
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Workers are told the width of the terminal that pytest runs in; what is tested writes as if there were none.
os.environ.pop("COLUMNS", None)
# Rewriting all assertions takes each worker nine seconds: what is compiled is kept, also by processes of tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Programs in the background may be started without Ctrl-C, and hand that on: the commands of tests are to have it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# What tests prove and compile stays theirs; workers share it.
os.environ["INVREG_CACHE"] = os.environ["TESTS_CACHE"] = os.environ.get("TESTS_CACHE") or tempfile.mkdtemp(
    prefix="invreg-tests-"
)


@pytest.fixture(scope="session")
def dinv() -> ModuleType:
    """The package `deepinv`, also beside a torchvision that does not fit torch; skipped where it is not installed."""
    found = importlib.util.find_spec("torchvision")
    if found is not None and found.origin is not None:
        _declare_operators(Path(found.origin).parent)
    return pytest.importorskip("deepinv", reason="DeepInverse is not installed")


def _declare_operators(torchvision: Path) -> None:
    """Lets torchvision be imported where it was built for another torch (for CUDA, beside a torch for the CPU).

    It declares two operators that its own library was to define. Nothing in these tests calls them.
    """
    import torch

    try:
        for library in torchvision.glob("_C.*"):
            torch.ops.load_library(library)
    except OSError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
