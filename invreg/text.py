"""Numbers in words: one way to write them in reports, figures and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable

#: Written for a value that is missing or not finite.
MISSING = "–"

_DECIMALS = {"dB": 2}
_SUBSCRIPT = str.maketrans("-0123456789", "₋₀₁₂₃₄₅₆₇₈₉")


def metric_title(name: str) -> str:
    """A metric's name as people write it: `psnr` becomes PSNR, `edge_distance` becomes "edge distance"."""
    return name.upper() if len(name) <= 4 and name.isalpha() else name.replace("_", " ")


def with_article(name: str) -> str:
    """The name behind "a" or "an", by its first letter."""
    return f"{'an' if name[:1] in 'aeioAEIO' else 'a'} {name}"


def with_unit(text: str, unit: str) -> str:
    """The text with its unit behind it, if it has one."""
    return f"{text} {unit}" if unit and text != MISSING else text


def number(value: float, unit: str = "", *, signed: bool = False) -> str:
    """A number without its unit: two decimals for dB, else three significant digits.

    Args:
        value: the number; `MISSING` is written for NaN.
        unit: the unit that decides on the digits.
        signed: whether a plus sign is written.

    Example:
        `number(31.7, "dB")` is "31.70", `number(0.00123)` is "0.00123", `number(-0.5, signed=True)` is "−0.500".
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        text = "∞"
    elif unit in _DECIMALS:
        text = f"{abs(value):.{_DECIMALS[unit]}f}"
    elif value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{abs(value):#.3g}" if abs(value) < 1000 else f"{abs(value):.0f}"
        text = text.rstrip(".")
    else:
        mantissa, _, exponent = f"{abs(value):.2e}".partition("e")
        text = f"{mantissa}e{int(exponent)}".replace("-", "−")
    is_zero = not any(digit in text for digit in "123456789∞")
    if is_zero:
        return text
    return ("−" if value < 0 else "+" if signed else "") + text


def duration(seconds: float) -> str:
    """A time span with two or three significant digits, in the unit that suits it.

    Example:
        `duration(0.0123)` is "12.3 ms", `duration(83)` is "1 min 23 s", `duration(0)` is `MISSING`.
    """
    if math.isnan(seconds) or seconds <= 0:
        return MISSING
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def count(value: int) -> str:
    """A whole number with its thousands set apart: 4,263,700."""
    return f"{value:,}"


def percent(share: float) -> str:
    """A share as a percentage: `percent(0.123)` is "12.3 %"; `MISSING` for NaN."""
    return with_unit(number(100 * share), "%")


def plural(amount: int, noun: str) -> str:
    """An amount with its noun: "1 image", "1,200 images"."""
    return f"{count(amount)} {noun}" if amount == 1 else f"{count(amount)} {noun}s"


def span(values: Iterable[float], unit: str = "") -> str:
    """The smallest and the largest value: "0.12 to 0.31 dB", or one number where both are written alike."""
    known = [float(value) for value in values if not math.isnan(value)]
    if not known:
        return MISSING
    low, high = number(min(known), unit), number(max(known), unit)
    return with_unit(low if low == high else f"{low} to {high}", unit)


def subscript(value: int) -> str:
    """A whole number as an index: `"φ" + subscript(20)` is "φ₂₀"."""
    return str(value).translate(_SUBSCRIPT)


def composition(first: str, last: str, length: int) -> str:
    """A chain of maps by its two ends: `composition("f₁", "f₅", 5)` is "f₁ ∘ ⋯ ∘ f₅"."""
    shown = {1: [first], 2: [first, last]}.get(length, [first, "⋯", last])
    return " ∘ ".join(shown)


def unique_names(names: list[str]) -> list[str]:
    """Numbers repeated names, so that the same analysis can be listed with different parameters."""
    return [
        name if names[:i].count(name) == 0 else f"{name}-{names[:i].count(name) + 1}" for i, name in enumerate(names)
    ]


def size_in_words(sides: Iterable[int]) -> str:
    """The size of an image or a volume.

    Example:
        `size_in_words((64, 96))` is "64x96 pixels", `size_in_words((32, 64, 96))` is "32x64x96 voxels".
    """
    numbers = [str(side) for side in sides]
    return f"{'x'.join(numbers)} {'voxels' if len(numbers) == 3 else 'pixels'}"
