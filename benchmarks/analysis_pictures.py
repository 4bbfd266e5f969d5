"""Draws the pictures of docs/analyses.md that need no training: a run with a model that comes with invreg, in a minute.

    python benchmarks/analysis_pictures.py

The measurements without truth are photographs of scikit-image on which the network was not trained, in the blur and the
noise of its training, and one of them in a wider blur, which leaves structure in the residual.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import invreg
from invreg.specs.reading import read_content

_ROOT = Path(__file__).resolve().parents[1]
_IMAGES = _ROOT / "docs" / "images" / "analyses"
_MODEL = "gaussian-deblur"
_WIDTH = 1400
_SIZE = 96  # of the measurements

#: The figure of each analysis that the page shows.
FIGURES = {
    "architecture": "*.png",
    "firm_nonexpansiveness": "*.png",
    "new_measurements": "measurement_1.png",
}


def spec(scans: Path) -> dict[str, Any]:
    """The spec of the model without its training, and with the analyses."""
    content = read_content(_ROOT / "specs" / "models" / f"{_MODEL}.yaml")
    network = content["methods"][_MODEL]["reconstructor"]
    return {
        **content,
        "title": "Pictures of analyses",
        "data": {**content["data"], "image_size": 64, "downsample": 4},  # few patches
        "methods": {
            "tv": {"name": "tv", "weight": 0.002},
            "explicit_iresnet": {"reconstructor": network, "start_from": _MODEL},
        },
        "analyses": [
            "architecture",
            {"name": "firm_nonexpansiveness", "iterations": 10},
            {"name": "new_measurements", "path": str(scans)},
        ],
    }


def write_scans(folder: Path, content: dict[str, Any]) -> None:
    """Measurements as a camera would give them, without truth."""
    from skimage import data

    registry = invreg.Registry.installed()
    noise = registry.build("noise", content["noise"])
    wider = {**content["operator"], "std": 1.3 * content["operator"]["std"]}
    photographs = {
        "camera": data.camera(),
        "moon": data.moon(),
        "page": data.page(),
        "camera_wider_blur": data.camera(),
    }
    for number, (name, pixels) in enumerate(photographs.items()):
        image = Image.fromarray(pixels).resize((_SIZE, _SIZE), Image.Resampling.LANCZOS)
        x = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None, None]
        operator = registry.build("operator", wider if "wider" in name else content["operator"])
        z = noise.draw(operator(x), torch.Generator().manual_seed(number))
        np.save(folder / f"{name}.npy", z[0].numpy())


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        scans = Path(temporary) / "scans"
        scans.mkdir()
        content = spec(scans)
        write_scans(scans, content)
        result = invreg.run(content, Path(temporary) / "runs", "cpu", progress=False)
        _IMAGES.mkdir(parents=True, exist_ok=True)
        for analysis, pattern in FIGURES.items():
            (figure,) = sorted((result.folder / "analyses" / analysis / "figures").glob(pattern))
            picture = Image.open(figure).convert("RGB")
            picture.thumbnail((_WIDTH, picture.height))
            picture.save(_IMAGES / f"{analysis}.webp", "WEBP", quality=90, method=6)
            print(_IMAGES / f"{analysis}.webp")


if __name__ == "__main__":
    main()
