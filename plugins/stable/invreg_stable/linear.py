"""What the stable methods for linear operators share: shapes, norms, and certificates that can be made again."""

from __future__ import annotations

import copy
import hashlib
import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from invreg import (
    CertificateError,
    ConvergenceWarning,
    LinearOperator,
    Operator,
    Problem,
    Reconstructor,
    Shape,
    ShapeError,
    SpecError,
    StabilityCertificate,
    certificate_content,
    require_images,
    smallest,
)

# Eigenvalues of A*A below this share of the largest may be zero: rounding hides them.
_KERNEL = 1e-12
# Bounds that were computed on another machine may differ in their last digits.
_SLACK = 1e-9
# Numbers in an image whose norm is not computed before it is needed.
_LARGE = 2**22


class StableLinearMethod(Reconstructor):
    """Base of methods for linear operators whose certificates take no search: `verify` makes them again."""

    needs_training = True

    #: The name in messages.
    label: ClassVar[str]

    #: Side of the filters, odd.
    kernel_size: int
    tolerance: float
    max_iterations: int

    def check_operator(self, operator: Operator) -> None:
        """Refuses operators that are not linear: nothing would be proven."""
        if not isinstance(operator, LinearOperator):
            raise SpecError(
                f"{type(operator).__name__} is not linear: ½||F(x) - z||² is not convex",
                where=self.label,
                expected="a LinearOperator",
                hint="tv or iresnet, which take others",
            )

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Keeps the problem.

        Raises:
            SpecError: if the operator is not linear, or zero.
            ShapeError: if images are smaller than the filters reach.
        """
        self.check_operator(problem.operator)
        super().setup(problem, image_shape)
        self._norms: dict[Shape, float] = {}
        self._shape = self._checked(tuple(image_shape))
        self._range_shape = tuple(problem.operator.range_shape(self._shape))
        if math.prod(self._shape) <= _LARGE:
            self._norm(self._shape)

    @abstractmethod
    def certificate(self) -> StabilityCertificate:
        """What is proven of the reconstruction, for images of the shape of `setup`."""

    def verify(self, certificate: StabilityCertificate) -> None:
        """Makes the certificate again, which takes no search, and compares.

        Raises:
            CertificateError: if it belongs to other weights, or claims what does not hold.
        """
        own = self.certificate()
        if certificate.content["weights"] != own.content["weights"]:
            raise CertificateError("it belongs to other weights", where="certificate", expected="that of these weights")
        sides = ("inverse_lipschitz", "forward_lipschitz")
        claims = [(certificate.content["reconstruction_lipschitz"], own.reconstruction_lipschitz)]
        claims += [
            (bound, own.content[side].get(way)) for side in sides for way, bound in certificate.content[side].items()
        ]
        for claimed, holds in claims:
            if claimed is not None and (holds is None or not claimed >= holds * (1 - _SLACK)):
                raise CertificateError(
                    f"it claims the bound {claimed}",
                    where="certificate",
                    expected="no bound" if holds is None else f"{holds} or more",
                    hint="make a new one: `invreg certify RUN` after certificate.json was deleted",
                )
        for key in set(certificate.content) | set(own.content):
            claimed, holds = certificate.content.get(key), own.content.get(key)
            if key not in (*sides, "reconstruction_lipschitz") and not _same(claimed, holds):
                raise CertificateError(f"{key}: {claimed}", where="certificate", expected=repr(holds))

    # -- parts

    def _certificate(
        self, bounds: Mapping[str, float | None], proven: Sequence[str], further: Mapping[str, Any]
    ) -> StabilityCertificate:
        """A certificate of bounds of Lip(R) by the way in which they were proven, and of what else is proven.

        Raises:
            CertificateError: if weights are not finite.
        """
        state = self.state_dict()
        if not all(bool(torch.isfinite(value).all()) for value in state.values()):
            raise CertificateError("weights that are not finite", where=self.label, expected="trained weights")
        digest = hashlib.sha256()
        for name, value in sorted(state.items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        certified = smallest({**bounds})
        if certified is not None:
            proven = [*proven, "the reconstruction is Lipschitz continuous in z"]
        content = certificate_content(
            {**bounds, "certified": certified},
            {"certified": None},
            certified,
            digest.hexdigest(),
            "z",
            {"proven": [*proven], "image_shape": list(self._shape), **further},
        )
        return StabilityCertificate(content)

    @property
    def _operator(self) -> LinearOperator:
        operator = self.problem.operator
        assert isinstance(operator, LinearOperator)  # noqa: S101 (for mypy: `setup` has looked)
        return operator

    def _norm(self, shape: Shape) -> float:
        """A bound of ||A||."""
        if shape not in self._norms:
            found = self._operator.norm_bound(shape)
            if not 0 < found < math.inf:
                raise SpecError(
                    f"{type(self._operator).__name__} has the norm {found} on images {shape}",
                    where=self.label,
                    expected="an operator with a finite norm that is not zero",
                )
            self._norms[shape] = found
        return self._norms[shape]

    def _checked(self, shape: Shape) -> Shape:
        least = self.kernel_size // 2
        require_images(shape, self.label, hint="tv, which takes volumes")
        if min(shape) < 1 or min(shape[1:]) < least:
            raise ShapeError(
                f"images of shape {shape}",
                where=self.label,
                expected=f"(C, H, W) with sides of at least {least}, as far as the filters reach",
                hint="a smaller kernel_size",
            )
        return shape

    def _image_shape(self, z: Tensor) -> Shape:
        """Shape of the images of z: that of `setup`, or the operator's `domain_shape` for another size of z."""
        shape = tuple(z.shape[1:])
        if shape == self._range_shape:
            return self._shape
        if len(shape) == len(self._range_shape):
            try:
                domain = tuple(self._operator.domain_shape(shape))
            except NotImplementedError:
                domain = ()
            if len(domain) == 3 and tuple(self._operator.range_shape(domain)) == shape:
                return self._checked(domain)
        raise ShapeError(
            f"measurements of shape {tuple(z.shape)}",
            where=self.label,
            expected=f"[B, {', '.join(map(str, self._range_shape))}], the shape of A x for images {self._shape}",
        )

    def _warn_of(self, converged: Tensor, residual: Tensor) -> None:
        """Warns, in evaluation, of images that did not reach the tolerance."""
        missed = ~converged
        if bool(missed.any()) and not self.training:
            warnings.warn(
                f"{self.label}: {int(missed.sum())} of {len(missed)} images did not reach the tolerance "
                f"{self.tolerance:g}: their residuals are up to {float(residual[missed].max()):.1e} after "
                f"{self.max_iterations} iterations; try max_iterations > {self.max_iterations} or a larger "
                "tolerance",
                ConvergenceWarning,
                stacklevel=3,
            )


def _same(claimed: object, holds: object) -> bool:
    """Whether two entries are equal, up to the last digits of floats."""
    if isinstance(claimed, list) and isinstance(holds, list):
        return len(claimed) == len(holds) and all(map(_same, claimed, holds))
    if isinstance(claimed, float) and isinstance(holds, float):
        return math.isclose(claimed, holds, rel_tol=1e-6)
    return claimed == holds


def smallest_singular_value(operator: LinearOperator, shape: Shape) -> float | None:
    """m with ||A x|| >= m ||x||, from the eigenvalues of A*A; None if they are unknown, or rounding hides them."""
    found: list[Tensor] = []

    def noted(values: Tensor) -> Tensor:
        found.append(values.flatten())
        return values

    twin = copy.deepcopy(operator).double()
    state = [*twin.parameters(), *twin.buffers()]
    like = torch.zeros((1, *shape), dtype=torch.float64, device=state[0].device if state else None)
    try:
        with torch.no_grad():
            twin.normal_function(like, noted)
    except NotImplementedError:
        return None
    values = torch.cat(found)
    least, largest = float(values.min()), float(values.max())
    if least < largest:  # what rounding may have added is taken off
        least -= 1e-14 * largest
    return math.sqrt(least) if least > _KERNEL * largest else None


def largest_gain(m: float | None, rho: float) -> float | None:
    """The maximum of s / (s² + ρ) over s >= m; None if it is not finite, or the denominator not positive.

    Args:
        m: a number that no singular value of A is below.
        rho: a modulus of convexity, which may be negative.
    """
    least = m or 0.0
    if rho < 0:
        return least / (least**2 + rho) if least**2 + rho > 0 else None
    peak = max(least, math.sqrt(rho))
    return peak / (peak**2 + rho) if peak else None
