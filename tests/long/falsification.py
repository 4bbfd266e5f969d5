"""Tries to break proven bounds: many pairs of measurements for networks of every kind with strong random weights.

    python tests/long/falsification.py [--trials 1000000] [--seed 0]

Each trial is one pair (z, z + d): the ratio ||R(z + d) - R(z)|| / ||d|| must not exceed the bound that the certificate
proves, in float64, where rounding is some 1e-14 of what is compared. Pairs are sought, not drawn: from random z and d,
d turns along R'(z + d)* (R(z + d) - R(z)) for seven steps, each of which is a trial. Ends with 1 and the seed of the
weights at the first violation.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import Any

import torch

import invreg
from invreg_operators.convolution.gaussian_blur import GaussianBlur

#: Trials from one start, pairs at a time, and sides of the images.
STEPS, BATCH, SIDE = 8, 250, 10
STAGES = [
    {"scale": 1, "subnetworks": 2, "hidden": 4, "kernel_size": 5},
    {"scale": 2, "subnetworks": 2, "hidden": 8, "kernel_size": 3},
    {"scale": 1, "subnetworks": 2, "hidden": 4, "kernel_size": 3},
]
SINGLE = {"subnetworks": 4, "channels": 3, "hidden": 6, "kernel_size": 3, "padding": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "iresnet, L = 0.9": {"name": "iresnet", **SINGLE, "lipschitz": 0.9},
    "iresnet, L = 0.999": {"name": "iresnet", **SINGLE, "lipschitz": 0.999},
    "iresnet, no padding": {"name": "iresnet", **SINGLE, "lipschitz": 0.99, "padding": 0},
    "iresnet, target 6": {"name": "iresnet", **SINGLE, "lipschitz": 0.999, "target_bound": 6},
    "iresnet, scales": {"name": "multiscale_iresnet", "stages": STAGES, "channels": 2, "padding": 2, "lipschitz": 0.99},
    "explicit, L = 0.5": {"name": "explicit_iresnet", **SINGLE, "lipschitz": 0.5},
    "explicit, L = 0.93": {"name": "explicit_iresnet", **SINGLE, "lipschitz": 0.93},
    "explicit, one copy": {"name": "explicit_iresnet", **SINGLE, "channels": 1, "lipschitz": 0.9},
    "explicit, target 4": {"name": "explicit_iresnet", **SINGLE, "lipschitz": 0.93, "target_bound": 4},
    "explicit, tikhonov": {"name": "explicit_iresnet", **SINGLE, "lipschitz": 0.9, "pull_back": {"name": "tikhonov"}},
    "explicit, scales": {
        "name": "multiscale_explicit_iresnet",
        "stages": STAGES,
        "channels": 2,
        "padding": 2,
        "lipschitz": 0.98,
    },
}


def made(parameters: dict[str, Any], seed: int) -> tuple[Any, float]:
    """A final network in float64 with strong weights, and the bound that its certificate proves."""
    torch.manual_seed(seed)
    net: Any = invreg.Registry.installed().build("reconstructor", parameters)
    net.setup(invreg.Problem(GaussianBlur(kernel_size=5, std=1.0)), (1, SIDE, SIDE))
    with torch.no_grad():
        for stack in (net.residuals, *net.further_residuals):
            stack.kernels.normal_().add_(torch.rand(()) * 2)  # in part the same sign everywhere: norms are reached
            stack.mixings.normal_()
            stack.hidden_biases.normal_(std=0.1)
            stack.output_biases.normal_(std=0.1)
            stack.log_thresholds.fill_(math.log(0.02))
    net = net.double().eval()
    net.finalise()
    certificate = net.certificate()
    net.verify(certificate)
    return net, float(certificate.reconstruction_lipschitz)


def largest_ratio(net: Any, generator: torch.Generator) -> float:
    """The largest ratio of STEPS times BATCH trials."""
    z = torch.rand(BATCH, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)
    d = torch.randn(z.shape, generator=generator, dtype=torch.float64)
    radius = 10 ** (-3 + 3 * torch.rand(BATCH, 1, 1, 1, generator=generator, dtype=torch.float64))
    with torch.no_grad():
        base = net(z)
    worst = 0.0
    for _ in range(STEPS):
        d = (radius * d / d.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).requires_grad_()
        change = net(z + d) - base
        size = change.flatten(1).norm(dim=1)
        worst = max(worst, float((size / d.flatten(1).norm(dim=1)).detach().max()))
        [d] = torch.autograd.grad(0.5 * size.square().sum(), d)
        d = d + 1e-300
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    each = math.ceil(options.trials / len(NETWORKS))
    total = 0
    print("| network | proven | found | proven / found | trials | seconds |\n|---|---|---|---|---|---|", flush=True)
    for number, (label, parameters) in enumerate(NETWORKS.items()):
        start, trials, seed = time.perf_counter(), 0, 1000 * options.seed + number
        generator = torch.Generator().manual_seed(seed)
        net, bound = made(parameters, seed)
        found = 0.0
        while trials < each:
            found = max(found, largest_ratio(net, generator))
            trials += STEPS * BATCH
            if found > bound * (1 + 1e-9):
                sys.exit(f"{label}, seed {seed}: {found} is above the proven bound {bound}")
        total += trials
        seconds = time.perf_counter() - start
        print(f"| {label} | {bound:.3f} | {found:.3f} | {bound / found:.2f} | {trials:,} | {seconds:.0f} |", flush=True)
    print(f"\nNo violation in {total:,} trials.")


if __name__ == "__main__":
    main()
