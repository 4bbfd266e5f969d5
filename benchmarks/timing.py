"""Timings of several contestants in one run, taken in turns; used by the other scripts.

Machines get slower and faster while they measure. Contestants that take turns all see the same of it, and ratios are
formed within each turn before their median is taken.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import invreg
from invreg.running.environment import describe_environment


def arguments(description: str | None, repetitions: int) -> argparse.ArgumentParser:
    """The arguments that all timings have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=repetitions, help="turns that are timed")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    return parser


def synchronize(device: torch.device) -> None:
    """Waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_in_turns(
    contestants: Mapping[str, Callable[[], object]], repetitions: int, device: torch.device
) -> dict[str, list[float]]:
    """Wall-clock seconds of each contestant in each turn. All of them should have run before, to be warm."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, call in contestants.items():
            synchronize(device)
            start = time.perf_counter()
            call()
            synchronize(device)
            taken[name].append(time.perf_counter() - start)
    return taken


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> float:
    """The median over the turns of the ratio within a turn."""
    return statistics.median(a / b for a, b in zip(seconds, reference, strict=True))


def machine(device: torch.device) -> dict[str, Any]:
    """Where it was measured; printed as well."""
    described = describe_environment(invreg.Registry.installed(), device)
    found = {key: described[key] for key in ("processor", "threads", "device")} | {"torch": torch.__version__}
    print(f"torch {found['torch']}, {found['threads']} threads, {found['processor']}, device {found['device']}\n")
    return found


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table."""
    for row in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(row)} |", flush=True)


def write_json(found: Mapping[str, Any], options: argparse.Namespace) -> None:
    """All that was measured, with the arguments that it was measured with."""
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), **found}, indent=2, default=str))
