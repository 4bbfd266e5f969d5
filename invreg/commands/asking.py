"""Commands that answer: `invreg validate`, `plugins`, `describe`, `schema` and `new-plugin`.

What they say of installed plugins is kept for the next process, see `invreg.plugins.answers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invreg.commands.layout import complain, laid_out, width
from invreg.commands.running import AsJson, Overrides, SpecFile
from invreg.errors import SpecError
from invreg.files import cannot_write

if TYPE_CHECKING:
    from invreg.plugins.registry import Registry

#: The documentation of a component is broken into lines of so many characters where there is no terminal.
_PAGE = 100

#: Said on standard error, so that the spec on standard output can be read by programs.
_NOT_CHECKED = "valid in names, parameters and structure; shapes are checked when a run has the images"


def validate(
    spec: SpecFile = None,
    overrides: Overrides = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the spec as JSON; of a study a list with the spec of each cell.")
    ] = False,
) -> None:
    """Check a spec without reading data, and print it whole.

    Names, parameters and structure are checked; whether the images, the operator and the methods fit in their shapes, a
    run finds out when it has the images. What is printed has all defaults; of a study, the spec of each cell.
    """
    from invreg.plugins.answers import answer, working_directory
    from invreg.specs.bundled import quickstart_path
    from invreg.specs.reading import read_content

    content = read_content(spec or quickstart_path(), overrides or ())
    question = repr(("validate", str(working_directory()), content, as_json))
    _print_lines(answer(question, lambda registry: validated(registry, content, as_json)))
    complain(_NOT_CHECKED)


def validated(registry: Registry, content: Mapping[str, Any], as_json: bool = False) -> str:
    """The spec, or those of all cells, with all defaults."""
    import json

    from invreg.plugins.answers import OfToday
    from invreg.specs.plan import check_sizes, follows_from_its_text, make_plan
    from invreg.specs.spec import parse_spec

    is_study = "matrix" in content
    if is_study:
        from invreg.studies.plan import plan_study

        cells, start = [cell.plan for cell in plan_study(content, registry, to_look_at=True).cells], "---\n"
    else:
        cells, start = [make_plan(parse_spec(content), registry)], ""
    for plan in cells:
        check_sizes(plan)
    if as_json:
        specs = [plan.spec.model_dump(mode="json") for plan in cells]
        text = json.dumps(specs if is_study else specs[0], indent=2)
    else:
        text = "".join(start + plan.spec.to_yaml() for plan in cells).removesuffix("\n")
    kept = "executor" not in content and all(map(follows_from_its_text, cells))
    return text if kept else OfToday(text)


def plugins(as_json: AsJson = False) -> None:
    """List the plugins, what each brings, and which failed and why."""
    from invreg.plugins.answers import answer

    found = answer(f"plugins {as_json}", lambda registry: _plugins(registry, as_json))
    _print_lines(found if as_json else laid_out(found, width()))


def _plugins(registry: Registry, as_json: bool) -> str:
    import json
    from dataclasses import asdict

    from invreg.plugins.describe import describe_plugin
    from invreg.plugins.tracking import note_trackers

    note_trackers(registry)
    if as_json:
        return json.dumps([asdict(plugin) for plugin in registry.plugins], indent=2)
    return "\n".join(line for plugin in registry.plugins for line in describe_plugin(plugin))


def describe(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND", help="A kind of component, as in operator, or tracker; without one, all are listed."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A component; without one, all of the kind are listed.")
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Argument(
            metavar="CLASS", help="A class of another package that the component takes by name, as in deepinv Blur."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; the parameters as a JSON Schema.")] = False,
) -> None:
    """Say what a component is and what its parameters are."""
    from invreg.plugins.answers import answer

    question = repr(("describe", kind, name, class_name, as_json))
    found = answer(question, lambda registry: _described(registry, kind, name, class_name, as_json))
    room = width() or (_PAGE if name is not None else None)
    _print_lines(found if as_json else laid_out(found, room))


def _described(registry: Registry, kind: str | None, name: str | None, class_name: str | None, as_json: bool) -> str:
    import json

    from invreg.plugins import describe as words
    from invreg.plugins.describe import describe_as_data, describe_component, first_sentence

    if kind is None:
        return _described_kinds(registry, as_json)
    if kind == "tracker":
        if class_name is not None:
            raise SpecError(f"trackers take no class, such as {class_name!r:.80}", where="CLASS", expected="nothing")
        return _described_trackers(registry, name, as_json)
    if name is None:
        known = registry.entries(kind)
        if as_json:
            return json.dumps({key: describe_as_data(entry, registry) for key, entry in known.items()}, indent=2)
        return _listed({key: first_sentence(entry.cls) for key, entry in known.items()})
    entry = registry.entry(kind, name)
    if class_name is not None:
        if as_json:
            return json.dumps(words.describe_named_class_as_data(entry, class_name), indent=2)
        return words.describe_named_class(entry, class_name)
    return json.dumps(describe_as_data(entry, registry), indent=2) if as_json else describe_component(entry, registry)


def _described_kinds(registry: Registry, as_json: bool) -> str:
    import json

    from invreg.plugins.tracking import offers
    from invreg.schema.kinds import KINDS

    known = {kind: list(registry.entries(kind)) for kind in KINDS}
    known["tracker"] = sorted({offer.name for offer in offers(registry)})
    return json.dumps(known, indent=2) if as_json else _listed({k: ", ".join(v) for k, v in known.items()})


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
    return _listed({key: first_sentence(known[key].cls) for key in sorted(known)})


def _listed(texts: Mapping[str, str]) -> str:
    widest = max(map(len, texts), default=0)
    return "\n".join(f"{name:{widest}}  {text}".rstrip() for name, text in texts.items())


def schema(
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write; without one, the schema is printed.")
    ] = None,
) -> None:
    """Write the JSON Schema of specs, by which editors check them.

    It has all that is installed.
    """
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

    from invreg.specs.json_schema import add_named_classes, spec_schema

    schema = spec_schema(registry)
    add_named_classes(schema, registry)
    return json.dumps(schema, indent=2, ensure_ascii=False)


def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the package, as in invreg-camera.")],
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="What it brings: operator, projector (of another package), reconstructor, trainer, analyzer or "
            "dataset.",
        ),
    ] = "operator",
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder in which the package's folder is made.")] = Path(),
) -> None:
    """Write a package with a component of your own, and tests.

    The tests pass as written. The folder of the package is the last line printed.
    """
    from invreg.plugins import scaffold

    folder = scaffold.new_plugin(name, kind, output)
    print(f'next: pip install -e "{folder}[test]" && pytest {folder}')
    print(folder)


def _print_lines(text: str) -> None:
    if text:
        print(text)
