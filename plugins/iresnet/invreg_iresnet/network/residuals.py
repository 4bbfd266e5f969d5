"""The residual functions f_i of all subnetworks, with their Lipschitz constraint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from invreg_iresnet.axes import convolved, per_image
from invreg_iresnet.network.initialisation import high_pass_start
from invreg_iresnet.network.precision import each_in_one_thread
from invreg_iresnet.network.transforms import outside_transforms, underlying
from invreg_iresnet.norms.finalisation import clamped_to_norm, digest, scaled_to_norm
from invreg_iresnet.norms.grid_norms import amplification, most_amplified_waves
from invreg_iresnet.norms.normalisation import NormalisationName, grid_points, make_normalisation

# Grid points per axis for each half kernel width m = (k - 1)/2, for evaluation before weights are final: 32 for 5x5
# kernels. By the Bernstein-Szego factor a norm is missed by at most 4 %; by experience by less than 0.6 %.
_FINE_DENSITY = 16

#: Threshold of the shrinkage before training.
START_THRESHOLD = 0.02

# Thresholds are positive and differ by factors, so their logarithm is what is learned. One unit of the parameter is
# three units of the logarithm: with the rate of the biases, that lets a threshold move by an order of magnitude in a
# training.
_LOG_THRESHOLD_UNIT = 3.0


class Weights(NamedTuple):
    """Weights for use: those of all subnetworks, stacked, with the norms that they must have.

    Attributes:
        kernels: `[N, H, M, k, k]`, of norm 1; for volumes `[N, H, M, k, k, k]`.
        hidden_biases: `[N, H]`.
        mixings: `[N, M, H, 1, 1]`, of norm L_i at most; for volumes `[N, M, H, 1, 1, 1]`.
        output_biases: `[N, M]`.
        thresholds: `[N]`, positive.
    """

    kernels: Tensor
    hidden_biases: Tensor
    mixings: Tensor
    output_biases: Tensor
    thresholds: Tensor


class ResidualStack(nn.Module):
    """N residual functions f_i = W_i S_i K_i on states with M channels, of Lipschitz constant L_i.

    K_i is a zero-padded k x k convolution (k x k x k for volumes) to H hidden channels with bias, S_i the soft
    shrinkage with one learned threshold and W_i a 1x1 convolution back to M channels with bias. The parameters are
    free; what is used are their projections: K_i divided by its norm and W_i scaled down to norm L_i where it exceeds
    that. Norms and projections are part of the computation that gradients are taken of. As S_i is nonexpansive,
    Lip(f_i) <= ||W_i|| ||K_i|| <= L_i.

    While training, norms are those of the `normalisation`. In evaluation they are the largest singular values of the
    symbols over a fine grid of frequencies (see `norms.grid_norms`), computed again only after a parameter has
    changed. `finalise` replaces the parameters by their projections with certified norms: from then on, until they
    are changed, evaluation takes them as they are stored.

    Args:
        subnetworks: N.
        channels: M.
        hidden: H.
        kernel_size: k, odd.
        bound: L_i, below 1 for residual functions that are contractions.
        normalisation: how norms are found in training.
        axes: spatial axes of the states, 2 or 3.

    Source: Arndt & Nickel 2024, section 4.1.
    """

    final_digest: Tensor

    def __init__(
        self,
        subnetworks: int,
        channels: int,
        hidden: int,
        kernel_size: int,
        bound: float,
        normalisation: NormalisationName = "grid",
        axes: int = 2,
    ) -> None:
        super().__init__()
        self.bound = bound
        kernels, mixings = high_pass_start(subnetworks, channels, hidden, kernel_size, bound, axes)
        self.kernels = nn.Parameter(kernels)
        self.hidden_biases = nn.Parameter(torch.zeros(subnetworks, hidden))
        self.mixings = nn.Parameter(mixings)
        self.output_biases = nn.Parameter(torch.zeros(subnetworks, channels))
        start = torch.tensor(START_THRESHOLD).log() / _LOG_THRESHOLD_UNIT
        self.log_thresholds = nn.Parameter(start.repeat(subnetworks))
        self.normalisation = make_normalisation(normalisation, subnetworks, channels, kernel_size, axes)
        # The digest of the final kernels and mixings; after further training they do not match it.
        self.register_buffer("final_digest", torch.zeros(4, dtype=torch.int64))
        self._seen: _Seen | None = None

    def __len__(self) -> int:
        return len(self.kernels)

    def extra_repr(self) -> str:
        _, hidden, channels, *sides = self.kernels.shape
        size = f"kernel_size={sides[0]}" + (", axes=3" if len(sides) == 3 else "")
        return f"{len(self)} x [{channels} -> {hidden} -> {channels}], {size}, bound={self.bound:.4g}"

    @property
    def is_final(self) -> bool:
        """Whether the stored kernels and mixings are what `finalise` left: their certified norms keep the bound."""
        return self._look().is_final

    def weights(self) -> Weights:
        """The weights with their norms, differentiable with respect to the parameters.

        In training mode, every call moves the normalisation on.
        """
        if not self.training:
            return self.evaluation_weights()
        return self._projected(*self.normalisation(self.kernels, self.mixings))

    def evaluation_weights(self) -> Weights:
        """The weights as evaluation uses them, in both modes."""
        seen = self._look()
        if seen.is_final:
            return self._with(self.kernels, self.mixings)
        if seen.waves is None:
            seen.waves = outside_transforms(self._fine_waves, self._known()[0])
        kernel_waves, mixing_waves = seen.waves
        return self._projected(amplification(self.kernels, kernel_waves), amplification(self.mixings, mixing_waves))

    @torch.no_grad()
    def finalise(self, factor: float = 1.0) -> None:
        """Replaces kernels and mixings by their projections, with certified norms of at most 1 and L_i.

        Args:
            factor: of the mixings, at most 1, after that.

        Raises:
            CertificateError: if they are not finite.
        """
        pairs = list(zip(self.kernels, self.mixings, strict=True))
        scaled = each_in_one_thread(
            lambda pair: (scaled_to_norm(pair[0], 1), clamped_to_norm(pair[1], self.bound)), pairs
        )
        if factor != 1:
            scaled = [(kernel, clamped_to_norm(factor * mixing, self.bound)) for kernel, mixing in scaled]
        for weights, new in zip(pairs, scaled, strict=True):
            for one, its in zip(weights, new, strict=True):
                one.copy_(its)
        self.final_digest.copy_(self._digest())
        self._seen = None

    def _digest(self) -> Tensor:
        """Of kernels, mixings and the bound: weights for another bound are not final here."""
        kernels, mixings, _ = self._known()
        return digest(kernels, mixings, torch.tensor(self.bound, dtype=torch.float32))

    def _projected(self, kernel_norms: Tensor, mixing_norms: Tensor) -> Weights:
        tiny = torch.finfo(self.kernels.dtype).tiny
        kernels = self.kernels / per_image(kernel_norms.clamp_min(tiny), self.kernels)
        mixings = self.mixings * per_image((self.bound / mixing_norms.clamp_min(tiny)).clamp_max(1), self.mixings)
        return self._with(kernels, mixings)

    def _with(self, kernels: Tensor, mixings: Tensor) -> Weights:
        return Weights(
            kernels=kernels,
            hidden_biases=self.hidden_biases,
            mixings=mixings,
            output_biases=self.output_biases,
            thresholds=torch.exp(self.log_thresholds * _LOG_THRESHOLD_UNIT),
        )

    def _look(self) -> _Seen:
        """What is known of the kernels and mixings, computed again only where something has changed."""
        seen = self._seen
        # Compared by content: no way of changing a parameter can be missed, and it takes microseconds.
        known = self._known()
        if seen is not None and _is_exporting():  # there are no values to compare
            return seen
        if seen is None or not all(_same(old, new) for old, new in zip(seen.of, known, strict=True)):
            seen = self._seen = outside_transforms(self._see, known[0])
        return seen

    def _known(self) -> tuple[Tensor, Tensor, Tensor]:
        return underlying(self.kernels), underlying(self.mixings), self.final_digest

    @torch.inference_mode(False)  # what is kept must be usable outside inference mode, too
    def _see(self) -> _Seen:
        is_final = bool((self._digest() == self.final_digest.cpu()).all())
        return _Seen(tuple(tensor.detach().clone() for tensor in self._known()), is_final)

    @torch.inference_mode(False)
    def _fine_waves(self) -> tuple[Tensor, Tensor]:
        kernels, mixings, _ = self._known()
        points = grid_points(self.kernels.shape[-1], _FINE_DENSITY)
        # One by one, because the symbols of all kernels of a large network would not fit into memory.
        kernel_waves = torch.cat([most_amplified_waves(kernel[None], points) for kernel in kernels])
        return kernel_waves, most_amplified_waves(mixings, 1)


@dataclass
class _Seen:
    """What is known of the parameters `of`: whether they are final and, on demand, the waves they amplify."""

    of: tuple[Tensor, ...]
    is_final: bool
    waves: tuple[Tensor, Tensor] | None = None


def residual(x: Tensor, weights: Weights, index: int, dtype: torch.dtype) -> Tensor:
    """f_i(x) for one subnetwork, differentiable in all ways; convolutions in `dtype`, the result in that of x.

    Args:
        x: states, `[B, M, *spatial]`.
        weights: of all subnetworks.
        index: i, from 0.
        dtype: of the convolutions.
    """
    kernel, hidden_bias, mixing, output_bias, threshold = (stack[index].to(dtype) for stack in weights)
    hidden = convolved(x.to(dtype), kernel, hidden_bias, padding=kernel.shape[-1] // 2)
    hidden = hidden - hidden.clamp(-threshold, threshold)
    return convolved(hidden, mixing, output_bias).to(x.dtype)


def _is_exporting() -> bool:
    """Whether torch.export looks at the network; versions before 2.7 do not say so, and cannot export it."""
    return bool(getattr(torch.compiler, "is_exporting", lambda: False)())


def _same(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)
