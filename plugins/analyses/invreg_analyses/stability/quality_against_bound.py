"""Quality of the networks of a study over what is proven of their stability."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from invreg import CompletedStudy, Findings, SpecError, StudyAnalyzer
from invreg.text import metric_title, number, plural, with_unit
from invreg_analyses.shared.panels import heading, log_axis, panels, shared_legend
from invreg_analyses.shared.study_choice import At, Choice, choose, concerns, methods_in, metrics_in, plain_value
from invreg_analyses.shared.style import MUTED, WIDTH, figures_of, method_styles, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from invreg_analyses.shared.style import MethodStyle

_PLACE = ["operator", "noise"]
_SETTING = [*_PLACE, "method", "setting"]


class QualityAgainstBound(StudyAnalyzer):
    """What does a guarantee cost? Quality over the proven bound of Lip(R), with the strongest attack beside it.

    For each network of the study, the mean of every metric over the test images, over

    - `proven`: the bound of its certificate, with respect to the measurements z (filled);
    - `found`: the largest ratio ||R(z + d) - R(z)|| / ||d|| that the analysis `stability` of its cell has found, which
      no proof can go below. For methods of which nothing is proven, this is all there is (hollow, with an arrow: their
      constant is at least that large).

    Networks of one method that differ in what the study varies are joined by a line; those that differ in the `seed`
    alone are one setting, of which `settings` has the mean of the metrics, the largest bound and the largest ratio.

    Raises:
        SpecError: if no cell has the analysis `stability`.

    Source: bounds of reconstructions, Arndt & Nickel 2024, equation (2.3) and figure 2, of which this is the
    counterpart with constants that are proven for the stored weights.
    """

    takes_volumes = True

    def __init__(self, at: At = None) -> None:
        self.at = at

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        free = [path for path in study.axes if path.split(".")[0] not in _PLACE]
        choices, metrics = choose(study, self.at, free), metrics_in(study)
        networks: dict[tuple[str, ...], dict[str, Any]] = {}
        for entry in choices.entries:
            row = _network(entry, free, list(metrics["metric"]))
            if row:
                networks[*(str(row[name]) for name in _SETTING), str(row["seed"])] = row
        if not networks:
            raise SpecError(
                "no cell has findings of the analysis `stability`, in which methods are attacked",
                where="quality_against_bound",
                expected="it among the `analyses` of the study",
                hint="analyses: [quality, stability]",
            )
        table = pd.DataFrame(list(networks.values()))
        settings = _settings(table, list(metrics["metric"]))
        tables = {
            "settings": settings,
            "networks": table,
            "methods": methods_in(study),
            "metrics": metrics,
            "figures": settings[_PLACE].drop_duplicates(ignore_index=True),
        }
        scalars: dict[str, Any] = {"noise": choices.noise_title, "networks": len(table)}
        scalars["violations"] = int(table["violations"].sum())
        return Findings(scalars, tables, text=_text(tables, metrics.iloc[0], scalars["violations"]))

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        title = findings.scalars["noise"]
        places = {
            f"{row.operator} {title} {row.noise}" if title else str(row.operator): row
            for row in findings.tables["figures"].itertuples()
        }
        return figures_of(places, lambda name: _draw(findings, name, places[name]))


def _network(entry: Choice, free: list[str], metrics: list[str]) -> dict[str, Any]:
    """The row of a network; empty if its cell has not attacked it."""
    cell, label = entry.cell, entry.method
    attacked = [folder.findings.tables["summary"] for folder in cell.analyses("stability")]
    rows = [row for table in attacked for row in table[table["method"] == label].to_dict("records")]
    if not rows:
        return {}
    varied = {path: cell.values[path] for path in free if path in cell.values and concerns(path, label)}
    names = {path: path.removeprefix(f"methods.{label}.").removeprefix("reconstructor.") for path in varied}
    setting = ", ".join(f"{names[path]} {plain_value(value)}" for path, value in varied.items() if path != "seed")
    means = cell.metrics(label)[metrics].mean()
    return {
        "operator": entry.operator,
        "noise": entry.noise,
        "method": label,
        "setting": setting,
        "seed": cell.spec.seed,
        "proven": min((float(row["proven"]) for row in rows if not math.isnan(row["proven"])), default=math.nan),
        "found": max((float(row["found"]) for row in rows if not math.isnan(row["found"])), default=math.nan),
        "violations": sum(int(row["violations"]) for row in rows),
        **{name: float(means[name]) for name in metrics},
    }


def _settings(networks: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Over the seeds: mean metrics, and the largest of the bounds (NaN if one is missing) and of the ratios."""
    grouped = networks.groupby(_SETTING, sort=False)
    table = grouped[metrics].mean()
    table.insert(0, "seeds", grouped.size())
    table.insert(1, "proven", grouped["proven"].apply(lambda own: own.max(skipna=False)))
    table.insert(2, "found", grouped["found"].max())
    table.insert(3, "ratio", table["proven"] / table["found"])
    return table.reset_index()


def _text(tables: Mapping[str, pd.DataFrame], metric: pd.Series, violations: int) -> str:
    """For each figure, the best networks with and without a bound; for all, how far bounds are above the attacks."""
    name, unit = metric["metric"], metric["unit"]
    settings, sentences = tables["settings"], []
    for place in tables["figures"].itertuples():
        here = settings[(settings["operator"] == place.operator) & (settings["noise"] == place.noise)]
        parts = []
        for own, what in ((here[here["proven"].notna()], "bound"), (here[here["proven"].isna()], "no bound")):
            if len(own):
                best = own.loc[own[name].idxmax() if metric["higher_is_better"] else own[name].idxmin()]
                proven = f"the proven bound {number(best['proven'])}" if what == "bound" else "no bound"
                label = f"{best['method']} ({best['setting']})" if best["setting"] else best["method"]
                found = "" if math.isnan(best["found"]) else f", strongest attack {number(best['found'])}"
                parts.append(f"{label} with {proven}{found}: {with_unit(number(best[name], unit), unit)}")
        sentences.append(f"{place.operator}, best mean {metric_title(name)}: {'; '.join(parts)}.")
    ratios = settings["ratio"].dropna()
    if len(ratios):
        low, high = number(ratios.min()), number(ratios.max())
        sentences.append(f"Proven bounds are {low} to {high} times the strongest attacks.")
    if violations:
        sentences.append(f"Proven bounds are VIOLATED in {plural(violations, 'case')}.")
    return " ".join(sentences)


def _draw(findings: Findings, name: str, place: Any) -> Figure:
    """One panel per metric: filled points at bounds, lines from there to attacks, hollow points without bounds."""
    tables = findings.tables
    styles, metrics = method_styles(tables["methods"]), list(tables["metrics"].itertuples())
    settings = tables["settings"]
    here = settings[(settings["operator"] == place.operator) & (settings["noise"] == place.noise)]
    titles = ", ".join(metric_title(metric.metric) for metric in metrics)
    description = (
        f"{titles} under {name} over the Lipschitz constant of the reconstruction: proven bounds (filled), with a thin "
        f"line to the strongest attack on the same network; methods without a proof (hollow) at the strongest attack"
    )
    width = WIDTH / min(len(metrics), 2)
    with panels(len(metrics), description, columns=2, width=width, height=3.6, margin=0.7, grid="both") as (
        figure,
        grid,
    ):
        for axes, metric in zip(grid, metrics, strict=True):
            for label, style in styles.items():
                _draw_method(axes, here[here["method"] == label], label, style, metric.metric)
            log_axis(axes, "x")
            axes.set_xlabel("Lipschitz constant: proven (filled), attacked (line, hollow)")
            unit, better = f", {metric.unit}" if metric.unit else "", "higher" if metric.higher_is_better else "lower"
            axes.set_title(f"{metric_title(metric.metric)}{unit} ({better} is better)")
        shared_legend(figure)
        heading(figure, name)
    return figure


def _draw_method(axes: Axes, own: pd.DataFrame, label: str, style: MethodStyle, metric: str) -> None:
    look: dict[str, Any] = {"color": style.color, "marker": style.marker, "markersize": 6}
    text = shortened(label, 24)
    proven = own[own["proven"].notna()].sort_values("proven")
    if len(proven):
        axes.plot(proven["proven"], proven[metric], label=text, **look)
        attacked = proven[proven["found"].notna()]
        axes.hlines(attacked[metric], attacked["found"], attacked["proven"], color=style.color, lw=0.7, alpha=0.6)
        axes.scatter(attacked["found"], attacked[metric], s=18, color=style.color, marker="|", linewidths=1)
    unproven = own[own["proven"].isna() & own["found"].gt(0)]
    if len(unproven):
        axes.plot(unproven["found"], unproven[metric], label=text, linestyle="none", markerfacecolor="white", **look)
        for found, value in zip(unproven["found"], unproven[metric], strict=True):
            arrow = {"arrowstyle": "->", "color": MUTED, "lw": 0.8, "shrinkA": 4}
            axes.annotate("", (found * 1.5, value), (found, value), arrowprops=arrow)
