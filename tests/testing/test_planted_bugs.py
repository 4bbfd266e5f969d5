"""Operators with one mistake each, which the check that is named after it has to find."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field
from torch import Tensor

from invreg.components.operator import LinearOperator, NormEstimate, Operator
from invreg.testing import CheckFailure, check_operator

SHAPE = (1, 10, 8)


def blur(x: Tensor) -> Tensor:
    """The mean of a pixel and its lower neighbour, zero beyond the edge."""
    return (x + torch.cat([x[..., 1:, :], torch.zeros_like(x[..., :1, :])], -2)) / 2


def transposed(y: Tensor) -> Tensor:
    return (y + torch.cat([torch.zeros_like(y[..., :1, :]), y[..., :-1, :]], -2)) / 2


class Correct(LinearOperator):
    """The mean of a pixel and its lower neighbour."""

    def __init__(self, factor: Annotated[float, Field(description="what it is multiplied by")] = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * blur(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.factor * transposed(y)

    @property
    def stencil_radius(self) -> int | None:
        return 1


class DrawsFromElsewhere(Correct):
    def realisation(self, generator: torch.Generator) -> Operator:
        return Correct(float(torch.rand(())))


class DrawsAnotherShape(Correct):
    def realisation(self, generator: torch.Generator) -> Operator:
        return Rows()


class NormalFunctionOfAnother(Correct):
    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return x * function(x.new_ones(()))


class Rows(LinearOperator):
    """The sum of each row: a correct operator whose measurements are no images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(-1, keepdim=True)

    def range_shape(self, domain_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*domain_shape[:2], 1)

    def domain_shape(self, range_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*range_shape[:2], 8)


class Square(Operator):
    """x² at every pixel: a correct operator that is not linear."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square()

    @property
    def stencil_radius(self) -> int | None:
        return 0


class WrongAdjoint(Correct):
    def adjoint(self, y: Tensor) -> Tensor:
        return self.factor * blur(y)


class AdjointOfOneShape(Correct):
    def adjoint(self, y: Tensor) -> Tensor:
        return super().adjoint(y) if tuple(y.shape[1:]) == SHAPE else super().adjoint(y).roll(1, -1)


class AdjointOfSquares(Correct):
    def adjoint(self, y: Tensor) -> Tensor:
        return super().adjoint(y) if y.shape[-1] == y.shape[-2] else super().adjoint(y).roll(1, -1)


class HiddenState(Correct):
    brightest = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.brightest = max(self.brightest, float(x.detach().abs().max()))
        return super().forward(x) / self.brightest


class DropsFloat64(Square):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().square().to(x.dtype)


class KeepsFloat64(Square):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(1, 1, 3, 3, dtype=torch.float64) / 9)

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(x, self.weights, padding=1)  # type: ignore[arg-type]


class AlwaysRaises(Square):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("not today")


class ReturnsFloat32(Square):
    def forward(self, x: Tensor) -> Tensor:
        return x.square().float()


class ChangesInput(Correct):
    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x)
        if not x.requires_grad:
            x.mul_(0.5)
        return result


class BatchDependent(Square):
    def forward(self, x: Tensor) -> Tensor:
        return x.square() / x.mean()


class WrongRange(Rows):
    def range_shape(self, domain_shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(domain_shape)


class Random(Square):
    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(self.calls))
        self.calls += 1
        return x.square() + 0.01 * noise

    calls = 0


class WrongJvp(Square):
    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        return x * h


class WrongVjp(Square):
    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return 2 * (x * v).flip(-1)


class JvpOfAnotherMap(Correct):
    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        return 2 * self.forward(h)


class NormTooSmall(Correct):
    def norm(self, domain_shape: tuple[int, ...], *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        return NormEstimate(0.5, 0.0)


class NormTooLarge(Correct):
    def norm(self, domain_shape: tuple[int, ...], *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        return NormEstimate(2.0, 0.0)


class KeepsPrecision(Square):
    """Remembers the precision of the first image, and goes on in it."""

    dtype: torch.dtype | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.dtype = self.dtype or x.dtype
        return x.to(self.dtype).square() * torch.ones_like(x) if self.dtype == x.dtype else x


class NotLinear(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.1


class ConsumesRandomness(Square):
    def forward(self, x: Tensor) -> Tensor:
        torch.rand(1)
        return x.square()


class ChangesDtype(Square):
    def forward(self, x: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        return x.square()


class WrongRadius(Correct):
    @property
    def stencil_radius(self) -> int | None:
        return 0


class NaNGradients(Square):
    def forward(self, x: Tensor) -> Tensor:
        return (x.square() + blur(x).square()).sqrt()

    @property
    def stencil_radius(self) -> int | None:
        return 1


class ParametersNotKept(Correct):
    def __init__(self, weights: list[float] | None = None) -> None:
        """weights: two numbers."""
        super().__init__()
        self.factor = (weights if weights is not None else [0.5, 2.0]).pop()


class NotSaved(Square):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.tensor(2.0))
        self.scales = {True: 1.0}

    def forward(self, x: Tensor) -> Tensor:
        return x.square() * self.gain

    def state_dict(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        return {}


class Undescribed(Operator):
    def __init__(self, mystery: float = 1.0) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.square()


class Crashes(Square):
    """Refuses without a sentence."""

    def __init__(self, size: Annotated[int, Field(description="a number")] = 2) -> None:
        super().__init__()
        self.inverse = 1 / size


class Untyped(Square):
    def __init__(self, size=2) -> None:  # type: ignore[no-untyped-def]
        super().__init__()


class InfiniteValues(Square):
    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5).log()


class WrongInFloat32(Square):
    def forward(self, x: Tensor) -> Tensor:
        return x.square() + (1e-10 if x.dtype == torch.float64 else 0.01)


class AdjointWrongInFloat32(Correct):
    def adjoint(self, y: Tensor) -> Tensor:
        return super().adjoint(y) if y.dtype == torch.float64 else blur(y)


class AdjointOfOneChannel(Correct):
    def adjoint(self, y: Tensor) -> Tensor:
        return super().adjoint(y) * (torch.arange(y.shape[1]) == 0).to(y).view(-1, 1, 1)


class VjpOfOneChannel(Square):
    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return 2 * x * v[:, :1]


class NeedsOneLayout(Square):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), -1).square().view(x.shape)


class IgnoresStrides(Square):
    def forward(self, x: Tensor) -> Tensor:
        return torch.as_strided(x, x.shape, torch.empty(x.shape).stride()).square()


class SeedsInConstructor(Square):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        torch.rand(7)


BUGS: list[tuple[str, Operator]] = [
    ("single_precision", WrongInFloat32()),
    ("single_precision", AdjointWrongInFloat32()),
    ("adjoint_on_other_shapes", AdjointOfOneChannel()),
    ("vjp_against_jvp", VjpOfOneChannel()),
    ("memory_layout", NeedsOneLayout()),
    ("memory_layout", IgnoresStrides()),
    ("no_global_state_when_built", SeedsInConstructor()),
    ("adjoint", WrongAdjoint()),
    ("adjoint", AdjointOfSquares()),
    ("adjoint_on_other_shapes", AdjointOfOneShape()),
    ("no_hidden_state", HiddenState()),
    ("dtype_kept", DropsFloat64()),
    ("dtype_kept", KeepsFloat64()),
    ("dtype_kept", ReturnsFloat32()),
    ("input_unchanged", ChangesInput()),
    ("batch_independence", BatchDependent()),
    ("range_shape", WrongRange()),
    ("determinism", Random()),
    ("jvp_against_differences", WrongJvp()),
    ("vjp_against_jvp", WrongVjp()),
    ("linearity", NotLinear()),
    ("derivatives_of_linear", JvpOfAnotherMap()),
    ("normal_function", NormalFunctionOfAnother()),
    ("norm", NormTooSmall()),
    ("norm", NormTooLarge()),
    ("copies", KeepsPrecision()),
    ("no_global_state", ConsumesRandomness()),
    ("no_global_state", ChangesDtype()),
    ("stencil_radius", WrongRadius()),
    ("realisation", DrawsFromElsewhere()),
    ("realisation", DrawsAnotherShape()),
    ("gradients", NaNGradients()),
    ("parameters_kept", ParametersNotKept([1.0, 3.0])),
    ("save_and_load", NotSaved()),
    ("documentation", Undescribed()),
    ("bad_parameters", Crashes()),
    ("schema_round_trip", Untyped()),
    ("finite_values", InfiniteValues()),
]


@pytest.mark.parametrize("operator", [Correct(), Correct(3.0), Square()], ids=lambda o: type(o).__name__)
def test_correct_operators_pass(operator: Operator) -> None:
    check_operator(operator, image_shape=SHAPE)
    check_operator(operator, image_shape=(3, 7, 9))


def test_a_correct_operator_between_different_spaces_passes() -> None:
    check_operator(Rows, image_shape=SHAPE, other_shapes=[(2, 5, 8)])


@pytest.mark.parametrize(("check", "operator"), BUGS, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
def test_the_check_that_names_it_finds_a_bug(check: str, operator: Operator) -> None:
    with pytest.raises(CheckFailure) as caught:
        check_operator(operator, image_shape=SHAPE)
    assert torch.get_default_dtype() == torch.float32
    assert check in caught.value.checks, str(caught.value)
    failure = next(failure for failure in caught.value.failures if failure.check == check)
    assert failure.found, check
    assert failure.expected, check
    assert failure.fix, check
    assert type(operator).__name__ in str(caught.value)


def test_random_numbers_of_a_realisation_come_from_what_it_is_given() -> None:
    with pytest.raises(CheckFailure) as caught:
        check_operator(DrawsFromElsewhere(), image_shape=SHAPE)
    fixes = {failure.check: failure.fix for failure in caught.value.failures}
    assert fixes["realisation"].startswith("draw random numbers from the generator that realisation() is given")


def test_deprecations_inside_torch_are_not_shown(recwarn: pytest.WarningsRecorder) -> None:
    class Deprecated(Correct):
        def forward(self, x: Tensor) -> Tensor:
            for text in ("`torch.jit.script` is deprecated.", "the component's own"):
                warnings.warn(text, DeprecationWarning, stacklevel=1)
            return super().forward(x)

    with contextlib.suppress(CheckFailure):
        check_operator(Deprecated(), image_shape=SHAPE)
    assert {str(warning.message) for warning in recwarn} == {"the component's own"}


def test_what_all_checks_find_alike_is_said_once() -> None:
    with pytest.raises(CheckFailure) as caught:
        check_operator(AlwaysRaises(), image_shape=SHAPE)
    assert {"range_shape", "dtype_kept", "gradients"} <= set(caught.value.checks)
    assert len(caught.value.checks) > 5
    assert str(caught.value).count("not today") == 1


def test_what_is_no_operator_is_refused() -> None:
    with pytest.raises(CheckFailure) as caught:
        check_operator("no operator")  # type: ignore[arg-type]
    assert caught.value.checks == ("kind",)
