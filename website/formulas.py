"""Formulas in pages: TeX, typeset by matplotlib into SVG.

So pages need neither a network nor JavaScript to show them. In a page, a code block of language `math` is a displayed
formula (each line one of its own), and dollar signs around a code span make an inline one: $`x^2`$.
"""

from __future__ import annotations

import html
import re
from functools import cache
from typing import Any

_UNITS = 200  # per em, in the coordinates of a path: a third of a pixel or so is the finest detail anyway
_SCALE = 1.09  # STIX has small letters beside the sans serif of the text

_BLOCK = re.compile(r"^(?P<indent> *)```math\n(?P<tex>.*?)\n *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"\$`(?P<tex>[^`\n]+)`\$")
# What Markdown would read as its own syntax, inside an attribute too.
_MARKDOWN = re.compile(r"[\\_*{}\[\]|`~^&<>\"'#]")


def typeset(markdown: str) -> str:
    """A page with its formulas as SVG.

    Raises:
        ValueError: if a formula is not TeX that matplotlib knows; it has the formula.
    """
    return _INLINE.sub(lambda match: _svg(match["tex"]), _BLOCK.sub(_display, markdown))


def _display(match: re.Match[str]) -> str:
    lines = [line.strip() for line in match["tex"].splitlines() if line.strip()]
    # A fraction of its own line is set large.
    rows = "".join("<div>" + _svg(line.replace(r"\frac", r"\dfrac")) + "</div>" for line in lines)
    return f'{match["indent"]}<div class="formula">{rows}</div>'


@cache
def _svg(tex: str) -> str:
    """The formula as one line of SVG that is placed on the baseline of the text around it."""
    from matplotlib import rc_context
    from matplotlib.textpath import TextPath

    with rc_context({"mathtext.fontset": "stix"}):
        try:
            path = TextPath((0, 0), f"${tex}$", size=_UNITS)
        except ValueError as error:
            raise ValueError(f"the formula {tex} cannot be typeset: {error}") from error
    box = path.get_extents()
    left, bottom, right, top = box.x0 - 4, box.y0 - 4, box.x1 + 4, box.y1 + 4
    width, height, depth = ((size * _SCALE) / _UNITS for size in (right - left, top - bottom, bottom))
    label = _MARKDOWN.sub(lambda match: f"&#{ord(match[0])};", html.unescape(tex))
    return (
        f'<svg class="math" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="{left:.0f} {-top:.0f} {right - left:.0f} {top - bottom:.0f}" '
        f'style="width:{width:.3f}em;height:{height:.3f}em;vertical-align:{depth:.3f}em">'
        f'<path d="{_outline(path)}"/></svg>'
    )


def _outline(path: Any) -> str:
    """A matplotlib path in SVG's language, upside down as SVG has it."""
    letters = {path.MOVETO: "M", path.LINETO: "L", path.CURVE3: "Q", path.CURVE4: "C", path.CLOSEPOLY: "Z"}
    parts = []
    for vertices, code in path.iter_segments(simplify=False):
        points = (
            [] if code == path.CLOSEPOLY else [round(v) if i % 2 == 0 else -round(v) for i, v in enumerate(vertices)]
        )
        parts.append(letters[code] + " ".join(map(str, points)))
    return "".join(parts)
