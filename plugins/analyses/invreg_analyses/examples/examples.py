"""Test images with their data, the reconstructions of each method and their errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field

from invreg import Analyzer, CompletedRun, Findings, LinearOperator, as_pictures
from invreg.text import metric_title, plural
from invreg_analyses.examples.figures import draw_example
from invreg_analyses.shared.pictures import MIDDLE_SLICES, busiest_region, gradient, with_content
from invreg_analyses.shared.statistics import spread_choice
from invreg_analyses.shared.tables import methods_table, metrics_table, values_by_image

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor


class Examples(Analyzer):
    """Test images with data and reconstructions, the same region enlarged for all, and the errors on one scale.

    The images are spread evenly from the worst to the best of one method (the best on average by the first metric):
    with a count of 4, the worst, two between, and the best. A single image is the one in the middle. Images on which
    next to nothing is to be seen, with less than half of the median detail, are left out while there are others.
    The enlarged region of each image is where the reconstructions differ most among each other, among those with
    detail; where a single method is shown, where its error is largest.

    Truth, data and reconstructions are shown on the fixed range [0, 1]. Data of another shape than the images (a
    sinogram) are shown as they are, on their own range, with the adjoint A* z, scaled to its own range, below them;
    where there is no adjoint, they are left out. If their channels are others than those of the images (real and
    imaginary parts), the root of the sum of their squares is shown.

    A volume is shown by the slices through its middle, see [`as_pictures`][invreg.slices.as_pictures]; the
    enlarged region is one of the slice in the middle of its depth.
    """

    takes_volumes = True

    def __init__(
        self,
        count: Annotated[int, Field(ge=1, le=24, description="number of images, at most")] = 4,
        zoom: Annotated[
            float, Field(gt=0.02, le=0.5, description="side of the enlarged region as a share of the image's")
        ] = 0.3,
    ) -> None:
        self.count = count
        self.zoom = zoom

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        metric = next(iter(run.metric_components))
        best, goodness = _best_method(run, metric)
        kept = with_content(_middle(run.images.test.images).numpy(), self.count)
        chosen = [kept[i] for i in spread_choice(goodness[kept], self.count)]
        truth = run.images.test.images[chosen]
        found = [x_hat[chosen] for x_hat in run.reconstructions.values()]
        data, kind = _data(run, chosen)
        arrays = {"truth": _pictures(truth), "reconstructions": np.stack([_pictures(x_hat) for x_hat in found])}
        if data is not None:
            arrays["data"] = _pictures(data)
        if kind == "adjoint" and run.measurements.ndim == truth.ndim:
            arrays["measurements"] = _pictures(_stretched(run.measurements[chosen], truth.shape[1]))
        names = [str(run.images.test.names[index]) for index in chosen]
        seen, compared = _middle(truth), torch.stack([_middle(x_hat) for x_hat in _compared(run, chosen)])
        regions = [self._region(seen[i].numpy(), compared[:, i].numpy()) for i in range(len(chosen))]
        images = pd.DataFrame(regions, columns=["top", "left", "height", "width"])
        images.insert(0, "image", names)
        return Findings(
            scalars={"chosen_by": best, "metric": metric, "data": kind},
            tables={
                "images": images,
                "scores": _scores(run, chosen, data if kind == "data" else None),
                "methods": methods_table(run),
                "metrics": metrics_table(run),
            },
            arrays=arrays,
            text=_sentence(best, metric, len(chosen), len(kept), len(goodness), is_volume=truth.ndim == 5),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {f"example_{i + 1}": draw_example(findings, i) for i in range(len(findings.tables["images"]))}

    def _region(self, truth: NDArray[Any], reconstructions: NDArray[Any]) -> tuple[int, int, int, int]:
        size = [max(round(self.zoom * side), 1) for side in truth.shape[-2:]]
        # The variance over the methods; of a single one, the squared error.
        center = reconstructions.mean(0) if len(reconstructions) > 1 else truth
        interest = ((reconstructions - center) ** 2).sum((0, 1)).astype(float)
        return busiest_region(interest, size[0], size[1], gradient(truth).sum(0))


def _best_method(run: CompletedRun, metric: str) -> tuple[str, NDArray[Any]]:
    """The method that is best on average, and how good it is on each image (larger is better)."""
    sign = 1.0 if run.metric_components[metric].higher_is_better else -1.0
    table = sign * values_by_image(run, metric)
    means = table.replace([np.inf, -np.inf], np.nan).mean()
    best = str(means.idxmax()) if means.notna().any() else next(iter(run.methods))
    return best, table[best].to_numpy(dtype=float)


def _compared(run: CompletedRun, chosen: list[int]) -> Tensor:
    """The reconstructions without those that only hand the data on, which differ from all others everywhere."""
    z, everything = run.measurements[chosen], [x_hat[chosen] for x_hat in run.reconstructions.values()]
    real = [x_hat for x_hat in everything if not torch.equal(x_hat, z)]
    return torch.stack(real or everything)


def _data(run: CompletedRun, chosen: list[int]) -> tuple[Tensor | None, str]:
    """The data as an image, and its kind: "data", "adjoint" or "none"."""
    z = run.measurements[chosen]
    shape = run.images.test.images[chosen].shape
    if z.shape == shape:
        # A method that hands the data on shows them already.
        shown = any(torch.equal(x_hat[chosen], z) for x_hat in run.reconstructions.values())
        return (None, "none") if shown else (z, "data")
    operator = run.problem.operator
    if isinstance(operator, LinearOperator):
        with torch.no_grad():
            back = operator.adjoint(z.to(run.device)).cpu()
        if back.shape == shape and torch.isfinite(back).all():
            axes = tuple(range(1, back.ndim))
            low, high = back.amin(axes, keepdim=True), back.amax(axes, keepdim=True)
            return (back - low) / (high - low).clamp_min(1e-12), "adjoint"
    return None, "none"


def _pictures(images: Tensor) -> NDArray[Any]:
    return as_pictures(images.to(torch.float32).numpy())


def _middle(images: Tensor) -> Tensor:
    """Images `[N, C, H, W]` as they are; of volumes `[N, C, D, H, W]` the slices in the middle of the depth."""
    return images if images.ndim == 4 else images[:, :, images.shape[2] // 2]


def _stretched(z: Tensor, channels: int) -> Tensor:
    """Measurements `[N, ...]` with all but the largest and smallest half per cent of their values within [0, 1]."""
    pictures = z if z.shape[1] == channels else z.square().sum(1, keepdim=True).sqrt()
    values = pictures.flatten(1).sort(dim=1).values
    margin = values.shape[1] // 200
    column = -1, *[1] * (z.ndim - 1)
    low, high = (values[:, i].view(column) for i in (margin, values.shape[1] - 1 - margin))
    return ((pictures - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)


def _scores(run: CompletedRun, chosen: list[int], data: Tensor | None) -> pd.DataFrame:
    """One row per method and image; `method` is empty for the data themselves."""
    import pandas as pd

    names = [str(run.images.test.names[index]) for index in chosen]
    metrics = list(run.metric_components)
    table = run.metrics.loc[run.metrics["image"].isin(names), ["method", "image", *metrics]]
    if data is None:
        return table.reset_index(drop=True)
    truth = run.images.test.images[chosen]
    own = {name: metric(data, truth).tolist() for name, metric in run.metric_components.items()}
    return pd.concat([pd.DataFrame({"method": "", "image": names, **own}), table], ignore_index=True)


def _sentence(best: str, metric: str, count: int, kept: int, total: int, *, is_volume: bool) -> str:
    how = "the median" if count == 1 < kept else "from the worst to the best"
    text = f"{count} of {plural(total, 'test image')}, {how} by the {metric_title(metric)} of {best}."
    if kept < total:
        text += f" Left out: {total - kept} with next to no detail."
    return f"{text} {MIDDLE_SLICES}" if is_volume else text
