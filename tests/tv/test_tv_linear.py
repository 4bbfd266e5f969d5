import numpy as np
import pytest
import torch
from tv_helpers import MatrixBlur, Measurements, gaussian_matrix, noise, shapes

from invreg.components.operator import LinearOperator
from invreg.errors import ConvergenceError
from invreg_tv.differences import add_adjoint, gradient, total_variation
from invreg_tv.linear import Identity, primal_dual
from invreg_tv.solution import primal_dual_gap


def objective(operator, x, z, weight):
    return (operator(x) - z).square().flatten(1).sum(1) / 2 + weight * total_variation(x)


def blurred(count=3, n=24, std=0.02):
    x = shapes(count, n)
    operator = MatrixBlur(n)
    y = operator(x)
    return operator, y + noise(y, std)


def admm(z, weight, iterations=2000):
    """Another algorithm for the blur with the box: ADMM, whose linear systems the cosine transform solves."""
    from scipy.fft import dctn, idctn

    n, rho = z.shape[-1], max(4 * weight, 0.005)
    cosine = dctn(np.eye(n), axes=(0,), norm="ortho")
    blur = np.diag(cosine @ gaussian_matrix(n).numpy() @ cosine.T)
    laplace = 2 - 2 * np.cos(np.pi * np.arange(n) / n)
    symbol = np.outer(blur, blur)
    system = symbol**2 + rho * (laplace[:, None] + laplace[None]) + rho

    def differences(u):
        return np.stack([np.diff(u, axis=-2, append=u[..., -1:, :]), np.diff(u, axis=-1, append=u[..., -1:])])

    def adjoint(p):
        down, right = p[0].copy(), p[1].copy()
        down[..., -1, :] = right[..., -1] = 0
        return -np.diff(down, axis=-2, prepend=0) - np.diff(right, axis=-1, prepend=0)

    data = symbol * dctn(z, axes=(-2, -1), norm="ortho")
    box, split = z.clip(0, 1), differences(np.zeros_like(z))
    box_dual, split_dual = np.zeros_like(box), np.zeros_like(split)
    for _ in range(iterations):
        right_side = rho * (adjoint(split - split_dual) + box - box_dual)
        x = idctn((data + dctn(right_side, axes=(-2, -1), norm="ortho")) / system, axes=(-2, -1), norm="ortho")
        target = differences(x) + split_dual
        length = np.maximum(np.sqrt((target**2).sum(0)), 1e-300)
        split = target * np.maximum(1 - weight / rho / length, 0)
        split_dual = target - split
        box = (x + box_dual).clip(0, 1)
        box_dual = x + box_dual - box
    return box


@pytest.mark.slow
def test_denoising_agrees_with_scikit_image():
    from skimage.restoration import denoise_tv_chambolle

    x = shapes(2, 32)
    z = x + noise(x, 0.1)
    solution = primal_dual(Identity(), z, 0.1, start=z, norm=1.0, box=None, tolerance=1e-5, max_iterations=5000)
    assert solution.converged.all()
    for ours, noisy in zip(solution.x, z, strict=True):
        theirs = denoise_tv_chambolle(noisy[0].numpy(), weight=0.1, eps=1e-12, max_num_iter=10000)
        assert np.abs(ours[0].numpy() - theirs).max() < 5e-4


@pytest.mark.slow
@pytest.mark.parametrize("weight", [5e-4, 5e-3, 5e-2])
def test_blur_agrees_with_admm(weight):
    operator, z = blurred(2)
    found = primal_dual(operator, z, weight, start=z, norm=1.0, tolerance=2e-6, max_iterations=20000)
    assert found.converged.all()
    theirs = torch.from_numpy(admm(z.numpy(), weight))
    torch.testing.assert_close(
        objective(operator, found.x, z, weight), objective(operator, theirs, z, weight), rtol=1e-5, atol=0
    )
    assert (found.x >= 0).all()
    assert (found.x <= 1).all()
    torch.testing.assert_close(objective(operator, found.x, z, weight), found.objective)


def test_gap_is_the_difference_of_primal_and_dual_objective():
    rng = torch.Generator().manual_seed(0)
    operator, z = blurred(3, 12)
    x = torch.rand(z.shape, generator=rng, dtype=torch.float64)
    y = torch.randn(z.shape, generator=rng, dtype=torch.float64)
    p = gradient(torch.randn(z.shape, generator=rng, dtype=torch.float64))
    p /= p.norm(dim=1, keepdim=True).clamp(min=1)
    weight, low, high = 0.3, -0.25, 1.5
    w = add_adjoint(operator.adjoint(y), p, weight, out=torch.empty_like(x))
    gap, value = primal_dual_gap(x, y, p, operator(x) - z, operator.adjoint(y), weight, (low, high))
    minimum = torch.minimum(low * w, high * w).flatten(1).sum(1)
    dual = -(y.square() / 2 + y * z).flatten(1).sum(1) + minimum
    torch.testing.assert_close(value, objective(operator, x, z, weight))
    torch.testing.assert_close(gap, value - dual)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1e-4, 3e-3, 1e-1, 3.0])
def test_gap_bounds_the_distance_to_the_minimum(weight):
    operator, z = blurred(3, 16)
    best = primal_dual(operator, z, weight, start=z, norm=1.0, tolerance=1e-5, max_iterations=20000)
    assert best.converged.all()
    gaps = []
    for iterations in (3, 20, 150, 400):
        early = primal_dual(operator, z, weight, start=z, norm=1.0, tolerance=1e-12, max_iterations=iterations)
        assert not early.converged.any()
        assert (early.iterations == iterations).all()
        assert (early.gap > 0).all()
        assert (early.objective - best.objective <= early.gap).all()
        gaps.append(early.gap)
    # It is a bound, but no empty one: it falls with the iterations.
    assert (gaps[-1] < 0.01 * gaps[0]).all()


def test_images_do_not_depend_on_their_batch():
    operator, z = blurred(4, 24)
    z[0], z[3] = 0.5, z[3] + noise(z[3], 0.3, seed=5)
    together = primal_dual(operator, z, 3e-3, start=z, norm=1.0)
    assert together.converged.all()
    assert len(together.iterations.unique()) > 1
    assert (together.relative_gap[1:] <= 1e-3).all()
    for i in range(4):
        alone = primal_dual(operator, z[i : i + 1], 3e-3, start=z[i : i + 1], norm=1.0)
        assert alone.iterations[0] == together.iterations[i]
        torch.testing.assert_close(alone.x[0], together.x[i], rtol=0, atol=1e-10)
        torch.testing.assert_close(alone.tv_dual[0], together.tv_dual[i], rtol=0, atol=1e-8)


def test_the_solution_carries_its_own_proof():
    operator, z = blurred(3, 16)
    weight = 3e-3
    found = primal_dual(operator, z, weight, start=z, norm=1.0)
    assert (found.tv_dual.norm(dim=1) <= 1 + 1e-12).all()
    pulled_back, residual = operator.adjoint(found.data_dual), operator(found.x) - z
    gap, _ = primal_dual_gap(found.x, found.data_dual, found.tv_dual, residual, pulled_back, weight, (0.0, 1.0))
    torch.testing.assert_close(gap, found.gap)


def test_scaling_of_operator_measurement_and_weight():
    rng = torch.Generator().manual_seed(0)
    matrix = torch.randn(60, 144, generator=rng, dtype=torch.float64) / 8
    small, large = (Measurements(factor * matrix, (1, 12, 12)) for factor in (1, 1000))
    z = small(shapes(2, 12))
    norm = float(torch.linalg.matrix_norm(matrix, ord=2))
    start = torch.full((2, 1, 12, 12), 0.5, dtype=torch.float64)
    one = primal_dual(small, z, 0.01, start=start, norm=norm)
    other = primal_dual(large, 1000 * z, 1e4, start=start, norm=1000 * norm)
    assert one.converged.all()
    assert one.data_dual.shape == (2, 60)
    torch.testing.assert_close(one.iterations, other.iterations)
    torch.testing.assert_close(one.x, other.x)


@pytest.mark.slow
def test_a_weight_of_nearly_nothing_and_a_huge_one():
    x = shapes(2, 16)
    z = x + noise(x, 0.2)
    nothing = primal_dual(Identity(), z, 1e-8, start=z, norm=1.0, tolerance=1e-4)
    torch.testing.assert_close(nothing.x, z.clamp(0, 1), rtol=0, atol=1e-3)
    operator, z = blurred(2, 16)
    huge = primal_dual(operator, z, 1e3, start=z, norm=1.0, tolerance=1e-5, max_iterations=5000)
    assert huge.converged.all()
    mean = z.mean((-2, -1), keepdim=True).expand_as(z)
    torch.testing.assert_close(huge.x, mean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("grey", [0.0, 0.1, 0.5, 1.0])
def test_constant_images_are_their_own_reconstruction(grey, weight, dtype):
    operator = MatrixBlur(16)
    z = torch.full((2, 1, 16, 16), grey, dtype=dtype)
    found = primal_dual(operator, z, weight, start=z, norm=1.01)
    assert found.converged.all()
    torch.testing.assert_close(found.x, z, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_channels_are_reconstructed_one_by_one():
    x = shapes(3, 16).view(1, 3, 16, 16)
    z = x + noise(x, 0.05)
    together = primal_dual(Identity(), z, 0.05, start=z, norm=1.0, tolerance=1e-6, max_iterations=5000)
    alone = primal_dual(
        Identity(), z.transpose(0, 1), 0.05, start=z.transpose(0, 1), norm=1.0, tolerance=1e-6, max_iterations=5000
    )
    torch.testing.assert_close(together.x, alone.x.transpose(0, 1), rtol=0, atol=1e-3)


def test_inputs_are_left_alone_even_by_an_operator_that_returns_its_input():
    x = shapes(2, 12)
    z = x + noise(x, 0.1)
    given, start = z.clone(), z.clone()
    primal_dual(Identity(), given, 0.05, start=start, norm=1.0)
    torch.testing.assert_close(given, z, rtol=0, atol=0)
    torch.testing.assert_close(start, z, rtol=0, atol=0)


@pytest.mark.slow
def test_a_box_that_does_not_bind_changes_nothing():
    x = 0.3 + 0.4 * shapes(2, 16)
    z = x + noise(x, 0.02)
    wide = primal_dual(Identity(), z, 0.03, start=z, norm=1.0, box=(-3.0, 4.0), tolerance=1e-6, max_iterations=9000)
    free = primal_dual(Identity(), z, 0.03, start=z, norm=1.0, box=None, tolerance=1e-6, max_iterations=9000)
    assert wide.converged.all()
    assert free.converged.all()
    torch.testing.assert_close(wide.x, free.x, rtol=0, atol=2e-3)
    torch.testing.assert_close(wide.objective, free.objective, rtol=2e-6, atol=0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 9), (2, 1, 9, 1), (1, 1, 1, 1), (0, 1, 8, 8)])
def test_degenerate_shapes(shape):
    z = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = primal_dual(Identity(), z, 0.05, start=z, norm=1.0)
    assert found.x.shape == shape
    assert found.converged.all()
    assert found.gap.shape == (shape[0],)


def test_an_operator_that_makes_nan_is_named():
    class Broken(Identity):
        def adjoint(self, y):
            return y * torch.nan

    z = shapes(2, 8)
    with pytest.raises(ConvergenceError, match="no longer finite"):
        primal_dual(Broken(), z, 0.05, start=z, norm=1.0)


def test_a_norm_that_is_much_too_small_is_not_taken_for_convergence():
    z = shapes(2, 16)
    steep = Measurements(
        40 * torch.eye(256, dtype=torch.float64) + torch.ones(256, 256, dtype=torch.float64), (1, 16, 16)
    )
    found = primal_dual(steep, steep(z), 3e-3, start=torch.zeros_like(z), norm=1.0, max_iterations=200)
    assert not found.converged.any()


def test_an_adjoint_whose_axes_lie_in_another_order_in_memory_changes_nothing() -> None:
    class Blur(LinearOperator):
        """The mean of neighbours, with results whose strides are those of `permuted`."""

        def __init__(self, permuted: bool) -> None:
            super().__init__()
            self.permuted = permuted

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = (x.roll(1, -1) + 2 * x + x.roll(-1, -1)) / 4
            return y.transpose(-1, -2).contiguous().transpose(-1, -2) if self.permuted else y

        def adjoint(self, y: torch.Tensor) -> torch.Tensor:
            return self.forward(y)

    z = torch.rand(3, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    start = Blur(True).adjoint(z)
    assert not start.is_contiguous()
    found = [primal_dual(Blur(permuted), z, 0.01, start=start, norm=1.0) for permuted in (False, True)]
    assert found[1].converged.all()
    torch.testing.assert_close(found[1].x, found[0].x, rtol=0, atol=1e-5)
