"""Total variation of volumes: against dense matrices, against scikit-image, and constants along an axis."""

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_chambolle
from tv_helpers import MatrixBlur, noise, shapes

from invreg.components.problem import Problem
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.pointwise.gamma import Gamma
from invreg_operators.pointwise.identity import Identity
from invreg_tv.differences import add_adjoint, gradient, gradient_norm_squared, project_, total_variation
from invreg_tv.linear import primal_dual
from invreg_tv.reconstructor import TotalVariation

SIDES = (5, 6, 7)


def boxes(count=1, sides=SIDES):
    """Volumes [count, 1, D, H, W] with a bright box, float64."""
    x = torch.full((count, 1, *sides), 0.2, dtype=torch.float64)
    for index in range(count):
        x[index, 0, 1:4, 1 : 3 + index, 2:6] = 0.8
    return x


def difference_matrices(sides):
    """The forward differences on each axis, as dense matrices on flattened volumes."""
    found = []
    for axis, n in enumerate(sides):
        matrix = np.ones((1, 1))
        for other, m in enumerate(sides):
            step = np.eye(n, k=1) - np.eye(n)
            step[-1] = 0
            matrix = np.kron(matrix, step if other == axis else np.eye(m))
        found.append(matrix)
    return found


def test_the_gradient_is_that_of_dense_matrices():
    x = torch.rand(2, 3, *SIDES, dtype=torch.float64)
    p = torch.zeros(2, 3, 3, *SIDES, dtype=torch.float64)
    p += gradient(torch.rand(2, 3, *SIDES, dtype=torch.float64))
    found = gradient(x)
    adjoint = add_adjoint(torch.zeros_like(x), p, 1.0, out=torch.empty_like(x))
    expected = torch.zeros_like(x)
    for number, matrix in enumerate(map(torch.from_numpy, difference_matrices(SIDES))):
        assert torch.allclose(found[:, number].flatten(2), x.flatten(2) @ matrix.T)
        expected += (p[:, number].flatten(2) @ matrix).view(x.shape)
    assert torch.allclose(adjoint, expected)
    squared = sum(matrix.T @ matrix for matrix in difference_matrices(SIDES))
    largest = np.linalg.eigvalsh(squared).max()
    assert 0.8 * gradient_norm_squared(3) < largest < gradient_norm_squared(3) == 12
    project_(p := 3 * p, torch.empty_like(x))
    assert float(p.square().sum(1).max()) <= 1 + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_minimum_is_proven_by_dense_matrices(dtype):
    """Weak duality, written out with matrices: the objective cannot fall below the dual value."""
    sides, weight, tolerance = SIDES, 0.02, 1e-4
    blur = GaussianBlur(kernel_size=3, std=1.0, boundary="zero")
    z = blur(boxes(2)) + noise(boxes(2), 0.05)
    tv = TotalVariation(weight, tolerance=tolerance, max_iterations=5000)
    tv.setup(Problem(blur), (1, *sides))
    solution = tv.solve(z.to(dtype))
    assert solution.converged.all()
    assert solution.tv_dual.shape == (2, 3, 1, *sides)
    numbers = int(np.prod(sides))
    a = blur(torch.eye(numbers, dtype=torch.float64).view(numbers, 1, *sides)).flatten(1).numpy().T
    for x, y, p, gap, objective, data in zip(
        *(v.double().numpy() for v in (solution.x, solution.data_dual, solution.tv_dual, solution.gap)),
        solution.objective.double().numpy(),
        z.numpy(),
        strict=True,
    ):
        x, y, p, data = x.ravel(), y.ravel(), p.reshape(3, -1), data.ravel()
        parts = difference_matrices(sides)
        length = np.sqrt(sum((d @ x) ** 2 for d in parts))
        primal = 0.5 * ((a @ x - data) ** 2).sum() + weight * length.sum()
        w = a.T @ y + weight * sum(d.T @ q for d, q in zip(parts, p, strict=True))
        dual = np.minimum(w, 0).sum() - 0.5 * (y**2).sum() - y @ data
        assert (p**2).sum(0).max() <= 1 + 1e-5
        assert objective == pytest.approx(primal, rel=1e-4)
        assert gap == pytest.approx(primal - dual, abs=2e-5 * primal)
        assert 0 <= primal - dual + 1e-6 * primal <= 2 * tolerance * primal


def test_denoising_is_that_of_scikit_image():
    z = boxes() + noise(boxes(), 0.05)
    tv = TotalVariation(0.05, tolerance=1e-7, max_iterations=20_000)
    tv.setup(Problem(Identity()), (1, *SIDES))
    found = tv.solve(z)
    other = denoise_tv_chambolle(z[0, 0].numpy(), weight=0.05, eps=0, max_num_iter=1500)
    assert float((found.x[0, 0] - torch.from_numpy(other)).abs().max()) < 1e-3
    other_objective = 0.5 * ((other - z[0, 0].numpy()) ** 2).sum() + 0.05 * float(
        total_variation(torch.from_numpy(other)[None, None])
    )
    assert float(found.objective) <= other_objective * (1 + 1e-7)


@pytest.mark.slow
def test_equal_slices_are_reconstructed_as_one_image():
    """With the same image in each slice, and no blur across slices, the minimiser is that of the image."""

    image, weight = shapes(1, 10), 0.01
    z = MatrixBlur(10)(image) + noise(image, 0.02)
    flat = primal_dual(MatrixBlur(10), z, weight, start=z, norm=1.01, tolerance=1e-4, max_iterations=5000)
    deep = z[:, :, None].expand(-1, -1, 4, -1, -1).contiguous()
    volume = primal_dual(MatrixBlur(10), deep, weight, start=deep, norm=1.01, tolerance=1e-4, max_iterations=5000)
    assert bool(volume.converged)
    assert float(volume.objective) == pytest.approx(4 * float(flat.objective), rel=2e-4)
    assert float((volume.x - flat.x[:, :, None]).abs().max()) < 2e-2


def test_nonlinear_operators():
    operator = Gamma(1.5)
    z = operator(boxes()) + noise(boxes(), 0.02)
    tv = TotalVariation(0.005)
    tv.setup(Problem(operator), (1, *SIDES))
    solution = tv.solve(z)
    assert solution.converged.all()
    assert float((solution.x - boxes()).square().mean()) < float((z ** (1 / 1.5) - boxes()).square().nanmean())


def test_a_volume_does_not_depend_on_its_batch():
    blur = GaussianBlur(kernel_size=3, std=1.0)
    z = (blur(boxes(3)) + noise(boxes(3), 0.05)).float()
    tv = TotalVariation(0.02)
    tv.setup(Problem(blur), (1, *SIDES))
    together = tv(z)
    assert together.shape == z.shape
    for index in range(3):
        assert torch.allclose(together[index : index + 1], tv(z[index : index + 1]), atol=1e-5)
