"""Distances of learned forward maps from the operator over noise levels and Lipschitz parameters."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

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
from invreg_analyses.forward_map.accuracy_figures import MEASURES, accuracy_text, draw_accuracy
from invreg_analyses.forward_map.forward_map import accuracy, on_all
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import Confidence, Resamples, mean_interval
from invreg_analyses.shared.study_choice import At, Choice, choose, methods_in
from invreg_analyses.shared.style import figures_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_TRENDS = ["operator", "method", "over", "held", "measure", "rises", "falls", "mean", "low", "high", "images"]


class ForwardMapAccuracy(StudyAnalyzer):
    """MSE, SSIM and relative distance between phi(x) and F(x), over noise levels and Lipschitz parameters.

    For every method with a learned forward map phi, in every cell, on the test images x; F is the operator that phi
    approximates. Where a cell has findings of the analysis `forward_map`, these are used. Means over the images have
    confidence intervals (see `mean_interval`).

    `trends` holds the differences of each measure, image by image, from the lowest noise level to the highest at each
    L, and from the smallest L to the largest at each noise level.

    Raises:
        SpecError: if no method has learned a forward map.
        DataError: if the data set no longer has the images of the study, and they are needed.

    Source: Arndt & Nickel 2024, figure 9.
    """

    needs_operator = True

    def __init__(self, at: At = None, confidence: Confidence = 0.95, resamples: Resamples = 10_000) -> None:
        self.at = at
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        choices = choose(study, self.at, [path for path in study.axes if path.endswith(".lipschitz")])
        progress = Progress(study.events, "forward_map_accuracy", "networks", len(choices.entries))
        networks = _networks(choices.entries, progress)
        means = [
            {**key._asdict(), "measure": name, **self._interval(study, values[name], "mean", *key.labels, name)}
            for key, values in networks.items()
            for name in _names(values)
        ]
        operators = [operator for operator in choices.operators if any(key.operator == operator for key in networks)]
        tables = {
            "means": pd.DataFrame(means, columns=[*_Network._fields, "measure", "mean", "low", "high", "images"]),
            "trends": self._trends(study, networks, choices.noises),
            "methods": methods_in(study),
            "operators": pd.DataFrame({"operator": operators}),
            "noises": pd.DataFrame({"noise": choices.noises}),
        }
        scalars: dict[str, float | int | str | bool] = {"noise": choices.noise_title, "confidence": self.confidence}
        return Findings(scalars, tables, text=f"{accuracy_text(tables['means'])} {choices.in_words}".strip())

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return figures_of(findings.tables["operators"]["operator"], lambda operator: draw_accuracy(findings, operator))

    def _interval(self, study: CompletedStudy, values: pd.Series, *labels: str) -> dict[str, Any]:
        key = stream_key(study.cells[0].spec.seed, "forward_map_accuracy", *labels)
        return mean_interval(values.to_numpy(dtype=float), self.confidence, self.resamples, key).row()

    def _trends(
        self, study: CompletedStudy, networks: Mapping[_Network, pd.DataFrame], noises: list[str]
    ) -> pd.DataFrame:
        """Differences between both ends of each line, over noise and over L, and whether every step goes one way."""
        import pandas as pd

        rows = []
        for over, held in (("noise", "lipschitz"), ("lipschitz", "noise")):
            lines: dict[tuple[str, str, str | float], list[_Network]] = {}
            for key in networks:
                lines.setdefault((key.operator, key.method, getattr(key, held)), []).append(key)
            for (operator, method, value), keys in lines.items():
                keys.sort(key=lambda one: noises.index(one.noise) if over == "noise" else one.lipschitz)
                for name in MEASURES if len(keys) > 1 else ():
                    if not all(name in _names(networks[key]) for key in keys):
                        continue
                    steps = list(pairwise(float(networks[key][name].mean()) for key in keys))
                    change = networks[keys[-1]][name] - networks[keys[0]][name]
                    line = {"operator": operator, "method": method, "over": over, "held": str(value), "measure": name}
                    monotone = {"rises": all(b > a for a, b in steps), "falls": all(b < a for a, b in steps)}
                    rows.append(line | monotone | self._interval(study, change, over, *keys[-1].labels, name))
        return pd.DataFrame(rows, columns=_TRENDS).astype({"held": object})


class _Network(NamedTuple):
    """One network of the study; L is NaN where a method has no such parameter."""

    operator: str
    noise: str
    method: str
    lipschitz: float

    @property
    def labels(self) -> tuple[str, ...]:
        return self.operator, self.noise, self.method, f"{self.lipschitz:g}"


def _networks(entries: list[Choice], progress: Progress) -> dict[_Network, pd.DataFrame]:
    """The measures of every network by image.

    Raises:
        SpecError: if there is none.
    """
    found: dict[_Network, pd.DataFrame] = {}
    for entry in entries:
        values = _saved(entry) if entry.cell.analyses("forward_map") else _computed(entry)
        if values is not None:
            # Of the trained network: a search may have changed L.
            value = entry.cell.method(entry.method).reconstructor.get("lipschitz")
            lipschitz = float(value) if isinstance(value, int | float) else np.nan
            found[_Network(entry.operator, entry.noise, entry.method, lipschitz)] = values.set_index("image")
        progress.advance()
    if not found:
        raise SpecError(
            f"no method of {', '.join(dict.fromkeys(entry.method for entry in entries))} has learned a forward map",
            where="methods",
            expected="at least one that has, as iresnet",
        )
    return found


def _saved(entry: Choice) -> pd.DataFrame | None:
    """The findings of `forward_map` about a method; None if it has no forward map."""
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
