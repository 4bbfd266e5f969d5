"""The parameters that several of these methods share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from invreg import Odd, search_range

RidgeWeight = Annotated[
    float,
    Field(
        gt=0,
        description="λ, weight of R against ½||A x - z||²; from there on, training changes the slopes of ψ'",
        json_schema_extra=search_range(1e-4, 0.3, log=True),
    ),
]
Scale = Annotated[
    float,
    Field(
        gt=0,
        description="μ at the start of a training: ψ sees finer differences if it is larger",
        json_schema_extra=search_range(0.5, 16.0, log=True),
    ),
]
Ridges = Annotated[int, Field(ge=1, le=1024, description="number of ridges")]
Knots = Annotated[int, Field(ge=1, le=1000, description="knots of ψ' at each side of zero, 0.01 from one to the next")]
GradientTolerance = Annotated[
    float, Field(gt=0, lt=1, description="gradient, relative to A*z, up to which each image is computed")
]
Layers = Annotated[int, Field(ge=1, le=100, description="layers of the denoiser")]
LayerFilters = Annotated[int, Field(ge=1, le=1024, description="filters of each layer")]
StepTolerance = Annotated[
    float, Field(gt=0, lt=1, description="length of a step, relative to A*z, up to which is iterated")
]
KernelSize = Annotated[int, Odd(), Field(ge=3, le=31, description="side of the filters")]
MaxIterations = Annotated[
    int, Field(ge=1, description="iterations after which an image is given up, with a ConvergenceWarning")
]
