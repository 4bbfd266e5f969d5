"""Reconstruction methods and what they may be able to do beyond reconstructing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from invreg.components.measurements import check_measurements
from invreg.errors import InvregError
from invreg.schema.component import Component
from invreg.schema.kinds import base_of

if TYPE_CHECKING:
    from invreg.components.architecture import Architecture
    from invreg.components.certificate import StabilityCertificate
    from invreg.components.operator import Operator, Shape
    from invreg.components.problem import Problem


@base_of("reconstructor")
class Reconstructor(Component, nn.Module, ABC):
    """A map R: Y -> X from measurements to images.

    Life: built from its parameters, then `setup` once with the problem and the image shape (this is where weights are
    made), then trained or loaded, then called. All that must be saved lies in parameters and buffers.

    The problem moves to devices and dtypes along with its reconstructor, but it is not part of its state: the operator
    is neither a submodule, nor saved or counted with the weights.
    """

    #: Whether it has weights that a trainer must fit; a spec without a trainer for it is then refused. None: a copy is
    #: set up for one small image when the spec is checked, to see whether it has any.
    needs_training: ClassVar[bool | None] = None

    _problem: Problem | None = None
    _setup_shape: Shape | None = None

    def check_operator(self, operator: Operator) -> None:
        """Refuses operators that the method is not for; most are for all.

        Called when a spec is checked, before there are images. What needs their shape is for `setup` to find.

        Raises:
            SpecError: saying what kind of operator is expected.
        """

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Keeps the problem, and builds what depends on it; called once, before training.

        A method that overrides this calls `super().setup(problem, image_shape)`.

        Args:
            problem: operator and noise; for methods that use the operator in every reconstruction.
            image_shape: (C, H, W) of the images of the run. Networks that are convolutional take other sizes
                later.
        """
        self._problem, self._setup_shape = problem, tuple(image_shape)
        problem.check_adjoint(image_shape)

    @property
    def problem(self) -> Problem:
        """Operator and noise, as `setup` was given them.

        Raises:
            InvregError: before `setup`.
        """
        if self._problem is None:
            raise InvregError("not set up", where=type(self).__name__, hint="setup(problem, image_shape) first")
        return self._problem

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        if self._problem is not None:
            self._problem.operator._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @property
    def memory_per_pixel(self) -> float | None:
        """About the bytes that a reconstruction takes for each pixel of an image; None where that is not known.

        From it, `reconstruct_within` finds out whether an image has to be cut into tiles.
        """
        return None

    @property
    def reconstruction_radius(self) -> int | None:
        """R(z) at a pixel depends only on pixels of z at most so many rows and columns away; None if it may on all.

        Of use where measurements have the shape of images. Tiles with such a halo lose nothing but rounding.
        """
        return None

    def __call__(self, z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """R(z), by `forward`: the measurements are checked, and brought to the precision of the method.

        A method with weights computes in their dtype, and its reconstructions have it. One without computes in the
        dtype of z, in half precision in float32, and its reconstructions have the dtype of z.

        Raises:
            DataError: if z is not a tensor of finite real floating-point numbers. (While training on a GPU, where a
                look at the values would have to wait for it, the trainer looks at the loss instead.)

        Warns:
            InvregWarning: if z is far from what images in [0, 1] give.
        """
        self.check_measurements(z)
        own = self._own_dtype()
        wide = own or (z.dtype if z.dtype == torch.float64 else torch.float32)
        result = super().__call__(z.to(wide), *args, **kwargs)
        if own is None and z.dtype != wide and isinstance(result, Tensor):
            return result.to(z.dtype)
        return result  # type: ignore[no-any-return]

    def check_measurements(self, z: Tensor) -> None:
        """Refuses measurements that no method can use, and warns of those on another scale.

        Raises:
            DataError: if z is not a tensor of finite real floating-point numbers.
        """
        name = self.__dict__.get("_registered_as") or type(self).__name__
        on_gpu = isinstance(z, Tensor) and z.is_cuda
        check_measurements(z, name, lambda: self._largest_measurement(z), look=not (self.training and on_gpu))

    def _largest_measurement(self, z: Tensor) -> float | None:
        if self._problem is None or self._setup_shape is None:
            return None
        return self._problem.largest_measurement(self._setup_shape, z.to(self._own_dtype() or torch.float32))

    def _own_dtype(self) -> torch.dtype | None:
        """That of the first weight; None for a method without."""
        state = chain(self.parameters(), self.buffers())
        return next((tensor.dtype for tensor in state if tensor.is_floating_point()), None)

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Reconstructions `[B, C, H, W]` of the measurements z `[B, ...range]`."""

    def preview(self, z: Tensor) -> Tensor:
        """R(z) in evaluation, as accurately as it takes to compare weights: trainers validate by it.

        A method whose reconstructions take iterations may do with fewer of them here.
        """
        return self(z)


def certainly_lacks(cls: type, capability: type) -> bool:
    """Whether a method or property of a capability is missing in a class, so that no instance can have it."""
    bases = [base for base in capability.__mro__ if base not in (Protocol, Generic, object)]
    members = {name for base in bases for name in vars(base) if not name.startswith("_")}
    return not all(hasattr(cls, name) for name in members)


@runtime_checkable
class LearnsForwardMap(Protocol):
    """A reconstructor that also holds a model of the forward operator."""

    @property
    def target_operator(self) -> Operator:
        """The operator on X that the forward map stands for: F, or A*A/||A||² where Y is not X."""
        ...

    def forward_map(self, x: Tensor) -> Tensor:
        """The learned forward map at x, an approximation of F(x); x and the result are `[B, C, H, W]`."""
        ...


@runtime_checkable
class LearnsDenoiser(Protocol):
    """A reconstructor with a denoiser that is trained by itself, before it is plugged into a reconstruction."""

    @property
    def denoiser_std(self) -> float:
        """The standard deviation of the white noise that it is to remove, for images in [0, 1]."""
        ...

    def denoise(self, x: Tensor) -> Tensor:
        """The denoised images, `[B, C, H, W]`."""
        ...


@runtime_checkable
class HasLocalForwardMap(Protocol):
    """A reconstructor whose forward map is local, with a known radius."""

    @property
    def forward_map_radius(self) -> int:
        """The forward map at a pixel depends only on pixels at most so many rows and columns away."""
        ...


@runtime_checkable
class ActsOnLiftedStates(Protocol):
    """A reconstructor R = unlift o phi^-1 o lift, whose network phi maps states to states instead of images to images.

    The state of an image `[B, C, H, W]` has M channels, M/C stacked copies of each of the image's, and may have more
    pixels (a padding). What is proven of phi and phi^-1 holds among states: there they are inverse to each other, which
    images only inherit approximately. Distances of states, divided by sqrt(M/C), compare with those of images.
    """

    def lift(self, x: Tensor) -> Tensor:
        """The states `[B, M, ...]` of the images, or of measurements that are images, `[B, C, H, W]`."""
        ...

    def phi(self, state: Tensor) -> Tensor:
        """The network, on states."""
        ...

    def unlift(self, state: Tensor) -> Tensor:
        """The images of states: `unlift(lift(x))` is x, and distances shrink by sqrt(M/C) at least."""
        ...


@runtime_checkable
class FollowsTraining(Protocol):
    """A reconstructor that changes with the progress of its training (say, the accuracy of an inner solver)."""

    def training_progress(self, fraction: float) -> None:
        """Called by trainers before each step with the share of all steps that is done, in [0, 1)."""
        ...


@runtime_checkable
class FinalisesWeights(Protocol):
    """A reconstructor whose weights are put into their final form after training, before they are saved."""

    def finalise(self) -> None:
        """Called once after training, before the weights are saved, evaluated and certified."""
        ...


@runtime_checkable
class CertifiesStability(Protocol):
    """A reconstructor that can prove Lipschitz bounds of itself, for the weights that it has."""

    def certificate(self) -> StabilityCertificate:
        """Makes a certificate of the weights as evaluation uses them; it may take a minute.

        Raises:
            CertificateError: if nothing can be certified (weights that are not finite, say).
        """
        ...

    def verify(self, certificate: StabilityCertificate) -> None:
        """Checks a certificate against the weights, without searching again; much faster than making it.

        Raises:
            CertificateError: if it belongs to other weights, or claims what does not hold.
        """
        ...


class BoundedReconstruction(Protocol):
    """Reconstructed images with proven distances to the exact ones.

    Attributes:
        image: `[B, C, H, W]`.
        error_bound: `[B]`: proven bounds of the Euclidean distance ||image - R(z)||; None without a proof.
        data_error_bound: `[B]`: proven bounds of ||image - R(z')|| for all z' as near to z as the data error says; None
            without one. They exceed the error bounds by the same amount for every image of this size.
    """

    @property
    def image(self) -> Tensor: ...

    @property
    def error_bound(self) -> Tensor | None: ...

    @property
    def data_error_bound(self) -> Tensor | None: ...


@runtime_checkable
class ReconstructsWithBound(Protocol):
    """A reconstructor that can prove how far a computed reconstruction is from the exact one."""

    def reconstruct(
        self, z: Tensor, tolerance: float = 1e-3, certify: bool = True, data_error: float = 0.0
    ) -> BoundedReconstruction:
        """Reconstructions of the measurements z `[B, ...range]`, with a proof.

        Args:
            z: the measurements.
            tolerance: the Euclidean distance ||x - R(z)|| to reach for each image.
            certify: whether the distance is proven.
            data_error: the Euclidean distance between each z and the exact measurement.

        Raises:
            CertificateError: if nothing can be proven of the weights.

        Warns:
            ConvergenceWarning: if an image is not proven to be within the tolerance.
        """
        ...

    def accept(self, certificate: StabilityCertificate) -> None:
        """Takes a certificate that was verified before, so that no proof has to be made or checked again.

        Raises:
            CertificateError: if it belongs to other weights.
        """
        ...


@runtime_checkable
class DescribesArchitecture(Protocol):
    """A reconstructor that can say what it is made of."""

    def architecture(self) -> Architecture:
        """The network as it is built, for images of the shape that `setup` was told.

        Raises:
            InvregError: before `setup`.
        """
        ...
