"""What the checks of analyses of runs and of studies share: findings, their way through files, their figures."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invreg.components.analyzer import Findings
from invreg.storage.analysis_folder import AnalysisFolder
from invreg.testing.checks import Check, Refused
from invreg.testing.numbers import demand_equal
from invreg.testing.side_effects import check_no_global_state

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SAVEABLE = "scalars and texts, DataFrames with plain columns, NumPy arrays of numbers"


def findings_checks(
    analyze: Callable[[], Findings], draw: Callable[[Findings], Mapping[str, Figure]]
) -> Iterator[Check]:
    """The checks of findings and figures.

    Args:
        analyze: computes the findings, with an analysis made anew each time.
        draw: draws them, with an analysis made anew each time.
    """
    known: list[Findings] = []

    def findings() -> Findings:
        if not known:
            found = analyze()
            if not isinstance(found, Findings):
                raise Refused(f"analyze() gives {type(found).__name__}", "Findings", "return invreg.Findings(...)")
            known.append(found)
        return known[0]

    yield "findings", findings
    if not known:
        return
    yield "save_and_load", lambda: _saved(findings())
    yield "draw_from_files", lambda: _drawn(draw(through_files(findings())))
    yield "findings_unchanged", lambda: _unchanged(through_files(findings()), through_files(findings()), draw)
    yield "figures_closed", lambda: _figures_closed(lambda: draw(analyze()))
    yield "writes_nothing", lambda: _writes_nothing(lambda: draw(analyze()))
    yield (
        "determinism",
        lambda: demand_findings(
            findings(),
            analyze(),
            "two analyses of one",
            "draw random numbers from invreg.generator, with the run's seed",
        ),
    )
    yield "no_global_state", lambda: check_no_global_state(lambda: draw(analyze()))


def through_files(findings: Findings) -> Findings:
    """The findings as a later process reads them."""
    with tempfile.TemporaryDirectory() as folder:
        tested = AnalysisFolder(Path(folder) / "tested")
        tested.write_findings(findings)
        return tested.findings


def _saved(findings: Findings) -> None:
    fix = f"give only what can be saved: {_SAVEABLE}"
    try:
        loaded = through_files(findings)
    except Exception as error:  # noqa: BLE001 (any exception is the finding)
        raise Refused(f"they cannot be saved: {type(error).__name__}: {error}", _SAVEABLE, fix) from None
    demand_findings(findings, loaded, "what is saved and what is loaded", fix)


def _unchanged(given: Findings, same: Findings, draw: Callable[[Findings], Mapping[str, Figure]]) -> None:
    draw(given)
    fix = "work on copies: a report prints the tables and the text of the findings that were drawn"
    demand_findings(same, given, "findings before and after draw()", fix)


def demand_findings(a: Findings, b: Findings, what: str, fix: str) -> None:
    """Refuses findings that are not equal (NaN equals NaN; numbers in tables up to a rounding)."""
    from pandas.testing import assert_frame_equal

    demand_equal(b.text, a.text, f"{what}: the text", fix)
    demand_equal(_comparable(b.scalars), _comparable(a.scalars), f"{what}: the scalars", fix)
    demand_equal(sorted(b.arrays), sorted(a.arrays), f"{what}: the arrays", fix)
    demand_equal(sorted(b.tables), sorted(a.tables), f"{what}: the tables", fix)
    for name, array in a.arrays.items():
        other = np.asarray(b.arrays[name])
        if np.asarray(array).shape != other.shape or not np.array_equal(array, other, equal_nan=True):
            raise Refused(f"{what}: the array {name!r} differs", "the same numbers", fix)
    for name, table in a.tables.items():
        try:
            assert_frame_equal(table.reset_index(drop=True), b.tables[name].reset_index(drop=True), check_dtype=False)
        except AssertionError as error:
            told = " ".join(str(error).split())[:300]
            raise Refused(f"{what}: the table {name!r} differs: {told}", "the same table", fix) from None


def _comparable(scalars: Mapping[str, Any]) -> dict[str, Any]:
    return {name: repr(value) if isinstance(value, float) else value for name, value in scalars.items()}


def _drawn(figures: Mapping[str, Figure]) -> None:
    from matplotlib.figure import Figure

    fix = "draw() returns matplotlib.figure.Figure objects by name, made from the findings alone"
    for name, figure in figures.items():
        if not isinstance(figure, Figure):
            raise Refused(f"the figure {name!r} is a {type(figure).__name__}", "a matplotlib Figure", fix)
        if not name or any(sign in name for sign in '/\\:*?"<>|'):
            raise Refused(f"a figure is called {name!r}", "a name that can be that of a file", fix)
        figure.savefig(io.BytesIO(), format="png", dpi=40)


def _figures_closed(work: Callable[[], object]) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot

    parameters, open_figures = dict(mpl.rcParams), pyplot.get_fignums()
    try:
        work()
        changed = [key for key, value in mpl.rcParams.items() if parameters.get(key) != value]
        opened = [number for number in pyplot.get_fignums() if number not in open_figures]
    finally:
        for number in pyplot.get_fignums():
            if number not in open_figures:
                pyplot.close(number)
        dict.update(mpl.rcParams, parameters)
    if opened:
        raise Refused(
            f"{len(opened)} figures stay open in pyplot", "none", "make matplotlib.figure.Figure(...), not plt.figure()"
        )
    if changed:
        raise Refused(f"rcParams are changed: {', '.join(changed)}", "as before", "use matplotlib.rc_context(...)")


def _writes_nothing(work: Callable[[], object]) -> None:
    said = io.StringIO()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(said):
                work()
        finally:
            os.chdir(before)
        written = sorted(path.name for path in Path(folder).iterdir())
    fix = "return everything as Findings and figures: what runs the analysis saves them"
    if written:
        raise Refused(f"files are written: {', '.join(written)}", "none", fix)
    if said.getvalue().strip():
        raise Refused(f"it prints {said.getvalue().strip()[:80]!r}", "nothing", fix)
