"""The methods of a study beside each other, by operator and noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from invreg import CompletedStudy, Findings, StudyAnalyzer, stream_key
from invreg.text import metric_title, number, plural, with_unit
from invreg_analyses.shared.panels import heading, panels, shared_legend
from invreg_analyses.shared.statistics import Confidence, Resamples, mean_interval
from invreg_analyses.shared.study_choice import At, Choices, choose, image_metrics, methods_in, metrics_in
from invreg_analyses.shared.style import WARNING, WIDTH, MethodStyle, figures_of, method_styles, shortened
from invreg_analyses.shared.sufficiency import TOO_BRIEF, row_if_behind, sufficiency_table, sufficiency_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PLACE = ("operator", "noise")
_MEANS = [*_PLACE, "method", "metric", "mean", "low", "high", "images", "missing"]
_DIFFERENCES = [*_PLACE, "method", "reference", "metric", "difference", "low", "high", "images", "missing"]

#: Share of the distance between two noise levels that the methods take up.
_SPREAD = 0.72
#: Of trainings that were too brief: a triangle that stands on the point (matplotlib's CARETUPBASE).
_MARK: dict[str, Any] = {"linestyle": "none", "marker": 10, "markersize": 6, "color": WARNING}


#: Methods below the data that are named one by one.
_NAMED = 6


class MethodComparison(StudyAnalyzer):
    """Every metric by method and noise level, one figure per operator: means over the test images with intervals.

    Operators differ in the paths that begin with `operator`, noise levels in those that begin with `noise`; a study
    that varies neither has one group. Any other path is held at its last value, or at that of `at`: so a sweep of
    Lipschitz parameters is shown with the last. The text names the paths that are held.

    - `means` with confidence intervals over the images (see `mean_interval`);
    - `differences` to the best method without weights, image by image, with intervals of their own: as all methods see
      the same images, they are more certain than the intervals of the means suggest;
    - `training`: the learned methods that are worse than that one, the length of their training, and whether the log
      shows that it was too short (see `diagnose`); figures mark these with a triangle.

    Raises:
        SpecError: if `at` names a path or a value that the study does not have.

    Source: Arndt & Nickel 2024, figures 4 and 5.
    """

    takes_volumes = True

    def __init__(self, at: At = None, confidence: Confidence = 0.95, resamples: Resamples = 10_000) -> None:
        self.at = at
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        choices, metrics, methods = choose(study, self.at), metrics_in(study), methods_in(study)
        values = {
            (entry.operator, entry.noise, entry.method): image_metrics(entry.cell, entry.method)
            for entry in choices.entries
        }
        means = pd.DataFrame(
            [
                dict(zip(_MEANS, (*key, name), strict=False)) | self._interval(study, table[name], "mean", *key, name)
                for name in metrics["metric"]
                for key, table in values.items()
                if name in table
            ],
            columns=_MEANS,
        )
        rows = []
        for metric in metrics.itertuples():
            of_metric = means[means["metric"] == metric.metric]
            for place, group in of_metric.groupby(list(_PLACE), sort=False):
                reference = _reference(group, methods, metric.higher_is_better)
                for label in group["method"] if reference is not None else []:
                    if label != reference:
                        # Two methods on the same images: the images themselves drop out of the difference.
                        own, other = (values[(*place, one)][metric.metric] for one in (label, reference))
                        names = (*place, label, reference, metric.metric)
                        found = self._interval(study, (own - other).dropna(), "difference", *names)
                        rows.append(dict(zip(_DIFFERENCES, names, strict=False)) | found)
        differences = pd.DataFrame(rows, columns=_DIFFERENCES)
        training = _training(choices, differences, metrics.iloc[0], methods)
        tables = {
            "means": means,
            "differences": differences,
            "training": training,
            "methods": methods,
            "metrics": metrics,
            "operators": pd.DataFrame({"operator": choices.operators}),
            "noises": pd.DataFrame({"noise": choices.noises}),
        }
        return Findings(
            {"confidence": self.confidence, "resamples": self.resamples, "noise": choices.noise_title},
            tables,
            text=_text(means, metrics.iloc[0], choices, training),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return figures_of(findings.tables["operators"]["operator"], lambda operator: _draw(findings, operator))

    def _interval(self, study: CompletedStudy, values: pd.Series, column: str, *names: str) -> dict[str, Any]:
        key = stream_key(study.cells[0].spec.seed, "method_comparison", column, *names)
        return mean_interval(values.to_numpy(dtype=float), self.confidence, self.resamples, key).row(column)


def _reference(means: pd.DataFrame, methods: pd.DataFrame, higher_is_better: bool) -> str | None:
    """The best of the methods without weights; None if there is none."""
    plain = set(methods.loc[methods["weights"] == 0, "method"])
    found = means[means["method"].isin(plain) & means["mean"].notna()]
    if found.empty:
        return None
    best = found["mean"].idxmax() if higher_is_better else found["mean"].idxmin()
    return str(found.loc[best, "method"])


def _training(choices: Choices, differences: pd.DataFrame, metric: pd.Series, methods: pd.DataFrame) -> pd.DataFrame:
    """The training of the learned methods that are worse than the best one without weights."""
    learned = set(methods.loc[methods["weights"] > 0, "method"])
    cells = {(entry.operator, entry.noise, entry.method): entry.cell for entry in choices.entries}
    rows = []
    for _, pair in differences[differences["metric"] == metric["metric"]].iterrows():
        if pair["method"] in learned:
            log = cells[pair["operator"], pair["noise"], pair["method"]].method(pair["method"]).log
            row = row_if_behind(pair["method"], pair["reference"], pair, log, metric)
            rows += [{name: pair[name] for name in _PLACE} | row] if row else []
    return sufficiency_table(rows, _PLACE)


def _text(means: pd.DataFrame, metric: pd.Series, choices: Choices, training: pd.DataFrame) -> str:
    """The best method under each operator and noise level, learned methods that are behind, and the paths held."""

    def place(row: Any) -> str:
        return f"under {row.operator}" + (f" at {choices.noise_title} {row.noise}" if choices.noise_title else "")

    ranked = means[(means["metric"] == metric["metric"]) & means["mean"].notna()]
    ranked = ranked.sort_values("mean", ascending=not metric["higher_is_better"], kind="stable")
    best = ranked.groupby(list(_PLACE), sort=False).head(1).sort_index()
    unit = metric["unit"]
    named = ", ".join(
        f"{row.method} {with_unit(number(float(row.mean), unit), unit)} {place(row)}"  # type: ignore[arg-type]
        for row in best[[*_PLACE, "method", "mean"]].itertuples(name="Row")
    )
    behind = sufficiency_text(training, metric, [place(row) for row in training.itertuples()])
    sentence = f"Best mean {metric_title(metric['metric'])}: {named or 'none is finite'}."
    below = _below_the_data(ranked, metric, choices, place)
    return " ".join(filter(None, [sentence, below, behind, choices.in_words]))


def _below_the_data(ranked: pd.DataFrame, metric: pd.Series, choices: Choices, place: Callable[[Any], str]) -> str:
    """The methods that are worse than the measurement itself, where a method of the study hands it on."""
    given = choices.entries[0].cell.spec.methods if choices.entries else {}
    data = next((label for label, method in given.items() if method.reconstructor.name == "observation"), None)
    unit, found = metric["unit"], []
    for _, rows in ranked.groupby(list(_PLACE), sort=False):
        own = rows.loc[rows["method"] == data, "mean"]
        if own.empty:
            continue
        value = float(own.iloc[0])
        for row in rows.itertuples(name="Row"):
            mean = float(row.mean)  # type: ignore[arg-type]
            is_written_alike = number(mean, unit) == number(value, unit)
            if not is_written_alike and (mean < value) == bool(metric["higher_is_better"]):
                both = f"{number(mean, unit)} against {with_unit(number(value, unit), unit)}"
                found.append(f"{row.method} {place(row)} ({both})")
    if not found:
        return ""
    more = f" and {plural(len(found) - _NAMED, 'other')}" if len(found) > _NAMED else ""
    return f"Worse than the measurement itself: {', '.join(found[:_NAMED])}{more}."


def _draw(findings: Findings, operator: str) -> Figure:
    """One panel per metric: means with intervals, one group of points for each noise level."""
    tables = findings.tables
    means = tables["means"][tables["means"]["operator"] == operator]
    styles = {label: one for label, one in method_styles(tables["methods"]).items() if label in set(means["method"])}
    noises = [noise for noise in tables["noises"]["noise"] if noise in set(means["noise"])]
    metrics = tables["metrics"]
    titles = ", ".join(metric_title(name) for name in metrics["metric"])
    description = (
        f"{titles} under {operator} by method and noise level: means over the test images with "
        f"{findings.scalars['confidence']:.0%} intervals"
    )
    brief = _trained_too_briefly(findings, operator)
    if brief:
        description += f"; triangles mark what was {TOO_BRIEF}"
    with panels(len(metrics), description, columns=2, width=WIDTH, margin=0.7) as (figure, grid):
        for axes, metric in zip(grid, metrics.itertuples(), strict=True):
            chosen = means[means["metric"] == metric.metric]
            for position, (label, style) in enumerate(styles.items()):
                of_method = chosen[chosen["method"] == label].set_index("noise")
                shift = _SPREAD * ((position + 0.5) / len(styles) - 0.5)
                _draw_method(axes, of_method, noises, shift, label, style)
                for noise in noises if axes is grid[0] else []:
                    if (noise, label) in brief:
                        row = of_method.loc[noise]
                        top = row["high"] if math.isfinite(row["high"]) else row["mean"]
                        axes.plot([noises.index(noise) + shift], [top], zorder=4, **_MARK)
            for index in range(1, len(noises)):
                axes.axvline(index - 0.5, color="#e9ecef", linewidth=0.8, zorder=0)
            axes.set_xlim(-0.5, len(noises) - 0.5)
            axes.set_xticks(range(len(noises)), [shortened(noise, 24) for noise in noises])
            axes.set_xlabel(str(findings.scalars["noise"]))
            unit, better = f", {metric.unit}" if metric.unit else "", "higher" if metric.higher_is_better else "lower"
            axes.set_title(f"{metric_title(metric.metric)}{unit} ({better} is better)")
        if brief:
            grid[0].plot([], [], label=TOO_BRIEF, **_MARK)
        shared_legend(figure, columns=7)
        heading(figure, operator)
    return figure


def _trained_too_briefly(findings: Findings, operator: str) -> set[tuple[str, str]]:
    """Noise levels and methods; findings of earlier versions do not have them."""
    table = findings.tables.get("training")
    if table is None:
        return set()
    table = table[(table["operator"] == operator) & (table["verdict"] == TOO_BRIEF)]
    return set(zip(table["noise"], table["method"], strict=True))


def _draw_method(axes: Axes, means: Any, noises: list[str], shift: float, label: str, style: MethodStyle) -> None:
    points = [(index + shift, means.loc[noise]) for index, noise in enumerate(noises) if noise in means.index]
    for x, row in points:
        if math.isfinite(row["low"]):
            axes.plot([x, x], [row["low"], row["high"]], color=style.color, linewidth=1.5, solid_capstyle="butt")
    axes.plot(
        [x for x, _ in points],
        [row["mean"] for _, row in points],
        linestyle="none",
        marker=style.marker,
        markersize=5.5,
        color=style.color,
        markerfacecolor="white" if style.is_reference else style.color,
        label=shortened(label, 20),
        zorder=3,
    )
