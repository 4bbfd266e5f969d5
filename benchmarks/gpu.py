"""All that has to be shown on a GPU, in nine minutes, and a training that then goes on until it is told to stop.

    python benchmarks/gpu.py [--output gpu-results] [--minutes 9]
    python benchmarks/gpu.py --train [--photographs FOLDER]

In this order: the tests marked `gpu`; how far CPU and GPU agree; times of the paper's networks, with their shares of
what the device can do; what CUDA graphs and torch.compile would gain; peak memory. Each part has a process of its own,
and each row is saved when it is there. When the time is up, the same command goes on; what failed is tried again when
its row is deleted from the JSON file. `gpu.md` in the folder holds all results.

With `--train`, the rest of the time goes to the paper's large network on photographs, with checkpoints. It ends when
the minutes are over, or by Ctrl-C or SIGTERM, and the next call goes on.

`--device cpu --micro` goes the same way with tiny networks: it shows that the script works, and nothing else.
"""

from __future__ import annotations

import argparse
import copy
import csv
import itertools
import json
import math
import shutil
import signal
import statistics
import subprocess
import sys
import time
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import compiled
import torch
from networks import crops, measured, quickstart_problem
from paper_training import TRAININGS, measure, phases_of
from timing import ratio, seconds_in_turns, synchronize
from torch import Tensor
from training_step import fresh, peak_bytes, saved_bytes, step_of

import invreg
from invreg import CertifiesStability, FollowsTraining, Reconstructor, choose_device, write_whole
from invreg.running.environment import describe_environment
from invreg_training.gradient.objectives import ReconstructionLoss
from invreg_training.gradient.optimizers import Optimizers

_ROOT = Path(__file__).resolve().parents[1]
#: Seconds that a training gets to write its checkpoint before the minutes are over.
_TO_SAVE = 30
_STEPS = 20
_PRECISIONS = ("bf16", "float32")
_QUICKSTART = {"subnetworks": 8, "channels": 8, "hidden": 16}
_COMPARED: dict[str, dict[str, Any]] = {
    "iresnet": _QUICKSTART,
    "explicit_iresnet": _QUICKSTART | {"lipschitz": 0.99},
    "conv_resnet": _QUICKSTART,
    "unet": {"channels": [8, 16, 32]},
    "diffnet": {"subnetworks": 3, "hidden": 16},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu-results"), help="folder of the results")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which this call ends")
    parser.add_argument("--micro", action="store_true", help="tiny networks and few repetitions")
    parser.add_argument("--train", action="store_true", help="train the paper's large network afterwards")
    parser.add_argument("--photographs", type=Path, help="folder to train on, instead of the bundled photographs")
    parser.add_argument("--steps", type=int, default=250_000, help="of the training")
    parser.add_argument("--part", choices=list(_PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = choose_device(options.device)
    if options.part:
        warnings.simplefilter("ignore", invreg.ConvergenceWarning)
        torch.manual_seed(0)
        rows = Rows(options.output / f"{options.part}.json")
        _PARTS[options.part](rows, options, device)
        rows.finish()
        return
    end = time.monotonic() + 60 * options.minutes
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    identify(options, device)
    try:
        for part in _PARTS:
            if not Rows(options.output / f"{part}.json").is_finished and time.monotonic() < end:
                print(f"{part} ...", flush=True)
                carry_out(part, options, end)
                write_page(options)
        if options.train and time.monotonic() + _TO_SAVE < end:
            train(options, end - _TO_SAVE)
    except KeyboardInterrupt:
        print("interrupted")
    page = write_page(options)
    open_parts = [part for part in _PARTS if not Rows(options.output / f"{part}.json").is_finished]
    if open_parts:
        print(f"not finished: {', '.join(open_parts)}; the same command goes on")
    print(page)


class Rows:
    """The results of a part, by name, in a JSON file that is whole after each of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self.rows: dict[str, dict[str, Any]] = content.get("rows", {})
        self.is_finished: bool = content.get("finished", False)

    def add(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Does the work for this row, unless it is there; an error is its result, and does not stop the others."""
        if name in self.rows:
            return
        start = time.perf_counter()
        try:
            row = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown in the page
            row = {"failed": f"{type(error).__name__}: {error}"[:500]}
        seconds = time.perf_counter() - start
        self.rows[name] = row
        print(f"  {name}: {'failed' if 'failed' in row else 'done'} in {seconds:.1f} s", flush=True)
        self._save()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def finish(self) -> None:
        self.is_finished = True
        self._save()

    def _save(self) -> None:
        content = {"rows": self.rows, "finished": self.is_finished}
        write_whole(self.path, json.dumps(content, indent=1).encode())


def identify(options: argparse.Namespace, device: torch.device) -> None:
    """Notes where and with what code all this is measured; ends if the folder is from elsewhere."""
    described = describe_environment(invreg.Registry.installed(), device)
    found = {key: described[key] for key in ("processor", "device")} | {"torch": torch.__version__}
    found |= {"code": _git("rev-parse", "HEAD"), "changed": bool(_git("status", "--porcelain")), "micro": options.micro}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    path = options.output / "machine.json"
    if path.exists() and (before := json.loads(path.read_text("utf-8"))) != found:
        other = ", ".join(name for name in found if before.get(name) != found[name])
        raise SystemExit(f"{options.output} holds results with another {other}: choose another --output")
    write_whole(path, json.dumps(found, indent=1).encode())


def _git(*arguments: str) -> str:
    try:
        command = [shutil.which("git") or "git", *arguments]
        return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def carry_out(part: str, options: argparse.Namespace, end: float) -> None:
    """A part in a process of its own, which ends when the time is up; its rows are kept."""
    command = [sys.executable, __file__, "--part", part, "--output", str(options.output), "--device", options.device]
    wait_for(command + ["--micro"] * options.micro, end)


def wait_for(command: list[str], end: float) -> None:
    """Carries out a command; it is asked to end when the time is up or this process is interrupted, and then killed."""
    # Ctrl-C reaches this process alone, which passes it on once: a second signal would end the command at once.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        print("  time is up", flush=True)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_TO_SAVE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


# -- the tests marked gpu


def run_tests(rows: Rows, options: argparse.Namespace, device: torch.device) -> None:
    def work() -> dict[str, Any]:
        report = options.output.absolute() / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu", f"--junitxml={report}", "tests"]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            raise RuntimeError((done.stderr or done.stdout)[-400:])
        cases = {}
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
            marks = {mark.tag: mark.get("message", "") for mark in case}
            outcome = next((tag for tag in ("failure", "error", "skipped") if tag in marks), "passed")
            cases[f"{case.get('classname')}::{case.get('name')}"] = [outcome, marks.get(outcome, "")[:200]]
        return {"cases": cases}

    rows.add("pytest -m gpu", work)


# -- CPU and GPU


def compare_devices(rows: Rows, options: argparse.Namespace, device: torch.device) -> None:
    """The same steps and the same weights on both, with the arithmetic of float32, and with TF32 as torch has it."""
    for tf32 in (False, True) if device.type == "cuda" else (False,):
        torch.backends.cudnn.allow_tf32 = tf32
        for name, sizes in _COMPARED.items():
            spec = {"name": name, **sizes}
            if options.micro:
                spec |= {"channels": [4, 8]} if name == "unet" else {"subnetworks": 2, "hidden": 4}
                spec |= {"lipschitz": 0.7} if "iresnet" in name else {}
            # Proofs do not depend on how convolutions round.
            work = partial(compared, spec, options, device, certify=not tf32)
            rows.add(f"{name}, {'TF32' if tf32 else 'float32'}", work)


def compared(
    spec: dict[str, Any], options: argparse.Namespace, device: torch.device, *, certify: bool
) -> dict[str, Any]:
    cpu = torch.device("cpu")
    size, batch, steps = (24, 2, 3) if options.micro else (48, 8, _STEPS)
    problem, shape = quickstart_problem(cpu), (1, size, size)
    x = crops(batch * (steps + 1), size, 1, cpu)
    z = measured(problem, x)
    here = fresh(spec, problem, shape, cpu)
    there = copy.deepcopy(here).to(device)
    start = weights(here)
    for net in (here, there):
        take_steps(net, z, x, batch, steps)
    ours, theirs = weights(here), weights(there)
    same = copy.deepcopy(here).to(device).eval()
    with torch.no_grad():
        expected, found = here.eval()(z[-batch:]), same(z[-batch:].to(device)).cpu()
    difference = float((ours - theirs).norm())
    entry: dict[str, Any] = {
        "steps": steps,
        "weights": difference / float(ours.norm()),
        "of the way": difference / float((ours - start).norm()),
        "reconstructions": float((expected - found).norm() / expected.norm()),
        "largest": float((expected - found).abs().max()),
    }
    if certify and isinstance(here, CertifiesStability):
        bounds = [net.certificate().content["inverse_lipschitz"]["certified"] for net in (here, same)]
        entry["certified"] = bounds
    return entry


def take_steps(net: Reconstructor, z: Tensor, x: Tensor, batch: int, steps: int) -> None:
    """The steps of a training, each with its own images and measurements, made on the CPU."""
    loss, device = ReconstructionLoss(net.train()), next(net.parameters()).device
    optimizers = Optimizers(net, "muon", lr=1e-3, muon_lr=0.02, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(steps):
        if isinstance(net, FollowsTraining):
            net.training_progress(step / steps)
        part = slice(step * batch, (step + 1) * batch)
        optimizers.zero_grad()
        loss(z[part].to(device), x[part].to(device)).backward()
        torch.nn.utils.clip_grad_norm_(optimizers.parameters, 0.1)
        optimizers.step(1.0)


def weights(net: Reconstructor) -> Tensor:
    return torch.cat([one.detach().cpu().double().flatten() for one in net.parameters()])


# -- times


def measure_times(rows: Rows, options: argparse.Namespace, device: torch.device) -> None:
    for precision in _PRECISIONS:
        rows.add(f"products of matrices, {precision}", lambda p=precision: matrix_rate(p, options, device))
    for precision, name in itertools.product(_PRECISIONS, TRAININGS):
        rows.add(f"{name}, {precision}", lambda n=name, p=precision: training_times(n, p, options, device))


def matrix_rate(precision: str, options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """What the device sustains for a product of large matrices."""
    size = 256 if options.micro else 8192
    a, b = (torch.randn(size, size, device=device, dtype=_dtype(precision)) for _ in range(2))
    seconds = statistics.median(seconds_in_turns({"": lambda: a @ b}, 8, device)[""][2:])
    return {"rate": 2 * size**3 / seconds}


def _dtype(precision: str) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else torch.float32


def prepared(name: str, options: argparse.Namespace, device: torch.device, batch: int | None = None) -> Any:
    """A network of the paper as training starts, with measurements and images of its batch."""
    training = TRAININGS[name]
    spec, size = dict(training.spec), 96
    if options.micro:
        spec |= {"channels": [4, 8]} if spec["name"] == "unet" else {"subnetworks": 2, "channels": 4, "hidden": 4}
        spec |= {"lipschitz": 0.7} if "iresnet" in spec["name"] else {}
        batch, size = min(batch or 2, 2), 24
    problem = quickstart_problem(device)
    x = crops(batch or training.batch, size, 1, device)
    net = fresh(spec, problem, tuple(x.shape[1:]), device)
    return net, measured(problem, x), x


def training_times(name: str, precision: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    net, z, x = prepared(name, options, device)
    repetitions = 2 if options.micro else 7
    phases = {
        phase: measure(step_of(ready, z, x, bf16=precision == "bf16"), repetitions, device)
        for phase, ready in phases_of(net, None)
    }
    seconds = statistics.mean(phase["seconds"] for phase in phases.values())
    operations = statistics.mean(phase["operations"] for phase in phases.values())
    hours = 0.0 if options.micro else TRAININGS[name].epochs * 16284 * seconds / len(x) / 3600
    return {"batch": len(x), "phases": phases, "seconds": seconds, "rate": operations / seconds, "hours": hours}


# -- what compiled functions and graphs would gain


def measure_gains(rows: Rows, options: argparse.Namespace, device: torch.device) -> None:
    channels, hidden, size = (4, 4, 24) if options.micro else (64, 128, 96)
    batch, repetitions = (2, 2) if options.micro else (32, 7)

    def residual(precision: str) -> dict[str, Any]:
        calls = compiled.contestants(channels, hidden, size, batch, device, _dtype(precision))
        with torch.no_grad():
            compiled.agree(calls)
            taken = seconds_in_turns({name: call for name, (_, call) in calls.items()}, repetitions, device)
        entry: dict[str, Any] = {}
        for name, seconds in taken.items():
            entry[name] = statistics.median(seconds)
            entry[f"{name}, ratio"] = ratio(seconds, taken[f"{name.rsplit(', ', 1)[0]}, invreg"])
        return entry

    for precision in _PRECISIONS:
        rows.add(f"residual function, {precision}", lambda p=precision: residual(p))
    for name in ("conv_resnet", "unet", "explicit_iresnet", "iresnet"):
        rows.add(f"{name}, bf16", lambda name=name: gains(name, options, device))


def gains(name: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Forward and backward pass of a training step: as it is, and as a CUDA graph."""
    net, z, x = prepared(name, options, device)
    loss = ReconstructionLoss(net.train())
    entry: dict[str, Any] = {}
    ways: dict[str, Callable[[], object]] = {"as it is": lambda: forward_and_backward(loss, net, z, x)}
    if device.type == "cuda":
        try:
            ways["CUDA graph"] = graph(loss, net, z, x)
        except RuntimeError as error:  # as torch says what cannot be captured
            entry["CUDA graph"] = str(error).splitlines()[0][:120]
    for call in ways.values():
        call()
    taken = seconds_in_turns(ways, 2 if options.micro else 9, device)
    for way, seconds in taken.items():
        entry[way] = statistics.median(seconds)
        entry[f"{way}, ratio"] = ratio(seconds, taken["as it is"])
    return entry


def forward_and_backward(loss: Callable[[Tensor, Tensor], Tensor], net: Reconstructor, z: Tensor, x: Tensor) -> None:
    for weight in net.parameters():
        weight.grad = None
    with torch.autocast(x.device.type, dtype=torch.bfloat16, cache_enabled=False):
        value = loss(z, x)
    value.backward()


def graph(loss: torch.nn.Module, net: Reconstructor, z: Tensor, x: Tensor) -> Callable[[], None]:
    """The pass as a CUDA graph, which gives the same gradient.

    Raises:
        RuntimeError: if it cannot be captured, or gives another gradient.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            forward_and_backward(loss, net, z, x)
    torch.cuda.current_stream().wait_stream(side)
    expected = torch.cat([one.grad.flatten() for one in net.parameters() if one.grad is not None])
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        forward_and_backward(loss, net, z, x)
    grads = [one.grad for one in net.parameters() if one.grad is not None]
    captured.replay()
    synchronize(x.device)
    if not torch.allclose(torch.cat([one.flatten() for one in grads]), expected, rtol=1e-2, atol=1e-2):
        raise RuntimeError("the graph gives another gradient")
    return captured.replay


# -- memory


def measure_memory(rows: Rows, options: argparse.Namespace, device: torch.device) -> None:
    for name, batch in itertools.product(("iresnet", "explicit_iresnet", "conv_resnet", "unet"), (8, 16, 32, 64)):
        rows.add(f"{name}, batch {batch}", lambda n=name, b=batch: step_memory(n, b, options, device))
    for name, size in itertools.product(("iresnet", "explicit_iresnet", "unet"), (256, 512)):
        rows.add(f"{name}, {size}", lambda n=name, s=size: reconstruction_memory(n, s, options, device))


def step_memory(name: str, batch: int, options: argparse.Namespace, device: torch.device) -> dict[str, int]:
    net, z, x = prepared(name, options, device, batch)
    net.train()
    kept = saved_bytes(lambda: net(z))
    return {"kept": kept} | _peak(step_of(net, z, x, bf16=True), device)


def reconstruction_memory(name: str, size: int, options: argparse.Namespace, device: torch.device) -> dict[str, int]:
    net, z, _ = prepared(name, options, device, 1)
    z = z.repeat(1, 1, 2, 2) if options.micro else torch.nn.functional.interpolate(z, size=(size, size))

    def reconstruct() -> None:
        with torch.no_grad():
            net.eval()(z)

    reconstruct()
    return _peak(reconstruct, device)


def _peak(work: Callable[[], object], device: torch.device) -> dict[str, int]:
    if device.type != "cuda":
        work()
        return {}
    work()  # what libraries keep from the first call on belongs to it
    return {"peak": peak_bytes(work, device)}


_PARTS: Mapping[str, Callable[[Rows, argparse.Namespace, torch.device], None]] = {
    "tests": run_tests,
    "equality": compare_devices,
    "times": measure_times,
    "gains": measure_gains,
    "memory": measure_memory,
}


# -- the training


def train(options: argparse.Namespace, end: float) -> None:
    """One slice of the training: `invreg run`, which goes on where it was, and is interrupted at the end."""
    data: dict[str, Any] = {"name": "photos", "image_size": 96, "downsample": 2}
    if options.photographs:
        data = {"name": "image_folder", "path": str(options.photographs.absolute()), "image_size": 96}
    network = {"name": "iresnet"} | ({"subnetworks": 2, "channels": 4, "hidden": 4} if options.micro else {})
    batch = 2 if options.micro else 32
    spec = {
        "title": "Large network",
        "data": data,
        "operator": {"name": "gaussian_blur"},
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {
            "iresnet": {
                "reconstructor": network,
                "trainer": {
                    "name": "reconstruction",
                    "steps": options.steps,
                    "batch_size": batch,
                    "precision": "bf16",
                    "validations": max(1, options.steps // (50 if options.micro else 500)),
                    "checkpoint_minutes": 1,
                },
            }
        },
        "analyses": ["quality", "examples", "training_curves", "certificate"],
    }
    path = options.output / "training.json"
    write_whole(path, json.dumps(spec, indent=1).encode())
    print("training ...", flush=True)
    command = [sys.executable, "-m", "invreg", "run", str(path), "--output", str(options.output / "runs")]
    wait_for([*command, "--device", options.device], end)


# -- the page


def write_page(options: argparse.Namespace) -> Path:
    machine = json.loads((options.output / "machine.json").read_text("utf-8"))
    parts = {part: Rows(options.output / f"{part}.json") for part in _PARTS}
    lines = ["# On a GPU", ""]
    if "gpu" not in machine:
        lines += ["**Not on a GPU.** This page shows that the script works, and nothing else.", ""]
    elif machine["micro"]:
        lines += ["**With tiny networks**, which say nothing about those of the paper.", ""]
    code = machine["code"] + (" with changes" if machine["changed"] else "")
    lines += [f"{machine.get('gpu', machine['device'])}, {machine['processor']}, torch {machine['torch']}, {code}.", ""]
    for part, (title, tables) in _SECTIONS.items():
        rows = parts[part]
        lines += [f"## {title}", "", *tables(rows.rows)]
        lines += [f"- {name} failed: {row['failed']}" for name, row in rows.rows.items() if "failed" in row]
        if not rows.is_finished:
            lines += ["", "*Not finished.*"]
        lines.append("")
    lines += _training_section(options)
    page: Path = options.output / "gpu.md"
    write_whole(page, "\n".join(lines).encode())
    return page


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)] + [""] if rows else []


def _good(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {name: row for name, row in rows.items() if "failed" not in row}


def _tests_table(rows: Mapping[str, Any]) -> list[str]:
    cases = [(name, *case) for row in _good(rows).values() for name, case in row["cases"].items()]
    return _table(["test", "outcome", ""], [[name.replace("|", "/"), outcome, why] for name, outcome, why in cases])


def _equality_table(rows: Mapping[str, Any]) -> list[str]:
    columns = [
        "network",
        "steps",
        "weights differ by",
        "of the way from the start",
        "reconstructions",
        "largest difference of a pixel",
        "certified Lip of the inverse, CPU / GPU",
    ]
    keys = ("weights", "of the way", "reconstructions", "largest")
    found = []
    for name, row in _good(rows).items():
        bounds = " / ".join("none" if one is None else f"{one:.6g}" for one in row.get("certified", []))
        found.append([name, str(row["steps"]), *(f"{row[key]:.2g}" for key in keys), bounds])
    return _table(columns, found)


def _times_table(rows: Mapping[str, Any]) -> list[str]:
    good = _good(rows)
    peaks = {name.rsplit(", ", 1)[1]: row["rate"] for name, row in good.items() if name.startswith("products")}
    found = []
    for name, row in good.items():
        peak = peaks.get(name.rsplit(", ", 1)[1], math.nan)
        if name.startswith("products"):
            found.append([name, "", "", "", f"{row['rate'] / 1e12:.3g}", "", "", ""])
            continue
        seconds = " / ".join(f"{1e3 * phase['seconds']:.4g}" for phase in row["phases"].values())
        memory = max((phase.get("peak_bytes", 0) for phase in row["phases"].values()), default=0)
        found.append(
            [
                name,
                str(row["batch"]),
                f"{seconds} ms",
                f"{row['batch'] / row['seconds']:.4g}",
                f"{row['rate'] / 1e12:.3g}",
                f"{row['rate'] / peak:.1%}",
                f"{memory / 2**30:.3g} GiB" if memory else "",
                f"{row['hours']:.3g}" if row["hours"] else "",
            ]
        )
    columns = ["", "batch", "step (early / late)", "images/s", "TFLOP/s", "of products of matrices", "peak memory"]
    return _table([*columns, "projected hours"], found)


def _gains_table(rows: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, row in _good(rows).items():
        cells = [
            [way, f"{1e3 * value:.4g} ms" if isinstance(value, float) else str(value), _as_ratio(row, way)]
            for way, value in row.items()
            if not way.endswith(", ratio")
        ]
        lines += _table([name, "median", "times as long"], cells)
    return lines


def _as_ratio(row: Mapping[str, Any], way: str) -> str:
    return f"{row[f'{way}, ratio']:.2f}" if f"{way}, ratio" in row else ""


def _memory_table(rows: Mapping[str, Any]) -> list[str]:
    def shown(row: Mapping[str, Any], key: str) -> str:
        return f"{row[key] / 2**20:.4g} MiB" if key in row else ""

    found = [[name, shown(row, "kept"), shown(row, "peak")] for name, row in _good(rows).items()]
    return _table(["a training step of a batch, or a reconstruction of a side", "kept for backward", "peak"], found)


_SECTIONS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], list[str]]]] = {
    "tests": ("Tests", _tests_table),
    "equality": ("CPU and GPU", _equality_table),
    "times": ("Training steps of the paper's networks", _times_table),
    "gains": ("CUDA graphs and torch.compile", _gains_table),
    "memory": ("Memory", _memory_table),
}


def _training_section(options: argparse.Namespace) -> list[str]:
    logs = sorted((options.output / "runs").glob("*/methods/iresnet/progress.csv"))
    if not logs:
        return []
    with logs[-1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    every = max(1, len(rows) // 20)
    shown = rows[::-every][::-1]
    columns = list(rows[0]) if rows else []
    return ["## Training", "", *_table(columns, [list(row.values()) for row in shown])]


if __name__ == "__main__":
    main()
