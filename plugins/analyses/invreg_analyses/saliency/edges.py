"""The operator and networks on edges and in smooth areas, over the whole test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from invreg import Analyzer, CompletedRun, DataError, Findings, LearnsForwardMap, stream_key
from invreg_analyses.saliency.figures import draw_area_means, draw_spread
from invreg_analyses.saliency.jacobian_rows import check_window
from invreg_analyses.saliency.kernel_spread import AreaSpread
from invreg_analyses.saliency.maps import SaliencyMaps, Window
from invreg_analyses.saliency.text import edge_text
from invreg_analyses.shared.canny_edges import NO_EDGE, find_edges, inner, smooth_areas
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import Confidence, Resamples
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

#: Parameters that the analysis of a study has, too.
Images = Annotated[
    int, Field(ge=1, le=10_000, description="number of test images, the first ones with edges and smooth areas")
]
AreaPixels = Annotated[int, Field(ge=1, le=15_000, description="pixels of each area and image, at most")]


class EdgeSaliency(Analyzer):
    """Mean saliency maps on edges and in smooth areas, for the operator and each learned forward map.

    For saliency maps see `saliency_clusters`. Here the areas are given, so that all test images and networks can be
    compared: `edges` are pixels on Canny edges, `smooth` are pixels at least two rows or columns away from all edges.
    Pixels whose window would leave the image are left out. In each area, pixels are taken at equal distances in the
    order of rows. Images without both areas are left out, and listed.

    `spread` has, for the mean map k of each area, means over the images with confidence intervals of: the effective
    radius (sum k² r² / sum k²)^(1/2), the same with |k| in place of k² (`reach`), the weight k(0) / sum |k| of the
    centre, and the negative mass sum max(-k, 0) / sum |k|. `differences` has those of networks minus those of the
    operator, image by image.

    Raises:
        SpecError: if the window is larger than the images.
        DataError: if no image has both edges and smooth areas.

    Source: Arndt & Nickel 2024, section 4.3.2, figure 15.
    """

    requires = (LearnsForwardMap,)
    needs_operator = True

    def __init__(
        self,
        images: Images = 32,
        pixels: AreaPixels = 250,
        window: Window = 9,
        confidence: Confidence = 0.95,
        resamples: Resamples = 10_000,
    ) -> None:
        self.images = images
        self.pixels = pixels
        self.window = window
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        names = [str(name) for name in run.images.test.names]
        sampled, left_out = sample_areas(run.images.test.images, names, self.images, self.pixels, self.window)
        maps = SaliencyMaps(self.methods_of(run), run.device, self.window, run.batch_size // 2)
        total = sum(len(one.pixels) for one in sampled) * len(maps.names)
        progress = Progress(run.events, "edge_saliency", "saliency maps", total)
        kernels = area_means(maps, sampled, progress)
        key = stream_key(run.seed, "edge_saliency")
        used = [one.name for one in sampled]
        spread = AreaSpread(maps.names, used, kernels, self.confidence, self.resamples, key)
        tables = {
            "spread": spread.means(),
            "differences": spread.differences([(0, number) for number in range(1, len(maps.names))]),
            "values": spread.values(),
            "images": pd.DataFrame(
                {"image": one.name, "edge_pixels": one.count, "smooth_pixels": len(one.pixels) - one.count}
                for one in sampled
            ),
            "left_out": pd.DataFrame(left_out, columns=["image", "reason"], dtype=object),
            "maps": pd.DataFrame({"map": maps.names}),
            "methods": methods_table(run),
        }
        return Findings(
            scalars={"images": len(used), "pixels": self.pixels, "confidence": self.confidence},
            tables=tables,
            arrays={"kernels": kernels, "mean_kernels": kernels.mean(1, dtype=np.float64).astype(np.float32)},
            text=edge_text(tables),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {"means": draw_area_means(findings, findings.arrays["mean_kernels"]), "spread": draw_spread(findings)}


@dataclass(frozen=True)
class SampledPixels:
    """Pixels `[n, 2]` of one image: first those on edges, `count` of them, then those in smooth areas."""

    name: str
    image: Tensor
    pixels: NDArray[np.int64]
    count: int


def sample_areas(
    images: Tensor, names: Sequence[str], most: int, pixels: int, window: int
) -> tuple[list[SampledPixels], list[tuple[str, str]]]:
    """Pixels of both areas of the first images that have both, and the images left out with the reason.

    Raises:
        SpecError: if the window does not fit.
        DataError: if no image has both.
    """
    height, width = int(images.shape[-2]), int(images.shape[-1])
    check_window(window, height, width)
    mask = inner((height, width), window)
    found: list[SampledPixels] = []
    left_out: list[tuple[str, str]] = []
    for image, name in zip(images, names, strict=True):
        if len(found) == most:
            break
        edges = find_edges(image)
        chosen = [equidistant(area & mask, pixels) for area in (edges != NO_EDGE, smooth_areas(edges))]
        missing = [kind for kind, one in zip(("edges", "smooth areas"), chosen, strict=True) if not len(one)]
        if missing:
            left_out.append((name, f"no {' and no '.join(missing)}"))
        else:
            found.append(SampledPixels(name, image, np.concatenate(chosen), len(chosen[0])))
    if not found:
        raise DataError(
            f"none of {len(names)} test images has both edges and smooth areas",
            where="data",
            expected=f"images with contours, away from their border by {window // 2} pixels",
            hint="other images, or a smaller window",
        )
    return found, left_out


def equidistant(area: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Pixels `[n, 2]` of an area at equal distances in the order of rows; all of them, if there are fewer."""
    places = np.argwhere(area).astype(np.int64)
    if len(places) <= count:
        return places
    return places[np.round(np.linspace(0, len(places) - 1, count)).astype(np.int64)]


def area_means(maps: SaliencyMaps, sampled: Sequence[SampledPixels], progress: Progress) -> NDArray[np.float32]:
    """The mean maps of both areas of each image, `[M, I, 2, w, w]`."""
    means = []
    for one in sampled:
        kernels = maps.at(one.image, one.pixels, progress)
        parts = (kernels[:, : one.count], kernels[:, one.count :])
        means.append(np.stack([part.mean(1, dtype=np.float64) for part in parts], axis=1).astype(np.float32))
    return np.stack(means, axis=1)
