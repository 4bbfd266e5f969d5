"""Errors and warnings for iterations that miss their tolerance."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from invreg import ConvergenceError, ConvergenceWarning
from invreg_iresnet.inversion.fixed_point import Course
from invreg_iresnet.network.subnetwork import DIVERGED, Subnetwork


def short_of(
    courses: Sequence[Course], *, what: str, tolerance: float, bound: float, dtype: torch.dtype
) -> ConvergenceError | None:
    """The error for iterations that have ended before their tolerance; None if there is none.

    Args:
        courses: the iterations of all subnetworks, from the first.
        what: what was to be found.
        tolerance: the largest relative residual allowed.
        bound: Lipschitz bound of the residual functions.
        dtype: in which they were computed.
    """
    short = [number for number, course in enumerate(courses, 1) if course.status in ("exhausted", "stalled")]
    if not short:
        return None
    worst = max(short, key=lambda number: courses[number - 1].residual)
    course = courses[worst - 1]
    others = f" (and {len(short) - 1} more)" if len(short) > 1 else ""
    name = str(dtype).removeprefix("torch.")
    if course.status == "stalled":
        ending = f"rounding in {name} stopped all progress after {course.iterations} iterations"
        hint = f"a tolerance above {2 * course.residual:.1g}, or double precision: net.double()"
    else:
        ending = f"it was stopped after max_iterations = {course.iterations}"
        hint = (
            "more max_iterations, a larger tolerance, or a smaller lipschitz (or more subnetworks), to converge faster"
        )
    return ConvergenceError(
        f"{what} has not reached its tolerance: relative residual {course.residual:.2g}; {ending}",
        where=_place(worst, len(courses), bound, others),
        expected=f"relative residual {tolerance:.2g}",
        hint=hint,
    )


def warn_if_short(courses: Sequence[Course], *, what: str, tolerance: float, bound: float, dtype: torch.dtype) -> None:
    """Warns of what would be an error by `short_of`."""
    error = short_of(courses, what=what, tolerance=tolerance, bound=bound, dtype=dtype)
    if error:
        warnings.warn(str(error), ConvergenceWarning, stacklevel=3)


def not_finite(
    number: int, count: int, subnetwork: Subnetwork, z: Tensor, course: Course, bound: float
) -> ConvergenceError:
    """The error for an iteration that left the finite numbers, with its likely cause."""
    if not all(torch.isfinite(tensor).all() for tensor in subnetwork[:4]):
        cause, hint = "its weights are not finite", DIVERGED
    elif not torch.isfinite(z).all():
        cause, hint = "what it was to invert is not finite", "look for NaN and infinite values in the measurements"
    else:
        cause, hint = "its values grow without bound", "float32 or float64 instead of float16"
    return ConvergenceError(
        f"the inversion broke down at iteration {course.iterations}, relative residual {course.residual:.2g}: {cause}",
        where=_place(number, count, bound),
        expected="finite numbers",
        hint=hint,
    )


def _place(number: int, count: int, bound: float, others: str = "") -> str:
    place = f"invertible network, subnetwork {number} of {count}{others}"
    return f"{place}, residual function with Lipschitz bound {bound:.4g}"
