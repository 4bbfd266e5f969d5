"""What holds for U-Net, ConvResNet and DiffNet alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from invreg import Registry, spec_of
from invreg.components.operator import Operator, Shape
from invreg.components.problem import Problem
from invreg.errors import InvregError, ShapeError, SpecError
from invreg.schema.parameters import parameters_model
from invreg_baselines.conv_resnet import ConvResNet
from invreg_baselines.diffnet import DiffNet
from invreg_baselines.network import ImageNetwork
from invreg_baselines.unet import UNet
from toy import EverySecondRow, Same, SquaredRows

SMALL: dict[type[ImageNetwork], dict[str, Any]] = {
    UNet: {"channels": (4, 6, 8), "kernel_size": 3},
    ConvResNet: {"subnetworks": 3, "channels": 6, "hidden": 9, "kernel_size": 3},
    DiffNet: {"subnetworks": 2, "hidden": 6},
}
PAPER = {UNet: 5_468_705, ConvResNet: 4_263_873, DiffNet: 101_310}
NAMES = {UNet: "unet", ConvResNet: "conv_resnet", DiffNet: "diffnet"}

every_network = pytest.mark.parametrize("cls", list(SMALL), ids=NAMES.get)


def ready(
    cls: type[ImageNetwork],
    image_shape: Shape = (1, 16, 16),
    operator: Operator | None = None,
    **changes: Any,
) -> ImageNetwork:
    """A small network, set up, with weights that are not those of the start (where it is nearly the identity)."""
    network = cls(**{**SMALL[cls], **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network.setup(Problem(operator or Same()), image_shape)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def images(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@every_network
def test_parameter_counts_of_the_paper(cls: type[ImageNetwork]) -> None:
    network = cls()  # type: ignore[call-arg]
    network.setup(Problem(Same()), (1, 96, 96))
    assert sum(parameter.numel() for parameter in network.parameters()) == PAPER[cls]
    assert all(parameter.requires_grad for parameter in network.parameters())


@every_network
def test_registered_and_written_as_a_spec(cls: type[ImageNetwork]) -> None:
    registry = Registry.installed()
    spec = {"name": NAMES[cls], "kernel_size": 3, "padding": 2}
    network = registry.build("reconstructor", spec)
    assert type(network) is cls
    again = registry.build("reconstructor", spec_of(network))
    assert spec_of(again) == spec_of(network)
    assert spec_of(again).items() >= spec.items()


@every_network
def test_search_choices_are_allowed(cls: type[ImageNetwork]) -> None:
    model = parameters_model(cls)
    searched = {
        name: field.json_schema_extra["search"]
        for name, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and "search" in field.json_schema_extra
    }
    assert "kernel_size" in searched
    for name, values in searched.items():
        for value in values.get("choices", [values.get("low"), values.get("high")]):
            cls(**{name: getattr(model(**{name: value}), name)})


@every_network
@pytest.mark.parametrize(
    "shape", [(2, 1, 17, 23), (1, 1, 16, 40), (1, 3, 13, 9), (3, 2, 5, 7), (1, 1, 1, 1), (1, 1, 2, 30)]
)
def test_every_image_size(cls: type[ImageNetwork], shape: Shape) -> None:
    network = ready(cls, (shape[1], 32, 32))
    with torch.no_grad():
        x = network(images(*shape))
    assert x.shape == shape
    assert x.dtype == torch.float32
    assert torch.isfinite(x).all()


@every_network
def test_starts_near_the_identity(cls: type[ImageNetwork]) -> None:
    for shape in ((1, 24, 24), (3, 24, 24)):
        torch.manual_seed(0)
        network = cls(**SMALL[cls])
        network.setup(Problem(Same()), shape)
        z = F.avg_pool2d(images(4, *shape), 3, 1, 1)
        with torch.no_grad():
            change = (network(z) - z).square().mean().sqrt()
        assert 1e-5 < change < 0.1 * z.std()


@every_network
def test_gradients_reach_every_parameter_and_the_measurement(cls: type[ImageNetwork]) -> None:
    network = ready(cls)  # In training, batch normalisation takes away what biases before it add.
    z = images(2, 1, 19, 22).requires_grad_()
    (network(z) - images(2, 1, 19, 22, seed=5)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name
    assert z.grad is not None
    assert (z.grad != 0).all()


@every_network
def test_derivatives_in_double_precision(cls: type[ImageNetwork]) -> None:
    network = ready(cls, padding=2).double()
    z, h = images(1, 1, 9, 8, dtype=torch.float64), images(1, 1, 9, 8, seed=2, dtype=torch.float64)
    value, forward = torch.func.jvp(network, (z,), (h,))
    assert value.dtype == torch.float64
    v = images(1, 1, 9, 8, seed=3, dtype=torch.float64)
    backward = torch.func.vjp(network, z)[1](v)[0]
    torch.testing.assert_close((forward * v).sum(), (h * backward).sum(), rtol=1e-10, atol=1e-12)
    step = 1e-6
    numerical = (network(z + step * h) - network(z - step * h)) / (2 * step)
    torch.testing.assert_close(forward, numerical, rtol=1e-4, atol=1e-6)


@every_network
def test_single_and_double_precision_agree(cls: type[ImageNetwork]) -> None:
    network = ready(cls)
    z = images(2, 1, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(network).double()(z.double()).float(), network(z), rtol=0, atol=1e-4)


@every_network
def test_state_dict_round_trip(cls: type[ImageNetwork]) -> None:
    first, second = ready(cls), cls(**SMALL[cls]).eval()
    first.train()
    first(images(3, 1, 16, 16))  # running statistics are state, too
    first.eval()
    second.setup(Problem(Same()), (1, 16, 16))
    z = images(2, 1, 21, 18)
    with torch.no_grad():
        assert not torch.equal(first(z), second(z))
        second.load_state_dict({name: value.clone().contiguous() for name, value in first.state_dict().items()})
        assert torch.equal(first(z), second(z))


@every_network
def test_setup_after_eval_stays_in_evaluation(cls: type[ImageNetwork]) -> None:
    network = cls(**SMALL[cls]).eval()
    network.setup(Problem(Same()), (1, 16, 16))
    assert not any(module.training for module in network.modules())


@every_network
def test_images_of_a_batch_do_not_see_each_other(cls: type[ImageNetwork]) -> None:
    network = ready(cls)
    z = images(3, 1, 18, 18)
    with torch.no_grad():
        together = network(z)
        alone = torch.cat([network(image[None]) for image in z])
        other = network(torch.cat([z[:1], 0 * z[1:]]))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(together[0], other[0], rtol=0, atol=1e-5)


@every_network
def test_translations_commute_away_from_borders(cls: type[ImageNetwork]) -> None:
    # Shifts by the coarsest scale of the U-Net; receptive fields reach 25 pixels at most.
    network = ready(cls, padding=0).double()
    z = images(1, 1, 68, 68, dtype=torch.float64)
    with torch.no_grad():
        here, there = network(z[..., :64, :64]), network(z[..., 4:, 4:])
    torch.testing.assert_close(here[..., 30:38, 30:38], there[..., 26:34, 26:34], rtol=0, atol=1e-10)
    assert (here[..., :4, :4] - there[..., :4, :4]).abs().max() > 1e-3


@every_network
def test_pixels_see_no_farther_than_the_reconstruction_radius(cls: type[ImageNetwork]) -> None:
    network = ready(cls, (1, 80, 80), padding=0).double().eval()
    radius = network.reconstruction_radius
    assert radius is not None
    assert network.memory_per_pixel
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    z = images(1, 1, 80, 80, dtype=torch.float64).requires_grad_()
    network(z)[0, 0, 40, 40].backward()
    assert z.grad is not None
    seen = z.grad[0, 0].nonzero()
    assert 0 < int((seen - 40).abs().max()) <= radius < 40


@every_network
def test_center_and_padding_say_what_they_do(cls: type[ImageNetwork]) -> None:
    framed, bare = ready(cls, center=0.3, padding=4), ready(cls, center=0.0, padding=0)
    z = images(2, 1, 12, 16)
    padded = F.pad(z - 0.3, (4, 4, 4, 4), mode="reflect")  # sides are multiples of 4, as the U-Net needs them
    with torch.no_grad():
        torch.testing.assert_close(framed(z), bare(padded)[..., 4:-4, 4:-4] + 0.3, rtol=0, atol=1e-5)


@every_network
def test_other_spaces_start_from_the_scaled_adjoint(cls: type[ImageNetwork]) -> None:
    network, plain = ready(cls, operator=EverySecondRow()), ready(cls)
    assert network.state_dict().keys() == plain.state_dict().keys()
    x = images(2, 1, 16, 16)
    back = torch.zeros_like(x)
    back[:, :, ::2] = x[:, :, ::2]  # A* A / ||A||² x
    with torch.no_grad():
        torch.testing.assert_close(network(EverySecondRow()(x)), plain(back), rtol=0, atol=1e-5)


@every_network
def test_autocast_keeps_the_image_in_float32(cls: type[ImageNetwork]) -> None:
    torch.manual_seed(0)
    network = cls(**SMALL[cls])
    network.setup(Problem(Same()), (1, 24, 24))
    z = images(2, 1, 24, 24)
    with torch.no_grad():
        expected = network.eval()(z)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network(z)
    assert found.dtype == torch.float32
    # Rounding the image to bfloat16 would already cost 1e-3; what is rounded here is a small correction of it.
    assert 0 < (found - expected).abs().max() < 1e-3


@every_network
@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"kernel_size": 4}, "kernel_size"),
        ({"kernel_size": 0}, "kernel_size"),
        ({"kernel_size": -1}, "kernel_size"),
        ({"padding": -1}, "padding"),
        ({"center": float("nan")}, "center"),
    ],
)
def test_nonsense_is_refused(cls: type[ImageNetwork], changes: dict[str, Any], where: str) -> None:
    with pytest.raises(SpecError) as caught:
        cls(**{**SMALL[cls], **changes})
    assert caught.value.where == f"{cls.__name__}.{where}"
    assert caught.value.expected


@every_network
@pytest.mark.parametrize("spoil", [lambda z: z[0], lambda z: z.repeat(1, 2, 1, 1), lambda z: z[..., :0]])
def test_wrong_batches_are_refused(cls: type[ImageNetwork], spoil: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ShapeError, match="batch of shape") as caught:
        ready(cls)(spoil(images(2, 1, 16, 16)))
    assert "[B, 1, H, W]" in (caught.value.expected or "")


@every_network
def test_setup_comes_first_and_fits_the_problem(cls: type[ImageNetwork]) -> None:
    with pytest.raises(InvregError, match="no layers yet"):
        cls(**SMALL[cls])(images(1, 1, 8, 8))
    with pytest.raises(SpecError, match="SquaredRows maps images"):
        cls(**SMALL[cls]).setup(Problem(SquaredRows()), (1, 8, 8))
    with pytest.raises(ShapeError, match="image_shape"):
        cls(**SMALL[cls]).setup(Problem(Same()), (8, 8))


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "gain"), [(UNet, 2.0), (ConvResNet, 0.3), (DiffNet, 0.5)])
def test_learns(cls: type[ImageNetwork], gain: float) -> None:
    """A few steps of Adam on blurred random shapes gain some decibels."""
    torch.manual_seed(0)
    network = cls(**SMALL[cls])
    network.setup(Problem(Same()), (1, 24, 24))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)

    def pairs(seed: int) -> tuple[Tensor, Tensor]:
        x = F.interpolate(images(8, 1, 6, 6, seed=seed), scale_factor=4)
        return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), 5, 1), x

    for step in range(60):
        z, x = pairs(100 + step)
        optimizer.zero_grad()
        (network(z) - x).square().mean().backward()
        optimizer.step()
    z, x = pairs(0)
    with torch.no_grad():
        after = (network.eval()(z) - x).square().mean()
    assert 10 * torch.log10((z - x).square().mean() / after) > gain
