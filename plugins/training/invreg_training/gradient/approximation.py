"""Training of the forward map."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from invreg import LearnsForwardMap, LeftOut, Method, Reconstructor, SpecError
from invreg_training.gradient.parameters import (
    AdamBetas,
    AdamRate,
    BatchSize,
    CheckpointMinutes,
    Epochs,
    FinalRate,
    GradientClip,
    MaxMinutes,
    MuonRate,
    OptimizerChoice,
    Patience,
    StepPrecision,
    Steps,
    Validations,
    Warmup,
    WeightDecay,
)
from invreg_training.gradient.penalties import Divergence, LogDeterminant
from invreg_training.gradient.trainer import GradientTrainer


class ApproximationTraining(GradientTrainer):
    """Trains the forward map that a reconstructor inverts: min over theta of mean ||phi(x) - z||².

    The reconstruction is computed in validation only, so training needs no inversion; but it regularises less to the
    purpose than training of the reconstruction does. A penalty brings the images' distribution in.

    Source: Arndt & Nickel 2024, section 4 ("approximation training"); penalties: Heilenkötter 2025, arXiv 2510.26704.
    """

    def __init__(
        self,
        epochs: Epochs = None,
        steps: Steps = None,
        max_minutes: MaxMinutes = None,
        batch_size: BatchSize = 32,
        optimizer: OptimizerChoice = "muon",
        lr: AdamRate = 3e-3,
        muon_lr: MuonRate = 0.02,
        betas: AdamBetas = (0.9, 0.99),
        weight_decay: WeightDecay = 0.0,
        gradient_clip: GradientClip = 0.1,
        warmup: Warmup = 0.1,
        final_lr: FinalRate = 0.02,
        precision: StepPrecision = "float32",
        validations: Validations = None,
        patience: Patience = None,
        checkpoint_minutes: CheckpointMinutes = 1.0,
        penalty: Annotated[
            LogDeterminant | Divergence | None,
            Field(
                discriminator="name",
                description="of the derivative of the forward map: log_determinant, for an inverse that is like the "
                "posterior mean, or divergence, for one that is like the maximum a posteriori estimate",
            ),
            LeftOut(),
        ] = None,
    ) -> None:
        super().__init__(
            epochs,
            steps,
            max_minutes,
            batch_size,
            optimizer,
            lr,
            muon_lr,
            betas,
            weight_decay,
            gradient_clip,
            warmup,
            final_lr,
            precision,
            validations,
            patience,
            checkpoint_minutes,
        )
        self.penalty = penalty

    def loss(self, reconstructor: Reconstructor) -> nn.Module:
        from invreg_training.gradient.objectives import ApproximationLoss

        return ApproximationLoss(reconstructor, self.penalty)

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        if not isinstance(reconstructor, LearnsForwardMap):
            raise SpecError(
                f"{type(reconstructor).__name__} has no forward map",
                expected="a reconstructor that learns the forward operator",
                hint="the trainer reconstruction",
            )
        super().check(method, reconstructor)
