"""Local ill-posedness in words, from the tables of directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from invreg.text import number
from invreg_analyses.ill_posedness.search import PART, REGIONS, WHOLE

if TYPE_CHECKING:
    import pandas as pd

#: A mean product of neighbours below this is a checkerboard by and large.
_CHECKERBOARD = -0.5


def ill_posedness_text(tables: Mapping[str, pd.DataFrame]) -> str:
    """One sentence for each network, on how it was found, on the operator alone, and on what was left out."""
    directions = tables["directions"]
    parts = [directions_seen(tables, label) for label in dict.fromkeys(directions["method"])]
    parts += [_operator_sentence(tables["operator"]), _search_sentence(tables), _left_out(tables["left_out"])]
    return " ".join(filter(None, parts))


def directions_seen(tables: Mapping[str, pd.DataFrame], label: str) -> str:
    """The two derivatives along the first direction, its pattern, and where it lies, over the images."""
    own = tables["directions"]
    own = own[(own["method"] == label) & (own["rank"] == 1)]
    texts = []
    for region in REGIONS:
        rows = own[own["region"] == region]
        if len(rows):
            where = "on the whole image" if region == WHOLE else "within the part"
            texts.append(
                f"{where}, the network {label} changes by ‖∂ₕφ‖ = {_range(rows['network'])} where the operator "
                f"changes by ‖∂ₕF‖ = {_range(rows['operator'])}"
            )
    text = "; ".join(texts)
    return f"{text[:1].upper()}{text[1:]} ({_images(own)}). {_pattern(own)}"


def _pattern(own: pd.DataFrame) -> str:
    whole = own[own["region"] == WHOLE]
    rows = whole if len(whole) else own
    neighbours, smooth, area = (float(rows[name].mean()) for name in ("neighbours", "smooth", "smooth_area"))
    vertical, horizontal = (float(rows[name].mean()) for name in ("vertical", "horizontal"))
    if neighbours < _CHECKERBOARD:
        sign = "a checkerboard by and large"
    elif min(vertical, horizontal) < _CHECKERBOARD and max(vertical, horizontal) > -_CHECKERBOARD:
        sign = f"{'vertical' if vertical > horizontal else 'horizontal'} stripes by and large"
    else:
        sign = "no checkerboard"
    return (
        f"The mean product of neighbouring pixels of h, relative to their mean square, is {number(neighbours)}: {sign} "
        f"(−1 is a perfect checkerboard; {number(vertical)} for vertical neighbours, {number(horizontal)} for "
        f"horizontal ones). {number(100 * smooth)} % of ‖h‖² lies in smooth areas, which are "
        f"{number(100 * area)} % of the region."
    )


def derivatives_seen(tables: Mapping[str, pd.DataFrame], label: str) -> str:
    """What becomes of the derivatives from the first direction to the last."""
    own = tables["directions"]
    own = own[(own["method"] == label) & (own["region"] == WHOLE)]
    own = own if len(own) else tables["directions"][tables["directions"]["method"] == label]
    last = int(own["rank"].max())
    first, end = own[own["rank"] == 1], own[own["rank"] == last]
    least = (own["network"] / own["operator"].clip(lower=1e-12)).min()
    if last == 1:
        return f"In the one direction that was computed, ‖∂ₕφ‖ is {_times(least)} ‖∂ₕF‖ at least."
    return (
        f"From the first direction to number {last}, ‖∂ₕφ‖ goes from {number(first['network'].mean())} to "
        f"{number(end['network'].mean())} on average, while ‖∂ₕF‖ stays between {_ends(own['operator'])}; it is "
        f"{_times(least)} ‖∂ₕF‖ at least."
    )


def operator_seen(operator: pd.DataFrame) -> str:
    """How small the operator gets, and what the network does there."""
    first = operator[(operator["rank"] == 1) & (operator["region"] == WHOLE)]
    alone, network = first[first["map"] == ""], first[first["map"] != ""]
    text = f"‖∂ₕF‖ gets as small as {_range(alone['derivative'])} on the whole image, or smaller"
    if len(network):
        text += f"; along the same h, ‖∂ₕφ‖ of {network['map'].iloc[0]} is {_range(network['derivative'])}"
    return f"{text}."


def _operator_sentence(operator: pd.DataFrame) -> str:
    return f"For the operator alone, {operator_seen(operator)}" if (operator["region"] == WHOLE).any() else ""


def _search_sentence(tables: Mapping[str, pd.DataFrame]) -> str:
    first, ascent = tables["directions"][tables["directions"]["rank"] == 1], tables["ascent"]
    share = (first["residual"] / first["difference"].abs().clip(lower=1e-12)).max()
    text = (
        f"Lanczos iteration took {int(first['products'].max())} products at most; each difference ‖∂ₕφ‖² − ‖∂ₕF‖² is "
        f"an eigenvalue up to a residual of {number(first['residual'].max())} ({number(100 * share)} % of it) at most "
        "for the first directions"
    )
    if len(ascent):
        positive = ascent[ascent["largest"] > 0]
        if len(positive):
            reached = 100 * positive["reached"] / positive["largest"]
            text += (
                f"; {int(ascent['steps'].iloc[0])} steps of gradient ascent from the same start reach "
                f"{_range(reached)} % of it"
            )
    return f"{text}."


def _left_out(left_out: pd.DataFrame) -> str:
    if left_out.empty:
        return ""
    rows = [
        f"{', '.join(filter(None, (row.method, row.image, row.region)))}: {row.reason}" for row in left_out.itertuples()
    ]
    shown = "; ".join(rows[:4])
    return f"Left out: {shown}{f' and {len(rows) - 4} more' if len(rows) > 4 else ''}."


def part_name(has_part: bool) -> str:
    """What the dashed lines are, for captions."""
    return f", dashed {PART}" if has_part else ""


def _images(own: pd.DataFrame) -> str:
    count = own["image"].nunique()
    return "one image" if count == 1 else f"{count} images"


def _range(values: pd.Series) -> str:
    low, high = number(float(values.min())), number(float(values.max()))
    return low if low == high else f"{low} to {high}"


def _ends(values: pd.Series) -> str:
    return f"{number(float(values.min()))} and {number(float(values.max()))}"


def _times(ratio: float) -> str:
    return f"{number(ratio)} times"
