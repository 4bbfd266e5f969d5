"""Bounds of the quality of an unseen image, for any method, by split conformal prediction."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from invreg import (
    Analyzer,
    CompletedRun,
    Findings,
    Problem,
    SpecError,
    Splits,
    UnknownOperator,
    did_you_mean,
    recorded_warnings,
)
from invreg.text import metric_title, number, percent, plural, with_unit
from invreg_analyses.conformal.calibration import Line, Ranks, fit_line, ranks
from invreg_analyses.conformal.figures import KNOWN, draw_bounds, draw_known
from invreg_analyses.shared.evaluated import as_evaluated
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.tables import methods_table, metrics_table, values_by_image

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Smaller values of what is known count as this: their logarithm is taken.
_SMALLEST = 1e-6
_BOUNDS = ("method", "known", "intercept", "slope", "low", "high", "spread", "mean_low", "mean_high", "chosen")


class Conformal(Analyzer):
    """How good will the reconstruction of an unseen image be? A bound for every method, with the coverage asked for.

    Split conformal prediction: the n test images calibrate. If one more image is exchangeable with them, its value of
    the metric is equally likely to have each of the ranks 1 to n + 1 among all, so it is not worse than the value of
    rank floor((n + 1) (1 - coverage)), counted from the worst, with probability `coverage` at least. That holds for
    any method, distribution and n; it is a statement over the draw of all n + 1 images, and the share of many further
    images that are covered varies with the test set by its Beta distribution.

    The same is done for what is left of the metric after a prediction a + b log10(f), with a number f that is known
    without the truth: the detail of the reconstruction (root mean square difference of neighbours), or its residual
    F(R(z)) - z (root mean square). The coefficients, and which of the predictions is `chosen` (the smallest
    leave-one-out error; also none), come from the validation images alone, so that coverage stays exact.

    Raises:
        SpecError: if there are too few test images for the coverage, or the run does not have the metric.

    Source: Vovk, Gammerman & Shafer 2005, Algorithmic Learning in a Random World; Lei, G'Sell, Rinaldo, Tibshirani &
    Wasserman 2018, Distribution-Free Predictive Inference for Regression, theorem 2.2 (split conformal).
    """

    def __init__(
        self,
        coverage: Annotated[
            float, Field(ge=0.5, lt=1, description="probability with which the bound holds for an unseen image")
        ] = 0.9,
        metric: Annotated[str | None, Field(description="a metric of the run; null: the first one")] = None,
        two_sided: Annotated[
            bool, Field(description="whether it is an interval, rather than a bound at the worse end alone")
        ] = False,
    ) -> None:
        self.coverage = coverage
        self.metric = metric
        self.two_sided = two_sided

    def check(self, problem: Problem, images: Splits, metrics: Collection[str]) -> None:
        ranks(len(images.test), self.coverage, self.two_sided)
        _number_of(self.metric, metrics)

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        metrics = metrics_table(run)
        metric = _metric(metrics, self.metric)
        chosen_ranks = ranks(len(run.images.test), self.coverage, self.two_sided)
        values = values_by_image(run, metric["metric"])
        progress = Progress(run.events, "conformal", "validation images", len(run.methods))
        bounds, images = list[dict[str, Any]](), list["pd.DataFrame"]()
        messages: list[str] = []
        for label in run.methods:
            with recorded_warnings(messages):
                lines = _lines(run, label, metric["metric"])
            known = _known(run, run.reconstructions[label], run.measurements)
            own = values[label].to_numpy(dtype=float)
            for name, line in lines.items():
                row, low, high = _calibrated(chosen_ranks, line, known.get(name), own, metric["higher_is_better"])
                bounds.append({"method": label, "known": name, **row})
                columns = {"known": name, "f": known.get(name, math.nan), "value": own, "low": low, "high": high}
                images.append(pd.DataFrame({"method": label, "image": values.index, **columns}))
            progress.advance()
        table = pd.DataFrame(bounds, columns=_BOUNDS[:-1])
        table["chosen"] = table.index.isin(table.groupby("method", sort=False)["spread"].idxmin())
        least, most = chosen_ranks.coverage_range()
        scalars: dict[str, Any] = {
            "coverage": self.coverage,
            "exact_coverage": chosen_ranks.coverage,
            "coverage_low": least,
            "coverage_high": most,
            "images": chosen_ranks.count,
            "validation_images": len(run.images.val),
            "two_sided": self.two_sided,
        }
        for row in table[table["known"] == "nothing"].itertuples():
            scalars[f"bound_{row.method}"] = row.low if metric["higher_is_better"] else row.high
        return Findings(
            scalars,
            {
                "bounds": table,
                "images": pd.concat(images, ignore_index=True),
                "methods": methods_table(run),
                "metrics": metrics[metrics["metric"] == metric["metric"]].reset_index(drop=True),
            },
            text=_text(scalars, table, metric),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figures = {"bounds": draw_bounds(findings)}
        if (findings.tables["bounds"]["known"] != "nothing").any():
            figures["known"] = draw_known(findings)
        return figures


def _metric(metrics: pd.DataFrame, name: str | None) -> pd.Series:
    return metrics.iloc[_number_of(name, list(metrics["metric"]))]


def _number_of(name: str | None, known: Collection[str]) -> int:
    if name is not None and name not in known:
        hint = did_you_mean(name, known)
        raise SpecError(repr(name), where="conformal.metric", expected=f"one of {', '.join(known)}", hint=hint)
    return list(known).index(name) if name is not None else 0


def _lines(run: CompletedRun, label: str, name: str) -> dict[str, Line]:
    """What the validation images say of the metric, by what is known; without anything known it is compared as it is.

    Validation images have chosen weights and parameters: they can predict, but not calibrate.
    """
    net, metric, val = run.methods[label].reconstructor, run.metric_components[name], run.images.val
    z = val.measured(run.problem, "val", run.seed, run.batch_size, run.device)
    with as_evaluated(net), torch.no_grad():
        x_hat = torch.cat([net(batch.to(run.device)).cpu() for batch in z.split(run.batch_size)])
    values = metric(x_hat, val.images).double().cpu().numpy()
    mean = fit_line(None, values)
    found = {"nothing": Line(0.0, 0.0, mean.spread if mean else math.inf)}
    fitted = {known: fit_line(f, values) for known, f in _known(run, x_hat, z).items()}
    return found | {known: line for known, line in fitted.items() if line is not None}


def _known(run: CompletedRun, x_hat: Tensor, z: Tensor) -> dict[str, NDArray[np.float64]]:
    """Numbers that are known without the truth, by name, one for each image: their logarithms."""
    rows, columns = (x_hat.double().diff(dim=axis).square() for axis in (-2, -1))
    detail = rows.sum((1, 2, 3)) / max(rows[0].numel(), 1) + columns.sum((1, 2, 3)) / max(columns[0].numel(), 1)
    found = {"detail": detail.sqrt()}
    if not isinstance(run.problem.operator, UnknownOperator):
        with torch.no_grad():
            batches = x_hat.split(run.batch_size)
            predicted = torch.cat([run.problem.operator(batch.to(run.device)).cpu() for batch in batches])
        found["residual"] = (predicted.double() - z.double()).square().flatten(1).mean(1).sqrt()
    return {name: values.clamp_min(_SMALLEST).log10().numpy() for name, values in found.items()}


def _calibrated(
    chosen: Ranks, line: Line, f: NDArray[np.float64] | None, values: NDArray[np.float64], higher_is_better: bool
) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[np.float64]]:
    """The row of the table `bounds`, and the ends for each image; ends that are open are NaN."""
    expected = line(f) if f is not None else np.zeros(len(values))
    worse, better = chosen.ends((values - expected) if higher_is_better else (expected - values))
    better = math.nan if math.isinf(better) and chosen.high > chosen.count else better
    low, high = (worse, better) if higher_is_better else (-better, -worse)
    ends = expected + low, expected + high
    row = {"intercept": line.intercept, "slope": line.slope, "low": low, "high": high, "spread": line.spread}
    return row | {"mean_low": float(ends[0].mean()), "mean_high": float(ends[1].mean())}, *ends


def _text(scalars: Mapping[str, Any], bounds: pd.DataFrame, metric: pd.Series) -> str:
    """The bound of each method, and what the chosen prediction gains on average."""
    name, unit, up = metric_title(metric["metric"]), metric["unit"], metric["higher_is_better"]
    two_sided = scalars["two_sided"]

    def written(row: Any, low: float, high: float) -> str:
        ends = [with_unit(number(end, unit), unit) for end in (low, high) if not math.isnan(end)]
        return f"{' to '.join(ends)} ({row.method})"

    head = "within" if two_sided else f"at {'least' if up else 'most'}"
    plain = bounds[bounds["known"] == "nothing"]
    sentences = [
        f"With probability {percent(scalars['exact_coverage'])} ({percent(scalars['coverage'])} asked for), the {name} "
        f"of an unseen image that is exchangeable with the {plural(scalars['images'], 'test image')} is {head} "
        f"{', '.join(written(row, row.low, row.high) for row in plain.itertuples())}."
    ]
    known = [
        f"{written(row, row.mean_low, row.mean_high)[:-1]}, from its {KNOWN[str(row.known)][0]})"
        for row in bounds[bounds["chosen"] & (bounds["known"] != "nothing")].itertuples()
    ]
    if known:
        sentences.append(
            f"From what is known of a reconstruction without the truth it is, with the same probability, {head} on "
            f"average {', '.join(known)}."
        )
    sentences.append(
        f"Of many further images, {percent(scalars['coverage_low'])} to {percent(scalars['coverage_high'])} are "
        "covered, for nine of ten test sets of this size."
    )
    return " ".join(sentences)
