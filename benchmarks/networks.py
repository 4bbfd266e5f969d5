"""Images, problem and networks of the timings: those of a finished run, or fresh ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import invreg
from invreg_iresnet.iresnet import IResNet

_BLUR = {"name": "gaussian_blur", "kernel_size": 11, "std": 1.6667, "boundary": "symmetric"}
_NOISE = {"name": "gaussian", "std": 0.01}


class Subject(NamedTuple):
    """An iresnet, with what it is for.

    Attributes:
        net: on the device.
        problem: likewise.
        channels: of images.
        words: sizes and origin of the weights.
    """

    net: IResNet
    problem: invreg.Problem
    channels: int
    words: str


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """The sizes of a fresh network, or a finished run instead."""
    parser.add_argument("--run", type=Path, help="folder of a finished run with an iresnet; sizes are its sizes then")
    parser.add_argument("--subnetworks", type=int, default=12)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--kernel-size", type=int, default=5)
    parser.add_argument("--lipschitz", type=float, default=0.999)


def quickstart_problem(device: torch.device) -> invreg.Problem:
    """The blur and the noise of the quickstart."""
    registry = invreg.Registry.installed()
    return invreg.Problem(registry.build("operator", _BLUR), registry.build("noise", _NOISE)).to(device)


def subject(options: argparse.Namespace, device: torch.device) -> Subject:
    """The first iresnet of the run, or one as it starts."""
    if options.run:
        result = invreg.load(options.run, str(device))
        nets = {label: m.reconstructor for label, m in result.methods.items() if isinstance(m.reconstructor, IResNet)}
        if not nets:
            raise SystemExit(f"no iresnet in {options.run}: its methods are {', '.join(result.methods)}")
        label, net = next(iter(nets.items()))
        return Subject(net, result.problem, net.lifting.image_channels, f"{sizes(net)}, `{label}` of a finished run")
    problem = quickstart_problem(device)
    torch.manual_seed(0)
    net = IResNet(
        subnetworks=options.subnetworks,
        channels=options.channels,
        hidden=options.hidden,
        kernel_size=options.kernel_size,
        lipschitz=options.lipschitz,
    )
    net.setup(problem, (1, options.size, options.size))
    return Subject(net.to(device), problem, 1, f"{sizes(net)}, weights as training starts from")


def sizes(net: IResNet) -> str:
    """Its sizes, in words."""
    numbers = f"{net.subnetworks}/{net.channels}/{net.hidden}"
    return f"{numbers} (subnetworks/channels/hidden), k = {net.kernel_size}, L = {net.lipschitz:g}"


def crops(count: int, size: int, channels: int, device: torch.device) -> Tensor:
    """Crops of photographs, `[count, channels, size, size]`."""
    from invreg_datasets.photos import Photos

    color = "grey" if channels == 1 else "rgb"
    photos = Photos(image_size=size, train_size=size, downsample=2 if size <= 150 else 1, color=color)
    return photos.splits().train.batch(0, 0, count).to(device)


def measured(problem: invreg.Problem, x: Tensor) -> Tensor:
    """Their measurements."""
    return problem.measure(x, seed=0)
