"""What no machine can hold is refused when a spec is validated, with the memory that it would take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import invreg
from invreg.computing.memory import within_memory
from invreg.errors import SpecError
from invreg.specs.plan import check_sizes, make_plan
from invreg.specs.reading import read_spec

SPEC: dict[str, Any] = {
    "data": {"name": "phantoms", "image_size": 32, "train": 4, "val": 1, "test": 1},
    "operator": "gaussian_blur",
    "methods": {"m": {"reconstructor": "unet", "trainer": "reconstruction"}},
}


class Wide(invreg.Reconstructor):
    """A network of someone else."""

    needs_training = True

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width

    def setup(self, problem: invreg.Problem, image_shape: tuple[int, ...]) -> None:
        super().setup(problem, image_shape)
        self.net = nn.Sequential(nn.Conv2d(1, self.width, 3), nn.Conv2d(self.width, self.width, 3))

    def forward(self, z: Tensor) -> Tensor:
        return z


class Plugin:
    @staticmethod
    @invreg.hookimpl
    def invreg_components() -> dict[str, type]:
        return {"wide": Wide}


@pytest.fixture(scope="module")
def registry() -> invreg.Registry:
    return invreg.Registry.installed({"wide": Plugin})


def method(name: str, **parameters: Any) -> dict[str, Any]:
    return {"methods": {"m": {"reconstructor": {"name": name, **parameters}, "trainer": "reconstruction"}}}


NETWORKS = [
    method("unet", channels=[10**6, 10**6]),
    method("unet", kernel_size=10**5 + 1),
    method("iresnet", channels=10**7),
    method("wide", width=10**6),
]


@pytest.mark.slow
@pytest.mark.parametrize("change", NETWORKS, ids=str)
def test_networks_are_refused_with_their_memory(
    registry: invreg.Registry, tmp_path: Path, change: dict[str, Any]
) -> None:
    plan = make_plan(read_spec({**SPEC, **change}), registry)
    with pytest.raises(SpecError, match=r"(?s)methods\.m\.reconstructor: .* GiB of memory.*of this machine"):
        check_sizes(plan)
    with pytest.raises(SpecError, match=r"(?s)methods\.m\.reconstructor: .* GiB of memory.*of this machine"):
        invreg.run({**SPEC, **change}, tmp_path, progress=False, registry=registry)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"name": "phantoms", "image_size": 10**9}}, r"data\.image_size"),
        ({"data": {"name": "phantoms", "train": 10**12}}, r"data\.train"),
        (method("conv_resnet", subnetworks=10**7), "subnetworks"),
        (method("diffnet", subnetworks=10**9), "subnetworks"),
    ],
)
def test_sizes_are_bounded(registry: invreg.Registry, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_plan(read_spec({**SPEC, **change}), registry)


def test_ordinary_sizes_pass(registry: invreg.Registry) -> None:
    for name in ("unet", "iresnet", "conv_resnet", "diffnet", "wide"):
        check_sizes(make_plan(read_spec({**SPEC, **method(name)}), registry))
    check_sizes(make_plan(read_spec({**SPEC, **method("wide", width=5000)}), registry))


@pytest.mark.slow
def test_single_tensors_and_many_tensors_are_refused_before_they_are_made() -> None:
    for make in (
        lambda: torch.empty(10**20),
        lambda: torch.zeros((10**7, 10**7)),
        lambda: torch.full(size=(10**13,), fill_value=1.0),
        lambda: torch.zeros(3).new_zeros(10**7, 10**7),
        lambda: torch.randint(0, 3, (10**13,)),
    ):
        with pytest.raises(SpecError, match=r"x: a single tensor would take .* GiB"), within_memory("x"):
            make()
    with pytest.raises(SpecError, match="more than 5,000 tensors"), within_memory():
        nn.ModuleList(nn.Linear(1, 1) for _ in range(2600))
    with within_memory():
        assert torch.rand(3, generator=torch.Generator()).shape == (3,)
        assert nn.Conv2d(3, 3, 3).weight.isfinite().all()
