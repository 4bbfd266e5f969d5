"""Saliency maps of the networks of a study beside each other: over noise levels, and over Lipschitz parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from invreg import CompletedStudy, Findings, ImageStack, StudyAnalyzer, choose_device, stream_key
from invreg_analyses.saliency.by_noise_figures import draw_series
from invreg_analyses.saliency.by_noise_text import series_text
from invreg_analyses.saliency.clustering import agreement, by_edges, cluster
from invreg_analyses.saliency.clusters import (
    check_clustering,
    clusters_table,
    mean_kernels,
    named_image,
    typical_images,
)
from invreg_analyses.saliency.edges import Intervals, area_means, sample_areas, spread_values
from invreg_analyses.saliency.figures import MOST_CLUSTERS
from invreg_analyses.saliency.maps import OPERATOR, SaliencyMaps, random_pixels
from invreg_analyses.shared.canny_edges import find_edges
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.study_choice import At, Choice, methods_in
from invreg_analyses.shared.study_series import find_series, networks_in
from invreg_analyses.shared.style import file_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


class SaliencyByNoise(StudyAnalyzer):
    """Clusters of saliency maps, and mean maps on edges and in smooth areas, over noise levels and over L.

    See `saliency_clusters` and `edge_saliency`. For every operator and every method with a learned forward map there is
    a series over the noise levels, at the last value of `lipschitz` (and of whatever else is varied), and one over the
    values of `lipschitz`, at the last noise level; the operator comes first. Image and pixels are the same throughout;
    green is always the cluster that lies on edges most often, or edges, and orange the rest.

    `steps` has, image by image, what becomes of the spread of mean maps from each noise level (or L) to the next, and
    from the first to the last, with confidence intervals: whether maps spread less as noise rises is decided there.

    Args:
        image: name of the test image whose pixels are clustered; None for one with a typical share of edges.
        pixels: number of random pixels that are clustered.
        window: side of the saliency maps, odd.
        clusters: number of clusters.
        images: number of test images for mean maps on edges and in smooth areas, at most.
        area_pixels: pixels on edges, and in smooth areas, of each of these, at most.
        at: values of other varied paths, as the study's table shows them; of any other path the last value is taken.
        confidence: probability that is asked of the intervals.
        resamples: number of bootstrap samples.

    Raises:
        SpecError: if neither the noise nor `lipschitz` is varied, no method has learned a forward map, or a parameter
            does not fit the images.
        DataError: if no image has edges, or the data set no longer has the images of the study.

    Source: Arndt & Nickel 2024, figures 13 to 17.
    """

    def __init__(
        self,
        image: Annotated[str | None, Field(description="name of a test image; null: a typical one")] = None,
        pixels: Annotated[int, Field(ge=10, le=15_000, description="number of pixels that are clustered")] = 1500,
        window: Annotated[int, Field(ge=3, le=65, description="side of the saliency maps, odd")] = 9,
        clusters: Annotated[int, Field(ge=2, le=MOST_CLUSTERS, description="number of clusters")] = 2,
        images: Annotated[int, Field(ge=1, le=10_000, description="test images for mean maps, at most")] = 32,
        area_pixels: Annotated[int, Field(ge=1, le=15_000, description="of each kind and image, at most")] = 250,
        at: At = None,
        confidence: Annotated[float, Field(ge=0.5, lt=1, description="probability asked of the intervals")] = 0.95,
        resamples: Annotated[int, Field(ge=1000, le=1_000_000, description="number of bootstrap samples")] = 10_000,
    ) -> None:
        check_clustering(pixels, window, clusters)
        self.image = image
        self.pixels = pixels
        self.window = window
        self.clusters = clusters
        self.images = images
        self.area_pixels = area_pixels
        self.at = at
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        series = find_series(study, self.at)
        pictures, seed = _Pictures(self), study.cells[0].spec.seed
        intervals = Intervals(self.confidence, self.resamples, stream_key(seed, "saliency_by_noise"))
        work = sum(pictures.work(entry) for entry in networks_in(series))
        progress = Progress(study.events, "saliency_by_noise", "saliency maps", work)
        tables: dict[str, list[pd.DataFrame]] = {name: [] for name in ("clusters", "agreement", "spread", "steps")}
        tables["maps"] = []
        arrays: dict[str, NDArray[Any]] = {}
        for number, one in enumerate(series):
            found = [pictures.of(entry, progress) for entry in one.entries]
            names = [OPERATOR, *one.names]
            kernels = np.stack([found[0].operator, *(picture.network for picture in found)])
            areas = np.stack([found[0].operator_areas, *(picture.network_areas for picture in found)])
            shared = pictures.shared(one.entries[0])
            labels = np.stack([self._labels(own, shared, seed) for own in kernels])
            values = spread_values(names, shared.used, areas)
            pairs = list(pairwise(one.names))
            if len(one.names) > 2:
                pairs.append((one.names[0], one.names[-1]))
            key = {"series": number}
            own_clusters = clusters_table(names, [shared.name], labels[:, None], kernels[:, None], shared.on_edge[None])
            tables["clusters"].append(own_clusters.assign(**key))
            like = [agreement(labels[0], own) for own in labels]
            tables["agreement"].append(pd.DataFrame({**key, "map": names, "like_operator": like}))
            tables["spread"].append(intervals.of_means(values, ["map", "area"]).assign(**key))
            tables["steps"].append(intervals.of_differences(values, pairs, ["area"]).assign(**key))
            tables["maps"].append(pd.DataFrame({**key, "map": names}))
            arrays |= {
                f"series_{number}_truth": shared.truth,
                f"series_{number}_edges": shared.edges,
                f"series_{number}_pixels": shared.pixels,
                f"series_{number}_labels": labels.astype(np.int8),
                f"series_{number}_mean_kernels": mean_kernels(kernels, labels, self.clusters),
                f"series_{number}_area_kernels": areas.mean(1, dtype=np.float64).astype(np.float32),
            }
        joined = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
        joined["series"] = pd.DataFrame(
            [
                {
                    "series": number,
                    "operator": one.operator,
                    "method": one.method,
                    "over": one.over,
                    "held": one.held,
                    "image": pictures.shared(one.entries[0]).name,
                    "images": len(pictures.shared(one.entries[0]).used),
                }
                for number, one in enumerate(series)
            ]
        )
        joined["methods"] = methods_in(study)
        return Findings(
            scalars={"clusters": self.clusters, "pixels": self.pixels, "confidence": self.confidence},
            tables=joined,
            arrays=arrays,
            text=series_text(joined),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        series = findings.tables["series"]
        stems = file_names([f"{row.operator} {row.method} {row.over}" for row in series.itertuples()])
        figures: dict[str, Figure] = {}
        for number, stem in enumerate(stems):
            figures |= {f"{stem}_{kind}": figure for kind, figure in draw_series(findings, number).items()}
        return figures

    def _labels(self, kernels: NDArray[np.float32], shared: _Shared, seed: int) -> NDArray[np.int64]:
        key = stream_key(seed, "saliency", "clusters", shared.name)
        return by_edges(cluster(kernels, self.clusters, key), shared.on_edge)


@dataclass(frozen=True)
class _Shared:
    """What all networks of an operator are shown: one image with its pixels, and the areas of the others."""

    name: str
    truth: NDArray[np.float32]
    edges: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    on_edge: NDArray[np.uint8]
    used: Sequence[str]


@dataclass(frozen=True)
class _Picture:
    """The saliency maps of one network and of its operator."""

    operator: NDArray[np.float32]
    network: NDArray[np.float32]
    operator_areas: NDArray[np.float32]
    network_areas: NDArray[np.float32]


class _Pictures:
    """Computes the saliency maps of cells; each network once, though it may be in several series."""

    def __init__(self, settings: SaliencyByNoise) -> None:
        self._settings = settings
        self._kept: dict[tuple[str, str], _Picture] = {}

    def shared(self, entry: Choice) -> _Shared:
        """The image and its pixels, chosen by the truth alone: the same for all cells with the same images."""
        data, index = self._data(entry)
        edges = find_edges(data.images[index])
        pixels = self._pixels(entry, data)
        areas = self._areas(data)
        on_edge = edges[pixels[:, 0], pixels[:, 1]]
        return _Shared(
            data.names[index], data.images[index].numpy(), edges, pixels, on_edge, [one.name for one in areas.images]
        )

    def work(self, entry: Choice) -> int:
        """The number of saliency maps that a network takes, with those of its operator."""
        areas = self._areas(self._data(entry)[0])
        return 2 * (self._settings.pixels + sum(len(one.pixels) for one in areas.images))

    def of(self, entry: Choice, progress: Progress) -> _Picture:
        key = (str(entry.cell.folder), entry.method)
        if key not in self._kept:
            data, index = self._data(entry)
            net = entry.cell.result.methods[entry.method].reconstructor
            batch = entry.cell.spec.evaluation.batch_size // 2
            maps = SaliencyMaps({entry.method: net}, choose_device(entry.cell.device), self._settings.window, batch)
            operator, network = maps.at(data.images[index], self._pixels(entry, data), progress)
            areas = np.stack([area_means(maps, one, progress) for one in self._areas(data).images], axis=1)
            self._kept[key] = _Picture(operator, network, areas[0], areas[1])
        return self._kept[key]

    def _data(self, entry: Choice) -> tuple[ImageStack, int]:
        data = entry.cell.images()
        if self._settings.image is not None:
            return data, named_image(data.names, data.images, self._settings.image)
        return data, typical_images([find_edges(x) for x in data.images], self._settings.window, 1)[0]

    def _pixels(self, entry: Choice, data: ImageStack) -> NDArray[np.int64]:
        shape = (int(data.images.shape[-2]), int(data.images.shape[-1]))
        return random_pixels(entry.cell.spec.seed, shape, self._settings.pixels, self._settings.window)

    def _areas(self, data: ImageStack) -> Any:
        settings = self._settings
        return sample_areas(data.images, data.names, settings.images, settings.area_pixels, settings.window)
