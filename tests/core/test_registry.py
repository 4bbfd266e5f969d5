"""Admission of plugins, names, and building from specs."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field

import invreg
from invreg.components.operator import LinearOperator, Operator
from invreg.errors import SpecError
from invreg.plugins.registry import Registry, spec_of


class Scale(LinearOperator):
    def __init__(self, factor: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        if factor == 13:
            raise ValueError("13 brings bad luck")
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


class Square(Operator):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x


class Chain(Operator):
    def __init__(self, first: LinearOperator, others: list[Operator] = []) -> None:  # noqa: B006
        super().__init__()
        self.first, self.others = first, others

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x)


def plugin(components: Mapping[str, Any] | Callable[[], Any]) -> types.SimpleNamespace:
    function = components if callable(components) else lambda: components

    @invreg.hookimpl
    def invreg_components() -> Any:
        return function()

    return types.SimpleNamespace(invreg_components=invreg_components)


@pytest.fixture
def registry() -> Registry:
    return Registry({"mine": plugin({"scale": Scale, "square": Square, "chain": Chain})})


def test_names_and_building(registry: Registry) -> None:
    assert registry.names("operator") == ["chain", "scale", "square"]
    built = registry.build("operator", {"name": "scale", "factor": 2.0})
    assert isinstance(built, Scale)
    assert built.factor == 2.0
    assert spec_of(built, registry) == {"name": "scale", "factor": 2.0}
    assert spec_of(Scale(3.0), registry) == {"name": "scale", "factor": 3.0}


def test_nested_components_are_built_and_written_back(registry: Registry) -> None:
    spec = {"name": "chain", "first": {"name": "scale", "factor": 2.0}, "others": ["square", {"name": "scale"}]}
    chain = registry.build("operator", spec)
    assert isinstance(chain.first, Scale)
    assert [type(other) for other in chain.others] == [Square, Scale]
    full = {
        "name": "chain",
        "first": {"name": "scale", "factor": 2.0},
        "others": [{"name": "square"}, {"name": "scale", "factor": 1.0}],
    }
    assert spec_of(chain, registry) == full
    assert spec_of(registry.build("operator", full), registry) == full


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("scal", ["operator", "there is no operator 'scal'", "did you mean 'scale'"]),
        ({"name": "scale", "factr": 1.0}, ["operator.factr", "unknown parameter", "did you mean 'factor'"]),
        ({"name": "scale", "factor": -1.0}, ["operator.factor", "greater than 0", "-1.0"]),
        ({"name": "scale", "factor": "big"}, ["operator.factor", "'big'"]),
        ({"name": "scale", "factor": 13}, ["operator", "bad luck"]),
        ({"name": "chain"}, ["operator.first", "missing"]),
        (
            {"name": "chain", "first": "square"},
            ["operator.first", "is not a LinearOperator", "expected: an operator that is a LinearOperator"],
        ),
        ({"name": "chain", "first": {"name": "scale", "factor": 0}}, ["operator.first.factor"]),
        ({"name": "chain", "first": "scale", "others": [{"name": "nope"}]}, ["operator.others.0", "'nope'"]),
        ({"factor": 1.0}, ["operator.name", "missing"]),
        (3, ["operator"]),
    ],
)
def test_messages_name_the_path(registry: Registry, spec: Any, parts: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        registry.build("operator", spec, "operator")
    for part in parts:
        assert part in str(caught.value)


def test_a_name_of_another_kind_is_sent_to_its_place() -> None:
    with pytest.raises(SpecError) as caught:
        Registry.installed().entry("analyzer", "training_size", "analyses.0")
    assert caught.value.hint == "'training_size' belongs under study_analyses"


def test_unknown_kind(registry: Registry) -> None:
    with pytest.raises(SpecError, match="did you mean 'operator'"):
        registry.names("operators")
    with pytest.raises(SpecError) as caught:
        registry.names(registry.names("operator")[0])
    assert f"try: operator {registry.names('operator')[0]}" in str(caught.value)


def misspelt() -> types.SimpleNamespace:
    @invreg.hookimpl
    def invreg_component() -> dict[str, type]:
        return {}

    return types.SimpleNamespace(invreg_component=invreg_component)


def raising() -> dict[str, type]:
    raise RuntimeError("no licence")


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (misspelt(), "did you mean 'invreg_components'"),
        (types.SimpleNamespace(), "implements no hook"),
        (plugin(lambda: ["scale"]), "returned list"),
        (plugin(raising), "no licence"),
        (plugin({"scale": Scale()}), "expected: a class"),
        (plugin({"dictionary": dict}), "derives from"),
        (plugin({"abstract": Operator}), "lacks forward"),
        (plugin({"two words": Scale}), "'two words'"),
        (plugin({3: Scale}), "registers the name 3"),
    ],
)
def test_a_broken_plugin_is_set_aside_with_its_cause(broken: object, cause: str) -> None:
    registry = Registry({"good": plugin({"square": Square}), "broken": broken, "later": plugin({"scale": Scale})})
    good, bad, later = registry.plugins
    assert good.problem is None
    assert later.problem is None
    assert bad.problem is not None
    assert cause in bad.problem
    assert registry.names("operator") == ["scale", "square"]
    with pytest.raises(SpecError, match="broken") as caught:
        registry.build("operator", "missing_one")
    assert cause in str(caught.value)


def test_a_broken_plugin_hears_nothing() -> None:
    heard = []

    @invreg.hookimpl
    def invreg_run_started() -> None:
        heard.append("started")

    broken = plugin(lambda: None)
    broken.invreg_run_started = invreg_run_started
    registry = Registry({"broken": broken})
    registry.manager.hook.invreg_run_started(folder=None, spec=None)
    assert heard == []


def test_our_names_win_and_the_other_is_reached_by_its_distribution() -> None:
    registry = Registry({"invreg": plugin({"scale": Scale}), "stranger": plugin({"scale": Square, "own": Square})})
    assert registry.entry("operator", "scale").cls is Scale
    assert registry.entry("operator", "stranger:scale").cls is Square
    assert registry.entry("operator", "own").cls is Square
    assert "stranger:scale" in registry.plugins[1].conflicts[0]
    built = registry.build("operator", "stranger:scale")
    assert spec_of(built, registry) == {"name": "stranger:scale"}


def test_between_strangers_a_shared_name_must_be_qualified() -> None:
    registry = Registry({"alpha": plugin({"scale": Scale}), "beta": plugin({"scale": Square})})
    with pytest.raises(SpecError, match="alpha:scale, beta:scale"):
        registry.build("operator", "scale")
    assert registry.entry("operator", "beta:scale").cls is Square
    assert "scale" not in registry.names("operator")
    assert registry.plugins[0].conflicts
    assert registry.plugins[1].conflicts


def test_what_cannot_be_written_as_a_spec_is_refused(registry: Registry) -> None:
    class Private(Operator):
        def __init__(self, weight: torch.Tensor) -> None:
            super().__init__()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(SpecError, match="not registered"):
        spec_of(Private(torch.ones(1)), registry)
    with pytest.raises(SpecError, match="not a component"):
        spec_of(3, registry)  # type: ignore[arg-type]


def test_installed_plugins_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "psnr" in Registry.installed().names("metric")
    monkeypatch.setenv("INVREG_DISABLE_PLUGINS", "metrics, unknown")
    registry = Registry.installed()
    assert registry.names("metric") == []
    (off,) = [p for p in registry.plugins if p.name == "metrics"]
    assert off.problem == "switched off by INVREG_DISABLE_PLUGINS"
    monkeypatch.setenv("INVREG_DISABLE_PLUGINS", "Metrics, TV")
    switched_off = [p.name for p in Registry.installed().plugins if p.problem]
    assert switched_off == ["metrics", "tv"]
