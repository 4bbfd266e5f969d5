"""Where in an image a learned forward map departs from the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field

from invreg import Analyzer, CompletedRun, Findings, LearnsForwardMap, generator, stream_key
from invreg.text import number
from invreg_analyses.forward_map.measures import on_all
from invreg_analyses.forward_map.regularization_map_figures import draw_maps
from invreg_analyses.shared.canny_edges import NO_EDGE, find_edges, smooth_areas
from invreg_analyses.shared.derivatives import Derivative, function_derivative, like_network, operator_derivative
from invreg_analyses.shared.evaluated import as_evaluated
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import mean_interval, spread_choice
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

_CONFIDENCE, _RESAMPLES = 0.95, 2000


class RegularizationMap(Analyzer):
    """Where learned forward maps react to a change of a single pixel, and the operator does not.

    With F the operator (A*A / ||A||² where measurements are no images), phi a learned forward map, x an image and e_p
    the image that is one at the pixel p, of unit norm (for colour images, all channels alike):

        g(p) = ||phi'(x) e_p||² - ||F'(x) e_p||²,

    the difference that `local_ill_posedness` maximises, for single pixels. Positive values are where the network makes
    itself better posed than the operator is. Both norms are means over random signs v, as E (J* v)_p² = ||J e_p||²,
    each with a relative standard error of at most (2 / probes)^(1/2) at each pixel; the error of their difference is at
    most that share of their sum, and less as far as the maps agree, as the same v serve both.

    Beside it the difference of the values, phi(x) - F(x), and means of both over edges and smooth areas.

    Raises:
        InvregError: if no forward map or its operator can be differentiated.

    Source: the estimate of the diagonal, Bekas, Kokiopoulou & Saad 2007, Applied Numerical Mathematics 57, 1214-1229.
    """

    requires = (LearnsForwardMap,)

    def __init__(
        self,
        images: Annotated[
            int,
            Field(
                ge=1,
                le=1000,
                description="number of test images, spread evenly over ||phi(x) - F(x)|| of the first network",
            ),
        ] = 4,
        probes: Annotated[
            int, Field(ge=8, le=100_000, description="number of random signs for each image and map")
        ] = 128,
    ) -> None:
        self.images = images
        self.probes = probes

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        nets, test = self.methods_of(run), run.images.test
        values = {
            label: on_all(net.forward_map, test.images, run.device, run.batch_size)
            - on_all(net.target_operator, test.images, run.device, run.batch_size)
            for label, net in nets.items()
        }
        sizes = next(iter(values.values())).flatten(1).norm(dim=1).numpy()
        chosen = spread_choice(-sizes, self.images)
        progress = Progress(run.events, "regularization_map", "images", len(nets) * len(chosen))
        maps = np.zeros((len(nets), len(chosen), *test.images.shape[-2:]), dtype=np.float32)
        rows = []
        for i, (label, net) in enumerate(nets.items()):
            for j, index in enumerate(chosen):
                name = str(test.names[index])
                with as_evaluated(net):
                    x = like_network(net, test.images[index : index + 1].to(run.device))
                    maps[i, j] = self._map(label, net, x, name, run)
                rows.append({"method": label, "image": name, **_by_place(maps[i, j], test.images[index])})
                progress.advance()
        places = pd.DataFrame(rows)
        return Findings(
            tables={
                "places": places,
                "images": pd.DataFrame({"image": [str(test.names[index]) for index in chosen]}),
                "methods": methods_table(run),
            },
            arrays={
                "truth": test.images[chosen].to(torch.float32).numpy(),
                "maps": maps,
                "differences": torch.stack([own[chosen] for own in values.values()]).to(torch.float32).numpy(),
            },
            text=" ".join(_sentence(label, places[places["method"] == label], run.seed) for label in nets),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {f"maps_{i + 1}": draw_maps(findings, i) for i in range(len(findings.tables["images"]))}

    def _map(self, label: str, net: Any, x: Tensor, name: str, run: CompletedRun) -> NDArray[np.float32]:
        """g at every pixel, `[H, W]`."""
        batch, key = max(run.batch_size // 2, 1), stream_key(run.seed, "regularization_map", "check", name)
        operator = operator_derivative(net.target_operator, x, key, batch=batch)
        network = function_derivative(f"the forward map of {label}", net.forward_map, x, batch=batch)
        with torch.no_grad():
            like = torch.zeros_like(net.forward_map(x))[0]
        draws = generator(stream_key(run.seed, "regularization_map", name))
        total = torch.zeros(x.shape[-2:], dtype=torch.float64)
        for start in range(0, self.probes, batch):
            count = min(batch, self.probes - start)
            v = torch.randint(0, 2, (count, *like.shape), generator=draws, dtype=torch.int8).to(like) * 2 - 1
            total += _pixel_squares(network, v) - _pixel_squares(operator, v)
        return (total / self.probes).numpy().astype(np.float32)


def _pixel_squares(derivative: Derivative, v: Tensor) -> Tensor:
    """The sum of <J* v, e_p>² over all v, at every pixel p, `[H, W]`."""
    pulled = derivative.vjp(v).detach().double().cpu()
    return pulled.sum(1).square().sum(0) / pulled.shape[1]


def _by_place(g: NDArray[np.float32], image: Tensor) -> dict[str, float]:
    """Means of the map over edge pixels, over smooth areas and over all; NaN where there are none."""
    edges = find_edges(image)
    places = {"edges": edges != NO_EDGE, "smooth": smooth_areas(edges), "all": np.ones(g.shape, dtype=bool)}
    return {name: float(g[mask].mean()) if mask.any() else float("nan") for name, mask in places.items()}


def _sentence(label: str, places: pd.DataFrame, seed: int) -> str:
    told = [f"{number(float(places['all'].mean()), signed=True)} on average"]
    for place, words in (("smooth", "in smooth areas"), ("edges", "at edges")):
        if np.isfinite(places[place]).any():
            told.append(f"{number(float(places[place].mean()), signed=True)} {words}")
    text = (
        f"{label}: the squared norm of the derivative along single pixels, minus the operator's, is {', '.join(told)}."
    )
    difference = (places["smooth"] - places["edges"]).to_numpy(dtype=float)
    key = stream_key(seed, "regularization_map", "bootstrap", label)
    found = mean_interval(difference, _CONFIDENCE, _RESAMPLES, key)
    if np.isfinite(found.low):
        decided = found.low > 0 or found.high < 0
        text += f" The difference, {number(found.mean)} [{number(found.low)}, {number(found.high)}], is"
        text += " decided by these images." if decided else " not decided by these images."
    return text
