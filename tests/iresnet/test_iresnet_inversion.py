"""The inverse of the chain: fixed points, implicit gradients, what is kept for them, and what is said aloud."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from iresnet_helpers import SMALL, Smooth, network, stack_of
from torch import Tensor, nn

from invreg.components.problem import Problem
from invreg.errors import ConvergenceError, ConvergenceWarning, DataError
from invreg_iresnet.explicit_iresnet import ExplicitIResNet
from invreg_iresnet.inversion.accuracy import exact
from invreg_iresnet.inversion.fixed_point import Stopping, solve
from invreg_iresnet.inversion.inversion import invert_chain
from invreg_iresnet.iresnet import IResNet
from invreg_iresnet.network.adjoint import convolution_adjoint
from invreg_iresnet.network.residuals import Weights, residual
from invreg_iresnet.network.subnetwork import subnetworks


def unrolled(net: IResNet, z: Tensor, iterations: int = 80) -> Tensor:
    """The reconstruction by plain iterations, all of them recorded by autograd."""
    stack, state = stack_of(net), net.lift(z)
    weights = stack.weights()
    for index in range(len(stack)):
        x = state
        for _ in range(iterations):
            x = state + residual(x, weights, index, state.dtype)
        state = x
    return net.unlift(state)


def gradients(net: IResNet, value: Tensor, z: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, [z, *net.parameters()]))


def relative_error(a: Tensor, b: Tensor) -> float:
    return float((torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)).detach())


# -- fixed points


def test_phi_undoes_its_inverse_on_lifted_states() -> None:
    net = network(tolerance=1e-11)
    z = net.lift(torch.rand(3, 1, 10, 12))
    inversion = net.invert(z)
    assert inversion.converged
    assert max(inversion.residuals) <= 1e-11
    assert all(5 < count < 200 for count in inversion.iterations)
    torch.testing.assert_close(net.phi(inversion.x), z, rtol=0, atol=1e-10)


def test_inverse_undoes_phi() -> None:
    net = network(tolerance=1e-12)
    x = torch.randn(2, 4, 14, 16, dtype=torch.float64)
    torch.testing.assert_close(net.invert(net.phi(x)).x, x, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_error_follows_the_tolerance() -> None:
    net = network()
    z = net.lift(torch.rand(2, 1, 10, 12))
    accurate = net.invert(z, tolerance=1e-13)
    amplification = net.certificate().inverse_lipschitz["product"]
    for tolerance in (1e-2, 1e-4, 1e-6):
        loose = net.invert(z, tolerance=tolerance)
        assert relative_error(loose.x, accurate.x) <= amplification * tolerance
        assert max(loose.residuals) <= tolerance
        assert sum(loose.iterations) < sum(accurate.iterations)


def test_float32_reaches_the_default_tolerance() -> None:
    net = network().float()
    inversion = net.invert(net.lift(torch.rand(2, 1, 10, 12)))
    assert inversion.converged
    assert inversion.x.dtype == torch.float32


def test_results_do_not_depend_on_the_batch() -> None:
    net = network(lipschitz=0.9).float()
    z = torch.rand(5, 1, 10, 12) * torch.tensor([1.0, 0.01, 30.0, 0.3, 1.0]).view(5, 1, 1, 1)
    with torch.no_grad():
        together = net(z)
        alone = torch.cat([net(image[None]) for image in z])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_images_rest_once_they_are_within_the_tolerance() -> None:
    rates = torch.tensor([0.1, 0.9]).view(2, 1, 1, 1)

    def update(x: Tensor) -> tuple[Tensor, Tensor]:
        return 1 + rates * x, x

    start = torch.zeros(2, 1, 1, 1)
    both = solve(update, start, Stopping(1e-3, 100))
    rates = rates[:1]
    alone = solve(update, start[:1], Stopping(1e-3, 100))
    assert alone.course.iterations < both.course.iterations
    assert torch.equal(both.value[:1], alone.value)


def test_fixed_counts_measure_nothing() -> None:
    calls = []

    def update(x: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(x)
        return x / 2, x

    solution = solve(update, torch.ones(1, 1, 1, 1), Stopping(0, 3))
    assert len(calls) == 3
    assert float(solution.value) == 1 / 8
    assert float(solution.known) == float(solution.point) == 1 / 4
    assert solution.course.status == "counted"
    assert math.isnan(solution.course.residual)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 20)])
def test_images_of_other_sizes(size: tuple[int, int]) -> None:
    net = network(padding=0)
    z = torch.rand(1, 1, *size, dtype=torch.float64)
    assert net(z).shape == z.shape


def test_empty_batches_give_empty_results() -> None:
    net = network()
    assert net(torch.zeros(0, 1, 10, 12)).shape == (0, 1, 10, 12)
    assert net.forward_map(torch.zeros(0, 1, 10, 12)).shape == (0, 1, 10, 12)


# -- one residual function


def test_subnetwork_is_the_residual_function_and_its_adjoint_derivative() -> None:
    net = network()
    weights = stack_of(net).weights()
    x, w = torch.randn(2, 2, 4, 9, 8, dtype=torch.float64)
    x.requires_grad_()
    for index, subnetwork in enumerate(subnetworks(weights, torch.float64)):
        expected = residual(x, weights, index, torch.float64)
        hidden = subnetwork.hidden(x.detach())
        torch.testing.assert_close(subnetwork.output(hidden), expected.detach())
        pulled, *stacks = torch.autograd.grad(expected, [x, *weights], w, retain_graph=True)
        torch.testing.assert_close(subnetwork.adjoint(subnetwork.hidden_adjoint(w, hidden)), pulled)
        ours = subnetwork.weight_gradients(x.detach(), hidden, w, subnetwork.hidden_adjoint(w, hidden))
        for mine, stack in zip(ours, stacks, strict=True):
            torch.testing.assert_close(mine, stack[index])


@pytest.mark.parametrize("channels", [(6, 4), (3, 8), (5, 9), (1, 1)])
@pytest.mark.parametrize("size", [(7, 10), (7, 9), (3, 2), (2, 1)])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_adjoint_of_a_convolution(channels: tuple[int, int], size: tuple[int, int], kernel_size: int) -> None:
    kernel = torch.randn(*channels, kernel_size, kernel_size, dtype=torch.float64)
    u = torch.randn(2, channels[0], *size, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    expected = torch.nn.functional.conv_transpose2d(u, kernel, padding=kernel_size // 2)
    torch.testing.assert_close(convolution_adjoint(u, kernel), expected)


# -- implicit gradients


@pytest.mark.parametrize("training", [False, True])
def test_implicit_gradients_are_those_of_a_long_unrolled_inversion(training: bool) -> None:
    net = network(tolerance=1e-13, training_tolerance=1e-14).train(training)
    z = torch.rand(2, 1, 10, 12, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 1, 10, 12, dtype=torch.float64)
    ours = gradients(net, (net(z) - target).square().sum(), z)
    if training:
        stack_of(net).normalisation.shifted_grid.logical_not_()  # so that both use the same grid
    plain = gradients(net, (unrolled(net, z) - target).square().sum(), z)
    for mine, theirs in zip(ours, plain, strict=True):
        assert relative_error(mine, theirs) < 1e-6


@pytest.mark.slow
def test_gradcheck_of_the_inverse() -> None:
    torch.manual_seed(0)
    stacks = (
        0.1 * torch.randn(2, 3, 2, 3, 3),
        0.1 * torch.randn(2, 3),
        0.4 * torch.randn(2, 2, 3, 1, 1),
        0.1 * torch.randn(2, 2),
        torch.tensor([0.01, 0.02]),
    )
    inputs = [tensor.double().requires_grad_() for tensor in (torch.randn(2, 2, 4, 5), *stacks)]
    accuracy = exact(1e-14, 500, bound=0.5, dtype=torch.float64)

    def inverse(z: Tensor, *weights: Tensor) -> Tensor:
        return invert_chain(z, Weights(*weights), accuracy).x

    assert torch.autograd.gradcheck(inverse, inputs, eps=1e-6, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_gradcheck_of_the_network_in_all_parameters() -> None:
    net = network(subnetworks=2, channels=2, hidden=3, kernel_size=3, padding=1, image_shape=(1, 4, 4), tolerance=1e-13)
    names, values = zip(*net.named_parameters(), strict=True)

    def reconstruct(z: Tensor, *parameters: Tensor) -> Tensor:
        result = torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (z,))
        assert isinstance(result, Tensor)
        return result

    z = torch.rand(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    parameters = [value.detach().clone().requires_grad_() for value in values]
    # The frequency of a kernel's norm is that of a grid point: the norm is differentiable where it is unique.
    assert torch.autograd.gradcheck(reconstruct, (z, *parameters), eps=1e-6, atol=1e-5, rtol=1e-3)


def test_gradients_with_respect_to_the_input_alone() -> None:
    net = network(tolerance=1e-12)
    z = torch.rand(1, 1, 10, 12, dtype=torch.float64, requires_grad=True)
    (full,) = torch.autograd.grad(net(z).square().sum(), z)
    net.requires_grad_(False)
    (alone,) = torch.autograd.grad(net(z).square().sum(), z)
    torch.testing.assert_close(alone, full)


@pytest.mark.parametrize("direction", ["inverse", "forward map of an explicit inverse"])
def test_directional_derivatives_by_differentiating_the_adjoint(direction: str) -> None:
    if direction == "inverse":
        net: IResNet | ExplicitIResNet = network(tolerance=1e-12)
        function = net
    else:
        net = ExplicitIResNet(**SMALL, lipschitz=0.8, tolerance=1e-12)
        net.setup(Problem(Smooth()), (1, 10, 12))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
        net.double().eval()
        function = net.forward_map
    net.requires_grad_(False)
    x, h = torch.rand(2, 1, 1, 10, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    x.requires_grad_()
    value = function(x)
    v = torch.zeros_like(value, requires_grad=True)
    (pulled,) = torch.autograd.grad(value, x, v, create_graph=True)
    (pushed,) = torch.autograd.grad(pulled, v, h)

    with torch.no_grad():
        step = 1e-6
        quotient = (function(x + step * h) - function(x - step * h)) / (2 * step)
    assert (quotient - h).norm() > 0.05 * h.norm()
    torch.testing.assert_close(pushed, quotient, rtol=0, atol=1e-6)


def test_second_derivatives_in_the_weights_are_refused() -> None:
    net = network()
    z = torch.rand(1, 1, 10, 12, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(z).square().sum(), z, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_loose_training_gradients_point_where_exact_ones_do() -> None:
    def gradient(net: IResNet) -> Tensor:
        z = torch.rand(4, 1, 10, 12, generator=torch.Generator().manual_seed(3))
        return torch.cat([g.flatten() for g in gradients(net, net(z.requires_grad_()).square().mean(), z)[1:]])

    accurate = gradient(network(training_tolerance=1e-7).train())
    loose = gradient(network().train())
    early = network().train()
    early.training_progress(0.1)
    assert early.gradient_starts is not None
    early.gradient_starts.batches.fill_(17)  # this batch teaches nothing, and so its gradients take one evaluation
    assert torch.cosine_similarity(loose, accurate, 0) > 0.999
    assert 0.5 < torch.cosine_similarity(gradient(early), accurate, 0) < 0.9999


def saved_bytes(net: IResNet, z: Tensor) -> tuple[int, int]:
    """Tensors and bytes that autograd keeps for a gradient."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(z)
    return len(sizes), sum(sizes)


def test_memory_does_not_grow_with_the_iterations() -> None:
    z = torch.rand(2, 1, 10, 12, dtype=torch.float64)
    nets = [network(training_tolerance=tolerance).train() for tolerance in (1e-1, 1e-12)]
    assert saved_bytes(nets[0], z) == saved_bytes(nets[1], z)
    wide = network(subnetworks=6).train()
    assert saved_bytes(wide, z)[0] == saved_bytes(nets[0], z)[0] + 2 * 3  # a point and hidden activations each


# -- what training asks for


def iterations_of_a_step(net: IResNet, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Stopping], list[int]]:
    from invreg_iresnet.inversion import derivative, inversion

    rules, counts = [], []

    def spy(update: Any, start: Tensor, stopping: Stopping, correction: Any, *, keep_first: bool) -> Any:
        solution = solve(update, start, stopping, correction, keep_first=keep_first)
        rules.append(stopping)
        counts.append(solution.course.iterations)
        return solution

    for module in (inversion, derivative):
        monkeypatch.setattr(module, "solve", spy)
    net(torch.rand(2, 1, 10, 12)).square().sum().backward()
    return rules, counts


def test_the_first_half_of_a_training_takes_one_iteration_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network().train()
    net.training_progress(0.49)
    _, counts = iterations_of_a_step(net, monkeypatch)
    assert counts == [2, 2, 2, 2, 2, 2]  # the first steps of a training teach starts, for which gradients take two
    assert net.starts is not None
    assert net.gradient_starts is not None
    for starts in (net.starts, net.gradient_starts):
        starts.batches.fill_(17)
    _, counts = iterations_of_a_step(net, monkeypatch)
    assert counts == [2, 2, 2, 1, 1, 1]


@pytest.mark.parametrize("progress", [None, 0.5, 0.99])
def test_the_second_half_goes_to_the_tolerance(progress: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(training_tolerance=1e-4).train()
    if progress is not None:
        net.training_progress(progress)
    rules, counts = iterations_of_a_step(net, monkeypatch)
    assert [rule.tolerance for rule in rules] == pytest.approx([1e-4] * 3 + [3e-3] * 3)
    assert min(counts) > 2


def test_evaluation_is_accurate_whatever_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    net.training_progress(0.1)
    rules, _ = iterations_of_a_step(net, monkeypatch)
    assert {rule.tolerance for rule in rules} == {1e-5}


def test_previews_are_less_accurate(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    monkeypatch.setattr(type(net), "__call__", lambda self, z: self.tolerance)
    z = torch.rand(2, 1, 10, 12)
    assert (net.preview(z), net.tolerance) == (1e-3, 1e-5)
    assert network(tolerance=1e-2).preview(z) == 1e-2


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_progress_is_a_share(fraction: float) -> None:
    with pytest.raises(Exception, match="0 <= fraction <= 1"):
        network().training_progress(fraction)


# -- what is said aloud


def test_too_few_iterations_are_told() -> None:
    net = network(max_iterations=4)
    with pytest.warns(ConvergenceWarning) as caught:
        net(torch.rand(1, 1, 10, 12))
    text = str(caught[0].message)
    assert re.search(r"subnetwork \d of 3 \(and 2 more\)", text)
    assert re.search(r"relative residual 0\.\d+; it was stopped after max_iterations = 4", text)
    assert "expected: relative residual 1e-05" in text
    assert "Lipschitz bound 0.9" in text
    assert "more max_iterations" in text


def test_a_tolerance_beyond_float32_is_told() -> None:
    net = network(tolerance=1e-12, max_iterations=10_000).float()
    with pytest.warns(ConvergenceWarning, match=r"rounding in float32 stopped all progress(.|\n)*net.double\(\)"):
        net(torch.rand(1, 1, 10, 12))
    inversion = net.invert(net.lift(torch.rand(1, 1, 10, 12)))
    assert not inversion.converged
    assert max(inversion.iterations) < 400
    assert network(tolerance=1e-12).invert(inversion.x.double()).converged


def test_gradients_that_fall_short_are_told() -> None:
    net = network(max_iterations=3)
    z = torch.rand(1, 1, 10, 12, dtype=torch.float64, requires_grad=True)
    with pytest.warns(ConvergenceWarning, match="a reconstruction has not"):
        value = net(z).square().sum()
    with pytest.warns(ConvergenceWarning, match="a gradient of the reconstruction has not"):
        value.backward()


def test_training_that_falls_short_stops() -> None:
    net = network(max_iterations=2).train()
    with pytest.raises(ConvergenceError, match=r"expected: relative residual 0\.005") as caught:
        net(torch.rand(1, 1, 10, 12))
    assert re.search(r"subnetwork \d of 3(.|\n)*Lipschitz bound 0\.9", str(caught.value))
    net.training_progress(0.1)  # counts are fixed then
    net(torch.rand(1, 1, 10, 12)).sum().backward()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_measurements_that_are_not_finite_are_refused(value: float) -> None:
    z = torch.rand(2, 1, 10, 12)
    z[1, 0, 3, 3] = value
    found = r"subnetwork 1 of 3.* bound 0\.9.*residual (nan|inf)(.|\n)*NaN and infinite values in the measurements"
    with pytest.raises(ConvergenceError, match=found):
        network().invert(network().lift(z))
    with pytest.raises(DataError, match=r"1 of 2 measurements hold NaN (.|\n)*number 1 of the batch, at \[0, 3, 3\]"):
        network()(z)


@pytest.mark.parametrize("name", ["kernels", "hidden_biases", "mixings", "output_biases", "log_thresholds"])
def test_weights_that_are_not_finite_are_refused(name: str) -> None:
    net = network()
    parameter: nn.Parameter = getattr(stack_of(net), name)
    with torch.no_grad():
        parameter[1].view(-1)[0] = math.nan
    with pytest.raises(ConvergenceError, match=r"subnetwork 2 of 3(.|\n)*training diverged"):
        net(torch.rand(1, 1, 10, 12))


@pytest.mark.parametrize("value", [1e3, math.inf])
def test_thresholds_that_have_overflowed_are_refused(value: float) -> None:
    net = network()
    with torch.no_grad():
        stack_of(net).log_thresholds[2] = value  # what a much too large learning rate makes of them
    with pytest.raises(
        ConvergenceError, match=r"subnetwork 3 of 3: the threshold .* is inf(.|\n)*smaller lr \(and muon"
    ):
        net(torch.rand(1, 1, 10, 12))


def test_gradients_that_are_not_finite_are_passed_on() -> None:
    net = network()
    z = torch.rand(1, 1, 10, 12, dtype=torch.float64, requires_grad=True)
    (net(z).sum() * math.inf).backward()
    assert z.grad is not None
    assert not torch.isfinite(z.grad).all()
