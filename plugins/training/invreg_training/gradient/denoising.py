"""Training of the denoiser of a plug-and-play method."""

from __future__ import annotations

from torch import nn

from invreg import LearnsDenoiser, Method, Reconstructor, SpecError
from invreg_training.gradient.trainer import GradientTrainer


class DenoisingTraining(GradientTrainer):
    """Trains the denoiser that a reconstructor plugs in: min over theta of mean ||D(x + s n) - x||², n white noise.

    s is the `denoiser_std` of the reconstructor. The operator is not part of the training; the reconstruction is
    computed in validation only.

    Source: Zhang, Zuo, Gu & Zhang 2017, CVPR, equation (8), for denoisers trained for plug-and-play.
    """

    def loss(self, reconstructor: Reconstructor) -> nn.Module:
        from invreg_training.gradient.objectives import DenoisingLoss

        return DenoisingLoss(reconstructor)

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        if not isinstance(reconstructor, LearnsDenoiser):
            raise SpecError(
                f"{type(reconstructor).__name__} has no denoiser",
                expected="a reconstructor that plugs in a denoiser",
                hint="averaged_pnp; or the trainer reconstruction",
            )
        super().check(method, reconstructor)
