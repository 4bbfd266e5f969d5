"""Text as it stands on a terminal: lines broken between words, at the width that there is. It imports nothing heavy."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from typing import TextIO

#: Longer lines are hard to read, however wide the terminal is; and narrower ones hold no words.
_WIDEST, _NARROWEST = 100, 20

# Where the lines below the first one begin: below the text behind a name and a gap, or deeper than a list's name.
_ENTRY = re.compile(r" *\S+(?: \S+)*? {2,}(?=\S)")
_NAMED = re.compile(r"  [\w-]+: ")


def width(stream: TextIO | None = None) -> int | None:
    """Characters of a line of a stream, standard output by default; None, without an end, where it is no terminal.

    The environment variable COLUMNS says it for both.
    """
    if not os.environ.get("COLUMNS", "").isdecimal() and not (stream or sys.stdout).isatty():
        return None
    return max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))


def laid_out(text: str, width: int | None) -> str:
    """Lines that are longer than the width, broken between words; what belongs to an entry stays below it."""
    if width is None:
        return text
    return "\n".join(one for line in text.splitlines() for one in _broken(line, width))


def complain(text: str) -> None:
    """Prints a line on standard error."""
    print(laid_out(text, width(sys.stderr)), file=sys.stderr)


def _broken(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    named, entry = _NAMED.match(line), _ENTRY.match(line)
    indent = len(line) - len(line.lstrip())
    if named:
        indent = 6
    elif entry:
        indent = entry.end() if entry.end() <= width // 2 else 4
    wrapped = textwrap.wrap(
        line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False, tabsize=4
    )
    return wrapped or [line]
