"""What a network believes the forward operator to be, against what it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field

from invreg import Analyzer, CompletedRun, Findings, LearnsForwardMap, NormalOperator
from invreg.text import number
from invreg_analyses.forward_map.figures import draw_accuracy, draw_forward_maps
from invreg_analyses.forward_map.measures import accuracy, on_all, relative
from invreg_analyses.shared.pictures import busiest_region, roughness
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import spread_choice
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class ForwardMap(Analyzer):
    """The forward map that a network has learned, against the operator it stands for, on the test images.

    With F the operator (A*A / ||A||² where measurements are no images), phi the learned forward map, R the
    reconstruction and x the true images, for each image:

    - `mse` and `ssim` between phi(x) and F(x), and `relative` = ||phi(x) - F(x)|| / ||F(x)||;
    - `identity` = ||x - F(x)|| / ||F(x)||, what a network that has learned nothing about F would have;
    - `defect` = ||phi(R(z)) - z|| / ||z|| for the noisy data z: how far R is from the inverse of phi, on images.

    The smaller `relative` is, the more of the operator is in the network; where training teaches reconstruction, it is
    not asked to be small on what cannot be reconstructed anyway.

    Source: Arndt & Nickel 2024, section 4.2 and the local approximation property (2.4).
    """

    requires = (LearnsForwardMap,)

    def __init__(
        self,
        count: Annotated[
            int,
            Field(
                ge=1,
                le=24,
                description="number of images whose pictures are shown, at most, spread evenly from "
                "the largest to the smallest relative distance",
            ),
        ] = 3,
    ) -> None:
        self.count = count

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        nets = self.methods_of(run)
        learned, targets, tables = [], [], []
        x = run.images.test.images
        progress = Progress(run.events, "forward_map", "images", 2 * len(nets) * len(x))
        for label, net in nets.items():
            phi = on_all(net.forward_map, x, run.device, run.batch_size, progress)
            target = on_all(net.target_operator, x, run.device, run.batch_size)
            learned.append(phi)
            targets.append(target)
            own = accuracy(x, list(run.images.test.names), phi, target).assign(
                defect=_defect(run, label, net, progress)
            )
            own.insert(0, "method", label)
            tables.append(own)
        joined = pd.concat(tables, ignore_index=True)
        distances = joined.loc[joined["method"] == next(iter(nets)), "relative"].to_numpy(dtype=float)
        chosen = spread_choice(-distances, self.count)
        shown = {
            "truth": run.images.test.images[chosen],
            "learned": torch.stack([phi[chosen] for phi in learned]),
            "target": torch.stack([target[chosen] for target in targets]),
        }
        size = [max(round(0.3 * side), 1) for side in run.images.test.images.shape[-2:]]
        # Where the difference has detail: a constant offset needs no enlargement.
        interest = roughness((shown["learned"] - shown["target"]).double().numpy()).sum((0, 2))
        images = pd.DataFrame(
            [busiest_region(values, size[0], size[1]) for values in interest],
            columns=["top", "left", "height", "width"],
        )
        images.insert(0, "image", [str(run.images.test.names[index]) for index in chosen])
        return Findings(
            tables={"accuracy": joined, "images": images, "methods": methods_table(run)},
            arrays={name: array.to(torch.float32).numpy() for name, array in shown.items()},
            text=" ".join(_sentence(joined[joined["method"] == label]) for label in nets),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        figures = {"accuracy": draw_accuracy(findings)}
        for i in range(len(findings.tables["images"])):
            figures[f"picture_{i + 1}"] = draw_forward_maps(findings, i)
        return figures


def _defect(run: CompletedRun, label: str, net: Any, progress: Progress) -> list[float]:
    """||phi(R(z)) - z|| / ||z|| of each image; NaN where z has no counterpart among the images."""
    z, operator = run.measurements, net.target_operator
    if isinstance(operator, NormalOperator):
        z = on_all(operator.pull_back, z, run.device, run.batch_size)
    again = on_all(net.forward_map, run.reconstructions[label], run.device, run.batch_size, progress)
    return relative(again, z) if again.shape == z.shape else [math.nan] * len(again)


def _sentence(table: pd.DataFrame) -> str:
    label, means = table["method"].iloc[0], table[["mse", "ssim", "relative", "identity", "defect"]].mean()
    text = f"The forward map of {label} is {_percent(means['relative'])} away from the operator on average"
    text += f" (the identity: {_percent(means['identity'])}), with a mean squared error of {number(means['mse'])}"
    if math.isfinite(means["ssim"]):
        text += f" and an SSIM of {number(means['ssim'])}"
    if math.isfinite(means["defect"]):
        text += f"; mapping reconstructions forward again misses the data by {_percent(means['defect'])}"
    return text + "."


def _percent(share: float) -> str:
    return f"{number(100 * share)} %"
