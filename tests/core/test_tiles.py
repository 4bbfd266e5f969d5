"""Reconstruction in tiles."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from invreg.components.operator import Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.components.tiles import reconstruct_in_tiles, reconstruct_within
from invreg.errors import InvregWarning, ShapeError, SpecError


class Local(Operator):
    """The mean with two neighbours."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    @property
    def stencil_radius(self) -> int:
        return 2


class Global(Operator):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Elsewhere(Local):
    def range_shape(self, domain_shape: Shape) -> Shape:
        return (*domain_shape[:1], 7)


class Mean(Reconstructor):
    """The mean over a square of (2 r + 1)^2 pixels, zeros outside; counts its batches and their sizes."""

    def __init__(self, radius: int = 3) -> None:
        super().__init__()
        self.radius = radius
        self.seen: list[tuple[int, ...]] = []

    def forward(self, z: Tensor) -> Tensor:
        self.seen.append(tuple(z.shape))
        side = 2 * self.radius + 1
        return torch.nn.functional.avg_pool2d(z, side, stride=1, padding=self.radius, count_include_pad=True)


class Halved(Reconstructor):
    def forward(self, z: Tensor) -> Tensor:
        return z[..., ::2, ::2]


@pytest.mark.parametrize("size", [(40, 40), (41, 67), (5, 90), (16, 16), (17, 33), (100, 3)])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_local_methods_lose_nothing(size: tuple[int, int], batch_size: int) -> None:
    z = torch.rand(2, 3, *size, dtype=torch.float64)
    net = Mean(3)
    whole = net(z)
    net.seen.clear()
    tiled = reconstruct_in_tiles(net, Local(), z, tile_size=16, halo=3, batch_size=batch_size)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-15)
    assert all(shape[0] <= batch_size and max(shape[2:]) <= 22 for shape in net.seen)


def test_a_halo_that_is_too_narrow_shows_at_the_seams_only() -> None:
    z = torch.rand(1, 1, 48, 48, dtype=torch.float64)
    net = Mean(4)
    error = (reconstruct_in_tiles(net, Local(), z, tile_size=16, halo=2) - net(z)).abs()[0, 0]
    assert float(error.max()) > 1e-3
    near = (torch.arange(48) - 16).abs().minimum((torch.arange(48) - 32).abs()) <= 4
    assert float(error[~near][:, ~near].max()) < 1e-15


def test_small_images_are_one_tile() -> None:
    net = Mean(9)
    z = torch.rand(3, 1, 20, 30)
    assert torch.equal(reconstruct_in_tiles(net, Local(), z, tile_size=30), net(z))


def test_no_graph_is_kept() -> None:
    z = torch.rand(1, 1, 20, 20, requires_grad=True)
    assert not reconstruct_in_tiles(Mean(), Local(), z, tile_size=8, halo=4).requires_grad


@pytest.mark.parametrize(
    ("operator", "z", "options", "error", "message"),
    [
        (Global(), torch.zeros(1, 1, 9, 9), {}, SpecError, "Global, of which no stencil radius is known"),
        (Local(), torch.zeros(1, 9, 9), {}, ShapeError, "measurements of shape"),
        (Elsewhere(), torch.zeros(1, 1, 7), {}, ShapeError, "from X to X"),
        (Local(), torch.zeros(1, 1, 9, 9), {"halo": 1}, SpecError, "at least 2, the radius of the operator"),
        (Local(), torch.zeros(1, 1, 9, 9), {"tile_size": 0}, SpecError, "tile_size 0"),
        (Local(), torch.zeros(1, 1, 9, 9), {"batch_size": 0}, SpecError, "batch_size 0"),
    ],
)
def test_what_cannot_be_tiled_is_said(
    operator: Operator, z: Tensor, options: dict[str, int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        reconstruct_in_tiles(Mean(), operator, z, **options)


def test_methods_that_change_the_size_are_refused() -> None:
    with pytest.raises(ShapeError, match="of the same size"):
        reconstruct_in_tiles(Halved(), Local(), torch.zeros(1, 1, 40, 40), tile_size=16, halo=4)


class Weighed(Mean):
    """The mean, which says that it takes 1 kB for each pixel."""

    @property
    def memory_per_pixel(self) -> float:
        return 1024.0

    @property
    def reconstruction_radius(self) -> int:
        return self.radius


def test_images_that_take_too_much_memory_go_in_tiles_by_themselves() -> None:
    net = Weighed(3)
    net.setup(Problem(Local()), (1, 16, 16))
    z = torch.rand(2, 1, 500, 333, generator=torch.Generator().manual_seed(0))
    whole = reconstruct_within(net, z)  # 160 MiB for one image
    assert net.seen == [tuple(z.shape)]
    net.seen.clear()
    memory = 2 * 1024 * 256**2
    with pytest.warns(InvregWarning, match="500x333 pixels are reconstructed in tiles of 96 with a halo of 64"):
        tiled = reconstruct_within(net, z, memory)
    assert max(batch * height * width for batch, _, height, width in net.seen) * 1024 <= memory
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("operator", [Global(), Elsewhere()])
def test_what_cannot_be_tiled_is_reconstructed_whole(operator: Operator) -> None:
    net = Weighed(3)
    net.setup(Problem(operator), (1, 16, 16))
    z = torch.rand(1, 1, 50, 70)
    assert torch.equal(reconstruct_within(net, z, 1e5), net(z))
