"""Series of saliency maps in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from invreg.text import number
from invreg_analyses.saliency.text import difference_in_words, measure_name

if TYPE_CHECKING:
    import pandas as pd

#: Below this adjusted Rand index, two clusterings have little in common.
_ALIKE = 0.3
_AREAS = (("smooth", "in smooth areas"), ("edges", "on edges"))


def series_text(tables: Mapping[str, pd.DataFrame]) -> str:
    """One sentence for each series: whether maps spread less from its first network to its last, and what is tested."""
    parts = []
    for row in tables["series"].itertuples():
        held = f" at {row.held}" if row.held else ""
        head = f"{row.method} under {row.operator}{held}, over {_over(str(row.over))}"
        parts.append(f"{head}: {spread_seen(tables, int(row.series))} {likeness_seen(tables, int(row.series))}")
    return " ".join(parts)


def spread_seen(tables: Mapping[str, pd.DataFrame], series: int) -> str:
    """What becomes of the effective radius from the first network of a series to the last, with its interval."""
    maps = list(tables["maps"].loc[tables["maps"]["series"] == series, "map"])
    means = _own(tables["spread"], series).set_index(["map", "area", "measure"])["mean"]
    steps = _own(tables["steps"], series)
    told = []
    for area, where in _AREAS:
        own = steps[(steps["area"] == area) & (steps["start"] == maps[1]) & (steps["end"] == maps[-1])]
        radius = own[own["measure"] == "radius"].iloc[0].to_dict()
        reach = own[own["measure"] == "reach"].iloc[0].to_dict()
        text = (
            f"the {measure_name('radius')} {where} is {number(float(means[maps[0], area, 'radius']))} for the operator "
            f"and goes from {number(float(means[maps[1], area, 'radius']))} ({maps[1]}) to "
            f"{number(float(means[maps[-1], area, 'radius']))} ({maps[-1]}), {difference_in_words(radius)}"
        )
        if radius["difference"] * reach["difference"] < 0:
            text += f"; the reach, where weak tails count more, goes the other way, {difference_in_words(reach)}"
        told.append(text)
    return f"{'; '.join(told)}."


def likeness_seen(tables: Mapping[str, pd.DataFrame], series: int) -> str:
    """Which network's clusters are most like the operator's."""
    own = _own(tables["agreement"], series).iloc[1:]
    best = own.loc[own["like_operator"].idxmax()]
    index = float(best["like_operator"])
    if index < _ALIKE:
        return f"No network's clusters are like the operator's: the adjusted Rand index is {number(index)} at most."
    return f"The clusters of {best['map']} are most like the operator's (adjusted Rand index {number(index)})."


def _over(over: str) -> str:
    return "noise levels" if over == "noise" else "Lipschitz parameters"


def _own(table: pd.DataFrame, series: int) -> pd.DataFrame:
    return table[table["series"] == series]
