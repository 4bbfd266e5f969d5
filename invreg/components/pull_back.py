"""Pull-backs: fixed linear maps from measurements to images, which networks read."""

from __future__ import annotations

import copy
from abc import abstractmethod

import torch
from torch import Tensor

from invreg.components.operator import LinearOperator, Operator, PulledBackOperator, Shape, is_narrow
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.errors import InvregError, SpecError


class PullBack(Reconstructor):
    """A linear map P: Y -> X without weights. It is a method by itself, and what a network may read: P z.

    A network behind it learns the operator P A on X, or its inverse. What is proven of the network with respect to P z
    holds with respect to z with the factor ||P||.

    Subclasses write `forward`, which is linear in z and differentiable, and `formula`; those that know more of ||P||
    than the Lanczos iteration override `norm_bound`.
    """

    needs_training = False

    @property
    @abstractmethod
    def formula(self) -> str:
        """P z as a formula: "A*z / ‖A‖²"."""

    def check_operator(self, operator: Operator) -> None:
        """Refuses operators that are not linear."""
        if not isinstance(operator, LinearOperator):
            raise SpecError(
                f"{type(operator).__name__} is not linear: it has no adjoint",
                where=type(self).__name__,
                expected="a LinearOperator",
            )

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Keeps the problem.

        Raises:
            SpecError: if the pull-back is not for this operator.
        """
        self.check_operator(problem.operator)
        super().setup(problem, image_shape)

    def norm_bound(self, image_shape: Shape) -> float:
        """A number that ||P|| does not exceed for images of this shape (C, H, W); see `LinearOperator.norm_bound`."""
        range_shape = self.problem.operator.range_shape(tuple(image_shape))
        return _AsOperator(copy.deepcopy(self).double(), image_shape).norm_bound(range_shape)

    def in_float64(self, z: Tensor) -> Tensor:
        """P z in float64, also where the operator has parameters or buffers in float32."""
        twin = copy.deepcopy(self).double() if is_narrow(self.problem.operator) else self
        found: Tensor = twin.forward(z.double())
        return found

    def check_as_part(self, operator: Operator, name: str = "pull_back") -> None:
        """`check_operator` for a network that reads P z: the place in messages is its parameter of this name."""
        try:
            self.check_operator(operator)
        except InvregError as error:
            raise error.at(name, of=self) from None

    def setup_as_part(self, problem: Problem, image_shape: Shape, name: str = "pull_back") -> None:
        """`setup` for a network that reads P z: the place in messages is its parameter of this name."""
        try:
            self.setup(problem, image_shape)
        except InvregError as error:
            raise error.at(name, of=self) from None

    def on_images(self) -> PulledBackOperator:
        """P A, for which a network stands that reads P z."""
        return _OnImages(self)


class _OnImages(PulledBackOperator):
    """P A. The pull-back is not a submodule: what is part of a method is not saved with its operator."""

    def __init__(self, pull_back: PullBack) -> None:
        operator = pull_back.problem.operator
        assert isinstance(operator, LinearOperator)  # noqa: S101 (for mypy: `setup` has looked)
        super().__init__(operator)
        self.__dict__["_pull_back"] = pull_back

    def pull_back(self, z: Tensor) -> Tensor:
        found: Tensor = self.__dict__["_pull_back"].forward(z)
        return found


class _AsOperator(LinearOperator):
    """P as an operator, with its adjoint by automatic differentiation."""

    def __init__(self, pull_back: PullBack, image_shape: Shape) -> None:
        super().__init__()
        self.pull_back, self.image_shape = pull_back, tuple(image_shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.pull_back.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        measured = self.pull_back.problem.operator.range_shape(self.image_shape)
        with torch.enable_grad():
            z = y.new_zeros((len(y), *measured), requires_grad=True)
            return torch.autograd.grad(self.pull_back.forward(z), z, y)[0]

    def range_shape(self, domain_shape: Shape) -> Shape:
        return self.image_shape
