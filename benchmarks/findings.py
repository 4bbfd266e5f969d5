"""What Arndt & Nickel (2024, section 4.3) found in their networks, looked for in those of a finished study.

    invreg run specs/findings.yaml
    python benchmarks/findings.py runs/findings-...

For each finding the number that decides it and a verdict, `seen` or `not seen`: the last argument of each row is its
rule. All intervals are those of the analyses.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from timing import print_table

#: Neighbours of a checkerboard are opposite (-1); of noise, unrelated (0).
_CHECKERBOARD = -0.5
#: How many times as many strong edge pixels, in shares, a cluster of strong edges has.
_STRONGER = 3.0
#: The share of pixels from which on a cluster is nearly all of them.
_MOST = 0.8


@dataclass(frozen=True)
class Row:
    """One finding."""

    finding: str
    number: str
    seen: bool

    @property
    def cells(self) -> list[str]:
        return [self.finding, self.number, "seen" if self.seen else "**not seen**"]


class Study:
    """The tables of a study over noise levels, lowest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        by_noise = {
            yaml.safe_load((cell / "spec.yaml").read_text(encoding="utf-8"))["noise"]["std"]: cell
            for cell in (folder / "cells").iterdir()
        }
        self.noises = sorted(by_noise)
        self.cells = [by_noise[noise] for noise in self.noises]

    def of_cells(self, analysis: str, table: str) -> list[pd.DataFrame]:
        """A table of an analysis in every cell."""
        return [pd.read_csv(cell / "analyses" / analysis / "tables" / f"{table}.csv") for cell in self.cells]

    def of_study(self, analysis: str, table: str) -> pd.DataFrame:
        """A table of an analysis of the study."""
        return pd.read_csv(self.folder / "analyses" / analysis / "tables" / f"{table}.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the finished study")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    study = Study(options.folder)
    rows = [*of_values(study), *of_directions(study), *of_clusters(study), *of_spread(study)]
    print_table(["finding", f"here, at noise {' and '.join(map(str, study.noises))}", ""], [row.cells for row in rows])
    if options.json:
        options.json.write_text(json.dumps([row.cells for row in rows], indent=2), encoding="utf-8")


def of_values(study: Study) -> Iterator[Row]:
    trend = study.of_study("forward_map_accuracy", "trends").query("over == 'noise' and measure == 'relative'").iloc[0]
    means = study.of_study("forward_map_accuracy", "means").query("measure == 'relative'").sort_values("noise")
    yield Row(
        "φ resembles F at little noise, less so at much noise (figures 9 and 10)",
        f"‖φ(x) − F(x)‖ / ‖F(x)‖ {_both(means['mean'])}, {_interval(trend)}",
        trend["low"] > 0,
    )
    tops = []
    for table in study.of_cells("radial_transfer", "transfer"):
        highest = table[table["ring"] == table["ring"].max()].set_index("map")
        tops.append((highest.loc["network"], highest.loc["operator"]))
    yield Row(
        "φ passes on more detail than F, much more at much noise (figure 10)",
        f"gain at the highest frequencies {_both([net['gain'] for net, _ in tops])}, of F {tops[0][1]['gain']:.2g}",
        all(net["low"] > operator["high"] for net, operator in tops) and tops[-1][0]["low"] > tops[0][0]["high"],
    )


def of_directions(study: Study) -> Iterator[Row]:
    first = [table[(table["rank"] == 1)] for table in study.of_cells("local_ill_posedness", "directions")]
    whole = [table[table["region"] == "whole image"].set_index("image") for table in first]
    yield Row(
        "the direction of strongest regularization is a checkerboard (figure 11)",
        f"mean product of neighbours {_both([table['neighbours'].mean() for table in whole])}",
        all((table["neighbours"] < _CHECKERBOARD).all() for table in whole),
    )
    yield Row(
        "it lies in smooth areas (figure 11)",
        f"{_both([table['smooth'].mean() for table in whole])} of ‖h‖² there, which are "
        f"{whole[0]['smooth_area'].mean():.2g} of the image",
        all((table["smooth"] > table["smooth_area"]).all() for table in whole),
    )
    keys = ["image", "region"]
    low, high = (table.set_index(keys)["network"] for table in (first[0], first[-1]))
    yield Row(
        "regularization rises with noise, on every image and subject (figure 12)",
        f"‖∂ₕφ‖ {_both([low.mean(), high.mean()])}, larger on {(high > low).sum()} of {len(low)}; of F "
        f"{first[0]['operator'].mean():.2g}",
        bool((high > low).all()),
    )


def of_clusters(study: Study) -> Iterator[Row]:
    cells = study.of_cells("saliency_clusters", "clusters")
    operator = cells[0][cells[0]["map"] == "F"]
    images = operator.groupby("image")["strong_share"].agg(["max", "min"])
    yield Row(
        "clusters of F: strong edges against the rest (figure 13)",
        f"strong edges among the pixels of one cluster {_shares(images['max'])}, of the other {_shares(images['min'])}",
        bool((images["max"] > _STRONGER * images["min"]).all()),
    )
    largest = [
        table[table["map"] != "F"].groupby("image")["pixels"].agg(lambda sizes: sizes.max() / sizes.sum())
        for table in cells
    ]
    yield Row(
        "at little noise, the maps of most pixels are one cluster (figure 13)",
        f"share of the larger cluster {_both([shares.mean() for shares in largest])}",
        bool((largest[0] > _MOST).all() and largest[0].mean() > largest[-1].mean()),
    )
    agreement = study.of_study("saliency_by_noise", "agreement").query("map != 'F'")["like_operator"]
    yield Row(
        "clusters are most like those of F at much noise (figure 13)",
        f"adjusted Rand index with F {_both(agreement)}",
        agreement.idxmax() == agreement.index[-1],
    )


def of_spread(study: Study) -> Iterator[Row]:
    tables = study.of_cells("edge_saliency", "differences")
    differences = [table.set_index(["area", "measure"]) for table in tables]
    spread = study.of_study("saliency_by_noise", "spread").set_index(["area", "measure", "map"])["mean"].sort_index()
    steps = study.of_study("saliency_by_noise", "steps").set_index(["area", "measure"])
    for measure, words in (("radius", "effective radius"), ("reach", "reach")):
        smooth = [table.loc[("smooth", measure)] for table in differences]
        yield Row(
            f"φ blurs less than F in smooth areas (figures 14 and 15): {words}",
            f"{_both(spread['smooth', measure].drop('F'))} pixels, of F {spread['smooth', measure, 'F']:.3g}",
            all(difference["high"] < 0 for difference in smooth),
        )
        step = steps.loc[("smooth", measure)]
        yield Row(f"and the less, the more noise there is: {words}", f"{_interval(step)} pixels", step["high"] < 0)
    for area in ("smooth", "edges"):
        negative = [table.loc[(area, "negative")] for table in differences]
        own, operator = spread[area, "negative"].drop("F"), spread[area, "negative", "F"]
        yield Row(
            f"negative neighbours of the centre, {'in smooth areas' if area == 'smooth' else 'on edges'} (figure 15)",
            f"negative mass {_both(own)}, of F {operator:.2g}",
            all(difference["low"] > 0 for difference in negative),
        )


def _both(values: pd.Series | list[float]) -> str:
    return " and ".join(f"{value:.3g}" for value in values)


def _shares(values: pd.Series) -> str:
    return " and ".join(f"{value:.0%}" for value in values)


def _interval(row: pd.Series) -> str:
    value = row["difference"] if "difference" in row else row["mean"]
    return f"change {value:+.3g} ({row['low']:+.3g} to {row['high']:+.3g})"


if __name__ == "__main__":
    main()
