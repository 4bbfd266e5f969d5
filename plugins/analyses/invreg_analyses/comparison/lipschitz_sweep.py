"""What the Lipschitz parameter of a network costs and gains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from invreg import CompletedStudy, Findings, SpecError, StudyAnalyzer, did_you_mean, stream_key
from invreg.text import metric_title, number, with_unit
from invreg_analyses.comparison.sweep_figures import draw_sweep
from invreg_analyses.shared.statistics import mean_interval
from invreg_analyses.shared.study_choice import (
    At,
    Choices,
    choose,
    image_metrics,
    methods_in,
    metrics_in,
    plain_value,
    value_at,
)
from invreg_analyses.shared.style import file_names

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_METHOD_PATH = re.compile(r"methods\.([^.]+)\..+")


class LipschitzSweep(StudyAnalyzer):
    """Every metric against the Lipschitz parameter L of the networks, at each noise level, one figure per operator.

    L in (0, 1) is shown on an axis on which -log(1 - L) is even: the inverse has the Lipschitz constant 1 / (1 - L).
    Other parameters of a method can be swept too, on an even axis.

    `gains` holds the differences from the smallest to the largest value, image by image, with confidence intervals of
    their mean (see `mean_interval`).

    Raises:
        SpecError: if the study does not vary such a path with at least two numbers.

    Source: Arndt & Nickel 2024, figures 2 and 3.
    """

    def __init__(
        self,
        axis: Annotated[
            str | None,
            Field(
                description="the varied path of one network, as in "
                "methods.iresnet.reconstructor.lipschitz; null: every varied path that "
                "ends in .lipschitz"
            ),
        ] = None,
        at: At = None,
        confidence: Annotated[float, Field(ge=0.5, lt=1, description="probability asked of the intervals")] = 0.95,
        resamples: Annotated[int, Field(ge=1000, le=1_000_000, description="number of bootstrap samples")] = 10_000,
    ) -> None:
        self.axis = axis
        self.at = at
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        paths = _swept(study, self.axis)
        metrics = metrics_in(study)
        choices = choose(study, self.at, tuple(paths.values()))
        values = _values(choices, paths)
        rows = [
            self._row(
                study, "mean", table[name], operator=operator, noise=noise, method=method, value=value, metric=name
            )
            for name in metrics["metric"]
            for (operator, noise, method), by_value in values.items()
            for value, table in by_value.items()
        ]
        gains = []
        for name in metrics["metric"]:
            for (operator, noise, method), by_value in values.items():
                if len(by_value) > 1:
                    start, end = min(by_value), max(by_value)
                    difference = (by_value[end][name] - by_value[start][name]).dropna()
                    names = {"operator": operator, "noise": noise, "method": method, "start": start, "end": end}
                    gains.append(self._row(study, "gain", difference, **names, metric=name))
        tables = {
            "means": pd.DataFrame(rows),
            "gains": pd.DataFrame(gains, columns=_GAINS),
            "methods": methods_in(study),
            "metrics": metrics,
            "operators": pd.DataFrame({"operator": choices.operators}),
            "noises": pd.DataFrame({"noise": choices.noises}),
        }
        parameter = "lipschitz" if self.axis is None else self.axis.rpartition(".")[2]
        scalars: dict[str, float | int | str | bool] = {
            "parameter": parameter,
            "noise": choices.noise_title,
            "confidence": self.confidence,
        }
        return Findings(scalars, tables, text=_sentence(tables, choices, parameter))

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        operators = [str(operator) for operator in findings.tables["operators"]["operator"]]
        return {
            name: draw_sweep(findings, operator)
            for name, operator in zip(file_names(operators), operators, strict=True)
        }

    def _row(self, study: CompletedStudy, column: str, values: pd.Series, **names: Any) -> dict[str, Any]:
        labels = [plain_value(name) for name in names.values()]
        key = stream_key(study.cells[0].spec.seed, "lipschitz_sweep", column, *labels)
        found = mean_interval(values.to_numpy(dtype=float), self.confidence, self.resamples, key)
        return {**names, column: found.mean, "low": found.low, "high": found.high, "images": found.count}


_GAINS = ["operator", "noise", "method", "start", "end", "metric", "gain", "low", "high", "images"]


def _swept(study: CompletedStudy, axis: str | None) -> dict[str, str]:
    """Method to the path that is swept.

    Raises:
        SpecError: if there is none.
    """
    if axis is not None and axis not in study.axes:
        raise SpecError(f"{axis} is not varied", where="axis", hint=did_you_mean(axis, study.axes))
    paths = [path for path in study.axes if path.endswith(".lipschitz")] if axis is None else [axis]
    swept = {}
    for path in paths:
        match = _METHOD_PATH.fullmatch(path)
        numeric = all(isinstance(value, Real) and not isinstance(value, bool) for value in study.axes[path])
        if match and numeric and len(study.axes[path]) > 1:
            swept[match[1]] = path
    if not swept:
        raise SpecError(
            f"the study varies {', '.join(study.axes) or 'nothing'}",
            where="axis",
            expected="a path below a method with at least two numbers",
            hint="matrix: {methods.iresnet.reconstructor.lipschitz: [0.95, 0.99, 0.999]}",
        )
    return swept


def _values(choices: Choices, paths: Mapping[str, str]) -> dict[tuple[str, str, str], dict[float, pd.DataFrame]]:
    """The metrics by image of each swept method, with the values of the parameter in order.

    Raises:
        SpecError: if no finished cell has such a method.
    """
    found: dict[tuple[str, str, str], dict[float, Any]] = {}
    for entry in choices.entries:
        if entry.method in paths:
            value = value_at(entry.cell.spec, paths[entry.method])
            if isinstance(value, Real):
                table = image_metrics(entry.cell, entry.method)
                found.setdefault((entry.operator, entry.noise, entry.method), {})[float(value)] = table
    if not found:
        raise SpecError(f"no finished cell with {', '.join(paths)}", where="axis", expected="at least one")
    return {key: dict(sorted(by_value.items())) for key, by_value in found.items()}


def _sentence(tables: Mapping[str, pd.DataFrame], choices: Choices, parameter: str) -> str:
    metric = tables["metrics"].iloc[0]
    name, unit, sign = metric["metric"], metric["unit"], 1 if metric["higher_is_better"] else -1
    gains = tables["gains"][tables["gains"]["metric"] == name]
    if gains.empty:
        return " ".join(filter(None, [f"Only one value of {parameter} is finished.", choices.in_words]))
    rising = 0
    for _, group in tables["means"][tables["means"]["metric"] == name].groupby(["operator", "noise", "method"]):
        means = group.sort_values("value")["mean"]
        rising += int(all(sign * (b - a) >= 0 for a, b in pairwise(means)))
    low, high = gains["gain"].min(), gains["gain"].max()
    sure = int(((gains["low"] > 0) | (gains["high"] < 0)).sum())
    text = (
        f"From the smallest to the largest {parameter} the mean {metric_title(name)} changes by "
        f"{number(low, unit, signed=True)} to {with_unit(number(high, unit, signed=True), unit)} over {len(gains)} "
        f"lines, {sure} of them with an interval that excludes zero; {rising} get better with every step."
    )
    return " ".join(filter(None, [text, choices.in_words]))
