"""The quickstart over several seeds: quality of each method, and how long everything takes."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd

import invreg
from invreg.quickstart import quickstart_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as output:
            start = time.perf_counter()
            result = invreg.run(
                quickstart_path(), output, "cpu", progress=False, overrides=[*options.set, f"seed={seed}"]
            )
            total = time.perf_counter() - start
        rows.append(result.summary.assign(seed=seed, total_seconds=total))
    table = pd.concat(rows)
    means = table.groupby("method", sort=False).agg(
        psnr=("psnr", "mean"),
        lowest=("psnr", "min"),
        highest=("psnr", "max"),
        ssim=("ssim", "mean"),
        training=("training_seconds", "mean"),
        milliseconds_per_image=("reconstruction_seconds", lambda values: 1e3 * values.mean()),
    )
    print("| method | PSNR in dB (range over seeds) | SSIM | training | per image |\n|---|---|---|---|---|")
    for label, row in means.iterrows():
        psnr = f"{row.psnr:.2f} ({row.lowest:.2f} to {row.highest:.2f})"
        print(f"| {label} | {psnr} | {row.ssim:.3f} | {row.training:.0f} s | {row.milliseconds_per_image:.1f} ms |")
    print(f"\nWhole run: {table['total_seconds'].unique().mean():.0f} s, report included; seeds {options.seeds}.")
    if options.json:
        table.to_json(options.json, orient="records", indent=2)


if __name__ == "__main__":
    main()
