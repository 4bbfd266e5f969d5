"""Networks of torch as reconstructors."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from invreg.components.foreign import require_values
from invreg.components.operator import LinearOperator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.errors import InvregError, ShapeError, SpecError, message_of
from invreg.interop.foreign import SPEC_HINT


class NetworkReconstructor(Reconstructor):
    """R(z) = N(y) for a network N of torch from images to images.

    y = z if measurements have the shape of images, and y = A* z / ||A||² for linear operators A between different
    spaces; or y is the image of another method, `start`.

    The weights of N are those of the reconstructor: they are trained and saved with it. For specs, a plugin derives a
    class with parameters of its own, which writes `make_network`; initial weights then follow from the seed.
    """

    spec_hint = SPEC_HINT

    def __init__(self, network: nn.Module | None = None, start: Reconstructor | None = None) -> None:
        super().__init__()
        self.network = network
        self.start = start
        self._pulls_back = False

    def make_network(self, image_shape: Shape) -> nn.Module:
        """The network for images of this shape, (C, H, W); called by `setup`, where none was given."""
        raise NotImplementedError(f"{type(self).__name__} without a network: give one, or write make_network()")

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Makes the network, where none was given, and calls it once, on an image of zeros, in evaluation mode.

        Raises:
            SpecError: if measurements are not images, the operator is not linear, and there is no start.
            ShapeError: if the network does not take such an image, or gives something else.
        """
        super().setup(problem, image_shape)
        if self.network is None:
            self.network = self.make_network(tuple(image_shape))
        measured = problem.operator.range_shape(tuple(image_shape))
        self._pulls_back = self.start is None and measured != tuple(image_shape)
        if self._pulls_back and not isinstance(problem.operator, LinearOperator):
            raise SpecError(
                f"measurements of shape {measured} of {type(problem.operator).__name__}, which is not linear",
                where=type(self).__name__,
                expected="measurements that are images, or a linear operator",
                hint="a start: a method without weights, whose image the network is given",
            )
        if self.start is not None:
            self.start.setup(problem, image_shape)
        _try(self.network, tuple(image_shape), type(self).__name__)

    def forward(self, z: Tensor) -> Tensor:
        if self.start is not None:
            y = self.start(z)
        elif self._pulls_back:
            y = self.problem.normal_operator(cast(Shape, self._setup_shape)).pull_back(z)
        else:
            y = z
        return cast(Tensor, cast(nn.Module, self.network)(y))


def _try(network: nn.Module, image_shape: Shape, where: str) -> None:
    like = next((tensor for tensor in network.parameters() if not _is_lazy(tensor)), torch.zeros(()))
    zeros = torch.zeros((1, *image_shape), dtype=like.dtype, device=like.device)
    training = network.training
    try:
        with torch.no_grad():
            found = network.eval()(zeros)
    except InvregError:
        raise
    except Exception as error:
        raise ShapeError(
            f"{type(network).__name__} does not take an image of shape {[1, *image_shape]}: {message_of(error)[:300]}",
            where=where,
            expected="a network from images to images of the same shape, for a batch [B, C, H, W]",
        ) from error
    finally:
        network.train(training)
    require_values(found, zeros.shape, network, where)


def _is_lazy(tensor: Any) -> bool:
    return isinstance(tensor, nn.parameter.UninitializedParameter)


def reconstructor_from_torch(network: nn.Module, start: Reconstructor | None = None) -> NetworkReconstructor:
    """A network of torch as a reconstructor, which `invreg.train` trains in place.

    Args:
        network: maps batches of images `[B, C, H, W]` to images of the same shape.
        start: a method without weights, such as `fbp`, whose image the network is given; if None, that is z, or
            A* z / ||A||² where measurements have another shape than images.

    Raises:
        InvregError: if it is not a module.
    """
    if not isinstance(network, nn.Module) or isinstance(network, Reconstructor):
        what = "a reconstructor already" if isinstance(network, Reconstructor) else "not a torch module"
        hint = f"an instance of it: {network.__name__}(...)" if isinstance(network, type) else None
        raise InvregError(
            f"{getattr(network, '__name__', type(network).__name__)} is {what}",
            where="reconstructor_from_torch",
            expected="an instance of torch.nn.Module, from images to images",
            hint=hint,
        )
    return NetworkReconstructor(network, start)
