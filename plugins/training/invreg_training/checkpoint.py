"""Checkpoints: tensors with a JSON text in one safetensors file, so that both are replaced in one move.

Each carries the hash of its own bytes: a training that goes on from one that was changed would end in other weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from invreg import Component, Method, Trainer, TrainingContext, TrainingError, built_with, write_whole

_KEY, _HASH = "invreg", "sha256"

#: Stands where the hash will stand while it is computed.
_BLANK = "0" * 64

#: Parameters of trainers that may differ between two sessions: they change no number.
_HARMLESS = frozenset({"checkpoint_minutes"})


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, whenever the process is killed.

    Raises:
        TrainingError: if it cannot be written.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise TrainingError(
            f"cannot be written: {error.strerror or error}", where=str(path), hint="free space, or another folder"
        ) from None


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
    """Writes tensors and what JSON can hold (numbers that are not finite included).

    Raises:
        TrainingError: if the file cannot be written.
    """
    from safetensors.torch import save

    # A copy of each: safetensors refuses tensors that share memory, as tied weights do.
    copies = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    replace_file(path, _hashed(save(copies, metadata={_KEY: json.dumps(content), _HASH: _BLANK})))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `write_checkpoint` wrote; None if there is no file.

    Raises:
        TrainingError: if the file is broken.
    """
    from safetensors.torch import load

    if not path.exists():
        return None
    try:
        file = path.read_bytes()
        metadata = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])["__metadata__"]
        found = metadata[_HASH]
        is_whole = _hashed(file.replace(found.encode(), _BLANK.encode(), 1)) == file
        tensors, content = load(file), json.loads(metadata[_KEY])
    except Exception as error:  # noqa: BLE001 (a broken file shows in many ways)
        raise broken(path, f"{type(error).__name__}: {error}") from None
    if not is_whole:
        raise broken(path, "it was changed after it had been written")
    return tensors, content


def _hashed(blank: bytes) -> bytes:
    """A file with its hash in the place that was left blank."""
    return blank.replace(_BLANK.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def write_hashed_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON that carries the hash of its own content.

    Raises:
        TrainingError: if the file cannot be written.
    """
    replace_file(path, json.dumps({**content, _HASH: _digest(content)}, indent=1).encode())


def read_hashed_json(path: Path) -> dict[str, Any]:
    """What `write_hashed_json` wrote.

    Raises:
        TrainingError: if the file is broken.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.pop(_HASH)
    except Exception as error:  # noqa: BLE001 (a broken file shows in many ways)
        raise broken(path, f"{type(error).__name__}: {error}") from None
    if found != _digest(content):
        raise broken(path, "it was changed after it had been written")
    return dict(content)


def _digest(content: Mapping[str, Any]) -> str:
    """The hash of what JSON can hold, as it is after reading."""
    return hashlib.sha256(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode()).hexdigest()


def broken(path: Path, cause: str) -> TrainingError:
    """The error for a file of a training that cannot be used."""
    return TrainingError(
        f"this file of an interrupted training cannot be read ({cause})",
        where=str(path),
        hint=f"delete the folder {path.parent} to train again from the start",
    )


def identity(trainer: Trainer, method: Method, context: TrainingContext) -> dict[str, Any]:
    """All that determines the result of a training; a checkpoint of another identity is refused."""
    described = {
        "trainer": _plain(trainer),
        "reconstructor": _plain(method.parameters),
        "operator": _plain(context.problem.operator),
        "noise": _plain(context.problem.noise),
        "seed": context.seed,
        "image shape": list(context.image_shape),
        "images": [len(context.images.train), *context.images.train.crop_shape, len(context.images.val)],
        "metric": next(iter(context.metrics), None),
    }
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def check_identity(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of another training.

    Raises:
        TrainingError: naming what differs.
    """
    differences = _differences(found, expected)
    if differences:
        raise TrainingError(
            "belongs to a training with other settings: " + "; ".join(differences),
            where=str(path),
            expected="a checkpoint of this training",
            hint=f"delete the folder {path.parent}, or train into another one",
        )


def _differences(found: Any, expected: Any, path: str = "") -> list[str]:
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        return [
            difference
            for key in {**found, **expected}
            for difference in _differences(found.get(key), expected.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if found == expected else [f"{path} was {found!r}, now {expected!r}"]


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        arguments = {key: item for key, item in built_with(value).items() if key not in _HARMLESS}
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **_plain(arguments)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
