"""The trials of a search: on disk, as rows of a table, and summed up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from invreg import Metric
from invreg_training.checkpoint import broken, check_identity, read_hashed_json, write_hashed_json


@dataclass(frozen=True)
class Trial:
    """A trial: its parameters and its result.

    Attributes:
        number: counted from 0.
        parameters: the values by name.
        value: of the deciding metric on the validation images; None if the trial failed or was stopped.
        seconds: of work.
        cause: why it failed or was stopped.
        intermediate: values on the way, by step.
        stopped: the step at which it was stopped.
    """

    number: int
    parameters: dict[str, Any]
    value: float | None = None
    seconds: float = 0.0
    cause: str = ""
    intermediate: dict[int, float] = field(default_factory=dict)
    stopped: int | None = None

    @property
    def state(self) -> str:
        """`complete`, `stopped at step 60` or `failed`."""
        if self.stopped is not None:
            return f"stopped at step {self.stopped}"
        return "failed" if self.value is None else "complete"

    def row(self, metric_name: str) -> dict[str, Any]:
        """The trial as a row of the log."""
        return {
            "trial": self.number,
            **{name: shown(value) for name, value in self.parameters.items()},
            f"val_{metric_name}": self.value,
            "seconds": round(self.seconds, 3),
            "state": self.state,
            "cause": self.cause,
        }


class TrialFile:
    """The trials on disk: those that are finished and the one that is running, in one JSON file that is replaced whole.

    Args:
        path: the file.
        expected: all that determines the result of the search; the trials of another search are refused.
    """

    def __init__(self, path: Path, expected: dict[str, Any]) -> None:
        self.path, self.identity = path, expected

    def read(self) -> tuple[list[Trial], Trial | None]:
        """The finished trials so far, and the one that was running.

        Raises:
            TrainingError: if the file is broken, or belongs to another search.
        """
        if not self.path.exists():
            return [], None
        content = read_hashed_json(self.path)
        try:
            found, trials = content["identity"], [_trial(trial) for trial in content["trials"]]
            running = None if content["running"] is None else _trial(content["running"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise broken(self.path, f"{type(error).__name__}: {error}") from None
        check_identity(self.path, found, self.identity)
        return trials, running

    def write(self, trials: Iterable[Trial], running: Trial | None = None) -> None:
        """Replaces the file.

        Raises:
            TrainingError: if it cannot be written.
        """
        content = {
            "identity": self.identity,
            "trials": [asdict(trial) for trial in trials],
            "running": None if running is None else asdict(running),
        }
        write_hashed_json(self.path, content)


def _trial(content: Mapping[str, Any]) -> Trial:
    intermediate = {int(step): float(value) for step, value in content["intermediate"].items()}
    return Trial(**{**content, "intermediate": intermediate})


def best_of(trials: Iterable[Trial], metric: Metric) -> Trial | None:
    """The best trial, the first of equals; None if none ran to its end."""
    sign = 1 if metric.higher_is_better else -1
    finished = [(sign * trial.value, trial) for trial in trials if trial.value is not None]
    return max(finished, key=lambda pair: pair[0], default=(0.0, None))[1]


def summary_of(trials: Sequence[Trial], best: Trial, metric_name: str) -> dict[str, Any]:
    """Single values for the report."""
    return {
        "trials": len(trials),
        "failed": sum(trial.state == "failed" for trial in trials),
        "stopped": sum(trial.stopped is not None for trial in trials),
        "best_trial": best.number,
        f"best_val_{metric_name}": best.value,
        **{f"best {name}": shown(value) for name, value in best.parameters.items()},
        "seconds": round(sum(trial.seconds for trial in trials), 3),
    }


def shown(value: Any) -> Any:
    """A value as a table shows it: `gaussian(std=0.1)` for a component, a text for mappings and lists."""
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        inside = ", ".join(f"{key}={shown(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']}({inside})" if inside else value["name"]
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {shown(item)}' for key, item in value.items())}}}"
    return f"[{', '.join(str(shown(item)) for item in value)}]" if isinstance(value, list) else value
