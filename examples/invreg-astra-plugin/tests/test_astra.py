from __future__ import annotations

import copy

import astra
import numpy as np
import pytest
import torch

import invreg
from invreg.testing import check_operator, check_plugin
from invreg_astra import plugin
from invreg_astra.operators import AstraParallelBeam, Projector, make_projector, projection_matrix

PROJECTORS: list[Projector] = ["line", "strip", "linear"]


def test_what_components_promise() -> None:
    check_plugin(plugin)


@pytest.mark.parametrize("projector", PROJECTORS)
def test_the_adjoint_is_the_transpose(projector: Projector) -> None:
    check_operator(AstraParallelBeam(5, projector), image_shape=(2, 9, 9))


@pytest.mark.parametrize("projector", PROJECTORS)
def test_back_projection_of_astra_is_the_transpose_in_float32(projector: Projector) -> None:
    matrix, number = projection_matrix(32, 20, 46, projector), make_projector(32, 20, 46, projector)
    theirs = astra.OpTomo(number)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(32 * 32), rng.standard_normal(20 * 46)
    projected, back = theirs.matvec(x.astype(np.float32)), theirs.rmatvec(y.astype(np.float32))
    astra.projector.delete(number)
    for found, expected in ((projected, matrix @ x), (back, matrix.T @ y)):
        assert np.linalg.norm(found - expected) < 1e-6 * np.linalg.norm(expected)
    assert abs(projected @ y - x @ back) < 1e-6 * np.linalg.norm(projected) * np.linalg.norm(y)


@pytest.mark.parametrize("projector", ["strip", "linear"])
def test_the_integral_over_an_image_is_about_its_sum(projector: Projector) -> None:
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = AstraParallelBeam(7, projector)(x)
    assert y.shape == (2, 3, 7, 12)
    tolerance = 1e-5 if projector == "strip" else 0.2
    torch.testing.assert_close(y.sum(-1), x.sum((-2, -1))[..., None].expand(2, 3, 7), rtol=tolerance, atol=0)


def test_the_first_direction_sums_columns() -> None:
    x = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    y = AstraParallelBeam(2, "strip")(x)[0, 0, 0]  # nine pixels of the detector, the outer ones half over the image
    edges = torch.nn.functional.pad(x[0, 0].sum(0), (2, 2))
    torch.testing.assert_close(y, (edges[:-1] + edges[1:])[:9] / 2, rtol=1e-5, atol=1e-6)


def test_a_copy_computes_the_same() -> None:
    operator = AstraParallelBeam(3)
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(copy.deepcopy(operator)(x), operator(x))


@pytest.mark.parametrize("shape", [(1, 90, 4), (1, 89, 92), (1, 90)])
def test_measurements_that_belong_to_no_image_are_refused(shape: invreg.Shape) -> None:
    with pytest.raises(invreg.ShapeError, match="measurements of shape"):
        AstraParallelBeam(90).domain_shape(shape)


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(invreg.ShapeError, match="square"):
        AstraParallelBeam()(torch.zeros(1, 1, 8, 9))


def test_a_spec_finds_it() -> None:
    registry = invreg.Registry({"astra": plugin})
    assert registry.plugins[0].problem is None
    assert registry.build("operator", {"name": "astra_parallel", "angles": 9}).angles == 9
    with pytest.raises(invreg.SpecError, match="'line', 'strip' or 'linear'"):
        registry.build("operator", {"name": "astra_parallel", "projector": "cuda"})
