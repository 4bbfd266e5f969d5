"""The cells of a study that represent a method under an operator and a noise level, and their values per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from invreg import CompletedStudy, Spec, SpecError, StudyCell, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

#: Values of varied paths, as the tables of a study show them.
At = Annotated[
    dict[str, int | float | bool | str] | None,
    Field(description="{varied path: value}: which cells are shown; of any other path the last value"),
]


@dataclass(frozen=True)
class Choice:
    """The cell that represents a method under an operator and a noise level."""

    operator: str
    noise: str
    method: str
    cell: StudyCell


@dataclass(frozen=True)
class Choices:
    """All choices, in the order of operators, noise levels and methods.

    Attributes:
        entries: the choices.
        operators: names of the operators.
        noises: names of the noise levels, the lowest first where they are numbers.
        noise_title: the meaning of the names of the noise levels, such as noise std; empty if the noise is not varied.
        fixed: path to the values, among several, at which it is held, as text.
    """

    entries: list[Choice]
    operators: list[str]
    noises: list[str]
    noise_title: str
    fixed: dict[str, str]

    @property
    def in_words(self) -> str:
        """A sentence on the paths that are held; empty if there are none."""
        if not self.fixed:
            return ""
        return "Held fixed: " + ", ".join(f"{path} at {value}" for path, value in self.fixed.items()) + "."


def choose(study: CompletedStudy, at: Mapping[str, Any] | None, free: Sequence[str] = ()) -> Choices:
    """One cell for each method, operator and noise level: that with the values of `at`, else with the last values.

    A path below another method (`methods.other...`) does not concern a method and is ignored. A method that
    does not occur with a value of `at` is left out.

    Args:
        study: the study.
        at: varied path to the value that is shown.
        free: paths that are not held: with them, several cells represent a method.

    Raises:
        SpecError: if `at` names a path or a value that the study does not have, or leaves nothing, or if no cell is
            finished.
    """
    at, methods = dict(at or {}), methods_of(study)
    _check(study, at)
    operator_paths = [path for path in study.axes if path.split(".")[0] == "operator"]
    noise_paths = [path for path in study.axes if path.split(".")[0] == "noise"]
    entries: list[Choice] = []
    held: dict[str, list[Any]] = {path: [] for path in study.axes if path not in (*operator_paths, *noise_paths, *free)}
    groups: dict[tuple[str, str], list[StudyCell]] = {}
    for cell in study.cells:
        operator = _operator_name(cell, operator_paths)
        noise = _noise_name(cell, noise_paths)
        groups.setdefault((operator, noise), []).append(cell)
    for (operator, noise), cells in groups.items():
        for method in methods:
            found = [cell for cell in cells if method in cell.spec.methods and _agrees(cell, at, method)]
            for path, used in held.items():
                if not found or not concerns(path, method):
                    continue
                values = [cell.values[path] for cell in found if path in cell.values]
                if values:
                    last = max(values, key=list(study.axes[path]).index)
                    found = [cell for cell in found if cell.values.get(path) == last]
                    used += [] if last in used else [last]
            entries += [Choice(operator, noise, method, cell) for cell in (found if free else found[-1:])]
    if not entries:
        raise SpecError("no cell has these values", where="at", expected="values that occur together")
    operators = list(dict.fromkeys(entry.operator for entry in entries))
    noises = _ordered(list(dict.fromkeys(entry.noise for entry in entries)))
    entries.sort(key=lambda entry: (operators.index(entry.operator), noises.index(entry.noise)))
    fixed = {path: " or ".join(map(plain_value, used)) for path, used in held.items() if used}
    title = " and ".join(path.replace(".", " ") for path in noise_paths)
    return Choices(entries, operators, noises, title, fixed | {path: plain_value(value) for path, value in at.items()})


def concerns(path: str, method: str) -> bool:
    """Whether a varied path can make a difference to a method."""
    head, *rest = path.split(".")
    return head != "methods" or not rest or rest[0] == method


def methods_of(study: CompletedStudy) -> list[str]:
    """The labels of all methods, in the order of the specs.

    Raises:
        SpecError: if no cell is finished.
    """
    if not study.cells:
        raise SpecError("no cell is finished", expected="at least one", hint="see the failures of the cells")
    return list(dict.fromkeys(label for cell in study.cells for label in cell.spec.methods))


def methods_in(study: CompletedStudy) -> pd.DataFrame:
    """The methods with their largest numbers of weights: which decide on their colours in all figures of a study."""
    import pandas as pd

    weights = study.table.groupby("method")["parameters"].max()
    labels = methods_of(study)
    return pd.DataFrame({"method": labels, "weights": [int(weights.get(label, 0)) for label in labels]})


def metrics_in(study: CompletedStudy) -> pd.DataFrame:
    """The metrics of the study with their units, and whether higher is better."""
    import pandas as pd

    rows: dict[str, tuple[str, str, bool]] = {}
    for cell in study.cells:
        for given in cell.spec.metrics:
            if given.name not in rows:
                metric = cell.registry.build("metric", given)
                rows[given.name] = (given.name, metric.unit, metric.higher_is_better)
    return pd.DataFrame(list(rows.values()), columns=["metric", "unit", "higher_is_better"])


def image_metrics(cell: StudyCell, method: str) -> pd.DataFrame:
    """The metrics of a method in a cell, one row per test image in their order, one column per metric."""
    return cell.metrics(method).set_index("image").drop(columns=["method", "seconds"])


def _operator_name(cell: StudyCell, paths: Sequence[str]) -> str:
    """The operator as the tables show it, with its parameters that are varied."""
    name = plain_value(cell.values.get("operator", cell.spec.operator.name))
    return ", ".join([name, *_parameters(cell, paths)])


def _noise_name(cell: StudyCell, paths: Sequence[str]) -> str:
    """The noise as the tables show it; a single parameter that is varied is shown as its value."""
    if len(paths) == 1 and paths[0] in cell.values:
        return plain_value(cell.values[paths[0]])
    return ", ".join([plain_value(cell.values.get("noise", cell.spec.noise.name)), *_parameters(cell, paths)])


def _parameters(cell: StudyCell, paths: Sequence[str]) -> list[str]:
    return [
        f"{path.partition('.')[2]} {plain_value(cell.values[path])}"
        for path in paths
        if "." in path and path in cell.values
    ]


def plain_value(value: Any) -> str:
    """A value of an axis as people write it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def value_at(spec: Spec, path: str) -> Any:
    """The value at a dotted path of a resolved spec; None if there is none."""
    node: Any = spec.model_dump(mode="json")
    for key in path.split("."):
        if isinstance(node, Mapping):
            node = node.get(key)
        elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        else:
            return None
    return node


def _check(study: CompletedStudy, at: Mapping[str, Any]) -> None:
    for path, value in at.items():
        if path not in study.axes:
            raise SpecError(f"{path} is not varied", where="at", hint=did_you_mean(path, study.axes))
        if value not in study.axes[path]:
            known = ", ".join(map(plain_value, study.axes[path]))
            raise SpecError(f"{value!r} is not a value of the study", where=f"at.{path}", expected=f"one of {known}")


def _agrees(cell: StudyCell, at: Mapping[str, Any], method: str) -> bool:
    return all(cell.values.get(path) == value for path, value in at.items() if concerns(path, method))


def _ordered(names: list[str]) -> list[str]:
    try:
        return sorted(names, key=float)
    except ValueError:
        return names
