"""Takes pictures of the page about analyses, those that no tutorial draws, from a finished study.

    invreg run specs/paper/robustness.yaml
    python benchmarks/pictures.py runs/paper-robustness-...

They are figures of its first cell, as WebP in docs/images/analyses.
"""

from __future__ import annotations

import argparse
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images" / "analyses"

#: Figures of the first cell, by the analysis, and their names there.
FIGURES = {"adversarial": "over_size", "noise_mismatch": "over_levels"}
WIDTH = 1400


def main() -> None:
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    cell = min((parser.parse_args().study / "cells").iterdir())
    IMAGES.mkdir(parents=True, exist_ok=True)
    for analysis, figure in FIGURES.items():
        picture = Image.open(cell / "analyses" / analysis / "figures" / f"{figure}.png").convert("RGB")
        picture.thumbnail((WIDTH, WIDTH))
        picture.save(IMAGES / f"{analysis}.webp", "WEBP", quality=90, method=6)


if __name__ == "__main__":
    main()
