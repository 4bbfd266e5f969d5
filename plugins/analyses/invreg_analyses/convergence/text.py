"""The convergence of a study in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from invreg.text import number

if TYPE_CHECKING:
    import pandas as pd

#: Of more networks than this, only the range is told.
_NAMED = 4


def convergence_text(scalars: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """What is seen, and what is not: the errors, the approximation property, the rule, and what was left out."""
    parts = [_errors(scalars, tables["errors"]), _bounds(tables["errors"])]
    parts += [_approximation(tables["rates"]), _rule(tables["rule"]), _left_out(tables["left_out"])]
    if len(tables["warnings"]):
        parts.append("Warnings: " + " ".join(map(str, tables["warnings"]["warning"])))
    return " ".join(filter(None, parts))


def _errors(scalars: Mapping[str, Any], errors: pd.DataFrame) -> str:
    count, total = scalars["images"], scalars["test_images"]
    which = f"the first {count} of {total} test images" if count < total else f"{count} test image{'s'[: count != 1]}"
    of_all = {_name(key): group for key, group in errors.groupby(["operator", "method"], sort=False)}
    first = next(iter(of_all.values()))
    steps = ", ".join(f"{std:g}: {value:g}" for std, value in zip(first["noise_std"], first["lipschitz"], strict=True))
    exact, noisy = (
        _split({name: _falls(list(group[column])) for name, group in of_all.items()})
        for column in ("inversion", "error")
    )
    text = (
        f"Along the choice L(δ) with {steps}, over {which}, the mean inversion error ‖R(F x) − x‖ {exact}; with noisy "
        f"data the mean error ‖R(z) − x‖ {noisy}"
    )
    if len(of_all) <= _NAMED:
        text += ". From the lowest to the highest L, " + "; ".join(
            f"{name}: {number(group['inversion'].iloc[0])} to {number(group['inversion'].iloc[-1])} without noise, "
            f"{number(group['error'].iloc[0])} to {number(group['error'].iloc[-1])} with noise"
            for name, group in of_all.items()
        )
    return f"{text}."


def _falls(values: Sequence[float]) -> bool:
    return all(b < a for a, b in pairwise(values))


def _split(falling: Mapping[str, bool]) -> str:
    """For which networks something falls."""
    others = [name for name, falls in falling.items() if not falls]
    if not others:
        return "falls at every step as L rises"
    if len(others) == len(falling):
        return "does not fall at every step as L rises"
    named = ", ".join(others) if len(others) <= _NAMED else f"{len(others)} of {len(falling)} networks"
    return f"falls at every step as L rises, but not for {named}"


def _bounds(errors: pd.DataFrame) -> str:
    ratio = errors["total"] / errors["error"]
    proven, exceeding = bool(errors["is_proven"].all()), int(errors["exceeds"].sum())
    source = "a certificate" if proven else "1 / (1 − L)"
    if not proven and errors["is_proven"].any():
        source = "a certificate, or 1 / (1 − L) where there is none"
    text = (
        f"The bound of the proof, Lip · δ + ‖R(F x) − x‖ with Lip from {source}, is {number(ratio.min())} to "
        f"{number(ratio.max())} times the error"
    )
    terms = [list(group["data_term"]) for _, group in errors.groupby(["operator", "method"], sort=False)]
    falling = sum(map(_falls, terms))
    text += f"; its term Lip · δ falls at every step as the noise does for {falling} of {len(terms)}"
    text += f" network{'s'[: len(terms) != 1]}"
    if exceeding:
        text += f", and the bound does not hold for {exceeding} of {int(errors['images'].sum())} reconstructions"
    return f"{text}."


def _approximation(rates: pd.DataFrame) -> str:
    own = rates[rates["quantity"] == "misfit"]
    points = int(own["points"].iloc[0])
    spaces = set(own["space"])
    where = (
        "on lifted states" if spaces == {"X^M"} else "on images" if spaces == {"X"} else "on lifted states or images"
    )
    text = (
        f"The local approximation property (2.4) needs ‖φ(x) − F(x)‖ to fall like (1 − L)^p with p > 1; {where}, it is "
    )
    groups = []
    for verdict in ("seen", "not decided", "not seen"):
        found = own[own["verdict"] == verdict]
        if len(found) and len(found) <= _NAMED:
            groups.append(f"{verdict} for " + ", ".join(f"{_name(row)} (p = {_exponent(row)})" for row in _rows(found)))
        elif len(found):
            groups.append(
                f"{verdict} for {len(found)} networks (p from {number(found['exponent'].min())} to "
                f"{number(found['exponent'].max())})"
            )
    text += ", ".join(groups)
    if spaces == {"X", "X^M"}:
        plain = [_name(row) for row in _rows(own[own["space"] == "X"])]
        text += f"; without lifted states, so measured on images: {', '.join(plain)}"
    if points == 2:
        text += "; p has no error, as it comes from two points"
    return f"{text}. {_COUNTS.get(points, str(points))} values of L are no proof."


_COUNTS = {2: "Two", 3: "Three", 4: "Four", 5: "Five"}


def _exponent(row: Mapping[str, Any]) -> str:
    if math.isnan(row["exponent"]):
        return "none: not all distances are positive"
    if math.isnan(row["standard_error"]):
        return number(row["exponent"])
    return f"{number(row['exponent'])} ± {number(row['standard_error'])}"


def _rule(rule: pd.DataFrame) -> str:
    one = rule[rule["operator"] == rule["operator"].iloc[0]]
    ratios = [float(value) for value in one["per_pixel"]]
    listed = ", ".join(f"{value:.3g}" for value in ratios)
    stds = ", ".join(f"{value:g}" for value in one["noise_std"])
    text = f"The theorem also asks for δ/(1 − L(δ)) → 0 (2.5): per pixel it is {listed} for δ = {stds}, "
    # Rounding must not turn equal ratios into rising ones.
    steps = [b / a - 1 for a, b in pairwise(ratios)]
    if all(step < -1e-9 for step in steps):
        return f"{text}which falls, as it should; whether it goes to zero, {len(ratios)} levels cannot tell."
    how = "grows as δ falls" if all(step > 1e-9 for step in steps) else "does not fall at every step"
    return (
        f"{text}which {how}: on these levels the choice does not satisfy (2.5), so the theorem cannot explain what the "
        "errors do here."
    )


def _left_out(left_out: pd.DataFrame) -> str:
    if left_out.empty:
        return ""
    if len(left_out) <= _NAMED:
        return "Left out: " + "; ".join(f"{_name(row)}, {row['reason']}" for row in _rows(left_out)) + "."
    return f"Left out: {len(left_out)} networks, see the table `left_out`."


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_dict("records")
    return rows


def _name(row: Any) -> str:
    operator, method = (row["operator"], row["method"]) if isinstance(row, Mapping) else row
    return f"{method} under {operator}"
