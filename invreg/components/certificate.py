"""Certificates: proven bounds on how a trained reconstruction method reacts to changes of its measurement."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from typing import TYPE_CHECKING, Any

from invreg.errors import CertificateError
from invreg.summaries import Summarized, Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "invreg-certificate-2"
_UNPROVEN = "no bound could be proven for this network"
_KEYS = {"inverse_lipschitz", "forward_lipschitz", "reconstruction_lipschitz", "reads", "weights"}


@dataclass(frozen=True, repr=False)
class StabilityCertificate(Summarized):
    """Proven Lipschitz bounds of a network phi, of its inverse, and of the reconstruction R that is made of it.

    All bounds are about Euclidean norms, exact arithmetic and the stored weights, whose hash is part of the
    certificate. A bound that could not be proven is None, never infinity or a guess.

    Attributes:
        content: the certificate as plain data, as it lies in `certificate.json`. Its keys are at least `format`,
            `inverse_lipschitz` and `forward_lipschitz` (each a mapping from the way in which a bound was proven to the
            bound, and `certified`, the smallest of them), `reconstruction_lipschitz` (a number or None), `reads` (what
            the network starts from: `z`, the measurement, or a formula for what is made of it) and `weights` (the
            hash). The network that made it may add what it needs to verify it, and `proven`, sentences about what else
            is proven of the reconstruction, such as that an iteration converges. It is copied.

    Raises:
        CertificateError: if the content is not that of a certificate.
    """

    content: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.content, Mapping) or self.content.get("format") != _FORMAT:
            found = self.content.get("format") if isinstance(self.content, Mapping) else self.content
            raise CertificateError(
                f"format {found!r}",
                where="certificate",
                expected=repr(_FORMAT),
                hint="a new certificate: net.certificate(), or `invreg certify RUN` after the old file was deleted",
            )
        missing = _KEYS - set(self.content)
        if missing:
            raise CertificateError(f"without {', '.join(sorted(missing))}", where="certificate", expected="a whole one")
        for side in ("inverse_lipschitz", "forward_lipschitz"):
            if not isinstance(self.content[side], Mapping) or "certified" not in self.content[side]:
                raise CertificateError("without `certified`", where=f"certificate.{side}", expected="a whole one")
        # A copy: what has been verified cannot be changed from outside.
        object.__setattr__(self, "content", copy.deepcopy(dict(self.content)))

    def _summary(self) -> Summary:
        maps = {"Lip(φ⁻¹)": self.inverse_lipschitz, "Lip(φ)": self.forward_lipschitz}
        rows = [
            (name if way == "certified" else "", "smallest" if way == "certified" else way.replace("_", " "), shown)
            for name, bounds in maps.items()
            for way, bound in sorted(bounds.items(), key=lambda item: item[0] != "certified")
            for shown in ["not proven" if bound is None else rounded_up(bound)]
        ]
        bound = self.reconstruction_lipschitz
        rows.insert(0, ("Lip(R)", "", "not proven" if bound is None else rounded_up(bound)))
        return Summary("StabilityCertificate", ("of", "proven by", "at most"), rows, [f"It claims: {self.statement}."])

    def plot(self) -> Figure:
        """The bounds of Lip(phi^-1) and Lip(phi) by the way in which they were proven, as a figure of matplotlib."""
        from invreg.plots import draw_bounds

        maps = {"Lip(φ⁻¹)": self.inverse_lipschitz, "Lip(φ)": self.forward_lipschitz}
        proven = {
            name: {way: bound for way, bound in bounds.items() if bound is not None and way != "certified"}
            for name, bounds in maps.items()
        }
        return draw_bounds({name: bounds for name, bounds in proven.items() if bounds}, self.statement, rounded_up)

    @property
    def inverse_lipschitz(self) -> dict[str, float | None]:
        """Bounds of Lip(phi^-1) by the way in which they were proven; `certified` is the smallest."""
        return dict(self.content["inverse_lipschitz"])

    @property
    def forward_lipschitz(self) -> dict[str, float | None]:
        """Bounds of Lip(phi) by the way in which they were proven; `certified` is the smallest."""
        return dict(self.content["forward_lipschitz"])

    @property
    def reconstruction_lipschitz(self) -> float | None:
        """The bound of Lip(R), from what the network `reads` to images: what a padding adds is in it.

        That is the measurement z, or A*z / ||A||^2 where measurements are not in X and the network has no pull-back.
        """
        bound = self.content["reconstruction_lipschitz"]
        return None if bound is None else float(bound)

    @property
    def statement(self) -> str:
        """The bound of Lip(R) in words: what the certificate claims."""
        bound = self.reconstruction_lipschitz
        if bound is None:
            proven = "; ".join(map(str, self.content.get("proven") or []))
            return f"no bound could be proven; proven is: {proven}" if proven else _UNPROVEN
        reads = self.content["reads"]
        which = "two measurements that" if reads == "z" else f"two measurements z whose {reads}"
        return (
            f"{which} differ by d in the Euclidean norm have exact reconstructions that differ by at most "
            f"{rounded_up(bound)} d"
        )

    @property
    def sentence(self) -> str:
        """The certificate in words, for those who have verified it."""
        statement = f"{self.statement}."
        return (
            f"Proven: {statement}"
            if self.reconstruction_lipschitz is not None
            else statement[0].upper() + statement[1:]
        )


def certificate_content(
    inverse: Mapping[str, float | None],
    forward: Mapping[str, float | None],
    reconstruction: float | None,
    weights: str,
    reads: str,
    further: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of a certificate, in the current format.

    Args:
        inverse: bounds of Lip(phi^-1) with `certified`.
        forward: bounds of Lip(phi) with `certified`.
        reconstruction: the bound of Lip(R).
        weights: hash of the weights.
        reads: what the network starts from, `z` or a formula.
        further: what the network needs to verify it.
    """
    return {
        "format": _FORMAT,
        "weights": weights,
        "reads": reads,
        "inverse_lipschitz": dict(inverse),
        "forward_lipschitz": dict(forward),
        "reconstruction_lipschitz": reconstruction,
        **further,
    }


def smallest(bounds: Mapping[str, float | None]) -> float | None:
    """The smallest of the bounds that could be proven; None if none could."""
    return min((bound for bound in bounds.values() if bound is not None), default=None)


def rounded_up(bound: float) -> str:
    """Four digits, never less than the bound; with an exponent where plain digits would be many."""
    digits = Context(prec=4, rounding=ROUND_CEILING).create_decimal_from_float(bound)
    return f"{digits:{'f' if -4 < digits.adjusted() < 9 else 'e'}}"
