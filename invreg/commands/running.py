"""Commands that compute: `invreg run`, `job` and `reconstruct`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invreg.commands.layout import complain, laid_out, width
from invreg.computing.interruption import is_one_of_several
from invreg.computing.threads import sharing_cores
from invreg.errors import InvregError, nothing_computed
from invreg.files import usable_path
from invreg.text import plural

if TYPE_CHECKING:
    from invreg.storage.result import Result, StudyResult

#: So many different notes of files are printed.
_NOTES = 5

SpecFile = Annotated[
    Path | None, typer.Argument(metavar="SPEC", help="YAML or JSON file; without one, the bundled quickstart.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the spec.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")]
Jobs = Annotated[int | None, typer.Option(metavar="N", help="How many jobs the executor runs at a time.")]
Retries = Annotated[int, typer.Option(min=0, metavar="N", help="How often a failed or killed job is started again.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and compute nothing.")]


def run(
    spec: SpecFile = None,
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder in which the run folder is made.")] = Path("runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACKER", help="An experiment tracker: tensorboard or mlflow. May be repeated."),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where the cells of a study are computed: local, slurm or dask."),
    ] = None,
    jobs: Jobs = None,
    retries: Retries = 2,
    dry_run: DryRun = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON, instead of a table and the run folder.")
    ] = False,
) -> None:
    """Run a spec, or go on with it. The last line printed is the run folder."""
    from invreg import api
    from invreg.computing.processes import processes
    from invreg.specs.bundled import quickstart_path

    source, changes = spec or quickstart_path(), list(overrides or ())
    if jobs is not None:
        changes.append(f"executor.jobs={jobs}")
    if dry_run:
        _print_plan(source, output, changes, executor, as_json)
        return
    if is_one_of_several() and os.environ["RANK"] != "0":
        _say_nothing()
    shown = not quiet
    result = api.run(source, output, device, shown, changes, track=track or None, executor=executor, retries=retries)
    if not processes().is_main:
        raise typer.Exit(1 if result.failures else 0)
    for warning in result.warnings:
        complain(f"warning: {warning}")
    for cell, failure in result.failures.items():
        complain(f"failed: {cell}: {failure}")
    _print_result(result, as_json)
    if result.failures:
        raise typer.Exit(1)


def _print_plan(source: Path, output: Path, changes: list[str], executor: str | None, as_json: bool) -> None:
    from invreg.studies.execution import dry_run as plan_of

    plan = plan_of(source, output, changes, executor)
    if as_json:
        from invreg.commands.tables import print_json

        print_json(plan.as_data())
        return
    print(plan)


def _print_result(result: Result | StudyResult, as_json: bool) -> None:
    from invreg.commands.tables import print_json, print_study, print_table
    from invreg.storage.result import StudyResult

    if as_json:
        print_json(
            {
                "folder": result.folder,
                "report": result.report,
                "summary": result.summary,
                "warnings": result.warnings,
                "failures": result.failures,
            }
        )
        return
    if isinstance(result, StudyResult):
        print_study(result.table)
        print(f"table: {result.folder / 'study.csv'}")
    else:
        print_table(result.summary[[name for name in result.summary.columns if not name.endswith("_std")]])
    print(f"report: {result.report}")
    print(result.folder)


def job(
    study: Annotated[Path, typer.Argument(help="The folder of a study.")],
    name: Annotated[str, typer.Argument(help="A folder of a cell, or of work that cells share.")],
    device: Device = "auto",
    track: Annotated[list[str] | None, typer.Option(help="An experiment tracker.")] = None,
    attended: Annotated[bool, typer.Option("--attended", help="End when standard input is closed.")] = False,
) -> None:
    """Carry out one job of a study; what it did stands in its folder."""
    from invreg import api
    from invreg.computing.interruption import end_with_input

    if attended:
        end_with_input()
    if not api.run_job(study, name, device, track or ()):
        raise typer.Exit(1)


def reconstruct(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A bundled model, a model folder, or a run folder with --method."),
    ],
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Measurements: files, folders, or patterns as 'scans/*.tif'.")
    ],
    method: Annotated[str | None, typer.Option(metavar="LABEL", help="The label of a method of the run.")] = None,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the images, the table and the page.")] = Path(
        "reconstructions"
    ),
    white: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE", help="The stored value that is white, if it is not the largest of 8 or 16 bits, or 1."
        ),
    ] = None,
    data_error: Annotated[
        float | None,
        typer.Option(
            metavar="DISTANCE", help="Euclidean distance of each measurement to the exact one, on the scale of [0, 1]."
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="FORMAT", help="png, tiff, jpeg, npy or npz; tiff, npy and npz in floating point."
        ),
    ] = None,
    no_proof: Annotated[bool, typer.Option("--no-proof", help="Prove no distances, which takes less time.")] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON, instead of a table and the output folder.")
    ] = False,
) -> None:
    """Reconstruct measurements with a trained method. The last line printed is the output folder."""
    from invreg.commands.flags import flags_of, with_flags
    from invreg.models.file_sources import find_sources
    from invreg.models.loading import load_model
    from invreg.models.measured_files import Options, reconstruct_files

    folder = usable_path(output, "output")
    options = Options.checked(white, data_error, not no_proof, form)
    try:
        sources = find_sources(files, folder, options.format)
    except InvregError as error:
        nothing_computed(error)
        raise
    with sharing_cores():
        found = load_model(model, method, device, progress=not quiet)
        result = reconstruct_files(found, sources, folder, options, progress=not quiet)
    for name, failure in result.failures.items():
        text = with_flags(failure, flags_of(context.command))
        complain(f"failed: {text}" if name in text else f"failed: {name}: {text}")
    if as_json:
        from invreg.commands.tables import print_json

        print_json(
            {"folder": result.folder, "page": result.page, "files": result.table, "failures": dict(result.failures)}
        )
    else:
        if result.files:
            from invreg.commands.tables import print_table

            print_table(result.summary)
            print(laid_out(result.units, width()))
        for note in result.notes[:_NOTES]:
            print(laid_out(f"note: {note}", width()))
        if len(result.notes) > _NOTES:
            print(f"{plural(len(result.notes) - _NOTES, 'more note')}: see the page")
        if result.kept:
            print(f"kept: {result.kept} of {len(sources)} files, as they were reconstructed before")
        print(f"table: {result.folder / 'reconstructions.csv'}")
        print(f"page: {result.page}")
        print(result.folder)
    if result.failures:
        raise typer.Exit(1)


def _say_nothing() -> None:
    """Leaves warnings and the log to the main process, which has the same; errors are still said."""
    import logging
    import warnings

    logging.getLogger("invreg").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
