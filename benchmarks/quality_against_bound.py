"""Draws the figure of the first page, quality against bound, from its table in docs/studies.md.

    python benchmarks/quality_against_bound.py

A row of the table is a network of `specs/quality_against_bound.yaml`, or of a spec like it. It times nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib import rc_context

from invreg import Findings
from invreg_analyses.stability.quality_against_bound import QualityAgainstBound

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_COLUMNS = ["network", "proven", "strongest attack", "proven / attack", "PSNR in dB", "SSIM"]
# Of the spec: the operator, and methods without weights.
_OPERATOR, _WITHOUT_WEIGHTS = "gaussian_blur", {"tv"}


def networks(page: str) -> pd.DataFrame:
    """The table: `method`, `proven` and `found` (NaN where there is none), `psnr`, `ssim`.

    Raises:
        ValueError: if the page has no such table.
    """
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in page.splitlines() if line[:1] == "|"]
    if _COLUMNS not in rows:
        raise ValueError(f"no table with the columns {_COLUMNS}")
    first = rows.index(_COLUMNS) + 2  # after the line below the head
    found = []
    for row in rows[first:]:
        if len(row) != len(_COLUMNS):
            break
        name, proven, attack, _, psnr, ssim = row
        found.append((name.split(",")[0], _number(proven), _number(attack), float(psnr), float(ssim)))
    return pd.DataFrame(found, columns=["method", "proven", "found", "psnr", "ssim"])


def _number(cell: str) -> float:
    return math.nan if cell in ("none", "") else float(cell.replace(",", ""))


def figure(table: pd.DataFrame) -> Figure:
    """As the study analysis draws it."""
    place = {"operator": _OPERATOR, "noise": ""}
    labels = list(dict.fromkeys(table["method"]))
    tables = {
        "settings": table.assign(**place),
        "methods": pd.DataFrame(
            {"method": labels, "weights": [0 if label in _WITHOUT_WEIGHTS else 1 for label in labels]}
        ),
        "metrics": pd.DataFrame(
            [("psnr", "dB", True), ("ssim", "", True)], columns=["metric", "unit", "higher_is_better"]
        ),
        "figures": pd.DataFrame([place]),
    }
    (drawn,) = QualityAgainstBound().draw(Findings({"noise": ""}, tables)).values()
    return drawn


def main() -> None:
    path = _DOCS / "images" / "quality_against_bound.svg"
    with rc_context({"svg.hashsalt": "quality against bound", "svg.fonttype": "none"}):
        drawn = figure(networks((_DOCS / "studies.md").read_text(encoding="utf-8")))
        drawn.savefig(path, format="svg", metadata={"Date": None})
    print(path.name)


if __name__ == "__main__":
    main()
