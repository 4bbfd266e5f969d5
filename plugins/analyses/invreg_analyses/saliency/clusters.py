"""Clusters of saliency maps: which pixels a network treats alike, and which the operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from invreg import Analyzer, CompletedRun, DataError, Findings, ImageStack, LearnsForwardMap, SpecError, did_you_mean
from invreg_analyses.saliency.cluster_numbers import cluster_numbers
from invreg_analyses.saliency.clustering import agreement, cluster_seed, cluster_stability, label_maps
from invreg_analyses.saliency.figures import (
    CLUSTER_NAMES,
    MOST_CLUSTERS,
    draw_cluster_means,
    draw_cluster_numbers,
    draw_cluster_pixels,
    of_image,
)
from invreg_analyses.saliency.kernel_spread import normalised, spread_of
from invreg_analyses.saliency.maps import OPERATOR, SaliencyMaps, Window, random_pixels
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
#: Parameters that the analysis of a study has, too.
Pixels = Annotated[
    int, Field(ge=10, le=15_000, description="random pixels of an image, at least 5 for each cluster; the same for all")
]
Clusters = Annotated[int, Field(ge=2, le=MOST_CLUSTERS, description="number of clusters")]


class SaliencyClusters(Analyzer):
    """Clusters of the kernels by which the operator and learned forward maps, linearised, blur single pixels.

    The saliency map of Psi at a pixel p is the row of its Jacobian at a test image, the gradient of Psi(x)|p, cropped
    to a window with p in its centre. Such maps of the operator F (A*A / ||A||² where measurements are not images) and
    of every learned forward map, at the same random pixels, are divided by their largest absolute value and clustered,
    for each image and map by itself. Green is the cluster with the largest share of pixels on Canny edges; orange has
    the second largest.

    `choices` has the numbers of clusters that the elbow, the gap statistic and the gap statistic without logarithm
    suggest. `stability` has adjusted Rand indices with clusters found by other random numbers, on other pixels and by
    other methods.

    Raises:
        SpecError: if the window is larger than the images.
        DataError: if the images have fewer pixels, or no edges.

    Source: Arndt & Nickel 2024, section 4.3.2 and appendix B, figures 13, 14, 16 and 17.
    """

    requires = (LearnsForwardMap,)
    needs_operator = True

    def __init__(
        self,
        count: Annotated[
            int, Field(ge=1, le=24, description="number of images, spread evenly over the shares of edge pixels")
        ] = 2,
        pixels: Pixels = 1500,
        window: Window = 9,
        clusters: Clusters = 2,
        largest: Annotated[int, Field(ge=3, le=20, description="largest number of clusters in the statistics")] = 6,
        references: Annotated[
            int, Field(ge=2, le=1000, description="number of reference data sets of the gap statistics")
        ] = 10,
        repeats: Annotated[
            int, Field(ge=1, le=100, description="number of other seeds, and of other choices of pixels, for stability")
        ] = 5,
    ) -> None:
        check_pixels(pixels, clusters)
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

        images = choose_images(run.images.test, self.count, self.pixels, self.window, run.seed)
        # Gradients take more memory than evaluations.
        maps = SaliencyMaps(self.methods_of(run), run.device, self.window, run.batch_size // 2)
        work = len(images.names) * len(maps.names) * self.pixels
        progress = Progress(run.events, "saliency_clusters", "saliency maps", work)
        kernels = np.stack([maps.at(x, images.pixels, progress) for x in images.truth], axis=1)
        labels = np.stack(
            [
                label_maps(kernels[:, i], images.on_edge[i], self.clusters, cluster_seed(run.seed, name))
                for i, name in enumerate(images.names)
            ],
            axis=1,
        )
        tables = {
            "clusters": clusters_table(maps.names, images.names, labels, kernels, images.on_edge),
            **self._statistics(run, maps.names, images.names, labels, kernels),
            "images": pd.DataFrame(
                {
                    "image": images.names,
                    "edge_share": (images.edges > 0).mean((1, 2)),
                    "strong_share": (images.edges == STRONG).mean((1, 2)),
                }
            ),
            "maps": pd.DataFrame({"map": maps.names}),
            "methods": methods_table(run),
        }
        return Findings(
            scalars={"pixels": self.pixels, "window": self.window, "clusters": self.clusters, "operator": OPERATOR},
            tables=tables,
            arrays={
                "truth": images.truth.numpy(),
                "edges": images.edges,
                "pixels": images.pixels,
                "labels": labels.astype(np.int8),
                "kernels": kernels,
                "mean_kernels": mean_kernels(kernels, labels, self.clusters),
            },
            text=clusters_text(tables),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figures = {}
        for i in range(len(findings.tables["images"])):
            own = of_image(findings, i)
            figures[f"pixels_{i + 1}"] = draw_cluster_pixels(own)
            figures[f"means_{i + 1}"] = draw_cluster_means(own)
        figures["numbers"] = draw_cluster_numbers(findings)
        return figures

    def _statistics(
        self,
        run: CompletedRun,
        maps: Sequence[str],
        images: Sequence[str],
        labels: NDArray[np.int64],
        kernels: NDArray[np.float32],
    ) -> dict[str, pd.DataFrame]:
        """The tables on numbers of clusters and on stability, one row or more for each image and map."""
        import pandas as pd

        progress = Progress(run.events, "saliency_clusters", "clusters", len(images) * len(maps))
        numbers: list[pd.DataFrame] = []
        choices: list[dict[str, Any]] = []
        stability: list[dict[str, Any]] = []
        for j, image in enumerate(images):
            seed = cluster_seed(run.seed, image)
            for i, name in enumerate(maps):
                key, own = {"map": name, "image": image}, kernels[i, j]
                found = cluster_numbers(normalised(own), self.largest, self.references, seed)
                numbers.append(pd.DataFrame({**key, "clusters": range(1, self.largest + 1), **asdict(found)}))
                by = {"elbow": found.elbow, "gap": found.by_gap, "gap_star": found.by_gap_star}
                choices.append({**key, **by, "largest": self.largest, "chosen": self.clusters})
                stable = cluster_stability(own, labels[i, j], self.clusters, seed, self.repeats)
                stability.append({**key, **stable, "like_operator": agreement(labels[0, j], labels[i, j])})
                progress.advance()
        return {
            "numbers": pd.concat(numbers, ignore_index=True),
            "choices": pd.DataFrame(choices),
            "stability": pd.DataFrame(stability),
        }


@dataclass(frozen=True)
class ShownImages:
    """The I images whose pixels are clustered.

    Attributes:
        names: of the images.
        truth: `[I, C, H, W]`.
        edges: `[I, H, W]`, see `find_edges`.
        pixels: rows and columns `[P, 2]`, the same in all images.
    """

    names: list[str]
    truth: Tensor
    edges: NDArray[np.uint8]
    pixels: NDArray[np.int64]

    @property
    def on_edge(self) -> NDArray[np.uint8]:
        """The edges at the pixels, `[I, P]`."""
        return self.edges[:, self.pixels[:, 0], self.pixels[:, 1]]


def choose_images(test: ImageStack, wanted: int | str, pixels: int, window: int, seed: int) -> ShownImages:
    """So many typical images, or the one of this name, with random pixels.

    Raises:
        SpecError: if there is no such image, or the window does not fit.
        DataError: if the images have fewer pixels, or no edges.
    """
    _, height, width = test.image_shape
    at = random_pixels(seed, (height, width), pixels, window)
    edges, names = [find_edges(image) for image in test.images], [str(name) for name in test.names]
    if isinstance(wanted, int):
        chosen = typical_images(edges, window, wanted)
    elif wanted not in names:
        raise SpecError(f"no test image {wanted!r}", where="image", hint=did_you_mean(wanted, names))
    else:
        chosen = [names.index(wanted)]
        if not edges[chosen[0]].any():
            raise DataError(
                f"image {wanted!r} has no edges",
                where="image",
                expected="an image with contours",
                hint="image: null takes one",
            )
    return ShownImages([names[i] for i in chosen], test.images[chosen], np.stack([edges[i] for i in chosen]), at)


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


def check_pixels(pixels: int, clusters: int) -> None:
    """Refuses too few pixels for the clusters.

    Raises:
        SpecError: with the least number.
    """
    if pixels < 5 * clusters:
        raise SpecError(
            f"{pixels} pixels", where="pixels", expected=f"at least {5 * clusters}, for {clusters} clusters"
        )


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

    The clusters are `labels` `[M, I, P]` of `kernels` `[M, I, P, w, w]`, the edges at the pixels `on_edge` `[I, P]`.
    """
    import pandas as pd

    rows = []
    for i, j in np.ndindex(len(maps), len(images)):
        for number in np.unique(labels[i, j]):
            own = labels[i, j] == number
            spread = spread_of(kernels[i, j][own].mean(0, dtype=np.float64))
            rows.append(
                {
                    "map": maps[i],
                    "image": images[j],
                    "cluster": CLUSTER_NAMES[number],
                    "pixels": int(own.sum()),
                    "edge_pixels": int((on_edge[j][own] > 0).sum()),
                    "edge_share": float((on_edge[j][own] > 0).mean()),
                    "strong_share": float((on_edge[j][own] == STRONG).mean()),
                    **{measure: float(value) for measure, value in spread.items()},
                }
            )
    return pd.DataFrame(rows)
