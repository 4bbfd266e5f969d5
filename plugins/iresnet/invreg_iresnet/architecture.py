"""The architecture of an invertible residual network, read off its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import ROUND_CEILING, Context, Decimal

from invreg import Architecture, Layer, Shape, Stage
from invreg.text import composition, subscript
from invreg_iresnet.certificate.network_certificate import Role
from invreg_iresnet.network.lifting import Lifting
from invreg_iresnet.network.residuals import ResidualStack


def chain_architecture(
    stacks: Sequence[ResidualStack],
    scales: Sequence[int],
    lifting: Lifting,
    role: Role,
    image_size: tuple[int, ...],
    reads: str,
) -> Architecture:
    """The network from images x at the left, through the chain, to measurements at the right, and back.

    The bounds are those to which the weights are projected. They hold for weights that are final; before, norms are
    found up to a few percent, and "≲" is written.

    Args:
        stacks: the residual functions of each stage, phi_1 first.
        scales: of the stages.
        lifting: from images to states and back.
        role: what the residual functions are part of: of phi, or of its inverse.
        image_size: (H, W) of images, (D, H, W) of volumes.
        reads: what the reconstruction starts from: z, or what is made of it.
    """
    image: Shape = (lifting.image_channels, *image_size)
    state: Shape = (lifting.image_channels * lifting.copies, *lifting.state_size(*image_size))
    down, up = _lifting_words(lifting, image_size)
    count = sum(map(len, stacks))
    ends = composition("φ₁", f"φ{subscript(count)}", count)
    return Architecture(
        stages=[
            Stage("stack", down, image, state, inverse=up),
            *_chain(stacks, scales, role, state),
            Stage("mean", up, state, image, inverse=down),
        ],
        left="x",
        right=reads,
        forward="φ, the learned forward map" + (", by fixed points" if role == "inverse" else ""),
        inverse="φ⁻¹, the reconstruction" + (", by fixed points" if role == "forward" else ""),
        formula=f"φ = {ends} with " + ("φᵢ = Id − fᵢ" if role == "forward" else "φᵢ⁻¹ = Id + gᵢ"),
        constraint=_constraint(stacks, role),
    )


def _lifting_words(lifting: Lifting, image_size: tuple[int, ...]) -> tuple[str, str]:
    """What is done to an image to make a state of it, and to a state to make an image."""
    shift = [f"{abs(lifting.center):g}"] if lifting.center else []
    there, back = ("− ", "+ ") if lifting.center > 0 else ("+ ", "− ")
    resize = ["pad", "crop"] if lifting.state_size(*image_size) != image_size else []
    copies = [f"{lifting.copies} copies"] if lifting.copies > 1 else []
    down = [*(there + c for c in shift), *resize[:1], *(f"stack {c}" for c in copies)]
    up = [*(f"mean of {c}" for c in copies), *resize[1:], *(back + c for c in shift)]
    return ", ".join(down) or "Id", ", ".join(up) or "Id"


def _chain(stacks: Sequence[ResidualStack], scales: Sequence[int], role: Role, full: Shape) -> Iterator[Stage]:
    """The stages from left to right, phi_N first, with what is done between scales."""
    last, before = sum(map(len, stacks)), 1
    for stack, scale in zip(reversed(stacks), reversed(scales), strict=True):
        yield from _rescaling(before, scale, full, f"to 1/{scale}, for φ{subscript(last)}")
        yield _subnetworks(stack, role, _at_scale(full, scale), last)
        last, before = last - len(stack), scale
    yield from _rescaling(before, 1, full, "to 1/1")


def _rescaling(old: int, new: int, full: Shape, name: str) -> list[Stage]:
    """A permutation of pixels and channels, if there is one."""
    if old == new:
        return []
    axes = len(full) - 1
    there, back = (
        " and ".join(
            f"{word} {'×'.join(axes * [str(scale)])}"
            for word, scale in (("shuffle", before), ("unshuffle", after))
            if scale > 1
        )
        for before, after in ((old, new), (new, old))
    )
    return [Stage(name, there, _at_scale(full, old), _at_scale(full, new), inverse=back)]


def _at_scale(state: Shape, scale: int) -> Shape:
    return state[0] * scale ** (len(state) - 1), *(side // scale for side in state[1:])


def _subnetworks(stack: ResidualStack, role: Role, state: Shape, last: int) -> Stage:
    """The subnetworks of one stage, up to the one with the number `last`."""
    function, explicit = ("f", "x − fᵢ(x)") if role == "forward" else ("g", "z + gᵢ(z)")
    implicit = "x with x = z + fᵢ(x)" if role == "forward" else "z with z = x − gᵢ(z)"
    is_forward = role == "forward"
    layers, first = _layers(stack, state), last - len(stack) + 1
    ends = f"φ{subscript(last)}", f"φ{subscript(first)}"
    return Stage(
        {1: ends[0], 2: ", ".join(ends)}.get(len(stack), ", …, ".join(ends)),
        explicit if is_forward else implicit,
        state,
        state,
        sum(layer.parameters for layer in layers),
        repeats=len(stack),
        constraint=f"Lip({function}ᵢ) {_at_most([stack])} {_up(stack.bound)}",
        inverse=implicit if is_forward else explicit,
        iterated="inverse" if is_forward else "forward",
        residual="−" if is_forward else "+",
        layers=layers,
    )


def _layers(stack: ResidualStack, state: Shape) -> list[Layer]:
    count, hidden_channels, _, *sides = stack.kernels.shape
    hidden = hidden_channels, *state[1:]
    at_most = _at_most([stack])
    wide, narrow = ("×".join(map(str, taps)) for taps in (sides, len(sides) * [1]))

    def parameters(*names: str) -> int:
        return sum(stack.get_parameter(name).numel() for name in names) // count

    return [
        Layer(f"conv {wide}", state, hidden, parameters("kernels", "hidden_biases"), f"‖Kᵢ‖ {at_most} 1"),
        Layer("soft shrinkage, learned threshold", hidden, hidden, parameters("log_thresholds"), "Lip(Sᵢ) ≤ 1"),
        Layer(
            f"conv {narrow}",
            hidden,
            state,
            parameters("mixings", "output_biases"),
            f"‖Wᵢ‖ {at_most} {_up(stack.bound)}",
        ),
    ]


def _constraint(stacks: Sequence[ResidualStack], role: Role) -> str:
    """The bounds of the chain, which follow from those of its residual functions."""
    count, bound = sum(map(len, stacks)), stacks[0].bound
    explicit = math.exp(count * math.log1p(bound))
    implicit = math.exp(-count * math.log1p(-bound))
    forward, inverse = (explicit, implicit) if role == "forward" else (implicit, explicit)
    sign = _at_most(stacks)
    return f"Lip(φ) {sign} {_up(forward)}, Lip(φ⁻¹) {sign} {_up(inverse)}"


def _at_most(stacks: Sequence[ResidualStack]) -> str:
    return "≤" if all(stack.is_final for stack in stacks) else "≲"


#: Digits before the point of a number that is written without an exponent.
_LONGEST = 9


def _up(bound: float) -> str:
    """Four digits, and never less than the bound, up to the rounding of the formula that it comes from."""
    digits = Context(prec=4, rounding=ROUND_CEILING).create_decimal(Decimal(f"{bound:.10g}")).normalize()
    return f"{digits:{'f' if digits.adjusted() < _LONGEST else 'e'}}"
