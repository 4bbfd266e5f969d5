"""The leaderboard: one row for each problem and method, from what run folders hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invreg.benchmarks.plan import LABEL, PROBLEM, SEED
from invreg.benchmarks.suite import digest_of
from invreg.benchmarks.violation import attack_of
from invreg.components.certificate import rounded_up
from invreg.storage.run_folder import RunFolder
from invreg.text import MISSING, count, duration, metric_title, number

if TYPE_CHECKING:
    import pandas as pd

    from invreg.benchmarks.plan import BenchmarkPlan, LeftOut
    from invreg.components.metric import Metric
    from invreg.storage.study_cell import StudyCell

#: Of intervals.
_COVERAGE = 0.95


@dataclass(frozen=True)
class Entry:
    """A run of one method on one problem, with one seed.

    Attributes:
        cell: where it is kept.
        source: where it was made: empty for here, else the folder that was merged.
    """

    cell: StudyCell
    source: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The problem and the label."""
        return str(self.cell.values[PROBLEM]), str(self.cell.values[LABEL])

    @property
    def seed(self) -> int:
        return int(self.cell.values[SEED])


def leaderboard(plan: BenchmarkPlan, entries: Iterable[Entry], left_out: Iterable[LeftOut]) -> pd.DataFrame:
    """One row for each problem and method: those with results from the best to the worst, then those without.

    The columns are

    - `problem`, `method`, `seeds`;
    - for each metric its mean over test images and seeds, `<metric>_low` and `<metric>_high`, the 95 % interval of that
      mean over test images, `<metric>_seeds`, the standard deviation over seeds, and `<metric>_behind`, `_behind_low`
      and `_behind_high`, the mean difference to the best method, image by image, with its interval;
    - `seconds_per_image`, `training_minutes` (means over seeds) and `weights`;
    - `attack`, the largest ratio that an attack has found, `search`, which one, and `bound`, the proven bound: over the
      seeds the largest of each, or no bound if one is missing;
    - `versions`, `data_hash`, `spec_hash`, `source` (a folder that was merged) and `note`: why there is no result.

    Args:
        plan: of the benchmark.
        entries: all runs, finished or failed.
        left_out: methods for which a problem is not made.
    """
    import pandas as pd

    metrics = metrics_of(plan)
    grouped: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.key, []).append(entry)
    values: dict[tuple[str, str], pd.DataFrame] = {}
    rows = []
    for (problem, label), own in grouped.items():
        failed = [entry.cell.failure for entry in own if entry.cell.failure]
        if failed:
            rows.append({**_head(plan, problem, label, own), "note": f"failed: {failed[0].splitlines()[0]}"})
            continue
        values[problem, label] = _by_image(own, list(metrics))
        rows.append({**_head(plan, problem, label, own), **_quality(values[problem, label], metrics), **_facts(own)})
    for one in left_out:
        if (one.problem, one.label) not in grouped:
            rows.append({**_head(plan, one.problem, one.label, []), "note": f"left out: {one.reason}"})
    _compare(rows, values, metrics)
    order, (first, metric) = list(plan.suite.problems), next(iter(metrics.items()))

    def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
        value = row.get(first, math.nan)
        worth = (-value if metric.higher_is_better else value) if not math.isnan(value) else math.inf
        return order.index(row["problem"]), worth, row["note"].startswith("left out"), row["method"]

    return pd.DataFrame(sorted(rows, key=place), columns=columns_of(metrics))


def metrics_of(plan: BenchmarkPlan) -> dict[str, Metric]:
    """The metrics of a suite by name; the first ranks."""
    return {spec.name: plan.registry.build("metric", spec) for spec in plan.suite.metrics}


def columns_of(metrics: Iterable[str]) -> list[str]:
    """The columns of a leaderboard."""
    parts = ("", "_low", "_high", "_seeds", "_behind", "_behind_low", "_behind_high")
    quality = [f"{name}{part}" for name in metrics for part in parts]
    cost = ["seconds_per_image", "training_minutes", "weights", "attack", "search", "bound"]
    return ["problem", "method", "seeds", *quality, *cost, "versions", "data_hash", "spec_hash", "source", "note"]


def _head(plan: BenchmarkPlan, problem: str, label: str, own: Sequence[Entry]) -> dict[str, Any]:
    sources = dict.fromkeys(entry.source for entry in own if entry.source)
    return {
        "problem": problem,
        "method": label,
        "seeds": len(own),
        "data_hash": plan.pixels.get(problem, ""),
        "source": ", ".join(sources),
        "note": "",
    }


def _by_image(own: Sequence[Entry], metrics: list[str]) -> pd.DataFrame:
    """The metrics with one row for each seed and test image."""
    import pandas as pd

    tables = [entry.cell.metrics()[["image", *metrics, "seconds"]].assign(seed=entry.seed) for entry in own]
    return pd.concat(tables).set_index(["seed", "image"])


def _quality(values: pd.DataFrame, metrics: Iterable[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"seconds_per_image": float(values["seconds"].mean())}
    for name in metrics:
        low, high = interval(values[name].groupby("image").mean())
        over_seeds = values[name].groupby("seed").mean()
        row |= {name: float(values[name].mean()), f"{name}_low": low, f"{name}_high": high}
        row[f"{name}_seeds"] = float(over_seeds.std()) if len(over_seeds) > 1 else math.nan
    return row


def interval(values: pd.Series) -> tuple[float, float]:
    """The 95 % interval of the mean of independent values, by Student's t; NaN for fewer than two, or infinite ones."""
    import numpy as np
    from scipy import stats

    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan, math.nan
    mean, spread = float(values.mean()), float(values.std()) / math.sqrt(len(values))
    reach = float(stats.t.ppf(0.5 + _COVERAGE / 2, len(values) - 1)) * spread
    return mean - reach, mean + reach


def _facts(own: Sequence[Entry]) -> dict[str, Any]:
    """What is not quality: costs, stability, and what the runs were made of and with."""
    runs = [RunFolder(entry.cell.folder) for entry in own]
    label = own[0].key[1]
    trainings = [run.method(label).training for run in runs]
    attacks = [row for run in runs for row in attack_of(run).to_dict("records") if row["method"] == label]
    found = [float(row["found"]) for row in attacks]
    bounds = [float(row["proven"]) for row in attacks]
    strongest = max(attacks, key=lambda row: -1.0 if math.isnan(row["found"]) else float(row["found"]))
    spec = own[0].cell.spec.model_dump(mode="json", exclude={"title", "seed"})
    versions = dict.fromkeys(_versions(run) for run in runs)
    return {
        "training_minutes": sum(one.seconds for one in trainings) / len(trainings) / 60,
        "weights": max(one.parameters for one in trainings),
        "attack": max((value for value in found if not math.isnan(value)), default=math.nan),
        "search": str(strongest["search"]),
        "bound": math.nan if any(map(math.isnan, bounds)) else max(bounds),
        "versions": "; ".join(versions),
        "spec_hash": digest_of(spec),
    }


def _versions(run: RunFolder) -> str:
    """Of this package, torch, and the plugins that are not part of it."""
    environment = run.environment
    own = str(environment.get("invreg", ""))
    libraries, plugins = environment.get("libraries", {}), environment.get("plugins", {})
    parts = [f"invreg {own}", f"torch {libraries.get('torch', '')}"]
    return ", ".join([*parts, *(f"{name} {version}" for name, version in plugins.items() if name != "invreg")])


def _compare(
    rows: list[dict[str, Any]], values: Mapping[tuple[str, str], pd.DataFrame], metrics: Mapping[str, Metric]
) -> None:
    """Adds how far each method is behind the best one, image by image."""
    for name, metric in metrics.items():
        best: dict[str, tuple[float, pd.Series]] = {}
        for (problem, _), own in values.items():
            mean = float(own[name].mean()) * (1 if metric.higher_is_better else -1)
            if not math.isnan(mean) and (problem not in best or mean > best[problem][0]):
                best[problem] = mean, own[name].groupby("image").mean()
        for row in rows:
            key = row["problem"], row["method"]
            if key not in values or row["problem"] not in best:
                continue
            own, first = values[key][name].groupby("image").mean(), best[row["problem"]][1]
            gap = (first - own).mask(first == own, 0.0)  # also of infinite values
            gap = gap if metric.higher_is_better else -gap
            low, high = interval(gap)
            row |= {f"{name}_behind": float(gap.mean()), f"{name}_behind_low": low, f"{name}_behind_high": high}


# -- in words


def in_words(row: Mapping[str, Any], metrics: Mapping[str, Metric]) -> list[tuple[str, str]]:
    """The cells of a row as people read them, each with the small print behind it."""
    cells = [(str(row["method"]), "")]
    for name, metric in metrics.items():
        value, low, high = (float(row[f"{name}{part}"]) for part in ("", "_low", "_high"))
        note = "" if math.isnan(low) else f"± {number((high - low) / 2, metric.unit)}"
        cells.append((number(value, metric.unit), note))
    first, metric = next(iter(metrics.items()))
    behind, low, high = (float(row[f"{first}_behind{part}"]) for part in ("", "_low", "_high"))
    is_best = behind == 0
    note = "" if math.isnan(low) or is_best else f"± {number((high - low) / 2, metric.unit)}"
    cells.append(("best" if is_best else number(behind, metric.unit), note))
    attack, bound, weights = float(row["attack"]), float(row["bound"]), float(row["weights"])
    cells.append((number(attack), ""))
    cells.append((MISSING if math.isnan(bound) else rounded_up(bound), ""))
    minutes = float(row["training_minutes"])
    cells.append((MISSING if math.isnan(minutes) else duration(60 * minutes), ""))
    cells.append((duration(float(row["seconds_per_image"])), ""))
    cells.append((MISSING if math.isnan(weights) or not weights else count(int(weights)), ""))
    cells.append((str(int(row["seeds"])) if row["seeds"] else MISSING, ""))
    return cells


def headings(metrics: Mapping[str, Metric]) -> list[str]:
    """Of the cells that `in_words` gives."""
    names = [metric_title(name) + (f" ({metric.unit})" if metric.unit else "") for name, metric in metrics.items()]
    first = metric_title(next(iter(metrics)))
    return ["Method", *names, f"{first} behind", "Attack", "Proven bound", "Training", "Per image", "Weights", "Seeds"]


def as_markdown(plan: BenchmarkPlan, table: pd.DataFrame) -> str:
    """The leaderboard in Markdown: one table for each problem."""
    metrics = metrics_of(plan)
    suite = plan.suite
    lines = [f"# {suite.title}, {suite.size}", "", *_paragraphs(suite.description, suite.note, notes(plan))]
    names = headings(metrics)
    for problem, own in table.groupby("problem", sort=False):
        lines += [f"## {suite.problems[str(problem)].title}", "", "| " + " | ".join(names) + " |"]
        lines.append("|" + "---|" + "---:|" * (len(names) - 1))
        reasons = []
        for row in own.to_dict("records"):
            if row["note"]:
                reasons.append(f"- {row['method']}: {row['note']}")
                continue
            cells = [" ".join(filter(None, cell)).replace("|", "\\|") for cell in in_words(row, metrics)]
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", *reasons, ""] if reasons else [""]
    return "\n".join(lines).rstrip() + "\n"


def _paragraphs(*texts: str) -> list[str]:
    return [line for text in texts if text.strip() for line in (text.strip(), "")]


def notes(plan: BenchmarkPlan) -> str:
    """What the numbers are, in a few sentences."""
    attack = plan.suite.attack
    parameters = ", ".join(f"{name} {value}" for name, value in attack.parameters.items())
    return (
        "Quality is the mean over test images and seeds, with the 95 % interval of this mean over images; what is "
        "behind the best is compared image by image. The attack is the largest ratio of changes, of the reconstruction "
        f"to the measurement, that `{attack.name}` has found ({parameters}): a lower bound of the Lipschitz constant "
        "of the reconstruction. The proven bound is an upper bound for all measurements and changes; a dash means that "
        "nothing is proven."
    )
