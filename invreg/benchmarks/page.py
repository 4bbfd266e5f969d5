"""The page of a leaderboard: one file, whole without scripts; a small script sorts and filters its table."""

from __future__ import annotations

import base64
import io
import math
from importlib import metadata
from typing import TYPE_CHECKING, Any

from invreg.benchmarks.leaderboard import headings, in_words, metrics_of, notes
from invreg.plots import draw_against_constants
from invreg.reporting.report import report_environment
from invreg.specs.yaml import dump_yaml
from invreg.text import metric_title, number, with_unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from invreg.benchmarks.plan import BenchmarkPlan
    from invreg.components.metric import Metric


def render_leaderboard(plan: BenchmarkPlan, table: pd.DataFrame) -> str:
    """The leaderboard as one HTML document, under a policy that allows this one script and nothing from elsewhere.

    Everything that is shown is escaped.
    """
    metrics, suite = metrics_of(plan), plan.suite
    done = table[table["note"] == ""]
    return (
        report_environment()
        .get_template("leaderboard.html")
        .render(
            title=f"{suite.title}, {suite.size}",
            description=suite.description,
            headline=_headline(done, metrics, plan),
            size_note=suite.note,
            notes=notes(plan).replace("`", ""),
            columns=["Problem", *headings(metrics)],
            rows=[_row(row, metrics, plan) for row in done.to_dict("records")],
            problems=[
                {
                    "name": name,
                    "title": suite.problems[str(name)].title,
                    "figure": _figure(own, metrics, plan, str(name)),
                }
                for name, own in done.groupby("problem", sort=False)
            ],
            missing=[
                (suite.problems[row["problem"]].title, row["method"], row["note"])
                for row in table[table["note"] != ""].to_dict("records")
            ],
            trainers={name: spec.model_dump(mode="json") for name, spec in suite.trainers.items()},
            versions=sorted(set(done["versions"])),
            sources=sorted(set(done["source"]) - {""}),
            images=[
                (suite.problems[name].title, _shown(plan.terms["problems"][name]["data"]), plan.pixels[name])
                for name in plan.pixels
            ],
            digest=plan.digest,
            suite_version=suite.version,
            version=metadata.version("invreg"),
            spec_yaml=dump_yaml(plan.content),
            command=plan.content["command"],
        )
    )


def _headline(done: pd.DataFrame, metrics: Mapping[str, Metric], plan: BenchmarkPlan) -> str:
    name, metric = next(iter(metrics.items()))
    parts = []
    for problem, own in done.groupby("problem", sort=False):
        best, proven = own.iloc[0], own[own["bound"].notna()]
        text = f"{plan.suite.problems[str(problem)].title}: {best['method']} {_value(best[name], metric)}"
        if len(proven) and math.isnan(best["bound"]):
            first = proven.iloc[0]
            text += f", with a proven bound {first['method']} {_value(first[name], metric)}"
        parts.append(text)
    return f"The best mean {metric_title(name)}. {'; '.join(parts)}." if parts else "No method has been run to its end."


def _shown(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A component without the parameters that are not set."""
    return {key: value for key, value in spec.items() if value is not None}


def _value(value: float, metric: Metric) -> str:
    return with_unit(number(float(value), metric.unit), metric.unit)


def _row(row: Mapping[str, Any], metrics: Mapping[str, Metric], plan: BenchmarkPlan) -> dict[str, Any]:
    """The cells of a row, each with its text, the small print, and the value by which it is sorted."""
    first = next(iter(metrics))
    values = [*(row[name] for name in metrics), row[f"{first}_behind"], row["attack"], row["bound"]]
    values += [row["training_minutes"], row["seconds_per_image"], row["weights"], row["seeds"]]
    (method, _), *cells = in_words(row, metrics)
    shown = [
        {"text": text, "note": note, "value": "" if math.isnan(float(value)) else repr(float(value))}
        for (text, note), value in zip(cells, values, strict=True)
    ]
    return {
        "problem": plan.suite.problems[row["problem"]].title,
        "method": method,
        "source": row["source"],
        "cells": shown,
        "is_proven": not math.isnan(row["bound"]),
        "is_best": row[f"{first}_behind"] == 0,
    }


def _figure(own: pd.DataFrame, metrics: Mapping[str, Metric], plan: BenchmarkPlan, problem: str) -> dict[str, Any]:
    """The quality over the proven bound and the attack, as a data URI."""
    from matplotlib import rc_context

    name, metric = next(iter(metrics.items()))
    title = plan.suite.problems[problem].title
    points = [
        (str(row["method"]), float(row["bound"]), float(row["attack"]), float(row[name]))
        for row in own.to_dict("records")
    ]
    unit = f" ({metric.unit})" if metric.unit else ""
    figure = draw_against_constants(points, f"{metric_title(name)}{unit}", metric.higher_is_better)
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": problem}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    caption = (
        f"{title}: mean {metric_title(name)} over the Lipschitz constant of the reconstruction. Filled: the proven "
        "bound, with a line to the strongest attack. Hollow: the strongest attack on a method without a bound, whose "
        "constant is at least that large."
    )
    source = f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"uri": source, "caption": caption, "wide": True, "width": None, "files": []}
