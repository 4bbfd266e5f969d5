"""Total variation: the time to one and the same objective, for the library and for solvers of other packages.

    OMP_NUM_THREADS=1 python benchmarks/tv.py [--device cuda] [--before /elsewhere/venv/bin/python]

Everybody minimises ½||A x - z||² + weight TV(x) for the same measurements of a batch of photographs, until each image
is within `--excess` (relative) of the least objective, which is computed beforehand. Objectives are evaluated in
float64 by one function, outside of the time that is taken. Nobody has to find out when to stop: the iterations that a
contestant needs are searched before it is timed, for each image if it works on single images, for the whole batch
otherwise. The library alone stops by itself, and proves the gap that it stops at; its tolerance is the loosest that is
good enough.

Photographs are squeezed to [0.1, 0.9], so that the library's box [0, 1], which some of the others cannot have, changes
nothing. Packages that work with NumPy or on JAX stay on the CPU, whatever the device.

`--before` names the Python in which another checkout is installed: it takes part as well, in a process of its own, with
its own loosest tolerance. On a CPU, times are those of the processor.
"""

from __future__ import annotations

import argparse
import bisect
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import crops, quickstart_problem
from timing import arguments, machine, print_table, ratio, synchronize, write_json
from torch import Tensor
from tv_rivals import Run, denoising_rivals, rivals

import invreg
from invreg import LinearOperator, choose_device
from invreg_tv.differences import total_variation
from invreg_tv.reconstructor import TotalVariation

_OURS, _BEFORE = "invreg", "invreg, before"
_TOLERANCES = [10 ** (-step / 8) for step in range(8, 41)]


@dataclass
class Task:
    """Measurements, what is to be minimised for them, and how low that can get."""

    operator: LinearOperator
    z: Tensor
    weight: float
    least: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.least = self.solver(1e-6, 20000).solve(self.z.double()).objective

    def solver(self, tolerance: float, most: int = 5000) -> TotalVariation:
        tv = TotalVariation(self.weight, tolerance, most)
        tv.setup(invreg.Problem(self.operator), tuple(self.z.shape[1:]))
        return tv

    def excess(self, x: Tensor, rows: slice = slice(None)) -> float:
        """(objective - least) / least, of the worst image."""
        x, z = x.double(), self.z[rows].double()
        objective = (self.operator(x) - z).square().flatten(1).sum(1) / 2 + self.weight * total_variation(x)
        return float((objective / self.least[rows] - 1).max())


class Before:
    """Another checkout in a process of its own, whose numbers come and go as files."""

    def __init__(self, python: str, task: Task) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.task = task
        np.save(Path(self.folder.name) / "z.npy", task.z.cpu().numpy())
        command = [python, str(Path(__file__).resolve()), "--serve", self.folder.name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, tolerance: float) -> tuple[Tensor, dict[str, float]]:
        """The images, and the seconds and iterations that they took."""
        assert self.process.stdin
        assert self.process.stdout
        asked = {"operator": invreg.spec_of(self.task.operator), "weight": self.task.weight, "tolerance": tolerance}
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        return torch.from_numpy(np.load(Path(self.folder.name) / "x.npy")).to(self.task.z.device), answer

    def end(self) -> None:
        self.process.communicate()
        self.folder.cleanup()


def serve(folder: Path) -> None:
    """Answers what `Before` asks, with the library that this Python has."""
    torch.set_num_threads(1)
    z = torch.from_numpy(np.load(folder / "z.npy"))
    for line in sys.stdin:
        asked = json.loads(line)
        tv = TotalVariation(asked["weight"], asked["tolerance"], 5000)
        tv.setup(invreg.Problem(invreg.Registry.installed().build("operator", asked["operator"])), tuple(z.shape[1:]))
        start = time.process_time()
        solution = tv.solve(z)
        seconds = time.process_time() - start
        np.save(folder / "x.npy", solution.x.numpy())
        print(json.dumps({"seconds": seconds, "iterations": solution.iterations.float().mean().item()}), flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
        return
    parser = arguments(__doc__, repetitions=5)
    parser.add_argument("--before", help="Python of another checkout, to compare with")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--weight", type=float, default=5.5e-4, help="of TV, for the blur (noise 0.01)")
    parser.add_argument("--denoising-weight", type=float, default=0.05, help="of TV, for denoising (noise 0.05)")
    parser.add_argument("--excess", type=float, default=1e-4, help="relative excess of the objective to reach")
    parser.add_argument("--longest", type=float, default=60.0, help="a contestant whose runs take longer is given up")
    parser.add_argument("--only", nargs="+", default=[], help="of the others, those whose name contains one of these")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    warnings.simplefilter("ignore")
    found: dict[str, Any] = {"machine": machine(device)}
    x = 0.1 + 0.8 * crops(options.images, options.size, 1, device)
    problem = quickstart_problem(device)
    blur = Task(problem.operator, problem.measure(x, seed=0), options.weight)
    noisy = invreg.Problem(
        invreg.Registry.installed().build("operator", "identity"),
        invreg.Registry.installed().build("noise", {"name": "gaussian", "std": 0.05}),
    ).to(device)
    denoising = Task(noisy.operator, noisy.measure(x, seed=0), options.denoising_weight)
    print(f"{options.images} images {options.size}x{options.size}, to {options.excess:g} above the least objective\n")
    for title, task, others in (("blur", blur, rivals), ("denoising", denoising, denoising_rivals)):
        found[title] = compare(title, task, others(task.operator, task.z, task.weight), options, device)
        print()
    write_json(found, options)


def compare(
    title: str, task: Task, others: dict[str, Run], options: argparse.Namespace, device: torch.device
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    steps: dict[str, Callable[[], float]] = {}
    loosest = bisect.bisect_left(
        _TOLERANCES, True, key=lambda one: task.excess(task.solver(one).solve(task.z).x) <= options.excess
    )
    ours = task.solver(_TOLERANCES[min(loosest, len(_TOLERANCES) - 1)])
    solution = ours.solve(task.z)
    steps[_OURS] = lambda: seconds(lambda: ours.solve(task.z), device)
    found[_OURS] = {"iterations": solution.iterations.float().mean().item(), "excess": task.excess(solution.x)}
    found[_OURS] |= {"tolerance": ours.tolerance, "gap": float(solution.relative_gap.max())}
    before = Before(options.before, task) if options.before else None
    if before:
        loosest = bisect.bisect_left(_TOLERANCES, True, key=lambda one: task.excess(before(one)[0]) <= options.excess)
        tolerance = _TOLERANCES[min(loosest, len(_TOLERANCES) - 1)]
        x, answer = before(tolerance)
        found[_BEFORE] = {"iterations": answer["iterations"], "excess": task.excess(x), "tolerance": tolerance}
        steps[_BEFORE] = lambda: before(tolerance)[1]["seconds"]
    for name, run in others.items():
        if options.only and not any(word in name for word in options.only):
            continue
        budgets, excess, spent = search(task, run, options, device)
        print(f"{name}: {statistics.mean(budgets):.0f} iterations, excess {excess:.1e}", file=sys.stderr, flush=True)
        found[name] = {"iterations": statistics.mean(budgets), "excess": excess}
        if excess <= options.excess:
            steps[name] = lambda run=run, budgets=budgets: seconds(lambda: run_all(run, budgets, task), device)
        else:
            found[name]["seconds_not_enough"] = spent
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.repetitions):
        for name, step in steps.items():
            taken[name].append(step())
    if before:
        before.end()
    rows = []
    for name, entry in found.items():
        if name in taken:
            entry |= {"seconds": statistics.median(taken[name]), "all_seconds": taken[name]}
            entry[f"to_{_OURS}"] = ratio(taken[name], taken[_OURS])
            words = [f"{entry['seconds']:.3g} s", f"{entry[f'to_{_OURS}']:.3g}"]
        else:
            least = entry["seconds_not_enough"] / statistics.median(taken[_OURS])
            entry[f"to_{_OURS}_at_least"] = least
            words = [f"not in {entry['seconds_not_enough']:.3g} s", f"> {least:.3g}"]
        rows.append([name, *words, f"{entry['iterations']:.0f}", f"{entry['excess']:.1e}"])
    print_table([title, "median", f"ratio to {_OURS}", "iterations", "excess of the objective"], rows)
    return found


def search(task: Task, run: Run, options: argparse.Namespace, device: torch.device) -> tuple[list[int], float, float]:
    """The iterations of each part of the batch, the worst excess with them, and the seconds of the longest run."""
    budgets, worst, longest = [], 0.0, 0.0
    for rows in run.parts(len(task.z)):
        tried: dict[int, float] = {}

        def good(n: int, rows: slice = rows, tried: dict[int, float] = tried) -> bool:
            nonlocal longest
            if n not in tried:
                synchronize(device)
                start = time.perf_counter()
                x = run(n, rows)
                synchronize(device)
                longest = max(longest, time.perf_counter() - start)
                tried[n] = task.excess(x, rows)
            return tried[n] <= options.excess

        n = budgets[-1] if budgets else 4  # of the image before
        while n > 4 and good(n // 2):
            n //= 2
        while not good(n) and longest < options.longest:
            n *= 2
        if good(n):  # to within an eighth
            grid = [n // 2 + max(1, n // 16) * step for step in range(1, 9)]
            n = grid[bisect.bisect_left(grid, True, hi=len(grid) - 1, key=good)]
        good(n)
        budgets.append(n)
        worst = max(worst, tried[n])
        if worst > options.excess:
            break
    return budgets, worst, longest


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Of the processor on a CPU, by the clock elsewhere."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    synchronize(device)
    start = clock()
    call()
    synchronize(device)
    return clock() - start


def run_all(run: Run, budgets: list[int], task: Task) -> None:
    for n, rows in zip(budgets, run.parts(len(task.z)), strict=True):
        run(n, rows)


if __name__ == "__main__":
    main()
