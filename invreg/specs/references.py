"""Values from the literature that the report of a study shows beside its own."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from invreg.errors import SpecError, did_you_mean, join_errors
from invreg.schema.component_spec import spec_errors

#: Columns of `study.csv`, besides metrics, that a source can have values of.
_FURTHER = ("parameters", "training_seconds", "reconstruction_seconds")


class Reference(BaseModel):
    """A table of values from one source.

    A row of `values` has a `method`, the values of those paths of the matrix that it is about, and one quantity or
    more: a metric, `parameters`, `training_seconds` or `reconstruction_seconds`, as a number or as a list of the
    smallest and the largest.
    """

    model_config = ConfigDict(extra="forbid")

    source: Annotated[str, Field(min_length=1, description="where the values are from, as in Doe (2024), table 2")]
    url: Annotated[
        str | None, Field(pattern=r"^https?://[^\s]+$", description="its address, as in https://doi.org/...")
    ] = None
    note: Annotated[str, Field(description="what else has to be known to compare, in words")] = ""
    against: Annotated[
        str | None, Field(description="a method of the rows: how far the others are above it is shown, too")
    ] = None
    values: Annotated[
        list[dict[str, Any]],
        Field(
            min_length=1, max_length=1000, description="a list of rows, as in {method: tv, noise.std: 0.01, psnr: 31.2}"
        ),
    ]


@dataclass(frozen=True)
class ReferenceRow:
    """A row: its method, what else it is about, and its quantities, each from the smallest to the largest value."""

    method: str
    conditions: Mapping[str, Any]
    quantities: Mapping[str, tuple[float, float]]

    def is_about(self, method: str, values: Mapping[str, Any]) -> bool:
        """Whether it is about this method in the cell with these varied values, as tables show them."""
        return method == self.method and all(_is(values.get(path), value) for path, value in self.conditions.items())

    def shares_problem(self, other: ReferenceRow) -> bool:
        """Whether another row is about the same, apart from methods and their parameters."""
        return _of_the_problem(self.conditions) == _of_the_problem(other.conditions)


@dataclass(frozen=True)
class ReferenceTable:
    """A reference with its rows, checked."""

    reference: Reference
    rows: Sequence[ReferenceRow]


def reference_tables(
    given: Any, analyses: Collection[str], paths: Collection[str], metrics: Collection[str]
) -> dict[str, list[ReferenceTable]]:
    """What the `references` of a study say, by the study analyses beside which they are shown.

    Args:
        given: a mapping of study analyses to lists of references.
        analyses: the names of the study analyses.
        paths: what the study varies.
        metrics: the names of its metrics.

    Raises:
        SpecError: with every problem at its path.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise SpecError(
            f"{given!r}", where="references", expected="a mapping of study analyses to lists of references, or a file"
        )
    found: dict[str, list[ReferenceTable]] = {}
    problems: list[SpecError] = []
    for key, listed in given.items():
        where = f"references.{key}"
        if key not in analyses:
            hint = did_you_mean(str(key), analyses)
            problems.append(SpecError("is no study analysis of this spec", where=where, hint=hint))
        elif not isinstance(listed, list) or not listed:
            problems.append(SpecError(f"{listed!r}", where=where, expected="a list of references, each with a source"))
        else:
            found[key] = []
            for index, one in enumerate(listed):
                try:
                    found[key].append(_table(one, f"{where}.{index}", paths, metrics))
                except SpecError as error:
                    problems += error.problems or [error]
    if problems:
        raise join_errors(problems)
    return found


def check_coverage(
    tables: Mapping[str, Sequence[ReferenceTable]], cells: Iterable[tuple[Mapping[str, Any], Collection[str]]]
) -> None:
    """Refuses references of which no row is about a cell: nothing would stand beside them.

    Args:
        tables: the references.
        cells: the varied values of each cell, and the labels of its methods.

    Raises:
        SpecError: at the first of them.
    """
    known = [(values, method) for values, methods in cells for method in methods]
    for key, listed in tables.items():
        for index, table in enumerate(listed):
            if not any(row.is_about(method, values) for row in table.rows for values, method in known):
                raise SpecError(
                    "no row is about a method in a cell of this study",
                    where=f"references.{key}.{index}.values",
                    expected="labels of its methods, and values of its matrix",
                )


def _table(given: Any, where: str, paths: Collection[str], metrics: Collection[str]) -> ReferenceTable:
    if not isinstance(given, Mapping):
        raise SpecError(f"{given!r}", where=where, expected="a mapping with source and values")
    try:
        reference = Reference.model_validate(given)
    except ValidationError as error:
        raise spec_errors(error, where, Reference, given) from None
    rows: list[ReferenceRow] = []
    problems: list[SpecError] = []
    for index, row in enumerate(reference.values):
        place = f"{where}.values.{index}"
        try:
            made = _row(row, place, paths, metrics)
            if any(made.method == other.method and made.conditions == other.conditions for other in rows):
                raise SpecError("is about the same as another row", where=place, expected="one row for each method")
            rows.append(made)
        except SpecError as error:
            problems.append(error)
    methods = {row.method for row in rows}
    if not problems and reference.against is not None and reference.against not in methods:
        hint = did_you_mean(reference.against, methods)
        problems.append(
            SpecError(
                f"{reference.against!r}", where=f"{where}.against", expected="a method that has rows here", hint=hint
            )
        )
    if problems:
        raise join_errors(problems)
    return ReferenceTable(reference, rows)


def _row(given: Mapping[str, Any], where: str, paths: Collection[str], metrics: Collection[str]) -> ReferenceRow:
    names = (*metrics, *_FURTHER)
    if not isinstance(given.get("method"), str):
        raise SpecError("has no method", where=where, expected="the label of a method, as in {method: tv, psnr: 31.2}")
    conditions: dict[str, Any] = {}
    quantities: dict[str, tuple[float, float]] = {}
    for key, value in given.items():
        if key == "method":
            continue
        if key in paths:
            conditions[key] = value
        elif key in names:
            quantities[key] = _ends(value, f"{where}.{key}")
        else:
            raise SpecError(
                "is neither varied in this study nor a quantity",
                where=f"{where}.{key}",
                expected=f"one of {', '.join(('method', *paths, *names))}",
                hint=did_you_mean(str(key), (*paths, *names)),
            )
    if not quantities:
        raise SpecError("has no value", where=where, expected=f"one of {', '.join(names)}")
    return ReferenceRow(given["method"], conditions, quantities)


def _ends(value: Any, where: str) -> tuple[float, float]:
    ends = value if isinstance(value, list) else [value, value]
    if (
        len(ends) == 2
        and all(isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in ends)
        and ends[0] <= ends[1]
    ):
        return float(ends[0]), float(ends[1])
    raise SpecError(f"{value!r}", where=where, expected="a number, or a list of the smallest and the largest")


def _is(shown: Any, given: Any) -> bool:
    """Whether a value, as a table shows it, is the given one; a component is named by its name alone."""
    if isinstance(given, bool) or isinstance(shown, bool):
        return shown is given
    if isinstance(given, int | float) and isinstance(shown, int | float):
        return math.isclose(given, shown, rel_tol=1e-9)
    if isinstance(given, str) and isinstance(shown, str):
        return shown == given or shown.startswith(f"{given}(")
    return bool(shown == given)


def _of_the_problem(conditions: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in conditions.items() if not path.startswith("methods.")}
