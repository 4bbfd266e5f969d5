"""Clusters of saliency maps, and how far mean maps spread, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from invreg.text import MISSING, number
from invreg_analyses.saliency.figures import CLUSTER_NAMES
from invreg_analyses.saliency.kernel_spread import SPREAD

if TYPE_CHECKING:
    import pandas as pd

#: Below this adjusted Rand index, clusters depend on what should not matter.
_STABLE = 0.8
#: Above this probability, clusters do not tell edges from the rest.
_CHANCE = 0.05


def clusters_text(tables: Mapping[str, pd.DataFrame], pixels: int) -> str:
    """What is seen on each image, and how much of it is due to the way of clustering."""
    images = list(tables["images"]["image"])
    parts = [f"{image}: {clusters_seen(tables['clusters'], image)}" for image in images]
    return " ".join([*parts, _stability(tables["stability"]), _numbers(tables["choices"])]) + (
        f" Maps at {pixels} pixels of each image."
    )


def clusters_seen(clusters: pd.DataFrame, image: str, maps: Sequence[str] | None = None) -> str:
    """A sentence: the shares of pixels on edges in the clusters of each map."""
    own = clusters[clusters["image"] == image]
    parts = []
    for name in maps or list(dict.fromkeys(own["map"])):
        rows = own[own["map"] == name]
        if len(rows) == 1:
            parts.append(f"the maps of {name} are all the same, one cluster")
            continue
        told = ", ".join(
            f"{row.cluster} {row.pixels} pixels with {percent(row.edge_share)} on edges" for row in rows.itertuples()
        )
        if chance(rows) > _CHANCE:
            told += " (shares that may differ by chance, so that the colours mean nothing)"
        most = rows.loc[rows["edge_pixels"].idxmax()]
        if most["cluster"] != CLUSTER_NAMES[0]:
            told += f" (most edge pixels are in {most['cluster']}, which is larger)"
        parts.append(f"{name} {told}")
    return "; ".join(parts) + "."


def chance(rows: pd.DataFrame) -> float:
    """Fisher's exact test: how often shares of edge pixels differ as much if edges do not depend on the cluster.

    The first cluster, green, is compared with all others together.
    """
    from scipy.stats import fisher_exact

    on, sizes = rows["edge_pixels"].to_numpy(), rows["pixels"].to_numpy()
    table = [[on[0], sizes[0] - on[0]], [on[1:].sum(), (sizes - on)[1:].sum()]]
    return float(fisher_exact(table).pvalue)


def means_seen(clusters: pd.DataFrame, image: str, maps: Sequence[str] | None = None) -> str:
    """A sentence: the effective radii of the mean maps of each map's clusters."""
    own = clusters[clusters["image"] == image]
    parts = []
    for name in maps or list(dict.fromkeys(own["map"])):
        rows = own[own["map"] == name]
        told = ", ".join(f"{row.cluster} {number(row.radius)}" for row in rows.itertuples())
        parts.append(f"{name} {told}")
    return f"effective radii in pixels: {'; '.join(parts)}."


def percent(share: float) -> str:
    """A share in percent, without digits that a few pixels do not have; a dash where there is none."""
    if math.isnan(share):
        return MISSING
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def difference_in_words(row: Any) -> str:
    """`−0.210 pixels (interval −0.270 to −0.150)`, for a difference with its interval; and whether that decides it."""
    unit = " pixels" if row["measure"] in ("radius", "reach") else ""
    if row["images"] == 0:
        return "not defined (maps are zero)"
    if math.isnan(row["low"]):
        return f"{number(row['difference'], signed=True)}{unit} (one image: no interval)"
    interval = f"interval {number(row['low'], signed=True)} to {number(row['high'], signed=True)}"
    text = f"{number(row['difference'], signed=True)}{unit} ({interval}"
    return f"{text})" if row["low"] > 0 or row["high"] < 0 else f"{text}: not decided)"


def measure_name(measure: str) -> str:
    """A measure of the spread in words."""
    return SPREAD[measure]


def _stability(stability: pd.DataFrame) -> str:
    worst = stability.loc[stability[["seeds", "samples"]].min(axis=1).idxmin()]
    least = float(min(worst["seeds"], worst["samples"]))
    ways = stability.loc[stability[["k_means", "pca_k_means"]].min(axis=1).idxmin()]
    other = float(min(ways["k_means"], ways["pca_k_means"]))
    text = (
        f"Found again with other seeds and on other pixels, clusters agree with an adjusted Rand index of "
        f"{_at_least(least, worst)}"
    )
    text += f"; other methods of clustering agree with {_at_least(other, ways)}"
    if min(least, other) < _STABLE:
        text += ", which is too little to rely on these clusters everywhere"
    return text + "."


def _at_least(index: float, where: pd.Series) -> str:
    """The smallest of some adjusted Rand indices, and where it was found; 1 is the largest that there is."""
    if index >= 1:
        return "1 everywhere"
    return f"at least {number(index)} (least for {where['map']} on {where['image']})"


def _numbers(choices: pd.DataFrame) -> str:
    chosen = int(choices["chosen"].iloc[0])
    told = []
    for column, name in (("elbow", "the elbow"), ("gap", "the gap statistic"), ("gap_star", "gap*")):
        found = sorted(set(choices[column]))
        which = str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"
        if found[-1] == choices["largest"].iloc[0]:
            which += " or more"
        told.append(f"{name} {which}")
    return f"Numbers of clusters suggested: {', '.join(told)}; used: {chosen}."


_AREA_NAMES = {"edges": "on edges", "smooth": "in smooth areas"}


def edge_text(tables: Mapping[str, pd.DataFrame]) -> str:
    """What is seen on edges and in smooth areas, and by how much networks differ from the operator."""
    used, out = tables["images"], tables["left_out"]
    parts = [f"Mean saliency maps over {len(used)} test image{'s'[: len(used) != 1]}: {radii_seen(tables['spread'])}"]
    for row in tables["differences"].to_dict("records"):
        if row["measure"] == "radius":
            area = _AREA_NAMES[row["area"]]
            parts.append(f"Effective radius {area}, {row['end']} minus operator: {difference_in_words(row)}.")
    if len(out):
        parts.append(f"{len(out)} image{'s'[: len(out) != 1]} without both edges and smooth areas left out.")
    return " ".join(parts)


def radii_seen(spread: pd.DataFrame) -> str:
    """A sentence: the effective radii and negative masses of all maps, on edges and in smooth areas."""
    parts = []
    means = spread.set_index(["map", "area", "measure"])["mean"]
    for name in dict.fromkeys(spread["map"]):
        told = [
            f"{_AREA_NAMES[area]} {number(float(means[name, area, 'radius']))} pixels with "
            f"{percent(float(means[name, area, 'negative']))} negative mass"
            for area in ("edges", "smooth")
        ]
        parts.append(f"{name} {', '.join(told)}")
    return f"effective radii: {'; '.join(parts)}."
