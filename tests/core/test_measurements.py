"""What methods are given: every one of them refuses, warns and casts alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.errors import DataError, InvregWarning
from invreg.plugins.registry import Registry
from invreg_operators.beams.radon import Radon
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.noise.gaussian import GaussianNoise

SMALL: dict[str, dict[str, Any]] = {
    "iresnet": {"subnetworks": 2, "channels": 2, "hidden": 3, "kernel_size": 3, "padding": 2},
    "explicit_iresnet": {"subnetworks": 10, "channels": 2, "hidden": 3, "kernel_size": 3, "padding": 2},
    "unet": {"channels": [2, 3], "padding": 2},
    "conv_resnet": {"padding": 2},
    "diffnet": {"padding": 2},
    "tv": {"tolerance": 0.5},
}
METHODS = [*SMALL, "adjoint", "observation", "fbp"]
HAS_WEIGHTS = {*SMALL} - {"tv"}

Made = Callable[[str], tuple[Reconstructor, Tensor]]


@pytest.fixture(scope="module")
def made() -> Made:
    """A method that is set up, in evaluation mode, and measurements `[3, 1, ...]` for it."""
    registry = Registry.installed()

    def make(name: str) -> tuple[Reconstructor, Tensor]:
        operator = Radon(angles=6) if name == "fbp" else GaussianBlur(kernel_size=3, std=0.7)
        problem = Problem(operator, GaussianNoise(0.01))
        reconstructor = registry.build("reconstructor", {"name": name, **SMALL.get(name, {})})
        torch.manual_seed(0)
        reconstructor.setup(problem, (1, 16, 16))
        x = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))
        return reconstructor.eval(), problem.measure(x, seed=2)

    return make


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_measurements_that_are_not_finite_are_refused(made: Made, name: str, training: bool, value: float) -> None:
    reconstructor, z = made(name)
    z[1, 0, 2, 3] = z[1, 0, 2, 4] = value
    said = rf"{name}: 1 of 3 measurements hold NaN .* 2 in all; the first is in number 1 of the batch, at \[0, 2, 3\]"
    with pytest.raises(DataError, match=said):
        reconstructor.train(training)(z)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_other_numbers_are_refused(made: Made, name: str, dtype: torch.dtype) -> None:
    reconstructor, z = made(name)
    with pytest.raises(DataError, match=rf"{name}: measurements of type {dtype}(.|\n)*real floating-point numbers"):
        reconstructor((255 * z).to(dtype))
    with pytest.raises(DataError, match="measurements of type ndarray"):
        reconstructor(z.numpy())


@pytest.mark.parametrize("name", METHODS)
def test_measurements_on_another_scale_are_warned_of(made: Made, name: str, recwarn: pytest.WarningsRecorder) -> None:
    reconstructor, z = made(name)
    reconstructor(z)
    assert not [one for one in recwarn if "measurements from" in str(one.message)]
    with pytest.warns(InvregWarning, match=rf"{name}: measurements from (.|\n)*images in \[0, 1\]"):
        reconstructor(255 * z)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_taken(made: Made, name: str, dtype: torch.dtype) -> None:
    reconstructor, z = made(name)
    z = z.to(dtype)
    found = reconstructor(z)
    assert found.dtype == (torch.float32 if name in HAS_WEIGHTS else dtype)
    expected = reconstructor(z.float())
    torch.testing.assert_close(found.float(), expected.to(found.dtype).float(), atol=2e-3, rtol=0)


@pytest.mark.slow
def test_a_method_in_double_precision_stays_there(made: Made) -> None:
    for name in sorted(HAS_WEIGHTS):
        reconstructor, z = made(name)
        assert reconstructor.double()(z).dtype == torch.float64


def test_large_values_are_fine_where_the_problem_makes_them(recwarn: pytest.WarningsRecorder) -> None:
    class Bright(GaussianBlur):
        def forward(self, x: Tensor) -> Tensor:
            return 1000 * super().forward(x)

        def adjoint(self, y: Tensor) -> Tensor:
            return 1000 * super().adjoint(y)

    reconstructor = Registry.installed().build("reconstructor", "adjoint")
    reconstructor.setup(Problem(Bright(kernel_size=3, std=0.7)), (1, 16, 16))
    reconstructor(1000 * torch.rand(1, 1, 16, 16))
    assert not [one for one in recwarn if issubclass(one.category, InvregWarning)]
    with pytest.warns(InvregWarning, match="at most about 1e"):
        reconstructor(2e4 * torch.rand(1, 1, 16, 16))


@pytest.mark.skipif(not hasattr(torch.func, "debug_unwrap"), reason="values are seen inside torch.func from 2.6 on")
def test_values_are_looked_at_through_torch_func(made: Made) -> None:
    reconstructor, z = made("observation")
    assert torch.equal(torch.func.vmap(lambda one: reconstructor(one[None])[0])(z), z)
    z[2] = torch.nan
    with pytest.raises(DataError, match="NaN"):
        torch.func.vmap(lambda one: reconstructor(one[None])[0])(z)
    with pytest.raises(DataError, match="NaN"):
        torch.func.jvp(reconstructor, (z,), (z,))
