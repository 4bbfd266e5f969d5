"""The architecture of a network that does not describe itself: its layers, seen at work on a measurement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from invreg import Architecture, InvregError, Layer, Stage
from invreg.components.architecture import Shape

#: Longest sequence of layers that is recognised when it is repeated.
_LONGEST = 48
#: Uses of layers, at most; networks that iterate until convergence can make millions.
_MOST = 50_000


@dataclass(frozen=True)
class _Call:
    """One use of a layer.

    Attributes:
        path: of the module in the network.
        layer: with the parameters that no earlier call has used.
    """

    path: str
    layer: Layer


def seen_architecture(net: nn.Module, z: Tensor) -> Architecture:
    """What forward hooks see: the modules without submodules, in the order of their calls for one measurement.

    A sequence of layers that is called again and again, with parameters of its own each time (or with the same, which
    then count once), becomes one stage. What a network does between its layers (sums, concatenations, operators) is
    invisible to hooks: where shapes show that something is done, a stage without a name for it stands there.

    Args:
        net: in any mode; it is brought to evaluation mode for this, and back.
        z: a batch with one measurement.

    Raises:
        InvregError: if the network gives something that is no tensor, or uses layers too often to be looked at.
    """
    calls: list[_Call] = []
    with _listening(net, calls), torch.no_grad():
        result = net(z)
    if not isinstance(result, Tensor):
        raise InvregError(f"gives a {type(result).__name__}", where=type(net).__name__, expected="a tensor of images")
    calls = calls or [_Call("", _whole(net, z, result))]
    stages = [_stage(group, repeats) for group, repeats in _grouped(calls)]
    ends = tuple(z.shape[1:]), tuple(result.shape[1:])
    return Architecture(_joined(_named_apart(stages), *ends), forward="reconstruction")


@contextmanager
def _listening(net: nn.Module, calls: list[_Call]) -> Iterator[None]:
    """Within this context the network is in evaluation mode, and uses of its leaf modules are written down."""
    counted: set[int] = set()

    def hook(path: str) -> Any:
        def listen(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
            tensors = [one for one in given if isinstance(one, Tensor)]
            if not tensors or not isinstance(result, Tensor):
                return
            if len(calls) == _MOST:
                raise InvregError(f"uses its layers more than {_MOST} times", where=type(net).__name__)
            new = [p for p in module.parameters() if id(p) not in counted]
            counted.update(map(id, new))
            shapes = tuple(tensors[0].shape[1:]), tuple(result.shape[1:])
            calls.append(_Call(path, Layer(_in_words(module), *shapes, sum(p.numel() for p in new))))

        return listen

    modes = {module: module.training for module in net.modules()}
    leaves = [(path, module) for path, module in net.named_modules() if path and not list(module.children())]
    handles = [module.register_forward_hook(hook(path)) for path, module in leaves]
    net.eval()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode


def _whole(net: nn.Module, z: Tensor, result: Tensor) -> Layer:
    """A network without modules inside, as one layer."""
    count = sum(p.numel() for p in net.parameters())
    return Layer(type(net).__name__, tuple(z.shape[1:]), tuple(result.shape[1:]), count)


def _in_words(module: nn.Module) -> str:
    """What a layer is: its class, and for convolutions their kernel and stride."""
    name = type(module).__name__
    kernel = getattr(module, "kernel_size", None)
    if kernel is not None:
        name += " " + ("×".join(map(str, kernel)) if isinstance(kernel, Sequence) else str(kernel))
    stride = getattr(module, "stride", None)
    strides = stride if isinstance(stride, Sequence) else [stride]
    if any(isinstance(one, int) and one > 1 for one in strides):
        name += f", stride {strides[0]}"
    return name


def _grouped(calls: Sequence[_Call]) -> Iterator[tuple[list[_Call], int]]:
    """The calls in order, each sequence that is repeated only once, with the number of repetitions."""
    layers = [call.layer for call in calls]
    place = 0
    while place < len(calls):
        length, repeats = _repetition(layers, place)
        yield list(calls[place : place + length]), repeats
        place += length * repeats


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


def _stage(group: Sequence[_Call], repeats: int) -> Stage:
    first, last = group[0], group[-1]
    parameters = sum(call.layer.parameters for call in group)
    shapes = first.layer.shape_in, last.layer.shape_out
    if repeats == 1:
        return Stage(first.path or first.layer.operation, first.layer.operation, *shapes, parameters)
    name = first.path if len(group) == 1 else f"{first.path} to {last.path}"
    text = " → ".join(call.layer.operation for call in group) if len(group) < 4 else f"{len(group)} layers"
    return Stage(name, text, *shapes, parameters, repeats, layers=[call.layer for call in group])


def _named_apart(stages: Sequence[Stage]) -> list[Stage]:
    """The stages, those of layers that are used again with a number behind their names."""
    found: list[Stage] = []
    used: dict[str, int] = {}
    for stage in stages:
        used[stage.name] = used.get(stage.name, 0) + 1
        number = used[stage.name]
        found.append(replace(stage, name=f"{stage.name} ({number})") if number > 1 else stage)
    return found


def _joined(stages: Sequence[Stage], start: Shape, end: Shape) -> list[Stage]:
    """The stages, with one between those that do not fit together."""
    found: list[Stage] = []
    gaps, shape = 0, start
    for stage in [*stages, None]:
        expected = end if stage is None else stage.shape_in
        if shape != expected:
            gaps += 1
            found.append(Stage(f"gap {gaps}", "done between layers", shape, expected))
        if stage is not None:
            found.append(stage)
            shape = stage.shape_out
    return found
