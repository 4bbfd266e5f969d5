"""Total variation, a certified network and a U-Net at equal time, for the operators of specs/operators.

    OMP_NUM_THREADS=1 python benchmarks/operators.py [--minutes 1] [--only motion_blur ...]

The specs say what each method is and how long it trains, in minutes of wall-clock time: nothing else should run beside
it. Rows are printed as they come; a method that a spec does not have, or that has no proof, is a dash.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import invreg
from invreg.specs.reading import read_content

SPECS = Path(__file__).resolve().parents[1] / "specs" / "operators"
_METHODS = ("tv", "certified", "unet")


def changes(labels: Iterable[str], minutes: float | None) -> list[str]:
    """What makes the trainings of these methods so long, and leaves all out that is not in the table."""
    times = [] if minutes is None else [f"methods.{label}.trainer.max_minutes={minutes}" for label in labels]
    return ["analyses=[]", "metrics=[psnr]", *times]


def row(label: str, minutes: float | None) -> list[str]:
    """The cells of one operator."""
    path = SPECS / f"{label}.yaml"
    learned = {"certified", "unet"} & set(read_content(path)["methods"])
    with tempfile.TemporaryDirectory() as output:
        result = invreg.run(path, output, "cpu", progress=False, overrides=changes(sorted(learned), minutes))
        psnr = result.summary.set_index("method")["psnr"]
        bound = None
        if "certified" in learned:
            net = result.methods["certified"].reconstructor
            assert isinstance(net, invreg.CertifiesStability)
            bound = net.certificate().reconstruction_lipschitz
        cells = [f"{psnr[method]:.2f}" if method in psnr else "–" for method in _METHODS]
    return [label, *cells[:2], "–" if bound is None else f"{bound:.3g}", cells[2]]


def main() -> None:
    known = sorted(path.stem for path in SPECS.glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="for the training of each network, instead of the spec's")
    parser.add_argument("--only", nargs="+", choices=known, default=known)
    options = parser.parse_args()
    print("| operator | tv | certified | proven bound | unet |\n|---|---|---|---|---|")
    for label in options.only:
        print(f"| {' | '.join(row(label, options.minutes))} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
