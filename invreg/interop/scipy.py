"""SciPy: linear operators on flat NumPy vectors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from invreg.components.operator import LinearOperator, Operator, Shape, as_linear, device_of, is_narrow
from invreg.errors import InvregError, ShapeError
from invreg.interop.foreign import SharesForeign

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator as SciPyLinearOperator


def operator_from_scipy(linear_operator: Any, domain_shape: Shape, range_shape: Shape | None = None) -> ScipyOperator:
    """A SciPy linear operator as an invreg operator; vectors are images in row-major order, (C, H, W).

    Args:
        linear_operator: a `scipy.sparse.linalg.LinearOperator` with `rmatvec`, or a sparse or dense matrix, M x N. If
            it is complex, images are real, and of a measurement of shape (C, ...) come the real and the imaginary parts
            of its channels, (2 C, ...). That keeps inner products: the adjoint is the real part of `rmatvec`.
        domain_shape: shape of one image, N values in all.
        range_shape: shape of one measurement, M values in all; that of the image if None.

    Raises:
        ShapeError: if the shapes do not fit the matrix.
        InvregError: if it is no linear operator.
    """
    from scipy.sparse.linalg import aslinearoperator

    if not all(hasattr(linear_operator, name) for name in ("matvec", "rmatvec", "shape")):
        try:
            linear_operator = aslinearoperator(linear_operator)
        except (TypeError, ValueError) as error:
            raise InvregError(
                f"{type(linear_operator).__name__} is not a linear operator: {error}",
                where="operator_from_scipy",
                expected="a scipy.sparse.linalg.LinearOperator, or a matrix",
            ) from error
    range_shape = tuple(range_shape or domain_shape)
    if _is_complex(linear_operator) and math.prod(range_shape) == linear_operator.shape[0]:
        linear_operator = RealParts(linear_operator, range_shape)
        range_shape = (2 * range_shape[0], *range_shape[1:])
    return ScipyOperator(linear_operator, tuple(domain_shape), range_shape)


def operator_to_scipy(operator: Operator, domain_shape: Shape) -> SciPyLinearOperator:
    """A linear operator as a `scipy.sparse.linalg.LinearOperator` on flat vectors in float64.

    Args:
        operator: the operator; for a nonlinear one, `operator.linearize(x).as_scipy()` gives its derivative at x.
        domain_shape: shape of one image, (C, H, W).

    Raises:
        InvregError: if the operator is not linear.
        ShapeError: if it cannot handle images of this shape.
    """
    operator = as_linear(operator, "operator_to_scipy", "operator.linearize(x).as_scipy(): its derivative at x")
    operator.range_shape(tuple(domain_shape))
    if is_narrow(operator):
        operator = copy.deepcopy(operator).double()
    zeros = torch.zeros((1, *domain_shape), dtype=torch.float64, device=device_of(operator))
    return operator.linearize(zeros).as_scipy()


class RealParts:
    """A complex linear operator on real vectors, its values as real and imaginary parts.

    Args:
        linear_operator: has `matvec`, `rmatvec`, `shape` and `dtype`.
        range_shape: (C, ...) of its values; their real and imaginary parts are (C, 2, ...).
    """

    def __init__(self, linear_operator: Any, range_shape: Shape) -> None:
        self.linear_operator = linear_operator
        rows, columns = linear_operator.shape
        self.shape = 2 * rows, columns
        self.dtype = np.zeros(0, linear_operator.dtype).real.dtype
        self._split = range_shape[0], 2, math.prod(range_shape[1:])

    def matvec(self, x: np.ndarray) -> np.ndarray:
        y = np.asarray(self.linear_operator.matvec(x)).reshape(self._split[0], self._split[2])
        return np.stack([y.real, y.imag], 1).reshape(-1)

    def rmatvec(self, y: np.ndarray) -> np.ndarray:
        parts = y.reshape(self._split)
        values = (parts[:, 0] + 1j * parts[:, 1]).astype(self.linear_operator.dtype)
        return np.asarray(self.linear_operator.rmatvec(values.reshape(-1))).real


def _is_complex(linear_operator: Any) -> bool:
    dtype = getattr(linear_operator, "dtype", None)
    return dtype is not None and np.issubdtype(dtype, np.complexfloating)


class ScipyOperator(SharesForeign, LinearOperator):
    """A linear operator that computes with NumPy vectors on the CPU, image by image.

    Tensors of any device and precision are taken there and back. Automatic differentiation goes through it, in both
    directions and any number of times: the derivative of `matvec` is `rmatvec` and the other way round.

    Args:
        linear_operator: has `matvec`, `rmatvec`, `shape` and `dtype`.
        domain_shape: shape of one image.
        range_shape: shape of one measurement.
    """

    foreign = "linear_operator"

    def __init__(self, linear_operator: Any, domain_shape: Shape, range_shape: Shape) -> None:
        super().__init__()
        rows, columns = linear_operator.shape
        for name, shape, size in (("domain_shape", domain_shape, columns), ("range_shape", range_shape, rows)):
            if math.prod(shape) != size:
                raise ShapeError(
                    f"{name} {shape} has {math.prod(shape)} values",
                    where="operator_from_scipy",
                    expected=f"{size} values: the linear operator is {rows} x {columns}",
                )
        dtype = getattr(linear_operator, "dtype", None)
        self.linear_operator = linear_operator
        self._domain, self._range = tuple(domain_shape), tuple(range_shape)
        # At least float32: the precision of an image in half precision is none to compute in.
        self._is_double = dtype is None or np.result_type(np.float32, dtype).itemsize >= 8

    def forward(self, x: Tensor) -> Tensor:
        _check(x, self._domain, "images")
        return _apply(x, self, False)

    def adjoint(self, y: Tensor) -> Tensor:
        _check(y, self._range, "measurements")
        return _apply(y, self, True)

    def range_shape(self, domain_shape: Shape) -> Shape:
        return _only(domain_shape, self._domain, self._range, "images")

    def domain_shape(self, range_shape: Shape) -> Shape:
        return _only(range_shape, self._range, self._domain, "measurements")

    def extra_repr(self) -> str:
        theirs = self.linear_operator
        theirs = theirs.linear_operator if isinstance(theirs, RealParts) else theirs
        return f"{type(theirs).__name__}, {self._domain} -> {self._range}"

    def compute(self, x: Tensor, transposed: bool) -> Tensor:
        """The product with one vector after the other, without derivatives."""
        function, shape = self._product(transposed)
        precision = torch.float64 if self._is_double or x.dtype == torch.float64 else torch.float32
        result = x.new_empty((x.shape[0], *shape))
        for index, image in enumerate(x.detach().to("cpu", precision)):
            # A copy: what the other package does with its argument must not reach x.
            product = np.array(function(image.reshape(-1).numpy().copy()))
            if np.iscomplexobj(product):
                raise InvregError(
                    f"a product with {type(self.linear_operator).__name__} is complex, though its dtype is not",
                    where="operator_from_scipy",
                    expected="a real linear operator",
                )
            result[index] = torch.from_numpy(product.astype(np.float64, copy=False).reshape(shape)).to(result)
        return result

    def _product(self, transposed: bool) -> tuple[Callable[[np.ndarray], Any], Shape]:
        if not transposed:
            return self.linear_operator.matvec, self._range

        def rmatvec(vector: np.ndarray) -> Any:
            try:
                return self.linear_operator.rmatvec(vector)
            except NotImplementedError as error:
                raise InvregError(
                    f"{type(self.linear_operator).__name__} has no adjoint",
                    where="operator_from_scipy",
                    expected="a linear operator with rmatvec",
                    hint="LinearOperator(shape, matvec=..., rmatvec=...)",
                ) from error

        return rmatvec, self._domain


class _Product(torch.autograd.Function):
    """The product with the matrix or its transpose, each the derivative of the other."""

    @staticmethod
    def forward(x: Tensor, operator: ScipyOperator, transposed: bool) -> Tensor:
        return operator.compute(x, transposed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.operator, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _apply(gradient, ctx.operator, not ctx.transposed), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Any:
        return _apply(tangent, ctx.operator, ctx.transposed)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, operator: ScipyOperator, transposed: bool) -> Any:
        x = x.movedim(in_dims[0], 0)
        return _apply(x.flatten(0, 1), operator, transposed).unflatten(0, x.shape[:2]), 0


def _apply(x: Tensor, operator: ScipyOperator, transposed: bool) -> Tensor:
    result: Tensor = _Product.apply(x, operator, transposed)  # type: ignore[no-untyped-call]
    return result


def _check(x: Tensor, shape: Shape, what: str) -> None:
    if tuple(x.shape[1:]) != shape or not x.is_floating_point():
        raise ShapeError(
            f"{what} of shape {tuple(x.shape)}, {x.dtype}",
            where="operator_from_scipy",
            expected=f"[B, {', '.join(map(str, shape))}], real floating-point numbers",
        )


def _only(given: Shape, own: Shape, image: Shape, what: str) -> Shape:
    if tuple(given) != own:
        raise ShapeError(f"{what} of shape {tuple(given)}", where="operator_from_scipy", expected=f"{own}, only")
    return image
