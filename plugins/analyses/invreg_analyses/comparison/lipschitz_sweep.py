"""Metrics against the Lipschitz parameter of networks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from invreg import CompletedStudy, Findings, SpecError, StudyAnalyzer, did_you_mean, stream_key
from invreg.text import metric_title, number, plural, with_unit
from invreg_analyses.shared.panels import heading, panels, shared_legend
from invreg_analyses.shared.statistics import Confidence, Resamples, mean_interval
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
from invreg_analyses.shared.style import WIDTH, figures_of, method_styles, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METHOD_PATH = re.compile(r"methods\.([^.]+)\..+")
_LINE = ["operator", "noise", "method"]
_MEANS = [*_LINE, "value", "metric", "mean", "low", "high", "images"]
_GAINS = [*_LINE, "start", "end", "metric", "gain", "low", "high", "images"]
#: Room above and below the lines, as a share of the common span.
_MARGIN = 0.12


class LipschitzSweep(StudyAnalyzer):
    """Every metric against the Lipschitz parameter L of the networks, at each noise level, one figure per operator.

    L in (0, 1) is shown on an axis that is linear in -log(1 - L): the inverse has the Lipschitz constant 1 / (1 - L).
    Other numbers that a method has can be swept too, on a linear axis.

    `gains` holds the differences from the smallest to the largest value, image by image, with confidence intervals of
    their mean (see `mean_interval`).

    Raises:
        SpecError: if the study does not vary such a path with at least two numbers.

    Source: Arndt & Nickel 2024, figures 2 and 3.
    """

    takes_volumes = True

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
        confidence: Confidence = 0.95,
        resamples: Resamples = 10_000,
    ) -> None:
        self.axis = axis
        self.at = at
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        paths, metrics = _swept(study, self.axis), metrics_in(study)
        choices = choose(study, self.at, tuple(paths.values()))
        values, rows, gains = _values(choices, paths), [], []
        for name in metrics["metric"]:
            for line, by_value in values.items():
                start, end = min(by_value), max(by_value)
                for value, table in by_value.items():
                    names = dict(zip(_MEANS, (*line, value, name), strict=False))
                    rows.append(names | self._interval(study, "mean", table[name], names))
                if len(by_value) > 1:
                    difference = (by_value[end][name] - by_value[start][name]).dropna()
                    names = dict(zip(_GAINS, (*line, start, end, name), strict=False))
                    gains.append(names | self._interval(study, "gain", difference, names))
        tables = {
            "means": pd.DataFrame(rows, columns=_MEANS),
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
        text = f"{_sentence(tables, parameter)} {choices.in_words}".strip()
        return Findings(scalars, tables, text=text)

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return figures_of(findings.tables["operators"]["operator"], lambda operator: _draw(findings, operator))

    def _interval(
        self, study: CompletedStudy, column: str, values: pd.Series, names: Mapping[str, Any]
    ) -> dict[str, Any]:
        labels = [plain_value(name) for name in names.values()]
        key = stream_key(study.cells[0].spec.seed, "lipschitz_sweep", column, *labels)
        return mean_interval(values.to_numpy(dtype=float), self.confidence, self.resamples, key).row(column)


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


def _sentence(tables: Mapping[str, pd.DataFrame], parameter: str) -> str:
    """The range of the gains in the first metric, and the number of lines that never get worse."""
    metric = tables["metrics"].iloc[0]
    name, unit, sign = metric["metric"], metric["unit"], 1 if metric["higher_is_better"] else -1
    gains, means = (tables[key][tables[key]["metric"] == name] for key in ("gains", "means"))
    if gains.empty:
        return f"Only one value of {parameter} is finished."
    lines = (line.sort_values("value")["mean"] for _, line in means.groupby(_LINE))
    rising = sum(all(sign * (b - a) >= 0 for a, b in pairwise(line)) for line in lines)
    low, high = (number(float(end), unit, signed=True) for end in (gains["gain"].min(), gains["gain"].max()))
    return (
        f"From the smallest to the largest {parameter} the mean {metric_title(name)} changes by {low} to "
        f"{with_unit(high, unit)} over {plural(len(gains), 'line')}, {rising} of which get better with every step."
    )


def _draw(findings: Findings, operator: str) -> Figure:
    """Rows of panels for the metrics, columns for the noise levels; one line for each network."""
    tables = findings.tables
    means = tables["means"][tables["means"]["operator"] == operator]
    noises = [noise for noise in tables["noises"]["noise"] if noise in set(means["noise"])]
    metrics = list(tables["metrics"].itertuples())
    parameter = str(findings.scalars["parameter"])
    values = sorted(set(means["value"].astype(float)))
    place = _scale(values, parameter)
    styles = method_styles(tables["methods"])
    description = (
        f"{', '.join(metric_title(m.metric) for m in metrics)} of the networks under {operator} against {parameter}: "
        f"means over the test images; all panels of a row span equally much. Bars at the last value: "
        f"{findings.scalars['confidence']:.0%} interval of the change from the first one, image by image"
    )
    columns = len(noises)
    count = len(metrics) * columns
    with panels(count, description, columns=columns, width=WIDTH, height=2.15, margin=0.9, grid="both") as (
        figure,
        grid,
    ):
        for i, axes in enumerate(grid):
            metric, noise = metrics[i // columns], noises[i % columns]
            chosen = means[(means["metric"] == metric.metric) & (means["noise"] == noise)]
            for label, style in styles.items():
                line = chosen[chosen["method"] == label].sort_values("value")
                if len(line):
                    x = [place(float(value)) for value in line["value"]]
                    look: dict[str, Any] = {"color": style.color, "marker": style.marker, "markersize": 5.5}
                    axes.plot(x, line["mean"], label=shortened(label, 24), **look)
                    _draw_gain(axes, tables["gains"], line, place, style.color)
            _ticks(axes, values, place)
            if i < columns:
                axes.set_title(f"{findings.scalars['noise']} {shortened(noise, 20)}".strip())
            if i % columns == 0:
                axes.set_ylabel(f"{metric_title(metric.metric)}{f', {metric.unit}' if metric.unit else ''}")
        for i in range(0, count, columns):
            _equal_spans(grid[i : i + columns])
        for axes in grid[-columns:]:
            axes.set_xlabel("Lipschitz parameter L" if parameter == "lipschitz" else parameter.replace("_", " "))
        shared_legend(figure)
        heading(figure, operator)
    return figure


def _draw_gain(
    axes: Axes, gains: pd.DataFrame, line: pd.DataFrame, place: Callable[[float], float], color: str
) -> None:
    """The interval of the change from the first to the last value, at the last: images are compared with themselves."""
    first, last = line.iloc[0], line.iloc[-1]
    keys = ["operator", "noise", "method", "metric"]
    for gain in gains[(gains[keys] == last[keys]).all(axis=1)].itertuples():
        ends = [float(first["mean"]) + float(gain.low), float(first["mean"]) + float(gain.high)]  # type: ignore[arg-type]
        if all(map(math.isfinite, ends)):
            x = place(float(last["value"]))
            axes.plot([x, x], ends, color=color, linewidth=1.5, marker="_", markersize=7)


def _scale(values: Sequence[float], parameter: str) -> Callable[[float], float]:
    """The place of a value on the axis: -log10(1 - L) for Lipschitz parameters in (0, 1), else the value itself."""
    if parameter == "lipschitz" and all(0 < value < 1 for value in values):
        return lambda value: -math.log10(1 - value)
    return lambda value: value


def _ticks(axes: Axes, values: Sequence[float], place: Callable[[float], float]) -> None:
    places = [place(value) for value in values]
    margin = 0.08 * (max(places) - min(places) or 1)
    axes.set_xlim(min(places) - margin, max(places) + margin)
    axes.set_xticks(places, [f"{value:g}" for value in values])


def _equal_spans(row: Sequence[Axes]) -> None:
    """The same span for all panels of a row, each centred on its own lines: slopes can be compared."""
    limits = []
    for axes in row:
        data: list[Any] = [y for line in axes.get_lines() for y in np.asarray(line.get_ydata())]
        found = [float(y) for y in data if math.isfinite(y)]
        limits.append((min(found), max(found)) if found else (0.0, 0.0))
    span = max(high - low for low, high in limits) * (1 + 2 * _MARGIN) or 1e-3
    for axes, (low, high) in zip(row, limits, strict=True):
        center = (low + high) / 2
        axes.set_ylim(center - span / 2, center + span / 2)
