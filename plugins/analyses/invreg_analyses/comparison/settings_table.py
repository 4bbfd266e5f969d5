"""Sizes, settings and training times of the methods of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from invreg import CompletedStudy, Findings, StudyAnalyzer, StudyCell
from invreg.text import count, duration
from invreg_analyses.shared.study_choice import concerns, methods_of, plain_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Fastest and slowest training that still count as the same length.
_SAME = 1.05


class SettingsTable(StudyAnalyzer):
    """For each method of a study: network, weights, training time, and the main settings of both; no figures.

    A setting with several values over the cells is given with all of them (or, for more than `values` of them, with the
    smallest and the largest). Settings that a search has found are given as found. The main settings are the first ones
    of a component's constructor that are set, and those that vary; the table `settings` has all.

    Raises:
        SpecError: if no cell is finished.

    Source: Arndt & Nickel 2024, table 1.
    """

    takes_volumes = True

    def __init__(
        self,
        main: Annotated[
            int, Field(ge=1, le=50, description="number of settings of each component in the table methods")
        ] = 6,
        values: Annotated[int, Field(ge=2, description="number of values of a setting that are listed")] = 4,
    ) -> None:
        self.main = main
        self.values = values

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        rows, settings = [], []
        for label in methods_of(study):
            cells = [cell for cell in study.cells if label in cell.spec.methods]
            table = study.table[study.table["method"] == label]
            found = {part: _settings(cells, label, part) for part in ("reconstructor", "trainer")}
            seconds = _seconds(cells, label)
            rows.append(
                {
                    "method": label,
                    "reconstructor": self._in_words(found["reconstructor"].pop("name", [])),
                    "weights": int(table["parameters"].max()),
                    "training": _span(seconds),
                    "reconstructor settings": self._main(found["reconstructor"]),
                    "trainer": self._in_words(found["trainer"].pop("name", [])),
                    "trainer settings": self._main(found["trainer"]),
                    "fastest training, s": min(seconds, default=0.0),
                    "slowest training, s": max(seconds, default=0.0),
                    "trainings": len(seconds),
                }
            )
            settings += [
                {"method": label, "component": part, "setting": name, "value": self._in_words(values)}
                for part, named in found.items()
                for name, values in named.items()
            ]
        tables = {
            "methods": pd.DataFrame(rows),
            "settings": pd.DataFrame(settings, columns=["method", "component", "setting", "value"]),
        }
        return Findings(tables=tables, text=_sentence(rows))

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {}

    def _main(self, settings: Mapping[str, list[Any]]) -> str:
        given = [name for name, values in settings.items() if values != [None]]
        chosen = [name for position, name in enumerate(given) if position < self.main or len(settings[name]) > 1]
        return ", ".join(f"{name.replace('_', ' ')} {self._in_words(settings[name])}" for name in chosen)

    def _in_words(self, values: list[Any]) -> str:
        texts = list(dict.fromkeys(_plain(value) for value in values))
        if len(texts) <= self.values:
            return ", ".join(texts) if len(texts) < 2 else " | ".join(texts)
        try:
            ordered = sorted(values, key=float)
        except (TypeError, ValueError):
            return " | ".join(texts[: self.values]) + " | …"
        return f"{_plain(ordered[0])} to {_plain(ordered[-1])}"


def _settings(cells: list[StudyCell], label: str, part: str) -> dict[str, list[Any]]:
    """Each setting of the method's component with its different values over the cells, in order."""
    found: dict[str, list[Any]] = {}
    for cell in cells:
        method = cell.spec.methods[label]
        given = method.reconstructor if part == "reconstructor" else method.trainer
        if given is None:
            continue
        settings = {"name": given.name, **given.parameters}
        if part == "reconstructor":
            settings |= cell.method(label).reconstructor
        for name, value in settings.items():
            values = found.setdefault(name, [])
            if value not in values:
                values.append(value)
    return found


def _seconds(cells: list[StudyCell], label: str) -> list[float]:
    """The training times of a method, each training once though several cells may share it."""
    trained: dict[str, float] = {}
    for cell in cells:
        values = {path: value for path, value in cell.values.items() if concerns(path, label)}
        trained[repr(values)] = cell.method(label).training.seconds
    return [seconds for seconds in trained.values() if seconds > 0]


def _span(seconds: list[float]) -> str:
    low, high = min(seconds, default=0.0), max(seconds, default=0.0)
    return duration(high) if high <= _SAME * low or not seconds else f"{duration(low)} to {duration(high)}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(
            f"{name} {_plain(item)}" for name, item in value.items() if name != "name" and item is not None
        )
        return " ".join(filter(None, [str(value.get("name", "")), f"({inner})" if inner else ""]))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return "none" if value is None else plain_value(value)


def _sentence(rows: list[dict[str, Any]]) -> str:
    learned = [row for row in rows if row["weights"]]
    if not learned:
        return f"{len(rows)} methods, none with weights."
    sizes = ", ".join(f"{row['method']} {count(row['weights'])}" for row in learned)
    longest = max(rows, key=lambda row: float(row["slowest training, s"]))
    text = f"Weights: {sizes}."
    if longest["slowest training, s"] > 0:
        text += f" {longest['method']} took longest to train, {longest['training']} for each cell."
    return text
