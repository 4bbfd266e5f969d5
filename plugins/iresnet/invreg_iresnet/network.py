"""Invertible residual networks as reconstruction methods."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg.errors import InvregError, SpecError, TrainingError
from invreg.operator import LinearOperator, NormalOperator, Operator, Shape
from invreg.problem import Problem
from invreg.reconstructor import Reconstructor
from invreg.trainer import search_choices
from invreg_iresnet.accuracy import Accuracy, exact, for_training
from invreg_iresnet.bounds import LipschitzBounds, residual_bounds
from invreg_iresnet.convergence import warn_if_short
from invreg_iresnet.inversion import Inversion, invert_chain
from invreg_iresnet.lifting import Lifting
from invreg_iresnet.precision import arithmetic, autocast_dtype
from invreg_iresnet.residuals import ResidualStack, residual


class IResNet(Reconstructor):
    """Reconstruction by the inverse of an invertible residual network that has learned to be the forward operator.

    The network is phi = phi_1 o ... o phi_N with phi_i = Id - f_i, equation (2.1) of the paper, on states in X^M.
    Each residual function f_i = W_i S_i K_i (see `ResidualStack`) has a Lipschitz constant of at most L_i < 1, so
    that phi_i is inverted by the fixed-point iteration x <- z + f_i(x), and

        Lip(phi^-1) <= prod 1 / (1 - L_i) = 1 / (1 - L),    (1 - L_i)^N = 1 - L,    equation (2.3).

    An image is brought into X^M by subtracting a constant, reflect padding and stacking M/C copies; a state is
    brought back by the mean over the copies (see `Lifting`). So, up to that constant, the reconstruction is R(z) = C
    m(phi^-1(s(P z))), and the learned forward operator on X is x -> C m(phi(s(P x))). On X^M, phi and phi^-1 are
    inverse to each other; in X, these two maps are so only approximately, as the mean and the crop forget something.

    Where measurements are not in X, a linear operator A is replaced by A*A / ||A||^2 and z by A* z / ||A||^2.

    In evaluation, every fixed point is found to `tolerance`, in true float32 (or float64) whatever autocast says; a
    `ConvergenceWarning` tells if one was not. In training, the first half of the steps makes do with one iteration each
    way; from then on (or always, if nobody tells the progress), fixed points are found to `training_tolerance` and
    gradients to ten times that. Under autocast, training runs the convolutions in its dtype, while states and residuals
    keep theirs.

    The paper has `padding=0` and `center=0`; its small network has 12 subnetworks, 32 channels and 64 hidden ones. For
    derivatives with respect to z only, `requires_grad_(False)` saves the gradients of the weights.

    Args:
        subnetworks: N; more of them make smaller L_i and faster iterations.
        channels: M, a multiple of the channels C of an image.
        hidden: channels within each residual function.
        kernel_size: side of the kernels of K_i, odd; 3 at least.
        lipschitz: L in (0, 1); close to 1 for small noise.
        padding: pixels of reflect padding on each side, without which zero padding spoils the borders.
        center: the constant that is subtracted, near the mean of the images.
        tolerance: relative residual ||z + f_i(x) - x|| / ||z + f_i(x)|| of each image at the end of each iteration.
        max_iterations: largest number of iterations for each subnetwork.
        training_tolerance: the same in training; with the default, gradients have a cosine of 0.997 or more with exact
            ones (measured on small networks), and a smaller one did not improve the result.

    Raises:
        SpecError: if a number is out of its range.

    Source: Arndt & Nickel 2024, sections 2 and 4.1.
    """

    _operator: Operator
    _normal: NormalOperator | None
    _image_size: tuple[int, int]

    def __init__(
        self,
        subnetworks: Annotated[
            int,
            Field(description="N, the length of the chain", ge=1, json_schema_extra=search_choices([8, 12, 16, 20])),
        ] = 20,
        channels: Annotated[
            int, Field(description="M, channels of the states, a multiple of those of an image", ge=1)
        ] = 64,
        hidden: Annotated[
            int,
            Field(
                description="channels within each residual function",
                ge=1,
                json_schema_extra=search_choices([32, 64, 128]),
            ),
        ] = 128,
        kernel_size: Annotated[
            int, Field(description="side of the kernels, odd", ge=3, json_schema_extra=search_choices([3, 5, 7]))
        ] = 5,
        lipschitz: Annotated[
            float, Field(description="L: the inverse has Lipschitz constant 1 / (1 - L)", gt=0, lt=1)
        ] = 0.999,
        padding: Annotated[int, Field(description="pixels of reflect padding on each side", ge=0)] = 6,
        center: Annotated[
            float, Field(description="constant subtracted from images and measurements", ge=0, le=1)
        ] = 0.45,
        tolerance: Annotated[float, Field(description="relative residual of each inversion", gt=0, lt=1)] = 1e-5,
        max_iterations: Annotated[int, Field(description="largest number of iterations per subnetwork", ge=1)] = 200,
        training_tolerance: Annotated[float, Field(description="relative residual while training", gt=0, lt=1)] = 3e-3,
    ) -> None:
        super().__init__()
        _check("subnetworks", subnetworks, subnetworks >= 1, "at least 1")
        _check("channels", channels, channels >= 1, "at least 1")
        _check("hidden", hidden, hidden >= 1, "at least 1")
        _check("kernel_size", kernel_size, kernel_size >= 3 and kernel_size % 2 == 1, "an odd number from 3 on")
        _check("lipschitz", lipschitz, 0 < lipschitz < 1, "0 < L < 1, for a network that is surely invertible")
        _check("padding", padding, padding >= 0, "at least 0")
        _check("center", center, math.isfinite(center), "a finite number")
        _check("tolerance", tolerance, 0 < tolerance < 1, "a number between 0 and 1")
        _check("max_iterations", max_iterations, max_iterations >= 1, "at least 1")
        _check("training_tolerance", training_tolerance, 0 < training_tolerance < 1, "a number between 0 and 1")
        self.subnetworks, self.channels, self.hidden, self.kernel_size = subnetworks, channels, hidden, kernel_size
        self.lipschitz, self.padding, self.center = lipschitz, padding, center
        self.tolerance, self.max_iterations = tolerance, max_iterations
        self.training_tolerance = training_tolerance
        self.residuals: ResidualStack | None = None
        self.lifting: Lifting | None = None
        self._progress: float | None = None

    @property
    def residual_bound(self) -> float:
        """L_i = 1 - (1 - L)^(1/N), the Lipschitz bound of each residual function."""
        return -math.expm1(math.log1p(-self.lipschitz) / self.subnetworks)

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Makes the weights, from torch's global random numbers.

        Raises:
            SpecError: if the channels of the images do not divide `channels`, or a nonlinear operator leaves X.
            ShapeError: if the images are too small for the padding.
        """
        image_channels, height, width = image_shape
        if self.channels % image_channels:
            raise SpecError(
                f"{self.channels} channels for images with {image_channels}",
                where="iresnet.channels",
                expected=f"a multiple of {image_channels}: a state is a stack of copies of the image",
                hint=f"{math.ceil(self.channels / image_channels) * image_channels}",
            )
        lifting = Lifting(image_channels, self.channels // image_channels, self.padding, self.center)
        lifting.check_size(height, width)
        operator = problem.operator
        in_image_space = tuple(operator.range_shape(image_shape)) == tuple(image_shape)
        normal = None if in_image_space else _normal_operator(operator, image_shape)
        # Past nn.Module's bookkeeping: operators are no part of this network, to be saved or counted with its weights.
        self.__dict__.update(_normal=normal, _operator=normal or operator)
        self.lifting = lifting
        self.residuals = ResidualStack(
            self.subnetworks, self.channels, self.hidden, self.kernel_size, self.residual_bound
        )
        self._image_size = height, width

    @property
    def target_operator(self) -> Operator:
        """F, or A*A / ||A||^2 where measurements are not in X."""
        self._parts()
        return self._operator

    def forward(self, z: Tensor) -> Tensor:
        """R(z) `[B, C, H, W]` for measurements z `[B, ...range]`, in the dtype of the parameters.

        Images may have another size than those of `setup`. What becomes of an image does not depend on the batch it
        is in.

        Raises:
            ShapeError: if z does not have the shape of measurements, or is too small for the padding.
            ConvergenceError: if z or the weights are not finite.
        """
        lifting, stack = self._parts()
        accuracy = self._accuracy(stack)
        with arithmetic(z.device, tf32=self.training):
            if self._normal is not None:
                z = self._normal.pull_back(z.to(stack.kernels.dtype))
            inversion = invert_chain(self.lift(z), stack.weights(), accuracy)
            warn_if_short(
                inversion.courses,
                what="a reconstruction",
                tolerance=accuracy.forward.tolerance,
                bound=accuracy.bound,
                dtype=accuracy.dtype,
            )
            return lifting.unlift(inversion.x)

    def forward_map(self, x: Tensor) -> Tensor:
        """What the network believes F(x) to be, C m(phi(s(P x))), for images x `[B, C, H, W]`.

        Explicit, and differentiable in every way that torch.func knows.
        """
        return self.unlift(self.phi(self.lift(x)))

    def lift(self, x: Tensor) -> Tensor:
        """The state `[B, M, H + 2 padding, W + 2 padding]` of images (or measurements in X) `[B, C, H, W]`."""
        lifting, stack = self._parts()
        return lifting.lift(x.to(stack.kernels.dtype))

    def unlift(self, state: Tensor) -> Tensor:
        """The image `[B, C, H, W]` of a state."""
        return self._parts()[0].unlift(state)

    def phi(self, state: Tensor) -> Tensor:
        """phi(x) = phi_1(...(phi_N(x))) for states x `[B, M, H, W]`."""
        lifting, stack = self._parts()
        lifting.check_state(state)
        dtype = self._convolution_dtype(stack)
        with arithmetic(state.device, tf32=self.training):
            weights = stack.weights()
            state = state.to(stack.kernels.dtype)
            for index in reversed(range(len(stack))):
                state = state - residual(state, weights, index, dtype)
        return state

    def invert(self, z: Tensor, tolerance: float | None = None, max_iterations: int | None = None) -> Inversion:
        """phi^-1(z) for states z `[B, M, H, W]`, with an account of the iterations, whatever became of them.

        Args:
            z: states; `lift` makes them.
            tolerance: relative residual, `self.tolerance` if left out.
            max_iterations: for each subnetwork, `self.max_iterations` if left out.

        Raises:
            ConvergenceError: if z or the weights are not finite.
            ShapeError: if z does not have the shape of states.
            SpecError: if the tolerance or the number of iterations is not positive.
        """
        lifting, stack = self._parts()
        lifting.check_state(z)
        tolerance = self.tolerance if tolerance is None else tolerance
        max_iterations = self.max_iterations if max_iterations is None else max_iterations
        if not (tolerance > 0 and max_iterations >= 1):
            raise SpecError(
                f"tolerance {tolerance}, max_iterations {max_iterations}",
                where="iresnet.invert",
                expected="a positive tolerance and at least one iteration",
            )
        dtype = stack.kernels.dtype
        accuracy = exact(tolerance, max_iterations, bound=self.residual_bound, dtype=dtype)
        with arithmetic(z.device, tf32=False):
            return invert_chain(z.to(dtype), stack.weights(), accuracy)

    def lipschitz_bounds(self, points: int | None = None) -> LipschitzBounds:
        """Rigorous Lipschitz bounds of the network, as it is used in evaluation.

        Norms of the k x k convolutions are maxima over a grid of n x n frequencies times the factor cos(pi m / n)^-2,
        m = (k - 1)/2, by which no frequency between them can be larger; norms of the 1x1 convolutions are computed.
        So these are bounds, up to rounding in float64, for the weights as they are and images of any size (only the
        norm of the padding is for images of the size that `setup` was told).

        Args:
            points: n, more than 2m; 32m if left out, which makes a factor of 1.01. Takes a minute for the paper's large
                network on a CPU, and grows with n^2.
        """
        lifting, stack = self._parts()
        with torch.no_grad():
            residuals = residual_bounds(stack.evaluation_weights(), points or 32 * (self.kernel_size // 2))
        return LipschitzBounds(residuals, lifting.padding_norm(*self._image_size))

    def training_progress(self, fraction: float) -> None:
        """Told by trainers before each step: the share of all steps that is done; early steps are cheaper."""
        if not 0 <= fraction <= 1:
            raise TrainingError(
                f"progress {fraction}", where="iresnet.training_progress", expected="0 <= fraction <= 1"
            )
        self._progress = fraction

    def extra_repr(self) -> str:
        return f"lipschitz={self.lipschitz}, padding={self.padding}, center={self.center}, tolerance={self.tolerance}"

    def _parts(self) -> tuple[Lifting, ResidualStack]:
        if self.lifting is None or self.residuals is None:
            raise InvregError(
                "the network has no weights yet", where="iresnet", hint="call net.setup(problem, image_shape) first"
            )
        dtype = self.residuals.kernels.dtype
        if dtype not in (torch.float32, torch.float64):
            raise InvregError(
                f"weights in {dtype}",
                where="iresnet",
                expected="float32 or float64: neither norms nor fixed points can be had in less",
                hint="net.float(), and train under torch.autocast for fast convolutions",
            )
        return self.lifting, self.residuals

    def _accuracy(self, stack: ResidualStack) -> Accuracy:
        bound, dtype = self.residual_bound, self._convolution_dtype(stack)
        if self.training:
            progress, tolerance = self._progress, self.training_tolerance
            return for_training(progress, tolerance, self.max_iterations, bound=bound, dtype=dtype)
        return exact(self.tolerance, self.max_iterations, bound=bound, dtype=dtype)

    def _convolution_dtype(self, stack: ResidualStack) -> torch.dtype:
        return autocast_dtype(stack.kernels) if self.training else stack.kernels.dtype


def _check(name: str, value: float, fine: bool, expected: str) -> None:
    if not fine:
        raise SpecError(f"{value}", where=f"iresnet.{name}", expected=expected)


def _normal_operator(operator: Operator, image_shape: Shape) -> NormalOperator:
    if isinstance(operator, LinearOperator):
        return NormalOperator(operator, image_shape)
    raise SpecError(
        f"{type(operator).__name__} maps images {tuple(image_shape)} to {tuple(operator.range_shape(image_shape))}",
        where="iresnet",
        expected="an operator from X to X, or a linear one (which is replaced by A*A / ||A||^2)",
        hint="another reconstructor, or an operator that ends with a map back to X",
    )
