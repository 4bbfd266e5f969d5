"""Files of many sizes, depths and formats through `invreg reconstruct`: no distance is above what was proven of it.

    python tests/long/reconstructed_files.py --count 200

Certified networks with strong random weights (explicit and by fixed points, for grey images and for colours)
reconstruct files. Each computed image, and each image as it stands in its file, is compared with an inversion of the
same network to rounding in float64, by plain iteration; with a data error, also with that of measurements which are so
far away, in random directions and in one that changes the image much.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invreg import Model, Problem, Registry, read_image, write_image
from invreg.models.file_sources import Source, find_sources
from invreg.models.measured_files import FileReconstruction, Options, reconstruct_files
from invreg_iresnet.network.residuals import Weights, residual

NETWORKS: dict[str, tuple[dict[str, Any], int]] = {
    "explicit": ({"name": "explicit_iresnet", "subnetworks": 4, "lipschitz": 0.9}, 1),
    "fixed points": ({"name": "iresnet", "subnetworks": 3, "lipschitz": 0.95}, 1),
    "of colours": ({"name": "iresnet", "subnetworks": 3, "lipschitz": 0.9}, 3),
}
FORMATS = [
    (".png", "uint8"), (".png", "uint16"), (".tif", "uint8"), (".tif", "uint16"), (".tiff", "float32"),
    (".jpg", "uint8"), (".npy", "float32"), (".npy", "uint16"), (".npz", "float32"),
]  # fmt: skip
SIDES = (4, 9, 16, 31, 48, 65, 100, 150)
DATA_ERROR = 0.25


@dataclass(frozen=True)
class Found:
    """The distances of one file, and what was proven of them."""

    kind: str
    name: str
    computed: float
    distance: float
    in_file: float
    of_file: float
    near: float
    data_distance: float

    @property
    def holds(self) -> bool:
        """Whether none is above its bound."""
        return self.computed <= self.distance and self.in_file <= self.of_file and self.near <= self.data_distance


def campaign(count: int, seed: int) -> list[Found]:
    """So many files; each network has a share of them, half of it with a data error."""
    random = np.random.default_rng(seed)
    found = []
    groups = [(name, error) for name in NETWORKS for error in (None, DATA_ERROR)]
    with tempfile.TemporaryDirectory() as place:
        for number, (name, error) in enumerate(groups):
            folder = Path(place) / str(number)
            share = count // len(groups) + (number < count % len(groups))
            model = network(name, seed + number)
            for index in range(share):
                ending, depth = FORMATS[int(random.integers(len(FORMATS)))]
                channels = 3 if NETWORKS[name][1] == 3 else int(random.choice((1, 3)))
                image = scene(random, channels)
                if ending in (".npy", ".npz") and depth == "float32":
                    image += random.normal(0, 0.1, image.shape)  # also below black and above white
                write_image(folder / "in" / f"{index:03}{ending}", image, depth)
            options = Options(data_error=error)
            found += check(model, name, folder, options, seed)
    return found


def check(model: Model, kind: str, folder: Path, options: Options, seed: int) -> list[Found]:
    """Reconstructs the files of a folder, and compares each with its inversion in float64."""
    sources = {one.target: one for one in find_sources([folder / "in"], folder / "out")}
    result = reconstruct_files(model, list(sources.values()), folder / "out", options, progress=False)
    if result.failures:
        raise AssertionError(f"not reconstructed: {result.failures}")
    return [compared(model, kind, sources[one.output], one, folder / "out", options, seed) for one in result.files]


def compared(
    model: Model, kind: str, source: Source, one: FileReconstruction, output: Path, options: Options, seed: int
) -> Found:
    """One file."""
    z = unit(read_image(source.path, options.white).pixels)
    exact = inverse(model, z)
    again = model.reconstruct(z, options.data_error)
    if one.distance is None or (again.distance, again.data_distance) != (one.distance, one.data_distance):
        raise AssertionError(f"{source.name}: another bound the second time")
    near, bound = 0.0, math.inf
    if one.data_distance is not None and options.data_error is not None:
        others = neighbours(model, z, exact, options.data_error, seed)
        near, bound = max(distance(again.image, inverse(model, other)) for other in others), one.data_distance
    return Found(
        kind=kind,
        name=source.path.name,
        computed=distance(again.image, exact),
        distance=one.distance,
        in_file=distance(as_stored(output / one.output), exact),
        of_file=one.distance + one.rounding,
        near=near,
        data_distance=bound,
    )


def as_stored(path: Path) -> NDArray[np.float64]:
    """What a file says, in float64: whole numbers divided by white without the rounding to float32."""
    found = read_image(path, 1 if path.suffix in (".tiff", ".npy", ".npz") else None)
    if found.depth == "float32":
        return found.pixels.astype(np.float64)
    found = read_image(path)
    whole = found.pixels if found.depth == "uint8" else np.rint(found.pixels.astype(np.float64) * 65_535)
    return whole / found.white


def neighbours(model: Model, z: NDArray[Any], x: NDArray[Any], error: float, seed: int) -> list[NDArray[Any]]:
    """Measurements z at this distance, in two random directions and one that changes the image x much."""
    random = np.random.default_rng(seed)
    directions = [random.normal(size=z.shape) for _ in range(2)]
    direction = random.normal(size=z.shape)
    for _ in range(3):  # power iteration with the Jacobian, which is not far from symmetric
        direction = inverse(model, z + 1e-4 / np.linalg.norm(direction) * direction) - x
    return [z + error / np.linalg.norm(one) * one for one in (*directions, direction)]


def inverse(model: Model, z: NDArray[Any]) -> NDArray[Any]:
    """R(z) in float64, to rounding; channel by channel where the network is for one."""
    net: Any = model.reconstructor
    channels = model.image_shape[0]
    batch = torch.from_numpy(z.astype(np.float64)).reshape(-1, channels, *z.shape[1:])
    weights = Weights(*(stack.double() for stack in net.residuals.evaluation_weights()))
    with torch.no_grad():
        state = net.lifting.lift(batch)
        for i in range(net.subnetworks):
            state = one_subnetwork(state, weights, i, net.role)
        image: Tensor = net.lifting.unlift(state)
    return image.reshape(z.shape).numpy()


def one_subnetwork(state: Tensor, weights: Weights, i: int, role: str) -> Tensor:
    if role == "inverse":
        return state + residual(state, weights, i, torch.float64)
    x = state
    for _ in range(3000):
        following = state + residual(x, weights, i, torch.float64)
        step = float((following - x).abs().max())
        x = following
        if step <= 4e-16 * float(x.abs().max()):
            break
    return x


def network(name: str, seed: int) -> Model:
    """A certified network whose constraints are all active."""
    parameters, channels = NETWORKS[name]
    registry = Registry.installed()
    problem = Problem(
        registry.build("operator", {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0}),
        registry.build("noise", {"name": "gaussian", "std": 0.02}),
    )
    net = registry.build(
        "reconstructor", {"channels": 4 * channels, "hidden": 6, "kernel_size": 3, "padding": 2, **parameters}
    )
    torch.manual_seed(seed)
    net.setup(problem, (channels, 24, 24))
    with torch.no_grad():
        net.residuals.kernels.normal_()
        net.residuals.mixings.normal_()
        net.residuals.hidden_biases.normal_(std=0.05)
        net.residuals.output_biases.normal_(std=0.05)
        net.residuals.log_thresholds.fill_(math.log(0.05) / 3)
    net.eval().finalise()
    return Model(name, net, problem, (channels, 24, 24), net.certificate())


def scene(random: np.random.Generator, channels: int) -> NDArray[np.float64]:
    """Waves, edges, noise, or one value, `[C, H, W]` in [0, 1]."""
    height, width = random.choice(SIDES, 2)
    rows, columns = np.mgrid[:height, :width]
    planes = []
    for _ in range(channels):
        wave_length = random.uniform(1, 9)
        waves = 0.5 + 0.4 * np.sin(rows / wave_length) * np.cos(columns / wave_length + random.uniform(0, 6))
        flat = np.full((height, width), random.random())
        kinds = [waves, (waves > 0.5) * 1.0, random.random((height, width)), flat]
        planes.append(kinds[int(random.integers(4))])
    return np.stack(planes)


def unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels


def distance(image: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.linalg.norm(image.astype(np.float64) - other.astype(np.float64)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = campaign(options.count, options.seed)
    print(
        "| network | files | distance to its bound | of the file | with data error |\n| --- | --- | --- | --- | --- |"
    )
    for kind, files in Counter(one.kind for one in found).items():
        those = [one for one in found if one.kind == kind]
        ratios = [
            max(one.computed / one.distance for one in those),
            max(one.in_file / one.of_file for one in those),
            max(one.near / one.data_distance for one in those),
        ]
        print(f"| {kind} | {files} | " + " | ".join(f"at most {ratio:.3f}" for ratio in ratios) + " |")
    broken = [one for one in found if not one.holds]
    print(f"\n{len(found)} files, {len(broken)} with a distance above its bound")
    for one in broken:
        print(one)
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
