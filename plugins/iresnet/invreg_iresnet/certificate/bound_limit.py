"""Training with the bound of the whole chain: a factor of all mixings that keeps it at a target.

Let gamma(theta) be the smallest number for which the condition of `certificate.chain_condition` holds with theta W_j in
place of W_j, from an image that enters as q equal copies to the sum over the copies of the last state. It grows with
theta, from gamma(0) = q^2 on:

    gamma, T_j for W_j    prove    gamma with theta T_j    for theta W_j and every 0 < theta <= 1.

Proof. Write v for the inputs theta s_j. The states are those of W_j with the inputs v_j, and the constraints are

    2 <theta T_j s_j, h_j - s_j> = 2 <T_j v_j, h_j - v_j> - 2 (1/theta - 1) <T_j v_j, v_j> <= 2 <T_j v_j, h_j - v_j>,

so that P of theta W_j is that of W_j, plus something positive semidefinite. QED.

In training, the mixings that are used are theta W_j for the largest theta <= 1 at which gamma is that of the target.
Where this theta is below 1, it is a function of the weights, and gradients are taken through it,

    d log theta = - d log gamma / (d log gamma / d log theta)    (the theorem on implicit functions),

as they are through the norms by which weights are divided. For fixed T_j and fixed inputs, gamma is a polynomial of the
weights, and where T_j and the inputs are the optimal ones, its derivative is that of gamma (the envelope theorem). They
are computed again every few steps, on a grid of frequencies that moves by half a cell each time. Nothing is proven in
training; `finalise` scales the mixings once more, until the certificate proves the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from invreg_iresnet.certificate.chain_bounds import groups_of, image_ends
from invreg_iresnet.certificate.chain_condition import Ends, Steps
from invreg_iresnet.certificate.gain_search import Gains, Worst, minimised
from invreg_iresnet.certificate.symbol_grid import grid_phases, symbols_at
from invreg_iresnet.network.precision import single_thread
from invreg_iresnet.network.residuals import Weights

# Steps between two looks at the whole chain. Grid points per axis for each half kernel width, by the number of axes.
_EVERY = 20
_DENSITY = {2: 6, 3: 4}
# The exponent that smooths the maximum over frequencies, and iterations for T_j: at first, and when it is followed.
_EXPONENT = 60
_FIRST, _FOLLOWING = 40, 3
# How often theta is corrected at first, unless it changes little, and by what factor at most.
_CORRECTIONS, _SETTLED, _LARGEST_CORRECTION = 6, 1e-3, 1.5
_SHRINKING = 0.8
# Uniform scalings come from norms on a grid: these may be a little too small, and must be below 1.
_NORM_EXCESS, _LEAST_NORM, _LARGEST_NORM = 1.1, 1e-3, 0.95

# What is aimed at, what is near enough, both as shares of the target, and how often it is tried.
_AIM, _NEAR, _ATTEMPTS = 0.995, 0.97, 8


class BoundLimit(nn.Module):
    """The mixings times theta, such that m phi^-1 s has about this Lipschitz constant at most.

    The chain is taken in pieces whose gains multiply.

    Args:
        gain: the target, above 1.
        implicit: whether phi_i = Id - f_i, or phi_i^-1 = Id + f_i.
        copies: q, of an image, that a state has.
        shapes: of the kernels, `[N, H, M, k, k]` (or with three sides), of each stage.
    """

    theta: Tensor
    calls: Tensor
    slope: Tensor
    level: Tensor

    def __init__(self, gain: float, implicit: bool, copies: int, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.gain, self.implicit, self.copies = gain, implicit, copies
        places = [(stage, index) for stage, shape in enumerate(shapes) for index in range(shape[0])]
        each = [shapes[stage][1:] for stage, _ in places]
        groups = groups_of(each) or [range(index, index + 1) for index in range(len(each))]
        pieces = []
        for group in groups:
            stage, start = places[group.start]
            identity = torch.eye(each[group.start][1], dtype=torch.float64, device="cpu")
            ends = image_ends(group, groups, identity, copies)
            own = slice(start, start + len(group))
            pieces.append(_Piece(stage, own, ends, copies if group == groups[-1] else 1, implicit, each[group.start]))
        self.pieces = nn.ModuleList(pieces)
        # All of them are saved with the weights: a training that goes on uses what it would have used.
        self.register_buffer("theta", torch.ones(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("slope", torch.full((), math.inf))
        self.register_buffer("level", torch.zeros(()))

    def forward(self, stages: Sequence[Weights]) -> list[Weights]:
        """The weights of all stages for a step of training; every call moves on."""
        looks, since = divmod(int(self.calls), _EVERY)
        shifted = looks % 2 == 1
        if since == 0:
            self._look(stages, shifted)
        self.calls += 1
        # A slope of infinity stands for theta = 1, whose derivative is 0.
        change = (self._logarithm(stages, self.theta, shifted) - self.level) / self.slope
        theta = (self.theta * torch.exp(-change)).clamp_max(1)
        return [weights._replace(mixings=theta * weights.mixings) for weights in stages]

    def scaled(self, stages: Sequence[Weights]) -> list[Weights]:
        """The weights with theta as it is."""
        return [weights._replace(mixings=self.theta * weights.mixings) for weights in stages]

    @torch.no_grad()
    def take(self) -> float:
        """Returns theta, for mixings that are to contain it, and goes on from 1."""
        theta = float(self.theta)
        self.theta.fill_(1)
        self.slope.fill_(math.inf)
        self.calls.zero_()
        for piece in self._pieces():
            piece.scalings.zero_()
        return theta

    def _pieces(self) -> list[_Piece]:
        return [piece for piece in self.pieces if isinstance(piece, _Piece)]

    def _logarithm(self, stages: Sequence[Weights], theta: Tensor, shifted: bool) -> Tensor:
        """log gamma / 2 of the chain for the inputs that were the worst, up to a constant."""
        device = stages[0].kernels.device
        with torch.autocast(device.type, enabled=False):
            return torch.stack([piece.logarithm(stages, theta, shifted) for piece in self._pieces()]).sum()

    @torch.no_grad()
    def _look(self, stages: Sequence[Weights], shifted: bool) -> None:
        """Follows theta and T_j, and finds the worst inputs."""
        pieces = self._pieces()
        with single_thread(), torch.autocast("cpu", enabled=False):
            chain = _Chain(self.gain, self.copies, [piece.gains(stages, shifted) for piece in pieces])
            scalings = [piece.scalings.to("cpu", torch.float64) for piece in pieces]
            point = chain.at(float(self.theta), scalings) if all((one > 0).all() for one in scalings) else None
            if point is not None:
                point = chain.corrected(chain.refined(point, _FOLLOWING))
            else:
                point = chain.started([piece.from_products for piece in pieces])
                for _ in range(_CORRECTIONS):
                    before, point = point.theta, chain.corrected(chain.refined(point, _FIRST))
                    if abs(point.theta - before) < _SETTLED * before:
                        break
        self.theta.fill_(point.theta)
        for piece, its_scalings, worst in zip(pieces, point.scalings, point.worst, strict=True):
            piece.keep(its_scalings, worst)
        with torch.enable_grad():
            theta = self.theta.clone().requires_grad_()
            fixed = [Weights(*(one.detach() for one in weights)) for weights in stages]
            level = self._logarithm(fixed, theta, shifted)
            slope = theta * torch.autograd.grad(level, theta)[0]
        self.level.copy_(level.detach())
        self.slope.copy_(torch.where((self.theta < 1) & (slope > 0), slope, math.inf))


class _Piece(nn.Module):
    """Consecutive subnetworks of one stage, with their T_j and the inputs that are amplified most.

    Args:
        stage: which one.
        own: which of its subnetworks.
        ends: where they begin and end.
        copies: q if they end with the sum over the copies, otherwise 1.
        implicit: as for `BoundLimit`.
        shape: of a kernel, `[H, M, k, k]`, or with three sides.
    """

    scalings: Tensor
    shares: Tensor
    entry: Tensor
    inputs: Tensor

    def __init__(self, stage: int, own: slice, ends: Ends, copies: int, implicit: bool, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._stage, self._own, self._ends, self._copies, self._implicit = stage, own, ends, copies, implicit
        hidden, channels, *sides = shape
        self._side, self._axes = sides[0], len(sides)
        self.points = _DENSITY[self._axes] * (self._side // 2)
        count, frequencies = own.stop - own.start, len(grid_phases(self._side, self.points, self._axes))
        self.register_buffer("scalings", torch.zeros(count, hidden))  # the diagonals of T_j
        self.register_buffer("shares", torch.zeros(frequencies))
        self.register_buffer("entry", torch.zeros(frequencies, channels, 2))
        self.register_buffer("inputs", torch.zeros(count, frequencies, hidden, 2))
        self._from: tuple[Tensor, list[Tensor]] | None = None

    def logarithm(self, stages: Sequence[Weights], theta: Tensor, shifted: bool) -> Tensor:
        """log gamma / 2 for the inputs that were the worst, up to a constant: a polynomial in the weights."""
        weights = stages[self._stage]
        kernels, mixings = weights.kernels[self._own], theta * weights.mixings[self._own].flatten(2)
        phases = grid_phases(self._side, self.points, self._axes, shifted=shifted)
        phases = phases.to(kernels.device, torch.complex64)
        count = len(phases)
        s = self.inputs[:, :count]
        entry = torch.view_as_complex(self.entry[:count])
        # e_j, [j, w, M], and h_j, [j, w, H].
        after = entry + torch.view_as_complex(torch.einsum("jmh,jwhr->jwmr", mixings, s).contiguous()).cumsum(0)
        seen = after if self._implicit else torch.cat([entry[None], after[:-1]])
        waves = torch.view_as_real((seen[..., None] * phases[:, None, :]).flatten(2))  # [j, w, M k k]
        hidden = torch.einsum("jhx,jwxr->jwhr", kernels.flatten(2), waves)
        constraints = 2 * (self.scalings[:, None, :, None] * s * (hidden - s)).sum((0, 2, 3))
        output = torch.view_as_real(after[-1] @ self._ends.exit.mT.to(after))
        return 0.5 * (self.shares[:count] * (output.square().sum((1, 2)) + constraints)).sum()

    def gains(self, stages: Sequence[Weights], shifted: bool) -> Callable[[float], Gains]:
        """gamma as a function of T_j, for a theta."""
        weights = stages[self._stage]
        kernels = weights.kernels[self._own].detach().to("cpu", torch.float64)
        mixings = weights.mixings[self._own].flatten(2).detach().to("cpu", torch.float64)
        phases = grid_phases(self._side, self.points, self._axes, shifted=shifted)
        symbols = [symbols_at(kernel, phases) for kernel in kernels]
        self._from = mixings, symbols
        return lambda theta: Gains(Steps(list(kernels), list(theta * mixings), self._implicit), self._ends, symbols)

    def from_products(self, theta: float) -> Tensor:
        """T_j by the proposition of section 4 in docs/theory/certificates.md, and those of a chain from them."""
        assert self._from is not None  # noqa: S101 (for mypy: `gains` comes first)
        mixings, symbols = self._from
        sign, later, found = -1 if self._implicit else 1, float(self._copies), []
        for mixing, symbol in zip(mixings.flip(0), reversed(symbols), strict=True):
            norm = theta * float(torch.linalg.matrix_norm(mixing, ord=2).clamp_min(_LEAST_NORM))
            kernel_norm = float(torch.linalg.matrix_norm(symbol, ord=2).max())
            lipschitz = min(max(_NORM_EXCESS * norm * kernel_norm, _LEAST_NORM), _LARGEST_NORM)
            amplification = (1 + sign * lipschitz) ** (2 * sign)
            factor = later * (amplification if self._implicit else 1)
            found.append(mixing.new_full((mixing.shape[1],), factor * norm**2 * (1 + sign * lipschitz) / lipschitz))
            later *= amplification
        return torch.stack(found[::-1])

    def keep(self, scalings: Tensor, worst: Worst) -> None:
        count = len(worst.weights)
        self._from = None
        self.scalings.copy_(scalings)
        self.shares.zero_()[:count].copy_(worst.weights)
        self.entry[:count].copy_(torch.view_as_real(worst.entry))
        self.inputs[:, :count].copy_(torch.view_as_real(worst.inputs))


def meet_target(prove: Callable[[float], float], target: float, least: float, most: float = 1.0) -> None:
    """Finds a factor for which a bound meets a target and is near it, and proves that last.

    Args:
        prove: gives the bound for a factor; it grows with the factor.
        target: above `least`.
        least: the bound for a factor of 0.
        most: the largest factor, at least 1, which is the first that is tried.
    """
    fits, exceeds, factor = 0.0, math.inf, 1.0
    for _ in range(_ATTEMPTS):
        bound = prove(factor)
        if bound <= target:
            if factor == most or bound > _NEAR * target:
                return
            fits = factor
        else:
            exceeds = factor
        # Logarithms are nearly proportional to factors.
        factor *= math.log(_AIM * target / least) / max(math.log(bound / least), 1e-9)
        if not fits < factor < min(exceeds, most):
            factor = most if exceeds > most else (fits + exceeds) / 2
    prove(fits)


class _Point(NamedTuple):
    """theta, the T_j `[N, H]` of each piece, and what it amplifies most then."""

    theta: float
    scalings: list[Tensor]
    worst: list[Worst]


class _Chain:
    """The gain of all pieces, as a function of theta and T_j.

    Args:
        gain: the target.
        copies: q.
        pieces: for a theta, gamma as a function of T_j.
    """

    def __init__(self, gain: float, copies: int, pieces: Sequence[Callable[[float], Gains]]) -> None:
        self._gain, self._copies, self._pieces = gain, copies, pieces

    def at(self, theta: float, scalings: Sequence[Tensor]) -> _Point | None:
        """None where a frequency has no gain for these T_j."""
        found = []
        for piece, one in zip(self._pieces, scalings, strict=True):
            worst = piece(theta).worst(one.flatten().log(), _EXPONENT)
            if worst is None:
                return None
            found.append(worst)
        return _Point(theta, list(scalings), found)

    def started(self, from_products: Sequence[Callable[[float], Tensor]]) -> _Point:
        """A theta near 1, and T_j, from the bounds of single subnetworks."""
        theta = 1.0
        while (point := self.at(theta, [its(theta) for its in from_products])) is None:
            theta *= _SHRINKING
        return point

    def refined(self, point: _Point, iterations: int) -> _Point:
        """With better T_j."""
        found = []
        for piece, one in zip(self._pieces, point.scalings, strict=True):
            smoothed = partial(piece(point.theta).smoothed, exponent=_EXPONENT)
            found.append(minimised(smoothed, one.flatten().log(), iterations).exp().view_as(one))
        return self.at(point.theta, found) or point

    def corrected(self, point: _Point) -> _Point:
        """With a theta nearer to the target: the logarithm of the gain is 0 for 0, and about proportional to theta."""
        reached = sum(0.5 * math.log(one.squared_gain) for one in point.worst) - math.log(self._copies)
        factor = math.log(self._gain) / max(reached, 1e-12)
        factor = min(max(factor, 1 / _LARGEST_CORRECTION), _LARGEST_CORRECTION, 1 / point.theta)
        while abs(factor - 1) > 1e-4:
            found = self.at(point.theta * factor, [factor * one for one in point.scalings])
            if found is not None:
                return found
            factor = 1 + (factor - 1) / 4  # too far for these T_j
        return point
