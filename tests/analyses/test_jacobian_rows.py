"""Rows of Jacobians, against dense matrices; and maps that see only so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from invreg.components.operator import Operator
from invreg.components.problem import Problem
from invreg.errors import DataError, InvregError, ShapeError, SpecError
from invreg_analyses.saliency.jacobian_rows import far_apart, function_map, jacobian_rows, operator_map
from invreg_analyses.saliency.maps import random_pixels
from invreg_iresnet.iresnet import IResNet
from invreg_operators.combined.finite_differences import FiniteDifferences
from invreg_operators.convolution.convolution import Convolution
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.diffusion.implicit_diffusion import ImplicitDiffusion
from invreg_operators.diffusion.perona_malik import PeronaMalik
from invreg_operators.pointwise.identity import Identity

SHAPE = (11, 13)


class Dense(Operator):
    """x -> A x for a random matrix: every pixel depends on every other."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        n = channels * math.prod(SHAPE)
        self.matrix = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.T.to(x.dtype)).view(x.shape)


def image(channels: int = 1, shape: tuple[int, int] = SHAPE) -> Tensor:
    return torch.rand((1, channels, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def grey_rows(jacobian: Tensor, pixels: NDArray[np.int64], window: int) -> Tensor:
    """The windows, from a dense Jacobian `[C, H, W, C, H, W]`."""
    half, grey = window // 2, jacobian.sum(3).mean(0)
    return torch.stack([grey[r, c, r - half : r + half + 1, c - half : c + half + 1] for r, c in pixels.tolist()])


def dense_jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    found = torch.autograd.functional.jacobian(function, x)
    assert isinstance(found, Tensor)
    return found[0, :, :, :, 0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("window", [1, 3, 7])
def test_rows_are_those_of_a_dense_matrix(channels: int, window: int) -> None:
    operator, x = Dense(channels), image(channels)
    pixels = random_pixels(0, SHAPE, 20, window)
    expected = grey_rows(operator.matrix.view(channels, *SHAPE, channels, *SHAPE), pixels, window)
    for batch in (1, 7, 64):
        rows = jacobian_rows(operator_map(operator), x, pixels, window, batch)
        torch.testing.assert_close(rows, expected, rtol=0, atol=1e-12)
    by_autograd = jacobian_rows(function_map("it", operator), x, pixels, window, 4)
    torch.testing.assert_close(by_autograd, expected, rtol=0, atol=1e-12)


LOCAL: list[tuple[Operator, int]] = [
    (Identity(), 0),
    (GaussianBlur(kernel_size=5, std=1.2), 2),
    (GaussianBlur(kernel_size=5, std=1.2, boundary="reflect"), 2),
    (GaussianBlur(kernel_size=5, std=1.2, boundary="replicate"), 2),
    (Convolution([[0.1], [0.5], [0.2], [0.1], [0.3]]), 2),
    (PeronaMalik(steps=1), 2),
    (PeronaMalik(steps=1, stencil="edge"), 2),
    (PeronaMalik(steps=1, stencil="half_point", boundary="dirichlet"), 2),
    (PeronaMalik(steps=2), 4),
]


@pytest.mark.parametrize(("operator", "radius"), LOCAL, ids=lambda value: str(value))
def test_operators_see_no_farther_than_they_say(operator: Operator, radius: int) -> None:
    assert operator.stencil_radius == radius
    shape = (13, 24)
    x = image(1, shape)
    jacobian = dense_jacobian(operator, x)[0, :, :, 0]
    r, c = torch.meshgrid(torch.arange(shape[0]), torch.arange(shape[1]), indexing="ij")
    distance = torch.maximum((r[:, :, None, None] - r).abs(), (c[:, :, None, None] - c).abs())
    assert jacobian[distance > radius].abs().max() == 0
    assert jacobian[distance == radius].abs().max() > 0
    # Pixels that share a derivative have the rows that they have alone.
    pixels = random_pixels(0, shape, 60, 5)
    shared = jacobian_rows(operator_map(operator), x, pixels, 5, 8)
    assert len(far_apart(pixels, radius + 2)) < len(pixels)
    alone = jacobian_rows(function_map("it", operator), x, pixels, 5, 16)
    torch.testing.assert_close(shared, alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(shared, grey_rows(jacobian[None, :, :, None], pixels, 5), rtol=0, atol=1e-12)


def test_operators_that_are_not_local_say_so() -> None:
    assert ImplicitDiffusion().stencil_radius is None
    assert GaussianBlur(boundary="circular").stencil_radius is None
    assert Dense().stencil_radius is None
    blur = GaussianBlur(kernel_size=5, std=1.0)
    assert blur.linearize(image()).stencil_radius == 2


def test_a_network_sees_no_farther_than_it_says() -> None:
    torch.manual_seed(0)
    net = IResNet(subnetworks=2, channels=2, hidden=3, kernel_size=3, padding=3, lipschitz=0.9)
    net.setup(Problem(Identity()), (1, 12, 20))
    assert net.residuals is not None
    with torch.no_grad():
        net.residuals.kernels.normal_()
        net.residuals.mixings.normal_()
    net.double().eval().requires_grad_(False)
    assert net.forward_map_radius == 2
    x = image(1, (12, 20))
    pixels = random_pixels(0, (12, 20), 50, 3)
    shared = jacobian_rows(function_map("net", net.forward_map, net.forward_map_radius), x, pixels, 3, 5)
    alone = jacobian_rows(function_map("net", net.forward_map), x, pixels, 3, 50)
    torch.testing.assert_close(shared, alone, rtol=0, atol=1e-12)
    expected = grey_rows(dense_jacobian(net.forward_map, x), pixels, 3)
    torch.testing.assert_close(shared, expected, rtol=0, atol=1e-12)


def test_groups_hold_each_pixel_once_and_far_apart() -> None:
    pixels = random_pixels(3, (40, 30), 500, 5)
    groups = far_apart(pixels, 6)
    assert sorted(np.concatenate(groups).tolist()) == list(range(500))
    assert len(groups) < 150
    for group in groups:
        away = np.abs(pixels[group][:, None] - pixels[group]).max(-1)
        assert (away[~np.eye(len(group), dtype=bool)] > 6).all()
    assert len(far_apart(pixels, math.inf)) == 500
    assert far_apart(pixels[:0], 3) == []


def test_memory_is_bounded_by_the_batch_and_progress_is_told() -> None:
    sizes: list[int] = []

    def watched(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return 2 * x

    done: list[int] = []
    pixels = random_pixels(0, SHAPE, 30, 3)
    rows = jacobian_rows(function_map("it", watched), image().float(), pixels, 3, 4, done.append)
    assert sizes == [4]
    assert sum(done) == 30
    assert rows.dtype == torch.float32
    assert rows.sum((1, 2)).tolist() == [2.0] * 30
    assert jacobian_rows(function_map("it", watched), image(), pixels[:0], 3).shape == (0, 3, 3)


def test_pixels_are_the_same_for_all_and_inside() -> None:
    pixels = random_pixels(0, (20, 30), 100, 9)
    assert len(np.unique(pixels, axis=0)) == 100
    assert pixels.min(0).tolist() >= [4, 4]
    assert (pixels.max(0) <= [15, 25]).all()
    np.testing.assert_array_equal(pixels[:40], random_pixels(0, (20, 30), 40, 9))
    assert not np.array_equal(pixels, random_pixels(1, (20, 30), 100, 9))
    assert len(random_pixels(0, (9, 9), 1, 9)) == 1


def flat(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"window": 4}, SpecError, "odd"),
        ({"window": 13}, SpecError, "at most 11"),
        ({"pixels": np.array([[0, 5]])}, DataError, "leaves the image"),
        ({"pixels": np.array([[5, 12]])}, DataError, "leaves the image"),
        ({"x": torch.rand(2, 1, 11, 13)}, ShapeError, "one image"),
        ({"of": function_map("half", lambda x: x[..., ::2])}, ShapeError, "half maps images"),
        ({"of": function_map("flat", flat)}, InvregError, "flat has no gradient"),
        ({"of": function_map("bad", lambda x: x * math.nan)}, InvregError, "NaN"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nonsense_is_refused(changes: dict[str, Any], error: type[InvregError], message: str) -> None:
    given: dict[str, Any] = {"of": operator_map(Identity()), "x": image(), "pixels": np.array([[5, 6]]), "window": 3}
    with pytest.raises(error, match=message):
        jacobian_rows(**(given | changes))


class LeavesTorch(Operator):
    """2 x, by NumPy."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(2 * x.numpy())


class Unfollowed(Operator):
    """2 x, with nothing that torch could follow."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return 2 * x


class WrongAdjoint(Unfollowed):
    """2 x with 5 v as its adjoint derivative."""

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        return 2 * h

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return 5 * v


@pytest.mark.parametrize(
    ("operator", "message", "hint"),
    [
        (LeavesTorch(), "operator LeavesTorch cannot be differentiated", "finite_differences"),
        (Unfollowed(), "jvp and vjp of the operator Unfollowed do not belong together", "finite_differences"),
        (WrongAdjoint(), "jvp and vjp of the operator WrongAdjoint do not belong together", "finite_differences"),
    ],
)
def test_operators_without_a_derivative_are_refused(operator: Operator, message: str, hint: str) -> None:
    with pytest.raises(InvregError, match=message) as refusal:
        jacobian_rows(operator_map(operator), image(), np.array([[5, 6]]), 3, 4)
    assert hint in str(refusal.value.hint)


def test_finite_differences_give_rows_to_operators_without_a_derivative() -> None:
    for operator in (LeavesTorch(), Unfollowed()):
        rows = jacobian_rows(operator_map(FiniteDifferences(operator)), image(), np.array([[5, 6]]), 3, 4)
        expected = torch.zeros(1, 3, 3, dtype=torch.float64)
        expected[0, 1, 1] = 2
        torch.testing.assert_close(rows, expected)


def test_networks_that_torch_cannot_follow_are_refused() -> None:
    pixels = np.array([[5, 6]])
    with pytest.raises(InvregError, match="numpy net cannot be differentiated"):
        jacobian_rows(function_map("numpy net", lambda x: torch.from_numpy(2 * x.numpy())), image(), pixels, 3)
    with pytest.raises(InvregError, match="cut net is zero, though its values change"):
        jacobian_rows(function_map("cut net", lambda x: 2 * x.detach() + 0 * x), image(), pixels, 3)


def test_more_pixels_than_the_image_has() -> None:
    with pytest.raises(DataError, match="at most 35"):
        random_pixels(0, SHAPE, 36, 7)
    with pytest.raises(SpecError, match="at most 11"):
        random_pixels(0, SHAPE, 1, 13)
