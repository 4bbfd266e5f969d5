import pytest
import torch
from tv_helpers import MatrixBlur, SaturatingBlur, noise, shapes

from invreg_tv import iteration
from invreg_tv.differences import add_adjoint
from invreg_tv.linear import primal_dual
from invreg_tv.nonlinear import nonlinear_primal_dual
from invreg_tv.polish import polish
from invreg_tv.solution import primal_dual_gap


class CountingBlur(MatrixBlur):
    """Counts the images that it is applied to."""

    images = 0

    def forward(self, x):
        self.images += len(x)
        return super().forward(x)

    def adjoint(self, y):
        self.images += len(y)
        return super().adjoint(y)


class CountingSaturation(SaturatingBlur):
    images = 0

    def forward(self, x):
        self.images += len(x)
        return super().forward(x)


def linear(operator, z):
    return primal_dual(operator, z, 3e-3, start=z, norm=1.0)


def nonlinear(operator, z):
    return nonlinear_primal_dual(operator, z, 3e-3, start=z)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solve", "operator"), [(linear, CountingBlur), (nonlinear, CountingSaturation)], ids=["linear", "nonlinear"]
)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=["double", "single"])
def test_a_batch_costs_what_its_images_cost(solve, operator, dtype, close):
    x = shapes(4, 16)
    y = operator(16)(x)
    z = (y + noise(y, 0.02)).to(dtype)
    z[1] = 0.5
    z[3] += noise(z[3], 0.2, seed=3)
    batch = operator(16)
    together = solve(batch, z)
    assert together.converged.all()
    assert len(together.iterations.unique()) >= 3
    alone = [operator(16) for _ in z]
    for i, single in enumerate(alone):
        found = solve(single, z[i : i + 1])
        assert found.iterations[0] == together.iterations[i]
        torch.testing.assert_close(found.x[0], together.x[i], rtol=0, atol=close)
        torch.testing.assert_close(found.gap[0], together.gap[i], rtol=1e-2, atol=1e-3 * float(found.objective))
    assert batch.images == sum(single.images for single in alone)


def late(iterations=100, weight=3e-3):
    """Iterates that are nearly done."""
    operator, x = MatrixBlur(24), shapes(3, 24)
    y = operator(x)
    z = y + noise(y, 0.02)
    found = primal_dual(operator, z, weight, start=z, norm=1.0, tolerance=1e-9, max_iterations=iterations)
    return operator, z, found


@pytest.mark.slow
def test_polishing_makes_the_gap_smaller():
    weight = 3e-3
    operator, z, found = late()
    pulled_back, residual = operator.adjoint(found.data_dual), operator(found.x) - z
    before = add_adjoint(pulled_back, found.tv_dual, weight, out=torch.empty_like(z))
    p = polish(found.tv_dual.clone(), pulled_back, weight)
    assert (p.norm(dim=1) <= 1 + 1e-12).all()
    w = add_adjoint(pulled_back, p, weight, out=torch.empty_like(z))
    assert (w.flatten(1).norm(dim=1) < 0.7 * before.flatten(1).norm(dim=1)).all()
    gap, objective = primal_dual_gap(found.x, found.data_dual, p, residual, pulled_back, weight, (0.0, 1.0))
    assert (gap < 0.8 * found.gap).all()
    # It remains a bound.
    best = primal_dual(operator, z, weight, start=z, norm=1.0, tolerance=1e-6, max_iterations=20000)
    assert (objective - best.objective <= gap).all()


def test_polished_gaps_end_the_iteration_earlier(monkeypatch):
    operator, z, _ = late()
    polished = primal_dual(operator, z, 3e-3, start=z, norm=1.0)
    monkeypatch.setattr(iteration, "NEAR", 0.0)
    plain = primal_dual(operator, z, 3e-3, start=z, norm=1.0)
    assert polished.converged.all()
    assert plain.converged.all()
    assert (polished.iterations <= plain.iterations).all()
    assert int(polished.iterations.sum()) < int(plain.iterations.sum())
    assert (polished.objective <= plain.objective * (1 + 1e-3)).all()
