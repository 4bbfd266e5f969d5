"""The check that what has to be saved is saved, in the format that runs use."""

from __future__ import annotations

from torch import Tensor, nn

from invreg.testing.checks import Refused
from invreg.testing.numbers import demand_same


def demand_saved(module: nn.Module, other: nn.Module, x: Tensor) -> None:
    """Refuses modules whose state, saved as safetensors and loaded by another, does not make both the same.

    Args:
        module: the one that is saved.
        other: one of the same kind, whose state is overwritten.
        x: what both are called with.
    """
    from safetensors.torch import load, save

    fix = (
        "keep tensors in parameters and buffers (register_buffer), and everything else in the constructor's parameters"
    )
    state = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    try:
        other.load_state_dict(load(save(state)))
    except (RuntimeError, ValueError) as error:
        raise Refused(
            f"its state cannot be loaded: {str(error).splitlines()[0]}", "the state of another", fix
        ) from None
    demand_same(other(x), module(x), "results before saving and after loading", fix)
