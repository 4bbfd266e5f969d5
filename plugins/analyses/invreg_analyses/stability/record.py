"""What the searches for one method have found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from invreg_analyses.stability.proven import Proven, contradictions
from invreg_analyses.stability.search import Reconstruction, Worst, sizes

if TYPE_CHECKING:
    import pandas as pd

RATIOS = ("method", "image", "search", "radius", "relative", "ratio", "floor")
PICTURES = ("measurement", "perturbation", "reconstruction", "change")


class SearchRecord:
    """What the searches for one method have found so far.

    Attributes:
        label: of the method.
        proven: what is proven of it.
        rows: of the table of ratios.
        warnings: of reconstructions that did not converge.
        gradient: whether R has one.
        failure: what ended the searches before their end.
        picture: the worst pair, each `[1, ...]`, once `picture_worst` has made it.
    """

    def __init__(self, label: str, proven: Proven) -> None:
        self.label, self.proven = label, proven
        self.rows: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.gradient = True
        self.failure = ""
        self.picture: dict[str, Tensor] = {}
        self._worst: tuple[float, Tensor, Tensor] | None = None

    def add(self, search: str, names: Sequence[str], worst: Worst, floors: Tensor) -> None:
        """Takes in what a search has found for some images."""
        columns = worst.distances, worst.distances / sizes(worst.base), worst.ratios, floors
        for i, (name, *values) in enumerate(zip(names, *(column.tolist() for column in columns), strict=True)):
            self.rows.append(dict(zip(RATIOS, (self.label, name, search, *values), strict=True)))
            if values[2] > (self._worst[0] if self._worst else 0):
                self._worst = values[2], worst.base[i : i + 1].clone(), worst.perturbed[i : i + 1].clone()

    def picture_worst(self, net: Reconstruction) -> None:
        """Makes the pictures of the worst pair."""
        if self._worst:
            _, z, perturbed = self._worst
            x = net(z)
            found = z, perturbed - z, x, net(perturbed) - x
            self.picture = {name: one.float().cpu() for name, one in zip(PICTURES, found, strict=True)}


def summary_of(record: SearchRecord, ratios: pd.DataFrame) -> dict[str, Any]:
    """The row of a method: what is proven, the largest ratio found, and how many ratios contradict the proof."""
    own = ratios[(ratios["method"] == record.label) & ratios["ratio"].notna()]
    largest = own.loc[own["ratio"].idxmax()] if len(own) else None
    violations, within = contradictions(own, record.proven.bound)
    return {
        "method": record.label,
        "proven": record.proven.bound,
        "factor": record.proven.factor,
        "no_certificate": record.proven.failure,
        "found": math.nan if largest is None else float(largest["ratio"]),
        "floor": math.nan if largest is None else float(largest["floor"]),
        "search": "" if largest is None else str(largest["search"]),
        "image": "" if largest is None else str(largest["image"]),
        "ratios": len(own),
        "violations": violations,
        "within_floor": within,
        "gradient": record.gradient,
        "pictured": bool(record.picture),
        "warnings": len(record.warnings),
        "failure": record.failure,
    }
