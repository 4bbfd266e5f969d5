"""Gains of learned forward maps and of the operator by frequency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field

from invreg import Analyzer, CompletedRun, Findings, LearnsForwardMap, generator, stream_key
from invreg.text import number
from invreg_analyses.shared.derivatives import Derivative, linearized
from invreg_analyses.shared.panels import log_axis
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import mean_interval
from invreg_analyses.shared.style import INK, WIDTH, drawing, dress, method_styles, new_figure
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

_CONFIDENCE, _RESAMPLES = 0.95, 2000
#: Frequencies in cycles per pixel, up to that of a checkerboard.
HIGHEST = math.sqrt(0.5)
#: Gains below are not shown.
_LOWEST = 1e-3


class RadialTransfer(Analyzer):
    """The gain of learned forward maps and of the operator by frequency, linearised at test images.

    With F the operator (A*A / ||A||² where measurements are not images), phi a learned forward map and J either
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
    needs_operator = True

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
                found = self._at(label, net, x[index : index + 1].to(run.device), name, run)
                rows += [{"method": label, "image": name, **row} for row in found]
                progress.advance()
        values = pd.DataFrame(rows)
        transfer = _means(values, run.seed)
        return Findings(
            tables={"transfer": transfer, "values": values, "methods": methods_table(run)},
            text=_sentence(transfer),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {"transfer": _draw(findings)}

    def _at(self, label: str, net: Any, x: Tensor, name: str, run: CompletedRun) -> list[dict[str, float]]:
        """Gains at one image, a row for each ring."""
        batch, key = max(run.batch_size // 2, 1), stream_key(run.seed, "radial_transfer", "check", name)
        rings, edges = ring_of(int(x.shape[-2]), int(x.shape[-1]), self.rings), ring_edges(self.rings)
        present = [ring for ring in range(self.rings) if (rings == ring).any()]
        # The same directions for all networks: what differs between them is not the draw.
        draws = {ring: generator(stream_key(run.seed, "radial_transfer", name, ring)) for ring in present}
        each, found = np.repeat(present, self.directions), []
        with linearized(label, net, x, key, batch) as (x, network, operator):
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
    """||phi'(x) h||², ||F'(x) h||² and <phi'(x) h, F'(x) h> of each h, `[3, K]`."""
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
            keys = {"method": method, "map": kind, "ring": ring, "frequency": own["frequency"].iloc[0]}
            rows.append({**keys, **found.row("gain"), "agreement": own["agreement"].mean()})
    return pd.DataFrame(rows, columns=["method", "map", "ring", "frequency", "gain", "low", "high", "agreement"])


def _sentence(transfer: pd.DataFrame) -> str:
    highest = transfer[transfer["ring"] == transfer["ring"].max()]
    own = highest[highest["map"] == "network"]
    gains = ", ".join(f"{number(row.gain)} for {row.method}" for row in own.itertuples())
    return (
        f"At the highest frequencies ({number(own['frequency'].iloc[0])} cycles per pixel) the gain is {gains} and "
        f"{number(highest.loc[highest['map'] == 'operator', 'gain'].iloc[0])} for the operator."
    )


def _draw(findings: Findings) -> Figure:
    """Gains by frequency on a logarithmic scale, and how far network and operator respond alike."""
    table, styles = findings.tables["transfer"], method_styles(findings.tables["methods"])
    labels = list(dict.fromkeys(table["method"]))
    with drawing():
        figure = new_figure(
            WIDTH,
            3.5,
            "How strongly the derivatives of the operator and of each learned forward map respond to a change of the "
            "image, by its frequency (0.5: alternating columns, 0.707: checkerboard), mean over the images with 95 % "
            "intervals. Where the operator's line falls and the network's does not, the network regularizes. Right: "
            f"whether both respond with the same image (1) or with unrelated ones (0). Seen here: {findings.text}",
        )
        gains, alike = figure.subplots(1, 2, width_ratios=(3, 2))
        _line(gains, table[(table["method"] == labels[0]) & (table["map"] == "operator")], INK, "s", "operator F")
        for label in labels:
            own = table[(table["method"] == label) & (table["map"] == "network")]
            style = styles[label]
            _line(gains, own, style.color, style.marker, f"{label}, φ")
            alike.plot(own["frequency"], own["agreement"], color=style.color, marker=style.marker, markersize=4)
        for axes, title in ((gains, "gain ‖J h‖ / ‖h‖"), (alike, "agreement of φ and F")):
            dress(axes, grid="y")
            axes.set_xlabel("frequency, cycles per pixel")
            axes.set_ylabel(title)
            axes.set_xlim(0, HIGHEST)
            axes.axvline(0.5, color=INK, linewidth=0.6, linestyle=":")
        log_axis(gains, "y")
        if float(table["low"].min()) < _LOWEST:
            gains.set_ylim(bottom=_LOWEST)
        alike.set_ylim(min(0.0, float(table["agreement"].min()) - 0.05), 1.03)
        figure.legend(*gains.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(labels) + 1, 5))
    return figure


def _line(axes: Axes, rows: pd.DataFrame, color: str, marker: str, label: str) -> None:
    axes.plot(rows["frequency"], rows["gain"], color=color, marker=marker, markersize=4, label=label)
    axes.fill_between(rows["frequency"], rows["low"], rows["high"], color=color, alpha=0.2, linewidth=0)


def ring_edges(count: int) -> NDArray[np.float64]:
    """The borders of `count` rings of equal width, from 0 to the frequency of a checkerboard, in cycles per pixel."""
    return np.linspace(0, HIGHEST, count + 1)


def ring_of(height: int, width: int, count: int) -> NDArray[np.int64]:
    """The ring of each frequency of the discrete Fourier transform, `[H, W]`."""
    rows, columns = np.fft.fftfreq(height), np.fft.fftfreq(width)
    radius = np.hypot(rows[:, None], columns[None, :])
    inside: NDArray[np.int64] = np.minimum((radius / HIGHEST * count).astype(np.int64), count - 1)
    return inside


def ring_image(rings: NDArray[np.int64], ring: int, channels: int, draws: torch.Generator) -> Tensor:
    """A real image `[1, channels, H, W]` of unit norm, float64, with all frequencies of a ring equally strong.

    The phases are random, drawn for each channel from `draws`; `rings` see `ring_of`, of which `ring` is not empty.
    """
    # The transform of real noise has the symmetry that a real image needs; only its phases are kept.
    noise = torch.randn((channels, *rings.shape), generator=draws, dtype=torch.float64)
    spectrum = torch.fft.fft2(noise)
    inside = torch.from_numpy(rings == ring)
    phases = torch.where(inside, spectrum / spectrum.abs().clamp_min(1e-300), torch.zeros_like(spectrum))
    image = torch.fft.ifft2(phases).real
    return (image / image.norm())[None]
