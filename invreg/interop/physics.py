"""Physics of DeepInverse that compute with operators of invreg. Imported on demand: it needs DeepInverse."""

from __future__ import annotations

from typing import Any

import deepinv
import torch
from torch import Tensor

from invreg.components.noise import Noise
from invreg.components.operator import LinearOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor


class OperatorPhysics(deepinv.physics.Physics):  # type: ignore[misc]
    """An operator of invreg as a `Physics`."""

    def __init__(self, operator: Operator, noise_model: Any) -> None:
        super().__init__(noise_model=noise_model)
        self.operator = operator

    # The further arguments are parameters with which DeepInverse changes a physics; an operator has none to change.
    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        result: Tensor = self.operator(x)
        return result

    def A_vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.operator.vjp(x, v)


class LinearOperatorPhysics(deepinv.physics.LinearPhysics):  # type: ignore[misc]
    """A linear operator of invreg as a `LinearPhysics`."""

    def __init__(self, operator: LinearOperator, noise_model: Any, image_shape: Shape) -> None:
        state = [*operator.parameters(), *operator.buffers()]
        super().__init__(noise_model=noise_model, img_size=image_shape, device=state[0].device if state else "cpu")
        self.operator = operator

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        result: Tensor = self.operator(x)
        return result

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        return self.operator.adjoint(y)


class DrawnNoise(deepinv.physics.NoiseModel):  # type: ignore[misc]
    """A noise model of invreg for which DeepInverse has no equal; without an `rng`, `torch.manual_seed` seeds it."""

    def __init__(self, noise: Noise) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, input: Tensor, seed: int | None = None, **kwargs: Any) -> Tensor:
        self.rng_manual_seed(seed)
        source = self.rng
        if source is None or source.device.type != input.device.type:
            chosen = int(torch.randint(2**62, (), generator=source))
            source = torch.Generator(input.device).manual_seed(chosen)
        return self.noise.draw(input, source)


class ReconstructorModel(deepinv.models.Reconstructor):  # type: ignore[misc]
    """A reconstructor of invreg, set up for one problem, as `model(y, physics)`."""

    def __init__(self, reconstructor: Reconstructor, problem: Problem, image_shape: Shape) -> None:
        torch.nn.Module.__init__(self)  # that of DeepInverse would move the reconstructor to the CPU
        self.reconstructor = reconstructor
        self.image_shape = tuple(image_shape)
        self._problem = problem  # no module: the operator is not part of the model's state

    def forward(self, y: Tensor, physics: Any = None, **kwargs: Any) -> Tensor:
        if physics is not None:
            self._check(physics, y)
        result: Tensor = self.reconstructor(y)
        return result

    def _check(self, physics: Any, y: Tensor) -> None:
        from invreg.errors import InvregError

        start = torch.Generator().manual_seed(0)
        probe = torch.rand((1, *self.image_shape), generator=start).to(y)
        with torch.no_grad():
            expected, found = self._problem.operator(probe), physics.A(probe)
        if expected.shape != found.shape or not torch.allclose(expected, found, rtol=1e-3, atol=1e-3 * _size(expected)):
            raise InvregError(
                f"the physics {type(physics).__name__} is not the operator {type(self._problem.operator).__name__}",
                where="to_deepinverse",
                expected="the operator that the reconstructor was set up, and perhaps trained, with",
                hint="set a reconstructor up for this physics: reconstructor.setup(problem_from_physics(...), shape)",
            )


def _size(y: Tensor) -> float:
    return float(y.abs().max())
