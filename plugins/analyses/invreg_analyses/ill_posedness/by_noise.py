"""Directions of strongest regularization of the networks of a study beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import CompletedStudy, DataError, Findings, StudyAnalyzer, choose_device, spec_of
from invreg_analyses.ill_posedness.by_noise_figures import draw_series_derivatives, draw_series_pictures, series_seen
from invreg_analyses.ill_posedness.images import choose_images
from invreg_analyses.ill_posedness.local_ill_posedness import (
    Images,
    Mask,
    MaxProducts,
    Tolerance,
    arrays_of,
    check_images,
    tables_of,
)
from invreg_analyses.ill_posedness.masks import SUBJECT, check_part
from invreg_analyses.ill_posedness.search import Settings, investigate
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.study_choice import At, Choice, methods_in
from invreg_analyses.shared.study_series import Series, find_series
from invreg_analyses.shared.style import file_names

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


class IllPosednessByNoise(StudyAnalyzer):
    """The pictures of `local_ill_posedness` over noise levels, and over L, with the operator first.

    For every operator and every method with a learned forward map there is a series over the noise levels, at the last
    value of `lipschitz` (and of whatever else is varied), and one over the values of `lipschitz`, at the last noise
    level. Images, masks and the scale of colours are the same throughout a series.

    What the analysis `local_ill_posedness` has found in a cell with the same `images` and `mask` is used; for other
    cells the first direction is computed.

    Args:
        images: names of test images, or a number, see `local_ill_posedness`.
        mask: the part of each image.
        tolerance: residual of each direction, relative to `difference` + ||F'(x)||².
        max_products: products for each spectrum, about.
        at: values of other varied paths, as the study's table shows them; of any other path the last value is taken.

    Raises:
        SpecError: if neither the noise nor `lipschitz` is varied, no method has learned a forward map, or there is no
            such image.
        DataError: if the data set no longer has the images of the study, or cells were analysed on different ones.

    Source: Arndt & Nickel 2024, section 4.3.1, figures 11 and 12.
    """

    def __init__(
        self,
        images: Images = 3,
        mask: Mask = SUBJECT,
        tolerance: Tolerance = 1e-3,
        max_products: MaxProducts = 2000,
        at: At = None,
    ) -> None:
        check_images(images)
        check_part(mask)
        self.images = images
        self.mask = mask
        self.tolerance = tolerance
        self.max_products = max_products
        self.at = at

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        series = find_series(study, self.at)
        networks = {key for one in series for key in one.keys}
        cells = _Cells(self, Progress(study.events, "ill_posedness_by_noise", "networks", len(networks)))
        values: list[pd.DataFrame] = []
        left_out: list[pd.DataFrame] = []
        arrays: dict[str, NDArray[Any]] = {}
        for number, one in enumerate(series):
            found = [cells.of(entry) for entry in one.entries]
            _check_same_images(found, one)
            for position, (name, own) in enumerate(zip(one.names, found, strict=True)):
                key = {"series": number, "position": position, "name": name}
                values.append(own.directions.assign(**key))
                left_out.append(own.left_out.assign(**key))
            first = found[0]
            arrays |= {
                f"series_{number}_images": first.images,
                f"series_{number}_masks": first.masks,
                f"series_{number}_directions": np.stack([first.operator, *(own.network for own in found)]),
            }
        described = [
            {"series": i, "operator": one.operator, "method": one.method, "over": one.over, "held": one.held}
            for i, one in enumerate(series)
        ]
        tables = {
            "series": pd.DataFrame(described),
            "names": pd.DataFrame([{"series": i, "name": name} for i, one in enumerate(series) for name in one.names]),
            "directions": pd.concat(values, ignore_index=True),
            "operator": pd.concat(
                [cells.of(one.entries[0]).smallest.assign(series=i) for i, one in enumerate(series)], ignore_index=True
            ),
            "images": pd.DataFrame(
                [
                    {"series": i, "image": name}
                    for i, one in enumerate(series)
                    for name in cells.of(one.entries[0]).names
                ]
            ),
            "left_out": pd.concat(left_out, ignore_index=True),
            "methods": methods_in(study),
        }
        text = " ".join(
            f"{_head(row)}: {series_seen(tables, int(row.series))}" for row in tables["series"].itertuples()
        )
        return Findings({"tolerance": self.tolerance}, tables, arrays, text)

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        series = findings.tables["series"]
        stems = file_names([f"{row.operator} {row.method} {row.over}" for row in series.itertuples()])
        figures: dict[str, Figure] = {}
        for number, stem in enumerate(stems):
            figures[f"{stem}_derivatives"] = draw_series_derivatives(findings, number)
            for i in range(len(findings.arrays[f"series_{number}_images"])):
                figures[f"{stem}_picture_{i + 1}"] = draw_series_pictures(findings, number, i)
        return figures


class _Found:
    """The first directions of one network, and of the operator alone.

    Args:
        tables: those of `local_ill_posedness`.
        arrays: likewise.
        method: the network; its directions are taken from those of all networks of the cell.
    """

    def __init__(self, tables: Mapping[str, pd.DataFrame], arrays: Mapping[str, NDArray[Any]], method: str) -> None:
        directions, smallest, left_out = tables["directions"], tables["operator"], tables["left_out"]
        labels = list(tables["networks"]["method"])
        self.directions = directions[(directions["method"] == method) & (directions["rank"] == 1)]
        self.smallest = smallest[(smallest["rank"] == 1) & (smallest["map"] == "")]
        self.left_out = left_out[left_out["method"].isin([method, ""])]
        self.names = [str(name) for name in tables["images"]["image"]]
        self.images, self.masks = arrays["images"], arrays["masks"]
        self.operator: NDArray[np.float32] = arrays["operator_directions"]
        missing = np.full_like(self.operator, np.nan)
        self.network: NDArray[np.float32] = arrays["directions"][labels.index(method)] if method in labels else missing


class _Cells:
    """Reads what cells have found, or computes it; each network once, though it may be in several series."""

    def __init__(self, settings: IllPosednessByNoise, progress: Progress) -> None:
        self._settings, self._progress = settings, progress
        self._kept: dict[tuple[str, str], _Found] = {}

    def of(self, entry: Choice) -> _Found:
        key = (str(entry.cell.folder), entry.method)
        if key not in self._kept:
            self._kept[key] = self._saved(entry) or self._computed(entry)
            self._progress.advance()
        return self._kept[key]

    def _saved(self, entry: Choice) -> _Found | None:
        for analysis in entry.cell.analyses("local_ill_posedness"):
            if self._suits(analysis.analyzer):
                return _Found(analysis.findings.tables, analysis.findings.arrays, entry.method)
        return None

    def _suits(self, built: Mapping[str, Any]) -> bool:
        own, mine = self._settings, spec_of(self._settings)
        same = all(built.get(name) == mine[name] for name in ("images", "mask"))
        return same and float(built.get("tolerance", 1.0)) <= own.tolerance

    def _computed(self, entry: Choice) -> _Found:
        own, cell = self._settings, entry.cell
        stack = cell.images()
        images = choose_images(own.images, own.mask, stack.names, stack.images)
        settings = Settings(1, own.tolerance, own.max_products, 0, cell.spec.seed)
        net = cell.result.methods[entry.method].reconstructor
        found = investigate({entry.method: net}, images, settings, choose_device(cell.device))
        return _Found(tables_of(found, images, [entry.method]), arrays_of(found, images, [entry.method]), entry.method)


def _check_same_images(found: list[_Found], series: Series) -> None:
    first = found[0]
    for own, entry in zip(found, series.entries, strict=True):
        if own.names != first.names or not (
            np.array_equal(own.images, first.images) and np.array_equal(own.masks, first.masks)
        ):
            raise DataError(
                "other images or masks than in the first cell of the series",
                where=str(entry.cell.folder),
                expected="the same for all noise levels and L",
                hint="give `images` by name, and the same `mask`",
            )


def _head(row: Any) -> str:
    held = f" at {row.held}" if row.held else ""
    over = "noise levels" if row.over == "noise" else "Lipschitz parameters"
    return f"{row.method} under {row.operator}{held}, over {over}"
