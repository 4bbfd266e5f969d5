"""The figure of certificates: bounds of a network and of its inverse, by the way in which they were proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invreg import Findings
from invreg_analyses.shared.style import INK, MUTED, WIDTH, drawing, dress, method_styles, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLES = {"inverse": "Inverse: how much an error can grow", "forward": "Network: how much a change can grow"}

_BAR = 0.62
#: Lighter than the bar of the smallest bound.
_FAINT = 0.35


def draw_bounds(findings: Findings) -> Figure:
    """Horizontal bars on a logarithmic axis: one group per method, one bar per proof, the smallest in full colour."""
    bounds = findings.tables["bounds"]
    bounds = bounds[bounds["bound"].notna() & (bounds["proof"] != "certified")]
    styles = method_styles(findings.tables["methods"])
    sides = [side for side in _TITLES if (bounds["of"] == side).any()]
    rows = max(int((bounds["of"] == side).sum()) for side in sides)
    description = "Proven Lipschitz bounds of each network and of its inverse, by the way in which they were proven"
    with drawing():
        figure = new_figure(WIDTH, 1.1 + 0.3 * rows, description)
        for axes, side in zip(figure.subplots(1, len(sides), squeeze=False)[0], sides, strict=True):
            _draw_side(axes, bounds[bounds["of"] == side], styles)
            axes.set_title(_TITLES[side])
            axes.set_xlabel("proven Lipschitz bound")
    return figure


def _draw_side(axes: Axes, bounds: Any, styles: Any) -> None:
    dress(axes, grid="x")
    axes.set_xscale("log")
    names, position = [], 0.0
    for label, group in bounds.groupby("method", sort=False):
        best = group["bound"].min()
        for row in group.itertuples():
            alpha = 1.0 if row.bound == best else _FAINT
            axes.barh(position, row.bound - 1, left=1, height=_BAR, color=styles[label].color, alpha=alpha)
            axes.annotate(
                f"{row.bound:.4g}",
                (row.bound, position),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=INK if row.bound == best else MUTED,
            )
            names.append((position, f"{shortened(str(label), 20)}: {row.proof}"))
            position += 1
        position += 0.5
    axes.set_yticks([place for place, _ in names], [name for _, name in names])
    axes.invert_yaxis()
    axes.set_xlim(1, max(2.0, bounds["bound"].max()) ** 1.25)
