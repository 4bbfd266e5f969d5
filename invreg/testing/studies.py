"""Checks of analyses of studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from invreg.components.analyzer import Findings
from invreg.components.study_analyzer import CompletedStudy, StudyAnalyzer
from invreg.testing.checks import Check, instance_of, run_checks, title_of
from invreg.testing.constructors import constructor_checks, rebuilt
from invreg.testing.findings import findings_checks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_study_analyzer(analyzer: StudyAnalyzer | type[StudyAnalyzer], study: CompletedStudy | None = None) -> None:
    """Checks that findings of a study can be saved and drawn from files, and that nothing else is done.

    Args:
        analyzer: an instance, or a class that can be built without arguments.
        study: a finished study to analyse, a small one. What varies in a study decides what there is to see, so there
            is none by default, and then only the constructor is checked.

    Raises:
        CheckFailure: an `AssertionError` that names each failed check.
    """
    tested: StudyAnalyzer = instance_of(analyzer, StudyAnalyzer)  # type: ignore[type-abstract]
    run_checks(title_of(analyzer), _checks(tested, study))


def _checks(analyzer: StudyAnalyzer, study: CompletedStudy | None) -> Iterator[Check]:
    if study is not None:
        finished = study

        def analyze() -> Findings:
            return cast(StudyAnalyzer, rebuilt(analyzer)).analyze(finished)

        def draw(findings: Findings) -> Mapping[str, Figure]:
            return cast(StudyAnalyzer, rebuilt(analyzer)).draw(findings)

        yield from findings_checks(analyze, draw)
    yield from constructor_checks(analyzer)
