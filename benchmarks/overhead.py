"""What the harness costs: a training through `invreg.run` against a bare loop over the same steps, and start-up times.

    python benchmarks/overhead.py [--steps 100]

The bare loop makes the same batches, noise, losses and optimizer steps, and nothing else: no checkpoints, no logs, no
validation, no checks. Of the harness, the seconds of training count (validation apart), as its training log states
them; what a run takes besides is listed, too. Both take turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from timing import arguments, machine, print_table, ratio, write_json

import invreg
from invreg import choose_device, generator
from invreg_datasets.photos import Photos
from invreg_training.gradient.objectives import ReconstructionLoss
from invreg_training.gradient.optimizers import Optimizers
from invreg_training.gradient.schedule import rate_factor

_SIZE, _BATCH, _CLIP = 48, 8, 0.1
_NET = {"name": "iresnet", "subnetworks": 8, "channels": 8, "hidden": 16, "kernel_size": 5, "lipschitz": 0.999}
_PROBLEM: dict[str, Any] = {
    "operator": {"name": "gaussian_blur", "kernel_size": 11, "std": 1.6667, "boundary": "symmetric"},
    "noise": {"name": "gaussian", "std": 0.01},
}


def main() -> None:
    parser = arguments(__doc__, repetitions=3)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    device = choose_device(options.device)
    found: dict[str, Any] = {"machine": machine(device)}
    rows, harness, bare = [], [], []
    for turn in range(options.repetitions + 1):
        through = run_seconds(options.steps, device)
        loop = loop_seconds(options.steps, device)
        if turn:  # the first one warms up
            harness.append(through)
            bare.append(loop)
    training = [one["training"] for one in harness]
    rows.append(["training: harness / bare loop", f"{ratio(training, bare):.3f}"])
    for name in ("training", "validation", "whole"):
        rows.append([f"`invreg.run`, {name}", f"{statistics.median(one[name] for one in harness):.2f} s"])
    rows.append(["bare loop", f"{statistics.median(bare):.2f} s"])
    commands = {
        "python -c pass": ["-c", "pass"],
        "import torch": ["-c", "import torch"],
        "import invreg": ["-c", "import invreg"],
        "from invreg import run": ["-c", "from invreg import run"],
        "invreg --help": ["-m", "invreg", "--help"],
        "invreg plugins": ["-m", "invreg", "plugins"],
        "invreg validate": ["-m", "invreg", "validate"],
    }
    starts = {name: start_seconds(command, 5) for name, command in commands.items()}
    rows += [[f"`{name}`", f"{seconds:.2f} s"] for name, seconds in starts.items()]
    print_table([f"{options.steps} steps, batch {_BATCH}, {_SIZE}x{_SIZE}", "median"], rows)
    write_json(found | {"harness": harness, "bare": bare, "starts": starts}, options)


def run_seconds(steps: int, device: torch.device) -> dict[str, float]:
    trainer = {"name": "reconstruction", "steps": steps, "batch_size": _BATCH}
    spec = {
        "seed": 0,
        "data": {"name": "photos", "image_size": _SIZE, "train_size": _SIZE},
        **_PROBLEM,
        "methods": {"iresnet": {"reconstructor": _NET, "trainer": trainer}},
        "analyses": ["quality"],
    }
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = invreg.run(spec, folder, str(device), progress=False)
        whole = time.perf_counter() - start
        log = json.loads((Path(result.folder) / "methods" / "iresnet" / "training.json").read_text())["summary"]
    found = {"whole": whole, "training": log["seconds"], "validation": log["validation_seconds"]}
    # The clock of a training runs on during its validations.
    return found | {"training": found["training"] - found["validation"]}


def loop_seconds(steps: int, device: torch.device) -> float:
    registry = invreg.Registry.installed()
    problem = invreg.Problem(*(registry.build(kind, _PROBLEM[kind]) for kind in ("operator", "noise"))).to(device)
    images = Photos(image_size=_SIZE, train_size=_SIZE).splits().train
    torch.manual_seed(0)
    net = registry.build("reconstructor", _NET)
    net.setup(problem, (1, _SIZE, _SIZE))
    net.to(device).train()
    loss = ReconstructionLoss(net)
    trainer = registry.build("trainer", {"name": "reconstruction", "steps": steps})
    rates = {name: getattr(trainer.settings, name) for name in ("lr", "muon_lr", "betas", "weight_decay")}
    optimizers = Optimizers(net, trainer.settings.optimizer, **rates)
    noise = generator(0, device)
    start = time.perf_counter()
    for step in range(steps):
        net.training_progress(step / steps)
        x = images.batch(0, step, _BATCH).to(device)
        z = problem.measure(x, generator=noise)
        optimizers.zero_grad()
        value = loss(z, x)
        value.backward()
        torch.nn.utils.clip_grad_norm_(optimizers.parameters, _CLIP)
        optimizers.step(rate_factor(step / steps, trainer.settings.warmup, trainer.settings.final_lr))
        float(value.detach())
    return time.perf_counter() - start


def start_seconds(command: list[str], repetitions: int) -> float:
    taken = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    main()
