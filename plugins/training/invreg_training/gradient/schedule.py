"""The length of a training, and its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

# A warm-up that starts at zero would waste the first step.
_FIRST = 0.02


@dataclass(frozen=True)
class Budget:
    """The length of a training: steps, or seconds, or steps with a cap of seconds.

    Attributes:
        steps: number of steps; None if only time counts.
        seconds: wall-clock seconds, all sessions together, validation included; None if only steps count.
    """

    steps: int | None
    seconds: float | None

    def fraction(self, step: int, seconds: float) -> float:
        """The share of the training that is done, in [0, 1]: of the steps if they are counted, else of the time."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, seconds / self.seconds) if self.seconds else 0.0

    def ended(self, step: int, seconds: float) -> str | None:
        """Why the training is over, in words; None while it is not."""
        if self.steps is not None and step >= self.steps:
            return f"all {self.steps} steps done"
        if self.seconds is not None and seconds >= self.seconds:
            cap = f"max_minutes = {self.seconds / 60:g} reached"
            return f"{cap} at step {step} of {self.steps}: not trained to the end" if self.steps else cap
        return None


def rate_factor(fraction: float, warmup: float, final: float) -> float:
    """The learning rate as a multiple of its peak: a linear warm-up, then half a cosine down to `final`.

    Args:
        fraction: the share of the training that is done.
        warmup: the share of the training that the warm-up takes.
        final: the multiple at the end; 1 keeps the rate constant after the warm-up.
    """
    if fraction < warmup:
        return max(_FIRST, fraction / warmup)
    descent = (fraction - warmup) / (1 - warmup)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * descent))
