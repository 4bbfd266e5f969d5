"""The residual function and its adjoint derivative: as the library computes them, compiled, and in plain operations.

    python benchmarks/compiled.py [--device cuda --bf16]

Compiled code is that of torch.compile for the plain operations; compiling itself is not counted. Contestants take
turns and work on the same numbers, which they agree on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timing import arguments, machine, print_table, ratio, seconds_in_turns, write_json
from torch import Tensor

from invreg import choose_device
from invreg_iresnet.network.subnetwork import Subnetwork

_THRESHOLD = 0.01
#: Channels, hidden channels and side of the states of the quickstart's network and of the paper's.
_SETTINGS = {"quickstart": (8, 16, 60), "12/32/64": (32, 64, 108), "20/64/128": (64, 128, 108)}


def main() -> None:
    parser = arguments(__doc__, repetitions=15)
    parser.add_argument("--settings", nargs="+", choices=list(_SETTINGS), default=list(_SETTINGS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    device = choose_device(options.device)
    found: dict[str, Any] = {"machine": machine(device)}
    rows = []
    for setting in options.settings:
        calls = contestants(*_SETTINGS[setting], options.batch, device, torch.bfloat16 if options.bf16 else None)
        with torch.no_grad():
            agree(calls)
            taken = seconds_in_turns({name: call for name, (_, call) in calls.items()}, options.repetitions, device)
        for name, (what, _) in calls.items():
            ours = taken[f"{what}, invreg"]
            entry = {"seconds": statistics.median(taken[name]), "ratio": ratio(taken[name], ours)}
            found.setdefault(setting, {})[name] = entry
            rows.append([setting, name, f"{1e3 * entry['seconds']:.3g} ms", f"{entry['ratio']:.2f}"])
    print_table(["network", "", "median", "ratio to invreg"], rows)
    write_json(found, options)


def contestants(
    channels: int, hidden: int, size: int, batch: int, device: torch.device, dtype: torch.dtype | None
) -> dict[str, tuple[str, Callable[[], Tensor]]]:
    """What is computed and how, by name."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        tensor = torch.randn(shape, generator=generator).to(device, dtype or torch.float32)
        return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    x, w = drawn(batch, channels, size, size), drawn(batch, channels, size, size)
    kernel, mixing = 0.05 * drawn(hidden, channels, 5, 5), 0.05 * drawn(channels, hidden, 1, 1)
    f = Subnetwork(kernel, 0.1 * drawn(hidden), mixing, 0.1 * drawn(channels), _THRESHOLD)
    activations = f.hidden(x)
    value, adjoint = torch.compile(_value), torch.compile(_adjoint)
    return {
        "f(x), invreg": ("f(x)", lambda: f.output(f.hidden(x))),
        "f(x), compiled": ("f(x)", lambda: value(x, *f[:4])),
        "f(x), plain": ("f(x)", lambda: _value(x, *f[:4])),
        "f'(x)* w, invreg": ("f'(x)* w", lambda: f.adjoint(f.hidden_adjoint(w, activations))),
        "f'(x)* w, compiled": ("f'(x)* w", lambda: adjoint(w, activations, kernel, mixing)),
        "f'(x)* w, plain": ("f'(x)* w", lambda: _adjoint(w, activations, kernel, mixing)),
    }


def _value(x: Tensor, kernel: Tensor, hidden_bias: Tensor, mixing: Tensor, output_bias: Tensor) -> Tensor:
    hidden = F.conv2d(x, kernel, hidden_bias, padding=2)
    return F.conv2d(hidden - hidden.clamp(-_THRESHOLD, _THRESHOLD), mixing, output_bias)


def _adjoint(w: Tensor, activations: Tensor, kernel: Tensor, mixing: Tensor) -> Tensor:
    u = F.conv_transpose2d(w, mixing) * (activations != 0)
    return F.conv_transpose2d(u, kernel, padding=2)


def agree(calls: dict[str, tuple[str, Callable[[], Tensor]]]) -> None:
    """Warms everything up, and ends if the values differ by more than rounding does."""
    reference = {what: call().float() for name, (what, call) in calls.items() if name.endswith("invreg")}
    for name, (what, call) in calls.items():
        found, expected = call(), reference[what]
        close = 1e-4 if found.dtype == torch.float32 else 3e-2
        error = float((found.float() - expected).abs().max() / expected.abs().max())
        if error > close:
            raise SystemExit(f"{name} is off by {error:.2g}")


if __name__ == "__main__":
    main()
