"""Where a training starts, if not at random: the weights of a model."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from invreg.errors import SpecError, did_you_mean, near_name

if TYPE_CHECKING:
    from torch import Tensor

    from invreg.components.reconstructor import Reconstructor

#: Where the models lie that come with invreg, each in a folder with its name.
BUNDLED = Path(str(resources.files("invreg"))) / "models" / "bundled_models"

_IN_MODEL, _IN_METHOD = "model.safetensors", "weights.safetensors"


class StartFrom(BaseModel):
    """The model whose weights a method starts from. A bare text is the model."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[
        str, Field(description="folder of a model or of a run, or the name of a model that comes with invreg")
    ]
    method: Annotated[str | None, Field(description="the method of a run with several")] = None
    weights: Annotated[
        str | None, Field(description="SHA-256 of the weights; found when left out", pattern="^[0-9a-f]{64}$")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"model": str(value)} if isinstance(value, str | Path) else value

    def resolved(self) -> StartFrom:
        """The same with the hash of its weights, which makes it part of what a run is.

        Raises:
            SpecError: if there is no such model.
        """
        return self if self.weights else self.model_copy(update={"weights": _digest(self._read())})

    def give(self, reconstructor: Reconstructor) -> None:
        """Gives a reconstructor that is set up the weights.

        Raises:
            SpecError: if they cannot be read, are others than the hash says, or do not fit.
        """
        from safetensors.torch import load

        content = self._read()
        if self.weights not in (None, _digest(content)):
            raise SpecError(
                "other weights than the hash says",
                where=f"start_from, {self.model}",
                expected=f"those with the SHA-256 {str(self.weights)[:16]}...",
                hint="the model as it was, or leave `weights` out to start from these",
            )
        try:
            weights = load(content)
        except Exception as error:
            raise SpecError(f"cannot be read: {error}", where=f"start_from, {self.model}") from error
        _fit(reconstructor, weights, f"start_from, {self.model}")

    def _read(self) -> bytes:
        file = self._file()
        try:
            return file.read_bytes()
        except OSError as error:
            raise SpecError(
                f"cannot be read: {error.strerror or error}",
                where=f"start_from, {file}",
                expected="the weights of a model",
            ) from None

    def _file(self) -> Path:
        folder = Path(self.model).expanduser()
        if not folder.exists() and (BUNDLED / self.model / _IN_MODEL).is_file():
            folder = BUNDLED / self.model
        if (folder / _IN_MODEL).is_file():
            return folder / _IN_MODEL
        methods = {path.parent.name: path for path in sorted(folder.glob(f"methods/*/{_IN_METHOD}"))}
        if self.method in methods:
            return methods[self.method]
        if methods:
            raise SpecError(
                f"a run with {len(methods)} methods" if self.method is None else f"no method {self.method!r}",
                where=f"start_from, {folder}",
                expected=f"the name of one: start_from: {{model: ..., method: {next(iter(methods))}}}",
                hint=did_you_mean(self.method or "", methods),
            )
        names = sorted(path.parent.name for path in BUNDLED.glob(f"*/{_IN_MODEL}"))
        raise SpecError(
            "there is no model" if folder.exists() else "there is no such model",
            where=f"start_from, {self.model}",
            expected=f"the folder of a model or of a run, or one of {', '.join(names)}",
            hint=did_you_mean(self.model, names) if near_name(self.model, names) else None,
        )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fit(reconstructor: Reconstructor, weights: dict[str, Tensor], where: str) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in reconstructor.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    differing = [name for name in {**own, **given} if own.get(name) != given.get(name)]
    if differing:
        name = differing[0]
        raise SpecError(
            f"its weights do not fit: {name} has the shape {given.get(name)}; {len(differing)} of {len(own)} differ",
            where=where,
            expected=f"{own.get(name)}: a model of the same reconstructor with the same parameters",
            hint="the reconstructor as in the config.json, or the spec, of the model",
        )
    reconstructor.load_state_dict(weights)
