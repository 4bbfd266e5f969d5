"""Which networks of a study stand side by side: over noise levels, and over Lipschitz parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from invreg import CompletedStudy, LearnsForwardMap, SpecError
from invreg_analyses.shared.study_choice import Choice, choose, plain_value, value_at


@dataclass(frozen=True)
class Series:
    """Networks of one method under one operator that differ in one thing.

    Attributes:
        operator: its name.
        method: the label.
        over: `noise` or `lipschitz`.
        held: what is held fixed, in words.
        entries: the cells, in order.
        names: of the columns.
    """

    operator: str
    method: str
    over: str
    held: str
    entries: list[Choice]
    names: list[str]

    @property
    def keys(self) -> list[tuple[str, str]]:
        return [(str(entry.cell.folder), entry.method) for entry in self.entries]


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
