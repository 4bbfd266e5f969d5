"""The check of how far an operator sees."""

from __future__ import annotations

import torch

from invreg.components.operator import Operator, Shape
from invreg.testing.checks import Refused
from invreg.testing.numbers import images


def stencil_check(operator: Operator, shape: Shape) -> None:
    """Refuses operators that see farther than they claim; passes those that claim nothing."""
    radius = operator.stencil_radius
    if radius is None:
        return
    # The image has to be larger than what the operator sees, or nothing could be found.
    least = range(2 * radius + 7 + len(shape) - 1, 0, -1)
    channels, *sides = shape
    shape = (channels, *(max(side, enough) for side, enough in zip(sides, least, strict=False)))
    x = images(1, 1, *shape)
    before = operator(x)
    if before.shape[2:] != x.shape[2:]:
        raise Refused(
            f"it claims radius {radius} and maps {shape} to {tuple(before.shape[1:])}",
            "None where measurements have other pixels than images",
            "stencil_radius: return None",
        )
    middle = tuple(side // 2 for side in shape[1:])
    corner = (0,) * len(middle)
    edge = (shape[1] - 1, *middle[1:])
    for pixel in (middle, corner, edge):
        changed = x.clone()
        everywhere: tuple[slice | int, ...] = (slice(None), slice(None), *pixel)
        changed[everywhere] += 0.5
        moved = (operator(changed) - before).abs().amax((0, 1)) > 1e-12
        places = moved.nonzero()
        far = int((places - torch.tensor(pixel)).abs().max()) if len(places) else 0
        if far > radius:
            raise Refused(
                f"a change of the pixel {pixel} is seen {far} pixels away",
                f"at most {radius}, as stencil_radius says",
                "correct stencil_radius, or return None",
            )
