"""Where something stands in the source: the file and the line that a person has to change."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any


def place_of(function: Callable[..., Any], matches: Callable[[ast.AST], bool] | None = None) -> str:
    """File, line and name of a function; with `matches`, the line of the first part of it that matches."""
    function = inspect.unwrap(function)
    name = getattr(function, "__qualname__", repr(function)).replace("<locals>.", "")
    code = getattr(function, "__code__", None)
    if code is None or not Path(code.co_filename).is_file():  # made by exec, as dataclasses do
        return f"{getattr(function, '__module__', '?')}.{name}"
    line = code.co_firstlineno
    if matches is not None:
        line += _offset(function, matches)
    return f"{code.co_filename}:{line}, {name}"


def place_of_error(error: BaseException, skip: Callable[[str], bool]) -> str | None:
    """File and line of the innermost frame of a traceback whose file is not to be skipped."""
    found: str | None = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        frame: FrameType = trace.tb_frame
        file = frame.f_code.co_filename
        if not file.startswith("<") and not skip(file):
            found = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _offset(function: Callable[..., Any], matches: Callable[[ast.AST], bool]) -> int:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return 0
    lines = [getattr(node, "lineno", 1) for node in ast.walk(tree) if matches(node)]
    return min(lines, default=1) - 1
