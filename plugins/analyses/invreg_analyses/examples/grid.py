"""One test image through all methods of a study, at the lowest and the highest noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field

from invreg import (
    CompletedStudy,
    DataError,
    Findings,
    SpecError,
    StudyAnalyzer,
    StudyCell,
    as_pictures,
    did_you_mean,
)
from invreg.text import metric_title
from invreg_analyses.examples.figures import draw_grid
from invreg_analyses.shared.pictures import busiest_region, detail, gradient
from invreg_analyses.shared.study_choice import At, Choice, Choices, choose, image_metrics, methods_in, metrics_in
from invreg_analyses.shared.style import file_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

    _Picture = NDArray[np.float32]


class ExampleGrid(StudyAnalyzer):
    """Ground truth, data and the reconstructions of all methods for one test image, with its scores.

    One figure per operator at the lowest and at the highest noise level (or the only one), with a region enlarged and
    the errors on a common scale. The cell of each method is chosen as in `method_comparison`. A volume is shown by the
    slices through its middle.

    The truth comes from the data set of the spec, the data are measured again as the run did: with the same noise.

    Raises:
        SpecError: if `at` names a path or a value that the study does not have, or there is no such image.
        DataError: if the data set no longer has the images that the study was run with.

    Source: Arndt & Nickel 2024, figures 6 and 7.
    """

    takes_volumes = True

    def __init__(
        self,
        image: Annotated[
            str | None,
            Field(
                description="name of the test image; null: the one with most detail among the "
                "middle third of all, ordered by the mean of the first metric over all "
                "methods and cells that are shown"
            ),
        ] = None,
        at: At = None,
        zoom: Annotated[
            float, Field(gt=0.02, le=0.5, description="side of the enlarged region as a share of the image's")
        ] = 0.3,
    ) -> None:
        self.image = image
        self.at = at
        self.zoom = zoom

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        choices, metrics = choose(study, self.at), metrics_in(study)
        first = str(metrics["metric"].iloc[0])
        groups = [group for operator in choices.operators for group in _ends(choices, operator)]
        name = self._choose_image([entry for group in groups for entry in group], first)
        arrays: dict[str, Any] = {}
        scores: list[dict[str, Any]] = []
        grids: list[dict[str, Any]] = []
        for number, group in enumerate(groups):
            truth, data, own = _measured(group[0].cell, name)
            found = np.stack([_reconstruction(entry, name) for entry in group])
            arrays |= {f"grid_{number}_truth": _shown(truth), f"grid_{number}_reconstructions": as_pictures(found)}
            # A method that hands the data on shows them already, and differs from all others everywhere.
            real = [x_hat for x_hat in found if data is None or not np.array_equal(x_hat, data)]
            has_data = data is not None and len(real) == len(found)
            if data is not None and has_data:
                arrays[f"grid_{number}_data"] = _shown(data)
                scores.append({"grid": number, "method": "", **own})
            for entry in group:
                values = image_metrics(entry.cell, entry.method).loc[name].to_dict()
                scores.append({"grid": number, "method": entry.method, **values})
            region = self._region(np.stack(real or list(found)), truth)
            shown = {"grid": number, "operator": group[0].operator, "noise": group[0].noise, "has_data": has_data}
            grids.append(shown | dict(zip(("top", "left", "height", "width"), region, strict=True)))
        tables = {
            "grids": pd.DataFrame(grids),
            "scores": pd.DataFrame(scores),
            "methods": methods_in(study),
            "metrics": metrics,
        }
        third = f", with most detail in the middle third by the mean {metric_title(first)} of the methods"
        text = f"The test image {name}{third if self.image is None else ''}. {choices.in_words}".strip()
        return Findings({"image": name, "noise": choices.noise_title}, tables, arrays, text)

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        grids = findings.tables["grids"].to_dict("records")
        names = file_names([f"{grid['operator']} {grid['noise']}" for grid in grids])
        return {name: draw_grid(findings, int(grid["grid"])) for name, grid in zip(names, grids, strict=True)}

    def _choose_image(self, entries: list[Choice], metric: str) -> str:
        import pandas as pd

        columns = [image_metrics(entry.cell, entry.method)[metric] for entry in entries]
        values = pd.concat(columns, axis=1).replace([np.inf, -np.inf], np.nan).dropna(how="any", axis="columns")
        names = [str(name) for name in columns[0].index if all(name in column.index for column in columns)]
        if self.image is not None:
            if self.image not in names:
                raise SpecError(f"no test image {self.image!r}", where="image", hint=did_you_mean(self.image, names))
            return self.image
        if not names:
            raise DataError("the cells have no test image in common", where="data", expected="at least one")
        ranked = values.loc[names].mean(axis=1).sort_values(kind="stable")
        outside = (len(ranked) - 1) // 3
        middle = [str(name) for name in ranked.index[outside : len(ranked) - outside]]
        stack = entries[0].cell.images()
        images = stack.images[:, :, stack.images.shape[2] // 2] if stack.images.ndim == 5 else stack.images
        seen = dict(zip(stack.names, detail(images.numpy()), strict=True))
        return max(middle, key=lambda name: seen[name])

    def _region(self, reconstructions: _Picture, truth: _Picture) -> tuple[int, int, int, int]:
        """Where, among what has detail, the reconstructions differ most; a single one, from the truth."""
        height, width = (max(round(self.zoom * side), 1) for side in truth.shape[-2:])
        if truth.ndim == 4:  # of volumes, the slice in the middle of the depth
            middle = truth.shape[1] // 2
            reconstructions, truth = reconstructions[:, :, middle], truth[:, middle]
        center = reconstructions.mean(0) if len(reconstructions) > 1 else truth
        interest = ((reconstructions - center) ** 2).sum((0, 1)).astype(float)
        return busiest_region(interest, height, width, gradient(truth).sum(0))


def _measured(cell: StudyCell, name: str) -> tuple[_Picture, _Picture | None, dict[str, float]]:
    """The truth and the data `[C, H, W]` of an image, and the data's own scores; no data where they are not images.

    Raises:
        DataError: if the data set no longer has the images that the cell was run with.
    """
    index = cell.identity.test.index(name)
    x, z = cell.images([index]).images, cell.measurements([index])
    if z.shape != x.shape:
        return _array(x), None, {}
    scores = {given.name: float(cell.registry.build("metric", given)(z, x)[0]) for given in cell.spec.metrics}
    return _array(x), _array(z), scores


def _ends(choices: Choices, operator: str) -> list[list[Choice]]:
    """The entries of an operator at the lowest and at the highest noise level, once if they are the same."""
    entries = [entry for entry in choices.entries if entry.operator == operator]
    present = [noise for noise in choices.noises if any(entry.noise == noise for entry in entries)]
    ends = dict.fromkeys((present[0], present[-1])) if present else {}
    return [[entry for entry in entries if entry.noise == noise] for noise in ends]


def _reconstruction(entry: Choice, name: str) -> NDArray[np.float32]:
    index = entry.cell.identity.test.index(name)
    return _array(entry.cell.reconstructions(entry.method)[index : index + 1])


def _shown(image: _Picture) -> _Picture:
    return as_pictures(image[None])[0]


def _array(images: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = images[0].detach().to(torch.float32).cpu().numpy()
    return array
