"""What happens where a device, its arithmetic or its memory is not there."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

import invreg
from invreg.components.reconstructor import Reconstructor
from invreg.computing.device import choose_device
from invreg.computing.memory import memory_guard
from invreg.errors import OutOfMemory
from invreg.running.evaluation import reconstruct

#: 8 PiB in doubles: more than processors can address.
_TOO_MUCH = 2**50


class Hungry(Reconstructor):
    def setup(self, problem: invreg.Problem, image_shape: tuple[int, ...]) -> None:
        pass

    def forward(self, z: Tensor) -> Tensor:
        return torch.empty(_TOO_MUCH, dtype=torch.float64)


def test_a_reconstruction_without_memory_names_the_size_and_the_tiles() -> None:
    with pytest.raises(OutOfMemory, match=r"batch of 2 images of 6x7 pixels.*\n?.*") as caught:
        reconstruct(Hungry(), torch.zeros(3, 1, 6, 7), torch.device("cpu"), 2)
    assert "Hungry on cpu" in str(caught.value)
    assert "reconstruct_in_tiles" in str(caught.value)
    assert "evaluation.batch_size" in str(caught.value)


def test_memory_of_a_gpu_counts_too() -> None:
    with pytest.raises(OutOfMemory, match="out of memory"), memory_guard("here", (1, 1, 2, 2), "less"):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot"), memory_guard("here", (1, 1, 2, 2), "less"):
        raise RuntimeError("shapes cannot be multiplied")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_missing_accelerator_is_replaced_by_the_cpu_and_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="invreg"):
        assert choose_device(name) == torch.device("cpu")
    assert caplog.messages == [f"device '{name}' was asked for, and there is no cuda here: computing on the CPU"]


@pytest.mark.parametrize("name", ["cudda", "", "gpu", "cpu:x"])
def test_devices_that_no_machine_has_are_refused(name: str) -> None:
    with pytest.raises(invreg.SpecError, match="device"):
        choose_device(name)
