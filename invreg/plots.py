"""Small figures: images side by side, bounds and curves for notebooks; quality over bounds for leaderboards. Reports
have figures of analyses instead.

They are made with matplotlib's objects alone, never pyplot, so that nothing global is changed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from invreg.slices import as_pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

_COLOR, _INK, _MUTED = "#0072b2", "#1f2933", "#66717d"

_SETTINGS: Any = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.usetex": False,
    "text.parse_math": False,  # names are shown as they are, dollar signs included
    "text.color": _INK,
}


def for_notebooks(figure: Figure) -> Figure:
    """The figure, which a notebook shows whether or not pyplot has been imported."""
    figure._repr_png_ = partial(_as_png, figure)  # type: ignore[attr-defined]
    return figure


def _as_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


@contextmanager
def _panels(rows: int, columns: int, width: float, height: float) -> Iterator[tuple[Figure, list[list[Axes]]]]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield for_notebooks(figure), figure.subplots(rows, columns, squeeze=False).tolist()


def draw_images(columns: Mapping[str, Tensor], names: Sequence[str], captions: Mapping[tuple[str, str], str]) -> Figure:
    """One row per image, one column per stack of images in [0, 1].

    Args:
        columns: `[N, C, H, W]`, or `[N, C, D, H, W]` of which the middle slices are shown, by title.
        names: N names of the images.
        captions: a line below a picture, by title and name.
    """
    shown = {title: as_pictures(stack.detach().cpu().clamp(0, 1).numpy()) for title, stack in columns.items()}
    height, width = next(iter(shown.values())).shape[-2:]
    side = min(2.4, 12 / len(columns))
    size = (side * len(columns), (side * height / width + 0.35) * len(names) + 0.2)
    with _panels(len(names), len(columns), *size) as (figure, grid):
        for row, name in enumerate(names):
            for axes, (title, stack) in zip(grid[row], shown.items(), strict=True):
                picture = stack[row].transpose(1, 2, 0)
                if picture.shape[-1] != 3:
                    picture = picture[..., 0]
                axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axes.set_xticks([])
                axes.set_yticks([])
                for spine in axes.spines.values():
                    spine.set_visible(False)
                if row == 0:
                    axes.set_title(_cut(title, int(side * 12)))
                axes.set_xlabel(captions.get((title, name), ""), color=_MUTED, loc="left")
            grid[row][0].set_ylabel(_cut(name, 30), color=_MUTED)
    return figure


def draw_bounds(groups: Mapping[str, Mapping[str, float]], title: str, written: Callable[[float], str]) -> Figure:
    """Horizontal bars, one panel per group; the smallest bound of each in full colour.

    Args:
        groups: positive bounds by the way in which they were proven.
        title: above all.
        written: a bound as text.
    """
    rows = max((len(bounds) for bounds in groups.values()), default=1)
    with _panels(1, max(1, len(groups)), 4.6 * max(1, len(groups)), 0.9 + 0.32 * rows) as (figure, (panels,)):
        figure.suptitle(_cut(title, 160), x=0.01, ha="left", fontsize=9, wrap=True)
        for axes, (name, bounds) in zip(panels, groups.items(), strict=False):
            best = min(bounds.values())
            low = min(1.0, best)
            for place, bound in enumerate(bounds.values()):
                axes.barh(place, bound - low, left=low, color=_COLOR, alpha=1.0 if bound == best else 0.35)
                axes.annotate(
                    written(bound), (bound, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
                )
            axes.set_yticks(range(len(bounds)), [proof.replace("_", " ") for proof in bounds])
            axes.invert_yaxis()
            high = max(bounds.values())
            if high > 10 * low:
                axes.set_xscale("log")
                axes.set_xlim(low, high * (high / low) ** 0.25)
            else:
                axes.set_xlim(low, high + 0.25 * max(high - low, 0.1 * high))
            axes.set_title(name)
        if not groups:
            panels[0].set_axis_off()
    return figure


def draw_against_constants(
    points: Sequence[tuple[str, float, float, float]], label: str, higher_is_better: bool
) -> Figure:
    """Quality over Lipschitz constants, with the names of the methods at the right.

    Args:
        points: of each method its name, the proven bound (NaN if there is none), the largest ratio that an attack has
            found (NaN if there is none) and its quality.
        label: of the quality.
        higher_is_better: whether the best is at the top.
    """
    shown = [p for p in points if math.isfinite(p[3]) and any(math.isfinite(x) and x > 0 for x in p[1:3])]
    shown.sort(key=lambda point: point[3])
    with _panels(1, 1, 8.4, max(2.4, 1.2 + 0.26 * len(shown))) as (figure, ((axes,),)):
        for _, bound, attack, quality in shown:
            is_proven = math.isfinite(bound)
            if is_proven and math.isfinite(attack):
                axes.plot([attack, bound], [quality, quality], color=_COLOR, lw=0.8, alpha=0.6)
                axes.plot([attack], [quality], color=_COLOR, marker="|", markersize=6)
            place, face = (bound, _COLOR) if is_proven else (attack, "white")
            axes.plot([place], [quality], color=_COLOR, marker="o", markersize=6, markerfacecolor=face, lw=0)
            if not is_proven:
                axes.annotate(
                    "",
                    (place * 1.35, quality),
                    (place, quality),
                    arrowprops={"arrowstyle": "->", "color": _MUTED, "lw": 0.8, "shrinkA": 4},
                )
        axes.set_xscale("log")
        axes.set_xlabel("Lipschitz constant of the reconstruction: proven (filled), attacked (line, hollow)")
        axes.set_title(f"{label}, {'higher' if higher_is_better else 'lower'} is better")
        axes.grid(alpha=0.25)
        axes.margins(x=0.08, y=0.08)
        low, high = axes.get_ylim()
        heights = _apart([(quality - low) / (high - low) for *_, quality in shown])
        for (name, bound, attack, quality), height in zip(shown, heights, strict=True):
            place = bound if math.isfinite(bound) else attack
            axes.annotate(
                _cut(name, 30),
                (place, quality),
                xytext=(1.03, height),
                textcoords="axes fraction",
                va="center",
                fontsize=8,
                arrowprops={
                    "arrowstyle": "-",
                    "color": _MUTED,
                    "lw": 0.4,
                    "alpha": 0.6,
                    "shrinkB": 4,
                    "relpos": (0, 0.5),
                },
            )
        axes.set_ylim(low, high)
        _label_decades(axes)
        if not higher_is_better:
            axes.invert_yaxis()
    return figure


def _label_decades(axes: Any) -> None:
    """Plain numbers on a logarithmic axis of constants, so few that they do not overlap."""
    from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    if decades < 0.5:
        axes.xaxis.set_major_locator(AutoLocator())
    elif decades < 3:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _apart(heights: list[float]) -> list[float]:
    """Heights in [0, 1], rising, moved apart so far that names fit beside each other."""
    gap = min(0.075, 1 / max(1, len(heights)))
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + gap)
    top = 1.0
    for index in reversed(range(len(heights))):
        heights[index] = top = min(heights[index], top)
        top -= gap
    return heights


def draw_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """One panel per column of numbers, over the first column; times and rates are left out."""
    axis, *others = rows[0]
    names = [name for name in others if name not in ("epoch", "lr", "seconds") and _are_numbers(rows, name)]
    with _panels(1, max(1, len(names)), 3.4 * max(1, len(names)), 2.4) as (figure, (panels,)):
        for axes, name in zip(panels, names, strict=False):
            axes.plot([row[axis] for row in rows], [row[name] for row in rows], color=_COLOR, marker=".")
            axes.set_title(name)
            axes.set_xlabel(axis)
            values = [row[name] for row in rows]
            if min(values) > 0 and max(values) > 10 * min(values):
                axes.set_yscale("log")
    return figure


def _are_numbers(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(isinstance(row.get(name), int | float) and not isinstance(row[name], bool) for row in rows)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
