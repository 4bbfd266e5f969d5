"""Proven Lipschitz bounds of one subnetwork Id - f with f = W S K.

Each bound is the norm of one convolution with a modified kernel, for any diagonal T > 0: see
`certificate.schur_forms`, where they are proven. A search finds T, and the norm is then certified; a verification
needs the T, not the search. Bounds are put together in exact rational arithmetic and rounded in the safe direction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, cast

import torch
from torch import Tensor

from invreg import CertificateError, ShapeError
from invreg_iresnet.certificate.scaling_search import balanced_scaling, best_scaling
from invreg_iresnet.certificate.schur_forms import FORMS, ModifiedKernel, modified_kernel
from invreg_iresnet.norms.certified_norm import certified_norm, norm_is_at_most
from invreg_iresnet.norms.rounding import FEW_OPERATIONS, down, root_down, root_up, up

# Room for a modified kernel that is computed again, on another machine: its last bits differ.
_REPRODUCTION = 1e-9
# Norms of which squares and quotients are far from the ends of float64.
_ORDINARY = (1e-60, 1e60)


@dataclass(frozen=True)
class SubnetworkBounds:
    """Proven bounds about f and Id - f, in exact arithmetic for the stored weights, on images of any size.

    All hold for any biases, and for any elementwise S with slopes in [0, 1].

    Attributes:
        product: Lip(f) <= ||W|| ||K||.
        kernel_norm: a bound of ||K||.
        mixing_norm: a bound of ||W||.
        lipsdp: Lip(f) <= `lipsdp`. It is usually below `product`, but exceeds it where K and W are already aligned, by
            about the tolerance.
        expansion: Lip(Id - f) <= `expansion`.
        contraction: mu with ||(Id - f)(x) - (Id - f)(y)|| >= mu ||x - y||, so that Lip((Id - f)^-1) <= 1 / mu; None if
            no mu > 0 is proven.
        scalings: the diagonal of T for "lipsdp", "expansion" and "contraction", one number per hidden channel; 0 for
            channels that are dead (without weights in K or in W), which are left out.
        norms: bounds of ||Q^{-1/2} M|| for the same.
    """

    product: float
    kernel_norm: float
    mixing_norm: float
    lipsdp: float
    expansion: float
    contraction: float | None
    scalings: Mapping[str, list[float]]
    norms: Mapping[str, float]


def certify_subnetwork(
    kernel: Tensor, mixing: Tensor, tolerance: float = 3e-5, budgets: tuple[float, float] = (math.inf, math.inf)
) -> SubnetworkBounds:
    """Finds and proves bounds. Deterministic; computes on the CPU.

    Args:
        kernel: K, `[H, M, k, k]` or `[H, M, k, k, k]`, k odd, of a zero-padded convolution.
        mixing: W, `[M, H]` or `[M, H, 1, 1]` (with three sides for volumes); -W for bounds of Id + f.
        tolerance: how much certified norms may exceed the norms, see `certified_norm`.
        budgets: what ||K|| and ||W|| were scaled to: taken where it is proven and smaller than what is found.

    Raises:
        CertificateError: if a weight is not finite, or so large or small that nothing can be computed.
        ShapeError: if the shapes are wrong.
        SpecError: if the tolerance is not between 0 and 1.
    """
    kernel, mixing = _checked(kernel, mixing)
    kernel_norm = _norm_within(kernel, tolerance, budgets[0])
    mixing_norm = _norm_within(mixing[:, :, None, None], tolerance, budgets[1])
    active = alive(kernel, mixing)
    for name, norm in (("kernel", kernel_norm), ("mixing", mixing_norm)):
        if active.any() and not _ORDINARY[0] <= norm <= _ORDINARY[1]:
            raise _out_of_range(f"a {name} of norm {norm:.3g}")
    scalings: dict[str, list[float]] = {}
    norms: dict[str, float] = {}
    used: dict[str, Tensor] = {}
    for name in FORMS:
        near = _near(name, norms, used)
        used[name], norms[name] = _best_bound(name, kernel[active], mixing[:, active], tolerance, near)
        scalings[name] = kernel.new_zeros(len(active)).masked_scatter(active, used[name]).tolist()
    return _concluded(kernel_norm, mixing_norm, scalings, norms)


def check_subnetwork(kernel: Tensor, mixing: Tensor, claimed: SubnetworkBounds) -> None:
    """Proves the claims again, from the T that they name, without a search.

    Args:
        kernel: as for `certify_subnetwork`.
        mixing: likewise.
        claimed: the claims.

    Raises:
        CertificateError: naming a claim that is not proven for these weights.
        ShapeError: if the shapes of the weights are not those of a subnetwork.
    """
    kernel, mixing = _checked(kernel, mixing)
    claimed = from_content(asdict(claimed))
    active = alive(kernel, mixing)
    _check_norm("kernel_norm", norm_is_at_most(kernel, claimed.kernel_norm), claimed.kernel_norm)
    _check_norm("mixing_norm", norm_is_at_most(mixing[:, :, None, None], claimed.mixing_norm), claimed.mixing_norm)
    for name in FORMS:
        scaling = torch.tensor(claimed.scalings[name], dtype=torch.float64, device="cpu")
        if len(scaling) != len(kernel) or not torch.equal(scaling > 0, active):
            raise CertificateError(
                f"{len(scaling)} numbers, {int((scaling > 0).sum())} of them positive",
                where=f"scalings.{name}",
                expected=f"one for each of the {len(kernel)} hidden channels, positive unless the channel is dead",
                hint="the bounds of other weights?",
            )
        bound = claimed.norms[name]
        try:
            proven = _norm_is_proven(kernel[active], mixing[:, active], scaling[active], name, bound)
        except CertificateError as error:
            raise error.at(f"scalings.{name}") from None
        _check_norm(f"norms.{name}", proven, bound)
    follows = _concluded(claimed.kernel_norm, claimed.mixing_norm, claimed.scalings, claimed.norms)
    for name in ("product", "lipsdp", "expansion", "contraction"):
        if getattr(claimed, name) != getattr(follows, name):
            raise CertificateError(
                f"{getattr(claimed, name)}",
                where=name,
                expected=f"{getattr(follows, name)}, which follows from the norms",
            )


def from_content(content: Any) -> SubnetworkBounds:
    """The bounds from their `asdict`, which JSON keeps to the last bit. `check_subnetwork` checks whether they hold.

    Raises:
        CertificateError: if the content is malformed.
    """
    content = checked_mapping(content, "bounds", SubnetworkBounds.__dataclass_fields__)
    numbers = ("product", "kernel_norm", "mixing_norm", "lipsdp", "expansion")
    scalings = checked_mapping(content["scalings"], "scalings", FORMS)
    norms = checked_mapping(content["norms"], "norms", FORMS)
    contraction = content["contraction"]
    return SubnetworkBounds(
        **{name: checked_number(content[name], name) for name in numbers},
        contraction=None if contraction is None else checked_number(contraction, "contraction"),
        scalings={name: checked_numbers(scalings[name], f"scalings.{name}") for name in FORMS},
        norms={name: checked_number(norms[name], f"norms.{name}") for name in FORMS},
    )


def _norm_within(kernel: Tensor, tolerance: float, budget: float) -> float:
    found = certified_norm(kernel, tolerance)
    return budget if budget < found and norm_is_at_most(kernel, budget) else found


def _near(name: str, norms: Mapping[str, float], scalings: Mapping[str, Tensor]) -> Tensor | None:
    """A T for another form from that for `lipsdp`, by the proposition of section 4 in docs/theory/certificates.md."""
    sign, lipschitz = FORMS[name].mixing_sign, norms.get("lipsdp", 0.0)
    factor = 1 - sign * lipschitz
    return scalings["lipsdp"] * (factor / lipschitz) if lipschitz > 0 and factor > 0 else None


def _best_bound(
    name: str, kernel: Tensor, mixing: Tensor, tolerance: float, near: Tensor | None
) -> tuple[Tensor, float]:
    """T, and a proven bound of ||Q^{-1/2} M||."""
    form = FORMS[name]
    if len(kernel) == 0:  # f is constant
        return kernel.new_zeros(0), 0.0
    try:
        scaling = best_scaling(kernel, mixing, form, near)
        try:
            modified = modified_kernel(kernel, mixing, scaling, form)
        except CertificateError:
            scaling = balanced_scaling(kernel, mixing, form)
            modified = modified_kernel(kernel, mixing, scaling, form)
    except (CertificateError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        raise _out_of_range(f"hidden channels of which no matrix Q for `{name}` could be factorised") from None
    norm = certified_norm(modified.kernel, tolerance)
    # Twice the errors, for those of another machine.
    bound = (norm + 2 * modified.error) / math.sqrt(1 - 2 * modified.defect) * (1 + _REPRODUCTION)
    return scaling, bound


def _norm_is_proven(kernel: Tensor, mixing: Tensor, scaling: Tensor, name: str, bound: float) -> bool:
    if len(kernel) == 0:
        return bound >= 0
    modified: ModifiedKernel = modified_kernel(kernel, mixing, scaling, FORMS[name])
    left = bound * math.sqrt(1 - modified.defect) * (1 - FEW_OPERATIONS) - modified.error * (1 + FEW_OPERATIONS)
    return left > 0 and norm_is_at_most(modified.kernel, left * (1 - FEW_OPERATIONS))


def _concluded(
    kernel_norm: float, mixing_norm: float, scalings: Mapping[str, list[float]], norms: Mapping[str, float]
) -> SubnetworkBounds:
    """What follows from the norms."""
    product, lipsdp = up(Fraction(kernel_norm) * Fraction(mixing_norm)), norms["lipsdp"]
    lipschitz = Fraction(min(product, lipsdp))
    mu_squared = 1 - Fraction(norms["contraction"]) ** 2
    contraction = max(down(1 - lipschitz), root_down(mu_squared) if mu_squared > 0 else 0.0)
    return SubnetworkBounds(
        product=product,
        kernel_norm=kernel_norm,
        mixing_norm=mixing_norm,
        lipsdp=lipsdp,
        expansion=min(up(1 + lipschitz), root_up(1 + Fraction(norms["expansion"]) ** 2)),
        contraction=contraction if contraction > 0 else None,
        scalings=scalings,
        norms=norms,
    )


def _checked(kernel: Tensor, mixing: Tensor) -> tuple[Tensor, Tensor]:
    """The weights `[H, M, *taps]` and `[M, H]` in float64 on the CPU: exactly the stored values."""
    if mixing.ndim == kernel.ndim and mixing.shape[2:].numel() == 1:
        mixing = mixing.flatten(1)
    axes, side = kernel.ndim - 2, kernel.shape[-1] if kernel.ndim in (4, 5) else 0
    fits = mixing.ndim == 2 and kernel.shape[:1] + kernel.shape[2:] == (mixing.shape[1], *axes * (side,))
    if not fits or kernel.shape[1] != mixing.shape[0] or side % 2 == 0 or kernel.numel() == 0:
        raise ShapeError(
            f"a kernel {list(kernel.shape)} and a mixing {list(mixing.shape)}",
            where="subnetwork",
            expected="[H, M, k, k] (or [H, M, k, k, k]) with k odd and [M, H] (or [M, H, 1, 1])",
        )
    for name, tensor in (("kernel", kernel), ("mixing", mixing)):
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise CertificateError(
                f"a {name} that is not finite or not of real floating numbers",
                where="subnetwork",
                expected="finite weights",
                hint="training diverged: a smaller learning rate, or the weights of an earlier step",
            )
    return kernel.detach().to("cpu", torch.float64), mixing.detach().to("cpu", torch.float64)


def alive(kernel: Tensor, mixing: Tensor) -> Tensor:
    """Hidden channels that f depends on: differences of the others are 0, or not mixed in."""
    return (kernel != 0).flatten(1).any(1) & (mixing != 0).any(0)


def _out_of_range(what: str) -> CertificateError:
    return CertificateError(what, where="subnetwork", expected="weights of ordinary size, or zero")


def _check_norm(where: str, proven: bool, bound: float) -> None:
    if not proven:
        raise CertificateError(
            f"a norm of at most {bound} could not be proven",
            where=where,
            expected="a bound that holds for these weights",
        )


def checked_mapping(content: Any, where: str, keys: Iterable[str]) -> Mapping[str, Any]:
    """A mapping with these keys.

    Raises:
        CertificateError: if it is anything else.
    """
    if not isinstance(content, Mapping) or set(content) != set(keys):
        found = sorted(map(str, content)) if isinstance(content, Mapping) else content
        raise CertificateError(str(found)[:60], where=where, expected=f"a mapping with {', '.join(sorted(keys))}")
    return cast(Mapping[str, Any], content)


def checked_list(content: Any, where: str, of: str) -> list[Any]:
    """A list.

    Raises:
        CertificateError: if it is anything else.
    """
    if not isinstance(content, list):
        raise CertificateError(str(content)[:60], where=where, expected=f"a list of {of}")
    return content


def checked_numbers(content: Any, where: str) -> list[float]:
    """A list of numbers of at least 0, as floats.

    Raises:
        CertificateError: if it is anything else.
    """
    return [checked_number(one, where) for one in checked_list(content, where, "numbers")]


def checked_number(value: Any, where: str) -> float:
    """The value as a float.

    Raises:
        CertificateError: if it is not a number of at least 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise CertificateError(f"{str(value)[:60]}", where=where, expected="a number of at least 0")
    try:
        return float(value)
    except OverflowError:
        raise CertificateError("an integer beyond all floats", where=where, expected="a number") from None
