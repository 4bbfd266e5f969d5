"""How close learned forward maps come to the operator, over noise levels and Lipschitz parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg import (
    CompletedStudy,
    Findings,
    LearnsForwardMap,
    SpecError,
    StudyAnalyzer,
    choose_device,
    stream_key,
)
from invreg_analyses.forward_map.accuracy_figures import MEASURES, accuracy_seen, draw_forward_map_accuracy
from invreg_analyses.forward_map.measures import accuracy, on_all
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import Confidence, Resamples, mean_interval
from invreg_analyses.shared.study_choice import At, Choice, choose, methods_in
from invreg_analyses.shared.style import file_names

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_KEY = ["operator", "noise", "method", "lipschitz"]


class ForwardMapAccuracy(StudyAnalyzer):
    """MSE, SSIM and relative distance between phi(x) and F(x), over noise levels and Lipschitz parameters.

    For every method with a learned forward map phi, in every cell, on the test images x; F is the operator that phi
    stands for. What the analysis `forward_map` has found in a cell is used; for other cells it is computed. Means over
    the images come with confidence intervals (see `mean_interval`).

    `trends` has, image by image, what becomes of each measure from the lowest noise level to the highest at each L, and
    from the smallest L to the largest at each noise level.

    Raises:
        SpecError: if no method has learned a forward map.
        DataError: if the data set no longer has the images of the study, and they are needed.

    Source: Arndt & Nickel 2024, figure 9.
    """

    def __init__(
        self,
        at: At = None,
        confidence: Confidence = 0.95,
        resamples: Resamples = 10_000,
    ) -> None:
        self.at = at
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        choices = choose(study, self.at, [path for path in study.axes if path.endswith(".lipschitz")])
        progress = Progress(study.events, "forward_map_accuracy", "networks", len(choices.entries))
        networks = _networks(choices.entries, progress)
        means = [self._mean(study, key, values, name) for key, values in networks.items() for name in _names(values)]
        tables = {
            "means": pd.DataFrame(means),
            "trends": self._trends(study, networks, choices.noises),
            "methods": methods_in(study),
            "operators": pd.DataFrame(
                {"operator": [o for o in choices.operators if any(k.operator == o for k in networks)]}
            ),
            "noises": pd.DataFrame({"noise": choices.noises}),
        }
        scalars: dict[str, float | int | str | bool] = {"noise": choices.noise_title, "confidence": self.confidence}
        seen = [f"{operator}: {accuracy_seen(tables, operator)}" for operator in tables["operators"]["operator"]]
        return Findings(scalars, tables, text=" ".join(filter(None, [*seen, choices.in_words])))

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        operators = [str(operator) for operator in findings.tables["operators"]["operator"]]
        return {
            name: draw_forward_map_accuracy(findings, operator)
            for name, operator in zip(file_names(operators), operators, strict=True)
        }

    def _mean(self, study: CompletedStudy, key: _Network, values: pd.DataFrame, name: str) -> dict[str, Any]:
        found = self._interval(study, values[name], "mean", *key.labels, name)
        return {**key.columns, "measure": name, **found}

    def _interval(self, study: CompletedStudy, values: pd.Series, *labels: str) -> dict[str, Any]:
        key = stream_key(study.cells[0].spec.seed, "forward_map_accuracy", *labels)
        found = mean_interval(values.to_numpy(dtype=float), self.confidence, self.resamples, key)
        return {"mean": found.mean, "low": found.low, "high": found.high, "images": found.count}

    def _trends(
        self, study: CompletedStudy, networks: Mapping[_Network, pd.DataFrame], noises: list[str]
    ) -> pd.DataFrame:
        """Differences between both ends of each line, over noise and over L, and whether every step goes one way."""
        import pandas as pd

        rows = []
        for over in ("noise", "lipschitz"):
            lines: dict[tuple[Any, ...], list[_Network]] = {}
            for key in networks:
                held = key.lipschitz if over == "noise" else key.noise
                lines.setdefault((key.operator, key.method, held), []).append(key)
            for (operator, method, held), keys in lines.items():
                if len(keys) < 2:
                    continue
                keys.sort(key=lambda one: noises.index(one.noise) if over == "noise" else one.lipschitz)
                for name in MEASURES:
                    if not all(name in _names(networks[key]) for key in keys):
                        continue
                    means = [float(networks[key][name].mean()) for key in keys]
                    change = networks[keys[-1]][name] - networks[keys[0]][name]
                    labels = (over, *keys[-1].labels, name)
                    rows.append(
                        {
                            "operator": operator,
                            "method": method,
                            "over": over,
                            "held": str(held) if over == "noise" else held,
                            "measure": name,
                            "rises": all(b > a for a, b in pairwise(means)),
                            "falls": all(b < a for a, b in pairwise(means)),
                            **self._interval(study, change, *labels),
                        }
                    )
        columns = ["operator", "method", "over", "held", "measure", "rises", "falls", "mean", "low", "high", "images"]
        return pd.DataFrame(rows, columns=columns).astype({"held": object})


@dataclass(frozen=True)
class _Network:
    """One network of the study; L is NaN where a method has no such parameter."""

    operator: str
    noise: str
    method: str
    lipschitz: float

    @property
    def columns(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _KEY}

    @property
    def labels(self) -> tuple[str, ...]:
        return self.operator, self.noise, self.method, f"{self.lipschitz:g}"


def _networks(entries: list[Choice], progress: Progress) -> dict[_Network, pd.DataFrame]:
    """The measures by image of every network.

    Raises:
        SpecError: if there is none.
    """
    found: dict[_Network, pd.DataFrame] = {}
    for entry in entries:
        values = _saved(entry) if entry.cell.analyses("forward_map") else _computed(entry)
        if values is not None:
            key = _Network(entry.operator, entry.noise, entry.method, _lipschitz(entry))
            found[key] = values.set_index("image")
        progress.advance()
    if not found:
        raise SpecError(
            f"no method of {', '.join(dict.fromkeys(entry.method for entry in entries))} has learned a forward map",
            where="methods",
            expected="at least one that has, as iresnet",
        )
    return found


def _lipschitz(entry: Choice) -> float:
    """L of the trained network: a search may have changed it."""
    value = entry.cell.method(entry.method).reconstructor.get("lipschitz")
    return float(value) if isinstance(value, int | float) else np.nan


def _saved(entry: Choice) -> pd.DataFrame | None:
    """What `forward_map` has found of a method; None if it has no forward map."""
    table = entry.cell.analyses("forward_map")[0].findings.tables["accuracy"]
    own = table[table["method"] == entry.method].drop(columns="method")
    return own if len(own) else None


def _computed(entry: Choice) -> pd.DataFrame | None:
    net: Any = entry.cell.result.methods[entry.method].reconstructor
    if not isinstance(net, LearnsForwardMap):
        return None
    images = entry.cell.images()
    device, size = choose_device(entry.cell.device), entry.cell.spec.evaluation.batch_size
    phi, target = (on_all(function, images.images, device, size) for function in (net.forward_map, net.target_operator))
    return accuracy(images.images, images.names, phi, target)


def _names(values: pd.DataFrame) -> list[str]:
    """The measures that there are: small images have no SSIM."""
    return [name for name in MEASURES if values[name].notna().any()]
