"""Plug-and-play with a denoiser that is averaged for all weights."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from invreg import StabilityCertificate, search_range
from invreg_stable.forward_backward import ForwardBackwardMethod
from invreg_stable.parameters import KernelSize, LayerFilters, Layers, MaxIterations, StepTolerance


class AveragedPlugAndPlay(ForwardBackwardMethod):
    """The fixed point, for a linear operator A, of

        x = D(x - A*(A x - z) / ||A||²),

    with a denoiser D that is trained by itself, for white noise of standard deviation `denoiser_std`, by the trainer
    `denoising`. How strongly is regularized is the choice of that standard deviation, which need not be that of z.

    D is a chain of firmly nonexpansive layers x - W* c(W x), ||W|| <= 1, c a clipping with learned thresholds, and the
    projection to [0, 1]. So it is averaged for all weights, with no assumption on the training: the iteration converges
    from every start, and the limits x₁, x₂ for z₁ and z₂ satisfy

        ||A x₁ - A x₂|| <= ||z₁ - z₂||.

    Where the singular values of A are at least m > 0, ||x₁ - x₂|| <= ||z₁ - z₂|| / m. Elsewhere there is no bound of
    x, and the limit may depend on the start of the iteration, A*z / ||A||².

    Source: Venkatakrishnan, Bouman & Wohlberg 2013, GlobalSIP; Ryu, Liu, Wang, Chen, Wang & Yin 2019, ICML; Hertrich,
    Neumayer & Steidl 2021, Linear Algebra Appl. 631 (arXiv 2011.02281), for averaged denoisers by construction.
    """

    label = "averaged_pnp"
    anchor = 0.0

    def __init__(
        self,
        denoiser_std: Annotated[
            float,
            Field(
                gt=0,
                le=1,
                description="standard deviation of the noise that D is trained to remove: larger regularizes more",
                json_schema_extra=search_range(0.005, 0.2, log=True),
            ),
        ] = 0.05,
        layers: Layers = 4,
        filters: LayerFilters = 24,
        kernel_size: KernelSize = 5,
        tolerance: StepTolerance = 1e-4,
        max_iterations: MaxIterations = 2000,
    ) -> None:
        super().__init__()
        self.denoiser_std, self.threshold = denoiser_std, denoiser_std
        self.layers, self.filters, self.kernel_size = layers, filters, kernel_size
        self.tolerance, self.max_iterations = tolerance, max_iterations

    def denoise(self, x: Tensor) -> Tensor:
        """D(x), `[B, C, H, W]`."""
        denoised: Tensor = self.denoiser(x)
        return denoised

    def certificate(self) -> StabilityCertificate:
        """Convergence, and the stability of the limit for images of the shape of `setup`.

        `reconstruction_lipschitz` is 1 / m, where A is known to have no singular value near zero (from
        `LinearOperator.normal_function`); elsewhere None. `averagedness` is that of D, `layer_norms` are bounds of the
        norms of its W that the proof needs to be at most 1.

        Raises:
            CertificateError: if weights are not finite.
        """
        m = self._least()
        return self._certificate(
            {"nonexpansive": self._gain(m, self._shape)},
            ["the iteration converges to a fixed point", "A times the fixed point is nonexpansive in z"],
            {
                "data_lipschitz": 1.0,
                "smallest_singular_value": m,
                "averagedness": self.denoiser.averagedness,
                "layer_norms": self._layer_norms(),
            },
        )
