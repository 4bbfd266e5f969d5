"""Resident memory of the reconstruction of large images, as the operating system counts it: a process for each row.

    python tests/long/memory.py [--sizes 1024 2048 4096] [--methods iresnet explicit_iresnet tv unet]

Weights are those of the start, and the networks have few subnetworks, which cost time and no memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

PARAMETERS = {
    "iresnet": {"subnetworks": 1, "lipschitz": 0.1, "channels": 16, "hidden": 32, "kernel_size": 3},
    "explicit_iresnet": {"subnetworks": 1, "lipschitz": 0.1, "channels": 16, "hidden": 32, "kernel_size": 3},
    "tv": {"tolerance": 0.5},
    "unet": {"channels": [8, 16, 16], "kernel_size": 3},
}


def reconstruct(method: str, size: int) -> None:
    """Prints the highest resident memory of this process, in MiB, and the seconds of the reconstruction."""
    import resource
    import time
    import warnings

    import torch

    import invreg
    from invreg_operators.convolution.gaussian_blur import GaussianBlur

    warnings.simplefilter("ignore")
    problem = invreg.Problem(GaussianBlur())
    reconstructor = invreg.Registry.installed().build("reconstructor", {"name": method, **PARAMETERS[method]})
    reconstructor.setup(problem, (1, 64, 64))
    z = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    with torch.no_grad():
        image = invreg.reconstruct_within(reconstructor.eval(), z)
    if image.shape != z.shape or not torch.isfinite(image).all():
        raise SystemExit(f"{method}: not a reconstruction")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    print(f"{peak:.0f} {time.perf_counter() - start:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--methods", nargs="+", default=list(PARAMETERS), choices=list(PARAMETERS))
    parser.add_argument("--one", action="store_true", help="reconstruct here, for one method and size")
    options = parser.parse_args()
    if options.one:
        reconstruct(options.methods[0], options.sizes[0])
        return
    print("| method | size | MiB | seconds |\n|---|---|---|---|")
    for method in options.methods:
        for size in options.sizes:
            command = [sys.executable, __file__, "--one", "--methods", method, "--sizes", str(size)]
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            peak, seconds = found.stdout.split() if found.returncode == 0 else ("failed", found.stderr[-200:])
            print(f"| {method} | {size} | {peak} | {seconds} |", flush=True)


if __name__ == "__main__":
    main()
