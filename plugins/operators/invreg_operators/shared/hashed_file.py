"""Files that are parameters: with a hash of what is in them, so that another file is not taken for the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from invreg import SpecError


class HashedFile(BaseModel):
    """A file and the hash of its content, which becomes a part of the spec. A bare text is the path."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[Path, Field(description="the file; a relative path starts at the current directory")]
    sha256: Annotated[
        str | None, Field(description="SHA-256 of the content; found when left out", pattern="^[0-9a-f]{64}$")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        given = {"path": Path(value)} if isinstance(value, str | Path) else value
        if isinstance(given, dict) and given.get("sha256") is None and isinstance(given.get("path"), str | Path):
            return {**given, "sha256": _hash_of(Path(given["path"]))}
        return given

    def found(self, where: str, expected: str) -> Path:
        """The path of the file, if its content is that of the hash.

        Args:
            where: the parameter.
            expected: what is looked for, for messages.

        Raises:
            SpecError: if it cannot be read, or has another content.
        """
        now = _hash_of(self.path)
        hint = "a relative path starts at the current directory"
        if now is None:
            raise SpecError(f"{self.path} cannot be read: no such file", where=where, expected=expected, hint=hint)
        if now != self.sha256:
            raise SpecError(
                f"{self.path} is another file than the one of the spec: its content has changed",
                where=where,
                expected=f"the content with the SHA-256 {str(self.sha256)[:16]}...",
                hint="the file as it was, or leave sha256 out to take this one",
            )
        return self.path.expanduser()


def _hash_of(path: Path) -> str | None:
    """None where there is nothing to read, which is said when the file is needed."""
    try:
        file = path.expanduser()
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None  # a pipe might wait for ever
    except (OSError, RuntimeError):  # RuntimeError: ~name of a user that is not there
        return None


#: The parameter: a path, or a mapping with the path and the hash.
FileParameter = Annotated[
    HashedFile,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "required": ["path"], "additionalProperties": {"type": "string"}},
            ]
        }
    ),
]
