"""The forward map that a network has learned, against the operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from invreg import (
    SSIM_WINDOW,
    Analyzer,
    CompletedRun,
    Findings,
    LearnsForwardMap,
    PulledBackOperator,
    UnknownOperator,
    mean_squared_error,
    structural_similarity,
)
from invreg.text import percent
from invreg_analyses.forward_map.figures import draw_accuracy, draw_forward_maps
from invreg_analyses.shared.pictures import busiest_region, roughness, with_content
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import spread_choice
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class ForwardMap(Analyzer):
    """The forward map that a network has learned, against the operator it approximates, on the test images.

    With F the operator (A*A / ||A||² where measurements are not images), phi the learned forward map, R the
    reconstruction and x the true images, for each image:

    - `mse` and `ssim` between phi(x) and F(x), and `relative` = ||phi(x) - F(x)|| / ||F(x)||;
    - `identity` = ||x - F(x)|| / ||F(x)||, the value of a network that has learned nothing about F;
    - `defect` = ||phi(R(z)) - z|| / ||z|| for the noisy data z: the distance of R from the inverse of phi, on images.

    Where nothing but measurements is known of F, the measurement z stands for F(x) everywhere, its noise included.

    The smaller `relative`, the more of the operator is in the network; training for reconstruction does not make it
    small on what cannot be reconstructed.

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
                "the largest to the smallest relative distance, without those that have next to no detail",
            ),
        ] = 3,
    ) -> None:
        self.count = count

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        nets = self.methods_of(run)
        learned, targets, tables = [], [], []
        x = run.images.test.images
        is_known = not isinstance(run.problem.operator, UnknownOperator)
        progress = Progress(run.events, "forward_map", "images", 2 * len(nets) * len(x))
        for label, net in nets.items():
            phi = on_all(net.forward_map, x, run.device, run.batch_size, progress)
            target = on_all(net.target_operator, x, run.device, run.batch_size) if is_known else run.measurements
            learned.append(phi)
            targets.append(target)
            own = accuracy(x, list(run.images.test.names), phi, target).assign(
                defect=_defect(run, label, net, progress)
            )
            own.insert(0, "method", label)
            tables.append(own)
        joined = pd.concat(tables, ignore_index=True)
        distances = joined.loc[joined["method"] == next(iter(nets)), "relative"].to_numpy(dtype=float)
        kept = with_content(x.numpy(), self.count)
        chosen = [kept[i] for i in spread_choice(-distances[kept], self.count)]
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
        target_name = "F(x)" if is_known else "z"
        return Findings(
            scalars={} if is_known else {"target": target_name},
            tables={"accuracy": joined, "images": images, "methods": methods_table(run)},
            arrays={name: array.to(torch.float32).numpy() for name, array in shown.items()},
            text=_sentence(joined, target_name),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        pictures = {f"picture_{i + 1}": draw_forward_maps(findings, i) for i in range(len(findings.tables["images"]))}
        return {"accuracy": draw_accuracy(findings), **pictures}


def _defect(run: CompletedRun, label: str, net: Any, progress: Progress) -> list[float]:
    """||phi(R(z)) - z|| / ||z|| of each image; NaN where z has no counterpart among the images."""
    z, operator = run.measurements, net.target_operator
    if isinstance(operator, PulledBackOperator):
        z = on_all(operator.pull_back, z, run.device, run.batch_size)
    again = on_all(net.forward_map, run.reconstructions[label], run.device, run.batch_size, progress)
    return relative(again, z) if again.shape == z.shape else [math.nan] * len(again)


def _sentence(accuracy: pd.DataFrame, target: str) -> str:
    means = accuracy.groupby("method", sort=False)[["relative", "identity"]].mean()
    away = ", ".join(f"{percent(row.relative)} for {row.Index}" for row in means.itertuples())
    return (
        f"The mean distance of φ(x) from {'F(x)' if target == 'F(x)' else 'the measurement z'}, relative to "
        f"‖{target}‖, is {away} "
        f"({percent(means['identity'].iloc[0])} for the identity)."
    )


def on_all(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    device: torch.device,
    batch_size: int,
    progress: Progress | None = None,
) -> Tensor:
    """The function on all images, batch by batch; on the CPU."""
    found = []
    with torch.no_grad():
        for batch in x.split(batch_size):
            found.append(function(batch.to(device)).cpu())
            if progress:
                progress.advance(len(batch))
    return torch.cat(found)


def accuracy(x: Tensor, names: Sequence[str], phi: Tensor, target: Tensor) -> pd.DataFrame:
    """Columns image, mse, ssim, relative and identity, see `ForwardMap`; `ssim` is NaN for images that are too small.

    Args:
        x: images, `[N, C, H, W]`.
        names: of the images.
        phi: phi(x).
        target: F(x).
    """
    import pandas as pd

    has_ssim = min(x.shape[-2:]) >= SSIM_WINDOW
    return pd.DataFrame(
        {
            "image": list(names),
            "mse": mean_squared_error(phi, target).tolist(),
            "ssim": structural_similarity(phi, target).tolist() if has_ssim else math.nan,
            "relative": relative(phi, target),
            "identity": relative(x, target),
        }
    )


def relative(given: Tensor, reference: Tensor) -> list[float]:
    """||given - reference|| / ||reference||, image by image."""
    difference = (given.double() - reference.double()).flatten(1).norm(dim=1)
    values: list[float] = (difference / reference.double().flatten(1).norm(dim=1)).tolist()
    return values
