"""The Radon transform and its adjoint: time and memory, against the whole sparse matrix and its transpose.

The matrix is that of an earlier version, which kept it by rows and by columns; a checkout of it is needed (any from
before `strips.py` was there). Contestants take turns; times are those of the processor, for each image, and the medians
of the turns. The operator's memory is what it keeps for the next call; the peak is what the process has more in memory
after one image went forward and back, in a process of its own.

    git worktree add ../before COMMIT
    OMP_NUM_THREADS=1 python benchmarks/radon.py ../before
    OMP_NUM_THREADS=1 python benchmarks/radon.py ../before --sizes 64x30 256x180 --batches 1 8
    CC=none OMP_NUM_THREADS=1 python benchmarks/radon.py ../before --sizes 256x180    # as without a C compiler
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import arguments, machine, print_table, write_json
from torch import Tensor

from invreg_operators.beams.beam_matrix import beam_matrix, is_small
from invreg_operators.beams.lines import can_compute, lines_of
from invreg_operators.beams.radon import Radon
from invreg_operators.beams.strips import strips_of

warnings.filterwarnings("ignore", message="Sparse")


def main() -> None:
    parser = arguments(__doc__, repetitions=5)
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(), help="folder of an earlier version")
    parser.add_argument("--sizes", nargs="+", default=["64x30", "96x60", "256x180"], help="pixels of a side x angles")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--peak", help="one size: only prints the megabytes that one image needs")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.peak:
        print(peak(*sides(options.peak)))
        return
    found = machine(device)
    rows, times = [], {}
    for size in options.sizes:
        side, angles = sides(size)
        needs = float(subprocess.check_output([sys.executable, __file__, "--peak", size], text=True))
        matrix = matrix_before(options.checkout, side, angles, device)
        for batch in options.batches:
            taken = in_turns(side, angles, matrix, batch, options.repetitions, device)
            times[f"{size}, {batch}"] = taken
            before, now, back_before, back_now = (statistics.median(values) for values in taken.values())
            rows.append(
                [
                    f"{side} x {side}, {angles}",
                    str(batch),
                    f"{before:.1f} ms",
                    f"{now:.1f} ms",
                    f"{back_before:.1f} ms",
                    f"{back_now:.1f} ms",
                    f"{sum(map(nbytes, matrix)) / 1e6:.1f} MB",
                    f"{kept(side, angles, device) / 1e6:.1f} MB",
                    f"{needs:.0f} MB",
                ]
            )
    columns = ["", "images", "forward, matrix", "forward", "adjoint, matrix", "adjoint", "matrix", "kept", "peak"]
    print_table(columns, rows)
    write_json({**found, "milliseconds": times}, options)


def sides(size: str) -> tuple[int, int]:
    side, angles = size.split("x")
    return int(side), int(angles)


def matrix_before(checkout: Path, side: int, angles: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The matrix and its transpose, in compressed rows, as a checkout of an earlier version makes them."""
    file = checkout / "plugins/operators/invreg_operators/parallel_beams.py"
    described = importlib.util.spec_from_file_location("parallel_beams_before", file)
    assert described is not None
    assert described.loader is not None
    before: Any = importlib.util.module_from_spec(described)
    sys.modules[described.name] = before
    described.loader.exec_module(before)
    geometry = before.Geometry(**vars(Radon(angles=angles).geometry((1, side, side))))
    found = before.beam_matrix(geometry, torch.float32, device)
    before.beam_matrix.cache_clear()
    return found.forward, found.transposed


def nbytes(matrix: Tensor) -> int:
    return matrix.crow_indices().nbytes + matrix.col_indices().nbytes + matrix.values().nbytes


def kept(side: int, angles: int, device: torch.device) -> int:
    geometry = Radon(angles=angles).geometry((1, side, side))
    if is_small(geometry, torch.float32):
        return sum(map(nbytes, beam_matrix(geometry, torch.float32, device)))
    if device.type == "cpu" and can_compute(torch.zeros(1)):
        return sum(part.nbytes for lines in lines_of(geometry) for part in lines if isinstance(part, Tensor))
    strips = strips_of(geometry, torch.float32, device)
    return sum(block.nbytes for each in strips for b in (each.blocks, each.transposed) for block in b.kept.values())


def in_turns(
    side: int, angles: int, matrix: tuple[Tensor, Tensor], batch: int, repetitions: int, device: torch.device
) -> dict[str, list[float]]:
    """Milliseconds of the processor for each image, in each turn."""
    radon = Radon(angles=angles)
    x = torch.rand(batch, 1, side, side, device=device)
    z = radon(x)
    back = radon.adjoint(z)
    forward_matrix, transpose = matrix
    assert torch.allclose((forward_matrix @ x.flatten(1).mT).mT, z.flatten(1), atol=1e-5, rtol=1e-5)
    assert torch.allclose((transpose @ z.flatten(1).mT).mT, back.flatten(1), atol=1e-5, rtol=1e-4)
    contestants: dict[str, Callable[[], object]] = {
        "forward, matrix": lambda: (forward_matrix @ x.flatten(1).mT.contiguous()).mT.contiguous(),
        "forward": lambda: radon(x),
        "adjoint, matrix": lambda: (transpose @ z.flatten(1).mT.contiguous()).mT.contiguous(),
        "adjoint": lambda: radon.adjoint(z),
    }
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, call in contestants.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter() if device.type == "cuda" else time.process_time()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            end = time.perf_counter() if device.type == "cuda" else time.process_time()
            taken[name].append((end - start) * 1e3 / batch)
    return taken


def peak(side: int, angles: int) -> float:
    """Megabytes more than after a small transform, which loads all code (Linux)."""
    Radon(angles=4).adjoint(Radon(angles=4)(torch.rand(1, 1, 8, 8)))
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    radon = Radon(angles=angles)
    radon.adjoint(radon(torch.rand(1, 1, side, side)))
    return memory("VmHWM") - before


def memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
