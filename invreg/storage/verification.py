"""What holds in a run or study folder: every sealed file, and every certificate, which is proven again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invreg.errors import InvregError, StoreError
from invreg.storage.analysis_folder import AnalysisFolder
from invreg.storage.certificates import RunCertificates
from invreg.storage.folder import Folder
from invreg.storage.method_folder import MethodFolder
from invreg.storage.run_folder import ANALYSES, METHODS, ResultFolder, RunFolder, holds_study
from invreg.storage.seal import SUFFIX, digest
from invreg.storage.study_folder import StudyFolder

if TYPE_CHECKING:
    import pandas as pd

    from invreg.plugins.registry import Registry

#: States that are not a problem. A foreign file changes nothing: no result is read from it.
GOOD = ("holds", "proven", "foreign")

#: Files that nothing is concluded from, and so are not sealed.
_UNSEALED = frozenset({".lock", "progress.csv", "failure.json", "failure.txt", "certificate-verified.json"})


@dataclass(frozen=True)
class _Check:
    """One row of the table.

    Attributes:
        part: where in the folder.
        what: a stage, a file, a method with a certificate.
        state: one of `GOOD`, or what is wrong.
        advice: what to do about it.
    """

    part: str
    what: str
    state: str
    advice: str = ""


def verify_folder(path: Path, registry: Registry) -> pd.DataFrame:
    """What holds in the folder of a run or a study: the table of `invreg.verify`.

    Raises:
        StoreError: if the folder holds neither.
    """
    import pandas as pd

    root: ResultFolder = StudyFolder(path) if holds_study(path) else RunFolder.existing(path)
    parts = list(_parts(root))
    try:
        is_sealed = root.seals_stages or not root.is_done(root.whole)
    except StoreError:
        is_sealed = True  # what is wrong with the file stands in the table
    advice = "made by an earlier version: run the spec into another folder"
    checks = [] if is_sealed else [_Check(".", root.whole, "unsealed", advice)]
    if not root.is_done(root.whole):
        checks.append(_Check(".", root.whole, "unfinished", "run the same spec again: what is done is kept"))
    checks += [check for folder in parts for check in _stages(folder, _name(folder.path, path), is_sealed)]
    checks += [
        _Check(_name(file.parent, path), file.name, "foreign", "no result depends on it") for file in _foreign(parts)
    ]
    for folder in parts:
        if isinstance(folder, RunFolder):
            checks += _certificates(folder, _name(folder.path, path), registry)
    return pd.DataFrame([asdict(check) for check in checks], columns=["part", "what", "state", "advice"])


def _parts(root: ResultFolder) -> Iterator[Folder]:
    """The folder and all folders in it that have seals of their own."""
    yield root
    yield from (AnalysisFolder(path) for path in _folders(root.path / ANALYSES))
    if isinstance(root, StudyFolder):
        yield from (MethodFolder(path) for path in _folders(root.shared_folder))
        for path in _folders(root.cells_folder):
            yield from _parts(RunFolder(path))
    else:
        yield from (MethodFolder(path) for path in _folders(root.path / METHODS))


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.glob("*") if child.is_dir() and not child.name.startswith("."))


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _stages(folder: Folder, part: str, is_sealed: bool) -> Iterator[_Check]:
    try:
        seals = folder.seals
    except StoreError as error:
        yield _of(error, part)
        return
    for stage in folder.stages:
        if is_sealed and stage not in seals and folder.is_done(stage):
            if isinstance(folder, ResultFolder) and stage == folder.whole:
                yield _Check(part, stage, "unfinished", "run the same spec again: what is done is kept")
            else:
                yield _Check(part, stage + SUFFIX, "missing", folder.remedy(stage))
    for stage, digests in seals.items():
        wrong = [(name, state) for name, value in digests.items() if (state := _state(folder.path / name, value))]
        for name, state in wrong:
            yield _Check(part, name, state, folder.remedy(stage, name))
        if not wrong:
            files = "1 file" if len(digests) == 1 else f"{len(digests)} files"
            yield _Check(part, f"{stage} ({files})", "holds")


def _state(path: Path, expected: str) -> str:
    try:
        return "" if digest(path.read_bytes()) == expected else "changed"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"


def _foreign(parts: list[Folder]) -> list[Path]:
    known: set[Path] = set()
    for folder in parts:
        known |= {folder.path / (stage + SUFFIX) for stage in folder.stages}
        try:
            known |= {folder.path / name for digests in folder.seals.values() for name in digests}
        except StoreError:
            continue
        if isinstance(folder, MethodFolder):
            known |= set(folder.scratch.rglob("*"))
        if not folder.seals:  # not done yet, or from an earlier version
            known |= set(folder.path.glob("*") if isinstance(folder, ResultFolder) else folder.path.rglob("*"))
    files = (path for path in parts[0].path.rglob("*") if not path.is_dir() and path.name not in _UNSEALED)
    return sorted(path for path in files if path not in known)


def _certificates(run: RunFolder, part: str, registry: Registry) -> Iterator[_Check]:
    """Proves the certificates of a run again, from the weights that are there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what is not sealed stands in the table
            methods = run.load("cpu", registry).methods
    except InvregError as error:
        yield _of(error, part)
        return
    certificates = RunCertificates(run, {label: method.reconstructor for label, method in methods.items()})
    for label in certificates:
        what = f"certificate of {label}"
        try:
            found = certificates.kept(label)
        except InvregError as error:
            yield _Check(part, what, "refuted", str(error))
            continue
        if found is not None:
            yield _Check(part, what, "proven", found.sentence)


def _of(error: InvregError, part: str) -> _Check:
    return _Check(part, error.where or "", "unreadable", str(error))
