"""Metrics of all methods with confidence intervals, and differences between methods image by image."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import Analyzer, CompletedRun, Findings, stream_key
from invreg.text import metric_title, number, plural, with_unit
from invreg_analyses.quality.figures import difference_text, draw_differences, draw_values
from invreg_analyses.shared.statistics import Confidence, MeanInterval, Resamples, mean_interval
from invreg_analyses.shared.sufficiency import row_if_behind, sufficiency_table, sufficiency_text
from invreg_analyses.shared.tables import methods_table, metrics_table, values_by_image

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MEANS = ("metric", "method", "mean", "std", "low", "high", "images", "missing")
_DIFFERENCES = ("metric", "method", "other", "difference", "low", "high", "wins", "images", "missing")


class Quality(Analyzer):
    """Every metric of the run for each method, with the uncertainty that comes from the choice of test images.

    - `means`: for each metric and method the mean over the test images, the standard deviation (n - 1 in the
      denominator) and a confidence interval of the mean.
    - `differences`: for each pair of methods, the better one first, the mean of the differences image by image, with
      its interval, and the number of images on which the first is better. Images differ far more than methods do on
      one image, so pairs are more certain than two separate intervals suggest.
    - `training`: the learned methods that are worse than the best one without learned weights, the length of their
      training, and whether the log shows that it was too short (see `diagnose`).

    The intervals (see `mean_interval`) are drawn with keys that derive from the run's seed; they do not account for
    another training of the same network. NaN and infinite values are left out and counted in the column `missing`.
    """

    takes_volumes = True

    def __init__(self, confidence: Confidence = 0.95, resamples: Resamples = 10_000) -> None:
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        methods, metrics = methods_table(run), metrics_table(run)
        values = {name: values_by_image(run, name) for name in metrics["metric"]}
        means = pd.DataFrame(
            [
                {"metric": name, "method": label, **self._interval(run, values[name][label], name, label).row()}
                for name in values
                for label in run.methods
            ],
            columns=_MEANS,
        )
        first = metrics.iloc[0]
        ranking = _ranking(means, first)
        baseline = _baseline(methods, ranking)
        differences = pd.DataFrame(
            [
                row
                for metric in metrics.itertuples()
                for row in self._differences(run, metric, values[metric.metric], _ranking(means, metric))
            ],
            columns=_DIFFERENCES,
        )
        long = [
            pd.DataFrame({"metric": name, "method": label, "image": table.index, "value": table[label].to_numpy()})
            for name, table in values.items()
            for label in table.columns
        ]
        training = _training(run, first, baseline, methods, differences)
        sentences = _sentence(first, ranking, baseline, means, differences), sufficiency_text(training, first)
        scalars = {"best": ranking[0], "baseline": baseline}
        return Findings(
            scalars={**scalars, "confidence": self.confidence, "resamples": self.resamples},
            tables={
                "means": means,
                "differences": differences,
                "training": training,
                "values": pd.concat(long, ignore_index=True),
                "methods": methods,
                "metrics": metrics,
            },
            text=" ".join(filter(None, sentences)),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figures = {"by_image": draw_values(findings)}
        if len(findings.tables["methods"]) > 1:
            figures["differences"] = draw_differences(findings)
        return figures

    def _interval(self, run: CompletedRun, values: pd.Series, *labels: str) -> MeanInterval:
        key = stream_key(run.seed, "quality", *labels)
        return mean_interval(values.to_numpy(dtype=float), self.confidence, self.resamples, key)

    def _differences(
        self, run: CompletedRun, metric: Any, values: pd.DataFrame, ranking: list[str]
    ) -> list[dict[str, Any]]:
        rows = []
        for label, other in combinations(ranking, 2):
            by_image = values[label] - values[other]
            # One key for both orders of a pair: which method comes first depends on the data.
            found = self._interval(run, by_image, "difference", metric.metric, *sorted((label, other)))
            better = by_image > 0 if metric.higher_is_better else by_image < 0
            wins = int((better & np.isfinite(by_image)).sum())
            pair = {"metric": metric.metric, "method": label, "other": other, "wins": wins}
            rows.append({**pair, **found.row("difference")})
        return rows


def _ranking(means: pd.DataFrame, metric: Any) -> list[str]:
    """The labels from the best mean to the worst; equal ones in the order of the spec, those without a value last."""
    keyed = means[means["metric"] == metric.metric].set_index("method")["mean"]
    ordered = keyed.sort_values(ascending=not metric.higher_is_better, na_position="last", kind="stable")
    return [str(label) for label in ordered.index]


def _baseline(methods: pd.DataFrame, ranking: list[str]) -> str:
    """The best method without learned weights; the first of the spec if all have some."""
    references = set(methods.loc[methods["weights"] == 0, "method"])
    return next((label for label in ranking if label in references), str(methods["method"].iloc[0]))


def _training(
    run: CompletedRun, metric: pd.Series, baseline: str, methods: pd.DataFrame, differences: pd.DataFrame
) -> pd.DataFrame:
    """The training of the learned methods that are worse than the baseline."""
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
    metric: pd.Series, ranking: list[str], baseline: str, means: pd.DataFrame, differences: pd.DataFrame
) -> str:
    """The best method by the first metric, and the difference to the baseline (to the second best, if it is that)."""
    name, unit, best = metric["metric"], metric["unit"], ranking[0]
    row = means[(means["metric"] == name) & (means["method"] == best)].iloc[0]
    if not row["images"]:
        return f"No method has a finite {metric_title(name)} on any image."
    text = f"{best} has {'the best' if len(ranking) > 1 else 'a'} mean {metric_title(name)}, "
    text += f"{with_unit(number(row['mean'], unit), unit)} on {plural(int(row['images']), 'image')}"
    other = baseline if baseline != best else next(iter(ranking[1:]), None)
    if other is not None:
        pair = differences[differences["metric"] == name].set_index(["method", "other"]).loc[(best, other)]
        if pair["images"]:
            text += f": {with_unit(difference_text(pair, unit), unit)} against {other}"
    return f"{text}."
