"""The compiled step against that of torch, and what happens where it cannot be compiled."""

import shutil
import warnings

import pytest
import torch
from tv_helpers import noise, shapes

from invreg.computing.compiled import compiled_library
from invreg.errors import InvregWarning
from invreg_tv import solution, updates
from invreg_tv.compiled import compiled_gap, compiled_step
from invreg_tv.differences import gradient
from invreg_tv.linear import Identity, primal_dual
from invreg_tv.solution import primal_dual_gap
from invreg_tv.updates import Follower, Updates

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture
def anew():
    """The library is looked for again, here and afterwards."""
    compiled_library.cache_clear()
    yield
    compiled_library.cache_clear()


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=["double", "single"])
@pytest.mark.parametrize(
    "shape", [(3, 2, 7, 5), (2, 1, 1, 6), (2, 1, 6, 1), (1, 1, 1, 1), (2, 1, 40, 33), (0, 1, 4, 4)]
)
def test_compiled_and_by_torch_are_the_same(monkeypatch, shape, dtype, close):
    assert compiled_step(dtype) is not None
    rng = torch.Generator().manual_seed(0)
    x, v, data = torch.rand((3, *shape), generator=rng, dtype=dtype)
    tau, relaxation = torch.rand((2, shape[0]), generator=rng, dtype=dtype)
    found = []
    for step in (compiled_step, lambda dtype: None):
        monkeypatch.setattr(updates, "compiled_step", step)
        state = Updates(x.clone(), gradient(v), 0.2, 0.9)
        d = v.clone()
        numbers = {"constant": v, "follower": Follower(d, data, 0.3), "pull": 0.2, "steps": 3, "kept": True}
        state.advance(data, 0.3, tau, 0.7, 1 + relaxation, relaxation, **numbers)
        found.append((state.x, state.p, state.x_bar, state.x_next, state.p_next, d))
    for ours, by_torch in zip(*found, strict=True):
        torch.testing.assert_close(ours, by_torch, rtol=0, atol=close)


@needs_compiler
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["double", "single"])
@pytest.mark.parametrize("shape", [(3, 2, 7, 5), (2, 1, 1, 6), (2, 1, 6, 1), (1, 1, 1, 1), (0, 1, 4, 4)])
@pytest.mark.parametrize("box", [None, (0.2, 0.9)])
def test_compiled_gaps_are_those_of_torch(monkeypatch, shape, dtype, close, box):
    rng = torch.Generator().manual_seed(0)
    x, y, v, residual, pulled_back = torch.rand((5, *shape), generator=rng, dtype=dtype) - 0.3
    found = []
    for gap in (compiled_gap, lambda dtype: None):
        monkeypatch.setattr(solution, "compiled_gap", gap)
        found.append(primal_dual_gap(x.clamp(0.2, 0.9), y, gradient(v), residual, pulled_back, 0.3, box))
    for ours, by_torch in zip(*found, strict=True):
        torch.testing.assert_close(ours, by_torch, rtol=close, atol=close)


@pytest.mark.parametrize(
    ("compiler", "words"), [("no-such-compiler", "no C compiler 'no-such-compiler' was found"), ("false", "failed")]
)
def test_without_a_compiler_torch_computes_and_one_line_says_so(anew, monkeypatch, tmp_path, compiler, words):
    if compiler == "false" and shutil.which("false") is None:
        pytest.skip("this system has no program `false`")
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path))
    z = shapes(2, 12)
    z = z + noise(z, 0.1)
    with pytest.warns(InvregWarning, match=words) as said:
        found = primal_dual(Identity(), z, 0.1, start=z, norm=1.0)
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    assert found.converged.all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        primal_dual(Identity(), z, 0.1, start=z, norm=1.0)
