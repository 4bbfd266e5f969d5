"""Draws the charts of docs/speed.md from its tables: the numbers stand there alone.

    python benchmarks/charts.py [--check]

The image of a chart follows its table in the page. `--check` draws nothing, and ends with 1 if a chart is not that of
its table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invreg_analyses.shared.style import INK, LEARNED, drawing, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROOT = Path(__file__).resolve().parents[1]
_IMAGE = re.compile(r"!\[(?P<title>[^\]]*)\]\(images/speed/(?P<name>\w+)\.svg\)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_MARKUP = re.compile(r"\*\*|`|\[([^\]]*)\]\([^)]*\)")


#: The columns that each chart shows, of the table before it.
_COLUMNS = {
    "step_small": ("to conv_resnet", "units"),
    "step_quickstart": ("to conv_resnet", "units"),
    "step_trained": ("to conv_resnet", "units"),
    "step_compiled": ("before", "now"),
    "kept": ("1", "2", "4", "8"),
    "inversion": ("at equal residuals", "at equal errors"),
    "busy": ("fair share", "search", "search before", "training", "training before"),
    "scaling": ("training step", "reconstruction"),
    "compiled": ("f(x), compiled", "f(x), plain", "f'(x)* w, compiled", "f'(x)* w, plain"),
    "residuals": ("8/16", "16/32", "32/64"),
    "derivatives": ("4 at once", "8 at once", "16 at once"),
}


@dataclass(frozen=True)
class Chart:
    """A table of the page, and the image that shows it.

    Attributes:
        name: of the image, without its folder and ending.
        title: what it says, which is also its alternative text.
        names: the first cell of each row.
        series: values by the heads of columns, in the order of the rows; None where a cell holds no number.
    """

    name: str
    title: str
    names: tuple[str, ...]
    series: dict[str, tuple[float | None, ...]]

    @property
    def digest(self) -> str:
        """Of all that is drawn."""
        content = json.dumps([self.title, self.names, list(self.series.items())])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def charts(page: str) -> Iterator[Chart]:
    """All charts of a page.

    Raises:
        ValueError: if no table with the columns of a chart comes before its image.
    """
    lines = page.splitlines()
    for number, line in enumerate(lines):
        if not (found := _IMAGE.fullmatch(line.strip())):
            continue
        last = next((n for n in range(number - 1, -1, -1) if lines[n].startswith("|")), -1)
        first = last
        while first > 0 and lines[first - 1].startswith("|"):
            first -= 1
        head, *rows = [_cells(line) for line in lines[first : last + 1] if not re.fullmatch(r"[|\s:-]+", line)] or [[]]
        wanted = _COLUMNS.get(found["name"], ())
        if not set(wanted) <= set(head) or not wanted:
            raise ValueError(f"the table before {found['name']}.svg has the columns {head}; expected: {wanted}")
        series = {}
        for column in wanted:
            cells = [row[head.index(column)] for row in rows]
            units = {_NUMBER.sub("", cell, count=1).strip() for cell in cells} - {""}
            unit = f" ({units.pop()})" if len(units) == 1 else ""
            series[column + unit] = tuple(map(_number, cells))
        yield Chart(found["name"], found["title"], tuple(row[0] for row in rows), series)


def _cells(line: str) -> list[str]:
    return [_MARKUP.sub(lambda match: match[1] or "", cell).strip() for cell in line.strip().strip("|").split("|")]


def _number(cell: str) -> float | None:
    found = _NUMBER.search(cell)
    return float(found[0].replace(",", "")) if found else None


def draw(chart: Chart) -> Figure:
    """Horizontal bars, with the values beside them; one row of panels, a panel for each column."""
    with drawing():
        # Long names take their own room.
        figure = new_figure(7.6, 0.55 + 0.24 * len(chart.names), chart.title)
        is_one_scale = not {"units"} & set(chart.series)  # which count operations beside a ratio of times
        panels = figure.subplots(1, len(chart.series), sharex=is_one_scale, sharey=True, squeeze=False)[0]
        for axes, (name, values), color in zip(panels, chart.series.items(), LEARNED, strict=False):
            bars = axes.barh(chart.names, [value or 0.0 for value in values], color=color, height=0.66)
            axes.bar_label(bars, ["" if value is None else f"{value:g}" for value in values], padding=3, fontsize=8)
            axes.set_title(name, fontsize=9, fontweight="normal", color=INK)
            axes.margins(x=0.14, y=0.02)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
            dress(axes)
        panels[0].invert_yaxis()
    return figure


def write(chart: Chart, path: Path) -> None:
    """As an SVG that is the same, byte by byte, for the same table."""
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": chart.digest, "svg.fonttype": "none"}):
        draw(chart).savefig(path, format="svg", metadata={"Date": None, "Identifier": chart.digest})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only look whether charts are those of their tables")
    options = parser.parse_args()
    old = []
    for chart in charts((_ROOT / "docs" / "speed.md").read_text(encoding="utf-8")):
        path = _ROOT / "docs" / "images" / "speed" / f"{chart.name}.svg"
        if options.check:
            if not path.is_file() or chart.digest not in path.read_text(encoding="utf-8"):
                old.append(chart.name)
            continue
        write(chart, path)
        print(path.name)
    if old:
        sys.exit(f"not as their tables: {', '.join(old)}; run `python benchmarks/charts.py`")


if __name__ == "__main__":
    main()
