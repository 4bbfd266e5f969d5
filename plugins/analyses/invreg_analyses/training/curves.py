"""Training curves and parameter searches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from invreg import Analyzer, CompletedRun, Findings, parameters_model
from invreg.text import duration, metric_title, number, with_unit
from invreg_analyses.shared.tables import float_or_nan, methods_table, metrics_table
from invreg_analyses.training.figures import draw_curves, draw_search

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TrainingCurves(Analyzer):
    """Loss and validation metric over the steps of each training, and the trials of each parameter search.

    A log whose axis (its first column) is called `trial` is a search. Its columns up to the validation metric are the
    parameters that were searched; each trial is a point, its value over each parameter, on a logarithmic axis where the
    reconstructor declares a logarithmic search range, or declares none and the settings span more than a factor of 30.
    Trials without a value failed or, where their `state` says so, were stopped early: marks below show their settings.
    Every other log is a training: its columns called `loss` or ending in `_loss` are drawn on a logarithmic axis, those
    that begin with `val_` on a linear one.
    """

    takes_volumes = True

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        curves, trials, ends = [], [], []
        for label, trained in run.methods.items():
            rows = [row for row in trained.log.rows if row]
            if not rows:
                continue
            axis = next(iter(rows[0]))
            if axis == "trial":
                logarithmic = _logarithmic_parameters(trained.reconstructor)
                trials += _trials(label, rows, list(run.metric_components), logarithmic)
            else:
                curves += _curves(label, axis, rows)
            ends.append(_ending(label, rows, trained.log.summary, run))
        tables = {
            "curves": pd.DataFrame(curves, columns=["method", "kind", "quantity", "axis", "position", "value"]),
            "trials": pd.DataFrame(
                trials,
                columns=["method", "trial", "parameter", "setting", "text", "log", "quantity", "value", "stopped"],
            ),
            "methods": methods_table(run),
            "metrics": metrics_table(run),
        }
        text = " ".join(ends) if ends else "No method of this run has a training log."
        return Findings(tables=tables, text=text)

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figures = {}
        if len(findings.tables["curves"]):
            figures["curves"] = draw_curves(findings)
        trials = findings.tables["trials"]
        for i, label in enumerate(trials["method"].unique()):
            figures[f"search_{i + 1}"] = draw_search(findings, str(label))
        return figures


def _curves(label: str, axis: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for quantity in rows[0]:
        kind = _kind(quantity)
        if quantity == axis or kind is None:
            continue
        found += [
            {
                "method": label,
                "kind": kind,
                "quantity": quantity,
                "axis": axis,
                "position": float(row[axis]),
                "value": float_or_nan(row.get(quantity)),
            }
            for row in rows
        ]
    return found


def _kind(quantity: str) -> str | None:
    if quantity == "loss" or quantity.endswith("_loss"):
        return "loss"
    return "validation" if quantity.startswith("val_") else None


def _trials(
    label: str, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], logarithmic: Mapping[str, bool]
) -> list[dict[str, Any]]:
    columns = list(rows[0])
    quantity = next((name for name in _values_of_trials(metrics) if name in columns), None)
    if quantity is None:
        return []
    found = []
    for parameter in columns[1 : columns.index(quantity)]:
        values = [float_or_nan(row.get(parameter)) for row in rows]
        log = logarithmic.get(parameter.removeprefix("reconstructor."), _spans_decades(values))
        found += [
            {
                "method": label,
                "trial": int(row["trial"]),
                "parameter": parameter,
                "setting": value,
                "text": str(row.get(parameter)),
                "log": log,
                "quantity": quantity,
                "value": float_or_nan(row.get(quantity)),
                "stopped": _stopped(row),
            }
            for row, value in zip(rows, values, strict=True)
        ]
    return found


def _stopped(row: Mapping[str, Any]) -> bool:
    """Whether a search stopped this trial early."""
    return str(row.get("state")).startswith("stopped")


def _values_of_trials(metrics: Sequence[str]) -> list[str]:
    """Possible names of the validation value of a trial, likeliest first."""
    return [*(f"val_{name}" for name in metrics), *metrics, "value", "val_loss", "loss"]


def _logarithmic_parameters(reconstructor: Any) -> dict[str, bool]:
    """Parameters of a reconstructor with a search range of their own, and whether it is logarithmic."""
    found = {}
    for name, field in parameters_model(type(reconstructor)).model_fields.items():
        extra = field.json_schema_extra
        search = extra.get("search") if isinstance(extra, dict) else None
        if isinstance(search, dict) and "low" in search:
            found[name] = bool(search.get("log"))
    return found


def _spans_decades(values: Sequence[float]) -> bool:
    positive = [value for value in values if value > 0]
    return len(positive) == len(values) > 1 and max(positive) > 30 * min(positive)


def _ending(label: str, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], run: CompletedRun) -> str:
    """One sentence: steps or trials, duration, best validation value."""
    axis = next(iter(rows[0]))
    text = f"{label}: {len(rows)} trials" if axis == "trial" else f"{label}: {float_or_nan(rows[-1][axis]):g} {axis}s"
    stopped = sum(map(_stopped, rows))
    if axis == "trial" and stopped:
        text += f" ({stopped} stopped early)"
    seconds = float_or_nan(summary.get("seconds"))
    if seconds > 0:
        text += f" in {duration(seconds)}"
    metric = next((name for name in run.metric_components if f"val_{name}" in rows[0]), None)
    if metric is not None:
        component = run.metric_components[metric]
        values = [value for row in rows if math.isfinite(value := float_or_nan(row.get(f"val_{metric}")))]
        if values:
            best = number(max(values) if component.higher_is_better else min(values), component.unit)
            text += f", best validation {metric_title(metric)} {with_unit(best, component.unit)}"
    return text + "."
