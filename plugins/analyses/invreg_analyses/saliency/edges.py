"""What the operator and networks do on edges and in smooth areas, over the whole test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from invreg import Analyzer, CompletedRun, DataError, Findings, LearnsForwardMap, stream_key
from invreg_analyses.saliency.edge_figures import draw_edge_means, draw_spread
from invreg_analyses.saliency.jacobian_rows import check_odd, check_window
from invreg_analyses.saliency.kernel_spread import SPREAD, spread_of
from invreg_analyses.saliency.maps import OPERATOR, SaliencyMaps
from invreg_analyses.saliency.text import edge_text
from invreg_analyses.shared.canny_edges import NO_EDGE, find_edges, inner, smooth_areas
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import mean_interval
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

#: The clusters that are made by hand.
AREAS = ("edges", "smooth")


class EdgeSaliency(Analyzer):
    """Mean saliency maps on edges and in smooth areas, for the operator and each learned forward map.

    Saliency maps are rows of Jacobians, see `saliency_clusters`; here the pixels are sorted by hand, so that all test
    images and networks can be compared. Pixels on Canny edges are `edges`; pixels at least two rows or columns away
    from all of them are `smooth`. Pixels whose window would leave the image are left out. From both, the same number of
    pixels is taken at equal distances in the order of rows. Images without pixels of both kinds are left out, and
    listed.

    `spread` has, for the mean map of each image, and with confidence intervals over the images: the effective radius
    (sum k² r² / sum k²)^(1/2), the same with |k| in place of k² (`reach`), the weight k(0) / sum |k| of the centre, and
    the negative mass sum max(-k, 0) / sum |k|. `differences` has those of networks to the operator, image by image.

    Args:
        images: number of test images, the first ones that have edges and smooth areas.
        pixels: of each kind and image, at most.
        window: side of the saliency maps, odd.
        confidence: probability that is asked of the intervals.
        resamples: number of bootstrap samples.

    Raises:
        SpecError: if the window is even, or larger than the images.
        DataError: if no image has both edges and smooth areas.

    Source: Arndt & Nickel 2024, section 4.3.2, figure 15.
    """

    requires = (LearnsForwardMap,)

    def __init__(
        self,
        images: Annotated[int, Field(ge=1, le=10_000, description="number of test images, at most")] = 32,
        pixels: Annotated[int, Field(ge=1, le=15_000, description="of each kind and image, at most")] = 250,
        window: Annotated[int, Field(ge=3, le=65, description="side of the saliency maps, odd")] = 9,
        confidence: Annotated[float, Field(ge=0.5, lt=1, description="probability asked of the intervals")] = 0.95,
        resamples: Annotated[int, Field(ge=1000, le=1_000_000, description="number of bootstrap samples")] = 10_000,
    ) -> None:
        check_odd(window)
        self.images = images
        self.pixels = pixels
        self.window = window
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        names = [str(name) for name in run.images.test.names]
        sampled = sample_areas(run.images.test.images, names, self.images, self.pixels, self.window)
        maps = SaliencyMaps(self.methods_of(run), run.device, self.window, run.batch_size // 2)
        total = sum(len(one.pixels) for one in sampled.images) * len(maps.names)
        progress = Progress(run.events, "edge_saliency", "saliency maps", total)
        kernels = np.stack([area_means(maps, one, progress) for one in sampled.images], axis=1)
        used = [one.name for one in sampled.images]
        values = spread_values(maps.names, used, kernels)
        intervals = Intervals(self.confidence, self.resamples, stream_key(run.seed, "edge_saliency"))
        tables = {
            "spread": intervals.of_means(values, ["map", "area"]),
            "differences": intervals.of_differences(values, [(OPERATOR, name) for name in maps.names[1:]], ["area"]),
            "values": values,
            "images": pd.DataFrame(
                [
                    {"image": one.name, "edge_pixels": one.count, "smooth_pixels": len(one.pixels) - one.count}
                    for one in sampled.images
                ]
            ),
            "left_out": pd.DataFrame(sampled.left_out, columns=["image", "reason"], dtype=object),
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
        return {"means": draw_edge_means(findings), "spread": draw_spread(findings)}


@dataclass(frozen=True)
class AreaPixels:
    """The pixels of one image: first those on edges, `count` of them, then those in smooth areas."""

    name: str
    image: Tensor
    pixels: NDArray[np.int64]
    count: int


@dataclass(frozen=True)
class SampledAreas:
    """The pixels of all images that have both kinds, and what was left out."""

    images: list[AreaPixels]
    left_out: list[tuple[str, str]]


def sample_areas(images: Tensor, names: Sequence[str], most: int, pixels: int, window: int) -> SampledAreas:
    """Edge pixels and smooth ones, at equal distances in the order of rows, of the first images that have both.

    Raises:
        SpecError: if the window does not fit.
        DataError: if no image has both.
    """
    height, width = int(images.shape[-2]), int(images.shape[-1])
    check_window(window, height, width)
    mask = inner((height, width), window)
    found: list[AreaPixels] = []
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
            found.append(AreaPixels(name, image, np.concatenate(chosen), len(chosen[0])))
    if not found:
        raise DataError(
            f"none of {len(names)} test images has both edges and smooth areas",
            where="data",
            expected=f"images with contours, away from their border by {window // 2} pixels",
            hint="other images, or a smaller window",
        )
    return SampledAreas(found, left_out)


def equidistant(area: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Pixels `[n, 2]` of an area at equal distances in the order of rows; all of them, if there are fewer."""
    places = np.argwhere(area).astype(np.int64)
    if len(places) <= count:
        return places
    return places[np.round(np.linspace(0, len(places) - 1, count)).astype(np.int64)]


def area_means(maps: SaliencyMaps, of: AreaPixels, progress: Progress | None = None) -> NDArray[np.float32]:
    """The mean maps of both areas of one image, `[maps, 2, w, w]`."""
    kernels = maps.at(of.image, of.pixels, progress)
    parts = (kernels[:, : of.count], kernels[:, of.count :])
    return np.stack([part.mean(1, dtype=np.float64) for part in parts], axis=1).astype(np.float32)


def spread_values(maps: Sequence[str], images: Sequence[str], kernels: NDArray[np.float32]) -> pd.DataFrame:
    """The spread of each mean map `[M, I, 2, w, w]`: one row for each map, image and area."""
    import pandas as pd

    measured = spread_of(kernels)
    return pd.DataFrame(
        [
            {"map": name, "image": image, "area": area} | {m: float(v[i, j, k]) for m, v in measured.items()}
            for i, name in enumerate(maps)
            for j, image in enumerate(images)
            for k, area in enumerate(AREAS)
        ]
    )


@dataclass(frozen=True)
class Intervals:
    """Means over images with confidence intervals."""

    confidence: float
    resamples: int
    key: int

    def of_means(self, values: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
        """One row for each group and measure: mean, low, high, images."""
        import pandas as pd

        rows = []
        for key, group in values.groupby(list(by), sort=False):
            names = dict(zip(by, key, strict=True))
            rows += [
                names | self._interval(measure, group[measure].to_numpy(dtype=float), "mean") for measure in SPREAD
            ]
        return pd.DataFrame(rows)

    def of_differences(self, values: pd.DataFrame, pairs: Sequence[tuple[str, str]], by: Sequence[str]) -> pd.DataFrame:
        """For pairs of maps, the mean of the differences (second minus first) image by image, with its interval."""
        import pandas as pd

        rows = []
        for first, second in pairs:
            for key, group in values.groupby(list(by), sort=False):
                own = [group[group["map"] == name].set_index("image") for name in (first, second)]
                names = {"start": first, "end": second} | dict(zip(by, key, strict=True))
                for measure in SPREAD:
                    difference = (own[1][measure] - own[0][measure]).to_numpy(dtype=float)
                    rows.append(names | self._interval(measure, difference, "difference"))
        return pd.DataFrame(rows)

    def _interval(self, measure: str, values: NDArray[np.float64], column: str) -> dict[str, float | str]:
        found = mean_interval(values, self.confidence, self.resamples, self.key)
        return {"measure": measure, column: found.mean, "low": found.low, "high": found.high, "images": found.count}
