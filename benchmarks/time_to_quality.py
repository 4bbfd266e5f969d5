"""How much CPU time a textbook training of an iresnet takes, and the library to reach the same quality.

    OMP_NUM_THREADS=2 python benchmarks/time_to_quality.py

Both train the network of the quickstart (8/8/16) for its blur and noise, on the same crops of photographs with the same
noise. The textbook: Adam with a cosine, float32, fixed points and implicit gradients to 1e-5, norms by power iteration.
Ours: the trainer `reconstruction` with its defaults. By default the textbook is given the library's start, centring and
padding; with `--plain` it has none of them.

Quality is the PSNR on the validation crops, inverted to 1e-5. Time is the CPU time of the whole process, validation not
counted. The time at which ours has passed the textbook's last value is that of the first validation of any of our
trainings that is at least as good.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from networks import quickstart_problem
from textbook import Textbook, implicit
from timing import machine, print_table, write_json
from torch import Tensor, nn

import invreg
from invreg import Events, Metric, Reconstructor, choose_device, generator, stream_key
from invreg_iresnet.iresnet import IResNet
from invreg_iresnet.network.lifting import Lifting
from invreg_training.gradient.optimizers import Optimizers
from invreg_training.gradient.schedule import rate_factor

_TOLERANCE = 1e-5
_FINAL_RATE = 0.02
# How the textbook's weights start with `--plain`: as layers of torch do, the last ones smaller.
_MIXING_SCALE = 0.3

#: CPU seconds and PSNR.
Curve = list[tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cpu-seconds", type=float, default=170, help="of each textbook training")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[150, 700], help="of our trainings, one for each number"
    )
    parser.add_argument("--validations", type=int, default=20, help="of each training")
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"], help="of our trainings")
    parser.add_argument("--lr", type=float, default=1e-3, help="of the textbook")
    parser.add_argument("--plain", action="store_true", help="the textbook without our start, centring and padding")
    parser.add_argument("--crop", type=int, default=48, help="side of the training crops")
    parser.add_argument("--size", type=int, default=96, help="side of the validation crops")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    found: dict[str, Any] = {"machine": machine(device), "seeds": {}}
    rows = []
    for seed in options.seeds:
        entry = of_seed(seed, options, device)
        found["seeds"][seed] = entry
        rows.append(_row(seed, entry))
    columns = ["seed", "textbook", "ours", "ours has passed the textbook after", "CPU time of the textbook over ours"]
    print_table(columns, rows)
    count = found["seeds"][options.seeds[0]]["validation_crops"]
    print(
        f"\nPSNR on {count} validation crops of {options.size}x{options.size}; precision of ours: {options.precision}."
    )
    write_json(found, options)


def of_seed(seed: int, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    setting = Setting(seed, options, device)
    book = setting.train_textbook()
    ours = {steps: setting.train_ours(steps) for steps in options.steps}
    goal = book[-1][1]
    passed = [seconds for curve in ours.values() for seconds, psnr in curve if psnr >= goal]
    return {
        "validation_crops": len(setting.images.val),
        "textbook": book,
        "textbook_steps": setting.textbook_steps,
        "ours": ours,
        "passed": min(passed, default=None),
        "ratio": book[-1][0] / min(passed) if passed else None,
    }


class Setting:
    """What both trainings of a seed share.

    Args:
        seed: of weights, crops and noise.
        options: the arguments.
        device: where.
    """

    def __init__(self, seed: int, options: argparse.Namespace, device: torch.device) -> None:
        self.seed, self.options, self.device = seed, options, device
        self.registry = invreg.Registry.installed()
        self.problem = quickstart_problem(device)
        photos = {"name": "photos", "image_size": options.size, "train_size": options.crop}
        splits = self.registry.build("dataset", photos).splits()
        self.images = invreg.Splits(splits.train.to(device), splits.val, splits.test)
        self.measurements = self.problem.measure(splits.val.images.to(device), seed=seed)
        self.metric: Metric = self.registry.build("metric", "psnr")
        self.textbook_steps = 0

    def network(self) -> IResNet:
        torch.manual_seed(self.seed)
        net = IResNet(subnetworks=8, channels=8, hidden=16)
        net.setup(self.problem, self.images.val.image_shape)
        return net.to(self.device)

    def psnr(self, reconstructor: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            found = reconstructor(self.measurements)
        return float(self.metric(found, self.images.val.images.to(self.device)).mean())

    def train_textbook(self) -> Curve:
        """A bare loop for so many CPU seconds."""
        options = self.options
        net = self.network()
        inverse = implicit(_TOLERANCE)
        book = Textbook(net, inverse, _plain_start(net) if options.plain else None).to(self.device).train()
        optimizers = Optimizers(book, "adam", lr=options.lr, muon_lr=options.lr, betas=(0.9, 0.999), weight_decay=0.0)
        curve: Curve = []
        spent, step = 0.0, 0
        while spent < options.cpu_seconds:
            start = time.process_time()
            x = self.images.train.batch(self.seed, step, 8)
            noise = generator(stream_key(self.seed, "training noise", step, 0), self.device)
            z = self.problem.measure(x, generator=noise)
            optimizers.zero_grad()
            (book(z) - x).square().mean().backward()
            optimizers.step(rate_factor(spent / options.cpu_seconds, 0.0, _FINAL_RATE))
            before, step = spent, step + 1
            spent += time.process_time() - start
            marks = [
                int(min(one, options.cpu_seconds) / options.cpu_seconds * options.validations)
                for one in (before, spent)
            ]
            if marks[1] > marks[0]:
                curve.append((spent, self.psnr(_settled(book))))
        self.textbook_steps = step
        return curve

    def train_ours(self, steps: int) -> Curve:
        """The library's trainer, whose validations are listened to."""
        clock = _Clock()
        settings = {"steps": steps, "batch_size": 8, "validations": self.options.validations}
        spec = {"name": "reconstruction", **settings, "precision": self.options.precision}
        trainer: invreg.Trainer = self.registry.build("trainer", spec)

        def build() -> Reconstructor:
            net = self.network()
            clock.watch(net)
            return net

        parameters = {"subnetworks": 8, "channels": 8, "hidden": 16}
        method = invreg.Method("iresnet", parameters, self.registry.parameters("reconstructor", "iresnet"), build)
        with tempfile.TemporaryDirectory() as folder:
            context = invreg.TrainingContext(
                problem=self.problem,
                image_shape=self.images.val.image_shape,
                images=self.images,
                val_measurements=self.measurements,
                device=self.device,
                seed=self.seed,
                folder=Path(folder),
                events=Events(listeners=[clock]),
                metrics={"psnr": self.metric},
            )
            trainer.fit(method, context)
        return clock.curve


class _Clock:
    """Listens to a training: its CPU time and quality at each validation, without the time of validations."""

    def __init__(self) -> None:
        self.curve: Curve = []
        self._start = self._entered = time.process_time()
        self._validating = 0.0

    def watch(self, net: nn.Module) -> None:
        """Starts the clock, which stands still while the network is evaluated."""
        net.register_forward_pre_hook(self._enter)
        net.register_forward_hook(self._leave)
        self._start = time.process_time()

    @invreg.hookimpl
    def invreg_epoch_finished(self, values: Mapping[str, Any]) -> None:
        self.curve.append((time.process_time() - self._start - self._validating, values["val_psnr"]))

    def _enter(self, net: nn.Module, _: object) -> None:
        self._entered = time.process_time()

    def _leave(self, net: nn.Module, *_: object) -> None:
        if not net.training:
            self._validating += time.process_time() - self._entered


def _settled(book: Textbook) -> Textbook:
    """A copy for evaluation, whose norms are iterated until they are right."""
    settled = copy.deepcopy(book).eval()
    settled.iterate_norms(100)
    return settled


def _plain_start(net: IResNet) -> Lifting:
    """Gives the network weights as layers of torch have them; the lifting without centring and padding."""
    stack = net.residuals
    with torch.no_grad():
        for kernel, mixing in zip(stack.kernels, stack.mixings, strict=True):
            nn.init.kaiming_uniform_(kernel, a=5**0.5)
            nn.init.kaiming_uniform_(mixing, a=5**0.5)
            mixing.mul_(_MIXING_SCALE)
    return Lifting(net.lifting.image_channels, net.lifting.copies, 0, 0.0)


def _row(seed: int, entry: Mapping[str, Any]) -> list[str]:
    seconds, psnr = entry["textbook"][-1]
    ours = "; ".join(
        f"{curve[-1][1]:.2f} dB in {curve[-1][0]:.1f} s ({steps} steps)" for steps, curve in entry["ours"].items()
    )
    book = f"{psnr:.2f} dB in {seconds:.1f} s ({entry['textbook_steps']} steps)"
    if entry["passed"] is None:
        return [str(seed), book, ours, "not", ""]
    return [str(seed), book, ours, f"{entry['passed']:.1f} s", f"{entry['ratio']:.1f}"]


if __name__ == "__main__":
    main()
