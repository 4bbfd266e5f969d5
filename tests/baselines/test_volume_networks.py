"""conv_resnet and unet for volumes; diffnet, which is for images, says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from invreg import Problem, Registry, ShapeError
from invreg_baselines.conv_resnet import ConvResNet
from invreg_baselines.diffnet import DiffNet
from invreg_baselines.unet import UNet, _doubled

SHAPE = (2, 7, 6, 9)


def identity() -> Problem:
    return Problem(Registry.installed().build("operator", "identity"))


def conv_resnet() -> ConvResNet:
    return ConvResNet(subnetworks=2, channels=4, hidden=6, kernel_size=3, padding=2)


def unet() -> UNet:
    return UNet(channels=(4, 6), kernel_size=3, padding=2)


@pytest.mark.parametrize("make", [conv_resnet, unet])
def test_networks_of_volumes_start_near_the_identity_and_learn_with_all_weights(make: Any) -> None:
    torch.manual_seed(0)
    net = make()
    net.setup(identity(), SHAPE)
    z = torch.rand(2, *SHAPE)
    found = net(z)
    assert found.shape == z.shape
    assert (found - z).abs().max() < 0.2
    found.square().sum().backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in net.parameters())
    net.eval()
    assert net(torch.rand(1, 2, 5, 8, 4)).shape == (1, 2, 5, 8, 4)
    with pytest.raises(ShapeError, match=r"\[B, 2, D, H, W\]"):
        net(z[:, :, 0])
    assert any("conv 3×3×3" in layer.operation for stage in net.architecture().stages for layer in stage.layers)


@pytest.mark.parametrize("make", [conv_resnet, unet])
def test_reconstructions_of_volumes_see_no_farther_than_they_say(make: Any) -> None:
    torch.manual_seed(0)
    net = make()
    net.setup(identity(), (1, 20, 6, 6))
    net.double().eval()
    z = torch.rand(1, 1, 20, 6, 6, dtype=torch.float64)
    changed = z.clone()
    changed[:, :, 0] += 1
    radius = net.reconstruction_radius
    seen = (net(changed) - net(z)).abs().amax((0, 1, 3, 4))
    assert radius is not None
    assert (seen[radius + 1 :] == 0).all()
    assert seen[1] > 0


def test_doubling_of_volumes_is_that_of_torch() -> None:
    x = torch.rand(2, 3, 3, 4, 5)
    torch.testing.assert_close(_doubled(x), F.interpolate(x, scale_factor=2, mode="trilinear"))


def test_diffnet_is_for_images() -> None:
    with pytest.raises(ShapeError, match="conv_resnet"):
        DiffNet(hidden=4).setup(identity(), SHAPE)
