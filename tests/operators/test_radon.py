"""The Radon transform: against formulas, against another implementation, and what becomes of nonsense."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from invreg import Registry
from invreg.errors import ShapeError, SpecError
from invreg_operators.beams import beam_matrix, beam_product, lines, strips
from invreg_operators.beams.radon import Radon

#: Ellipses: centre x, y (to the right and up), radii, turn (radians), value; the longer side of the image has length 1.
ELLIPSES = [(0.05, -0.08, 0.3, 0.2, 0.4, 1.0), (-0.1, 0.2, 0.08, 0.12, -0.9, -0.5), (0.2, 0.1, 0.1, 0.1, 0.0, 0.7)]


def picture(height: int, width: int, finer: int = 8) -> Tensor:
    """The ellipses as means over pixels, `[1, 1, H, W]`."""
    side = max(height, width)
    across = (torch.arange(width * finer, dtype=torch.float64) + 0.5) / finer - width / 2
    up = height / 2 - (torch.arange(height * finer, dtype=torch.float64) + 0.5) / finer
    image = torch.zeros(height * finer, width * finer, dtype=torch.float64)
    for x, y, a, b, turn, value in ELLIPSES:
        u, v = across / side - x, (up / side - y)[:, None]
        along, beside = math.cos(turn) * u + math.sin(turn) * v, math.cos(turn) * v - math.sin(turn) * u
        image += value * ((along / a) ** 2 + (beside / b) ** 2 <= 1)
    return torch.nn.functional.avg_pool2d(image[None, None], finer)


def sinogram(radon: Radon, height: int, width: int, finer: int = 16) -> Tensor:
    """The formula for ellipses, as means over bins, `[angles, bins]`."""
    geometry = radon.geometry((1, height, width))
    fine = (torch.arange(geometry.detectors * finer, dtype=torch.float64) + 0.5) / finer - geometry.detectors / 2
    t = fine * geometry.bin_width * geometry.pixel
    theta = torch.deg2rad(
        torch.tensor(
            [radon.start + k * (radon.stop - radon.start) / radon.angles for k in range(radon.angles)],
            dtype=torch.float64,
        )
    )[:, None]
    total = torch.zeros(radon.angles, len(t), dtype=torch.float64)
    for x, y, a, b, turn, value in ELLIPSES:
        reach = (a * torch.cos(theta - turn)) ** 2 + (b * torch.sin(theta - turn)) ** 2
        distance = t - x * torch.cos(theta) - y * torch.sin(theta)
        total += value * 2 * a * b / reach * (reach - distance**2).clamp_min(0).sqrt()
    return total.unflatten(1, (-1, finer)).mean(2)


@pytest.mark.parametrize(
    ("radon", "height", "width"),
    [
        (Radon(angles=24), 64, 64),
        (Radon(angles=24), 65, 65),
        (Radon(angles=11, image_size=(50, 73)), 50, 73),
        (Radon(angles=9, start=-30, stop=60, detectors=45, image_size=(64, 50)), 64, 50),
    ],
)
def test_ellipses_have_the_sinogram_of_the_formula(radon: Radon, height: int, width: int) -> None:
    found, exact = radon(picture(height, width))[0, 0], sinogram(radon, height, width)
    assert found.shape == exact.shape
    # A pixel that an edge crosses is grey, not halved: errors next to the edges of shadows.
    assert float((found - exact).norm() / exact.norm()) < 1.5e-2


def test_error_falls_with_the_size_of_pixels() -> None:
    def error(side: int) -> float:
        radon = Radon(angles=12)
        exact = sinogram(radon, side, side)
        return float((radon(picture(side, side))[0, 0] - exact).norm() / exact.norm())

    assert error(96) < 0.5 * error(32)


@pytest.mark.parametrize("side", [33, 61])
def test_agrees_with_scikit_image(side: int) -> None:
    from skimage import transform

    image = picture(side, side)
    # Odd sides whose diagonal is odd, too: there its centre is the centre of the image. Its lengths are in pixels.
    other = transform.radon(image[0, 0].numpy(), theta=np.arange(18) * 10.0, circle=False).T / side
    found = Radon(angles=18)(image)[0, 0].numpy()
    assert found.shape == other.shape
    assert np.linalg.norm(found - other) / np.linalg.norm(other) < 1e-2


def test_bins_hold_all_of_the_image() -> None:
    """The integral over all lines of a direction is the integral of the image."""
    for radon, shape in [
        (Radon(angles=7), (2, 1, 13, 13)),
        (Radon(angles=8, image_size=(12, 17)), (2, 3, 12, 17)),
        (Radon(angles=9, detectors=5, image_size=(12, 17)), (1, 1, 12, 17)),
        (Radon(angles=9, detectors=80, image_size=(12, 5)), (1, 1, 12, 5)),
        (Radon(angles=4, detectors=1, image_size=(6, 5)), (1, 1, 6, 5)),
    ]:
        x = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        geometry = radon.geometry(shape[1:])
        totals = radon(x).sum(-1) * geometry.bin_width * geometry.pixel
        expected = (x.sum((2, 3)) * geometry.pixel**2)[..., None].expand_as(totals)
        torch.testing.assert_close(totals, expected, atol=1e-12, rtol=1e-12)


def test_rows_and_columns_are_the_sums_at_right_angles() -> None:
    x = torch.rand(1, 1, 7, 7, dtype=torch.float64)
    first, second = Radon(angles=2)(x)[0, 0]
    middle = slice(1, 9)  # ten bins, a half of one of them beside the pixels
    halves = torch.nn.functional.pad(x[0, 0].sum(0) / 7, (1, 1))
    torch.testing.assert_close(first[middle.start : middle.stop], ((halves[:-1] + halves[1:]) / 2))
    upwards = torch.nn.functional.pad(x[0, 0].sum(1).flip(0) / 7, (1, 1))
    torch.testing.assert_close(second[middle.start : middle.stop], ((upwards[:-1] + upwards[1:]) / 2))


def test_values_do_not_depend_on_the_number_of_pixels() -> None:
    for side in (8, 33, 64):
        z = Radon(angles=4)(torch.ones(1, 1, side, side, dtype=torch.float64))
        assert float(z[0, 0, 0].max()) == pytest.approx(1)
        assert float(z.max()) <= math.sqrt(2) + 1e-12


@pytest.mark.parametrize(("side", "angles"), [(24, 12), (48, 30), (32, 90)])
def test_norm_is_near_the_documented_one(side: int, angles: int) -> None:
    assert Radon(angles=angles).norm((1, side, side)).value ** 2 == pytest.approx(angles / side, rel=0.05)


def test_adjoint_is_exact_in_double_precision() -> None:
    for radon, size in [(Radon(angles=20), (40, 40)), (Radon(angles=13, image_size=(31, 44)), (31, 44))]:
        random = torch.Generator().manual_seed(0)
        x = torch.randn(2, 1, *size, dtype=torch.float64, generator=random)
        y = torch.randn(2, *radon.range_shape((1, *size)), dtype=torch.float64, generator=random)
        difference = (radon(x) * y).sum() - (x * radon.adjoint(y)).sum()
        assert abs(float(difference)) <= 1e-10 * float(radon(x).norm() * y.norm())


def test_the_size_of_square_images_is_told_by_their_sinograms() -> None:
    radon = Radon(angles=3)
    for side in range(1, 300):
        assert radon.domain_shape(radon.range_shape((2, side, side))) == (2, side, side)


@pytest.mark.parametrize("window", ["ramp", "shepp_logan", "cosine", "hamming", "hann"])
def test_filtered_back_projection_recovers_smooth_images(window: str) -> None:
    side = 64
    grid = (torch.arange(side, dtype=torch.float64) + 0.5) / side - 0.5
    x = torch.exp(-((grid[:, None] - 0.1) ** 2 + (grid + 0.05) ** 2) / (2 * 0.08**2))[None, None]
    radon = Radon(angles=120)
    found = radon.filtered_back_projection(radon(x), window)
    assert float((found - x).norm() / x.norm()) < {"ramp": 0.01, "shepp_logan": 0.02}.get(window, 0.06)


def test_filtered_back_projection_keeps_the_mean() -> None:
    """Samples of |frequency| in place of the sampled filter would lower it."""
    x = picture(64, 64)
    radon = Radon(angles=90)
    found = radon.filtered_back_projection(radon(x))
    assert float(found[..., 20:44, 20:44].mean()) == pytest.approx(float(x[..., 20:44, 20:44].mean()), rel=5e-3)


@pytest.mark.slow
def test_filtered_back_projection_works_with_other_bins_and_images() -> None:
    x = picture(48, 64)
    for radon in (Radon(angles=120, image_size=(48, 64)), Radon(angles=120, detectors=150, image_size=(48, 64))):
        found = radon.filtered_back_projection(radon(x), "hann")
        assert float((found - x).norm() / x.norm()) < 0.25
        assert float(found.sum() / x.sum()) == pytest.approx(1, rel=1e-2)


def test_a_cutoff_smooths() -> None:
    radon = Radon(angles=30)
    z = torch.randn(1, *radon.range_shape((1, 32, 32)), generator=torch.Generator().manual_seed(0))
    full, half = (radon.filtered_back_projection(z, "hann", cutoff) for cutoff in (1.0, 0.5))
    assert float(half.norm()) < 0.6 * float(full.norm())


def test_a_limited_range_is_a_part_of_the_full_one() -> None:
    x = picture(32, 32)
    full, part = Radon(angles=18)(x), Radon(angles=6, start=30, stop=90)(x)
    torch.testing.assert_close(part, full[:, :, 3:9])


def test_copies_and_first_use_leave_no_trace() -> None:
    radon = Radon(angles=5)
    x = torch.rand(1, 1, 9, 9)
    before = dict(vars(radon))
    z = radon(x)
    assert vars(radon).keys() == before.keys()
    assert torch.equal(copy.deepcopy(radon)(x), z)


def test_half_precision_is_kept() -> None:
    radon = Radon(angles=5)
    x = torch.rand(1, 1, 9, 9)
    assert radon(x.bfloat16()).dtype == torch.bfloat16
    assert radon.filtered_back_projection(radon(x).bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(radon(x.bfloat16()).float(), radon(x), atol=1e-2, rtol=1e-2)


def part_left_of(polygon: list[tuple[float, float]], x: float, y: float, t: float) -> list[tuple[float, float]]:
    """The part of a polygon where the product with (x, y) is at most t."""
    kept: list[tuple[float, float]] = []
    for (a, b), (c, d) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        first, second = a * x + b * y - t, c * x + d * y - t
        if first <= 0:
            kept.append((a, b))
        if first * second < 0:
            kept.append((a + (c - a) * first / (first - second), b + (d - b) * first / (first - second)))
    return kept


def area(polygon: list[tuple[float, float]]) -> float:
    return sum(a * d - b * c for (a, b), (c, d) in zip(polygon, polygon[1:] + polygon[:1], strict=True)) / 2


def choose(monkeypatch: pytest.MonkeyPatch, compiled: bool) -> list[str]:
    """Large geometries are computed by torch, or by compiled loops, which are counted: skips without a compiler."""
    counted: list[str] = []

    def can_compute(x: Tensor) -> bool:
        counted.append("here")
        return True

    if compiled and not lines.can_compute(torch.zeros(1)):
        pytest.skip("no C compiler")
    monkeypatch.setattr(beam_product, "can_compute", can_compute if compiled else lambda x: False)
    return counted


@pytest.mark.parametrize(
    ("radon", "height", "width"),
    [
        (Radon(angles=8), 5, 5),
        (Radon(angles=3, start=-200.5, stop=-97.25), 4, 4),
        (Radon(angles=4, image_size=(3, 5)), 3, 5),
        (Radon(angles=5, start=20, stop=131, detectors=21, image_size=(5, 4)), 5, 4),
        (Radon(angles=5, start=3, detectors=2, image_size=(2, 5)), 2, 5),
    ],
)
@pytest.mark.parametrize("kept", ["nothing", "blocks", "the whole matrix", "nothing, compiled"])
def test_entries_are_the_areas_of_clipped_pixels(
    radon: Radon, height: int, width: int, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pixel, clipped to each strip, in both directions."""
    if kept != "the whole matrix":
        monkeypatch.setattr(beam_matrix, "_KEPT", 0)
        monkeypatch.setattr(strips, "_KEPT", 0 if kept == "nothing" else 1_000_000)
    computed = choose(monkeypatch, compiled=kept == "nothing, compiled")
    strips.strips_of.cache_clear()
    geometry = radon.geometry((1, height, width))
    expected = torch.zeros(geometry.angles, geometry.detectors, height, width, dtype=torch.float64)
    for k in range(geometry.angles):
        theta = math.radians(geometry.start) + k * geometry.step
        normal = math.cos(theta), math.sin(theta)
        for i in range(height):
            for j in range(width):
                left, low = j - width / 2, height / 2 - i - 1
                pixel = [(left, low), (left + 1, low), (left + 1, low + 1), (left, low + 1)]
                edges = [(bin - geometry.detectors / 2) * geometry.bin_width for bin in range(geometry.detectors + 1)]
                below = torch.tensor([area(part_left_of(pixel, *normal, t)) for t in edges], dtype=torch.float64)
                expected[k, :, i, j] = below.diff()
    expected = expected.flatten(0, 1).flatten(1) * (geometry.pixel / geometry.bin_width)
    for _ in range(2):
        forward = radon(torch.eye(height * width, dtype=torch.float64).view(-1, 1, height, width))
        torch.testing.assert_close(forward.flatten(1).T, expected, atol=1e-13, rtol=0)
        backward = radon.adjoint(torch.eye(len(expected), dtype=torch.float64).view(-1, 1, *forward.shape[2:]))
        torch.testing.assert_close(backward.flatten(1), expected, atol=1e-13, rtol=0)
    assert bool(computed) == (kept == "nothing, compiled")
    strips.strips_of.cache_clear()


def test_memory_that_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some blocks are kept and others are not; nothing depends on it."""
    radon = Radon(angles=24)
    x = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    z, back = radon(x), radon.adjoint(radon(x))
    monkeypatch.setattr(beam_matrix, "_KEPT", 0)
    monkeypatch.setattr(strips, "_KEPT", 200_000)
    monkeypatch.setattr(strips, "_AT_ONCE", 4096)
    choose(monkeypatch, compiled=False)
    strips.strips_of.cache_clear()
    for _ in range(2):
        torch.testing.assert_close(radon(x), z)
        torch.testing.assert_close(radon.adjoint(z), back)
    (found,) = strips.strips_of(radon.geometry((1, 48, 48)), torch.float32, torch.device("cpu"))
    assert 0 < len(found.transposed.kept) < len(found.transposed.cuts)
    held = sum(block.nbytes for blocks in (found.blocks, found.transposed) for block in blocks.kept.values())
    assert 150_000 < held <= 210_000
    strips.strips_of.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "radon", [Radon(angles=12), Radon(angles=7, start=1, image_size=(20, 24)), Radon(10, 13, image_size=(24, 24))]
)
def test_compiled_loops_compute_what_torch_does(
    radon: Radon, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for many images, with bins that meet many pixels, and in pixels that nothing is left of."""
    monkeypatch.setattr(beam_matrix, "_KEPT", 0)
    height, width = radon.image_size or (24, 24)
    x = torch.rand(19, 1, height, width, generator=torch.Generator().manual_seed(0), dtype=dtype)
    found = []
    for compiled in (True, False):
        choose(monkeypatch, compiled)
        found.append((radon(x), radon.adjoint(radon(x))))
    for ours, by_torch in zip(*found, strict=True):
        torch.testing.assert_close(ours, by_torch, rtol=1e-13 if dtype == torch.float64 else 1e-5, atol=1e-12)
    forward, back = found[0]
    products = (forward * forward).sum(), (x * back).sum()
    torch.testing.assert_close(*products, rtol=1e-14 if dtype == torch.float64 else 1e-6, atol=0)


def test_a_small_matrix_is_kept() -> None:
    geometry = Radon(angles=5).geometry((1, 9, 9))
    kept = [beam_matrix.beam_matrix(geometry, torch.float32, torch.device("cpu")) for _ in range(2)]
    assert kept[0] is kept[1]
    for size, angles, dtype, small in [(128, 60, torch.float32, True), (128, 60, torch.float64, False)]:
        assert beam_matrix.is_small(Radon(angles=angles).geometry((1, size, size)), dtype) is small


@pytest.mark.parametrize("radon", [Radon(angles=8), Radon(angles=3, start=-200, stop=-50, image_size=(7, 9))])
@pytest.mark.parametrize("compiled", [False, True])
def test_large_geometries_have_all_derivatives(radon: Radon, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam_matrix, "_KEPT", 0)
    choose(monkeypatch, compiled)
    size = radon.image_size or (7, 7)
    x, h = torch.randn(2, 2, 1, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z, slope = torch.func.jvp(radon, (x,), (h,))
    torch.testing.assert_close(slope, radon(h))
    back, slope = torch.func.jvp(radon.adjoint, (z,), (radon(h),))
    torch.testing.assert_close(slope, radon.adjoint(radon(h)))
    (gradient,) = torch.func.vjp(radon, x)[1](z)
    torch.testing.assert_close(gradient, back)
    curvature = torch.func.jvp(torch.func.grad(lambda x: (radon(x) ** 2).sum()), (x,), (h,))[1]
    torch.testing.assert_close(curvature, 2 * radon.adjoint(radon(h)))
    x.requires_grad_()
    (first,) = torch.autograd.grad((radon(x) ** 3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first, x, h)
    torch.testing.assert_close(second, radon.adjoint(6 * radon(x) * radon(h)))
    torch.testing.assert_close(torch.vmap(lambda x: radon(x[None])[0])(x), radon(x))


@pytest.mark.parametrize("compiled", [False, True])
def test_large_geometries_take_any_batch(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam_matrix, "_KEPT", 0)
    choose(monkeypatch, compiled)
    radon = Radon(angles=9)
    x = torch.randn(7, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    for images in (x, x[:0], x.bfloat16()):
        z = radon(images)
        assert (z.shape, z.dtype) == ((len(images), 3, 9, 13), images.dtype)
        assert radon.adjoint(z).shape == images.shape
    torch.testing.assert_close(radon(x)[5:6, 1:2], radon(x[5:6, 1:2]))
    with torch.inference_mode():
        radon(x.double())
    assert radon(x.double().requires_grad_()).requires_grad


def test_regular_angles_need_an_eighth_of_the_matrix() -> None:
    def shapes(radon: Radon, height: int, width: int) -> list[tuple[int, int]]:
        found = strips.strips_of(radon.geometry((1, height, width)), torch.float64, torch.device("cpu"))
        return [(len(each.part.angles), len(each.part.images)) for each in found]

    assert shapes(Radon(angles=180), 16, 16) == [(46, 4)]
    assert shapes(Radon(angles=12, image_size=(6, 8)), 6, 8) == [(4, 2), (3, 2)]
    assert sum(angles * images for angles, images in shapes(Radon(angles=7, start=1), 9, 9)) == 7


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"angles": 0}, "angles"),
        ({"detectors": 0, "image_size": [9, 9]}, "detectors"),
        ({"detectors": 95}, "image_size as well"),
        ({"start": 90.0, "stop": 90.0}, "start < stop"),
        ({"stop": 200.0}, "half turn"),
        ({"start": float("nan")}, "start: input should be a finite number"),
        ({"image_size": [0, 4]}, "image_size"),
        ({"image_size": [4]}, "image_size"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        Registry.installed().build("operator", {"name": "radon", **parameters})
    with pytest.raises(SpecError, match=match):
        Radon(**parameters)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"image_size: \[20, 30\]"):
        Radon()(torch.zeros(1, 1, 20, 30))
    with pytest.raises(ShapeError, match="20x30, the image_size"):
        Radon(image_size=(20, 30)).range_shape((1, 20, 20))
    with pytest.raises(ShapeError, match="sinograms"):
        Radon(angles=5).adjoint(torch.zeros(1, 1, 4, 13))
    with pytest.raises(ShapeError, match=r"\[B, C, angles, bins\]"):
        Radon(angles=5).filtered_back_projection(torch.zeros(5, 13))
    # No square image has a diagonal that needs 4 bins: sqrt(2) 2 = 2.8 and sqrt(2) 3 = 4.2.
    with pytest.raises(ShapeError, match="diagonal"):
        Radon(angles=5).domain_shape((1, 5, 4))
    with pytest.raises(SpecError, match="window"):
        Radon(angles=5).filtered_back_projection(torch.zeros(1, 1, 5, 13), "hat")
    with pytest.raises(SpecError, match="cutoff"):
        Radon(angles=5).filtered_back_projection(torch.zeros(1, 1, 5, 13), "hann", 0.0)
