"""What certificates cost and what they prove, for the invertible networks of a finished run.

    invreg run && python benchmarks/certificates.py runs/NAME
    OMP_NUM_THREADS=2 python benchmarks/certificates.py --large 20  # the paper's large network, before training
    OMP_NUM_THREADS=2 python benchmarks/certificates.py --large 20 --weights runs/NAME/methods/LABEL/weights.safetensors

Measures making and verifying a certificate, its bounds, the proven distance of reconstructions against the true one (an
inversion in float64 to 1e-12), and the share of a training step that the norms take.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import invreg
from invreg_iresnet.certificate.symbol_grid import grid_symbols
from invreg_iresnet.inversion.accuracy import exact
from invreg_iresnet.inversion.inversion import invert_chain
from invreg_iresnet.invertible_chain import InvertibleChain
from invreg_iresnet.iresnet import IResNet
from invreg_iresnet.network.residuals import ResidualStack, Weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--large", type=int, metavar="N", help="a network of N subnetworks of the paper's large size")
    parser.add_argument("--weights", type=Path, help="of a network of the large size that was trained in a run")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-1, 1e-2, 1e-3])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, dict[str, float | str]] = {}
    if options.run:
        result = invreg.load(options.run)
        found |= {
            label: of_network(method.reconstructor, result.problem, options)
            for label, method in result.methods.items()
            if isinstance(method.reconstructor, InvertibleChain)
        }
        found["normalisation, 12/32/64, batch 8, 96x96"] = share_of_norms()
    if options.large:
        found[f"{options.large} subnetworks of 64 channels, 128 hidden"] = of_large_network(
            options.large, options.weights
        )
    for label, values in found.items():
        print(f"\n{label}\n\n| | |\n|---|---|")
        for name, value in values.items():
            print(f"| {name} | {value if isinstance(value, str) else format(value, '.4g')} |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


def of_network(net: Any, problem: Any, options: argparse.Namespace) -> dict[str, float | str]:
    net.eval().requires_grad_(False)
    start = time.perf_counter()
    certificate = net.certificate()
    made = time.perf_counter() - start
    start = time.perf_counter()
    net.verify(certificate)
    verified = time.perf_counter() - start
    values: dict[str, float | str] = {"making it, s": made, "verifying it, s": verified}
    for side in ("inverse", "forward"):
        bounds = getattr(certificate, f"{side}_lipschitz")
        values |= {f"{side}, {proof}": bound if bound is not None else "not proven" for proof, bound in bounds.items()}
    if not net.further_residuals:
        values["image_lipschitz"] = certificate.content["image_lipschitz"]
        values["reached by slopes that are the same in all pixels"] = reached_by_slopes(net)
    x = scenes(options.images, options.size)
    z = problem.measure(x, seed=0)
    truth = torch.cat([true_reconstruction(net, part) for part in z.split(10)])
    start = time.perf_counter()
    plain = torch.cat([net(part) for part in z.split(10)])
    seconds = time.perf_counter() - start
    error = distance(plain, truth)
    values["net(z): true distance, mean and worst"] = f"{error.mean():.2e}, {error.max():.2e}"
    for tolerance in options.tolerances:
        start = time.perf_counter()
        parts = [net.reconstruct(part, tolerance) for part in z.split(10)]
        ratio = (time.perf_counter() - start) / seconds
        bound = torch.cat([part.error_bound for part in parts])
        error = distance(torch.cat([part.image for part in parts]), truth)
        met = sum(int((part.error_bound <= tolerance).sum()) for part in parts)
        values[f"reconstruct to {tolerance:g}"] = (
            f"proven {bound.mean():.2e}, true {error.mean():.2e}, ratio {(bound / error).mean():.1f} on average, "
            f"{(bound / error).min():.1f} at least; {met} of {len(bound)} met; {ratio:.1f} x the time of net(z); "
            f"{sum(parts[0].iterations)} evaluations"
        )
    return values


def reached_by_slopes(net: Any, starts: int = 4, steps: int = 120, points: int = 24) -> float:
    """The largest Lip(m phi^-1 s) found for slopes 0 and 1 of activations, one for each channel in all pixels.

    A lower bound of what can be proven from slopes between 0 and 1 alone. For such slopes the inverse is linear, and
    has a symbol.
    """
    weights = net.residuals.evaluation_weights()
    kernels, mixings = weights.kernels.double().cpu(), weights.mixings.double().cpu()[..., 0, 0]
    symbols = [grid_symbols(kernel, points) for kernel in kernels]
    channels, copies = len(mixings[0]), net.lifting.copies
    stack = torch.eye(channels // copies, dtype=torch.complex128).repeat(copies, 1)

    def gain(slopes: torch.Tensor) -> torch.Tensor:
        state = stack.expand(len(symbols[0]), *stack.shape)
        for mixing, symbol, slope in zip(mixings, symbols, slopes, strict=True):
            step = (mixing * slope).to(symbol) @ symbol
            eye = torch.eye(channels, dtype=symbol.dtype)
            state = torch.linalg.solve(eye - step, state) if net.role == "forward" else state + step @ state
        return torch.linalg.matrix_norm(stack.mT @ state / copies, 2).max()

    best = 0.0
    for seed in range(starts):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(*mixings.shape[::2], generator=generator, dtype=torch.float64).mul_(2).requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=0.3)
        for _ in range(steps):
            optimizer.zero_grad()
            (-gain(logits.sigmoid()).log()).backward()
            optimizer.step()
        with torch.no_grad():
            best = max(best, float(gain((logits > 0).double())))
    return best


def of_large_network(subnetworks: int, weights: Path | None) -> dict[str, float | str]:
    """Times on the clock and of the processor, and bounds, with the weights before training or with those of a file."""
    torch.manual_seed(0)
    # L of each subnetwork is that of 20 in a row.
    net = IResNet(subnetworks=subnetworks, channels=64, hidden=128, lipschitz=1 - 0.001 ** (subnetworks / 20))
    net.setup(invreg.Problem(invreg.Registry.installed().build("operator", {"name": "identity"})), (1, 96, 96))
    if weights is not None:
        net.load_state_dict(load_file(weights))
    net.eval().requires_grad_(False)
    values: dict[str, float | str] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        clock, processor = time.perf_counter(), time.process_time()
        made = call()
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
        values[name] = f"{clock:.1f} s, {processor:.1f} s of the processor"
        return made

    timed("finalising it", net.finalise)
    certificate = timed("making it", net.certificate)
    timed("verifying it", lambda: net.verify(certificate))
    for side in ("inverse", "forward"):
        bounds = getattr(certificate, f"{side}_lipschitz")
        values |= {f"{side}, {proof}": bound for proof, bound in bounds.items() if bound is not None}
    values["image_lipschitz"] = certificate.content["image_lipschitz"]
    values["pieces of the chain"] = str(
        [one["length"] for one in (certificate.content["chain"] or {}).get("states", [])]
    )
    return values


def scenes(count: int, size: int) -> torch.Tensor:
    """Crops of the photographs of scikit-image, `[count, 1, size, size]`."""
    from invreg_datasets.photos import Photos

    training = Photos(image_size=size, train_size=size).splits().train
    return training.batch(0, 0, count)


def true_reconstruction(net: Any, z: torch.Tensor) -> torch.Tensor:
    """R(z) in float64 to a residual of 1e-12, for the weights as they are."""
    weights = Weights(*(stack.double() for stack in net.residuals.evaluation_weights()))
    state = net.lifting.lift(z.double())
    if isinstance(net, IResNet):
        accuracy = exact(1e-12, 3000, bound=net.residual_bound, dtype=torch.float64)
        return net.lifting.unlift(invert_chain(state, weights, accuracy).x)
    from invreg_iresnet.network.residuals import residual

    for index in range(len(weights.kernels)):
        state = state + residual(state, weights, index, torch.float64)
    return net.lifting.unlift(state)


def distance(image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (image.double() - other.double()).flatten(1).norm(dim=1)


def share_of_norms() -> dict[str, float | str]:
    """Time of the norms and of their derivative against a whole training step of the paper's small network."""
    net = IResNet(subnetworks=12, channels=32, hidden=64)
    net.setup(invreg.Problem(invreg.Registry.installed().build("operator", {"name": "identity"})), (1, 96, 96))
    net.train()
    z = torch.rand(8, 1, 96, 96)
    assert net.residuals is not None

    def step() -> None:
        net.training_progress(0.9)
        net.zero_grad()
        net(z).square().mean().backward()

    def norms() -> None:
        assert net.residuals is not None
        net.zero_grad()
        weights = net.residuals.weights()
        (weights.kernels.sum() + weights.mixings.sum()).backward()

    whole, part = median_seconds(step, 5), median_seconds(norms, 9)
    power = ResidualStack(12, 32, 64, 5, net.residual_bound, "power_iteration").train()

    def powers() -> None:
        power.zero_grad()
        weights = power.weights()
        (weights.kernels.sum() + weights.mixings.sum()).backward()

    return {
        "training step, s": whole,
        "norms and their gradient, s": part,
        "share of the step": f"{part / whole:.1%}",
        "one power iteration on 32x32 instead, s": median_seconds(powers, 9),
    }


def median_seconds(call: Callable[[], None], repetitions: int) -> float:
    call()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
