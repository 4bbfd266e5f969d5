"""Bounds of one subnetwork: no network violates them, wrong ones are violated, and claims are checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from iresnet_helpers import grid_norm
from torch import Tensor

from invreg.errors import CertificateError, ShapeError
from invreg_iresnet.certificate import composition
from invreg_iresnet.certificate.composition import (
    SubnetworkBounds,
    certify_subnetwork,
    check_subnetwork,
    from_content,
)
from invreg_iresnet.certificate.scaling_search import best_scaling, uniform_scaling
from invreg_iresnet.certificate.schur_forms import FORMS, Form, modified_kernel
from invreg_iresnet.norms.certified_norm import certified_norm
from invreg_iresnet.norms.rounding import down, root_down, root_up, up

SIDE = 5


def random_net(seed: int, channels: int, hidden: int, size: int, product: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(hidden, channels, size, size, dtype=torch.float64, generator=generator)
    mixing = torch.randn(channels, hidden, dtype=torch.float64, generator=generator)
    # Hidden channels of different size, as in a trained net.
    kernel *= torch.rand(hidden, 1, 1, 1, dtype=torch.float64, generator=generator)
    return kernel / grid_norm(kernel, 32), mixing * product / torch.linalg.matrix_norm(mixing, ord=2)


def aligned_net(factor: float, place: tuple[int, int] = (1, 1)) -> tuple[Tensor, Tensor]:
    """f = factor * x where S does nothing, K being orthogonal (times a shift, if its tap is not the central one)."""
    rotation = torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))[0]
    kernel = torch.zeros(2, 2, 3, 3, dtype=torch.float64)
    kernel[:, :, place[0], place[1]] = rotation
    return kernel, factor * rotation.mT


def smooth_net(seed: int, channels: int, hidden: int, product: float) -> tuple[Tensor, Tensor]:
    """Like a trained one: smooth 5x5 filters, products of Gaussians and their derivatives, and a saturated mixing."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.arange(-2.0, 3.0)
    gaussian = torch.exp(-(x**2) / 2)
    profiles = torch.stack([gaussian, x * gaussian, (x**2 - 1) * gaussian])
    filters = torch.einsum("ai,bj->abij", profiles, profiles).flatten(0, 1)
    factors = torch.randn(9, hidden, channels, generator=generator) * torch.exp(-torch.arange(9.0) / 3)[:, None, None]
    kernel = torch.einsum("fhm,fab->hmab", factors, filters)
    left, _, right = torch.linalg.svd(torch.randn(channels, hidden, generator=generator), full_matrices=False)
    return kernel / grid_norm(kernel, 32), product * left @ right


class Dense:
    """The linear pieces W J K of f on images of 5 x 5 pixels, as matrices; J are slopes."""

    def __init__(self, kernel: Tensor, mixing: Tensor) -> None:
        channels = kernel.shape[1]
        basis = torch.eye(channels * SIDE**2, dtype=torch.float64).view(-1, channels, SIDE, SIDE)
        self.k = F.conv2d(basis, kernel, padding=kernel.shape[-1] // 2).flatten(1).mT
        self.w = torch.kron(mixing, torch.eye(SIDE**2, dtype=torch.float64))
        self.identity = torch.eye(channels * SIDE**2, dtype=torch.float64)

    def piece(self, slopes: Tensor) -> Tensor:
        return (self.w * slopes) @ self.k

    def slope_patterns(self, seed: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        count = len(self.k)
        yield torch.ones(count, dtype=torch.float64)
        yield torch.zeros(count, dtype=torch.float64)
        for share in (0.2, 0.5, 0.8):
            for _ in range(2):
                yield (torch.rand(count, generator=generator) < share).double()
        yield torch.rand(count, dtype=torch.float64, generator=generator)
        for start in (torch.ones(count, dtype=torch.float64), torch.rand(count, generator=generator).double()):
            # Towards the largest Lip(f), the largest and the smallest ||x - f(x)||: for the singular vectors u, v of
            # the present piece, each slope is set to whichever of 0 and 1 is worse.
            for a, b, index, larger in ((0, 1, 0, True), (1, -1, 0, True), (1, -1, -1, False)):
                slopes = start
                for _ in range(6):
                    u, _, v = torch.linalg.svd(a * self.identity + b * self.piece(slopes))
                    gains = b * (self.w.mT @ u[:, index]) * (self.k @ v[index])
                    slopes = (gains > 0 if larger else gains < 0).double()
                    yield slopes


def violations(kernel: Tensor, mixing: Tensor, bounds: SubnetworkBounds, seed: int = 0) -> set[str]:
    """Which of the bounds some linear piece violates."""
    dense, found = Dense(kernel, mixing), set()
    more, less = 1 + 1e-12, 1 - 1e-12
    for slopes in dense.slope_patterns(seed):
        piece = dense.piece(slopes)
        lipschitz = float(torch.linalg.matrix_norm(piece, ord=2))
        stretched = torch.linalg.svdvals(dense.identity - piece)
        wrong = {
            "product": lipschitz > bounds.product * more,
            "lipsdp": lipschitz > bounds.lipsdp * more,
            "expansion": float(stretched[0]) > bounds.expansion * more,
            "contraction": bounds.contraction is not None and float(stretched[-1]) < bounds.contraction * less,
        }
        found |= {name for name, is_wrong in wrong.items() if is_wrong}
    return found


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    channels=st.integers(1, 3),
    hidden=st.integers(1, 6),
    product=st.floats(0.05, 1.5),
)
def test_no_linear_piece_violates_a_bound(seed: int, channels: int, hidden: int, product: float) -> None:
    kernel, mixing = random_net(seed, channels, hidden, 3, product)
    bounds = certify_subnetwork(kernel, mixing)
    assert violations(kernel, mixing, bounds, seed) == set()
    assert (bounds.contraction or 0) >= down(1 - Fraction(bounds.product))
    assert bounds.expansion <= 1 + bounds.product + 1e-12
    # What a uniform T gives is what the product does, up to the tolerance of certified norms.
    assert bounds.lipsdp <= bounds.product * 1.002


@pytest.mark.parametrize("factor", [0.9, -0.9, 0.3])
def test_bounds_of_an_aligned_net_are_sharp(factor: float) -> None:
    kernel, mixing = aligned_net(factor)
    bounds = certify_subnetwork(kernel, mixing)
    check_subnetwork(kernel, mixing, bounds)
    size = abs(factor)
    assert bounds.lipsdp == pytest.approx(size, rel=1e-3)
    # Where f is a part of the identity or nothing, Id - f is between 1 - factor and 1.
    largest, smallest = (1, 1 - size) if factor > 0 else (1 + size, 1)
    assert bounds.expansion == pytest.approx(largest, rel=1e-2)
    assert bounds.contraction == pytest.approx(smallest, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "form", "factor"),
    [
        ("lipsdp", Form(mixing_sign=1, centre_sign=0), 0.9),
        ("expansion", Form(mixing_sign=1, centre_sign=-1), -0.9),
        ("expansion", Form(mixing_sign=-1, centre_sign=1), -0.9),
        ("expansion", Form(mixing_sign=-1, centre_sign=0), -0.9),
        ("contraction", Form(mixing_sign=1, centre_sign=-1), 0.9),
        ("contraction", Form(mixing_sign=1, centre_sign=0), 0.9),
    ],
)
def test_forms_with_wrong_signs_are_caught(
    monkeypatch: pytest.MonkeyPatch, name: str, form: Form, factor: float
) -> None:
    kernel, mixing = aligned_net(factor)
    assert violations(kernel, mixing, certify_subnetwork(kernel, mixing)) == set()
    monkeypatch.setattr(composition, "FORMS", {**FORMS, name: form})
    assert name in violations(kernel, mixing, certify_subnetwork(kernel, mixing))


def test_displaced_centre_tap_is_caught() -> None:
    kernel, mixing = aligned_net(-0.9, place=(1, 2))  # a shift by one pixel
    bounds = certify_subnetwork(kernel, mixing)
    assert violations(kernel, mixing, bounds) == set()
    centred = certify_subnetwork(kernel.roll(-1, dims=3), mixing)
    assert "contraction" in violations(kernel, mixing, centred)


@pytest.mark.parametrize("name", ["product", "lipsdp", "expansion", "contraction"])
def test_bounds_that_are_a_tenth_too_good_are_caught(name: str) -> None:
    factor = -0.9 if name == "expansion" else 0.9
    kernel, mixing = aligned_net(factor)
    bounds = certify_subnetwork(kernel, mixing)
    too_good = getattr(bounds, name) * (1.1 if name == "contraction" else 0.9)
    assert violations(kernel, mixing, replace(bounds, **{name: too_good})) == {name}


@pytest.mark.slow
@pytest.mark.parametrize(("product", "most_inverse"), [(0.578, 0.75), (0.999, 0.01)])
def test_sharper_bounds_of_a_net_like_a_trained_one(product: float, most_inverse: float) -> None:
    kernel, mixing = smooth_net(0, 8, 16, product)
    bounds = certify_subnetwork(kernel, mixing)
    assert bounds.product == pytest.approx(product, rel=1e-3)
    assert bounds.lipsdp < 0.98 * bounds.product
    assert bounds.expansion < 1 + bounds.lipsdp
    # mu is better than what both bounds of Lip(f) give.
    assert bounds.contraction is not None
    assert 1 / bounds.contraction < 0.8 / (1 - bounds.lipsdp)
    assert 1 / bounds.contraction < most_inverse / (1 - bounds.product) + 1
    check_subnetwork(kernel, mixing, bounds)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_no_other_scaling_is_much_better(name: str) -> None:
    kernel, mixing = (tensor.double() for tensor in smooth_net(1, 4, 8, 0.9))

    def bound(scaling: Tensor) -> float:
        return grid_norm(modified_kernel(kernel, mixing, scaling, FORMS[name]).kernel, 32)

    best = best_scaling(kernel, mixing, FORMS[name])
    reached = bound(best)
    assert reached <= bound(uniform_scaling(kernel, mixing, FORMS[name]))
    generator = torch.Generator().manual_seed(0)
    for size in (0.01, 0.1, 0.5):
        for _ in range(20):
            factors = torch.exp(size * torch.randn(len(best), dtype=torch.float64, generator=generator))
            assert bound(best * factors.clamp_min(1)) >= reached * 0.995
            if name == "contraction":
                assert bound(best * factors) >= reached * 0.995


def test_uniform_scaling_is_as_good_as_the_product() -> None:
    kernel, mixing = random_net(5, 3, 6, 3, 0.8)
    modified = modified_kernel(kernel, mixing, uniform_scaling(kernel, mixing, FORMS["lipsdp"]), FORMS["lipsdp"])
    assert grid_norm(modified.kernel, 64) <= 0.8 * (1 + 1e-6)


@pytest.mark.slow
def test_search_is_deterministic_and_leaves_the_generator_alone() -> None:
    kernel, mixing = smooth_net(2, 3, 6, 0.9)
    before = torch.get_rng_state()
    bounds = certify_subnetwork(kernel, mixing)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    assert certify_subnetwork(kernel, mixing) == bounds


# Rounding.


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("magnitude", [1e-6, 1.0, 1e6])
def test_error_bounds_of_the_modified_kernel_in_rational_arithmetic(name: str, magnitude: float) -> None:
    generator = torch.Generator().manual_seed(7)
    kernel = torch.randn(3, 2, 1, 1, dtype=torch.float64, generator=generator) * magnitude
    mixing = torch.randn(2, 3, dtype=torch.float64, generator=generator) * 0.9 / magnitude
    form = FORMS[name]
    scaling = best_scaling(kernel, mixing, form)
    modified = modified_kernel(kernel, mixing, scaling, form)
    bound = Fraction(certified_norm(modified.kernel, 1e-13)) + Fraction(modified.error)
    assert 0 < modified.error < 1e-12 * float(bound)
    assert 0 < modified.defect < 1e-10
    bound_squared = bound**2 / (1 - Fraction(modified.defect))
    difference = schur_complement(kernel[:, :, 0, 0], mixing, scaling, form)
    # bound^2 - M'Q^{-1} M is positive semidefinite, and only just.
    for shrunk, expected in ((Fraction(1), True), (1 - Fraction(1, 10**9), False)):
        a, b, c = (bound_squared * shrunk * one - two for one, two in zip((1, 0, 1), difference, strict=True))
        assert (a >= 0 and a * c - b * b >= 0) is expected


def schur_complement(kernel: Tensor, mixing: Tensor, scaling: Tensor, form: Form) -> tuple[Fraction, ...]:
    """M'Q^{-1} M for a kernel with one tap, exactly; its entries 11, 12 and 22 for two channels."""
    roots = [Fraction(one) for one in scaling.sqrt().tolist()]
    k = [[Fraction(one) for one in row] for row in kernel.tolist()]
    w = [[Fraction(one) for one in row] for row in mixing.mT.tolist()]  # [H][M]
    count = range(len(roots))
    m = [[roots[i] ** 2 * k[i][j] + form.centre_sign * w[i][j] for j in range(2)] for i in count]
    q = [
        [
            2 * roots[i] ** 2 * (i == j) + form.mixing_sign * sum(a * b for a, b in zip(w[i], w[j], strict=True))
            for j in count
        ]
        for i in count
    ]
    rows = [q[i] + m[i] for i in count]
    for i in count:  # Gauss-Jordan
        rows[i] = [one / rows[i][i] for one in rows[i]]
        for j in count:
            if j != i:
                rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
    solved = [row[len(roots) :] for row in rows]
    return tuple(sum((m[i][a] * solved[i][b] for i in count), Fraction(0)) for a, b in ((0, 0), (0, 1), (1, 1)))


def test_indefinite_forms_are_refused() -> None:
    kernel, mixing = random_net(0, 2, 4, 3, 0.9)
    scaling = uniform_scaling(kernel, mixing, FORMS["lipsdp"])
    with pytest.raises(CertificateError, match="positive definite"):
        modified_kernel(kernel, mixing, scaling * 0.499, FORMS["lipsdp"])
    with pytest.raises(CertificateError, match="positive definite"):
        modified_kernel(kernel, mixing * math.nan, scaling, FORMS["contraction"])


@given(st.fractions(min_value=0, max_value=10**9))
def test_rounding_goes_in_its_direction(value: Fraction) -> None:
    assert Fraction(down(value)) <= value <= Fraction(up(value))
    assert Fraction(root_down(value)) ** 2 <= value <= Fraction(root_up(value)) ** 2
    assert up(value) - down(value) <= math.ulp(up(value))
    assert root_up(value) - root_down(value) <= 3 * math.ulp(root_up(value))


# Edges.


@pytest.mark.slow
def test_kernels_may_be_given_in_several_forms() -> None:
    kernel, mixing = (tensor.float() for tensor in random_net(4, 2, 4, 3, 0.7))
    bounds = certify_subnetwork(kernel, mixing)
    assert certify_subnetwork(kernel.double(), mixing[:, :, None, None].double()) == bounds
    with torch.inference_mode():
        assert certify_subnetwork(torch.nn.Parameter(kernel), mixing) == bounds
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert certify_subnetwork(kernel, mixing) == bounds
    check_subnetwork(kernel, mixing[:, :, None, None], bounds)


@pytest.mark.parametrize(
    ("channels", "hidden", "size"), [(1, 1, 3), (1, 1, 1), (4, 2, 3), (3, 1, 5), (1, 5, 3), (2, 3, 1)]
)
def test_shapes(channels: int, hidden: int, size: int) -> None:
    kernel, mixing = random_net(1, channels, hidden, size, 0.8)
    bounds = certify_subnetwork(kernel, mixing)
    assert violations(kernel, mixing, bounds) == set()
    check_subnetwork(kernel, mixing, bounds)


def test_dead_channels_are_left_out() -> None:
    kernel, mixing = random_net(2, 2, 5, 3, 0.9)
    kernel[1], mixing[:, 3] = 0, 0
    bounds = certify_subnetwork(kernel, mixing)
    rest = certify_subnetwork(kernel[[0, 2, 4]], mixing[:, [0, 2, 4]])
    assert bounds.norms == rest.norms
    for name in FORMS:
        assert [one > 0 for one in bounds.scalings[name]] == [True, False, True, False, True]
    check_subnetwork(kernel, mixing, bounds)
    mixing[0, 3] = 1e-12  # alive
    with pytest.raises(CertificateError, match=r"scalings\.lipsdp"):
        check_subnetwork(kernel, mixing, bounds)


@pytest.mark.parametrize("zero", ["kernel", "mixing", "both", "disjoint"])
def test_constant_residual_functions(zero: str) -> None:
    kernel, mixing = random_net(3, 2, 4, 3, 0.9)
    if zero in ("kernel", "both"):
        kernel = torch.zeros_like(kernel)
    if zero in ("mixing", "both"):
        mixing = torch.zeros_like(mixing)
    if zero == "disjoint":
        kernel[:2], mixing[:, 2:] = 0, 0
    bounds = certify_subnetwork(kernel, mixing)
    assert (bounds.lipsdp, bounds.expansion, bounds.contraction) == (0, 1, 1)
    assert (bounds.product == 0) is (zero != "disjoint")
    check_subnetwork(kernel, mixing, bounds)


def test_no_contraction_without_proof() -> None:
    kernel, mixing = aligned_net(1.2)
    bounds = certify_subnetwork(kernel, mixing)
    assert bounds.contraction is None
    assert violations(kernel, mixing, bounds) == set()
    check_subnetwork(kernel, mixing, bounds)


@pytest.mark.slow
def test_units_of_hidden_channels_do_not_matter() -> None:
    kernel, mixing = random_net(6, 2, 5, 3, 0.8)
    expected = certify_subnetwork(kernel, mixing)
    for scale in (1e-30, 1e-8, 1e8, 1e30):
        all_channels = certify_subnetwork(kernel * scale, mixing / scale)
        factors = torch.tensor([1, scale, 1, 1, 1], dtype=torch.float64)
        one_channel = certify_subnetwork(kernel * factors[:, None, None, None], mixing / factors)
        for name in FORMS:
            assert all_channels.norms[name] == pytest.approx(expected.norms[name], rel=5e-3)
            assert one_channel.norms[name] == pytest.approx(expected.norms[name], rel=5e-3)
        check_subnetwork(kernel * scale, mixing / scale, all_channels)
        check_subnetwork(kernel * factors[:, None, None, None], mixing / factors, one_channel)


def test_small_residual_functions_have_small_bounds() -> None:
    kernel, mixing = random_net(6, 2, 5, 3, 1e-7)
    bounds = certify_subnetwork(kernel, mixing)
    assert bounds.lipsdp < 1.01e-7
    assert bounds.contraction is not None
    assert bounds.contraction >= 1 - 1.01e-7
    assert bounds.expansion <= 1 + 1.01e-7


@pytest.mark.parametrize("sizes", [(1e200, 1e200), (1e-300, 1.0), (1.0, 5e-324), (1e-100, 1e100)])
def test_weights_of_extreme_size_are_refused(sizes: tuple[float, float]) -> None:
    kernel, mixing = (weight * size for weight, size in zip(random_net(1, 2, 3, 3, 0.8), sizes, strict=True))
    with pytest.raises(CertificateError, match="ordinary size"):
        certify_subnetwork(kernel, mixing)


@pytest.mark.parametrize("size", [1e-50, 1e-20, 1e20, 1e50])
def test_large_and_small_weights(size: float) -> None:
    kernel, mixing = (weight * size for weight in random_net(1, 2, 3, 3, 0.8))
    bounds = certify_subnetwork(kernel, mixing)
    assert bounds.lipsdp <= bounds.product * 1.002
    assert (bounds.contraction is None) is (size > 1)
    check_subnetwork(kernel, mixing, bounds)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_weights_that_are_not_finite(value: float, which: int) -> None:
    weights = random_net(0, 2, 3, 3, 0.9)
    bounds = certify_subnetwork(*weights)
    weights[which].view(-1)[1] = value
    with pytest.raises(CertificateError, match="not finite"):
        certify_subnetwork(*weights)
    with pytest.raises(CertificateError, match="not finite"):
        check_subnetwork(*weights, bounds)


@pytest.mark.parametrize(
    ("kernel", "mixing"),
    [
        ((4, 2, 3, 3), (4, 2)),
        ((4, 2, 3, 3), (2, 5)),
        ((4, 2, 3, 5), (2, 4)),
        ((4, 2, 4, 4), (2, 4)),
        ((4, 2, 3), (2, 4)),
        ((4, 2, 3, 3), (2, 4, 3, 3)),
        ((4, 2, 3, 3), (2,)),
        ((0, 2, 3, 3), (2, 0)),
    ],
)
def test_shapes_that_are_none(kernel: tuple[int, ...], mixing: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        certify_subnetwork(torch.ones(kernel), torch.ones(mixing))


# Claims.


@pytest.fixture(scope="module")
def certified() -> tuple[Tensor, Tensor, SubnetworkBounds]:
    kernel, mixing = smooth_net(3, 3, 6, 0.8)
    return kernel, mixing, certify_subnetwork(kernel, mixing)


def test_right_claims_are_accepted(certified: tuple[Tensor, Tensor, SubnetworkBounds]) -> None:
    kernel, mixing, bounds = certified
    check_subnetwork(kernel, mixing, bounds)
    # Also where the kernels are rebuilt with other rounding errors.
    check_subnetwork(kernel.double() * (1 - 1e-15), mixing.double() * (1 + 1e-15), bounds)


def consistently(bounds: SubnetworkBounds, **changes: Any) -> SubnetworkBounds:
    """Bounds with changed norms, and everything that follows from them."""
    changed = replace(bounds, **changes)
    return composition._concluded(changed.kernel_norm, changed.mixing_norm, changed.scalings, changed.norms)


TAMPERED: dict[str, Callable[[SubnetworkBounds], SubnetworkBounds]] = {
    "product": lambda b: replace(b, product=b.product * 0.99),
    "lipsdp": lambda b: replace(b, lipsdp=b.lipsdp * 0.99),
    "expansion": lambda b: replace(b, expansion=math.nextafter(b.expansion, 0)),
    "contraction": lambda b: replace(b, contraction=math.nextafter(b.contraction or 0, 1)),
    "kernel_norm": lambda b: consistently(b, kernel_norm=b.kernel_norm * 0.99),
    "mixing_norm": lambda b: consistently(b, mixing_norm=b.mixing_norm * 0.99),
    **{
        f"norms.{name}": lambda b, name=name: consistently(b, norms={**b.norms, name: b.norms[name] * 0.99})  # type: ignore[misc]
        for name in FORMS
    },
    **{
        f"norms.{name} ": lambda b, name=name: replace(  # type: ignore[misc]
            b, scalings={**b.scalings, name: [2 * one for one in b.scalings[name]]}
        )
        for name in FORMS
    },
    **{
        f"scalings.{name}": lambda b, name=name, values=values: replace(b, scalings={**b.scalings, name: values})  # type: ignore[misc]
        for name, values in (("lipsdp", [1e-9] * 6), ("expansion", [1.0] * 5), ("contraction", [0.0] * 6))
    },
}


@pytest.mark.parametrize("field", TAMPERED)
def test_tampered_claims_are_rejected(field: str, certified: tuple[Tensor, Tensor, SubnetworkBounds]) -> None:
    kernel, mixing, bounds = certified
    with pytest.raises(CertificateError) as caught:
        check_subnetwork(kernel, mixing, TAMPERED[field](bounds))
    assert caught.value.where == field.strip()


def test_contraction_cannot_be_claimed_where_none_is_proven() -> None:
    kernel, mixing = aligned_net(1.2)
    claimed = replace(certify_subnetwork(kernel, mixing), contraction=0.1)
    with pytest.raises(CertificateError, match="contraction"):
        check_subnetwork(kernel, mixing, claimed)


def test_enormous_claims_are_rejected(certified: tuple[Tensor, Tensor, SubnetworkBounds]) -> None:
    kernel, mixing, bounds = certified
    with pytest.raises(CertificateError, match="product"):
        check_subnetwork(kernel, mixing, replace(bounds, kernel_norm=1e308, mixing_norm=1e308))


def test_other_weights_are_rejected(certified: tuple[Tensor, Tensor, SubnetworkBounds]) -> None:
    kernel, mixing, bounds = certified
    for other in ((kernel * 1.01, mixing), (kernel, mixing * 1.01), (kernel, -mixing), smooth_net(4, 3, 6, 0.8)):
        with pytest.raises(CertificateError):
            check_subnetwork(*other, bounds)
    with pytest.raises(CertificateError, match="scalings"):
        check_subnetwork(*smooth_net(3, 3, 4, 0.1), bounds)


def test_json_round_trip_is_exact(certified: tuple[Tensor, Tensor, SubnetworkBounds]) -> None:
    bounds = certified[2]
    again = from_content(json.loads(json.dumps(asdict(bounds), allow_nan=False)))
    assert again == bounds
    assert asdict(again) == asdict(bounds)
    none = replace(bounds, contraction=None)
    assert from_content(json.loads(json.dumps(asdict(none)))) == none


@pytest.mark.parametrize(
    "nonsense",
    [
        {"product": "1"},
        {"product": None},
        {"lipsdp": math.nan},
        {"expansion": math.inf},
        {"kernel_norm": -1.0},
        {"mixing_norm": True},
        {"contraction": "none"},
        {"scalings": {"lipsdp": [1.0]}},
        {"scalings": {"lipsdp": 1.0, "expansion": [1.0], "contraction": [1.0]}},
        {"scalings": {"lipsdp": [1.0, None], "expansion": [1.0], "contraction": [1.0]}},
        {"norms": []},
        {"norms": {"lipsdp": 1.0, "expansion": 1.0, "contraction": -1.0}},
        {"more": 1},
    ],
)
def test_content_that_is_nonsense(nonsense: dict[str, Any], certified: tuple[Tensor, Tensor, SubnetworkBounds]) -> None:
    content = asdict(certified[2])
    with pytest.raises(CertificateError):
        from_content({**content, **nonsense})
    del content["norms"]
    others: list[Any] = [content, None, [], 3]
    for other in others:
        with pytest.raises(CertificateError):
            from_content(other)
