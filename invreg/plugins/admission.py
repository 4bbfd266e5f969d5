"""What is checked before a plugin is accepted: the interface it is written for, its hooks, its components."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pluggy

from invreg.components import hookspecs
from invreg.errors import PluginError, did_you_mean
from invreg.schema.component import Component
from invreg.schema.kinds import KINDS, NO_TEXTS, kind_of
from invreg.schema.parameters import parameters_model
from invreg.schema.sources import place_of


def interface_of(manager: pluggy.PluginManager, loaded: object) -> int:
    """The version of the plugin interface that a plugin says it is written for; 1 if it says nothing.

    It is asked before the plugin is registered, because a plugin for a later interface may use hooks, or arguments
    of hooks, that are not known here.

    Raises:
        PluginError: if that version is not supported, or not a version.
    """
    version: Any = 1
    for function in _declarations(manager, loaded):
        version = function()
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise PluginError(
                f"invreg_interface() returned {shown(version)}",
                where=place_of(function),
                expected="the number of the interface that the plugin is written for, as in return 1",
            )
    oldest, newest = hookspecs.OLDEST_INTERFACE, hookspecs.INTERFACE_VERSION
    if oldest <= version <= newest:
        return int(version)
    from invreg import __version__

    spoken = f"interface {newest}" if oldest == newest else f"interfaces {oldest} to {newest}"
    raise PluginError(
        f"written for plugin interface {version}, and this invreg ({__version__}) speaks {spoken}",
        hint="upgrade invreg, or ask the plugin's author for a version for this one"
        if version > newest
        else "upgrade the plugin, or ask its author to",
    )


def _declarations(manager: pluggy.PluginManager, loaded: object) -> Iterator[Callable[[], Any]]:
    name = "invreg_interface"
    for attribute in dir(loaded):
        options = manager.parse_hookimpl_opts(loaded, attribute)
        if options is not None and (options.get("specname") or attribute) == name:
            yield getattr(loaded, attribute)
        elif attribute == name:
            raise PluginError(
                f"{name} is not marked as a hook, so it would never be called",
                where=place_of(getattr(loaded, name)),
                hint="write @invreg.hookimpl above it",
            )


def check_hooks(manager: pluggy.PluginManager, loaded: object) -> None:
    """Refuses a registered plugin that implements hooks that do not exist, or none.

    Raises:
        PluginError: saying which.
    """
    known = [name for name in vars(hookspecs) if name.startswith("invreg_")]
    callers = manager.get_hookcallers(loaded) or []
    for caller in callers:
        if caller.spec is None:
            (implementation,) = (i for i in caller.get_hookimpls() if i.plugin is loaded)
            raise PluginError(
                f"implements the unknown hook {caller.name!r}",
                where=place_of(implementation.function),
                hint=did_you_mean(caller.name, known),
            )
    if not [caller for caller in callers if caller.name != "invreg_interface"]:
        raise PluginError(
            "implements no hook",
            expected="functions marked with @invreg.hookimpl",
            hint="def invreg_components()",
        )


def components_of(manager: pluggy.PluginManager, loaded: object) -> Iterator[tuple[str, str, type[Component]]]:
    """Kind, name and class of all that a registered plugin brings.

    Raises:
        PluginError: if a name cannot be written in a spec, or a class cannot be a component.
    """
    for implementation in manager.hook.invreg_components.get_hookimpls():
        if implementation.plugin is not loaded:
            continue
        function = implementation.function
        components = function()
        if not isinstance(components, Mapping):
            raise PluginError(
                f"invreg_components() returned {shown(components)}",
                where=place_of(function),
                expected="a mapping of names to component classes",
            )
        for name, cls in components.items():
            _check_name(name, function)
            yield _admissible_kind(name, cls, function), name, cls


def shown(value: object) -> str:
    """A value with its type, for a message."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _check_name(name: object, function: Callable[..., Any]) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        problem, expected = "", "a name of letters, digits and underscores, as in my_operator"
    elif name.lower() in NO_TEXTS:
        problem, expected = ", which YAML does not read as a text", "another word, as in my_operator"
    else:
        return
    raise PluginError(f"registers the name {name!r}{problem}", where=_place_of_name(name, function), expected=expected)


def _admissible_kind(name: str, cls: Any, function: Callable[..., Any]) -> str:
    if not isinstance(cls, type):
        raise PluginError(
            f"registers {shown(cls)} as {name!r}",
            where=_place_of_name(name, function),
            expected="a class",
            hint="give the class, not an instance",
        )
    kind = kind_of(cls)
    if kind is None:
        raise PluginError(
            f"registers {cls.__qualname__} as {name!r}",
            where=_place_of_name(name, function),
            expected=f"a class that derives from one of the bases of {', '.join(KINDS)}",
        )
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))  # type: ignore[attr-defined]
        raise PluginError(
            f"registers {cls.__qualname__} as {name!r}, which lacks {missing}",
            where=_place_of_name(name, function),
            expected="a class that can be built",
        )
    parameters_model(cls)
    return kind


def _place_of_name(name: object, function: Callable[..., Any]) -> str:
    return place_of(function, lambda node: isinstance(node, ast.Constant) and node.value == name)
