"""The check of how far an operator sees."""

from __future__ import annotations

from invreg.components.operator import Operator, Shape
from invreg.testing.checks import Refused
from invreg.testing.numbers import images


def stencil_check(operator: Operator, shape: Shape) -> None:
    """Refuses operators that see farther than they claim; passes those that claim nothing."""
    radius = operator.stencil_radius
    if radius is None:
        return
    channels, height, width = shape
    # The image has to be larger than what the operator sees, or nothing could be found.
    shape = (channels, max(height, 2 * radius + 9), max(width, 2 * radius + 8))
    x = images(1, 1, *shape)
    before = operator(x)
    if before.shape[-2:] != x.shape[-2:]:
        raise Refused(
            f"it claims radius {radius} and maps {shape} to {tuple(before.shape[1:])}",
            "None where measurements have other pixels than images",
            "stencil_radius: return None",
        )
    for row, column in ((shape[1] // 2, shape[2] // 2), (0, 0), (shape[1] - 1, shape[2] // 2)):
        changed = x.clone()
        changed[..., row, column] += 0.5
        moved = (operator(changed) - before).abs().amax((0, 1)) > 1e-12
        rows, columns = moved.nonzero(as_tuple=True)
        far = max([int((rows - row).abs().max()), int((columns - column).abs().max())]) if len(rows) else 0
        if far > radius:
            raise Refused(
                f"a change of the pixel ({row}, {column}) is seen {far} pixels away",
                f"at most {radius}, as stencil_radius says",
                "correct stencil_radius, or return None",
            )
