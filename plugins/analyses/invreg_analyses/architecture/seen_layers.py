"""The architecture of a network that does not describe itself, from hooks on its layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from invreg import Architecture, InvregError, Layer, Shape, Stage
from invreg_analyses.shared.evaluated import as_evaluated

#: Longest sequence of layers that is recognised when it is repeated.
_LONGEST = 48
#: Uses of layers, at most; networks that iterate until convergence can make millions.
_MOST = 50_000


def seen_architecture(net: nn.Module, z: Tensor) -> Architecture:
    """The modules without submodules, in the order in which one measurement passes them, from forward hooks.

    A sequence of layers that is called again and again, with parameters of its own each time (or with the same, which
    then count once), becomes one stage. Operations between layers (sums, concatenations, operators) are
    invisible to hooks: where shapes do not fit together, a stage called gap is inserted.

    Args:
        net: in any mode; it is brought to evaluation mode for this, and back.
        z: a batch with one measurement.

    Raises:
        InvregError: if the network gives something that is not a tensor, or uses layers too often to be looked at.
    """
    calls: list[tuple[str, Layer]] = []
    counted: set[nn.Parameter] = set()
    with ExitStack() as hooks, as_evaluated(net), torch.no_grad():
        for path, module in net.named_modules():
            if path and not list(module.children()):
                hooks.enter_context(module.register_forward_hook(_listener(path, calls, counted)))
        result = net(z)
    if not isinstance(result, Tensor):
        raise InvregError(f"gives a {type(result).__name__}", where=type(net).__name__, expected="a tensor of images")
    start, end = tuple(z.shape[1:]), tuple(result.shape[1:])
    whole = Layer(type(net).__name__, start, end, sum(p.numel() for p in net.parameters()))
    return Architecture(list(_joined(_stages(calls or [("", whole)]), start, end)))


def _listener(path: str, calls: list[tuple[str, Layer]], counted: set[nn.Parameter]) -> Callable[..., None]:
    """A hook that notes each call of a layer, with the parameters that no earlier call has used."""

    def listen(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
        tensors = [one for one in given if isinstance(one, Tensor)]
        if not tensors or not isinstance(result, Tensor):
            return
        if len(calls) == _MOST:
            raise InvregError(f"more than {_MOST} uses of layers", where=path, expected="a network without long loops")
        new = set(module.parameters()) - counted
        counted.update(new)
        shapes = tuple(tensors[0].shape[1:]), tuple(result.shape[1:])
        calls.append((path, Layer(_in_words(module), *shapes, sum(p.numel() for p in new))))

    return listen


def _in_words(module: nn.Module) -> str:
    """The class of a layer, and for convolutions their kernel and stride."""
    name = type(module).__name__
    kernel, stride = getattr(module, "kernel_size", None), getattr(module, "stride", None)
    if kernel is not None:
        name += " " + ("×".join(map(str, kernel)) if isinstance(kernel, Sequence) else str(kernel))
    strides = stride if isinstance(stride, Sequence) else [stride]
    if any(isinstance(one, int) and one > 1 for one in strides):
        name += f", stride {strides[0]}"
    return name


def _stages(calls: Sequence[tuple[str, Layer]]) -> Iterator[Stage]:
    """The calls in order as stages, each sequence that is repeated only once, with the number of repetitions."""
    used: Counter[str] = Counter()
    layers, place = [layer for _, layer in calls], 0
    while place < len(calls):
        length, repeats = _repetition(layers, place)
        group, paths = layers[place : place + length], [path for path, _ in calls[place : place + length]]
        place += length * repeats
        name = paths[0] or group[0].operation
        if repeats > 1 and length > 1:
            name += f" to {paths[-1]}"
        used[name] += 1
        if used[name] > 1:  # the same layers once more, later on
            name += f" ({used[name]})"
        text = " → ".join(layer.operation for layer in group) if length < 4 else f"{length} layers"
        parameters = sum(layer.parameters for layer in group)
        inside = group if repeats > 1 else []
        yield Stage(name, text, group[0].shape_in, group[-1].shape_out, parameters, repeats, layers=inside)


def _repetition(layers: Sequence[Layer], place: int) -> tuple[int, int]:
    """The sequence from `place` on that covers most by its repetitions: its length and their number."""
    best = (1, 1)
    for length in range(1, min(_LONGEST, (len(layers) - place) // 2) + 1):
        sequence = layers[place : place + length]
        if sequence[0].shape_in != sequence[-1].shape_out:
            continue
        repeats = 1
        while layers[place + repeats * length : place + (repeats + 1) * length] == sequence:
            repeats += 1
        if repeats > 1 and length * repeats > best[0] * best[1]:
            best = length, repeats
    return best


def _joined(stages: Iterator[Stage], shape: Shape, end: Shape) -> Iterator[Stage]:
    """The stages, with a gap between those that do not fit together."""
    gaps = 0
    for stage in [*stages, None]:
        expected = end if stage is None else stage.shape_in
        if shape != expected:
            gaps += 1
            yield Stage(f"gap {gaps}", "done between layers", shape, expected)
        if stage is not None:
            yield stage
            shape = stage.shape_out
