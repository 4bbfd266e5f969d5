"""How long `invreg reconstruct` takes: one photograph with all imports, and a hundred beside the bare network.

    python benchmarks/reconstruct.py gaussian-deblur

The photographs are grey, 8 bits, PNG, from those that come with scikit-image. A hundred are reconstructed as the
command does it (read, reconstruct, residuals, write, read again, table, page), with and without proofs, in turns with
the network alone on the same arrays, and with its proofs alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from timing import arguments, machine, print_table, ratio, seconds_in_turns, write_json
from torch import Tensor

import invreg
from invreg import ReconstructsWithBound, choose_device
from invreg.models.file_sources import find_sources
from invreg.models.measured_files import Options, reconstruct_files
from invreg_datasets.photos import Photos


def main() -> None:
    parser = arguments(__doc__, repetitions=3)
    parser.add_argument("model", help="a bundled model, a model folder, or a run folder")
    parser.add_argument("--method")
    parser.add_argument("--count", type=int, default=100, help="photographs for the second table")
    parser.add_argument("--size", type=int, default=256, help="their side")
    options = parser.parse_args()
    device = choose_device(options.device)
    found = {"machine": machine(device)}
    model = invreg.load_model(options.model, options.method, str(device))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found["one"] = one_photograph(folder, options)
        found["many"] = many(folder, model, options.count, options.size, options.repetitions)
    write_json(found, options)


def one_photograph(folder: Path, options: argparse.Namespace) -> dict[str, list[list[float]]]:
    """Seconds of whole commands, from the shell: by the clock, and of the processors."""
    path = folder / "one" / "photograph.png"
    invreg.write_image(path, photographs(1, 512)[0])
    found = {}
    rows = []
    for name, more in (("with proofs", []), ("without proofs", ["--no-proof"])):
        seconds = []
        for turn in range(options.repetitions):
            command = [sys.executable, "-m", "invreg", "reconstruct", options.model, str(path), "--quiet"]
            command += ["--output", str(folder / f"{name} {turn}"), "--device", options.device, *more]
            command += ["--method", options.method] if options.method else []
            start, before = time.perf_counter(), os.times()
            subprocess.run(command, check=True, capture_output=True)
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            seconds.append([time.perf_counter() - start, used])
        found[name] = seconds
        rows.append([name, *(f"{statistics.median(one):.1f} s" for one in zip(*seconds, strict=True))])
    print_table(["one photograph of 512 x 512, imports included", "by the clock", "of the processors"], rows)
    return found


def many(folder: Path, model: invreg.Model, count: int, size: int, repetitions: int) -> dict[str, list[float]]:
    """Seconds of the files against those of the network."""
    for index, image in enumerate(photographs(count, size)):
        invreg.write_image(folder / "in" / f"{index:03}.png", image)
    arrays = [torch.from_numpy(z)[None].to(model.device) for z in photographs(count, size)]
    net = model.reconstructor
    turns = iter(range(10**6))

    def files(prove: bool) -> None:
        output = folder / f"out {next(turns)}"
        reconstruct_files(model, find_sources([folder / "in"], output), output, Options(prove=prove), progress=False)

    def bare() -> list[Tensor]:
        with torch.no_grad():
            return [net(z) for z in arrays]

    contestants = {"network alone": bare, "files, without proofs": lambda: files(False)}
    if isinstance(net, ReconstructsWithBound):
        within = 1e-3 * size
        contestants["network with proofs alone"] = lambda: [net.reconstruct(z, within, True, 0.0) for z in arrays]
        contestants["files, with proofs"] = lambda: files(True)
    for call in contestants.values():
        call()
    seconds = seconds_in_turns(contestants, repetitions, model.device)
    rows = [
        [name, f"{ratio(seconds[name], seconds[reference]):.2f}", reference]
        for name, reference in (
            ("files, without proofs", "network alone"),
            ("files, with proofs", "network with proofs alone"),
            ("network with proofs alone", "network alone"),
        )
        if name in seconds
    ]
    print()
    print_table([f"{count} photographs of {size} x {size}", "times as long as", ""], rows)
    return seconds


def photographs(count: int, size: int) -> list[np.ndarray]:
    """Patches of the photographs, `[1, size, size]`."""
    images = Photos(image_size=min(size, 256), train_size=64, downsample=1).splits().test.images.numpy()
    repeated = [np.tile(image, (1, size // image.shape[-1], size // image.shape[-1])) for image in images]
    return [repeated[index % len(repeated)] for index in range(count)]


if __name__ == "__main__":
    main()
