"""Training by gradients: the parameters that all such trainers share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from invreg import Method, Reconstructor, SpecError, TrainedMethod, Trainer, TrainingContext
from invreg_training.gradient.optimizers import OptimizerName
from invreg_training.gradient.schedule import Budget

_EPOCHS = 500


class GradientTrainer(Trainer):
    """Base of the trainers that follow the gradient of a loss; subclasses write `loss`.

    Every batch, with its noise, is a function of the seed and the number of the step. So a training that is interrupted
    goes on from its last checkpoint and ends with the same weights, bit for bit (on one machine, and where the
    operations of the reconstructor are reproducible).

    Args:
        epochs: length in epochs.
        steps: length in steps, instead of epochs.
        max_minutes: next to epochs or steps, a cap; alone, the length of the training, whose learning rate then
            follows the clock (equal time for every method, but not reproducible).
        batch_size: crops in a step, over all processes.
        optimizer: `muon` trains convolution kernels by Muon and all else by AdamW.
        lr: peak rate of Adam.
        muon_lr: peak rate of Muon.
        betas: Adam's decay rates of the two moments.
        weight_decay: decoupled with `muon` and `adamw`, added to the gradient with `adam`.
        gradient_clip: largest norm of the whole gradient; None for no limit.
        warmup: share of the training in which the rate grows.
        final_lr: rate at the end as a share of its peak, reached along a cosine; 1 keeps it constant.
        precision: `bf16` runs the network in bfloat16 where autocast deems it safe. Validation is in float32.
        validations: how often the validation images are reconstructed, evenly spread, the last time at the end. The
            best weights among these are kept.
        patience: validations in a row without a better value after which training ends; None for never.
        checkpoint_minutes: minutes between checkpoints; 0 for one after each step.

    Raises:
        SpecError: if both epochs and steps are given.
    """

    def __init__(
        self,
        epochs: Annotated[
            int | None, Field(ge=1, description=f"length in epochs ({_EPOCHS} if no length is given)")
        ] = None,
        steps: Annotated[int | None, Field(ge=1, description="length in steps, instead of epochs")] = None,
        max_minutes: Annotated[
            float | None,
            Field(
                gt=0,
                description="a cap; alone, the length, and the rate follows the clock",
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
            Field(description="Adam's decay rates"),
        ] = (0.9, 0.99),
        weight_decay: Annotated[
            float, Field(ge=0, description="decoupled with muon and adamw, added to the gradient with adam")
        ] = 0.0,
        gradient_clip: Annotated[
            float | None, Field(gt=0, description="largest norm of the whole gradient; null: no limit")
        ] = 0.1,
        warmup: Annotated[float, Field(ge=0, lt=1, description="share of the training in which the rate grows")] = 0.1,
        final_lr: Annotated[
            float, Field(ge=0, le=1, description="rate at the end, as a share of its peak (1: constant)")
        ] = 0.02,
        precision: Annotated[
            Literal["float32", "bf16"], Field(description="of the network in training steps")
        ] = "float32",
        validations: Annotated[
            int, Field(ge=1, description="reconstructions of the validation images, evenly spread")
        ] = 10,
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
        self.epochs = epochs
        self.steps = steps
        self.max_minutes = max_minutes
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.muon_lr = muon_lr
        self.betas = betas
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.warmup = warmup
        self.final_lr = final_lr
        self.precision = precision
        self.validations = validations
        self.patience = patience
        self.checkpoint_minutes = checkpoint_minutes

    @abstractmethod
    def loss(self, reconstructor: Reconstructor) -> nn.Module:
        """The loss as a module that holds the reconstructor: forward(z, x) is a number."""

    def budget(self, steps_per_epoch: int) -> Budget:
        """How long to train, for epochs of this many steps."""
        seconds = None if self.max_minutes is None else 60 * self.max_minutes
        if self.steps is not None:
            return Budget(self.steps, seconds)
        if self.epochs is None and seconds is not None:
            return Budget(None, seconds)
        return Budget((self.epochs or _EPOCHS) * steps_per_epoch, seconds)

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        if not any(parameter.requires_grad for parameter in reconstructor.parameters()):
            raise SpecError(
                f"{type(reconstructor).__name__} has no weights to train",
                expected="a reconstructor with trainable parameters",
                hint="the trainer parameter_search, or no trainer at all",
            )

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        from invreg_training.gradient.loop import TrainingLoop
        from invreg_training.randomness import reproducible

        with reproducible(context.device, context.seed):
            reconstructor = method.build().to(context.device)
            self.check(method, reconstructor)
            log = TrainingLoop(self, method, context, reconstructor).run()
        return TrainedMethod(reconstructor.eval(), log)


class ReconstructionTraining(GradientTrainer):
    """Trains the reconstruction itself: min over theta of mean ||R(z) - x||².

    Source: Arndt & Nickel 2024, equation (4.1).
    """

    def loss(self, reconstructor: Reconstructor) -> nn.Module:
        from invreg_training.gradient.objectives import ReconstructionLoss

        return ReconstructionLoss(reconstructor)
