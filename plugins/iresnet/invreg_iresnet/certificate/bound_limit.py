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
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from invreg_iresnet.certificate.chain_bounds import groups_of, image_ends
from invreg_iresnet.certificate.chain_condition import Steps
from invreg_iresnet.certificate.gain_search import Gains, Worst, minimised
from invreg_iresnet.certificate.symbol_grid import grid_phases, symbols_at
from invreg_iresnet.network.precision import single_thread
from invreg_iresnet.network.residuals import Weights

# Steps between two looks at the whole chain, and grid points per axis for each half kernel width.
_EVERY = 20
_DENSITY = 6
# The exponent that smooths the maximum over frequencies, and iterations for T_j: at first, and when it is followed.
_EXPONENT = 60
_FIRST, _FOLLOWING = 40, 3
# How often theta is corrected at first, and by what factor at most.
_CORRECTIONS, _LARGEST_CORRECTION = 6, 1.5
_SHRINKING = 0.8
# Uniform scalings come from norms on a grid: these may be a little too small, and must be below 1.
_NORM_EXCESS, _LEAST_NORM, _LARGEST_NORM = 1.1, 1e-3, 0.95

# What is aimed at, what is near enough, both as shares of the target, and how often it is tried.
_AIM, _NEAR, _ATTEMPTS = 0.995, 0.97, 8


class BoundLimit(nn.Module):
    """The mixings times theta, such that m phi^-1 s has about this Lipschitz constant at most.

    Args:
        gain: the target, above 1.
        implicit: whether phi_i = Id - f_i, or phi_i^-1 = Id + f_i.
        copies: q, of an image, that a state has.
        kernels: `[N, H, M, k, k]`, for their shape.
    """

    theta: Tensor
    scalings: Tensor
    calls: Tensor
    slope: Tensor
    level: Tensor
    weights: Tensor
    entries: Tensor
    inputs: Tensor

    def __init__(self, gain: float, implicit: bool, copies: int, kernels: Tensor) -> None:
        super().__init__()
        count, hidden, channels, side, _ = kernels.shape
        self.gain, self.implicit = gain, implicit
        self.copies = copies
        groups = groups_of([one.shape for one in kernels]) or [range(index, index + 1) for index in range(count)]
        identity = torch.eye(channels, dtype=torch.float64, device="cpu")
        self.groups = [slice(group.start, group.stop) for group in groups]
        self.ends = [image_ends(group, groups, identity, copies) for group in groups]
        self.points = _DENSITY * (side // 2)
        frequencies = len(grid_phases(side, self.points))
        # All of them are saved with the weights: a training that goes on uses what it would have used.
        self.register_buffer("theta", torch.ones(()))
        self.register_buffer("scalings", torch.zeros(count, hidden))  # the diagonals of T_j
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("slope", torch.full((), math.inf))
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("weights", torch.zeros(len(groups), frequencies))
        self.register_buffer("entries", torch.zeros(len(groups), frequencies, channels, 2))
        self.register_buffer("inputs", torch.zeros(count, frequencies, hidden, 2))

    def forward(self, weights: Weights) -> Weights:
        """The weights for a step of training; every call moves on."""
        looks, since = divmod(int(self.calls), _EVERY)
        shifted = looks % 2 == 1
        if since == 0:
            self._look(weights, shifted)
        self.calls += 1
        # A slope of infinity stands for theta = 1, whose derivative is 0.
        change = (self._logarithm(weights, shifted) - self.level) / self.slope
        return weights._replace(mixings=(self.theta * torch.exp(-change)).clamp_max(1) * weights.mixings)

    def scaled(self, weights: Weights) -> Weights:
        """The weights as they are to be used now, with theta as a constant."""
        return weights._replace(mixings=self.theta * weights.mixings)

    @torch.no_grad()
    def take(self) -> float:
        """Returns theta, for mixings that are to contain it, and goes on from 1."""
        theta = float(self.theta)
        self.theta.fill_(1)
        self.slope.fill_(math.inf)
        self.scalings.zero_()
        self.calls.zero_()
        return theta

    def _logarithm(self, weights: Weights, shifted: bool) -> Tensor:
        """log gamma / 2 of all groups for the inputs that were the worst, up to a constant; a polynomial in weights."""
        kernels, mixings = weights.kernels, self.theta * weights.mixings[..., 0, 0]
        with torch.autocast(kernels.device.type, enabled=False):
            phases = grid_phases(kernels.shape[-1], self.points, shifted=shifted).to(kernels.device, torch.complex64)
            count = len(phases)
            entries, inputs = (torch.view_as_complex(one[:, :count]) for one in (self.entries, self.inputs))
            total = kernels.new_zeros(())
            for own, ends, entry, shares in zip(self.groups, self.ends, entries, self.weights, strict=True):
                # e_j, [j, w, M], and h_j, [j, w, H].
                steps = torch.einsum("jmh,jwhr->jwmr", mixings[own], torch.view_as_real(inputs[own]))
                after = entry + torch.view_as_complex(steps.contiguous()).cumsum(0)
                seen = after if self.implicit else torch.cat([entry[None], after[:-1]])
                waves = (seen[..., None] * phases[:, None, :]).flatten(2)  # [j, w, M k k]
                hidden = torch.einsum("jhx,jwxr->jwhr", kernels[own].flatten(2), torch.view_as_real(waves))
                s = torch.view_as_real(inputs[own])
                constraints = 2 * (self.scalings[own, None, :, None] * s * (hidden - s)).sum((0, 2, 3))
                output = torch.view_as_real(after[-1] @ ends.exit.mT.to(after))
                total = total + 0.5 * (shares[:count] * (output.square().sum((1, 2)) + constraints)).sum()
        return total

    @torch.no_grad()
    def _look(self, weights: Weights, shifted: bool) -> None:
        """Follows theta and T_j, and finds the worst inputs."""
        with single_thread(), torch.autocast("cpu", enabled=False):
            chain = _Chain(self, weights, shifted)
            scalings = self.scalings.to("cpu", torch.float64)
            point = chain.at(float(self.theta), scalings) if (scalings > 0).all() else None
            if point is not None:
                point = chain.corrected(chain.refined(point, _FOLLOWING))
            else:
                point = chain.started()
                for _ in range(_CORRECTIONS):
                    point = chain.corrected(chain.refined(point, _FIRST))
        self.theta.fill_(point.theta)
        self.scalings.copy_(point.scalings)
        for index, (own, worst) in enumerate(zip(self.groups, point.worst, strict=True)):
            count = len(worst.weights)
            self.weights[index].zero_()[:count].copy_(worst.weights)
            self.entries[index, :count].copy_(torch.view_as_real(worst.entry))
            self.inputs[own, :count].copy_(torch.view_as_real(worst.inputs))
        with torch.enable_grad():
            factor = torch.ones((), device=self.theta.device, requires_grad=True)
            level = self._logarithm(weights._replace(mixings=factor * weights.mixings.detach()), shifted)
            slope = torch.autograd.grad(level, factor)[0]
        self.level.copy_(level.detach())
        self.slope.copy_(torch.where((self.theta < 1) & (slope > 0), slope, math.inf))


def meet_target(prove: Callable[[float], float], target: float, least: float) -> None:
    """Finds a factor of at most 1 for which a bound meets a target and is near it, and proves that last.

    Args:
        prove: gives the bound for a factor; it grows with the factor.
        target: above `least`.
        least: the bound for a factor of 0.
    """
    fits, exceeds, factor = 0.0, math.inf, 1.0
    for _ in range(_ATTEMPTS):
        bound = prove(factor)
        if bound <= target:
            if factor == 1 or bound > _NEAR * target:
                return
            fits = factor
        else:
            exceeds = factor
        # Logarithms are nearly proportional to factors.
        factor *= math.log(_AIM * target / least) / max(math.log(bound / least), 1e-9)
        if not fits < factor < min(exceeds, 1):
            factor = (fits + min(exceeds, 1)) / 2
    prove(fits)


class _Point(NamedTuple):
    """theta, all T_j, `[N, H]`, and what is amplified most by each group then."""

    theta: float
    scalings: Tensor
    worst: list[Worst]


class _Chain:
    """The condition of all groups for given weights, as a function of theta and T_j."""

    def __init__(self, limit: BoundLimit, weights: Weights, shifted: bool) -> None:
        self._limit = limit
        self._kernels = weights.kernels.detach().to("cpu", torch.float64)
        self._mixings = weights.mixings.detach().to("cpu", torch.float64)[..., 0, 0]
        phases = grid_phases(self._kernels.shape[-1], limit.points, shifted=shifted)
        self._symbols = [symbols_at(kernel, phases) for kernel in self._kernels]

    def at(self, theta: float, scalings: Tensor) -> _Point | None:
        """None where a frequency has no gain for these T_j."""
        found = []
        for gains, x in zip(self._gains(theta), self._logarithms(scalings), strict=True):
            worst = gains.worst(x, _EXPONENT)
            if worst is None:
                return None
            found.append(worst)
        return _Point(theta, scalings, found)

    def started(self) -> _Point:
        """A theta near 1, and T_j, from the bounds of single subnetworks."""
        theta = 1.0
        while (point := self.at(theta, self._from_products(theta))) is None:
            theta *= _SHRINKING
        return point

    def refined(self, point: _Point, iterations: int) -> _Point:
        """With better T_j."""
        found = [
            minimised(partial(gains.smoothed, exponent=_EXPONENT), x, iterations).exp()
            for gains, x in zip(self._gains(point.theta), self._logarithms(point.scalings), strict=True)
        ]
        return self.at(point.theta, torch.cat(found).view_as(point.scalings)) or point

    def corrected(self, point: _Point) -> _Point:
        """With a theta nearer to the target: the logarithm of the gain is 0 for 0, and about proportional to theta."""
        reached = -math.log(self._limit.copies) + sum(0.5 * math.log(one.squared_gain) for one in point.worst)
        factor = math.log(self._limit.gain) / max(reached, 1e-12)
        factor = min(max(factor, 1 / _LARGEST_CORRECTION), _LARGEST_CORRECTION, 1 / point.theta)
        while abs(factor - 1) > 1e-4:
            found = self.at(point.theta * factor, point.scalings * factor)
            if found is not None:
                return found
            factor = 1 + (factor - 1) / 4  # too far for these T_j
        return point

    def _gains(self, theta: float) -> list[Gains]:
        mixings = theta * self._mixings
        return [
            Gains(Steps(list(self._kernels[own]), list(mixings[own]), self._limit.implicit), ends, self._symbols[own])
            for own, ends in zip(self._limit.groups, self._limit.ends, strict=True)
        ]

    def _logarithms(self, scalings: Tensor) -> list[Tensor]:
        return [scalings[own].flatten().log() for own in self._limit.groups]

    def _from_products(self, theta: float) -> Tensor:
        """T_j by the proposition of section 4 in docs/theory/certificates.md, and those of a chain from them."""
        sign = -1 if self._limit.implicit else 1
        found = torch.empty(len(self._kernels), self._kernels.shape[1], dtype=torch.float64, device="cpu")
        for own, ends in zip(self._limit.groups, self._limit.ends, strict=True):
            later = float(self._limit.copies) if len(ends.exit) < len(ends.exit.mT) else 1.0
            for index in reversed(range(own.start, own.stop)):
                norm = theta * float(torch.linalg.matrix_norm(self._mixings[index], ord=2).clamp_min(_LEAST_NORM))
                kernel_norm = float(torch.linalg.matrix_norm(self._symbols[index], ord=2).max())
                lipschitz = min(max(_NORM_EXCESS * norm * kernel_norm, _LEAST_NORM), _LARGEST_NORM)
                amplification = (1 + sign * lipschitz) ** (2 * sign)
                own_factor = later * (amplification if self._limit.implicit else 1)
                found[index] = own_factor * norm**2 * (1 + sign * lipschitz) / lipschitz
                later *= amplification
        return found
