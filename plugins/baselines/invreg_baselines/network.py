"""The base of the networks from images to images: their input, and padding and centring."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import (
    Architecture,
    InvregError,
    LeftOut,
    Odd,
    Operator,
    Problem,
    PullBack,
    Reconstructor,
    Shape,
    ShapeError,
    SpecError,
    search_choices,
)
from invreg_baselines.description import Frame, Parts
from invreg_baselines.pull_back import check_start, needs_pull_back, set_up_start

KernelSize = Annotated[
    int,
    Field(
        ge=1,
        description="side of the kernels of all convolutions that have one",
        json_schema_extra={**search_choices([3, 5, 7]), "unit": "pixels"},
    ),
    Odd(),
]
Center = Annotated[
    float,
    Field(
        description="a constant near the mean of the images, subtracted before the network and added after it; 0 "
        "switches it off"
    ),
]
Start = Annotated[
    Reconstructor | None,
    Field(
        description="a method without weights, such as fbp, whose image the network is given; by default z, or "
        "A*z/||A||² where measurements have another shape than images"
    ),
]
PulledBack = Annotated[
    PullBack | None,
    Field(
        description="a linear map P to images, such as tikhonov, as invertible networks take it: the network is given "
        "P z; in place of start"
    ),
    LeftOut(),
]
Padding = Annotated[
    int,
    Field(
        ge=0,
        description="padding by reflection on each side of the image; 0 switches it off",
        json_schema_extra={"unit": "pixels"},
    ),
]


class ImageNetwork(Reconstructor):
    """Base of networks N from images [C, H, W], or volumes [C, D, H, W], to such, which reconstruct by

        R(z) = center + crop(N(pad(y - center))),

    where y = z if measurements have the shape of images, and y = A* z / ||A||² for linear operators A between different
    spaces; or y = P z for a `pull_back` P, or the image of another method without weights, `start`. Convolutions
    continue images by zero beyond their edges, which does the least harm where zero is near the mean of the images and
    where the edge is some pixels away from what is kept: hence `center` and `padding`. The paper mentions neither; 0
    and 0 is its form.

    Images may have another size than in training: the padding reflects them as often as needed.

    Subclasses write `build`, which makes the layers once the numbers of channels and of spatial axes, `axes`, are
    known, `transform`, which is N, and `parts`, the layers of N.
    """

    needs_training = True

    #: The sides of what `transform` is given are multiples of this.
    multiple = 1
    #: For how many spatial axes there are layers: images have two, volumes three.
    supported_axes: tuple[int, ...] = (2, 3)
    #: Spatial axes of the images given to `setup`.
    axes = 2

    def __init__(
        self, kernel_size: int, center: float, padding: int, start: Reconstructor | None, pull_back: PullBack | None
    ) -> None:
        super().__init__()
        if start is not None and pull_back is not None:
            raise SpecError(
                f"{type(pull_back).__name__}, beside the start {type(start).__name__}",
                where="pull_back",
                expected="one of both: the network is given the image of one method",
            )
        self.kernel_size, self.center, self.padding = kernel_size, center, padding
        self.start = start if pull_back is None else pull_back
        self._start_name = "start" if pull_back is None else "pull_back"
        self.image_channels: int | None = None
        self._shapes: tuple[Shape, Shape] | None = None
        self._pulls_back = False

    def check_operator(self, operator: Operator) -> None:
        """Refuses operators that the start is not for."""
        if self.start is not None:
            check_start(self.start, operator, self._start_name)

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Makes the layers for images of this many channels.

        Raises:
            ShapeError: if `image_shape` is not the shape of an image.
            SpecError: if measurements do not have the shape of images and the operator is not linear; or if `start` has
                weights, or is not for this problem.
        """
        if len(image_shape) - 1 not in self.supported_axes:
            raise ShapeError(
                f"image_shape {tuple(image_shape)}",
                where=type(self).__name__,
                expected="(channels, height, width)"
                + (", or (channels, depth, height, width) for volumes" if 3 in self.supported_axes else ""),
                hint=None if 3 in self.supported_axes else "for volumes: conv_resnet, unet or explicit_iresnet",
            )
        shape = tuple(image_shape)
        self.axes = len(shape) - 1
        self._pulls_back = self.start is None and needs_pull_back(problem, shape, type(self).__name__)
        self.build(shape[0])
        # The layout in which CPUs and GPUs convolve fastest; for the layers only, so the problem comes afterwards.
        self.to(memory_format=self._layout)  # type: ignore[call-overload]
        super().setup(problem, shape)
        if self.start is not None:
            set_up_start(self.start, problem, shape, self._start_name)
        if self._pulls_back:
            problem.normal_operator(shape)  # its norm is computed now
        self.image_channels = shape[0]
        self._shapes = tuple(problem.operator.range_shape(shape)), shape
        self.train(self.training)  # what was built a moment ago follows eval() that was called before

    @abstractmethod
    def build(self, channels: int) -> None:
        """Makes the layers, with their initial weights, for images of `channels` channels."""

    @abstractmethod
    def transform(self, x: Tensor) -> Tensor:
        """N(x), of the shape of x `[B, C, *spatial]`, for x that is centred and padded."""

    @abstractmethod
    def parts(self, shape: Shape, entrance: str) -> Parts:
        """The layers of N for an input of this shape; `entrance` is the stage before it."""

    def architecture(self) -> Architecture:
        """The network as it is built, for images of the shape given to `setup`.

        Raises:
            InvregError: before `setup`.
        """
        if self._shapes is None:
            raise self._no_layers()
        range_shape, (channels, *size) = self._shapes
        padded = channels, *(self._padded(length) for length in size)
        frame = Frame(range_shape, (channels, *size), padded, self._reads(), self.center)
        return frame.architecture(self.parts(padded, frame.entrance))

    def forward(self, z: Tensor) -> Tensor:
        """R(z) `[B, C, *spatial]`, for z `[B, ...range]`.

        Raises:
            InvregError: before `setup`.
            ShapeError: if z is not a batch of measurements of images with the right number of channels.
        """
        if self.image_channels is None:
            raise self._no_layers()
        y = self._in_image_space(z)
        if y.ndim != self.axes + 2 or y.shape[1] != self.image_channels or 0 in y.shape[2:]:
            raise ShapeError(
                f"a batch of shape {tuple(y.shape)}",
                where=type(self).__name__,
                expected=f"[B, {self.image_channels}, {'H, W' if self.axes == 2 else 'D, H, W'}], with sides of at "
                "least 1",
                hint="z[None] makes a batch of one image" if y.ndim == self.axes + 1 else None,
            )
        x = y - self.center
        for axis, side in enumerate(y.shape[2:], 2):
            x = x.index_select(axis, self._reflected(side, y.device))
        x = self.transform(x.contiguous(memory_format=self._layout))
        for axis, side in enumerate(y.shape[2:], 2):
            x = x.narrow(axis, self.padding, side)
        return x + self.center

    def extra_repr(self) -> str:
        return f"center={self.center:.4g}, padding={self.padding}"

    def _in_image_space(self, z: Tensor) -> Tensor:
        if self.start is not None:
            y: Tensor = self.start(z)
            return y
        if self._pulls_back and self._shapes is not None:
            return self.problem.normal_operator(self._shapes[1]).pull_back(z)
        return z

    @property
    def _layout(self) -> torch.memory_format:
        """In which CPUs and GPUs convolve fastest."""
        return torch.channels_last if self.axes == 2 else torch.channels_last_3d

    def _reads(self) -> str:
        """What the network is given, as a formula."""
        if isinstance(self.start, PullBack) and self._start_name == "pull_back":
            return self.start.formula
        if self.start is not None:
            return f"{self.start.__dict__.get('_registered_as') or type(self.start).__name__}(z)"
        return "A*z / ‖A‖²" if self._pulls_back else "z"

    def _reflected(self, size: int, device: torch.device) -> Tensor:
        """The pixels of an axis in the order in which the padded axis shows them."""
        period = max(2 * (size - 1), 1)
        index = torch.arange(-self.padding, self._padded(size) - self.padding, device=device) % period
        return torch.minimum(index, period - index)

    def _padded(self, size: int) -> int:
        """The length of an axis with its padding."""
        padded = size + 2 * self.padding
        return padded + -padded % self.multiple

    def _no_layers(self) -> InvregError:
        return InvregError("has no layers yet", where=type(self).__name__, hint="setup(problem, image_shape)")
