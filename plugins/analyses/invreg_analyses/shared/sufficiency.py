"""Was a learned method trained long enough? Asked where it is not better than a method without learned weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invreg.text import duration, metric_title, number, with_unit

if TYPE_CHECKING:
    import pandas as pd

    from invreg import TrainingLog

#: The end of a training that is looked at, as a share of it, and the largest share for which that is still an end.
_END, _LARGEST_END = 0.2, 0.5
#: Differences that a sentence lists one by one.
_LISTED = 2

#: Verdicts. Only the first names a cause.
TOO_BRIEF = "trained too briefly"
STILL_BETTERING = "was still getting better"
NOT_BETTERING = "got no better in the end"
UNKNOWN = "the log does not say"

_COLUMNS = ("method", "reference", "behind", "low", "high", "length", "unit", "seconds", "end", "gain", "verdict")


@dataclass(frozen=True)
class Progress:
    """What a log says about the length of a training.

    Attributes:
        length: how long it was.
        unit: in what: step, epoch, trial.
        seconds: its time; NaN if it is not logged.
        end: how much of `length` its end is, from one validation to the last; NaN if the log does not show it.
        gain: by how much the best value of the metric got better in that time, 0 or more; NaN likewise.
    """

    length: float
    unit: str
    seconds: float = math.nan
    end: float = math.nan
    gain: float = math.nan


def read_progress(log: TrainingLog, metric: str, higher_is_better: bool) -> Progress | None:
    """What a log says about the length of a training; None if it says nothing.

    The end of a training is its last fifth, or what comes after the last validation before that, if it is not more
    than half of the training. The trials of a parameter search have no order, and so no end.

    Args:
        log: the log.
        metric: the metric whose validation values, `val_<metric>`, are looked at.
        higher_is_better: whether a larger value is a better one.
    """
    rows = [row for row in log.rows if row]
    unit = next(iter(rows[0]), "") if rows else ""
    positions = [_number(row.get(unit)) for row in rows]
    if not rows or not all(map(math.isfinite, positions)):
        return None
    seconds = _number(log.summary.get("seconds"))
    if unit == "trial":
        return Progress(len(rows), unit, seconds)
    length = max(positions)
    sign = 1 if higher_is_better else -1
    values = [sign * _number(row.get(f"val_{metric}")) for row in rows]
    points = [(x, y) for x, y in zip(positions, values, strict=True) if math.isfinite(y)]
    before = [(x, y) for x, y in points if x <= (1 - _END) * length * (1 + 1e-9)]
    end = length - max((x for x, _ in before), default=0.0)
    if not before or length <= 0 or end > _LARGEST_END * length or len(points) == len(before):
        return Progress(length, unit, seconds)
    gain = max(y for _, y in points) - max(y for _, y in before)
    return Progress(length, unit, seconds, end, gain)


def judge(behind: float, is_certain: bool, progress: Progress, unit: str = "") -> str:
    """What the log says about the cause of a difference.

    A training is called too brief if the metric was still getting better at its end, and so fast that as much training
    again, at that pace, would have made up for the difference. That is no proof. Nor does a curve that is level at its
    end prove the contrary: a learning rate that falls to zero levels every curve.

    Args:
        behind: by how much the method is worse, more than 0.
        is_certain: whether the interval of the difference excludes zero.
        progress: of the method's training.
        unit: of the metric; a gain that is written as zero is none.
    """
    if math.isnan(progress.gain):
        return UNKNOWN
    if not _is_visible(progress.gain, unit):
        return NOT_BETTERING
    pace = progress.gain / progress.end
    return TOO_BRIEF if is_certain and pace * progress.length >= behind else STILL_BETTERING


def row_if_behind(
    method: str, reference: str, difference: Mapping[str, Any], log: TrainingLog, metric: Any
) -> dict[str, Any] | None:
    """The method in the table, if it is worse than the reference and something is known about its training.

    Args:
        method: a method with learned weights.
        reference: the best one without.
        difference: method minus reference, the mean over the images (`difference`) and its interval (`low`, `high`).
        log: of the method's training.
        metric: a row of the table of metrics: metric, unit, higher_is_better.
    """
    sign = 1 if metric.higher_is_better else -1
    behind = -sign * float(difference["difference"])
    progress = read_progress(log, metric.metric, metric.higher_is_better)
    if progress is None or not behind > 0 or not _is_visible(behind, metric.unit):
        return None
    ends = sorted(-sign * float(difference[name]) for name in ("low", "high"))
    values = (method, reference, behind, *ends, progress.length, progress.unit, progress.seconds)
    verdict = judge(behind, ends[0] > 0, progress, metric.unit)
    return dict(zip(_COLUMNS, (*values, progress.end, progress.gain, verdict), strict=True))


def sufficiency_table(rows: Sequence[Mapping[str, Any]], places: Sequence[str] = ()) -> pd.DataFrame:
    """The rows as a table, also if there are none; `places` are columns that tell where (operator, noise)."""
    import pandas as pd

    return pd.DataFrame(rows, columns=[*places, *_COLUMNS])


def sufficiency_in_words(table: pd.DataFrame, metric: Any, places: Sequence[str] = ()) -> str:
    """One sentence for each method and verdict; empty if no learned method is behind.

    Args:
        table: see `sufficiency_table`.
        metric: a row of the table of metrics.
        places: for each row of the table, where that is: "under gaussian_blur"; none for a single run.
    """
    named = table.assign(place=list(places) or [""] * len(table), certain=table["low"] > 0)
    groups = named.groupby(["method", "reference", "verdict", "certain", "unit"], sort=False, dropna=False)
    return " ".join(_sentence(group, metric) for _, group in groups)


def _sentence(group: pd.DataFrame, metric: Any) -> str:
    first, unit = group.iloc[0], metric.unit
    worse = "below" if metric.higher_is_better else "above"
    if len(group) == 1:
        text = f"{first['method']} is {with_unit(number(first['behind'], unit), unit)} {worse} {first['reference']}"
        text += f" {first['place']}" if first["place"] else ""
    else:
        listed = [
            f"{with_unit(number(row['behind'], unit), unit)} {row['place']}".strip() for _, row in group.iterrows()
        ]
        by = " and ".join(listed) if len(group) <= _LISTED else f"{_span(group['behind'], unit)} in {len(group)} cases"
        text = f"{first['method']} is {worse} {first['reference']} by {by}"
    if not first["certain"]:
        text += ", which the images do not make certain"
    length = _length(group)
    if first["unit"] == "trial":
        return f"{text}: it was not better after a search of {length}."
    if first["verdict"] == TOO_BRIEF:
        text += f": it was trained too briefly, for {length}"
    else:
        text += f": it was not better after {length} of training"
    title = f"validation {metric_title(metric.metric)}"
    if first["verdict"] in (TOO_BRIEF, STILL_BETTERING):
        moved = "rose" if metric.higher_is_better else "fell"
        text += f"; in the last {_amount(group['end'], first['unit'])} its best {title} still {moved}"
        text += f" by {_span(group['gain'], unit)}"
    elif first["verdict"] == NOT_BETTERING:
        text += f"; in the last {_amount(group['end'], first['unit'])} its best {title} did not move"
    return f"{text}."


def _length(group: pd.DataFrame) -> str:
    """How long trainings were: "800 steps (1 min 32 s)"."""
    text = _amount(group["length"], str(group["unit"].iloc[0]))
    times = group["seconds"][group["seconds"] > 0]
    if not len(times):
        return text
    low, high = duration(times.min()), duration(times.max())
    return f"{text} ({low if low == high else f'{low} to {high}'})"


def _amount(values: pd.Series, unit: str) -> str:
    low, high = f"{values.min():g}", f"{values.max():g}"
    return f"{low if low == high else f'{low} to {high}'} {unit}{'' if high == '1' else 's'}"


def _span(values: pd.Series, unit: str) -> str:
    low, high = number(values.min(), unit), number(values.max(), unit)
    return with_unit(low if low == high else f"{low} to {high}", unit)


def _is_visible(value: float, unit: str) -> bool:
    """Whether a number is not written as zero."""
    return any(digit in "123456789∞" for digit in number(value, unit))


def _number(given: Any) -> float:
    """A number from a log; what is none is NaN."""
    if isinstance(given, bool):
        return math.nan
    try:
        return float(given)
    except (TypeError, ValueError):
        return math.nan
