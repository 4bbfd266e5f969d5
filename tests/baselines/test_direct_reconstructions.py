"""The measurement and its adjoint as reconstructions."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from invreg import Registry, spec_of
from invreg.components.operator import LinearOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg.errors import InvregError, SpecError
from invreg_baselines.adjoint import Adjoint
from invreg_baselines.observation import Observation
from toy import Halve, Square


class Mix(LinearOperator):
    """A dense matrix on flattened images; its measurements have another shape. With a parameter and a buffer."""

    def __init__(self, shape: Shape = (1, 6, 5), rows: int = 12) -> None:
        super().__init__()
        self.shape = shape
        size = shape[0] * shape[1] * shape[2]
        matrix = torch.randn(rows, size, generator=torch.Generator().manual_seed(3))
        self.register_buffer("matrix", matrix)
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain.detach().to(x) * x.flatten(1) @ self.matrix.to(x).T

    def range_shape(self, domain_shape: Shape) -> Shape:
        return (self.matrix.shape[0],)

    def domain_shape(self, range_shape: Shape) -> Shape:
        return self.shape


class Zero(LinearOperator):
    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


def test_registered_and_written_as_specs() -> None:
    registry = Registry.installed()
    for name, cls in (("observation", Observation), ("adjoint", Adjoint)):
        built = registry.build("reconstructor", name)
        assert type(built) is cls
        assert spec_of(built) == {"name": name}
        with pytest.raises(SpecError, match="weight"):
            registry.build("reconstructor", {"name": name, "weight": 1.0})


def test_observation_returns_the_measurement() -> None:
    method = Observation()
    method.setup(Problem(Halve(2.0)), (3, 4, 5))
    z = torch.randn(2, 3, 4, 5)
    assert torch.equal(method(z), z)
    assert not method.state_dict()


def test_observation_refuses_other_shapes() -> None:
    with pytest.raises(SpecError, match=r"Mix maps images \(1, 6, 5\) to measurements \(12,\)") as caught:
        Observation().setup(Problem(Mix()), (1, 6, 5))
    assert caught.value.hint is not None
    assert "adjoint" in caught.value.hint


def test_adjoint_is_the_scaled_transpose() -> None:
    operator = Mix()
    method = Adjoint()
    method.setup(Problem(operator), (1, 6, 5))
    z = torch.randn(3, 12, dtype=torch.float64)
    matrix = operator.matrix.double()
    expected = (z @ matrix) / torch.linalg.matrix_norm(matrix, ord=2) ** 2
    torch.testing.assert_close(method(z), expected.view(3, 1, 6, 5), rtol=1e-6, atol=1e-9)


def test_adjoint_inverts_multiples_of_the_identity() -> None:
    method = Adjoint()
    method.setup(Problem(Halve(2.0)), (1, 4, 4))
    x = torch.rand(2, 1, 9, 7)
    torch.testing.assert_close(method(2 * x), x)


def test_adjoint_passes_gradients_to_the_measurement() -> None:
    method = Adjoint()
    method.setup(Problem(Mix()), (1, 6, 5))
    z = torch.randn(2, 12, requires_grad=True)
    method(z).square().sum().backward()
    assert z.grad is not None
    assert z.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("operator", "error", "message"), [(Square(), SpecError, "linear"), (Zero(), InvregError, "norm")]
)
def test_adjoint_refuses(operator: Operator, error: type[InvregError], message: str) -> None:
    with pytest.raises(error, match=message):
        Adjoint().setup(Problem(operator), (1, 4, 4))


def test_the_operator_moves_along_but_belongs_to_the_problem() -> None:
    operator = Mix()
    method = Adjoint()
    method.setup(Problem(operator), (1, 6, 5))
    assert not method.state_dict()
    assert not list(method.parameters())
    method.to("meta")
    assert operator.matrix.device.type == "meta"


def test_copies_do_not_share_the_operator() -> None:
    operator = Mix()
    method = Adjoint()
    method.setup(Problem(operator), (1, 6, 5))
    z = torch.randn(1, 12)
    twin = copy.deepcopy(method)
    torch.testing.assert_close(twin(z), method(z))
    twin.to("meta")
    assert operator.matrix.device.type == "cpu"


def test_autocast_does_not_touch_the_physics() -> None:
    method = Adjoint()
    method.setup(Problem(Mix()), (1, 6, 5))
    z = torch.randn(2, 12)
    expected = method(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = method(z)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
