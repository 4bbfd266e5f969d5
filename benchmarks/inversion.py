"""The inverse of a trained iresnet alone: the library against plain fixed points and the solvers of torchdeq.

    python benchmarks/inversion.py --run runs/NAME

Every contestant inverts the same states, those of measurements of photographs, with the same weights. Errors are
relative distances to the inverse in float64, of the worst image. A tolerance means something else for each solver, so
there are two comparisons: at a relative residual of `--tolerance` for all, and with the largest tolerance at which each
of them is as accurate as the library is at `--tolerance`.

Solvers in Python are at the mercy of the memory layout of what they are given, so both layouts compete.
"""

from __future__ import annotations

import argparse
import bisect
import statistics
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from networks import Subject, add_sizes, crops, measured, subject
from textbook import Inverse, Layer, fixed_point, invert, layers_of
from timing import arguments, machine, print_table, ratio, seconds_in_turns, write_json
from torch import Tensor

import invreg
from invreg import choose_device
from invreg_iresnet.network.residuals import Weights

_TRUE_TOLERANCE = 1e-14
_LAYOUTS = {"": torch.contiguous_format, ", channels last": torch.channels_last}
_TORCHDEQ = ("fixed_point_iter", "anderson", "broyden")
# What limited-memory updates of torchdeq's broyden may keep: its memory grows with it.
_BROYDEN_MEMORY = 20

#: Inverts states with a tolerance.
Inversion = Callable[[float], Tensor]
#: Makes a solver for a tolerance and a largest number of iterations, which notes the evaluations that it takes.
Maker = Callable[[float, int, list[int]], Inverse]


def main() -> None:
    parser = arguments(__doc__, repetitions=9)
    add_sizes(parser)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--most", type=int, default=60, help="iterations, for each subnetwork")
    options = parser.parse_args()
    device = choose_device(options.device)
    warnings.simplefilter("ignore", invreg.ConvergenceWarning)
    subjects = subject(options, device)
    net = subjects.net.eval().requires_grad_(False)
    with torch.no_grad():
        z = net.lift(measured(subjects.problem, crops(options.images, options.size, subjects.channels, device)))
        found: dict[str, Any] = {"machine": machine(device), "network": subjects.words}
        print(f"{subjects.words}; {options.images} images {options.size}x{options.size}, {options.repetitions} turns\n")
        found |= compare(subjects, z, options, device)
    write_json(found, options)


def compare(subjects: Subject, z: Tensor, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    weights = subjects.net.residuals.evaluation_weights()
    truth = true_inverse(z, weights)
    inversions, counts = contestants(subjects, z, weights, options.most)

    def error(tolerance: float, inversion: Inversion) -> float:
        distances = (inversion(tolerance).double() - truth).flatten(1).norm(dim=1)
        return float((distances / truth.flatten(1).norm(dim=1)).max())

    ours = error(options.tolerance, inversions["iresnet"])
    equal = {"iresnet": options.tolerance}
    for name, inversion in inversions.items():
        if name not in equal:
            equal[name] = loosest(lambda tolerance, run=inversion: error(tolerance, run) <= ours)
    found = {"at equal residuals": dict.fromkeys(inversions, options.tolerance), "at equal errors": equal}
    measurements: dict[str, Any] = {}
    for title, tolerances in found.items():
        able = {name: tolerance for name, tolerance in tolerances.items() if tolerance}
        steps = {name: lambda n=name, t=tolerance: inversions[n](t) for name, tolerance in able.items()}
        taken = seconds_in_turns(steps, options.repetitions, device)
        rows, measurements[title] = [], {}
        for name in inversions:
            if name not in able:
                rows.append([name, "", "", "", "not reached"])
                continue
            counts.clear()
            reached = error(able[name], inversions[name])
            entry = {
                "tolerance": able[name],
                "seconds": statistics.median(taken[name]),
                "all_seconds": taken[name],
                "to_iresnet": ratio(taken[name], taken["iresnet"]),
                "evaluations": sum(counts) / len(weights.kernels),
                "error": reached,
            }
            measurements[title][name] = entry
            rows.append(
                [
                    name,
                    f"{1e3 * entry['seconds']:.4g} ms",
                    f"{entry['to_iresnet']:.2f}",
                    f"{entry['evaluations']:.1f}",
                    f"{reached:.1e} (tolerance {able[name]:.1e})",
                ]
            )
        columns = [f"inversion, {title}", "median", "ratio to iresnet", "evaluations per subnetwork", "true error"]
        print_table(columns, rows)
        print()
    return measurements


def loosest(fine: Callable[[float], bool]) -> float:
    """The largest tolerance that is fine, on a grid with four per factor of ten; 0 if none is."""
    grid = [10 ** (-step / 4) for step in range(8, 33)]
    first = bisect.bisect_left(range(len(grid)), True, key=lambda index: fine(grid[index]))
    return grid[first] if first < len(grid) else 0.0


def contestants(subjects: Subject, z: Tensor, weights: Weights, most: int) -> tuple[Mapping[str, Inversion], list[int]]:
    """The inversions by name, and where they leave how often they have evaluated a residual function."""
    counts: list[int] = []

    def ours(tolerance: float) -> Tensor:
        inversion = subjects.net.invert(z, tolerance, most)
        counts.extend(inversion.iterations)
        return inversion.x

    made: dict[str, Inversion] = {"iresnet": ours}
    for words, layout in _LAYOUTS.items():
        start = z.contiguous(memory_format=layout)
        layers = layers_of(weights)
        layers = [layer._replace(kernel=layer.kernel.contiguous(memory_format=layout)) for layer in layers]

        def run(maker: Maker, tolerance: float, start: Tensor = start, layers: list[Layer] = layers) -> Tensor:
            return invert(start, layers, maker(tolerance, most, counts))

        made[f"fixed point{words}"] = partial(run, plain)
        for name in _TORCHDEQ if has_torchdeq() else ():
            made[f"torchdeq, {name}{words}"] = partial(run, partial(torchdeq_solver, name))
    if not has_torchdeq():
        print("torchdeq is not installed: left out\n")
    return made, counts


def plain(tolerance: float, most: int, counts: list[int]) -> Inverse:
    """Fixed points from z, which end when the worst image of the batch is within the tolerance."""

    def inverse(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        x, iterations = fixed_point(lambda x: z + f(x), z, tolerance, most)
        counts.append(iterations)
        return x

    return inverse


def torchdeq_solver(name: str, tolerance: float, most: int, counts: list[int]) -> Inverse:
    """A solver of torchdeq with a relative tolerance; it also ends when the worst image is within it."""
    from torchdeq.solver import get_solver

    solver = get_solver(name)
    limits: dict[str, Any] = {"max_iter": most, "tol": tolerance, "stop_mode": "rel"}
    if name == "broyden":
        limits["LBFGS_thres"] = min(most, _BROYDEN_MEMORY)

    def inverse(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        evaluations = 0

        def update(x: Tensor) -> Tensor:
            nonlocal evaluations
            evaluations += 1
            return z + f(x)

        x = solver(update, z, **limits)[0]
        counts.append(evaluations)
        return x

    return inverse


def has_torchdeq() -> bool:
    try:
        import torchdeq  # noqa: F401
    except ImportError:
        return False
    return True


def true_inverse(z: Tensor, weights: Weights) -> Tensor:
    """phi^-1(z) in float64 to rounding."""
    layers = layers_of(Weights(*(stack.double() for stack in weights)))

    def inverse(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        return fixed_point(lambda x: z + f(x), z, _TRUE_TOLERANCE, 3000, still=5)[0]

    return invert(z.double().contiguous(), layers, inverse)


if __name__ == "__main__":
    main()
