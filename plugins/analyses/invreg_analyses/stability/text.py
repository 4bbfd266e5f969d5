"""The text of the stability analysis: one sentence for each method."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, Any

from invreg.text import count, number, plural

if TYPE_CHECKING:
    import pandas as pd

#: Share of a ratio from which its floor is mentioned.
_WORTH_SAYING = 0.05


def stability_text(summary: pd.DataFrame, images: int) -> str:
    """The proven bound and the largest ratio of each method, with what limits them."""
    sentences = [_sentence(row) for row in summary.itertuples()]
    if summary["found"].notna().any():
        sentences.append(
            f"Found values are lower bounds from {plural(images, 'image')}; a better search may find more."
        )
    return " ".join(sentences)


def rounded_up(value: float) -> str:
    """Four digits, never less than a bound."""
    return _plain(Context(prec=4, rounding=ROUND_CEILING).create_decimal_from_float(value))


def rounded_down(value: float) -> str:
    """Three digits, never more than the value found."""
    return _plain(Context(prec=3, rounding=ROUND_FLOOR).create_decimal_from_float(value))


def _plain(digits: Decimal) -> str:
    """The digits, with an exponent where zeros would be many."""
    return f"{digits:{'f' if -4 < digits.adjusted() < 9 else 'e'}}"


def _sentence(row: Any) -> str:
    proven = "nothing proven" if math.isnan(row.proven) else f"proven at most {rounded_up(row.proven)}"
    found = "nothing found" if math.isnan(row.found) else f"found {rounded_down(row.found)} at least"
    head = f"{row.method}: " + ("the bound is VIOLATED: " if row.violations else "")
    return head + "; ".join([f"{proven}, {found}", *_notes(row)]) + "."


def _notes(row: Any) -> list[str]:
    notes = []
    if row.violations:
        many = f"{count(row.violations)} of {count(row.ratios)} ratios"
        notes.append(f"{many} are above it by more than inexact computation accounts for")
    elif row.found > row.proven:
        notes.append(f"inexact computation may account for {number(row.floor)}, so this is not a contradiction")
    elif row.floor > _WORTH_SAYING * row.found > 0:
        notes.append(f"inexact computation may account for {number(row.floor)} of that")
    if row.no_certificate:
        notes.append(f"no valid certificate ({row.no_certificate})")
    if row.factor != 1:
        notes.append(
            f"the bound is that of the certificate, for A*z/‖A‖², times 1/‖A‖ = {number(row.factor)}, which is "
            "computed and not proven"
        )
    if row.warnings:
        notes.append("some reconstructions did not reach their tolerance")
    if row.failure:
        notes.append(f"the search ended early: {row.failure.rstrip('.')}")
    elif math.isnan(row.found):
        notes.append("no reconstruction was finite")
    elif not row.gradient:
        notes.append("searched without gradients, with which more might be found")
    return notes
