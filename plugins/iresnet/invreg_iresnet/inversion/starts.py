"""Where fixed-point iterations start: predictions of the next state, learned by least squares during training.

The step x_i - x_{i-1} of a subnetwork is predicted from the states before it, pixel by pixel, by linear maps of their
channels. For a trained network, this start is about as close to the fixed point as one evaluation of the residual
function would bring x_{i-1} (measured), at a twentieth of its cost. A poor prediction costs iterations, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from invreg import processes

# Pixels of a batch in the least squares, and the share of the step to their solution that is taken.
_SAMPLES = 2048
_RATE = 0.5

# Relative to the mean of the diagonal of the Gram matrix: states are strongly correlated.
_RIDGE = 1e-6


class LearnedStarts(nn.Module):
    """Starts of the fixed-point iterations along a chain x_0, x_1, ..., x_N of states.

    x_i is predicted as x_{i-1} + A_i x_{i-1} + B_i (x_{i-1} - x_{i-2}), where A_i and B_i act on the channels of each
    pixel alone. Before anything is learned, they vanish. Starts depend on what was learned, but not on the other images
    of a batch.

    Args:
        subnetworks: N.
        channels: M.
    """

    coefficients: Tensor

    def __init__(self, subnetworks: int, channels: int) -> None:
        super().__init__()
        # A_i and B_i, transposed, one below the other. A buffer: it belongs to what a checkpoint keeps, so that an
        # interrupted training goes on with the same starts.
        self.register_buffer("coefficients", torch.zeros(subnetworks, 2 * channels, channels))

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
        return _times(last, of_last + of_step) - _times(path[-2], of_step)

    @torch.no_grad()
    def learn(self, samples: Sequence[Tensor]) -> None:
        """Goes halfway from the present maps to the least-squares solution for these states.

        Processes that share a batch solve the least squares of all its pixels.

        Args:
            samples: the same pixels of x_0, ..., x_N, one in each row; see `sample`.
        """
        states = torch.stack(list(samples))
        before, steps = states[:-1], states.diff(dim=0)
        known = torch.cat([before, torch.cat([torch.zeros_like(steps[:1]), steps[:-1]])], dim=2)
        # Gradients get small as training goes on; only their ratio matters.
        scale = _mean_square(known).clamp_min(torch.finfo(known.dtype).tiny)
        target = steps - known @ self.coefficients.to(known.dtype)
        gram, cross = ((known.mT @ other / scale).double() for other in (known, target))
        gram, cross = processes().sum(torch.cat([gram, cross], 2)).split([gram.shape[2], cross.shape[2]], 2)
        level = (_RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1)).clamp_min(_RIDGE)
        ridge = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device) * level[:, None, None]
        found, info = torch.linalg.solve_ex(gram + ridge, cross)
        learned = self.coefficients + _RATE * found.to(self.coefficients.dtype)
        # A batch whose numbers overflow leaves the start as it is; a synchronisation with the device would cost more.
        fine = torch.isfinite(learned).all() & (info == 0).all()
        self.coefficients.copy_(torch.where(fine, learned, self.coefficients))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # Weights that were saved without starts are complete: nothing but time depends on them.
        if prefix + "coefficients" in state_dict:
            super()._load_from_state_dict(state_dict, prefix, *rest)


def sample(state: Tensor) -> Tensor:
    """Evenly spread pixels of a batch of states, one in each row: all of them, or 2048 and some more.

    Each of several processes that share a batch gives those in its part.
    """
    rows, together = state.permute(0, 2, 3, 1).flatten(0, 2), processes()
    count = len(rows) * together.count
    stride = max(1, count // _SAMPLES)
    # A stride that shares a factor with the width of the images would pick the same columns again and again.
    while math.gcd(stride, count) > 1:
        stride -= 1
    return rows[-together.rank * len(rows) % stride :: stride]


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
    return (state.permute(0, 2, 3, 1) @ matrix).permute(0, 3, 1, 2)
