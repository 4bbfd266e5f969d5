"""The directions in which an operator is smallest, and the patterns of directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from invreg.components.dataset import ImageStack
from invreg.components.operator import LinearOperator
from invreg.plugins.registry import Registry
from invreg_analyses.ill_posedness.extreme_directions import Form, largest, smallest
from invreg_analyses.ill_posedness.images import choose_images
from invreg_analyses.ill_posedness.search import pattern

REGISTRY = Registry.installed()


def gram(operator: LinearOperator) -> Form:
    mask = np.ones((24, 24), dtype=bool)
    return Form(lambda h: operator.adjoint(operator(h)), mask, torch.zeros(1, 1, 24, 24, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize("std", [0.6, 1.2])
def test_small_singular_values_of_a_blur_are_found(std: float) -> None:
    """Lanczos iteration alone ends where values are small relative to the largest, not where they are smallest."""
    operator = REGISTRY.build("operator", {"name": "gaussian_blur", "kernel_size": 7, "std": std}).double()
    form = gram(operator)
    dense = np.linalg.eigvalsh(np.column_stack([form(column) for column in np.eye(form.size)]))
    before = form.products
    found = smallest(form, 1.05, 3, 1e-3, 4000, form.start(torch.Generator().manual_seed(0)))
    assert found.products == form.products - before
    # Upper bounds of the smallest ones, in their order; much nearer than by Lanczos iteration on c Id - A alone.
    assert (found.values >= dense[:3] - 1e-12).all()
    shifted = Form(lambda h: 1.05 * h - form.product(h), form.mask, form.like)
    alone = 1.05 - largest(shifted, 0.0, 3, 1e-3, 4000, form.start(torch.Generator().manual_seed(0))).values
    assert (found.values - dense[:3] <= (alone - dense[:3]) / 4).all()
    assert found.values[0] == pytest.approx(dense[0], abs=1e-5)
    for value, vector, residual in zip(found.values, found.vectors, found.residuals, strict=True):
        assert np.linalg.norm(form(vector) - value * vector) == pytest.approx(residual, abs=1e-12)
        assert np.abs(dense - value).min() <= residual + 1e-12
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(3), atol=1e-10)


def pattern_of(h: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    return pattern(torch.from_numpy(h * mask)[None, None], mask, np.ones(mask.shape, dtype=bool))


def checkerboard(side: int) -> np.ndarray:
    return (-1.0) ** np.add.outer(np.arange(side), np.arange(side))


@pytest.mark.parametrize("side", [2, 4, 8, 24])
def test_a_checkerboard_has_opposite_neighbours_in_parts_of_any_size(side: int) -> None:
    mask = np.zeros((24, 24), dtype=bool)
    mask[:side, :side] = True
    found = pattern_of(checkerboard(24), mask)
    assert [found[name] for name in ("neighbours", "vertical", "horizontal")] == pytest.approx([-1, -1, -1])


def test_stripes_are_told_from_checkerboards_and_constants() -> None:
    everywhere, stripes = np.ones((6, 8), dtype=bool), np.broadcast_to((-1.0) ** np.arange(8), (6, 8))
    found = pattern_of(stripes, everywhere)
    assert (found["vertical"], found["horizontal"]) == pytest.approx((1, -1))
    assert pattern_of(np.ones((6, 8)), everywhere)["neighbours"] == pytest.approx(1)
    single = np.zeros((6, 8), dtype=bool)
    single[2, 3] = True
    assert np.isnan(pattern_of(np.ones((6, 8)), single)["neighbours"])  # no neighbours at all


def test_images_are_spread_over_all_of_them_unless_subjects_are_looked_for() -> None:
    test = ImageStack(torch.zeros(150, 1, 8, 8), [str(number) for number in range(150)])
    assert [image.name for image in choose_images(3, None, test)] == ["25", "75", "125"]
    assert len(choose_images(120, None, test)) == 120
