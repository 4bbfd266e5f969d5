import warnings

import pytest
import torch
from tv_helpers import MatrixBlur, Measurements, SaturatingBlur, noise, shapes

import invreg
from invreg.components.operator import LinearOperator
from invreg.components.problem import Problem
from invreg.errors import ConvergenceError, ConvergenceWarning, DataError, InvregError, ShapeError, SpecError
from invreg.schema.parameters import parameters_model
from invreg_tv.linear import Identity
from invreg_tv.reconstructor import TotalVariation


def ready(operator, image_shape=(1, 16, 16), **parameters):
    tv = TotalVariation(**parameters)
    tv.setup(Problem(operator), image_shape)
    return tv


def blurred(count=3, n=16, std=0.02):
    operator = MatrixBlur(n)
    y = operator(shapes(count, n))
    return operator, (y + noise(y, std)).float()


def test_registered_with_a_search_range():
    registry = invreg.Registry.installed()
    built = registry.build("reconstructor", {"name": "tv", "weight": 0.01})
    assert isinstance(built, TotalVariation)
    assert invreg.spec_of(built) == {"name": "tv", "weight": 0.01, "tolerance": 1e-3, "max_iterations": 2000}
    schema = parameters_model(TotalVariation).model_json_schema()["properties"]["weight"]
    assert schema["search"]["log"] is True
    assert 0 < schema["search"]["low"] < schema["default"] < schema["search"]["high"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", 0.0),
        ("weight", -1.0),
        ("weight", float("nan")),
        ("weight", float("inf")),
        ("tolerance", 0.0),
        ("tolerance", 1.0),
        ("max_iterations", 0),
    ],
)
def test_nonsense_is_refused_in_python_and_in_specs(name, value):
    with pytest.raises(SpecError, match=name):
        TotalVariation(**{name: value})
    with pytest.raises(SpecError, match=name):
        invreg.Registry.installed().build("reconstructor", {"name": "tv", name: value})


def test_reconstruction_of_a_batch():
    operator, z = blurred()
    tv = ready(operator, weight=1e-3)
    x = shapes(3, 16).float()
    x_hat = tv(z)
    assert x_hat.shape == x.shape
    assert x_hat.dtype == torch.float32
    assert not x_hat.requires_grad
    assert x_hat.min() >= 0
    assert x_hat.max() <= 1
    assert ((x_hat - x).square().mean((-3, -2, -1)) < (z - x).square().mean((-3, -2, -1))).all()
    torch.testing.assert_close(tv(z[1:2])[0], x_hat[1], rtol=0, atol=1e-4)


def test_nothing_of_the_operator_is_saved_but_it_moves_along():
    operator, _ = blurred()
    tv = ready(operator)
    assert tv.state_dict() == {}
    assert list(tv.parameters()) == []
    tv.to(torch.float32)
    assert operator.matrix.dtype == torch.float32


@pytest.mark.slow
def test_dtypes():
    operator, z = blurred()
    tv = ready(operator, weight=1e-3)
    assert tv(z.double()).dtype == torch.float64
    torch.testing.assert_close(tv(z.double()).float(), tv(z), rtol=0, atol=5e-3)
    assert tv(z.half()).dtype == torch.float16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(tv(z), tv.solve(z).x, rtol=0, atol=0)
    with pytest.raises(DataError, match="int64"):
        tv(z.long())
    with pytest.raises(DataError, match="complex64"):
        tv(z.to(torch.complex64))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_measurements_are_named(value):
    operator, z = blurred()
    z[1, 0, 3, 4] = value
    with pytest.raises(DataError, match=r"1 of 3 measurements.*number 1"):
        ready(operator)(z)


def test_shapes_are_checked():
    operator, z = blurred()
    tv = ready(operator)
    for wrong in (z[0], z[:, 0], z[..., :15, None]):
        with pytest.raises(ShapeError, match="measurements of shape"):
            tv(wrong)
    with pytest.raises(ShapeError, match="image_shape"):
        ready(operator, image_shape=(16, 16))
    with pytest.raises(ShapeError, match="measurements of shape"):
        ready(Measurements(torch.ones(5, 64), (1, 8, 8)), image_shape=(1, 8, 8))(torch.ones(2, 6))


def test_other_image_sizes_where_the_operator_allows_them():
    z = shapes(2, 20).float()
    torch.testing.assert_close(
        ready(Identity(), (1, 16, 16), weight=0.05)(z), ready(Identity(), (1, 20, 20), weight=0.05)(z)
    )


def test_used_before_setup():
    with pytest.raises(InvregError, match="not set up"):
        TotalVariation()(torch.zeros(1, 1, 8, 8))


def test_the_norm_is_computed_once_for_a_problem_and_a_shape():
    rng = torch.Generator().manual_seed(0)
    operator = Measurements(torch.randn(40, 64, generator=rng, dtype=torch.float64), (1, 8, 8))
    z = operator(shapes(2, 8).float())
    problem = Problem(operator)
    for weight in (1e-2, 1e-1, 1.0):
        tv = TotalVariation(weight=weight)
        tv.setup(problem, (1, 8, 8))
        tv(z)
    problem.normal_operator((1, 8, 8))
    assert operator.norms_computed == 1
    ready(operator, (1, 8, 8))  # a problem of its own
    assert operator.norms_computed == 2


def test_an_operator_that_is_zero():
    with pytest.raises(SpecError, match="norm 0"):
        ready(Measurements(torch.zeros(4, 64, dtype=torch.float64), (1, 8, 8)), (1, 8, 8))


def test_measurements_in_another_space():
    rng = torch.Generator().manual_seed(0)
    x = shapes(3, 16).float()
    operator = Measurements(torch.randn(200, 256, generator=rng, dtype=torch.float64) / 16, (1, 16, 16))
    z = operator(x)
    z = z + noise(z, 0.01)
    x_hat = ready(operator, weight=3e-3)(z)
    assert x_hat.shape == x.shape
    assert ((x_hat - x).square().mean((-3, -2, -1)) < 0.003).all()


def test_missed_tolerance_is_told():
    operator, z = blurred()
    z[0] = 0
    tv = ready(operator, weight=1e-3, max_iterations=20)
    with pytest.warns(ConvergenceWarning, match=r"2 of 3 images.* relative gaps are up to .*e.*max_iterations > 20"):
        x_hat = tv(z)
    assert x_hat.shape == z.shape
    solution = tv.solve(z)
    assert solution.converged.tolist() == [True, False, False]
    assert (solution.relative_gap[1:] > 1e-3).all()
    with pytest.warns(ConvergenceWarning, match="float64"):
        ready(operator, weight=1e-3, tolerance=1e-7, max_iterations=20)(z)


@pytest.mark.slow
def test_no_warning_when_all_is_well():
    operator, z = blurred()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        for tv in (ready(operator, weight=1e-3), ready(SaturatingBlur(16), weight=1e-3)):
            found = tv.solve(z)
            assert found.converged.all()
            assert (found.relative_gap <= tv.tolerance).all()
            torch.testing.assert_close(tv(z), found.x.to(z.dtype))


def test_a_broken_operator_is_an_error():
    class Broken(LinearOperator):
        def forward(self, x):
            return x

        def adjoint(self, y):
            return y / 0

        def norm(self, domain_shape, **settings):
            return Identity().norm(domain_shape)

    with pytest.raises(ConvergenceError, match="tv: the iterates are no longer finite"):
        ready(Broken())(shapes(2, 16).float())


def test_empty_batch():
    operator, z = blurred()
    assert ready(operator)(z[:0]).shape == (0, 1, 16, 16)
    assert ready(SaturatingBlur(16))(z[:0]).shape == (0, 1, 16, 16)


@pytest.mark.slow
def test_in_inference_mode():
    operator, z = blurred()
    expected = ready(operator, weight=1e-3)(z)
    with torch.inference_mode():
        torch.testing.assert_close(ready(operator, weight=1e-3)(z), expected)
        ready(SaturatingBlur(16), weight=1e-3)(z)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("operator", [MatrixBlur(16), SaturatingBlur(16)], ids=["linear", "nonlinear"])
def test_on_a_gpu(operator):
    y = operator(shapes(3, 16))
    z = (y + noise(y, 0.02)).float()
    tv = ready(operator, weight=1e-3)
    expected = tv(z)
    tv.to("cuda")
    found = tv(z.cuda())
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=2e-3)
