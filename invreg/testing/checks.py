"""What all checks share: named checks, run one after the other, whose failures are reported together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from invreg.errors import InvregError, SpecError, readable
from invreg.schema.component import Component
from invreg.schema.sources import place_of_error
from invreg.text import with_article

C = TypeVar("C", bound=Component)


@dataclass(frozen=True)
class Failure:
    """What a check has found.

    Attributes:
        check: its name.
        found: what was seen, with numbers.
        expected: what should have been.
        fix: what to change.
    """

    check: str
    found: str
    expected: str
    fix: str

    def __str__(self) -> str:
        return f"{self.check}: {self.found}\n    expected: {self.expected}\n    to fix:   {self.fix}"


def failure_of(check: str, error: InvregError, expected: str, fix: str) -> Failure:
    """What a check has found where something is refused: the parts of the error have places of their own.

    Args:
        check: its name.
        error: the refusal.
        expected: what should have been, where the error does not say it.
        fix: what to change, beside what the error says.
    """
    if isinstance(error, SpecError) and error.problems:
        return Failure(check, "; ".join(f"{one.where}: {one.what}" for one in error.problems), expected, fix)
    found = f"{error.where}: {error.what}" if error.where else error.what
    return Failure(check, readable(found), error.expected or expected, f"{error.hint}, or {fix}" if error.hint else fix)


class CheckFailure(AssertionError):
    """A component does not keep what its kind promises.

    Attributes:
        component: its name or class.
        failures: all that was found.
    """

    def __init__(self, component: str, failures: Iterable[Failure]) -> None:
        self.component = component
        self.failures = tuple(failures)
        listed = "\n".join(f"  {failure}" for failure in _together(self.failures))
        super().__init__(
            f"{component} fails {len(self.failures)} check{'s' if len(self.failures) > 1 else ''}\n{listed}"
        )

    @property
    def checks(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return tuple(failure.check for failure in self.failures)


def _together(failures: Iterable[Failure]) -> list[Failure]:
    """One failure for all checks that have found the very same thing, such as an exception in every call."""
    names: dict[tuple[str, str, str], list[str]] = {}
    for failure in failures:
        names.setdefault((failure.found, failure.expected, failure.fix), []).append(failure.check)
    return [Failure(", ".join(checks), *same) for same, checks in names.items()]


class Refused(Exception):
    """Ends a check that has found something.

    Args:
        found: what was seen, with numbers.
        expected: what should have been.
        fix: what to change.
    """

    def __init__(self, found: str, expected: str, fix: str) -> None:
        super().__init__(found)
        self.found, self.expected, self.fix = found, expected, fix


def _elsewhere(file: str) -> bool:
    """Whether a file is not the component's: of this package, of torch."""
    return bool({"torch", "testing"} & set(Path(file).parts[:-1]))


#: The name of a check, and the function that raises `Refused` if the component fails it.
Check = tuple[str, Callable[[], object]]


def run_checks(component: str, checks: Iterable[Check]) -> None:
    """Runs all checks, and reports what they have found together.

    Raises:
        CheckFailure: if there is anything. An exception that a check did not expect counts as found by it.
    """
    from invreg.testing.side_effects import restored

    failures: list[Failure] = []
    remaining = iter(checks)
    with warnings.catch_warnings():
        # torch itself calls what it has deprecated, where it first differentiates forwards: no component can mend that.
        warnings.filterwarnings("ignore", r".torch\.jit\.script", DeprecationWarning)
        while True:
            with restored():  # which checks there are can depend on what the component answers
                entry = next(remaining, None)
            if entry is None:
                break
            name, check = entry
            try:
                with restored():
                    check()
            except Refused as refused:
                failures.append(Failure(name, refused.found, refused.expected, refused.fix))
            except Exception as error:  # noqa: BLE001 (any exception of a component is a finding)
                failures.append(
                    Failure(
                        name,
                        f"{type(error).__name__}: {error}",
                        "no exception",
                        f"look at {place_of_error(error, _elsewhere) or 'the component'}",
                    )
                )
    if failures:
        raise CheckFailure(component, failures)


def title_of(component: Component | type[Component]) -> str:
    """How a component is called in reports: by the name in a spec, or by its class."""
    cls = component if isinstance(component, type) else type(component)
    return str(component.__dict__.get("_registered_as", cls.__qualname__))


def instance_of(component: Any, base: type[C]) -> C:
    """The component itself, or one of its class with default parameters.

    Raises:
        CheckFailure: if it is none of the base, or cannot be built without arguments.
    """
    built = component
    if isinstance(component, type) and issubclass(component, base):
        try:
            built = component()
        except TypeError as error:
            failure = Failure("defaults", str(error), "a class that needs no arguments", "give an instance")
            raise CheckFailure(component.__qualname__, [failure]) from None
    if not isinstance(built, base):
        failure = Failure(
            "kind",
            f"{component!r} is no {base.__name__}",
            with_article(base.__name__),
            f"derive from invreg.{base.__name__}",
        )
        raise CheckFailure(type(built).__qualname__, [failure])
    return built
