"""Arrays as people have them: measurements in the form that methods take, and images brought back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from invreg.components.measurements import FAR
from invreg.errors import DataError, ShapeError
from invreg.text import plural

if TYPE_CHECKING:
    from invreg.components.operator import Shape
    from invreg.components.problem import Problem

#: What is divided by, so that the largest value of a type of image files is 1.
_WHITE = {torch.uint8: 255.0, torch.uint16: 65535.0}

#: More slices than that in front of rows and columns are taken for those of a volume, in hints.
_MOST_CHANNELS = 4

_COLOURS = {1: "grey", 3: "colour"}
_ARRAY = "a NumPy array or a torch tensor of numbers on the scale of images in [0, 1], or of 8 or 16 bits"


@dataclass(frozen=True)
class Batch:
    """Measurements in the form that a method takes, and the way back to the form in which they were given.

    Attributes:
        z: `[B, ...range]`, floating point.
        notes: what was done to them.
    """

    z: Tensor
    notes: tuple[str, ...]
    _given: Any
    _added: int
    _channels_last: bool
    _split: int

    def back(self, x: Tensor) -> Any:
        """Images `[B, C, *spatial]` as the measurements were given: kind, device, layout, with or without a batch."""
        if self._split > 1:
            x = x.reshape(-1, self._split, *x.shape[2:])
        if self._channels_last:
            x = x.movedim(1, -1)
        # What one measurement lacks in front of a batch of them (the batch, a single channel), its image lacks, too.
        x = x.reshape(x.shape[self._added :])
        if isinstance(self._given, Tensor):
            return x.to(self._given.device)
        return x.cpu().numpy()

    def per_measurement(self, values: Tensor) -> Tensor:
        """`[B]` squares summed up over the channels that were taken apart: one value per measurement as given."""
        return values.reshape(-1, self._split).sum(1) if self._split > 1 else values


class NoMeasurement(ShapeError):
    """An array that has not the shape of a measurement, or of a batch of them.

    Args:
        what: what is wrong, with the shape that was given.
        where: the method.
        one: shapes of one measurement that would be accepted.
        batch: shapes of a batch of them.
        of: what the shapes come from.
        hint: what to try next.
    """

    def __init__(self, what: str, *, where: str, one: str, batch: str, of: str, hint: str | None = None) -> None:
        super().__init__(what, where=where, expected=f"{one} or {batch}: {of}", hint=hint)
        #: For files, which hold one measurement each.
        self.expected_of_one = f"{one}: {of}"


def as_batch(measurement: Any, problem: Problem, image_shape: Shape, where: str) -> Batch:
    """The measurements as a batch.

    Args:
        measurement: NumPy or torch. For problems whose measurements have the shape of images: `[H, W]`, `[C, H, W]` or
            `[N, C, H, W]`, channels last as well; colours for a method of grey images are taken apart; for volumes with
            D in front of H. For others, in the shape of one measurement, or a batch of them.
        problem: what the method is for.
        image_shape: (C, H, W), or (C, D, H, W), for which it was set up.
        where: the method, for messages.

    Raises:
        DataError: for values that are not numbers on the scale of the problem.
        ShapeError: for another shape.
    """
    notes: list[str] = []
    z = on_scale(as_tensor(measurement, where, _ARRAY), where, _ARRAY, notes)
    shape = tuple(problem.operator.range_shape(image_shape))
    if shape == tuple(image_shape):
        z, last, split = _image_batch(z, image_shape[0], len(shape) - 1, notes, where)
    else:
        last, split = False, 1
        if z.ndim == len(shape) or (z.ndim == len(shape) - 1 and shape[0] == 1):
            z = z.reshape(1, *shape[: len(shape) - z.ndim], *z.shape)
        if tuple(z.shape[1:]) != shape:
            raise NoMeasurement(
                f"a measurement of shape {list(measurement.shape)}",
                where=where,
                one=str(list(shape)),
                batch=f"a batch [N, {', '.join(map(str, shape))}]",
                of=f"what {type(problem.operator).__name__} makes of images {list(image_shape)}",
                hint="a model is for one size of images where measurements are not images",
            )
    if not z.numel():
        raise ShapeError(f"a measurement of shape {list(measurement.shape)}", where=where, expected="one with values")
    _check_values(z, problem, image_shape, notes, where)
    added = z.ndim - measurement.ndim if measurement.ndim < z.ndim else 0
    return Batch(z, tuple(notes), measurement, added, last, split)


def as_tensor(given: Any, where: str, expected: str) -> Tensor:
    """Numbers of NumPy or torch as a tensor; whole numbers stay what they are, see `on_scale`.

    Args:
        given: as a person has it.
        where: its place, for messages.
        expected: what would be accepted.

    Raises:
        DataError: for anything else.
    """
    if isinstance(given, np.ndarray):
        if given.dtype.kind not in "uif":
            raise DataError(f"an array of type {given.dtype}", where=where, expected=expected)
        # Its own copy: negative strides, read-only memory and foreign byte orders are not for torch.
        native = given.astype(given.dtype.newbyteorder("="), order="C")
        return torch.from_numpy(native.astype(np.float64) if native.dtype == np.longdouble else native)
    if isinstance(given, Tensor):
        return given.detach()
    hint = "np.asarray(image)" if hasattr(given, "__array__") or isinstance(given, list) else None
    raise DataError(f"an instance of {type(given).__name__}", where=where, expected=expected, hint=hint)


def on_scale(values: Tensor, where: str, expected: str, notes: list[str]) -> Tensor:
    """Values in float32 or float64: those of 8 and 16 bits are divided by the value of white.

    Args:
        values: from `as_tensor`.
        where: their place, for messages.
        expected: what would be accepted.
        notes: where it is said what was done.

    Raises:
        DataError: for other whole numbers, and for complex ones.
    """
    if (white := _WHITE.get(values.dtype)) is not None:
        notes.append(f"values of {values.dtype.itemsize * 8} bits were divided by {white:.0f}; the image is in [0, 1]")
        return values.to(torch.float64).div(white).to(torch.float32)
    kind = str(values.dtype).removeprefix("torch.")
    if not values.is_floating_point():
        raise DataError(
            f"values of type {kind}",
            where=where,
            expected=expected,
            hint="(values / white).astype(np.float32), where `white` is the value of white",
        )
    if values.dtype not in (torch.float32, torch.float64):
        notes.append(f"values of type {kind} were taken as float32")
        values = values.float()
    return values


def _image_batch(z: Tensor, channels: int, axes: int, notes: list[str], where: str) -> tuple[Tensor, bool, int]:
    """Images as `[B, C, *spatial]` with the channels of the method; whether channels came last; colours taken apart."""
    shape, sides, what = list(z.shape), "H, W", "images"
    if axes == 3:
        sides, what = "D, H, W", "volumes"
    may_be_colours = channels == 1 and axes == 2
    one, batch = f"[{sides}] or [{channels}, {sides}]", f"[N, {channels}, {sides}]"
    of = f"the method is for {_COLOURS.get(channels, f'{channels}-channel')} {what}"
    if may_be_colours:
        of += ", and takes those of three colours one by one"
    if z.ndim - axes not in (0, 1, 2):
        raise NoMeasurement(f"a measurement of shape {shape}", where=where, one=one, batch=batch, of=of)
    known = {channels} | ({3} if may_be_colours else set())
    last = False
    if z.ndim == axes:
        z = z[None, None]
    elif z.shape[-axes - 1] not in known and z.shape[-1] in known:
        last = True
        batch = "N, " if z.ndim == axes + 2 else ""
        notes.append(f"channels came last, {shape}: taken as [{batch}C, {sides}], and given back")
        z = z.movedim(-1, -axes - 1)
    if z.ndim == axes + 1:
        z = z[None]
    found = z.shape[1]
    if found == channels:
        return z, last, 1
    if may_be_colours and found == 3:
        notes.append("the method is for grey images: each of the 3 colours was reconstructed alone")
        return z.reshape(-1, 1, *z.shape[2:]), last, 3
    alpha = axes == 2 and (shape[-1] in (2, 4) or (len(shape) > 2 and shape[-3] in (2, 4)))
    hint = "leave out the alpha channel" if alpha else None
    if axes == 2 and found > _MOST_CHANNELS and not alpha:
        hint = "this looks like a volume, or a stack of images, and the method is for single images"
    raise NoMeasurement(f"a measurement of shape {shape}", where=where, one=one, batch=batch, of=of, hint=hint)


def _check_values(z: Tensor, problem: Problem, image_shape: Shape, notes: list[str], where: str) -> None:
    bad = ~torch.isfinite(z)
    if bad.any():
        first = bad.nonzero()[0].tolist()
        raise DataError(
            f"{plural(int(bad.sum()), 'value')} NaN or infinite, the first at {first} of the batch {list(z.shape)}",
            where=where,
            expected="finite numbers",
        )
    low, high = (float(value) for value in torch.aminmax(z))
    size = max(abs(low), abs(high))
    if problem.measured_range is not None:
        _compare(low, high, problem.measured_range, notes, where)
        return
    if size <= FAR:
        return
    device = next(iter([*problem.operator.parameters(), *problem.operator.buffers()]), torch.zeros(())).device
    largest = problem.largest_measurement(image_shape, torch.zeros((), device=device))
    if largest is not None and size > FAR * largest:
        raise DataError(
            f"values from {low:.4g} to {high:.4g}",
            where=where,
            expected=f"at most about {largest:.2g} in size: what the problem makes of images in [0, 1]",
            hint="divide by the value of white: 255 for 8 bits, 65535 for 16 bits",
        )


def _compare(low: float, high: float, trained: tuple[float, float], notes: list[str], where: str) -> None:
    """Compares values with those of the measured pairs in training."""
    given, known = (f"values from {a:.4g} to {b:.4g}" for a, b in ((low, high), trained))
    size, largest = max(abs(low), abs(high)), max(map(abs, trained))
    if size > FAR * largest:
        raise DataError(
            given,
            where=where,
            expected=f"the scale of the measurements in training: {known}",
            hint="divide by what the measurements of the training were divided by: in files, the value of white",
        )
    margin = (trained[1] - trained[0]) / 2
    if size < largest / FAR or low < trained[0] - margin or high > trained[1] + margin:
        notes.append(f"{given}, where the measurements in training had {known}: are they on the same scale?")
