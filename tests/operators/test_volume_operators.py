"""Operators on volumes [C, D, H, W]: values, adjoints, norms and transforms, against dense matrices and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import ndimage
from torch import Tensor

import invreg
from invreg import LinearOperator, Operator, ShapeError, SpecError
from invreg.testing import check_operator
from invreg.testing.checks import CheckFailure
from invreg_operators.combined.composition import Composition
from invreg_operators.combined.stack import Stack
from invreg_operators.convolution.convolution import Convolution
from invreg_operators.convolution.downsampling import Downsampling
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.diffusion.implicit_diffusion import ImplicitDiffusion
from invreg_operators.fourier.fourier_sampling import FourierSampling
from invreg_operators.noise.correlated import CorrelatedNoise
from invreg_operators.noise.gaussian import GaussianNoise
from invreg_operators.pointwise.gamma import Gamma
from invreg_operators.pointwise.identity import Identity

SHAPE = (1, 6, 7, 8)
KERNEL = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(1)).tolist()
BOUNDARIES = ("symmetric", "zero", "circular", "replicate", "reflect")
#: What SciPy calls them.
MODES = dict(zip(BOUNDARIES, ("reflect", "constant", "wrap", "nearest", "mirror"), strict=True))
LINEAR = [
    Identity(),
    *(GaussianBlur(kernel_size=5, std=1.3, boundary=boundary) for boundary in BOUNDARIES),
    *(Convolution(KERNEL, boundary) for boundary in BOUNDARIES),
    ImplicitDiffusion(boundary="neumann"),
    ImplicitDiffusion(time=2.0, steps=3, boundary="dirichlet"),
]


def volumes(count: int = 2, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(operator: Operator) -> Tensor:
    """The matrix of a linear operator, column after column."""
    numbers = int(np.prod(SHAPE))
    return operator(torch.eye(numbers, dtype=torch.float64).view(numbers, *SHAPE)).flatten(1).T


@pytest.mark.parametrize("operator", LINEAR, ids=str)
def test_adjoint_norm_and_transform_are_those_of_the_matrix(operator: LinearOperator) -> None:
    matrix, x = dense(operator), volumes()
    assert torch.allclose(operator.adjoint(x).flatten(1).T, matrix.T @ x.flatten(1).T, atol=1e-12)
    assert torch.allclose(operator.normal(x).flatten(1).T, matrix.T @ (matrix @ x.flatten(1).T), atol=1e-12)
    norm = float(torch.linalg.matrix_norm(matrix, ord=2))
    assert operator.norm(SHAPE).value == pytest.approx(norm, rel=1e-5)
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    inverse = vectors @ torch.diag(1 / (values + 0.1)) @ vectors.T
    if isinstance(operator, Convolution) and operator.boundary != "circular":
        return
    found = operator.normal_function(x, lambda eigenvalues: 1 / (eigenvalues + 0.1))
    assert torch.allclose(found.flatten(1).T, inverse @ x.flatten(1).T, atol=1e-10)


@pytest.mark.parametrize(
    "operator",
    [
        Identity(),
        GaussianBlur(5, boundary="reflect"),
        Convolution([[[1.0, 2.0, 0.0]], [[0.0, 3.0, 1.0]], [[1.0, 0.5, 2.0]]], "replicate"),
        Convolution(KERNEL, "circular"),
        ImplicitDiffusion(),
        Gamma(1.5),
        Stack([Identity(), GaussianBlur(3)]),
    ],
    ids=str,
)
def test_what_operators_promise_holds_for_volumes(operator: Operator) -> None:
    check_operator(operator, (1, 5, 7, 6))


def test_the_check_of_stencils_sees_slices() -> None:
    """An operator that says that it sees a single slice, and sees three."""

    class Nearsighted(Convolution):
        @property
        def stencil_radius(self) -> int:
            return 0

    kernel: list[list[float | list[float]]] = [[[1.0]], [[2.0]], [[3.0]]]
    with pytest.raises(CheckFailure, match="is seen 1 pixels away"):
        check_operator(Nearsighted(kernel), (1, 5, 6, 7))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_convolutions_are_those_of_scipy(boundary: str) -> None:
    x = volumes(1)
    expected = ndimage.convolve(x[0, 0].numpy(), np.array(KERNEL), mode=MODES[boundary])
    assert np.allclose(Convolution(KERNEL, boundary)(x)[0, 0], expected, atol=1e-12)  # type: ignore[arg-type]
    blurred = GaussianBlur(kernel_size=5, std=1.3, boundary=boundary)(x)  # type: ignore[arg-type]
    expected = ndimage.gaussian_filter(x[0, 0].numpy(), 1.3, mode=MODES[boundary], radius=2)
    assert np.allclose(blurred[0, 0], expected, atol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_long_volumes_are_blurred_alike(boundary: str) -> None:
    """Beyond 256 voxels on an axis, filters take the place of matrices."""
    x, blur = volumes(1, (2, 4, 5, 257)), GaussianBlur(kernel_size=5, std=1.3, boundary=boundary)  # type: ignore[arg-type]
    expected = ndimage.gaussian_filter(x[0].numpy(), (0, 1.3, 1.3, 1.3), mode=MODES[boundary], radius=2)
    assert np.allclose(blur(x)[0], expected, atol=1e-12)
    y = volumes(1, (2, 4, 5, 257), seed=1)
    assert float((blur(x) * y).sum()) == pytest.approx(float((x * blur.adjoint(y)).sum()), rel=1e-12)


def test_implicit_diffusion_solves_its_equation() -> None:
    x = volumes(1)
    u = ImplicitDiffusion(time=0.8, boundary="neumann")(x)
    laplacian = torch.zeros_like(u)
    for axis in (2, 3, 4):
        steps = u.diff(dim=axis)
        rest = torch.zeros_like(u.narrow(axis, 0, 1))
        laplacian += torch.cat([steps, rest], axis) - torch.cat([rest, steps], axis)
    assert torch.allclose(u - 0.8 * laplacian, x, atol=1e-12)


def test_one_plane_filters_each_slice_alone() -> None:
    rows = [[0.0, 1.0, 0.0], [1.0, 4.0, 2.0], [0.0, 1.0, 0.0]]
    x = volumes(2)
    slices = Convolution(rows, "symmetric")(x.flatten(1, 2).movedim(1, 0).reshape(-1, 1, 7, 8))
    assert torch.allclose(
        Convolution([rows], "symmetric")(x), slices.view(6, 2, 1, 7, 8).permute(1, 2, 0, 3, 4), atol=1e-12
    )


@pytest.mark.parametrize("operator", [GaussianBlur(5), Convolution(KERNEL, "replicate"), Identity()], ids=str)
def test_stencil_radius(operator: Operator) -> None:
    radius = operator.stencil_radius
    assert radius is not None
    x = volumes(1, (1, 9, 9, 9))
    changed = x.clone()
    changed[0, 0, 4, 4, 4] += 1
    places = (operator(changed) - operator(x))[0, 0].abs().gt(1e-12).nonzero() - 4
    assert int(places.abs().max()) == radius


def test_operators_made_of_operators() -> None:
    x = volumes()
    chain = Composition([GaussianBlur(kernel_size=3), Gamma(1.5)])
    assert torch.equal(chain(x), Gamma(1.5)(GaussianBlur(kernel_size=3)(x)))
    stack = Stack([Identity(), GaussianBlur(kernel_size=3)])
    assert stack.range_shape(SHAPE) == (2, 6, 7, 8)
    assert isinstance(stack, LinearOperator)
    y = volumes(2, (2, 6, 7, 8), seed=1)
    assert float((stack(x) * y).sum()) == pytest.approx(float((x * stack.adjoint(y)).sum()), rel=1e-12)


def test_noise_of_a_volume_has_its_shape_and_is_correlated_on_three_axes() -> None:
    z = torch.zeros(1, 1, 24, 25, 26)
    assert GaussianNoise(0.1).sample(z, [3]).std() == pytest.approx(0.1, rel=0.05)
    noise = CorrelatedNoise(0.1, width=1.0).sample(z, [3])[0, 0]
    assert noise.std() == pytest.approx(0.1, rel=0.1)
    for axis in range(3):
        neighbours = (noise.narrow(axis, 1, 20) * noise.narrow(axis, 0, 20)).mean() / noise.square().mean()
        assert float(neighbours) == pytest.approx(np.exp(-1 / 4), abs=0.06)


@pytest.mark.parametrize("operator", [Downsampling(), FourierSampling()], ids=str)
def test_operators_for_images_refuse_volumes_by_name(operator: Operator) -> None:
    with pytest.raises(ShapeError, match=r"(?s)images of shape \(1, 6, 7, 8\).*height, width.*gaussian_blur"):
        operator.range_shape(SHAPE)
    with pytest.raises(ShapeError, match=r"(?s)a batch of images.*take volumes"):
        operator(volumes())


def test_kernels_and_images_of_other_dimensions() -> None:
    with pytest.raises(ShapeError, match=r"\(channels, depth, height, width\)"):
        Convolution(KERNEL).range_shape((1, 8, 8))
    with pytest.raises(ShapeError, match=r"\(channels, height, width\)"):
        Convolution([[1.0]]).range_shape(SHAPE)
    with pytest.raises(ShapeError, match="depth >= 5"):
        GaussianBlur(kernel_size=11).range_shape((1, 4, 16, 16))
    for kernel in ([[[1.0]], [[1.0, 2.0, 3.0]]], [[[1.0]], [[1.0]]], [[[1.0], 2.0]], [[[0.0]]], [[[]]], [[[1.0]], []]):
        with pytest.raises(SpecError, match="kernel"):
            Convolution(kernel)  # type: ignore[arg-type]


def test_a_problem_with_volumes() -> None:
    problem = invreg.Problem(GaussianBlur(kernel_size=3, boundary="zero"), GaussianNoise(0.01))
    x = volumes(2).float()
    whole = problem.measure(x, keys=[4, 5])
    assert torch.equal(whole[1:], problem.measure(x[1:], keys=[5]))
    assert problem.normal_operator(SHAPE)(x).shape == x.shape
    problem.check_adjoint(SHAPE)


@settings(max_examples=40, deadline=None)
@given(
    sides=st.lists(st.integers(3, 7), min_size=2, max_size=3),
    reach=st.lists(st.integers(0, 1), min_size=3, max_size=3),
    boundary=st.sampled_from(BOUNDARIES),
    seed=st.integers(0, 1000),
)
def test_adjoints_and_norms_in_any_number_of_axes(sides: list[int], reach: list[int], boundary: str, seed: int) -> None:
    shape = (2, *sides)
    x, y = volumes(2, shape, seed), volumes(2, shape, seed + 1)
    entries = torch.randn([2 * r + 1 for r in reach[: len(sides)]], generator=torch.Generator().manual_seed(seed))
    operators: list[LinearOperator] = [
        Convolution(entries.tolist(), boundary),  # type: ignore[arg-type]
        GaussianBlur(3, 0.5 + seed % 3, boundary),  # type: ignore[arg-type]
        ImplicitDiffusion(1 + seed % 5, boundary="neumann" if seed % 2 else "dirichlet"),
    ]
    for operator in operators:
        assert float((operator(x) * y).sum()) == pytest.approx(
            float((x * operator.adjoint(y)).sum()), rel=1e-9, abs=1e-9
        )
        assert float(operator(x).norm()) <= operator.norm(shape).value * float(x.norm()) * (1 + 1e-6)
        once = operator.adjoint(operator(x))
        assert torch.allclose(operator.normal(x), once, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    sides=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    size=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
def test_crops_of_any_number_of_axes_come_from_their_image(sides: list[int], size: list[int], seed: int) -> None:
    """Each crop holds values of one image, each of them once."""
    crop = [min(side, own) for side, own in zip(sides, size, strict=False)]
    image = torch.randperm(int(np.prod(sides))).float().view(1, *sides) / int(np.prod(sides))
    training = invreg.TrainingImages([image, image], ["a", "b"], crop)
    for one in training.batch(seed, 0, 4):
        assert one.shape == (1, *crop)
        assert len(one.unique()) == one.numel()
        assert torch.isin(one, image).all()
        place = (image[0] == one.min()).nonzero()[0]
        far = (image[0] == one.max()).nonzero()[0]
        across = (place - far).abs().tolist()
        assert all(a < max(crop) for a in across)
