"""Test of firm nonexpansiveness of the operator and of learned forward maps on images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from invreg import (
    Analyzer,
    CompletedRun,
    Findings,
    InvregError,
    LearnsForwardMap,
    LinearOperator,
    NormalOperator,
    Operator,
    generator,
    stream_key,
)
from invreg.text import count, number, plural
from invreg_analyses.shared.panels import panels, shared_legend
from invreg_analyses.shared.style import INK, WARNING, shortened
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Label of the operator itself among the maps; no method can have it.
OPERATOR = ""

#: Rounding may push a ratio this far above one, by the precision in which a map computes.
_ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-3}
#: With larger ratios, their axis is logarithmic.
_WIDE = 10
#: The kinds of pairs in the legend; no method's colour: from light to dark, as the pairs get harder.
_KINDS = {"images": "two images", "noise": "image and noise", "worst": "image and worst direction"}
_SHADES = ["#c3cad1", "#7f8c99", INK]


@dataclass(frozen=True)
class _Map:
    """A map F: X -> X and the precision in which it computes."""

    label: str
    operator: Operator
    dtype: torch.dtype


class FirmNonexpansiveness(Analyzer):
    """Tests whether the operator and learned forward maps are firmly nonexpansive.

    A map F on X is firmly nonexpansive if for all u and v

        ||F(u) - F(v)||² + ||(Id - F)(u) - (Id - F)(v)||² <= ||u - v||².

    Then Id - F has a Lipschitz constant of at most one, which the residual functions of an invertible residual network
    can fit. The ratio of the left to the right side is measured for three kinds of pairs:

    - `images`: two different test images;
    - `noise`: an image, and the same image with a small random perturbation;
    - `worst`: an image u, and u with a small perturbation in the direction h in which the ratio is largest. To first
      order the ratio is (1 + ||(2 F'(u) - Id) h||² / ||h||²) / 2, so h is a singular vector of 2 F'(u) - Id, found by
      power iteration from the noise.

    Ratios are at least one half. A ratio above one proves that a map is not firmly nonexpansive on X; ratios below one
    for all pairs are evidence, not a proof. Perturbed images may leave [0, 1]. Where measurements are not images, F is
    A*A / ||A||².

    Source: Arndt & Nickel 2024, Lemma 3.1.
    """

    needs_operator = True

    def __init__(
        self,
        pairs: Annotated[int, Field(ge=1, le=100_000, description="pairs of images, at most")] = 200,
        perturbed: Annotated[int, Field(ge=1, le=10_000, description="images that are perturbed, at most")] = 16,
        size: Annotated[
            float, Field(gt=0, le=1, description="norm of a perturbation relative to that of the image")
        ] = 0.01,
        iterations: Annotated[int, Field(ge=1, le=1000, description="iterations of the power iteration")] = 30,
    ) -> None:
        self.pairs = pairs
        self.perturbed = perturbed
        self.size = size
        self.iterations = iterations

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        maps = _maps(run)
        rows = [row for tested in maps for row in self._rows(run, tested)]
        ratios = pd.DataFrame(rows, columns=["method", "kind", "image", "other", "ratio"])
        summaries = [_summary(tested, ratios[ratios["method"] == tested.label]) for tested in maps]
        return Findings(
            tables={"ratios": ratios, "maps": pd.DataFrame(summaries), "methods": methods_table(run)},
            text=_sentence(summaries),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {"ratios": _draw(findings)} if len(findings.tables["ratios"]) else {}

    def _rows(self, run: CompletedRun, tested: _Map) -> Iterator[dict[str, Any]]:
        x, names = run.images.test.images, [str(name) for name in run.images.test.names]
        every = list(combinations(range(len(x)), 2))
        order = torch.randperm(len(every), generator=generator(stream_key(run.seed, "firm", "pairs")))
        chosen = [every[int(i)] for i in order[: self.pairs]]
        if chosen:
            first, second = ([pair[side] for pair in chosen] for side in (0, 1))
            labels = [(names[i], names[j]) for i, j in chosen]
            yield from self._measured(run, tested, "images", x[first], x[second], labels)
        u = x[: self.perturbed]
        labels = [(name, "") for name in names[: self.perturbed]]
        keys = [stream_key(run.seed, "firm", "noise", name) for name, _ in labels]
        noise = torch.stack([torch.randn(u.shape[1:], generator=generator(key)) for key in keys])
        yield from self._measured(run, tested, "noise", u, None, labels, noise)
        yield from self._measured(run, tested, "worst", u, None, labels, noise)

    def _measured(
        self,
        run: CompletedRun,
        tested: _Map,
        kind: str,
        u: Tensor,
        v: Tensor | None,
        labels: list[tuple[str, str]],
        direction: Tensor | None = None,
    ) -> Iterator[dict[str, Any]]:
        """One row per pair of u and v, or of u and u with a perturbation in `direction`, batch by batch."""
        for start in range(0, len(u), run.batch_size):
            part = slice(start, start + run.batch_size)
            a = u[part].to(run.device, tested.dtype)
            if v is not None:
                b = v[part].to(a)
            elif direction is not None:
                h = _scaled(direction[part].to(a), a, self.size)
                if kind == "worst":
                    h = self._worst(tested.operator, a, h)
                b = a + h
            for (image, other), ratio in zip(labels[part], _ratios(tested.operator, a, b), strict=True):
                yield {"method": tested.label, "kind": kind, "image": image, "other": other, "ratio": ratio}

    def _worst(self, operator: Operator, u: Tensor, h: Tensor) -> Tensor:
        """Power iteration on (2 F'(u) - Id)* (2 F'(u) - Id); perturbations keep their size."""
        # F'(u) h as a difference, which also holds for perturbations that are not small.
        with torch.no_grad():
            start = operator(u)
        for _ in range(self.iterations):
            with torch.no_grad():
                reflected = 2 * (operator(u + h) - start) - h
            following = 2 * operator.vjp(u, reflected).detach() - reflected
            # Where all directions are alike (2 F' = Id), the last one is as good as any.
            vanished = following.flatten(1).norm(dim=1) <= 1e-6 * h.flatten(1).norm(dim=1)
            h = torch.where(vanished.view(-1, *[1] * (h.ndim - 1)), h, _scaled(following, u, self.size))
        return h


def _maps(run: CompletedRun) -> list[_Map]:
    """The operator on X, then the learned forward maps."""
    operator, shape = run.problem.operator, run.images.test.image_shape
    if tuple(operator.range_shape(shape)) != shape:
        if not isinstance(operator, LinearOperator):
            raise InvregError(
                f"{type(operator).__name__} maps images {shape} to {tuple(operator.range_shape(shape))}",
                where="firm_nonexpansiveness",
                expected="an operator from images to images, or a linear one",
                hint="leave this analysis out",
            )
        operator = NormalOperator(operator, shape).to(run.device)
    maps = [_Map(OPERATOR, operator, torch.float64)]
    for label, trained in run.methods.items():
        if isinstance(trained.reconstructor, LearnsForwardMap):
            dtype = next((p.dtype for p in trained.reconstructor.parameters()), torch.float64)
            maps.append(_Map(label, _Learned(trained.reconstructor), dtype))
    return maps


class _Learned(Operator):
    """A learned forward map as an operator; the network is not registered as a submodule."""

    def __init__(self, net: LearnsForwardMap) -> None:
        super().__init__()
        self.__dict__["_net"] = net

    def forward(self, x: Tensor) -> Tensor:
        net: LearnsForwardMap = self.__dict__["_net"]
        return net.forward_map(x)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            return torch.autograd.grad(self.forward(point), point, v)[0]


def _scaled(h: Tensor, u: Tensor, size: float) -> Tensor:
    """h with `size` times the norm of u, image by image (of a black image: of a grey one)."""
    norm = u.flatten(1).norm(dim=1).clamp_min(1e-2 * u[0].numel() ** 0.5)
    factor = size * norm / h.flatten(1).norm(dim=1).clamp_min(torch.finfo(h.dtype).tiny)
    return h * factor.view(-1, *[1] * (h.ndim - 1))


def _ratios(operator: Operator, u: Tensor, v: Tensor) -> list[float]:
    with torch.no_grad():
        d, e = u - v, operator(u) - operator(v)
    left = e.double().square().flatten(1).sum(1) + (d - e).double().square().flatten(1).sum(1)
    ratios: list[float] = (left / d.double().square().flatten(1).sum(1)).tolist()
    return ratios


def _summary(tested: _Map, ratios: pd.DataFrame) -> dict[str, Any]:
    finite = ratios[ratios["ratio"].notna()]  # two equal images have no ratio
    largest = finite.loc[finite["ratio"].idxmax()] if len(finite) else None
    violations = finite[finite["ratio"] > 1 + _ROUNDING.get(tested.dtype, 1e-2)]
    return {
        "method": tested.label,
        "pairs": len(finite),
        "violations": len(violations),
        "largest": float("nan") if largest is None else float(largest["ratio"]),
        "kind": "" if largest is None else str(largest["kind"]),
        "image": "" if largest is None else str(largest["image"]),
    }


def _sentence(summaries: Sequence[Mapping[str, Any]]) -> str:
    names = ["the operator", *(f"φ of {one['method']}" for one in summaries[1:])]
    found = ", ".join(
        f"{number(one['largest'])} for {name} ({count(one['violations'])} of {plural(one['pairs'], 'pair')} above 1)"
        for name, one in zip(names, summaries, strict=True)
    )
    return f"Largest ratio, which is at most 1 for a firmly nonexpansive map: {found}. This is a test, not a proof."


def _bins(low: float, high: float, spaced: Callable[[float, float, int], NDArray[np.float64]]) -> list[float]:
    """About forty bins, none of which reaches from what firm nonexpansiveness allows to what contradicts it."""
    one = 1 + max(_ROUNDING.values())
    whole = spaced(low, high, 41)
    below = max(int((whole < one).sum()), 1)
    return [*spaced(low, one, below + 1).tolist(), *spaced(one, high, max(41 - below, 2)).tolist()[1:]]


def _draw(findings: Findings) -> Figure:
    """One panel per map: the histogram of the ratios by the kind of pair; the bound is the line at one."""
    ratios = findings.tables["ratios"]
    ratios = ratios[np.isfinite(ratios["ratio"])]
    labels = list(findings.tables["maps"]["method"])
    names = ["operator F", *(f"φ of {label}" for label in labels[1:])]
    # A ratio is at least 1/2, by the convexity of the square.
    low, high = min(ratios["ratio"].min(), 0.5), max(ratios["ratio"].max(), 1.02)
    is_wide = high > _WIDE and low > 0
    bins = _bins(low, high, np.geomspace if is_wide else np.linspace)
    description = (
        f"Ratio (‖F(u) − F(v)‖² + ‖(Id − F)(u) − (Id − F)(v)‖²) / ‖u − v‖² for {', '.join(names)}: pairs right "
        f"of the line at one contradict firm nonexpansiveness"
    )
    with panels(len(labels), description, height=2.7, margin=0.3) as (figure, grid):
        for axes, label, name in zip(grid, labels, names, strict=True):
            own = ratios[ratios["method"] == label]
            values = [own.loc[own["kind"] == kind, "ratio"].to_numpy(dtype=float) for kind in _KINDS]
            axes.hist(values, bins=bins, stacked=True, color=_SHADES, label=list(_KINDS.values()))
            axes.axvline(1, color=WARNING, linewidth=1.2)
            if is_wide:
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set_title(shortened(name), fontsize=10, color=INK)
            axes.set_xlabel("ratio (at most 1 if firmly nonexpansive)")
        grid[0].set_ylabel("pairs")
        shared_legend(figure)
    return figure
