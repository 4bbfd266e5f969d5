"""The quantities of the convergence theorem for one network on the test images of one cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invreg import ActsOnLiftedStates, CertificateError, PulledBackOperator, choose_device

if TYPE_CHECKING:
    import pandas as pd

    from invreg import StudyCell

#: Where the approximation of the operator is measured: among lifted states, or among images.
STATES, IMAGES = "X^M", "X"
#: By how much an error may exceed its bound before that is reported: fixed points are found to a tolerance.
_SLACK = 1e-3


@dataclass(frozen=True)
class InverseBound:
    """A Lipschitz constant of the inverse, and where it comes from.

    Attributes:
        value: the constant.
        is_proven: whether a certificate proves it; it is 1 / (1 - L) otherwise.
        nominal: 1 / (1 - L).
        failure: why the certificate in the run folder does not hold; empty if nothing failed.
    """

    value: float
    is_proven: bool
    nominal: float
    failure: str = ""


def inverse_bound(cell: StudyCell, method: str, lipschitz: float) -> InverseBound:
    """The smallest constant that a certificate in the run folder proves, or else 1 / (1 - L), equation (2.3).

    It is that of phi^-1 for a network that acts on lifted states, and that of the reconstruction otherwise. The
    certificate is verified. None is made here: for large networks that would take longer than all else.
    """
    nominal = 1 / (1 - lipschitz)
    try:
        certificate = cell.certificate(method)
    except CertificateError as error:
        return InverseBound(nominal, False, nominal, str(error))
    if certificate is None:
        return InverseBound(nominal, False, nominal)
    proven = certificate.reconstruction_lipschitz
    if isinstance(cell.result.methods[method].reconstructor, ActsOnLiftedStates):
        proven = certificate.inverse_lipschitz["certified"]
    return InverseBound(nominal if proven is None else proven, proven is not None, nominal)


def measure(cell: StudyCell, method: str, count: int, bound: InverseBound) -> pd.DataFrame:
    """One row for each of the first `count` test images.

    All distances are Euclidean norms, those that end in `_rmse` are per pixel.

    - `inversion` = ||R(F x) - x||, with its `inversion_rmse`;
    - `error` = ||R(z) - x|| for the noisy data z, with its `error_rmse`;
    - `amplified` = ||R(z) - R(F x)||;
    - `noise` = ||z - F(x)||;
    - `data_error`: the same where the inverse sees it: lifted and divided by sqrt(copies), if the network lifts;
    - `data_term` = Lip * `data_error`, `nominal_term` = `data_error` / (1 - L), `total` = `data_term` + `inversion`;
    - `exceeds`: whether `error` is larger than `total`;
    - `misfit`: see `approximation_error`, with its `misfit_rmse`.
    """
    import pandas as pd

    net: Any = cell.result.methods[method].reconstructor
    images, device, size = cell.images(count), choose_device(cell.device), cell.spec.evaluation.batch_size
    columns: dict[str, list[float]] = {}
    with torch.no_grad():
        for x, noisy in zip(images.images.split(size), cell.measurements(count).split(size), strict=True):
            x, noisy = x.to(device), noisy.to(device)
            clean = cell.problem.operator(x)
            exact, found = net(clean), net(noisy)
            misfit, misfit_rmse = approximation_error(net, x)
            batch = {
                "inversion": norms(exact, x),
                "inversion_rmse": _rmse(exact, x),
                "error": norms(found, x),
                "error_rmse": _rmse(found, x),
                "amplified": norms(found, exact),
                "noise": norms(noisy, clean),
                "data_error": _data_error(net, x, clean, noisy, bound),
                "misfit": misfit,
                "misfit_rmse": misfit_rmse,
            }
            for name, values in batch.items():
                columns.setdefault(name, []).extend(values)
    table = pd.DataFrame({"image": list(images.names), **columns})
    table["data_term"] = bound.value * table["data_error"]
    table["nominal_term"] = bound.nominal * table["data_error"]
    table["total"] = table["data_term"] + table["inversion"]
    table["exceeds"] = table["error"] > (1 + _SLACK) * table["total"]
    return table


def approximation_error(net: Any, x: Tensor) -> tuple[list[float], list[float]]:
    """How far the learned forward map is from the operator F at the images x, as a norm and per value.

    With s P the lifting of images to states, that is ||phi(s P x) - s P F(x)|| / sqrt(copies); for a method that does
    not act on lifted states, ||forward_map(x) - F(x)||. F is the method's `target_operator`.
    """
    target = net.target_operator(x)
    if not isinstance(net, ActsOnLiftedStates):
        learned = net.forward_map(x)
        return norms(learned, target), _rmse(learned, target)
    learned, wanted = net.phi(net.lift(x)), net.lift(target)
    root = math.sqrt(_copies(wanted, target))
    return [value / root for value in norms(learned, wanted)], _rmse(learned, wanted)


def space_of(net: Any) -> str:
    """Where `approximation_error` measures."""
    return STATES if isinstance(net, ActsOnLiftedStates) else IMAGES


def norms(a: Tensor, b: Tensor) -> list[float]:
    """||a - b|| for each element of the batch, in float64."""
    values: list[float] = (a.double() - b.double()).flatten(1).norm(dim=1).tolist()
    return values


def _rmse(a: Tensor, b: Tensor) -> list[float]:
    root = math.sqrt(a[0].numel())
    return [value / root for value in norms(a, b)]


def _data_error(net: Any, x: Tensor, clean: Tensor, noisy: Tensor, bound: InverseBound) -> Sequence[float]:
    """The distance that the bound multiplies."""
    lifts = isinstance(net, ActsOnLiftedStates)
    if isinstance(net.target_operator, PulledBackOperator) and (lifts or not bound.is_proven):
        clean, noisy = net.target_operator.pull_back(clean), net.target_operator.pull_back(noisy)
    if not lifts:
        return norms(noisy, clean)
    # The noise after the padding, which the inverse really sees: less than the norm of the padding times the noise.
    a, b = net.lift(noisy), net.lift(clean)
    root = math.sqrt(_copies(a, x))
    return [value / root for value in norms(a, b)]


def _copies(state: Tensor, x: Tensor) -> float:
    return state.shape[1] / x.shape[1]
