"""Results of exact arithmetic as floats that are certainly not too small, or not too large."""

from __future__ import annotations

import math
import sys
from fractions import Fraction


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
