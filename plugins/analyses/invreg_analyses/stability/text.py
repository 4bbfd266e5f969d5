"""What was found against what is proven, in words."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import TYPE_CHECKING, Any

from invreg.text import count, number

if TYPE_CHECKING:
    import pandas as pd

#: From which share of a ratio on its floor is worth saying for a method by itself.
_WORTH_SAYING = 0.05


def stability_text(summary: pd.DataFrame, ratios: pd.DataFrame, images: int) -> str:
    """One sentence for each method, and one about how the ratios were found."""
    sentences = [_sentence(row) for row in summary.itertuples()]
    if len(ratios):
        low, high = ratios["relative"].min(), ratios["relative"].max()
        sentences.append(
            "Found values are ratios ‖R(z + d) − R(z)‖ / ‖d‖ of computed reconstructions "
            f"({'one image' if images == 1 else f'{images} images'}; ‖d‖ from {_percent(low)} to {_percent(high)} of "
            "‖z‖): no method's Lipschitz constant is smaller than these, but a better search may find more."
        )
        share = (ratios["floor"] / ratios["ratio"].where(ratios["ratio"] > 0)).max()
        if math.isfinite(share):
            sentences.append(f"Inexact computation may account for {_percent(share)} of a ratio at most.")
    return " ".join(sentences)


def rounded_up(value: float) -> str:
    """Four digits, never less than a bound."""
    return f"{Context(prec=4, rounding=ROUND_CEILING).create_decimal_from_float(value):f}"


def rounded_down(value: float) -> str:
    """Three digits, never more than what was found."""
    return f"{Context(prec=3, rounding=ROUND_FLOOR).create_decimal_from_float(value):f}"


def _sentence(row: Any) -> str:
    ended = f"; the search ended early: {row.failure.rstrip('.')}" if row.failure else ""
    if math.isnan(row.found):
        ended = ended or ", because no reconstruction was finite"
        return f"{row.method}: {_proven(row)}, nothing found{ended}."
    found = f"found {rounded_down(row.found)} at least"
    if row.violations:
        many = f"{count(row.violations)} of {count(row.ratios)} ratios are above it by more than inexact computation"
        text = f"{row.method}: the bound is VIOLATED: {_proven(row)}, {found}; {many} accounts for"
    elif row.found > row.proven:
        above = f"above the bound by {number(row.found - row.proven)}"
        explained = f"inexact computation may account for {number(row.floor)}"
        text = f"{row.method}: {_proven(row)}, {found}, {above}; as {explained}, this is no contradiction"
    elif row.proven >= 0 and row.found > 0:
        text = f"{row.method}: {_proven(row)}, {found} (factor {number(row.proven / row.found)} between)"
    else:
        text = f"{row.method}: {_proven(row)}, {found}"
    if not row.gradient:
        text += ", without gradients, with which more might be found"
    if row.floor > _WORTH_SAYING * row.found > 0:
        text += f"; inexact computation may account for {number(row.floor)} of that"
    if row.warnings:
        text += "; some reconstructions did not reach their tolerance, so that this may not hold for exact ones"
    return text + ended + "."


def _proven(row: Any) -> str:
    if row.no_certificate:
        return f"nothing proven, as there is no valid certificate ({row.no_certificate})"
    if math.isnan(row.proven):
        return "nothing proven"
    text = f"proven at most {rounded_up(row.proven)}"
    if row.factor != 1:
        factor = f"1/‖A‖ = {number(row.factor)}, which is computed and not proven"
        text += f" (that of the certificate, which is about A*z/‖A‖², times {factor})"
    return text


def _percent(share: float) -> str:
    return f"{number(100 * share)} %"
