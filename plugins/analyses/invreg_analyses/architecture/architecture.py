"""What the networks of a run are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from invreg import Analyzer, Architecture as Description, CompletedRun, Findings, InvregError
from invreg.text import count
from invreg_analyses.architecture.figures import draw_architecture
from invreg_analyses.architecture.seen_layers import seen_architecture
from invreg_analyses.architecture.tables import architecture_tables, read_architectures
from invreg_analyses.shared.style import method_styles
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Architecture(Analyzer):
    """A drawing of each network of the run as it is built: stages, shapes, parameters, repetitions, skips, bounds.

    Networks that describe themselves (`DescribesArchitecture`) are drawn from what they say; parameters that are in
    none of their stages are counted apart. Of other networks one sees the layers at work on the first test measurement:
    their order, shapes and parameters, but nothing of what is done between them. Methods without parameters have no
    network.

    Source: Arndt & Nickel 2024, figure 1 (what such a drawing shows of an iResNet).
    """

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        found: dict[str, Description] = {}
        elsewhere: dict[str, int] = {}
        seen, sentences, without, rows = [], [], [], []
        for label, trained in run.methods.items():
            net = trained.reconstructor
            parameters = sum(parameter.numel() for parameter in net.parameters())
            reason = "" if parameters else "no parameters"
            if parameters:
                try:
                    found[label], describes = _architecture(net, run)
                    elsewhere[label] = _elsewhere(found[label], parameters)
                except InvregError as error:
                    found.pop(label, None)
                    reason = str(error)
            if reason:
                without.append(f"{label} ({reason})")
                source = "none"
            else:
                source = "description" if describes else "layers"
                seen += [] if describes else [label]
                sentences.append(_sentence(label, found[label], parameters, elsewhere[label]))
            rows.append({"method": label, "source": source, "reason": reason, "parameters": parameters})
        if seen:
            sentences.append(
                f"{', '.join(seen)}: drawn from the layers seen at work; what is done between them is not shown."
            )
        if without:
            sentences.append(f"Not drawn: {', '.join(without)}.")
        return Findings(
            tables={
                **architecture_tables(found, elsewhere),
                "networks": pd.DataFrame(rows, columns=["method", "source", "reason", "parameters"]),
                "methods": methods_table(run),
            },
            text=" ".join(sentences),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        styles = method_styles(findings.tables["methods"])
        parameters = findings.tables["networks"].set_index("method")["parameters"]
        found = read_architectures(findings.tables)
        return {
            f"network_{number}": draw_architecture(label, architecture, int(parameters[label]), styles[label].color)
            for number, (label, architecture) in enumerate(found.items(), 1)
        }


def _architecture(net: nn.Module, run: CompletedRun) -> tuple[Description, bool]:
    """The architecture, and whether the network has described it itself."""
    # Asked of the class: a network may well have a part that it calls its architecture.
    if not callable(getattr(type(net), "architecture", None)):
        return seen_architecture(net, run.measurements[:1].to(run.device)), False
    described: Any = net.architecture()  # type: ignore[operator]
    if not isinstance(described, Description):
        raise InvregError(
            f"architecture() gives a {type(described).__name__}",
            where=type(net).__name__,
            expected="an invreg.Architecture",
        )
    return described, True


def _elsewhere(architecture: Description, parameters: int) -> int:
    """The number of parameters that are in no stage.

    Raises:
        InvregError: if the stages have more parameters than the network.
    """
    if architecture.parameters > parameters:
        raise InvregError(
            f"stages with {count(architecture.parameters)} parameters in a network with {count(parameters)}",
            where="architecture",
            expected="each parameter in one stage",
        )
    return parameters - architecture.parameters


def _sentence(label: str, architecture: Description, parameters: int, elsewhere: int) -> str:
    repeated = max(architecture.stages, key=lambda stage: (stage.repeats > 1) * stage.total)
    text = f"{label}: {count(parameters)} parameters"
    if repeated.repeats > 1 and repeated.total:
        share = "all" if repeated.total == parameters else count(repeated.total)
        text += f", {share} of them in {repeated.repeats} repetitions of one stage"
    elif architecture.skips:
        text += f", {len(architecture.stages)} stages with {len(architecture.skips)} skips"
    if elsewhere:
        text += f", {count(elsewhere)} of them in no stage of the drawing"
    if architecture.constraint:
        text += f"; {architecture.constraint}"
    return text + "."
