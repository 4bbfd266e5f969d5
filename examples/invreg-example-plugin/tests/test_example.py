from __future__ import annotations

import pytest
import torch

import invreg
from invreg_example import plugin
from invreg_example.operators import MotionBlur
from invreg_example.reconstructors import Landweber


def random(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("length", [1, 3, 7, 15])
@pytest.mark.parametrize("fade", [0.0, 0.5, 1.0])
def test_the_adjoint_is_the_transpose(length: int, fade: float) -> None:
    operator = MotionBlur(length, fade)
    x, y = random(1, 2, 1, 3, 5), random(2, 2, 1, 3, 5)
    torch.testing.assert_close((operator(x) * y).sum(), (x * operator.adjoint(y)).sum())


def test_a_row_fades_away_beyond_its_edge() -> None:
    row = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    # At the left edge, the path of 5 pixels sees 0.25, 0.5, 1, 0 and 0.
    torch.testing.assert_close(MotionBlur(5, fade=0.5)(row)[0, 0, 0], torch.tensor([1.75, 1.5, 1.0, 0.0]) / 5)


def test_an_even_path_is_refused() -> None:
    with pytest.raises(invreg.SpecError, match="odd"):
        MotionBlur(length=4)


def test_landweber_comes_closer_with_every_step() -> None:
    problem = invreg.Problem(MotionBlur(3))
    x = random(1, 2, 1, 8, 8)
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
    assert registry.build("operator", {"name": "motion_blur", "length": 9}).length == 9
    with pytest.raises(invreg.SpecError, match="less than or equal to 1"):
        registry.build("operator", {"name": "motion_blur", "fade": 2})
