"""Parameters by the names that they have on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def flags_of(command: Any) -> dict[str, str]:
    """The options of a command by the names that they have as parameters in Python; of none if there is no command."""
    flags = {}
    for parameter in command.params if command else ():
        for flag in parameter.opts:
            if flag.startswith("--"):
                flags[parameter.name] = flags[flag[2:].replace("-", "_")] = flag
    if "no_proof" in flags:
        flags["prove"] = flags["no_proof"]
    return flags


def with_flags(text: str, flags: Mapping[str, str]) -> str:
    """A message in which parameters that stand in backticks are called as on the command line."""
    return re.sub(r"`(\w+)`", lambda name: flags.get(name[1], name[0]), text)
