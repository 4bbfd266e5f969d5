"""Steps of the proofs in docs/theory/certificates.md that no other test sees by themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from iresnet_helpers import Smooth, explicit, network
from numpy.typing import NDArray

POINTS = 2**14


def _polynomial(degree: int, seed: int) -> NDArray[np.float64]:
    """A real trigonometric polynomial at `POINTS` places of a period, 1 at the first place and at most 1 elsewhere."""
    numbers = np.random.default_rng(seed)
    spectrum = np.zeros(POINTS // 2 + 1, dtype=complex)
    spectrum[: degree + 1] = numbers.normal(size=degree + 1) + 1j * numbers.normal(size=degree + 1)
    values = np.fft.irfft(spectrum, POINTS)
    peak = int(np.abs(values).argmax())
    return np.roll(values, -peak) / values[peak]


@pytest.mark.parametrize("degree", [1, 2, 3, 7])
def test_a_polynomial_falls_from_its_peak_no_faster_than_the_cosine(degree: int) -> None:
    s = 2 * math.pi * np.arange(POINTS) / POINTS
    near = s <= math.pi / degree
    for seed in range(30):
        p = _polynomial(degree, seed)
        # The peak is known up to a step of the grid.
        assert (p >= np.cos(degree * s) - 1e-5)[near].all()
    # The degree cannot be taken one smaller.
    assert (np.cos((degree + 1) * s) < np.cos(degree * s) - 1e-5)[near].any()


@pytest.mark.slow
@pytest.mark.parametrize("make", [network, explicit])
@pytest.mark.parametrize("border", ["reflect", "tapered"])
def test_a_network_near_the_operator_in_states_reconstructs_near_the_truth(make: Any, border: str) -> None:
    net, f = make(lipschitz=0.9, tolerance=1e-12, border=border), Smooth()
    net.finalise()
    copies, factor = 4, 1 / (1 - 0.9)
    x = torch.rand(3, 1, 10, 12, dtype=torch.float64)
    error = (net(f(x)) - x).flatten(1).norm(dim=1)
    misfit = (net.lift(f(x)) - net.phi(net.lift(x))).flatten(1).norm(dim=1)
    assert (error > 0.01).all()
    assert (error <= factor * misfit / math.sqrt(copies)).all()
    noise = 0.1 * torch.randn_like(x)
    padding = 1 if border == "tapered" else 2
    bound = factor * (padding * noise.flatten(1).norm(dim=1) + misfit / math.sqrt(copies))
    assert ((net(f(x) + noise) - x).flatten(1).norm(dim=1) <= bound * (1 + 1e-5)).all()
