"""Files of weights of models of other packages: tensors by name, and no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invreg import SpecError

_EXPECTED = "a .safetensors file, or one that torch.load reads with weights_only"

#: Under these keys, training programs keep the weights beside what else they keep.
_INSIDE = ("state_dict", "params", "model", "params_ema")


def read_weights(path: Any, where: str) -> dict[str, Tensor]:
    """The tensors in a file of weights, by name; no code in it is run.

    Raises:
        SpecError: if there is none, or it holds anything else.
    """
    if not isinstance(path, str) or not path:
        raise SpecError(f"{path!r:.80}", where=where, expected="the path of a file of weights")
    file = Path(path).expanduser()
    if not file.is_file():
        raise SpecError(f"{path!r:.200}: no such file", where=where, expected="a file of weights")
    try:
        if file.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (a file of someone else can be broken in any way)
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        runs_code = "weights only load failed" in said.lower()
        raise SpecError(
            f"{path!r:.200} holds objects besides tensors, and loading them could run any program"
            if runs_code
            else f"{path!r:.200} holds no weights: {said}",
            where=where,
            expected=_EXPECTED,
            hint="if you trust the file, once in Python: torch.save(torch.load(path, weights_only=False).state_dict(), "
            "new_path), or without state_dict() if it is a mapping of tensors"
            if runs_code
            else None,
        ) from None
    for key in _INSIDE:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(one, Tensor) for one in found.values()):
        raise SpecError(f"{path!r:.200} holds no tensors by name", where=where, expected="the state_dict of a model")
    return dict(found)


def give_weights(model: nn.Module, path: Any, name: str, where: str) -> None:
    """Loads the weights of a file into a model.

    Raises:
        SpecError: if there are none, or they are those of another model.
    """
    weights = read_weights(path, where)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise SpecError(
            f"{path!r:.200} does not fit {name}: {error}"[:800],
            where=where,
            expected="the weights of a model with the same parameters",
        ) from None
