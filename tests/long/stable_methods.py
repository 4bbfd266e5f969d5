"""Tries to break what is proven of the stable methods: many pairs of measurements, with random weights.

    python tests/long/stable_methods.py [--trials 100000] [--seed 0]

Each trial is one pair (z, z + d), in float64: ||R(z + d) - R(z)|| / ||d|| must not exceed the bound that the
certificate proves, nor ||A (R(z + d) - R(z))|| / ||d|| the bound of `data_lipschitz`. From random z and d, d turns to
where differences grew, for seven steps, each of which is a trial. Iterations end at a tolerance that is small beside d.
Ends with 1 and the seed of the weights at the first violation.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import Any

import torch

import invreg
from invreg_operators.convolution.downsampling import Downsampling
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.pointwise.identity import Identity

#: Trials from one start, pairs at a time, sides of the images, and what the inaccuracy of an iteration may add.
STEPS, BATCH, SIDE, SLACK = 8, 125, 8, 1e-3
OPERATORS = {
    "identity": Identity(),
    "blur": GaussianBlur(kernel_size=3, std=0.6),
    "downsampling": Downsampling(factor=2),
}
RIDGE = {"filters": 4, "kernel_size": 3, "knots": 4, "weight": 0.05}
LAYERS = {"layers": 2, "filters": 4, "kernel_size": 3}
METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "crr, identity": ({"name": "crr", **RIDGE}, "identity"),
    "crr, blur": ({"name": "crr", **RIDGE}, "blur"),
    "crr, convex, downsampling": ({"name": "crr", **RIDGE, "strong_convexity": 0.3}, "downsampling"),
    "wcrr, identity": ({"name": "wcrr", **RIDGE}, "identity"),
    "wcrr, modulus 0.3": ({"name": "wcrr", **RIDGE, "modulus": 0.3}, "identity"),
    "averaged_pnp, identity": ({"name": "averaged_pnp", **LAYERS}, "identity"),
    "averaged_pnp, blur": ({"name": "averaged_pnp", **LAYERS}, "blur"),
    "deq, identity": ({"name": "deq", **LAYERS, "anchor": 0.1}, "identity"),
    "deq, blur": ({"name": "deq", **LAYERS, "anchor": 0.3}, "blur"),
    "deq, downsampling": ({"name": "deq", **LAYERS, "anchor": 0.3}, "downsampling"),
}


def made(name: str, seed: int) -> tuple[Any, float, float]:
    """A method in float64 with random weights, and the bounds of its certificate: of R, and of A R."""
    parameters, operator = METHODS[name]
    torch.manual_seed(seed)
    method: Any = invreg.Registry.installed().build(
        "reconstructor", {**parameters, "tolerance": 1e-7, "max_iterations": 20000}
    )
    method.setup(invreg.Problem(OPERATORS[operator]), (1, SIDE, SIDE))
    with torch.no_grad():
        for key, weight in method.named_parameters():
            if "kernels" in key:
                weight.normal_()
            elif "log_slopes" in key:
                weight.add_(0.1 * torch.randn_like(weight) - 0.1)
            elif "log_falls" in key:
                weight.add_(0.1 * torch.randn_like(weight) + 0.3)
            elif "log_thresholds" in key:
                weight.copy_(0.2 * torch.rand_like(weight) - 0.4)
    method = method.double().eval()
    certificate = method.certificate()
    method.verify(certificate)
    data = certificate.content.get("data_lipschitz", math.inf)
    return method, float(certificate.reconstruction_lipschitz), float(data)


@torch.no_grad()
def largest_ratios(method: Any, generator: torch.Generator) -> tuple[float, float]:
    """The largest ratios of STEPS times BATCH trials: of images, and of their measurements."""
    forward = method.problem.operator
    z = forward(0.2 + 0.6 * torch.rand(BATCH, 1, SIDE, SIDE, generator=generator, dtype=torch.float64))
    d = torch.randn(z.shape, generator=generator, dtype=torch.float64)
    radius = 10 ** (-1.5 + 1.5 * torch.rand(BATCH, 1, 1, 1, generator=generator, dtype=torch.float64))
    base, worst, worst_data = method.solve(z).x, 0.0, 0.0
    for _ in range(STEPS):
        d = radius * d / d.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        moved = method.solve(z + d).x - base
        again, size = forward(moved), radius.flatten()
        worst = max(worst, float((moved.flatten(1).norm(dim=1) / size).max()))
        worst_data = max(worst_data, float((again.flatten(1).norm(dim=1) / size).max()))
        d = again + 1e-9 * torch.randn(z.shape, generator=generator, dtype=torch.float64)
    return worst, worst_data


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000, help="of all methods together")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rounds = max(1, round(arguments.trials / (STEPS * BATCH * len(METHODS))))
    for name in METHODS:
        began, near, near_data = time.perf_counter(), 0.0, 0.0
        for number in range(rounds):
            seed = arguments.seed + number
            method, bound, data = made(name, seed)
            found, found_data = largest_ratios(method, torch.Generator().manual_seed(seed))
            near, near_data = max(near, found / bound), max(near_data, found_data / data)
            if found > bound * (1 + SLACK) or found_data > data * (1 + SLACK):
                print(f"{name}: {found} > {bound} or {found_data} > {data}, seed {seed}")
                return 1
        seconds = time.perf_counter() - began
        print(f"{name}: at most {near:.3f} of the bound, {near_data:.3f} of that of A x; {seconds:.0f} s", flush=True)
    print(f"{rounds * STEPS * BATCH * len(METHODS):,} trials, no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
