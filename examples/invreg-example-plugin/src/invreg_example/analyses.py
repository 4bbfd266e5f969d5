"""What happens near the edges of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

import invreg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class EdgeErrors(invreg.Analyzer):
    """How large are errors near the left and right edge, where the boundary rule is felt?

    For every method, the root mean square of the errors over the columns that are k pixels away from the nearer edge,
    as a table `errors` with the columns method, distance and rms.
    """

    def __init__(
        self,
        width: Annotated[
            int,
            Field(
                ge=1,
                description="largest distance from the edge that is looked at",
                json_schema_extra={"unit": "pixels"},
            ),
        ] = 16,
    ) -> None:
        self.width = width

    def analyze(self, run: invreg.CompletedRun) -> invreg.Findings:
        import pandas as pd

        columns = run.images.test.images.shape[-1]
        rows = []
        for label, x_hat in run.reconstructions.items():
            squares = (x_hat - run.images.test.images).square().mean((0, 1, 2))
            for distance in range(min(self.width, columns // 2)):
                rms = float((squares[distance] + squares[columns - 1 - distance]).div(2).sqrt())
                rows.append({"method": label, "distance": distance, "rms": rms})
        table = pd.DataFrame(rows)
        at_edge = table[table["distance"] == 0]
        best = at_edge.loc[at_edge["rms"].idxmin(), "method"]
        return invreg.Findings(tables={"errors": table}, text=f"At the edge, {best} errs least.")

    def draw(self, findings: invreg.Findings) -> Mapping[str, Figure]:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3), layout="constrained")
        figure.set_label("Root mean square error by the distance from the left or right edge")
        axes = figure.subplots()
        for label, rows in findings.tables["errors"].groupby("method", sort=False):
            axes.plot(rows["distance"], rows["rms"], label=label)
        axes.set(xlabel="distance from the edge in pixels", ylabel="root mean square error", ylim=(0, None))
        axes.legend()
        return {"errors": figure}
