"""Motion blur: the kernel against a sampled path, and a length that is drawn for each measurement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from torch import Tensor

from invreg import Model, Registry
from invreg.components.operator import Operator
from invreg.components.problem import Problem
from invreg.computing.streams import generator, stream_key
from invreg.errors import ShapeError, SpecError
from invreg.testing import check_operator
from invreg_operators.combined.composition import Composition
from invreg_operators.combined.finite_differences import FiniteDifferences
from invreg_operators.combined.stack import Stack
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.convolution.motion_blur import MotionBlur, UncertainMotionBlur
from invreg_operators.noise.gaussian import GaussianNoise


def photographs(count: int = 4, side: int = 20) -> Tensor:
    return torch.rand(count, 1, side, side, generator=generator(0), dtype=torch.float64)


@pytest.mark.parametrize("length", [0.4, 1.0, 4.0, 7.3, 12.0])
@pytest.mark.parametrize("angle", [0.0, 20.0, 45.0, 90.0, 137.0, -60.0])
def test_the_kernel_is_the_time_that_a_path_spends_in_each_pixel(length: float, angle: float) -> None:
    kernel = np.array(MotionBlur(length, angle).kernel())
    along = (np.arange(400_000) + 0.5) / 400_000 * length - length / 2
    columns = np.round(along * np.cos(np.radians(angle))).astype(int)
    rows = np.round(-along * np.sin(np.radians(angle))).astype(int)
    middle = np.array(kernel.shape) // 2
    assert np.abs(rows).max() <= middle[0]
    assert np.abs(columns).max() <= middle[1]
    counted = np.zeros_like(kernel)
    np.add.at(counted, (rows + middle[0], columns + middle[1]), 1 / len(along))
    np.testing.assert_allclose(kernel, counted, atol=2e-5)
    assert kernel.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-14)


def test_paths_along_rows_and_columns_are_means() -> None:
    assert MotionBlur(5.0, 0.0).kernel() == [[pytest.approx(0.2)] * 5]
    assert MotionBlur(4.0, 90.0).kernel() == [[pytest.approx(part)] for part in (0.125, 0.25, 0.25, 0.25, 0.125)]
    assert MotionBlur(1.0, 0.0).kernel() == [[1.0]]


def test_positive_angles_point_up() -> None:
    kernel = np.array(MotionBlur(9.0, 45.0).kernel())
    assert kernel[0, -1] > 0
    assert kernel[-1, -1] == 0


@pytest.mark.parametrize(
    ("boundary", "mode"), [("symmetric", "reflect"), ("circular", "wrap"), ("replicate", "nearest")]
)
def test_images_are_convolved_with_the_kernel(boundary: str, mode: str) -> None:
    operator, x = MotionBlur(6.5, 33.0, boundary), photographs()
    expected = np.stack([convolve(image, np.array(operator.kernel()), mode=mode) for image in x[:, 0].numpy()])
    np.testing.assert_allclose(operator(x)[:, 0].numpy(), expected, atol=1e-14)


@pytest.mark.parametrize(
    "operator",
    [MotionBlur(5.5, 30.0), MotionBlur(5.5, 30.0, "circular"), UncertainMotionBlur(5.0, 1.5, 70.0, "replicate")],
    ids=["known", "circular", "uncertain"],
)
def test_it_keeps_what_operators_promise(operator: Operator) -> None:
    check_operator(operator, image_shape=(1, 14, 11))


@pytest.mark.parametrize(
    ("name", "parameters", "match"),
    [
        ("motion_blur", {"length": 0.0}, "length"),
        ("motion_blur", {"angle": 400.0}, "angle"),
        ("motion_blur", {"angle": float("nan")}, "angle"),
        ("uncertain_motion_blur", {"deviation": -1.0}, "deviation"),
        ("uncertain_motion_blur", {"length": 5.0, "deviation": 5.0}, "at most 4.9, for this length"),
    ],
)
def test_wrong_parameters_are_refused(name: str, parameters: dict[str, object], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        Registry.installed().build("operator", {"name": name, **parameters})


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(ShapeError, match="height >= 1 and width >= 5"):
        MotionBlur(11.0).range_shape((1, 20, 4))
    # For the longest path that may be drawn.
    with pytest.raises(ShapeError, match="width >= 7"):
        UncertainMotionBlur(11.0, 4.0)(torch.zeros(1, 1, 20, 6))


def test_every_measurement_has_a_length_of_its_own() -> None:
    operator = UncertainMotionBlur(9.0, 3.0)
    drawn = [operator.realisation(generator(key)) for key in range(300)]
    lengths = np.array([blur.length for blur in drawn])
    assert {type(blur) for blur in drawn} == {MotionBlur}
    assert 6 <= lengths.min() < 6.2
    assert 11.8 < lengths.max() <= 12
    assert lengths.mean() == pytest.approx(9, abs=0.3)
    assert lengths.std() == pytest.approx(6 / np.sqrt(12), rel=0.1)
    assert UncertainMotionBlur(9.0, 0.0).realisation(generator(0)).length == 9


def test_measurements_are_the_same_for_every_batch_and_order() -> None:
    x, keys = photographs(), [5, 6, 7, 8]
    problem = Problem(UncertainMotionBlur(7.0, 3.0, 20.0), GaussianNoise(0.01))
    whole = problem.measure(x, keys=keys)
    alone = torch.cat([problem.measure(x[i : i + 1], keys=keys[i : i + 1]) for i in range(4)])
    assert torch.equal(whole, alone)
    assert torch.equal(whole, problem.measure(x.flip(0), keys=keys[::-1]).flip(0))
    assert torch.equal(problem.measure(x, seed=3), problem.measure(x, seed=3))
    assert not torch.equal(problem.measure(x, seed=3), problem.measure(x, seed=4))
    assert torch.equal(problem.measure(x, generator=generator(1)), problem.measure(x, generator=generator(1)))
    assert problem.measure(x[:0], seed=0).shape == (0, 1, 20, 20)


def test_the_noise_is_that_of_an_operator_that_draws_nothing() -> None:
    x, operator, noise = photographs(), UncertainMotionBlur(7.0, 3.0), GaussianNoise(0.01)
    keys = [1, 2, 3, 4]
    clean, noisy = (Problem(operator, each).measure(x, keys=keys) for each in (None, noise))
    torch.testing.assert_close(noisy - clean, noise.sample(torch.zeros_like(x), keys))
    for index, key in enumerate(keys):
        blur = operator.realisation(generator(stream_key(key, "operator")))
        assert torch.equal(clean[index : index + 1], blur(x[index : index + 1]))


def test_the_operator_itself_has_the_nominal_length() -> None:
    x, operator = photographs(), UncertainMotionBlur(7.0, 3.0, 20.0)
    assert torch.equal(operator(x), MotionBlur(7.0, 20.0)(x))
    assert torch.equal(operator.adjoint(x), MotionBlur(7.0, 20.0).adjoint(x))
    assert (Problem(operator).measure(x, seed=0) - operator(x)).abs().amax((1, 2, 3)).min() > 0.01


@pytest.mark.parametrize(
    "combined", [Composition, Stack, lambda parts: FiniteDifferences(parts[-1])], ids=["composition", "stack", "one"]
)
def test_what_parts_draw_is_drawn_for_the_whole(combined: Callable[[list[Operator]], Operator]) -> None:
    x = photographs()
    fixed, drawing = combined([GaussianBlur(3), MotionBlur()]), combined([GaussianBlur(3), UncertainMotionBlur()])
    assert fixed.realisation(generator(0)) is fixed
    assert type(drawing.realisation(generator(0))) is type(drawing)
    problem = Problem(drawing)
    assert torch.equal(problem.measure(x, seed=0), problem.measure(x, seed=0))
    assert not torch.allclose(problem.measure(x, seed=0), drawing(x), atol=1e-3)


def test_as_many_keys_as_images_are_needed() -> None:
    with pytest.raises(ShapeError, match="3 keys for 4 images"):
        Problem(UncertainMotionBlur()).measure(photographs(), keys=[1, 2, 3])


def test_the_residual_that_a_model_expects_counts_what_is_drawn() -> None:
    truth = photographs(1)[0].float()
    observation = Registry.installed().build("reconstructor", "observation")
    models = [
        Model("data", observation, Problem(operator, GaussianNoise(1e-4)), (1, 20, 20))
        for operator in (MotionBlur(9.0), UncertainMotionBlur(9.0, 3.0))
    ]
    known, uncertain = (model.reconstruct(truth).expected_residual for model in models)
    assert known == pytest.approx(1e-4, rel=0.2)
    assert uncertain is not None
    assert uncertain > 0.01
