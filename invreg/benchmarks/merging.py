"""Results of a suite that were made elsewhere: verified, compared with what is asked for here, and taken over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.benchmarks.leaderboard import Entry
from invreg.benchmarks.plan import LABEL, PROBLEM, SEED, LeftOut
from invreg.benchmarks.suite import differences
from invreg.benchmarks.violation import stop_at_violation
from invreg.errors import StoreError, nothing_computed
from invreg.storage.run_folder import STUDY_SPEC, RunFolder, holds_study
from invreg.storage.study_cell import StudyCell
from invreg.storage.study_folder import StudyFolder
from invreg.storage.verification import GOOD, verify_folder

if TYPE_CHECKING:
    from invreg.benchmarks.plan import BenchmarkPlan

#: Differences that an error names.
_SHOWN = 5


def merged(path: Path, plan: BenchmarkPlan) -> tuple[list[Entry], list[LeftOut]]:
    """The finished runs of another folder of the same suite, and the methods that were left out there.

    Args:
        path: the folder of a benchmark.
        plan: of the benchmark that they are to join.

    Raises:
        StoreError: if it is no such folder, does not hold what its seals say, or was made with other images or another
            version of the suite: the message has the difference.
        BoundViolation: if an attack there found more than a proven bound allows.
    """
    if not holds_study(path):
        raise nothing_computed(
            StoreError(
                "holds no benchmark" if path.is_dir() else "no such folder",
                where=str(path),
                expected="the folder that `invreg benchmark` names when it ends",
            )
        )
    folder = StudyFolder(path)
    content = folder.content
    terms, pixels = content.get("terms"), content.get("pixels")
    if not isinstance(terms, dict) or not isinstance(pixels, dict):
        raise StoreError("holds a study that is no benchmark", where=str(path), expected="a folder of the same suite")
    _refuse(list(differences(dict(plan.terms), terms)), path, "another version of the suite", "the same suite and size")
    _verify(path, plan)
    try:
        cells = folder.cells(folder.record, plan.registry)
        asked = [cell for cell in cells if cell.failure is None and cell.values[PROBLEM] in plan.pixels]
        places = [(str(cell.values[PROBLEM]), str(cell.values[LABEL]), int(cell.values[SEED])) for cell in asked]
        left_out = [LeftOut(str(problem), str(label), str(why)) for problem, label, why in content["left_out"]]
    except (KeyError, TypeError, ValueError):  # sealed, but by someone else's program
        raise StoreError("is not what a benchmark writes", where=str(path / STUDY_SPEC)) from None
    for cell, place in zip(asked, places, strict=True):
        _check_cell(cell, place, path, plan)
        stop_at_violation(cell.folder, path)
    entries = [Entry(cell, path.name) for cell in asked]
    return entries, [one for one in left_out if one.problem in plan.pixels]


def _refuse(found: list[str], path: Path, what: str, expected: str) -> None:
    if found:
        shown = "; ".join(found[:_SHOWN]) + (f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        raise StoreError(f"made with {what}: {shown}", where=str(path), expected=expected)


def _verify(path: Path, plan: BenchmarkPlan) -> None:
    """Compares every file with its seal, and proves every certificate again."""
    table = verify_folder(path, plan.registry)
    bad = table[~table["state"].isin(GOOD)].to_dict("records")
    if bad:
        first = bad[0]
        raise StoreError(
            f"does not hold: {first['part']}/{first['what']}: {first['state']}"
            + (f"; and {len(bad) - 1} more" if len(bad) > 1 else ""),
            where=str(path),
            expected="a folder in which `invreg verify` finds nothing wrong",
            hint=str(first["advice"]) or None,
        )


def _check_cell(cell: StudyCell, place: tuple[str, str, int], path: Path, plan: BenchmarkPlan) -> None:
    """Compares the run of a cell, whose spec and images it holds itself, with what is asked for here.

    Args:
        cell: the cell.
        place: its problem, label and seed.
        path: of the folder that is merged.
        plan: of the benchmark here.
    """
    problem, label, seed = place
    asked = plan.terms["problems"][problem]
    spec = cell.spec.model_dump(mode="json")
    theirs: dict[str, Any] = {key: spec[key] for key in ("data", "operator", "noise", "metrics")}
    ours = {**{key: asked[key] for key in ("data", "operator", "noise")}, "metrics": plan.terms["metrics"]}
    ours["attack"], theirs["attack"] = plan.terms["attack"], spec["analyses"][0] if spec["analyses"] else None
    ours |= {"seed": seed, "methods": [label]}
    theirs |= {"seed": spec["seed"], "methods": list(spec["methods"])}
    where = path / cell.folder.name
    _refuse(list(differences(ours, theirs)), where, "another version of the suite", "the terms of this suite")
    pixels = RunFolder(cell.folder).identity.pixels
    if pixels != plan.pixels[problem]:
        text = f"the hash of all pixels is {pixels} there, {plan.pixels[problem]} here"
        _refuse([text], where, "other images", "the same images")
    for own in plan.cells:
        if (own.values[PROBLEM], own.values[LABEL], own.values[SEED]) == (problem, label, seed):
            mine = own.plan.spec.model_dump(mode="json")["methods"]
            expected = "the same method under the same label, or another label: --set 'methods.other=...'"
            _refuse(list(differences(mine, spec["methods"], "methods")), where, f"another {label!r}", expected)
