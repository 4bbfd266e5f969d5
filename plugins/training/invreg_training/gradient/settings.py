"""The settings of a training by gradients."""

from __future__ import annotations

from dataclasses import dataclass

from invreg_training.gradient.optimizers import OptimizerName
from invreg_training.gradient.precision import Precision
from invreg_training.gradient.schedule import Budget

#: The length of a training where none is given.
DEFAULT_EPOCHS = 500

# Where no number of validations is given: the largest and the smallest, and how many pixels all of them may look at, as
# a share of the pixels that are trained on. Measured for the network whose validations take longest (iresnet), a pixel
# takes them half as long as a training step.
_MOST, _LEAST, _SHARE = 10, 3, 0.2


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
    validations: int | None
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

    def marks(self, steps: int | None, trained: int, validated: int) -> int:
        """How often to validate.

        Args:
            steps: the length of the training; None if only time counts.
            trained: pixels in a batch.
            validated: pixels of all validation images.
        """
        if self.validations is not None:
            return self.validations
        if steps is None or not validated:
            return _MOST
        return min(_MOST, max(_LEAST, int(_SHARE * steps * trained / validated)))
