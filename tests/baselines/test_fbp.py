"""Filtered back-projection as a reconstruction, and as what other networks start from."""

from __future__ import annotations

import copy

import pytest
import torch

from invreg import Registry, spec_of
from invreg.components.problem import Problem
from invreg.errors import InvregError, SpecError
from invreg_baselines.adjoint import Adjoint
from invreg_baselines.fbp import FilteredBackProjection
from invreg_baselines.unet import UNet

SHAPE = (1, 20, 20)
REGISTRY = Registry.installed()
SMALL = {
    "unet": {"channels": [4, 6]},
    "conv_resnet": {"subnetworks": 2, "channels": 4, "hidden": 6},
    "diffnet": {"subnetworks": 2, "hidden": 4},
}


def tomography() -> Problem:
    return Problem(REGISTRY.build("operator", {"name": "radon", "angles": 9}))


def test_registered_and_written_as_a_spec() -> None:
    built = REGISTRY.build("reconstructor", {"name": "fbp", "window": "hann"})
    assert isinstance(built, FilteredBackProjection)
    assert spec_of(built) == {"name": "fbp", "window": "hann", "cutoff": 1.0}


def test_is_that_of_the_operator() -> None:
    problem, method = tomography(), FilteredBackProjection("hann", 0.7)
    method.setup(problem, SHAPE)
    z = torch.rand(2, *problem.operator.range_shape(SHAPE))
    assert torch.equal(method(z), problem.operator.filtered_back_projection(z, "hann", 0.7))
    assert not method.state_dict()
    twin = copy.deepcopy(method).to(torch.float64)
    torch.testing.assert_close(twin(z.double()).float(), method(z))


@pytest.mark.parametrize("parameters", [{"window": "hat"}, {"cutoff": 0.0}, {"cutoff": 1.5}])
def test_wrong_parameters_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=next(iter(parameters))):
        FilteredBackProjection(**parameters)
    with pytest.raises(SpecError, match=next(iter(parameters))):
        REGISTRY.build("reconstructor", {"name": "fbp", **parameters})


@pytest.mark.parametrize(
    ("name", "instead", "not_"),
    [
        ("identity", "adjoint", "tv"),
        ("fourier_sampling", "adjoint", "tv"),
        ("perona_malik", "tv", "adjoint"),
        ("measured", "a network", "adjoint"),
    ],
)
def test_other_operators_are_refused(name: str, instead: str, not_: str) -> None:
    with pytest.raises(SpecError, match="no filtered back-projection") as caught:
        FilteredBackProjection().setup(Problem(REGISTRY.build("operator", name)), SHAPE)
    assert f"try: {instead}" in str(caught.value)
    assert not_ not in str(caught.value)


def test_refuses_to_reconstruct_before_setup() -> None:
    with pytest.raises(InvregError, match="setup"):
        FilteredBackProjection()(torch.zeros(1, 1, 9, 29))


@pytest.mark.parametrize("name", list(SMALL))
def test_networks_start_from_it(name: str) -> None:
    problem = tomography()
    spec = {"name": name, **SMALL[name], "start": {"name": "fbp", "window": "hann"}}
    torch.manual_seed(0)
    net = REGISTRY.build("reconstructor", spec)
    assert spec_of(net)["start"] == {"name": "fbp", "window": "hann", "cutoff": 1.0}
    net.setup(problem, SHAPE)
    net.eval()
    x = torch.rand(2, *SHAPE)
    z = problem.operator(x)
    start = problem.operator.filtered_back_projection(z, "hann", 1.0)
    # They begin near the identity.
    with torch.no_grad():
        assert float((net(z) - start).norm() / start.norm()) < 0.2
    assert not any("start" in key or "pull_back" in key for key in net.state_dict())
    architecture = net.architecture()
    assert "fbp(z)" in architecture.formula
    assert architecture.stages[0].shape_in == problem.operator.range_shape(SHAPE)


def test_networks_without_a_start_are_as_before() -> None:
    torch.manual_seed(0)
    net = UNet(channels=(4, 6))
    net.setup(tomography(), SHAPE)
    assert "A*z/‖A‖²" in net.architecture().formula
    torch.manual_seed(0)
    other = UNet(channels=(4, 6), start=Adjoint())
    other.setup(tomography(), SHAPE)
    z = torch.rand(2, 1, 9, 29)
    torch.testing.assert_close(net.eval()(z), other.eval()(z))


def test_a_start_with_weights_is_refused() -> None:
    with pytest.raises(SpecError, match="has weights") as caught:
        UNet(channels=(4, 6), start=UNet(channels=(4, 6))).setup(tomography(), SHAPE)
    assert caught.value.where == "start"


def test_a_start_that_does_not_fit_is_refused() -> None:
    problem = Problem(REGISTRY.build("operator", "identity"))
    with pytest.raises(SpecError, match="no filtered back-projection") as caught:
        UNet(channels=(4, 6), start=FilteredBackProjection()).setup(problem, SHAPE)
    assert caught.value.where == "start"
