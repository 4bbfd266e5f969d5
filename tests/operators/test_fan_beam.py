"""Fan beams: against sampled rays, against parallel beams, and what becomes of nonsense."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from invreg.errors import ShapeError, SpecError
from invreg.plugins.registry import Registry
from invreg.testing import check_operator
from invreg_operators.beams import lines
from invreg_operators.beams.fan_beam import FanBeam
from invreg_operators.beams.fan_beams import fan_lines
from invreg_operators.beams.radon import Radon

FANS = [
    (FanBeam(angles=8), 8, 8),
    (FanBeam(angles=5, source_distance=1.5, start=10, stop=350, detector="curved"), 9, 9),
    (FanBeam(angles=6, source_distance=1.7, fan_angle=30, detectors=9, image_size=(6, 9)), 6, 9),
    (FanBeam(angles=3, source_distance=1.05, detectors=40, stop=200, image_size=(8, 8)), 8, 8),
]


def picture(height: int, width: int, count: int = 1) -> Tensor:
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(params=["compiled", "by torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "by torch":
        monkeypatch.setattr(lines, "can_compute", lambda x: False)
    elif not lines.can_compute(torch.zeros(1)):
        pytest.skip("no C compiler")
    return str(request.param)


def sampled(fan: FanBeam, x: Tensor, rays: int = 24, step: float = 0.02) -> Tensor:
    """Means over many rays of each bin, which pass through the pixels in small steps: no area is computed."""
    height, width = x.shape
    geometry = fan.geometry((1, height, width))
    found = torch.zeros(geometry.angles, geometry.detectors, dtype=torch.float64)
    along = (torch.arange(int(2 * geometry.source / step), dtype=torch.float64) + 0.5) * step
    within = (torch.arange(rays, dtype=torch.float64) + 0.5) / rays
    gamma = (geometry.rays[:-1, None] + geometry.rays.diff()[:, None] * within).deg2rad()[..., None]
    for k in range(fan.angles):
        theta = math.radians(fan.start + k * (fan.stop - fan.start) / fan.angles)
        right = along * (theta + gamma).sin() - geometry.source * math.sin(theta)
        up = geometry.source * math.cos(theta) - along * (theta + gamma).cos()
        i, j = (height / 2 - up).floor().long(), (right + width / 2).floor().long()
        inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        values = torch.where(inside, x[i.clamp(0, height - 1), j.clamp(0, width - 1)], 0.0)
        found[k] = values.sum(-1).mean(-1) * step
    return found / max(height, width)


@pytest.mark.slow
@pytest.mark.parametrize(("fan", "height", "width"), FANS, ids=str)
def test_bins_hold_the_means_over_their_rays(fan: FanBeam, height: int, width: int, way: str) -> None:
    """Up to the square of a pixel over its distance from the source, and steps of sampling."""
    x = picture(height, width)
    expected = sampled(fan, x[0, 0])
    found = fan(x)[0, 0]
    assert float((found - expected).norm() / expected.norm()) < 0.01
    assert float((found - expected).abs().max()) < 0.03 * float(expected.max())


@pytest.mark.parametrize(("fan", "height", "width"), FANS, ids=str)
def test_the_adjoint_is_the_transpose(fan: FanBeam, height: int, width: int, way: str) -> None:
    columns = fan(torch.eye(height * width, dtype=torch.float64).view(-1, 1, height, width))
    rows = fan.adjoint(torch.eye(columns[0].numel(), dtype=torch.float64).view(-1, *columns.shape[1:]))
    torch.testing.assert_close(columns.flatten(1).T, rows.flatten(1), atol=1e-14, rtol=0)
    assert (columns >= -1e-14).all()


@pytest.mark.parametrize(("fan", "height", "width"), FANS, ids=str)
def test_compiled_loops_compute_what_torch_does(
    fan: FanBeam, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not lines.can_compute(torch.zeros(1)):
        pytest.skip("no C compiler")
    x = picture(height, width, 11)
    compiled = fan(x), fan.adjoint(fan(x)), fan(x.float())
    monkeypatch.setattr(lines, "can_compute", lambda x: False)
    by_torch = fan(x), fan.adjoint(fan(x)), fan(x.float())
    torch.testing.assert_close(compiled[:2], by_torch[:2], atol=1e-13, rtol=0)
    torch.testing.assert_close(compiled[2], by_torch[2], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_it_passes_the_checks_of_operators() -> None:
    check_operator(FanBeam(angles=5), (1, 16, 16), other_shapes=[(2, 9, 9)])


def test_images_of_another_size_are_refused_with_what_to_change() -> None:
    with pytest.raises(ShapeError, match="expected: 12x10, the image_size of the operator") as caught:
        FanBeam(5, image_size=(12, 10))(picture(10, 12))
    assert "try: data of that size, for training, too, where crops count; or image_size: [10, 12]" in str(caught.value)


@pytest.mark.parametrize("start", [0, 17])
@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_far_sources_give_parallel_beams(start: float, detector: Any, way: str) -> None:
    x = picture(12, 10)
    size = (12, 10)
    fan = FanBeam(8, 1e5, detector=detector, detectors=13, start=start, stop=start + 180, image_size=size)
    parallel = Radon(8, 13, start=start, stop=start + 180, image_size=size)
    torch.testing.assert_close(fan(x), parallel(x), atol=2e-5, rtol=0)


def test_a_turn_by_a_right_angle_shifts_the_angles() -> None:
    x, fan = picture(10, 10), FanBeam(angles=12)
    torch.testing.assert_close(fan(x.rot90(1, (2, 3))), fan(x).roll(3, 2))
    torch.testing.assert_close(fan(x.flip(3))[..., 1:, :], fan(x).flip(2, 3)[..., :-1, :])


def test_even_angles_need_an_eighth_of_the_lines() -> None:
    (found,) = fan_lines(FanBeam(angles=360).geometry((1, 16, 16)))
    assert len(found.images) == 8
    assert sum(found.table[:, 1].tolist()) == 46 * 23
    assert (found.table[:, 3] <= 3).all()


def test_derivatives_and_batches() -> None:
    fan = FanBeam(angles=4)
    x, h = picture(7, 7, 2), picture(7, 7, 2).flip(2)
    z, slope = torch.func.jvp(fan, (x,), (h,))
    torch.testing.assert_close(slope, fan(h))
    (gradient,) = torch.func.vjp(fan, x)[1](z)
    torch.testing.assert_close(gradient, fan.adjoint(z))
    torch.testing.assert_close(fan(x.expand(2, 3, 7, 7)), z.expand(2, 3, *z.shape[2:]))
    assert fan(x[:0]).shape == (0, *z.shape[1:])
    assert fan(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"angles": 0}, "angles"),
        ({"detectors": 95}, "image_size as well"),
        ({"start": 90.0, "stop": 90.0}, "start < stop"),
        ({"stop": 400.0}, "whole turn"),
        ({"source_distance": 0.7, "image_size": [64, 64]}, "at least 0.7384"),
        ({"fan_angle": 150.0, "detectors": 2, "image_size": [9, 9]}, "45 degrees"),
        ({"detector": "round"}, "detector"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        Registry.installed().build("operator", {"name": "fan_beam", **parameters})


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpecError, match="two pixels outside"):
        FanBeam(source_distance=0.75)(torch.zeros(1, 1, 9, 9))
    with pytest.raises(ShapeError, match=r"^fan_beam: images of 20x30 pixels\n.*square images"):
        FanBeam()(torch.zeros(1, 1, 20, 30))
    with pytest.raises(ShapeError, match="diagonal"):
        FanBeam(angles=5).domain_shape((1, 5, 4))
