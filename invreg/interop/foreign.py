"""What all wrappers of objects of other packages share."""

from __future__ import annotations

import copy
import importlib
from types import ModuleType
from typing import Any, Self

from invreg.errors import InvregError

#: Said when a spec is asked for.
SPEC_HINT = "wrap it in Python each time; for specs, write a component whose constructor makes the wrapped object"


def require(module: str, distribution: str) -> ModuleType:
    """Imports a module of an optional package.

    Raises:
        InvregError: naming what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InvregError(
            f"{module} cannot be imported: {error}",
            where="invreg.interop",
            expected=f"the package {distribution}",
            hint=f"pip install {distribution}",
        ) from error
    except Exception as error:  # the import of another package can raise anything
        raise InvregError(
            f"the import of {module} fails: {type(error).__name__}: {error}",
            where="invreg.interop",
            expected=f"a {distribution} that can be imported together with torch and what else it needs",
            hint="packages that were built for each other: torch and torchvision of one release from one index",
        ) from error


class SharesForeign:
    """Copies of a wrapper share the wrapped object, which may not be copyable and has no state of ours.

    Subclasses name its attribute in `foreign`.
    """

    foreign: str
    spec_hint = SPEC_HINT

    def _copy_of_foreign(self, wrapped: Any) -> Any:
        return wrapped

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        wrapped = getattr(self, self.foreign)
        memo[id(wrapped)] = self._copy_of_foreign(wrapped)
        memo[id(self)] = new = type(self).__new__(type(self))
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new
