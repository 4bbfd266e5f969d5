"""Every built-in component takes and refuses the same parameters in Python as in a spec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invreg import Registry, SpecError, spec_of
from invreg.schema.kinds import KINDS
from invreg.schema.parameters import NESTED_KEY, json_schema_of, parameters_model
from invreg.schema.signature import built_with
from invreg_operators.pointwise.identity import Identity

REGISTRY = Registry.installed()
COMPONENTS = [pytest.param(kind, name, id=f"{kind}-{name}") for kind in KINDS for name in REGISTRY.names(kind)]
#: What has no default.
REQUIRED: dict[str, Any] = {
    "kernel": [[1.0]],
    "path": "images",
    "root": "images",
    "operator": Identity(),
    "operators": [Identity()],
    "std": 0.1,
}
#: The same for components that mean something else by such a name.
OF_ITS_OWN: dict[str, dict[str, Any]] = {
    "deepinv": {"physics": "Denoising", "model": "MedianFilter"},
    "pylops": {"operator": "FirstDerivative"},
}


@pytest.fixture(autouse=True)
def _what_it_needs(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The package of another project, and the matrix."""
    if name == "deepinv":
        request.getfixturevalue("dinv")
    if name == "pylops":
        pytest.importorskip("pylops", reason="PyLops is not installed")
    if name == "scipy_matrix":
        np.save(tmp_path / "a.npy", np.eye(4))
        OF_ITS_OWN[name] = {"path": str(tmp_path / "a.npy")}


def required(kind: str, name: str) -> dict[str, Any]:
    fields = REGISTRY.parameters(kind, name).model_fields
    known = REQUIRED | OF_ITS_OWN.get(name, {})
    return {key: known[key] for key, info in fields.items() if info.is_required()}


def spec(kind: str, name: str) -> dict[str, Any]:
    return spec_of(REGISTRY.entry(kind, name).cls(**required(kind, name)), REGISTRY)


def wrong_values(described: dict[str, Any]) -> Iterator[Any]:
    """One value of a wrong type, and one beyond each bound."""
    options = [each for option in described.get("anyOf", [described]) for each in option.get("anyOf", [option])]
    yield 3.5 if any("enum" in option or option.get("type") == "string" for option in options) else "nonsense"
    for option in options:
        for key, beyond in (("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)):
            if key in option:
                bound = option[key] + beyond
                yield int(bound) if option["type"] == "integer" else float(bound)
        if option.get("not") == {"multipleOf": 2}:
            yield 10


def refusal(kind: str, name: str, **wrong: Any) -> tuple[str, str]:
    """What is said in Python and of a spec, without the place."""
    cls, given = REGISTRY.entry(kind, name).cls, required(kind, name)
    with pytest.raises(SpecError) as in_python:
        cls(**{**given, **wrong})
    with pytest.raises(SpecError) as in_spec:
        REGISTRY.build(kind, {**spec(kind, name), **wrong}, "here")
    return str(in_python.value).replace(f"{cls.__qualname__}.", ""), str(in_spec.value).replace("here.", "")


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_defaults_are_the_same_in_python_and_in_a_spec(kind: str, name: str) -> None:
    built = REGISTRY.entry(kind, name).cls(**required(kind, name))
    again = REGISTRY.build(kind, spec_of(built, REGISTRY))
    assert type(again) is type(built)
    assert spec_of(again) == spec_of(built, REGISTRY)
    assert {key: type(value) for key, value in built_with(again).items()} == {
        key: type(value) for key, value in built_with(built).items()
    }


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_wrong_values_are_refused_in_the_same_words_in_python_and_in_a_spec(kind: str, name: str) -> None:
    properties = json_schema_of(parameters_model(REGISTRY.entry(kind, name).cls)).get("properties", {})
    for key, described in properties.items():
        if NESTED_KEY in str(described):
            continue  # Python takes an instance, a spec a name
        for value in wrong_values(described):
            in_python, in_spec = refusal(kind, name, **{key: value})
            assert in_python == in_spec
            assert in_python.startswith(key)
            assert f"(given: {value!r})" in in_python


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_unknown_names_are_refused_in_the_same_words_in_python_and_in_a_spec(kind: str, name: str) -> None:
    first = next(iter(REGISTRY.parameters(kind, name).model_fields), "parameter")
    in_python, in_spec = refusal(kind, name, **{f"{first}x": 1})
    assert in_python == in_spec
    assert in_python.startswith(f"{first}x: unknown parameter")
    if first != "parameter":
        assert f"did you mean {first!r}?" in in_python
