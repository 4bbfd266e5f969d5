"""What a saliency map costs: rows of the Jacobian of a learned forward map, against one backward pass each.

    python benchmarks/saliency.py --subnetworks 20 --channels 64 --hidden 128

Random pixels of one photograph. The library computes the rows of many pixels at once: those that are too far apart to
disturb each other share a backward pass, and several passes are made in a batch. The other way is one backward pass for
each pixel. Both take turns. Memory is the largest resident set of the process, less that before; on a GPU what torch
has allocated at most.
"""

from __future__ import annotations

import resource
import statistics
from typing import Any

import numpy as np
import torch
from networks import add_sizes, crops, subject
from timing import arguments, machine, print_table, ratio, seconds_in_turns, write_json

from invreg import choose_device
from invreg_analyses.saliency.jacobian_rows import function_map, jacobian_rows
from invreg_iresnet.iresnet import IResNet

_WINDOW = 9


def main() -> None:
    parser = arguments(__doc__, repetitions=1)
    add_sizes(parser)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--pixels", type=int, default=1500)
    parser.add_argument("--single", type=int, default=8, help="backward passes that are timed, one for each pixel")
    parser.add_argument("--batch", type=int, default=4, help="backward passes at once")
    options = parser.parse_args()
    device = choose_device(options.device)
    found: dict[str, Any] = {"machine": machine(device)}
    subjects = subject(options, device)
    net = subjects.net.eval().requires_grad_(False)
    x = crops(1, options.size, subjects.channels, device)
    pixels = random_pixels(options.pixels, options.size)
    before = memory(device)
    steps = {
        "rows": lambda: rows(net, x, pixels, options.batch),
        "single": lambda: [rows(net, x, pixels[i : i + 1], 1) for i in range(options.single)],
    }
    rows(net, x, pixels[:2], 1)  # warms up
    taken = seconds_in_turns(steps, options.repetitions, device)
    per_row = [seconds / options.pixels for seconds in taken["rows"]]
    per_pass = [seconds / options.single for seconds in taken["single"]]
    found |= {"per_map": per_row, "per_pass": per_pass, "bytes": memory(device) - before}
    print(f"{subjects.words}; {options.size}x{options.size}, {options.pixels} pixels, {options.batch} passes at once\n")
    print_table(
        ["one saliency map", "seconds", "ratio to a pass of its own", "memory"],
        [
            ["shared passes", f"{statistics.median(per_row):.3g}", f"{ratio(per_row, per_pass):.2f}", words(found)],
            ["forward and backward pass of its own", f"{statistics.median(per_pass):.3g}", "1.00", ""],
        ],
    )
    write_json(found, options)


def rows(net: IResNet, x: torch.Tensor, pixels: np.ndarray, batch: int) -> torch.Tensor:
    return jacobian_rows(function_map("net", net.forward_map, net.forward_map_radius), x, pixels, _WINDOW, batch)


def random_pixels(count: int, size: int) -> np.ndarray:
    """Different pixels whose windows are inside the image."""
    inside = size - _WINDOW + 1
    chosen = np.random.default_rng(0).choice(inside**2, count, replace=False)
    return np.stack([chosen // inside, chosen % inside], axis=1) + _WINDOW // 2


def memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def words(found: dict[str, Any]) -> str:
    return f"{found['bytes'] / 2**20:.0f} MiB"


if __name__ == "__main__":
    main()
