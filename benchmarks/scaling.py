"""How a training step and a reconstruction grow with the image, the batch, the chain and L.

    python benchmarks/scaling.py [--device cuda --peak-tflops 989]

One quantity is varied at a time, around a base. Operations are those of the convolutions that were carried out (fixed
points included), as torch counts them; their rate is the one of the whole step. With `--peak-tflops`, the rate is given
as a share of what the device can do. Memory is what a training step keeps for its backward pass.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
from networks import crops, measured, quickstart_problem
from timing import arguments, machine, print_table, seconds_in_turns, write_json
from torch.utils.flop_counter import FlopCounterMode

import invreg
from invreg import choose_device
from invreg_training.gradient.objectives import ReconstructionLoss
from invreg_training.gradient.optimizers import Optimizers

_AXES: dict[str, tuple[float, ...]] = {
    "size": (32, 64, 96, 128),
    "batch": (1, 2, 4, 8, 16),
    "subnetworks": (4, 8, 12, 20),
    "lipschitz": (0.95, 0.99, 0.999),
}


def main() -> None:
    parser = arguments(__doc__, repetitions=3)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--subnetworks", type=int, default=8)
    parser.add_argument("--lipschitz", type=float, default=0.999)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--axes", nargs="+", choices=list(_AXES), default=list(_AXES))
    parser.add_argument("--peak-tflops", type=float, help="of the device, in the arithmetic that is used")
    options = parser.parse_args()
    device = choose_device(options.device)
    warnings.simplefilter("ignore", invreg.ConvergenceWarning)
    found: dict[str, Any] = {"machine": machine(device)}
    for axis in options.axes:
        rows = []
        for value in _AXES[axis]:
            setting = {name: getattr(options, name) for name in _AXES} | {axis: value}
            entry = measure(setting, options, device)
            found.setdefault(axis, []).append({axis: value} | entry)
            share = [f"{entry['rate'] / options.peak_tflops / 1e12:.1%}"] if options.peak_tflops else []
            rows.append(
                [
                    f"{value:g}",
                    f"{1e3 * entry['step']:.4g} ms",
                    f"{entry['images_per_second']:.3g}",
                    f"{entry['operations'] / 1e9:.3g}",
                    f"{entry['rate'] / 1e9:.3g} GFLOP/s",
                    *share,
                    f"{entry['kept'] / 2**20:.3g} MiB",
                    f"{1e3 * entry['reconstruction']:.4g} ms",
                ]
            )
        columns = [axis, "training step", "images/s", "GFLOP", "rate", "kept for backward", "reconstruction"]
        print_table(columns[:5] + (["of the peak"] if options.peak_tflops else []) + columns[5:], rows)
        print()
    write_json(found, options)


def measure(setting: dict[str, Any], options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    problem = quickstart_problem(device)
    x = crops(int(setting["batch"]), int(setting["size"]), 1, device)
    z = measured(problem, x)
    torch.manual_seed(0)
    net = invreg.Registry.installed().build(
        "reconstructor",
        {
            "name": "iresnet",
            "subnetworks": int(setting["subnetworks"]),
            "channels": options.channels,
            "hidden": options.hidden,
            "lipschitz": setting["lipschitz"],
        },
    )
    net.setup(problem, tuple(x.shape[1:]))
    net.to(device)
    loss = ReconstructionLoss(net)
    optimizers = Optimizers(net, "muon", lr=1e-3, muon_lr=0.02, betas=(0.9, 0.99), weight_decay=0.0)

    def step() -> None:
        optimizers.zero_grad()
        loss(z, x).backward()
        optimizers.step(0.0)

    def reconstruct() -> None:
        with torch.no_grad():
            net(z)

    net.train().training_progress(0.9)
    with FlopCounterMode(display=False) as counter:
        step()
    operations = counter.get_total_flops()
    kept = kept_bytes(lambda: loss(z, x))
    seconds = statistics.median(seconds_in_turns({"step": step}, options.repetitions, device)["step"])
    net.eval()
    reconstruct()
    whole = statistics.median(seconds_in_turns({"r": reconstruct}, options.repetitions, device)["r"])
    return {
        "step": seconds,
        "images_per_second": len(x) / seconds,
        "operations": float(operations),
        "rate": operations / seconds,
        "kept": float(kept),
        "reconstruction": whole,
    }


def kept_bytes(call: Callable[[], torch.Tensor]) -> int:
    """Bytes of the distinct tensors that autograd saves."""
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = call()
    del kept
    return sum(storages.values())


if __name__ == "__main__":
    main()
