"""What is proven of a method, in the space in which its measurements are perturbed; and what contradicts it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invreg import CertificateError, CompletedRun, LearnsForwardMap, NormalOperator

if TYPE_CHECKING:
    import pandas as pd


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
    """The bound of a method's certificate.

    Where measurements are not in X, a network starts from A* z / ||A||², and so does its certificate. As the norm of
    A* / ||A||² is 1 / ||A||, the bound with respect to z is that of the certificate times 1 / ||A||.
    """
    try:
        certificate = run.certificates[label]
    except KeyError:
        return Proven()
    except CertificateError as error:
        return Proven(is_claimed=True, failure=error.what)
    bound = certificate.reconstruction_lipschitz
    if bound is None:
        return Proven(is_claimed=True)
    net = run.methods[label].reconstructor
    target = net.target_operator if isinstance(net, LearnsForwardMap) else None
    factor = 1 / math.sqrt(target.norm_squared) if isinstance(target, NormalOperator) else 1.0
    return Proven(bound * factor, True, factor)


def contradictions(ratios: pd.DataFrame, bound: float) -> tuple[int, int]:
    """How many ratios are above a bound: by more than their floor, and by no more than that; 0 if nothing is proven."""
    above = ratios["ratio"] - bound
    violations = int((above > ratios["floor"]).sum())
    return violations, int((above > 0).sum()) - violations
