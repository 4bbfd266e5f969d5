"""Is an operator firmly nonexpansive on images, as invertible residual networks would like it to be?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

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
from invreg.text import count, number
from invreg_analyses.forward_map.histograms import draw_ratios
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Label of the operator itself among the maps; no method can have it.
OPERATOR = ""

#: Rounding may push a ratio this far above one, by the precision in which a map computes.
_ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-3}


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

    Then Id - F has a Lipschitz constant of at most one, which is what the residual functions of an invertible
    residual network can fit. The ratio of the left to the right side is measured for three kinds of pairs:

    - `images`: two different test images;
    - `noise`: an image and the same with a small random perturbation;
    - `worst`: an image u and the same with a small perturbation in the direction in which the ratio is largest. To
      first order the ratio is (1 + ||(2 F'(u) - Id) h||² / ||h||²) / 2 for the direction h, so this is a singular
      vector of 2 F'(u) - Id, found by power iteration from the noise.

    No ratio is below one half. A ratio above one proves that a map is not firmly nonexpansive on X; ratios below one
    for all pairs are evidence, no proof. Perturbed images may leave [0, 1]. Where measurements are no images,
    A*A / ||A||² stands for the operator.

    Source: Arndt & Nickel 2024, Lemma 3.1.
    """

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
            text=" ".join(_sentence(summary) for summary in summaries),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {"ratios": draw_ratios(findings)} if len(findings.tables["ratios"]) else {}

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
        noise = torch.stack(
            [
                torch.randn(image.shape, generator=generator(stream_key(run.seed, "firm", "noise", name)))
                for image, (name, _) in zip(u, labels, strict=True)
            ]
        )
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
        # F'(u) h as a difference: for a perturbation that is not so small, that is what the ratio is about.
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
    """The operator on X, then what the methods have learned about it."""
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
    """A learned forward map as an operator; the network is no part of it, to be found among its weights."""

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


def _sentence(summary: Mapping[str, Any]) -> str:
    name = "The operator" if summary["method"] == OPERATOR else f"The forward map of {summary['method']}"
    place = {"images": "between two images", "noise": "for noise on an image", "worst": "in the worst direction"}
    if not summary["pairs"]:
        return f"{name} could not be tested: there are no two different images."
    pairs = f"{count(summary['pairs'])} pairs"
    where = f"{number(summary['largest'])} {place[summary['kind']]} ({summary['image']})"
    if summary["violations"]:
        found = f"{summary['violations']} of {pairs} contradict it"
        return f"{name} is not firmly nonexpansive: {found}, up to a ratio of {where}."
    return f"{name} was firmly nonexpansive on all {pairs}; the largest ratio was {where}. This is a test, no proof."
