"""Directions of unit norm in which a quadratic form of images is extreme.

A form is given by its products h -> A h, with A symmetric, on images that vanish outside of a mask. Its extreme values
on the unit sphere are eigenvalues of A, which Lanczos iteration finds from products alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invreg import ConvergenceError, DataError

_Vector = NDArray[np.float64]

#: Up to so many unknowns the matrix is written down, and its eigenvalues are exact.
_DENSE = 64
#: Residual, relative to the norm of the form, at which the smallest directions are good enough.
_SMALLEST = 1e-6
#: How far directions are moved at random before they are carried on.
_NOISE = 1e-2
#: Lanczos vectors that are kept at least: with more, fewer products are needed.
_KEPT = 40


class Form:
    """The symmetric matrix P A P* of a quadratic form, where P picks the pixels of a mask.

    Args:
        product: h `[1, C, H, W]` -> A h.
        mask: `[H, W]`, where directions may differ from zero.
        like: a tensor `[1, C, H, W]` of the shape, dtype and device of the directions.

    Raises:
        DataError: if the mask is empty, or of another size than the images.
    """

    def __init__(self, product: Callable[[Tensor], Tensor], mask: NDArray[np.bool_], like: Tensor) -> None:
        if tuple(mask.shape) != tuple(like.shape[-2:]):
            raise DataError(
                f"a mask of {' x '.join(map(str, mask.shape))} pixels",
                where="mask",
                expected=f"{like.shape[-2]} x {like.shape[-1]}, the size of the image",
            )
        if not mask.any():
            raise DataError("no pixel is inside", where="mask", expected="at least one")
        self.product = product
        self.mask = mask
        self.like = like
        self._inside = torch.from_numpy(np.broadcast_to(mask, like.shape[1:]).copy()).to(like.device)
        self.size = int(self._inside.sum())
        self.products = 0

    def __call__(self, vector: _Vector) -> _Vector:
        """P A P* v."""
        self.products += 1
        with torch.no_grad():
            image = self.product(self.image(vector))[0]
        found: _Vector = image[self._inside].double().cpu().numpy()
        return found

    def image(self, vector: _Vector) -> Tensor:
        """P* v, `[1, C, H, W]`: exactly zero outside of the mask."""
        image = torch.zeros_like(self.like)
        image[0, self._inside] = torch.from_numpy(np.ascontiguousarray(vector)).to(image)
        return image

    def start(self, generator: torch.Generator) -> _Vector:
        """A random vector of unit norm; the random numbers at a pixel do not depend on the mask."""
        drawn = torch.randn(self.like.shape[1:], generator=generator, dtype=torch.float64)
        vector: _Vector = drawn[self._inside.cpu()].numpy()
        return vector / np.linalg.norm(vector)


@dataclass(frozen=True)
class Directions:
    """Eigenvectors of a form for its largest eigenvalues.

    Attributes:
        values: eigenvalues, the largest first, `[k]`.
        vectors: of unit norm, orthogonal, `[k, m]`; the entry that is largest in absolute value is positive.
        residuals: ||A h - value h||, `[k]`: some eigenvalue lies within that distance of each value.
        products: how many products it took.
    """

    values: _Vector
    vectors: _Vector
    residuals: _Vector
    products: int


def largest(form: Form, shift: float, count: int, tolerance: float, max_products: int, start: _Vector) -> Directions:
    """The directions in which a form is largest, by Lanczos iteration (SciPy's, implicitly restarted).

    From a start that is not orthogonal to it, which a random one almost never is, Lanczos iteration finds the largest
    eigenvalue, not only a local maximum; its value is never above that, and how far some eigenvalue is from it at most
    the residual says.

    Args:
        form: A.
        shift: c >= 0 with A + c Id >= 0. Accuracy is relative to `value + c`, so that values near zero are no harder.
        count: how many directions; no more than there are.
        tolerance: residual that is asked of each direction, relative to `value + shift`.
        max_products: about how many products are allowed.
        start: where the iteration starts.

    Raises:
        ConvergenceError: if the tolerance is not reached, or a product is not finite.
    """
    before, count = form.products, min(count, form.size)
    image = form(start)
    if not np.isfinite(image).all():
        raise ConvergenceError("a product is NaN or infinite", where="largest", expected="finite derivatives")
    if not image.any():  # Zero, which a random vector tells: all directions are equally good.
        vectors = np.linalg.qr(np.column_stack([start, np.eye(form.size, count - 1)]))[0].T
    elif form.size <= max(_DENSE, 2 * count):
        matrix = np.column_stack([form(column) for column in np.eye(form.size)])
        vectors = np.linalg.eigh((matrix + matrix.T) / 2)[1][:, ::-1][:, :count].T
    else:
        vectors = _lanczos(form, shift, count, tolerance, max_products, start)
    vectors = np.array([_signed(vector) for vector in vectors])
    products = np.array([form(vector) for vector in vectors])
    values = (vectors * products).sum(1)
    order = np.argsort(-values, kind="stable")
    values, vectors, products = values[order], vectors[order], products[order]
    residuals = np.linalg.norm(products - values[:, None] * vectors, axis=1)
    _check(residuals, values + shift, tolerance)
    return Directions(values, vectors, residuals, form.products - before)


def smallest(form: Form, top: float, count: int, tolerance: float, max_products: int, start: _Vector) -> Directions:
    """The directions in which a form that is nowhere negative is smallest; found values are upper bounds of these.

    They are those in which c Id - A is largest. The accuracy of Lanczos iteration is relative to c, while the smallest
    eigenvalues of smoothing operators are far below that; so its directions are improved by LOBPCG, which
    minimises <h, A h> over a growing space and never gets worse. Where eigenvalues crowd at zero it gets near without
    an end: the smallest eigenvalue is at most what was found, and residuals say how far some eigenvalue is at most.

    Args:
        form: A >= 0.
        top: c, an upper bound of A.
        count: how many directions.
        tolerance: residual that is asked of the Lanczos iteration, relative to c - value.
        max_products: about how many products are allowed to each of both.
        start: where the iteration starts.

    Returns:
        Eigenvalues of A, the smallest first.

    Raises:
        ConvergenceError: if the Lanczos iteration does not reach its tolerance, or a product is not finite.

    Source: Knyazev 2001, SIAM Journal on Scientific Computing 23(2), 517-541.
    """
    before = form.products
    flipped = Form(lambda h: top * h - form.product(h), form.mask, form.like)
    found = largest(flipped, 0.0, count, tolerance, max_products, start)
    form.products += found.products
    vectors = found.vectors
    # LOBPCG works with three times as many vectors as are looked for; smaller problems are solved exactly.
    if form.size > max(_DENSE, 5 * len(vectors)):
        vectors = np.concatenate([vectors, _carried_on(form, vectors, _SMALLEST * top, max_products)])
        vectors = np.linalg.qr(vectors.T)[0].T
    products = np.array([form(vector) for vector in vectors])
    # The best within the space that they span.
    values, rotation = np.linalg.eigh((vectors @ products.T + products @ vectors.T) / 2)
    values, rotation = values[: len(found.values)], rotation[:, : len(found.values)]
    vectors, products = rotation.T @ vectors, rotation.T @ products
    signs = np.where(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(1)] >= 0, 1.0, -1.0)[:, None]
    residuals = np.linalg.norm(products - values[:, None] * vectors, axis=1)
    return Directions(values, signs * vectors, residuals, form.products - before)


def _carried_on(form: Form, vectors: _Vector, tolerance: float, max_products: int) -> _Vector:
    """Directions in which a form is small, improved by LOBPCG."""
    from scipy.sparse.linalg import LinearOperator, lobpcg

    matrix = LinearOperator((form.size, form.size), matvec=lambda v: form(v.ravel()), dtype=np.float64)
    # Residuals of Lanczos vectors are multiples of one vector, on which its Cholesky factorisation would fail.
    noise = np.random.default_rng(0).standard_normal(vectors.shape)
    start = np.linalg.qr((vectors + _NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)).T)[0]
    with warnings.catch_warnings():
        # It says that it has not converged; residuals are computed by those who ask for it.
        warnings.simplefilter("ignore", UserWarning)
        rounds = max(max_products // (2 * len(vectors)), 1)
        _, columns = lobpcg(matrix, start, largest=False, tol=tolerance, maxiter=rounds)
    found: _Vector = (columns if np.isfinite(columns).all() else start).T
    return found


def ascent(form: Form, shift: float, steps: int, start: _Vector) -> tuple[_Vector, float]:
    """Gradient ascent of <h, A h> on the unit sphere: h <- h + A h / c, then normalised.

    As A + c Id >= 0, no step goes down; it is power iteration on that matrix.

    Args:
        form: A.
        shift: c.
        steps: how many.
        start: the first direction, of unit norm.

    Returns:
        The last direction, and the value there.
    """
    h = start
    for _ in range(steps):
        moved = form(h) + shift * h
        size = float(np.linalg.norm(moved))
        if not (math.isfinite(size) and size > 0):
            break
        h = moved / size
    return h, float(h @ form(h))


def _lanczos(form: Form, shift: float, count: int, tolerance: float, max_products: int, start: _Vector) -> _Vector:
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

    kept = min(form.size, max(2 * count + 1, _KEPT))
    matrix = LinearOperator(
        (form.size, form.size), matvec=lambda v: form(v.ravel()) + shift * v.ravel(), dtype=np.float64
    )
    restarts = max(math.ceil((max_products - kept) / (kept - count)), 1)
    try:
        # Half the tolerance: the check afterwards computes anew, with its own rounding.
        _, vectors = eigsh(matrix, count, which="LA", v0=start, ncv=kept, maxiter=restarts, tol=tolerance / 2)
    except ArpackNoConvergence as error:
        raise ConvergenceError(
            f"Lanczos iteration did not reach the tolerance {tolerance:g} with about {max_products} products",
            where="largest",
            hint="a larger tolerance, or more products",
        ) from error
    except ArpackError as error:
        raise ConvergenceError(f"Lanczos iteration failed: {error}", where="largest") from error
    found: _Vector = vectors.T
    return found


def _check(residuals: _Vector, scale: _Vector, tolerance: float) -> None:
    """Tolerates residuals of the size of rounding in single precision."""
    allowed = (tolerance + 1e-5) * np.maximum(scale, 0) + 1e-12
    if (residuals > allowed).any():
        worst = int((residuals - allowed).argmax())
        raise ConvergenceError(
            f"a direction has the residual {residuals[worst]:.3g}",
            where="largest",
            expected=f"at most {allowed[worst]:.3g}",
            hint="a larger tolerance; or the derivatives of a map are not accurate",
        )


def _signed(vector: _Vector) -> _Vector:
    signed: _Vector = vector if vector[np.abs(vector).argmax()] >= 0 else -vector
    return signed
