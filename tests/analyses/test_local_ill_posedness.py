"""Directions of local ill-posedness against dense eigenvalue problems, and nonsense."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analysis_helpers import Learner, draw_svgs, make_run, texts, through_files, with_learners
from PIL import Image
from torch import Tensor
from torch.autograd.function import once_differentiable

from invreg.components.analyzer import CompletedRun
from invreg.components.dataset import ImageStack, Splits
from invreg.components.operator import LinearOperator, NormalOperator, Operator, Shape
from invreg.errors import ConvergenceError, DataError, InvregError, ShapeError, SpecError
from invreg.plugins.registry import Registry, spec_of
from invreg.text import span
from invreg_analyses.ill_posedness.direction_pictures import direction_limit
from invreg_analyses.ill_posedness.extreme_directions import Form, ascent, largest
from invreg_analyses.ill_posedness.images import find_subject, read_mask
from invreg_analyses.ill_posedness.local_ill_posedness import LocalIllPosedness
from invreg_analyses.shared.derivatives import function_derivative, operator_derivative
from invreg_operators.diffusion.perona_malik import PeronaMalik
from toy import Halved

SHAPE = (1, 9, 11)
SIZE = math.prod(SHAPE)
EVERYWHERE = np.ones(SHAPE[1:], dtype=bool)


class Matrix(LinearOperator):
    """A random matrix on flat images, with a gap between its leading singular values."""

    def __init__(self, seed: int = 0, norm: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        left, right = (
            torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64))[0] for _ in range(2)
        )
        values = norm * torch.linspace(1, 0.01, SIZE, dtype=torch.float64) ** 2
        self.matrix = (left * values) @ right

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).to(self.matrix) @ self.matrix.T).view(x.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        return (y.flatten(1).to(self.matrix) @ self.matrix).view(y.shape)


def box_mask(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def saved_mask(folder: Path, mask: np.ndarray) -> str:
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "mask.png")
    return str(folder / "mask.png")


def run_with(operator: Operator, phi: Callable[[Tensor], Tensor], **images: Any) -> CompletedRun:
    """A run with a light square in each image, and a network that has learned phi."""
    run = make_run({"raw": 0.1, "net": 0.1}, operator=operator, size=SHAPE[1:], metrics=("psnr",), **images)
    x = 0.1 * run.images.test.images
    x[..., 3:7, 4:8] += 0.6
    stack = ImageStack(x, run.images.test.names)
    return with_learners(
        replace(run, images=Splits(run.images.train, stack, stack)), net=Learner(run.problem.operator, phi)
    )


# -- against dense matrices


@pytest.mark.slow
@pytest.mark.parametrize("mask", [EVERYWHERE, box_mask(2, 3, 5, 6), box_mask(0, 0, 9, 8)], ids=["all", "30", "72"])
def test_eigenvalues_and_directions_are_those_of_the_dense_matrix(mask: np.ndarray) -> None:
    phi, operator = Matrix(1, 1.3), Matrix(2)
    x = torch.zeros(1, *SHAPE, dtype=torch.float64)
    network, forward = function_derivative("phi", phi, x), operator_derivative(operator, x)

    def product(h: Tensor) -> Tensor:
        return network.vjp(network.jvp(h)) - forward.vjp(forward.jvp(h))

    form = Form(product, mask, x)
    start = form.start(torch.Generator().manual_seed(0))
    found = largest(form, 1.1, 3, 1e-10, 5000, start)
    dense = (phi.matrix.T @ phi.matrix - operator.matrix.T @ operator.matrix).numpy()
    inside = mask.ravel()
    values, vectors = np.linalg.eigh(dense[np.ix_(inside, inside)])
    np.testing.assert_allclose(found.values, values[::-1][:3], atol=1e-9)
    assert (found.residuals < 1e-8).all()
    for number in range(3):
        assert abs(found.vectors[number] @ vectors[:, -1 - number]) == pytest.approx(1, abs=1e-7)
    image = form.image(found.vectors[0])[0, 0].numpy()
    assert (image[~mask] == 0).all()
    assert np.linalg.norm(image) == pytest.approx(1)
    before = -math.inf
    for steps in (0, 1, 10, 200):
        h, reached = ascent(form, 1.1, steps, start)
        assert np.linalg.norm(h) == pytest.approx(1)
        assert before <= reached <= found.values[0] + 1e-10
        before = reached


@pytest.mark.slow
def test_the_analysis_finds_the_same_and_restricts_exactly(tmp_path: Path) -> None:
    phi, operator = Matrix(1, 1.3), Matrix(2)
    mask = saved_mask(tmp_path, box_mask(2, 3, 5, 6))
    findings = LocalIllPosedness(images=2, mask=mask, directions=3, tolerance=1e-9).analyze(run_with(operator, phi))
    dense = (phi.matrix.T @ phi.matrix - operator.matrix.T @ operator.matrix).numpy()
    inside = box_mask(2, 3, 5, 6).ravel()
    table = findings.tables["directions"]
    assert list(table["method"].unique()) == ["net"]  # only methods that have learned a forward map
    for region, matrix in (("whole image", dense), ("restricted", dense[np.ix_(inside, inside)])):
        own = table[table["region"] == region]
        expected = np.linalg.eigvalsh(matrix)[::-1][:3]
        for image in ("image-1", "image-3"):  # the middle ones of two halves
            np.testing.assert_allclose(own.loc[own["image"] == image, "difference"], expected, atol=1e-8)
        np.testing.assert_allclose(own["network"] ** 2 - own["operator"] ** 2, own["difference"])
        assert (own["residual"] < 1e-7).all()
    small = findings.tables["operator"]
    smallest = np.linalg.svd(operator.matrix.numpy(), compute_uv=False)[-1]
    alone = small[(small["region"] == "whole image") & (small["rank"] == 1) & (small["map"] == "")]
    np.testing.assert_allclose(alone["derivative"], smallest, rtol=1e-3)
    directions = findings.arrays["directions"]
    assert directions.shape == (1, 2, 2, *SHAPE)
    assert (directions[:, :, 1, 0][..., ~box_mask(2, 3, 5, 6)] == 0).all()
    np.testing.assert_allclose(np.square(directions).sum((-3, -2, -1)), 1, rtol=1e-5)
    assert (findings.arrays["operator_directions"][:, 1, 0][:, ~box_mask(2, 3, 5, 6)] == 0).all()
    ascents = findings.tables["ascent"]
    assert (ascents["reached"] <= ascents["largest"] + 1e-9).all()
    assert set(ascents["steps"]) == {50}
    saved = through_files(findings, tmp_path)
    drawn = draw_svgs(LocalIllPosedness(), saved)
    assert set(drawn) == {"directions_net", "derivatives_net", "operator"}
    assert drawn == draw_svgs(LocalIllPosedness(), findings)
    assert {"whole image", "restricted", "image-1"} <= set(texts(drawn["directions_net"]))
    assert {"‖∂ₕφ‖, network", "‖∂ₕF‖, operator", "restricted"} <= set(texts(drawn["derivatives_net"]))
    for figure in LocalIllPosedness().draw(saved).values():
        assert "Seen here: " in str(figure.get_label())
    first = table[(table["region"] == "whole image") & (table["rank"] == 1)]
    assert (
        f"‖∂ₕφ‖ of net is {span(first['network'])} and ‖∂ₕF‖ {span(first['operator'])} (whole image)" in findings.text
    )


@pytest.mark.slow
def test_equal_maps_do_not_differ() -> None:
    operator = Matrix(2)
    findings = LocalIllPosedness(images=1, mask=None, directions=4).analyze(run_with(operator, operator))
    table = findings.tables["directions"]
    assert table["difference"].abs().max() < 1e-12
    assert len(table) == 4
    assert set(table["region"]) == {"whole image"}
    draw_svgs(LocalIllPosedness(), findings)
    diffusion = PeronaMalik(steps=2)
    findings = LocalIllPosedness(images=1, mask=None, directions=2).analyze(run_with(diffusion, diffusion.forward))
    assert findings.tables["directions"]["difference"].abs().max() < 1e-5
    draw_svgs(LocalIllPosedness(), findings)


@pytest.mark.slow
def test_nonlinear_maps_against_their_jacobians() -> None:
    operator = PeronaMalik(steps=2)

    def phi(x: Tensor) -> Tensor:
        return torch.tanh(x) + 0.3 * x.roll(1, -1).square()

    run = run_with(operator, phi)
    table = LocalIllPosedness(images=("image-2",), mask=None, directions=2, tolerance=1e-4).analyze(run)
    x = run.images.test.images[2:3].double()
    first, second = (torch.autograd.functional.jacobian(f, x).reshape(SIZE, SIZE) for f in (phi, operator.forward))
    expected = torch.linalg.eigvalsh(first.T @ first - second.T @ second).flip(0)[:2]
    np.testing.assert_allclose(table.tables["directions"]["difference"], expected, rtol=1e-4)


class Wide(LinearOperator):
    """Every pixel twice: measurements are no images."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x], dim=-1)

    def range_shape(self, domain_shape: Shape) -> Shape:
        return (*domain_shape[:2], 2 * domain_shape[2])

    def domain_shape(self, range_shape: Shape) -> Shape:
        return (*range_shape[:2], range_shape[2] // 2)


@pytest.mark.slow
def test_operators_between_spaces_and_colour(tmp_path: Path) -> None:
    run = make_run({"net": 0.1}, operator=Wide(), size=SHAPE[1:], channels=3, metrics=("psnr",), count=1)
    net = Learner(NormalOperator(Wide(), (3, *SHAPE[1:])), lambda x: 2 * x)
    mask = saved_mask(tmp_path, box_mask(0, 0, 2, 2))
    findings = LocalIllPosedness(images=1, mask=mask, directions=1).analyze(with_learners(run, net=net))
    np.testing.assert_allclose(findings.tables["directions"]["difference"], 3, rtol=1e-4)  # 2² - 1²
    draw_svgs(LocalIllPosedness(), findings)


@pytest.mark.slow
def test_batches_of_one_and_several_networks() -> None:
    run = make_run({"a": 0.1, "b": 0.1}, operator=Halved(), size=SHAPE[1:], metrics=("psnr",), count=1)
    run = with_learners(run, a=Learner(Halved(), lambda x: x), b=Learner(Halved(), lambda x: 0.7 * x))
    findings = LocalIllPosedness(images=5, mask=None, directions=1).analyze(run)
    np.testing.assert_allclose(findings.tables["directions"]["network"], [1, 0.7], rtol=1e-5)
    assert findings.scalars["network_b"] == pytest.approx(0.7, rel=1e-5)
    assert {"directions_a", "directions_b"} <= set(draw_svgs(LocalIllPosedness(), findings))


# -- masks


def test_the_subject_is_what_stands_out() -> None:
    x = torch.full((1, 40, 50), 0.2)
    x[:, 10:30, 15:35] = 0.8
    x[:, 18:22, 20:25] = 0.2  # a hole belongs to it
    mask = find_subject(x)
    expected = np.zeros((40, 50), dtype=bool)
    expected[10:30, 15:35] = True
    assert (mask != expected).mean() < 0.02
    assert (find_subject(1 - x) != mask).mean() < 0.02  # the threshold is not quite the same
    with pytest.raises(DataError, match="nothing stands out"):
        find_subject(torch.full((1, 40, 50), 0.5))


@pytest.mark.slow
def test_images_without_a_subject_are_listed() -> None:
    run = make_run({"net": 0.1}, operator=Halved(), size=SHAPE[1:], metrics=("psnr",), count=2)
    flat = ImageStack(torch.full((2, *SHAPE), 0.3), ["a", "b"])
    run = with_learners(replace(run, images=Splits(run.images.train, flat, flat)), net=Learner(Halved(), lambda x: x))
    findings = LocalIllPosedness(images=2, directions=1).analyze(run)
    assert findings.tables["left_out"]["reason"].tolist() == ["nothing stands out from the surroundings"] * 2
    assert "Left out: a, restricted: nothing stands out" in findings.text
    assert np.isnan(findings.arrays["directions"][:, :, 1]).all()
    draw_svgs(LocalIllPosedness(), findings)


@pytest.mark.slow
def test_masks_from_files(tmp_path: Path) -> None:
    mask = box_mask(1, 2, 3, 4)
    given = saved_mask(tmp_path, mask)
    run = run_with(Matrix(2), Matrix(1, 1.3))
    findings = LocalIllPosedness(images=("image-3", "image-0"), mask=given, directions=1).analyze(run)
    assert findings.tables["images"]["image"].tolist() == ["image-3", "image-0"]
    for own in findings.arrays["masks"]:
        np.testing.assert_array_equal(own, mask)
    assert read_mask(given, SHAPE[1:]).sum() == 12
    Image.new("L", (7, 5)).save(tmp_path / "small.png")
    Image.new("L", (11, 9)).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no image")
    for name, message in (
        ("small.png", "5 x 7 pixels"),
        ("black.png", "no pixel is inside"),
        ("text.png", "cannot be read"),
        ("missing.png", "no such file"),
    ):
        with pytest.raises(DataError, match=message):
            LocalIllPosedness(images=1, mask=str(tmp_path / name)).analyze(run)


def test_nonsense_masks_and_images_are_refused() -> None:
    run = run_with(Matrix(2), Matrix(1))
    for mask in ((0, 0, 2, 3), "", {}, {"image-1": "subject"}):
        with pytest.raises(SpecError, match="mask"):
            LocalIllPosedness(mask=mask)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="no test image 'image-9'"):
        LocalIllPosedness(images=("image-9",)).analyze(run)
    for images in (0, (), ("a", "a")):
        with pytest.raises(SpecError, match="images"):
            LocalIllPosedness(images=images)
    x = torch.zeros(1, *SHAPE)
    with pytest.raises(DataError, match="9 x 11, the size"):
        Form(lambda h: h, np.ones((4, 4), dtype=bool), x)
    with pytest.raises(DataError, match="no pixel is inside"):
        Form(lambda h: h, ~EVERYWHERE, x)


def test_parameters_have_a_form_in_specs() -> None:
    registry = Registry.installed()
    spec = {"name": "local_ill_posedness", "images": ["a"], "mask": "mask.png"}
    built = registry.build("analyzer", spec)
    again = registry.build("analyzer", spec_of(built, registry))
    assert (again.images, again.mask) == (("a",), "mask.png")
    for wrong in ({"images": True}, {"mask": [1, 2, 3]}, {"tolerance": 0.0}, {"directions": 0}):
        with pytest.raises(SpecError):
            registry.build("analyzer", {"name": "local_ill_posedness", **wrong})


# -- maps without derivatives


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Twice(torch.autograd.Function):
    """Without forward mode, but with a backward that can be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


class NumPy(Operator):
    """A nonlinear operator that torch cannot follow."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.tanh(x.detach().numpy()))


class WrongAdjoint(Halved):
    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return v


def test_maps_without_derivatives_are_named() -> None:
    for phi, message in (
        (Once.apply, "the forward map of net cannot be differentiated"),
        (lambda x: torch.from_numpy(np.tanh(x.detach().numpy())), "its value has no gradient"),
        (lambda x: x.sqrt() * torch.nan, "NaN or infinite"),
    ):
        with pytest.raises(InvregError, match=message):
            LocalIllPosedness(images=1, mask=None).analyze(run_with(Halved(), phi))
    with pytest.raises(InvregError, match="the operator NumPy"):
        LocalIllPosedness(images=1, mask=None).analyze(run_with(NumPy(), lambda x: x))
    with pytest.raises(InvregError, match="do not belong together"):
        LocalIllPosedness(images=1, mask=None).analyze(run_with(WrongAdjoint(), lambda x: x))
    with pytest.raises(ShapeError, match="one image"):
        operator_derivative(Halved(), torch.zeros(2, *SHAPE))


def test_what_can_be_done_about_missing_derivatives_is_said() -> None:
    with pytest.raises(InvregError, match=r"finite_differences\(operator\)"):
        LocalIllPosedness(images=1, mask=None).analyze(run_with(NumPy(), lambda x: x))


@pytest.mark.slow
def test_what_fails_for_the_operator_alone_costs_the_network_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ConvergenceError("no luck", where="smallest")

    monkeypatch.setattr("invreg_analyses.ill_posedness.search.smallest", fails)
    run = make_run({"a": 0.1, "b": 0.1}, operator=Halved(), size=SHAPE[1:], metrics=("psnr",), count=1)
    run = with_learners(run, a=Learner(Halved(), lambda x: x), b=Learner(Halved(), lambda x: 0.7 * x))
    findings = LocalIllPosedness(images=1, mask=None, directions=1).analyze(run)
    assert findings.tables["directions"]["method"].tolist() == ["a", "b"]
    assert findings.tables["left_out"].to_dict("records") == [
        {"method": "F alone", "image": "image-0", "region": "whole image", "reason": "no luck"}
    ]
    assert "Left out: F alone, image-0, whole image: no luck." in findings.text
    assert "operator" not in draw_svgs(LocalIllPosedness(), findings)


@pytest.mark.slow
def test_a_network_without_derivatives_does_not_stop_the_others() -> None:
    run = make_run({"bad": 0.1, "good": 0.1}, operator=Halved(), size=SHAPE[1:], metrics=("psnr",), count=1)
    run = with_learners(run, bad=Learner(Halved(), Once.apply), good=Learner(Halved(), lambda x: x))
    findings = LocalIllPosedness(images=1, mask=None, directions=1).analyze(run)
    assert findings.tables["directions"]["method"].tolist() == ["good"]
    assert "Left out: bad, image-0: the forward map of bad cannot be differentiated" in findings.text
    assert findings.arrays["directions"].shape[0] == 2
    drawn = draw_svgs(LocalIllPosedness(), findings)
    assert "directions_good" in drawn
    assert "directions_bad" not in drawn
    assert "operator" in drawn
    assert "‖∂ₕφ‖ 1.00" in texts(drawn["directions_good"])


def test_without_forward_mode_the_backward_is_differentiated() -> None:
    x = torch.rand(1, *SHAPE, dtype=torch.float64)
    derivative = function_derivative("square", Twice.apply, x)
    h = torch.randn_like(x)
    torch.testing.assert_close(derivative.jvp(h), 2 * x * h)
    torch.testing.assert_close(derivative.vjp(h), 2 * x * h)


def test_a_search_that_falls_short_says_so() -> None:
    x = torch.zeros(1, 1, 40, 40, dtype=torch.float64)
    weights = torch.linspace(0, 1, 1600, dtype=torch.float64).view_as(x)
    form = Form(lambda h: weights * h, np.ones((40, 40), dtype=bool), x)
    with pytest.raises(ConvergenceError, match="did not reach the tolerance 1e-12"):
        largest(form, 0.0, 5, 1e-12, 50, form.start(torch.Generator().manual_seed(0)))
    x = torch.zeros(1, *SHAPE, dtype=torch.float64)
    start = Form(torch.zeros_like, EVERYWHERE, x).start(torch.Generator().manual_seed(0))
    with pytest.raises(ConvergenceError, match="NaN"):
        largest(Form(lambda h: h * torch.nan, EVERYWHERE, x), 0.0, 1, 1e-3, 100, start)
    zero = largest(Form(torch.zeros_like, EVERYWHERE, x), 0.0, 3, 1e-3, 100, start)
    assert (zero.values == 0).all()
    np.testing.assert_allclose(zero.vectors @ zero.vectors.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("function", [Twice.apply, lambda x: x.sin() * x.roll(1, -1)], ids=["twice", "forward mode"])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_many_directions_at_once_are_those_one_by_one(function: Callable[[Tensor], Tensor], batch: int) -> None:
    x = torch.rand(1, *SHAPE, dtype=torch.float64)
    many = function_derivative("phi", function, x, batch=batch)
    one = function_derivative("phi", function, x)
    h = torch.randn(7, *SHAPE, dtype=torch.float64)
    for apply, alone in ((many.jvp, one.jvp), (many.vjp, one.vjp)):
        torch.testing.assert_close(apply(h), torch.cat([alone(row[None]) for row in h]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_an_operators_directions_are_batched_too(batch: int) -> None:
    x = torch.rand(1, *SHAPE, dtype=torch.float64)
    operator = PeronaMalik(steps=2)
    derivative = operator_derivative(operator, x, batch=batch)
    h = torch.randn(7, *SHAPE, dtype=torch.float64)
    expected = torch.cat([operator.jvp(x, row[None]) for row in h])
    torch.testing.assert_close(derivative.jvp(h), expected, rtol=1e-12, atol=1e-14)
    expected = torch.cat([operator.vjp(x, row[None]) for row in h])
    torch.testing.assert_close(derivative.vjp(h), expected, rtol=1e-12, atol=1e-14)


def test_rounding_errors_beside_a_few_pixels_have_no_colour() -> None:
    h = np.full((1, 1, 20, 20), 1e-8, dtype=np.float32)
    h[0, 0, 3, 4] = 0.9
    assert direction_limit(h) == pytest.approx(0.045)
    wide = np.random.default_rng(0).normal(size=(1, 1, 40, 40)).astype(np.float32)
    assert direction_limit(wide) == pytest.approx(np.quantile(np.abs(wide), 0.995))
    assert direction_limit(np.zeros((1, 1, 4, 4), dtype=np.float32)) == 1.0
