"""Makes the models that come with invreg, from their specs, and measures them on photographs that they have never seen.

    python benchmarks/bundled_models.py --photographs FOLDER [--count 20] [--runs runs] [NAME ...]

Each spec in `specs/models` is run, which trains its network on photographs that are installed with scikit-image; a run
that is there is only read. The method with the name of the spec is then exported to `invreg/models/bundled_models`.
Its card compares it with the observation and with tv on every n-th photograph of the folder, whole, in grey.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import invreg
from invreg import peak_signal_to_noise_ratio, stream_key, structural_similarity
from invreg_datasets.prepare import to_color, to_unit

ROOT = Path(__file__).resolve().parents[1]
SPECS, MODELS = ROOT / "specs" / "models", ROOT / "invreg" / "models" / "bundled_models"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="all if none is given")
    parser.add_argument("--photographs", type=Path, help="a folder; without it, the card has the run's numbers alone")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    images = photographs(options.photographs, options.count) if options.photographs else []
    for name in options.names or sorted(path.stem for path in SPECS.glob("*.yaml")):
        result = invreg.run(SPECS / f"{name}.yaml", options.runs, options.device)
        further = {}
        if images:
            title = f"On {len(images)} photographs that were used for nothing else, whole and in grey"
            further[title] = compare(result, images)
            print(further[title].to_string(index=False))
        shutil.rmtree(MODELS / name, ignore_errors=True)
        print(invreg.export_model(result.folder, name, to=MODELS / name, further=further))


def photographs(folder: Path, count: int) -> list[Tensor]:
    """About `count` images of a folder, evenly spread, `[1, 1, H, W]`."""
    files = invreg.find_images(folder)
    chosen = files[:: max(len(files) // count, 1)][:count]
    grey = (to_unit(to_color(invreg.read_image(folder / file).pixels, "grey")) for file in chosen)
    return [torch.from_numpy(np.ascontiguousarray(image))[None] for image in grey]


def compare(result: invreg.Result, images: list[Tensor]) -> pd.DataFrame:
    """Mean quality of every method of the run on these images, each measured with noise of its own."""
    rows = []
    for index, x in enumerate(images):
        z = result.problem.measure(x, keys=[stream_key(0, "photographs", index)])
        for label, method in result.methods.items():
            with torch.no_grad():
                x_hat = invreg.reconstruct_within(method.reconstructor, z)
            quality = {"psnr": peak_signal_to_noise_ratio(x_hat, x), "ssim": structural_similarity(x_hat, x)}
            rows.append({"method": label, **{key: float(value) for key, value in quality.items()}})
    return pd.DataFrame(rows).groupby("method", sort=False).mean().reset_index()


if __name__ == "__main__":
    main()
