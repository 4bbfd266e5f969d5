"""The page of `invreg reconstruct`: each measurement beside its reconstruction; one file, readable without scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invreg.reporting.report import report_environment

if TYPE_CHECKING:
    import pandas as pd

#: Files that are shown; the others are in the table only.
SHOWN = 24
#: The longer side of an image on the page, in pixels; larger ones come with a detail of this size, pixel by pixel.
LONGEST_SIDE, DETAIL = 880, 400
# From this size on, images on the page are JPEG.
_PHOTOGRAPH = 128 * 128
# Smaller images are shown with larger pixels, until they have this width.
_NARROWEST = 240


@dataclass(frozen=True)
class Picture:
    """An image on the page.

    Attributes:
        title: what it shows.
        uri: the image itself.
        width: in pixels of the page.
        magnified: whether its pixels are shown larger than they are.
    """

    title: str
    uri: str
    width: int
    magnified: bool


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
    if not is_image:
        low, high = float(before.min()), float(before.max())
        before = (before - low) / max(high - low, 1e-12)
    rows = [[_picture("Measurement", before), _picture("Reconstruction", after)]]
    if is_image and max(after.shape[1:]) > LONGEST_SIDE:
        titles = ("Detail of the measurement", "Detail of the reconstruction")
        rows.append([_picture(title, _middle(image)) for title, image in zip(titles, (before, after), strict=True)])
    return rows


def _middle(image: NDArray[Any]) -> NDArray[Any]:
    top, left = (max(side - DETAIL, 0) // 2 for side in image.shape[1:])
    return image[:, top : top + DETAIL, left : left + DETAIL]


def _picture(title: str, image: NDArray[Any]) -> Picture:
    planes = image if len(image) in (1, 3) else image.mean(axis=0, keepdims=True)
    whole = np.rint(np.clip(planes, 0, 1) * 255).astype(np.uint8)
    shown = Image.fromarray(whole[0] if len(whole) == 1 else np.ascontiguousarray(whole.transpose(1, 2, 0)))
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    kind, options = ("PNG", {}) if shown.width * shown.height < _PHOTOGRAPH else ("JPEG", _JPEG)
    buffer = io.BytesIO()
    shown.save(buffer, kind, **options)
    uri = f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    factor = max(1, -(-_NARROWEST // shown.width)) if max(shown.size) < _NARROWEST else 1
    return Picture(title, uri, factor * shown.width, factor > 1)


_JPEG: dict[str, Any] = {"quality": 90, "subsampling": 0}


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
