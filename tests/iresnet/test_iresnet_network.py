"""The component: counts, constraints, setup, the forward map, precision, saving, and the care taken of caches."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from iresnet_helpers import Smooth, network, stack_of
from torch import Tensor

from invreg import Registry, spec_of
from invreg.components.operator import NormalOperator
from invreg.components.problem import Problem
from invreg.components.reconstructor import FollowsTraining, LearnsForwardMap, Reconstructor
from invreg.errors import InvregError, ShapeError, SpecError
from invreg_iresnet import plugin
from invreg_iresnet.architecture import _up
from invreg_iresnet.certificate.network_certificate import bounds_of
from invreg_iresnet.iresnet import IResNet
from toy import EverySecondRow, SquaredRows

PROBLEM = Problem(Smooth())


def count(net: IResNet) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# -- the architecture


@pytest.mark.parametrize(
    ("bound", "text"),
    [(1 / 3, "0.3334"), (1000.0, "1000"), (123_456_789.0, "123500000"), (1.7551e22, "1.756e+22")],
)
def test_bounds_are_rounded_up_and_no_row_of_zeros(bound: float, text: str) -> None:
    assert _up(bound) == text


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [({}, 4_263_700), ({"subnetworks": 12, "channels": 32, "hidden": 64}, 640_140)],
    ids=["large", "small"],
)
def test_parameter_counts_are_those_of_the_paper(parameters: dict[str, Any], expected: int) -> None:
    net = IResNet(**parameters)
    net.setup(PROBLEM, (1, 96, 96))
    assert count(net) == expected


@pytest.mark.parametrize(("subnetworks", "expected"), [(20, 0.292), (12, 0.438), (8, 0.578), (1, 0.999)])
def test_the_lipschitz_constant_is_split_evenly(subnetworks: int, expected: float) -> None:
    net = IResNet(subnetworks=subnetworks)
    assert net.residual_bound == pytest.approx(expected, abs=5e-4)
    assert (1 - net.residual_bound) ** subnetworks == pytest.approx(1 - 0.999, rel=1e-12)


def test_component_is_registered_and_described() -> None:
    registry = Registry({"iresnet": plugin})
    net = registry.build("reconstructor", {"name": "iresnet", "subnetworks": 8, "padding": 0})
    assert isinstance(net, IResNet)
    assert isinstance(net, Reconstructor | LearnsForwardMap | FollowsTraining)
    assert spec_of(net)["subnetworks"] == 8
    fields = registry.parameters("reconstructor", "iresnet").model_fields
    assert all(field.description for name, field in fields.items() if name != "name")
    net.setup(PROBLEM, (1, 32, 32))
    assert "lipschitz=0.999" in repr(net)
    assert "8 x [64 -> 128 -> 64]" in repr(net)


def test_weights_are_drawn_from_the_global_generator() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        net = IResNet(subnetworks=2, channels=4, hidden=6)
        net.setup(PROBLEM, (1, 32, 32))
        states.append(stack_of(net).kernels)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_training_starts_near_the_identity() -> None:
    torch.manual_seed(0)
    net = IResNet(subnetworks=8, channels=8, hidden=16).eval()
    net.setup(PROBLEM, (1, 32, 32))
    net.eval()
    x = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert float((net(x) - x).square().mean()) < 1e-3
        assert all(parameter.is_contiguous() for parameter in net.parameters())


# -- what is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel_size", 4),
        ("kernel_size", 1),
        ("lipschitz", 1.0),
        ("lipschitz", 0.0),
        ("lipschitz", math.nan),
        ("subnetworks", 0),
        ("channels", 0),
        ("hidden", -1),
        ("padding", -1),
        ("center", math.inf),
        ("tolerance", 0.0),
        ("max_iterations", 0),
        ("training_tolerance", -1e-3),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(SpecError, match=f"^IResNet.{name}: "):
        IResNet(**{name: value})  # type: ignore[arg-type]


def test_channels_must_be_a_multiple_of_those_of_an_image() -> None:
    with pytest.raises(SpecError, match=r"multiple of 3(.|\n)*try: 66"):
        IResNet().setup(PROBLEM, (3, 32, 32))


def test_images_too_small_for_the_padding_are_refused() -> None:
    with pytest.raises(ShapeError, match="more than 6 pixels"):
        IResNet().setup(PROBLEM, (1, 6, 32))
    with pytest.raises(ShapeError, match="more than 2 pixels"):
        network()(torch.zeros(1, 1, 12, 2))


def test_nonlinear_operators_out_of_the_image_space_are_refused() -> None:
    with pytest.raises(SpecError, match="SquaredRows maps images"):
        IResNet(channels=2, hidden=2).setup(Problem(SquaredRows()), (1, 32, 32))


@pytest.mark.parametrize(
    "call", [lambda net, x: net(x), lambda net, x: net.lift(x), lambda net, x: net.target_operator]
)
def test_networks_without_weights_say_so(call: Callable[[IResNet, Tensor], Any]) -> None:
    with pytest.raises(InvregError, match="setup"):
        call(IResNet(), torch.zeros(1, 1, 32, 32))


@pytest.mark.parametrize("shape", [(1, 2, 10, 12), (10, 12), (1, 10, 12)])
def test_measurements_of_the_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        network()(torch.zeros(shape))


def test_invert_checks_its_arguments() -> None:
    net = network()
    state = net.lift(torch.rand(1, 1, 10, 12))
    for arguments in ({"tolerance": 0.0}, {"tolerance": math.nan}, {"max_iterations": 0}):
        with pytest.raises(SpecError, match="positive tolerance"):
            net.invert(state, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="lift"):
        net.invert(torch.rand(1, 1, 10, 12))
    with pytest.raises(ShapeError, match="lift"):
        net.phi(torch.rand(1, 1, 10, 12))


# -- constraints


def dense(kernel: Tensor, height: int, width: int) -> Tensor:
    basis = torch.eye(kernel.shape[1] * height * width, dtype=kernel.dtype).view(-1, kernel.shape[1], height, width)
    return torch.nn.functional.conv2d(basis, kernel, padding=kernel.shape[-1] // 2).flatten(1)


@pytest.mark.slow
def test_weights_have_their_norms() -> None:
    net = network(lipschitz=0.9)
    weights = [stack.detach() for stack in stack_of(net).weights()]
    bounds = [one.product for one in bounds_of(net.certificate())]
    for kernel, mixing, bound in zip(weights[0], weights[2], bounds, strict=True):
        assert float(torch.linalg.matrix_norm(mixing[..., 0, 0], ord=2)) == pytest.approx(net.residual_bound, rel=1e-6)
        assert 0.8 < float(torch.linalg.matrix_norm(dense(kernel, 8, 9), ord=2)) < 1.006
        assert net.residual_bound * (1 - 1e-6) <= bound < 1.006 * net.residual_bound


def test_small_mixings_are_left_alone() -> None:
    net = network()
    with torch.no_grad():
        stack_of(net).mixings.mul_(1e-3)
    torch.testing.assert_close(stack_of(net).weights().mixings, stack_of(net).mixings)


@pytest.mark.slow
@pytest.mark.parametrize("lipschitz", [0.5, 0.99])
def test_bounds_hold_for_random_pairs(lipschitz: float) -> None:
    net = network(lipschitz=lipschitz, tolerance=1e-10)
    certificate = net.certificate()
    generator = torch.Generator().manual_seed(0)
    for scale in (1e-3, 1e-1, 10.0):
        x = torch.randn(8, 4, 14, 16, dtype=torch.float64, generator=generator)
        h = scale * torch.randn(x.shape, dtype=torch.float64, generator=generator)
        z = torch.rand(8, 1, 10, 12, dtype=torch.float64, generator=generator)
        e = scale * torch.randn(z.shape, dtype=torch.float64, generator=generator)
        with torch.no_grad():
            forward = (net.phi(x + h) - net.phi(x)).flatten(1).norm(dim=1) / h.flatten(1).norm(dim=1)
            image = (net(z + e) - net(z)).flatten(1).norm(dim=1) / e.flatten(1).norm(dim=1)
        assert float(forward.max()) <= certificate.forward_lipschitz["certified"]
        assert float((1 / forward).max()) <= certificate.inverse_lipschitz["certified"]
        assert float(image.max()) <= certificate.reconstruction_lipschitz
    # The constraint bounds the product by 1 / (1 - L); norms that are not final yet leave a little above that.
    assert 1 / (1 - lipschitz) * 0.999 <= certificate.inverse_lipschitz["product"] <= 1.35 / (1 - lipschitz)
    assert certificate.content["padding_norm"] == 2
    assert certificate.reconstruction_lipschitz == 2 * certificate.content["image_lipschitz"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_bounds_hold_for_all_singular_values_of_the_derivative(seed: int) -> None:
    net = network(lipschitz=0.9, subnetworks=2, channels=2, padding=0, image_shape=(1, 6, 6), seed=seed)
    net.requires_grad_(False)
    certificate = net.certificate()
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    matrix = torch.func.jacrev(net.phi)(x).reshape(72, 72)
    values = torch.linalg.svdvals(matrix)
    assert 1.1 < float(values.max()) <= certificate.forward_lipschitz["certified"]
    assert 1.1 < float(1 / values.min()) <= certificate.inverse_lipschitz["certified"]
    assert certificate.content["padding_norm"] == 1


@pytest.mark.slow
def test_bounds_say_when_nothing_is_proven() -> None:
    net = network(subnetworks=1, lipschitz=0.999)
    net.finalise()
    with torch.no_grad():
        stack_of(net).mixings.mul_(2)
    stack_of(net).final_digest.copy_(stack_of(net)._digest())  # as if these weights were final
    certificate = net.certificate()
    assert certificate.inverse_lipschitz["product"] is None
    assert certificate.forward_lipschitz["product"] == pytest.approx(1 + 2 * net.residual_bound, rel=1e-2)


# -- the forward map


def test_forward_map_is_the_composition_of_its_parts() -> None:
    net = network()
    x = torch.rand(2, 1, 10, 12, dtype=torch.float64)
    weights, state = stack_of(net).weights(), net.lift(x)
    for i in reversed(range(3)):
        hidden = torch.nn.functional.conv2d(state, weights.kernels[i], weights.hidden_biases[i], padding=2)
        hidden = torch.nn.functional.softshrink(hidden, float(weights.thresholds[i].detach()))
        state = state - torch.nn.functional.conv2d(hidden, weights.mixings[i], weights.output_biases[i])
    torch.testing.assert_close(net.forward_map(x), net.unlift(state), rtol=0, atol=1e-13)


@pytest.mark.slow
def test_forward_map_knows_torch_func() -> None:
    net = network()
    x, h, v = torch.randn(3, 1, 1, 10, 12, dtype=torch.float64)
    step = 1e-6
    difference = (net.forward_map(x + step * h) - net.forward_map(x - step * h)) / (2 * step)
    jvp = torch.func.jvp(net.forward_map, (x,), (h,))[1]
    torch.testing.assert_close(jvp, difference, rtol=0, atol=1e-7)
    vjp = torch.func.vjp(net.forward_map, x)[1](v)[0]
    torch.testing.assert_close((vjp * h).sum(), (jvp * v).sum())
    directions = torch.randn(3, 1, 1, 10, 12, dtype=torch.float64)
    many = torch.func.vmap(lambda d: torch.func.jvp(net.forward_map, (x,), (d,))[1])(directions)
    torch.testing.assert_close(many[1], torch.func.jvp(net.forward_map, (x,), (directions[1],))[1])


def test_forward_map_has_gradients_in_all_parameters() -> None:
    net = network().train()
    net.forward_map(torch.rand(1, 1, 10, 12)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


# -- operators


def test_target_operator_is_no_part_of_the_network() -> None:
    operator = Smooth()
    operator.register_parameter("dial", torch.nn.Parameter(torch.ones(())))
    net = network(operator)
    assert net.target_operator is operator
    assert not any("dial" in name for name in net.state_dict())
    assert operator not in list(net.modules())


def test_linear_operators_out_of_the_image_space_are_made_normal() -> None:
    net = network(EverySecondRow(), (1, 10, 12))
    assert isinstance(net.target_operator, NormalOperator)
    x = torch.rand(2, 1, 10, 12, dtype=torch.float64)
    z = EverySecondRow()(x)
    x_hat = net(z)
    assert x_hat.shape == x.shape
    in_image_space = torch.zeros_like(x)
    in_image_space[..., ::2, :] = z / 3  # A* z / ||A||^2 with A*A = 9 on the rows that are kept
    torch.testing.assert_close(x_hat, network()(in_image_space), rtol=0, atol=1e-6)
    assert net.forward_map(x).shape == x.shape
    assert not any("operator" in name for name in net.state_dict())


def test_colour_images() -> None:
    net = network(image_shape=(3, 10, 12), channels=6)
    z = torch.rand(2, 3, 10, 12, dtype=torch.float64)
    assert net(z).shape == net.forward_map(z).shape == z.shape


# -- precision


def test_results_have_the_dtype_of_the_parameters() -> None:
    net = network()
    assert net(torch.rand(1, 1, 10, 12)).dtype == torch.float64
    assert net.float()(torch.rand(1, 1, 10, 12, dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_low_precision_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(InvregError, match=r"weights in torch\.(.|\n)*torch.autocast"):
        network().to(dtype)(torch.rand(1, 1, 10, 12))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_training_under_autocast(dtype: torch.dtype) -> None:
    z, target = torch.rand(2, 2, 1, 10, 12)
    seen: list[torch.dtype] = []

    def gradient(cast: bool) -> Tensor:
        net = network(lipschitz=0.9).float().train()
        with torch.autocast("cpu", dtype=dtype, enabled=cast):
            x_hat = net(z)
            loss = (x_hat - target).square().mean() + net.forward_map(target).mean()
        seen.append(x_hat.dtype)
        loss.backward()
        return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])

    plain, cast = gradient(False), gradient(True)
    assert seen == [torch.float32, torch.float32]
    assert not torch.equal(plain, cast)
    assert torch.cosine_similarity(plain, cast, 0) > 0.99


def test_convolutions_run_in_the_dtype_of_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    from invreg_iresnet.network import subnetwork

    seen: list[torch.dtype] = []
    real = subnetwork.F.conv2d

    def spy(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seen.append(x.dtype)
        result: Tensor = real(x, *args, **kwargs)
        return result

    monkeypatch.setattr(subnetwork.F, "conv2d", spy)
    net = network().float()
    for training, expected in ((True, torch.bfloat16), (False, torch.float32)):
        seen.clear()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            net.train(training)(torch.rand(1, 1, 10, 12))
        assert set(seen) == {expected}


def test_gradients_of_evaluation_ignore_autocast() -> None:
    net = network().float()
    z = torch.rand(1, 1, 10, 12, requires_grad=True)
    plain, *_ = torch.autograd.grad(net(z).sum(), z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, *_ = torch.autograd.grad(net(z).sum(), z)
    assert torch.equal(plain, cast)


def test_evaluation_ignores_autocast() -> None:
    net = network().float()
    z = torch.rand(1, 1, 10, 12)
    with torch.no_grad():
        plain, plain_map = net(z), net.forward_map(z)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(net(z), plain)
            assert torch.equal(net.forward_map(z), plain_map)


def test_evaluation_switches_tf32_off_and_on_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from invreg_iresnet.inversion import derivative, inversion

    seen: list[bool] = []
    real = inversion.solve

    def spy(*args: Any, **kwargs: Any) -> Any:
        seen.append(torch.backends.cudnn.allow_tf32)
        return real(*args, **kwargs)

    for module in (inversion, derivative):  # there and back
        monkeypatch.setattr(module, "solve", spy)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    net = network(lipschitz=0.9)
    for training in (False, True):
        seen.clear()
        net.train(training)(torch.rand(1, 1, 10, 12)).sum().backward()
        assert seen == [training] * 6
        assert torch.backends.cudnn.allow_tf32


def test_inference_mode_leaves_nothing_behind() -> None:
    net = network()
    z = torch.rand(1, 1, 10, 12, dtype=torch.float64)
    with torch.inference_mode():
        inside = net(z)
    net(z).sum().backward()
    assert torch.equal(inside, net(z))
    assert all(parameter.grad is not None for parameter in net.parameters())


# -- saving and caching


def test_state_dict_holds_everything() -> None:
    net = network(seed=1)
    net.train()
    stack_of(net).weights()  # moves the grid
    twin = network(seed=2)
    twin.load_state_dict(net.state_dict())
    z = torch.rand(2, 1, 10, 12)
    assert torch.equal(twin.eval()(z), net.eval()(z))
    assert torch.equal(twin.train()(z), net.train()(z))
    buffers = set(net.state_dict()) - {name for name, _ in net.named_parameters()}
    of_stack = {"residuals.normalisation.shifted_grid", "residuals.final_digest"}
    learned = ("coefficients", "corrections", "taps", "counts", "batches")
    assert buffers == of_stack | {f"{of}.{name}" for of in ("starts", "gradient_starts") for name in learned}


def test_copies_are_independent() -> None:
    net = network()
    z = torch.rand(1, 1, 10, 12)
    before = net(z)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        stack_of(twin).kernels.mul_(0.5).add_(0.1)
    assert torch.equal(net(z), before)
    assert not torch.equal(twin(z), before)


def in_place(net: IResNet) -> None:
    with torch.no_grad():
        stack_of(net).kernels[0].add_(0.3)


def through_data(net: IResNet) -> None:
    stack_of(net).mixings.data[1] += 3


def loaded(net: IResNet) -> None:
    net.load_state_dict(network(seed=5).state_dict())


def replaced(net: IResNet) -> None:
    stack_of(net).kernels = torch.nn.Parameter(stack_of(net).kernels.detach().flip(0) + 0.1)


def trained(net: IResNet) -> None:
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    net(torch.rand(1, 1, 10, 12)).square().sum().backward()
    optimizer.step()
    net.eval()


@pytest.mark.parametrize("change", [in_place, through_data, loaded, replaced, trained])
def test_the_cache_is_never_stale(change: Callable[[IResNet], None]) -> None:
    net = network()
    z = torch.rand(1, 1, 10, 12)
    before = net(z)
    change(net)
    fresh = network(seed=9)
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(net(z), fresh(z))
    assert not torch.equal(net(z), before)


@pytest.mark.slow
def test_evaluation_looks_for_norms_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from invreg_iresnet.network import residuals
    from invreg_iresnet.norms import normalisation

    calls: list[int] = []
    real = residuals.most_amplified_waves

    def spy(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(residuals, "most_amplified_waves", spy)
    monkeypatch.setattr(normalisation, "most_amplified_waves", spy)
    net = network()
    z = torch.rand(1, 1, 10, 12)
    net(z)
    searched = len(calls)
    net(z)
    net.forward_map(z)
    net.certificate()
    net.train().eval()(z)
    assert len(calls) == searched
    net.train()(z)
    assert len(calls) > searched


def test_the_grid_of_training_moves() -> None:
    net = network().train()
    first, second, third = (stack_of(net).weights().kernels for _ in range(3))
    assert torch.equal(first, third)
    assert not torch.equal(first, second)


@pytest.mark.slow
def test_a_few_steps_learn_the_inverse_of_a_blur() -> None:
    torch.manual_seed(0)
    net = IResNet(subnetworks=4, channels=4, hidden=8)
    net.setup(PROBLEM, (1, 24, 24))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    x = torch.nn.functional.avg_pool2d(torch.rand(8, 1, 26, 26), 3, 1)
    z = PROBLEM.operator(x)
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(60):
            net.training_progress(step / 60)
            loss = (net(z) - x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        with torch.no_grad():
            assert float((net.eval()(z) - x).square().mean()) < 0.4 * losses[0]
    assert losses[-1] < 0.4 * losses[0]
