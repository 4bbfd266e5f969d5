"""Checks of whole plugins: modules, names, registries, and what two distributions share."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field
from torch import Tensor

from invreg import hookimpl
from invreg.components.operator import Operator
from invreg.plugins.registry import Registry
from invreg.testing import CheckFailure, check_plugin
from invreg.testing.plugins import component_checks


class Negative(Operator):
    """1 - x at every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return 1 - x


class Power(Operator):
    """x to a power."""

    def __init__(self, exponent: Annotated[int, Field(description="neither negative nor large")]) -> None:
        super().__init__()
        self.exponent = exponent

    def forward(self, x: Tensor) -> Tensor:
        return x**2


class Good:
    @staticmethod
    @hookimpl
    def invreg_components() -> dict[str, type]:
        return {"negative": Negative}


class AlsoNegative:
    @staticmethod
    @hookimpl
    def invreg_components() -> dict[str, type]:
        return {"negative": Negative}


class NeedsAnExample:
    @staticmethod
    @hookimpl
    def invreg_components() -> dict[str, type]:
        return {"power": Power}


class Nonsense:
    @staticmethod
    @hookimpl
    def invreg_components() -> dict[str, type]:
        return {"no-name": Negative}


def test_a_good_plugin_passes_also_as_a_registry() -> None:
    check_plugin(Good)
    assert list(component_checks(Registry({"good": Good}))) == ["operator:negative"]
    check_plugin(Registry({"good": Good}))


def test_a_component_without_defaults_needs_an_example() -> None:
    with pytest.raises(CheckFailure) as caught:
        check_plugin(NeedsAnExample)
    assert caught.value.checks == ("operator:power.build",)
    (failure,) = caught.value.failures
    assert "\n" not in failure.found
    assert failure.expected == "a value"
    assert "examples={" in failure.fix
    assert "invreg_examples" in failure.fix
    assert str(caught.value).count("expected:") == 1
    check_plugin(NeedsAnExample, {"power": {"exponent": 2}})


def test_examples_for_nothing_are_found() -> None:
    with pytest.raises(CheckFailure) as caught:
        check_plugin(Good, {"negativ": {}})
    assert caught.value.checks == ("examples",)


@pytest.mark.parametrize("plugin", [Nonsense, "no such plugin"])
def test_what_is_no_plugin_is_refused(plugin: object) -> None:
    with pytest.raises(CheckFailure) as caught:
        component_checks(plugin)
    assert caught.value.checks == ("registration",)


def test_names_that_two_distributions_share_are_reported() -> None:
    registry = Registry({"one": Good, "two": AlsoNegative})
    assert any(plugin.conflicts for plugin in registry.plugins)
    with pytest.raises(CheckFailure) as caught:
        check_plugin(registry)
    assert "conflicts.name" in caught.value.checks
