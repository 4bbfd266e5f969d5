"""Many directional derivatives of a learned forward map: one by one, and many at once.

    python benchmarks/derivatives.py --subnetworks 8 --channels 8 --hidden 16

J h and J* v at one photograph, for random directions and cotangents, as the analyses compute them. Both take turns;
ratios are times relative to one direction at a time.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from networks import add_sizes, crops, subject
from timing import arguments, machine, print_table, ratio, seconds_in_turns, write_json

from invreg import choose_device
from invreg_analyses.shared.derivatives import function_derivative


def main() -> None:
    parser = arguments(__doc__, repetitions=3)
    add_sizes(parser)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--smaller", type=int, nargs="*", default=[32], help="other sides of the images")
    parser.add_argument("--directions", type=int, default=32)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 32], help="directions at once")
    options = parser.parse_args()
    device = choose_device(options.device)
    found: dict[str, Any] = {"machine": machine(device)}
    subjects = subject(options, device)
    net = subjects.net.eval().requires_grad_(False)
    print(f"{subjects.words}; {options.directions} directions\n")
    rows, values = [], []
    for size in (*options.smaller, options.size):
        x = crops(1, size, subjects.channels, device)
        h = torch.randn(options.directions, *x.shape[1:], device=device)
        ways = {batch: function_derivative("net", net.forward_map, x, batch=batch) for batch in options.batches}
        for name in ("jvp", "vjp"):
            calls = {str(batch): _call(getattr(way, name), h) for batch, way in ways.items()}
            for call in calls.values():
                call()
            taken = seconds_in_turns(calls, options.repetitions, device)
            alone = taken[str(options.batches[0])]
            each = statistics.median(alone) / options.directions
            ratios = [ratio(taken[str(batch)], alone) for batch in options.batches]
            rows.append([f"{name}, {size}x{size}", f"{1e3 * each:.3g} ms", *(f"{one:.2f}" for one in ratios)])
            values.append({"way": name, "size": size, "seconds": taken})
    print_table(["", "one direction", *(f"{batch} at once" for batch in options.batches)], rows)
    write_json(found | {"derivatives": values}, options)


def _call(apply: Any, h: torch.Tensor) -> Any:
    def call() -> torch.Tensor:
        with torch.no_grad():
            return apply(h)

    return call


if __name__ == "__main__":
    main()
