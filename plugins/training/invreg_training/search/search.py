"""Random search over parameters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from invreg import InvregError, Method, Reconstructor, SpecError, TrainedMethod, Trainer, TrainingContext
from invreg_training.search.ranges import SearchRange, read_ranges
from invreg_training.search.space import SearchSpace, search_space


class ParameterSearch(Trainer):
    """Tries parameters at random and keeps those that reconstruct the validation images best.

    Trial 0 has the parameters of the spec itself. The parameters of each trial depend on the seed and the trial's
    number alone, so an interrupted search goes on where it was and ends as if it had not been interrupted. A trial
    that fails is listed with its cause, and the search goes on.

    A trial that is trained, and whose best value on the validation images so far is worse than the median of the whole
    trials at the same step, is stopped there; it is listed, and never chosen.

    Args:
        trials: how many parameters are tried.
        parameters: what is searched, by path, with a range or choices: `weight` or `reconstructor.weight`,
            `trainer.lr` (of the trainer below), and on through nested components, mappings and lists
            (`reconstructor.channels.1`). `trainer` alone means the trainer as a whole. None for the ranges that the
            reconstructor itself declares.
        trainer: trains the reconstructor in each trial; None for one that has nothing to train.
        startup_trials: how many trials have run to their end before any is stopped; as many as there are `trials`
            for none to be stopped. Only trainers that validate on the way can be stopped.

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
        startup_trials: Annotated[
            int, Field(ge=1, description="whole trials before any that does worse than their median is stopped early")
        ] = 5,
    ) -> None:
        self.trials = trials
        self.parameters = None if parameters is None else read_ranges(parameters)
        self.trainer = trainer
        self.startup_trials = startup_trials

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        space = self._space(method)
        _check_trainer(self.trainer, method, reconstructor, "trainer")
        for index, trainer in enumerate(space.trainers()):
            _check_trainer(trainer, method, reconstructor, f"parameters.trainer.choices.{index}")

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        from invreg_training.search.sitting import Sitting

        return Sitting(self, self._space(method), method, context).run()

    def _space(self, method: Method) -> SearchSpace:
        return search_space(self.parameters, method, self.trainer, ParameterSearch)


def _check_trainer(trainer: Trainer | None, method: Method, reconstructor: Reconstructor, where: str) -> None:
    if trainer is not None:
        try:
            trainer.check(method, reconstructor)
        except InvregError as error:
            raise error.at(where) from None
    elif any(parameter.requires_grad for parameter in reconstructor.parameters()):
        raise SpecError(
            f"{type(reconstructor).__name__} has weights, which a search does not train",
            where=where,
            expected="a trainer for each trial",
            hint="{name: parameter_search, trainer: {name: reconstruction, steps: 500}, ...}",
        )
