"""Proven gains of a whole chain: on states, and from images to images.

A chain is cut into groups of consecutive subnetworks of one shape, for each of which the condition of
`certificate.chain_condition` is proven, and the gains of groups multiply. The reconstruction begins with q equal copies
of an image and ends with their mean, so for it the first group is entered by a stack of copies only, and of the last
group only the sum over the copies counts (divided by q at the end, so that the matrices have integer entries).

A group is as long as it can be: all subnetworks of one resolution, unless nothing is proven of them together. Then it
is cut in two, and so are these pieces where nothing is proven of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invreg import CertificateError
from invreg_iresnet.certificate.chain_condition import Ends, Steps, condition_kernel, is_proven
from invreg_iresnet.certificate.composition import (
    SubnetworkBounds,
    alive,
    checked_list,
    checked_mapping,
    checked_number,
    checked_numbers,
)
from invreg_iresnet.certificate.gain_proof import GainProof, gain_is_at_most, proven_gain
from invreg_iresnet.certificate.gain_search import is_searched_more_finely, smallest_gain
from invreg_iresnet.network.precision import single_thread
from invreg_iresnet.norms.rounding import root_up, up

# The largest order of a condition for the pieces in which a network is trained to a target.
_LARGEST = 160
# Chains with a larger sum of H^2 M, of hidden channels and channels, would take minutes to prove.
_MOST_OPERATIONS = 30_000_000
# By how much a gain may exceed what the search found: fewer cells prove it then.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class GroupGain:
    """||C e_N||^2 <= `squared_gain` ||a||^2 for the steps of a group.

    Attributes:
        length: how many subnetworks are in the group.
        squared_gain: gamma.
        centre: None, as it is proven by elimination; certificates of earlier versions have c, for which
            ||P - c Id|| <= c is proven.
        scalings: the diagonals of T_j, one list for each subnetwork; 0 for hidden channels that are dead.
    """

    length: int
    squared_gain: float
    centre: float | None
    scalings: list[list[float]]


@dataclass(frozen=True)
class ChainBounds:
    """Gains of a chain, in exact arithmetic for the stored weights, on images of any size.

    Attributes:
        states: of groups that make up the chain, from states to states.
        images: likewise, from an image that is copied to the sum over the copies.
    """

    states: Sequence[GroupGain]
    images: Sequence[GroupGain]


def certify_chain_gains(
    kernels: Sequence[Tensor],
    mixings: Sequence[Tensor],
    implicit: bool,
    copies: int,
    bounds: Sequence[SubnetworkBounds],
) -> ChainBounds | str:
    """Finds and proves gains. Deterministic; computes on the CPU.

    Args:
        kernels: K_j `[H, M, k, k]` (or `[H, M, k, k, k]`) in the order of the steps, float64 on the CPU; those of one
            scale have the same M.
        mixings: W_j `[M, H]`, likewise.
        implicit: what the steps are, see `Steps`.
        copies: q, of the channels of an image, that a state has.
        bounds: of the subnetworks: the search starts from their scalings.

    Returns:
        Where nothing is proven: why.
    """
    operations = sum(kernel.shape[0] ** 2 * kernel.shape[1] for kernel in kernels)
    if operations > _MOST_OPERATIONS:
        return (
            f"the sum of H^2 M is {operations:,}, above {_MOST_OPERATIONS:,}: a bound of the whole chain would take "
            "minutes"
        )
    chain = _Chain(kernels, mixings, implicit, bounds)
    found: list[_Piece] = []
    for stage in stages_of([kernel.shape for kernel in kernels]):
        pieces = chain.pieces(stage)
        if isinstance(pieces, str):
            return pieces
        found += pieces
    groups, images = [piece.group for piece in found], []
    for piece in found:
        identity = _identity(len(mixings[piece.group.start]))
        ends = image_ends(piece.group, groups, identity, copies)
        if ends.entry is identity and ends.exit is identity:
            images.append(piece.gain)
            continue
        # As s s' <= q Id, T_j times q prove q gamma where C = s'.
        gain = chain.proven(piece.group, ends, 1 if ends.exit is identity else copies, piece.gain)
        if gain is None:
            return f"no gain from images to images is proven of {_named(piece.group)}"
        images.append(gain)
    return ChainBounds([piece.gain for piece in found], images)


def check_chain_gains(
    kernels: Sequence[Tensor], mixings: Sequence[Tensor], implicit: bool, copies: int, claimed: ChainBounds
) -> None:
    """Proves the claims again, without a search.

    Args:
        kernels: as for `certify_chain_gains`.
        mixings: likewise.
        implicit: likewise.
        copies: likewise.
        claimed: the claims.

    Raises:
        CertificateError: naming a claim that is not proven for these weights.
    """
    proven: dict[range, GroupGain] = {}
    for name, claims in (("states", claimed.states), ("images", claimed.images)):
        if sum(one.length for one in claims) != len(kernels) or any(one.length < 1 for one in claims):
            raise CertificateError(
                f"groups of {[one.length for one in claims]} subnetworks",
                where=name,
                expected=f"{len(kernels)} in all",
            )
        groups = _of_lengths([one.length for one in claims])
        for group in groups:
            if len({kernels[index].shape[1:] for index in group}) > 1:
                raise CertificateError(
                    f"a group of subnetworks {group.start + 1} to {group.stop}, of several stages",
                    where=name,
                    expected="groups within one stage",
                )
        inner = groups[1:-1] if name == "images" else []
        for number, (group, claim) in enumerate(zip(groups, claims, strict=True), 1):
            if group in inner and proven.get(group) == claim:
                continue  # from states to states, of the same subnetworks: proven above
            identity = _identity(len(mixings[group.start]))
            ends = Ends(identity, identity)
            if name == "images":
                ends = image_ends(group, groups, identity, copies)
            try:
                _check([kernels[index] for index in group], [mixings[index] for index in group], implicit, ends, claim)
            except CertificateError as error:
                raise error.at(f"{name}.{number}") from None
            proven[group] = claim


def state_gain(bounds: ChainBounds) -> Fraction:
    """The product of the gains of all groups."""
    return _product(bounds.states)


def image_gain(bounds: ChainBounds, copies: int) -> Fraction:
    """||m e_N|| <= gain ||a|| for states that begin as q copies of a and end with their mean m."""
    return _product(bounds.images) / copies


def chain_from_content(content: Any) -> ChainBounds:
    """The bounds from their `asdict`, which JSON keeps to the last bit. `check_chain_gains` checks whether they hold.

    Raises:
        CertificateError: if the content is malformed.
    """
    sides = checked_mapping(content, "content", ChainBounds.__dataclass_fields__)
    groups = {name: checked_list(side, name, "groups") for name, side in sides.items()}
    return ChainBounds(**{name: [_group_from(one, name) for one in side] for name, side in groups.items()})


def _group_from(content: Any, where: str) -> GroupGain:
    group = checked_mapping(content, where, GroupGain.__dataclass_fields__)
    length, scalings = group["length"], checked_list(group["scalings"], f"{where}.scalings", "lists of numbers")
    if not isinstance(length, int) or len(scalings) != length:
        raise CertificateError(f"{length} subnetworks", where=where, expected="as many of them as lists of numbers")
    return GroupGain(
        length,
        checked_number(group["squared_gain"], f"{where}.squared_gain"),
        None if group["centre"] is None else checked_number(group["centre"], f"{where}.centre"),
        [checked_numbers(row, f"{where}.scalings") for row in scalings],
    )


def stages_of(shapes: Sequence[tuple[int, ...]]) -> list[range]:
    """0, 1, ... in groups of consecutive kernels `[H, M, k, k]` of one shape."""
    return _of_lengths([len(list(run)) for _, run in itertools.groupby(shapes)])


def groups_of(shapes: Sequence[tuple[int, ...]]) -> list[range] | None:
    """0, 1, ... in groups of nearly equal lengths; kernels `[H, M, k, k]` of a group have one shape.

    None if all of them would be single ones, or single ones are too large.
    """
    lengths: list[int] = []
    for (hidden, channels, *_), run in itertools.groupby(shapes):
        count, longest = len(list(run)), (_LARGEST - channels) // hidden
        if longest < 1:
            return None
        groups = math.ceil(count / longest)
        lengths += [count // groups + (index < count % groups) for index in range(groups)]
    return _of_lengths(lengths) if max(lengths) > 1 or len(shapes) == 1 else None


def _of_lengths(lengths: Sequence[int]) -> list[range]:
    ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
    return [range(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def _identity(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64, device="cpu")


def image_ends(group: range, groups: Sequence[range], identity: Tensor, copies: int) -> Ends:
    """B = s, the matrix of q identities on top of each other, where a chain begins; C = s' where it ends."""
    stack = _identity(len(identity) // copies).repeat(copies, 1)
    return Ends(stack if group == groups[0] else identity, stack.mT if group == groups[-1] else identity)


def _steps(kernels: Sequence[Tensor], mixings: Sequence[Tensor], active: Sequence[Tensor], implicit: bool) -> Steps:
    """Without dead channels, whose s is 0 or has no effect."""
    return Steps(
        [kernel[use] for kernel, use in zip(kernels, active, strict=True)],
        [mixing[:, use] for mixing, use in zip(mixings, active, strict=True)],
        implicit,
    )


def _start(bounds: Sequence[SubnetworkBounds], active: Sequence[Tensor], implicit: bool) -> list[Tensor] | None:
    """Scalings with which the chain has at least the product of the bounds of its subnetworks.

    The bound of an implicit step is that of ||e_j||^2 <= kappa_j^2 (||e_{j-1}||^2 - constraint with T'), so if later
    steps amplify by r, T_j is r kappa_j^2 T'. For an explicit step, the constraint is added to ||e_j||^2 itself: r T'.
    """
    name = "contraction" if implicit else "expansion"
    found, later = [], 1.0
    for one, use in zip(reversed(bounds), reversed(active), strict=True):
        square = 1 - one.norms[name] ** 2 if implicit else 1 + one.norms[name] ** 2
        if square <= 0:
            return None
        amplification = 1 / square if implicit else square
        own = later * amplification if implicit else later
        found.append(own * torch.tensor(one.scalings[name], dtype=torch.float64, device="cpu")[use])
        later *= amplification
    return found[::-1]


class _Piece(NamedTuple):
    """Consecutive subnetworks, and their gain from states to states."""

    group: range
    gain: GroupGain


class _Chain:
    """Proves gains of the subnetworks of a chain; arguments as for `certify_chain_gains`."""

    def __init__(
        self,
        kernels: Sequence[Tensor],
        mixings: Sequence[Tensor],
        implicit: bool,
        bounds: Sequence[SubnetworkBounds],
    ) -> None:
        self._kernels, self._mixings, self._implicit, self._bounds = kernels, mixings, implicit, bounds
        self._active = [alive(kernel, mixing) for kernel, mixing in zip(kernels, mixings, strict=True)]

    def pieces(self, group: range) -> list[_Piece] | str:
        """Gains of all of them together, or of halves, or of parts of these; if nothing is proven of one alone, why."""
        identity = _identity(len(self._mixings[group.start]))
        gain = self.proven(group, Ends(identity, identity))
        if gain is not None:
            return [_Piece(group, gain)]
        if len(group) == 1:
            return f"no gain is proven of {_named(group)}"
        middle, found = (group.start + group.stop) // 2, []
        for half in (range(group.start, middle), range(middle, group.stop)):
            pieces = self.pieces(half)
            if isinstance(pieces, str):
                return pieces
            found += pieces
        return found

    def proven(self, group: range, ends: Ends, larger: int = 1, known: GroupGain | None = None) -> GroupGain | None:
        """A proven gain of a group.

        Args:
            group: which subnetworks.
            ends: where they begin and end.
            larger: what the scalings of `known` are multiplied by to start from.
            known: a gain for other ends; if there is none, the bounds of the single subnetworks are where it starts.
        """
        active = self._active[group.start : group.stop]
        steps = Steps(
            [self._kernels[index][use] for index, use in zip(group, active, strict=True)],
            [self._mixings[index][:, use] for index, use in zip(group, active, strict=True)],
            self._implicit,
        )
        if known is None:
            start = _start([self._bounds[index] for index in group], active, self._implicit)
        else:
            numbers = [torch.tensor(one, dtype=torch.float64, device="cpu") for one in known.scalings]
            start = [larger * one[use] for one, use in zip(numbers, active, strict=True)]
        for squared_gain, scalings in [] if start is None else _attempts(steps, ends, start):
            if math.isfinite(squared_gain):
                full = [
                    torch.zeros(len(use), dtype=torch.float64, device="cpu").masked_scatter(use, one).tolist()
                    for use, one in zip(active, scalings, strict=True)
                ]
                return GroupGain(len(group), squared_gain, None, full)
        return None


def _attempts(steps: Steps, ends: Ends, start: Sequence[Tensor]) -> Iterator[tuple[float, Sequence[Tensor]]]:
    """Proven gains, some of which may be infinite, with their T_j: of a search, of a finer one, and of its start."""
    for finely in (False, True):
        if finely and not is_searched_more_finely(steps):
            continue
        try:
            found = smallest_gain(steps, ends, start, finely=finely)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            continue
        if found is not None:
            yield _gain(steps, ends, found.scalings, found.squared_gain * (1 + _TOLERANCE) ** 2), found.scalings
    yield _gain(steps, ends, start, 0.0), start


def _gain(steps: Steps, ends: Ends, scalings: Sequence[Tensor], aim: float) -> float:
    try:
        return proven_gain(GainProof(steps, ends, scalings), aim)
    except CertificateError:  # scalings beyond what numbers can hold
        return math.inf


def _named(group: range) -> str:
    return f"subnetwork {group.stop}" if len(group) == 1 else f"subnetworks {group.start + 1} to {group.stop}"


def _check(kernels: Sequence[Tensor], mixings: Sequence[Tensor], implicit: bool, ends: Ends, claim: GroupGain) -> None:
    active = [alive(kernel, mixing) for kernel, mixing in zip(kernels, mixings, strict=True)]
    scalings = [torch.tensor(one, dtype=torch.float64, device="cpu") for one in claim.scalings]
    for scaling, use in zip(scalings, active, strict=True):
        if len(scaling) != len(use) or not torch.equal(scaling > 0, use):
            raise CertificateError(
                f"{len(scaling)} numbers, {int((scaling > 0).sum())} of them positive",
                where="scalings",
                expected=f"one for each of the {len(use)} hidden channels, positive unless the channel is dead",
                hint="the bounds of other weights?",
            )
    steps = _steps(kernels, mixings, active, implicit)
    used = [scaling[use] for scaling, use in zip(scalings, active, strict=True)]
    if claim.centre is None:
        proven = gain_is_at_most(GainProof(steps, ends, used), claim.squared_gain)
    elif kernels[0].ndim != 4:
        raise CertificateError(
            f"{claim.centre}", where="centre", expected="none: a chain of volumes is proven by elimination"
        )
    else:
        with single_thread():  # many small matrices
            proven = is_proven(condition_kernel(steps, ends, used, claim.squared_gain), claim.centre)
    if not proven:
        raise CertificateError(
            f"a squared gain of {claim.squared_gain} could not be proven",
            where="squared_gain",
            expected="a bound that holds for these weights",
        )


def _product(groups: Sequence[GroupGain]) -> Fraction:
    gain = math.prod((Fraction(one.squared_gain) for one in groups), start=Fraction(1))
    return Fraction(root_up(Fraction(up(gain))))
