"""Results of the searches for one method, beside its proven bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from invreg import CertificateError, CompletedRun, LearnsForwardMap, NormalOperator, PullBack
from invreg_analyses.stability.search import Reconstruction, Worst, sizes

if TYPE_CHECKING:
    import pandas as pd

RATIOS = ("method", "image", "search", "radius", "relative", "ratio", "floor")
PICTURES = ("measurement", "perturbation", "reconstruction", "change")


@dataclass(frozen=True)
class Proven:
    """A proven bound of Lip(R) with respect to the measurements z.

    Attributes:
        bound: NaN if nothing is proven.
        is_claimed: whether the method certifies its stability at all.
        factor: by which the certificate's bound was multiplied.
        failure: why there is no certificate, if there should be one.
    """

    bound: float = math.nan
    is_claimed: bool = False
    factor: float = 1.0
    failure: str = ""


def proven_of(run: CompletedRun, label: str) -> Proven:
    """The bound of a method's certificate; for a linear method, the bound of its norm.

    Where measurements are not in X, a network without a pull-back starts from A* z / ||A||², and so does its
    certificate. As the norm of A* / ||A||² is 1 / ||A||, the bound with respect to z is that of the certificate times
    1 / ||A||.
    """
    net = run.methods[label].reconstructor
    if isinstance(net, PullBack):
        return Proven(net.norm_bound(run.images.test.image_shape), True)
    try:
        certificate = run.certificates[label]
    except KeyError:
        return Proven()
    except CertificateError as error:
        return Proven(is_claimed=True, failure=error.what)
    bound = certificate.reconstruction_lipschitz
    if bound is None:
        return Proven(is_claimed=True)
    target = net.target_operator if isinstance(net, LearnsForwardMap) else None
    factor = 1 / math.sqrt(target.norm_squared) if isinstance(target, NormalOperator) else 1.0
    return Proven(bound * factor, True, factor)


class SearchRecord:
    """Results of the searches for one method so far.

    Attributes:
        label: of the method.
        proven: its proven bound.
        rows: of the table of ratios.
        warnings: of reconstructions that did not converge.
        gradient: whether R has one.
        failure: the error that ended the searches early.
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
        """Adds the results of a search for some images."""
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
    """The row of a method: its proven bound, the largest ratio found (NaN if none), and how many ratios exceed it."""
    own = ratios[(ratios["method"] == record.label) & ratios["ratio"].notna()]
    largest = own.loc[own["ratio"].idxmax()] if len(own) else None
    above = own["ratio"] - record.proven.bound
    violations = int((above > own["floor"]).sum())
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
        "within_floor": int((above > 0).sum()) - violations,
        "gradient": record.gradient,
        "pictured": bool(record.picture),
        "warnings": len(record.warnings),
        "failure": record.failure,
    }
