"""The state of a training, from which it goes on after an interruption."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from invreg import Reconstructor
from invreg_training.checkpoint import broken, check_identity, write_checkpoint
from invreg_training.gradient.optimizers import Optimizers


@dataclass
class State:
    """All but the tensors of the network and its optimizers.

    Attributes:
        step: steps done.
        fraction: the share of the training that was done before the last step.
        validation_is_due: whether the weights after the last step are still to be evaluated.
        seconds: wall-clock seconds of all sessions, of which `validation_seconds` in validation.
        loss_sum: sum of the losses of the `loss_count` steps since the last row of the log.
        best: best value on the validation images, found after `best_step` steps, with `best_weights`.
        stale: validations in a row that were no better.
        rows: the log.
        ended: why training is over, in words; None before that.
    """

    step: int = 0
    fraction: float = 0.0
    validation_is_due: bool = False
    seconds: float = 0.0
    validation_seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    ended: str | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def save(self, path: Path, identity: dict[str, Any], reconstructor: Reconstructor, optimizers: Optimizers) -> None:
        """Writes a checkpoint.

        Raises:
            TrainingError: if it cannot be written.
        """
        parts = {"weights": reconstructor.state_dict(), "best": self.best_weights, "optimizer": optimizers.state()}
        tensors = {f"{part}.{name}": value for part, named in parts.items() for name, value in named.items()}
        numbers = {key: value for key, value in vars(self).items() if key != "best_weights"}
        write_checkpoint(path, tensors, {"identity": identity, "state": numbers})

    @classmethod
    def of(
        cls,
        checkpoint: tuple[dict[str, Tensor], dict[str, Any]] | None,
        path: Path,
        identity: dict[str, Any],
        reconstructor: Reconstructor,
        optimizers: Optimizers,
    ) -> State:
        """The state in a checkpoint, or a new one without it; fills the reconstructor and the optimizers.

        Raises:
            TrainingError: if the checkpoint, from this path, is broken, or belongs to another training.
        """
        if checkpoint is None:
            return cls()
        tensors, content = checkpoint
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "optimizer": {}}
        try:
            for name, value in tensors.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = value
            check_identity(path, content["identity"], identity)
            state = cls(**content["state"], best_weights=parts["best"])
            reconstructor.load_state_dict(parts["weights"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise broken(path, f"{type(error).__name__}: {error}") from None
        optimizers.load_state(parts["optimizer"])
        return state
