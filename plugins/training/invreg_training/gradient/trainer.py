"""Training by gradients: the parameters that all such trainers share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import Field
from torch import nn

from invreg import Method, Reconstructor, SpecError, TrainedMethod, Trainer, TrainingContext, processes
from invreg_training.gradient.optimizers import OptimizerName
from invreg_training.gradient.precision import Precision
from invreg_training.gradient.settings import DEFAULT_EPOCHS, TrainingSettings


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
        epochs: Annotated[
            int | None, Field(ge=1, description=f"length in epochs ({DEFAULT_EPOCHS} if no length is given)")
        ] = None,
        steps: Annotated[int | None, Field(ge=1, description="length in steps, instead of epochs")] = None,
        max_minutes: Annotated[
            float | None,
            Field(
                gt=0,
                description="beside epochs or steps, a cap; alone, the length, and the rate follows the clock (equal "
                "time for every method, but not reproducible)",
                json_schema_extra={"unit": "minutes"},
            ),
        ] = None,
        batch_size: Annotated[int, Field(ge=1, description="crops in a step, over all processes")] = 32,
        optimizer: Annotated[
            OptimizerName, Field(description="muon: Muon for convolution kernels, AdamW for the rest")
        ] = "muon",
        lr: Annotated[float, Field(gt=0, description="peak rate of Adam")] = 3e-3,
        muon_lr: Annotated[float, Field(gt=0, description="peak rate of Muon")] = 0.02,
        betas: Annotated[
            tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
            Field(description="Adam's decay rates of the two moments"),
        ] = (0.9, 0.99),
        weight_decay: Annotated[
            float, Field(ge=0, description="decoupled with muon and adamw, added to the gradient with adam")
        ] = 0.0,
        gradient_clip: Annotated[
            float | None, Field(gt=0, description="largest norm of the whole gradient; null: no limit")
        ] = 0.1,
        warmup: Annotated[float, Field(ge=0, lt=1, description="share of the training in which the rate grows")] = 0.1,
        final_lr: Annotated[
            float,
            Field(ge=0, le=1, description="rate at the end, as a share of its peak, along a cosine (1: constant)"),
        ] = 0.02,
        precision: Annotated[
            Precision,
            Field(
                description="of the network in training steps; bf16: where autocast deems it safe. "
                "Validation is in float32"
            ),
        ] = "float32",
        validations: Annotated[
            int | None,
            Field(
                ge=1,
                description="how often the validation images are reconstructed, evenly spread, the last time at the "
                "end; the best weights among these are kept. null: ten times, or less often (three times at least) in "
                "a training so short that this would take more than about a tenth of it",
            ),
        ] = None,
        patience: Annotated[
            int | None, Field(ge=1, description="validations without a better value before ending; null: never")
        ] = None,
        checkpoint_minutes: Annotated[
            float,
            Field(ge=0, description="between checkpoints; 0: after each step", json_schema_extra={"unit": "minutes"}),
        ] = 1.0,
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
