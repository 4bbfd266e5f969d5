"""Invertible residual networks as reconstruction methods."""

from __future__ import annotations

import math
import warnings
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from invreg import ConvergenceWarning, Problem, Shape, SpecError, search_choices
from invreg_iresnet.certificate.network_certificate import Role
from invreg_iresnet.inversion.accuracy import Accuracy, exact
from invreg_iresnet.inversion.convergence import short_of
from invreg_iresnet.inversion.fixed_point import Course
from invreg_iresnet.inversion.inversion import Inversion, Starts, invert_chain
from invreg_iresnet.inversion.starts import LearnedStarts
from invreg_iresnet.invertible_chain import InvertibleChain
from invreg_iresnet.network.precision import arithmetic
from invreg_iresnet.network.residuals import Weights, residual
from invreg_iresnet.network.scales import through
from invreg_iresnet.parameters import (
    HALF_RESOLUTION,
    Border,
    Center,
    ChainStage,
    Channels,
    Hidden,
    KernelSize,
    MaxIterations,
    Normalisation,
    Padding,
    PulledBack,
    Stages,
    TargetBound,
)

# Of validations in a training: half the evaluations of 1e-5, and the PSNR differs by some 0.002 dB.
_PREVIEW_TOLERANCE = 1e-3


_Lipschitz = Annotated[
    float,
    Field(description="L: the inverse has Lipschitz constant 1 / (1 - L); close to 1 for small noise", gt=0, lt=1),
]
_Tolerance = Annotated[float, Field(description="relative residual of each inversion", gt=0, lt=1)]
_TrainingTolerance = Annotated[float, Field(description="relative residual while training", gt=0, lt=1)]


class ImplicitChain(InvertibleChain):
    """A chain of phi_i = Id - f_i, inverted by fixed points: see `IResNet`."""

    role: Role = "forward"

    starts: LearnedStarts
    gradient_starts: LearnedStarts
    further_starts: nn.ModuleList
    further_gradient_starts: nn.ModuleList

    @property
    def residual_bound(self) -> float:
        """L_i = 1 - (1 - L)^(1/N), the Lipschitz bound of each residual function."""
        return -math.expm1(math.log1p(-self.lipschitz) / self.subnetworks)

    @property
    def forward_map_radius(self) -> int:
        """Each subnetwork sees half a kernel; padding by reflection is not farther away than what it copies."""
        return sum(stage.reach for stage in self.stages)

    @property
    def memory_per_pixel(self) -> float | None:
        """About six states and two layers of hidden activations in float32."""
        return 4.0 * (6 * self.channels + 2 * self._hidden_per_pixel)

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        super().setup(problem, image_shape)
        axes = len(self._image_size)
        (self.starts, *further), (self.gradient_starts, *further_gradients) = (
            [LearnedStarts(stage.subnetworks, self.channels * stage.scale**axes, axes) for stage in self.stages]
            for _ in range(2)
        )
        self.further_starts = nn.ModuleList(further)
        self.further_gradient_starts = nn.ModuleList(further_gradients)

    def _invert(self, z: Tensor, accuracy: Accuracy) -> Tensor:
        inversion = self._inversion(z, accuracy)
        error = short_of(
            inversion.courses,
            what="a reconstruction",
            tolerance=accuracy.forward.tolerance,
            bound=accuracy.bound,
            dtype=accuracy.dtype,
        )
        # A result that has not converged must not be learned from; as an image it is still of use.
        if error and self.training:
            raise error
        if error:
            warnings.warn(str(error), ConvergenceWarning, stacklevel=2)
        return inversion.x

    def preview(self, z: Tensor) -> Tensor:
        """R(z) in evaluation, with fixed points to 1e-3 (or to `tolerance`, if that is larger)."""
        tolerance = self.tolerance
        self.tolerance = max(tolerance, _PREVIEW_TOLERANCE)
        try:
            return self(z)
        finally:
            self.tolerance = tolerance

    def phi(self, state: Tensor) -> Tensor:
        """phi(x) = phi_1(...(phi_N(x))) for states x `[B, M, *spatial]`.

        Explicit, and differentiable by all transforms of torch.func.
        """
        self._parts()[0].check_state(state)
        dtype = self._convolution_dtype()

        def apply(x: Tensor, weights: Weights) -> Tensor:
            for index in reversed(range(len(weights.kernels))):
                x = x - residual(x, weights, index, dtype)
            return x

        with arithmetic(state.device, tf32=self.training):
            stages = self._weights()
            return through(state.to(self._dtype), stages[::-1], apply)

    def invert(self, z: Tensor, tolerance: float | None = None, max_iterations: int | None = None) -> Inversion:
        """phi^-1(z) for states z `[B, M, *spatial]`, with a record of the iterations, also of those that fail.

        Args:
            z: states; `lift` makes them.
            tolerance: relative residual, `self.tolerance` if left out.
            max_iterations: for each subnetwork, `self.max_iterations` if left out.

        Raises:
            ConvergenceError: if z or the weights are not finite.
            ShapeError: if z does not have the shape of states.
            SpecError: if the tolerance or the number of iterations is not positive.
        """
        self._parts()[0].check_state(z)
        tolerance = self.tolerance if tolerance is None else tolerance
        max_iterations = self.max_iterations if max_iterations is None else max_iterations
        if not (tolerance > 0 and max_iterations >= 1):
            raise SpecError(
                f"tolerance {tolerance}, max_iterations {max_iterations}",
                where="iresnet.invert",
                expected="a positive tolerance and at least one iteration",
            )
        accuracy = exact(tolerance, max_iterations, bound=self.residual_bound, dtype=self._dtype)
        with arithmetic(z.device, tf32=False):
            return self._inversion(z.to(self._dtype), accuracy)

    def _forward_starts(self) -> list[LearnedStarts]:
        return [self.starts, *self.further_starts]  # type: ignore[list-item]

    def _inversion(self, z: Tensor, accuracy: Accuracy) -> Inversion:
        courses: list[Course] = []
        starts = zip(self._forward_starts(), [self.gradient_starts, *self.further_gradient_starts], strict=True)

        def apply(state: Tensor, weights: Weights) -> Tensor:
            found = invert_chain(state, weights, accuracy, Starts(*next(starts), learn=self.training))
            courses.extend(found.courses)
            return found.x

        return Inversion(through(z, self._weights(), apply), tuple(courses))


class IResNet(ImplicitChain):
    """Reconstruction by the inverse of an invertible residual network that has learned the forward operator.

    The network is phi = phi_1 o ... o phi_N with phi_i = Id - f_i, equation (2.1) of the paper, on states in X^M.
    Each residual function f_i = W_i S_i K_i (see `ResidualStack`) has a Lipschitz constant of at most L_i < 1, so
    that phi_i is inverted by the fixed-point iteration x <- z + f_i(x), and

        Lip(phi^-1) <= prod 1 / (1 - L_i) = 1 / (1 - L),    (1 - L_i)^N = 1 - L,    equation (2.3).

    An image is brought into X^M by subtracting a constant, reflect padding and stacking M/C copies; a state is
    brought back by the mean over the copies (see `Lifting`). So, up to that constant, the reconstruction is R(z) = C
    m(phi^-1(s(P z))), and the learned forward operator on X is x -> C m(phi(s(P x))). On X^M, phi and phi^-1 are
    inverse to each other; in X, these two maps are so only approximately, as the mean and the crop lose information.

    Where measurements are not in X, a linear operator A is replaced by A*A / ||A||^2 and z by A* z / ||A||^2; with a
    `pull_back` P by P A and P z, and everything that is proven holds with respect to z.

    In evaluation, every fixed point is found to `tolerance`, in true float32 (or float64), also under autocast; a
    `ConvergenceWarning` is given if one was not. In training, the first half of the steps takes one iteration each
    way; from then on (or always, without `training_progress`), fixed points are found to `training_tolerance` and
    gradients to 30 times that, measured on one batch of sixteen; the others take as many evaluations as that one took.
    A fixed point that misses its tolerance stops the step by a `ConvergenceError`. Under autocast, training runs the
    convolutions in its dtype, while states and residuals keep theirs.

    With the default `training_tolerance`, gradients of the quickstart's trained network have a cosine of 0.993 with
    exact ones (measured; 0.997 with 3e-3). The relative residual of an image is
    ||z + f_i(x) - x|| / ||z + f_i(x)||.

    The paper has `padding=0` and `center=0`; its small network has 12 subnetworks, 32 channels and 64 hidden ones. For
    derivatives with respect to z only, `requires_grad_(False)` saves the gradients of the weights.

    After training, `finalise` puts the stored weights into their final form, for which `certificate` proves bounds that
    are much smaller than 1 / (1 - L), and `reconstruct` gives images with a proven distance to the exact R(z).

    Source: Arndt & Nickel 2024, sections 2 and 4.1.
    """

    def __init__(
        self,
        subnetworks: Annotated[
            int,
            Field(
                description="N, the length of the chain; more of them make smaller L_i and faster iterations",
                ge=1,
                json_schema_extra=search_choices([8, 12, 16, 20]),
            ),
        ] = 20,
        channels: Channels = 64,
        hidden: Hidden = 128,
        kernel_size: KernelSize = 5,
        lipschitz: _Lipschitz = 0.999,
        padding: Padding = 6,
        center: Center = 0.45,
        tolerance: _Tolerance = 1e-5,
        max_iterations: MaxIterations = 200,
        training_tolerance: _TrainingTolerance = 5e-3,
        normalisation: Normalisation = "grid",
        pull_back: PulledBack = None,
        target_bound: TargetBound = None,
        border: Border = "reflect",
    ) -> None:
        super().__init__(
            [ChainStage(scale=1, subnetworks=subnetworks, hidden=hidden, kernel_size=kernel_size)],
            channels,
            lipschitz,
            padding,
            center,
            tolerance,
            max_iterations,
            training_tolerance,
            normalisation,
            pull_back,
            target_bound,
            border,
        )
        self.hidden, self.kernel_size = hidden, kernel_size


class MultiscaleIResNet(ImplicitChain):
    """`iresnet` with subnetworks at several resolutions: it sees farther at the same cost.

    Between stages, s x s neighbouring pixels become channels of one (`pixel_unshuffle`), or the other way round. These
    permutations are isometries with an exact inverse, so all that is proven of `iresnet` holds: the bounds of
    a subnetwork are those of a zero-padded convolution at its own resolution, and they multiply.

    Where the largest scale does not divide the sides of a padded image, the padding is wider at the bottom and on the
    right. By default it is tapered, so that it costs the bound nothing.
    """

    def __init__(
        self,
        stages: Stages = HALF_RESOLUTION,
        channels: Channels = 4,
        lipschitz: _Lipschitz = 0.999,
        padding: Padding = 6,
        center: Center = 0.45,
        tolerance: _Tolerance = 1e-5,
        max_iterations: MaxIterations = 200,
        training_tolerance: _TrainingTolerance = 5e-3,
        normalisation: Normalisation = "grid",
        pull_back: PulledBack = None,
        target_bound: TargetBound = None,
        border: Border = "tapered",
    ) -> None:
        super().__init__(
            stages,
            channels,
            lipschitz,
            padding,
            center,
            tolerance,
            max_iterations,
            training_tolerance,
            normalisation,
            pull_back,
            target_bound,
            border=border,
        )
