"""One run by several processes, as `torchrun` starts them: what comes out, and what is said when it goes wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from processes import Command
from safetensors.torch import load_file
from together_worker import work

import invreg
from invreg.computing import device as devices
from invreg.computing.device import choose_device
from invreg.computing.processes import processes
from invreg.running import agreement
from invreg.studies import study

WORKER = Path(__file__).with_name("together_worker.py")
NETWORKS: dict[str, dict[str, Any]] = {
    "iresnet": {"subnetworks": 2, "channels": 4, "hidden": 8, "kernel_size": 3},
    "explicit_iresnet": {"subnetworks": 4, "channels": 4, "hidden": 8, "kernel_size": 3, "lipschitz": 0.8},
    "conv_resnet": {"subnetworks": 2, "channels": 4, "hidden": 8, "kernel_size": 3},
    "diffnet": {"subnetworks": 2, "hidden": 8},
    "unet": {"channels": [4, 8], "kernel_size": 3},
}


def spec_of(networks: list[str], **trainer: Any) -> dict[str, Any]:
    given = {"name": "reconstruction", "batch_size": 4, "validations": 4, "optimizer": "adam", "lr": 1e-3, **trainer}
    return {
        "title": "Together",
        "data": {"name": "phantoms", "train": 6, "val": 5, "test": 5, "image_size": 24},
        "operator": {"name": "gaussian_blur", "kernel_size": 5, "std": 1.0},
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {
            name: {"reconstructor": {"name": name, **NETWORKS[name]}, "trainer": dict(given)} for name in networks
        },
        "evaluation": {"batch_size": 2},
    }


def start(count: int, target: str | Path, *arguments: str | Path, **different: dict[int, list[str]]) -> list[Command]:
    """The processes; `different` arguments go to single ones."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    commands = []
    for rank in range(count):
        environment = {
            **os.environ,
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"},
        }
        own = different.get("own", {}).get(rank, [])
        commands.append(Command(target, *arguments, *own, env=environment))
    return commands


def finish(commands: list[Command]) -> list[CompletedProcess[str]]:
    return [command.finish(timeout=240) for command in commands]


def written(folder: Path, spec: dict[str, Any]) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def weights_of(output: Path, label: str) -> dict[str, torch.Tensor]:
    (path,) = output.glob(f"*/methods/{label}/weights.safetensors")
    return {name: value.double() for name, value in load_file(path).items() if value.is_floating_point()}


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Relative, over all weights together."""
    difference = sum(float((first[name] - second[name]).square().sum()) for name in first)
    return float((difference / sum(float(value.square().sum()) for value in first.values())) ** 0.5)


@pytest.mark.slow
def test_two_processes_come_to_what_one_comes_to(tmp_path: Path) -> None:
    path = written(tmp_path, spec_of(list(NETWORKS), steps=20))
    commands = start(2, "invreg", "run", path, "--output", tmp_path / "two", "--device", "cpu")
    alone = invreg.run(path, tmp_path / "one", "cpu", progress=False)
    first, second = finish(commands)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert second.stdout == second.stderr == ""
    assert first.stdout.splitlines()[-1].startswith(str(tmp_path / "two"))
    assert first.stderr.count("iresnet  ready") == 2  # of iresnet and explicit_iresnet, once each
    together = invreg.load(Path(first.stdout.splitlines()[-1]), "cpu")
    assert isinstance(alone, invreg.Result)
    assert isinstance(together, invreg.Result)
    for label in NETWORKS:
        one, two = (weights_of(tmp_path / name, label) for name in ("one", "two"))
        trained = {name for name, _ in alone.methods[label].reconstructor.named_parameters()}
        if label == "unet":  # biases before a normalisation have no gradient but rounding errors
            trained -= {name for name in trained if name.endswith(".0.bias") and name[:-6] + "1.weight" in one}
            running = [name for name in one if "running" in name]
            torch.testing.assert_close([two[n] for n in running], [one[n] for n in running], rtol=1e-4, atol=1e-4)
        assert distance(*({name: found[name] for name in trained} for found in (one, two))) < 1e-5, label
        logs = [result.methods[label].log for result in (alone, together)]
        assert logs[0].summary["best_step"] == logs[1].summary["best_step"]
        for row, other in zip(logs[0].rows, logs[1].rows, strict=True):
            assert row["step"] == other["step"]
            assert other["val_psnr"] == pytest.approx(row["val_psnr"], abs=1e-3)
            assert other["loss"] == pytest.approx(row["loss"], rel=1e-4)
    assert together.metrics[["method", "image"]].equals(alone.metrics[["method", "image"]])
    pd.testing.assert_frame_equal(
        together.metrics.drop(columns="seconds"), alone.metrics.drop(columns="seconds"), rtol=1e-4
    )


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_the_run_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path, spec_of(["iresnet"], steps=60, checkpoint_minutes=0.0))
    command = ("invreg", "run", path, "--device", "cpu", "--quiet", "--output")
    whole = start(2, *command, tmp_path / "whole")
    assert [one.returncode for one in finish(whole)] == [0, 0]
    killed = start(2, *command, tmp_path / "killed")
    until = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("*/methods/iresnet/training/checkpoint.safetensors")):
        assert time.monotonic() < until
        time.sleep(0.02)
    killed[1].send_signal(signal.SIGKILL)
    left, gone = finish(killed)
    assert gone.returncode == -signal.SIGKILL
    assert left.returncode == 1
    assert left.stderr.splitlines()[0] == "error: another of the 2 processes has ended, or cannot be reached any more"
    assert "Traceback" not in left.stderr
    for _ in range(2):  # the second one only reads
        again = finish(start(2, *command, tmp_path / "killed"))
        assert [one.returncode for one in again] == [0, 0], again[0].stderr
    first, second = (weights_of(tmp_path / name, "iresnet") for name in ("whole", "killed"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_signals_end_all_after_the_same_step_and_one_process_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path, spec_of(["iresnet"], steps=60, checkpoint_minutes=60.0, validations=1))
    commands = start(2, "invreg", "run", path, "--device", "cpu", "--output", tmp_path)
    until = time.monotonic() + 120
    while "iresnet  train" not in commands[0].errors and time.monotonic() < until:
        time.sleep(0.02)
    commands[1].send_signal(signal.SIGTERM)  # to one of them only
    first, second = finish(commands)
    assert (first.returncode, second.returncode) == (143, 143), first.stderr + second.stderr
    assert "interrupted by SIGTERM; the same command goes on" in first.stderr
    assert "kept: iresnet up to step" in first.stderr
    assert second.stdout == second.stderr == ""
    (checkpoint,) = tmp_path.glob("*/methods/iresnet/training/checkpoint.safetensors")
    assert checkpoint.stat().st_size > 0
    result = invreg.run(path, tmp_path, "cpu", progress=False)
    assert isinstance(result, invreg.Result)
    assert result.methods["iresnet"].log.summary["steps"] == 60


@pytest.mark.slow
def test_runs_and_studies_that_go_well_and_badly(tmp_path: Path) -> None:
    finished = finish(start(2, WORKER, tmp_path / "two", tmp_path / "told"))
    assert [one.returncode for one in finished] == [0, 0], finished[0].stderr + finished[1].stderr
    main, other = (json.loads((tmp_path / f"told.{rank}").read_text()) for rank in range(2))
    alone = json.loads(json.dumps(work(tmp_path / "one")))
    # a trainer that does not share, analyses, and cells of studies: computed once, by the main process
    assert {name: told["calls"] for name, told in main.items()} == {n: told["calls"] for n, told in alone.items()}
    assert all(told["calls"] == [] for told in other.values())
    for name, expected in alone.items():
        for told in (main[name], other[name]):
            told.pop("calls")
        expected.pop("calls")
        if "error" in expected:
            assert main[name]["error"].splitlines()[0] == expected["error"].splitlines()[0]
            assert other[name]["error"].splitlines()[0] == expected["error"].splitlines()[0]
        else:
            assert main[name] == other[name]
        if name == "search":
            assert [row["state"] for row in expected["logs"]["net"]].count("failed") >= 1
            assert [{**row, "val_psnr": 0} for row in main[name]["logs"]["net"]] == [
                {**row, "val_psnr": 0} for row in expected["logs"]["net"]
            ]
            assert main[name]["weights"]["net.gain"] == pytest.approx(expected["weights"]["net.gain"], rel=1e-5)
        elif "error" not in expected:
            assert main[name] == expected
    assert alone["warns"]["warnings"] == ["shared: the second image"]
    assert set(alone["study"]["failures"].values()) == {"methods.gain: broken"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({}, "methods.unet.trainer.batch_size: a batch of 3 for 2 processes"),
        ({1: ["--set", "seed=7"]}, "the spec of 2 processes: seed is 0 in process 0, 7 in process 1"),
        ({1: ["--set", "nonsense=7"]}, "nonsense (process 1 of 2): unknown parameter"),
    ],
)
def test_one_message_for_all(tmp_path: Path, own: dict[int, list[str]], said: str) -> None:
    path = written(tmp_path, spec_of(["unet"], steps=2, batch_size=3))
    first, second = finish(start(2, "invreg", "run", path, "--output", tmp_path / "runs", "--device", "cpu", own=own))
    assert first.returncode > 0
    assert second.returncode > 0
    messages = [line for line in (first.stderr + second.stderr).splitlines() if line.startswith("error: ")]
    assert messages == [f"error: {said}"], first.stderr + second.stderr
    assert not list(tmp_path.glob("runs/*/methods"))


def test_differences_between_processes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(agreement, "processes", lambda: SimpleNamespace(count=2, gather=lambda work: told))
    spec, versions = {"seed": 0, "data": {"root": "a"}}, {"torch": "2"}
    told[:] = [(spec, versions, "cpu", None), (spec, versions, "cuda", ("node", "GPU-1"))]
    with pytest.raises(
        invreg.SpecError, match="process 1 computes on another kind of device than process 0: cpu, cuda"
    ):
        agreement.check_agreement(spec, torch.device("cpu"))
    told[:] = [(spec, versions, "cuda", ("node", "GPU-1")), (spec, versions, "cuda", ("node", "GPU-1"))]
    with pytest.raises(invreg.SpecError, match="processes 0 and 1 compute on the same GPU, GPU-1 of node"):
        agreement.check_agreement(spec, torch.device("cpu"))
    told[:] = [(spec, versions, "cpu", None), ({"seed": 0, "data": {}}, versions, "cpu", None)]
    with pytest.raises(invreg.SpecError, match=r"data.root is 'a' in process 0, None in process 1"):
        agreement.check_agreement(spec, torch.device("cpu"))
    told[:] = [(spec, versions, "cpu", None), (spec, {"torch": "3"}, "cpu", None)]
    with pytest.raises(invreg.SpecError, match=r"versions of 2 processes: torch is '2' in process 0, '3' in process 1"):
        agreement.check_agreement(spec, torch.device("cpu"))
    told[:] = 2 * [(spec, versions, "cpu", None)]
    agreement.check_agreement(spec, torch.device("cpu"))


def test_an_executor_and_several_processes_are_one_too_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(study, "processes", lambda: SimpleNamespace(count=2))
    spec = {**spec_of(["unet"]), "matrix": {"noise.std": [0.01, 0.02]}, "executor": "local"}
    with pytest.raises(invreg.SpecError, match="executor: an executor for 2 processes"):
        invreg.run(spec, tmp_path, "cpu", progress=False)
    assert not list(tmp_path.iterdir())


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(devices, "is_one_of_several", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    for gpus, number in ((2, 1), (1, 0)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", number)
    assert taken == [1, 1, 0, 0]
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(invreg.SpecError, match="process 2 of this machine, which has 2 GPUs"):
        choose_device("auto")


def test_a_single_process_shares_with_nobody() -> None:
    together = processes()
    assert (together.count, together.rank, together.is_main) == (1, 0, True)
    assert together.from_main(lambda: 3) == 3
    assert together.gather(lambda: 3) == [3]
    values = torch.ones(2)
    assert together.sum(values) is values
    together.failed_alike(RuntimeError("here"))
