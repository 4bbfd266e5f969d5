"""Errors that a person can act on.

Every message says where it happened, what was given, what was expected and what to try.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

_E = TypeVar("_E", bound="InvregError")

#: No message is longer, in characters.
LONGEST_MESSAGE = 3600


def readable(text: str, longest: int = 1500) -> str:
    """A text for a message: cut in the middle where it is too long, and without what a terminal would not show.

    Args:
        text: as it is.
        longest: characters that are kept; a longer text says how long it was.
    """
    if len(text) > longest:
        half = (longest - 40) // 2
        text = f"{text[:half]} ... ({len(text):,} characters) ... {text[-half:]}"
    if text.isprintable():
        return text
    shown = (c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)[:longest]


def message_of(error: BaseException) -> str:
    """The type of an exception with its message, also where the exception cannot say it."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (an exception of someone else)
        text = "(its message cannot be read)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class InvregError(Exception):
    """Base of all errors that invreg raises on purpose.

    Args:
        what: what is wrong, with the value that was given.
        where: the place: a path in a spec, a file, a parameter, a subnetwork.
        expected: what would have been accepted.
        hint: what to try next.
    """

    #: Exit status of the command line when this error ends it.
    exit_status = 1

    def __init__(
        self, what: str, *, where: str | None = None, expected: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        what, expected, hint = (readable(part or "") for part in (self.what, self.expected, self.hint))
        lines = [f"{readable(self.where, 400)}: {what}" if self.where else what]
        if expected:
            lines.append(f"  expected: {expected}")
        names = hint.removeprefix("one of ").split(", ") if hint.startswith("one of ") else [hint]
        if hint and not all(name in expected for name in names):  # a list of what was just listed is not said twice
            lines.append(f"  try: {hint}")
        return readable("\n".join(lines), LONGEST_MESSAGE)

    def at(self, where: str, of: object = None) -> Self:
        """The same error, with its place prefixed by `where` (used while an error travels up a spec).

        Args:
            where: the place of what raised it, as in `methods.tv.reconstructor`.
            of: the component that raised it: `where` replaces its own name at the front of the place.
        """
        inner = self.where or ""
        for name in _names(of):
            if inner == name or inner.startswith((f"{name}.", f"{name},")):
                self.where = where + inner[len(name) :]
                return self
        self.where = f"{where}.{inner}" if inner else where
        return self


def _names(component: object) -> list[str]:
    """What a component may call itself: its class, and its name in a spec, without the distribution."""
    registered = str(getattr(component, "_registered_as", "")).rpartition(":")[2]
    return [type(component).__name__, *([registered] if registered else [])]


class SpecError(InvregError):
    """The spec, or a parameter of a component, is wrong; nothing has been computed.

    Attributes:
        problems: where there are several, each with its place.
    """

    exit_status = 2
    problems: Sequence[SpecError] = ()

    def __str__(self) -> str:
        if not self.problems:
            return super().__str__()
        lines = [self.what]
        for number, problem in enumerate(self.problems):
            line = readable(str(problem), LONGEST_MESSAGE // 3)
            if sum(map(len, lines)) + len(line) > LONGEST_MESSAGE - 2 * len(self.problems[:50]):
                lines.append(f"... and {len(self.problems) - number} more")
                break
            lines.append(line)
        return "\n".join(lines)

    def at(self, where: str, of: object = None) -> Self:
        """The same error, with its place, or those of all its problems, prefixed by `where`."""
        if not self.problems:
            return super().at(where, of)
        for problem in self.problems:
            problem.at(where, of)
        return self


def join_errors(problems: Sequence[SpecError]) -> SpecError:
    """One error for several problems, so that a spec need not be corrected one message at a time."""
    if len(problems) == 1:
        return problems[0]
    joined = SpecError(f"{len(problems)} problems in the spec")
    joined.problems = problems
    return joined


def nothing_computed(error: _E) -> _E:
    """The same error with the exit status of a wrong spec or command line: nothing has been computed.

    Args:
        error: raised because of what a person named: a folder, a model, a method that is not there.
    """
    error.exit_status = SpecError.exit_status
    return error


class PluginError(InvregError):
    """A plugin cannot be used: it does not import, registers nonsense, or claims a taken name."""


class DataError(InvregError):
    """The images are unusable: a missing folder, an unreadable file, NaN, too small."""


class ShapeError(InvregError):
    """Tensors or images whose shapes do not fit."""


class TrainingError(InvregError):
    """Training cannot go on: a loss that is not finite, nothing to train, a broken checkpoint."""


class ConvergenceError(InvregError):
    """An iteration did not reach its tolerance where the result would be worthless without it."""


class OutOfMemory(InvregError):
    """A computation needs more memory than its device has."""


class CertificateError(InvregError):
    """A certificate cannot be made, or does not hold for these weights."""


class BoundViolation(InvregError):
    """An attack has found more than a proven bound allows: nothing goes on until it is understood."""


class ExecutorError(InvregError):
    """The engine that is to compute the cells of a study cannot be used: a missing package, nobody who answers."""


class StoreError(InvregError):
    """A run folder cannot be written, read or resumed."""


class ProcessError(InvregError):
    """Processes that carry out one command together cannot go on: one has failed or is gone."""

    def at(self, where: str, of: object = None) -> Self:
        """The same error: what they were about to do is not its place."""
        return self


class InvregWarning(UserWarning):
    """What has to be known of a result; a run keeps it, and shows it in the report and on the terminal."""


class ConvergenceWarning(InvregWarning):
    """An iteration stopped before its tolerance; the message says how far it came."""


def near_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one probably means; None if none is near."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the nearest of the known names, or lists them all; None if there are none."""
    candidates = sorted(known)
    near = near_name(name, candidates)
    if near:
        return f"did you mean {near!r}?"
    return f"one of {', '.join(candidates)}" if candidates else None


@contextmanager
def recorded_warnings(messages: list[str], keep: Callable[[list[str]], None] | None = None) -> Iterator[None]:
    """Collects the warnings of invreg raised inside, each once; other warnings pass.

    Args:
        messages: where they are appended, as soon as they are raised.
        keep: called with all of them after each new one, for work that may be killed.
    """

    def collect(message: Warning | str, category: type[Warning], *place: Any, **named: Any) -> None:
        if not issubclass(category, InvregWarning):
            show(message, category, *place, **named)
        elif str(message) not in messages:
            messages.append(str(message))
            if keep is not None:
                keep(messages)

    with warnings.catch_warnings():
        warnings.simplefilter("always", InvregWarning)
        show, warnings.showwarning = warnings.showwarning, collect
        yield
