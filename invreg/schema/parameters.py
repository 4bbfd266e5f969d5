"""From a constructor's signature to a pydantic model of its parameters."""

from __future__ import annotations

import ast
import inspect
import types
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticUserError, Strict, ValidationError, create_model
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, PydanticJsonSchemaWarning
from pydantic_core.core_schema import CoreSchema, ValidationInfo, with_info_plain_validator_function

from invreg.errors import PluginError, SpecError
from invreg.schema.component_spec import NestedError, spec_errors
from invreg.schema.constraints import LeftOut
from invreg.schema.kinds import is_base, kind_of
from invreg.schema.parameter_types import type_fault, without_alias
from invreg.schema.signature import HasParameters, constructor
from invreg.schema.sources import place_of

_STRICT = (bool, int, float, str)

#: Under this key the JSON Schema of a parameter says which components it takes.
NESTED_KEY = "invreg_component"


@dataclass(frozen=True)
class Nested:
    """Marks a parameter that takes a nested component: its kind, and the class it must derive from."""

    kind: str
    base: type[HasParameters]

    @property
    def group(self) -> str:
        """The kind; with the class, if not every component of the kind will do."""
        return self.kind if is_base(self.base) else f"{self.kind}.{self.base.__qualname__}"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return with_info_plain_validator_function(self._component)

    def _component(self, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, self.base):
            return value
        nested: NestedBuilder | None = (info.context or {}).get("nested")
        if nested is None:
            given = f"{type(value).__name__} is not" if isinstance(value, HasParameters) else "input should be"
            raise ValueError(f"{given} an instance of {self.base.__qualname__}")
        try:
            return nested(self, value)
        except SpecError as error:
            raise NestedError(error) from None

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": ["string", "object"], NESTED_KEY: self.group}


#: Makes the component that stands in the place of a nested one in a spec.
NestedBuilder = Callable[[Nested, Any], HasParameters]


class Parameters(BaseModel):
    """Base of the generated models: unknown parameters and non-finite numbers are refused."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        validate_default=True,
    )


_models: dict[type[HasParameters], type[Parameters]] = {}


def parameters_model(cls: type[HasParameters]) -> type[Parameters]:
    """The model of the parameters of a component class, read off its constructor.

    Types are strict (`"2"` is not a number, `true` is not an integer; an integer is a valid float). A parameter
    annotated with a component base class takes a nested component spec.

    Raises:
        PluginError: if the signature cannot be a schema; the message names the file, the line and the parameter to
            change.
    """
    if cls not in _models:
        _models[cls] = _made(cls)
    return _models[cls]


def model_or_none(cls: type[HasParameters]) -> type[Parameters] | None:
    """As `parameters_model`; None where the signature cannot be a schema."""
    if cls not in _without_model:
        try:
            return parameters_model(cls)
        except PluginError:
            _without_model.add(cls)
    return None


_without_model: set[type[HasParameters]] = set()


def validated_arguments(
    model: type[Parameters],
    init: Callable[..., None],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    nested: NestedBuilder | None = None,
) -> dict[str, Any]:
    """The arguments of a constructor by name, validated and with defaults.

    Args:
        model: the model of the parameters.
        init: the constructor.
        args: positional arguments.
        kwargs: keyword arguments.
        nested: makes nested components from their specs; None where only instances are accepted.

    Raises:
        SpecError: if a value is wrong, missing or unknown; `where` is the parameter.
        TypeError: if there are more positional arguments than the constructor takes.
    """
    # Looked at only where it is needed, because it takes as long as the validation: specs give all by name.
    known = list(inspect.signature(init).parameters.values())[1:] if args else []
    positional = [p.name for p in known if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(args) > len(positional):
        raise TypeError(f"{model.__name__}() takes {len(positional)} positional arguments, and {len(args)} were given")
    named = dict(zip(positional, args, strict=False))
    twice = sorted(named.keys() & kwargs.keys())
    if twice:
        raise TypeError(f"{model.__name__}() got {twice[0]!r} twice")
    return validated_parameters(model, named | kwargs, nested)


def validated_parameters(
    model: type[BaseModel], values: Mapping[str, Any], nested: NestedBuilder | None = None
) -> dict[str, Any]:
    """The values of all parameters, validated and with defaults, as a constructor gets them.

    Args:
        model: the model of the parameters.
        values: by name.
        nested: makes nested components from their specs; None where only instances are accepted.

    Raises:
        SpecError: if a value is wrong, missing or unknown; `where` is the parameter.
    """
    given = {key: _of_python(value) for key, value in values.items()}
    try:
        parameters = model.model_validate(given, context={"nested": nested})
    except ValidationError as error:
        raise spec_errors(error, "", model, given) from None
    except TypeError as error:  # a range, and a value that has no order
        raise SpecError(str(error), expected="values that fit the ranges") from None
    return {name: getattr(parameters, name) for name in model.model_fields}


def _of_python(value: Any) -> Any:
    """NumPy's numbers as those of Python: a strict model takes no others."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 else value


def left_out(cls: type[HasParameters], name: str, value: Any) -> bool:
    """Whether a spec does not show this value of a parameter: the default of one that is marked by `LeftOut`."""
    model = model_or_none(cls)
    field = None if model is None else model.model_fields.get(name)
    marked = field is not None and any(isinstance(mark, LeftOut) for mark in field.metadata)
    return marked and field is not None and value == field.default


def json_schema_of(model: type[Parameters], references: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
    """The JSON Schema of a model of parameters; defaults that are components are left out of it.

    Args:
        model: as of `parameters_model`.
        references: how other models are referred to, with `{model}` for the name.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
        return model.model_json_schema(ref_template=references)


def _made(cls: type[HasParameters]) -> type[Parameters]:
    fields: dict[str, Any] = {}
    init = constructor(cls)
    if init is not None:
        hints = _hints(cls, init)
        for parameter in list(inspect.signature(init).parameters.values())[1:]:
            fields[parameter.name] = _field(cls, parameter, hints)
    try:
        with warnings.catch_warnings():
            # A parameter may be called like a method of the model, such as copy: nothing derives from the model.
            warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
            model = create_model(cls.__name__, __base__=Parameters, __module__=cls.__module__, **fields)
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        raise _unusable(cls, error) from error
    _check_defaults(cls, model)
    try:
        json_schema_of(model)  # one parameter without a schema would break the schema of all specs
    except PydanticUserError as error:
        raise _unusable(cls, error) from error
    return model


def _unusable(cls: type[HasParameters], error: Exception) -> PluginError:
    problem = str(error).splitlines()[0]
    return PluginError(problem, where=_place(cls), expected="annotations that pydantic can validate")


def _check_defaults(cls: type[HasParameters], model: type[Parameters]) -> None:
    """A default that its own annotation refuses would be the fault of whoever leaves the parameter out."""
    for name, info in model.model_fields.items():
        if not info.is_required() and not _is_plain(info.default):
            raise PluginError(
                f"the default of {name!r} is {info.default!r}, which no spec can say",
                where=_place(cls, name),
                expected="numbers, texts, lists, mappings or components",
            )
    try:
        model.model_validate({})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if detail["type"] != "missing":
                name = str(detail["loc"][0])
                raise PluginError(
                    f"the default of {name!r} is {detail['input']!r}: {detail['msg'][0].lower()}{detail['msg'][1:]}",
                    where=_place(cls, name),
                    expected="a default that the annotation allows",
                ) from None
    except TypeError as error:  # a range on something that has no order
        raise PluginError(
            str(error), where=_place(cls), expected="constraints that fit the type they are put on"
        ) from error


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(map(_is_plain, [*value, *value.values()]))
    return value is None or isinstance(value, bool | int | float | str | Path | BaseModel | HasParameters)


def nested(annotation: Any) -> Nested | None:
    """The mark of a nested component inside a generated field annotation, also within `X | None` or a list."""
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        return next((entry for entry in metadata if isinstance(entry, Nested)), None) or nested(base)
    return next((mark for mark in map(nested, get_args(annotation)) if mark), None)


def _place(cls: type[HasParameters], parameter: str | None = None) -> str:
    init = constructor(cls)
    if init is None:
        return f"{cls.__module__}.{cls.__qualname__}"
    return place_of(init, lambda node: isinstance(node, ast.arg) and node.arg == parameter)


def _hints(cls: type[HasParameters], init: Callable[..., None]) -> dict[str, Any]:
    try:
        return get_type_hints(init, include_extras=True)
    except Exception as error:
        raise PluginError(
            f"annotations cannot be resolved: {error}",
            where=_place(cls),
            expected="annotations whose names exist when the module is imported",
            hint="import them outside `if TYPE_CHECKING:`" if isinstance(error, NameError) else None,
        ) from error


def _field(cls: type[HasParameters], parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[Any, Any]:
    name = parameter.name
    problem = expected = hint = None
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        problem, expected = f"takes {parameter}", "named parameters only: the signature is the schema"
    elif parameter.kind is parameter.POSITIONAL_ONLY:
        problem, expected = f"parameter {name!r} is positional only", "parameters that can be named"
    elif name in ("name", "model_config") or name.startswith("_"):
        problem, expected = f"parameter {name!r}", "another name: this one is reserved in specs"
    elif name not in hints:
        problem, hint = f"parameter {name!r} has no annotation", f"{name}: float, for example"
    elif fault := type_fault(hints[name]):
        problem, expected = f"parameter {name!r} {fault[0]}", fault[1]
    if problem:
        raise PluginError(problem, where=_place(cls, name), expected=expected, hint=hint)
    default = ... if parameter.default is parameter.empty else parameter.default
    return _translate(hints[name]), default


def _translate(annotation: Any) -> Any:
    """Makes plain types strict and component classes nested specs, inside any combination of generics."""
    annotation = without_alias(annotation)
    if annotation in _STRICT:
        return Annotated[annotation, Strict()]
    if isinstance(annotation, type) and issubclass(annotation, HasParameters):
        kind = kind_of(annotation)
        return Annotated[Any, Nested(kind, annotation)] if kind else annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_translate(arguments[0]), *arguments[1:])]
    if origin is None or origin is Literal:
        return annotation
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_translate, arguments))]  # noqa: UP007 (built from a tuple)
    return origin[tuple(argument if argument is ... else _translate(argument) for argument in arguments)]
