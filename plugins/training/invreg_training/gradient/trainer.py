"""Training by gradients: the parameters that all such trainers share."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from invreg import Method, Reconstructor, SpecError, TrainedMethod, Trainer, TrainingContext, processes
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
from invreg_training.gradient.settings import TrainingSettings


class GradientTrainer(Trainer):
    """Base of the trainers that follow the gradient of a loss; subclasses write `loss`.

    Every batch, with its noise, is a function of the seed and the number of the step. So a training that is interrupted
    goes on from its last checkpoint and ends with the same weights, bit for bit (on one machine, and where the
    operations of the reconstructor are reproducible).

    Raises:
        SpecError: if both epochs and steps are given.
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
    ) -> None:
        if epochs is not None and steps is not None:
            raise SpecError(
                f"epochs = {epochs} and steps = {steps}",
                where="steps",
                expected="the length in one unit",
                hint="drop one",
            )
        self.settings = TrainingSettings(
            epochs=epochs,
            steps=steps,
            max_minutes=max_minutes,
            batch_size=batch_size,
            optimizer=optimizer,
            lr=lr,
            muon_lr=muon_lr,
            betas=betas,
            weight_decay=weight_decay,
            gradient_clip=gradient_clip,
            warmup=warmup,
            final_lr=final_lr,
            precision=precision,
            validations=validations,
            patience=patience,
            checkpoint_minutes=checkpoint_minutes,
        )

    @abstractmethod
    def loss(self, reconstructor: Reconstructor) -> nn.Module:
        """The loss as a module that holds the reconstructor: forward(z, x) is a number."""

    def shares_work(self) -> bool:
        return True

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        size, count = self.settings.batch_size, processes().count
        if size % count:
            raise SpecError(
                f"a batch of {size} for {count} processes",
                where="batch_size",
                expected=f"a multiple of {count}: each process takes an equal part",
                hint=" or ".join(str(count * whole) for whole in (size // count, size // count + 1) if whole),
            )
        if not any(parameter.requires_grad for parameter in reconstructor.parameters()):
            raise SpecError(
                f"{type(reconstructor).__name__} has no weights to train",
                expected="a reconstructor with trainable parameters",
                hint="the trainer parameter_search, or no trainer at all",
            )

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        from invreg_training.checkpoint import identity
        from invreg_training.gradient.loop import TrainingLoop
        from invreg_training.randomness import reproducible

        with reproducible(context.device, context.seed):
            reconstructor = method.build().to(context.device)
            self.check(method, reconstructor)
            loss = self.loss(reconstructor)
            training = TrainingLoop(
                self.settings, loss, method.label, identity(self, method, context), context, reconstructor
            )
            log = training.run()
        return TrainedMethod(reconstructor.eval(), log)


class ReconstructionTraining(GradientTrainer):
    """Trains the reconstruction itself: min over theta of mean ||R(z) - x||².

    Source: Arndt & Nickel 2024, equation (4.1).
    """

    def loss(self, reconstructor: Reconstructor) -> nn.Module:
        from invreg_training.gradient.objectives import ReconstructionLoss

        return ReconstructionLoss(reconstructor)
