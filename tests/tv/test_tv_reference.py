"""The values that TV reaches on photographs, measured once with another implementation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import invreg
from invreg.components.problem import Problem
from invreg_metrics.metrics import PSNR

PHOTOGRAPHS = Path(__file__).resolve().parents[3] / "shared" / "data" / "bsds500" / "val"

pytestmark = pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"the photographs are not there: {PHOTOGRAPHS}")


@pytest.fixture(scope="module")
def photographs():
    """16 photographs: grey, landscape, means of 2x2 pixels, the middle 96x96."""
    images = []
    for path in sorted(PHOTOGRAPHS.glob("*.jpg"))[:16]:
        grey = np.asarray(Image.open(path).convert("L"), dtype=np.float32) / 255
        grey = np.rot90(grey).copy() if grey.shape[0] > grey.shape[1] else grey
        half = torch.nn.functional.avg_pool2d(torch.from_numpy(grey)[None, None], 2)[0]
        top, left = (half.shape[1] - 96) // 2, (half.shape[2] - 96) // 2
        images.append(half[:, top : top + 96, left : left + 96])
    return torch.stack(images)


def reconstruct(images, operator, std, weight, tolerance=1e-3):
    registry = invreg.Registry.installed()
    problem = Problem(registry.build("operator", operator), registry.build("noise", {"name": "gaussian", "std": std}))
    z = problem.measure(images, seed=0)
    tv = registry.build("reconstructor", {"name": "tv", "weight": weight, "tolerance": tolerance})
    tv.setup(problem, (1, 96, 96))
    solution = tv.solve(z)
    psnr = PSNR()
    return float(psnr(z, images).mean()), float(psnr(solution.x, images).mean()), solution


@pytest.mark.slow
@pytest.mark.parametrize(
    ("std", "weight", "data", "expected", "iterations"),
    [(0.01, 5.5e-4, 23.05, 25.58, 400), (0.025, 2.9e-3, 22.56, 24.51, 340), (0.05, 8.5e-3, 21.21, 23.59, 240)],
)
def test_blur(photographs, std, weight, data, expected, iterations):
    measured, reached, solution = reconstruct(photographs, "gaussian_blur", std, weight)
    assert solution.converged.all()
    assert measured == pytest.approx(data, abs=0.1)
    assert reached == pytest.approx(expected, abs=0.1)
    assert int(solution.iterations.max()) < iterations


@pytest.mark.slow
@pytest.mark.parametrize(
    ("std", "weight", "tolerance", "data", "expected"),
    [(0.05, 2.4e-2, 1e-3, 24.76, 27.11), (0.01, 1.4e-3, 1e-2, 30.58, 32.63)],
)
def test_perona_malik(photographs, std, weight, tolerance, data, expected):
    measured, reached, solution = reconstruct(photographs, "perona_malik", std, weight, tolerance)
    assert solution.converged.all()
    assert (solution.relative_gap <= tolerance).all()
    assert measured == pytest.approx(data, abs=0.1)
    assert reached == pytest.approx(expected, abs=0.1)
