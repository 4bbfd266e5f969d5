"""The certificate of a whole network: from the bounds of its subnetworks to those of phi and of its inverse.

A network is a chain of subnetworks, and Lipschitz constants of a chain multiply. The numbers of a certificate are exact
products of the certified bounds of the subnetworks, rounded upwards, so that a verification gets the same ones.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from invreg import CertificateError, StabilityCertificate, __version__, certificate_content, smallest
from invreg_iresnet.certificate.chain_bounds import (
    ChainBounds,
    certify_chain_gains,
    chain_from_content,
    check_chain_gains,
    image_gain,
    state_gain,
)
from invreg_iresnet.certificate.composition import (
    SubnetworkBounds,
    certify_subnetwork,
    check_subnetwork,
    from_content,
)
from invreg_iresnet.network.precision import each_in_one_thread
from invreg_iresnet.network.scales import StageWeights
from invreg_iresnet.norms.finalisation import hexadecimal_digest
from invreg_iresnet.norms.rounding import down, up

#: What the residual functions are part of: phi_i = Id - f_i (`forward`), or phi_i^-1 = Id + g_i (`inverse`).
Role = Literal["forward", "inverse"]

_METHOD = {
    "norms": "suprema of the symbols over all frequencies: cells of a quadtree, each closed by a verified Cholesky "
    "factorisation; they hold for zero-padded convolutions on images of any size",
    "chain": "one condition for many subnetworks at once, proven by elimination at one frequency of each of many cells",
    "rounding": "float64 with bounds of all rounding errors; sums, products and roots of bounds rounded upwards",
    "arithmetic": "exact arithmetic of the stored weights; Euclidean norms",
}

#: What follows from the bounds of subnetworks and chain.
_FOLLOWING = (
    "inverse_lipschitz",
    "forward_lipschitz",
    "image_lipschitz",
    "reconstruction_lipschitz",
    "reads",
    "copies",
    "padding_norm",
    "pull_back",
    "subnetworks",
)

_Bound = Fraction | None

#: Relative difference of a pull-back's norms that are found on different machines; bounds are larger by twice that.
NORM_DIFFERS = 1e-6


class _Proven(NamedTuple):
    """The bounds of subnetworks, and of the chain or why there are none."""

    subnetworks: Sequence[SubnetworkBounds]
    chain: ChainBounds | str


class PulledBackBy(NamedTuple):
    """A linear map from measurements to images, before the lifting.

    Attributes:
        formula: what it makes of z.
        norm: a bound of its norm.
    """

    formula: str
    norm: float


class Embedding(NamedTuple):
    """How measurements become states of the chain of subnetworks.

    Attributes:
        reads: what the bounds are about: `z`, the measurement, or a formula for what is made of it.
        copies: q, how many copies of an image make up a state; their mean is the image of a state.
        padding: ||P||, the norm of the padding before the inversion.
        pull_back: what brings z to images, if its norm is in the bounds.
    """

    reads: str
    copies: int
    padding: float
    pull_back: PulledBackBy | None = None


def certify_chain(
    stages: Sequence[StageWeights], role: Role, embedding: Embedding, bound: float
) -> StabilityCertificate:
    """Proves the bounds of a network.

    Args:
        stages: the weights as evaluation uses them, phi_1 first.
        role: what the residual functions are part of.
        embedding: how images become states.
        bound: L_i, to which the mixings were scaled, as the kernels were to 1.

    Raises:
        CertificateError: if weights are not finite.
    """
    _check_finite(stages)
    subnetworks = each_in_one_thread(lambda pair: certify_subnetwork(*pair, budgets=(1.0, bound)), _pairs(stages, role))
    kernels, mixings = _steps(stages)
    # A step of the inverse is x_j = x_{j-1} + W_j S_j K_j x_j if phi_j = Id - f_j, and with K_j x_{j-1} otherwise.
    chain = certify_chain_gains(kernels, mixings, role == "forward", embedding.copies, subnetworks)
    return StabilityCertificate(_content(_Proven(subnetworks, chain), role, embedding, weights_digest(stages)))


def verify_chain(
    certificate: StabilityCertificate, stages: Sequence[StageWeights], role: Role, embedding: Embedding
) -> None:
    """Checks a certificate against weights: every claim is proven again, from the scalings that it names.

    Raises:
        CertificateError: if it belongs to other weights or another kind of network, or claims what does not hold.
    """
    content = certificate.content
    _check_finite(stages)
    _expect(content.get("role") == role, "role", content.get("role"), role, "the kind of network it was made for")
    found = weights_digest(stages)
    _expect(content["weights"] == found, "weights", content["weights"], found, "the weights that it was made for")
    claimed, pairs = content.get("subnetworks"), _pairs(stages, role)
    _expect(
        isinstance(claimed, Sequence) and len(claimed) == len(pairs),
        "subnetworks",
        len(claimed) if isinstance(claimed, Sequence) else claimed,
        f"{len(pairs)} of them",
    )
    assert isinstance(claimed, Sequence)  # noqa: S101 (for mypy: refused above if not)
    subnetworks = each_in_one_thread(_checked_bounds, list(enumerate(zip(pairs, claimed, strict=True), 1)))
    chain: ChainBounds | str = ""
    try:
        if content.get("chain") is not None:
            chain = chain_from_content(content["chain"])
            check_chain_gains(*_steps(stages), role == "forward", embedding.copies, chain)
    except CertificateError as error:
        raise error.at("certificate.chain") from None
    follows = _content(_Proven(subnetworks, chain), role, _as_claimed(embedding, content), found)
    for key in _FOLLOWING:
        _expect(
            content.get(key) == follows.get(key),
            key,
            content.get(key),
            follows.get(key),
            "what follows from the bounds",
        )


def _checked_bounds(numbered: tuple[int, tuple[tuple[Tensor, Tensor], Any]]) -> SubnetworkBounds:
    number, (pair, claimed) = numbered
    try:
        bounds = from_content(claimed.get("bounds") if isinstance(claimed, Mapping) else claimed)
        check_subnetwork(*pair, bounds)
    except CertificateError as error:
        raise error.at(f"certificate.subnetworks.{number}") from None
    return bounds


def _as_claimed(embedding: Embedding, content: Mapping[str, Any]) -> Embedding:
    """The embedding with the claimed norm of the pull-back, if that is as good: machines differ in its last digits."""
    own, claimed = embedding.pull_back, content.get("pull_back")
    if own is None or not isinstance(claimed, Mapping) or not isinstance(norm := claimed.get("norm"), float):
        return embedding
    near = own.norm * (1 - NORM_DIFFERS) <= norm <= own.norm * (1 + NORM_DIFFERS)
    return embedding._replace(pull_back=own._replace(norm=norm)) if near else embedding


def bounds_of(certificate: StabilityCertificate) -> list[SubnetworkBounds]:
    """The bounds of the subnetworks, phi_1 first."""
    return [from_content(one["bounds"]) for one in certificate.content["subnetworks"]]


def inverse_constants(certificate: StabilityCertificate) -> list[float | None]:
    """kappa_i >= Lip(phi_i^-1) for each subnetwork, phi_1 first; None where none is proven."""
    role = certificate.content["role"]
    return [_up(_inverse_constant(bounds, role)) for bounds in bounds_of(certificate)]


def weights_digest(stages: Sequence[StageWeights]) -> str:
    """SHA-256 of the kernels and mixings: biases and thresholds (which are positive) do not enter the bounds.

    The scales of a network with several enter, too.
    """
    arrays = [array for stage in stages for array in (stage.weights.kernels, stage.weights.mixings)]
    scales = [] if len(stages) == 1 and stages[0].scale == 1 else [torch.tensor([stage.scale for stage in stages])]
    return f"sha256:{hexadecimal_digest(*arrays, *scales)}"


def _content(proven: _Proven, role: Role, embedding: Embedding, weights: str) -> dict[str, Any]:
    subnetworks, chain = proven.subnetworks, None if isinstance(proven.chain, str) else proven.chain
    # With Lip(f) <= s: Lip(Id +- f) <= 1 + s, and Lip((Id +- f)^-1) <= 1 / (1 - s).
    grows = _bounds(subnetworks, "schur", lambda s: 1 + s, lambda one: Fraction(one.expansion))
    shrinks = _bounds(
        subnetworks, "mu", lambda s: 1 / (1 - s) if s < 1 else None, lambda one: _reciprocal(one.contraction)
    )
    inverse, forward = (shrinks, grows) if role == "forward" else (grows, shrinks)
    inverse["chain"] = _up(None if chain is None else state_gain(chain))
    for bounds in (inverse, forward):
        bounds["certified"] = smallest(bounds)
    of_images = {
        "states": inverse["certified"],
        "images": _up(None if chain is None else image_gain(chain, embedding.copies)),
    }
    image, pull_back = smallest(of_images), embedding.pull_back
    before = Fraction(embedding.padding) * (1 if pull_back is None else Fraction(pull_back.norm))
    return certificate_content(
        inverse,
        forward,
        None if image is None else _up(Fraction(image) * before),
        weights,
        embedding.reads,
        {
            "role": role,
            "image_lipschitz": image,
            "copies": embedding.copies,
            "padding_norm": embedding.padding,
            **({} if pull_back is None else {"pull_back": pull_back._asdict()}),
            "chain": None if chain is None else asdict(chain),
            **({"chain_missing": proven.chain} if isinstance(proven.chain, str) else {}),
            "subnetworks": [_subnetwork_content(one, role) for one in subnetworks],
            "method": _METHOD,
            "versions": {"invreg": __version__, "torch": torch.__version__, "python": platform.python_version()},
        },
    )


def _bounds(
    subnetworks: Sequence[SubnetworkBounds],
    sharpest: str,
    from_lipschitz: Callable[[Fraction], _Bound],
    directly: Callable[[SubnetworkBounds], _Bound],
) -> dict[str, float | None]:
    """Bounds of a chain: from the product bound, from the better of product and LipSDP, and directly."""
    return {
        "product": _chained([from_lipschitz(Fraction(one.product)) for one in subnetworks]),
        "lipsdp": _chained([from_lipschitz(_lipschitz(one)) for one in subnetworks]),
        sharpest: _chained([directly(one) for one in subnetworks]),
    }


def _subnetwork_content(bounds: SubnetworkBounds, role: Role) -> dict[str, Any]:
    s = _lipschitz(bounds)
    # <phi_i(x) - phi_i(y), x - y> >= m ||x - y||^2; for phi_i^-1 = Id + g_i by x = v + g(v): (1 - s) / (1 + s)^2.
    monotone = (1 - s if role == "forward" else (1 - s) / (1 + s) ** 2) if s < 1 else None
    # What the inverse contracts most: by 1 / Lip(phi_i) for Id - f_i, by 1 - Lip(g_i) for Id + g_i.
    contracts = 1 / (1 + s) if role == "forward" else max(1 - s, Fraction(0))
    return {
        "lipschitz": _up(s),
        "inverse_lipschitz": _up(_inverse_constant(bounds, role)),
        "monotonicity": _down(monotone),
        "smallest_contraction": _down(contracts),
        "bounds": asdict(bounds),
    }


def _inverse_constant(bounds: SubnetworkBounds, role: Role) -> _Bound:
    return _reciprocal(bounds.contraction) if role == "forward" else Fraction(bounds.expansion)


def _lipschitz(bounds: SubnetworkBounds) -> Fraction:
    return min(Fraction(bounds.product), Fraction(bounds.lipsdp))


def _reciprocal(value: float | None) -> _Bound:
    return None if value is None or value <= 0 else 1 / Fraction(value)


def _chained(bounds: Sequence[_Bound]) -> float | None:
    proven = [bound for bound in bounds if bound is not None]
    return _up(math.prod(proven, start=Fraction(1))) if len(proven) == len(bounds) else None


def _up(value: _Bound) -> float | None:
    """The bound rounded up; None also where no float is as large."""
    rounded = None if value is None else up(value)
    return None if rounded == math.inf else rounded


def _down(value: _Bound) -> float | None:
    return None if value is None else down(value)


def _pairs(stages: Sequence[StageWeights], role: Role) -> list[tuple[Tensor, Tensor]]:
    """Kernel and mixing of each f_i, where the subnetwork or its inverse is Id - f_i."""
    sign = 1 if role == "forward" else -1
    return [
        (kernel, sign * mixing)
        for _, weights in stages
        for kernel, mixing in zip(weights.kernels, weights.mixings, strict=True)
    ]


def _steps(stages: Sequence[StageWeights]) -> tuple[list[Tensor], list[Tensor]]:
    """Kernels and mixings of the steps of the inverse, in their order, as exact numbers."""
    pairs = [(kernel.detach(), mixing.detach()) for kernel, mixing in _pairs(stages, "forward")]
    kernels, mixings = zip(*(tuple(one.to("cpu", torch.float64) for one in pair) for pair in pairs), strict=True)
    return list(kernels), [mixing.flatten(1) for mixing in mixings]


def _check_finite(stages: Sequence[StageWeights]) -> None:
    for number, (_, weights) in enumerate(stages, 1):
        where = f"invertible network, stage {number}, " if len(stages) > 1 else "invertible network, "
        for name, stack in weights._asdict().items():
            for index, one in enumerate(stack, 1):
                if not torch.isfinite(one).all():
                    raise CertificateError(
                        f"{name} that are not finite",
                        where=f"{where}subnetwork {index} of {len(stack)}",
                        expected="finite weights",
                        hint="training diverged: a smaller learning rate, or the weights of an earlier step",
                    )


def _expect(fine: bool, where: str, found: Any, expected: Any, meaning: str = "") -> None:
    if not fine:
        raise CertificateError(
            f"the certificate has {_short(found)}",
            where=f"certificate.{where}",
            expected=f"{_short(expected)}{f', {meaning}' if meaning else ''}",
            hint="make a new one: net.certificate(), or `invreg certify RUN` after certificate.json was deleted",
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
