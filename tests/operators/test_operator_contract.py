"""What every operator of this plugin promises: a new one joins with a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from invreg.components.operator import LinearOperator, Operator
from invreg.errors import ShapeError
from invreg_operators.beams.fan_beam import FanBeam
from invreg_operators.beams.radon import Radon
from invreg_operators.combined.composition import Composition
from invreg_operators.combined.stack import Stack
from invreg_operators.convolution.convolution import Convolution
from invreg_operators.convolution.downsampling import Downsampling
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.convolution.motion_blur import MotionBlur, UncertainMotionBlur
from invreg_operators.diffusion.implicit_diffusion import ImplicitDiffusion
from invreg_operators.diffusion.perona_malik import PeronaMalik
from invreg_operators.fourier.fourier_sampling import FourierSampling
from invreg_operators.fourier.multicoil_fourier import MulticoilFourier
from invreg_operators.fourier.phase_retrieval import PhaseRetrieval
from invreg_operators.pointwise.gamma import Gamma
from invreg_operators.pointwise.identity import Identity
from invreg_operators.pointwise.inpainting import Inpainting
from invreg_operators.pointwise.saturation import Saturation
from invreg_operators.shared.boundary import smallest_size

KERNEL = [[0.1, -0.2, 0.3, 0.0, 0.5], [1.0, 0.0, 0.25, -0.7, 0.2], [0.05, 0.6, 0.0, 0.3, -0.4]]
BOUNDARIES = ("symmetric", "zero", "circular", "replicate", "reflect")


def any_size(height: int, width: int) -> tuple[int, int]:
    return height, width


def multiples_of_three(height: int, width: int) -> tuple[int, int]:
    return -(-height // 3) * 3, -(-width // 3) * 3


@dataclass(frozen=True)
class Case:
    """An operator, the smallest image that it takes, and the size that it takes next to a given one."""

    name: str
    build: Callable[[], Operator]
    smallest: tuple[int, int, int] = (1, 1, 1)
    fit: Callable[[int, int], tuple[int, int]] = any_size

    def shapes(self) -> list[tuple[int, int, int]]:
        _, height, width = self.smallest
        sizes = [(1, height, width), (3, height, width + 2), (1, 17, 12), (2, 13, 21)]
        return [(channels, *self.fit(*size)) for channels, *size in sizes]

    def image(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """A batch of images of about this shape."""
        return image(*shape[:2], *self.fit(*shape[2:]), dtype=dtype)


def like(x: Tensor, seed: int = 0) -> Tensor:
    """A random direction, of the shape of x."""
    return direction(*x.shape, seed=seed).to(x.dtype)


CASES = [
    Case("identity", Identity),
    *(
        Case(
            f"gaussian_blur-{boundary}",
            lambda boundary=boundary: GaussianBlur(boundary=boundary),
            (1, smallest_size(5, boundary), smallest_size(5, boundary)),
        )
        for boundary in BOUNDARIES
    ),
    *(
        Case(
            f"convolution-{boundary}",
            lambda boundary=boundary: Convolution(KERNEL, boundary),
            (1, smallest_size(1, boundary), smallest_size(2, boundary)),
        )
        for boundary in BOUNDARIES
    ),
    *(
        Case(
            f"perona_malik-{stencil}-{boundary}",
            lambda stencil=stencil, boundary=boundary: PeronaMalik(stencil=stencil, boundary=boundary),
        )
        for stencil in ("forward", "edge", "half_point")
        for boundary in ("neumann", "dirichlet")
    ),
    Case("radon-square", lambda: Radon(angles=7), fit=lambda height, width: (width, width)),
    Case(
        "radon-detectors",
        lambda: Radon(angles=5, detectors=11, start=-20, stop=70, image_size=(9, 14)),
        smallest=(1, 9, 14),
        fit=lambda height, width: (9, 14),
    ),
    Case("fan_beam-square", lambda: FanBeam(angles=7), (1, 2, 2), fit=lambda height, width: (width, width)),
    Case(
        "fan_beam-curved",
        lambda: FanBeam(5, 1.1, 60.0, "curved", detectors=11, start=-20, stop=70, image_size=(9, 14)),
        smallest=(1, 9, 14),
        fit=lambda height, width: (9, 14),
    ),
    *(
        Case(f"fourier_sampling-{pattern}", lambda pattern=pattern: FourierSampling(acceleration=3, pattern=pattern))
        for pattern in ("lines", "random", "radial")
    ),
    *(
        Case(
            f"motion_blur-{boundary}",
            lambda boundary=boundary: MotionBlur(6.5, 30.0, boundary),
            (1, smallest_size(2, boundary), smallest_size(3, boundary)),
        )
        for boundary in BOUNDARIES
    ),
    Case("uncertain_motion_blur", lambda: UncertainMotionBlur(4.0, 1.0, 90.0), (1, 2, 1)),
    *(
        Case(
            f"downsampling-{boundary}",
            lambda boundary=boundary: Downsampling(3, std=1.0, boundary=boundary),
            (1, 6, 6),
            multiples_of_three,
        )
        for boundary in BOUNDARIES
    ),
    Case("downsampling-box", lambda: Downsampling(3, "box"), (1, 3, 3), multiples_of_three),
    Case("downsampling-bicubic", lambda: Downsampling(3, "bicubic"), (1, 6, 6), multiples_of_three),
    Case("inpainting-random", Inpainting),
    Case("inpainting-blocks", lambda: Inpainting("blocks", block_size=3)),
    Case("saturation-sharp", Saturation),
    Case("saturation-knee", lambda: Saturation(0.6, 0.1)),
    Case("gamma-decoded", Gamma),
    Case("gamma-encoded", lambda: Gamma(0.45, 0.05)),
    Case("multicoil_fourier", lambda: MulticoilFourier(3, acceleration=3)),
    Case("phase_retrieval", lambda: PhaseRetrieval(2)),
    Case("composition-linear", lambda: Composition([GaussianBlur(3), FourierSampling(2)])),
    Case("composition-nonlinear", lambda: Composition([Gamma(), PeronaMalik(steps=1), Saturation(0.5, 0.1)])),
    Case("stack-of-one", lambda: Stack([FourierSampling(2)])),
    *(
        Case(f"implicit_diffusion-{boundary}", lambda boundary=boundary: ImplicitDiffusion(steps=2, boundary=boundary))
        for boundary in ("neumann", "dirichlet")
    ),
]
LINEAR = [case for case in CASES if isinstance(case.build(), LinearOperator)]


def ids(cases: list[Case]) -> dict[str, object]:
    return {"argvalues": cases, "ids": [case.name for case in cases]}


def image(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def direction(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inner(a: Tensor, b: Tensor) -> float:
    return float(torch.sum(a * b))


@pytest.mark.parametrize("case", **ids(CASES))
def test_range_shape_tells_the_shape_of_the_measurement(case: Case) -> None:
    operator = case.build()
    for shape in case.shapes():
        assert operator(image(2, *shape)).shape == (2, *operator.range_shape(shape))


@pytest.mark.parametrize("case", **ids(CASES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_hardly_matters(case: Case, dtype: torch.dtype) -> None:
    operator = case.build()
    x = case.image(1, 1, 17, 12, dtype=dtype)
    assert operator(x).dtype == dtype
    torch.testing.assert_close(operator(x).double(), operator(x.double()), atol=1e-5, rtol=1e-5)
    assert operator.vjp(x, operator(x)).dtype == dtype
    assert operator.jvp(x, x).dtype == dtype


@pytest.mark.parametrize("case", **ids(CASES))
def test_autocast_does_not_touch_the_physics(case: Case) -> None:
    operator, x = case.build(), case.image(1, 1, 17, 12, dtype=torch.float32)
    v = like(operator(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(operator(x), operator(x).float())
        assert operator(x).dtype == torch.float32
        inside = operator.vjp(x, v)
    torch.testing.assert_close(inside, operator.vjp(x, v), rtol=0, atol=0)


@pytest.mark.parametrize("case", **ids(CASES))
def test_input_is_not_changed_and_not_returned(case: Case) -> None:
    operator, x = case.build(), case.image(2, 1, 17, 12)
    h, v = like(x), like(operator(x))
    before = [tensor.clone() for tensor in (x, h, v)]
    operator(x).add_(1)
    operator.vjp(x, v).add_(1)
    operator.jvp(x, h).add_(1)
    assert all(torch.equal(now, then) for now, then in zip((x, h, v), before, strict=True))


@pytest.mark.parametrize("case", **ids(CASES))
def test_images_and_channels_are_treated_alone(case: Case) -> None:
    operator, x = case.build(), case.image(2, 3, 17, 12)
    together = operator(x)
    v = like(together)
    back = operator.vjp(x, v)
    # The channels of the measurement that belong to one channel of the image follow each other.
    together, v = (y.unflatten(1, (3, -1)) for y in (together, v))
    for b in range(2):
        for c in range(3):
            alone = x[b : b + 1, c : c + 1]
            torch.testing.assert_close(together[b : b + 1, c], operator(alone))
            torch.testing.assert_close(back[b : b + 1, c : c + 1], operator.vjp(alone, v[b : b + 1, c]))


@pytest.mark.parametrize("case", **ids(CASES))
def test_layout_in_memory_does_not_matter(case: Case) -> None:
    operator, x = case.build(), case.image(2, 3, 17, 12)
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    assert not turned.is_contiguous()
    torch.testing.assert_close(operator(turned), operator(x))
    torch.testing.assert_close(operator(x.contiguous(memory_format=torch.channels_last)), operator(x))


@pytest.mark.parametrize("case", **ids(CASES))
def test_derivative_is_the_limit_of_differences(case: Case) -> None:
    operator = case.build()
    for shape in case.shapes():
        x, h = image(1, *shape), direction(1, *shape, seed=1)
        step = 1e-6
        difference = (operator(x + step * h) - operator(x - step * h)) / (2 * step)
        torch.testing.assert_close(operator.jvp(x, h), difference, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("case", **ids(CASES))
def test_vjp_is_the_adjoint_of_jvp(case: Case) -> None:
    operator = case.build()
    for shape in case.shapes():
        x, h = image(2, *shape), direction(2, *shape, seed=1)
        v = like(operator(x), seed=2)
        forward, back = operator.jvp(x, h), operator.vjp(x, v)
        scale = float(forward.norm() * v.norm())
        assert abs(inner(forward, v) - inner(h, back)) <= 1e-10 * scale


@pytest.mark.parametrize("case", **ids(CASES))
def test_derivatives_agree_with_automatic_differentiation(case: Case) -> None:
    operator = case.build()
    x = case.image(2, 2, 17, 12)
    h, v = like(x, seed=1), like(operator(x), seed=2)
    torch.testing.assert_close(operator.vjp(x, v), torch.func.vjp(operator.forward, x)[1](v)[0], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(
        operator.jvp(x, h), torch.func.jvp(operator.forward, (x,), (h,))[1], atol=1e-9, rtol=1e-9
    )
    leaf = x.clone().requires_grad_()
    operator(leaf).backward(v)
    torch.testing.assert_close(leaf.grad, operator.vjp(x, v), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("case", **ids(CASES))
def test_works_inside_function_transforms(case: Case) -> None:
    operator, x = case.build(), case.image(3, 1, 9, 11, dtype=torch.float32)
    v = like(operator(x))
    each = torch.func.vmap(lambda one: operator(one[None])[0])(x)
    torch.testing.assert_close(each, operator(x))
    back = torch.func.vmap(lambda one, its: operator.vjp(one[None], its[None])[0])(x, v)
    torch.testing.assert_close(back, operator.vjp(x, v))


@pytest.mark.parametrize("case", **ids(CASES))
def test_first_use_in_inference_mode_does_not_forbid_gradients(case: Case) -> None:
    operator = case.build()
    with torch.inference_mode():
        operator(case.image(1, 1, 14, 15))
    leaf = case.image(1, 1, 14, 15).requires_grad_()
    operator(leaf).sum().backward()
    assert leaf.grad is not None


@pytest.mark.parametrize("case", **ids(CASES))
def test_state_is_empty(case: Case) -> None:
    operator = case.build()
    operator(case.image(1, 1, 17, 12))
    assert operator.state_dict() == {}


@pytest.mark.parametrize("case", **ids(CASES))
def test_scipy_operator_is_the_jacobian(case: Case) -> None:
    operator, shape = case.build(), case.shapes()[0]
    x = image(1, *shape)
    matrix = operator.linearize(x).as_scipy()
    rows, columns = int(np.prod(operator.range_shape(shape))), int(np.prod(shape))
    jacobian = torch.func.jacrev(operator.forward)(x).reshape(rows, columns).numpy()
    np.testing.assert_allclose(matrix @ np.eye(columns), jacobian, atol=1e-9)
    np.testing.assert_allclose(matrix.H @ np.eye(rows), jacobian.T, atol=1e-9)


@pytest.mark.parametrize("case", **ids(LINEAR))
def test_linearity(case: Case) -> None:
    operator = case.build()
    x = like(case.image(2, 1, 17, 12))
    y = like(x, seed=1)
    torch.testing.assert_close(operator(2 * x - 3 * y), 2 * operator(x) - 3 * operator(y))


@pytest.mark.parametrize("case", **ids(LINEAR))
def test_adjoint(case: Case) -> None:
    operator = case.build()
    assert isinstance(operator, LinearOperator)
    for shape in case.shapes():
        x, y = direction(2, *shape), direction(2, *operator.range_shape(shape), seed=1)
        forward, back = operator(x), operator.adjoint(y)
        assert abs(inner(forward, y) - inner(x, back)) <= 1e-10 * float(forward.norm() * y.norm())
        torch.testing.assert_close(operator.normal(x), operator.adjoint(forward))


@pytest.mark.parametrize("case", **ids(LINEAR))
def test_norm_is_the_largest_singular_value(case: Case) -> None:
    operator, shape = case.build(), (1, *case.fit(9, 7))
    assert isinstance(operator, LinearOperator)
    jacobian = torch.func.jacrev(operator.forward)(torch.zeros(1, *shape, dtype=torch.float64))
    jacobian = jacobian.reshape(-1, int(np.prod(shape)))
    exact = torch.linalg.matrix_norm(jacobian, 2).item()
    assert operator.norm(shape).value == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.smallest != (1, 1, 1) and c.fit is any_size], ids=lambda c: c.name
)
def test_images_that_are_too_small_are_refused(case: Case) -> None:
    operator = case.build()
    channels, height, width = case.smallest
    for shape in ((channels, height - 1, 40), (channels, 40, width - 1)):
        if 0 in shape:
            continue
        for refused in (operator.range_shape, lambda shape: operator(image(1, *shape))):
            with pytest.raises(ShapeError, match=f"height >= {height} and width >= {width}"):
                refused(shape)


@pytest.mark.parametrize("case", **ids(CASES))
def test_nonsense_is_refused(case: Case) -> None:
    operator = case.build()
    with pytest.raises(ShapeError, match=r"\[B, C, H, W\]"):
        operator(image(20, 20))
    with pytest.raises(ShapeError, match="image"):
        operator(image(1, 1, 20, 0))
    with pytest.raises(TypeError, match="floating-point"):
        operator(torch.ones(1, 1, 20, 20, dtype=torch.long))
    with pytest.raises(ShapeError):
        operator.range_shape((20, 20))
