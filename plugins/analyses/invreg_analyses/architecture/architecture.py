"""Drawings of the networks of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from invreg import Analyzer, Architecture, CompletedRun, Findings, InvregError
from invreg.text import count, plural
from invreg_analyses.architecture.figures import draw_architecture
from invreg_analyses.architecture.seen_layers import seen_architecture
from invreg_analyses.architecture.tables import architecture_tables, read_architectures
from invreg_analyses.shared.style import method_styles
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class ArchitectureAnalysis(Analyzer):
    """A drawing of each network of the run as it is built: stages, shapes, parameters, repetitions, skips, bounds.

    Networks that describe themselves (`DescribesArchitecture`) are drawn from what they say; parameters that are in
    none of their stages are counted apart. Other networks are drawn from the layers that run on the first test
    measurement: their order, shapes and parameters, without the operations between them. Methods without parameters
    are not drawn.

    Source: Arndt & Nickel 2024, figure 1 (what such a drawing shows of an iResNet).
    """

    takes_volumes = True

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        found: dict[str, Architecture] = {}
        elsewhere: dict[str, int] = {}
        rows = []
        for label, trained in run.methods.items():
            net = trained.reconstructor
            parameters = sum(parameter.numel() for parameter in net.parameters())
            source, reason = "none", ""
            try:
                source, architecture = _architecture(net, run, parameters)
                found[label], elsewhere[label] = architecture, parameters - architecture.parameters
            except InvregError as error:
                reason = str(error)
            rows.append({"method": label, "source": source, "reason": reason, "parameters": parameters})
        networks = pd.DataFrame(rows, columns=["method", "source", "reason", "parameters"])
        return Findings(
            tables={**architecture_tables(found, elsewhere), "networks": networks, "methods": methods_table(run)},
            text=_text(networks, found, elsewhere),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        styles = method_styles(findings.tables["methods"])
        parameters = findings.tables["networks"].set_index("method")["parameters"]
        found = read_architectures(findings.tables)
        return {
            f"network_{number}": draw_architecture(label, architecture, int(parameters[label]), styles[label].color)
            for number, (label, architecture) in enumerate(found.items(), 1)
        }


def _architecture(net: nn.Module, run: CompletedRun, parameters: int) -> tuple[str, Architecture]:
    """The source of the architecture ("description" or "layers"), and the architecture.

    Raises:
        InvregError: if there is nothing to draw, or the stages have more parameters than the network.
    """
    if not parameters:
        raise InvregError("no parameters")
    # Asked of the class: a network may well have a part that it calls its architecture.
    if not callable(getattr(type(net), "architecture", None)):
        return "layers", seen_architecture(net, run.measurements[:1].to(run.device))
    described: Any = net.architecture()  # type: ignore[operator]
    if not isinstance(described, Architecture):
        raise InvregError(
            f"architecture() gives a {type(described).__name__}",
            where=type(net).__name__,
            expected="an invreg.Architecture",
        )
    if described.parameters > parameters:
        raise InvregError(
            f"stages with {count(described.parameters)} parameters in a network with {count(parameters)}",
            where="architecture",
            expected="each parameter in one stage",
        )
    return "description", described


def _text(networks: pd.DataFrame, found: Mapping[str, Architecture], elsewhere: Mapping[str, int]) -> str:
    sentences = []
    for label, source, _, parameters in networks.itertuples(index=False):
        if label in found:
            aside = f", {count(elsewhere[label])} of them in no stage of the drawing" if elsewhere[label] else ""
            seen = "; drawn from the layers seen at work, operations between them are not shown"
            more = seen if source == "layers" else f"; {found[label].constraint}" if found[label].constraint else ""
            sentences.append(f"{label}: {plural(parameters, 'parameter')}{aside}{more}.")
    without = [f"{row.method} ({row.reason})" for row in networks.itertuples() if row.reason]
    return " ".join([*sentences, *([f"Not drawn: {', '.join(without)}."] if without else [])])
