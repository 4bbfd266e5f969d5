"""The parameters that all trainings by gradients share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from invreg_training.gradient.optimizers import OptimizerName
from invreg_training.gradient.precision import Precision
from invreg_training.gradient.settings import DEFAULT_EPOCHS

Epochs = Annotated[int | None, Field(ge=1, description=f"length in epochs ({DEFAULT_EPOCHS} if no length is given)")]
Steps = Annotated[int | None, Field(ge=1, description="length in steps, instead of epochs")]
MaxMinutes = Annotated[
    float | None,
    Field(
        gt=0,
        description="beside epochs or steps, a cap; alone, the length, and the rate follows the clock (equal "
        "time for every method, but not reproducible)",
        json_schema_extra={"unit": "minutes"},
    ),
]
BatchSize = Annotated[int, Field(ge=1, description="crops in a step, over all processes")]
OptimizerChoice = Annotated[OptimizerName, Field(description="muon: Muon for convolution kernels, AdamW for the rest")]
AdamRate = Annotated[float, Field(gt=0, description="peak rate of Adam")]
MuonRate = Annotated[float, Field(gt=0, description="peak rate of Muon")]
AdamBetas = Annotated[
    tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
    Field(description="Adam's decay rates of the two moments"),
]
WeightDecay = Annotated[
    float, Field(ge=0, description="decoupled with muon and adamw, added to the gradient with adam")
]
GradientClip = Annotated[float | None, Field(gt=0, description="largest norm of the whole gradient; null: no limit")]
Warmup = Annotated[float, Field(ge=0, lt=1, description="share of the training in which the rate grows")]
FinalRate = Annotated[
    float,
    Field(ge=0, le=1, description="rate at the end, as a share of its peak, along a cosine (1: constant)"),
]
StepPrecision = Annotated[
    Precision,
    Field(description="of the network in training steps; bf16: where autocast deems it safe. Validation is in float32"),
]
Validations = Annotated[
    int | None,
    Field(
        ge=1,
        description="how often the validation images are reconstructed, evenly spread, the last time at the "
        "end; the best weights among these are kept. null: ten times, or less often (three times at least) in "
        "a training so short that this would take more than about a tenth of it",
    ),
]
Patience = Annotated[
    int | None, Field(ge=1, description="validations without a better value before ending; null: never")
]
CheckpointMinutes = Annotated[
    float,
    Field(ge=0, description="between checkpoints; 0: after each step", json_schema_extra={"unit": "minutes"}),
]
