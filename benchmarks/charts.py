"""Draws the charts of pages of the documentation from their tables: the numbers stand there alone.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg_analyses.shared.style import INK, LEARNED, MARKERS, MUTED, REFERENCE, drawing, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROOT = Path(__file__).resolve().parents[1]
#: The pages that have charts, in folders of the same names.
PAGES = ("speed", "studies", "findings")
_IMAGE = r"!\[(?P<title>[^\]]*)\]\(images/{page}/(?P<name>\w+)\.svg\)"
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
#: Numbers in a cell with a range; the most labels of a row that needs no panel.
_WITH_RANGE, _WITHOUT_PANELS = 3, 2
#: Inches of a chart that a phone need not shrink much.
_PHONE = 4.4
_MARKUP = re.compile(r"\*\*|`|\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Dots:
    """Values on a common scale, a row for each row of the table, with the range that a cell gives as `(low to high)`.

    Attributes:
        columns: that are shown.
        labels: how many columns name a row; with more than two, the first one names a panel.
        axis: what the scale shows.
        against: the column whose values are subtracted from those of all.
        proof: the column that holds a number where something is proven: others have hollow dots.
    """

    columns: tuple[str, ...]
    axis: str
    labels: int = 1
    against: str = ""
    proof: str = ""


@dataclass(frozen=True)
class Numbers:
    """Numbers within the sentences of a table, one panel with bars for each pattern.

    Attributes:
        names: of the bars, in the order of the groups of the patterns.
        patterns: titles of panels, and what finds the numbers.
    """

    names: tuple[str, ...]
    patterns: tuple[tuple[str, str], ...]


#: Colours and markers by method, the same in all charts of dots; other columns take the next ones that are free.
_STYLES = {
    "observation": (REFERENCE[0], "o"),
    "adjoint": (REFERENCE[0], "o"),
    "tv": (REFERENCE[1], "s"),
    "iresnet": (LEARNED[0], "o"),
    "explicit_iresnet": (LEARNED[3], "D"),
    "multiscale": (LEARNED[4], "v"),
    "conv_resnet": (LEARNED[1], "s"),
    "unet": (LEARNED[2], "^"),
}

_OTHERS = ("iresnet", "explicit_iresnet", "unet")
_OVER = "PSNR above that of conv_resnet (line), dB"
#: Charts that are no bars, of the table before them.
_KINDS: dict[str, Dots | Numbers] = {
    "equal_time": Dots(("PSNR in dB",), "PSNR, dB", proof="bound of Lip(φ⁻¹)"),
    "equal_time_problems": Dots(_OTHERS, _OVER, labels=3, against="conv_resnet"),
    "two_resolutions": Dots(("multiscale", "unet"), _OVER, labels=3, against="conv_resnet"),
    "fourier_sampling": Dots(("adjoint", "tv", "explicit_iresnet", "multiscale", "conv_resnet", "unet"), "PSNR, dB"),
    "two_cores": Dots(_OTHERS, _OVER, labels=2, against="conv_resnet"),
    "places": Dots(("smooth areas", "edges", "difference"), "departure from the operator"),
    "by_noise": Numbers(
        ("network, noise 0.01", "network, noise 0.05", "operator"),
        (
            ("gain at the highest frequencies", r"highest frequencies ([\d.]+) and ([\d.]+), of F ([\d.]+)"),
            ("strongest regularization, ‖∂ₕφ‖", r"‖∂ₕφ‖ is ([\d.]+) and ([\d.]+),.*?; of F ([\d.]+)"),
            ("kernels in smooth areas: radius, pixels", r"radius ([\d.]+) and ([\d.]+) pixels, of F ([\d.]+)"),
            ("kernels in smooth areas: reach, pixels", r"reach ([\d.]+) and ([\d.]+), of F ([\d.]+)"),
        ),
    ),
}

#: The columns that each chart of bars shows, of the table before it.
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


#: A value, and the ends of its range.
Value = tuple[float, float, float]


@dataclass(frozen=True)
class Chart:
    """A table of a page, and the image that shows it.

    Attributes:
        name: of the image, without its folder and ending.
        title: what it says, which is also its alternative text.
        names: the first cells of each row.
        series: values by the heads of columns, in the order of the rows; None where a cell holds no number.
        ranges: the same for charts of dots, with the ends of ranges.
        kind: how it is drawn; None for bars.
        proven: of each row, for charts of dots that tell it.
    """

    name: str
    title: str
    names: tuple[str, ...]
    series: dict[str, tuple[float | None, ...]]
    ranges: dict[str, tuple[Value | None, ...]] = field(default_factory=dict)
    kind: Dots | Numbers | None = None
    proven: tuple[bool, ...] = ()

    @property
    def digest(self) -> str:
        """Of all that is drawn."""
        drawn: list[Any] = [self.title, self.names, list(self.series.items())]
        if self.kind is not None:
            drawn += [list(self.ranges.items()), repr(self.kind), self.proven]
        return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()[:16]


def charts(page: str, name: str = "speed") -> Iterator[Chart]:
    """All charts of a page.

    Args:
        page: its text.
        name: of the page, and of the folder of its images.

    Raises:
        ValueError: if no table with what a chart shows comes before its image.
    """
    lines, image = page.splitlines(), re.compile(_IMAGE.format(page=name))
    for number, line in enumerate(lines):
        if not (found := image.fullmatch(line.strip())):
            continue
        last = next((n for n in range(number - 1, -1, -1) if lines[n].startswith("|")), -1)
        first = last
        while first > 0 and lines[first - 1].startswith("|"):
            first -= 1
        head, *rows = [_cells(line) for line in lines[first : last + 1] if not re.fullmatch(r"[|\s:-]+", line)] or [[]]
        if isinstance(kind := _KINDS.get(found["name"]), Numbers):
            yield _of_sentences(found["name"], found["title"], kind, "\n".join(lines[first : last + 1]))
            continue
        wanted = kind.columns if kind else _COLUMNS.get(found["name"], ())
        if not {*wanted, *([kind.proof] if kind and kind.proof else [])} <= set(head) or not wanted:
            raise ValueError(f"the table before {found['name']}.svg has the columns {head}; expected: {wanted}")
        if kind:
            yield _of_dots(found["name"], found["title"], kind, head, rows)
            continue
        series = {}
        for column in wanted:
            cells = [row[head.index(column)] for row in rows]
            units = {_NUMBER.sub("", cell, count=1).strip() for cell in cells} - {""}
            unit = f" ({units.pop()})" if len(units) == 1 else ""
            series[column + unit] = tuple(map(_number, cells))
        yield Chart(found["name"], found["title"], tuple(row[0] for row in rows), series)


def _of_dots(name: str, title: str, kind: Dots, head: list[str], rows: list[list[str]]) -> Chart:
    ranges = {}
    for column in kind.columns:
        ranges[column] = tuple(
            _minus(_range(row[head.index(column)]), _number(row[head.index(kind.against)]) if kind.against else 0.0)
            for row in rows
        )
    proven = tuple(_number(row[head.index(kind.proof)]) is not None for row in rows) if kind.proof else ()
    names = ["\t".join(row[: kind.labels]) for row in rows]
    if kind.labels == 1:
        names = [f"{head[0]} {one}" if _NUMBER.fullmatch(one) else one for one in names]
    return Chart(name, title, tuple(names), {}, ranges, kind, proven)


def _of_sentences(name: str, title: str, kind: Numbers, table: str) -> Chart:
    series = {}
    for heading, pattern in kind.patterns:
        if (found := re.search(pattern, table)) is None:
            raise ValueError(f"the table before {name}.svg has nothing like {pattern!r}")
        series[heading] = tuple(float(group) for group in found.groups())
    return Chart(name, title, kind.names, dict(series), kind=kind)


def _cells(line: str) -> list[str]:
    return [_MARKUP.sub(lambda match: match[1] or "", cell).strip() for cell in line.strip().strip("|").split("|")]


def _number(cell: str) -> float | None:
    found = _NUMBER.search(cell)
    return float(found[0].replace(",", "")) if found else None


def _range(cell: str) -> Value | None:
    """A number, with its range behind it in brackets if it has one: "31.5 (31.3 to 31.7)"."""
    numbers = [float(one.replace(",", "")) for one in _NUMBER.findall(cell)]
    if not numbers:
        return None
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == _WITH_RANGE else (numbers[0], numbers[0], numbers[0])


def _minus(value: Value | None, other: float | None) -> Value | None:
    if value is None or other is None:
        return None
    return value[0] - other, value[1] - other, value[2] - other


def draw(chart: Chart) -> Figure:
    """The chart of its kind."""
    if isinstance(chart.kind, Dots):
        return _draw_dots(chart, chart.kind)
    return _draw_panels(chart) if chart.kind else _draw_bars(chart)


def _draw_dots(chart: Chart, kind: Dots) -> Figure:
    """A row for each row of the table; panels one below the other. As wide as a phone."""
    rows = [name.split("\t") for name in chart.names]
    in_panels = kind.labels > _WITHOUT_PANELS
    titles = list(dict.fromkeys(row[0] if in_panels else "" for row in rows))
    members = [[i for i, row in enumerate(rows) if not in_panels or row[0] == title] for title in titles]
    with drawing():
        legend_rows = -(-len(kind.columns) // 3) if len(kind.columns) > 1 else 0
        height = 0.6 + 0.27 * len(rows) + 0.3 * (len(titles) if in_panels else 0) + 0.2 * legend_rows
        figure = new_figure(_PHONE, height + (0.25 if chart.proven else 0), chart.title)
        panels = figure.subplots(
            len(titles), 1, sharex=True, squeeze=False, height_ratios=[len(member) for member in members]
        )[:, 0]
        for axes, title, member in zip(panels, titles, members, strict=True):
            for n, column in enumerate(kind.columns):
                color, marker = _STYLES.get(column, (LEARNED[n], MARKERS[n]))
                for y, row in enumerate(member):
                    if (value := chart.ranges[column][row]) is None:
                        continue
                    is_hollow = bool(chart.proven) and not chart.proven[row]
                    axes.errorbar(
                        value[0],
                        y,
                        xerr=[[value[0] - value[1]], [value[2] - value[0]]],
                        color=color,
                        marker=marker,
                        markersize=6,
                        markerfacecolor="white" if is_hollow else color,
                        elinewidth=1.2,
                        linestyle="none",
                        label=column if row == member[0] and axes is panels[0] else None,
                    )
            if kind.against:
                axes.axvline(0, color=MUTED, linewidth=1.4, zorder=0.9)
            axes.set_yticks(range(len(member)), [", ".join(rows[row][1 if in_panels else 0 :]) for row in member])
            axes.set_ylim(len(member) - 0.4, -0.6)
            axes.margins(x=0.08)
            if in_panels:
                axes.set_title(title, fontsize=9)
            dress(axes, grid="x")
        panels[-1].set_xlabel(kind.axis + ("\nhollow: nothing is proven" if chart.proven else ""))
        if len(kind.columns) > 1:
            figure.legend(loc="outside upper left", ncols=3, fontsize=8.5, handletextpad=0.3, columnspacing=1.0)
    return figure


def _draw_panels(chart: Chart) -> Figure:
    """Bars on a scale of their own in each panel, one below the other. As wide as a phone."""
    with drawing():
        figure = new_figure(_PHONE, 0.2 + len(chart.series) * (0.35 + 0.22 * len(chart.names)), chart.title)
        panels = figure.subplots(len(chart.series), 1, squeeze=False)[:, 0]
        colors = (*LEARNED[: len(chart.names) - 1], REFERENCE[0])
        for axes, (name, values) in zip(panels, chart.series.items(), strict=True):
            bars = axes.barh(chart.names, [value or 0.0 for value in values], color=colors, height=0.66)
            axes.bar_label(bars, [f"{value:g}" for value in values], padding=3, fontsize=8.5)
            axes.set_title(name, fontsize=9)
            axes.margins(x=0.14, y=0.02)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
            axes.invert_yaxis()
            dress(axes)
    return figure


def _draw_bars(chart: Chart) -> Figure:
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
    for page in PAGES:
        for chart in charts((_ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), page):
            path = _ROOT / "docs" / "images" / page / f"{chart.name}.svg"
            if options.check:
                if not path.is_file() or chart.digest not in path.read_text(encoding="utf-8"):
                    old.append(f"{page}/{chart.name}")
                continue
            write(chart, path)
            print(f"{page}/{path.name}")
    if old:
        sys.exit(f"not as their tables: {', '.join(old)}; run `python benchmarks/charts.py`")


if __name__ == "__main__":
    main()
