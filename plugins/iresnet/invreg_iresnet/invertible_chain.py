"""The base of all invertible residual networks: from images to states, a chain of subnetworks, and back."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from invreg import (
    Architecture,
    CertificateError,
    InvregError,
    LinearOperator,
    NormalOperator,
    Operator,
    Problem,
    Reconstructor,
    Shape,
    SpecError,
    StabilityCertificate,
    TrainingError,
)
from invreg_iresnet.architecture import chain_architecture
from invreg_iresnet.axes import spatial_sides
from invreg_iresnet.certificate.bound_limit import BoundLimit, meet_target
from invreg_iresnet.certificate.certified_reconstruction import CertifiedReconstruction, Chain, reconstruct_certified
from invreg_iresnet.certificate.network_certificate import (
    NORM_DIFFERS,
    Embedding,
    PulledBackBy,
    Role,
    certify_chain,
    verify_chain,
    weights_digest,
)
from invreg_iresnet.inversion.accuracy import Accuracy, exact, for_training
from invreg_iresnet.inversion.starts import LearnedStarts
from invreg_iresnet.network.lifting import Lifting
from invreg_iresnet.network.precision import arithmetic, autocast_dtype
from invreg_iresnet.network.residuals import ResidualStack, Weights
from invreg_iresnet.network.scales import StageWeights
from invreg_iresnet.parameters import (
    Border,
    Center,
    ChainStage,
    Channels,
    MaxIterations,
    Normalisation,
    Padding,
    PulledBack,
    TargetBound,
)


class InvertibleChain(Reconstructor):
    """A network phi = phi_1 o ... o phi_N on states in X^M whose inverse, between lifting and mean, reconstructs.

    Subclasses define a subnetwork: `phi`, `phi_inverse`, `residual_bound`, and the role of the residual functions.
    """

    needs_training = True

    #: What the residual functions are part of: of phi (`forward`) or of its inverse (`inverse`).
    role: Role

    _image_shape: Shape
    _image_size: tuple[int, ...]
    _pulls_back: bool

    def __init__(
        self,
        stages: Sequence[ChainStage],
        channels: Channels,
        lipschitz: float,
        padding: Padding,
        center: Center,
        tolerance: float,
        max_iterations: MaxIterations,
        training_tolerance: float,
        normalisation: Normalisation,
        pull_back: PulledBack,
        target_bound: TargetBound = None,
        border: Border = "reflect",
    ) -> None:
        super().__init__()
        self.stages, self.channels = tuple(stages), channels
        self.subnetworks = sum(stage.subnetworks for stage in stages)
        self.lipschitz, self.padding, self.center = lipschitz, padding, center
        self.tolerance, self.max_iterations = tolerance, max_iterations
        self.training_tolerance, self.normalisation = training_tolerance, normalisation
        self.pull_back, self.target_bound, self.border = pull_back, target_bound, border
        # Of the first stage and of the others: so the weights of chains with one stage have the names they always had.
        self.residuals: ResidualStack | None = None
        self.further_residuals: nn.ModuleList = nn.ModuleList()
        self.limit: BoundLimit | None = None
        self.lifting: Lifting | None = None
        self._progress: float | None = None
        self._proven: tuple[tuple[Any, ...], StabilityCertificate] | None = None
        self._pulled: PulledBackBy | None = None

    # -- what subclasses define

    @property
    @abstractmethod
    def residual_bound(self) -> float:
        """The Lipschitz bound of each residual function."""

    @abstractmethod
    def phi(self, state: Tensor) -> Tensor:
        """phi(x) for states x `[B, M, H, W]`."""

    @abstractmethod
    def _invert(self, z: Tensor, accuracy: Accuracy) -> Tensor:
        """phi^-1(z) for states, as accurately as reconstructions need it."""

    # -- from setup to final weights

    def check_operator(self, operator: Operator) -> None:
        """Refuses operators that the pull-back is not for."""
        if self.pull_back is not None:
            self.pull_back.check_as_part(operator)

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Makes the weights, from torch's global random numbers, for images [C, H, W] or volumes [C, D, H, W].

        Raises:
            SpecError: if the channels of the images do not divide `channels`, a nonlinear operator leaves X, the
                pull-back is not for this problem, or padding and pull-back alone exceed the target of the bound.
            ShapeError: if the images are too small for the padding, or have another number of axes.
        """
        image_channels, sides = image_shape[0], spatial_sides(image_shape, type(self).__name__)
        axes = len(sides)
        if self.channels % image_channels:
            raise SpecError(
                f"{self.channels} channels for images with {image_channels}",
                where="channels",
                expected=f"a multiple of {image_channels}: a state is a stack of copies of the image",
                hint=f"{math.ceil(self.channels / image_channels) * image_channels}",
            )
        multiple = max(stage.scale for stage in self.stages)
        lifting = Lifting(
            image_channels, self.channels // image_channels, self.padding, self.center, multiple, self.border, axes
        )
        lifting.check_size(*sides)
        operator = problem.operator
        in_image_space = tuple(operator.range_shape(image_shape)) == tuple(image_shape)
        if self.pull_back is not None:
            self.pull_back.setup_as_part(problem, image_shape)
        elif not in_image_space:
            _require_linear(operator, image_shape, type(self).__name__)
            problem.normal_operator(image_shape)  # its norm is computed now
        super().setup(problem, image_shape)
        self._image_shape = tuple(image_shape)
        self._pulls_back = self.pull_back is None and not in_image_space
        self.lifting = lifting
        self.residuals, *further = (
            ResidualStack(
                stage.subnetworks,
                self.channels * stage.scale**axes,
                stage.hidden,
                stage.kernel_size,
                self.residual_bound,
                self.normalisation,
                axes,
            )
            for stage in self.stages
        )
        self.further_residuals = nn.ModuleList(further)
        self._image_size = sides
        self._proven = self._pulled = None
        self.limit = None if self.target_bound is None else self._limit_to(self.target_bound, lifting)

    @property
    def target_operator(self) -> Operator:
        """P A with a pull-back P, otherwise F, or A*A / ||A||^2 where measurements are not in X."""
        self._parts()
        if self.pull_back is not None:
            return self.pull_back.on_images()
        return self._normal or self.problem.operator

    def training_progress(self, fraction: float) -> None:
        """Trainers call this before each step with the share of all steps that is done: early steps are cheaper."""
        if not 0 <= fraction <= 1:
            raise TrainingError(
                f"progress {fraction}", where=f"{type(self).__name__}.training_progress", expected="0 <= fraction <= 1"
            )
        self._progress = fraction

    def finalise(self) -> None:
        """Puts the stored kernels into their final form: certified norms of at most 1 and L_i.

        From then on, and as long as they are not changed, evaluation takes the weights as they are stored, and Lip(f_i)
        <= L_i is proven for them. With a `target_bound`, they are scaled until that is proven, too, and nearly met.

        Raises:
            CertificateError: if weights are not finite.
        """
        factor = 1.0 if self.limit is None else self.limit.take()
        for stack in self._parts()[1]:
            stack.finalise(factor)
        if self.target_bound is not None:
            # In training, the mixings were 1 / factor times as large before the target counted.
            self._reach(self.target_bound, 1 / factor)

    def architecture(self) -> Architecture:
        """The network as it is built, for images of the size given to `setup`.

        Raises:
            InvregError: before `setup`.
        """
        lifting, stacks = self._parts()
        reads = "A*z/‖A‖²" if self._pulls_back else "z" if self.pull_back is None else self.pull_back.formula
        scales = [stage.scale for stage in self.stages]
        return chain_architecture(stacks, scales, lifting, self.role, self._image_size, reads)

    # -- the maps

    def forward(self, z: Tensor) -> Tensor:
        """R(z) `[B, C, *spatial]` for measurements z `[B, ...range]`, in the dtype of the parameters.

        Images may have another size than those of `setup`. The result of an image does not depend on its
        batch.

        Raises:
            ShapeError: if z does not have the shape of measurements, or is too small for the padding.
            ConvergenceError: if z or the weights are not finite.
        """
        (lifting, _), accuracy = self._parts(), self._accuracy()
        with arithmetic(z.device, tf32=self.training):
            read = self._in_image_space(z)
            return lifting.unlift(self._invert(self.lift(read), accuracy), _size(read))

    def forward_map(self, x: Tensor) -> Tensor:
        """The learned F(x), C m(phi(s(P x))), for images x `[B, C, H, W]`."""
        lifting, _ = self._parts()
        return lifting.unlift(self.phi(self.lift(x)), _size(x))

    def lift(self, x: Tensor) -> Tensor:
        """The state of images (or measurements in X) `[B, C, H, W]`.

        It is `[B, M, H + 2 padding, W + 2 padding]`, with more pixels at the bottom and on the right where there are
        scales that do not divide these sides.
        """
        return self._parts()[0].lift(x.to(self._dtype))

    def unlift(self, state: Tensor) -> Tensor:
        """The image `[B, C, H, W]` of a state: of the size given to `setup`, or else the largest that has one."""
        lifting, _ = self._parts()
        ours = state.ndim == lifting.axes + 2 and _size(state) == lifting.state_size(*self._image_size)
        return lifting.unlift(state, self._image_size if ours else None)

    # -- what is proven

    def certificate(self) -> StabilityCertificate:
        """Proves Lipschitz bounds of phi and phi^-1 for the weights as evaluation uses them.

        For each subnetwork, the product bound, the LipSDP bound in Schur form, and the bounds of Id - f itself and of
        its inverse, each a certified norm of one modified convolution; so they hold for images of any size. (Only the
        norm of the padding depends on the size: it is for the images of `setup`, and for all whose sides are at least
        two pixels longer than twice the padding.) Takes seconds for small networks, minutes for the paper's large one.
        With a `target_bound`, `finalise` has made it already, and this gives it.

        Raises:
            CertificateError: if weights are not finite.
        """
        lifting, _ = self._parts()
        with torch.no_grad():
            weights, embedding = self._evaluation_weights(), self._embedding(lifting)
            if self.target_bound is not None and self._proven is not None:
                own, known = self._proven
                if own == (weights_digest(weights), *embedding):
                    return StabilityCertificate(known.content)
            found = certify_chain(weights, self.role, embedding, self.residual_bound)
        self._keep(found)
        return found

    def verify(self, certificate: StabilityCertificate) -> None:
        """Checks a certificate against the weights, without a search.

        Raises:
            CertificateError: if it belongs to other weights or another kind of network, or claims what does not hold.
        """
        lifting, _ = self._parts()
        claimed = StabilityCertificate(certificate.content)
        with torch.no_grad():
            verify_chain(claimed, self._evaluation_weights(), self.role, self._embedding(lifting))
        self._keep(claimed)

    def accept(self, certificate: StabilityCertificate) -> None:
        """Takes a certificate that was verified before for these weights: only their hash is compared.

        Raises:
            CertificateError: if it belongs to other weights.
        """
        if certificate.content["weights"] != weights_digest(self._evaluation_weights()):
            raise CertificateError("it belongs to other weights", where="certificate", expected="that of these weights")
        self._keep(certificate)

    def reconstruct(
        self, z: Tensor, tolerance: float = 1e-3, certify: bool = True, data_error: float = 0.0
    ) -> CertifiedReconstruction:
        """Reconstructions with a proven bound on their distance to the exact R(z).

        Args:
            z: measurements `[B, ...range]`.
            tolerance: the Euclidean distance ||x - R(z)|| to reach for each image.
            certify: whether residuals are evaluated in float64 with a bound of their rounding, from which the distance
                is proven. Without, the same tolerances are used and nothing is proven.
            data_error: delta, the Euclidean distance between z and the exact measurement; the bound under it is
                given, too. Only for measurements in X and with a `pull_back`: otherwise, the effect of A* on delta is
                not known.

        Raises:
            CertificateError: if no Lipschitz bound of the inverse can be proven.
            SpecError: if the tolerance is not positive, the error negative, or not for measurements in X.
            ConvergenceError: if z or the weights are not finite.
        """
        lifting, _ = self._parts()
        self.check_measurements(z)
        if data_error and self._pulls_back:
            raise SpecError(
                f"data_error {data_error} for measurements that are not in X",
                where=f"{type(self).__name__}.reconstruct",
                expected="0: the bound is about A*z / ||A||^2, which the network reads",
                hint="pull_back: adjoint, whose norm is in the bound",
            )
        with torch.no_grad(), arithmetic(z.device, tf32=False):
            weights = self._evaluation_weights()
            chain = Chain(weights, self.role, lifting, self._proof(weights, lifting), self._forward_starts())
            if self.pull_back is not None:
                z = self.pull_back.in_float64(z)
                data_error *= self.pull_back.norm_bound(tuple(z.shape[1:])) if data_error else 1
            else:
                z = self._in_image_space(z)
            return reconstruct_certified(chain, z, tolerance, certify, data_error, self.max_iterations)

    # -- the target of the bound

    def _limit_to(self, target: float, lifting: Lifting) -> BoundLimit:
        embedding, least = self._embedding(lifting), self._ends_norm(lifting)
        if target <= least:
            pull_back, free = embedding.pull_back, ", or border: tapered or padding: 0, which have the norm 1"
            raise SpecError(
                f"{target}",
                where="target_bound",
                expected=f"above {least:.4g}, the norm of the padding, {embedding.padding:.4g}"
                + ("" if pull_back is None else f", times that of the pull-back, at most {pull_back.norm:.4g}"),
                hint=f"a larger target{free if embedding.padding > 1.01 else ''}",
            )
        shapes = [tuple(stack.kernels.shape) for stack in self._parts()[1]]
        return BoundLimit(target / least, self.role == "forward", lifting.copies, shapes)

    def _ends_norm(self, lifting: Lifting) -> float:
        """The bound of R for phi = Id."""
        embedding = self._embedding(lifting)
        return embedding.padding * (1 if embedding.pull_back is None else embedding.pull_back.norm)

    @torch.no_grad()
    def _reach(self, target: float, most: float) -> None:
        """Scales the mixings, by `most` at most, until the target is proven and nearly met.

        Norms on a grid, by which kernels are divided in training, are smaller than certified ones: after that, a bound
        may be several per cent below what training has kept it at.
        """
        lifting, stacks = self._parts()
        whole = [stack.mixings.clone() for stack in stacks]

        def prove(factor: float) -> float:
            if factor != 1:
                for stack, mixings in zip(stacks, whole, strict=True):
                    stack.mixings.copy_(factor * mixings)
                    stack.finalise()
            found = self.certificate().reconstruction_lipschitz
            return math.inf if found is None else found

        meet_target(prove, target, self._ends_norm(lifting), most)

    # -- parts

    def _forward_starts(self) -> Sequence[LearnedStarts]:
        """Where the fixed points of each stage start, if the inverse is found by them."""
        return ()

    def _proof(self, weights: Sequence[StageWeights], lifting: Lifting) -> StabilityCertificate:
        """The certificate of these weights: the last one, if it is theirs, or a new one."""
        own = (weights_digest(weights), *self._embedding(lifting))
        if self._proven is None or self._proven[0] != own:
            self.certificate()
        assert self._proven is not None  # noqa: S101 (for mypy: `certificate` keeps it)
        return self._proven[1]

    def _keep(self, proven: StabilityCertificate) -> None:
        """Keeps a copy, which no caller can change, with the weights and the embedding it belongs to."""
        own = StabilityCertificate(proven.content)
        self._proven = (own.content["weights"], *self._embedding(self._parts()[0])), own

    def _embedding(self, lifting: Lifting) -> Embedding:
        reads = "A*z / ||A||^2" if self._pulls_back else "z"
        if self._pulled is None and self.pull_back is not None:
            norm = self.pull_back.norm_bound(self._image_shape) * (1 + 2 * NORM_DIFFERS)
            self._pulled = PulledBackBy(self.pull_back.formula, norm)
        return Embedding(reads, lifting.copies, lifting.padding_norm(*self._image_size), self._pulled)

    @property
    def _normal(self) -> NormalOperator | None:
        return self.problem.normal_operator(self._image_shape) if self._pulls_back else None

    def _in_image_space(self, z: Tensor) -> Tensor:
        if self.pull_back is not None:
            found: Tensor = self.pull_back.forward(z.to(self._dtype))
            return found
        if self._normal is None:
            return z
        return self._normal.pull_back(z.to(self._dtype))

    def _parts(self) -> tuple[Lifting, list[ResidualStack]]:
        if self.lifting is None or self.residuals is None:
            raise InvregError(
                "the network has no weights yet",
                where=type(self).__name__,
                hint="call net.setup(problem, image_shape) first",
            )
        dtype = self.residuals.kernels.dtype
        if dtype not in (torch.float32, torch.float64):
            raise InvregError(
                f"weights in {dtype}",
                where=type(self).__name__,
                expected="float32 or float64, which norms and fixed points need",
                hint="net.float(), and train under torch.autocast for fast convolutions",
            )
        return self.lifting, [self.residuals, *self.further_residuals]

    @property
    def _dtype(self) -> torch.dtype:
        return self._parts()[1][0].kernels.dtype

    def _weights(self) -> list[StageWeights]:
        """With their norms, differentiable with respect to the parameters."""
        weights = [stack.weights() for stack in self._parts()[1]]
        if self.limit is None:
            return self._staged(weights)
        return self._staged(self.limit(weights)) if self.training else self._evaluation_weights()

    def _evaluation_weights(self) -> list[StageWeights]:
        stacks = self._parts()[1]
        weights = [stack.evaluation_weights() for stack in stacks]
        is_limited = self.limit is not None and not all(stack.is_final for stack in stacks)
        return self._staged(self.limit.scaled(weights) if self.limit is not None and is_limited else weights)

    def _staged(self, weights: Sequence[Weights]) -> list[StageWeights]:
        return [StageWeights(stage.scale, one) for stage, one in zip(self.stages, weights, strict=True)]

    @property
    def _hidden_per_pixel(self) -> float:
        """The largest number of hidden activations for each pixel of an image."""
        axes = 2 if self.lifting is None else self.lifting.axes
        return max(stage.hidden / stage.scale**axes for stage in self.stages)

    def _accuracy(self) -> Accuracy:
        bound, dtype = self.residual_bound, self._convolution_dtype()
        if self.training:
            progress, tolerance = self._progress, self.training_tolerance
            return for_training(progress, tolerance, self.max_iterations, bound=bound, dtype=dtype)
        return exact(self.tolerance, self.max_iterations, bound=bound, dtype=dtype)

    def _convolution_dtype(self) -> torch.dtype:
        kernels = self._parts()[1][0].kernels
        return autocast_dtype(kernels) if self.training else kernels.dtype

    def extra_repr(self) -> str:
        return f"lipschitz={self.lipschitz}, padding={self.padding}, center={self.center}, tolerance={self.tolerance}"


def _size(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape[2:])


def _require_linear(operator: Operator, image_shape: Shape, name: str) -> None:
    if isinstance(operator, LinearOperator):
        return
    raise SpecError(
        f"{type(operator).__name__} maps images {tuple(image_shape)} to {tuple(operator.range_shape(image_shape))}",
        where=name,
        expected="an operator from X to X, or a linear one (which is replaced by A*A / ||A||^2)",
        hint="another reconstructor, or an operator that ends with a map back to X",
    )
