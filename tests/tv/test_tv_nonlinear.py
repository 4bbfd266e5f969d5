import pytest
import torch
from tv_helpers import Disguised, MatrixBlur, SaturatingBlur, noise, shapes

from invreg.components.operator import Operator
from invreg.components.problem import Problem
from invreg.errors import ConvergenceWarning
from invreg_tv.differences import add_adjoint, add_gradient, project_, total_variation
from invreg_tv.linear import Identity, primal_dual
from invreg_tv.nonlinear import DOUBLINGS, PATIENCE, RELAXATION, RISES, _Steps, nonlinear_primal_dual
from invreg_tv.norms import derivative_norm
from invreg_tv.reconstructor import TotalVariation


def objective(operator, x, z, weight):
    return (operator(x) - z).square().flatten(1).sum(1) / 2 + weight * total_variation(x)


def prox_gradient(operator, z, weight, start, step, iterations=150, inner=25):
    """Another algorithm: gradient steps on the data term, and TV denoising by projected gradients on its dual."""
    x, p = start, torch.zeros(len(z), 2, *start.shape[1:], dtype=z.dtype)
    for _ in range(iterations):
        v = x - step * operator.vjp(x, operator(x) - z)
        for _ in range(inner):
            x = add_adjoint(v, p, -step * weight, out=torch.empty_like(v)).clamp(0, 1)
            p = project_(add_gradient(p, x, 1 / (8 * step * weight), out=p), torch.empty_like(v))
        x = add_adjoint(v, p, -step * weight, out=torch.empty_like(v)).clamp(0, 1)
    return x


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1e-3, 1e-2, 1e-1])
def test_a_linear_operator_in_disguise_gives_the_same(weight):
    operator = MatrixBlur(24)
    y = operator(shapes(3, 24))
    z = y + noise(y, 0.03)
    linear = primal_dual(operator, z, weight, start=z, norm=1.01, tolerance=1e-4)
    other = nonlinear_primal_dual(Disguised(operator), z, weight, start=z, tolerance=1e-4, max_iterations=5000)
    assert linear.converged.all()
    assert other.converged.all()
    torch.testing.assert_close(other.objective, linear.objective, rtol=2e-4, atol=0)
    # Here the gap is a bound again.
    assert (other.objective - linear.objective <= other.gap).all()


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1e-3, 1e-2])
def test_as_good_as_proximal_gradients(weight):
    operator, x = SaturatingBlur(20), shapes(3, 20)
    y = operator(x)
    z = y + noise(y, 0.03)
    start = primal_dual(Identity(), z, weight, start=z, norm=1.0).x
    ours = nonlinear_primal_dual(operator, z, weight, start=start, tolerance=1e-4, max_iterations=5000)
    theirs = prox_gradient(operator, z, weight, start, step=0.9)
    assert ours.converged.all()
    assert (ours.relative_gap <= 1e-4).all()
    assert (ours.objective <= objective(operator, theirs, z, weight) * (1 + 2e-4)).all()
    assert (ours.objective < objective(operator, start, z, weight)).all()
    torch.testing.assert_close(ours.objective, objective(operator, ours.x, z, weight))
    assert (ours.x >= 0).all()
    assert (ours.x <= 1).all()


@pytest.mark.slow
def test_images_do_not_depend_on_their_batch():
    operator, x = SaturatingBlur(16), shapes(3, 16)
    y = operator(x)
    z = y + noise(y, 0.03)
    together = nonlinear_primal_dual(operator, z, 3e-3, start=z)
    assert together.converged.all()
    for i in range(3):
        alone = nonlinear_primal_dual(operator, z[i : i + 1], 3e-3, start=z[i : i + 1])
        assert alone.iterations[0] == together.iterations[i]
        torch.testing.assert_close(alone.x[0], together.x[i], rtol=0, atol=1e-9)


def test_a_derivative_that_grows_on_the_way_is_noticed():
    class Square(Operator):
        def forward(self, x):
            return 2 * x**2

    x = 0.2 + 0.6 * shapes(2, 16)
    operator = Square()
    z = operator(x)
    z = z + noise(z, 0.05)
    start = torch.full_like(x, 0.1)
    assert (derivative_norm(operator, start) < 0.41).all()
    found = nonlinear_primal_dual(operator, z, 1e-2, start=start, max_iterations=5000)
    assert found.converged.all()
    assert ((found.x - x).abs().mean((-3, -2, -1)) < 0.03).all()


@pytest.mark.slow
def test_measurements_in_another_space():
    class Intensities(Operator):
        """Squares of sums of four pixels."""

        def forward(self, x):
            return torch.nn.functional.avg_pool2d(x, 2).square().flatten(1)

        def range_shape(self, domain_shape):
            return (domain_shape[1] * domain_shape[2] // 4,)

    x = shapes(2, 16)
    tv = TotalVariation(weight=1e-3)
    tv.setup(Problem(Intensities()), (1, 16, 16))
    z = Intensities()(x)
    found = tv.solve(z + noise(z, 0.01))
    assert found.converged.all()
    assert found.x.shape == x.shape
    assert found.data_dual.shape == (2, 64)
    coarse = torch.nn.functional.avg_pool2d(found.x - x, 2)
    assert coarse.abs().mean() < 0.03


@pytest.mark.slow
def test_no_convergence_is_told():
    class Contradictory(SaturatingBlur):
        """Its derivative is not that of its values."""

        def vjp(self, x, v):
            return super().vjp(x, v.roll(5, -1))

    x = shapes(2, 16)
    tv = TotalVariation(weight=1e-3)
    tv.setup(Problem(Contradictory(16)), (1, 16, 16))
    with pytest.warns(ConvergenceWarning, match=r"2 of 2 images did not reach the tolerance.*no more progress"):
        tv(x)
    tv = TotalVariation(weight=1e-3, max_iterations=10)
    tv.setup(Problem(SaturatingBlur(16)), (1, 16, 16))
    with pytest.warns(ConvergenceWarning, match="max_iterations > 10"):
        tv(x)


def test_stuck_images_are_treated_and_then_given_up():
    steps = _Steps(torch.ones(3, dtype=torch.float64), 1e-2, 8.0)
    first = steps._sigma.clone()
    given_up_at = None
    for iteration in range(10, 40 * PATIENCE, 10):
        # Falling steadily, circling, falling too slowly to call it progress.
        circling = 0.01 if iteration % 20 else 0.012
        gap = torch.tensor([0.99**iteration, circling, 1 - 1e-6 * iteration], dtype=torch.float64)
        given_up = steps._watch_gap(gap, iteration)
        assert given_up.tolist() in ([False, False, False], [False, True, False])
        if given_up[1]:
            given_up_at = iteration
            break
    assert given_up_at is not None
    assert given_up_at >= PATIENCE * (2 ** (DOUBLINGS + 1) - 1)
    assert (steps._sigma / first).tolist() == [1, 2 ** (DOUBLINGS + 1), 1]
    assert steps.relaxation.tolist() == [RELAXATION, 1, RELAXATION]
    assert RISES > 1
    kept = torch.tensor([2])
    steps.select(kept)
    assert steps.tau.shape == steps.data_share.shape == (1,)


def test_the_norm_is_raised_by_what_is_seen_but_not_by_rounding():
    steps = _Steps(torch.ones(4), 1e-2, 8.0)
    before = steps.tau
    change = torch.tensor([0.05, 0.3, 1e-5, 0.0])
    distance = torch.tensor([0.1, 0.1, 1e-6, 0.0])
    steps._watch_norm(change, distance, torch.ones(4))
    steps._update()
    assert (steps.tau < before).tolist() == [False, True, False, False]
    assert torch.isfinite(steps.tau).all()


def test_derivative_norm_of_a_known_operator():
    estimate = derivative_norm(Disguised(MatrixBlur(16)), shapes(2, 16), iterations=60)
    assert (estimate <= 1 + 1e-9).all()
    assert (estimate > 0.99).all()
    assert derivative_norm(Disguised(MatrixBlur(16)), torch.zeros(0, 1, 16, 16)).shape == (0,)
