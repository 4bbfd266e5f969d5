"""How long a finished run takes to load, with its files compared with their seals and without."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import invreg
from invreg.storage.folder import Folder

SPEC: dict[str, Any] = {
    "title": "Load",
    "data": {"name": "phantoms", "image_size": 96, "train": 2, "val": 1, "test": 128},
    "operator": {"name": "gaussian_blur"},
    "methods": {
        # The large network of the paper (table 1); what it has learned does not matter here.
        "iresnet": {
            "reconstructor": {"name": "iresnet", "subnetworks": 20, "channels": 64, "hidden": 128, "kernel_size": 5},
            "trainer": {"name": "approximation", "steps": 1, "batch_size": 1, "validations": 1},
        },
    },
    "analyses": [],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--test", type=int, default=4, help="test images, which are reconstructed once")
    turns = parser.parse_args()
    spec = {**SPEC, "data": {**SPEC["data"], "test": turns.test}}
    with tempfile.TemporaryDirectory() as output:
        folder = invreg.run(spec, output, "cpu", progress=False).folder
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        without, compared = [], []
        for _ in range(turns.turns):  # in turns: the machine may get slower or faster
            compared.append(_seconds(folder))
            with mock.patch.object(Folder, "check"):
                without.append(_seconds(folder))
    ratio = statistics.median(new / old for new, old in zip(compared, without, strict=True))
    print(f"{size / 2**20:.0f} MiB")
    print("| load | median | fastest |\n|---|---|---|")
    for name, times in {"without seals": without, "compared with seals": compared}.items():
        print(f"| {name} | {statistics.median(times):.3f} s | {min(times):.3f} s |")
    print(f"ratio of two loads in turn: {ratio:.3f}; of the fastest: {min(compared) / min(without):.3f}")


def _seconds(folder: Path) -> float:
    start = time.perf_counter()
    found = invreg.load(folder, "cpu")
    assert isinstance(found, invreg.Result)
    for method in found.methods.values():
        assert method.reconstructions.isfinite().all()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
