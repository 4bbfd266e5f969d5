"""The figures of series of saliency maps: the operator first, then the networks of a study in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invreg import Findings
from invreg_analyses.saliency.by_noise_text import likeness_seen, spread_seen
from invreg_analyses.saliency.cluster_figures import READ_MEANS, READ_PIXELS, kernel_column, title_of
from invreg_analyses.saliency.edge_figures import (
    AREA_ROWS,
    READ_AREAS,
    READ_SPREAD,
    area_column,
    spread_figure,
)
from invreg_analyses.saliency.figures import (
    CLUSTER_COLORS,
    CLUSTER_NAMES,
    ClusterColumn,
    draw_clusters,
    draw_kernels,
)
from invreg_analyses.saliency.text import clusters_seen, means_seen

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_series(findings: Findings, number: int) -> dict[str, Figure]:
    """Four figures of one series: pixels by cluster, mean maps of clusters, mean maps of areas, and their spread."""
    tables, arrays, prefix = findings.tables, findings.arrays, f"series_{number}"
    series = tables["series"].set_index("series").loc[number]
    own = {name: tables[name][tables[name]["series"] == number] for name in ("maps", "clusters", "spread")}
    names, image = list(own["maps"]["map"]), str(series["image"])
    labels, kernels = arrays[f"{prefix}_labels"].astype(np.int64), arrays[f"{prefix}_mean_kernels"]
    clusters = int(findings.scalars["clusters"])
    held = f" at {series['held']}" if isinstance(series["held"], str) and series["held"] else ""
    head = f"{series['method']} under {series['operator']}{held}"
    areas, spread = arrays[f"{prefix}_area_kernels"], own["spread"]
    seen = spread_seen(tables, number)
    confidence = f"{findings.scalars['confidence']:.0%}"
    return {
        "pixels": draw_clusters(
            arrays[f"{prefix}_truth"],
            arrays[f"{prefix}_edges"],
            arrays[f"{prefix}_pixels"],
            [ClusterColumn(title_of(name), labels[i]) for i, name in enumerate(names)],
            f"{head}, {image}: {READ_PIXELS}. Seen here: {clusters_seen(own['clusters'], image)} "
            f"{likeness_seen(tables, number)}",
        ),
        "means": draw_kernels(
            [kernel_column(title_of(name), kernels[i], own["clusters"], name, image) for i, name in enumerate(names)],
            list(zip(CLUSTER_NAMES[:clusters], CLUSTER_COLORS[:clusters], strict=True)),
            f"{head}, {image}: {READ_MEANS}. Seen here: {means_seen(own['clusters'], image)}",
        ),
        "areas": draw_kernels(
            [area_column(title_of(name), areas[i], spread, name) for i, name in enumerate(names)],
            AREA_ROWS,
            f"{head}: {READ_AREAS} ({series['images']} images). Seen here: {seen}",
        ),
        "spread": spread_figure(
            spread,
            [(name, title_of(name)) for name in names],
            f"{head}: {READ_SPREAD} ({confidence}, {series['images']} images). Seen here: {seen}",
            in_order=True,
        ),
    }
