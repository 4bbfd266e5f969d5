"""Packages that may be missing."""

from __future__ import annotations

from types import ModuleType

from invreg import InvregError
from invreg.interop import require


def package(name: str) -> ModuleType:
    """A package that carries the name of its distribution.

    Raises:
        InvregError: saying what to install; its place is that of the component that needs it.
    """
    try:
        return require(name, name)
    except InvregError as error:
        error.where = None
        raise
