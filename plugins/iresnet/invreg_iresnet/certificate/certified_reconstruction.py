"""Reconstructions with a proven distance to the exact ones.

The inverse of the chain takes y_0 = s(P z) to y_N by phi_i(y_i) = y_{i-1}. What is computed misses each of these
equations by a residual r_i, and with kappa_i >= Lip(phi_i^-1)

    ||y_N - phi^-1(y_0)|| <= sum_i ||r_i|| w_i,    w_i = kappa_i ... kappa_N,

because phi_i^-1 carries an error e of y_{i-1} on as kappa_i (e + ||r_i||). The residuals are evaluated in float64, with
a bound of the rounding errors of that evaluation; so the sum is proven for states found in any precision and in
any way. The mean over M/C copies divides the distance by sqrt(M/C).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from invreg import CertificateError, ConvergenceError, ConvergenceWarning, ShapeError, SpecError, StabilityCertificate
from invreg_iresnet.axes import per_image
from invreg_iresnet.certificate.network_certificate import Role, bounds_of, inverse_constants
from invreg_iresnet.certificate.residual_defect import Defects, euclidean_norms
from invreg_iresnet.inversion.fixed_point import Correction, look
from invreg_iresnet.inversion.inversion import update_of
from invreg_iresnet.inversion.starts import LearnedStarts
from invreg_iresnet.network.lifting import Lifting
from invreg_iresnet.network.residuals import Weights
from invreg_iresnet.network.scales import StageWeights, rescaled
from invreg_iresnet.network.subnetwork import DIVERGED, Subnetwork, subnetworks
from invreg_iresnet.norms.rounding import UNIT

# The part of the tolerance that fixed points may use up; the rest is for what rounding adds.
_SHARE = 0.9

# Rounding has stopped the progress of an iteration if its steps have not become shorter by this factor for so long, or
# if another look at the residual does not find it smaller by that.
_PATIENCE, _PROGRESS = 3, 0.9

# The part of its limit that a residual is expected to keep: the rest is for rounding in the precision of the network.
_EXPECTED = 0.8


@dataclass(frozen=True)
class CertifiedReconstruction:
    """Reconstructed images with proven error bounds.

    Attributes:
        image: `[B, C, H, W]`, or `[B, C, D, H, W]`, in the dtype of the network.
        error_bound: `[B]`, float64: proven bounds of the Euclidean distance ||image - R(z)|| to the exact
            reconstruction; None without a proof.
        data_error_bound: `[B]`: proven bounds of ||image - R(z')|| for all z' with ||z' - z|| <= the data error that
            was given; None if none was given, or without a proof.
        tolerance: the distance to reach.
        iterations: evaluations of each residual function; the float64 ones come on top.
    """

    image: Tensor
    error_bound: Tensor | None
    data_error_bound: Tensor | None
    tolerance: float
    iterations: tuple[int, ...]

    @property
    def met(self) -> bool:
        """Whether every image is proven to be within the tolerance."""
        return self.error_bound is not None and bool((self.error_bound <= self.tolerance).all())


@dataclass(frozen=True)
class Chain:
    """What the inversion needs of a network.

    Attributes:
        stages: the weights as evaluation uses them, phi_1 first.
        role: what the residual functions are part of.
        lifting: from images to states.
        certificate: of these weights.
        starts: where the fixed points of each stage start; none where the inverse is explicit.
    """

    stages: Sequence[StageWeights]
    role: Role
    lifting: Lifting
    certificate: StabilityCertificate
    starts: Sequence[LearnedStarts]


def reconstruct_certified(
    chain: Chain, z: Tensor, tolerance: float, certify: bool, data_error: float, max_iterations: int
) -> CertifiedReconstruction:
    """Reconstructs measurements in X and proves how far the images are from the exact ones.

    Args:
        chain: the network.
        z: `[B, C, *spatial]`, at least one, of any floating dtype: the bounds are about exactly these numbers.
        tolerance: Euclidean distance to reach for each image.
        certify: whether to prove it.
        data_error: largest Euclidean distance between z and the exact measurement.
        max_iterations: of each fixed point.
    """
    if not (tolerance > 0 and math.isfinite(tolerance)):
        raise SpecError(f"tolerance {tolerance}", where="reconstruct", expected="a positive Euclidean distance")
    if not (data_error >= 0 and math.isfinite(data_error)):
        raise SpecError(f"data_error {data_error}", where="reconstruct", expected="a distance, 0 or more")
    constants = inverse_constants(chain.certificate)
    kappas = [kappa for kappa in constants if kappa is not None]
    if len(kappas) < len(constants):
        raise CertificateError(
            "no Lipschitz bound of the inverse is proven",
            where=f"reconstruct, subnetwork {constants.index(None) + 1} of {len(constants)}",
            expected="residual functions that are certified contractions",
            hint="net.finalise() scales the weights until they are",
        )
    if not all(torch.isfinite(stack).all() for stage in chain.stages for stack in stage.weights):
        raise ConvergenceError(
            "weights that are not finite", where="reconstruct", expected="finite numbers", hint=DIVERGED
        )
    if not len(z):
        raise ShapeError("no measurement", where="reconstruct", expected="a batch of at least one")
    if not torch.isfinite(z).all():
        raise ConvergenceError(
            "measurements that are not finite",
            where="reconstruct",
            expected="finite numbers",
            hint="look for NaN and infinite values in the measurements",
        )
    amplifications = _amplifications(kappas)
    copies = chain.lifting.copies
    wanted = _tolerances(chain, _SHARE * tolerance * math.sqrt(copies), amplifications)
    dtype = chain.stages[0].weights.kernels.dtype
    narrow = [one for stage in chain.stages for one in subnetworks(stage.weights, dtype)]
    wide = [
        Defects(one)
        for stage in chain.stages
        for one in subnetworks(Weights(*(stack.double() for stack in stage.weights)), torch.float64)
    ]
    scales = [stage.scale for stage in chain.stages for _ in stage.weights.kernels]
    lifted = chain.lifting.lift(z.double())
    state, before = lifted.to(dtype), lifted
    # Lifting subtracts a constant, in float64, and may weight pixels: roundings that all subnetworks pass on.
    total = chain.lifting.roundings * UNIT * euclidean_norms(lifted) * amplifications[0]
    iterations, scale = [], 1
    for step, start, here, one, defects, limit, amplification in zip(
        _steps(chain, max_iterations), _starts(chain), scales, narrow, wide, wanted, amplifications, strict=True
    ):
        state, before, scale = rescaled(state, scale, here), rescaled(before, scale, here), here
        state, residuals, count = step(one, defects, before, start(state), limit, certify)
        total = total + residuals * amplification
        iterations.append(count)
        before = state.double()
    size = tuple(z.shape[2:])
    image, added = _image(chain.lifting, rescaled(before, scale, 1), size, dtype)
    if not certify:
        return CertifiedReconstruction(image, None, None, tolerance, tuple(iterations))
    # One part in 10^9 is more than all roundings of the sums above.
    bound = (total / math.sqrt(copies) + added) * (1 + 1e-9)
    with_data_error = _with_data_error(chain, bound, data_error, size)
    found = CertifiedReconstruction(image, bound, with_data_error, tolerance, tuple(iterations))
    if not found.met:
        _warn(found, dtype)
    return found


def _steps(chain: Chain, max_iterations: int) -> list[_FixedPoint | _Explicit]:
    if chain.role == "inverse":
        return [_Explicit() for _ in bounds_of(chain.certificate)]
    corrections = [one for stage in chain.starts for one in stage.predictions("steps")]
    return [
        _FixedPoint(min(one.product, one.lipsdp), max_iterations, correction)
        for one, correction in zip(bounds_of(chain.certificate), corrections, strict=True)
    ]


def _starts(chain: Chain) -> Iterator[Callable[[Tensor], Tensor]]:
    """For each subnetwork, what makes of y_{i-1} the start of its iteration."""
    if chain.role == "inverse":
        yield from [lambda state: state] * len(bounds_of(chain.certificate))
    for stage in chain.starts:
        path: list[Tensor] = []

        def start(state: Tensor, stage: LearnedStarts = stage, path: list[Tensor] = path) -> Tensor:
            path.append(state)
            return stage.start(len(path), path[-2:])

        yield from [start] * len(stage.counts)


@dataclass(frozen=True)
class _Explicit:
    """y_i = y_{i-1} + g_i(y_{i-1}): only rounding is left to account for."""

    def __call__(
        self, one: Subnetwork, defects: Defects, before: Tensor, state: Tensor, limit: float, certify: bool
    ) -> tuple[Tensor, Tensor, int]:
        value = state + one.output(one.hidden(state))
        residuals = defects(before, before, value) if certify else torch.zeros(len(value)).to(before)
        return value, residuals, 1


@dataclass(frozen=True)
class _FixedPoint:
    """y_i = y_{i-1} + f_i(y_i), iterated until the float64 residual keeps the limit or rounding stops all progress."""

    contraction: float
    max_iterations: int
    correction: Correction | None

    def __call__(
        self, one: Subnetwork, defects: Defects, before: Tensor, start: Tensor, limit: float, certify: bool
    ) -> tuple[Tensor, Tensor, int]:
        update, x = update_of(one, before.to(start.dtype), keep=False), start
        limits = torch.full((len(x),), _EXPECTED * limit, dtype=torch.float64, device=x.device)
        shortest = torch.full_like(limits, math.inf)
        found = torch.full_like(limits, math.inf)
        fruitless = torch.zeros_like(limits, dtype=torch.int64)
        moving = torch.ones_like(limits, dtype=torch.bool)
        for iteration in range(1, self.max_iterations + 1):
            corrects = self.correction if self.correction is not None and iteration <= self.correction.steps else None
            step = look(update, x, corrects)
            lengths = limits.new_tensor(step.norms[0])
            fruitless = torch.where(lengths < _PROGRESS * shortest, 0, fruitless + 1)
            shortest = torch.minimum(lengths, shortest)
            # An image is done when the residual of its new point, at most L times the step, should keep the limit.
            going_on = moving & (self.contraction * lengths > limits) & (fruitless < _PATIENCE)
            if going_on.all():
                x = step.going_on(corrects)
                continue
            following = torch.where(per_image(going_on, x), step.going_on(corrects), step.value)
            x = torch.where(per_image(moving, x), following, x)
            moving = going_on
            if moving.any():
                continue
            if not certify:
                break
            residuals = defects(before, x, x)
            again = (residuals > limit) & (residuals < _PROGRESS * found) & (fruitless < _PATIENCE)
            found = torch.minimum(found, residuals)
            if not again.any():
                return x, residuals, iteration
            moving, limits = again, torch.where(again, limits / 4, limits)
            fruitless = torch.where(again, 0, fruitless)
        residuals = defects(before, x, x) if certify else torch.zeros_like(limits)
        return x, residuals, iteration


def _amplifications(kappas: list[float]) -> list[float]:
    """w_i = kappa_i ... kappa_N, rounded up."""
    found, product = [], 1.0
    for kappa in reversed(kappas):
        product = math.nextafter(product * kappa, math.inf)
        found.append(product)
    return found[::-1]


def _tolerances(chain: Chain, total: float, amplifications: list[float]) -> list[float]:
    """Residuals for each subnetwork with sum_i eps_i w_i = total, in the fewest iterations: eps_i w_i ~ 1 / log(1/L_i).

    An iteration of the i-th fixed point makes its residual smaller by L_i; the shares minimise the sum of the counts.
    """
    if chain.role == "inverse":
        return [total / (len(amplifications) * w) for w in amplifications]
    contractions = [min(one.product, one.lipsdp) for one in bounds_of(chain.certificate)]
    rates = [-math.log(min(max(contraction, 1e-3), 1 - 1e-9)) for contraction in contractions]
    shares = [1 / rate for rate in rates]
    return [total * share / sum(shares) / w for share, w in zip(shares, amplifications, strict=True)]


def _image(lifting: Lifting, state: Tensor, size: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The image of a state in float64, rounded to `dtype`, and how far that is from the exact one."""
    exact = lifting.unlift(state, size)
    image = exact.to(dtype)
    # The mean over the copies sums them up and divides, and weighted pixels are added up; then the constant is added.
    mean = (lifting.copies + 1 + lifting.roundings) * UNIT * euclidean_norms(state) / math.sqrt(lifting.copies)
    shift = 2 * UNIT * euclidean_norms(exact)
    return image, euclidean_norms(image.double() - exact) + 1.01 * (mean + shift)


def _with_data_error(chain: Chain, bound: Tensor, data_error: float, size: tuple[int, ...]) -> Tensor | None:
    if not data_error:
        return None
    image = chain.certificate.content["image_lipschitz"]
    # Of these images: the certificate's is for images of the size that the network was set up for.
    padding = chain.lifting.padding_norm(*size)
    return (bound + padding * image * data_error) * (1 + 1e-12)


def _warn(found: CertifiedReconstruction, dtype: torch.dtype) -> None:
    assert found.error_bound is not None  # noqa: S101 (for mypy: who calls this has looked)
    name = str(dtype).removeprefix("torch.")
    missed = int((found.error_bound > found.tolerance).sum())
    hint = "net.double() for more precision, or" if dtype == torch.float32 else "more max_iterations, or"
    warnings.warn(
        "a reconstruction is not proven to be within its tolerance\n"
        f"  where: {missed} of {len(found.error_bound)} images, in {name}\n"
        f"  found: proven to be within {float(found.error_bound.max()):.3g} of the exact one\n"
        f"  expected: within {found.tolerance:.3g}\n"
        f"  try: {hint} a tolerance above that",
        ConvergenceWarning,
        stacklevel=4,
    )
