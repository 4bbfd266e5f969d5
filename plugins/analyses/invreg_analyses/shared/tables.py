"""Tables that several analyses keep with their findings, so that figures can be drawn from a file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from invreg import CompletedRun


def float_or_nan(given: Any) -> float:
    """A number from a log; NaN for anything else."""
    if isinstance(given, bool | np.bool_):
        return math.nan
    try:
        return float(given)
    except (TypeError, ValueError):
        return math.nan


def methods_table(run: CompletedRun) -> pd.DataFrame:
    """The methods in the order of the spec with their numbers of weights: which decide on their colours."""
    import pandas as pd

    weights = [sum(p.numel() for p in trained.reconstructor.parameters()) for trained in run.methods.values()]
    return pd.DataFrame({"method": list(run.methods), "weights": weights})


def metrics_table(run: CompletedRun) -> pd.DataFrame:
    """The metrics of the run with their units, and whether higher is better."""
    import pandas as pd

    rows = [(name, metric.unit, metric.higher_is_better) for name, metric in run.metric_components.items()]
    return pd.DataFrame(rows, columns=["metric", "unit", "higher_is_better"])


def values_by_image(run: CompletedRun, metric: str) -> pd.DataFrame:
    """One row per test image, one column per method, both in their order in the run."""
    table = run.metrics.pivot(index="image", columns="method", values=metric)
    return table.reindex(index=list(run.images.test.names), columns=list(run.methods))
