"""Directions of strongest regularization of the networks of a study, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from invreg import CompletedStudy, DataError, Events, Findings, StudyAnalyzer, choose_device, spec_of
from invreg_analyses.ill_posedness.figures import draw_series_derivatives, draw_series_pictures
from invreg_analyses.ill_posedness.images import SUBJECT
from invreg_analyses.ill_posedness.local_ill_posedness import Images, LocalIllPosedness, Mask, MaxProducts, Tolerance
from invreg_analyses.ill_posedness.text import series_seen
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.study_choice import At, Choice
from invreg_analyses.shared.study_series import Series, draw_series, find_series, join_series, networks_in, once

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class IllPosednessByNoise(StudyAnalyzer):
    """The pictures of `local_ill_posedness` over noise levels, and over L, with the operator first.

    For every operator and every method with a learned forward map there is a series over the noise levels, at the last
    value of `lipschitz` (and of any other varied path), and one over the values of `lipschitz`, at the last noise
    level. Images, masks and the scale of colours are the same throughout a series.

    The findings of `local_ill_posedness` in a cell with the same `images` and `mask` are used; for other cells the
    first direction is computed.

    Raises:
        SpecError: if neither the noise nor `lipschitz` is varied, no method has learned a forward map, or there is no
            such image.
        DataError: if the data set no longer has the images of the study, or cells were analysed on different ones.

    Source: Arndt & Nickel 2024, section 4.3.1, figures 11 and 12.
    """

    needs_operator = True

    def __init__(
        self,
        images: Images = 3,
        mask: Mask = SUBJECT,
        tolerance: Tolerance = 1e-3,
        max_products: MaxProducts = 2000,
        at: At = None,
    ) -> None:
        self.images = images
        self.mask = mask
        self.tolerance = tolerance
        self.max_products = max_products
        self.at = at

    def analyze(self, study: CompletedStudy) -> Findings:
        series = find_series(study, self.at)
        progress = Progress(study.events, "ill_posedness_by_noise", "networks", len(networks_in(series)))

        @once
        def find(entry: Choice) -> Findings:
            found = self._saved(entry) or self._computed(entry)
            progress.advance()
            return _first_directions(found, entry.method)

        found = [_side_by_side(one, [find(entry) for entry in one.entries]) for one in series]
        return join_series(study, series, found, {"tolerance": self.tolerance})

    def _saved(self, entry: Choice) -> Findings | None:
        """The findings in the cell for the same images and mask, if they are at least as accurate."""
        own = spec_of(self, entry.cell.registry)
        for folder in entry.cell.analyses("local_ill_posedness"):
            made = folder.analyzer
            same = made and all(made[name] == own[name] for name in ("images", "mask"))
            if same and made["tolerance"] <= self.tolerance:
                return folder.findings
        return None

    def _computed(self, entry: Choice) -> Findings:
        cell, one = entry.cell, LocalIllPosedness(self.images, self.mask, 1, self.tolerance, self.max_products, 0)
        nets = {entry.method: cell.result.methods[entry.method].reconstructor}
        return one.search(nets, cell.images(), cell.spec.seed, choose_device(cell.device), Events())

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return draw_series(findings, _draw_one)


def _draw_one(findings: Findings) -> dict[str, Figure]:
    figures = {"derivatives": draw_series_derivatives(findings)}
    for index in range(len(findings.arrays["images"])):
        figures[f"picture_{index + 1}"] = draw_series_pictures(findings, index)
    return figures


def _first_directions(found: Findings, method: str) -> Findings:
    """The first direction of one network at each image, and that of the operator alone."""
    tables, arrays = found.tables, found.arrays
    directions, operator, left_out = tables["directions"], tables["operator"], tables["left_out"]
    labels = list(tables["networks"]["method"])
    missing = np.full_like(arrays["operator_directions"], np.nan)
    network = arrays["directions"][labels.index(method)] if method in labels else missing
    return Findings(
        tables={
            "directions": directions[(directions["method"] == method) & (directions["rank"] == 1)],
            "operator": operator[(operator["rank"] == 1) & (operator["map"] == "")],
            "images": tables["images"][["image"]],
            "left_out": left_out[left_out["method"].isin([method, ""])],
        },
        arrays={name: arrays[name] for name in ("images", "masks", "operator_directions")} | {"network": network},
    )


def _side_by_side(series: Series, found: Sequence[Findings]) -> Findings:
    """The networks of a series; the first cell has the images and the operator's own directions.

    Raises:
        DataError: if cells have different images or masks.
    """
    import pandas as pd

    first = found[0]
    for own, entry in zip(found, series.entries, strict=True):
        same_names = list(own.tables["images"]["image"]) == list(first.tables["images"]["image"])
        if not (same_names and all(np.array_equal(own.arrays[key], first.arrays[key]) for key in ("images", "masks"))):
            raise DataError(
                "other images or masks than in the first cell of the series",
                where=str(entry.cell.folder),
                expected="the same for all noise levels and L",
                hint="give `images` by name, and the same `mask`",
            )
    tables = {
        key: pd.concat(
            [own.tables[key].assign(position=i, name=series.names[i]) for i, own in enumerate(found)], ignore_index=True
        )
        for key in ("directions", "left_out")
    }
    tables |= {
        "names": pd.DataFrame({"name": series.names}),
        "operator": first.tables["operator"],
        "images": first.tables["images"],
    }
    arrays = {key: first.arrays[key] for key in ("images", "masks")}
    arrays["directions"] = np.stack([first.arrays["operator_directions"], *(own.arrays["network"] for own in found)])
    return Findings({}, tables, arrays, series_seen(tables["directions"]))
