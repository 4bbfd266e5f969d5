"""The Wiener filter against dense matrices, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch

from invreg import InvregError, Problem, Registry, SpecError
from invreg.testing import check_reconstructor
from invreg_baselines import wiener
from invreg_baselines.wiener import Wiener

SHAPE = (1, 8, 6)
REGISTRY = Registry.installed()
OPERATORS: list[Any] = [
    "identity",
    {"name": "gaussian_blur", "kernel_size": 3},
    {"name": "downsampling", "factor": 2},
    {"name": "convolution", "kernel": [[0.0, 0.2, 0.1], [0.3, 0.5, 0.0], [0.0, -0.2, 0.1]]},
]


def filter_of(operator: Any, shape: tuple[int, ...] = SHAPE, **parameters: float) -> Wiener:
    made: Wiener = REGISTRY.build("reconstructor", {"name": "wiener", **parameters})
    made.setup(Problem(REGISTRY.build("operator", operator).double()), shape)
    return made


def matrix(function: Any, shape: tuple[int, ...]) -> np.ndarray:
    unit = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    found: np.ndarray = function(unit).flatten(1).T.numpy()
    return found


def inverse_covariance(shape: tuple[int, ...], decay: float, length: float) -> np.ndarray:
    """S^-1 by SciPy's transform."""
    unit = np.eye(math.prod(shape)).reshape(-1, *shape[1:])
    rows, columns = (np.pi * np.arange(n) / n for n in shape[1:])
    gain = (1 + length**2 * (rows[:, None] ** 2 + columns**2)) ** (decay / 2)
    transformed = scipy.fft.dctn(unit, axes=(1, 2), norm="ortho") * gain
    found: np.ndarray = scipy.fft.idctn(transformed, axes=(1, 2), norm="ortho").reshape(len(unit), -1).T
    return found


@pytest.mark.parametrize("by_matrix", [True, False])
@pytest.mark.parametrize("operator", OPERATORS, ids=str)
def test_it_is_the_minimiser(operator: Any, by_matrix: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not by_matrix:
        monkeypatch.setattr(wiener, "fits_a_matrix", lambda *_: False)
    made = filter_of(operator, alpha=0.02, decay=2.5, length=1.5)
    a = matrix(made.problem.operator, SHAPE)
    shift = 0.02 * made.problem.norm(SHAPE).value ** 2
    expected = np.linalg.solve(a.T @ a + shift * inverse_covariance(SHAPE, 2.5, 1.5), a.T)
    found = matrix(made.forward, made.problem.operator.range_shape(SHAPE))
    norm = np.linalg.norm(expected, 2)
    assert np.linalg.norm(found - expected, 2) <= (1e-9 if by_matrix else 1e-4) * norm
    bound = made.norm_bound(SHAPE)
    assert np.linalg.norm(found, 2) <= bound <= 0.5 / math.sqrt(shift) * (1 + 2e-5)
    if by_matrix:
        assert bound <= 1.05 * norm


def test_without_decay_it_is_tikhonov() -> None:
    operator = OPERATORS[1]
    made = filter_of(operator, alpha=0.05, decay=0.0)
    tikhonov = REGISTRY.build("reconstructor", {"name": "tikhonov", "alpha": 0.05})
    tikhonov.setup(made.problem, SHAPE)
    z = torch.rand(2, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(made(z), tikhonov(z))


@pytest.mark.parametrize("operator", ["identity", OPERATORS[2]], ids=str)
def test_conformance(operator: Any) -> None:
    check_reconstructor(Wiener(alpha=0.1), REGISTRY.build("operator", operator), (2, 8, 6))


def test_networks_take_it() -> None:
    net = REGISTRY.build(
        "reconstructor",
        {"name": "conv_resnet", "subnetworks": 1, "channels": 2, "hidden": 2, "pull_back": {"name": "wiener"}},
    )
    net.setup(Problem(REGISTRY.build("operator", OPERATORS[2])), SHAPE)
    assert net(torch.rand(1, 1, 4, 3)).shape == (1, *SHAPE)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"decay": -1.0}, {"length": 0.0}], ids=str)
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SpecError, match=next(iter(wrong))):
        Wiener(**wrong)


def test_what_it_is_not_for_is_refused() -> None:
    with pytest.raises(SpecError, match="not linear"):
        filter_of("perona_malik")
    with pytest.raises(InvregError, match="zero"):
        filter_of({"name": "convolution", "kernel": [[0.0]]})
