"""The trials of a search: on disk, as rows of a table, and summed up."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from invreg.events import Events
from invreg.metrics import Metric
from invreg_training.checkpoint import broken, check_identity, replace_file
from invreg_training.ranges import Choices, Dimension, Range


@dataclass(frozen=True)
class Trial:
    """One try: the parameters, and what came of them. `value` is None if it failed, and `cause` says why."""

    number: int
    parameters: dict[str, Any]
    value: float | None
    seconds: float
    cause: str = ""

    def row(self, metric_name: str) -> dict[str, Any]:
        """The trial as a row of the log."""
        return {
            "trial": self.number,
            **self.parameters,
            f"val_{metric_name}": self.value,
            "seconds": round(self.seconds, 3),
            "state": "failed" if self.value is None else "complete",
            "cause": self.cause,
        }


class TrialEvents(Events):
    """What is heard of the training inside a trial: its progress, as a stage of the search.

    Its epochs are not those of the method, whose log has one row a trial.

    Args:
        outer: who listens to the search.
        number: the trial.
    """

    def __init__(self, outer: Events, number: int) -> None:
        super().__init__()
        self._outer, self._number = outer, number

    def emit(self, hook: str, **arguments: Any) -> None:
        if hook == "invreg_progress":
            self._outer.emit(hook, **{**arguments, "stage": f"trial {self._number}"})


class TrialFile:
    """The finished trials on disk, one JSON file that is replaced after each of them.

    Args:
        path: the file.
        expected: all that decides how the search goes; the trials of another search are refused.
    """

    def __init__(self, path: Path, expected: dict[str, Any]) -> None:
        self.path, self.identity = path, expected

    def read(self) -> list[Trial]:
        """The trials so far.

        Raises:
            TrainingError: if the file is broken, or belongs to another search.
        """
        if not self.path.exists():
            return []
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            found, trials = content["identity"], [Trial(**trial) for trial in content["trials"]]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise broken(self.path, f"{type(error).__name__}: {error}") from None
        check_identity(self.path, found, self.identity)
        return trials

    def write(self, trials: Iterable[Trial]) -> None:
        """Replaces the file.

        Raises:
            TrainingError: if it cannot be written.
        """
        content = {"identity": self.identity, "trials": [asdict(trial) for trial in trials]}
        replace_file(self.path, json.dumps(content, indent=1).encode())


def best_of(trials: Iterable[Trial], metric: Metric) -> Trial | None:
    """The best trial, the first of equals; None if all have failed."""
    sign = 1 if metric.higher_is_better else -1
    finished = [(sign * trial.value, trial) for trial in trials if trial.value is not None]
    return max(finished, key=lambda pair: pair[0], default=(0.0, None))[1]


def summary_of(
    trials: Sequence[Trial], best: Trial, dimensions: Iterable[Dimension], metric_name: str
) -> dict[str, Any]:
    """Single values for the report."""
    summary: dict[str, Any] = {
        "trials": len(trials),
        "failed": sum(trial.value is None for trial in trials),
        "best_trial": best.number,
        f"best_val_{metric_name}": best.value,
        **{f"best {path}": value for path, value in best.parameters.items()},
        "seconds": round(sum(trial.seconds for trial in trials), 3),
    }
    edges = [d.path for d in dimensions if best.number > 0 and _at_edge(d.values, best.parameters[d.path])]
    if edges:
        summary["note"] = f"best {' and '.join(edges)} at an end of the range: a wider range may hold a better value"
    return summary


def _at_edge(values: Range | Choices, value: Any) -> bool:
    """Whether a value lies in the outermost twentieths of a range."""
    if isinstance(values, Choices):
        return False
    scale = math.log if values.log else float
    position = (scale(value) - scale(values.low)) / (scale(values.high) - scale(values.low))
    return not 0.05 <= position <= 0.95
