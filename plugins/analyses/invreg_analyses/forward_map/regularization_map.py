"""Differences between a learned forward map and the operator by pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field

from invreg import Analyzer, CompletedRun, Findings, LearnsForwardMap, generator, stream_key
from invreg.text import number
from invreg_analyses.forward_map.forward_map import on_all
from invreg_analyses.shared.canny_edges import NO_EDGE, find_edges, smooth_areas
from invreg_analyses.shared.derivatives import Derivative, linearized
from invreg_analyses.shared.pictures import color_scale, show_image, show_signed, signed_limit
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import mean_interval, spread_choice
from invreg_analyses.shared.style import WIDTH, drawing, method_styles, new_figure, shortened
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray
    from torch import Tensor

_CONFIDENCE, _RESAMPLES = 0.95, 2000


class RegularizationMap(Analyzer):
    """Where learned forward maps react to a change of a single pixel, and the operator does not.

    With F the operator (A*A / ||A||² where measurements are not images), phi a learned forward map, x an image and e_p
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
    needs_operator = True

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
                maps[i, j] = self._map(label, net, test.images[index : index + 1].to(run.device), name, run)
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
            text=_sentence(places, run.seed),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {f"maps_{i + 1}": _draw(findings, i) for i in range(len(findings.tables["images"]))}

    def _map(self, label: str, net: Any, x: Tensor, name: str, run: CompletedRun) -> NDArray[np.float32]:
        """g at every pixel, `[H, W]`."""
        batch, key = max(run.batch_size // 2, 1), stream_key(run.seed, "regularization_map", "check", name)
        draws = generator(stream_key(run.seed, "regularization_map", name))
        total = torch.zeros(x.shape[-2:], dtype=torch.float64)
        with linearized(label, net, x, key, batch) as (x, network, operator):
            with torch.no_grad():
                like = torch.zeros_like(net.forward_map(x))[0]
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


def _sentence(places: pd.DataFrame, seed: int) -> str:
    """The mean of the maps, and the difference between smooth areas and edges, image by image, with its interval."""
    parts = []
    for label, own in places.groupby("method", sort=False):
        text = f"{number(float(own['all'].mean()), signed=True)} for {label}"
        difference = (own["smooth"] - own["edges"]).to_numpy(dtype=float)
        key = stream_key(seed, "regularization_map", "bootstrap", str(label))
        found = mean_interval(difference, _CONFIDENCE, _RESAMPLES, key)
        if np.isfinite(found.low):
            mean, low, high = (number(value, signed=True) for value in (found.mean, found.low, found.high))
            text += f" (smooth areas minus edges: {mean} [{low}, {high}])"
        parts.append(text)
    return f"The mean of ‖φ'(x) eₚ‖² − ‖F'(x) eₚ‖² is {', '.join(parts)}."


def _draw(findings: Findings, index: int) -> Figure:
    """One image, and for each network the map of pixel derivatives and the difference of the values."""
    arrays, tables = findings.arrays, findings.tables
    name = str(tables["images"]["image"].iloc[index])
    labels, styles = list(dict.fromkeys(tables["places"]["method"])), method_styles(tables["methods"])
    own = tables["places"][tables["places"]["image"] == name].set_index("method")
    limits = signed_limit(arrays["maps"]), signed_limit(arrays["differences"])
    height, width = arrays["truth"].shape[-2:]
    cell = WIDTH / max(3, len(labels) + 1)
    with drawing():
        figure = new_figure(
            cell * (len(labels) + 1),
            2 * cell * height / width + 1.0,
            f"{name}, and where learned forward maps depart from the operator. Above: ‖φ'(x) eₚ‖² − ‖F'(x) eₚ‖² at "
            "every pixel p, red where the network reacts more strongly to a change of that pixel than the operator "
            "does: there it regularizes. Below: φ(x) − F(x). The same scales for all images",
        )
        grid = figure.subplots(2, len(labels) + 1, squeeze=False)
        show_image(grid[0, 0], arrays["truth"][index])
        grid[0, 0].set_title(shortened(name, 24), loc="center")
        grid[1, 0].set_axis_off()
        drawn: list[AxesImage] = []
        for i, label in enumerate(labels):
            above, below = grid[:, i + 1]
            drawn = [
                show_signed(above, arrays["maps"][i, index][None], limits[0]),
                show_signed(below, arrays["differences"][i, index], limits[1]),
            ]
            above.set_title(shortened(label, 24), loc="center", color=styles[label].color)
            row = own.loc[label]
            above.set_xlabel(f"smooth {number(row['smooth'])}, edges {number(row['edges'])}", fontsize=8)
        titles = ("‖φ'(x) eₚ‖² − ‖F'(x) eₚ‖²", "φ(x) − F(x)")
        for place, (image, limit, title) in enumerate(zip(drawn, limits, titles, strict=True)):
            color_scale(grid[1, 0], image, limit, title, (0.62 - 0.4 * place, 0.07))
    return figure
