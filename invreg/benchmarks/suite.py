"""Suites: folders of problems and methods that are compared on equal terms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from invreg.errors import SpecError, did_you_mean
from invreg.files import usable_path
from invreg.schema.component_spec import ComponentSpec, spec_errors
from invreg.specs.overrides import apply_override, set_path
from invreg.specs.reading import check_values, read_content
from invreg.specs.spec import EvaluationSpec

#: Where the suites lie that come with invreg.
_BUNDLED = Path(str(resources.files("invreg"))) / "benchmarks" / "suites"

_SUITE = "suite.yaml"


def _once(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed stands there twice")
    return seeds


Seeds = Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1), AfterValidator(_once)]


class SuiteProblem(BaseModel):
    """One problem of a suite.

    Attributes:
        title: its name in tables and figures.
        operator: the forward operator F.
        noise: the noise on F(x).
        data: the images, if they are not those of the suite.
        seeds: the seeds, if they are not those of the suite.
        parameters: given to every reconstructor that has a parameter of this name and does not set it itself, such as
            a `pull_back` where measurements are not images.
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    operator: ComponentSpec
    noise: ComponentSpec
    data: ComponentSpec | None = None
    seeds: Seeds | None = None
    parameters: dict[str, Any] = {}


class Suite(BaseModel):
    """A suite at one size: which methods are compared on which problems, and by what.

    Attributes:
        title: its name.
        version: raised whenever results of the suite can no longer be compared with those before.
        size: which of its sizes this is.
        description: a sentence about it, which holds for all sizes: what the images are is said by `data`.
        note: what has to be known of results at this size, shown before all others; a size sets it.
        seeds: of the runs: noise, initial weights and the order of training images follow from them.
        data: the images.
        metrics: the first one ranks the methods.
        attack: the analysis that looks for what breaks a proven bound; its findings have a table `summary` with the
            columns method, proven, found, search and violations.
        trainers: by names that methods give as their `trainer`: the budgets, which are the same for all of them.
        methods: by label, as in a spec.
        problems: by name.
        evaluation: how test images are reconstructed.
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    version: Annotated[int, Field(ge=1, strict=True)]
    size: str
    description: str = ""
    note: str = ""
    seeds: Seeds = [0]
    data: ComponentSpec
    metrics: Annotated[list[ComponentSpec], Field(min_length=1)]
    attack: ComponentSpec
    trainers: dict[str, ComponentSpec] = {}
    methods: Annotated[dict[str, str | dict[str, Any]], Field(min_length=1)]
    problems: Annotated[dict[str, SuiteProblem], Field(min_length=1)]
    evaluation: EvaluationSpec = EvaluationSpec()

    def seeds_of(self, problem: str) -> list[int]:
        """The seeds of a problem."""
        return self.problems[problem].seeds or self.seeds

    def data_of(self, problem: str) -> ComponentSpec:
        """The images of a problem."""
        return self.problems[problem].data or self.data

    def cell(self, problem: str, label: str, seed: int, parameters: Iterable[str]) -> dict[str, Any]:
        """The spec of the run of one method.

        Args:
            problem: which problem.
            label: the method.
            seed: of the run.
            parameters: those of its reconstructor, by name.
        """
        given, own = self.problems[problem], _as_method(self.methods[label])
        reconstructor = own["reconstructor"]
        reconstructor = {"name": reconstructor} if isinstance(reconstructor, str) else dict(reconstructor)
        for name, value in given.parameters.items():
            if name in set(parameters):
                reconstructor.setdefault(name, value)
        trainer = own.get("trainer")
        if isinstance(trainer, str) and trainer in self.trainers:
            own["trainer"] = self.trainers[trainer].model_dump(mode="json")
        return {
            "title": f"{self.title}: {problem}, {label}, seed {seed}",
            "seed": seed,
            "data": self.data_of(problem).model_dump(mode="json"),
            "operator": given.operator.model_dump(mode="json"),
            "noise": given.noise.model_dump(mode="json"),
            "methods": {label: {**own, "reconstructor": reconstructor}},
            "metrics": [metric.model_dump(mode="json") for metric in self.metrics],
            "analyses": [self.attack.model_dump(mode="json")],
            "evaluation": self.evaluation.model_dump(mode="json"),
        }


def _as_method(given: Any) -> dict[str, Any]:
    """A method with its reconstructor under this key, whatever shorthand it was written in."""
    is_reconstructor = isinstance(given, str) or (isinstance(given, Mapping) and "name" in given)
    return {"reconstructor": given} if is_reconstructor else dict(given)


def reconstructor_name(method: Any) -> str:
    """The name of the reconstructor of a method; empty if it cannot be seen."""
    given = _as_method(method).get("reconstructor") if isinstance(method, str | Mapping) else None
    found = given.get("name") if isinstance(given, Mapping) else given
    return found if isinstance(found, str) else ""


def digest_of(content: Any) -> str:
    """The hash of plain data."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def bundled_suites() -> list[str]:
    """The names of the suites that come with invreg."""
    return sorted(path.parent.name for path in _BUNDLED.glob(f"*/{_SUITE}"))


def read_suite(source: str | Path, size: str | None = None, overrides: Iterable[str] = ()) -> Suite:
    """The suite of a name or a folder at one of its sizes, with `path=value` overrides applied.

    A folder holds `suite.yaml` and one file for each problem, named after it.

    Args:
        source: the name of a suite that comes with invreg, or a folder.
        size: one of its sizes; the first one that it has if None.
        overrides: changes, as in `methods.mine=my_method` or `problems.tomography.operator.angles=60`.

    Raises:
        SpecError: if there is no such suite or size, or a file of it is wrong.
    """
    folder = _folder(source)
    content = read_content(folder / _SUITE)
    files = sorted(path for path in folder.glob("*.yaml") if path.name != _SUITE)
    if "problems" in content:
        raise SpecError(
            "stands in the suite", where=f"{folder / _SUITE}, problems", expected="one file for each problem"
        )
    content["problems"] = {path.stem: read_content(path) for path in files}
    if not files:
        raise SpecError("no problems", where=str(folder), expected=f"YAML files beside {_SUITE}, one for each problem")
    sizes = content.pop("sizes", None) or {"default": {}}
    if not isinstance(sizes, Mapping) or not all(isinstance(changes, Mapping | None) for changes in sizes.values()):
        raise SpecError(repr(sizes), where=f"{folder / _SUITE}, sizes", expected="names with changes, as {path: value}")
    chosen = next(iter(sizes)) if size is None else size
    if chosen not in sizes:
        raise SpecError(
            f"no size {chosen!r}",
            where=str(folder / _SUITE),
            expected=f"one of {', '.join(map(str, sizes))}",
            hint=did_you_mean(chosen, map(str, sizes)),
        )
    changed: Any = {**content, "size": chosen}
    for path, value in (sizes[chosen] or {}).items():
        _require_section(changed, str(path), f"{folder / _SUITE}, sizes.{chosen}.{path}")
        changed = set_path(changed, str(path), value, f"{folder / _SUITE}, sizes.{chosen}.{path}")
    for override in overrides:
        _require_section(changed, override.partition("=")[0].strip(), f"overrides {override}")
        changed = apply_override(changed, override)
    check_values(changed)
    try:
        return Suite.model_validate(changed)
    except ValidationError as error:
        raise spec_errors(error, str(folder), Suite, changed) from None


def _folder(source: str | Path) -> Path:
    """A bare name is a suite that comes with invreg, if there is one of this name; anything else is a folder."""
    names = bundled_suites()
    if isinstance(source, str) and source in names:
        return _BUNDLED / source
    folder = usable_path(source, "SUITE")
    if not (folder / _SUITE).is_file():
        raise SpecError(
            f"holds no {_SUITE}" if folder.is_dir() else "no such suite",
            where=str(source),
            expected=f"a folder with {_SUITE} and a file for each problem, or one of {', '.join(names)}",
            hint=did_you_mean(str(source), names),
        )
    return folder


def _require_section(content: Mapping[str, Any], path: str, where: str) -> None:
    """The section of a change must be there: a mistyped one would change nothing.

    New labels are allowed where a person may name things.
    """
    first, *rest = path.split(".")
    known = set(Suite.model_fields)
    if first not in known:
        raise SpecError(
            "no such section",
            where=where,
            expected=f"one of {', '.join(sorted(known))}",
            hint=did_you_mean(first, known),
        )
    if first in ("problems", "trainers") and rest and rest[0] not in (content.get(first) or {}):
        names = list(content.get(first) or {})
        raise SpecError(
            f"no {rest[0]!r} in {first}",
            where=where,
            expected=f"one of {', '.join(names)}",
            hint=did_you_mean(rest[0], names),
        )


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where two plain values differ, each as "path: theirs, here ours"."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys([*ours, *theirs]):
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(ours.get(key, "nothing"), theirs.get(key, "nothing"), inner)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (own, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(own, other, f"{path}.{index}")
    elif ours != theirs:
        yield f"{path}: {json.dumps(theirs)} there, {json.dumps(ours)} here"
