"""Noise of the same kind at other levels, and the quality of reconstructions from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field

from invreg import ImageStack, InvregError, Metric, Noise, Problem, SpecError, built_with

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

#: Levels at test time, in levels of the training.
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)

#: Of a level: squares of larger errors do not fit into float32.
_LARGEST = 1e12

Levels = Annotated[
    tuple[Annotated[float, Field(ge=0, le=_LARGEST)], ...] | None,
    Field(
        min_length=1,
        description="values of the parameter at test time, beside that of the training; null: 1/4, 1/2, 2 and 4 times "
        "that",
    ),
]
Parameter = Annotated[str, Field(description="the parameter of the noise that is its level")]


def level_of(problem: Problem, parameter: str, where: str) -> float:
    """The value of the parameter that the noise of a problem was built with.

    Raises:
        SpecError: if there is no noise, or it does not have such a number.
    """
    found = {} if problem.noise is None else built_with(problem.noise)
    value = found.get(parameter)
    if isinstance(value, bool) or not isinstance(value, int | float):
        numbers = [name for name, one in found.items() if isinstance(one, int | float) and not isinstance(one, bool)]
        raise SpecError(
            f"the noise has no number {parameter!r}",
            where=f"{where}.parameter",
            expected=f"one of {', '.join(numbers)}" if numbers else "noise with a level, such as gaussian",
        )
    return float(value)


def all_levels(trained: float, levels: tuple[float, ...] | None) -> list[float]:
    """All levels, the lowest first; that of the training is among them."""
    wanted = [factor * trained for factor in _FACTORS] if levels is None else list(levels)
    return sorted({float(f"{level:.6g}") for level in wanted if level != trained} | {trained})


def at_level(problem: Problem, parameter: str, level: float, where: str) -> Problem:
    """The problem with noise of the same kind, with another value of the parameter.

    Raises:
        SpecError: if the noise does not take it.
    """
    noise = problem.noise
    if noise is None or level == built_with(noise)[parameter]:
        return problem
    build: Callable[..., Noise] = type(noise)
    try:
        other = build(**{**built_with(noise), parameter: level})
    except InvregError as error:
        raise SpecError(f"{parameter} = {level:g}: {error.what}", where=f"{where}.levels", hint=error.hint) from None
    return Problem(problem.operator, other)


def metrics_at(
    level: float,
    parameter: str,
    problem: Problem,
    reconstruct: Callable[[Tensor], Tensor],
    images: ImageStack,
    metrics: Mapping[str, Metric],
    seed: int,
    batch_size: int,
    device: torch.device,
    where: str,
) -> pd.DataFrame:
    """The metrics of reconstructions of the images, measured with noise of a level: image, and a column per metric.

    The noise is drawn from the streams of the test images of a run with this seed.
    """
    import pandas as pd

    noisy = at_level(problem, parameter, level, where)
    z = noisy.measure_split(images.images, "test", seed, batch_size, device)
    with torch.no_grad():
        x_hat = torch.cat([reconstruct(batch.to(device)).cpu() for batch in z.split(batch_size)])
    columns: dict[str, Any] = {name: metric(x_hat, images.images).tolist() for name, metric in metrics.items()}
    return pd.DataFrame({"image": list(images.names), **columns})
