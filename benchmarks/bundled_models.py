"""Makes the models that come with invreg, from their specs, and measures them on photographs that they have never seen.

    python benchmarks/bundled_models.py --photographs FOLDER [--count 20] [--runs runs] [NAME ...]

Each spec in `specs/models` is run, which trains its network on photographs that are installed with scikit-image; a run
that is there is only read. The method with the name of the spec is then exported to `invreg/models/bundled_models`.
Its card compares it with the observation and with tv on every n-th photograph of the folder, whole, in grey.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import invreg
from invreg import CertificateError, peak_signal_to_noise_ratio, stream_key, structural_similarity, to_unit
from invreg.storage.folder import json_bytes
from invreg.storage.seal import SUFFIX, digest, parse_seal, seal_text
from invreg_datasets.prepare import to_color
from invreg_iresnet.certificate.chain_bounds import chain_from_content, check_chain_gains
from invreg_iresnet.certificate.composition import check_subnetwork, from_content

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
        shrink(MODELS / name)


def shrink(folder: Path) -> None:
    """Writes certificate and config of a model with fewer bytes; what they say stays, and is proven again.

    The scalings of a certificate are no claims, but what its bounds are proven with: fewer digits prove the same.
    """
    model = invreg.load_model(folder, device="cpu")
    net: Any = model.reconstructor
    certificate: Any = model.certificate
    content, weights = dict(certificate.content), net.residuals.evaluation_weights()
    content["subnetworks"] = [
        {**claim, "bounds": _with_few_digits(claim["bounds"], partial(_check_subnetwork, kernel, mixing))}
        for claim, kernel, mixing in zip(content["subnetworks"], weights.kernels, weights.mixings, strict=True)
    ]
    content["chain"] = _with_few_digits(content["chain"], partial(_check_chain, weights, content["copies"]))
    net.verify(invreg.StabilityCertificate(content))
    config = json.loads((folder / "config.json").read_text())
    for name, value in (("certificate.json", content), ("config.json", config)):
        (folder / name).write_bytes(json_bytes(value, indent=None))
    seal = folder / f"model{SUFFIX}"
    seal.write_text(seal_text({name: digest((folder / name).read_bytes()) for name in parse_seal(seal.read_text())}))


def _with_few_digits(claim: Any, check: Callable[[Any], None]) -> Any:
    """The claim with all its scalings rounded to as few digits as still prove it."""
    for digits in range(2, 17):
        shorter = _rounded(claim, digits, inside=False)
        with contextlib.suppress(CertificateError):
            check(shorter)
            return shorter
    return claim


def _rounded(value: Any, digits: int, *, inside: bool) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one, digits, inside=inside or key == "scalings") for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one, digits, inside=inside) for one in value]
    if not inside:
        return value
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short


def _check_subnetwork(kernel: Tensor, mixing: Tensor, claim: Any) -> None:
    check_subnetwork(kernel, -mixing, from_content(claim))  # Id + g is Id - f of the mixing's opposite


def _check_chain(weights: Any, copies: int, claim: Any) -> None:
    kernels, mixings = (one.detach().double() for one in (weights.kernels, weights.mixings[..., 0, 0]))
    check_chain_gains(list(kernels), list(mixings), False, copies, chain_from_content(claim))


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
