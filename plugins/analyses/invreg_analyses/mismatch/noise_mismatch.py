"""Reconstructions of measurements whose noise is not that of the training, in one run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from invreg import Analyzer, CompletedRun, Findings, Problem, Splits, recorded_warnings, stream_key
from invreg.text import metric_title, number, plural, with_unit
from invreg_analyses.mismatch.figures import draw_over_levels
from invreg_analyses.mismatch.levels import Levels, Parameter, all_levels, at_level, level_of, metrics_at
from invreg_analyses.shared.evaluated import as_evaluated
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import Confidence, Resamples, mean_interval
from invreg_analyses.shared.tables import methods_table, metrics_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MEANS = ("method", "metric", "level", "mean", "std", "low", "high", "images", "missing")


class NoiseMismatch(Analyzer):
    """How good are reconstructions where the noise at test time is not that of the training?

    The test images are measured again with other noise levels and reconstructed by the methods as they are. Each image
    draws from the stream that it has in the run, so that a level changes the size of the noise and not its pattern
    (with Gaussian noise), and the level of the run gives the measurements of the run. For every method, metric and
    level, `means` holds the mean over the test images with a confidence interval (see `mean_interval`).

    Raises:
        SpecError: if the noise of the run does not have the parameter, or not these values of it.

    Source: noise at test time other than in training, Arndt & Nickel 2024 (arXiv 2409.13482v3).
    """

    needs_operator = True

    def __init__(
        self,
        levels: Levels = None,
        parameter: Parameter = "std",
        confidence: Confidence = 0.95,
        resamples: Resamples = 10_000,
    ) -> None:
        self.levels = levels
        self.parameter = parameter
        self.confidence = confidence
        self.resamples = resamples

    def check(self, problem: Problem, images: Splits, metrics: Collection[str]) -> None:
        for level in all_levels(level_of(problem, self.parameter, "noise_mismatch"), self.levels):
            at_level(problem, self.parameter, level, "noise_mismatch")

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        trained = level_of(run.problem, self.parameter, "noise_mismatch")
        levels = all_levels(trained, self.levels)
        progress = Progress(run.events, "noise_mismatch", "levels", len(run.methods) * len(levels))
        parts, messages = list["pd.DataFrame"](), list[str]()
        for label, method in run.methods.items():
            net = method.reconstructor
            with recorded_warnings(messages), as_evaluated(net):
                for level in levels:
                    found = metrics_at(
                        level, self.parameter, run.problem, net, run.images.test, run.metric_components,
                        run.seed, run.batch_size, run.device, "noise_mismatch",
                    )  # fmt: skip
                    parts.append(found.assign(method=label, level=level))
                    progress.advance()
        values = pd.concat(parts, ignore_index=True)[["method", "level", "image", *run.metric_components]]
        metrics = metrics_table(run)
        rows = []
        for (label, level), own in values.groupby(["method", "level"], sort=False):
            for name in metrics["metric"]:
                key = stream_key(run.seed, "noise_mismatch", str(label), name, number(float(level)))
                interval = mean_interval(own[name].to_numpy(float), self.confidence, self.resamples, key)
                rows.append({"method": label, "metric": name, "level": level, **interval.row()})
        means = pd.DataFrame(rows, columns=_MEANS)
        scalars: dict[str, Any] = {
            "trained_level": trained,
            "parameter": self.parameter,
            "confidence": self.confidence,
            "images": len(run.images.test),
        }
        tables = {"means": means, "values": values, "methods": methods_table(run), "metrics": metrics}
        return Findings(scalars, tables, text=_text(means, metrics.iloc[0], scalars, messages))

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {"over_levels": draw_over_levels(findings)}


def _text(means: pd.DataFrame, metric: pd.Series, scalars: Mapping[str, Any], messages: list[str]) -> str:
    """Each method at the level of the training and at the highest one, and the best method of each level."""
    own = means[means["metric"] == metric["metric"]].pivot(index="level", columns="method", values="mean")
    own = own[list(dict.fromkeys(means["method"]))]
    trained, unit, name = float(scalars["trained_level"]), metric["unit"], metric_title(metric["metric"])
    highest = float(own.index.max())

    def written(value: float) -> str:
        return with_unit(number(value, unit), unit)

    ends = ", ".join(
        f"{label} from {written(own.loc[trained, label])} to {written(own.loc[highest, label])}" for label in own
    )
    known = own.dropna(how="all")
    best = known.idxmax(axis=1) if metric["higher_is_better"] else known.idxmin(axis=1)
    at_level = ", ".join(f"{label} at {level:g}" for level, label in best.items())
    sentences = [
        f"Trained for noise of {scalars['parameter']} {trained:g}. From there to {highest:g} the mean {name} of "
        f"{plural(int(scalars['images']), 'test image')} goes: {ends}.",
        f"Best: {at_level}.",
    ]
    if messages:
        sentences.append("Some reconstructions did not reach their tolerance.")
    return " ".join(sentences)
