"""What shortens fixed-point iterations: starts and corrections of their steps, learned by least squares in training.

Along a chain x_0, x_1, ..., x_N of states, the next state is predicted from the ones before it; that is where its
iteration x <- g(x) starts. From an iterate x with the residual r = g(x) - x, the iteration then goes on to
g(x) + C r, where C r predicts what is left to the fixed point. The predictions are linear maps of the channels of each
pixel, at a twentieth of the cost of an evaluation; for answers, a pixel's neighbours are looked at as well. A poor
prediction costs iterations, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invreg import processes
from invreg_iresnet.axes import channels_first, convolved, in_channels_last, pixels_last, rows
from invreg_iresnet.inversion.accuracy import Corrected
from invreg_iresnet.inversion.fixed_point import Correction, Solution, Stopping

# Side of the square of neighbours, and of the cube for volumes: there are samples for so many unknowns.
_SIZES = {2: 5, 3: 3}

# Pixels of a batch in the least squares, with neighbours and without, and the share of the step to their solution that
# is taken.
_SAMPLES, _WITH_NEIGHBOURS = 2048, 512
_RATE = 0.5

# The first batches teach one after the other, then one of sixteen: by then, weights change slowly.
_FIRST, _EVERY = 16, 16

# How many steps of an iteration are corrected: what is learned from its first residual suits the next ones less and
# less.
_CORRECTED = 3

# Relative to the mean of the diagonal of the Gram matrix: states are strongly correlated.
_RIDGE = 1e-6


class LearnedStarts(nn.Module):
    """Predictions along a chain x_0, x_1, ..., x_N of states.

    x_i is predicted as x_{i-1} + A_i x_{i-1} + B_i (x_{i-1} - x_{i-2}), and what a residual r leaves to the fixed point
    as C_i r, where A_i, B_i and C_i act on the channels of each pixel alone; for answers as C_i r + D_i r, where D_i
    convolves each channel with a 5x5 kernel of its own (3x3x3 for volumes). Before anything is learned, all of them
    vanish. Predictions depend on what was learned, but not on the other images of a batch.

    Args:
        subnetworks: N.
        channels: M.
        axes: spatial axes of the states.
    """

    coefficients: Tensor
    corrections: Tensor
    taps: Tensor
    counts: Tensor
    batches: Tensor

    def __init__(self, subnetworks: int, channels: int, axes: int = 2) -> None:
        super().__init__()
        self._size = _SIZES[axes]
        # Buffers: they belong to what a checkpoint keeps, so that an interrupted training goes on in the same way.
        # A_i and B_i, transposed, one below the other.
        self.register_buffer("coefficients", torch.zeros(subnetworks, 2 * channels, channels))
        self.register_buffer("corrections", torch.zeros(subnetworks, channels, channels))  # C_i, transposed
        self.register_buffer("taps", torch.zeros(subnetworks, channels, *axes * (self._size,)))  # kernels of D_i
        self.register_buffer("counts", torch.zeros(subnetworks, dtype=torch.int64))  # evaluations that are enough, or 0
        self.register_buffer("batches", torch.tensor(0))  # that there were to learn from

    def start(self, number: int, path: Sequence[Tensor]) -> Tensor:
        """The prediction of x_i.

        Args:
            number: i, from 1.
            path: the states before it, x_{i-1} last; the last two count.
        """
        last = path[-1]
        of_last, of_step = self.coefficients[number - 1].to(last.dtype).chunk(2)
        of_last = of_last + torch.eye(len(of_last), dtype=last.dtype, device=last.device)
        if len(path) == 1:
            return _times(last, of_last)
        # The step is a difference of states: its map is applied to these, which saves making it.
        found = _times(last, of_last + of_step)
        rows(found).addmm_(rows(path[-2]), of_step, alpha=-1)
        return found

    def predictions(self, corrected: Corrected) -> Sequence[Correction | None]:
        """What corrects the iterations that look for x_1, ..., x_N; None before anything is learned."""
        if corrected == "nothing" or not self.batches:
            return len(self.taps) * [None]
        answers = corrected == "answers"
        return [_correction(*one, answer=answers) for one in zip(self.corrections, self.taps, strict=True)]

    def plan(self, state: Tensor, stopping: Stopping) -> tuple[list[Stopping], Lesson | None]:
        """When the iterations of the batch that begins with x_0 end, and what collects what it teaches, if it does.

        A batch that teaches goes to the tolerance; those between take as many evaluations as it took, without a look.
        """
        count = int(self.batches)
        self.batches += 1
        if count < _FIRST or count % _EVERY == 0:
            return len(self.counts) * [stopping], Lesson(self._size, [sample(state)], [], [], [], [], [])
        known = self.counts.tolist() if stopping.tolerance else len(self.counts) * [0]
        return [Stopping(0, one) if one else stopping for one in known], None

    @torch.no_grad()
    def learn(self, lesson: Lesson) -> None:
        """Goes halfway from the present predictions to the least-squares solutions for these states.

        Processes that share a batch solve the least squares of all its pixels.
        """
        states, residuals, left, around, middle = map(torch.stack, lesson[1:6])
        parts = processes().gather(lambda: lesson.enough)
        self.counts.copy_(torch.tensor([max(one) if all(one) else 0 for one in zip(*parts, strict=True)]))
        before, steps = states[:-1], states.diff(dim=0)
        known = torch.cat([before, torch.cat([torch.zeros_like(steps[:1]), steps[:-1]])], dim=2)
        self.coefficients += _RATE * _least_squares(known, steps - known @ self.coefficients)
        self.corrections += _RATE * _least_squares(residuals, left - residuals @ self.corrections)
        # The neighbours predict what is left by the channels; each channel by itself.
        centre = around[..., around.shape[-1] // 2]
        known = around.transpose(1, 2).flatten(0, 1)
        by_channels = middle - centre @ self.corrections
        target = by_channels.mT.flatten(0, 1)[..., None] - known @ self.taps.flatten(2).flatten(0, 1)[..., None]
        self.taps += _RATE * _least_squares(known, target).reshape(self.taps.shape)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        names = [name for name, _ in self.named_buffers() if prefix + name in state_dict]
        if len(names) == len(self._buffers):
            super()._load_from_state_dict(state_dict, prefix, *rest)
        elif names:  # written by an earlier version, which corrected no steps
            self.coefficients.copy_(state_dict[prefix + "coefficients"])
            for missing in (self.corrections, self.taps, self.counts, self.batches):
                missing.zero_()
        # Weights that were saved without starts are complete: nothing but time depends on them.


class Lesson(NamedTuple):
    """The same pixels of all states of a chain, one in each row, with what is to be predicted there.

    Attributes:
        size: side k of the square, or cube, of neighbours.
        states: x_0, ..., x_N, `[pixels, M]`.
        residuals: the first one of each iteration.
        left: from the g(x) of these to the next state.
        around: the residuals at fewer pixels, with neighbours, `[pixels, M, k^axes]`.
        middle: what is left there.
        enough: how many evaluations would have been enough, 0 where that is not known.
    """

    size: int
    states: list[Tensor]
    residuals: list[Tensor]
    left: list[Tensor]
    around: list[Tensor]
    middle: list[Tensor]
    enough: list[int]

    def add(self, solution: Solution) -> None:
        """Adds an iteration of which the first step was kept."""
        assert solution.first is not None  # noqa: S101 (for mypy: who collects has asked for it)
        start, reached = solution.first
        residual, left = reached - start, solution.value - reached
        self.enough.append(solution.enough)
        self.states.append(sample(solution.value))
        self.residuals.append(sample(residual))
        self.left.append(sample(left))
        self.around.append(sample(residual, self.size))
        self.middle.append(sample(left, self.size)[..., self.size ** (left.ndim - 2) // 2])


def sample(state: Tensor, size: int = 1) -> Tensor:
    """Evenly spread pixels of a batch of states, one in each row: all of them, or 2048 and some more.

    Each of several processes that share a batch gives those in its part.

    Args:
        state: `[B, M, *spatial]`.
        size: side of the square of neighbours of each pixel, or of the cube, zeros outside the image; 512 pixels or
            more.

    Returns:
        `[pixels, M]`, or `[pixels, M, size^axes]` with neighbours.
    """
    together, sides = processes(), state.shape[2:]
    length = len(state) * math.prod(sides)
    count = length * together.count
    stride = max(1, count // (_SAMPLES if size == 1 else _WITH_NEIGHBOURS))
    # A stride that shares a factor with the width of the images would pick the same columns again and again.
    while math.gcd(stride, count) > 1:
        stride -= 1
    first = -together.rank * length % stride
    if size == 1:
        return rows(state)[first::stride]
    pixel = torch.arange(first, length, stride, device=state.device)
    window = torch.arange(size, device=state.device)
    # Places of the first corner of each neighbourhood in the padded image, and of the others from there.
    corner, others, step = torch.zeros_like(pixel), torch.zeros_like(window[:1]), 1
    for side in reversed(sides):
        corner += step * (pixel % side)
        others = (step * window[:, None] + others).flatten()
        pixel, step = pixel // side, step * (side + size - 1)
    places = (corner + step * pixel)[:, None] + others
    return rows(F.pad(state, 2 * len(sides) * (size // 2,)))[places].mT


def _correction(matrix: Tensor, taps: Tensor, *, answer: bool) -> Correction:
    def of_step(residual: Tensor) -> Tensor:
        return _times(residual, matrix.to(residual.dtype))

    def of_answer(residual: Tensor) -> Tensor:
        kernel = taps[:, None].to(residual.dtype)
        found = in_channels_last(convolved(residual, kernel, padding=taps.shape[-1] // 2, groups=len(taps)))
        rows(found).addmm_(rows(residual), matrix.to(residual.dtype))
        return found

    return Correction(of_step, _CORRECTED, of_answer if answer else None, matrix, taps)


def _least_squares(known: Tensor, target: Tensor) -> Tensor:
    """The solutions X of known @ X = target, for each of several; zeros where numbers overflow."""
    # Gradients get small as training goes on; only their ratio matters.
    scale = _mean_square(known).clamp_min(torch.finfo(known.dtype).tiny)
    # Products in single precision differ by more than the ridge in directions in which states hardly vary.
    gram, cross = (known.mT.double() @ other.double() / scale.double() for other in (known, target))
    gram, cross = processes().sum(torch.cat([gram, cross], 2)).split([gram.shape[2], cross.shape[2]], 2)
    level = (_RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1)).clamp_min(_RIDGE)
    ridge = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device) * level[:, None, None]
    found, info = torch.linalg.solve_ex(gram + ridge, cross)
    # A batch whose numbers overflow leaves the maps as they are; a synchronisation with the device would cost more.
    fine = torch.isfinite(found).all() & (info == 0).all()
    return torch.where(fine, found, 0)


def _mean_square(values: Tensor) -> Tensor:
    """The mean square of each of several matrices, over all processes."""
    means, together = values.square().mean((1, 2), keepdim=True), processes()
    if together.count == 1:
        return means
    size = values.shape[1]
    sums = together.sum(torch.cat([means.double() * size, torch.full_like(means[:1], size, dtype=torch.float64)]))
    return (sums[:-1] / sums[-1:]).to(values.dtype)


def _times(state: Tensor, matrix: Tensor) -> Tensor:
    """The matrix (transposed) applied to the channels of each pixel."""
    return channels_first(pixels_last(state) @ matrix)
