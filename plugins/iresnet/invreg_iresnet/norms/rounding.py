"""Rounding in float64: bounds of its errors, and results of exact arithmetic rounded in a given direction."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

#: The unit roundoff u of float64.
UNIT = 2.0**-53
#: For the rounding of error bounds themselves, which are computed from a few numbers.
SLACK = 1.01
#: Added to magnitudes, so that what products lose by underflow is less than the relative error that they are granted.
TINY = 1e-280
#: More than what a few operations lose, relatively.
FEW_OPERATIONS = 1e-14


def gamma(operations: int) -> float:
    """gamma_n = n u / (1 - n u), the relative error of n roundings in a row (Higham 2002, lemma 3.1)."""
    return operations * UNIT / (1 - operations * UNIT)


def up(value: Fraction) -> float:
    """The value as a float that is not smaller; infinite if no finite one is."""
    if value > Fraction(sys.float_info.max):
        return math.inf
    rounded = float(value)
    return rounded if Fraction(rounded) >= value else math.nextafter(rounded, math.inf)


def down(value: Fraction) -> float:
    """The value as a float that is not larger."""
    return -up(-value)


def root_up(value: Fraction) -> float:
    """The square root of a value of at least 0, as a float that is not smaller."""
    root = math.sqrt(up(value))
    while math.isfinite(root) and Fraction(root) ** 2 < value:
        root = math.nextafter(root, math.inf)
    return root


def root_down(value: Fraction) -> float:
    """The square root of a value of at least 0, as a float that is not larger."""
    root = math.sqrt(down(value))
    while Fraction(root) ** 2 > value:
        root = math.nextafter(root, 0.0)
    return root
