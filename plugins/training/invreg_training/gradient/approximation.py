"""Training of the forward map."""

from __future__ import annotations

from torch import nn

from invreg import LearnsForwardMap, Method, Reconstructor, SpecError
from invreg_training.gradient.trainer import GradientTrainer


class ApproximationTraining(GradientTrainer):
    """Trains the forward map that a reconstructor inverts: min over theta of mean ||phi(x) - z||².

    The reconstruction is computed in validation only, so training needs no inversion; but it regularises less to the
    purpose than training of the reconstruction does.

    Source: Arndt & Nickel 2024, section 4 ("approximation training").
    """

    def loss(self, reconstructor: Reconstructor) -> nn.Module:
        from invreg_training.gradient.objectives import ApproximationLoss

        return ApproximationLoss(reconstructor)

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        if not isinstance(reconstructor, LearnsForwardMap):
            raise SpecError(
                f"{type(reconstructor).__name__} has no forward map",
                expected="a reconstructor that learns the forward operator",
                hint="the trainer reconstruction",
            )
        super().check(method, reconstructor)
