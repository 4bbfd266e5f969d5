"""Random search over parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from invreg import (
    Events,
    InvregError,
    InvregWarning,
    Method,
    Reconstructor,
    SpecError,
    TrainedMethod,
    Trainer,
    TrainingContext,
    TrainingError,
    TrainingLog,
    hold_signals,
    never_stop,
    processes,
)
from invreg_training.checkpoint import identity
from invreg_training.randomness import reproducible
from invreg_training.search.ends import ends_of
from invreg_training.search.pruning import MedianRule, TrialStopRule
from invreg_training.search.space import SearchSpace, search_space
from invreg_training.search.trials import Trial, TrialFile, best_of, shown, summary_of
from invreg_training.search.values import SearchRange
from invreg_training.validation import deciding_metric, is_better, validate


class ParameterSearch(Trainer):
    """Tries parameters at random and keeps those that reconstruct the validation images best.

    Trial 0 has the parameters of the spec itself. The parameters of each trial depend on the seed and the trial's
    number alone, so an interrupted search goes on where it was and ends as if it had not been interrupted. A trial
    that fails is listed with its cause, and the search goes on. A best value at an end of its range, with no worse one
    beyond it, is warned of.

    A trial that is trained, and whose best value on the validation images so far is worse than the median of the whole
    trials at the same step, is stopped there; it is listed, and never chosen. Only trainers that validate on the way
    can be stopped.

    Source of the idea: Bergstra & Bengio 2012, "Random search for hyper-parameter optimization".
    """

    def __init__(
        self,
        trials: Annotated[int, Field(ge=1, description="how many parameters are tried, those of the spec first")] = 20,
        parameters: Annotated[
            dict[str, SearchRange] | None,
            Field(
                description="what is searched, as ranges and choices: {weight: {low: 1.0e-4, high: 0.1, log: true}}, "
                "trainer.lr for a parameter of the trainer; null: what the reconstructor declares"
            ),
        ] = None,
        trainer: Annotated[Trainer | None, Field(description="of each trial; null: nothing to train")] = None,
        startup_trials: Annotated[
            int,
            Field(
                ge=1,
                description="whole trials before any that does worse than their median is stopped early; "
                "as many as there are trials: none is stopped",
            ),
        ] = 5,
    ) -> None:
        self.trials = trials
        self.parameters = parameters
        self.trainer = trainer
        self.startup_trials = startup_trials

    def fits_weights(self) -> bool:
        """Whether the trainer of each trial does."""
        return self.trainer is not None and self.trainer.fits_weights()

    def shares_work(self) -> bool:
        """Whether the trials are shared: each of them by all processes."""
        return self.trainer is None or self.trainer.shares_work()

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        self._space(method)
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
        return SearchSession(self, self._space(method), method, context).run()

    def _space(self, method: Method) -> SearchSpace:
        given = self.parameters
        if given is None:
            extras = {name: field.json_schema_extra for name, field in method.schema.model_fields.items()}
            declared: Any = {name: e["search"] for name, e in extras.items() if isinstance(e, dict) and "search" in e}
            given = ParameterSearch(parameters=declared).parameters
        return search_space(given or {}, method, self.trainer)


class SearchSession:
    """Tries parameters until all trials of a search are done.

    Args:
        search: how many trials, and their trainer.
        space: what is searched.
        method: whose parameters are tried.
        context: problem, images, device, folder.
    """

    def __init__(self, search: ParameterSearch, space: SearchSpace, method: Method, context: TrainingContext) -> None:
        self.search, self.space, self.method, self.context = search, space, method, context
        self.metric_name, self.metric = deciding_metric(context)
        self.together = processes()
        self.file = TrialFile(context.folder / "trials.json", identity(search, method, context))
        self.trials, self.running = self.together.from_main(self.file.read)

    def run(self) -> TrainedMethod:
        """Does the trials that are left, and gives the best of all."""
        try:
            return self._run()
        except KeyboardInterrupt as stop:
            stop.add_note(f"{len(self.trials)} of {self.search.trials} trials of {self.method.label}")
            raise

    def _run(self) -> TrainedMethod:
        best, best_reconstructor = best_of(self.trials, self.metric), None
        for number in range(len(self.trials), self.search.trials):
            trial, reconstructor = self._try(number)
            with hold_signals():
                if self.together.is_main:
                    # Heard before it counts as done: who listens hears of every trial, of some twice.
                    self._report(trial)
                    self.file.write([*self.trials, trial])
                self.trials.append(trial)
            if trial.value is not None and is_better(trial.value, best.value if best else None, self.metric):
                best, best_reconstructor = trial, reconstructor
        if best is None:
            raise TrainingError(
                f"all {len(self.trials)} trials failed; the first with: {self.trials[0].cause}",
                where="trainer",
                hint=f"other ranges; the causes of all are in {self.file.path}",
            )
        if best_reconstructor is None:  # found in an earlier session
            best_reconstructor = self._build(best.number, best.parameters, never_stop)
        summary = summary_of(self.trials, best, self.metric_name)
        if ends := ends_of(self.trials, best, self.space.dimensions):
            summary["note"] = "; ".join(map(str, ends))
        for end in ends:
            if end.is_of_range:
                warnings.warn(end.warning, InvregWarning, stacklevel=2)
        log = TrainingLog([trial.row(self.metric_name) for trial in self.trials], summary)
        return TrainedMethod(best_reconstructor.eval(), log)

    def _try(self, number: int) -> tuple[Trial, Reconstructor | None]:
        trial = self._begin(number)
        if trial.stopped is not None:  # decided just before the last session ended
            return trial, None
        whole = [other for other in self.trials if other.value is not None]
        rule = TrialStopRule(
            trial, MedianRule(whole, self.search.startup_trials, self.metric.higher_is_better), self._keep
        )
        try:
            reconstructor = self._build(number, trial.parameters, rule)
            if rule.trial.stopped is None:
                value = validate(reconstructor, self.context)
                return rule.ended(value=value), reconstructor
        except Exception as error:  # noqa: BLE001 (an error in one trial must not end the search)
            self.together.failed_alike(error)
            if rule.trial.stopped is None:
                return rule.ended(cause=f"{type(error).__name__}: {error}"), None
        return rule.ended(cause=rule.trial.cause), None

    def _begin(self, number: int) -> Trial:
        """The trial as an earlier session left it, or a new one."""
        if self.running is not None and self.running.number == number:
            return self.running
        return Trial(number, self.space.own() if number == 0 else self.space.draw(self.context.seed, number))

    def _keep(self, running: Trial) -> None:
        if self.together.is_main:
            self.file.write(self.trials, running)

    def _build(
        self, number: int, parameters: Mapping[str, Any], stop_rule: Callable[[int, float], str | None]
    ) -> Reconstructor:
        """A reconstructor with these parameters, trained if there is a trainer."""
        method, context = self.method, self.context
        values = {} if number == 0 else parameters  # trial 0 is the spec as it is
        changes = self.space.changes(values)
        trainer = self.space.trainer(values, self.search.trainer)
        if trainer is None:
            with reproducible(context.device, context.seed):
                return method.build(**changes).to(context.device)

        def build(**further: Any) -> Reconstructor:
            return method.build(**{**changes, **further})

        changed = replace(method, parameters={**method.parameters, **changes}, build=build)
        inside = replace(
            context,
            folder=context.folder / f"trial-{number}",
            events=_TrialEvents(context.events, number),
            stop_rule=stop_rule,
        )
        return trainer.fit(changed, inside).reconstructor

    def _report(self, trial: Trial) -> None:
        label, events = self.method.label, self.context.events
        events.emit("invreg_epoch_finished", label=label, epoch=trial.number, values=trial.row(self.metric_name))
        result = trial.state if trial.value is None else trial.value
        values = {name: shown(value) for name, value in trial.parameters.items()}
        events.emit(
            "invreg_progress",
            label=label,
            stage="search",
            done=trial.number + 1,
            total=self.search.trials,
            values={**values, self.metric_name: result},
        )


class _TrialEvents(Events):
    """The progress of the training inside a trial, as a stage of the search.

    Its epochs are not those of the method, whose log has one row a trial.
    """

    def __init__(self, outer: Events, number: int) -> None:
        super().__init__()
        self._outer, self._number = outer, number

    def emit(self, hook: str, **arguments: Any) -> None:
        if hook == "invreg_progress":
            self._outer.emit(hook, **{**arguments, "stage": f"trial {self._number}"})
