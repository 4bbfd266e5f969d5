"""Invertible residual networks whose inverse is explicit."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from invreg import ConvergenceError, SpecError, search_choices
from invreg_iresnet.certificate.network_certificate import Role
from invreg_iresnet.inversion.accuracy import Accuracy
from invreg_iresnet.inversion.convergence import warn_if_short
from invreg_iresnet.inversion.explicit_inverse import apply_chain
from invreg_iresnet.inversion.fixed_point import Course
from invreg_iresnet.inversion.inversion import invert_chain
from invreg_iresnet.invertible_chain import InvertibleChain
from invreg_iresnet.network.precision import arithmetic
from invreg_iresnet.network.residuals import Weights, residual
from invreg_iresnet.network.scales import through
from invreg_iresnet.network.transforms import refuse_transforms, seems_finite
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

_Tolerance = Annotated[float, Field(description="relative residual of the fixed points of the forward map", gt=0, lt=1)]


class ExplicitChain(InvertibleChain):
    """A chain of phi_i with phi_i^-1 = Id + g_i: see `ExplicitIResNet`."""

    role: Role = "inverse"

    @property
    def residual_bound(self) -> float:
        """l = (1 - L)^(-1/N) - 1, the Lipschitz bound of each residual function."""
        return math.expm1(-math.log1p(-self.lipschitz) / self.subnetworks)

    @property
    def memory_per_pixel(self) -> float | None:
        """About two states and two layers of hidden activations in float32."""
        return 4.0 * (2 * self.channels + 2 * self._hidden_per_pixel)

    @property
    def reconstruction_radius(self) -> int | None:
        """Each subnetwork sees half a kernel, a tapered border changes pixels; a pull-back may see the whole image."""
        if self.pull_back is not None:
            return None
        border = self.padding + max(stage.scale for stage in self.stages) if self.border == "tapered" else 0
        return border + sum(stage.reach for stage in self.stages)

    def phi(self, state: Tensor) -> Tensor:
        """phi(x) = phi_1(...(phi_N(x))) for states x `[B, M, *spatial]`, by fixed points; differentiable by autograd.

        Raises:
            ConvergenceError: if x or the weights are not finite.
            ShapeError: if x does not have the shape of states.
        """
        self._parts()[0].check_state(state)
        accuracy = self._accuracy()
        courses: list[Course] = []

        def apply(x: Tensor, weights: Weights) -> Tensor:
            found = invert_chain(x, _reversed(weights), accuracy)
            courses.extend(found.courses)
            return found.x

        with arithmetic(state.device, tf32=self.training):
            found = through(state.to(self._dtype), self._weights()[::-1], apply)
            warn_if_short(
                courses,
                what="a learned forward map",
                tolerance=accuracy.forward.tolerance,
                bound=accuracy.bound,
                dtype=accuracy.dtype,
            )
        return found

    def _invert(self, z: Tensor, accuracy: Accuracy) -> Tensor:
        if self.training:
            refuse_transforms("explicit_iresnet in training", z)

        def apply(x: Tensor, weights: Weights) -> Tensor:
            if self.training:
                return apply_chain(x, weights, accuracy)
            for index in range(len(weights.kernels)):
                x = x + residual(x, weights, index, accuracy.dtype)
            return x

        z = through(z, self._weights(), apply)
        if not self.training and not seems_finite(z):
            raise ConvergenceError(
                "a reconstruction that is not finite",
                where="explicit_iresnet",
                expected="finite measurements and weights",
                hint="look for NaN and infinite values in the measurements",
            )
        return z

    def _check_bound(self) -> None:
        if self.residual_bound >= 1:
            fewest, below = math.floor(-math.log2(1 - self.lipschitz)) + 1, 1 - 2.0**-self.subnetworks
            raise SpecError(
                f"{self.lipschitz}",
                where="lipschitz",
                expected=f"1 / (1 - L) < 2^subnetworks: below {below:.6g} for {self.subnetworks} subnetworks",
                hint=f"at least {fewest} subnetworks, or a smaller lipschitz",
            )


class ExplicitIResNet(ExplicitChain):
    """Reconstruction by an explicit residual network that is proven to be the inverse of a learned forward operator.

    The network phi = phi_1 o ... o phi_N has subnetworks with explicit inverses, phi_i^-1 = Id + g_i, where the
    residual functions g_i = W_i S_i K_i (see `ResidualStack`) have Lipschitz constants of at most l < 1. So

        Lip(phi^-1) <= (1 + l)^N = 1 / (1 - L),    l = (1 - L)^(-1/N) - 1,

    and each phi_i exists, as the fixed point y of y <- x - g_i(y). The convergence theorem of the paper (theorem 2.1)
    needs no more than that: it holds as for `iresnet`. Reconstruction and training are those of a residual network
    without iterations; fixed points are needed only to look at the learned forward operator.

    As l < 1 is what makes the network invertible, 1 / (1 - L) stays below 2^N: with 10 subnetworks, L = 0.999 is
    possible, and more of them make l smaller.

    In evaluation, the reconstruction is differentiable by all transforms of torch.func; in training, once.

    Lifting, padding, the centre, the pull-back and measurements that are not in X are those of `iresnet`.
    `forward_map` is differentiable by autograd, not through torch.func, which is refused: once; twice if no weight
    requires a gradient.

    Raises:
        SpecError: if L is too close to 1 for the number of subnetworks.
    """

    def __init__(
        self,
        subnetworks: Annotated[
            int,
            Field(description="N, the length of the chain", ge=1, json_schema_extra=search_choices([10, 12, 16, 20])),
        ] = 20,
        channels: Channels = 64,
        hidden: Hidden = 128,
        kernel_size: KernelSize = 5,
        lipschitz: Annotated[
            float,
            Field(
                description="L: the inverse has Lipschitz constant 1 / (1 - L), below 2^subnetworks; close to 1 for "
                "small noise",
                gt=0,
                lt=1,
            ),
        ] = 0.999,
        padding: Padding = 6,
        center: Center = 0.45,
        tolerance: _Tolerance = 1e-5,
        max_iterations: MaxIterations = 500,
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
            tolerance,
            normalisation,
            pull_back,
            target_bound,
            border,
        )
        self.hidden, self.kernel_size = hidden, kernel_size
        self._check_bound()


class MultiscaleExplicitIResNet(ExplicitChain):
    """`explicit_iresnet` with subnetworks at several resolutions: it sees farther at the same cost.

    Between stages, s x s neighbouring pixels become channels of one (`pixel_unshuffle`), or the other way round. These
    permutations are isometries with an exact inverse, so all that is proven of `explicit_iresnet` holds: the bounds of
    a subnetwork are those of a zero-padded convolution at its own resolution, and they multiply.

    By default, images are not padded: the convolutions see the centre beyond the border, and at equal training time the
    pixels that are saved are worth more than a better border. Where the largest scale does not divide the sides of an
    image, it is padded at the bottom and on the right, tapered by default, so that this costs the bound nothing.

    Raises:
        SpecError: if L is too close to 1 for the number of subnetworks of all stages.
    """

    def __init__(
        self,
        stages: Stages = HALF_RESOLUTION,
        channels: Channels = 4,
        lipschitz: Annotated[
            float,
            Field(
                description="L: the inverse has Lipschitz constant 1 / (1 - L), below 2^subnetworks, those of all "
                "stages; close to 1 for small noise",
                gt=0,
                lt=1,
            ),
        ] = 0.99,
        padding: Padding = 0,
        center: Center = 0.45,
        tolerance: _Tolerance = 1e-5,
        max_iterations: MaxIterations = 500,
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
            tolerance,
            normalisation,
            pull_back,
            target_bound,
            border=border,
        )
        self._check_bound()


def _reversed(weights: Weights) -> Weights:
    """Weights of -g_N, ..., -g_1, whose chain of fixed points y = x - g_i(y) is phi."""
    kernels, hidden_biases, mixings, output_biases, thresholds = (stack.flip(0) for stack in weights)
    return Weights(kernels, hidden_biases, -mixings, -output_biases, thresholds)
