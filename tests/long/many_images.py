"""Resident memory of a run on a folder of many photographs, as the operating system counts it, and its speed.

    python tests/long/many_images.py --count 20000

Photographs are crops of those in a folder, in a temporary folder. A process trains on a few of them, one prepares and
trains on all, and one trains on all again. The highest resident memory of the latter two may exceed that of the first
by less than 1 GiB. It counts mapped pages of files as well, which the system could take back.

Then training steps on the same images, from memory and from the file, take turns: the table gives the ratio of times.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

MOST = 2**30
_DATA = Path(__file__).resolve().parents[2] / "../shared/data/bsds500"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=256, help="sides of the photographs, in pixels")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--photographs", type=Path, default=_DATA, help="a folder of photographs to crop from")
    parser.add_argument("--place", type=Path, help="where the temporary folder is made")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        train(options.one, options.steps)
        return
    with tempfile.TemporaryDirectory(prefix="invreg-photographs-", dir=options.place) as place:
        folder = Path(place)
        make(options.photographs, folder / "few", 64, options.size)
        make(options.photographs, folder / "many", options.count, options.size)
        os.environ["INVREG_CACHE"] = str(folder / "cache")
        found = {}
        print("| photographs | highest resident memory | of which files | seconds |\n|---|---|---|---|")
        for name, photographs in (("few", "few"), ("many, prepared", "many"), ("many, again", "many")):
            found[name] = in_a_process(folder / photographs, options.steps)
            peak, files, seconds = (found[name][key] for key in ("peak", "files", "seconds"))
            print(f"| {name} | {peak / 2**20:.0f} MiB | {files / 2**20:.0f} MiB | {seconds:.0f} |", flush=True)
        more = max(found[name]["peak"] for name in found if name != "few") - found["few"]["peak"]
        file = sum(path.stat().st_size for path in (folder / "cache").rglob("values"))
        print(
            f"\n{options.count} photographs of {options.size} x {options.size} pixels, {file / 2**30:.2f} GiB decoded"
        )
        print(f"{more / 2**20:.0f} MiB above the network")
        ratios(folder / "many")
    if more >= MOST:
        raise SystemExit(f"more than {MOST / 2**20:.0f} MiB")


def make(source: Path, folder: Path, count: int, size: int) -> None:
    """Crops of photographs, in colour, as JPEG."""
    from PIL import Image

    dice = random.Random(count)
    folder.mkdir()
    photographs = [Image.open(path).convert("RGB") for path in sorted(source.rglob("*.jpg"))[:100]]
    if not photographs:
        raise SystemExit(f"{source} holds no photographs (JPEG)")
    for number, photograph in zip(range(count), itertools.cycle(photographs), strict=False):
        left, top = (dice.randint(0, side - size) for side in photograph.size)
        photograph.crop((left, top, left + size, top + size)).save(folder / f"{number:06}.jpg", quality=85)


def train(folder: Path, steps: int) -> None:
    """A run on the folder; prints what it took."""
    import invreg

    network = {"name": "conv_resnet", "subnetworks": 4, "channels": 8, "hidden": 16}
    trainer = {"name": "reconstruction", "steps": steps, "batch_size": 32, "validations": 2}
    spec = {
        "data": {"name": "image_folder", "path": str(folder), "image_size": 96, "val": 8, "test": 8},
        "operator": {"name": "gaussian_blur"},
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {"net": {"reconstructor": network, "trainer": trainer}},
        "analyses": ["quality"],
    }
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="invreg-run-") as output:
        invreg.run(spec, output=output, progress=False)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak, files = (int(status[name].split()[0]) * 1024 for name in ("VmHWM", "RssFile"))
    print(json.dumps({"peak": peak, "files": files, "seconds": time.perf_counter() - start}))


def in_a_process(folder: Path, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", str(folder), "--steps", str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def ratios(folder: Path, turns: int = 9) -> None:
    """Training steps and their crops alone, from the file and from memory, in turns."""
    import torch

    import invreg
    from invreg.components.training_images import TrainingImages

    torch.set_num_threads(1)
    registry = invreg.Registry.installed()
    dataset = {"name": "image_folder", "path": str(folder), "image_size": 96, "val": 8, "test": 8}
    stored = registry.build("dataset", dataset).splits().train
    few = range(min(len(stored.names), 3000))
    names = [stored.names[index] for index in few]
    kept = TrainingImages([stored.image(index) for index in few], names, (96, 96))
    problem = invreg.Problem(registry.build("operator", "gaussian_blur"))
    network = registry.build("reconstructor", {"name": "conv_resnet", "subnetworks": 4, "channels": 8, "hidden": 16})
    network.setup(problem, (1, 96, 96))

    def crops(images: TrainingImages, step: int) -> torch.Tensor:
        return images.batch(0, step, 32)

    def training_step(images: TrainingImages, step: int) -> None:
        x = images.batch(0, step, 32)
        (network(problem.measure(x, seed=0)) - x).square().mean().backward()

    for what, work, steps in (("crops", crops, 12), ("training step", training_step, 2)):
        times: dict[str, list[float]] = {"file": [], "memory": []}
        for turn in range(turns + 1):
            for name, images in (("file", stored), ("memory", kept)):
                start = time.perf_counter()
                for step in range(turn * steps, (turn + 1) * steps):
                    work(images, step)
                times[name].append((time.perf_counter() - start) / steps)
        medians = {name: 1e3 * statistics.median(values[1:]) for name, values in times.items()}
        ratio = statistics.median(a / b for a, b in zip(times["file"][1:], times["memory"][1:], strict=True))
        print(f"{what}: file {medians['file']:.2f} ms, memory {medians['memory']:.2f} ms, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
