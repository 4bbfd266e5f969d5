"""One sitting of a search: its trials, from the first that is not done yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from invreg import Method, Reconstructor, TrainedMethod, TrainingContext, TrainingError, TrainingLog, never_stop
from invreg_training.checkpoint import identity
from invreg_training.processes import Processes
from invreg_training.randomness import reproducible
from invreg_training.search.pruning import MedianRule, TrialJudge
from invreg_training.search.sampling import draw
from invreg_training.search.space import SearchSpace
from invreg_training.search.trials import Trial, TrialEvents, TrialFile, best_of, shown, summary_of
from invreg_training.validation import deciding_metric, is_better, validate

if TYPE_CHECKING:
    from invreg_training.search.search import ParameterSearch


class Sitting:
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
        self.processes = Processes(context.device)
        self.file = TrialFile(context.folder / "trials.json", identity(search, method, context))
        self.trials, self.running = self.file.read()

    def run(self) -> TrainedMethod:
        """Does the trials that are left, and gives the best of all."""
        best, best_reconstructor = best_of(self.trials, self.metric), None
        for number in range(len(self.trials), self.search.trials):
            trial, reconstructor = self._try(number)
            self.trials.append(trial)
            if self.processes.is_main:
                self.file.write(self.trials)
                self._tell(trial)
            if trial.value is not None and is_better(trial.value, best.value if best else None, self.metric):
                best, best_reconstructor = trial, reconstructor
        if best is None:
            raise TrainingError(
                f"all {len(self.trials)} trials failed; the first with: {self.trials[0].cause}",
                where="trainer",
                hint=f"other ranges; the causes of all are in {self.file.path}",
            )
        if best_reconstructor is None:  # found in an earlier sitting
            best_reconstructor = self._build(best.number, best.parameters, never_stop)
        log = TrainingLog(
            [trial.row(self.metric_name) for trial in self.trials],
            summary_of(self.trials, best, self.space.dimensions, self.metric_name),
        )
        return TrainedMethod(best_reconstructor.eval(), log)

    def _try(self, number: int) -> tuple[Trial, Reconstructor | None]:
        trial = self._begin(number)
        if trial.stopped is not None:  # decided just before the last sitting ended
            return trial, None
        whole = [other for other in self.trials if other.value is not None]
        rule = MedianRule(whole, self.search.startup_trials, self.metric.higher_is_better)
        judge = TrialJudge(trial, rule, self._keep)
        try:
            reconstructor = self._build(number, trial.parameters, judge)
            if judge.trial.stopped is None:
                value = validate(reconstructor, self.context, self.processes)
                return judge.ended(value=value), reconstructor
        except Exception as error:  # noqa: BLE001 (what one trial runs into must not end the search)
            if judge.trial.stopped is None:
                return judge.ended(cause=f"{type(error).__name__}: {error}"), None
        return judge.ended(cause=judge.trial.cause), None

    def _begin(self, number: int) -> Trial:
        """The trial as an earlier sitting left it, or a new one."""
        if self.running is not None and self.running.number == number:
            return self.running
        own = number == 0
        return Trial(number, self.space.own() if own else draw(self.space.dimensions, self.context.seed, number))

    def _keep(self, running: Trial) -> None:
        if self.processes.is_main:
            self.file.write(self.trials, running)

    def _build(
        self, number: int, parameters: Mapping[str, Any], judge: Callable[[int, float], str | None]
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
            events=TrialEvents(context.events, number),
            judge=judge,
        )
        return trainer.fit(changed, inside).reconstructor

    def _tell(self, trial: Trial) -> None:
        label, events = self.method.label, self.context.events
        events.emit("invreg_epoch_finished", label=label, epoch=trial.number, values=trial.row(self.metric_name))
        result = trial.state if trial.value is None else trial.value
        values = {path: shown(value) for path, value in trial.parameters.items()}
        events.emit(
            "invreg_progress",
            label=label,
            stage="search",
            done=trial.number + 1,
            total=self.search.trials,
            values={**values, self.metric_name: result},
        )
