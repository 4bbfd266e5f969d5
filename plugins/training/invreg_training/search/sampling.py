"""The parameters of a trial, drawn at random."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from invreg import stream_key
from invreg_training.search.dimension import Dimension
from invreg_training.search.pruning import quiet_optuna
from invreg_training.search.ranges import Choices


def draw(dimensions: Iterable[Dimension], seed: int, number: int) -> dict[str, Any]:
    """The values of one trial by path, drawn by Optuna's random sampler."""
    import optuna

    with quiet_optuna():
        # A stream of its own for each trial: no earlier trial has to be repeated for the numbers to be the same.
        sampler = optuna.samplers.RandomSampler(seed=stream_key(seed, "search", number) % 2**32)
        trial = optuna.create_study(sampler=sampler).ask()
        return {dimension.path: _suggest(trial, dimension) for dimension in dimensions}


def _suggest(trial: Any, dimension: Dimension) -> Any:
    values = dimension.values
    if isinstance(values, Choices):
        return values.choices[trial.suggest_int(dimension.path, 0, len(values.choices) - 1)]
    suggest = trial.suggest_int if dimension.integer else trial.suggest_float
    return suggest(dimension.path, values.low, values.high, log=values.log)
