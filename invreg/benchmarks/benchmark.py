"""`invreg benchmark`: a suite as a study, and the leaderboard of what it gave."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.benchmarks.leaderboard import Entry, as_markdown, leaderboard
from invreg.benchmarks.merging import merged
from invreg.benchmarks.page import render_leaderboard
from invreg.benchmarks.plan import BenchmarkPlan, LeftOut, plan_benchmark
from invreg.benchmarks.suite import read_suite
from invreg.benchmarks.violation import stop_at_violation
from invreg.components.executor import Executor
from invreg.computing.device import choose_device
from invreg.computing.interruption import interruptible
from invreg.computing.processes import processes
from invreg.computing.threads import sharing_cores
from invreg.files import usable_path
from invreg.plugins.registry import Registry
from invreg.running.agreement import check_agreement
from invreg.running.single import RunOptions
from invreg.specs.reading import read_content
from invreg.storage.folder import table_bytes
from invreg.storage.result import StudyResult
from invreg.storage.run_folder import folder_name, recorded_threads
from invreg.storage.study_folder import StudyFolder
from invreg.studies.execution import Execution, JobPlan
from invreg.studies.study import run_study

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Benchmark:
    """A finished benchmark.

    Attributes:
        table: the leaderboard, see `invreg.benchmarks.leaderboard.leaderboard` for its columns.
        page: the leaderboard as a page, beside which lie `leaderboard.csv` and `leaderboard.md`.
        study: all runs.
        left_out: methods for which a problem is not made, with the reasons.
        note: what the suite says of results at this size.
    """

    table: pd.DataFrame
    page: Path
    study: StudyResult
    left_out: Sequence[LeftOut]
    note: str = ""


def benchmark(
    suite: str | Path,
    size: str | None = None,
    *,
    problems: Collection[str] = (),
    methods: Collection[str] = (),
    merge: Iterable[str | Path] = (),
    output: str | Path = "runs",
    device: str = "auto",
    progress: bool = True,
    overrides: Iterable[str] = (),
    registry: Registry | None = None,
    executor: str | Mapping[str, Any] | Executor | None = None,
    retries: int = 2,
) -> Benchmark:
    """Runs a suite, or goes on with it, and writes its leaderboard.

    Args:
        suite: the name of a suite that comes with invreg, or a folder.
        size: one of its sizes; the first one if None.
        problems: names of the problems to do; all if empty.
        methods: labels of the methods to do; all if empty.
        merge: folders of the same suite that were made elsewhere, whose runs join the leaderboard after every seal and
            every certificate in them was verified.
        output: the folder in which the folder of the benchmark is made.
        device: `auto`, `cpu`, `cuda`, ...
        progress: whether progress is shown on the terminal (standard error).
        overrides: `path=value` changes to the suite, as in `methods.mine=my_method`.
        registry: where components come from; all installed plugins if None.
        executor: where the runs are computed (`local`, `slurm`, `dask`, with parameters as in a spec).
        retries: how often a run that failed, or whose process died, is started again by the executor.

    Raises:
        SpecError: if the suite is wrong; nothing has been computed.
        BoundViolation: if an attack found more than a proven bound allows; nothing else is computed.
        StoreError: if a folder that is to be merged was changed, or is not of the same suite.
        InvregError: if the benchmark cannot be done or finished; what was done is kept.
        KeyboardInterrupt: after Ctrl-C; the same call goes on.
    """
    with interruptible():
        registry = registry or Registry.installed()
        others, changes, problems, methods = map(_listed, (merge, overrides, problems, methods))
        command = _command(suite, size, problems, methods, others, changes)
        plan = _plan(suite, size, changes, registry, command, problems, methods, executor)
        folder = usable_path(output, "output")
        options = RunOptions(folder, choose_device(device), progress and processes().is_main)
        check_agreement(plan.content, options.device)
        found = [merged(usable_path(path, "merge"), plan) for path in others]
        kept_in = folder / folder_name(plan.title, plan.digest)
        with sharing_cores(recorded_threads(folder, plan.title, plan.digest)):
            study = run_study(
                plan, options, Execution(device, retries, (), progress), partial(stop_at_violation, kept_in=kept_in)
            )
        return processes().from_main(lambda: _concluded(plan, study, found))


def dry_run(
    suite: str | Path,
    size: str | None,
    problems: Collection[str],
    methods: Collection[str],
    output: Path,
    overrides: Sequence[str],
    executor: Any,
) -> str:
    """What `invreg benchmark` would do: its runs, those that are done, and the methods that are left out."""
    plan = _plan(suite, size, overrides, Registry.installed(), "", problems, methods, executor)
    folder = usable_path(output, "output") / folder_name(plan.title, plan.digest)
    lines = [f"  left out  {one.problem}  {one.label}: {one.reason}" for one in plan.left_out]
    return "\n".join([str(JobPlan(plan, StudyFolder(folder))), *lines])


def _plan(
    suite: str | Path,
    size: str | None,
    overrides: Sequence[str],
    registry: Registry,
    command: str,
    problems: Collection[str],
    methods: Collection[str],
    executor: Any,
) -> BenchmarkPlan:
    inside = [change.removeprefix("executor.") for change in overrides if change.startswith("executor.")]
    changes = [change for change in overrides if not change.startswith("executor.")]
    if inside:
        base = {"name": "local"} if executor is None else {"name": executor} if isinstance(executor, str) else executor
        executor = read_content(base, inside)
    return plan_benchmark(
        read_suite(suite, size, changes), registry, command, problems=problems, methods=methods, executor=executor
    )


def _concluded(
    plan: BenchmarkPlan, study: StudyResult, found: Sequence[tuple[list[Entry], list[LeftOut]]]
) -> Benchmark:
    entries = [Entry(cell) for cell in study.cells]
    here = {(entry.key, entry.seed) for entry in entries}
    left_out = list(plan.left_out)
    for others, left_out_there in found:
        for entry in others:
            if (entry.key, entry.seed) not in here:
                here.add((entry.key, entry.seed))
                entries.append(entry)
        left_out += left_out_there
    left_out = list({(one.problem, one.label): one for one in left_out}.values())
    table = leaderboard(plan, entries, left_out)
    page = StudyFolder(study.folder).write_leaderboard(
        table_bytes(table), as_markdown(plan, table), render_leaderboard(plan, table)
    )
    return Benchmark(table, page, study, left_out, plan.suite.note)


def _listed(given: Any) -> list[Any]:
    """Several names or paths; one alone is a list of one."""
    return [given] if isinstance(given, str | Path) else list(given)


def _command(
    suite: str | Path,
    size: str | None,
    problems: Iterable[str],
    methods: Iterable[str],
    merge: Iterable[str | Path],
    overrides: Iterable[str],
) -> str:
    parts = ["invreg", "benchmark", str(suite), *(["--size", size] if size else [])]
    named = {"--only": problems, "--method": methods, "--merge": merge, "--set": overrides}
    parts += [part for flag, values in named.items() for value in values for part in (flag, str(value))]
    return shlex.join(parts)
