"""What a person writes: the models of a spec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from invreg.errors import SpecError, join_errors, near_name
from invreg.plugins.registry import spec_of
from invreg.schema.component import Component
from invreg.schema.component_spec import ComponentSpec, NestedError, spec_errors
from invreg.specs.starting import StartFrom
from invreg.specs.yaml import dump_yaml
from invreg.summaries import Summarized, Summary, call


class MethodSpec(BaseModel):
    """A reconstructor and how it is trained. A bare reconstructor (a name, or with parameters) is not trained.

    With `start_from`, it starts from the weights of a model, and needs no trainer.
    """

    model_config = ConfigDict(extra="forbid")

    reconstructor: ComponentSpec
    trainer: ComponentSpec | None = None
    start_from: StartFrom | None = None

    @model_serializer(mode="wrap")
    def _without_nothing(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Specs without a start look, and are hashed, as before there were any."""
        content: dict[str, Any] = dump(self)
        if content.get("start_from", 0) is None:
            del content["start_from"]
        return content

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        value = _as_specs(value)
        is_reconstructor = isinstance(value, str) or (isinstance(value, Mapping) and "name" in value)
        return {"reconstructor": value} if is_reconstructor else value


class EvaluationSpec(BaseModel):
    """How the test images are reconstructed. It changes no result beyond rounding."""

    model_config = ConfigDict(extra="forbid")

    batch_size: Annotated[int, Field(ge=1, description="images reconstructed at once")] = 16


_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]*")

#: A file system takes 255, and files are made beside their places under longer names.
_LONGEST_LABEL = 200

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


class Spec(Summarized, BaseModel):
    """One experiment: a problem, methods that solve it, and what is to be found out about them."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, Field(description="shown at the head of the report")] = "Untitled"
    seed: Annotated[int, Field(ge=0, strict=True, description="all random choices derive from it")] = 0
    data: Annotated[
        ComponentSpec, Field(description="the images: a dataset, as in photos or {name: photos, image_size: 64}")
    ]
    operator: Annotated[
        ComponentSpec, Field(description="the forward operator F, as in identity or {name: gaussian_blur, std: 2.0}")
    ]
    noise: Annotated[
        ComponentSpec, Field(description="the noise on F(x), as in none or {name: gaussian, std: 0.05}")
    ] = ComponentSpec(name="none")
    methods: Annotated[
        dict[str, MethodSpec],
        Field(
            min_length=1,
            description="a mapping of labels of your choice to methods, as in {tv: {name: tv, weight: 0.01}, "
            "net: {reconstructor: unet, trainer: {name: reconstruction, steps: 1000}}}",
        ),
    ]
    metrics: Annotated[
        list[ComponentSpec], Field(min_length=1, description="a list of metrics, as in [psnr, ssim]; the first chooses")
    ] = [ComponentSpec(name="psnr"), ComponentSpec(name="ssim")]
    analyses: Annotated[
        list[ComponentSpec], Field(description="a list of analyses, as in [quality, {name: examples, count: 4}]")
    ] = []
    evaluation: Annotated[
        EvaluationSpec, Field(description="how test images are reconstructed, as in {batch_size: 16}")
    ] = EvaluationSpec()

    @model_validator(mode="before")
    @classmethod
    def _instances(cls, value: Any) -> Any:
        return _as_specs(value)

    @field_validator("methods", mode="before")
    @classmethod
    def _parts(cls, methods: Any) -> Any:
        """Refuses what stands beside reconstructor and trainer: a misspelt label, or a parameter of one of the two."""
        problems = []
        for label, method in methods.items() if isinstance(methods, Mapping) else []:
            if not isinstance(method, Mapping) or "name" in method:
                continue
            if "reconstructor" not in method:
                near = near_name(str(label), [str(other) for other in methods if other != label])
                problems.append(
                    SpecError(
                        "missing",
                        where=f"{label}.reconstructor",
                        expected="a name, or a mapping with name and parameters",
                        hint=f"did you mean the method {near!r}?" if near else None,
                    )
                )
            for key in method.keys() - MethodSpec.model_fields:
                near = near_name(str(key), MethodSpec.model_fields)
                places = " or ".join(f"methods.{label}.{part}.{key}" for part in ("reconstructor", "trainer"))
                problems.append(
                    SpecError(
                        "unknown parameter",
                        where=f"{label}.{key}",
                        expected="reconstructor and trainer, whose parameters stand below them",
                        hint=f"did you mean {near!r}?" if near else places,
                    )
                )
        if problems:
            raise NestedError(join_errors(problems))
        return methods

    @field_validator("methods")
    @classmethod
    def _labels(cls, methods: dict[str, MethodSpec]) -> dict[str, MethodSpec]:
        for label in methods:
            if not _LABEL.fullmatch(label) or label.endswith((".", " ")):
                raise ValueError(f"the label {label!r} cannot name a folder: use letters, digits, space and _ . + -")
            if len(label) > _LONGEST_LABEL:
                raise ValueError(f"a label of {len(label)} characters, at most {_LONGEST_LABEL} name a folder: {label}")
            if _RESERVED.fullmatch(label):
                raise ValueError(f"the label {label!r} cannot name a folder on Windows: choose another")
        if len({label.casefold() for label in methods}) < len(methods):
            raise ValueError("two labels differ only in upper and lower case")
        return methods

    def _summary(self) -> Summary:
        def shown(spec: ComponentSpec | None) -> str:
            return "" if spec is None else call(spec.name, spec.parameters)

        problem = {"data": self.data, "operator": self.operator, "noise": self.noise}
        rows = [(name, shown(spec)) for name, spec in problem.items()]
        rows += [
            (label, " trained by ".join(filter(None, (shown(method.reconstructor), shown(method.trainer)))))
            for label, method in self.methods.items()
        ]
        notes = [f"analyses: {', '.join(spec.name for spec in self.analyses)}"] if self.analyses else []
        return Summary(f"Spec: {self.title}", (), rows, notes)

    def __str__(self) -> str:
        return repr(self)

    def to_yaml(self) -> str:
        """The spec as YAML, as it stands in a run folder."""
        return dump_yaml(self.model_dump(mode="json"))


def parse_spec(content: Mapping[str, Any]) -> Spec:
    """The spec that a mapping describes; names and parameters of components are checked when they are built.

    Raises:
        SpecError: if the structure is wrong, with every problem at its path.
    """
    if "executor" in content:
        raise SpecError(
            "this spec is a single run",
            where="executor",
            expected="a spec with a matrix, whose cells an executor computes",
            hint="matrix: {seed: [0, 1, 2]}, or leave the executor out",
        )
    try:
        return Spec.model_validate(content)
    except ValidationError as error:
        raise spec_errors(error, "", Spec, content) from None


def _as_specs(value: Any) -> Any:
    """The value with component instances in it replaced by the specs that they were built with."""
    if isinstance(value, Component):
        return spec_of(value)
    if isinstance(value, Mapping):
        return {key: _as_specs(item) for key, item in value.items()}
    return [_as_specs(item) for item in value] if isinstance(value, list | tuple) else value
