"""One spec over several seeds, and the table of what came of it; used by the other scripts."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

import invreg


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The arguments that all scripts over seeds have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    return parser


def run_over_seeds(spec: Path | dict[str, Any], options: argparse.Namespace) -> pd.DataFrame:
    """One row per seed and method: the summary of the run, its steps and the seconds of the whole run."""
    rows = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as output:
            start = time.perf_counter()
            overrides = [*options.set, f"seed={seed}"]
            result = invreg.run(spec, output, options.device, progress=False, overrides=overrides)
            total = time.perf_counter() - start
        steps = {label: method.log.summary.get("steps") for label, method in result.methods.items()}
        rows.append(result.summary.assign(seed=seed, total_seconds=total, steps=result.summary["method"].map(steps)))
    return pd.concat(rows, ignore_index=True)


def print_table(table: pd.DataFrame) -> None:
    """Means over the seeds, with the range of the PSNR."""
    means = table.groupby("method", sort=False).agg(
        psnr=("psnr", "mean"),
        lowest=("psnr", "min"),
        highest=("psnr", "max"),
        ssim=("ssim", "mean"),
        parameters=("parameters", "first"),
        steps=("steps", "mean"),
        training=("training_seconds", "mean"),
        milliseconds=("reconstruction_seconds", lambda values: 1e3 * values.mean()),
    )
    print("| method | weights | PSNR in dB (range over seeds) | SSIM | steps | training | per image |")
    print("|---|---|---|---|---|---|---|")
    for label, row in means.iterrows():
        psnr = f"{row.psnr:.2f} ({row.lowest:.2f} to {row.highest:.2f})"
        steps = "" if pd.isna(row.steps) else f"{row.steps:.0f}"
        times = f"{steps} | {row.training:.0f} s | {row.milliseconds:.1f} ms"
        print(f"| {label} | {row.parameters:,.0f} | {psnr} | {row.ssim:.3f} | {times} |")


def write_json(table: pd.DataFrame, options: argparse.Namespace) -> None:
    if options.json:
        table.to_json(options.json, orient="records", indent=2)
