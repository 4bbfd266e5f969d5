"""Proven Lipschitz bounds of the networks of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from invreg import Analyzer, CertifiesStability, CompletedRun, Findings
from invreg_analyses.shared.panels import log_axis, panels
from invreg_analyses.shared.style import INK, MUTED, WIDTH, MethodStyle, method_styles, shortened
from invreg_analyses.shared.tables import methods_table
from invreg_analyses.stability.text import rounded_up

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from invreg import StabilityCertificate

_EXACT = (
    "Exact reconstructions are those that the inversion tends to; how far the computed ones are from them is bounded "
    "for each image on its own."
)
_TITLES = {"inverse": "Inverse: how much an error can grow", "forward": "Network: how much a change can grow"}
#: Height of a bar; opacity of all but the smallest bound.
_BAR, _FAINT = 0.62, 0.35


class Certificate(Analyzer):
    """Proven Lipschitz bounds of each network that certifies its stability, by the way in which they were proven.

    Makes the certificates of the run (or reads and verifies those in the run folder,
    `methods/<label>/certificate.json`): bounds of Lip(phi^-1), Lip(phi) and Lip(R), R the reconstruction, for the
    stored weights, in Euclidean norms and exact arithmetic. The table `subnetworks` has the numbers of each part of a
    network, if a certificate lists any.
    """

    requires = (CertifiesStability,)
    takes_volumes = True

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
            # Weights may be changed later: whether it is proven for those that are there, the report finds out itself.
            sentences.append(f"{label}, as certified for this analysis: {certificate.statement}.")
            sentences += _joined(certificate)
        if any(one["of"] == "reconstruction" and one["bound"] is not None for one in bounds):
            sentences.append(_EXACT)
        columns = ["method", "of", "proof", "bound"]
        return Findings(
            scalars=scalars,
            tables={
                "bounds": pd.DataFrame(bounds, columns=columns),
                **({"subnetworks": pd.DataFrame(parts)} if parts else {}),
                "methods": methods_table(run),
            },
            text=" ".join(sentences),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        import pandas as pd

        table = findings.tables["bounds"]
        # A column without any number is one of empty texts when it is read again.
        bounds = table.assign(bound=pd.to_numeric(table["bound"], errors="coerce"))
        return {"bounds": _draw(bounds, findings.tables["methods"])} if bounds["bound"].notna().any() else {}


def _joined(certificate: StabilityCertificate) -> list[str]:
    """How the bound of the reconstruction follows from that of the inverse, where it is another number."""
    inner, whole = certificate.inverse_lipschitz.get("certified"), certificate.reconstruction_lipschitz
    if inner is None or whole is None or rounded_up(inner) == rounded_up(whole):
        return []
    return [
        f"The inverse of the network alone has the bound {rounded_up(inner)}; what stands around it, such as the "
        f"padding of the measurement, makes it {rounded_up(whole)}."
    ]


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


def _draw(bounds: pd.DataFrame, methods: pd.DataFrame) -> Figure:
    """Horizontal bars on a logarithmic axis: one group per method, one bar per proof.

    In full colour the smallest one, and that of the whole reconstruction, which the sentence is about.
    """
    bounds = bounds[bounds["bound"].notna() & ((bounds["proof"] != "certified") | (bounds["of"] == "reconstruction"))]
    bounds = bounds.assign(of=bounds["of"].replace("reconstruction", "inverse"))
    styles = method_styles(methods)
    sides = [side for side in _TITLES if (bounds["of"] == side).any()]
    rows = max(int((bounds["of"] == side).sum()) for side in sides)
    description = (
        "Proven Lipschitz bounds of each network and of its inverse, by the way in which they were proven; "
        "reconstruction: the inverse with all that stands around it"
    )
    with panels(len(sides), description, width=WIDTH, height=0.3 * rows, margin=1.1, grid="x") as (figure, grid):
        for axes, side in zip(grid, sides, strict=True):
            _draw_side(axes, bounds[bounds["of"] == side], styles)
            axes.set_title(_TITLES[side])
            axes.set_xlabel("proven Lipschitz bound")
    return figure


def _draw_side(axes: Axes, bounds: pd.DataFrame, styles: Mapping[str, MethodStyle]) -> None:
    names, position = [], 0.0
    for label, group in bounds.groupby("method", sort=False):
        is_whole = group["proof"] == "certified"
        best = group.loc[~is_whole, "bound"].min()
        for row in group.itertuples():
            is_strong = row.bound == best or row.proof == "certified"
            alpha = 1.0 if is_strong else _FAINT
            axes.barh(position, row.bound - 1, left=1, height=_BAR, color=styles[str(label)].color, alpha=alpha)
            axes.annotate(
                rounded_up(float(row.bound)),  # type: ignore[arg-type]
                (row.bound, position),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=INK if is_strong else MUTED,
            )
            proof = "reconstruction" if row.proof == "certified" else row.proof
            names.append((position, f"{shortened(str(label), 20)}: {proof}"))
            position += 1
        position += 0.5
    axes.set_yticks([place for place, _ in names], [name for _, name in names])
    axes.invert_yaxis()
    axes.set_xlim(1, max(2.0, bounds["bound"].max()) ** 1.25)
    log_axis(axes, "x")
