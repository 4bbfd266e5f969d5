"""The folder of one analysis of a run or a study: findings, figures, and why it failed."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from invreg.components.analyzer import Analyzer, CompletedRun, Findings
from invreg.components.study_analyzer import CompletedStudy, StudyAnalyzer
from invreg.errors import StoreError
from invreg.plugins.registry import spec_of
from invreg.storage.folder import Folder, Stage, json_bytes, table_bytes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from invreg.plugins.registry import Registry

_FINDINGS, _FIGURES = "findings.json", "figures.json"
_ANALYZER, _LEFT_OUT = "analyzer.json", "left_out.json"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]*")


@dataclass(frozen=True)
class _FindingsFile:
    """Findings without their tables and arrays: of each table the columns that hold text, of each array its name."""

    text: str
    scalars: dict[str, Any]
    tables: dict[str, list[str]]
    arrays: list[str]


@dataclass(frozen=True)
class SavedFigure:
    """A figure as SVG, PNG or both; `caption` says in words what it shows."""

    name: str
    caption: str
    svg: bytes | None = None
    png: bytes | None = None


class AnalysisFolder(Folder):
    """The folder of an analysis.

    ```text
    analyzer.json  left_out.json                    what was asked; the methods that could not be analysed
    findings.json  tables/*.csv  arrays.npz         what was found
    figures.json   figures/*.svg  figures/*.png     how it is drawn
    failure.json                                    if it failed
    findings.sha256  figures.sha256                 the seals of these stages
    ```
    """

    stages: ClassVar[Mapping[str, Stage]] = {
        "findings": Stage(
            _FINDINGS,
            "the file as it was, or delete the folder {path} and run the same spec again: this analysis is made anew",
        ),
        "figures": Stage(_FIGURES, "`invreg report` on the run or study: it draws the figures anew"),
    }

    @property
    def key(self) -> str:
        """Its name in the run or the study."""
        return self.path.name

    @property
    def is_made(self) -> bool:
        """Whether the findings are there."""
        return self.is_done("findings")

    @property
    def analyzer(self) -> dict[str, Any]:
        """The spec of the analyzer that made the findings: `name` and all parameters; empty if it was not kept."""
        return self.read_as(_ANALYZER, dict[str, Any]) if self.has(_ANALYZER) else {}

    @property
    def left_out(self) -> dict[str, str]:
        """The methods that were not analysed, and what they lack. Analyses of studies choose their methods in words."""
        return self.read_as(_LEFT_OUT, dict[str, str]) if self.has(_LEFT_OUT) else {}

    @property
    def findings(self) -> Findings:
        """The findings.

        Raises:
            StoreError: if they are missing or broken.
        """
        import numpy as np

        content = self.read_as(_FINDINGS, _FindingsFile)
        for name in content.tables:
            self._check_name("table", name)
        tables = {
            name: self.read_numbers(f"tables/{name}.csv", text, may_be_empty=True)
            for name, text in content.tables.items()
        }

        def arrays(file: bytes) -> dict[str, Any]:
            with np.load(io.BytesIO(file), allow_pickle=False) as archive:
                return {name: archive[name] for name in content.arrays}

        return Findings(content.scalars, tables, self.read("arrays.npz", arrays), content.text)

    @property
    def figures(self) -> list[SavedFigure]:
        """The figures in the order in which they were drawn; the caption is the title that the SVG carries.

        Raises:
            StoreError: if there are no findings or they have not been drawn.
        """
        figures = []
        for name in self.read_as(_FIGURES, list[str]):
            self._check_name("figure", name)
            svg, png = (self._bytes(f"figures/{name}.{suffix}") for suffix in ("svg", "png"))
            found = re.search(rb"<title>(.*?)</title>", svg or b"", re.DOTALL)
            figures.append(SavedFigure(name, html.unescape(found.group(1).decode()) if found else "", svg, png))
        return figures

    # -- making, drawing

    def make(
        self,
        analyzer: Analyzer | StudyAnalyzer,
        subject: CompletedRun | CompletedStudy,
        registry: Registry,
        *,
        anew: bool = False,
    ) -> Findings | None:
        """Analyses, saves the findings and draws them as they are read back; what is there already is kept.

        Findings of an analyzer with other parameters are not kept. What the analysis raises is recorded as its failure,
        so that it costs neither the others nor the report.

        Args:
            analyzer: an `Analyzer` for a run, a `StudyAnalyzer` for a study.
            subject: what it analyses.
            registry: knows the name of the analyzer.
            anew: whether findings of the same analyzer are not kept either.

        Returns:
            The findings; None if the analysis failed.
        """
        try:
            spec = spec_of(analyzer, registry)
            if anew or not self.is_made or self.analyzer != spec:
                self._analyse(analyzer, subject, spec)
            findings = self.findings
            if not self.is_done("figures"):
                self.write_figures(analyzer.draw(findings))
        except Exception as error:  # noqa: BLE001 (an analysis may be anyone's code)
            self.write_failure(error)
            return None
        self.clear_failure()
        return findings

    def redraw(self, analyzer: Analyzer | StudyAnalyzer) -> str | None:
        """Draws the figures again from the findings, if there are any.

        Returns:
            Why they could not be drawn, which is recorded as the failure; None if they are.
        """
        if not self.is_made:
            return None
        try:
            self.drop_broken_seal("figures")
            self.write_figures(analyzer.draw(self.findings))
        except Exception as error:  # noqa: BLE001 (an analysis may be anyone's code)
            return self.write_failure(error)
        self.clear_failure()
        return None

    def _analyse(self, analyzer: Any, subject: Any, spec: Mapping[str, Any]) -> None:
        try:
            findings = analyzer.analyze(subject)
        finally:
            # Also if it fails: what was found with other parameters or for other cells is not its result.
            self.remove(_FINDINGS, _FIGURES)
        further = {_ANALYZER: json_bytes(spec)}
        if isinstance(analyzer, Analyzer):
            further[_LEFT_OUT] = json_bytes(analyzer.left_out(subject))
        self.write_findings(findings, further)

    # -- writing

    def write_findings(self, findings: Findings, further: Mapping[str, bytes] | None = None) -> None:
        """Saves findings; `findings.json` marks them as whole.

        Args:
            findings: what was found.
            further: files that belong to them, by name.

        Raises:
            StoreError: if the name of a table cannot name a file.
        """
        import numpy as np

        for name in findings.tables:
            self._check_name("table", name)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **findings.arrays)  # type: ignore[arg-type]
        # CSV does not say which columns hold text: this does.
        text = {name: _text_columns(table) for name, table in findings.tables.items()}
        names = {"tables": text, "arrays": list(findings.arrays)}
        files = {
            **(further or {}),
            **{f"tables/{name}.csv": table_bytes(table) for name, table in findings.tables.items()},
            "arrays.npz": buffer.getvalue(),
            _FINDINGS: json_bytes({"text": findings.text, "scalars": findings.scalars, **names}),
        }
        self.write_stage("findings", files)

    def write_figures(self, figures: Mapping[str, Figure]) -> None:
        """Saves figures as SVG and PNG; `figures.json` marks them as whole.

        Raises:
            StoreError: if the name of a figure cannot name a file.
        """
        from matplotlib import rc_context

        for name in figures:
            self._check_name("figure", name)
        files = {}
        for name, figure in figures.items():
            engine = figure.get_layout_engine()
            if engine is not None:  # once, not for each format: it takes a third of the time
                engine.execute(figure)
                figure.set_layout_engine("none")
            for suffix in ("svg", "png"):
                buffer = io.BytesIO()
                # Text stays text, and nothing in the file depends on the time or a random salt.
                with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
                    # A figure's label says in words what it shows; reports use it as caption and alternative text.
                    title = {"Title": figure.get_label()} if figure.get_label() else {}
                    metadata = {**title, "Date": None} if suffix == "svg" else title
                    figure.savefig(buffer, format=suffix, dpi=160, metadata=metadata)
                files[f"figures/{name}.{suffix}"] = buffer.getvalue()
        self.write_stage("figures", {**files, _FIGURES: json_bytes(list(figures))})

    def _bytes(self, name: str) -> bytes | None:
        return self.read(name, bytes) if self.has(name) else None

    def _check_name(self, kind: str, name: str) -> None:
        """Names come from anybody's analyses, and files named after them belong into the folder of the analysis."""
        if not _FILE_NAME.fullmatch(name) or name.endswith((".", " ")):
            raise StoreError(
                f"the {kind} {name!r} cannot name a file",
                where=f"the findings of {self.key!r}",
                expected="letters, digits, space and _ . + -, beginning with a letter or digit",
            )


def _text_columns(table: pd.DataFrame) -> list[str]:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return [str(name) for name, dtype in table.dtypes.items() if not (is_numeric_dtype(dtype) or is_bool_dtype(dtype))]
