"""Which trials are stopped early, and where."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from invreg_training.search.trials import Trial
from invreg_training.search.values import quiet_optuna


class MedianRule:
    """Stops a trial whose best value up to a step is worse than the median of the whole trials at that step.

    The decision follows from the values alone, by Optuna's `MedianPruner`. Trials are compared at equal steps only:
    where no whole trial has a value, none is stopped.

    Args:
        whole: the trials that ran to their end, with their values on the way.
        startup_trials: how many of them there must be before any trial is stopped.
        higher_is_better: the direction of the values.

    Source of the rule: Golovin et al. 2017, "Google Vizier: A Service for Black-Box Optimization".
    """

    def __init__(self, whole: Iterable[Trial], startup_trials: int, higher_is_better: bool) -> None:
        import optuna
        from optuna.trial import TrialState, create_trial

        self._pruner = optuna.pruners.MedianPruner(n_startup_trials=startup_trials)
        with quiet_optuna():
            self._study = optuna.create_study(direction="maximize" if higher_is_better else "minimize")
            for trial in whole:
                self._study.add_trial(
                    create_trial(
                        # The final value does not matter here.
                        state=TrialState.COMPLETE,
                        value=0.0,
                        intermediate_values=_all_finite(trial.intermediate),
                    )
                )

    def stops(self, values: Mapping[int, float]) -> bool:
        """Whether a trial with these values by step is stopped at the last of these steps."""
        from optuna.trial import TrialState, create_trial

        running = create_trial(state=TrialState.RUNNING, intermediate_values=_all_finite(values))
        return bool(self._pruner.prune(self._study, running))


def _all_finite(values: Mapping[int, float]) -> dict[int, float]:
    """Large numbers for infinite ones (the PSNR of a perfect image): a median is made of differences."""
    return {step: math.copysign(1e300, value) if math.isinf(value) else value for step, value in values.items()}


class TrialStopRule:
    """The stop rule of one trial: it keeps the trial's values on disk, and stops it by the median rule.

    A training that goes on from a checkpoint may repeat values; the decisions are the same.

    Args:
        trial: as far as it is known from an earlier session.
        rule: decides.
        save: called with the trial, and the decision in it, before training goes on.
    """

    def __init__(self, trial: Trial, rule: MedianRule, save: Callable[[Trial], None]) -> None:
        self.trial, self._rule, self._save = trial, rule, save
        self._started = time.perf_counter() - trial.seconds

    def ended(self, value: float | None = None, cause: str = "") -> Trial:
        """The trial when it is over."""
        return replace(self.trial, value=value, cause=cause, seconds=self._seconds())

    def _seconds(self) -> float:
        """Since the trial began, without the time between sessions."""
        return time.perf_counter() - self._started

    def __call__(self, step: int, value: float) -> str | None:
        if self.trial.stopped is not None:  # a trainer that has gone on all the same
            return self.trial.cause
        earlier = {known: old for known, old in self.trial.intermediate.items() if known < step}
        values = {**earlier, int(step): float(value)}
        stopped = self._rule.stops(values)
        cause = f"its values up to step {step} are worse than the median of the whole trials there" if stopped else ""
        self.trial = replace(
            self.trial,
            intermediate=values,
            stopped=int(step) if stopped else None,
            cause=cause,
            seconds=self._seconds(),
        )
        self._save(self.trial)
        return cause if stopped else None
