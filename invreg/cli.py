"""The command line: `invreg run`, `reconstruct`, `validate`, `plugins`, `describe`, `schema`, `new-plugin`, `status`,
`report`, `export`, `push`, `pull`, `certify`, `verify`.

Everything heavy is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from invreg.computing.interruption import exit_status, in_words, is_one_of_several, listening_to_signals
from invreg.computing.threads import sharing_cores, spin_less
from invreg.computing.waiting import said
from invreg.errors import CertificateError, InvregError
from invreg.files import cannot_write, usable_path

if TYPE_CHECKING:
    from invreg.plugins.registry import Registry

app = typer.Typer(
    name="invreg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_SpecFile = Annotated[Path | None, typer.Argument(help="YAML or JSON file; without one, the bundled quickstart.")]
_Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the spec.")
]

_Error = TypeVar("_Error", bound=BaseException)

#: The exit status by which typer says that something, Ctrl-C or another signal, has stopped a command.
_INTERRUPTED = 130


def _print_version(asked: bool) -> None:
    if asked:
        from invreg import __version__

        print(f"invreg {__version__}")
        raise typer.Exit


@app.callback()
def _invreg(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Inverse problems with learned reconstruction that can be trusted."""


@app.command()
def run(
    spec: _SpecFile = None,
    overrides: _Overrides = None,
    output: Annotated[Path, typer.Option(help="Folder in which the run folder is made.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    track: Annotated[
        list[str] | None, typer.Option(help="An experiment tracker: tensorboard or mlflow. May be repeated.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="Where the cells of a study are computed: local, slurm or dask.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="How many jobs the executor runs at a time.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a failed or killed job is started again.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and compute nothing.")] = False,
) -> None:
    """Run a spec, or go on with it. The last line printed is the run folder."""
    from invreg import api
    from invreg.computing.processes import processes
    from invreg.specs.bundled import quickstart_path

    source, changes = spec or quickstart_path(), list(overrides or ())
    if jobs is not None:
        changes.append(f"executor.jobs={jobs}")
    if dry_run:
        from invreg.studies.execution import dry_run as plan_of

        print(plan_of(source, output, changes, executor))
        return
    if is_one_of_several() and os.environ["RANK"] != "0":
        _say_nothing()
    shown = not quiet
    result = api.run(source, output, device, shown, changes, track=track or None, executor=executor, retries=retries)
    if not processes().is_main:
        raise typer.Exit(1 if result.failures else 0)
    _print_summary(result.summary)
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for cell, failure in result.failures.items():
        print(f"failed: {cell}: {failure}", file=sys.stderr)
    print(f"report: {result.report}")
    print(result.folder)
    if result.failures:
        raise typer.Exit(1)


@app.command(hidden=True)
def job(
    study: Annotated[Path, typer.Argument(help="The folder of a study.")],
    name: Annotated[str, typer.Argument(help="A folder of a cell, or of work that cells share.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
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


@app.command()
def reconstruct(
    model: Annotated[str, typer.Argument(help="A bundled model, a model folder, or a run folder with --method.")],
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Measurements: files, folders, or patterns as 'scans/*.tif'.")
    ],
    method: Annotated[str | None, typer.Option(help="The label of a method of the run.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the images, the table and the page.")] = Path(
        "reconstructions"
    ),
    white: Annotated[
        float | None,
        typer.Option(help="The stored value that is white, if it is not the largest of 8 or 16 bits, or 1."),
    ] = None,
    data_error: Annotated[
        float | None,
        typer.Option(help="Euclidean distance of each measurement to the exact one, on the scale of [0, 1]."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="png, tiff, jpeg, npy or npz; tiff, npy and npz in floating point."),
    ] = None,
    no_proof: Annotated[bool, typer.Option("--no-proof", help="Prove no distances, which takes less time.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Reconstruct measurements with a trained method. The last line printed is the output folder."""
    from invreg.models.file_sources import find_sources
    from invreg.models.loading import load_model
    from invreg.models.measured_files import Options, reconstruct_files

    folder = usable_path(output, "output")
    options = Options.checked(white, data_error, not no_proof, form)
    sources = find_sources(files, folder, options.format)
    with sharing_cores():
        found = load_model(model, method, device, progress=not quiet)
        result = reconstruct_files(found, sources, folder, options, progress=not quiet)
    if result.files:
        print(result.summary.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
        print(result.units)
    if result.kept:
        print(f"kept: {result.kept} of {len(sources)} files, as they were reconstructed before")
    for name, failure in result.failures.items():
        text = _with_flags(failure)
        print(f"failed: {text}" if name in text else f"failed: {name}: {text}", file=sys.stderr)
    print(f"table: {result.folder / 'reconstructions.csv'}")
    print(f"page: {result.page}")
    print(result.folder)
    if result.failures:
        raise typer.Exit(1)


@app.command()
def validate(spec: _SpecFile = None, overrides: _Overrides = None) -> None:
    """Check names, parameters and structure of a spec without reading data, and print it with all defaults."""
    from invreg.plugins.answers import answer, working_directory
    from invreg.specs.bundled import quickstart_path
    from invreg.specs.reading import read_content

    content = read_content(spec or quickstart_path(), overrides or ())
    question = repr(("validate", str(working_directory()), content))
    _print_lines(answer(question, lambda registry: _validated(registry, content)))


def _validated(registry: Registry, content: Mapping[str, Any]) -> str:
    """The spec, or those of all cells, with all defaults."""
    from invreg.plugins.answers import OfToday
    from invreg.specs.plan import check_sizes, follows_from_its_text, make_plan
    from invreg.specs.spec import parse_spec

    if "matrix" in content:
        from invreg.studies.plan import plan_study

        cells, start = [cell.plan for cell in plan_study(content, registry, to_look_at=True).cells], "---\n"
    else:
        cells, start = [make_plan(parse_spec(content), registry)], ""
    for plan in cells:
        check_sizes(plan)
    text = "".join(start + plan.spec.to_yaml() for plan in cells).removesuffix("\n")
    kept = "executor" not in content and all(map(follows_from_its_text, cells))
    return text if kept else OfToday(text)


@app.command()
def plugins(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the installed plugins, what each registers, and what failed and why."""
    from invreg.plugins.answers import answer

    _print_lines(answer(f"plugins {as_json}", lambda registry: _plugins(registry, as_json)))


def _plugins(registry: Registry, as_json: bool) -> str:
    import json
    from dataclasses import asdict

    from invreg.plugins.describe import describe_plugin
    from invreg.plugins.tracking import note_trackers

    note_trackers(registry)
    if as_json:
        return json.dumps([asdict(plugin) for plugin in registry.plugins], indent=2)
    return "\n".join(line for plugin in registry.plugins for line in describe_plugin(plugin))


@app.command()
def describe(
    kind: Annotated[
        str | None, typer.Argument(help="A kind of component, as in operator, or tracker; without one, all are listed.")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="A component; without one, all of the kind are listed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; the parameters as a JSON Schema.")] = False,
) -> None:
    """Say what a component is and what its parameters are."""
    from invreg.plugins.answers import answer

    question = repr(("describe", kind, name, as_json))
    _print_lines(answer(question, lambda registry: _described(registry, kind, name, as_json)))


def _described(registry: Registry, kind: str | None, name: str | None, as_json: bool) -> str:
    import json

    from invreg.plugins.describe import describe_as_data, describe_component, first_sentence

    if kind is None:
        return _described_kinds(registry, as_json)
    if kind == "tracker":
        return _described_trackers(registry, name, as_json)
    if name is None:
        known = registry.entries(kind)
        if as_json:
            return json.dumps({key: describe_as_data(entry) for key, entry in known.items()}, indent=2)
        return "\n".join(f"{key:24} {first_sentence(entry.cls)}" for key, entry in known.items())
    entry = registry.entry(kind, name)
    return json.dumps(describe_as_data(entry), indent=2) if as_json else describe_component(entry)


def _described_kinds(registry: Registry, as_json: bool) -> str:
    import json

    from invreg.plugins.tracking import offers
    from invreg.schema.kinds import KINDS

    known = {kind: list(registry.entries(kind)) for kind in KINDS}
    known["tracker"] = sorted({offer.name for offer in offers(registry)})
    return json.dumps(known, indent=2) if as_json else "\n".join(f"{k:16} {', '.join(v)}" for k, v in known.items())


def _described_trackers(registry: Registry, name: str | None, as_json: bool) -> str:
    """Trackers are not components: they have a name and a description, and no parameters."""
    import json

    from invreg.plugins.describe import describe_tracker, describe_tracker_as_data, first_sentence
    from invreg.plugins.tracking import offer_of, offers

    if name is not None:
        offer = offer_of(registry, name)
        return json.dumps(describe_tracker_as_data(offer), indent=2) if as_json else describe_tracker(offer)
    known = {offer.name: offer for offer in reversed(offers(registry))}
    if as_json:
        return json.dumps({key: describe_tracker_as_data(known[key]) for key in sorted(known)}, indent=2)
    return "\n".join(f"{key:24} {first_sentence(known[key].cls)}" for key in sorted(known))


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option(help="File to write; without one, the schema is printed.")] = None,
) -> None:
    """Write the JSON Schema of a spec, with all that is installed, so that an editor can complete and check specs."""
    from invreg.plugins.answers import answer

    text = answer("schema", _schema)
    if output is None:
        print(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise cannot_write(output, error, "a file in a folder that exists") from None
    print(output)


def _schema(registry: Registry) -> str:
    import json

    from invreg.specs.json_schema import spec_schema

    return json.dumps(spec_schema(registry), indent=2, ensure_ascii=False)


@app.command("new-plugin")
def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the package, as in invreg-camera.")],
    kind: Annotated[
        str, typer.Option(help="What it brings: operator, reconstructor, trainer, analyzer or dataset.")
    ] = "operator",
    output: Annotated[Path, typer.Option(help="Folder in which the package's folder is made.")] = Path(),
) -> None:
    """Write a package with a component of your own, whose tests pass as written; its folder is the last line."""
    from invreg.plugins import scaffold

    folder = scaffold.new_plugin(name, kind, output)
    print(f'next: pip install -e "{folder}[test]" && pytest {folder}')
    print(folder)


@app.command()
def status(folder: Annotated[Path, typer.Argument(help="A study folder.")]) -> None:
    """Say how far a study is: its cells, and what each running one has reached."""
    from invreg.studies.status import read_status

    print(read_status(usable_path(folder, "STUDY")))


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run or study folder.")]) -> None:
    """Draw the figures of a run or a study again from saved findings and write its report anew."""
    from invreg.api import redraw

    print(redraw(folder))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    method: Annotated[
        str | None, typer.Argument(help="A method of the run; not needed if only one was trained.")
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder to write; it must not exist yet.")] = Path("model"),
    name: Annotated[str | None, typer.Option(help="Name of the model; without one, that of the method.")] = None,
    torch_export: Annotated[
        bool, typer.Option("--torch-export", help="Add program.pt2, the method as a program of torch.export.")
    ] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Add model.onnx, the method as a program of ONNX.")] = False,
) -> None:
    """Write a trained method as a model that loads without its run; its folder is the last line."""
    from invreg.models.export import export_model

    print(export_model(run, method, to=to, name=name, torch_export=torch_export, onnx=onnx))


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="The folder of an exported model.")],
    repository: Annotated[str, typer.Argument(help="Its name on the Hugging Face Hub, user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make a repository that does not exist private.")] = False,
) -> None:
    """Upload an exported model to the Hugging Face Hub; its address is the last line."""
    from invreg.models.hub import push_model

    print(push_model(folder, repository, private=private))


@app.command()
def pull(
    repository: Annotated[str, typer.Argument(help="The name of a model on the Hugging Face Hub, user/name.")],
    to: Annotated[Path, typer.Option(help="Folder to write; it must not exist yet.")] = Path("model"),
    revision: Annotated[str | None, typer.Option(help="A branch, a tag or a commit; without one, the newest.")] = None,
) -> None:
    """Download a model from the Hugging Face Hub; its folder is the last line."""
    from invreg.models.hub import pull_model

    print(pull_model(repository, to, revision=revision))


@app.command()
def certify(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Prove stability bounds for the trained networks of a run, or verify those that lie there."""
    from invreg import api

    with said(f"{folder}: proving the stability of its networks, or verifying what is proven"):
        certificates = api.certify(folder)
    if not certificates:
        raise CertificateError(
            "no method of this run can certify its stability",
            where=str(folder),
            expected="at least one, like iresnet",
        )
    for label, certificate in certificates.items():
        print(f"{label}: {certificate.sentence}")
    if any(certificate.reconstruction_lipschitz is None for certificate in certificates.values()):
        raise typer.Exit(1)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A run or study folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Check that all files of a run or a study are as they were written, and prove its certificates again."""
    from invreg import api
    from invreg.storage.verification import GOOD

    with said(f"{folder}: comparing files with their hashes, and proving certificates again"):
        table = api.verify(folder)
    if as_json:
        print(table.to_json(orient="records", indent=2))
    else:
        print(table[["part", "what", "state"]].to_string(index=False, justify="left"))
        for row in table[table["advice"] != ""].itertuples():
            print(f"{row.part}/{row.what}: {row.state}: {row.advice}")
    if not table["state"].isin(GOOD).all():
        raise typer.Exit(1)


def main() -> None:
    """The console script. Errors that a person can act on are one message, without a traceback."""
    spin_less()
    with listening_to_signals() as heard:
        try:
            status: Any = app(standalone_mode=False)
            if status != _INTERRUPTED:
                _part()
        except InvregError as error:
            error = _own_words(error)
            if os.environ.get("INVREG_TRACEBACK"):
                import traceback

                traceback.print_exc()
            first, space, rest = (error.where or "").partition(" ")
            error.where = _flags().get(first, first) + space + rest or None
            print(f"error: {_with_flags(str(error))}", file=sys.stderr)
            _leave(error.exit_status)
        except (typer.Abort, KeyboardInterrupt):
            status = _INTERRUPTED
        except typer.Exit as done:
            if done.exit_code != _INTERRUPTED:
                _part()
            sys.exit(done.exit_code)
        except Exception as error:
            if isinstance(lost := _own_words(error), InvregError):  # it failed because another process is gone
                print(f"error: {lost}", file=sys.stderr)
                _leave(lost.exit_status)
            show = getattr(error, "show", None)  # a usage error of the command line
            if show is None:
                raise
            show()
            sys.exit(getattr(error, "exit_code", 2))
        if status == _INTERRUPTED:  # some versions of typer return it, and others raise; all lose what was raised
            stop = heard() or KeyboardInterrupt()
            _own_words(stop)
            print(in_words(stop), file=sys.stderr)
            _leave(exit_status(stop))
    sys.exit(status if isinstance(status, int) else 0)


def _flags() -> dict[str, str]:
    """The options of the command that was called, by the names that they have as parameters in Python."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    command = commands.get(sys.argv[1]) if len(sys.argv) > 1 else None
    flags = {}
    for parameter in command.params if command else ():
        for flag in parameter.opts:
            if flag.startswith("--"):
                flags[parameter.name] = flags[flag[2:].replace("-", "_")] = flag
    if "no_proof" in flags:
        flags["prove"] = flags["no_proof"]
    return flags


def _with_flags(text: str) -> str:
    """A message in which parameters that stand in backticks are called as on the command line."""
    flags = _flags()
    return re.sub(r"`(\w+)`", lambda name: flags.get(name[1], name[0]), text)


def _say_nothing() -> None:
    """Leaves warnings and the log to the main process, which has the same; errors are still said."""
    import logging
    import warnings

    logging.getLogger("invreg").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def _part() -> None:
    """Ends the work together, if there are several processes."""
    if is_one_of_several():
        from invreg.computing.processes import part

        part()


def _own_words(error: _Error) -> _Error | InvregError:
    """What this process says about the error that ends it; the process ends here if another one says it."""
    if not is_one_of_several():
        return error
    from invreg.computing.processes import last_words

    words = last_words(error)
    if words is None:
        _leave(exit_status(error) if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_status", 1))
    return words


def _leave(status: int) -> NoReturn:
    """Ends this process, also while a thread of it waits for another process."""
    if not is_one_of_several():
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _print_lines(text: str) -> None:
    if text:
        print(text)


def _print_summary(summary: Any) -> None:
    names = [name for name in summary.columns if not name.endswith("_std") and name != "cell"]
    print(summary[names].to_string(index=False, float_format=lambda value: f"{value:.4g}"))
