"""Which frequencies a learned forward map lets through, and which the operator does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field

from invreg import Analyzer, CompletedRun, Findings, LearnsForwardMap, generator, stream_key
from invreg.text import number
from invreg_analyses.forward_map.radial_transfer_figures import draw_transfer
from invreg_analyses.forward_map.rings import ring_edges, ring_image, ring_of
from invreg_analyses.shared.derivatives import Derivative, function_derivative, like_network, operator_derivative
from invreg_analyses.shared.evaluated import as_evaluated
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import mean_interval
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

_CONFIDENCE, _RESAMPLES = 0.95, 2000


class RadialTransfer(Analyzer):
    """The gain of learned forward maps and of the operator by frequency, linearised at test images.

    With F the operator (A*A / ||A||² where measurements are no images), phi a learned forward map and J either
    derivative at an image x, for directions h of unit norm in which all frequencies k with rho_1 <= |k| < rho_2 are
    equally strong and have random phases:

    - `gain` = (mean of ||J h||²)^(1/2), the radial transfer function;
    - `agreement` = mean of <phi'(x) h, F'(x) h> / (||phi'(x) h|| ||F'(x) h||): 1 where both do the same.

    For a convolution with periodic boundary, the gain is exactly the root mean square of its symbol over the ring.
    Where the operator damps and the network does not, the inverse does not amplify noise: the network regularizes.
    Frequencies are in cycles per pixel: 0.5 alternates along rows or columns, 0.707 is a checkerboard.

    Raises:
        InvregError: if no forward map or its operator can be differentiated.
    """

    requires = (LearnsForwardMap,)

    def __init__(
        self,
        images: Annotated[
            int,
            Field(
                ge=1,
                le=1000,
                description="number of test images at which the maps are linearised, spread evenly over all",
            ),
        ] = 8,
        rings: Annotated[
            int,
            Field(
                ge=2,
                le=200,
                description="number of rings of frequencies, of equal width; rings without a frequency are left out",
            ),
        ] = 14,
        directions: Annotated[
            int, Field(ge=1, le=1000, description="number of directions for each ring and image")
        ] = 2,
    ) -> None:
        self.images = images
        self.rings = rings
        self.directions = directions

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        nets, x = self.methods_of(run), run.images.test.images
        chosen = [(2 * i + 1) * len(x) // (2 * min(self.images, len(x))) for i in range(min(self.images, len(x)))]
        progress = Progress(run.events, "radial_transfer", "images", len(nets) * len(chosen))
        rows = []
        for label, net in nets.items():
            for index in chosen:
                name = str(run.images.test.names[index])
                with as_evaluated(net):
                    image = like_network(net, x[index : index + 1].to(run.device))
                    rows += [{"method": label, "image": name, **row} for row in self._at(label, net, image, name, run)]
                progress.advance()
        values = pd.DataFrame(rows)
        transfer = _means(values, run.seed)
        return Findings(
            tables={"transfer": transfer, "values": values, "methods": methods_table(run)},
            text=" ".join(_sentence(transfer[transfer["method"] == label]) for label in nets),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {"transfer": draw_transfer(findings)}

    def _at(self, label: str, net: Any, x: Tensor, name: str, run: CompletedRun) -> list[dict[str, float]]:
        """Gains at one image, a row for each ring."""
        batch, key = max(run.batch_size // 2, 1), stream_key(run.seed, "radial_transfer", "check", name)
        operator = operator_derivative(net.target_operator, x, key, batch=batch)
        network = function_derivative(f"the forward map of {label}", net.forward_map, x, batch=batch)
        rings, edges = ring_of(int(x.shape[-2]), int(x.shape[-1]), self.rings), ring_edges(self.rings)
        present = [ring for ring in range(self.rings) if (rings == ring).any()]
        # The same directions for all networks: what differs between them is not the draw.
        draws = {ring: generator(stream_key(run.seed, "radial_transfer", name, ring)) for ring in present}
        each, found = np.repeat(present, self.directions), []
        for start in range(0, len(each), batch):
            part = each[start : start + batch]
            hs = torch.cat([ring_image(rings, ring, int(x.shape[1]), draws[ring]) for ring in part]).to(x)
            found.append(_responses(network, operator, hs))
        own, other, product = np.concatenate(found, axis=1).reshape(3, len(present), self.directions)
        with np.errstate(invalid="ignore", divide="ignore"):
            agreement = product / np.sqrt(own * other)
        return [
            {
                "ring": ring,
                "frequency": float(edges[ring : ring + 2].mean()),
                "network": math.sqrt(own[i].mean()),
                "operator": math.sqrt(other[i].mean()),
                "agreement": float(np.mean(agreement[i])),
            }
            for i, ring in enumerate(present)
        ]


def _responses(network: Derivative, operator: Derivative, hs: Tensor) -> NDArray[np.float64]:
    """Squared norms of what both make of each h, and their products, `[3, K]`."""
    with torch.no_grad():
        own, other = (one.jvp(hs).flatten(1).double() for one in (network, operator))
    sums = [(one * two).sum(1) for one, two in ((own, own), (other, other), (own, other))]
    found: NDArray[np.float64] = torch.stack(sums).cpu().numpy()
    return found


def _means(values: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Means over the images with intervals, one row for each method, ring and map."""
    import pandas as pd

    rows = []
    for (method, ring), own in values.groupby(["method", "ring"], sort=False):
        for kind in ("network", "operator"):
            key = stream_key(seed, "radial_transfer", "bootstrap", str(ring), kind)
            found = mean_interval(own[kind].to_numpy(dtype=float), _CONFIDENCE, _RESAMPLES, key)
            rows.append(
                {
                    "method": method,
                    "map": kind,
                    "ring": ring,
                    "frequency": own["frequency"].iloc[0],
                    "gain": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "agreement": own["agreement"].mean(),
                }
            )
    return pd.DataFrame(rows)


def _sentence(transfer: pd.DataFrame) -> str:
    label = transfer["method"].iloc[0]
    network, operator = (transfer[transfer["map"] == kind] for kind in ("network", "operator"))
    last, first = network.iloc[-1], network.iloc[0]
    damped = operator.iloc[-1]["gain"]
    text = f"At the highest frequencies ({number(last['frequency'])} cycles per pixel), {label} has a gain of"
    text += f" {number(last['gain'])} and the operator one of {number(damped)};"
    text += f" at the lowest, {number(first['gain'])} and {number(operator.iloc[0]['gain'])}."
    apart = network["gain"].to_numpy() / np.maximum(operator["gain"].to_numpy(), 1e-12)
    where = np.flatnonzero((apart > 1.5) | (apart < 1 / 1.5))
    if len(where):
        text += f" They differ by more than a factor of 1.5 from {number(network['frequency'].iloc[where[0]])} cycles"
        text += " per pixel on." if len(where) == len(apart) - where[0] else " per pixel on, not everywhere above."
    return text
