from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from invreg_training.gradient.muon import Muon, is_kernel, orthogonalize
from invreg_training.gradient.optimizers import Optimizers
from invreg_training.gradient.schedule import Budget, rate_factor


@pytest.mark.parametrize("shape", [(3, 16, 200), (2, 40, 8), (1, 5, 5)])
def test_orthogonalize_keeps_the_singular_vectors_and_evens_the_values(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalize(matrices)
    values = u.transpose(1, 2) @ result @ v.transpose(1, 2)
    diagonal = torch.diagonal(values, dim1=1, dim2=2)
    large = s > 0.1 * s.amax(1, keepdim=True)
    assert (values - torch.diag_embed(diagonal)).abs().max() < 1e-10
    assert diagonal[large].min() > 0.6
    assert diagonal.max() < 1.3


def test_orthogonalize_takes_zeros() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


def test_which_parameters_are_kernels() -> None:
    kernels = [(8, 8, 3, 3), (2, 2, 1, 1), (6, 16, 8, 5, 5)]
    others = [(8,), (8, 8), (8, 1, 5, 5), (1, 8, 5, 5), (20, 1, 1, 1), (6, 16, 1, 5, 5), (3, 8, 8)]
    assert all(is_kernel(torch.zeros(shape)) for shape in kernels)
    assert not any(is_kernel(torch.zeros(shape)) for shape in others)


def test_a_stack_moves_as_its_kernels_would_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    stack = nn.Parameter(torch.randn(3, 16, 4, 5, 5, generator=generator))
    single = [nn.Parameter(kernel.clone()) for kernel in stack.detach()]
    together, alone = Muon([stack], 0.1), Muon(single, 0.1)
    for _ in range(3):
        gradient = torch.randn(stack.shape, generator=generator)
        stack.grad = gradient.clone()
        for kernel, part in zip(single, gradient, strict=True):
            kernel.grad = part.clone()
        together.step()
        alone.step()
    torch.testing.assert_close(stack.detach(), torch.stack([kernel.detach() for kernel in single]))


def test_muon_does_not_care_for_the_size_of_gradients_and_decays_weights() -> None:
    start = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(2))
    gradient = torch.randn(start.shape, generator=torch.Generator().manual_seed(3))

    def after(scale: float, decay: float = 0.0) -> torch.Tensor:
        parameter = nn.Parameter(start.clone())
        optimizer = Muon([parameter], 0.1, weight_decay=decay)
        for _ in range(2):
            parameter.grad = gradient * scale
            optimizer.step()
        return parameter.detach()

    torch.testing.assert_close(after(1.0), after(1e-3), rtol=1e-3, atol=1e-4)
    assert after(0.0, decay=0.5).norm() == pytest.approx(float(start.norm()) * 0.95**2, rel=1e-5)
    # each of the two steps moves by 0.1 times a matrix whose singular values are about one
    assert 0.5 * 0.2 < torch.linalg.matrix_norm((after(1.0) - start).flatten(1), 2) < 1.3 * 0.2


def test_optimizers_split_the_parameters() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 1, 3))
    net[0].bias.requires_grad_(False)

    def make(name: str) -> Optimizers:
        return Optimizers(net, name, lr=1e-3, muon_lr=0.02, betas=(0.9, 0.99), weight_decay=0.0)

    def step(optimizers: Optimizers) -> dict[str, torch.Tensor]:
        net(torch.rand(1, 1, 9, 9)).sum().backward()
        optimizers.step(1.0)
        return optimizers.state()

    assert len(make("muon").parameters) == 5
    state = step(make("muon"))
    assert [key for key in state if key.endswith("momentum")] == ["0.0.momentum"]
    assert sum(key.endswith("exp_avg") for key in state) == 4
    assert sum(key.endswith("exp_avg") for key in step(make("adam"))) == 5


def test_rates() -> None:
    assert rate_factor(0.0, 0.1, 0.02) == 0.02
    assert rate_factor(0.05, 0.1, 0.02) == pytest.approx(0.5)
    assert rate_factor(0.1, 0.1, 0.02) == 1
    assert rate_factor(0.55, 0.1, 0.02) == pytest.approx(0.51)
    assert rate_factor(1.0, 0.1, 0.02) == pytest.approx(0.02)
    assert [rate_factor(f, 0.0, 1.0) for f in (0.0, 0.3, 1.0)] == [1, 1, 1]
    factors = [rate_factor(i / 100, 0.1, 0.02) for i in range(101)]
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_budgets() -> None:
    steps, timed, both = Budget(10, None), Budget(None, 60.0), Budget(10, 60.0)
    assert (steps.fraction(5, 1e9), timed.fraction(10**6, 15.0), both.fraction(5, 59.0)) == (0.5, 0.25, 0.5)
    assert steps.ended(9, math.inf) is None
    assert steps.ended(10, 0.0) == "all 10 steps done"
    assert timed.ended(10**9, 59.9) is None
    assert timed.ended(1, 60.0) == "max_minutes = 1 reached"
    assert both.ended(10, 61.0) == "all 10 steps done"
    assert "step 4 of 10" in str(both.ended(4, 60.5))
