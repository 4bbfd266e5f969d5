"""Gains that are proven by elimination: in exact arithmetic, between the centres of cells, and with pieces left out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from invreg_iresnet.certificate import gain_proof
from invreg_iresnet.certificate.chain_condition import Ends, Steps
from invreg_iresnet.certificate.gain_proof import GainProof, gain_is_at_most, proven_gain
from invreg_iresnet.certificate.gain_search import Gains, smallest_gain
from invreg_iresnet.norms.certified_norm import certified_norm, rough_norm


def steps_of(
    seed: int, implicit: bool, steps: int = 3, channels: int = 2, hidden: int = 3, side: int = 3, size: float = 0.6
) -> Steps:
    """Kernels of norm 1 and mixings of norm `size`, random."""
    generator = torch.Generator().manual_seed(seed)
    kernels = [
        torch.randn(hidden, channels, side, side, generator=generator, dtype=torch.float64) for _ in range(steps)
    ]
    mixings = [torch.randn(channels, hidden, generator=generator, dtype=torch.float64) for _ in range(steps)]
    return Steps(
        [one / certified_norm(one) for one in kernels],
        [size * one / torch.linalg.matrix_norm(one, ord=2) for one in mixings],
        implicit,
    )


def whole(channels: int) -> Ends:
    identity = torch.eye(channels, dtype=torch.float64)
    return Ends(identity, identity)


def symbols(steps: Steps, frequencies: Tensor) -> list[Tensor]:
    """K_j(w) at frequencies `[w, 2]`."""
    places = torch.arange(steps.kernels[0].shape[-1], dtype=torch.float64) - steps.kernels[0].shape[-1] // 2
    waves = torch.exp(1j * (frequencies @ torch.cartesian_prod(places, places).mT))
    return [torch.einsum("wt,hmt->whm", waves, kernel.flatten(2).to(waves)) for kernel in steps.kernels]


def centres(proof: GainProof, cells: Tensor, level: int) -> Tensor:
    return cells.double() * (math.pi / (proof._cells * 2**level))


def gains_at(steps: Steps, ends: Ends, scalings: list[Tensor], frequencies: Tensor) -> Tensor:
    return Gains(steps, ends, symbols(steps, frequencies)).values(torch.cat(scalings).log())


@pytest.mark.slow
@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_a_proof_covers_all_frequencies_and_is_near_the_largest_gain(implicit: bool, side: int) -> None:
    steps, ends = steps_of(1, implicit, side=side), whole(2)
    found = smallest_gain(steps, ends, [torch.full((3,), 2.0, dtype=torch.float64)] * 3)
    assert found is not None
    proof = GainProof(steps, ends, found.scalings)
    squared_gain = proven_gain(proof, found.squared_gain * 1.02)
    frequencies = 2 * math.pi * torch.rand(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reached = float(gains_at(steps, ends, found.scalings, frequencies).max())
    assert reached <= squared_gain <= 1.021 * max(reached, found.squared_gain)
    assert gain_is_at_most(proof, squared_gain)
    assert gain_is_at_most(proof, squared_gain * 1.5)
    assert not gain_is_at_most(proof, reached * (1 - 1e-6))
    assert not gain_is_at_most(proof, 1.0)


@pytest.mark.parametrize("implicit", [True, False])
def test_small_cells_have_the_gain_of_their_centres(implicit: bool) -> None:
    steps = steps_of(2, implicit)
    ends = Ends(torch.ones(2, 1, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))
    scalings = [torch.tensor([2.0, 4.0, 3.0], dtype=torch.float64) * 4] * 3
    proof = GainProof(steps, ends, scalings)
    cells = torch.tensor([[1, 1], [4001, 20001], [30001, 5001]])
    expected = gains_at(steps, ends, scalings, centres(proof, cells, 12))
    bounds = proof.bounds(cells, 12)
    assert (bounds >= expected).all()
    assert torch.allclose(bounds, expected, rtol=1e-4)
    assert proof.within(cells, 12, float(bounds.max()) * (1 + 1e-9)).all()
    assert not proof.within(cells, 12, float(expected.min()) * (1 - 1e-9)).any()


def test_a_gain_is_proven_for_every_tau() -> None:
    """tau_j may be any number; it is chosen by how much a step lets R grow."""
    steps, ends, scalings = steps_of(2, True), whole(2), [torch.full((3,), 9.0, dtype=torch.float64)] * 3
    proof = GainProof(steps, ends, scalings)
    growths = proof._growths
    assert all(gain_proof._LEAST_GROWTH <= one <= gain_proof._MOST_GROWTH for one in growths)
    cells = torch.randint(0, 8 * 16, (20, 2), generator=torch.Generator().manual_seed(0)) * 2 + 1
    expected = gains_at(steps, ends, scalings, centres(proof, cells, 5))
    for proof._growths in (growths, [0.03] * 3, [2.0] * 3, [0.03, 2.0, 0.5]):
        bounds = proof.bounds(cells, 5)
        assert torch.isfinite(bounds).all()
        assert (bounds > expected).all()


def exact_gain(steps: Steps, scalings: list[Tensor]) -> Any:
    """gamma of steps with 1x1 kernels, from states to states, in 50 digits."""
    import mpmath

    def matrix(tensor: Tensor) -> Any:
        return mpmath.matrix(tensor.tolist())

    r = mpmath.eye(len(steps.mixings[0]))
    for kernel, mixing, scaling in list(zip(steps.kernels, steps.mixings, scalings, strict=True))[::-1]:
        t, k, w = mpmath.diag(scaling.tolist()), matrix(kernel[:, :, 0, 0]), matrix(mixing)
        q = 2 * t - w.T * r * w
        if steps.implicit:
            q -= t * k * w + (t * k * w).T
        m = t * k + w.T * r
        r = r + m.T * mpmath.inverse(q) * m
    return max(mpmath.eigsy(r, eigvals_only=True))


@pytest.mark.slow
@pytest.mark.parametrize("implicit", [True, False])
def test_rounding_is_covered(implicit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import mpmath  # torch needs SymPy, which needs it

    cases = []
    with mpmath.workdps(50):
        for seed in range(20):
            steps = steps_of(seed, implicit, steps=4, channels=3, hidden=5, side=1, size=0.4)
            scalings = [torch.full((5,), 3.0 + seed, dtype=torch.float64)] * 4
            cases.append((steps, scalings, exact_gain(steps, scalings)))

        def excesses() -> list[float]:
            found = []
            for steps, scalings, exact in cases:
                proof = GainProof(steps, whole(3), scalings)
                bound = mpmath.mpf(float(proof.bounds(proof.half_torus(), 0)))
                found.append(float((bound - exact) / exact))
            return found

        assert all(0 < one < 1e-8 for one in excesses())
        monkeypatch.setattr(gain_proof, "UNIT", 0.0)
        monkeypatch.setattr(gain_proof, "_MORE", 1.0)
        monkeypatch.setattr(gain_proof, "gamma", lambda operations: 0.0)
        assert not all(0 < one < 1e-8 for one in excesses())


def test_what_is_between_centres_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gain that peaks between the centres of level 0: without what is spared for that, less than it is proven."""
    waves = math.pi / 8 * 2 * (torch.arange(3, dtype=torch.float64)[:, None] + torch.arange(3, dtype=torch.float64))
    kernel = (waves.cos() / 9)[None, None]
    steps = Steps([kernel], [torch.tensor([[0.9]], dtype=torch.float64)], True)
    monkeypatch.setattr(GainProof, "halves", lambda self, cells, level: None)
    scalings = [torch.tensor([4.0], dtype=torch.float64)]
    frequencies = 2 * math.pi * torch.rand(4000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reached = float(gains_at(steps, whole(1), scalings, frequencies).max())
    assert proven_gain(GainProof(steps, whole(1), scalings), 0.0) >= reached
    proof = GainProof(steps, whole(1), scalings)
    proof._steps = [one._replace(curvature=0.0) for one in proof._steps]
    assert proven_gain(proof, 0.0) < reached


def test_scalings_without_a_gain_prove_none() -> None:
    steps = steps_of(3, True, size=0.9)
    proof = GainProof(steps, whole(2), [torch.full((3,), 1e-3, dtype=torch.float64)] * 3)
    assert proven_gain(proof, 2.0) == math.inf
    assert not gain_is_at_most(proof, 1e6)
    assert not gain_is_at_most(proof, math.nan)


def test_cells_cover_half_of_the_torus_and_quarters_their_cells() -> None:
    proof = GainProof(steps_of(0, True, side=5), whole(2), [torch.ones(3, dtype=torch.float64)] * 3)
    cells: Tensor | None = proof.half_torus()
    for level in range(3):
        assert cells is not None
        side = 2 * math.pi / (proof._cells * 2**level)
        assert len(cells.unique(dim=0)) == len(cells)
        assert len(cells) * side**2 == pytest.approx(2 * math.pi**2)
        places = centres(proof, cells, level)
        assert (places[:, 0] - side / 2 >= -1e-9).all()
        assert (places[:, 0] + side / 2 <= math.pi + 1e-9).all()
        finer = proof.halves(cells, level)
        assert finer is not None
        apart = (centres(proof, finer, level + 1).unflatten(0, (-1, 4)) - places[:, None]).abs()
        assert torch.allclose(apart, torch.full_like(apart, side / 4))
        cells = finer


def test_rough_norms_are_bounds() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in [(3, 2, 5, 5), (1, 4, 3, 3), (2, 2, 1, 5), (2, 3, 1, 1)]:
        kernel = torch.randn(shape, generator=generator, dtype=torch.float64)
        norm = certified_norm(kernel)
        assert norm * (1 - 2e-4) <= rough_norm(kernel) <= 1.2 * norm
    assert rough_norm(torch.zeros(2, 2, 3, 3)) == 0
