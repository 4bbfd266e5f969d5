"""PyLops: linear operators on NumPy arrays of a given shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invreg.components.operator import Operator, Shape
from invreg.errors import InvregError
from invreg.interop.foreign import require
from invreg.interop.scipy import ScipyOperator, operator_from_scipy, operator_to_scipy

if TYPE_CHECKING:
    from pylops import LinearOperator as PyLopsOperator


def operator_from_pylops(
    operator: PyLopsOperator, domain_shape: Shape | None = None, range_shape: Shape | None = None
) -> ScipyOperator:
    """A PyLops operator as an invreg operator.

    Args:
        operator: a `pylops.LinearOperator`; complex values come as for `operator_from_scipy`.
        domain_shape: shape of one image; from the operator's `dims` if None, where (H, W) becomes (1, H, W) and (N,)
            becomes (1, 1, N).
        range_shape: shape of one measurement; from `dimsd` in the same way if None.

    Raises:
        ShapeError: if the shapes do not fit the operator.
        InvregError: if it is no operator of PyLops.
    """
    if not all(hasattr(operator, name) for name in ("matvec", "rmatvec", "dims", "dimsd")):
        raise InvregError(
            f"{type(operator).__name__} is not an operator of PyLops",
            where="operator_from_pylops",
            expected="a pylops.LinearOperator, with dims and dimsd",
            hint="operator_from_scipy(operator, domain_shape, range_shape)",
        )
    return operator_from_scipy(operator, domain_shape or _image(operator.dims), range_shape or _image(operator.dimsd))


def operator_to_pylops(operator: Operator, domain_shape: Shape) -> PyLopsOperator:
    """A linear operator as a `pylops.LinearOperator` in float64, with `dims` (C, H, W).

    Raises:
        InvregError: if the operator is not linear, or PyLops is not installed.
        ShapeError: if it cannot handle images of this shape.
    """
    pylops = require("pylops", "pylops")
    flat = operator_to_scipy(operator, domain_shape)
    dimsd = operator.range_shape(tuple(domain_shape))
    return pylops.LinearOperator(Op=flat, dims=tuple(domain_shape), dimsd=dimsd, dtype=flat.dtype)


def _image(dims: Any) -> Shape:
    shape = tuple(int(size) for size in dims)
    return (1,) * (3 - len(shape)) + shape
