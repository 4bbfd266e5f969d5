"""Split conformal prediction: which values of a calibration set bound the value of one more, and how often."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from invreg import SpecError
from invreg.text import plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Validation images from which a line with two coefficients is fitted, at least.
_LEAST_FOR_LINE = 4


@dataclass(frozen=True)
class Ranks:
    """Between which of n sorted calibration values one more value lies, the worst value first.

    The new value is equally likely to fall into each of the n + 1 gaps between, below and above exchangeable values.

    Attributes:
        count: n.
        low: the worse end is the value with this rank, 1 to n.
        high: the better end; n + 1 if there is none.
    """

    count: int
    low: int
    high: int

    @property
    def coverage(self) -> float:
        """The probability, over the calibration and the new image, of lying between the ends (more with ties)."""
        return (self.high - self.low) / (self.count + 1)

    def coverage_range(self, probability: float = 0.9) -> tuple[float, float]:
        """What the share of many new images that are covered is with this probability: quantiles of its Beta law."""
        from scipy.stats import beta

        inside = self.high - self.low
        tail = (1 - probability) / 2
        low, high = beta.ppf([tail, 1 - tail], inside, self.count + 1 - inside)
        return float(low), float(high)

    def ends(self, goodness: NDArray[np.float64]) -> tuple[float, float]:
        """Both ends among the calibration values, of which larger ones are better; NaN counts as worst."""
        ordered = np.sort(np.where(np.isnan(goodness), -np.inf, goodness))
        high = math.inf if self.high > self.count else float(ordered[self.high - 1])
        return float(ordered[self.low - 1]), high


def ranks(count: int, coverage: float, two_sided: bool) -> Ranks:
    """The ranks that cover at least the given share, with exact arithmetic of the digits of `coverage`.

    With m = ceil((n + 1) coverage), the value is covered by m of the n + 1 gaps, with probability m / (n + 1).

    Raises:
        SpecError: if there are too few values, with the number that is needed, ceil(s / (1 - coverage)) - 1 for s
            sides.
    """
    sides, share = 2 if two_sided else 1, Fraction(str(coverage))
    needed = math.ceil(sides / (1 - share)) - 1
    if count < needed:
        most = 1 - Fraction(sides, count + 1)
        other = f"coverage: {math.floor(1000 * most) / 1000:g}" if most >= Fraction(1, 2) else "more test images"
        kind = "interval" if two_sided else "bound"
        raise SpecError(
            f"{plural(count, 'test image')} for a coverage of {coverage:g}",
            where="conformal.coverage",
            expected=f"at least {needed} test images for a {'two' if two_sided else 'one'}-sided {kind} that holds "
            "with this probability",
            hint=f"{other}{', or two_sided: false' if two_sided else ''}",
        )
    covered = math.ceil((count + 1) * share)
    low = (count + 1 - covered) // sides
    return Ranks(count, low, low + covered)


@dataclass(frozen=True)
class Line:
    """What a value is expected to be, a + b f, for a number f that is known without the truth.

    Attributes:
        intercept: a.
        slope: b, 0 if nothing but the mean is known.
        spread: root mean square error of predictions for images left out; infinite if there is none.
    """

    intercept: float
    slope: float
    spread: float

    def __call__(self, f: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.intercept + self.slope * f


def fit_line(f: NDArray[np.float64] | None, values: NDArray[np.float64]) -> Line | None:
    """Least squares, with the leave-one-out error; None where the values do not allow it.

    Args:
        f: one number per image; None for the mean alone.
        values: of the images.
    """
    known = np.isfinite(values) if f is None else np.isfinite(values) & np.isfinite(f)
    columns = [np.ones(int(known.sum()))] + ([] if f is None else [f[known]])
    least = 2 if f is None else _LEAST_FOR_LINE
    if len(columns[0]) < least or (f is not None and float(np.ptp(columns[1])) < 1e-9):
        return None
    design, y = np.stack(columns, axis=1), values[known]
    q = np.linalg.qr(design)[0]
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    left_out = (y - design @ coefficients) / np.clip(1 - np.square(q).sum(axis=1), 1e-9, None)
    spread = float(np.sqrt(np.square(left_out).mean()))
    return Line(float(coefficients[0]), float(coefficients[1]) if f is not None else 0.0, spread)
