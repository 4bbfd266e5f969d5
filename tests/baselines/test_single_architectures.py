"""What is particular to each of the networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from invreg.components.problem import Problem
from invreg.errors import ShapeError, SpecError
from invreg_baselines.conv_resnet import ConvResNet
from invreg_baselines.diffnet import DiffNet, DiffusionStep
from invreg_baselines.unet import UNet, _doubled
from toy import Same


def fixed_filters(network: DiffNet, center: float, neighbour: float) -> None:
    """Makes every filter (k_0, k_1, ..., k_4) = (center, neighbour, ..., neighbour), everywhere."""
    for step in network.steps:
        assert isinstance(step, DiffusionStep)
        last = step.filters[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        channels = last.bias.numel() // 5
        with torch.no_grad():
            last.bias.copy_(torch.tensor([center] + 4 * [neighbour]).repeat_interleave(channels))


@pytest.mark.parametrize("channels", [1, 3])
def test_diffnet_runs_an_explicit_diffusion(channels: int) -> None:
    network = DiffNet(subnetworks=3, hidden=4, step_size=0.15, center=0.0, padding=0)
    network.setup(Problem(Same()), (channels, 12, 11))
    fixed_filters(network, center=4.0, neighbour=1.0)
    network.double()
    u = torch.rand(2, channels, 12, 11, dtype=torch.float64)
    expected = u
    stencil = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    kernel = stencil.expand(channels, 1, 3, 3)
    for _ in range(3):
        expected = expected + 0.15 * F.conv2d(expected, kernel, padding=1, groups=channels)
    with torch.no_grad():
        torch.testing.assert_close(network(u), expected, rtol=0, atol=1e-7)  # 0.15 was stored in float32


def test_diffnet_filters_look_in_four_directions() -> None:
    step = DiffusionStep(1, 4, 3, 1.0)
    last = step.filters[-1]
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)
    u = torch.zeros(1, 1, 5, 5)
    u[0, 0, 2, 2] = 1.0
    arrives = []
    for index in range(5):
        with torch.no_grad():
            last.bias.copy_(torch.eye(5)[index])  # type: ignore[union-attr]
            arrives.append((step(u) - u)[0, 0].nonzero().tolist())
    # k_0 takes from the pixel itself; what comes from above appears one row further down, and so on.
    assert arrives == [[[2, 2]], [[3, 2]], [[1, 2]], [[2, 3]], [[2, 1]]]


def test_diffnet_with_equal_weights_keeps_constants_inside() -> None:
    network = DiffNet(subnetworks=4, hidden=4)
    network.setup(Problem(Same()), (1, 16, 16))
    fixed_filters(network, center=2.0, neighbour=0.5)
    z = torch.full((1, 1, 16, 16), 0.8)
    with torch.no_grad():
        torch.testing.assert_close(network(z), z)  # 4 steps reach 4 pixels; the padding is 6


def test_doubling_is_bilinear_interpolation() -> None:
    for shape in ((2, 3, 5, 4), (1, 1, 1, 1), (1, 2, 1, 6)):
        x = torch.randn(shape, dtype=torch.float64)
        expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(_doubled(x), expected)


def test_unet_with_one_scale_is_a_plain_network() -> None:
    network = UNet(channels=(4,), padding=0)
    network.setup(Problem(Same()), (1, 7, 5))
    assert network.multiple == 1
    assert network(torch.rand(2, 1, 7, 5)).shape == (2, 1, 7, 5)


@pytest.mark.parametrize("channels", [(), (8, 0), (8, -2, 4)])
def test_unet_refuses_channels(channels: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="channels"):
        UNet(channels=channels)


def test_unet_says_what_batch_normalisation_needs() -> None:
    network = UNet(channels=(2, 4, 4), kernel_size=3, padding=0)
    network.setup(Problem(Same()), (1, 4, 4))
    z = torch.rand(1, 1, 4, 3)
    with pytest.raises(ShapeError, match="one image of 4x4 pixels"):
        network.train()(z)
    assert network(torch.rand(2, 1, 4, 4)).shape == (2, 1, 4, 4)
    assert network.eval()(z).shape == z.shape


def test_conv_resnet_blocks_are_shrinkage_between_two_convolutions() -> None:
    network = ConvResNet(subnetworks=2, channels=4, hidden=6, kernel_size=3, threshold=0.07, center=0.2, padding=0)
    network.setup(Problem(Same()), (1, 8, 8))
    weights = network.state_dict()
    z = torch.rand(2, 1, 8, 8)
    state = F.conv2d(z - 0.2, weights["lift.weight"], weights["lift.bias"])
    for i in range(2):
        hidden = F.conv2d(state, weights[f"blocks.{i}.0.weight"], weights[f"blocks.{i}.0.bias"], padding=1)
        hidden = hidden.sign() * (hidden.abs() - 0.07).clamp_min(0)
        state = state + F.conv2d(hidden, weights[f"blocks.{i}.2.weight"], weights[f"blocks.{i}.2.bias"])
    expected = F.conv2d(state, weights["unlift.weight"], weights["unlift.bias"]) + 0.2
    with torch.no_grad():
        torch.testing.assert_close(network(z), expected)


@pytest.mark.parametrize(("image_channels", "channels"), [(1, 1), (3, 3), (3, 7), (2, 8)])
def test_conv_resnet_without_blocks_in_effect_is_the_identity(image_channels: int, channels: int) -> None:
    network = ConvResNet(subnetworks=2, channels=channels, hidden=2, kernel_size=1, threshold=1e6)
    network.setup(Problem(Same()), (image_channels, 9, 9))
    z = torch.rand(2, image_channels, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(network(z), z)


def test_conv_resnet_needs_room_for_the_image() -> None:
    with pytest.raises(SpecError, match="channels 2 for images of 3 channels"):
        ConvResNet(channels=2).setup(Problem(Same()), (3, 8, 8))


@pytest.mark.parametrize("parameter", ["subnetworks", "channels", "hidden", "threshold"])
def test_conv_resnet_refuses_what_is_not_positive(parameter: str) -> None:
    with pytest.raises(SpecError, match=parameter) as caught:
        ConvResNet(**{parameter: 0})
    assert caught.value.where == f"ConvResNet.{parameter}"


@pytest.mark.parametrize("parameter", ["subnetworks", "hidden", "step_size"])
def test_diffnet_refuses_what_is_not_positive(parameter: str) -> None:
    with pytest.raises(SpecError, match=parameter):
        DiffNet(**{parameter: -1})
