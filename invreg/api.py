"""What can be done with specs and run folders: run, load, redraw, certify, verify."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.computing.device import choose_device
from invreg.computing.interruption import interruptible
from invreg.computing.processes import processes
from invreg.computing.threads import sharing_cores
from invreg.files import usable_path
from invreg.plugins.registry import Registry
from invreg.plugins.tracking import asked_for
from invreg.reporting.redrawing import redraw_run, redraw_study
from invreg.reporting.report import write_report
from invreg.running.agreement import check_agreement
from invreg.running.single import RunOptions, run_single
from invreg.specs.plan import make_plan
from invreg.specs.spec import Spec, parse_spec
from invreg.storage.certificates import RunCertificates
from invreg.storage.result import Result, StudyResult
from invreg.storage.run_folder import RunFolder, holds_study, recorded_threads
from invreg.storage.study_folder import StudyFolder
from invreg.storage.verification import verify_folder
from invreg.studies.execution import Execution
from invreg.studies.jobs import carry_out
from invreg.studies.plan import plan_study, study_content
from invreg.studies.study import run_study

if TYPE_CHECKING:
    import pandas as pd

    from invreg.components.certificate import StabilityCertificate
    from invreg.components.executor import Executor


def run(
    spec: Spec | Mapping[str, Any] | str | Path,
    output: str | Path = "runs",
    device: str = "auto",
    progress: bool = True,
    overrides: Iterable[str] = (),
    registry: Registry | None = None,
    track: Iterable[str] | None = None,
    executor: str | Mapping[str, Any] | Executor | None = None,
    retries: int = 2,
) -> Result | StudyResult:
    """Runs a spec, or goes on with a run of the same spec that was interrupted. A spec with a `matrix` is a study.

    Several processes that `torchrun` or `accelerate launch` has started carry it out together; each gets the result.

    Args:
        spec: a `Spec`, a mapping, or the path of a YAML or JSON file.
        output: the folder in which the run folder is made.
        device: `auto`, `cpu`, `cuda`, ...
        progress: whether progress is shown on the terminal (standard error).
        overrides: `path=value` changes to the spec.
        registry: where components come from; all installed plugins if None.
        track: names of experiment trackers that follow the run (`tensorboard`, `mlflow`); those in the environment
            variable `INVREG_TRACK` if None.
        executor: where the cells of a study are computed (`local`, `slurm`, `dask`, with parameters as in a spec); as
            the spec says if None.
        retries: how often a cell that failed, or whose process died, is started again by the executor.

    Returns:
        The result; its reconstructors are ready to use. For a study, the table over all cells, and the cells.

    Raises:
        SpecError: if the spec is wrong; nothing has been computed.
        InvregError: if the run cannot be done or finished; what was done is kept.
        KeyboardInterrupt: after Ctrl-C; its notes say what is kept, and the same call goes on.
        SystemExit: with status 143 after SIGTERM, likewise. Both only from the main thread, which hears signals.
    """
    with interruptible():
        is_main = processes().is_main
        registry = registry or Registry.installed()
        content = study_content(spec, overrides, executor)
        heard_by = asked_for(track) if is_main else ()
        options = RunOptions(usable_path(output, "output"), choose_device(device), progress and is_main, heard_by)
        if "matrix" in content:
            study = plan_study(content, registry)
            check_agreement(study.content, options.device)
            with sharing_cores(recorded_threads(options.output, study.title, study.digest)):
                return run_study(study, options, Execution(device, retries, tuple(options.tracked), progress))
        plan = make_plan(parse_spec(content), registry)
        check_agreement(plan.spec.model_dump(mode="json"), options.device)
        with sharing_cores(recorded_threads(options.output, plan.spec.title, plan.digest)):
            return run_single(plan, options)


def run_job(
    study: str | Path, name: str, device: str = "auto", track: Iterable[str] = (), registry: Registry | None = None
) -> bool:
    """Carries out one job of a study in this process: a cell, or work that cells share. Executors call it.

    Args:
        study: the study folder, in which an executor has been given the job.
        name: of the job.
        device: `auto`, `cpu`, `cuda`, ...
        track: names of experiment trackers that follow the cell.
        registry: where components come from; all installed plugins if None.

    Returns:
        Whether the job is finished. If it failed, its folder says why; if shared work that it needs is missing, nothing
        was done.

    Raises:
        StoreError: if the study is not there: a folder that this machine does not see, say.
        KeyboardInterrupt: after Ctrl-C; the same call goes on.
        SystemExit: with status 143 after SIGTERM, likewise.
    """
    with interruptible(), sharing_cores():
        return carry_out(usable_path(study, "study"), name, device, tuple(track), registry or Registry.installed())


def load(folder: str | Path, device: str = "auto", registry: Registry | None = None) -> Result | StudyResult:
    """What a finished run or study gave, from its folder, reconstructors ready to use; the images are not needed.

    Args:
        folder: the folder of a run or of a study.
        device: where reconstructors are put. The cells of a study are loaded when their `result` is first asked for.
        registry: where components come from; all installed plugins if None.

    Raises:
        StoreError: if the folder holds neither, or it is not finished.
        SpecError: if a plugin that it needs is missing.
    """
    path, registry = usable_path(folder, "folder"), registry or Registry.installed()
    if holds_study(path):
        return StudyFolder(path).load(device, registry)
    return RunFolder.existing(path).load(device, registry)


def redraw(folder: str | Path, registry: Registry | None = None) -> Path:
    """Draws all figures of a run or a study again from saved findings and writes its report anew; nothing is computed.

    The figures and reports of a study's finished cells are made anew, too.

    Returns:
        The report.

    Raises:
        StoreError: if the folder holds neither a run nor a study, or it is not finished.
        InvregError: if figures could not be drawn; all others are.
    """
    path, registry = usable_path(folder, "folder"), registry or Registry.installed()
    if holds_study(path):
        return redraw_study(path, registry)
    return redraw_run(path, registry)


def certify(folder: str | Path, registry: Registry | None = None) -> dict[str, StabilityCertificate]:
    """Makes the certificates of a finished run that are missing, verifies those that are there, and renews its report.

    Returns:
        The certificates by label, of the methods that can certify their stability.

    Raises:
        CertificateError: if none can be made, or one that is there does not hold.
        StoreError: if the folder holds no finished run.
    """
    registry = registry or Registry.installed()
    store = RunFolder.existing(usable_path(folder, "folder"))
    result = store.load("cpu", registry)
    with store.locked():
        certificates = RunCertificates(store, {label: one.reconstructor for label, one in result.methods.items()})
        found = dict(certificates)
        write_report(store, make_plan(store.spec, registry))
    return found


def verify(folder: str | Path, registry: Registry | None = None) -> pd.DataFrame:
    """What holds in the folder of a run or a study: compares every file with its seal, proves every certificate again.

    Args:
        folder: the folder of a run or of a study, finished or not.
        registry: where components come from; all installed plugins if None.

    Returns:
        One row for each stage that holds, each file that does not, and each certificate: `part` (where in the folder),
        `what`, `state` and `advice`. The state is `holds` or `proven`; `changed`, `missing`, `unreadable`, `unsealed`,
        `unfinished` or `refuted`; or `foreign` for a file that no result depends on.

    Raises:
        StoreError: if the folder holds neither.
    """
    return verify_folder(usable_path(folder, "folder"), registry or Registry.installed())
