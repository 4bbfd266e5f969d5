"""One training, of a run or of a call from Python."""

from __future__ import annotations

import warnings

from invreg.components.foreign import blamed
from invreg.components.reconstructor import FinalisesWeights
from invreg.components.trainer import Method, TrainedMethod, Trainer, TrainingContext
from invreg.errors import InvregError, InvregWarning, TrainingError


def fit(trainer: Trainer, method: Method, context: TrainingContext, where: str) -> TrainedMethod:
    """What a trainer makes of a method.

    Args:
        trainer: trains it.
        method: what to train.
        context: everything around the training.
        where: the path of the method in the spec, for messages.

    Raises:
        TrainingError: if it raises anything, or returns something else.

    Warns:
        InvregWarning: if a single validation image has to choose.
    """
    if len(context.images.val) == 1:
        message = InvregError(
            "a single validation image chooses the weights, or the parameters",
            expected="several validation images: with another one, the choice may be another",
            hint="more images, or a larger `val`",
        )
        warnings.warn(str(message), InvregWarning, stacklevel=2)
    try:
        with blamed(trainer, "", TrainingError):
            trained = trainer.fit(method, context)
        if not isinstance(trained, TrainedMethod):
            what = f"{type(trainer).__name__}.fit returned an instance of {type(trained).__name__}"
            raise TrainingError(what, expected="invreg.TrainedMethod")
        return trained
    except InvregError as error:
        raise error.at(where) from None


def finalise(trained: TrainedMethod, where: str) -> TrainedMethod:
    """After the last step of training and before anything is saved, so that evaluation sees what is saved."""
    if isinstance(trained.reconstructor, FinalisesWeights):
        try:
            with blamed(trained.reconstructor, ""):
                trained.reconstructor.finalise()
        except InvregError as error:
            raise error.at(f"{where}.reconstructor", of=trained.reconstructor) from None
    trained.reconstructor.eval()
    return trained
