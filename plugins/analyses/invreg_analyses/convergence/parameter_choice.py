"""A choice rule L(δ) in a study: the cells in which a network has the Lipschitz parameter that belongs to the noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any, NamedTuple

from invreg import CompletedStudy, SpecError, StudyCell
from invreg_analyses.shared.study_choice import Choice, choose, methods_of, value_at


class Pair(NamedTuple):
    """A noise level with the Lipschitz parameter that is chosen for it."""

    noise_std: float
    lipschitz: float

    def __str__(self) -> str:
        return f"{self.noise_std:g}: {self.lipschitz:g}"


@dataclass(frozen=True)
class Curve:
    """A network under an operator along the choice: one cell for each pair, in their order."""

    operator: str
    method: str
    cells: list[StudyCell]


@dataclass(frozen=True)
class LeftOut:
    """A network that cannot be shown under an operator, and why."""

    operator: str
    method: str
    reason: str


@dataclass(frozen=True)
class Curves:
    """All complete curves.

    Attributes:
        curves: in the order of operators and methods.
        left_out: networks with a Lipschitz parameter, but without a cell for some pair.
        fixed: at which values other paths are held, in words.
    """

    curves: list[Curve]
    left_out: list[LeftOut]
    fixed: str


def ordered_choice(choice: Sequence[Sequence[float]]) -> list[Pair]:
    """The pairs with falling δ.

    Raises:
        SpecError: if L does not rise as δ falls.
    """
    pairs = sorted((Pair(float(std), float(lipschitz)) for std, lipschitz in choice), reverse=True)
    if not all(a.noise_std > b.noise_std and a.lipschitz < b.lipschitz for a, b in pairwise(pairs)):
        raise SpecError(
            ", ".join(map(str, pairs)),
            where="choice",
            expected="pairs [noise_std, lipschitz] with a larger L for less noise",
            hint="[[0.01, 0.999], [0.025, 0.99], [0.05, 0.95]]",
        )
    return pairs


def find_curves(study: CompletedStudy, pairs: Sequence[Pair], at: Mapping[str, Any] | None) -> Curves:
    """The cells along the choice for each operator and each method that has a parameter `lipschitz`.

    Raises:
        SpecError: if there is no method that has all pairs, or if a pair does not say which cell is meant.
    """
    choices = choose(study, at, [path for path in study.axes if _can_change_lipschitz(path, methods_of(study))])
    found: dict[tuple[str, str], dict[Pair, StudyCell]] = {}
    for entry in choices.entries:
        lipschitz = value_at(entry.cell.spec, f"methods.{entry.method}.reconstructor.lipschitz")
        if isinstance(lipschitz, Real):
            own = found.setdefault((entry.operator, entry.method), {})
            std = value_at(entry.cell.spec, "noise.std")
            for pair in pairs:
                if isinstance(std, Real) and _agree(pair, float(std), float(lipschitz)):
                    _add(own, pair, entry)
    curves, left_out = [], []
    for (operator, method), cells in found.items():
        missing = [str(pair) for pair in pairs if pair not in cells]
        if missing:
            left_out.append(LeftOut(operator, method, f"no finished cell for {', '.join(missing)}"))
        else:
            curves.append(Curve(operator, method, [cells[pair] for pair in pairs]))
    if not curves:
        raise SpecError(_nothing(study, left_out), where="choice", expected=_expected(pairs), hint=_hint(pairs))
    return Curves(curves, left_out, choices.in_words)


def _can_change_lipschitz(path: str, methods: Sequence[str]) -> bool:
    return any(f"methods.{method}.reconstructor.lipschitz.".startswith(f"{path}.") for method in methods)


def _agree(pair: Pair, std: float, lipschitz: float) -> bool:
    # 1 - L decides, not L: 0.9999 and 0.99999 are far apart.
    same = math.isclose(1 - pair.lipschitz, 1 - lipschitz, rel_tol=1e-6)
    return same and math.isclose(pair.noise_std, std, rel_tol=1e-6)


def _add(own: dict[Pair, StudyCell], pair: Pair, entry: Choice) -> None:
    before = own.setdefault(pair, entry.cell)
    if before.spec.methods[entry.method] != entry.cell.spec.methods[entry.method]:
        raise SpecError(
            f"two different {entry.method} under {entry.operator} for {pair}",
            where="at",
            expected="one network for each noise level and Lipschitz parameter",
            hint="name the value of what else varies",
        )


def _nothing(study: CompletedStudy, left_out: Sequence[LeftOut]) -> str:
    varied = f"the study varies {', '.join(study.axes) or 'nothing'}"
    if not left_out:
        return f"{varied}, and no method of it has a parameter `lipschitz`"
    found = "; ".join(f"{one.method} under {one.operator}: {one.reason}" for one in left_out)
    return f"{varied}; {found}"


def _expected(pairs: Sequence[Pair]) -> str:
    return f"cells with these noise.std: lipschitz, {', '.join(map(str, pairs))}"


def _hint(pairs: Sequence[Pair]) -> str:
    stds, values = [f"{pair.noise_std:g}" for pair in pairs], [f"{pair.lipschitz:g}" for pair in pairs]
    return (
        f"matrix: {{noise.std: [{', '.join(stds)}], methods.iresnet.reconstructor.lipschitz: [{', '.join(values)}]}}, "
        "or another `choice`"
    )
