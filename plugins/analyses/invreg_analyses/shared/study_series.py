"""Networks of a study side by side: over noise levels, and over Lipschitz parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from invreg import CompletedStudy, Findings, LearnsForwardMap, SpecError
from invreg_analyses.shared.study_choice import Choice, choose, methods_in, plain_value, value_at
from invreg_analyses.shared.style import file_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
Figures = Mapping[str, "Figure"]


@dataclass(frozen=True)
class Series:
    """Networks of one method under one operator that differ in one thing.

    Attributes:
        operator: its name.
        method: the label.
        over: `noise` or `lipschitz`.
        held: the value that is held fixed, as text.
        entries: the cells, in order.
        names: of the columns.
    """

    operator: str
    method: str
    over: str
    held: str
    entries: list[Choice]
    names: list[str]


def networks_in(series: Sequence[Series]) -> list[Choice]:
    """All networks, each once, though it may be in several series."""
    return list({_key(entry): entry for one in series for entry in one.entries}.values())


def once(find: Callable[[Choice], T]) -> Callable[[Choice], T]:
    """The same function, called once for each network."""
    kept: dict[tuple[str, str], T] = {}

    def found(entry: Choice) -> T:
        key = _key(entry)
        if key not in kept:
            kept[key] = find(entry)
        return kept[key]

    return found


def join_series(
    study: CompletedStudy, series: Sequence[Series], found: Sequence[Findings], scalars: Mapping[str, Any]
) -> Findings:
    """The findings of all series in one.

    Tables are below each other, with the number of the series in the column `series`; arrays are called
    `series_<number>_<name>`. The scalars of each series are columns of the table `series`.
    """
    import pandas as pd

    tables = {
        name: pd.concat([own.tables[name].assign(series=i) for i, own in enumerate(found)], ignore_index=True)
        for name in found[0].tables
    }
    rows: list[dict[str, Any]] = [
        {"series": i, "operator": one.operator, "method": one.method, "over": one.over, "held": one.held} | own.scalars
        for i, (one, own) in enumerate(zip(series, found, strict=True))
    ]
    tables |= {"series": pd.DataFrame(rows), "methods": methods_in(study)}
    arrays = {f"series_{i}_{name}": array for i, own in enumerate(found) for name, array in own.arrays.items()}
    text = " ".join(
        f"{_head(row)}, over {_OVER[row['over']]}: {own.text}" for row, own in zip(rows, found, strict=True)
    )
    return Findings(dict(scalars), tables, arrays, text)


def draw_series(findings: Findings, draw: Callable[[Findings], Figures]) -> dict[str, Figure]:
    """The figures of each series, drawn from its own findings; their `text` says which series it is."""
    rows = findings.tables["series"].to_dict("records")
    stems = file_names([f"{row['operator']} {row['method']} {row['over']}" for row in rows])
    figures: dict[str, Figure] = {}
    for row, stem in zip(rows, stems, strict=True):
        prefix = f"series_{row['series']}_"
        tables = {name: t[t["series"] == row["series"]] for name, t in findings.tables.items() if "series" in t}
        arrays = {key.removeprefix(prefix): a for key, a in findings.arrays.items() if key.startswith(prefix)}
        own = Findings({**findings.scalars, **row}, tables, arrays, _head(row))
        figures |= {f"{stem}_{kind}": figure for kind, figure in draw(own).items()}
    return figures


def find_series(study: CompletedStudy, at: Mapping[str, Any] | None) -> list[Series]:
    """The series over noise levels, then those over L, of all methods that have learned a forward map.

    Raises:
        SpecError: if there is none.
    """
    paths = {path.split(".")[1]: path for path in study.axes if _is_lipschitz(path)}
    fixed, free = choose(study, at), choose(study, at, tuple(paths.values()))
    found: list[Series] = []
    for operator in fixed.operators:
        for method in dict.fromkeys(entry.method for entry in fixed.entries):
            own = [entry for entry in fixed.entries if (entry.operator, entry.method) == (operator, method)]
            if not own or not isinstance(own[-1].cell.result.methods[method].reconstructor, LearnsForwardMap):
                continue
            if len(own) > 1:
                own.sort(key=lambda entry: fixed.noises.index(entry.noise))
                names = [_level(entry.noise) for entry in own]
                found.append(Series(operator, method, "noise", _held(own[-1], paths.get(method)), own, names))
            if method in paths:
                last = own[-1].noise
                sweep = [e for e in free.entries if (e.operator, e.method, e.noise) == (operator, method, last)]
                sweep.sort(key=lambda entry: float(value_at(entry.cell.spec, paths[method])))
                names = [f"L = {plain_value(value_at(entry.cell.spec, paths[method]))}" for entry in sweep]
                if len(sweep) > 1:
                    found.append(Series(operator, method, "lipschitz", _level(last), sweep, names))
    if not found:
        raise SpecError(
            f"the study varies {', '.join(study.axes) or 'nothing'}",
            expected="several noise levels, or values of `lipschitz`, of a method that has learned a forward map",
            hint="matrix: {noise.std: [0.01, 0.025, 0.05]}",
        )
    return found


def _key(entry: Choice) -> tuple[str, str]:
    return str(entry.cell.folder), entry.method


_OVER = {"noise": "noise levels", "lipschitz": "Lipschitz parameters"}


def _head(row: Mapping[str, Any]) -> str:
    held = f" at {row['held']}" if isinstance(row["held"], str) and row["held"] else ""
    return f"{row['method']} under {row['operator']}{held}"


def _is_lipschitz(path: str) -> bool:
    return path.startswith("methods.") and path.endswith(".lipschitz")


def _level(noise: str) -> str:
    """A noise level as a title: numbers are standard deviations."""
    try:
        return f"δ = {float(noise):g}"
    except ValueError:
        return noise


def _held(entry: Choice, path: str | None) -> str:
    return "" if path is None else f"L = {plain_value(value_at(entry.cell.spec, path))}"
