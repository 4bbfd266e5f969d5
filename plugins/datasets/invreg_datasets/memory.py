"""Whether images fit into memory, asked before they are there."""

from __future__ import annotations

import os

from invreg import DataError


def require_memory(needed: int, what: str, hint: str) -> None:
    """Refuses images that take more than half of this machine's memory: they are copied once into one buffer.

    Raises:
        DataError: if they do.
    """
    available = machine_memory()
    if available is not None and needed > available / 2:
        raise DataError(
            f"take {in_words(needed)} of memory",
            where=what,
            expected=f"at most {in_words(available // 2)}, half of what this machine has",
            hint=hint,
        )


def machine_memory() -> int | None:
    """Bytes of memory of this machine; None if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def in_words(size: int) -> str:
    """An amount of memory in words: "1.5 GB"."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if size >= factor:
            return f"{size / factor:,.4g} {unit}"
    return f"{size / 1e6:.3g} MB"
