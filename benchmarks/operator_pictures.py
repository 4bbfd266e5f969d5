"""Draws docs/images/operators: an image, its measurement and a reconstruction for each operator.

    OMP_NUM_THREADS=1 python benchmarks/operator_pictures.py [--only radon ...]

Operators, and the noise, are those of specs/operators. Reconstructions are by total variation, with weights
chosen by eye; nothing is trained. Tomography has a picture of its own, with the phantoms of specs/radon.yaml.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import invreg
from invreg.specs.reading import read_content
from invreg_analyses.shared.style import INK, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROOT = Path(__file__).resolve().parents[1]
_SPECS = _ROOT / "specs" / "operators"
_IMAGES = _ROOT / "docs" / "images" / "operators"

#: Which patch of the photographs; one with a bright sky where it saturates.
_PATCH, _BRIGHT = "chelsea[0,0]", "camera[0,0]"
#: Side of the image in pixels, and of a panel in pixels of the picture: twice as many, so that pixels stay sharp.
_SIZE, _PANEL = 128, 256
_GAP, _TITLE = 8, 26

#: Weights of total variation in standard deviations of the noise, where 0.3 is not near the best.
_WEIGHTS = {"identity": 0.8, "fan_beam": 0.03, "radon": 0.03, "fourier_sampling": 0.1, "multicoil_fourier": 0.1}

#: Without a picture: what others stand for.
LEFT_OUT = {"deepinv", "finite_differences", "pylops"}

Panel = tuple[str, np.ndarray]


def magnitudes(z: Tensor) -> np.ndarray:
    """Frequencies `[2, H, W]`, real and imaginary part, as logarithms of their magnitudes."""
    return logarithms(torch.linalg.vector_norm(z, dim=0))


def logarithms(z: Tensor) -> np.ndarray:
    """Values from 1e-4 of the largest on."""
    return (1 + (z / z.amax()).clamp_min(1e-4).log10() / 4).numpy()


def shares(z: Tensor) -> np.ndarray:
    """Values from zero to the largest."""
    return (z / z.amax()).clamp_min(0).numpy()


def as_they_are(z: Tensor) -> list[Panel]:
    """All channels."""
    numbers = [""] if len(z) == 1 else [f" {number}" for number in range(1, len(z) + 1)]
    return [(f"measurement{number}", channel.numpy()) for number, channel in zip(numbers, z, strict=True)]


#: How measurements `[C, H, W]` are shown that are not images.
VIEWS: dict[str, Callable[[Tensor], list[Panel]]] = {
    "fourier_sampling": lambda z: [("frequencies", magnitudes(z))],
    "multicoil_fourier": lambda z: [(f"frequencies, coil {n} of 8", magnitudes(z[2 * n - 2 : 2 * n])) for n in (1, 3)],
    "phase_retrieval": lambda z: [("magnitudes, code 1 of 4", logarithms(z[0]))],
    "radon": lambda z: [("sinogram", shares(z[0]))],
    "fan_beam": lambda z: [("sinogram", shares(z[0]))],
}


def panels(label: str, spec: Mapping[str, Any], registry: invreg.Registry, x: Tensor) -> list[Panel]:
    """Image, measurement and reconstruction, in [0, 1]."""
    problem = _problem(spec, registry)
    several = 2 if label == "uncertain_motion_blur" else 1
    z = problem.measure(x.expand(several, -1, -1, -1), seed=0)
    weight = _WEIGHTS.get(label, 0.3) * spec["noise"]["std"]
    tv = _reconstructed("tv", {"weight": weight, "tolerance": 0.01}, problem, z[:1], x, registry)
    measured = as_they_are(z[:, 0]) if several > 1 else VIEWS.get(label, as_they_are)(z[0])
    return [("image", x[0, 0].numpy()), *measured, tv]


def tomography(registry: invreg.Registry) -> list[Panel]:
    """A phantom, and what three methods without weights make of its sinogram."""
    spec = read_content(_ROOT / "specs" / "radon.yaml", ())
    data = {**spec["data"], "image_size": _SIZE, "train": 1, "val": 1, "test": 1}
    x = registry.build("dataset", data).splits().test.images
    problem = _problem(spec, registry)
    z, found = problem.measure(x, seed=0), [("phantom", x[0, 0].numpy())]
    methods = {"tikhonov": {"alpha": 0.01}, "fbp": {"window": "hann"}, "tv": {"weight": 0.001, "tolerance": 0.01}}
    for name, parameters in methods.items():
        found.append(_reconstructed(name, parameters, problem, z, x, registry))
    return found


def _problem(spec: Mapping[str, Any], registry: invreg.Registry) -> invreg.Problem:
    return invreg.Problem(registry.build("operator", spec["operator"]), registry.build("noise", spec["noise"]))


def _reconstructed(
    name: str, parameters: dict[str, Any], problem: invreg.Problem, z: Tensor, x: Tensor, registry: invreg.Registry
) -> Panel:
    method = registry.build("reconstructor", {"name": name, **parameters})
    method.setup(problem, tuple(x.shape[1:]))
    with torch.no_grad():
        x_hat = method(z)
    return f"{name}, {psnr(x_hat, x):.1f} dB", x_hat[0, 0].numpy()


def psnr(x_hat: Tensor, x: Tensor) -> float:
    return float(-10 * (x_hat - x).square().mean().log10())


def draw(found: list[Panel]) -> Figure:
    """Panels in a row, each pixel of an image a square of whole pixels of the picture."""
    from matplotlib.figure import Figure

    width, height = len(found) * (_PANEL + _GAP) - _GAP, _PANEL + _TITLE
    with drawing():
        figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        for number, (title, image) in enumerate(found):
            left = number * (_PANEL + _GAP)
            axes = figure.add_axes((left / width, 0, _PANEL / width, _PANEL / height))
            axes.imshow(image, "gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            figure.text(left / width, 1 - 8 / height, title, va="top", fontsize=9.5, color=INK)
    return figure


def write(found: list[Panel], path: Path) -> None:
    """As a PNG of grey values."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with BytesIO() as file:
        draw(found).savefig(file, format="png")
        Image.open(file).convert("L").save(path, optimize=True)


def main() -> None:
    labels = [*sorted({path.stem for path in _SPECS.glob("*.yaml")} - LEFT_OUT), "tomography"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=labels, default=labels)
    registry = invreg.Registry.installed()
    photos = {"name": "photos", "image_size": _SIZE, "downsample": 2, "color": "grey"}
    images = registry.build("dataset", photos).splits().test
    for label in parser.parse_args().only:
        if label == "tomography":
            found = tomography(registry)
        else:
            name = _BRIGHT if label in ("composition", "saturation") else _PATCH
            x = images.images[list(images.names).index(name)][None]
            found = panels(label, read_content(_SPECS / f"{label}.yaml", ()), registry, x)
        path = _IMAGES / f"{label}.png"
        write(found, path)
        print(f"{label}: {path.stat().st_size / 1000:.0f} kB, {found[-1][0]}", flush=True)


if __name__ == "__main__":
    main()
