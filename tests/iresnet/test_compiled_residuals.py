"""Compiled residual functions against those of torch."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from invreg_iresnet.network import compiled as module
from invreg_iresnet.network.compiled import CompiledSubnetwork, compiled
from invreg_iresnet.network.subnetwork import Subnetwork

pytestmark = [
    pytest.mark.slow,  # it compiles, for some seconds
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]


def pair(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, *, bias: bool = True
) -> tuple[Subnetwork, CompiledSubnetwork]:
    monkeypatch.setattr(module, "_PIXELS", 1)
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=dtype)

    kernel = (normal(16, 8, 5, 5) / 15).contiguous(memory_format=torch.channels_last)
    one = Subnetwork(kernel, normal(16) * bias, normal(8, 16, 1, 1) / 5, normal(8) * bias, 0.3)
    fast = compiled(one, states(1, 4, 4, dtype))
    assert fast is not None
    return one, fast


def states(count: int, height: int, width: int, dtype: torch.dtype, channels: int = 8) -> Tensor:
    draw = torch.Generator().manual_seed(height * width)
    found = torch.randn(count, channels, height, width, generator=draw, dtype=dtype)
    return found.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 2e-5), (torch.float64, 1e-13)])
def test_they_are_those_of_torch(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, close: float) -> None:
    one, fast = pair(monkeypatch, dtype)
    for count, height, width in ((1, 1, 1), (2, 3, 7), (2, 50, 25), (1, 2, 97), (0, 4, 4)):
        x, base, w = (states(count, height, width, dtype).roll(shift, -1) for shift in range(3))
        ahead = torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=dtype)
        hidden = one.hidden(x)
        value = base + one.output(hidden)
        room = fast.room(x)
        step = fast.evaluate(x, base, room, ahead)
        assert step.norms is not None
        norms = [torch.linalg.vector_norm(part.double(), dim=(1, 2, 3)) for part in (value - x, value)]
        further = value + torch.einsum("bihw,io->bohw", value - x, ahead)
        u = one.hidden_adjoint(w, hidden)
        pulled = fast.adjoint(w, hidden, base, ahead)
        assert pulled.further is not None
        answer = base + one.adjoint(u)
        pairs = [
            (step.value, value),
            (room, hidden),
            (step.further, further),
            (step.norms, torch.stack(norms)),
            (pulled.value, answer),
            (pulled.further, answer + torch.einsum("bihw,io->bohw", answer - w, ahead)),
        ]
        taps = torch.randn(8, 5, 5, generator=torch.Generator().manual_seed(2), dtype=dtype) / 5
        beside = torch.nn.functional.conv2d(value - x, taps[:, None], padding=2, groups=8)
        pairs.append((fast.answer(x, value, ahead, taps), further + beside))
        pairs += zip(fast.gradients(x, hidden, w), one.weight_gradients(x, hidden, w, u), strict=True)
        for found, expected in pairs:
            scale = float(expected.abs().max()) if expected.numel() else 1.0
            torch.testing.assert_close(found, expected.to(found.dtype), rtol=0, atol=close * max(scale, 1))


def test_results_depend_neither_on_the_batch_nor_on_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    _, fast = pair(monkeypatch, torch.float32)
    x = states(3, 40, 25, torch.float32)
    hidden = fast.room(x)
    whole = fast.evaluate(x, x, hidden)
    gradients = fast.gradients(x, hidden, x)
    assert torch.equal(fast.evaluate(x[1:2], x[1:2]).value, whole.value[1:2])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again = fast.evaluate(x, x)
        assert again.norms is not None
        assert whole.norms is not None
        assert torch.equal(again.value, whole.value)
        assert torch.equal(again.norms, whole.norms)
        assert all(map(torch.equal, fast.gradients(x, hidden, x), gradients))
    finally:
        torch.set_num_threads(threads)


def test_what_is_not_finite_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _, fast = pair(monkeypatch, torch.float32)
    x = states(2, 9, 9, torch.float32)
    x[1, 3, 4, 4] = torch.nan
    norms = fast.evaluate(x, x).norms
    assert norms is not None
    assert norms[:, 0].isfinite().all()
    assert norms[:, 1].isnan().all()


def test_small_images_other_sizes_and_other_precisions_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = pair(monkeypatch, torch.float32)
    assert compiled(one, states(1, 9, 9, torch.float64)) is None
    assert compiled(one._replace(kernel=one.kernel[:, :6]), states(1, 9, 9, torch.float32, channels=6)) is None
    monkeypatch.setattr(module, "_PIXELS", 100)
    assert compiled(one, states(50, 9, 9, torch.float32)) is None
