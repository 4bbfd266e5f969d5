"""The settings of a training by gradients."""

from __future__ import annotations

from dataclasses import dataclass

from invreg_training.gradient.optimizers import OptimizerName
from invreg_training.gradient.precision import Precision
from invreg_training.gradient.schedule import Budget

#: The length of a training where none is given.
DEFAULT_EPOCHS = 500


@dataclass(frozen=True)
class TrainingSettings:
    """What [`GradientTrainer`][invreg_training.gradient.trainer.GradientTrainer] was built with, under its names."""

    epochs: int | None
    steps: int | None
    max_minutes: float | None
    batch_size: int
    optimizer: OptimizerName
    lr: float
    muon_lr: float
    betas: tuple[float, float]
    weight_decay: float
    gradient_clip: float | None
    warmup: float
    final_lr: float
    precision: Precision
    validations: int
    patience: int | None
    checkpoint_minutes: float

    def budget(self, steps_per_epoch: int) -> Budget:
        """How long to train, for epochs of this many steps."""
        seconds = None if self.max_minutes is None else 60 * self.max_minutes
        if self.steps is not None:
            return Budget(self.steps, seconds)
        if self.epochs is None and seconds is not None:
            return Budget(None, seconds)
        return Budget((self.epochs or DEFAULT_EPOCHS) * steps_per_epoch, seconds)
