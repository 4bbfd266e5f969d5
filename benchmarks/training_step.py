"""One training step of an iresnet against other ways to compute it, and against other networks.

    python benchmarks/training_step.py [--run runs/NAME]

A step is forward, loss, backward, clipping and the optimizer's step, at rate 0: everything is computed, and weights
stay where they are, so every turn measures the same. Contestants take turns; ratios are medians over the turns.

Fixed points take longer for trained networks. With `--run`, weights are those of a finished run; as training starts,
networks are easier to invert for everybody. Where the package torchdeq is installed, its solver and its implicit
gradient are measured on the same network.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import warnings
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import torch
from networks import Subject, add_sizes, crops, measured, subject
from textbook import Inverse, Textbook, implicit, invert, layers_of, torchdeq_inverse, unrolled
from timing import arguments, machine, print_table, ratio, seconds_in_turns, write_json
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import invreg
from invreg import Reconstructor, choose_device
from invreg_iresnet.iresnet import IResNet
from invreg_training.gradient.objectives import ReconstructionLoss
from invreg_training.gradient.optimizers import OptimizerName, Optimizers

_REFERENCE = "conv_resnet"
_EARLY, _LATE = 0.2, 0.9
_TEXTBOOK_TOLERANCE = 1e-5
_TRUE_TOLERANCE = 1e-7
_CLIP = 0.1
_LESSONS = 16

Step = Callable[[], object]


def main() -> None:
    parser = arguments(__doc__, repetitions=5)
    add_sizes(parser)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--unet", type=int, nargs="+", default=[16, 32, 64], help="channels of its scales")
    parser.add_argument("--tighter", type=float, nargs="+", default=[], help="further training tolerances, late")
    parser.add_argument("--bf16", action="store_true", help="the library's networks in bfloat16 as well")
    parser.add_argument("--skip", nargs="+", default=[], help="leave out contestants whose name contains one of these")
    parser.add_argument("--without", nargs="+", default=[], choices=["gradients", "memory"], help="leave this out")
    options = parser.parse_args()
    device = choose_device(options.device)
    warnings.simplefilter("ignore", invreg.ConvergenceWarning)
    subjects = subject(options, device)
    x = crops(options.batch, options.size, subjects.channels, device)
    z = measured(subjects.problem, x)
    found: dict[str, Any] = {"machine": machine(device), "network": subjects.words}
    print(f"{subjects.words}; batch {options.batch}, {options.size}x{options.size}, {options.repetitions} turns\n")
    found["steps"] = compare_steps(subjects, z, x, options, device)
    if "gradients" not in options.without:
        found["gradients"] = compare_gradients(subjects.net, z, x, options.tighter)
    if "memory" not in options.without:
        found["memory"] = compare_memory(subjects.net, z)
    write_json(found, options)


# -- time


def compare_steps(
    subjects: Subject, z: Tensor, x: Tensor, options: argparse.Namespace, device: torch.device
) -> dict[str, dict[str, Any]]:
    steps = contestants(subjects, z, x, options)
    # What one evaluation of all residual functions costs: 2 operations per weight of a kernel, pixel and image.
    kernel, mixing = subjects.net.residuals.kernels, subjects.net.residuals.mixings
    pixels = (options.size + 2 * subjects.net.padding) ** 2
    unit = 2 * (kernel.numel() + mixing.numel()) * pixels * options.batch
    if options.run is None:
        # The first batches teach where iterations start, and take longer; later, one of sixteen does.
        for name, step in steps.items():
            for _ in range(_LESSONS if name.startswith("iresnet") else 0):
                step()
    counted = {name: operations(step) / unit for name, step in steps.items()}  # this warms all of them up, too
    taken = seconds_in_turns(steps, options.repetitions, device)
    text, other = taken.get("textbook"), taken.get(_REFERENCE)
    found, rows = {}, []
    for name, step in steps.items():
        seconds = statistics.median(taken[name])
        entry: dict[str, Any] = {"seconds": seconds, "all_seconds": taken[name], "units": counted[name]}
        entry["to_textbook"] = ratio(taken[name], text) if text else None
        entry[f"to_{_REFERENCE}"] = ratio(taken[name], other) if other else None
        if device.type == "cuda":
            entry["peak_bytes"] = peak_bytes(step, device)
        found[name] = entry
        ratios = [f"{value:.2f}" if value else "" for value in (entry["to_textbook"], entry[f"to_{_REFERENCE}"])]
        peak = [f"{entry['peak_bytes'] / 2**20:.0f} MiB"] if "peak_bytes" in entry else []
        rows.append([name, f"{1e3 * seconds:.4g} ms", *ratios, f"{entry['units']:.1f}", *peak])
    print_table(
        [
            "one training step",
            "median",
            "ratio to the textbook",
            f"ratio to {_REFERENCE}",
            "operations, in evaluations of all residual functions",
            *(["peak memory"] if device.type == "cuda" else []),
        ],
        rows,
    )
    return found


def contestants(subjects: Subject, z: Tensor, x: Tensor, options: argparse.Namespace) -> dict[str, Step]:
    """The steps by name; every contestant has its own copy of everything."""
    net, shape = subjects.net, tuple(x.shape[1:])
    tolerances = net.training_tolerance, 10 * net.training_tolerance
    sizes = {"subnetworks": net.subnetworks, "channels": net.channels, "hidden": net.hidden}
    same = sizes | {"kernel_size": net.kernel_size}
    # Below the bound that residual functions of at most 0.95 can have.
    lipschitz = min(net.lipschitz, 1 - 1.95**-net.subnetworks)
    others = {
        "explicit_iresnet": {"name": "explicit_iresnet", **same, "lipschitz": lipschitz},
        _REFERENCE: {"name": "conv_resnet", **same},
        "unet": {"name": "unet", "channels": options.unet},
    }
    made: dict[str, Callable[[], Step]] = {}
    for suffix, bf16 in (("", False), (", bf16", True))[: 2 if options.bf16 else 1]:
        for name, ours in phases(net, options.tighter).items():
            made[name + suffix] = lambda ours=ours, bf16=bf16: step_of(ours(), z, x, bf16=bf16)
        for name, spec in others.items():
            made[name + suffix] = lambda spec=spec, bf16=bf16: step_of(
                fresh(spec, subjects.problem, shape, z.device), z, x, bf16=bf16
            )
    made["textbook"] = lambda: textbook_step(net, implicit(_TEXTBOOK_TOLERANCE), z, x)
    made["textbook, our tolerances"] = lambda: textbook_step(net, implicit(*tolerances), z, x)
    solver = torchdeq_inverse(_TEXTBOOK_TOLERANCE), torchdeq_inverse(*tolerances)
    if solver[0] is None:
        print("torchdeq is not installed: left out\n")
    else:
        made["torchdeq"] = lambda: textbook_step(net, solver[0], z, x)
        made["torchdeq, our tolerances"] = lambda: textbook_step(net, solver[1], z, x)
    chosen = [name for name in made if not any(part in name for part in options.skip)]
    return {name: made[name]() for name in chosen}


def phases(net: IResNet, tighter: Sequence[float]) -> dict[str, Callable[[], IResNet]]:
    """Copies of the network by name: early, late, and late with other tolerances."""

    def copied(progress: float, tolerance: float) -> IResNet:
        ours = copy.deepcopy(net).train().requires_grad_(True)
        ours.training_tolerance = tolerance
        ours.training_progress(progress)
        return ours

    late = {f"iresnet, late, to {one:g}": lambda one=one: copied(_LATE, one) for one in tighter}
    return {
        "iresnet, early": lambda: copied(_EARLY, net.training_tolerance),
        "iresnet, late": lambda: copied(_LATE, net.training_tolerance),
        **late,
    }


def fresh(spec: dict[str, Any], problem: invreg.Problem, shape: tuple[int, ...], device: torch.device) -> Reconstructor:
    torch.manual_seed(0)
    net: Reconstructor = invreg.Registry.installed().build("reconstructor", spec)
    net.setup(problem, shape)
    return net.to(device)


def step_of(net: Reconstructor, z: Tensor, x: Tensor, *, bf16: bool) -> Step:
    """A step as the library's trainers make it, with Muon."""
    loss = ReconstructionLoss(net.train().requires_grad_(True))
    return _step(net, "muon", lambda: loss(z, x), bf16=bf16)


def textbook_step(net: IResNet, inverse: Inverse, z: Tensor, x: Tensor) -> Step:
    """A step with Adam."""
    book = Textbook(net, inverse).to(z.device).train()
    return _step(book, "adam", lambda: (book(z) - x).square().mean(), bf16=False)


def _step(net: nn.Module, optimizer: OptimizerName, loss: Callable[[], Tensor], *, bf16: bool) -> Step:
    optimizers = Optimizers(net, optimizer, lr=1e-3, muon_lr=0.02, betas=(0.9, 0.99), weight_decay=0.0)
    device = next(net.parameters()).device.type

    def step() -> None:
        optimizers.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(optimizers.parameters, _CLIP)
        optimizers.step(0.0)

    return step


def operations(step: Step) -> int:
    """Floating-point operations of a step, by the shapes of its convolutions and products: computed by torch."""
    with (
        patch("invreg_iresnet.network.compiled._library", return_value=None),
        FlopCounterMode(display=False) as counter,
    ):
        step()
    return int(counter.get_total_flops())


def peak_bytes(step: Step, device: torch.device) -> int:
    """The largest number of bytes in use during a step, weights included."""
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device)


# -- gradients


def compare_gradients(net: IResNet, z: Tensor, x: Tensor, tighter: Sequence[float]) -> dict[str, dict[str, float]]:
    """Cosines with the implicit gradient in float64, by the textbook's solver, through the same norms."""
    true = copy.deepcopy(net).double().train().requires_grad_(True)
    state = true.lift(z.double())
    found = invert(state, layers_of(true.residuals.weights()), implicit(_TRUE_TOLERANCE))
    (true.unlift(found) - x.double()).square().mean().backward()
    reference = gradient(true)
    values, rows = {}, []
    for bf16 in (False, True):
        for name, copied in phases(net, tighter).items():
            ours = copied()
            with torch.autocast(z.device.type, dtype=torch.bfloat16, enabled=bf16):
                value = ReconstructionLoss(ours)(z, x)
            value.backward()
            cosines = {
                part: float(torch.cosine_similarity(mine, reference[part], 0)) for part, mine in gradient(ours).items()
            }
            full = name + (", bf16" if bf16 else "")
            values[full] = cosines
            rows.append([full, *(f"{cosine:.5f}" for cosine in cosines.values())])
    print()
    print_table(["cosine with the true gradient", *reference], rows)
    return values


def gradient(net: IResNet) -> dict[str, Tensor]:
    """The gradient in float64, in three parts."""
    stack = net.residuals
    parts = {
        "kernels": [stack.kernels, stack.mixings],
        "biases, thresholds": [stack.hidden_biases, stack.output_biases, stack.log_thresholds],
    }
    flat = {name: torch.cat([one.grad.double().flatten() for one in part]) for name, part in parts.items()}
    return flat | {"all": torch.cat([*flat.values()])}


# -- memory


def compare_memory(net: IResNet, z: Tensor) -> dict[str, dict[int, int]]:
    """Bytes that are kept for the backward pass, over the number of iterations; no tolerance is ever met."""
    ours = copy.deepcopy(net).train().requires_grad_(True)
    ours.training_progress(_LATE)
    ours.training_tolerance = 1e-30
    counts, found = (1, 2, 4, 8), {}

    def kept(iterations: int) -> dict[str, int]:
        ours.max_iterations = iterations
        book = Textbook(net, unrolled(iterations)).to(z.device).train()
        solved = Textbook(net, implicit(0.0, most=iterations)).to(z.device).train()
        return {
            "iresnet": saved_bytes(lambda: ours(z)),
            "textbook": saved_bytes(lambda: solved(z)),
            "differentiated step by step": saved_bytes(lambda: book(z)),
        }

    for count in counts:
        for name, size in kept(count).items():
            found.setdefault(name, {})[count] = size
    rows = [[name, *(f"{sizes[count] / 2**20:.1f} MiB" for count in counts)] for name, sizes in found.items()]
    print()
    print_table(["kept for the backward pass", *(f"{count} iterations" for count in counts)], rows)
    return found


def saved_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes of all storages that a forward pass saves; each storage counts once."""
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # held, so that no other tensor gets its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = None
        # What is kept is kept before anybody asks whether the tolerance was met.
        with contextlib.suppress(invreg.ConvergenceError):
            result = forward()
    del result
    return sum(storage.nbytes() for storage in kept.values())


if __name__ == "__main__":
    main()
