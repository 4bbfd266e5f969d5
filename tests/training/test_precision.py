"""bfloat16 where there is none."""

from __future__ import annotations

import logging

import pytest
import torch

from invreg_training.gradient.precision import usable_precision


def test_what_the_device_has_is_used(caplog: pytest.LogCaptureFixture) -> None:
    assert usable_precision("bf16", torch.device("cpu")) == "bf16"
    assert usable_precision("float32", torch.device("cpu")) == "float32"
    assert not caplog.records


def test_what_the_device_imitates_is_replaced_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Device:
        def __init__(self, _: object) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "an old GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    with caplog.at_level(logging.WARNING, logger="invreg"):
        assert usable_precision("bf16", torch.device("cuda")) == "float32"
    assert caplog.messages == ["an old GPU does not compute in bf16: training in float32"]
