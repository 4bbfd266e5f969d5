"""What is said of parameters that pydantic's `Field` cannot say, for use in `Annotated`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function


@dataclass(frozen=True)
class Odd:
    """An odd whole number, as the side of a kernel must be: an even kernel has no centre.

    Example:
        `kernel_size: Annotated[int, Field(ge=1, description="side of the kernel"), Odd()] = 5`
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(core_schema), "not": {"multipleOf": 2}}

    @staticmethod
    def _checked(value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"input should be odd, such as {value + 1}: an even kernel has no centre")
        return value


@dataclass(frozen=True)
class LeftOut:
    """A parameter that a resolved spec does not show where it has its default.

    For parameters that a component gets after specs have named it: those specs stay what they are, and the runs of them
    are found again.
    """
