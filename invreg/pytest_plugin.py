"""A plugin of pytest: one test for each component of an invreg plugin, where `--invreg-plugin NAME` asks for it.

Without this option nothing is added, and nothing but this file is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

_ALL = "all"


class Hooks:
    """What a `conftest.py` may define to say how components are built and checked."""

    @pytest.hookspec
    def pytest_invreg_examples(self) -> Mapping[str, Mapping[str, Any]]:  # type: ignore[empty-body]
        """Parameters by the names of components (`radon` or `operator:radon`), instead of their defaults."""

    @pytest.hookspec
    def pytest_invreg_settings(self) -> Mapping[str, Mapping[str, Any]]:  # type: ignore[empty-body]
        """Further arguments of the checks by the names of components, such as `{"radon": {"image_shape": ...}}`."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("invreg").addoption(
        "--invreg-plugin",
        action="append",
        default=[],
        dest="invreg_plugins",
        metavar="NAME",
        help="check all components of this installed plugin (entry point or distribution; 'all' for every one)",
    )
    parser.addini(
        "invreg_examples",
        "parameters for --invreg-plugin, one component in each line: 'radon: {angles: 20}'",
        type="linelist",
        default=[],
    )


@pytest.hookimpl(tryfirst=True)  # -k and -m choose among these items, too
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = list(dict.fromkeys(config.getoption("invreg_plugins")))
    if wanted:
        examples = {**_from_ini(config.getini("invreg_examples")), **_merged(config.hook.pytest_invreg_examples())}
        settings = _merged(config.hook.pytest_invreg_settings())
        items.extend(_items(session, wanted, examples, settings))


def _items(
    session: pytest.Session,
    wanted: list[str],
    examples: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Mapping[str, Any]],
) -> Iterator[pytest.Item]:
    from invreg.plugins.registry import Registry
    from invreg.testing.checks import CheckFailure
    from invreg.testing.plugins import component_checks

    plugins = Registry.installed().plugins
    names = {name for p in plugins for name in (p.name, p.distribution, f"{p.distribution}:{p.name}")}
    if _ALL in wanted:
        wanted = [f"{p.distribution}:{p.name}" for p in plugins]
    checks: dict[str, Callable[[], None]] = {}
    for name in wanted:
        if name not in names:
            installed = ", ".join(sorted(p.name for p in plugins))
            raise pytest.UsageError(f"--invreg-plugin {name}: there is no such plugin; installed are {installed}")
        try:
            checks |= component_checks(name, examples, settings=settings)
        except CheckFailure as failure:  # a plugin that was set aside: one test, which fails
            checks[f"registration:{name}"] = _raiser(failure)
    parent = ComponentChecks.from_parent(session, name="invreg", nodeid="invreg")
    for title, check in checks.items():
        yield ComponentCheck.from_parent(parent, name=title, check=check)


def _raiser(failure: Exception) -> Callable[[], None]:
    def check() -> None:
        raise failure

    return check


def _merged(tables: list[Mapping[str, Mapping[str, Any]]]) -> dict[str, Mapping[str, Any]]:
    # The conftest.py that is nearest comes first in the list, and has the last word.
    return {name: given for table in reversed(tables) for name, given in table.items()}


def _from_ini(lines: list[str]) -> dict[str, Mapping[str, Any]]:
    import yaml

    found: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        try:
            entry = yaml.safe_load(line)
        except yaml.YAMLError:
            entry = None
        if not isinstance(entry, dict) or not all(isinstance(given, dict) for given in entry.values()):
            raise pytest.UsageError(f"invreg_examples: {line!r} is not of the form 'name: {{parameter: value}}'")
        found |= entry
    return found


class ComponentChecks(pytest.Collector):
    """What the items have as their parent; they are made without it."""

    def collect(self) -> list[pytest.Item]:
        return []


class ComponentCheck(pytest.Item):
    """One component, checked by the function of its kind."""

    def __init__(self, *, check: Callable[[], None], **others: Any) -> None:
        super().__init__(**others)
        self._check = check

    def runtest(self) -> None:
        self._check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from invreg.testing.checks import CheckFailure

        return str(excinfo.value) if isinstance(excinfo.value, CheckFailure) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return "invreg", None, self.name
