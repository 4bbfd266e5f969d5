"""Total variation, a certified network and a U-Net at equal time, for the operators of this project.

    OMP_NUM_THREADS=1 python benchmarks/operators.py [--seconds 30] [--only motion_blur ...]

Each learned method trains for so many seconds of wall-clock time: nothing else should run beside it. The certified
network reads what `pull_back` makes of the measurement where the operator is linear, and so does the U-Net; for
nonlinear operators both read the measurement. Rows are printed as they come.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from typing import Any

import invreg

_TIKHONOV = {"name": "tikhonov", "alpha": 0.01}
#: The operators with the noise, and whether networks read Tikhonov's image.
OPERATORS: dict[str, tuple[dict[str, Any], float, bool]] = {
    "gaussian_blur": (
        {"name": "gaussian_blur", "kernel_size": 11, "std": 1.6667, "boundary": "symmetric"},
        0.01,
        False,
    ),
    "motion_blur": ({"name": "motion_blur", "length": 9, "angle": 30}, 0.01, True),
    "uncertain_motion_blur": ({"name": "uncertain_motion_blur", "length": 9, "deviation": 3, "angle": 30}, 0.01, True),
    "downsampling": ({"name": "downsampling", "factor": 2}, 0.01, True),
    "inpainting": ({"name": "inpainting"}, 0.01, True),
    "saturation": ({"name": "saturation", "knee": 0.05}, 0.01, False),
    "gamma": ({"name": "gamma"}, 0.01, False),
    "perona_malik": ({"name": "perona_malik"}, 0.01, False),
    "fourier_sampling": ({"name": "fourier_sampling", "acceleration": 4, "pattern": "lines"}, 0.01, True),
    "multicoil_fourier": ({"name": "multicoil_fourier", "acceleration": 4}, 0.01, True),
    "radon": ({"name": "radon", "angles": 30}, 0.01, True),
    "fan_beam": ({"name": "fan_beam", "angles": 30}, 0.01, True),
}


def spec(label: str, seconds: float) -> dict[str, Any]:
    """The run of one operator."""
    operator, noise, pulled = OPERATORS[label]
    pull_back = {"pull_back": _TIKHONOV} if pulled else {}
    trainer = {"name": "reconstruction", "max_minutes": seconds / 60, "batch_size": 8}
    certified = {"name": "multiscale_explicit_iresnet", "lipschitz": 0.9952, **pull_back}
    unet = {"name": "unet", "channels": [16, 32, 64], "kernel_size": 3, **pull_back}
    return {
        "title": label,
        "data": {"name": "photos", "image_size": 48, "train_size": 48, "downsample": 4, "color": "grey"},
        "operator": operator,
        "noise": {"name": "gaussian", "std": noise},
        "methods": {
            "tv": {"reconstructor": "tv", "trainer": {"name": "parameter_search", "trials": 8}},
            "certified": {"reconstructor": certified, "trainer": trainer},
            "unet": {"reconstructor": unet, "trainer": trainer},
        },
        "metrics": ["psnr"],
        "analyses": [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="for the training of each network")
    parser.add_argument("--only", nargs="+", choices=list(OPERATORS), default=list(OPERATORS))
    options = parser.parse_args()
    print("| operator | tv | certified | proven bound | unet |\n|---|---|---|---|---|")
    for label in options.only:
        with tempfile.TemporaryDirectory() as output:
            result = invreg.run(spec(label, options.seconds), output, "cpu", progress=False)
            psnr = result.summary.set_index("method")["psnr"]
            net: Any = result.methods["certified"].reconstructor
            bound = net.certificate().reconstruction_lipschitz
        proven = "none" if bound is None else f"{bound:.3g}"
        print(f"| {label} | {psnr['tv']:.2f} | {psnr['certified']:.2f} | {proven} | {psnr['unet']:.2f} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
