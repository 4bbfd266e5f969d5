"""Which physics of DeepInverse run through a spec: each with tv on one photograph, and its adjoint compared.

    python benchmarks/deepinv_physics.py [NAME...] [--json FILE]

For every class of `deepinv.physics`, a whole run: the operator `{name: deepinv, physics: NAME, ...}`, Gaussian noise
of 0.01, and tv. The defect is that of `LinearOperator.adjoint_defect`, and of nonlinear physics that of their
derivative.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import deepinv
import numpy as np
import torch

import invreg

#: Height and width of the photograph.
SIDE = 32

GAUSSIAN = {"function": "gaussian_blur", "parameters": {"sigma": [1.5, 1.5]}}
BLUR = {"physics": "BlurFFT", "parameters": {"filter": GAUSSIAN}}
INPAINTING = {"physics": "Inpainting", "parameters": {"mask": 0.7}}
PSF = {"generator": "DiffractionBlurGenerator", "parameters": {"psf_size": [9, 9]}}
PRODUCT = {"generator": "ProductConvolutionBlurGenerator", "parameters": {"psf_generator": PSF}}
TILES = {
    "generator": "TiledBlurGenerator",
    "parameters": {"psf_generator": PSF, "patch_size": [16, 16], "stride": [8, 8]},
}
CIRCLE = [[1.5 * f(2 * math.pi * k / 12) for k in range(12)] for f in (math.cos, math.sin)]

SPIRAL = [[math.pi * k / 1000 * f(2.4 * k) for k in range(1000)] for f in (math.cos, math.sin)]

#: Parameters of each physics; those that are not named take none.
PARAMETERS: dict[str, dict[str, Any]] = {
    "Blur": {"filter": GAUSSIAN, "padding": "circular"},
    "BlurFFT": {"filter": GAUSSIAN},
    "BlurFFTMultiScaler": {"physics": BLUR},
    "BlurMultiScaler": {"physics": {"physics": "Blur", "parameters": {"filter": GAUSSIAN, "padding": "circular"}}},
    "ComposedLinearPhysics": {"physics": [BLUR, INPAINTING]},
    "ComposedPhysics": {"physics": [BLUR, {"physics": "SpatialUnwrapping", "parameters": {"threshold": 4.0}}]},
    "CompressedSensing": {"m": 500},
    "CompressiveSpectralImaging": {},
    "Downsampling": {"filter": "gaussian", "factor": 2},
    "DownsamplingMatlab": {"factor": 2},
    "HyperSpectralUnmixing": {"E": 3, "C": 12},
    "Inpainting": {"mask": 0.7},
    "InpaintingMultiScaler": {"physics": INPAINTING},
    "LinearPhysicsMultiScaler": {"physics": BLUR},
    "MRI": {"mask": {"generator": "GaussianMaskGenerator", "parameters": {"acceleration": 2}}},
    "NonCartesianMRI": {"num_shots": 32, "num_samples_per_shot": 64},
    "Pansharpen": {"factor": 2},
    "PhaseRetrieval": {"B": {"physics": "CompressedSensing", "parameters": {"m": 2000}}},
    "PhysicsCropper": {
        "physics": {"physics": "BlurFFT", "parameters": {"filter": GAUSSIAN, "img_size": [1, SIDE - 2, SIDE - 2]}},
        "crop": [2, 2],
    },
    "PhysicsMultiScaler": {"physics": BLUR},
    "Ptychography": {},
    "PtychographyLinearOperator": {},
    "RadioInterferometry": {"samples_loc": SPIRAL},
    "RandomPhaseRetrieval": {"m": 3000},
    "Scattering": {
        "receivers": CIRCLE,
        "transmitters": CIRCLE,
        "background_wavenumber": 6.0,
        "solver_config": {"config": "SolverConfig", "parameters": {"adjoint_state": False}},
    },
    "SinglePixelCamera": {"m": 500},
    "SpaceVaryingBlur": {"filters": PRODUCT, "multipliers": PRODUCT, "padding": "valid"},
    "SpatialUnwrapping": {"threshold": 4.0},
    "StackedLinearPhysics": {"physics_list": [BLUR, INPAINTING]},
    "StackedPhysics": {"physics_list": [BLUR, {"physics": "SpatialUnwrapping", "parameters": {"threshold": 4.0}}]},
    "StructuredRandom": {"output_size": [1, SIDE, SIDE]},
    "StructuredRandomPhaseRetrieval": {"output_size": [1, 2 * SIDE, 2 * SIDE], "n_layers": 2},
    "TiledSpaceVaryingBlur": {"filters": TILES, "patch_size": [16, 16], "stride": [8, 8]},
    "Tomography": {"angles": 40},
    "TomographyWithAstra": {"angles": 40},
    "UltrasoundPlaneWave": {
        "angles": [-0.2, 0.0, 0.2],
        "element_positions": [[1e-3 * (k - 3.5) / 3.5, 0.0] for k in range(8)],
        "n_samples": 256,
        "sampling_frequency": 4e7,
    },
    "Upsampling": {"filter": "gaussian", "factor": 2, "img_size": [1, 2 * SIDE, 2 * SIDE]},
    "VirtualLinearPhysics": {
        "physics": BLUR,
        "transform": {"transform": "Shift"},
        "g_params": {"x_shift": [3], "y_shift": [2]},
    },
}
#: A derivative takes a second: a few iterations show that all runs, and no more.
SLOW = {"Scattering": {"max_iterations": 3}}
#: Those that are for images of three channels.
OF_COLOUR = {
    "Decolorize",
    "Demosaicing",
    "HyperSpectralUnmixing",
    "Pansharpen",
    "CompressiveSpectralImaging",
    "SinglePhotonLidar",
}

#: Settings whose adjoint is wrong: what they are in words, the physics, its parameters, the channels of images.
FAULTS: list[tuple[str, str, dict[str, Any], int]] = [
    ("one disperser, 5 channels", "CompressiveSpectralImaging", {"mode": "sd"}, 5),
    ("two dispersers, 5 channels", "CompressiveSpectralImaging", {"mode": "ss"}, 5),
    ("three frames that overlap", "SequentialMRI", {"mask": {"path": "frames.npy"}}, 1),
    ("the mean of several", "StackedLinearPhysics", {"physics_list": [BLUR, INPAINTING], "reduction": "mean"}, 1),
    ("without back-propagation", "Tomography", {"angles": 20, "adjoint_via_backprop": False}, 1),
    (
        "a rotation by 20 degrees",
        "VirtualLinearPhysics",
        {"physics": BLUR, "transform": {"transform": "Rotate"}, "g_params": {"theta": [20.0]}},
        1,
    ),
    ("a factor that does not divide the size", "DownsamplingMatlab", {"factor": 3}, 1),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="physics; all of deepinv.physics if none")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        PARAMETERS["MultiCoilMRI"] = {"coil_maps": {"path": coil_maps(Path(folder))}}
        np.save(Path(folder) / "frames.npy", np.random.default_rng(0).random((1, 2, 3, SIDE, SIDE)) > 0.5)
        faults = [defect(*fault, Path(folder)) for fault in FAULTS]
        rows = [tried(name) for name in options.names or names()]
    print(f"deepinv {deepinv.__version__}, photographs of {SIDE} x {SIDE} pixels\n")
    print(table(rows))
    works = sum(bool(row["tv"]) for row in rows)
    print(f"\n{works} of {len(rows)} run.")
    print("\n| physics | setting | defect of the adjoint |\n|---|---|---|\n" + "\n".join(faults))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


def defect(words: str, name: str, parameters: dict[str, Any], channels: int, folder: Path) -> str:
    """One line of the table of faults."""
    if "mask" in parameters:
        parameters = {**parameters, "mask": {"path": str(folder / parameters["mask"]["path"])}}
    given = {"name": "deepinv", "physics": name, "parameters": parameters}
    operator = invreg.Registry.installed().build("operator", given)
    try:
        found = f"{operator.adjoint_defect((channels, SIDE, SIDE)):.1g}"
    except invreg.ShapeError as error:
        found = in_short(str(error))
    return f"| {name} | {words} | {found} |"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| physics | | measurement | defect | tv, dB | |", "|---|---|---|---|---|---|"]
    for row in rows:
        lines.append("| " + " | ".join([*(str(row[key]) for key in list(row)[:-1]), in_short(row["remark"])]) + " |")
    return "\n".join(lines)


def in_short(remark: str) -> str:
    """What a message says, without where and what to try."""
    if "not the transpose" in remark:
        return "the adjoint of DeepInverse is not the transpose, as a warning says"
    if "did not reach the tolerance" in remark:
        return "tv does not reach its tolerance, as a warning says"
    return re.split(r":? {2,}(?:expected|try):", remark.partition(": ")[2])[0][:130].strip()


def coil_maps(folder: Path) -> str:
    """A file with the complex maps of four coils, smooth and of another phase each."""
    row, column = np.meshgrid(*2 * [np.linspace(-1, 1, SIDE)], indexing="ij")
    centres = ((-1, -1), (-1, 1), (1, -1), (1, 1))
    maps = np.stack([np.exp(-((row - a) ** 2 + (column - b) ** 2) / 4 + 1j * (a * row + b)) for a, b in centres])
    np.save(folder / "maps.npy", (maps / np.sqrt((np.abs(maps) ** 2).sum(0))).astype(np.complex64))
    return str(folder / "maps.npy")


def names() -> list[str]:
    """All physics but the base classes, which are given functions."""
    found = [name for name in dir(deepinv.physics) if not name.startswith("_")]
    classes = {name: getattr(deepinv.physics, name) for name in found}
    bases = {"Physics", "LinearPhysics", "DecomposablePhysics"}
    return [
        name
        for name, cls in classes.items()
        if isinstance(cls, type) and issubclass(cls, deepinv.physics.Physics) and name not in bases
    ]


def tried(name: str) -> dict[str, Any]:
    """One row of the table."""
    row: dict[str, Any] = {"name": name, "kind": "", "measurement": "", "defect": "", "tv": "", "remark": ""}
    given = {"name": "deepinv", "physics": name, "parameters": PARAMETERS.get(name)}
    shape = (3 if name in OF_COLOUR else 1, SIDE, SIDE)
    start = time.perf_counter()
    try:
        operator = invreg.Registry.installed().build("operator", given)
        linear = isinstance(operator, invreg.LinearOperator)
        row["kind"] = "linear" if linear else "nonlinear"
        row["measurement"] = " x ".join(map(str, operator.range_shape(shape)))
        try:
            row["defect"] = f"{(operator.adjoint_defect if linear else operator.derivative_defect)(shape):.0e}"
        except Exception as error:  # noqa: BLE001 (whatever another package raises is the finding)
            row["defect"] = f"none: {type(error).__name__}"
        weight = 0.003 * operator.norm(shape).value ** 2 if linear else 0.003
        spec = {
            "data": {
                "name": "photos",
                "image_size": SIDE,
                "downsample": 8,
                "color": "rgb" if name in OF_COLOUR else "grey",
            },
            "operator": given,
            "noise": {"name": "gaussian", "std": 0.01},
            "methods": {"tv": {"name": "tv", "weight": weight, "tolerance": 1e-2, **SLOW.get(name, {})}},
        }
        with tempfile.TemporaryDirectory() as folder:
            result = invreg.run(spec, folder, device="cpu", progress=False)
            row["tv"] = f"{result.metrics['psnr'].mean():.1f}"
            row["remark"] = "; ".join(result.warnings)[:160].replace("|", "/")
    except invreg.InvregError as error:
        row["remark"] = str(error).replace("\n", " ").replace("|", "/")[:240]
    print(f"# {name}: {time.perf_counter() - start:.1f} s {row['tv']} {row['remark']}", flush=True)
    return row


if __name__ == "__main__":
    main()
