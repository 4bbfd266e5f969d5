"""DeepInverse: physics, noise models, reconstructors and denoisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from invreg.components.noise import Noise
from invreg.components.operator import LinearOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.errors import InvregError, ShapeError, SpecError, message_of
from invreg.interop.foreign import SharesForeign, require
from invreg.interop.noise import noise_from_deepinverse, noise_to_deepinverse, standard_deviation
from invreg.interop.real_form import RealForm, is_list

if TYPE_CHECKING:
    from deepinv.models import Reconstructor as DeepInverseModel
    from deepinv.physics import Physics

__all__ = [
    "LinearPhysicsOperator",
    "PhysicsOperator",
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

    Complex measurements and lists of them become one real tensor, and real images complex ones, as
    [`PhysicsOperator`][invreg.interop.deepinverse.PhysicsOperator] says.

    Args:
        physics: any physics of one image.
        image_shape: (C, H, W) of the images.

    Returns:
        A `LinearOperator` for a `LinearPhysics`, otherwise an `Operator`.

    Warns:
        InvregWarning: if `A_adjoint` is not the adjoint of `A`, with its relative defect; for a nonlinear physics, if
            its derivative is wrong.

    Raises:
        InvregError: if it has a sensor model (which comes after the noise), or is no physics.
        ShapeError: if it cannot handle images of this shape.
    """
    deepinv = require("deepinv", "deepinv")
    if not isinstance(physics, deepinv.physics.Physics):
        raise InvregError(
            f"{type(physics).__name__} is not a physics", where="operator_from_physics", expected="a deepinv Physics"
        )
    kind = LinearPhysicsOperator if isinstance(physics, deepinv.physics.LinearPhysics) else PhysicsOperator
    operator = kind(physics, tuple(image_shape))
    operator.range_shape(tuple(image_shape))
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
    # Some are both, and then reconstruct.
    theirs = deepinv.models
    denoises = sigma is not None or (isinstance(model, theirs.Denoiser) and not isinstance(model, theirs.Reconstructor))
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

    Measurements that are complex, or a list of tensors (`TensorList`), come as one real tensor: a complex tensor with
    the channels Re, Im of its first, then of its second channel, and so on; the tensors of a list as channels one
    after the other, or as one row (1, 1, N) where their sizes differ. Physics that take complex images are given
    images with the imaginary part 0, and those of MRI, for which a complex image is one of two channels, images of
    one channel as their real part; those of dynamic MRI the channels of an image as frames. All of these are
    isometries, so that adjoints stay adjoints.

    Args:
        physics: the physics; its buffers move with the operator.
        image_shape: (C, H, W).
    """

    foreign = "physics"

    def __init__(self, physics: Any, image_shape: Shape) -> None:
        super().__init__()
        self.physics = physics
        self.image_shape = tuple(image_shape)
        self._forms: dict[Shape, tuple[str, RealForm]] = {}

    def forward(self, x: Tensor) -> Tensor:
        domain, form = self._form(tuple(x.shape[1:]))
        return form.pack(self.physics.A(_EMBEDDED[domain](x)))

    def range_shape(self, domain_shape: Shape) -> Shape:
        """Found by measuring an image of zeros, once for each shape."""
        return self._form(tuple(domain_shape))[1].shape

    def theirs(self, z: Tensor) -> Any:
        """Measurements of images of `image_shape` in the form that the physics gives them.

        Raises:
            ShapeError: if z does not have the shape of such measurements.
        """
        return _tensor_lists(self._form(self.image_shape)[1].unpack(z))

    def image_of(self, x: Tensor) -> Tensor:
        """The image `[B, C, H, W]` behind one that the physics takes: the real part, where it takes complex ones."""
        domain, _ = self._form(self.image_shape)
        return _PROJECTED[domain](x)

    def derivative_defect(self, domain_shape: Shape) -> float:
        """How wrong the derivative of F is, at one random image: the larger one of two relative differences.

        These are that between <F'(x) h, v> and <h, F'(x)* v>, relative to ||F'(x) h||², and that between F'(x) h and
        the difference quotient (F(x + t h) - F(x - t h)) / 2t with t = 1e-3, relative to it.
        """
        like = next((one for one in self.buffers() if one.is_floating_point()), torch.empty(0))
        start = torch.Generator().manual_seed(0)
        x, h = (torch.rand((1, *domain_shape), generator=start).to(like) for _ in range(2))
        with torch.random.fork_rng(devices=[]):
            pushed = self.jvp(x, h)
            noise = torch.randn(pushed.shape, generator=start).to(pushed)
            v = pushed + noise * (pushed.norm() / max(pushed.numel(), 1) ** 0.5)
            pulled = self.vjp(x, v)
            with torch.no_grad():
                quotient = (self(x + _STEP * h) - self(x - _STEP * h)).double() / (2 * _STEP)
        size = float(pushed.double().square().sum()) or 1.0
        adjoint = abs(float((pushed.double() * v.double()).sum() - (h.double() * pulled.double()).sum())) / size
        return max(adjoint, float((pushed.double() - quotient).norm() / (quotient.norm() or 1.0)))

    def extra_repr(self) -> str:
        return f"{self.image_shape}"

    def _form(self, shape: Shape) -> tuple[str, RealForm]:
        """How images of this shape are given to the physics, and how its measurements become real."""
        if shape not in self._forms:
            self._forms[shape] = self._measure_zeros(shape)
            _refuse_sensor(self.physics, self._forms[shape][1])
        return self._forms[shape]

    def _measure_zeros(self, shape: Shape) -> tuple[str, RealForm]:
        like = next((one for one in self.physics.buffers() if one.is_floating_point()), torch.zeros(()))
        zeros, first = like.new_zeros((1, *shape)), None
        for domain in _domains(self.physics, shape):
            try:
                with torch.no_grad():
                    y = self.physics.A(_EMBEDDED[domain](zeros))
            except Exception as error:  # noqa: BLE001 (whatever another package raises for an image that is not its)
                first = first or error
                continue
            return domain, RealForm.of(y, type(self.physics).__name__)
        raise ShapeError(
            f"{type(self.physics).__name__} cannot measure images of shape {shape}: {message_of(first)[:300]}"
            if first is not None
            else f"{type(self.physics).__name__} measures nothing",
            where="operator_from_physics",
            expected=f"images of the shape that it was made for, probably {self.image_shape}"
            if shape != self.image_shape
            else "parameters (masks, filters, maps) that fit images of this shape",
        ) from first

    def _copy_of_foreign(self, wrapped: Any) -> Any:
        return wrapped.clone()  # also copies generators of random numbers, which deepcopy does not


class LinearPhysicsOperator(PhysicsOperator, LinearOperator):
    """The operator of a linear physics of DeepInverse, with the adjoint that it has.

    Between real and imaginary parts, it is the real part of that adjoint.
    """

    def adjoint(self, y: Tensor) -> Tensor:
        _, form = self._form(self.image_shape)
        if form.is_plain and tuple(y.shape[1:]) != form.shape:  # of another size of images, which the physics may know
            return self.image_of(self.physics.A_adjoint(y))
        return self.image_of(self.physics.A_adjoint(self.theirs(y)))

    def domain_shape(self, range_shape: Shape) -> Shape:
        if tuple(range_shape) == self.range_shape(self.image_shape):
            return self.image_shape
        return super().domain_shape(range_shape)


def _complex(x: Tensor) -> Tensor:
    return torch.complex(x, torch.zeros_like(x))


def _real(x: Tensor) -> Tensor:
    return x.real if x.is_complex() else x


#: How an image is given to a physics, and the adjoint of that.
_EMBEDDED: dict[str, Callable[[Tensor], Tensor]] = {
    "real": lambda x: x,
    "complex": _complex,
    "real part": lambda x: torch.cat([x, torch.zeros_like(x)], 1),
    "frames": lambda x: torch.stack([x, torch.zeros_like(x)], 1),
}
_PROJECTED: dict[str, Callable[[Tensor], Tensor]] = {
    "real": _real,
    "complex": _real,
    "real part": lambda x: x[:, :1],
    "frames": lambda x: x[:, 0],
}

#: Of the difference quotient: in float32, rounding then disturbs it by about 1e-4.
_STEP = 1e-3


def _domains(physics: Any, shape: Shape) -> list[str]:
    """How images of this shape may be given to a physics, the first that works being the one."""
    from deepinv.utils.mixins import MRIMixin, TimeMixin

    kinds = [kind for kind in (MRIMixin, TimeMixin) if any(isinstance(one, kind) for one in physics.modules())]
    if MRIMixin not in kinds:
        return ["real", "complex"]
    # One channel would be taken for both parts by some.
    return ["real part" if shape[0] == 1 else "real", *(["frames"] if TimeMixin in kinds else [])]


def _tensor_lists(y: Any) -> Any:
    if not is_list(y):
        return y
    from deepinv.utils import TensorList

    return TensorList([_tensor_lists(one) for one in y])


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
        operator = cast(PhysicsOperator, self.problem.operator)
        return operator.image_of(self.model(operator.theirs(z), operator.physics))


def _with_physics(problem: Problem, image_shape: Shape) -> Problem:
    """The problem with its operator as that of a physics, with which it moves to devices and dtypes."""
    if isinstance(problem.operator, PhysicsOperator):
        return problem
    kind = LinearPhysicsOperator if isinstance(problem.operator, LinearOperator) else PhysicsOperator
    physics = physics_from_operator(problem.operator, image_shape, problem.noise)
    return Problem(kind(physics, tuple(image_shape)), problem.noise)


def _refuse_sensor(physics: Any, form: RealForm) -> None:
    size = torch.Size(form.shape).numel()
    y = torch.linspace(-2.7, 3.1, 64)[torch.arange(size) % 64].view(1, *form.shape)
    try:
        passes = torch.equal(form.pack(physics.sensor(_tensor_lists(form.unpack(y.clone())))), y)
    except (RuntimeError, ValueError, InvregError):  # made for another device, say: then it does something
        passes = False
    if not passes:
        raise InvregError(
            f"{type(physics).__name__} has a sensor model, which comes after the noise",
            where="operator_from_physics",
            expected="measurements F(x) + noise, and nothing after them",
            hint="physics.sensor_model = lambda y: y, or an Operator that includes it",
        )
