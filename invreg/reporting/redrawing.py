"""Figures and reports made anew from what is saved; nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from invreg.errors import InvregError
from invreg.reporting.report import write_report
from invreg.specs.plan import make_plan
from invreg.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from invreg.components.analyzer import Analyzer
    from invreg.components.study_analyzer import StudyAnalyzer
    from invreg.plugins.registry import Registry


def redraw_run(folder: Path, registry: Registry) -> Path:
    """The figures and the report of a run.

    Returns:
        The report.

    Raises:
        StoreError: if the folder holds no run, or an unfinished one.
        InvregError: if figures could not be drawn; all others are, and the report says why.
    """
    store = RunFolder.existing(folder)
    plan = make_plan(store.spec, registry)
    with store.locked():
        problems = redraw_figures(store, plan.analyses)
        report = write_report(store, plan)
    fail_with(problems, store.path)
    return report


def redraw_figures(store: RunFolder, analyzers: Mapping[str, Analyzer] | Mapping[str, StudyAnalyzer]) -> list[str]:
    """Draws the figures of all findings of a run or study folder.

    Returns:
        What could not be drawn, and why; the same lies in each `failure.txt`.
    """
    problems = []
    for key, analyzer in analyzers.items():
        base = Path("analyses") / key
        if not store.has(base / "findings.json"):
            continue
        try:
            store.write_figures(key, analyzer.draw(store.read_findings(key)))
        except Exception as error:  # noqa: BLE001 (an analysis may be anyone's code)
            problems.append(f"{key}: {store.write_failure(base, error)}")
        else:
            store.clear_failure(base)
    return problems


def fail_with(problems: list[str], folder: Path) -> None:
    """Raises an InvregError that lists the problems, if there are any."""
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise InvregError(f"not everything could be drawn again{lines}", where=str(folder), hint="the rest is done")
