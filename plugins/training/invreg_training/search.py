"""Random search over parameters."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from invreg.component import built_with
from invreg.errors import InvregError, SpecError, TrainingError
from invreg.reconstructor import Reconstructor
from invreg.streams import stream_key
from invreg.trainer import Method, TrainedMethod, Trainer, TrainingContext, TrainingLog
from invreg_training.checkpoint import identity
from invreg_training.ranges import Choices, Dimension, SearchRange, read_ranges, search_space
from invreg_training.trials import Trial, TrialEvents, TrialFile, best_of, summary_of


class ParameterSearch(Trainer):
    """Tries parameters at random and keeps those that reconstruct the validation images best.

    Trial 0 has the parameters of the spec itself. The parameters of each trial depend on the seed and the trial's
    number alone, so an interrupted search goes on where it was and ends as if it had not been interrupted. A trial
    that fails is listed with its cause, and the search goes on.

    Args:
        trials: how many parameters are tried.
        parameters: what is searched: `weight` (of the reconstructor) or `trainer.lr` (of the trainer below) with a
            range or choices. None for the ranges that the reconstructor itself declares.
        trainer: trains the reconstructor in each trial; None for one that has nothing to train.

    Raises:
        SpecError: if a range is none.

    Source of the idea: Bergstra & Bengio 2012, "Random search for hyper-parameter optimization".
    """

    def __init__(
        self,
        trials: Annotated[int, Field(ge=1, description="how many parameters are tried, those of the spec first")] = 20,
        parameters: Annotated[
            dict[str, SearchRange] | None,
            Field(description="{weight: {low: 1.0e-4, high: 0.1, log: true}}; null: what the reconstructor declares"),
        ] = None,
        trainer: Annotated[Trainer | None, Field(description="of each trial; null: nothing to train")] = None,
    ) -> None:
        self.trials = trials
        self.parameters = None if parameters is None else read_ranges(parameters)
        self.trainer = trainer

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        search_space(self.parameters, method, self.trainer)
        if self.trainer is not None:
            try:
                self.trainer.check(method, reconstructor)
            except InvregError as error:
                raise error.at("trainer") from None
        elif any(parameter.requires_grad for parameter in reconstructor.parameters()):
            raise SpecError(
                f"{type(reconstructor).__name__} has weights, which a search does not train",
                where="trainer",
                expected="a trainer for each trial",
                hint="{name: parameter_search, trainer: {name: reconstruction, steps: 500}, ...}",
            )

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        from invreg_training.processes import Processes
        from invreg_training.validation import deciding_metric, is_better

        dimensions = search_space(self.parameters, method, self.trainer)
        metric_name, metric = deciding_metric(context)
        processes = Processes(context.device)
        file = TrialFile(context.folder / "trials.json", identity(self, method, context))
        trials = file.read()
        best, best_reconstructor = best_of(trials, metric), None
        for number in range(len(trials), self.trials):
            trial, reconstructor = self._try(number, dimensions, method, context, processes)
            trials.append(trial)
            if processes.is_main:
                file.write(trials)
                self._tell(trial, method, context, metric_name)
            if trial.value is not None and is_better(trial.value, best.value if best else None, metric):
                best, best_reconstructor = trial, reconstructor
        if best is None:
            raise TrainingError(
                f"all {len(trials)} trials failed; the first with: {trials[0].cause}",
                where="trainer",
                hint=f"other ranges; the causes of all are in {file.path}",
            )
        if best_reconstructor is None:  # found in an earlier sitting
            best_reconstructor = self._build(best.parameters, dimensions, method, context, best.number)
        log = TrainingLog(
            [trial.row(metric_name) for trial in trials], summary_of(trials, best, dimensions, metric_name)
        )
        return TrainedMethod(best_reconstructor.eval(), log)

    def _try(
        self, number: int, dimensions: list[Dimension], method: Method, context: TrainingContext, processes: Any
    ) -> tuple[Trial, Reconstructor | None]:
        from invreg_training.validation import validate

        values = {d.path: d.own for d in dimensions} if number == 0 else draw(dimensions, context.seed, number)
        start = time.perf_counter()
        try:
            reconstructor = self._build(values, dimensions, method, context, number)
            value = validate(reconstructor, context, processes)
        except Exception as error:  # noqa: BLE001 (what one trial runs into must not end the search)
            seconds = time.perf_counter() - start
            return Trial(number, values, None, seconds, f"{type(error).__name__}: {error}"), None
        return Trial(number, values, value, time.perf_counter() - start, ""), reconstructor

    def _build(
        self,
        values: Mapping[str, Any],
        dimensions: list[Dimension],
        method: Method,
        context: TrainingContext,
        number: int,
    ) -> Reconstructor:
        """A reconstructor with these parameters, trained if there is a trainer."""
        from invreg_training.randomness import reproducible

        changes: dict[str, dict[str, Any]] = {"reconstructor": {}, "trainer": {}}
        for dimension in dimensions:
            changes[dimension.part][dimension.name] = values[dimension.path]
        if self.trainer is None:
            with reproducible(context.device, context.seed):
                return method.build(**changes["reconstructor"]).to(context.device)
        trainer = type(self.trainer)(**{**built_with(self.trainer), **changes["trainer"]})

        def build(**further: Any) -> Reconstructor:
            return method.build(**{**changes["reconstructor"], **further})

        changed = replace(method, parameters={**method.parameters, **changes["reconstructor"]}, build=build)
        inside = replace(
            context,
            folder=context.folder / f"trial-{number}",
            events=TrialEvents(context.events, number),
        )
        return trainer.fit(changed, inside).reconstructor

    def _tell(self, trial: Trial, method: Method, context: TrainingContext, metric_name: str) -> None:
        row = trial.row(metric_name)
        context.events.emit("invreg_epoch_finished", label=method.label, epoch=trial.number, values=row)
        values = {**trial.parameters, metric_name: "failed" if trial.value is None else trial.value}
        context.events.emit(
            "invreg_progress",
            label=method.label,
            stage="search",
            done=trial.number + 1,
            total=self.trials,
            values=values,
        )


def draw(dimensions: Iterable[Dimension], seed: int, number: int) -> dict[str, Any]:
    """The parameters of one trial, drawn by Optuna's random sampler."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        # A stream of its own for each trial: no earlier trial has to be repeated for the numbers to be the same.
        sampler = optuna.samplers.RandomSampler(seed=stream_key(seed, "search", number) % 2**32)
        trial = optuna.create_study(sampler=sampler).ask()
        return {dimension.path: _suggest(trial, dimension) for dimension in dimensions}
    finally:
        optuna.logging.set_verbosity(verbosity)


def _suggest(trial: Any, dimension: Dimension) -> Any:
    values = dimension.values
    if isinstance(values, Choices):
        return values.choices[trial.suggest_int(dimension.path, 0, len(values.choices) - 1)]
    suggest = trial.suggest_int if dimension.integer else trial.suggest_float
    return suggest(dimension.path, values.low, values.high, log=values.log)
