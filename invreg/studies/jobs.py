"""The jobs of a study: its cells, and the methods that cells share, each carried out by a process of its own.

A job reads the spec that lies in its folder, and never plans the study. What it did stands in that folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from invreg.computing.device import choose_device
from invreg.computing.processes import processes
from invreg.errors import InvregError, StoreError
from invreg.plugins.registry import Registry
from invreg.plugins.tracking import open_trackers
from invreg.running.agreement import check_agreement
from invreg.running.shared_work import SharedWork, method_digest
from invreg.running.single import RunOptions, check_plan, run_plan
from invreg.specs.plan import Plan, make_plan
from invreg.storage.method_folder import MethodFolder
from invreg.storage.run_folder import RunFolder, holds_study
from invreg.storage.study_folder import StudyFolder
from invreg.studies.status import Record

if TYPE_CHECKING:
    from invreg.specs.spec import Spec

#: Names of jobs that are not cells begin with this, followed by the digest of the method.
_SHARED = "shared-"


def shared_job_name(plan: Plan, label: str) -> str:
    """The name of the job that trains and evaluates a method for all cells that share it."""
    return _SHARED + method_digest(plan, label)


def shared_spec(spec: Spec, label: str) -> Spec:
    """The spec of a run that makes one method as a cell would: it has the same digest there."""
    return spec.model_copy(
        update={"title": f"shared by cells: {label}", "methods": {label: spec.methods[label]}, "analyses": []}
    )


def is_shared(name: str) -> bool:
    """Whether a job is about work that cells share."""
    return name.startswith(_SHARED)


def job_folder(study: StudyFolder, name: str) -> RunFolder:
    """Where the spec of a job lies, and where it is carried out."""
    return RunFolder((study.jobs_folder if is_shared(name) else study.cells_folder) / name)


def is_finished(study: StudyFolder, name: str) -> bool:
    """Whether all of a job is done."""
    if is_shared(name):
        return bool(MethodFolder(study.shared_folder / name.removeprefix(_SHARED)).seals)
    folder = job_folder(study, name)
    return folder.is_finished and folder.failure is None


def carry_out(path: Path, name: str, device: str, track: Sequence[str], registry: Registry) -> bool:
    """Carries out a job of a study, in this process, or in this and those that were started with it.

    Returns:
        Whether it is finished now. If it failed, the failure is written into its folder; if shared work that it needs
        is not there, nothing is done.

    Raises:
        StoreError: if the study or the job is not there.
        KeyboardInterrupt: after a signal; what was done is kept.
    """
    together, study = processes(), _study_at(path)
    folder = job_folder(study, name)
    if not (folder.path / "spec.yaml").is_file():
        raise StoreError(f"there is no job {name!r} in this study", where=str(path), expected="the name of a cell")
    if together.from_main(lambda: is_finished(study, name)):
        return True
    try:
        plan = make_plan(folder.spec, registry)
        _check_unchanged(plan, folder)
        if together.from_main(lambda: not is_shared(name) and bool(_missing(study, plan))):
            return False
        options = RunOptions(folder.path.parent, choose_device(device), tracked=track, waits=True)
        check_agreement(plan.spec.model_dump(mode="json"), options.device)
        # Shared work keeps its method; that of a cell is its own.
        shared = SharedWork(study.shared_folder, keeps=is_shared(name))
        together.from_main(folder.clear_failure)
        record = Record(study.jobs_folder / f"{name}.json") if together.is_main else None
        with open_trackers(registry, track if together.is_main else ()) as trackers, record or nullcontext():
            inputs = check_plan(plan, options.device, shared)
            run_plan(plan, inputs, options, shared, trackers, folder, [record] if record else [])
    except KeyboardInterrupt:
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the result of this job)
        together.failed_alike(error)
        together.from_main(partial(folder.write_failure, error))
        return False
    together.from_main(folder.clear_failure)
    return True


def _study_at(path: Path) -> StudyFolder:
    if not holds_study(path):
        raise StoreError(
            "holds no study (study.yaml is not there)" if path.is_dir() else "no such folder on this machine",
            where=str(path),
            expected="the study folder, which whoever computes its cells has to see under the same path",
            hint="a folder that all machines share, as --output",
        )
    return StudyFolder(path)


def _check_unchanged(plan: Plan, folder: RunFolder) -> None:
    """The spec in the folder of a job is still the one that the study planned, and means the same here."""
    name = folder.path.name
    digest = method_digest(plan, next(iter(plan.methods))) if is_shared(name) else plan.digest[:8]
    if not name.endswith(digest):
        raise InvregError(
            "the spec is not the one that this folder is named after",
            where=str(folder.path / "spec.yaml"),
            expected=f"a spec whose digest is {name.rpartition('-')[2]}, not {digest}",
            hint="run the study again; the same versions of invreg and its plugins on all machines",
        )


def _missing(study: StudyFolder, plan: Plan) -> list[str]:
    """Jobs of shared work that were planned for a cell and are not finished."""
    names = [shared_job_name(plan, label) for label in plan.methods]
    return [name for name in names if job_folder(study, name).path.is_dir() and not is_finished(study, name)]
