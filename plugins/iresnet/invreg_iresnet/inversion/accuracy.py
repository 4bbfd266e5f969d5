"""How accurately a chain is inverted: tightly in evaluation, loosely in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from invreg_iresnet.inversion.fixed_point import Stopping

Corrected = Literal["nothing", "steps", "answers"]

# In the first half of a training, gradients need not be accurate: one iteration each way, after which the forward one
# is evaluated (and linearised) once more. (Batches that teach starts take one more backward.) Later, contractions are
# slower, and a fixed count would become too few.
_EARLY = 0.5
_EARLY_FORWARD, _EARLY_BACKWARD = Stopping(0, 2), Stopping(0, 1)

# A gradient may be this much less accurate than the point at which it is taken: what it loses by that is less than what
# it loses by the error of the point. (Measured before answers were corrected, for trained networks: cosines of
# 0.998 and 0.983 to 0.998.)
_GRADIENT_SLACK = 30


@dataclass(frozen=True)
class Accuracy:
    """How accurately a chain is inverted.

    Attributes:
        forward: when the fixed points of the inversion end.
        backward: when those of its gradients end.
        corrected: where it is predicted what residuals leave to the fixed points: in no step, in the first steps, or in
            these and the answers, which brings them closer in the mean, not for certain.
        bound: the Lipschitz bound of the residual functions, which is that of the contractions.
        dtype: of the convolutions; states and residuals keep their own.
        tf32: whether a GPU may use TF32.
    """

    forward: Stopping
    backward: Stopping
    corrected: Corrected
    bound: float
    dtype: torch.dtype
    tf32: bool


def exact(tolerance: float, max_iterations: int, *, bound: float, dtype: torch.dtype) -> Accuracy:
    """Inversions and gradients to the tolerance."""
    stopping = Stopping(tolerance, max_iterations)
    return Accuracy(stopping, stopping, "steps", bound, dtype, tf32=False)


def for_training(
    progress: float | None, tolerance: float, max_iterations: int, *, bound: float, dtype: torch.dtype
) -> Accuracy:
    """Fixed counts in the first half of a training; then, or if the progress is not known, the tolerance.

    Args:
        progress: the share of the training that is done.
        tolerance: of inversions; that of gradients is 30 times larger, and what convolutions in `dtype` cannot resolve
            is not demanded of them.
        max_iterations: the largest number of iterations.
        bound: the Lipschitz bound of the residual functions.
        dtype: of the convolutions.
    """
    if progress is not None and progress < _EARLY:
        return Accuracy(_EARLY_FORWARD, _EARLY_BACKWARD, "nothing", bound, dtype, tf32=True)
    tolerance = max(tolerance, torch.finfo(dtype).eps / 4)
    forward, backward = (Stopping(limit, max_iterations) for limit in (tolerance, _GRADIENT_SLACK * tolerance))
    return Accuracy(forward, backward, "answers", bound, dtype, tf32=True)
