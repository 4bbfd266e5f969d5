"""Was a learned method trained long enough? Asked where it is worse than the best method without learned weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from invreg.text import number, span
from invreg_analyses.shared.tables import float_or_nan

if TYPE_CHECKING:
    import pandas as pd

    from invreg import TrainingLog

#: The end of a training, as a share of it, and the largest share that still counts as an end.
_END, _LARGEST_END = 0.2, 0.5
#: Cases that the text lists one by one.
_LISTED = 2

#: Verdicts. Only the first names a cause.
TOO_BRIEF = "trained too briefly"
STILL_BETTERING = "was still getting better"
NOT_BETTERING = "got no better in the end"
UNKNOWN = "the log does not say"

_COLUMNS = ("method", "reference", "behind", "low", "high", "length", "unit", "seconds", "end", "gain", "verdict")


@dataclass(frozen=True)
class TrainingLength:
    """The length of a training and the improvement at its end; NaN for what the log does not show.

    Attributes:
        length: in `unit`.
        unit: step, epoch or trial.
        seconds: the duration.
        end: from the last validation before the last fifth to the end, in `unit`.
        gain: improvement of the best value of the metric in that time, 0 or more.
    """

    length: float
    unit: str
    seconds: float = math.nan
    end: float = math.nan
    gain: float = math.nan


def training_length(log: TrainingLog, metric: str, higher_is_better: bool) -> TrainingLength | None:
    """Reads a log with validation values `val_<metric>`; None if it has no numbered rows.

    The end is the last fifth, or from the last validation before that, if this is at most half of the training. The
    trials of a parameter search have no order, and so no end.
    """
    rows = [row for row in log.rows if row]
    unit = next(iter(rows[0]), "") if rows else ""
    positions = [float_or_nan(row.get(unit)) for row in rows]
    if not rows or not all(map(math.isfinite, positions)):
        return None
    seconds = float_or_nan(log.summary.get("seconds"))
    if unit == "trial":
        return TrainingLength(len(rows), unit, seconds)
    length = max(positions)
    sign = 1 if higher_is_better else -1
    values = [sign * float_or_nan(row.get(f"val_{metric}")) for row in rows]
    points = [(x, y) for x, y in zip(positions, values, strict=True) if math.isfinite(y)]
    before = [(x, y) for x, y in points if x <= (1 - _END) * length * (1 + 1e-9)]
    end = length - max((x for x, _ in before), default=0.0)
    if not before or length <= 0 or end > _LARGEST_END * length or len(points) == len(before):
        return TrainingLength(length, unit, seconds)
    gain = max(y for _, y in points) - max(y for _, y in before)
    return TrainingLength(length, unit, seconds, end, gain)


def diagnose(behind: float, is_certain: bool, training: TrainingLength, unit: str = "") -> str:
    """The verdict on a training.

    `TOO_BRIEF` if the difference is certain and as much training again, at the pace of the end, makes up for it:
    gain / end * length >= behind. A level curve proves nothing: a learning rate that falls to zero levels every curve.

    Args:
        behind: by how much the method is worse, more than 0.
        is_certain: whether the interval of the difference excludes zero.
        training: of the method.
        unit: of the metric; a gain that is written as zero does not count.
    """
    if math.isnan(training.gain):
        return UNKNOWN
    if not _is_visible(training.gain, unit):
        return NOT_BETTERING
    pace = training.gain / training.end
    return TOO_BRIEF if is_certain and pace * training.length >= behind else STILL_BETTERING


def row_if_behind(
    method: str, reference: str, difference: Mapping[str, Any], log: TrainingLog, metric: Any
) -> dict[str, Any] | None:
    """The row of a method; None if it is not worse than the reference, or its log is empty.

    Args:
        method: a method with learned weights.
        reference: the best one without.
        difference: method minus reference, the mean over the images (`difference`) and its interval (`low`, `high`).
        log: of the method's training.
        metric: a row of the table of metrics: metric, unit, higher_is_better.
    """
    sign = 1 if metric.higher_is_better else -1
    behind = -sign * float(difference["difference"])
    training = training_length(log, metric.metric, metric.higher_is_better)
    if training is None or not behind > 0 or not _is_visible(behind, metric.unit):
        return None
    ends = sorted(-sign * float(difference[name]) for name in ("low", "high"))
    verdict = diagnose(behind, ends[0] > 0, training, metric.unit)
    return dict(zip(_COLUMNS, (method, reference, behind, *ends, *astuple(training), verdict), strict=True))


def sufficiency_table(rows: Sequence[Mapping[str, Any]], places: Sequence[str] = ()) -> pd.DataFrame:
    """The rows as a table, possibly empty; `places` are further columns in front (operator, noise)."""
    import pandas as pd

    return pd.DataFrame(rows, columns=[*places, *_COLUMNS])


def sufficiency_text(table: pd.DataFrame, metric: Any, places: Sequence[str] = ()) -> str:
    """One sentence on all methods that are behind, with the verdicts; empty if there are none.

    Args:
        table: see `sufficiency_table`.
        metric: a row of the table of metrics.
        places: for each row of the table, where that is: "under gaussian_blur"; none for a single run.
    """
    worse, parts = "below" if metric.higher_is_better else "above", []
    named = table.assign(place=list(places) or [""] * len(table), certain=table["low"] > 0)
    for (method, reference, verdict, certain), group in named.groupby(
        ["method", "reference", "verdict", "certain"], sort=False
    ):
        where = " and ".join(group["place"]) if len(group) <= _LISTED else f"in {len(group)} cases"
        text = f"{method} is {span(group['behind'], metric.unit)} {worse} {reference} {where}".strip()
        parts.append(f"{text}{'' if certain else ' (not certain)'}: {verdict}")
    return "; ".join(parts) + "." if parts else ""


def _is_visible(value: float, unit: str) -> bool:
    """Whether a number is not written as zero."""
    return any(digit in "123456789∞" for digit in number(value, unit))
