"""The page of `invreg reconstruct`: each measurement beside its reconstruction; one file, readable without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from invreg.reporting.pictures import LONGEST_SIDE, Picture, picture, stretched
from invreg.reporting.report import report_environment

if TYPE_CHECKING:
    import pandas as pd

#: Files that are shown; the others are in the table only.
SHOWN = 24
# The longer side of a detail, in pixels: images that are shown smaller than they are come with one, pixel by pixel.
_DETAIL = 400


@dataclass(frozen=True)
class Entry:
    """A file on the page.

    Attributes:
        name: of the file.
        rows: pictures beside each other.
        numbers: what is known of it, with its name.
        notes: what was done to it, and the warnings.
    """

    name: str
    rows: Sequence[Sequence[Picture]]
    numbers: Sequence[tuple[str, str]]
    notes: Sequence[str]


def before_and_after(before: NDArray[Any], after: NDArray[Any], is_image: bool) -> list[list[Picture]]:
    """The measurement beside its reconstruction, and a detail of both where they are shown smaller than they are.

    Args:
        before: `[C, H, W]`, floating point, 1 for white.
        after: the same.
        is_image: whether the measurement is an image of the same size; if not, its values are stretched to [0, 1].
    """
    before = before if is_image else stretched(before)
    rows = [[picture("Measurement", before), picture("Reconstruction", after)]]
    if is_image and after.ndim == 3 and max(after.shape[1:]) > LONGEST_SIDE:
        titles = ("Detail of the measurement", "Detail of the reconstruction")
        rows.append([picture(title, _middle(image)) for title, image in zip(titles, (before, after), strict=True)])
    return rows


def _middle(image: NDArray[Any]) -> NDArray[Any]:
    top, left = (max(side - _DETAIL, 0) // 2 for side in image.shape[1:])
    return image[:, top : top + _DETAIL, left : left + _DETAIL]


def render_reconstructions(
    title: str,
    headline: str,
    facts: Sequence[tuple[str, str]],
    entries: Sequence[Entry],
    table: pd.DataFrame,
    units: str,
    failures: Mapping[str, str],
) -> str:
    """The page as one HTML document: no network, no scripts but its own; everything that is shown is escaped.

    Args:
        title: the heading.
        headline: what was done, in a sentence.
        facts: about the model, with their names.
        entries: the files that are shown.
        table: all files that are reconstructed.
        units: of its numbers.
        failures: the files that could not be reconstructed, with the reason.
    """
    return (
        report_environment()
        .get_template("reconstructions.html")
        .render(
            title=title,
            headline=headline,
            facts=facts,
            entries=entries,
            table=table,
            units=units,
            failures=failures,
        )
    )
