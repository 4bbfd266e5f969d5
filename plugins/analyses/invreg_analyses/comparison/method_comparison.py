"""The methods of a study beside each other, by operator and noise level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from invreg import CompletedStudy, Findings, StudyAnalyzer, stream_key
from invreg.text import metric_title, number, with_unit
from invreg_analyses.comparison.figures import draw_comparison
from invreg_analyses.shared.statistics import mean_interval
from invreg_analyses.shared.study_choice import At, Choices, choose, image_metrics, methods_in, metrics_in
from invreg_analyses.shared.style import file_names
from invreg_analyses.shared.sufficiency import row_if_behind, sufficiency_in_words, sufficiency_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Methods that the sentence names, for each operator and noise level.
_NAMED = 2


class MethodComparison(StudyAnalyzer):
    """Every metric by method and noise level, one figure per operator: means over the test images with intervals.

    Operators are told apart by the paths that begin with `operator`, noise levels by those that begin with `noise`; a
    study that varies neither has one group. Any other path is held at its last value, or at that of `at`: so a sweep of
    Lipschitz parameters is shown with the last. The text says what was held.

    Intervals are confidence intervals of the mean over the images (see `mean_interval`). They hold for other images;
    as all methods saw the same ones, differences between methods are better known than the intervals suggest:
    `differences` gives those to the best method without weights, image by image, with intervals of their own.

    Where a learned method is not better than the best one without weights, `training` and the text say how long it was
    trained, and whether its log shows that this was too brief (see `judge`); figures mark these with a triangle.

    Raises:
        SpecError: if `at` names a path or a value that the study does not have.

    Source: Arndt & Nickel 2024, figures 4 and 5.
    """

    def __init__(
        self,
        at: At = None,
        confidence: Annotated[float, Field(ge=0.5, lt=1, description="probability asked of the intervals")] = 0.95,
        resamples: Annotated[int, Field(ge=1000, le=1_000_000, description="number of bootstrap samples")] = 10_000,
    ) -> None:
        self.at = at
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        choices, metrics = choose(study, self.at), metrics_in(study)
        values = {
            (entry.operator, entry.noise, entry.method): image_metrics(entry.cell, entry.method)
            for entry in choices.entries
        }
        seed = study.cells[0].spec.seed
        rows = [
            {"operator": key[0], "noise": key[1], "method": key[2], "metric": name}
            | self._interval("mean", table[name].to_numpy(dtype=float), seed, *key, name)
            for name in metrics["metric"]
            for key, table in values.items()
            if name in table
        ]
        means = pd.DataFrame(rows)
        methods = methods_in(study)
        # Two methods on the same images: the images themselves drop out of the difference.
        differences = [
            {"operator": operator, "noise": noise, "method": label, "reference": reference, "metric": metric.metric}
            | self._interval(
                "difference",
                (values[operator, noise, label][metric.metric] - values[operator, noise, reference][metric.metric])
                .dropna()
                .to_numpy(dtype=float),
                seed,
                *(operator, noise, label, reference, metric.metric),
            )
            for metric in metrics.itertuples()
            for (operator, noise), group in means[means["metric"] == metric.metric].groupby(
                ["operator", "noise"], sort=False
            )
            for reference in [_reference(group, methods, metric.higher_is_better)]
            if reference is not None
            for label in group["method"]
            if label != reference
        ]
        found = pd.DataFrame(differences, columns=_DIFFERENCES)
        training = _training(choices, found, metrics.iloc[0], methods)
        tables = {
            "means": means,
            "differences": found,
            "training": training,
            "methods": methods,
            "metrics": metrics,
            "operators": pd.DataFrame({"operator": choices.operators}),
            "noises": pd.DataFrame({"noise": choices.noises}),
        }
        return Findings(
            {"confidence": self.confidence, "resamples": self.resamples, "noise": choices.noise_title},
            tables,
            text=_sentence(means, metrics, choices, training),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        operators = [str(operator) for operator in findings.tables["operators"]["operator"]]
        return {
            name: draw_comparison(findings, operator)
            for name, operator in zip(file_names(operators), operators, strict=True)
        }

    def _interval(self, column: str, values: NDArray[np.float64], seed: int, *names: str) -> dict[str, float]:
        key = stream_key(seed, "method_comparison", column, *names)
        found = mean_interval(values, self.confidence, self.resamples, key)
        return {
            column: found.mean,
            "low": found.low,
            "high": found.high,
            "images": found.count,
            "missing": found.missing,
        }


_PLACE = ("operator", "noise")
_DIFFERENCES = ["operator", "noise", "method", "reference", "metric", "difference", "low", "high", "images", "missing"]


def _reference(means: pd.DataFrame, methods: pd.DataFrame, higher_is_better: bool) -> str | None:
    """The best of the methods without weights; None if there is none."""
    plain = set(methods.loc[methods["weights"] == 0, "method"])
    found = means[means["method"].isin(plain) & means["mean"].notna()]
    if found.empty:
        return None
    best = found["mean"].idxmax() if higher_is_better else found["mean"].idxmin()
    return str(found.loc[best, "method"])


def _training(choices: Choices, differences: pd.DataFrame, metric: pd.Series, methods: pd.DataFrame) -> pd.DataFrame:
    """How the learned methods that are not better than the best one without weights were trained."""
    learned = set(methods.loc[methods["weights"] > 0, "method"])
    cells = {(entry.operator, entry.noise, entry.method): entry.cell for entry in choices.entries}
    rows = []
    for _, pair in differences[differences["metric"] == metric["metric"]].iterrows():
        place = {name: pair[name] for name in _PLACE}
        if pair["method"] in learned:
            log = cells[pair["operator"], pair["noise"], pair["method"]].method(pair["method"]).log
            row = row_if_behind(pair["method"], pair["reference"], pair, log, metric)
            rows += [place | row] if row else []
    return sufficiency_table(rows, _PLACE)


def _sentence(means: pd.DataFrame, metrics: pd.DataFrame, choices: Choices, training: pd.DataFrame) -> str:
    """The best methods under each operator, at the lowest and the highest noise, and trainings that were too brief."""
    metric = metrics.iloc[0]
    parts = []
    for operator in choices.operators:
        levels = []
        for noise in dict.fromkeys((choices.noises[0], choices.noises[-1])):
            group = means[
                (means["operator"] == operator) & (means["noise"] == noise) & (means["metric"] == metric["metric"])
            ]
            ranked = group.dropna(subset="mean").sort_values(
                "mean", ascending=not metric["higher_is_better"], kind="stable"
            )
            if ranked.empty:
                continue
            named = ", ".join(
                f"{row.method} {with_unit(number(row.mean, metric['unit']), metric['unit'])}"
                for row in ranked.head(_NAMED)[["method", "mean"]].itertuples(name="Row")
            )
            levels.append((f"{choices.noise_title} {noise}: " if choices.noise_title else "") + named)
        if levels:
            parts.append(f"{operator} ({'; '.join(levels)})")
    text = f"Best mean {metric_title(metric['metric'])} under " + ", under ".join(parts) + "."
    at = f" at {choices.noise_title} " if choices.noise_title else ""
    places = [f"under {row.operator}" + (at + row.noise if at else "") for row in training.itertuples()]
    return " ".join(filter(None, [text, sufficiency_in_words(training, metric, places), choices.in_words]))
