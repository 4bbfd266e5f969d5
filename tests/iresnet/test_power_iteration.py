"""Power iteration for stacks of convolutions: against dense matrices, and from below."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from invreg.errors import ShapeError, SpecError
from invreg_iresnet.norms.power_iteration import power_iteration


def matrices(kernels: Tensor, height: int, width: int) -> Tensor:
    """The zero-padded convolutions as matrices `[N, out pixels, in pixels]`, differentiable."""
    channels = kernels.shape[2]
    basis = torch.eye(channels * height * width, dtype=kernels.dtype).view(-1, channels, height, width)
    padding = (kernels.shape[3] // 2, kernels.shape[4] // 2)
    return torch.stack([F.conv2d(basis, kernel, padding=padding).flatten(1).T for kernel in kernels])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 4, 2, 5, 5), (1, 1, 1, 3, 3), (2, 2, 5, 1, 1), (4, 3, 3, 5, 3)])
def test_one_iteration_is_a_product_with_the_matrix_and_its_transpose(shape: tuple[int, ...]) -> None:
    kernels, vectors = normal(*shape), normal(shape[0], shape[2], 6, 7, seed=1)
    norms, new = power_iteration(kernels, vectors)
    for matrix, old, v, norm in zip(matrices(kernels, 6, 7), vectors, new, norms, strict=True):
        expected = matrix.T @ (matrix @ old.flatten())
        torch.testing.assert_close(v.flatten(), expected / expected.norm())
        torch.testing.assert_close(norm, (matrix @ v.flatten()).norm())


@pytest.mark.slow
def test_norms_grow_towards_the_largest_singular_values_and_stay_below() -> None:
    kernels, vectors = normal(3, 4, 2, 5, 5), normal(3, 2, 6, 7, seed=1)
    true = torch.linalg.matrix_norm(matrices(kernels, 6, 7), ord=2)
    previous = torch.zeros(3, dtype=torch.float64)
    for _ in range(20):
        norms, vectors = power_iteration(kernels, vectors)
        assert (norms >= previous * (1 - 1e-12)).all()
        assert (norms <= true * (1 + 1e-12)).all()
        previous = norms
    once, _ = power_iteration(kernels, normal(3, 2, 6, 7, seed=1))
    assert (once < 0.99 * true).all()
    converged, _ = power_iteration(kernels, vectors, iterations=2000)
    torch.testing.assert_close(converged, true, rtol=1e-6, atol=0)


def test_iterations_can_go_on_where_they_ended() -> None:
    kernels, vectors = normal(2, 3, 2, 3, 3), normal(2, 2, 5, 5, seed=1)
    at_once = power_iteration(kernels, vectors, iterations=5)
    two, resumed = power_iteration(kernels, vectors, iterations=2)
    again = power_iteration(kernels, resumed, iterations=3)
    torch.testing.assert_close(again, at_once)
    torch.testing.assert_close(power_iteration(kernels, resumed, iterations=0)[0], two)
    scaled = power_iteration(kernels, 100 * vectors, iterations=0)[0]
    torch.testing.assert_close(scaled, power_iteration(kernels, vectors, iterations=0)[0])


@pytest.mark.slow
def test_gradient_with_fixed_vectors_is_that_of_the_norm_at_the_maximiser() -> None:
    kernels = normal(2, 3, 2, 3, 3).requires_grad_()
    vectors = normal(2, 2, 5, 5, seed=1)
    norms, new = power_iteration(kernels, vectors, iterations=3000)
    assert not new.requires_grad
    weights = torch.tensor([1.0, -2.0], dtype=torch.float64)
    (ours,) = torch.autograd.grad(norms @ weights, kernels)
    (true,) = torch.autograd.grad(torch.linalg.matrix_norm(matrices(kernels, 5, 5), ord=2) @ weights, kernels)
    torch.testing.assert_close(ours, true, rtol=1e-4, atol=1e-5)


def test_gradient_survives_that_the_vectors_are_kept_in_place() -> None:
    kernels, kept = normal(2, 3, 2, 3, 3).requires_grad_(), normal(2, 2, 5, 5, seed=1)
    norms, new = power_iteration(kernels, kept)
    kept.copy_(new)
    norms.sum().backward()
    assert kernels.grad is not None
    none, new = power_iteration(kernels, kept, iterations=0)
    kept.zero_()
    none.sum().backward()
    assert new.flatten(1).norm(dim=1).tolist() == pytest.approx([1, 1])


def test_kernels_of_zeros_keep_their_vectors_and_have_finite_gradients() -> None:
    kernels, vectors = torch.zeros(2, 3, 2, 3, 3), normal(2, 2, 5, 5).float()
    kernels[1] = 1
    kernels.requires_grad_()
    norms, new = power_iteration(kernels, vectors, iterations=2)
    assert norms[0] == 0
    assert norms[1] > 0
    torch.testing.assert_close(new[0], vectors[0] / vectors[0].norm())
    norms.sum().backward()
    assert kernels.grad is not None
    assert torch.isfinite(kernels.grad).all()


def test_wrong_arguments() -> None:
    kernels, vectors = normal(2, 3, 2, 3, 3), normal(2, 2, 5, 5)
    with pytest.raises(SpecError, match="padding"):
        power_iteration(kernels, vectors, padding="circular")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="iterations"):
        power_iteration(kernels, vectors, iterations=-1)
    for wrong in (normal(2, 3, 5, 5), normal(1, 2, 5, 5), normal(2, 2, 5)):
        with pytest.raises(ShapeError, match="vectors"):
            power_iteration(kernels, wrong)
    for wrong in (normal(2, 3, 2, 4, 4), normal(3, 2, 3, 3)):
        with pytest.raises(ShapeError, match="kernels"):
            power_iteration(wrong, vectors)
