"""Perona-Malik diffusion: known values, conservation, the maximum principle and the hand-written derivatives."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from invreg.errors import ShapeError, SpecError
from invreg_metrics.metrics import PSNR
from invreg_operators.diffusion.perona_malik import PeronaMalik

STENCILS, CONDITIONS = ("forward", "edge", "half_point"), ("neumann", "dirichlet")
each_stencil = pytest.mark.parametrize("stencil", STENCILS)
each_condition = pytest.mark.parametrize("boundary", CONDITIONS)


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_step(u: np.ndarray, h: float, contrast: float, stencil: str, boundary: str) -> np.ndarray:
    """One step of Heun's method, pixel by pixel, straight from the definition on an image without end."""
    height, width = u.shape

    def rhs(u: np.ndarray) -> np.ndarray:
        def inside(i: int, j: int) -> bool:
            return 0 <= i < height and 0 <= j < width

        def value(i: int, j: int) -> float:
            return float(u[i, j]) if inside(i, j) else 0.0

        def difference(i: int, j: int, k: int, m: int) -> float:
            if boundary == "neumann" and not (inside(i, j) and inside(k, m)):
                return 0.0
            return value(k, m) - value(i, j)

        def down(i: int, j: int) -> float:
            return difference(i, j, i + 1, j)

        def across(i: int, j: int) -> float:
            return difference(i, j, i, j + 1)

        def g(squares: float) -> float:
            return 1 / (1 + squares / contrast**2)

        def flux_down(i: int, j: int) -> float:
            along = {
                "forward": across(i, j),
                "edge": 0.0,
                "half_point": (across(i, j - 1) + across(i, j) + across(i + 1, j - 1) + across(i + 1, j)) / 4,
            }[stencil]
            return g(down(i, j) ** 2 + along**2) * down(i, j)

        def flux_across(i: int, j: int) -> float:
            along = {
                "forward": down(i, j),
                "edge": 0.0,
                "half_point": (down(i - 1, j) + down(i, j) + down(i - 1, j + 1) + down(i, j + 1)) / 4,
            }[stencil]
            return g(across(i, j) ** 2 + along**2) * across(i, j)

        return np.array(
            [
                [
                    flux_down(i, j) - flux_down(i - 1, j) + flux_across(i, j) - flux_across(i, j - 1)
                    for j in range(width)
                ]
                for i in range(height)
            ]
        )

    k = rhs(u)
    return u + h / 2 * (k + rhs(u + h * k))


@each_stencil
@each_condition
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 1), (6, 7)])
def test_steps_are_those_of_the_definition(stencil: str, boundary: str, shape: tuple[int, int]) -> None:
    operator = PeronaMalik(contrast=0.3, steps=2, step_size=0.2, stencil=stencil, boundary=boundary)
    x = image(1, 1, *shape)
    expected = x[0, 0].numpy()
    for _ in range(2):
        expected = slow_step(expected, 0.2, 0.3, stencil, boundary)
    np.testing.assert_allclose(operator(x)[0, 0].numpy(), expected, atol=1e-14)


@pytest.mark.parametrize(("stencil", "expected"), [("forward", 31.40), ("edge", 30.43), ("half_point", 31.03)])
def test_diffused_photographs(photographs: Tensor, stencil: str, expected: float) -> None:
    psnr = PSNR()(PeronaMalik(stencil=stencil)(photographs), photographs).mean().item()
    assert psnr == pytest.approx(expected, abs=0.05)


@each_stencil
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_flux_keeps_the_mean(stencil: str, dtype: torch.dtype) -> None:
    x = image(2, 3, 40, 31).to(dtype)
    before, after = x.double().mean(dim=(2, 3)), PeronaMalik(stencil=stencil)(x).double().mean(dim=(2, 3))
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


@each_stencil
@each_condition
def test_no_value_leaves_the_range_of_the_image(stencil: str, boundary: str) -> None:
    # A checkerboard with a low contrast parameter against it, and noise: the worst that there is.
    board = (torch.arange(20)[:, None] + torch.arange(23)) % 2
    x = torch.cat([board.double()[None, None], image(1, 1, 20, 23), 1e-3 * board.double()[None, None]])
    operator = PeronaMalik(contrast=0.5, steps=10, step_size=0.25, stencil=stencil, boundary=boundary)
    y = operator(x)
    low, high = x.amin(dim=(1, 2, 3)), x.amax(dim=(1, 2, 3))
    if boundary == "dirichlet":
        low = low.clamp(max=0)
    assert (y.amin(dim=(1, 2, 3)) >= low - 1e-12).all()
    assert (y.amax(dim=(1, 2, 3)) <= high + 1e-12).all()


@each_stencil
def test_constants_stay_and_edges_survive(stencil: str) -> None:
    operator, x = PeronaMalik(stencil=stencil), image(1, 1, 16, 16) * 0.02
    x[..., 8:] += 0.9
    y = operator(x)
    constant = torch.full((1, 1, 5, 6), 0.4, dtype=torch.float64)
    torch.testing.assert_close(operator(constant), constant)
    # The jump of 0.9 hardly leaks; the texture on both sides is smoothed.
    assert (y[..., 9:].mean() - y[..., :7].mean()).item() == pytest.approx(0.9, abs=0.02)
    assert y[..., :6].std() < 0.6 * x[..., :6].std()


def test_dirichlet_pulls_the_border_to_zero() -> None:
    y = PeronaMalik(contrast=10.0, steps=20, boundary="dirichlet")(torch.ones(1, 1, 9, 9, dtype=torch.float64))
    assert y[0, 0, 0, 0] < y[0, 0, 0, 4] < y[0, 0, 4, 4] < 1
    assert y.min() > 0


@each_stencil
def test_turning_columns_into_rows_turns_the_result(stencil: str) -> None:
    operator, x = PeronaMalik(stencil=stencil), image(1, 1, 12, 15)
    torch.testing.assert_close(operator(x.mT), operator(x).mT)


@pytest.mark.parametrize("stencil", ["edge", "half_point"])
def test_symmetric_stencils_commute_with_flips(stencil: str) -> None:
    operator, x = PeronaMalik(stencil=stencil), image(1, 1, 12, 15)
    torch.testing.assert_close(operator(x.flip(-1)), operator(x).flip(-1))
    torch.testing.assert_close(operator(x.flip(-2)), operator(x).flip(-2))


@each_stencil
@each_condition
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (14, 9)])
def test_derivatives_agree_with_automatic_differentiation(stencil: str, boundary: str, shape: tuple[int, int]) -> None:
    operator = PeronaMalik(stencil=stencil, boundary=boundary)
    # Images with smooth parts, edges, and equal neighbours.
    x = torch.cat([image(1, 2, *shape), image(1, 2, *shape, seed=1) * 0.05, (image(1, 2, *shape) > 0.5).double()])
    v = image(*x.shape, seed=2) - 0.5
    vjp = torch.func.vjp(operator.forward, x)[1](v)[0]
    jvp = torch.func.jvp(operator.forward, (x,), (v,))[1]
    torch.testing.assert_close(operator.vjp(x, v), vjp, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(operator.jvp(x, v), jvp, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(operator.linearize(x).adjoint(v), vjp, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(operator.linearize(x)(v), jvp, atol=1e-9, rtol=1e-9)


@pytest.mark.slow
@each_stencil
def test_derivatives_can_be_differentiated(stencil: str) -> None:
    operator, x, v = PeronaMalik(steps=2, stencil=stencil), image(1, 1, 4, 5), image(1, 1, 4, 5, seed=1)
    assert torch.autograd.gradcheck(operator.vjp, (x.requires_grad_(), v.requires_grad_()))
    assert torch.autograd.gradcheck(operator.jvp, (x, v))


def test_linearization_has_a_norm_and_can_be_copied() -> None:
    operator, x = PeronaMalik(), image(1, 1, 9, 8)
    derivative = operator.linearize(x.float())
    jacobian = torch.func.jacrev(operator.forward)(x).reshape(72, 72)
    assert derivative.norm((1, 9, 8)).value == pytest.approx(torch.linalg.matrix_norm(jacobian, 2).item(), rel=1e-5)
    v = image(1, 1, 9, 8, seed=1).float()
    torch.testing.assert_close(copy.deepcopy(derivative)(v), derivative(v))


def test_directions_of_another_shape_are_refused() -> None:
    operator, x = PeronaMalik(), image(2, 1, 9, 8)
    for function in (operator.jvp, operator.vjp, lambda x, v: operator.linearize(x)(v)):
        with pytest.raises(ShapeError, match="direction of shape"):
            function(x, image(1, 1, 9, 8))


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"step_size": 0.3}, r"step_size: .*less than 0\.3 \(given: 0\.3\)\n.*up to 0\.25 .*overshoot"),
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": float("nan")}, "step_size"),
        ({"contrast": 0.0}, "contrast"),
        ({"contrast": float("inf")}, "contrast"),
        ({"steps": 0}, "steps"),
        ({"stencil": "central"}, "'forward', 'edge' or 'half_point' .given: 'central'"),
        ({"boundary": "periodic"}, "'neumann' or 'dirichlet' .given: 'periodic'"),
    ],
)
def test_impossible_parameters_are_refused(parameters: dict[str, object], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        PeronaMalik(**parameters)  # type: ignore[arg-type]
