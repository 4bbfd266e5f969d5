from __future__ import annotations

import pytest
import torch

import invreg
from invreg.testing import check_analyzer, check_operator, check_plugin
from invreg_example import plugin
from invreg_example.analyses import EdgeErrors
from invreg_example.operators import MovingAverage
from invreg_example.reconstructors import Landweber


def test_what_components_promise() -> None:
    check_plugin(plugin)


def test_what_analyses_promise() -> None:
    check_analyzer(EdgeErrors(width=4))


@pytest.mark.parametrize(("length", "fade"), [(1, 0.5), (3, 0.0), (15, 1.0)])
def test_the_operator_on_images_that_are_smaller_than_the_path(length: int, fade: float) -> None:
    check_operator(MovingAverage(length, fade), image_shape=(1, 3, 5))


def test_a_row_fades_away_beyond_its_edge() -> None:
    row = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    # At the left edge, the path of 5 pixels sees 0.25, 0.5, 1, 0 and 0.
    torch.testing.assert_close(MovingAverage(5, fade=0.5)(row)[0, 0, 0], torch.tensor([1.75, 1.5, 1.0, 0.0]) / 5)


def test_an_even_path_is_refused() -> None:
    with pytest.raises(invreg.SpecError, match="odd"):
        MovingAverage(length=4)


def test_landweber_comes_closer_with_every_step() -> None:
    problem = invreg.Problem(MovingAverage(3))
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    errors = []
    for iterations in (1, 10, 100):
        method = Landweber(iterations)
        method.setup(problem, (1, 8, 8))
        errors.append(float((method(problem.operator(x)) - x).norm()))
    assert errors[0] > errors[1] > errors[2]


def test_landweber_is_for_linear_operators() -> None:
    registry = invreg.Registry.installed()
    with pytest.raises(invreg.SpecError, match="a linear operator"):
        Landweber().check_operator(registry.build("operator", "perona_malik"))


def test_a_spec_finds_them() -> None:
    registry = invreg.Registry({"example": plugin})
    assert registry.plugins[0].problem is None
    assert registry.build("operator", {"name": "moving_average", "length": 9}).length == 9
    with pytest.raises(invreg.SpecError, match="less than or equal to 1"):
        registry.build("operator", {"name": "moving_average", "fade": 2})
