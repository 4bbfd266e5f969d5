"""Search for perturbations that break proven Lipschitz bounds of reconstruction methods."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from invreg import Analyzer, CompletedRun, Findings, InvregError, recorded_warnings
from invreg_analyses.shared.evaluated import as_evaluated
from invreg_analyses.shared.tables import methods_table
from invreg_analyses.stability.directions import noise, rounds
from invreg_analyses.stability.figures import draw_found, draw_perturbations
from invreg_analyses.stability.levels import PROBE, noise_levels
from invreg_analyses.stability.record import PICTURES, RATIOS, SearchRecord, proven_of, summary_of
from invreg_analyses.stability.search import (
    Reconstruction,
    Worst,
    computing_errors,
    moving_search,
    power_search,
    random_search,
    scaled,
    sizes,
    subspace_search,
)
from invreg_analyses.stability.text import stability_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Smallest norm of perturbations, relative to the error of an inexact computation.
_ABOVE_ACCURACY = 50
#: Of a search with gradients, what costs as much as a round of one without.
_ITERATIONS_PER_ROUND = 5


class Stability(Analyzer):
    """Searches for perturbations of measurements that break a proven bound of Lip(R), and shows the gap to it.

    For each reconstruction method R: Y -> X, measurements z and perturbations d, the ratio

        ||R(z + d) - R(z)|| / ||d||

    of evaluated reconstructions, in Euclidean norms, is a lower bound of Lip(R); the certificate is an upper bound. The
    searches, for each image:

    - `random`: white noise of the norm of the noise of the problem, the worst of several draws;
    - `power`: power iteration d <- radius * g / ||g||, g = R'(z + d)* (R(z + d) - R(z)), for each radius;
    - `moving`: from there, with the smallest radius, z moves as well, to where the ratio is larger, by `reach` norms of
      the noise at most;
    - `subspace`, in place of these two where R has no gradient: the worst combination of some simple patterns, noise
      and smooth noise, by finite differences. It finds less than a gradient would.

    Computed reconstructions are inexact. The `floor` of a ratio is the change that this can cause: an inversion with a
    residual of norm t solves its equation for data that are off by t, so the first part allows for a change of z by
    `accuracy` ||z|| (such as the tolerance of an inversion times the number of inversions), the second is the scatter
    of reconstructions of measurements that differ by rounding. Radii are at least 50 `accuracy` ||z||, so that the
    first part is at most 4 % of a ratio. A ratio above the proven bound by more than its floor counts in `violations`.

    Source: proven bounds, Arndt & Nickel 2024, equation (2.3).
    """

    def __init__(
        self,
        images: Annotated[int, Field(ge=1, le=10_000, description="number of test images, the first ones")] = 8,
        iterations: Annotated[int, Field(ge=1, le=10_000, description="of each search with gradients")] = 20,
        draws: Annotated[int, Field(ge=1, le=10_000, description="of random noise, for each image")] = 8,
        radii: Annotated[
            tuple[Annotated[float, Field(gt=0, le=100)], ...],
            Field(
                min_length=1,
                description="norms of perturbations, in norms of the noise (of 1 % of ||z|| without noise)",
            ),
        ] = (0.25, 1.0),
        reach: Annotated[
            float, Field(gt=0, le=1000, description="how far measurements are moved at most, in norms of the noise")
        ] = 1.0,
        accuracy: Annotated[
            float,
            Field(ge=1e-7, le=1e-2, description="relative change of z that models inexact computation"),
        ] = 1e-4,
    ) -> None:
        self.images = images
        self.iterations = iterations
        self.draws = draws
        self.radii = radii
        self.reach = reach
        self.accuracy = accuracy

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        records = [self._searched(run, label) for label in run.methods]
        ratios = pd.DataFrame([row for record in records for row in record.rows], columns=RATIOS)
        summary = pd.DataFrame([summary_of(record, ratios) for record in records])
        scalars: dict[str, Any] = {"violations": int(summary["violations"].sum())}
        for row, record in zip(summary.itertuples(), records, strict=True):
            scalars[f"found_{row.method}"] = "nothing" if math.isnan(row.found) else float(row.found)
            if record.proven.is_claimed:
                scalars[f"proven_{row.method}"] = "not proven" if math.isnan(row.proven) else float(row.proven)
        pictures = [record.picture for record in records if record.picture]
        return Findings(
            scalars=scalars,
            tables={"ratios": ratios, "summary": summary, "methods": methods_table(run)},
            arrays={name: torch.cat([one[name] for one in pictures]).numpy() for name in PICTURES if pictures},
            text=stability_text(summary, len(self._measurements(run))),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figures = {}
        if findings.tables["summary"]["found"].gt(0).any():
            figures["found"] = draw_found(findings)
        if findings.arrays:
            figures["worst"] = draw_perturbations(findings)
        return figures

    def _measurements(self, run: CompletedRun) -> Tensor:
        return run.measurements[: self.images]

    def _searched(self, run: CompletedRun, label: str) -> SearchRecord:
        """All searches for one method; an error of the method ends only these."""
        record = SearchRecord(label, proven_of(run, label))
        net = run.methods[label].reconstructor
        try:
            with recorded_warnings(record.warnings), as_evaluated(net):
                self._search(run, Reconstruction(net), record)
        except InvregError as error:
            record.failure = error.what
        return record

    def _search(self, run: CompletedRun, net: Reconstruction, record: SearchRecord) -> None:
        z, levels = self._measurements(run), noise_levels(run, self.images)
        names = [str(name) for name in run.images.test.names]
        # Two reconstructions with their graphs are in memory at the same time.
        size = max(run.batch_size // 2, 1)
        for start in range(0, len(z), size):
            part = slice(start, min(start + size, len(z)))
            batch, level = z[part].to(run.device), levels[part].to(run.device)
            drawn = noise(run.seed, "probe", names[part], 0, tuple(z.shape[1:])).to(batch)
            if not start:
                record.gradient = net.has_gradient(batch, scaled(drawn, level, drawn))
            probe = scaled(drawn, PROBE * sizes(batch), drawn)
            scatter = computing_errors(net, batch, (probe, -probe))
            for search, worst in self._searches(net, batch, level, run.seed, names[part], record.gradient):
                floors = worst.ratios * 2 * self.accuracy * sizes(batch) / worst.distances + scatter / worst.distances
                record.add(search, names[part], worst, floors)
        record.picture_worst(net)

    def _searches(
        self, net: Reconstruction, z: Tensor, level: Tensor, seed: int, names: Sequence[str], gradient: bool
    ) -> Iterator[tuple[str, Worst]]:
        """Each search with its result; it starts with the worst direction of the one before."""
        shape = tuple(z.shape[1:])
        least = _ABOVE_ACCURACY * self.accuracy * sizes(z)
        noises = (noise(seed, "random", names, number, shape).to(z) for number in range(self.draws))
        strength = torch.maximum(level, least)
        worst = random_search(net, z, (scaled(one, strength, one) for one in noises))
        yield "random", worst
        for factor in sorted(set(self.radii), reverse=True):
            radius = torch.maximum(factor * level, least)
            if gradient:
                worst = power_search(net, z, worst.direction, radius, self.iterations)
                yield "power", worst
            else:
                count = -(-self.iterations // _ITERATIONS_PER_ROUND)
                directions = ([one.to(z) for one in block] for block in rounds(seed, names, shape, count))
                worst = subspace_search(net, z, worst.direction, radius, directions)
                yield "subspace", worst
        if gradient:
            yield "moving", moving_search(net, z, worst.direction, radius, self.reach * level, self.iterations)
