"""A deep equilibrium reconstruction, contractive for all weights."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import ConvergenceWarning, Shape, StabilityCertificate, search_range
from invreg_stable.fixed_point import iterate
from invreg_stable.forward_backward import ForwardBackwardMethod
from invreg_stable.parameters import KernelSize, LayerFilters, Layers, MaxIterations, StepTolerance


@dataclass(frozen=True)
class EquilibriumReconstruction:
    """Images with proven distances to the fixed points.

    Attributes:
        image: `[B, C, H, W]`.
        error_bound: `[B]`: bounds of the Euclidean distance ||image - R(z)||; None without a proof.
        data_error_bound: `[B]`: bounds of ||image - R(z')|| for all z' as near to z as the data error says; None
            without a proof.
    """

    image: Tensor
    error_bound: Tensor | None
    data_error_bound: Tensor | None


class DeepEquilibrium(ForwardBackwardMethod):
    """The fixed point, for a linear operator A, of

        x = G(x) = D(x - η (A*(A x - z) + ρ (x - A*z / ||A||²))),    η = 1 / (||A||² + ρ),

    trained through itself: gradients are those of the implicit function theorem. ρ is `anchor`.

    D is a chain of firmly nonexpansive layers x - W* c(W x), ||W|| <= 1, c a clipping with learned thresholds, and the
    projection to [0, 1]. So G is a contraction for all weights. With singular values of A of at least m,

        Lip(G) <= q = 1 - η (m² + ρ),

    which gives one fixed point, convergence at the rate q, ||x - R(z)|| <= ||G(x) - x|| / (1 - q) for every x, and

        Lip(R) <= min(√((1 + ρ / ||A||²) / (m² + ρ)), 1 / ((1 - q) ||A||)).

    Source: Bai, Kolter & Koltun 2019, NeurIPS; Gilton, Ongie & Willett 2021, IEEE Trans. Comput. Imaging 7, for inverse
    problems. Other than there, the map is a contraction by construction, and its constant is proven.
    """

    label = "deq"

    def __init__(
        self,
        anchor: Annotated[
            float,
            Field(
                gt=0,
                description="ρ, pull of the fixed point towards A*z / ||A||²: larger is more stable",
                json_schema_extra=search_range(1e-3, 1.0, log=True),
            ),
        ] = 0.05,
        threshold: Annotated[
            float, Field(gt=0, description="thresholds of D at the start of a training, about the noise to remove")
        ] = 0.02,
        layers: Layers = 2,
        filters: LayerFilters = 24,
        kernel_size: KernelSize = 5,
        tolerance: StepTolerance = 1e-4,
        max_iterations: MaxIterations = 1000,
    ) -> None:
        super().__init__()
        self.anchor, self.threshold = anchor, threshold
        self.layers, self.filters, self.kernel_size = layers, filters, kernel_size
        self.tolerance, self.max_iterations = tolerance, max_iterations

    @property
    def contraction(self) -> float:
        """q, for images of the shape of `setup`."""
        return self._contraction(self._least(), self._shape)

    def certificate(self) -> StabilityCertificate:
        """The stability of the fixed point, for images of the shape of `setup`.

        `contraction` is q, `layer_norms` are bounds of the norms of the W in D that the proof needs to be at most 1.

        Raises:
            CertificateError: if weights are not finite.
        """
        m = self._least()
        return self._certificate(
            self._bounds(m, self._shape),
            ["the iteration converges to its one fixed point, at the rate `contraction`"],
            {
                "smallest_singular_value": m,
                "anchor": self.anchor,
                "contraction": self._contraction(m, self._shape),
                "layer_norms": self._layer_norms(),
            },
        )

    @torch.no_grad()
    def reconstruct(
        self, z: Tensor, tolerance: float = 1e-3, certify: bool = True, data_error: float = 0.0
    ) -> EquilibriumReconstruction:
        """Reconstructions of z `[B, ...range]`, computed in float64, with proven distances to the fixed point.

        The distance is at most q / (1 - q) times the last step. The bounds are those of exact arithmetic: rounding in
        float64 is not part of them.

        Args:
            z: the measurements.
            tolerance: the Euclidean distance to reach for each image.
            certify: whether distances are given.
            data_error: the Euclidean distance between each z and the exact measurement.

        Raises:
            CertificateError: if weights are not finite.

        Warns:
            ConvergenceWarning: if an image is not proven to be within the tolerance.
        """
        self.check_measurements(z)
        shape = self._image_shape(z)
        m = self._least() if shape == self._shape else None
        q = self._contraction(m, shape)
        twin = copy.deepcopy(self).double()
        pulled, layers = twin._operator.adjoint(z.double()), twin.denoiser.layers()
        found = iterate(
            lambda x, data: twin._update(layers, x, data, shape),
            pulled,
            (pulled / self._norm(shape) ** 2).clamp(0, 1),
            torch.ones(len(z), dtype=torch.float64, device=z.device),
            tolerance * (1 - q) / q if q else math.inf,
            self.max_iterations,
        )
        error = found.residual * q / (1 - q)
        if not bool(found.converged.all()):
            warnings.warn(
                f"deq: {int((~found.converged).sum())} of {len(z)} images are proven to be within "
                f"{float(error.max()):.1e} of the exact reconstruction, not within {tolerance:g}; "
                f"try max_iterations > {self.max_iterations}",
                ConvergenceWarning,
                stacklevel=2,
            )
        if not certify:
            return EquilibriumReconstruction(found.x, None, None)
        self.certificate()  # weights that are not finite are refused
        lipschitz = min(bound for bound in self._bounds(m, shape).values() if bound is not None)
        return EquilibriumReconstruction(found.x, error, error + lipschitz * data_error)

    def accept(self, certificate: StabilityCertificate) -> None:
        """Verifies the certificate, which takes no search.

        Raises:
            CertificateError: if it belongs to other weights, or claims what does not hold.
        """
        self.verify(certificate)

    # -- parts

    def _contraction(self, m: float | None, shape: Shape) -> float:
        """q for images of this shape."""
        return max(0.0, 1 - ((m or 0.0) ** 2 + self.anchor) / (self._norm(shape) ** 2 + self.anchor))

    def _bounds(self, m: float | None, shape: Shape) -> dict[str, float | None]:
        """The bounds of Lip(R) for images of this shape."""
        steepest = 1 / ((1 - self._contraction(m, shape)) * self._norm(shape))
        return {"nonexpansive": self._gain(m, shape), "contraction": steepest}
