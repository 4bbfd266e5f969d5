"""The tables of the report of a study: its result at a glance, and all results, with nothing said twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from invreg.reporting.tables import Table, TableCell, aligned, csv_source, number_cell, plain, time_cell, weights_cell
from invreg.text import MISSING, count, metric_title, plural, with_unit

if TYPE_CHECKING:
    import pandas as pd

    from invreg.components.metric import Metric
    from invreg.storage.study_cell import StudyCell

#: Cells beside each other in the table at the top, and letters of their names; with more, each has a row.
_BESIDE, _LETTERS_BESIDE = 6, 80
#: Rows of the table at the top, and of the one of all results.
_AT_THE_TOP, MOST_ROWS = 24, 2_000
#: In place of the value of an axis on which a method does not depend.
_ANY = "any"


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """What a study varies in as few words as tell it apart: `noise.std` is "noise std", `methods.a.trainer.lr` "lr".

    One word is enough where it is long, of those below methods; paths that would be alike get more words.
    """
    parts = {path: path.removeprefix("methods.").split(".") for path in paths}
    wanted = {path: 1 if path.startswith("methods.") else 2 for path in paths}
    while True:
        names = {path: " ".join(parts[path][-wanted[path] :]).replace("_", " ") for path in paths}
        twice = [path for path in paths if Counter(names.values())[names[path]] > 1]
        longer = [path for path in twice if wanted[path] < len(parts[path])]
        if not longer:
            return names
        for path in longer:
            wanted[path] += 1


def varied(cells: Sequence[StudyCell], paths: Sequence[str]) -> list[str]:
    """The paths in which cells differ; all of them if they do in none."""
    found = [path for path in paths if len({_value(cell.values.get(path)) for cell in cells}) > 1]
    return found or list(paths)


def in_short(values: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """A cell in a few words: "noise std 0.01, lipschitz 0.99"; what has no name is left out."""
    return ", ".join(f"{names[path]} {_value(value)}" for path, value in values.items() if path in names)


def headline(cells: Sequence[StudyCell], table: pd.DataFrame, metrics: Mapping[str, Metric]) -> str:
    """The result of a study in a sentence: in how many cells which method is best."""
    done = sum(cell.failure is None for cell in cells)
    if not done:
        return f"None of {plural(len(cells), 'cell')} could be finished."
    failed = f" {len(cells) - done} of {plural(len(cells), 'cell')} failed." if done < len(cells) else ""
    name, metric = next(iter(metrics.items()))
    if name not in table or table["method"].nunique() < 2:
        return f"Results of {plural(done, 'cell')}.{failed}"
    wins: Counter[str] = Counter()
    compared = [rows for _, rows in table.groupby("cell", sort=False) if len(rows) > 1]
    if not compared:  # methods of different cells solve different problems, or the same one by themselves
        return f"Results of {plural(done, 'cell')}.{failed}"
    for rows in compared:
        if rows[name].notna().any():
            wins[str(rows.loc[rows[name].idxmax() if metric.higher_is_better else rows[name].idxmin(), "method"])] += 1
    if not wins:
        return f"No method has a finite mean {metric_title(name)}.{failed}"
    (best, amount), *others = wins.most_common()
    text = f"{best} has the best mean {metric_title(name)}"
    among = len(compared)
    if amount == among:
        return f"{text}{f' in all {count(among)} cells' if among > 1 else ''}.{failed}"
    rest = sum(number for _, number in others[3:])
    listed = [f"{label} in {count(number)}" for label, number in others[:3]] + [f"others in {count(rest)}"] * (rest > 0)
    return f"{text} in {count(amount)} of {plural(among, 'cell')}, {', '.join(listed)}.{failed}"


def result_table(
    cells: Sequence[StudyCell], table: pd.DataFrame, names: Mapping[str, str], metrics: Mapping[str, Metric]
) -> Table | None:
    """The means of the first metric: methods against cells, or cells against methods where these are many.

    What is equal to the last digit, as of a method that does not depend on what is varied, stands once.
    """
    name, metric = next(iter(metrics.items()))
    if table.empty or name not in table:
        return None
    labels = list(dict.fromkeys(table["method"]))
    if 2 * len(table) < len(labels) * table["cell"].nunique():
        return _listed(cells, table, names, name, metric)
    rows = {(str(row["cell"]), str(row["method"])): row for row in table.to_dict("records")}
    write = aligned(table[name], metric.unit)
    order = max if metric.higher_is_better else min
    differing = _axes(cells, names)
    short = [in_short(_in(cell, differing), names) for cell in cells]
    is_beside = len(cells) <= _BESIDE and sum(map(len, short)) <= _LETTERS_BESIDE
    shown = cells if is_beside else cells[:_AT_THE_TOP]
    grid: list[list[TableCell]] = []
    for cell in shown:
        own = [rows.get((cell.folder.name, label)) for label in labels]
        values = [math.nan if row is None else float(row[name]) for row in own]
        best = order((value for value in values if not math.isnan(value)), default=None)
        texts = [MISSING if math.isnan(value) else write(value) for value in values]
        grid.append(
            [
                TableCell(
                    text, True, len(labels) > 1 and best is not None and text == write(best), value=_finite(value)
                )
                for text, value in zip(texts, values, strict=True)
            ]
        )
    results = [key for key in table.columns if key not in ("cell", *cells[0].values) and not key.endswith("_seconds")]
    keys = [[_fingerprint(rows.get((cell.folder.name, label)), results) for label in labels] for cell in shown]
    for row, key in zip(grid, keys, strict=True):  # what is the best of one cell only is not joined with others
        key[:] = [f"{one}{cell.is_best}" if one else "" for one, cell in zip(key, row, strict=True)]
    if is_beside:
        heads = [(text or metric_title(name), True) for text in short]
        body = []
        for position, label in enumerate(labels):
            lengths = _runs([key[position] for key in keys])
            beside = [row[position] for row in grid]
            body.append(
                [TableCell(label), *(replace(one, columns=n) for one, n in zip(beside, lengths, strict=True) if n)]
            )
        return Table([("Method", False), *heads], body)
    axes = _axes(shown, names)
    written = [[_value(cell.values.get(path)) for path in axes] for cell in shown]
    columns = []
    for depth in range(len(axes)):
        lengths = _runs(["\0".join(row[: depth + 1]) for row in written])
        columns.append([replace(TableCell(row[depth]), rows=n) for row, n in zip(written, lengths, strict=True)])
    for position in range(len(labels)):
        lengths = _runs([key[position] for key in keys])
        columns.append([replace(row[position], rows=n) for row, n in zip(grid, lengths, strict=True)])
    body = [[column[row] for column in columns if column[row].rows] for row in range(len(shown))]
    heads = [*((names[path], False) for path in axes), *((label, True) for label in labels)]
    return Table(heads, body, len(cells) - len(shown))


def _axes(cells: Sequence[StudyCell], names: Mapping[str, str]) -> list[str]:
    """What these cells differ in."""
    return [path for path in names if any(cell.values.get(path) != cells[0].values.get(path) for cell in cells)]


def _in(cell: StudyCell, paths: Sequence[str]) -> dict[str, Any]:
    return {path: cell.values[path] for path in paths if path in cell.values}


def _listed(
    cells: Sequence[StudyCell], table: pd.DataFrame, names: Mapping[str, str], metric_name: str, metric: Metric
) -> Table:
    """The means in one column, for studies whose cells have different methods."""
    paths = [path for path in names if not table[path].astype(str).equals(table["method"])]
    write = aligned(table[metric_name], metric.unit)
    rows = [
        [
            *(TableCell(_value(row[path])) for path in paths),
            TableCell(str(row["method"])),
            number_cell(row, metric_name, write),
        ]
        for row in table.head(_AT_THE_TOP).to_dict("records")
    ]
    title = with_unit(metric_title(metric_name), f"({metric.unit})" if metric.unit else "")
    columns = [*((names[path], False) for path in paths), ("Method", False), (title, True)]
    return Table(columns, rows, max(len(table) - _AT_THE_TOP, 0))


def all_results(table: pd.DataFrame, names: Mapping[str, str], metrics: Mapping[str, Metric]) -> Table:
    """One row per cell and method, without repeating methods that do not depend on what is varied."""
    paths = [path for path in names if path in table]
    rows = _merged(table, paths)
    shown = [name for name in metrics if name in table]
    columns = [(names[path], False) for path in paths] + [("Method", False)]
    columns += [
        (with_unit(metric_title(name), f"({metrics[name].unit})" if metrics[name].unit else ""), True) for name in shown
    ]
    columns += [("Weights", True), ("Training", True), ("Time per image", True)]
    write = {name: aligned(table[name], metrics[name].unit) for name in shown}
    body = [
        [
            *(TableCell(_value(row[path])) for path in paths),
            TableCell(str(row["method"])),
            *(number_cell(row, name, write[name]) for name in shown),
            weights_cell(row),
            time_cell(row, "training"),
            time_cell(row, "reconstruction"),
        ]
        for row in rows[:MOST_ROWS]
    ]
    return Table(columns, body, max(len(rows) - MOST_ROWS, 0), csv_source(table, "study.csv"), "study.csv")


def _merged(table: pd.DataFrame, paths: Sequence[str]) -> list[dict[str, Any]]:
    """The rows; those that differ in the value of an axis only are one, if they are there for all of its values.

    Times are not compared: a method that several cells have in common is timed in one of them, others in each.
    """
    rows: list[dict[str, Any]] = table.to_dict("records")
    results = [key for key in table.columns if key not in ("cell", *paths) and not key.endswith("_seconds")]
    for path in paths:
        values = {_value(row[path]) for row in rows} - {_ANY}
        groups: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            others = [repr(row[other]) for other in paths if other != path]
            groups.setdefault("\0".join([*others, _fingerprint(row, results)]), []).append(place)
        kept: dict[int, dict[str, Any]] = {}
        for places in groups.values():
            if len(values) > 1 and {_value(rows[place][path]) for place in places} == values:
                kept[places[0]] = {**rows[places[0]], path: _ANY}
            else:
                kept |= {place: rows[place] for place in places}
        rows = [kept[place] for place in sorted(kept)]
    return rows


def _fingerprint(row: Mapping[str, Any] | None, results: Sequence[str]) -> str:
    """Equal for two rows that are one result; empty where there is none."""
    return "" if row is None else repr([row[key] for key in results])


def _runs(keys: Sequence[str]) -> list[int]:
    """How many neighbours from here on have the same key, and 0 for those that a neighbour before them has counted."""
    lengths = [1] * len(keys)
    first = 0
    for place in range(1, len(keys)):
        if keys[place] and keys[place] == keys[first]:
            lengths[first], lengths[place] = lengths[first] + 1, 0
        else:
            first = place
    return lengths


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(value: Any) -> str:
    return plain(value)
