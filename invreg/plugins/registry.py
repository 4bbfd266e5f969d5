"""Components by name: from plugins to classes, from specs to components and back.

A plugin that cannot be imported, is written for another interface, returns nonsense or misspells a hook is set aside
with its cause, and everything else works.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pluggy
from pydantic import BaseModel, ValidationError

from invreg.components import hookspecs
from invreg.components.foreign import blamed
from invreg.computing.memory import within_memory
from invreg.errors import InvregError, PluginError, SpecError, did_you_mean, message_of, near_name, readable
from invreg.plugins.admission import check_hooks, components_of, interface_of, shown
from invreg.plugins.discovery import OWN, Plugin, installed_plugins
from invreg.plugins.isolation import isolated
from invreg.schema.component import Component, constructing
from invreg.schema.component_spec import ComponentSpec, spec_errors
from invreg.schema.kinds import KINDS
from invreg.schema.parameters import Nested, Parameters, left_out, parameters_model
from invreg.schema.signature import built_with
from invreg.schema.sources import place_of_error
from invreg.summaries import Summarized, Summary
from invreg.text import plural, with_article

#: What constructors raise for a combination of parameters.
_WRONG = (ValueError, TypeError)

#: Where a spec names a component of a kind.
_PLACES = {
    "operator": "operator",
    "noise": "noise",
    "dataset": "data",
    "reconstructor": "methods.<label>.reconstructor",
    "metric": "metrics",
    "trainer": "methods.<label>.trainer",
    "analyzer": "analyses",
    "study_analyzer": "study_analyses",
    "executor": "executor",
}


@dataclass(frozen=True)
class Entry:
    """A registered component class."""

    kind: str
    name: str
    cls: type[Component]
    plugin: Plugin


class Registry(Summarized):
    """Components by kind and name.

    Args:
        plugins: plugin objects (modules, usually) by name, to be registered without entry points.
    """

    def __init__(self, plugins: Mapping[str, object] | None = None) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []
        self._entries: dict[tuple[str, str], Entry] = {}
        self._claims: dict[tuple[str, str], list[Entry]] = {}
        #: The distributions of all components that were built.
        self.built_from: set[str] = set()
        for name, plugin in (plugins or {}).items():
            self._admit(Plugin(name, name, ""), plugin)

    @classmethod
    def installed(cls, plugins: Mapping[str, object] | None = None) -> Self:
        """The registry of all installed plugins, but those named in `INVREG_DISABLE_PLUGINS`.

        Args:
            plugins: further plugin objects by name.
        """
        registry = cls()
        for plugin, loaded in installed_plugins():
            if plugin.problem is None:
                registry._admit(plugin, loaded)
            else:
                registry.plugins.append(plugin)
        for name, further in (plugins or {}).items():
            registry._admit(Plugin(name, name, ""), further)
        return registry

    def _summary(self) -> Summary:
        names = [(kind, ", ".join(self.names(kind))) for kind in KINDS]
        rows = [(kind, text.count(",") + 1 if text else 0, text) for kind, text in names]
        broken = [f"set aside: {plugin.distribution} ({plugin.name})" for plugin in self.plugins if plugin.problem]
        title = f"Registry: {plural(len(self.plugins), 'plugin')}"
        return Summary(title, ("kind", "components", "names"), rows, broken)

    # -- what there is

    def names(self, kind: str) -> list[str]:
        """The names of all components of a kind, sorted; shared names are left out, see `entries`."""
        self._check_kind(kind)
        return sorted(name for known, name in self._entries if known == kind)

    def entries(self, kind: str) -> dict[str, Entry]:
        """All components of a kind by the names that specs use: `distribution:name` where a name is taken."""
        found = {name: self._entries[kind, name] for name in self.names(kind)}
        for (known, name), claims in sorted(self._claims.items(), key=lambda item: item[0]):
            for claim in claims if known == kind else []:
                if self._entries.get((kind, name)) is not claim:
                    found[self._qualified(claim)] = claim
        return found

    def entry(self, kind: str, name: str, where: str = "") -> Entry:
        """The registered class behind a name (or `distribution:name`).

        Raises:
            SpecError: if there is none; the message lists what exists and which plugins failed to load.
        """
        self._check_kind(kind)
        if (kind, name) in self._entries:
            return self._entries[kind, name]
        claims = self._claims.get((kind, name), [])
        if len(claims) > 1:
            choices = ", ".join(map(self._qualified, claims))
            raise SpecError(
                f"the {kind} {name!r} is claimed by several plugins",
                where=where or None,
                expected=f"one of {choices}",
            )
        qualified = {self._qualified(claim): claim for claims in self._claims.values() for claim in claims}
        if (found := qualified.get(name)) and found.kind == kind:
            return found
        known, near = self.names(kind), near_name(name, self.names(kind))
        others = [other for other, own in self._entries if own == name]
        # Without a near name the hint would repeat the list of what exists.
        hint = f"did you mean {near!r}?" if near else "a plugin that registers it must be installed"
        if others:
            hint = f"{name!r} belongs under {', '.join(_PLACES[other] for other in others)}"
        broken = [f"{p.distribution} ({p.name}): {p.problem}" for p in self.plugins if p.problem]
        if broken:
            hint += "\n  plugins that were set aside: " + "; ".join(broken)
        raise SpecError(
            f"there is no {kind} {name!r}",
            where=where or None,
            expected=f"one of {', '.join(known)}" if known else None,
            hint=hint,
        )

    @staticmethod
    def _qualified(entry: Entry) -> str:
        return f"{entry.plugin.distribution}:{entry.name}"

    def name_of(self, cls: type[Component]) -> str | None:
        """The name under which a class is registered, or the one that it says it is registered as."""
        cls = cls.registered_class or cls
        found = next((entry for entry in self._entries.values() if entry.cls is cls), None)
        if found:
            return found.name
        shared = (c for claims in self._claims.values() for c in claims if c.cls is cls)
        return next(map(self._qualified, shared), None)

    def parameters(self, kind: str, name: str) -> type[Parameters]:
        """The pydantic model of a component's parameters."""
        return parameters_model(self.entry(kind, name).cls)

    # -- from a spec to a component

    def build(self, kind: str, spec: Any, where: str = "") -> Any:
        """The component that a spec describes, nested components included.

        Args:
            kind: the kind of component.
            spec: a name, a mapping with `name` and parameters, a `ComponentSpec` or an instance.
            where: path of this component in the whole spec, for messages.

        Raises:
            SpecError: if the name or a parameter is wrong, also if the constructor refuses a combination.
        """
        given = self._component_spec(kind, spec, where)
        entry = self.entry(kind, given.name, where)
        try:
            with (
                constructing(self.nested, where),
                within_memory(where),
                blamed(entry.cls, where, SpecError, but=_WRONG),
            ):
                component = entry.cls(**given.parameters)
        except InvregError:
            raise
        except _WRONG as error:
            raise SpecError(
                str(error), where=where or None, expected=f"parameters that {entry.name!r} accepts"
            ) from error
        component.__dict__["_registered_as"] = given.name
        self.built_from.add(entry.plugin.distribution)
        return component

    def _component_spec(self, kind: str, spec: Any, where: str) -> ComponentSpec:
        if isinstance(spec, ComponentSpec):
            return spec
        if isinstance(spec, Component):
            spec = spec_of(spec, self)
        try:
            return ComponentSpec.model_validate(spec)
        except ValidationError as error:
            raise spec_errors(error, where, ComponentSpec, spec) from None

    def nested(self, mark: Nested, spec: Any) -> Component:
        """The component that a spec describes, for a parameter that takes components.

        Raises:
            SpecError: if the spec is wrong, or the component is not of the class that the parameter takes.
        """
        given = self._component_spec(mark.kind, spec, "")
        if not issubclass(self.entry(mark.kind, given.name).cls, mark.base):
            name = mark.base.__name__
            raise SpecError(
                f"{given.name!r} is not {with_article(name)}",
                expected=f"{with_article(mark.kind)} that is {with_article(name)}",
            )
        built: Component = self.build(mark.kind, given)
        return built

    # -- admission of plugins

    def _admit(self, plugin: Plugin, loaded: object) -> None:
        self.plugins.append(plugin)
        registered = f"{plugin.distribution}:{plugin.name}"
        start = time.process_time()
        try:
            with isolated(plugin.watched_as):
                plugin.interface = interface_of(self.manager, loaded)
                self.manager.register(loaded, registered)
                check_hooks(self.manager, loaded)
                entries = [Entry(kind, name, cls, plugin) for kind, name, cls in components_of(self.manager, loaded)]
            self._check_own_claims(entries)
        except BaseException as error:  # one plugin that fails must not stop the others
            if isinstance(error, KeyboardInterrupt):
                raise
            if self.manager.has_plugin(registered):
                self.manager.unregister(name=registered)
            plugin.problem = str(error) if isinstance(error, InvregError) else _failure(error)
            return
        finally:
            plugin.seconds += time.process_time() - start
        for entry in entries:
            self._claim(entry)
        plugin.components = [(entry.kind, entry.name) for entry in entries]

    def _check_own_claims(self, entries: list[Entry]) -> None:
        """Two plugins of one distribution cannot share a name: not even `distribution:name` could tell them apart."""
        for entry in entries:
            for claim in self._claims.get((entry.kind, entry.name), []):
                if claim.plugin.distribution == entry.plugin.distribution:
                    raise PluginError(
                        f"registers the {entry.kind} {entry.name!r}, as does {claim.plugin.name!r} of the same package",
                        expected="every name once in a package",
                    )

    def _claim(self, entry: Entry) -> None:
        key = (entry.kind, entry.name)
        claims = self._claims.setdefault(key, [])
        claims.append(entry)
        if len(claims) == 1:
            self._entries[key] = entry
            return
        first = claims[0].plugin
        qualified = self._qualified(entry)
        if first.distribution == OWN:
            entry.plugin.conflicts.append(
                f"the {entry.kind} {entry.name!r} is taken by {OWN}; reach this one as {qualified!r}"
            )
            return
        # Between third-party plugins neither wins: installing one more package must not change what a name means.
        self._entries.pop(key, None)
        shared = f"the {entry.kind} {entry.name!r} is claimed more than once"
        for claim in claims:
            claim.plugin.conflicts[:] = [known for known in claim.plugin.conflicts if not known.startswith(shared)]
            names = ", ".join(map(self._qualified, claims))
            claim.plugin.conflicts.append(f"{shared}: use one of {names}")

    def _check_kind(self, kind: str) -> None:
        if kind not in KINDS:
            raise SpecError(
                f"there is no kind {kind!r}",
                expected=f"one of {', '.join(KINDS)}",
                hint=" or ".join(f"{of} {kind}" for of, name in self._entries if name == kind)
                or did_you_mean(kind, KINDS),
            )


def _failure(error: BaseException) -> str:
    """What a plugin's own code has raised, and where."""
    own = {Path(__file__).parent, Path(pluggy.__file__).parent}
    place = place_of_error(error, lambda file: Path(file).parent in own)
    return readable(message_of(error) + (f" ({place})" if place else ""))


def _below(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def spec_of(component: Component, registry: Registry | None = None) -> dict[str, Any]:
    """The spec from which an equal component can be built: its name and all its parameters.

    Raises:
        SpecError: if the component's class is not registered, or a parameter has no form in a spec.
    """
    if not isinstance(component, Component):
        raise SpecError(f"{shown(component)} is not a component", expected="an instance of an invreg component class")
    name = component.__dict__.get("_registered_as") or (registry or Registry.installed()).name_of(type(component))
    if name is None:
        raise SpecError(
            f"{type(component).__module__}.{type(component).__qualname__} is not registered, so no spec can name it",
            expected="a component that a plugin registers",
            hint=getattr(component, "spec_hint", "register its class in a plugin's invreg_components()"),
        )
    parameters = {
        key: plain_form(value, f"{name}.{key}", registry)
        for key, value in built_with(component).items()
        if not left_out(type(component), key, value)
    }
    return {"name": name, **parameters}


def plain_form(value: Any, where: str, registry: Registry | None = None) -> Any:
    """The value as YAML and JSON can hold it: components as their specs, paths as texts.

    Raises:
        SpecError: if it has no such form.
    """
    if isinstance(value, Component):
        return spec_of(value, registry)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain_form(item, _below(where, key), registry) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_form(item, _below(where, index), registry) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise SpecError(
        f"{shown(value)} cannot be written in a spec",
        where=where,
        expected="numbers, texts, lists, mappings or components",
    )
