"""Seals: the hashes of the files of a finished stage of work, in a file that `sha256sum --check` reads, too.

A seal says that files are those that were written together. It is not a signature: who can change a file can also make
its seal anew. What is proven about weights is therefore proven again by `invreg verify`, from the weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

SUFFIX = ".sha256"

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def digest(content: bytes) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def seal_text(digests: Mapping[str, str]) -> str:
    """The seal of files: one line `digest  name` for each, and a comment with the hash of these lines."""
    lines = "".join(f"{value}  {name}\n" for name, value in digests.items())
    return f"{lines}# {digest(lines.encode())}\n"


def parse_seal(text: str) -> dict[str, str]:
    """The digests of a seal by the names of its files.

    Raises:
        ValueError: if it is not a seal.
    """
    digests = {match[2]: match[1] for match in map(_LINE.fullmatch, text.splitlines()) if match}
    if text != seal_text(digests):
        raise ValueError("not the lines of a seal, or they were changed")
    return digests
