"""Searches for two close measurements whose reconstructions are far apart.

A search counts only ratios ||R(z + d) - R(z)|| / ||d|| of two reconstructions that were evaluated: each is a lower
bound of Lip(R), even where a gradient is wrong. Differences and norms are taken in float64; d is the difference of the
two measurements that R was given, after rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

VJP = Callable[[Tensor], Tensor]


class Reconstruction:
    """R: Y -> X as it is evaluated, with the adjoint of its derivative by automatic differentiation."""

    def __init__(self, reconstruct: Callable[[Tensor], Tensor]) -> None:
        self._reconstruct = reconstruct

    def __call__(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            return self._reconstruct(z)

    def with_vjp(self, z: Tensor) -> tuple[Tensor, VJP]:
        """R(z) and the map e -> R'(z)* e.

        Raises:
            RuntimeError: if R(z) has no gradient with respect to z.
        """
        with torch.enable_grad():
            point = z.detach().clone().requires_grad_()
            value = self._reconstruct(point)
        if not value.requires_grad:
            raise RuntimeError("the reconstruction has no gradient")
        return value.detach(), lambda e: torch.autograd.grad(value, point, e.to(value))[0].detach()

    def has_gradient(self, z: Tensor, direction: Tensor) -> bool:
        """Whether R'(z)* is finite, and not zero on what R makes of a step in this direction, for any image of z."""
        change = self(z + direction) - self(z)
        try:
            pulled = self.with_vjp(z + direction)[1](change)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # noqa: BLE001 (any failure means the same; a broken R fails again without a gradient)
            return False
        size = norms(pulled)
        return bool((torch.isfinite(size) & (size > 0)).any())


class Worst:
    """The worst pair of measurements so far, for each image of a batch.

    Attributes:
        base: z, `[B, ...range]`.
        perturbed: z + d.
        ratios: `[B]`, float64; NaN where no ratio was finite.
    """

    def __init__(self, z: Tensor) -> None:
        self.base, self.perturbed = z, z
        self.ratios = torch.full((len(z),), torch.nan, dtype=torch.float64, device=z.device)

    def update(self, base: Tensor, perturbed: Tensor, change: Tensor) -> Tensor:
        """Keeps the pair where its ratio is larger than before; returns for which images it was, `[B]`."""
        ratios = norms(change) / norms(perturbed.double() - base.double())
        better = torch.isfinite(ratios) & ~(ratios <= self.ratios)
        self.base = choose(better, base, self.base)
        self.perturbed = choose(better, perturbed, self.perturbed)
        self.ratios = torch.where(better, ratios, self.ratios)
        return better

    @property
    def direction(self) -> Tensor:
        """d."""
        return self.perturbed - self.base

    @property
    def distances(self) -> Tensor:
        """||d||, `[B]`, float64."""
        return norms(self.perturbed.double() - self.base.double())


def random_search(net: Reconstruction, z: Tensor, perturbations: Iterable[Tensor]) -> Worst:
    """The worst of some given perturbations."""
    worst, start = Worst(z), net(z).double()
    for d in perturbations:
        worst.update(z, z + d, net(z + d).double() - start)
    return worst


def power_search(
    net: Reconstruction, z: Tensor, start: Tensor, radius: Tensor, iterations: int, reference: Tensor | None = None
) -> Worst:
    """Iterates d <- radius * g / ||g|| with g = R'(z + d)* (R(z + d) - R(z)).

    Fixed points are those d on the sphere at which ||R(z + d) - R(z)|| is stationary; for small radii, this is power
    iteration on R'(z)* R'(z). With a reference r in place of R(z) it ascends ||R(z + d) - r||, and this is what the
    ratios are made of.

    Args:
        net: R.
        z: measurements, `[B, ...range]`.
        start: the first direction, of any length.
        radius: ||d|| for each image, `[B]`.
        iterations: evaluations of R and of its derivative.
        reference: r, `[B, C, H, W]`; R(z) if None.
    """
    worst, value = Worst(z), (net(z) if reference is None else reference).double()
    d = scaled(start, radius, start)
    for _ in range(iterations):
        reached, vjp = net.with_vjp(z + d)
        change = reached.double() - value
        worst.update(z, z + d, change)
        d = scaled(vjp(change), radius, d)
    return worst


def moving_search(
    net: Reconstruction, z: Tensor, start: Tensor, radius: Tensor, reach: Tensor, iterations: int
) -> Worst:
    """Moves the measurement as well, within a ball centred at z: ascent of the ratio over base and direction in turn.

    From the worst pair (v, u) so far, v goes a step along (R'(u)* - R'(v)*) (R(u) - R(v)), the gradient of
    ||R(u) - R(v)||² for a fixed u - v, and u - v turns as in power iteration. Steps that gain nothing are halved.

    Args:
        net: R.
        z: measurements, `[B, ...range]`.
        start: the first direction, of any length.
        radius: ||u - v|| for each image, `[B]`.
        reach: ||v - z|| at most, `[B]`.
        iterations: evaluations of R and of its derivative, twice each.
    """
    worst, step = Worst(z), 0.5 * reach
    v, u = z, z + scaled(start, radius, start)
    to_v, to_u = torch.zeros_like(z), scaled(start, radius, start)
    for _ in range(iterations):
        (at_v, vjp_v), (at_u, vjp_u) = net.with_vjp(v), net.with_vjp(u)
        change = at_u.double() - at_v.double()
        better = worst.update(v, u, change)
        along = vjp_u(change)
        to_v, to_u = choose(better, along - vjp_v(change), to_v), choose(better, along, to_u)
        step = torch.where(better, step, 0.5 * step)
        moved = worst.base + scaled(to_v, step, torch.zeros_like(z)) - z
        v = z + moved * (reach / norms(moved).clamp_min(1e-300)).clamp_max(1).to(z).view(_per_image(z))
        u = v + scaled(to_u, radius, worst.direction)
    return worst


def subspace_search(
    net: Reconstruction,
    z: Tensor,
    start: Tensor,
    radius: Tensor,
    rounds: Iterable[list[Tensor]],
    reference: Tensor | None = None,
) -> Worst:
    """A search without gradients: the worst combination of some directions, and with it into the next round.

    With Q the directions and E what R makes of them as finite differences, the combination c that is largest in
    ||E c|| / ||Q c|| is tried. It goes on with new directions, and with R(z + d) - R(z) if that has the shape of z:
    where R'(z) is symmetric, as for a proximal map, that makes it a power iteration. With a reference r the directions
    are the same, combinations with both signs, and the ratios are made of ||R(z + d) - r||.

    Args:
        net: R.
        z: measurements, `[B, ...range]`.
        start: the first direction, of any length.
        radius: ||d|| for each image, `[B]`.
        rounds: new directions for each round, of any length.
        reference: r, `[B, C, H, W]`; R(z) if None.
    """
    worst, value = Worst(z), net(z).double()
    far = value if reference is None else reference.double()
    first = scaled(start, radius, start)

    def tried(direction: Tensor) -> tuple[Tensor, Tensor]:
        perturbed = z + scaled(direction, radius, first)
        reached = net(perturbed).double()
        worst.update(z, perturbed, reached - far)
        return perturbed.double() - z.double(), reached - value

    best = tried(first)
    for directions in rounds:
        echo = [tried(best[1].to(z))] if best[1].shape == z.shape else []
        pairs = [best, *echo, *(tried(direction) for direction in directions)]
        best = tried(_most_amplified([d for d, _ in pairs], [e for _, e in pairs]).to(z))
        if reference is not None:
            tried(-best[0].to(z))
    return worst


def _most_amplified(directions: list[Tensor], changes: list[Tensor]) -> Tensor:
    """The combination of directions whose combined change is largest, by the generalised eigenvalue problem."""
    q = torch.stack([d.flatten(1) for d in directions], dim=1)
    e = torch.stack([c.flatten(1) for c in changes], dim=1).nan_to_num(0, 0, 0)
    lengths, basis = torch.linalg.eigh((q @ q.mT).cpu())
    # Directions that depend on others add nothing; their share of the basis would only be rounding.
    useful = lengths > 1e-6 * lengths[:, -1:].clamp_min(1e-300)
    whitened = basis * torch.where(useful, lengths, 1).rsqrt().mul(useful)[:, None]
    gram = whitened.mT @ (e @ e.mT).cpu() @ whitened
    top = torch.linalg.eigh(gram)[1][..., -1:]
    combined = (whitened @ top).mT.to(q) @ q
    return combined.view_as(directions[0])


def computing_errors(net: Reconstruction, z: Tensor, probes: Iterable[Tensor]) -> Tensor:
    """How far computed reconstructions scatter, `[B]`: the largest ||R(z + p) - R(z)|| for probes of rounding size."""
    value, largest = net(z).double(), torch.zeros(len(z), dtype=torch.float64, device=z.device)
    for probe in probes:
        largest = torch.fmax(largest, norms(net(z + probe).double() - value))
    return largest


def norms(values: Tensor) -> Tensor:
    """Euclidean norms, image by image, in float64."""
    return torch.linalg.vector_norm(values.double().flatten(1), dim=1)


def sizes(z: Tensor) -> Tensor:
    """Norms of measurements, `[B]`; of a black measurement, that of a dark one."""
    return norms(z).clamp_min(1e-2 * z[0].numel() ** 0.5)


def scaled(direction: Tensor, length: Tensor, otherwise: Tensor) -> Tensor:
    """The direction with the given length `[B]`; `otherwise` for images where it is zero or not finite."""
    size = norms(direction)
    fine = torch.isfinite(size) & (size > 0)
    factor = length / torch.where(fine, size, 1)
    shape = _per_image(direction)
    return choose(fine, (direction.double() * factor.view(shape)).to(direction.dtype), otherwise)


def choose(mask: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """For each image the first where the mask `[B]` says so, else the second."""
    return torch.where(mask.view(_per_image(first)), first, second)


def _per_image(values: Tensor) -> tuple[int, ...]:
    return (-1, *[1] * (values.ndim - 1))
