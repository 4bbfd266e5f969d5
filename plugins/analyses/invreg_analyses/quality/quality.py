"""How good are the reconstructions, how sure is that, and how much do the methods differ?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from invreg import Analyzer, CompletedRun, Findings, stream_key
from invreg.text import count, metric_title, number, with_unit
from invreg_analyses.quality.figures import draw_differences, draw_values
from invreg_analyses.shared.statistics import mean_interval
from invreg_analyses.shared.sufficiency import row_if_behind, sufficiency_in_words, sufficiency_table
from invreg_analyses.shared.tables import methods_table, metrics_table, values_by_image

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MEANS = ("metric", "method", "mean", "std", "low", "high", "images", "missing")
_DIFFERENCES = ("metric", "method", "other", "difference", "low", "high", "wins", "images", "missing")


class Quality(Analyzer):
    """Every metric of the run for each method, with the uncertainty that comes from the choice of test images.

    For each metric and method: the mean over the test images, the standard deviation (n - 1 in the denominator) and a
    confidence interval of the mean. For each pair of methods, the better one first: the mean of the differences image
    by image, with its interval, and on how many images the first is better. Pairs say more than two separate
    intervals, because images differ far more among each other than methods do on one image.

    Where a learned method is not better than the best one without learned weights, the table `training` and the text
    say how long it was trained, and whether its log shows that this was too brief (see `judge`).

    The intervals (see `mean_interval`) are drawn with keys that derive from the run's seed; they say
    nothing about another training of the same network. Values that are NaN or infinite are left out and counted in the
    column `missing`.
    """

    def __init__(
        self,
        confidence: Annotated[float, Field(ge=0.5, lt=1, description="probability asked of the intervals")] = 0.95,
        resamples: Annotated[int, Field(ge=1000, le=1_000_000, description="number of bootstrap samples")] = 10_000,
    ) -> None:
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        methods, metrics = methods_table(run), metrics_table(run)
        values = {name: values_by_image(run, name) for name in metrics["metric"]}
        means = pd.DataFrame(
            [self._mean(run.seed, name, label, values[name][label]) for name in values for label in run.methods],
            columns=_MEANS,
        )
        first = metrics.iloc[0]
        ranking = _ranking(means[means["metric"] == first["metric"]], first["higher_is_better"])
        baseline = _baseline(methods, ranking)
        differences = pd.DataFrame(
            [row for metric in metrics.itertuples() for row in self._differences(run.seed, metric, values, means)],
            columns=_DIFFERENCES,
        )
        long = [
            pd.DataFrame({"metric": name, "method": label, "image": table.index, "value": table[label].to_numpy()})
            for name, table in values.items()
            for label in table.columns
        ]
        training = _training(run, first, baseline, methods, differences)
        tables = {
            "means": means,
            "differences": differences,
            "training": training,
            "values": pd.concat(long, ignore_index=True),
        }
        resampling = (
            f"Intervals: bootstrap over the images, {count(self.resamples)} resamples from the run's seed; Student's "
            "for fewer than eight images."
        )
        return Findings(
            scalars={
                "best": ranking[0],
                "baseline": baseline,
                "confidence": self.confidence,
                "resamples": self.resamples,
            },
            tables={**tables, "methods": methods, "metrics": metrics},
            text=" ".join(
                filter(
                    None,
                    [
                        _sentence(first, ranking, baseline, means, differences, self.confidence),
                        sufficiency_in_words(training, first),
                        resampling,
                    ],
                )
            ),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figures = {"by_image": draw_values(findings)}
        if len(findings.tables["methods"]) > 1:
            figures["differences"] = draw_differences(findings)
        return figures

    def _mean(self, seed: int, metric: str, label: str, values: pd.Series) -> dict[str, Any]:
        key = stream_key(seed, "quality", metric, label)
        found = mean_interval(values.to_numpy(dtype=float), self.confidence, self.resamples, key)
        return {
            "metric": metric,
            "method": label,
            "mean": found.mean,
            "std": found.std,
            "low": found.low,
            "high": found.high,
            "images": found.count,
            "missing": found.missing,
        }

    def _differences(
        self, seed: int, metric: Any, values: Mapping[str, pd.DataFrame], means: pd.DataFrame
    ) -> list[dict[str, Any]]:
        name, sign = metric.metric, 1 if metric.higher_is_better else -1
        ranking = _ranking(means[means["metric"] == name], metric.higher_is_better)
        rows = []
        for label, other in combinations(ranking, 2):
            by_image = (values[name][label] - values[name][other]).to_numpy(dtype=float)
            # One key for both orders of a pair: which method comes first depends on the data.
            key = stream_key(seed, "quality", "difference", name, *sorted((label, other)))
            found = mean_interval(by_image, self.confidence, self.resamples, key)
            rows.append(
                {
                    "metric": name,
                    "method": label,
                    "other": other,
                    "difference": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "wins": int((sign * by_image[np.isfinite(by_image)] > 0).sum()),
                    "images": found.count,
                    "missing": found.missing,
                }
            )
        return rows


def _ranking(means: pd.DataFrame, higher_is_better: bool) -> list[str]:
    """The labels from the best mean to the worst; equal ones in the order of the spec, those without a value last."""
    keyed = means.set_index("method")["mean"]
    ordered = keyed.sort_values(ascending=not higher_is_better, na_position="last", kind="stable")
    return [str(label) for label in ordered.index]


def _baseline(methods: pd.DataFrame, ranking: list[str]) -> str:
    """The best method without learned weights; the first of the spec if all have some."""
    references = set(methods.loc[methods["weights"] == 0, "method"])
    return next((label for label in ranking if label in references), str(methods["method"].iloc[0]))


def _training(
    run: CompletedRun, metric: pd.Series, baseline: str, methods: pd.DataFrame, differences: pd.DataFrame
) -> pd.DataFrame:
    """How the learned methods that are not better than the baseline were trained."""
    weights = methods.set_index("method")["weights"]
    rows = []
    if weights[baseline] == 0:
        pairs = differences[(differences["metric"] == metric["metric"]) & (differences["method"] == baseline)]
        for _, pair in pairs.iterrows():
            if weights[pair["other"]] > 0:
                turned = {"difference": -pair["difference"], "low": -pair["high"], "high": -pair["low"]}
                log = run.methods[pair["other"]].log
                rows.append(row_if_behind(pair["other"], baseline, turned, log, metric))
    return sufficiency_table([row for row in rows if row])


def _sentence(
    metric: pd.Series,
    ranking: list[str],
    baseline: str,
    means: pd.DataFrame,
    differences: pd.DataFrame,
    confidence: float,
) -> str:
    name, unit, title = metric["metric"], metric["unit"], metric_title(metric["metric"])
    means = means[means["metric"] == name].set_index("method")
    best = ranking[0]
    row = means.loc[best]
    if not row["images"]:
        return f"No method has a finite {title} on any image."

    def interval(of: pd.Series, signed: bool = False) -> str:
        return f"{number(of['low'], unit, signed=signed)} to {number(of['high'], unit, signed=signed)}"

    text = f"{best} has " + ("the best mean" if len(ranking) > 1 else "a mean")
    text += f" {title}, {with_unit(number(row['mean'], unit), unit)} "
    text += f"on {int(row['images'])} images" if row["images"] > 1 else "on one image"
    if row["images"] > 1:
        text += f" ({confidence * 100:g} % interval {interval(row)})"
    other = baseline if baseline != best else next(iter(ranking[1:]), None)
    if other is not None:
        pair = differences[
            (differences["metric"] == name) & (differences["method"] == best) & (differences["other"] == other)
        ].iloc[0]
        if pair["images"]:
            text += f": {with_unit(number(pair['difference'], unit, signed=True), unit)} against {other}"
        if pair["images"] > 1:
            text += f" ({interval(pair, signed=True)}"
            text += ", which includes zero)" if pair["low"] <= 0 <= pair["high"] else ")"
            text += f", better on {int(pair['wins'])} of {int(pair['images'])} images"
    missing = means[means["missing"] > 0]["missing"]
    if len(missing):
        text += "; left out because not finite: " + ", ".join(f"{n} of {label}" for label, n in missing.items())
    return text + "."
