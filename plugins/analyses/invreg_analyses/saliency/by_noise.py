"""Saliency maps of the networks of a study side by side: over noise levels, and over Lipschitz parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from invreg import CompletedStudy, Findings, StudyAnalyzer, choose_device, stream_key
from invreg_analyses.saliency.clustering import agreement, cluster_seed, label_maps
from invreg_analyses.saliency.clusters import (
    Clusters,
    Pixels,
    ShownImages,
    check_pixels,
    choose_images,
    clusters_table,
    mean_kernels,
)
from invreg_analyses.saliency.edges import AreaPixels, Images, SampledPixels, area_means, sample_areas
from invreg_analyses.saliency.figures import draw_area_means, draw_cluster_means, draw_cluster_pixels, draw_spread
from invreg_analyses.saliency.kernel_spread import AreaSpread
from invreg_analyses.saliency.maps import OPERATOR, SaliencyMaps, Window
from invreg_analyses.saliency.text import likeness_seen, series_seen
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import Confidence, Resamples
from invreg_analyses.shared.study_choice import At, Choice
from invreg_analyses.shared.study_series import Series, draw_series, find_series, join_series, networks_in, once

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


#: Saliency maps of an operator and one network, `[2, P, w, w]`, and mean maps of areas, `[2, I, 2, w, w]`.
_Maps = tuple["NDArray[np.float32]", "NDArray[np.float32]"]


class SaliencyByNoise(StudyAnalyzer):
    """The pictures of `saliency_clusters` and `edge_saliency` over noise levels, and over L, with the operator first.

    For every operator and every method with a learned forward map there is a series over the noise levels, at the last
    value of `lipschitz` (and of whatever else is varied), and one over the values of `lipschitz`, at the last noise
    level. Image and pixels are the same throughout; green is always the cluster that lies on edges most often, or
    edges, and orange the rest.

    `steps` has, image by image, the differences of the spread of mean maps from each noise level (or L) to the next,
    and from the first to the last, with confidence intervals.

    Raises:
        SpecError: if neither the noise nor `lipschitz` is varied, no method has learned a forward map, or a parameter
            does not fit the images.
        DataError: if no image has edges, or the data set no longer has the images of the study.

    Source: Arndt & Nickel 2024, figures 13 to 17.
    """

    needs_operator = True

    def __init__(
        self,
        image: Annotated[
            str | None,
            Field(description="test image whose pixels are clustered; null: one with a typical share of edges"),
        ] = None,
        pixels: Pixels = 1500,
        window: Window = 9,
        clusters: Clusters = 2,
        images: Images = 32,
        area_pixels: AreaPixels = 250,
        at: At = None,
        confidence: Confidence = 0.95,
        resamples: Resamples = 10_000,
    ) -> None:
        check_pixels(pixels, clusters)
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
        series, shown_in = find_series(study, self.at), once(self._show)
        work = sum(2 * shown_in(entry).count for entry in networks_in(series))
        progress = Progress(study.events, "saliency_by_noise", "saliency maps", work)
        maps_of = once(lambda entry: self._maps(entry, shown_in(entry), progress))
        seed = study.cells[0].spec.seed
        found = [
            self._side_by_side(one, shown_in(one.entries[0]), [maps_of(entry) for entry in one.entries], seed)
            for one in series
        ]
        scalars = {"clusters": self.clusters, "pixels": self.pixels, "confidence": self.confidence}
        return join_series(study, series, found, scalars)

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return draw_series(findings, _draw_one)

    def _show(self, entry: Choice) -> _Shown:
        """The image and the pixels, chosen by the truth alone: the same for all cells with the same images."""
        test = entry.cell.images()
        wanted = 1 if self.image is None else self.image
        shown = choose_images(test, wanted, self.pixels, self.window, entry.cell.spec.seed)
        areas, _ = sample_areas(test.images, test.names, self.images, self.area_pixels, self.window)
        return _Shown(shown, areas)

    def _maps(self, entry: Choice, shown: _Shown, progress: Progress) -> _Maps:
        """The saliency maps of the operator and one network, and their mean maps of areas."""
        nets = {entry.method: entry.cell.result.methods[entry.method].reconstructor}
        batch = entry.cell.spec.evaluation.batch_size // 2
        maps = SaliencyMaps(nets, choose_device(entry.cell.device), self.window, batch)
        kernels = maps.at(shown.image.truth[0], shown.image.pixels, progress)
        return kernels, area_means(maps, shown.areas, progress)

    def _side_by_side(self, series: Series, shown: _Shown, found: Sequence[_Maps], seed: int) -> Findings:
        """The operator, as the first cell has it, and the networks of a series."""
        import pandas as pd

        names, image = [OPERATOR, *series.names], shown.image
        kernels, areas = (np.stack([own[0][0], *(network for _, network in own)]) for own in zip(*found, strict=True))
        labels = label_maps(kernels, image.on_edge[0], self.clusters, cluster_seed(seed, image.names[0]))
        used = [one.name for one in shown.areas]
        key = stream_key(seed, "saliency_by_noise")
        spread = AreaSpread(names, used, areas, self.confidence, self.resamples, key)
        pairs = list(pairwise(range(1, len(names))))
        tables = {
            "clusters": clusters_table(names, image.names, labels[:, None], kernels[:, None], image.on_edge),
            "agreement": pd.DataFrame({"map": names, "like_operator": [agreement(labels[0], own) for own in labels]}),
            "spread": spread.means(),
            "steps": spread.differences(pairs if len(pairs) == 1 else [*pairs, (1, len(names) - 1)]),
            "maps": pd.DataFrame({"map": names}),
        }
        arrays = {
            "truth": image.truth[0].numpy(),
            "edges": image.edges[0],
            "pixels": image.pixels,
            "labels": labels.astype(np.int8),
            "mean_kernels": mean_kernels(kernels, labels, self.clusters),
            "area_kernels": areas.mean(1, dtype=np.float64).astype(np.float32),
        }
        text = f"{series_seen(tables)} {likeness_seen(tables['agreement'])}"
        return Findings({"image": image.names[0], "images": len(used)}, tables, arrays, text)


@dataclass(frozen=True)
class _Shown:
    """What all networks of an operator are shown: one image with its pixels, and the areas of the others."""

    image: ShownImages
    areas: list[SampledPixels]

    @property
    def count(self) -> int:
        """The number of saliency maps of each map."""
        return len(self.image.pixels) + sum(len(one.pixels) for one in self.areas)


def _draw_one(findings: Findings) -> dict[str, Figure]:
    head = f"{findings.text}: "
    return {
        "pixels": draw_cluster_pixels(findings),
        "means": draw_cluster_means(findings),
        "areas": draw_area_means(findings, findings.arrays["area_kernels"], head),
        "spread": draw_spread(findings, head),
    }
