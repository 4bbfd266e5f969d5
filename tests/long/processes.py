"""One run by several processes: compares it with that of a single one, ends it at any moment, and lets it go on.

    python tests/long/processes.py --count 20

The processes are started by `torchrun`, or by `accelerate launch`. First the run is carried out by one process and by
several, undisturbed: weights, steps, values and reconstructions are compared. Then, so many times, a process is killed
(SIGKILL, any of them), or the launcher gets SIGTERM or SIGINT, at a random moment, up to three times in one folder. A
session that was ended after it began to write says one message, and leaves no process; the last one runs to the end,
each with any number of processes. What comes out is compared with the undisturbed run: bit for bit if the number was
the same throughout.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file

TRAINER = {"name": "reconstruction", "batch_size": 4, "optimizer": "adam", "lr": 1e-3, "checkpoint_minutes": 0}
SPEC: dict[str, Any] = {
    "title": "Processes",
    "data": {"name": "phantoms", "image_size": 24, "train": 6, "val": 5, "test": 7},
    "operator": {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0},
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {
        "iresnet": {
            "reconstructor": {"name": "iresnet", "subnetworks": 2, "channels": 4, "hidden": 8, "kernel_size": 3},
            "trainer": {**TRAINER, "steps": 40, "validations": 4},
        },
        "unet": {
            "reconstructor": {"name": "unet", "channels": [4, 8], "kernel_size": 3},
            "trainer": {**TRAINER, "steps": 20, "validations": 2},
        },
        "searched": {
            "reconstructor": {"name": "conv_resnet", "subnetworks": 2, "channels": 4, "hidden": 8, "kernel_size": 3},
            "trainer": {
                "name": "parameter_search",
                "trials": 2,
                "parameters": {"hidden": {"choices": [4, 8]}},
                "trainer": {**TRAINER, "steps": 10, "validations": 2},
            },
        },
    },
    "evaluation": {"batch_size": 2},
    "analyses": ["quality"],
}
#: Relative difference of weights that rounding may make, between different numbers of processes.
TOLERANCE = 1e-4
#: What belongs to no result: learned starts of iterations, hashes, biases before a normalisation.
LEFT_OUT = ("starts.", "digest", ".0.bias")


class Session:
    """`invreg run` by so many processes, started."""

    def __init__(self, spec: Path, output: Path, count: int, launcher: str) -> None:
        command = [sys.executable, "-m", "invreg", "run", str(spec), "--output", str(output), "--device", "cpu"]
        if count > 1:
            module = {
                "torchrun": ["torch.distributed.run", "--nproc_per_node"],
                "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--num_processes"],
            }[launcher]
            command = [sys.executable, "-m", *module, str(count), *command[1:]]
        self.count, self.log = count, output / f"log.{time.monotonic_ns()}"
        output.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def workers(self) -> list[int]:
        if self.count == 1:
            return [self.process.pid]
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in path.read_text().split()]

    def end(self, kind: str, chance: random.Random) -> list[str]:
        """Ends it; what is wrong with how it ended."""
        workers, begun = self.workers, "writing to" in self.said
        if kind == "kill":
            os.kill(chance.choice(workers or [self.process.pid]), signal.SIGKILL)
        else:
            self.process.send_signal({"term": signal.SIGTERM, "int": signal.SIGINT}[kind])
        start = time.monotonic()
        status = self.process.wait(120)
        wrong = [f"{kind}: ends after {seconds:.0f} s" for seconds in [time.monotonic() - start] if seconds > 45]
        if status == 0:
            return wrong  # it was done already
        messages = [line for line in self.said.splitlines() if line.startswith(("error: ", "interrupted by "))]
        if self.count > 1 and (len(messages) > 1 or (begun and not messages)):
            wrong.append(f"{kind}: {len(messages)} messages: {messages}")
        return wrong + [f"{kind}: process {pid} is left" for pid in workers if Path(f"/proc/{pid}").exists()]


def results(output: Path) -> tuple[dict[str, torch.Tensor], pd.DataFrame, dict[str, Any]]:
    """Weights, metrics and summaries of the run in a folder."""
    (folder,) = [path.parent for path in output.glob("*/report.html")]
    weights = {
        f"{path.parent.name}.{name}": value.double()
        for path in sorted(folder.glob("methods/*/weights.safetensors"))
        for name, value in load_file(path).items()
        if value.is_floating_point() and not any(part in name for part in LEFT_OUT)
    }
    summaries = {
        path.parent.name: {
            key: value for key, value in json.loads(path.read_text())["summary"].items() if isinstance(value, int | str)
        }
        for path in sorted(folder.glob("methods/*/training.json"))
    }
    return weights, pd.read_csv(folder / "metrics.csv").drop(columns="seconds"), summaries


def compare(expected: Path, found: Path, exactly: bool) -> tuple[float, list[str]]:
    """The largest relative difference of the weights of a method; what is wrong."""
    (a, table, first), (b, other, second) = results(expected), results(found)
    wrong = [] if first == second else [f"{first} and {second}"]
    wrong += [] if table[["method", "image"]].equals(other[["method", "image"]]) else ["other rows of the metrics"]
    far = 0.0
    for label in first:
        names = [name for name in a if name.startswith(label + ".")]
        square = sum(float((a[name] - b[name]).square().sum()) for name in names)
        far = max(far, (square / sum(float(a[name].square().sum()) for name in names)) ** 0.5)
    if far > (0 if exactly else TOLERANCE) or (exactly and not table.equals(other)):
        wrong.append(f"weights differ by {far:.1e}")
    return far, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--launcher", choices=["torchrun", "accelerate"], default="torchrun")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, failures, ended = random.Random(options.seed), list[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="invreg-processes-") as name:
        place = Path(name)
        spec = place / "spec.json"
        spec.write_text(json.dumps(SPEC))
        seconds = {}
        for count in sorted({1, 2, options.processes}):
            start = time.monotonic()
            session = Session(spec, place / f"whole{count}", count, options.launcher)
            if session.process.wait(600) != 0:
                raise SystemExit(session.said)
            seconds[count] = time.monotonic() - start
            far, wrong = compare(place / "whole1", place / f"whole{count}", exactly=count == 1)
            failures += wrong
            print(f"{count} processes, undisturbed: {seconds[count]:.0f} s, weights differ by {far:.1e}", flush=True)
        for number in range(options.count):
            output, used = place / str(number), set()
            for _ in range(chance.randint(1, 3)):
                used.add(count := options.processes)
                kind = chance.choice(["kill", "kill", "term", "int"])
                session = Session(spec, output, count, options.launcher)
                time.sleep(chance.uniform(0.2, 1.0) * seconds[count])
                if session.process.poll() is None:
                    ended[kind] += 1
                    failures += [f"{number}: {wrong}" for wrong in session.end(kind, chance)]
                session.process.wait()
            used.add(count := chance.choice(sorted(seconds)))
            session = Session(spec, output, count, options.launcher)
            if session.process.wait(600) != 0:
                failures.append(f"{number}: does not go on: {session.said[-2000:]}")
                continue
            far, wrong = compare(place / f"whole{count}", output, exactly=used == {2})
            failures += [f"{number}: {what}" for what in wrong]
            print(f"{number}: {dict(ended)}, last by {count}, weights differ by {far:.1e}", flush=True)
    print(f"ended: {dict(ended)}; {len(failures)} failures")
    for failure in failures:
        print(failure)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
