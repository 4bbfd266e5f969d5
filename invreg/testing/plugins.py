"""Checks of a whole plugin: everything that it registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from invreg.components.operator import Operator
from invreg.components.reconstructor import Reconstructor
from invreg.errors import InvregError
from invreg.plugins.discovery import Plugin
from invreg.plugins.registry import Registry
from invreg.schema.component import Component
from invreg.testing.analyzers import check_analyzer
from invreg.testing.checks import CheckFailure, Failure, failure_of, run_checks, title_of
from invreg.testing.constructors import constructor_checks
from invreg.testing.datasets import check_dataset
from invreg.testing.executors import check_executor
from invreg.testing.metrics import check_metric
from invreg.testing.noises import check_noise
from invreg.testing.operators import check_operator
from invreg.testing.reconstructors import check_reconstructor
from invreg.testing.studies import check_study_analyzer
from invreg.testing.trainers import check_trainer

#: What a whole registry is called in reports.
ALL = "the registry"

#: Kind to the check of its components; those of other kinds are checked for what all components have in common.
CHECKS: dict[str, Callable[..., None]] = {
    "operator": check_operator,
    "noise": check_noise,
    "metric": check_metric,
    "reconstructor": check_reconstructor,
    "dataset": check_dataset,
}

#: Kinds that take minutes with default parameters: tried on a small problem where parameters or settings are given.
TRIED: dict[str, Callable[..., None]] = {
    "trainer": check_trainer,
    "analyzer": check_analyzer,
    "study_analyzer": check_study_analyzer,
    "executor": check_executor,
}


def check_plugin(
    plugin: object,
    examples: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Checks everything that a plugin registers, each component with its default parameters or with given ones.

    Trainers and analyses are tried on a small problem if something is given for them, such as a small number of steps;
    else only their constructors and descriptions are checked.

    Args:
        plugin: a module (or another object) with hooks; the name of an installed plugin, of its entry point or of its
            distribution; or a registry, of which everything is checked.
        examples: parameters by the names of components, where the defaults are too large for a test or there are none;
            `operator:radon` instead of `radon` where two kinds share a name.
        settings: further arguments of the checks by the names of components, `{"radon": {"image_shape": (1, 16, 16)}}`.

    Raises:
        CheckFailure: with the failures of all components; each check is named `kind:name.check`.
    """
    registry, title, names = registered(plugin)
    failures: list[Failure] = []
    known = {key for kind, name in names for key in (name, f"{kind}:{name}", name.rpartition(":")[2])}
    for key in [*(examples or {}), *(settings or {})]:
        if key not in known:
            failures.append(
                Failure(
                    "examples",
                    f"something is given for {key!r}",
                    f"one of {', '.join(sorted(known))}",
                    "correct the name",
                )
            )
    for label, check in _checks(registry, title, names, examples, settings).items():
        try:
            check()
        except CheckFailure as error:
            failures += [Failure(f"{label}.{f.check}", f.found, f.expected, f.fix) for f in error.failures]
    if failures:
        raise CheckFailure(title, failures)


def component_checks(
    plugin: object,
    examples: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Callable[[], None]]:
    """The parts of `check_plugin` one by one: `kind:name` to a function that checks this component.

    Names that the plugin shares with another distribution are an entry `conflicts`, which fails.

    Args:
        plugin: as in `check_plugin`, or a registry: all that is in it.
        examples: as in `check_plugin`; names that the plugin does not have are left aside.
        settings: likewise.

    Raises:
        CheckFailure: if there is no such plugin, or it was set aside.
    """
    return _checks(*registered(plugin), examples, settings)


def _checks(
    registry: Registry,
    title: str,
    names: list[tuple[str, str]],
    examples: Mapping[str, Mapping[str, Any]] | None,
    settings: Mapping[str, Mapping[str, Any]] | None,
) -> dict[str, Callable[[], None]]:
    checks: dict[str, Callable[[], None]] = {}
    # Only plugins with one of these names are the tested one; a registry may hold others.
    conflicts = [text for p in registry.plugins if title in _names_of(p) or title == ALL for text in p.conflicts]
    if conflicts:
        checks["conflicts"] = partial(_refuse_conflicts, title, conflicts)
    for kind, name in names:
        given = _given(examples, kind, name), _given(settings, kind, name)
        checks[f"{kind}:{name}"] = partial(check_component, registry, kind, name, *given)
    return checks


def _refuse_conflicts(title: str, conflicts: list[str]) -> None:
    fix = "rename the component, or write 'distribution:name' in specs"
    raise CheckFailure(title, [Failure("name", text, "a name of its own", fix) for text in conflicts])


def check_component(
    registry: Registry, kind: str, name: str, parameters: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Checks one registered component.

    Raises:
        CheckFailure: with all failures.
    """
    try:
        component: Component = registry.build(kind, {"name": name, **parameters})
    except InvregError as error:
        given = f"parameters for it: {_in_words('examples', name)}"
        raise CheckFailure(
            f"{kind}:{name}", [failure_of("build", error, "parameters that it accepts", given)]
        ) from None
    check = CHECKS.get(kind) or (TRIED.get(kind) if parameters or settings else None)
    if isinstance(component, Reconstructor) and "operator" not in settings:
        settings = {**_operator_for(component), **settings}
    if check is None:
        run_checks(f"{kind}:{name}", constructor_checks(component))
    else:
        check(component, **settings)


def _in_words(what: str, name: str, inside: str = "...") -> str:
    """How `examples` or `settings` are given."""
    of_pytest = "invreg_examples in the settings of pytest" if what == "examples" else "pytest_invreg_settings"
    return f'{what}={{"{name}": {{{inside}}}}} of check_plugin; {of_pytest} for --invreg-plugin'


def _operator_for(reconstructor: Reconstructor) -> dict[str, Any]:
    """An installed operator that a method is for, with its default parameters."""
    registry = Registry.installed()
    for name in sorted(registry.names("operator"), key=lambda name: name != "gaussian_blur"):
        try:
            operator: Operator = registry.build("operator", name)
            reconstructor.check_operator(operator)
        except Exception:  # noqa: BLE001, S112 (then another one)
            continue
        return {"operator": operator}
    name = title_of(reconstructor)
    fix = "give one: " + _in_words("settings", name, '"operator": ...')
    failure = Failure("setup", "no installed operator is accepted", "one that the method is for", fix)
    raise CheckFailure(type(reconstructor).__qualname__, [failure])


def registered(plugin: object) -> tuple[Registry, str, list[tuple[str, str]]]:
    """A registry with the plugin, what the plugin is called, and kind and name of all that it registers.

    Raises:
        CheckFailure: if there is no such plugin, or it was set aside.
    """
    if isinstance(plugin, str):
        registry = Registry.installed()
        found = [p for p in registry.plugins if plugin in _names_of(p)]
        if not found:
            installed = ", ".join(sorted({p.name for p in registry.plugins}))
            failure = Failure("registration", f"there is no plugin {plugin!r}", f"one of {installed}", "install it")
            raise CheckFailure(plugin, [failure])
        title = plugin
    elif isinstance(plugin, Registry):
        registry, title, found = plugin, ALL, plugin.plugins
    else:
        title, registry, found = _with_installed(plugin)
    problems = [
        Failure("registration", p.problem, "a plugin that is accepted", "correct what the message names")
        for p in found
        if p.problem
    ]
    if problems:
        raise CheckFailure(title, problems)
    names = [
        (kind, name if (kind, name) in _plain_names(registry, kind) else f"{p.distribution}:{name}")
        for p in found
        for kind, name in p.components
    ]
    return registry, title, names


def _names_of(plugin: Plugin) -> tuple[str, str, str]:
    return plugin.name, plugin.distribution, f"{plugin.distribution}:{plugin.name}"


def _plain_names(registry: Registry, kind: str) -> set[tuple[str, str]]:
    return {(kind, name) for name in registry.names(kind)}


def _given(table: Mapping[str, Mapping[str, Any]] | None, kind: str, name: str) -> Mapping[str, Any]:
    table, short = table or {}, name.rpartition(":")[2]
    return table.get(f"{kind}:{name}") or table.get(name) or table.get(short) or {}


def _with_installed(plugin: object) -> tuple[str, Registry, list[Plugin]]:
    """A plugin object among the installed ones, whose components its own may be made of."""
    registry = Registry.installed()
    known = registry.manager.get_name(plugin)
    if known is not None:  # it is installed itself
        return (
            known.rpartition(":")[2],
            registry,
            [p for p in registry.plugins if f"{p.distribution}:{p.name}" == known],
        )
    title = getattr(plugin, "__name__", type(plugin).__qualname__)
    registry = Registry.installed({title: plugin})
    return title, registry, registry.plugins[-1:]
