"""`invreg benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invreg.commands.layout import complain, laid_out, width
from invreg.commands.running import Device, DryRun, Jobs, Quiet, Retries

if TYPE_CHECKING:
    from invreg.benchmarks.benchmark import Benchmark


def benchmark(
    suite: Annotated[str, typer.Argument(help="A suite that comes with invreg, as reconstruction, or a folder.")],
    size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="micro, small or full, or one of its own; by default the first.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="PROBLEM", help="A problem to do, instead of all. May be repeated.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="A method to do, instead of all. May be repeated.")
    ] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Results of the same suite from elsewhere, to verify and add. May be repeated."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change the suite: methods.mine=my_method.")
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder in which the folder of the benchmark is made.")
    ] = Path("runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    executor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the runs are computed: local, slurm or dask.")
    ] = None,
    jobs: Jobs = None,
    retries: Retries = 2,
    dry_run: DryRun = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the leaderboard as JSON, instead of a table and the folder.")
    ] = False,
) -> None:
    """Compare methods on the problems of a suite.

    The leaderboard is written, too. The last line printed is the folder.
    """
    from invreg.benchmarks import benchmark as running
    from invreg.computing.processes import processes

    changes = list(overrides or ())
    if jobs is not None:
        changes.append(f"executor.jobs={jobs}")
    if dry_run:
        print(running.dry_run(suite, size, only or (), method or (), output, changes, executor))
        return
    done = running.benchmark(
        suite,
        size,
        problems=only or (),
        methods=method or (),
        merge=merge or (),
        output=output,
        device=device,
        progress=not quiet,
        overrides=changes,
        executor=executor,
        retries=retries,
    )
    failures = done.study.failures
    if processes().is_main:
        for cell, failure in failures.items():
            complain(f"failed: {cell}: {failure}")
        _print(done, as_json)
    if failures:
        raise typer.Exit(1)


def _print(done: Benchmark, as_json: bool) -> None:
    from invreg.commands.tables import print_json, print_table

    folder = done.study.folder
    if as_json:
        print_json(
            {
                "folder": folder,
                "page": done.page,
                "note": done.note,
                "table": done.table,
                "failures": done.study.failures,
            }
        )
        return
    metrics = [name for name in done.table.columns if f"{name}_behind" in done.table.columns]
    names = ["problem", "method", *metrics, "attack", "bound", "training_minutes", "seconds_per_image"]
    print_table(done.table[done.table["note"] == ""][names], names[:2])
    for row in done.table[done.table["note"] != ""].itertuples():
        print(f"{row.problem}, {row.method}: {row.note}")
    if done.note:
        print(laid_out(done.note, width()))
    print(f"leaderboard: {done.page}")
    print(folder)
