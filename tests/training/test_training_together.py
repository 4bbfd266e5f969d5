from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from processes import Command
from training_helpers import ThreeConvs, make_context, make_method, make_splits
from training_worker import train

from invreg.components.operator import LinearOperator, NormalOperator, Shape
from invreg.components.problem import Problem
from invreg.errors import SpecError, TrainingError
from invreg.testing.toys import ToyNet, ToyNoise
from invreg_training.gradient import trainer
from invreg_training.gradient.approximation import ApproximationTraining
from invreg_training.gradient.trainer import ReconstructionTraining
from invreg_training.processes import DataParallel

WORKER = Path(__file__).with_name("training_worker.py")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    port, kinds = str(free_port()), "reconstruction,approximation"
    commands = []
    for rank in range(2):
        environment = {
            **os.environ,
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"},
        }
        commands.append(Command(WORKER, kinds, tmp_path / "run", tmp_path / f"{rank}.pt", "0", env=environment))
    assert [command.finish(timeout=90).returncode for command in commands] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["processes"] == second["processes"] == 2
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    # without noise, the two halves of each batch make the batch of a single process
    alone = {
        f"{kind}.{name}": value
        for kind in kinds.split(",")
        for name, value in train(kind, tmp_path / "alone", 0.0, True).state_dict().items()
    }
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-4)


def test_each_process_has_an_equal_part_of_a_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parallel = DataParallel(torch.device("cpu"))
    assert parallel.share(6) == slice(0, 6)
    parallel.count, parallel.rank = 3, 1
    assert parallel.share(6) == slice(2, 4)
    context = make_context(tmp_path)
    method = make_method(ThreeConvs, context)
    monkeypatch.setattr(trainer, "processes", lambda: SimpleNamespace(count=3))
    with pytest.raises(SpecError, match=r"batch_size: a batch of 8 for 3 processes\n.*multiple of 3[^\n]*\n.*6 or 9"):
        ReconstructionTraining(batch_size=8).check(method, method.build())


def test_a_contradicting_setup_of_accelerate_is_refused() -> None:
    processes = DataParallel(torch.device("cpu"))
    setup = {"mixed_precision": "bf16", "distributed_type": "DistributedType.NO", "device": torch.device("cpu")}
    processes._accelerator = SimpleNamespace(**setup)
    with pytest.raises(TrainingError, match="`precision` is a parameter of the trainer"):
        processes._check(torch.device("cpu"))
    processes._accelerator = SimpleNamespace(**{**setup, "mixed_precision": "no"})
    processes.count = 2
    with pytest.raises(TrainingError, match="computes on cuda:1, accelerate on cpu"):
        processes._check(torch.device("cuda:1"))


@pytest.mark.slow
def test_approximation_finds_the_forward_operator(tmp_path: Path) -> None:
    class Affine(LinearOperator):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0.5 * x + 0.2

    context = make_context(tmp_path, operator=Affine(), noise=ToyNoise(0.01))
    method = make_method(ToyNet, context, start=1.0)
    trained = ApproximationTraining(steps=300, batch_size=8, lr=0.02).fit(method, context)
    assert float(trained.reconstructor.a.detach()) == pytest.approx(0.5, abs=0.01)
    assert float(trained.reconstructor.b.detach()) == pytest.approx(0.2, abs=0.01)
    assert trained.log.rows[-1]["loss"] == pytest.approx(1e-4, rel=0.2)  # the variance of the noise
    assert trained.log.summary["best_val_psnr"] > 30


def test_approximation_brings_measurements_to_the_images(tmp_path: Path) -> None:
    class Tripling(LinearOperator):
        """Each image three times: another space, norm sqrt(3)."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.repeat(1, 3, 1, 1)

        def range_shape(self, domain_shape: Shape) -> Shape:
            return (3 * domain_shape[0], *domain_shape[1:])

        def domain_shape(self, range_shape: Shape) -> Shape:
            return (range_shape[0] // 3, *range_shape[1:])

    class Normal(ToyNet):
        def setup(self, problem: Problem, image_shape: Shape) -> None:
            super().setup(problem, image_shape)
            self.normal = NormalOperator(problem.operator, image_shape)

        @property
        def target_operator(self) -> NormalOperator:
            return self.normal

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return super().forward(self.normal.pull_back(z))

    context = make_context(tmp_path, operator=Tripling(), splits=make_splits())
    trained = ApproximationTraining(steps=20, batch_size=4).fit(make_method(Normal, context, start=1.0), context)
    assert trained.log.rows[-1]["loss"] < 1e-4  # A*A / ||A||² is the identity here, as phi is from the start


def test_approximation_needs_a_forward_map(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    method = make_method(ThreeConvs, context)
    with pytest.raises(SpecError, match="no forward map"):
        ApproximationTraining().check(method, method.build())
