from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

import invreg
from invreg.testing import check_operator, check_plugin
from invreg_astra import plugin
from invreg_astra.operators import AstraParallelBeam


def test_what_components_promise() -> None:
    check_plugin(plugin)


@pytest.mark.parametrize("projector", ["line", "strip", "linear"])
def test_the_back_projection_is_the_transpose_of_the_projection(projector: str) -> None:
    operator = AstraParallelBeam(angles=5, projector=projector)
    check_operator(operator, image_shape=(1, 9, 12))
    matrix = torch.func.jacrev(operator)(torch.zeros(1, 1, 6, 7)).reshape(-1, 42)
    transpose = torch.stack([operator.adjoint(row).flatten() for row in torch.eye(len(matrix)).view(-1, 1, 1, 5, 10)])
    torch.testing.assert_close(transpose, matrix, rtol=0, atol=1e-5)


def test_the_integral_over_an_image_is_its_sum() -> None:
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = AstraParallelBeam(angles=7)(x)
    assert y.shape == (2, 3, 7, math.ceil(8 * math.sqrt(2)))
    torch.testing.assert_close(y.sum(-1), x.sum((-2, -1))[..., None].expand(2, 3, 7), rtol=1e-4, atol=1e-4)


def test_the_first_direction_sums_columns() -> None:
    x = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    y = AstraParallelBeam(angles=2, detectors=6)(x)[0, 0]
    np.testing.assert_allclose(y[0], x[0, 0].sum(0), rtol=1e-5)


def test_a_copy_computes_the_same() -> None:
    operator = AstraParallelBeam(angles=3)
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(copy.deepcopy(operator)(x), operator(x))


def test_measurements_that_belong_to_no_image_are_refused() -> None:
    with pytest.raises(invreg.ShapeError, match="belong to 0"):
        AstraParallelBeam().adjoint(torch.zeros(1, 1, 90, 91))


def test_a_spec_finds_it() -> None:
    registry = invreg.Registry({"astra": plugin})
    assert registry.plugins[0].problem is None
    assert registry.build("operator", {"name": "astra_parallel", "angles": 9}).angles == 9
    with pytest.raises(invreg.SpecError, match="'line', 'strip' or 'linear'"):
        registry.build("operator", {"name": "astra_parallel", "projector": "cuda"})
