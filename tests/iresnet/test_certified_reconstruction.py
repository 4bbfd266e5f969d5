"""The proven distance of a reconstruction to the exact one, against an inversion to rounding in float64."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from iresnet_helpers import certified, network, stack_of
from torch import Tensor

from invreg.errors import ConvergenceError, ConvergenceWarning, DataError, ShapeError, SpecError
from invreg_iresnet.certificate import residual_defect
from invreg_iresnet.certificate.residual_defect import Defects
from invreg_iresnet.inversion.accuracy import exact
from invreg_iresnet.inversion.inversion import invert_chain
from invreg_iresnet.network.residuals import Weights, residual
from invreg_iresnet.network.subnetwork import subnetworks
from toy import EverySecondRow


def measurements(count: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 10, 12, generator=torch.Generator().manual_seed(seed))


def truth(net: Any, z: Tensor) -> Tensor:
    """R(z) for the weights of the network as they are, in float64 to rounding."""
    with torch.no_grad():
        weights = Weights(*(stack.double() for stack in stack_of(net).evaluation_weights()))
        state = net.lifting.lift(z.double())
        if net.role == "forward":
            state = invert_chain(state, weights, exact(1e-16, 3000, bound=0.9, dtype=torch.float64)).x
        else:
            for i in range(len(stack_of(net))):
                state = state + residual(state, weights, i, torch.float64)
        found: Tensor = net.lifting.unlift(state)
        return found


def distance(image: Tensor, other: Tensor) -> Tensor:
    return (image.double() - other.double()).flatten(1).norm(dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("lipschitz", [0.9, 0.999])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3, 1e-4])
def test_the_bound_is_never_below_the_error_and_not_far_above(lipschitz: float, tolerance: float) -> None:
    net, _ = certified("iresnet", single=True, lipschitz=lipschitz)
    z = measurements(25, seed=int(-math.log10(tolerance)))
    found = net.reconstruct(z, tolerance)
    errors = distance(found.image, truth(net, z))
    assert found.error_bound is not None
    assert found.met
    assert (found.error_bound <= tolerance).all()
    assert (found.error_bound >= errors).all()
    assert found.error_bound.dtype == torch.float64
    assert found.image.dtype == torch.float32
    assert len(found.iterations) == 3


@pytest.mark.slow
def test_the_bound_is_within_twenty_times_of_the_error() -> None:
    net, _ = certified("iresnet", single=True, lipschitz=0.99, subnetworks=5)
    z = measurements(100)
    found = net.reconstruct(z, 1e-3)
    ratios = found.error_bound / distance(found.image, truth(net, z))
    assert (ratios >= 1).all()
    assert float(ratios.mean()) < 20


@pytest.mark.slow
def test_double_precision_goes_further() -> None:
    net = network(lipschitz=0.99)
    net.finalise()
    z = measurements().double()
    found = net.reconstruct(z, 1e-9)
    assert found.met
    assert (found.error_bound >= distance(found.image, truth(net, z))).all()


@pytest.mark.slow
def test_the_floor_of_single_precision_is_said() -> None:
    net, _ = certified("iresnet", single=True, lipschitz=0.99)
    with pytest.warns(ConvergenceWarning, match=r"not proven to be within its tolerance[\s\S]*net.double\(\)"):
        found = net.reconstruct(measurements(), 1e-8)
    assert not found.met
    assert (found.error_bound > 1e-8).all()
    assert (found.error_bound < 1e-4).all()
    assert (found.error_bound >= distance(found.image, truth(net, measurements()))).all()


@pytest.mark.slow
def test_too_few_iterations_are_said_and_bounded() -> None:
    net = network(lipschitz=0.999, max_iterations=3).float()
    net.finalise()
    with pytest.warns(ConvergenceWarning):
        found = net.reconstruct(measurements(), 1e-3)
    assert (found.error_bound >= distance(found.image, truth(net, measurements()))).all()
    assert (found.error_bound > 1e-3).all()


@pytest.mark.slow
def test_the_explicit_network_is_bounded_by_rounding() -> None:
    net, _ = certified("explicit_iresnet", single=True)
    found = net.reconstruct(measurements())
    errors = distance(found.image, truth(net, measurements()))
    assert (found.error_bound >= errors).all()
    assert (found.error_bound < 1e-4).all()
    torch.testing.assert_close(found.image, net(measurements()))


@pytest.mark.slow
def test_a_tapered_border_costs_the_bound_nothing() -> None:
    net, certificate = certified("explicit_iresnet", single=True, border="tapered")
    content = certificate.content
    assert 1 < content["padding_norm"] < 1 + 1e-5
    assert certificate.reconstruction_lipschitz == pytest.approx(content["image_lipschitz"], rel=1e-5)
    found = net.reconstruct(measurements())
    assert (found.error_bound >= distance(found.image, truth(net, measurements()))).all()
    assert (found.error_bound < 1e-4).all()
    jacobian = torch.func.jacrev(net)(measurements(1)).detach().view(120, 120)
    norm = float(torch.linalg.matrix_norm(jacobian, ord=2))
    assert 0.1 * certificate.reconstruction_lipschitz < norm < certificate.reconstruction_lipschitz


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["iresnet", "explicit_iresnet"])
def test_errors_of_the_data_are_bounded_too(kind: str) -> None:
    net, certificate = certified(kind, single=True)
    z = measurements(6)
    noise = 0.3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    delta = float(noise.flatten(1).norm(dim=1).max()) * (1 + 1e-6)
    found = net.reconstruct(z, 1e-3, data_error=delta)
    assert (found.data_error_bound >= distance(found.image, truth(net, z + noise))).all()
    lipschitz = certificate.reconstruction_lipschitz
    torch.testing.assert_close(found.data_error_bound, found.error_bound + lipschitz * delta)
    assert net.reconstruct(z).data_error_bound is None


@pytest.mark.slow
def test_without_a_proof_nothing_is_claimed() -> None:
    net, _ = certified("iresnet", single=True, lipschitz=0.9)
    found = net.reconstruct(measurements(), 1e-3, certify=False)
    assert found.error_bound is None
    assert not found.met
    assert (distance(found.image, truth(net, measurements())) < 1e-2).all()


@pytest.mark.slow
def test_each_image_is_treated_by_itself() -> None:
    net, _ = certified("iresnet", single=True, lipschitz=0.99)
    z = measurements(5) * torch.tensor([0.01, 1.0, 5.0, 1.0, 20.0])[:, None, None, None]
    together = net.reconstruct(z, 1e-2)
    for i in range(5):
        alone = net.reconstruct(z[i : i + 1], 1e-2)
        torch.testing.assert_close(alone.image[0], together.image[i], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_measurements_outside_of_x_are_pulled_back_first() -> None:
    net = network(EverySecondRow(), lipschitz=0.9).float()
    net.finalise()
    found = net.reconstruct(torch.rand(2, 1, 5, 12), 1e-3)
    assert found.image.shape == (2, 1, 10, 12)
    assert found.met


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{"tolerance": 0.0}, {"tolerance": math.nan}, {"data_error": -1.0}])
def test_nonsense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="reconstruct"):
        network(lipschitz=0.9).reconstruct(measurements(), **arguments)


@pytest.mark.slow
def test_measurements_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 1 measurements hold NaN or infinite values, 120 in all"):
        network(lipschitz=0.9).reconstruct(torch.full((1, 1, 10, 12), math.nan))


@pytest.mark.slow
def test_a_certificate_is_made_once_for_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(lipschitz=0.9)
    net.finalise()
    calls: list[int] = []
    real = type(net).certificate
    monkeypatch.setattr(type(net), "certificate", lambda self: calls.append(1) or real(self))
    net.reconstruct(measurements())
    net.reconstruct(measurements())
    assert len(calls) == 1
    with torch.no_grad():
        stack_of(net).kernels.mul_(0.9)
    net.reconstruct(measurements())
    assert len(calls) == 2


# -- residuals


def defect_and_truth(scale: float) -> tuple[Tensor, Tensor]:
    net = network().float()
    one = subnetworks(Weights(*(s.double() for s in stack_of(net).evaluation_weights())), torch.float64)[0]
    generator = torch.Generator().manual_seed(0)
    point = scale * torch.randn(6, 4, 14, 16, dtype=torch.float64, generator=generator)
    before = point - one.output(one.hidden(point))
    bound = Defects(one)(before, point, point)
    with torch.no_grad():
        wide = [s.to(torch.float64) for s in stack_of(net).evaluation_weights()]
        # The same residual as sums of exact products, in whole numbers of 2^-200.
        return bound, _exactly(wide, before, point)


def _exactly(weights: list[Tensor], before: Tensor, point: Tensor) -> Tensor:
    """||before + f(point) - point|| for the first two images, in rational arithmetic on one row of pixels."""
    from fractions import Fraction

    import numpy as np

    kernels, hidden_biases, mixings, output_biases, thresholds = (stack[0].numpy() for stack in weights)
    exact_array = np.vectorize(Fraction, otypes=[object])
    kernel, mixing = exact_array(kernels), exact_array(mixings[..., 0, 0])
    bias, output_bias, threshold = exact_array(hidden_biases), exact_array(output_biases), Fraction(float(thresholds))
    norms = []
    for image in range(2):
        x = exact_array(np.pad(point[image].numpy(), ((0, 0), (2, 2), (2, 2))))
        squares = Fraction(0)
        for row in range(3):
            for column in range(4):
                patch = x[:, row : row + 5, column : column + 5]
                hidden = [(kernel[o] * patch).sum() + bias[o] for o in range(len(kernel))]
                shrunk = [h - min(max(h, -threshold), threshold) for h in hidden]
                for c in range(len(mixing)):
                    value = sum(m * s for m, s in zip(mixing[c], shrunk, strict=True)) + output_bias[c]
                    start = Fraction(float(before[image, c, row, column]))
                    end = Fraction(float(point[image, c, row, column]))
                    squares += (start + value - end) ** 2
        norms.append(math.sqrt(squares))
    return torch.tensor(norms, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_rounding_of_the_residual_is_bounded(scale: float) -> None:
    # Where the equation is solved to rounding, the float64 residual says nothing and the bound must.
    bound, part = defect_and_truth(scale)
    assert (part <= bound[:2]).all()
    assert (bound < 1e-10 * scale).all()


def test_without_its_slack_the_bound_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from invreg_iresnet.certificate.residual_defect import Defects as real

    net = network()
    one = subnetworks(stack_of(net).evaluation_weights(), torch.float64)[0]
    point = torch.randn(2, 4, 14, 16, dtype=torch.float64)
    before = point - one.output(one.hidden(point))
    with_slack = real(one)(before, point, point)
    monkeypatch.setattr(residual_defect, "SLACK", 0.0)
    monkeypatch.setattr(residual_defect, "UNIT", 0.0)
    without = (before + one.output(one.hidden(point)) - point).flatten(1).norm(dim=1)
    assert (without < with_slack).all()
    torch.testing.assert_close(real(one)(before, point, point), without)


@pytest.mark.slow
def test_no_warning_where_all_is_well() -> None:
    net, _ = certified("iresnet", single=True, lipschitz=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = net.reconstruct(measurements(), 1e-2)
    assert found.met
    assert (found.error_bound <= found.tolerance).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["iresnet", "explicit_iresnet"])
def test_measurements_in_double_precision_are_what_bounds_are_about(kind: str) -> None:
    """A float32 network may round them, but then it has to account for that."""
    net, _ = certified(kind, single=True)
    z = measurements(3).double() + 1e-8 * measurements(3, seed=1).double()
    assert not torch.equal(z.float().double(), z)
    found = net.reconstruct(z, 1e-5)
    assert found.error_bound is not None
    assert (found.error_bound >= distance(found.image, truth(net, z))).all()
    assert found.image.dtype == torch.float32


@pytest.mark.slow
def test_weights_that_broke_after_the_proof_are_refused() -> None:
    net = network(lipschitz=0.9)
    net.finalise()
    net.reconstruct(measurements(1))
    with torch.no_grad():
        stack_of(net).output_biases[0, 0] = math.nan
    with pytest.raises(ConvergenceError, match="weights that are not finite"):
        net.reconstruct(measurements(1))


@pytest.mark.slow
def test_an_empty_batch_is_refused() -> None:
    net = network(lipschitz=0.9)
    net.finalise()
    with pytest.raises(ShapeError, match="no measurement"):
        net.reconstruct(measurements(0))
