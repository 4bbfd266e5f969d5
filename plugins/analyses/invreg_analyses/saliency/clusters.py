"""Clusters of saliency maps: which pixels a network treats alike, and which the operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from invreg import Analyzer, CompletedRun, DataError, Findings, LearnsForwardMap, SpecError, did_you_mean, stream_key
from invreg_analyses.saliency.cluster_figures import draw_cluster_means, draw_cluster_numbers, draw_cluster_pixels
from invreg_analyses.saliency.cluster_numbers import cluster_numbers
from invreg_analyses.saliency.clustering import agreement, by_edges, cluster, stability
from invreg_analyses.saliency.figures import CLUSTER_NAMES, MOST_CLUSTERS
from invreg_analyses.saliency.jacobian_rows import check_odd
from invreg_analyses.saliency.kernel_spread import normalised, spread_of
from invreg_analyses.saliency.maps import OPERATOR, SaliencyMaps, random_pixels
from invreg_analyses.saliency.text import clusters_text
from invreg_analyses.shared.canny_edges import STRONG, find_edges, inner
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import spread_choice
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

#: Images in which fewer pixels are on edges say little about edges; they are taken only if there is nothing else.
_FEW = 0.02


class SaliencyClusters(Analyzer):
    """Clusters the kernels by which the operator and learned forward maps, linearised, blur single pixels.

    The saliency map of Psi at a pixel p is the row of its Jacobian at a test image, the gradient of Psi(x)|p, cropped
    to a window around p. Such maps of the operator F (A*A / ||A||² where measurements are no images) and of every
    learned forward map, at the same random pixels, are divided by their largest absolute value and clustered, for each
    image and map by itself. Green is the cluster with the largest share of pixels on Canny edges; orange has the second
    largest.

    How many clusters there are, the elbow, the gap statistic and the gap statistic without logarithm say; `clusters` is
    what is used. How much clusters depend on the random numbers, on the choice of pixels and on the method is in the
    table `stability`, as adjusted Rand indices.

    Args:
        count: number of images, spread evenly over the shares of edge pixels of all test images.
        pixels: number of random pixels around which a window lies inside the image; the same for all images and maps.
        window: side of the saliency maps, odd.
        clusters: number of clusters.
        largest: largest number of clusters that the statistics look at.
        references: reference data sets of the gap statistics.
        repeats: how often clusters are found again with other seeds, and on other pixels.

    Raises:
        SpecError: if the window is even, or larger than the images, or there is one cluster only.
        DataError: if the images have fewer pixels, or no edges.

    Source: Arndt & Nickel 2024, section 4.3.2 and appendix B, figures 13, 14, 16 and 17.
    """

    requires = (LearnsForwardMap,)

    def __init__(
        self,
        count: Annotated[int, Field(ge=1, le=24, description="number of images")] = 2,
        pixels: Annotated[int, Field(ge=10, le=15_000, description="number of random pixels of each image")] = 1500,
        window: Annotated[int, Field(ge=3, le=65, description="side of the saliency maps, odd")] = 9,
        clusters: Annotated[int, Field(ge=2, le=MOST_CLUSTERS, description="number of clusters")] = 2,
        largest: Annotated[int, Field(ge=3, le=20, description="number of clusters that is looked at, at most")] = 6,
        references: Annotated[int, Field(ge=2, le=1000, description="reference data of the gap statistics")] = 10,
        repeats: Annotated[int, Field(ge=1, le=100, description="how often clusters are found again")] = 5,
    ) -> None:
        check_clustering(pixels, window, clusters)
        if largest < clusters:
            raise SpecError(
                f"the statistics look at {largest} clusters at most, and {clusters} are used",
                where="largest",
                expected=f"at least {clusters}",
            )
        self.count = count
        self.pixels = pixels
        self.window = window
        self.clusters = clusters
        self.largest = largest
        self.references = references
        self.repeats = repeats

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        x = run.images.test.images
        pixels = random_pixels(run.seed, (x.shape[-2], x.shape[-1]), self.pixels, self.window)
        edges = [find_edges(image) for image in x]
        chosen = typical_images(edges, self.window, self.count)
        # Gradients take more memory than evaluations.
        maps = SaliencyMaps(self.methods_of(run), run.device, self.window, run.batch_size // 2)
        progress = Progress(
            run.events, "saliency_clusters", "saliency maps", len(chosen) * len(maps.names) * len(pixels)
        )
        kernels = np.stack([maps.at(x[index], pixels, progress) for index in chosen], axis=1)
        shown = np.stack([edges[index] for index in chosen])
        on_edge = shown[:, pixels[:, 0], pixels[:, 1]]
        names = [str(run.images.test.names[index]) for index in chosen]
        labels = np.zeros(kernels.shape[:3], dtype=np.int64)
        numbers: list[pd.DataFrame] = []
        choices: list[dict[str, Any]] = []
        stabilities: list[dict[str, Any]] = []
        clustering = Progress(run.events, "saliency_clusters", "clusters", len(chosen) * len(maps.names))
        for position, image in enumerate(names):
            for number, name in enumerate(maps.names):
                own, key = kernels[number, position], {"map": name, "image": image}
                # The same random numbers for all maps: equal maps have equal clusters.
                seed = stream_key(run.seed, "saliency", "clusters", image)
                labels[number, position] = by_edges(cluster(own, self.clusters, seed), on_edge[position])
                found = cluster_numbers(normalised(own), self.largest, self.references, seed)
                numbers.append(pd.DataFrame({**key, "clusters": range(1, self.largest + 1), **found.__dict__}))
                by = {"elbow": found.elbow, "gap": found.by_gap, "gap_star": found.by_gap_star}
                choices.append({**key, **by, "largest": self.largest, "chosen": self.clusters})
                stable = stability(own, labels[number, position], self.clusters, seed, self.repeats)
                like = agreement(labels[0, position], labels[number, position])
                stabilities.append({**key, **stable.__dict__, "like_operator": like})
                clustering.advance()
        tables = {
            "clusters": clusters_table(maps.names, names, labels, kernels, on_edge),
            "numbers": pd.concat(numbers, ignore_index=True),
            "choices": pd.DataFrame(choices),
            "stability": pd.DataFrame(stabilities),
            "images": pd.DataFrame(
                {
                    "image": names,
                    "edge_share": (shown > 0).mean((1, 2)),
                    "strong_share": (shown == STRONG).mean((1, 2)),
                }
            ),
            "maps": pd.DataFrame({"map": maps.names}),
            "methods": methods_table(run),
        }
        return Findings(
            scalars={"pixels": len(pixels), "window": self.window, "clusters": self.clusters, "operator": OPERATOR},
            tables=tables,
            arrays={
                "truth": x[chosen].numpy(),
                "edges": shown,
                "pixels": pixels,
                "labels": labels.astype(np.int8),
                "kernels": kernels,
                "mean_kernels": mean_kernels(kernels, labels, self.clusters),
            },
            text=clusters_text(tables, len(pixels)),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figures = {}
        for i in range(len(findings.tables["images"])):
            figures[f"pixels_{i + 1}"] = draw_cluster_pixels(findings, i)
            figures[f"means_{i + 1}"] = draw_cluster_means(findings, i)
        figures["numbers"] = draw_cluster_numbers(findings)
        return figures


def check_clustering(pixels: int, window: int, clusters: int) -> None:
    """Refuses windows without a centre, and too few pixels for the clusters.

    Raises:
        SpecError: naming the parameter.
    """
    check_odd(window)
    if pixels < 5 * clusters:
        raise SpecError(
            f"{pixels} pixels", where="pixels", expected=f"at least {5 * clusters}, for {clusters} clusters"
        )


def typical_images(edges: Sequence[NDArray[np.uint8]], window: int, count: int) -> list[int]:
    """Images spread evenly over the shares of pixels on edges; a single one has the share in the middle.

    Raises:
        DataError: if no image has an edge where a window fits.
    """
    mask = inner((edges[0].shape[0], edges[0].shape[1]), window)
    shares = np.array([(one[mask] > 0).mean() for one in edges])
    least = _FEW if (shares >= _FEW).any() else 0.0
    candidates = np.nonzero((shares >= least) & (shares > 0))[0]
    if not len(candidates):
        raise DataError(
            f"none of {len(edges)} test images has edges",
            where="data",
            expected="images with contours: steps by more than 0.08",
            hint="other images; `forward_map` shows learned forward maps on any",
        )
    # The middle ones of `count` equal parts, not the extreme ones.
    ranked = [candidates[i] for i in spread_choice(shares[candidates], len(candidates))]
    positions = [(2 * part + 1) * len(ranked) // (2 * count) for part in range(count)]
    return [int(ranked[position]) for position in dict.fromkeys(positions)]


def mean_kernels(kernels: NDArray[np.float32], labels: NDArray[np.int64], clusters: int) -> NDArray[np.float32]:
    """Means of the maps `[..., P, w, w]` of each cluster, `[..., clusters, w, w]`; NaN for an empty one."""
    shape = (*labels.shape[:-1], clusters, *kernels.shape[-2:])
    means = np.full(shape, np.nan, dtype=np.float32)
    for place in np.ndindex(*labels.shape[:-1]):
        for number in np.unique(labels[place]):
            means[(*place, number)] = kernels[place][labels[place] == number].mean(0, dtype=np.float64)
    return means


def clusters_table(
    maps: Sequence[str],
    images: Sequence[str],
    labels: NDArray[np.int64],
    kernels: NDArray[np.float32],
    on_edge: NDArray[np.uint8],
) -> pd.DataFrame:
    """One row for each cluster of each map on each image: its size, its edges, and the spread of its mean map.

    Args:
        maps: M names.
        images: I names.
        labels: `[M, I, P]`.
        kernels: `[M, I, P, w, w]`.
        on_edge: `[I, P]`.
    """
    import pandas as pd

    rows = []
    for i, name in enumerate(maps):
        for j, image in enumerate(images):
            for number in np.unique(labels[i, j]):
                own = labels[i, j] == number
                spread = spread_of(kernels[i, j][own].mean(0, dtype=np.float64))
                rows.append(
                    {
                        "map": name,
                        "image": image,
                        "cluster": CLUSTER_NAMES[number],
                        "pixels": int(own.sum()),
                        "edge_pixels": int((on_edge[j][own] > 0).sum()),
                        "edge_share": float((on_edge[j][own] > 0).mean()),
                        "strong_share": float((on_edge[j][own] == STRONG).mean()),
                        **{measure: float(value) for measure, value in spread.items()},
                    }
                )
    return pd.DataFrame(rows)


def named_image(names: Sequence[str], images: Tensor, name: str) -> int:
    """The position of an image.

    Raises:
        SpecError: if there is no such image.
        DataError: if it has no edges.
    """
    if name not in names:
        raise SpecError(f"no test image {name!r}", where="image", hint=did_you_mean(name, names))
    index = list(names).index(name)
    if not find_edges(images[index]).any():
        raise DataError(
            "has no edges", where=f"image {name!r}", expected="an image with contours", hint="image: null takes one"
        )
    return index
