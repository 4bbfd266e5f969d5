"""Physics of DeepInverse as operators."""

from __future__ import annotations

from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor

from invreg import InvregError, LinearOperator, NamedClass, Operator, Shape
from invreg.interop import LinearPhysicsOperator, PhysicsOperator
from invreg_foreign.deepinv_catalogues import is_linear, maker, physics_class
from invreg_foreign.per_shape import LinearPerShape, PerShape


class DeepInversePhysics(PerShape):
    """A physics of DeepInverse by the name of its class: F is its `A`, and A* its `A_adjoint`, which is checked.

    Parameters are those of the class. What it asks for of the size of images (`img_size`, `img_width`) follows from
    the images where it is left out, and then there is one physics for each size. Lists become tensors where tensors
    are wanted; a list of rows that is called filter becomes one of [1, 1, H, W]. In the place of any value may stand

    - `{path: mask.npy}`, the array of a file, or of an image;
    - `{function: gaussian_blur, parameters: {sigma: 2.0}}`, a filter of `deepinv.physics.functional`;
    - `{generator: MotionBlurGenerator, parameters: {...}, seed: 0}`, what a generator of `deepinv.physics.generator`
      draws;
    - `{physics: Blur, parameters: {...}}`, another physics, and so transform, prior and denoiser.

    Functions, devices and noise have no form here: the noise is that of the spec. Complex measurements and lists of
    them become real ones, as `invreg.interop.PhysicsOperator` says.

    Source: Tachella et al. 2025, DeepInverse: A Python package for solving imaging inverse problems with deep learning.
    """

    name_parameter = "physics"

    def __init__(
        self,
        physics: Annotated[str, Field(description="the name of a class in deepinv.physics", examples=["Downsampling"])],
        parameters: Annotated[
            dict[str, Any] | None, Field(description="of its constructor; none: its defaults")
        ] = None,
        seed: Annotated[int, Field(ge=0, description="of what the physics draws: masks, random matrices")] = 0,
    ) -> None:
        super().__init__()
        self.physics, self.parameters_of_physics, self.seed = physics, parameters, seed
        self.register_buffer("_like", torch.zeros(()), persistent=False)  # says device and precision
        self._computes_as: dict[Shape, Tensor] = {}
        # Whether an operator is linear is asked of its class, and known of this one only now.
        cls = physics_class(physics)
        if cls is not None and is_linear(cls):
            self.__class__ = LinearDeepInversePhysics
        # Made here where the shape of images is not needed: what is wrong then is found when the spec is checked.
        maker(None, seed).make("physics", physics, parameters)

    @classmethod
    def class_names(cls) -> list[str]:
        return sorted(maker(None, 0).catalogues["physics"].entries)

    @classmethod
    def class_named(cls, name: str) -> NamedClass:
        return maker(None, 0).described("physics", name)

    @property
    def place(self) -> object:
        return self._like.device, self._like.dtype

    def make(self, image_shape: Shape) -> Operator:
        like = cast(Tensor, self._like)
        candidates = [like, like.float(), like.float().cpu()]
        for last, candidate in enumerate(candidates, 1):
            try:
                return self._tried(image_shape, candidate)
            except InvregError:
                if last == len(candidates) or (like.dtype == torch.float32 and not like.is_cuda):
                    raise
        raise AssertionError("unreachable")

    def _tried(self, image_shape: Shape, like: Tensor) -> Operator:
        """The physics on the device and in the precision of a tensor, if it can compute there."""
        physics = maker(image_shape, self.seed).make("physics", self.physics, self.parameters_of_physics)
        linear = isinstance(self, LinearOperator)
        operator = (LinearPhysicsOperator if linear else PhysicsOperator)(physics, image_shape)
        operator = operator.to(like.device)
        operator = operator.double() if like.dtype == torch.float64 else operator
        measured = operator.range_shape(image_shape)
        if isinstance(operator, LinearPhysicsOperator) and like.numel():
            try:
                with torch.no_grad():
                    operator.adjoint(like.new_zeros((1, *measured)))
            except Exception as error:
                if like.dtype == torch.float64 or like.is_cuda:
                    raise InvregError(f"{self.physics} does not compute in {like.dtype} on {like.device}") from error
        self._computes_as[tuple(image_shape)] = like
        return _ImageByImage(operator) if _mixes_images(operator, image_shape, like) else operator

    def forward(self, x: Tensor) -> Tensor:
        """F(x), for x `[B, C, H, W]`."""
        operator = self.of(tuple(x.shape[1:]))
        if not len(x):  # of which most physics, and MKL, know nothing
            return x.new_zeros((0, *self.range_shape(tuple(x.shape[1:]))))
        result: Tensor = operator(x.to(self._computes_as[tuple(x.shape[1:])]))
        return result.to(x)

    def derivative_defect(self, domain_shape: Shape) -> float:
        """How wrong the derivative is: see `invreg.interop.PhysicsOperator.derivative_defect`."""
        return self.wrapped(domain_shape).derivative_defect(domain_shape)

    def wrapped(self, image_shape: Shape) -> PhysicsOperator:
        """The operator of the physics for images of this shape."""
        inner = self.of(image_shape)
        return cast(PhysicsOperator, inner.operator if isinstance(inner, _ImageByImage) else inner)

    def extra_repr(self) -> str:
        return self.physics


class _ImageByImage(LinearOperator):
    """A physics that does not treat the images of a batch alone, given one after the other."""

    def __init__(self, operator: PhysicsOperator) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.operator(one[None]) for one in x]) if len(x) else self.operator(x)

    def adjoint(self, y: Tensor) -> Tensor:
        adjoint = cast(LinearPhysicsOperator, self.operator).adjoint
        return torch.cat([adjoint(one[None]) for one in y]) if len(y) else adjoint(y)

    def range_shape(self, domain_shape: Shape) -> Shape:
        return self.operator.range_shape(domain_shape)


def _mixes_images(operator: PhysicsOperator, image_shape: Shape, like: Tensor) -> bool:
    """Whether images of a batch are measured otherwise than alone.

    Raises:
        InvregError: if an image is not measured twice in the same way.
    """
    x = torch.rand((2, *image_shape), generator=torch.Generator().manual_seed(0)).to(like)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        alone = [operator(one[None]) for one in (*x, x[1])]
        if not all(bool(torch.isfinite(one).all()) for one in alone):
            return False  # a run says so when it measures
        if not torch.allclose(alone[1], alone[2], rtol=1e-4, atol=1e-4 * float(alone[1].abs().max())):
            raise InvregError(
                f"{type(operator.physics).__name__} measures the same image twice in different ways",
                expected="a physics without random numbers in A: noise is that of the spec",
            )
        try:
            together = operator(x)
        except Exception:  # noqa: BLE001 (whatever another package raises for a batch of two)
            return True
        expected = torch.cat(alone[:2])
        size = float(expected.abs().max())
        return together.shape != expected.shape or not torch.allclose(together, expected, rtol=1e-3, atol=1e-3 * size)


class LinearDeepInversePhysics(DeepInversePhysics, LinearPerShape):
    """A linear physics of DeepInverse: what `DeepInversePhysics` makes of the name of one."""

    registered_class = DeepInversePhysics

    def adjoint_for(self, image_shape: Shape, y: Tensor) -> Tensor:
        """A* y, for images of this shape."""
        self.of(image_shape)
        if not len(y):
            return y.new_zeros((0, *image_shape))
        return super().adjoint_for(image_shape, y.to(self._computes_as[image_shape])).to(y)
