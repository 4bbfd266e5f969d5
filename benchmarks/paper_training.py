"""What the paper's trainings would take: steps at its sizes, and the hours of its epochs projected from them.

    python benchmarks/paper_training.py [--device cuda --bf16 --peak-tflops 989]

Networks, batch and epochs are those of table 1 of the paper, on 16,284 images of 96x96. A training of an iresnet is
half early and half late steps; weights are as training starts. Trained networks take more iterations, so a projection
with a smaller `--tolerance` of late steps is closer to what a training takes in the end. The projection is the time of
a step times their number: it leaves out validation and whatever else a training does.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from networks import crops, measured, quickstart_problem
from timing import arguments, machine, print_table, seconds_in_turns, write_json
from training_step import Step, fresh, operations, peak_bytes, step_of

import invreg
from invreg import choose_device
from invreg_iresnet.iresnet import IResNet

_IMAGES, _SIZE = 16284, 96
# Without the borders that this library adds unless told otherwise.
_PLAIN = {"padding": 0, "center": 0}


class Training(NamedTuple):
    """A network of table 1.

    Attributes:
        spec: of the reconstructor.
        epochs: in the paper.
        batch: likewise.
        paper: what it took there, in words.
    """

    spec: dict[str, Any]
    epochs: int
    batch: int
    paper: str


def _sizes(subnetworks: int, channels: int, hidden: int) -> dict[str, Any]:
    return {"subnetworks": subnetworks, "channels": channels, "hidden": hidden, **_PLAIN}


_LARGE, _SMALL = _sizes(20, 64, 128), _sizes(12, 32, 64)
TRAININGS = {
    "iresnet": Training({"name": "iresnet", **_LARGE}, 500, 32, "6 to 7 days"),
    "small iresnet": Training({"name": "iresnet", **_SMALL}, 300, 32, "1 to 2 days"),
    "explicit_iresnet": Training({"name": "explicit_iresnet", **_LARGE}, 500, 32, ""),
    "small explicit_iresnet": Training({"name": "explicit_iresnet", **_SMALL}, 300, 32, ""),
    "conv_resnet": Training({"name": "conv_resnet", **_LARGE}, 300, 16, "15 hours"),
    "unet": Training({"name": "unet", "channels": [16, 32, 64, 128, 256], **_PLAIN}, 500, 64, "2 hours"),
}


def main() -> None:
    parser = arguments(__doc__, repetitions=5)
    parser.add_argument("--networks", nargs="+", choices=list(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--batch", type=int, help="instead of the paper's, where memory does not hold that one")
    parser.add_argument("--tolerance", type=float, help="of the fixed points in late steps, instead of the default")
    parser.add_argument("--bf16", action="store_true", help="convolutions in bfloat16")
    parser.add_argument("--peak-tflops", type=float, help="of the device, in the arithmetic that is used")
    options = parser.parse_args()
    device = choose_device(options.device)
    warnings.simplefilter("ignore", invreg.ConvergenceWarning)
    found: dict[str, Any] = {"machine": machine(device), "networks": {}}
    rows = []
    for name in options.networks:
        training = TRAININGS[name]
        batch = options.batch or training.batch
        x = crops(batch, _SIZE, 1, device)
        problem = quickstart_problem(device)
        z = measured(problem, x)
        net = fresh(training.spec, problem, tuple(x.shape[1:]), device)
        phases = {}
        for phase, ready in phases_of(net, options.tolerance):
            step = step_of(ready, z, x, bf16=options.bf16)
            phases[phase] = measure(step, options.repetitions, device)
        seconds = statistics.mean(phase["seconds"] for phase in phases.values())
        count = statistics.mean(phase["operations"] for phase in phases.values())
        entry: dict[str, Any] = {"batch": batch, "phases": phases, "images_per_second": batch / seconds}
        entry["flops_per_second"] = count / seconds
        entry["hours"] = training.epochs * _IMAGES * seconds / batch / 3600
        found["networks"][name] = entry
        share = [f"{entry['flops_per_second'] / options.peak_tflops / 1e12:.1%}"] if options.peak_tflops else []
        peaks = [phase["peak_bytes"] for phase in phases.values() if "peak_bytes" in phase]
        peak = [f"{max(peaks) / 2**30:.3g} GiB"] if peaks else []
        rows.append(
            [
                name,
                str(batch),
                " / ".join(f"{1e3 * phase['seconds']:.4g}" for phase in phases.values()) + " ms",
                f"{entry['images_per_second']:.3g}",
                f"{entry['flops_per_second'] / 1e12:.3g} TFLOP/s",
                *share,
                *peak,
                f"{entry['hours']:.3g}",
                f"{training.epochs}",
                training.paper,
            ]
        )
        del net, step
    print_table(
        [
            "network",
            "batch",
            "step (early / late)",
            "images/s",
            "rate",
            *(["of the peak"] if options.peak_tflops else []),
            *(["peak memory"] if device.type == "cuda" else []),
            "projected hours",
            "for epochs",
            "in the paper",
        ],
        rows,
    )
    write_json(found, options)


def phases_of(net: invreg.Reconstructor, tolerance: float | None) -> Iterator[tuple[str, invreg.Reconstructor]]:
    """The network as it is trained, early and late where these differ."""
    if not isinstance(net, IResNet):
        yield "all", net
        return
    net.train().training_progress(0.2)
    yield "early", net
    if tolerance:
        net.training_tolerance = tolerance
    net.training_progress(0.9)
    yield "late", net


def measure(step: Step, repetitions: int, device: torch.device) -> dict[str, float]:
    """Counted operations, and the median of what a step takes."""
    entry = {"operations": float(operations(step))}  # this warms it up, too
    entry["seconds"] = statistics.median(seconds_in_turns({"step": step}, repetitions, device)["step"])
    if device.type == "cuda":
        entry["peak_bytes"] = float(peak_bytes(step, device))
    return entry


if __name__ == "__main__":
    main()
