"""Classes of other packages that components take by name: what is said of them, and their schemas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from invreg import InvregError, NamedClass, Registry, SpecError, TakesNamedClasses
from invreg.plugins.describe import (
    describe_as_data,
    describe_component,
    describe_named_class,
    describe_named_class_as_data,
)
from invreg.specs.json_schema import add_named_classes, spec_schema
from invreg.specs.yaml import parse_yaml
from invreg_foreign.schemas import descriptions_of, schema_of
from invreg_foreign.signatures import parameters_of

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = Registry.installed()


class Theirs:
    """A class of another package.

    :param float sigma: the width,
        in pixels.
    :param str mode: how.

    |sep|
    """

    def __init__(
        self,
        sigma: float,
        mode: str = "a",
        size: tuple[int, ...] | None = None,
        dx: float = float("nan"),
        **kwargs: Any,
    ) -> None: ...


def numpydoc(niter: int = 3, engine=None) -> None:  # type: ignore[no-untyped-def]
    """A function.

    Parameters
    ----------
    niter : :obj:`int`, optional
        .. versionadded:: 2.0.0

        How often
        it is done.
    engine : :obj:`str`
        What does it.
    """


def test_schemas_say_what_signatures_say() -> None:
    said = descriptions_of(Theirs)
    assert said == {"sigma": "the width, in pixels.", "mode": "how."}
    schemas = {name: schema_of(one, None, said.get(name)) for name, one in parameters_of(Theirs).items()}
    assert schemas == {
        "sigma": {"type": ["number", "object"], "annotation": "float", "description": "the width, in pixels."},
        "mode": {"type": ["object", "string"], "default": "a", "annotation": "str", "description": "how."},
        "size": {
            "type": ["array", "integer", "object", "null"],
            "default": None,
            "annotation": "tuple[int, ...] | None",
        },
        "dx": {"type": ["number", "object"], "annotation": "float"},
    }
    assert descriptions_of(numpydoc) == {"niter": "How often it is done.", "engine": "What does it."}
    loose = parameters_of(numpydoc)["engine"]
    assert schema_of(loose, "follows from the images", None) == {"description": "(follows from the images)"}


def test_components_without_named_classes_refuse_names() -> None:
    entry = REGISTRY.entry("operator", "radon")
    assert not isinstance(entry.cls, TakesNamedClasses)
    with pytest.raises(SpecError, match=r"(?s)radon takes no class.*expected: nothing after radon"):
        describe_named_class(entry, "Blur")
    assert "annotation" not in str(describe_as_data(entry, REGISTRY))


@pytest.mark.slow
def test_operators_of_pylops_are_described() -> None:
    pytest.importorskip("pylops")
    entry = REGISTRY.entry("operator", "pylops")
    assert "invreg describe operator pylops OPERATOR" in describe_component(entry, REGISTRY)
    text = describe_named_class(entry, "FirstDerivative")
    assert "operator pylops, operator FirstDerivative\n(pylops." in text
    assert re.search(r"\n  dims: .*, optional\n      Number of samples.*\(follows from the images", text)
    assert re.search(r"\n  kind: .*, default 'centered'\n", text)
    with pytest.raises(SpecError, match="did you mean 'FirstDerivative'"):
        describe_named_class(entry, "FirstDerivativ")


@pytest.mark.slow
def test_physics_and_models_of_deepinverse_are_described(dinv: Any) -> None:
    data = describe_named_class_as_data(REGISTRY.entry("operator", "deepinv"), "Tomography")
    assert (data["name"], data["physics"], data["required"]) == ("deepinv", "Tomography", ["angles"])
    assert data["properties"]["circle"]["default"] is False
    assert {"device", "noise_model"}.isdisjoint(data["properties"])
    assert "follows from the images" in data["properties"]["img_width"]["description"]
    assert "  max_iter: int, default 100" in describe_named_class(REGISTRY.entry("reconstructor", "deepinv"), "PGD")
    for kind in ("operator", "reconstructor"):
        cls: Any = REGISTRY.entry(kind, "deepinv").cls
        for name in cls.class_names():
            assert isinstance(cls.class_named(name), NamedClass)


@pytest.mark.slow
def test_the_schema_of_specs_has_their_schemas(dinv: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = spec_schema(REGISTRY)
    add_named_classes(schema, REGISTRY)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    content = parse_yaml((ROOT / "specs" / "operators" / "deepinv.yaml").read_text(encoding="utf-8"), "deepinv")

    def is_valid(physics: str, **parameters: Any) -> bool:
        operator = {"name": "deepinv", "physics": physics, **({"parameters": parameters} if parameters else {})}
        return not list(validator.iter_errors({**content, "operator": operator}))

    assert not list(validator.iter_errors(content))
    assert is_valid("Inpainting")
    assert is_valid("Inpainting", mask=0.5)
    assert is_valid("Inpainting", mask={"path": "mask.npy"})
    assert is_valid("Tomography", angles=30)
    assert not is_valid("Tomography")
    assert not is_valid("Inpaintng")
    assert not is_valid("Inpainting", msk=0.5)
    assert not is_valid("Inpainting", mask="half")
    page = (ROOT / "docs" / "foreign.md").read_text(encoding="utf-8")
    specs = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if block.startswith("title")]
    assert specs
    for text in specs:
        assert not list(validator.iter_errors(parse_yaml(text, "foreign.md")))


def test_packages_that_are_missing_are_left_out_of_the_schema() -> None:
    class Missing:
        name_parameter = "what"

        @classmethod
        def class_names(cls) -> list[str]:
            raise InvregError("not installed")

        @classmethod
        def class_named(cls, name: str) -> NamedClass:
            raise InvregError("not installed")

    from invreg.specs.json_schema import _add_classes_of

    definitions: dict[str, Any] = {"operator.missing": {"properties": {"what": {"type": "string"}}}}
    _add_classes_of(Missing, "operator.missing", definitions)
    assert definitions == {"operator.missing": {"properties": {"what": {"type": "string"}}}}
