"""What reconstruction in tiles loses: its distance to the whole reconstruction, over the halo.

    python benchmarks/tiles.py runs/NAME [--image 256] [--tile 64]

For every method of a finished run with a local operator, on a photograph. Differences are in units of the grey
scale [0, 1]; the error of the whole reconstruction is given for comparison.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from timing import machine, print_table
from torch import Tensor

import invreg
from invreg import choose_device
from invreg_datasets.photos import Photos

_HALOS = (0, 4, 8, 16, 32, 48, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--image", type=int, default=256)
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    result = invreg.load(options.run, str(device))
    found: dict[str, Any] = {"machine": machine(device)}
    x = photograph(options.image).to(device)
    z = result.problem.measure(x, seed=0)
    least = result.problem.operator.stencil_radius or 0
    for label, method in result.methods.items():
        net = method.reconstructor.eval().requires_grad_(False)
        whole = net(z)
        rows = []
        for halo in (max(one, least) for one in _HALOS):
            if rows and rows[-1][0] == str(halo):
                continue
            tiled = invreg.reconstruct_in_tiles(net, result.problem.operator, z, options.tile, halo)
            difference = (tiled - whole).abs()
            near = difference[..., seams(options.image, options.tile, device)]
            rows.append(
                [str(halo), f"{float(difference.max()):.1e}", f"{float(near.max()):.1e}", f"{rms(difference):.1e}"]
            )
        print(f"\n{label}, {options.image}x{options.image} in tiles of {options.tile}; ", end="")
        print(f"the whole reconstruction is off by {rms(whole - x):.1e} (root mean square)\n")
        print_table(["halo", "largest difference", "in columns at a seam", "root mean square"], rows)
        found[label] = rows
    if options.json:
        options.json.write_text(json.dumps(found, indent=2, default=str))


def photograph(size: int) -> Tensor:
    images: Tensor = Photos(image_size=size, train_size=size, downsample=1).splits().test.images
    return images[:1]


def seams(size: int, tile: int, device: torch.device) -> Tensor:
    """The columns next to the border between two tiles."""
    columns = torch.arange(size, device=device) % tile
    return ((columns == 0) | (columns == tile - 1)).nonzero()[:, 0]


def rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


if __name__ == "__main__":
    main()
