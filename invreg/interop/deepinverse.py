"""DeepInverse: physics, noise models, reconstructors and denoisers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from invreg.components.noise import Noise
from invreg.components.operator import LinearOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.errors import InvregError, ShapeError, SpecError
from invreg.interop.foreign import SharesForeign, require
from invreg.interop.noise import noise_from_deepinverse, noise_to_deepinverse, standard_deviation

if TYPE_CHECKING:
    from deepinv.models import Reconstructor as DeepInverseModel
    from deepinv.physics import Physics

__all__ = [
    "noise_from_deepinverse",
    "operator_from_physics",
    "physics_from_operator",
    "problem_from_physics",
    "reconstructor_from_deepinverse",
    "to_deepinverse",
]


def physics_from_operator(operator: Operator, image_shape: Shape, noise: Noise | None = None) -> Physics:
    """An operator of invreg as a physics of DeepInverse: a `LinearPhysics` with the exact adjoint if it is linear.

    The operator is part of the physics and moves with it. Gaussian and Poisson noise become those of DeepInverse; any
    other noise model is called as it is. The pseudo-inverse `A_dagger` is the iterative one of DeepInverse.

    Args:
        operator: the operator.
        image_shape: (C, H, W) of the images.
        noise: the noise on its measurements, or None.

    Raises:
        ShapeError: if the operator cannot handle images of this shape.
        InvregError: if DeepInverse is not installed.
    """
    require("deepinv", "deepinv")
    from invreg.interop.physics import LinearOperatorPhysics, OperatorPhysics

    operator.range_shape(tuple(image_shape))
    noise_model = noise_to_deepinverse(noise)
    if isinstance(operator, LinearOperator):
        return LinearOperatorPhysics(operator, noise_model, tuple(image_shape))
    return OperatorPhysics(operator, noise_model)


def operator_from_physics(physics: Physics, image_shape: Shape) -> PhysicsOperator:
    """A physics of DeepInverse, without its noise, as an operator: F is `physics.A`, A* is `physics.A_adjoint`.

    Args:
        physics: any real physics with one tensor of measurements.
        image_shape: (C, H, W) of the images.

    Returns:
        A `LinearOperator` for a `LinearPhysics`, otherwise an `Operator`.

    Warns:
        InvregWarning: if `A_adjoint` is not the adjoint of `A`, with its relative defect.

    Raises:
        InvregError: if it has a sensor model (which comes after the noise), several or complex measurements, or is no
            physics.
        ShapeError: if it cannot handle images of this shape.
    """
    deepinv = require("deepinv", "deepinv")
    if not isinstance(physics, deepinv.physics.Physics):
        raise InvregError(
            f"{type(physics).__name__} is not a physics", where="operator_from_physics", expected="a deepinv Physics"
        )
    kind = LinearPhysicsOperator if isinstance(physics, deepinv.physics.LinearPhysics) else PhysicsOperator
    operator = kind(physics, tuple(image_shape))
    _refuse_sensor(physics, operator.range_shape(tuple(image_shape)))
    Problem(operator).check_adjoint(image_shape)
    return operator


def problem_from_physics(physics: Physics, image_shape: Shape) -> Problem:
    """The operator and the noise of a physics of DeepInverse as a problem.

    Raises:
        InvregError: as `operator_from_physics`.
    """
    return Problem(operator_from_physics(physics, image_shape), noise_from_deepinverse(physics.noise_model))


def reconstructor_from_deepinverse(model: nn.Module, sigma: float | None = None) -> DeepInverseReconstructor:
    """A model of DeepInverse as a reconstructor: `model(y, physics)`, or `model(y, sigma)` for a denoiser.

    Args:
        model: a reconstructor of DeepInverse, or anything that is called like one; or a denoiser.
        sigma: noise level that a denoiser is told; that of the problem's Gaussian noise if None. For a model that is
            no `deepinv.models.Denoiser`, giving it says that it is called like one.

    Raises:
        InvregError: if it is not a module, a reconstructor that was given sigma, or DeepInverse is not installed.
    """
    deepinv = require("deepinv", "deepinv")
    if not isinstance(model, nn.Module):
        raise InvregError(
            f"{type(model).__name__} is not a torch module",
            where="reconstructor_from_deepinverse",
            expected="a Reconstructor or Denoiser of DeepInverse",
        )
    if sigma is not None and isinstance(model, deepinv.models.Reconstructor):
        raise InvregError(
            f"sigma {sigma} for {type(model).__name__}, which is not a denoiser",
            where="reconstructor_from_deepinverse",
            hint="leave sigma out: it takes the noise level from the physics",
        )
    denoises = isinstance(model, deepinv.models.Denoiser) or sigma is not None
    return DeepInverseReconstructor(model, denoises, sigma)


def to_deepinverse(reconstructor: Reconstructor, problem: Problem, image_shape: Shape) -> DeepInverseModel:
    """A reconstructor of invreg as a reconstructor of DeepInverse, `model(y, physics)`.

    It stays the method for the one problem that it was set up for. A physics that is passed is compared with the
    problem's operator on a random image, and refused if they differ; None is not compared.

    Args:
        reconstructor: set up, and trained where that is needed.
        problem: the problem it was set up for.
        image_shape: (C, H, W) of the images.

    Raises:
        InvregError: if DeepInverse is not installed; on a call, if the physics is another operator.
    """
    require("deepinv", "deepinv")
    from invreg.interop.physics import ReconstructorModel

    return ReconstructorModel(reconstructor, problem, tuple(image_shape))


class PhysicsOperator(SharesForeign, Operator):
    """The operator of a physics of DeepInverse.

    Args:
        physics: the physics; its buffers move with the operator.
        image_shape: (C, H, W).
    """

    foreign = "physics"

    def __init__(self, physics: Any, image_shape: Shape) -> None:
        super().__init__()
        self.physics = physics
        self.image_shape = tuple(image_shape)
        self._ranges: dict[Shape, Shape] = {}

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.physics.A(x)
        return result

    def range_shape(self, domain_shape: Shape) -> Shape:
        """Found by measuring an image of zeros, once for each shape."""
        shape = tuple(domain_shape)
        if shape not in self._ranges:
            self._ranges[shape] = self._measure_zeros(shape)
        return self._ranges[shape]

    def extra_repr(self) -> str:
        return f"{self.image_shape}"

    def _measure_zeros(self, shape: Shape) -> Shape:
        like = next((one for one in self.physics.buffers() if one.is_floating_point()), torch.zeros(()))
        try:
            with torch.no_grad():
                y = self.physics.A(like.new_zeros((1, *shape)))
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            raise ShapeError(
                f"{type(self.physics).__name__} cannot measure images of shape {shape}: {error}",
                where="operator_from_physics",
                expected=f"images of the shape that it was made for, probably {self.image_shape}",
            ) from error
        if not isinstance(y, Tensor) or y.is_complex() or y.shape[0] != 1:
            found = f"{type(y).__name__} {y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
            raise InvregError(
                f"{type(self.physics).__name__} measures one image as {found}",
                where="operator_from_physics",
                expected="one real tensor [1, ...]",
                hint="take one of stacked physics; real and imaginary parts as two channels",
            )
        return tuple(y.shape[1:])

    def _copy_of_foreign(self, wrapped: Any) -> Any:
        return wrapped.clone()  # also copies generators of random numbers, which deepcopy does not


class LinearPhysicsOperator(PhysicsOperator, LinearOperator):
    """The operator of a linear physics of DeepInverse, with the adjoint that it has."""

    def adjoint(self, y: Tensor) -> Tensor:
        result: Tensor = self.physics.A_adjoint(y)
        return result

    def domain_shape(self, range_shape: Shape) -> Shape:
        if tuple(range_shape) == self.range_shape(self.image_shape):
            return self.image_shape
        return super().domain_shape(range_shape)


class DeepInverseReconstructor(Reconstructor):
    """A model of DeepInverse, called with the physics of the problem of `setup`, or with a noise level.

    Its parameters are those of the model, and trained and saved with it; the physics is not part of its state.
    """

    def __init__(self, model: nn.Module, denoises: bool, sigma: float | None) -> None:
        super().__init__()
        self.model, self.denoises, self.sigma = model, denoises, sigma
        self._level = sigma

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Makes the physics, or finds the noise level.

        Raises:
            SpecError: if a denoiser has no noise level, or measurements that are not images.
        """
        if not self.denoises:
            super().setup(_with_physics(problem, image_shape), image_shape)
            return
        super().setup(problem, image_shape)
        measured = problem.operator.range_shape(tuple(image_shape))
        if measured != tuple(image_shape):
            raise SpecError(
                f"a denoiser and measurements of shape {measured}",
                where="reconstructor_from_deepinverse",
                expected=f"measurements that are images, {tuple(image_shape)}",
                hint="deepinv.models.ArtifactRemoval(denoiser, mode='adjoint')",
            )
        self._level = self.sigma if self.sigma is not None else standard_deviation(problem.noise)
        if self._level is None:
            raise SpecError(
                "a denoiser, but no Gaussian noise that would say its level",
                where="reconstructor_from_deepinverse",
                expected="sigma",
                hint="reconstructor_from_deepinverse(model, sigma=0.05)",
            )

    def forward(self, z: Tensor) -> Tensor:
        if self.denoises and self._level is not None:
            denoised: Tensor = self.model(z, self._level)
            return denoised
        result: Tensor = self.model(z, cast(PhysicsOperator, self.problem.operator).physics)
        return result


def _with_physics(problem: Problem, image_shape: Shape) -> Problem:
    """The problem with its operator as that of a physics, with which it moves to devices and dtypes."""
    if isinstance(problem.operator, PhysicsOperator):
        return problem
    kind = LinearPhysicsOperator if isinstance(problem.operator, LinearOperator) else PhysicsOperator
    physics = physics_from_operator(problem.operator, image_shape, problem.noise)
    return Problem(kind(physics, tuple(image_shape)), problem.noise)


def _refuse_sensor(physics: Any, range_shape: Shape) -> None:
    y = torch.linspace(-2.7, 3.1, 64)[torch.arange(torch.Size(range_shape).numel()) % 64].view(1, *range_shape)
    try:
        passes = torch.equal(physics.sensor(y.clone()), y)
    except RuntimeError:  # made for another device, say: then it does something
        passes = False
    if not passes:
        raise InvregError(
            f"{type(physics).__name__} has a sensor model, which comes after the noise",
            where="operator_from_physics",
            expected="measurements F(x) + noise, and nothing after them",
            hint="physics.sensor_model = lambda y: y, or an Operator that includes it",
        )
