"""Sentences about local ill-posedness, from the tables of directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from invreg.text import number, percent, plural, span
from invreg_analyses.ill_posedness.search import PART, REGIONS, WHOLE

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 4


def ill_posedness_text(tables: Mapping[str, pd.DataFrame]) -> str:
    """Both derivatives along the first direction of each network, and the searches that failed."""
    directions = tables["directions"]
    parts = [directions_seen(directions, label) for label in dict.fromkeys(directions["method"])]
    rows = [
        f"{', '.join(filter(None, (row.method, row.image, row.region)))}: {row.reason}"
        for row in tables["left_out"].itertuples()
    ]
    if rows:
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        parts.append(f"Left out: {'; '.join(rows[:_SHOWN])}{more}.")
    return " ".join(parts)


def directions_seen(directions: pd.DataFrame, label: str) -> str:
    """The two derivatives along the first direction over the images, and its pattern."""
    own = directions[(directions["method"] == label) & (directions["rank"] == 1)]
    by_region = {region: own[own["region"] == region] for region in REGIONS if (own["region"] == region).any()}
    sizes = ", ".join(
        f"‖∂ₕφ‖ of {label} is {span(rows['network'])} and ‖∂ₕF‖ {span(rows['operator'])} ({region})"
        for region, rows in by_region.items()
    )
    first = next(iter(by_region.values()))
    return (
        f"Along the first direction, {sizes}; its neighbouring pixels have the mean product "
        f"{number(first['neighbours'].mean())}, −1 being a checkerboard."
    )


def derivatives_seen(directions: pd.DataFrame) -> str:
    """How far one network stays above the operator."""
    least = (directions["network"] / directions["operator"].clip(lower=1e-12)).min()
    return f"Along {plural(int(directions['rank'].max()), 'direction')}, ‖∂ₕφ‖ is at least {number(least)} times ‖∂ₕF‖."


def operator_seen(operator: pd.DataFrame) -> str:
    """How small the operator gets."""
    first = operator[(operator["rank"] == 1) & (operator["map"] == "")]
    first = first[first["region"] == WHOLE] if (first["region"] == WHOLE).any() else first
    return f"‖∂ₕF‖ is {span(first['derivative'])} there: an upper bound of the smallest value."


def part_name(directions: pd.DataFrame) -> str:
    """The meaning of dashed lines, for captions; empty if there are none."""
    return f", dashed {PART}" if (directions["region"] == PART).any() else ""


def series_seen(directions: pd.DataFrame) -> str:
    """The derivatives along the first direction over the networks of a series."""
    whole = directions[directions["region"] == WHOLE]
    if whole.empty:
        return "no direction was found on a whole image."
    means = whole.groupby(["position", "name"], as_index=False)[["network", "operator"]].mean()
    text = ", ".join(f"{number(row.network)} at {row.name} ({number(row.operator)})" for row in means.itertuples())
    return f"the mean ‖∂ₕφ‖ (‖∂ₕF‖) along h on whole images is {text}."


def pictures_seen(directions: pd.DataFrame) -> str:
    """The pattern of each network's direction on one image, and how much of it lies in smooth areas."""
    whole = directions[directions["region"] == WHOLE].sort_values("position")
    if whole.empty:
        return "no direction was found on the whole image."
    parts = ", ".join(f"{percent(row.smooth)} at {row.name} ({number(row.neighbours)})" for row in whole.itertuples())
    area = percent(float(whole["smooth_area"].iloc[0]))
    return f"smooth areas, {area} of the image, have {parts} of ‖h‖² (in brackets: mean product of neighbours)."
