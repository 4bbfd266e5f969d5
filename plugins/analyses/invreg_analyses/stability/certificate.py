"""What is proven of the stability of the networks of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from invreg import Analyzer, CertifiesStability, CompletedRun, Findings
from invreg_analyses.shared.tables import methods_table
from invreg_analyses.stability.certificate_figures import draw_bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from invreg import StabilityCertificate


class Certificate(Analyzer):
    """Proven Lipschitz bounds of each network that certifies its stability, by the way in which they were proven.

    Makes the certificates of the run (or reads and verifies those that are there): bounds of Lip(phi^-1), of Lip(phi)
    and of the reconstruction, for the stored weights, in Euclidean norms and exact arithmetic. They lie in the run
    folder as `methods/<label>/certificate.json`. For each part of a network that a certificate lists, the table
    `subnetworks` has its numbers.
    """

    requires = (CertifiesStability,)

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        bounds: list[dict[str, Any]] = []
        parts: list[dict[str, Any]] = []
        scalars: dict[str, Any] = {}
        sentences = []
        for label in self.methods_of(run):
            certificate = run.certificates[label]
            bounds += _bounds(label, certificate)
            parts += _parts(label, certificate)
            proven = certificate.reconstruction_lipschitz
            scalars[f"reconstruction_lipschitz_{label}"] = "not proven" if proven is None else proven
            sentences.append(f"{label}: {certificate.sentence}")
        columns = ["method", "of", "proof", "bound"]
        return Findings(
            scalars=scalars,
            tables={
                "bounds": pd.DataFrame(bounds, columns=columns),
                "subnetworks": pd.DataFrame(parts),
                "methods": methods_table(run),
            },
            text=" ".join(sentences),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        proven = findings.tables["bounds"]["bound"].notna()
        return {"bounds": draw_bounds(findings)} if proven.any() else {}


def _bounds(label: str, certificate: StabilityCertificate) -> list[dict[str, Any]]:
    sides = {"inverse": certificate.inverse_lipschitz, "forward": certificate.forward_lipschitz}
    rows = [
        {"method": label, "of": side, "proof": proof, "bound": bound}
        for side, found in sides.items()
        for proof, bound in found.items()
    ]
    whole = {"method": label, "of": "reconstruction", "proof": "certified"}
    return [*rows, {**whole, "bound": certificate.reconstruction_lipschitz}]


def _parts(label: str, certificate: StabilityCertificate) -> list[dict[str, Any]]:
    """The plain numbers of each subnetwork, if the certificate lists any."""
    listed = certificate.content.get("subnetworks", [])
    return [
        {"method": label, "subnetwork": number}
        | {key: value for key, value in one.items() if isinstance(value, int | float)}
        for number, one in enumerate(listed, 1)
        if isinstance(one, Mapping)
    ]
