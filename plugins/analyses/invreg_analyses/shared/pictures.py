"""Pictures in figures: images of one or three channels, a marked region, and signed errors on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from invreg.text import number
from invreg_analyses.shared.style import ACCENT, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

#: Diverging and readable with any kind of colour vision: blue below zero, red above.
DIVERGING = "RdBu_r"

#: What is said where volumes are shown.
MIDDLE_SLICES = (
    "Volumes are shown by three slices: through the middle of the depth, below it of the height, and beside it of the "
    "width."
)

#: The detail where next to nothing is to be seen, as a share of that of other images, or of other parts of an image.
_NEARLY_EMPTY = 0.5

Region = tuple[int, int, int, int]  # top, left, height, width


def show_image(axes: Axes, image: NDArray[np.float32], region: Region | None = None) -> None:
    """An image `[C, H, W]` on the fixed grey range [0, 1], without ticks; only `region` of it, if given."""
    axes.set_axis_on()
    pixels = np.clip(_cut(image, region), 0, 1)
    if pixels.shape[0] == 3:
        axes.imshow(pixels.transpose(1, 2, 0), interpolation="none")
    else:
        axes.imshow(pixels.mean(0), cmap="gray", vmin=0, vmax=1, interpolation="none")
    _bare(axes)


def show_signed(axes: Axes, values: NDArray[np.float32], limit: float) -> AxesImage:
    """Signed values `[C, H, W]` (mean over the channels) from blue at -limit over white to red at limit."""
    drawn = axes.imshow(values.mean(0), cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="none")
    _bare(axes)
    return drawn


def mark_region(axes: Axes, region: Region) -> None:
    """Frames the region in a picture."""
    from matplotlib.patches import Rectangle

    top, left, height, width = region
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=ACCENT, linewidth=1.2))


def frame(axes: Axes, color: str, width: float = 1.2) -> None:
    """Frames a picture."""
    for spine in axes.spines.values():
        spine.set(visible=True, color=color, linewidth=width)


def color_scale(
    axes: Axes, drawn: AxesImage, limit: float, title: str = "", place: tuple[float, float] = (0.42, 0.09)
) -> None:
    """The horizontal scale of a signed picture, within other axes.

    Args:
        axes: the axes in which it stands.
        drawn: see `show_signed`.
        limit: of the picture.
        title: stands above.
        place: lower end and height, as shares of the height of `axes`.
    """
    inset = axes.inset_axes((0.06, place[0], 0.88, place[1]))
    bar = axes.figure.colorbar(drawn, cax=inset, orientation="horizontal", extend="both", ticks=[-limit, 0, limit])
    bar.ax.set_xticklabels([number(-limit), "0", f"+{number(limit)}"])
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)  # type: ignore[operator]
    inset.set_title(title, loc="center", fontsize=8.5, fontweight="normal", pad=4)


def signed_limit(values: NDArray[np.float32], share: float = 0.995) -> float:
    """The limit of a signed scale, two digits: all but a share of 1 - `share` of the absolute values lie within."""
    finite = np.abs(values[np.isfinite(values)])
    limit = float(np.quantile(finite, share)) if finite.size else 0.0
    return max(float(f"{limit:.1e}"), 1e-6)


def roughness(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared differences between neighbours of `[..., H, W]`, of the same shape: large at detail, zero where flat."""
    down = np.diff(values, axis=-2, append=values[..., -1:, :])
    right = np.diff(values, axis=-1, append=values[..., :, -1:])
    rough: NDArray[np.float64] = down**2 + right**2
    return rough


def gradient(image: NDArray[Any]) -> NDArray[np.float64]:
    """The length of the differences to the next neighbours of `[..., H, W]`, of the same shape; not squared, so that
    one strong edge does not outweigh all else.
    """
    lengths: NDArray[np.float64] = np.sqrt(roughness(image.astype(np.float64)))
    return lengths


def detail(images: NDArray[Any]) -> NDArray[np.float64]:
    """The mean gradient of each of the images `[N, C, H, W]`; zero if one is flat."""
    # One by one: there may be thousands.
    return np.array([float(gradient(image).mean()) for image in images])


def with_content(images: NDArray[Any], count: int) -> list[int]:
    """Positions of the images `[N, C, H, W]` on which something is to be seen; all, if fewer than `count` are.

    An image is nearly empty if its detail is less than half of the median of all.
    """
    if len(images) <= count:
        return list(range(len(images)))
    values = detail(images)
    kept = [int(i) for i in np.flatnonzero(values >= _NEARLY_EMPTY * np.median(values))]
    return kept if len(kept) >= count else list(range(len(values)))


def busiest_region(
    interest: NDArray[np.float64], height: int, width: int, shown: NDArray[np.float64] | None = None
) -> Region:
    """The window of the given size over which the sum of `interest` is largest; if flat, the center.

    Args:
        interest: `[H, W]`.
        height: of the window.
        width: of the window.
        shown: `[H, W]`, what makes a window worth looking at: one with less than half of the most is not taken.
    """
    sums = _window_sums(interest, height, width)
    if np.ptp(sums) <= 1e-9 * abs(sums).max():
        return (interest.shape[0] - height) // 2, (interest.shape[1] - width) // 2, height, width
    if shown is not None:
        seen = _window_sums(shown, height, width)
        sums = np.where(seen >= _NEARLY_EMPTY * seen.max() * (1 - 1e-9), sums, -np.inf)
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left), height, width


def _window_sums(values: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    total[1:, 1:] = values.cumsum(0).cumsum(1)
    sums: NDArray[np.float64] = (
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    )
    return sums


def _cut(image: NDArray[np.float32], region: Region | None) -> NDArray[np.float32]:
    if region is None:
        return image
    top, left, height, width = region
    return image[:, top : top + height, left : left + width]


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    frame(axes, MUTED, 0.5)
