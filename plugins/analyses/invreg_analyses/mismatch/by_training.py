"""Reconstructions at all noise levels of networks that were trained at each of them, in a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from invreg import CompletedStudy, Findings, SpecError, StudyAnalyzer, choose_device, recorded_warnings, stream_key
from invreg.text import metric_title, number, with_unit
from invreg_analyses.mismatch.figures import draw_trainings
from invreg_analyses.mismatch.levels import Levels, Parameter, level_of, metrics_at
from invreg_analyses.shared.evaluated import as_evaluated
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.statistics import Confidence, Resamples, mean_interval
from invreg_analyses.shared.study_choice import At, Choice, choose, methods_in, metrics_in
from invreg_analyses.shared.style import figures_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_PLACE = ["operator", "method", "trained", "level"]
_INTERVAL = ["mean", "std", "low", "high", "images", "missing"]


class NoiseMismatchByTraining(StudyAnalyzer):
    """Quality over the noise at test time, one curve for each noise level of the training, one panel for each method.

    Every network of the study is tested at every level: those of the study, or `levels`. The noise on an image has the
    same pattern at all levels and in all cells with one seed. What the analysis `noise_mismatch` of a cell has found
    is used; other levels are computed.

    - `means` with confidence intervals over the test images (see `mean_interval`);
    - `losses`: for each level of the study, what a network that was trained at another one loses against that trained
      at this one, image by image, with intervals of their own.

    Raises:
        SpecError: if the study does not vary the level of the noise.
        DataError: if the data set no longer has the images that the study was run with.

    Source: noise at test time other than in training, Arndt & Nickel 2024 (arXiv 2409.13482v3).
    """

    needs_operator = True

    def __init__(
        self,
        levels: Levels = None,
        parameter: Parameter = "std",
        at: At = None,
        confidence: Confidence = 0.95,
        resamples: Resamples = 10_000,
    ) -> None:
        self.levels = levels
        self.parameter = parameter
        self.at = at
        self.confidence = confidence
        self.resamples = resamples

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        choices, metrics = choose(study, self.at), metrics_in(study)
        trained = {
            id(e): level_of(e.cell.problem, self.parameter, "noise_mismatch_by_training") for e in choices.entries
        }
        trainings = sorted(set(trained.values()))
        if len(trainings) < 2:
            raise SpecError(
                f"all networks are trained at {self.parameter} {trainings[0]:g}",
                where="noise_mismatch_by_training",
                expected="a study that varies the level of the noise",
                hint=f"matrix: {{noise.{self.parameter}: [0.01, 0.025, 0.05]}}",
            )
        levels = trainings if self.levels is None else sorted({*trainings, *self.levels})
        progress = Progress(study.events, "noise_mismatch_by_training", "networks", len(choices.entries))
        parts, messages = list["pd.DataFrame"](), list[str]()
        for entry in choices.entries:
            with recorded_warnings(messages):
                found = self._tested(entry, levels)
            place = {"operator": entry.operator, "method": entry.method, "trained": trained[id(entry)]}
            parts.append(found.assign(**place))
            progress.advance()
        names = [name for name in metrics["metric"] if any(name in part for part in parts)]
        values = pd.concat(parts, ignore_index=True)[[*_PLACE, "image", *names]]
        seed = study.cells[0].spec.seed
        means, losses = self._means(values, names, seed), self._losses(values, names, trainings, seed)
        scalars: dict[str, Any] = {"parameter": self.parameter, "confidence": self.confidence}
        tables = {
            "means": means,
            "losses": losses,
            "values": values,
            "methods": methods_in(study),
            "metrics": metrics,
            "operators": pd.DataFrame({"operator": choices.operators}),
        }
        text = [_text(losses, metrics.iloc[0]), choices.in_words]
        text += ["Some reconstructions did not reach their tolerance."] if messages else []
        return Findings(scalars, tables, text=" ".join(filter(None, text)))

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return figures_of(findings.tables["operators"]["operator"], lambda operator: draw_trainings(findings, operator))

    def _tested(self, entry: Choice, levels: list[float]) -> pd.DataFrame:
        """The metrics of a network at all levels: level, image, and a column per metric."""
        import pandas as pd

        known = _known(entry, self.parameter)
        parts = [known[level] for level in levels if level in known]
        missing = [level for level in levels if level not in known]
        if missing:
            cell = entry.cell
            net = cell.result.methods[entry.method].reconstructor
            metrics = {given.name: cell.registry.build("metric", given) for given in cell.spec.metrics}
            size, device = cell.spec.evaluation.batch_size, choose_device(cell.device)
            with as_evaluated(net):
                for level in missing:
                    found = metrics_at(
                        level, self.parameter, cell.problem, net, cell.images(), metrics, cell.spec.seed, size, device,
                        "noise_mismatch_by_training",
                    )  # fmt: skip
                    parts.append(found.assign(level=level))
        return pd.concat(parts, ignore_index=True)

    def _means(self, values: pd.DataFrame, names: list[str], seed: int) -> pd.DataFrame:
        import pandas as pd

        rows = []
        for place, own in values.groupby(_PLACE, sort=False):
            for name in names:
                rows.append(dict(zip(_PLACE, place, strict=True)) | {"metric": name})
                rows[-1] |= self._interval(own[name], "mean", seed, "means", name, *place)
        return pd.DataFrame(rows, columns=[*_PLACE, "metric", *_INTERVAL])

    def _losses(self, values: pd.DataFrame, names: list[str], trainings: list[float], seed: int) -> pd.DataFrame:
        """The network trained at another level minus the one trained at this level, image by image."""
        import pandas as pd

        rows = []
        tested = values[values["level"].isin(trainings)]
        for (operator, method, level), own in tested.groupby(["operator", "method", "level"], sort=False):
            matched = own[own["trained"] == level].set_index("image")
            for training, other in own[own["trained"] != level].groupby("trained"):
                if matched.empty:
                    continue
                for name in names:
                    difference = (other.set_index("image")[name] - matched[name]).dropna()
                    place = (operator, method, training, level)
                    rows.append(dict(zip(_PLACE, place, strict=True)) | {"metric": name})
                    rows[-1] |= self._interval(difference, "difference", seed, "losses", name, *place)
        columns = ["difference" if name == "mean" else name for name in _INTERVAL]
        return pd.DataFrame(rows, columns=[*_PLACE, "metric", *columns])

    def _interval(self, values: pd.Series, column: str, seed: int, *names: Any) -> dict[str, Any]:
        key = stream_key(seed, "noise_mismatch_by_training", *map(str, names))
        return mean_interval(values.to_numpy(float), self.confidence, self.resamples, key).row(column)


def _known(entry: Choice, parameter: str) -> dict[float, pd.DataFrame]:
    """What the analysis `noise_mismatch` of the cell has found for a method, by level."""
    found: dict[float, pd.DataFrame] = {}
    for folder in entry.cell.analyses("noise_mismatch"):
        findings = folder.findings
        if findings.scalars["parameter"] == parameter:
            own = findings.tables["values"]
            own = own[own["method"] == entry.method].drop(columns="method")
            found |= {float(level): part for level, part in own.groupby("level")}
    return found


def _text(losses: pd.DataFrame, metric: pd.Series) -> str:
    """The mean loss of each method where the noise is lower, and where it is higher than in training."""
    unit, name = metric["unit"], metric_title(metric["metric"])
    own = losses[losses["metric"] == metric["metric"]]
    sentences = []
    for sign, word in ((1, "higher"), (-1, "lower")):
        side = own[sign * (own["level"] - own["trained"]) > 0]
        means = side.groupby("method", sort=False)["difference"].mean()
        listed = ", ".join(
            f"{label} {with_unit(number(float(value), unit, signed=True), unit)}" for label, value in means.items()
        )
        if listed:
            sentences.append(
                f"Where the noise is {word} than in training, mean {name} against a training at that noise: {listed}."
            )
    return " ".join(sentences)
