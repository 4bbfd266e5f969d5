"""Quality of reconstructions over the size of a perturbation of the measurement that is made to harm them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from invreg import Analyzer, CompletedRun, Findings, InvregError, recorded_warnings
from invreg.text import number, plural, with_unit
from invreg_analyses.shared.evaluated import as_evaluated
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.tables import methods_table
from invreg_analyses.stability.adversarial_figures import draw_attacked, draw_over_size
from invreg_analyses.stability.directions import noise, rounds
from invreg_analyses.stability.levels import PROBE, noise_levels
from invreg_analyses.stability.record import Proven, proven_of
from invreg_analyses.stability.search import (
    Reconstruction,
    norms,
    power_search,
    scaled,
    sizes,
    subspace_search,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_VALUES = ("method", "image", "radius", "size", "error", "random", "proven", "psnr", "psnr_random", "psnr_proven")
PICTURES = ("perturbation", "reconstruction", "attacked")
#: Of a search with gradients, what costs as much as a round of one without.
_ITERATIONS_PER_ROUND = 5
#: Relative change of z that models inexact computation, as in the analysis `stability`.
_ACCURACY = 1e-4


@dataclass
class _Attacked:
    """The attacks on one method.

    Attributes:
        proven: its proven bound.
        rows: of the table of values.
        gradient: whether R has one.
        violations: errors above the proven ones.
        failure: the error that ended the attacks early.
        pictures: perturbations and reconstructions of all images, at the radius that is pictured.
    """

    proven: Proven
    rows: list[dict[str, Any]] = field(default_factory=list)
    gradient: bool = True
    violations: int = 0
    failure: str = ""
    pictures: list[tuple[Tensor, ...]] = field(default_factory=list)


class Adversarial(Analyzer):
    """How much can a small change of the measurement, made to harm, spoil a reconstruction? And how much can it not?

    For each method R, test image x with measurement z, and radius r (in norms of the noise on z), a perturbation d with
    ||d|| <= r is sought that makes the error ||R(z + d) - x|| as large as possible: by the ascent
    d <- r g / ||g||, g = R'(z + d)* (R(z + d) - x), which starts at d = 0, and then from the worst d of the radius
    before; or without gradients, by the combinations of simple patterns and noise of the analysis `stability`, where R
    has none. Beside it:

    - `random`: the error for white noise of the norm r instead;
    - `proven`: ||R(z) - x|| + Lip(R) r, for methods with a certificate. No perturbation can do more.

    Errors are Euclidean; `psnr` is -10 log10(error² / number of values). An attack that does little does not show that
    a method is stable: another one may find more. A search without gradients finds less than one with them. Errors
    above the proven ones by more than inexact computation accounts for count in `violations`.

    Source: robustness against adversarial perturbations, Arndt & Nickel 2024 (arXiv 2409.13482v3).
    """

    def __init__(
        self,
        images: Annotated[int, Field(ge=1, le=10_000, description="number of test images, the first ones")] = 8,
        radii: Annotated[
            tuple[Annotated[float, Field(gt=0, le=100)], ...],
            Field(
                min_length=1,
                description="largest norms of perturbations, in norms of the noise (of 1 % of ||z|| without noise)",
            ),
        ] = (0.5, 1.0, 2.0, 4.0),
        iterations: Annotated[int, Field(ge=1, le=10_000, description="of the search at each radius")] = 8,
    ) -> None:
        self.images = images
        self.radii = radii
        self.iterations = iterations

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        levels = noise_levels(run, self.images)
        radii = sorted(set(self.radii))
        pictured = min(radii, key=lambda radius: abs(math.log(radius)))
        progress = Progress(run.events, "adversarial", "attacks", len(run.methods))
        found: dict[str, _Attacked] = {}
        for label in run.methods:
            one = found[label] = _Attacked(proven_of(run, label))
            net = run.methods[label].reconstructor
            try:
                with recorded_warnings([]), as_evaluated(net):
                    self._attack(run, label, Reconstruction(net), levels, radii, pictured, one)
            except InvregError as error:
                one.failure = error.what
            one.rows.sort(key=lambda row: float(row["radius"]))
            progress.advance()
        values = pd.DataFrame([row for one in found.values() for row in one.rows], columns=_VALUES)
        means = values.groupby(["method", "radius"], sort=False).mean(numeric_only=True).reset_index()
        summary = pd.DataFrame([_summary(label, one) for label, one in found.items()])
        names = [str(name) for name in run.images.test.names[: len(levels)]]
        scalars: dict[str, Any] = {"images": len(levels), "pictured_radius": pictured}
        scalars["violations"] = int(summary["violations"].sum())
        arrays: dict[str, Any] = {}
        whole = [label for label, one in found.items() if sum(len(part[0]) for part in one.pictures) == len(levels)]
        if whole:
            chosen = _most_harmed(values[values["method"].isin(whole)], names, pictured)
            scalars["pictured_image"] = names[chosen]
            arrays["truth"] = run.images.test.images[chosen : chosen + 1].numpy()
            for i, name in enumerate(PICTURES):
                every = [torch.cat([part[i] for part in found[label].pictures])[chosen] for label in whole]
                arrays[name] = torch.stack(every).numpy()
        summary["pictured"] = summary["method"].isin(whole)
        return Findings(
            scalars,
            {"values": values, "means": means, "summary": summary, "methods": methods_table(run)},
            arrays,
            _text(means, summary, pictured, len(levels)),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figures = {}
        if len(findings.tables["means"]):
            figures["over_size"] = draw_over_size(findings)
        if findings.arrays:
            figures["attacked"] = draw_attacked(findings)
        return figures

    def _attack(
        self,
        run: CompletedRun,
        label: str,
        net: Reconstruction,
        levels: Tensor,
        radii: Sequence[float],
        pictured: float,
        found: _Attacked,
    ) -> None:
        names = [str(name) for name in run.images.test.names]
        shape = tuple(run.measurements.shape[1:])
        # Two reconstructions with their graphs are in memory at the same time.
        step = max(run.batch_size // 2, 1)
        for start in range(0, len(levels), step):
            part = slice(start, min(start + step, len(levels)))
            z, level = run.measurements[part].to(run.device), levels[part].to(run.device)
            x, clean = run.images.test.images[part].to(run.device), net(z).double()
            drawn = noise(run.seed, "random", names[part], 0, shape).to(z)
            if not start:
                probe = noise(run.seed, "probe", names[part], 0, shape).to(z)
                found.gradient = net.has_gradient(z, scaled(probe, level, probe))
            error, point = norms(clean - x.double()), z
            base, direction = error, drawn
            if found.gradient:
                pulled = net.with_vjp(z)[1](clean - x.double())
                direction = scaled(pulled, level, drawn)
            rows = [(0.0, torch.zeros_like(level), error, error)]
            for radius in radii:
                size = radius * level
                if found.gradient:
                    worst = power_search(net, z, direction, size, self.iterations, x)
                else:
                    count = -(-self.iterations // _ITERATIONS_PER_ROUND)
                    blocks = ([one.to(z) for one in block] for block in rounds(run.seed, names[part], shape, count))
                    worst = subspace_search(net, z, direction, size, blocks, x)
                direction = worst.direction
                reached = worst.ratios * worst.distances
                # What a smaller perturbation does, a larger one may do as well: norms are r at most.
                larger = reached > error
                error = torch.where(larger, reached, error)
                point = torch.where(larger.view(-1, *[1] * (z.ndim - 1)), worst.perturbed, point)
                harmless = norms(net(z + scaled(drawn, size, drawn)).double() - x.double())
                rows.append((radius, size, error, harmless))
                if radius == pictured:
                    kept = point - z, clean, net(point)
                    found.pictures.append(tuple(one.float().cpu() for one in kept))
            for radius, size, reached, harmless in rows:
                proven = base + found.proven.bound * size
                slack = found.proven.bound * 2 * _ACCURACY * sizes(z) + PROBE * proven
                found.violations += int((reached > proven + slack).sum())
                found.rows += _rows(label, names[part], radius, size, (reached, harmless, proven), x[0].numel())


def _rows(
    label: str, names: Sequence[str], radius: float, size: Tensor, errors: Sequence[Tensor], count: int
) -> list[dict[str, Any]]:
    decibels = [-20 * (error / math.sqrt(count)).clamp_min(1e-300).log10() for error in errors]
    columns = [one.tolist() for one in (size, *errors, *decibels)]
    return [
        dict(zip(_VALUES, (label, name, radius, *row), strict=True))
        for name, row in zip(names, zip(*columns, strict=True), strict=True)
    ]


def _summary(label: str, found: _Attacked) -> dict[str, Any]:
    return {
        "method": label,
        "proven": found.proven.bound,
        "no_certificate": found.proven.failure,
        "gradient": found.gradient,
        "violations": found.violations,
        "failure": found.failure,
    }


def _most_harmed(values: pd.DataFrame, names: Sequence[str], radius: float) -> int:
    """The position of the image whose error grows most up to this radius, on average over the methods."""
    table = values.pivot_table(index="image", columns="radius", values="error", aggfunc="mean", sort=False)
    return names.index(str((table[radius] - table[0.0]).fillna(-math.inf).idxmax()))


def _text(means: pd.DataFrame, summary: pd.DataFrame, radius: float, images: int) -> str:
    """What perturbations of one size do to each method, and what noise of that size does."""

    def decibels(value: float) -> str:
        return with_unit(number(value, "dB"), "dB")

    parts, notes = [], []
    for row in summary.itertuples():
        own = means[means["method"] == row.method].set_index("radius")
        if radius not in own.index:
            notes.append(f"{row.method}: {str(row.failure).rstrip('.') or 'nothing found'}.")
            continue
        clean, hit = own.loc[0.0], own.loc[radius]
        text = f"{row.method} from {decibels(clean['psnr'])} to {decibels(hit['psnr'])}"
        text += f" (random noise of that size: {decibels(hit['psnr_random'])}"
        text += f"; proven: not below {decibels(hit['psnr_proven'])})" if not math.isnan(row.proven) else ")"
        parts.append(text)
        if row.failure:
            notes.append(f"{row.method}: the search ended early: {str(row.failure).rstrip('.')}.")
        if row.violations:
            notes.append(f"{row.method}: the proven bound is VIOLATED in {plural(row.violations, 'case')}.")
    blind = [str(row.method) for row in summary.itertuples() if not row.gradient and not row.failure]
    if blind:
        notes.append(f"Searched without gradients, with which more might be found: {', '.join(blind)}.")
    head = f"Perturbations of {number(radius)} times the norm of the noise, made to harm, lower the mean PSNR over "
    sentences = [f"{head}{plural(images, 'image')}: {', '.join(parts)}."] if parts else []
    return " ".join([*sentences, *notes])
