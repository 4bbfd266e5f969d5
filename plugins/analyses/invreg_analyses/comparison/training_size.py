"""Metrics over the number of training images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from invreg import CompletedStudy, Findings, SpecError, StudyAnalyzer, StudyCell, stream_key
from invreg.text import metric_title, number, plural, with_unit
from invreg_analyses.shared.panels import heading, log_axis, panels, shared_legend
from invreg_analyses.shared.statistics import Confidence, Resamples, mean_interval
from invreg_analyses.shared.study_choice import At, choose, image_metrics, methods_in, metrics_in
from invreg_analyses.shared.style import WIDTH, figures_of, method_styles, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_PLACE = ["operator", "noise", "method", "size"]
_MEANS = [*_PLACE, "metric", "mean", "lowest", "highest", "seeds"]
_STEPS = [
    "operator",
    "noise",
    "method",
    "smaller",
    "larger",
    "metric",
    "difference",
    "std",
    "low",
    "high",
    "images",
    "missing",
]


class TrainingSize(StudyAnalyzer):
    """How good are reconstructions of networks that have seen few images?

    Every metric over the number of training images, one line per method, one figure per operator and noise level. The
    number is that of the training images of a cell, which parameters such as `data.train` change; a study may vary the
    `seed` as well, of the trainings and of the noise.

    - `means`: over the test images and the seeds, with the `lowest` and the `highest` mean of a single seed;
    - `steps`: what the next larger number gains, image by image (each image is the mean over the seeds), with
      confidence intervals over the images (see `mean_interval`), which know nothing of another choice of training
      images.

    Raises:
        SpecError: if the cells do not differ in the number of training images, or have other test images for it.

    Source: small training sets, Arndt & Nickel 2024 (arXiv 2409.13482v3).
    """

    takes_volumes = True

    def __init__(
        self,
        path: Annotated[
            str | None,
            Field(description="the varied path that decides on the training images; null: those that begin with data"),
        ] = None,
        at: At = None,
        confidence: Confidence = 0.95,
        resamples: Resamples = 10_000,
    ) -> None:
        self.path = path
        self.at = at
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        free = _paths(study, self.path)
        choices, metrics = choose(study, self.at, [*free, "seed"]), metrics_in(study)
        _check_images([entry.cell for entry in choices.entries], free)
        parts = [
            image_metrics(entry.cell, entry.method)
            .reset_index()
            .assign(
                operator=entry.operator,
                noise=entry.noise,
                method=entry.method,
                size=len(entry.cell.identity.train["images"]),
                seed=entry.cell.spec.seed,
            )
            for entry in choices.entries
        ]
        values = pd.concat(parts, ignore_index=True)
        names = [name for name in metrics["metric"] if name in values]
        values = values[[*_PLACE, "seed", "image", *names]]
        key = study.cells[0].spec.seed
        tables = {
            "means": _means(values, names),
            "steps": self._steps(values, names, key),
            "values": values,
            "methods": methods_in(study),
            "metrics": metrics,
            "figures": values[["operator", "noise"]].drop_duplicates(ignore_index=True),
        }
        scalars: dict[str, Any] = {"noise": choices.noise_title, "confidence": self.confidence}
        scalars["seeds"] = int(values["seed"].nunique())
        text = " ".join(filter(None, [_text(tables, metrics.iloc[0], scalars["seeds"]), choices.in_words]))
        return Findings(scalars, tables, text=text)

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        places = {
            f"{row.operator} {findings.scalars['noise']} {row.noise}"
            if findings.scalars["noise"]
            else row.operator: row
            for row in findings.tables["figures"].itertuples()
        }
        return figures_of(places, lambda name: _draw(findings, name, places[name]))

    def _steps(self, values: pd.DataFrame, names: list[str], seed: int) -> pd.DataFrame:
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for place, own in values.groupby(["operator", "noise", "method"], sort=False):
            by_size = {size: part.groupby("image")[names].mean() for size, part in own.groupby("size")}
            sizes = sorted(by_size)
            for smaller, larger in pairwise(sizes):
                for name in names:
                    difference = (by_size[larger][name] - by_size[smaller][name]).dropna().to_numpy(float)
                    key = stream_key(seed, "training_size", *map(str, place), int(larger), name)
                    found = mean_interval(difference, self.confidence, self.resamples, key).row("difference")
                    start = (*place, smaller, larger, name)
                    rows.append(dict(zip(_STEPS, start, strict=False)) | found)
        return pd.DataFrame(rows, columns=_STEPS)


def _paths(study: CompletedStudy, path: str | None) -> list[str]:
    """The varied paths that may decide on the training images.

    Raises:
        SpecError: if there is none.
    """
    found = [one for one in study.axes if one.split(".")[0] == "data"] if path is None else [path]
    if not found or path not in (None, *study.axes):
        raise SpecError(
            f"the study varies {', '.join(study.axes) or 'nothing'}",
            where="training_size.path",
            expected="a path that changes the number of training images",
            hint="matrix: {data.train: [1, 4, 16, 64]}",
        )
    return found


def _check_images(cells: list[StudyCell], paths: list[str]) -> None:
    sizes = sorted({len(cell.identity.train["images"]) for cell in cells})
    if len(sizes) < 2:
        raise SpecError(
            f"all cells have {plural(sizes[0], 'training image')}",
            where="training_size",
            expected=f"several numbers of training images along {', '.join(paths)}",
        )
    if len({tuple(cell.identity.test) for cell in cells}) > 1:
        raise SpecError(
            f"cells along {', '.join(paths)} have different test images",
            where="training_size",
            expected="the same test images for all numbers of training images",
            hint="at: {path: value} of what else varies",
        )


def _means(values: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    import pandas as pd

    by_seed = values.groupby([*_PLACE, "seed"], sort=False)[names].mean().reset_index()
    rows = []
    for place, own in by_seed.groupby(_PLACE, sort=False):
        for name in names:
            found = own[name]
            row = dict(zip(_PLACE, place, strict=True)) | {"metric": name, "mean": found.mean()}
            rows.append(row | {"lowest": found.min(), "highest": found.max(), "seeds": len(found)})
    return pd.DataFrame(rows, columns=_MEANS)


def _text(tables: Mapping[str, pd.DataFrame], metric: pd.Series, seeds: int) -> str:
    """For each figure, the best method of each size, and what each method gains from the smallest to the largest."""
    unit, means = metric["unit"], tables["means"]
    own = means[means["metric"] == metric["metric"]]
    sentences = []
    for row in tables["figures"].itertuples():
        here = own[(own["operator"] == row.operator) & (own["noise"] == row.noise)]
        table = here.pivot(index="size", columns="method", values="mean")[list(dict.fromkeys(here["method"]))]
        known = table.dropna(how="all")
        best = known.idxmax(axis=1) if metric["higher_is_better"] else known.idxmin(axis=1)
        at_size = ", ".join(f"{label} with {plural(int(size), 'image')}" for size, label in best.items())
        gains = table.iloc[-1] - table.iloc[0]
        listed = ", ".join(
            f"{label} {with_unit(number(float(gain), unit, signed=True), unit)}" for label, gain in gains.items()
        )
        sentences.append(
            f"{row.operator}: best mean {metric_title(metric['metric'])} of {at_size}; from {table.index[0]} to "
            f"{table.index[-1]} training images: {listed}."
        )
    known = f"Means over {plural(seeds, 'seed')}." if seeds > 1 else "One seed: another training may differ."
    return " ".join([*sentences, known])


def _draw(findings: Findings, name: str, place: Any) -> Figure:
    """One panel per metric: a line through the means, and one small point for each seed."""
    tables = findings.tables
    styles, metrics = method_styles(tables["methods"]), list(tables["metrics"].itertuples())

    def here(table: pd.DataFrame) -> pd.DataFrame:
        return table[(table["operator"] == place.operator) & (table["noise"] == place.noise)]

    means, values = here(tables["means"]), here(tables["values"])
    seeds = " with one point for each seed" if findings.scalars["seeds"] != 1 else ""
    titles = ", ".join(metric_title(metric.metric) for metric in metrics)
    description = f"{titles} over the number of training images under {name}: means over the test images{seeds}"
    width = WIDTH / min(len(metrics), 2)
    with panels(len(metrics), description, columns=2, width=width, height=3.0, margin=0.7, grid="both") as (
        figure,
        grid,
    ):
        for axes, metric in zip(grid, metrics, strict=True):
            own = means[means["metric"] == metric.metric]
            for label, style in styles.items():
                line = own[own["method"] == label].sort_values("size")
                look: dict[str, Any] = {"color": style.color, "marker": style.marker, "markersize": 5}
                axes.plot(line["size"], line["mean"], label=shortened(label, 20), **look)
                if seeds:
                    each = (
                        values[values["method"] == label].groupby(["size", "seed"])[metric.metric].mean().reset_index()
                    )
                    axes.scatter(each["size"], each[metric.metric], s=9, color=style.color, alpha=0.6, linewidths=0)
            log_axis(axes, "x")
            _ticks(axes, sorted(set(own["size"])))
            axes.set_xlabel("training images")
            unit, better = f", {metric.unit}" if metric.unit else "", "higher" if metric.higher_is_better else "lower"
            axes.set_title(f"{metric_title(metric.metric)}{unit} ({better} is better)")
        shared_legend(figure)
        heading(figure, name)
    return figure


def _ticks(axes: Any, sizes: list[int]) -> None:
    """A tick at each number that is not too near to another."""
    span = math.log(sizes[-1] / sizes[0])
    ticks = [sizes[0]]
    for size in sizes[1:]:
        if math.log(size / ticks[-1]) > 0.05 * span:
            ticks.append(size)
    axes.set_xticks(ticks, [f"{size:,}" for size in np.asarray(ticks)])
