"""Clusters of saliency maps, and how far mean maps spread, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from invreg.text import MISSING, number, plural
from invreg_analyses.saliency.kernel_spread import AREAS

if TYPE_CHECKING:
    import pandas as pd

#: Above this probability, clusters do not tell edges from the rest.
_CHANCE = 0.05
#: The columns of the table `stability`, in words.
_AGAIN = {
    "seeds": "other seeds",
    "samples": "other pixels",
    "k_means": "k-means",
    "pca_k_means": "k-means on principal components",
}


def clusters_text(tables: Mapping[str, pd.DataFrame]) -> str:
    """The clusters on each image, and how much of them depends on the way of clustering."""
    images = [f"{image}: {clusters_seen(own)}" for image, own in tables["clusters"].groupby("image", sort=False)]
    again = ", ".join(f"{number(tables['stability'][key].min())} ({words})" for key, words in _AGAIN.items())
    return f"{' '.join(images)} Clusters found again have an adjusted Rand index of at least {again}."


def clusters_seen(clusters: pd.DataFrame) -> str:
    """The clusters of each map on one image: pixels, their share on edges, and the radius of the mean map."""
    parts = []
    for name, rows in clusters.groupby("map", sort=False):
        if len(rows) == 1:
            parts.append(f"all maps of {name} are the same, one cluster")
            continue
        text = ", ".join(
            f"{row.cluster} {row.pixels} pixels ({percent(row.edge_share)} on edges, radius {number(row.radius)})"
            for row in rows.itertuples()
        )
        most = rows.loc[rows["edge_pixels"].idxmax(), "cluster"]
        if chance(rows) > _CHANCE:
            text += ", shares that may differ by chance, so that the colours mean nothing"
        elif most != rows["cluster"].iloc[0]:
            text += f", most edge pixels in {most}"
        parts.append(f"{name} {text}")
    return "; ".join(parts) + "."


def chance(rows: pd.DataFrame) -> float:
    """Fisher's exact test: how often shares of edge pixels differ as much if edges do not depend on the cluster.

    The first cluster, green, is compared with all others together.
    """
    from scipy.stats import fisher_exact

    on, sizes = rows["edge_pixels"].to_numpy(), rows["pixels"].to_numpy()
    table = [[on[0], sizes[0] - on[0]], [on[1:].sum(), (sizes - on)[1:].sum()]]
    return float(fisher_exact(table).pvalue)


def likeness_seen(agreement: pd.DataFrame) -> str:
    """The network of a series whose clusters are most like the operator's, which come first."""
    best = agreement.loc[agreement["like_operator"].iloc[1:].idxmax()]
    index = number(float(best["like_operator"]))
    return f"The clusters of {best['map']} are most like the operator's (adjusted Rand index {index})."


def edge_text(tables: Mapping[str, pd.DataFrame]) -> str:
    """The mean maps of both areas, and by how much networks differ from the operator."""
    radii = tables["differences"].query("measure == 'radius'").to_dict("records")
    differences = "; ".join(f"{AREAS[row['area']]}, {row['end']} minus operator: {difference(row)}" for row in radii)
    images = plural(len(tables["images"]), "image")
    text = f"{images}, {radii_seen(tables['spread'])} Effective radius {differences}."
    left_out = len(tables["left_out"])
    return f"{text} Left out: {plural(left_out, 'image')} without both areas." if left_out else text


def radii_seen(spread: pd.DataFrame) -> str:
    """The effective radii and negative masses of all mean maps, on edges and in smooth areas."""
    means = spread.set_index(["map", "area", "measure"])["mean"]

    def told(name: str, area: str) -> str:
        radius, negative = (float(means[name, area, measure]) for measure in ("radius", "negative"))
        return f"{AREAS[area]} {number(radius)} pixels ({percent(negative)} negative)"

    parts = [f"{name} {', '.join(told(name, area) for area in AREAS)}" for name in dict.fromkeys(spread["map"])]
    return f"effective radii of mean maps: {'; '.join(parts)}."


def series_seen(tables: Mapping[str, pd.DataFrame]) -> str:
    """The change of the effective radius from the first network of a series to the last, with its interval."""
    operator, first, *_, last = tables["maps"]["map"]
    radii = tables["spread"].query("measure == 'radius'").set_index(["map", "area"])["mean"]
    steps = tables["steps"].query("start == @first and end == @last").to_dict("records")
    changes = {(row["area"], row["measure"]): row for row in steps}
    parts = []
    for area, words in reversed(AREAS.items()):
        own, before, after = (number(float(radii[name, area])) for name in (operator, first, last))
        radius, reach = changes[area, "radius"], changes[area, "reach"]
        text = f"the effective radius {words}, {own} for {operator}, goes from {before} ({first}) to {after} ({last})"
        text += f", {difference(radius)}"
        if radius["difference"] * reach["difference"] < 0:
            text += f", the reach the other way, {difference(reach)}"
        parts.append(text)
    return f"{'; '.join(parts)}."


def percent(share: float) -> str:
    """A share in percent, without digits that a few pixels do not have; `MISSING` for NaN."""
    if math.isnan(share):
        return MISSING
    return f"{100 * share:.{1 if share < 0.0995 else 0}f} %"


def difference(row: Mapping[str, Any]) -> str:
    """A difference with its interval, and whether it is decided: `−0.210 pixels (interval −0.270 to −0.150)`."""
    if row["images"] == 0:
        return "not defined (maps are zero)"
    unit = " pixels" if row["measure"] in ("radius", "reach") else ""
    low, high = (number(row[end], signed=True) for end in ("low", "high"))
    interval = "one image: no interval" if math.isnan(row["low"]) else f"interval {low} to {high}"
    decided = not row["low"] <= 0 <= row["high"]
    return f"{number(row['difference'], signed=True)}{unit} ({interval}{'' if decided else ': not decided'})"
