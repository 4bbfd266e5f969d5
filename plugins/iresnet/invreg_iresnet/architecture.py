"""The architecture of an invertible residual network, read off its weights."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal

from invreg import Architecture, Layer, Shape, Stage
from invreg.text import composition, subscript
from invreg_iresnet.certificate.network_certificate import Role
from invreg_iresnet.network.lifting import Lifting
from invreg_iresnet.network.residuals import ResidualStack


def chain_architecture(
    stack: ResidualStack, lifting: Lifting, role: Role, image_size: tuple[int, int], reads: str
) -> Architecture:
    """The network from images x at the left, through the chain, to measurements at the right, and back.

    The bounds are those to which the weights are projected. They hold for weights that are final; before, norms are
    found up to a few percent, and "≲" is written.

    Args:
        stack: the residual functions.
        lifting: from images to states and back.
        role: what the residual functions are part of: of phi, or of its inverse.
        image_size: (H, W) of images.
        reads: what the reconstruction starts from: z, or what is made of it.
    """
    image: Shape = (lifting.image_channels, *image_size)
    state: Shape = (lifting.image_channels * lifting.copies, *(side + 2 * lifting.padding for side in image_size))
    down, up = _lifting_words(lifting)
    ends = composition("φ₁", f"φ{subscript(len(stack))}", len(stack))
    return Architecture(
        stages=[
            Stage("stack", down, image, state, inverse=up),
            _chain(stack, role, state),
            Stage("mean", up, state, image, inverse=down),
        ],
        left="x",
        right=reads,
        forward="φ, the learned forward map" + (", by fixed points" if role == "inverse" else ""),
        inverse="φ⁻¹, the reconstruction" + (", by fixed points" if role == "forward" else ""),
        formula=f"φ = {ends} with " + ("φᵢ = Id − fᵢ" if role == "forward" else "φᵢ⁻¹ = Id + gᵢ"),
        constraint=_constraint(stack, role),
    )


def _lifting_words(lifting: Lifting) -> tuple[str, str]:
    """What is done to an image to make a state of it, and to a state to make an image."""
    shift = [f"{abs(lifting.center):g}"] if lifting.center else []
    there, back = ("− ", "+ ") if lifting.center > 0 else ("+ ", "− ")
    resize = ["pad", "crop"] if lifting.padding else []
    copies = [f"{lifting.copies} copies"] if lifting.copies > 1 else []
    down = [*(there + c for c in shift), *resize[:1], *(f"stack {c}" for c in copies)]
    up = [*(f"mean of {c}" for c in copies), *resize[1:], *(back + c for c in shift)]
    return ", ".join(down) or "Id", ", ".join(up) or "Id"


def _chain(stack: ResidualStack, role: Role, state: Shape) -> Stage:
    function, explicit = ("f", "x − fᵢ(x)") if role == "forward" else ("g", "z + gᵢ(z)")
    implicit = "x with x = z + fᵢ(x)" if role == "forward" else "z with z = x − gᵢ(z)"
    is_forward = role == "forward"
    layers, last = _layers(stack, state), f"φ{subscript(len(stack))}"
    return Stage(
        {1: "φ₁", 2: "φ₂, φ₁"}.get(len(stack), f"{last}, …, φ₁"),
        explicit if is_forward else implicit,
        state,
        state,
        sum(layer.parameters for layer in layers),
        repeats=len(stack),
        constraint=f"Lip({function}ᵢ) {_at_most(stack)} {_up(stack.bound)}",
        inverse=implicit if is_forward else explicit,
        iterated="inverse" if is_forward else "forward",
        residual="−" if is_forward else "+",
        layers=layers,
    )


def _layers(stack: ResidualStack, state: Shape) -> list[Layer]:
    count, hidden_channels, _, size, _ = stack.kernels.shape
    hidden = hidden_channels, *state[1:]
    at_most = _at_most(stack)

    def parameters(*names: str) -> int:
        return sum(stack.get_parameter(name).numel() for name in names) // count

    return [
        Layer(f"conv {size}×{size}", state, hidden, parameters("kernels", "hidden_biases"), f"‖Kᵢ‖ {at_most} 1"),
        Layer("soft shrinkage, learned threshold", hidden, hidden, parameters("log_thresholds"), "Lip(Sᵢ) ≤ 1"),
        Layer(
            "conv 1×1",
            hidden,
            state,
            parameters("mixings", "output_biases"),
            f"‖Wᵢ‖ {at_most} {_up(stack.bound)}",
        ),
    ]


def _constraint(stack: ResidualStack, role: Role) -> str:
    """The bounds of the chain, which follow from those of its residual functions."""
    explicit = math.exp(len(stack) * math.log1p(stack.bound))
    implicit = math.exp(-len(stack) * math.log1p(-stack.bound))
    forward, inverse = (explicit, implicit) if role == "forward" else (implicit, explicit)
    sign = _at_most(stack)
    return f"Lip(φ) {sign} {_up(forward)}, Lip(φ⁻¹) {sign} {_up(inverse)}"


def _at_most(stack: ResidualStack) -> str:
    return "≤" if stack.is_final else "≲"


def _up(bound: float) -> str:
    """Four digits, and never less than the bound, up to the rounding of the formula that it comes from."""
    return f"{Context(prec=4, rounding=ROUND_CEILING).create_decimal(Decimal(f'{bound:.10g}')).normalize():f}"
