"""Forward operators F: X -> Y and their derivatives."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from invreg.computing.streams import generator, stream_key
from invreg.errors import ConvergenceError, InvregError, ShapeError, SpecError
from invreg.schema.component import Component
from invreg.schema.kinds import base_of

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator as SciPyLinearOperator

Shape = tuple[int, ...]
"""The shape of one image or one measurement, without the batch: (channels, height, width) for images, and (channels,
depth, height, width) for volumes."""


@base_of("operator")
class Operator(Component, nn.Module, ABC):
    """A forward operator F: X -> Y, free of noise, on batches of images `[B, C, H, W]` or volumes `[B, C, D, H, W]`.

    Subclasses write `forward`. Each image of a batch is treated alone, the input is not changed, and dtype and
    device of the input are kept. `jvp` and `vjp` come from automatic differentiation; a subclass that knows
    better overrides them.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """F(x), for x `[B, C, H, W]`."""

    def range_shape(self, domain_shape: Shape) -> Shape:
        """Shape of F(x) for one image of `domain_shape`, both without the batch dimension.

        Raises:
            ShapeError: if images of this shape cannot be handled.
        """
        return tuple(domain_shape)

    @property
    def stencil_radius(self) -> int | None:
        """How far F(x) sees: its value at a pixel depends only on pixels at most so many steps away on each axis.

        None where this is unknown, or not so (an operator that acts globally, or joins opposite ends of an image).
        """
        return None

    def realisation(self, generator: torch.Generator) -> Operator:
        """The operator that one image is measured with.

        Itself, for an operator that is known. An operator with uncertain parameters draws them here, for each image
        anew, and stands itself for their nominal values: methods and analyses evaluate the nominal operator, as they
        do not know what was drawn. It takes the same images, and its measurements have the same shapes.

        Args:
            generator: the source of all that is random, on the device of the images.
        """
        return self

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        """The directional derivative F'(x) h; x and h have the same shape."""
        return torch.func.jvp(self.forward, (x,), (h,))[1]

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """The adjoint derivative F'(x)* v; v has the shape of F(x)."""
        return torch.func.vjp(self.forward, x)[1](v)[0]

    def linearize(self, x: Tensor) -> Linearization:
        """The derivative F'(x) as a linear operator."""
        return Linearization(self, x)


class UnknownOperator(Operator):
    """An operator of which nothing but measurements is known: F(x) cannot be computed.

    Subclasses say in `range_shape` which shape measurements have.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Refuses every image.

        Raises:
            InvregError: always.
        """
        raise InvregError(
            "F(x) cannot be computed: nothing but measurements is known of the operator",
            where=type(self).__name__,
            expected="a method or an analysis that does not evaluate F",
            hint="an operator with a formula",
        )


def require_known(operator: Operator, what: str) -> None:
    """Refuses an operator that cannot be evaluated, for a method that does.

    Args:
        operator: the forward operator.
        what: the method, as in "tv".

    Raises:
        SpecError: if it is an `UnknownOperator`.
    """
    if isinstance(operator, UnknownOperator):
        raise SpecError(
            f"{what} evaluates the operator, and {type(operator).__name__} cannot be evaluated",
            expected="an operator with a formula",
            hint="leave it out, or name the operator of the measurements",
        )


def require_images(image_shape: Shape, where: str, hint: str | None = None) -> None:
    """Refuses volumes, for what is made for images.

    Args:
        image_shape: (C, H, W), or (C, D, H, W).
        where: what refuses them, as in "crr".
        hint: what takes volumes.

    Raises:
        ShapeError: if there are not three numbers.
    """
    if len(image_shape) != 3:
        kind = "volumes" if len(image_shape) == 4 else "images"
        raise ShapeError(
            f"{kind} of shape {tuple(image_shape)}",
            where=where,
            expected="images (channels, height, width)",
            hint=hint if len(image_shape) == 4 else None,
        )


@dataclass(frozen=True)
class NormEstimate:
    """An operator norm found by Lanczos iteration.

    Attributes:
        value: the estimate. It never exceeds the norm (up to rounding).
        residual: ||A*A v - value² v|| / value² for the unit vector v that was found: some singular value of A
            lies within about `residual / 2 * value` of `value`.
    """

    value: float
    residual: float

    def __float__(self) -> float:
        return self.value


class LinearOperator(Operator):
    """A linear forward operator A with its adjoint A*.

    `adjoint` is the transpose of `forward` with respect to the Euclidean inner products of X and Y.
    """

    def domain_shape(self, range_shape: Shape) -> Shape:
        """Shape of one image whose measurement has `range_shape`. Needed where range and domain differ."""
        if self.range_shape(range_shape) == tuple(range_shape):
            return tuple(range_shape)
        raise NotImplementedError(
            f"{type(self).__name__} maps between different shapes: define adjoint() or domain_shape()"
        )

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y, for y `[B, ...range]`."""
        x = y.new_zeros((y.shape[0], *self.domain_shape(tuple(y.shape[1:]))))
        return torch.func.vjp(self.forward, x)[1](y)[0]

    def normal(self, x: Tensor) -> Tensor:
        """A* A x, for x `[B, C, H, W]`. Subclasses that know a faster way than `forward` and `adjoint` override it."""
        return self.adjoint(self.forward(x))

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        return self.forward(h)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.adjoint(v)

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        """The operator norm ||A|| on images of `domain_shape`, by Lanczos iteration on A*A in float64.

        Args:
            domain_shape: shape of one image, (C, H, W).
            tolerance: relative accuracy asked of the leading eigenvalue of A*A.
            seed: seed of the starting vector.

        Returns:
            The estimate with its residual; a Lanczos value is a lower bound of the norm.

        Raises:
            ConvergenceError: if the iteration does not reach the tolerance, or meets values that are not finite.
        """
        if is_narrow(self):
            return copy.deepcopy(self).double().norm(domain_shape, tolerance=tolerance, seed=seed)
        zeros = torch.zeros((1, *domain_shape), dtype=torch.float64, device=device_of(self))
        return _largest_singular_value(self.linearize(zeros).as_scipy(), tolerance, seed)

    def norm_bound(self, domain_shape: Shape) -> float:
        """A number that ||A|| does not exceed on images of `domain_shape`, up to a risk of 10^-12.

        `norm` gives a lower bound. This is the largest eigenvalue that 100 Lanczos steps on A*A find, divided by 1 -
        epsilon, with the epsilon (0.03 for 64 x 64 pixels) that it misses with a probability of at most 10^-12 over the
        random vector that it starts from: that is so for every A. Where `norm` knows the norm (its residual is zero),
        it is that. Rounding in float64 is not counted.

        Raises:
            ConvergenceError: if the operator returns values that are not finite.

        Source: Kuczynski & Wozniakowski 1992, SIAM J. Matrix Anal. Appl. 13, 1094-1122; the
        constants are proved in docs/theory/pull-backs.md, theorem 13.
        """
        if type(self).norm is not LinearOperator.norm and not (known := self.norm(domain_shape)).residual:
            return known.value * (1 + _SLACK)
        twin = copy.deepcopy(self).double() if is_narrow(self) else self
        zeros = torch.zeros((1, *domain_shape), dtype=torch.float64, device=device_of(twin))
        matrix = twin.linearize(zeros).as_scipy()
        found, missed = _lanczos(matrix.H @ matrix), _missed_by_lanczos(math.prod(domain_shape))
        return math.sqrt(found / (1 - missed)) * (1 + _SLACK)

    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(A*A) x, for operators whose A*A a known transform makes diagonal.

        Args:
            x: images, `[B, C, H, W]`.
            function: f, given the eigenvalues of A*A as a tensor of any shape, value by value.

        Raises:
            NotImplementedError: if no transform is known.
        """
        raise NotImplementedError(f"{type(self).__name__}: no transform is known in which A*A is diagonal")

    def adjoint_defect(self, domain_shape: Shape) -> float:
        """How far `adjoint` is from the transpose of `forward` on images of `domain_shape`, by one inner product.

        |<A x, y> - <x, A* y>| / ||A x||² for a random image x and y = A x + n, n random and as large as A x. Up to
        rounding (1e-4 and less in float32) it is 0 for the transpose, and e for (1 + e) times that. x and n are always
        the same, and the global random numbers are left alone.

        Args:
            domain_shape: shape of one image, (C, H, W).

        Raises:
            ShapeError: if A* y does not have the shape of x.
        """
        state = [*self.parameters(), *self.buffers()]
        like = next((tensor for tensor in state if tensor.is_floating_point()), torch.empty(0))
        numbers = generator(stream_key(0, "adjoint"))
        x = torch.randn((1, *domain_shape), generator=numbers).to(like)
        with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.autocast(like.device.type, enabled=False):
            image = self(x.clone()).clone()
            size = image.double().norm()
            noise = torch.randn(image.shape, generator=numbers).to(image)
            y = image + noise * (size / max(image.numel(), 1) ** 0.5).to(image)
            pulled = self.adjoint(y.clone())
        if pulled.shape != x.shape:
            raise ShapeError(
                f"adjoint() returns {tuple(pulled.shape)} for an image {tuple(x.shape)}",
                where=type(self).__name__,
                expected="the shape of the image",
            )
        there, back = (image.double() * y.double()).sum(), (x.double() * pulled.double()).sum()
        return float((there - back).abs() / size**2) if size else float(back.abs())


# Numbers in an image from which on the Lanczos iteration saves memory.
_LARGE = 2**22

# Steps of the iteration behind `norm_bound`, the risk that it takes, and what rounding may do in float64.
_STEPS, _RISK, _SLACK = 100, 1e-12, 1e-9


def is_narrow(module: nn.Module) -> bool:
    """Whether parameters or buffers are less precise than float64."""
    state = (*module.parameters(), *module.buffers())
    return any(tensor.is_floating_point() and tensor.dtype != torch.float64 for tensor in state)


def device_of(module: nn.Module) -> torch.device | None:
    """Where the parameters and buffers are; None if there are none."""
    return next((tensor.device for tensor in (*module.parameters(), *module.buffers())), None)


def _lanczos(gram: SciPyLinearOperator) -> float:
    """The largest eigenvalue in the Krylov space of `_STEPS` steps from a random vector."""
    from scipy.linalg import eigvalsh_tridiagonal

    n = gram.shape[0]
    v = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).numpy()
    v, before = v / np.linalg.norm(v), np.zeros(n)
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(_STEPS, n)):
        w = gram @ v
        diagonal.append(float(v @ w))
        w = w - diagonal[-1] * v - (beside[-1] * before if beside else 0.0)
        size = float(np.linalg.norm(w))
        if not math.isfinite(size):
            raise ConvergenceError("the operator returns NaN or infinite values", where="LinearOperator.norm_bound")
        if size <= 1e-14 * max(diagonal):  # the space is exhausted
            break
        beside.append(size)
        v, before = w / size, v
    return max(float(eigvalsh_tridiagonal(diagonal, beside[: len(diagonal) - 1]).max()), 0.0)


def _missed_by_lanczos(n: int) -> float:
    """epsilon with P(found < (1 - epsilon) lambda_1) <= `_RISK` for n unknowns, the smallest up to a percent.

    The probability is at most 2 sqrt(2 n / pi) / r ((1 - r) / (1 + r))^(steps - 1), r = sqrt(epsilon).
    """
    if n <= _STEPS:
        return 0.0
    low, high = 0.0, 1.0
    while high - low > 0.01 * high:
        r = (low + high) / 2
        risk = math.log(2 * math.sqrt(2 * n / math.pi) / r) + (_STEPS - 1) * math.log((1 - r) / (1 + r))
        low, high = (low, r) if risk <= math.log(_RISK) else (r, high)
    return high**2


def _largest_singular_value(matrix: SciPyLinearOperator, tolerance: float, seed: int) -> NormEstimate:
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    gram = matrix.H @ matrix
    start = torch.randn(gram.shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).numpy()
    image = gram @ start
    if not np.isfinite(image).all():
        raise ConvergenceError("the operator returns NaN or infinite values", where="LinearOperator.norm")
    if gram.shape[0] == 1 or not image.any():  # A number; or zero, which a random vector tells.
        return NormEstimate(math.sqrt(abs(float(image[0] / start[0]))), 0.0)
    try:
        # The usual 20 vectors of the basis would take gigabytes for large images.
        basis = 6 if gram.shape[0] > _LARGE else None
        eigenvalues, vectors = eigsh(gram, k=1, which="LA", v0=start, tol=tolerance, ncv=basis)
    except ArpackNoConvergence as error:
        raise ConvergenceError(
            f"the Lanczos iteration did not reach the tolerance {tolerance:g}",
            where="LinearOperator.norm",
            hint="a larger tolerance; or adjoint() is not the transpose of forward()",
        ) from error
    top, vector = max(float(eigenvalues[0]), 0.0), vectors[:, 0]
    residual = float(((gram @ vector - top * vector) ** 2).sum() ** 0.5)
    return NormEstimate(math.sqrt(top), residual / top if top else 0.0)


class Linearization(LinearOperator):
    """The derivative F'(x) of an operator at one point, as a linear operator.

    Args:
        operator: the operator F.
        x: the point(s), `[B, C, H, W]`; `forward` and `adjoint` take batches of the same size.
    """

    def __init__(self, operator: Operator, x: Tensor) -> None:
        super().__init__()
        self.operator = operator
        self.x = x

    def forward(self, x: Tensor) -> Tensor:
        """F'(x₀) x for the point x₀ of the linearization."""
        return self.operator.jvp(self.x, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.vjp(self.x, y)

    def range_shape(self, domain_shape: Shape) -> Shape:
        return self.operator.range_shape(domain_shape)

    @property
    def stencil_radius(self) -> int | None:
        return self.operator.stencil_radius

    def domain_shape(self, range_shape: Shape) -> Shape:
        return tuple(self.x.shape[1:])

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        """The norm of the derivative at a single image, see `LinearOperator.norm`.

        Raises:
            ShapeError: if the point is a batch of more than one image, or of another shape than `domain_shape`.
        """
        if tuple(domain_shape) != tuple(self.x.shape[1:]):
            raise ShapeError(
                f"domain_shape {tuple(domain_shape)}",
                where="Linearization.norm",
                expected=f"the shape of the point of linearization, {tuple(self.x.shape[1:])}",
            )
        operator = copy.deepcopy(self.operator).double()
        return _largest_singular_value(operator.linearize(self.x.double()).as_scipy(), tolerance, seed)

    def as_scipy(self) -> SciPyLinearOperator:
        """The derivative at a single image as a `scipy.sparse.linalg.LinearOperator` on flat NumPy vectors.

        Raises:
            ShapeError: if the point is a batch of more than one image.
        """
        from scipy.sparse.linalg import LinearOperator as SciPyLinearOperator

        if self.x.shape[0] != 1:
            raise ShapeError(
                f"linearize(x) was given a batch of {self.x.shape[0]} images",
                where="Linearization.as_scipy",
                expected="one image, [1, C, H, W]",
                hint="take one of them: operator.linearize(x[i:i+1])",
            )
        domain = tuple(self.x.shape[1:])
        range_ = self.operator.range_shape(domain)
        x = self.x.detach()

        def apply(vector: np.ndarray, shape: Shape, function: Callable[[Tensor], Tensor]) -> np.ndarray:
            if np.iscomplexobj(vector):  # a real operator acts on real and imaginary parts
                return apply(vector.real, shape, function) + 1j * apply(vector.imag, shape, function)
            tensor = torch.as_tensor(vector.reshape(1, *shape)).to(x)
            with torch.no_grad():
                return function(tensor).double().cpu().numpy().ravel()

        return SciPyLinearOperator(
            shape=(math.prod(range_), math.prod(domain)),
            matvec=lambda v: apply(v, domain, self.forward),
            rmatvec=lambda v: apply(v, range_, self.adjoint),
            dtype="float64",
        )


def as_linear(operator: Operator, where: str, hint: str) -> LinearOperator:
    """The operator itself, for what takes linear ones only.

    Raises:
        InvregError: if it is not linear.
    """
    if isinstance(operator, LinearOperator):
        return operator
    what = f"{type(operator).__name__} is not linear"
    raise InvregError(what, where=where, expected="an invreg.LinearOperator", hint=hint)


class PulledBackOperator(LinearOperator):
    """P A on X, for a linear A: X -> Y and a linear P: Y -> X: what a network stands for that reads P z.

    Subclasses write `pull_back`.

    Args:
        operator: the linear operator A.
    """

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__()
        self.operator = operator

    @abstractmethod
    def pull_back(self, z: Tensor) -> Tensor:
        """P z: the measurement in X."""

    def forward(self, x: Tensor) -> Tensor:
        """P A x, for x `[B, C, H, W]`."""
        return self.pull_back(self.operator(x))

    def range_shape(self, domain_shape: Shape) -> Shape:
        self.operator.range_shape(domain_shape)
        return tuple(domain_shape)


class NormalOperator(PulledBackOperator):
    """The self-adjoint operator A*A / ||A||² on X, for a linear A: X -> Y.

    It brings a problem between different spaces to the setting X -> X of invertible networks; `pull_back`
    brings the measurement along.

    Args:
        operator: the linear operator A.
        domain_shape: shape of one image, (C, H, W), for which ||A|| is computed. For images of other shapes the factor
            stays the same, so that a network sees them on the scale that it knows; the norm is not 1 there.
        norm: ||A||, where it is known.

    Raises:
        SpecError: if A is not a `LinearOperator`; `operator.linearize(x)`, its derivative at one image x, is one.
        InvregError: if A is zero.
        ShapeError: if A cannot handle images of this shape.

    Source: Arndt et al. 2023, Inverse Problems 39 125018, section 2.
    """

    def __init__(self, operator: LinearOperator, domain_shape: Shape, norm: float | None = None) -> None:
        super().__init__(operator)
        self.norm_squared = (operator.norm(domain_shape).value if norm is None else norm) ** 2
        if self.norm_squared == 0:
            raise InvregError(
                f"the norm of {type(operator).__name__} is zero",
                where="NormalOperator",
                expected="an operator that does not map every image to zero",
            )

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def pull_back(self, z: Tensor) -> Tensor:
        """A* z / ||A||²: the measurement in X."""
        # Physics keeps the precision of the measurements, also where a network behind it runs under autocast.
        with torch.autocast(z.device.type, enabled=False):
            return self.operator.adjoint(z) / self.norm_squared
