"""Magnetic resonance imaging with a single coil: some of the frequencies of an image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from invreg import NormEstimate, Shape
from invreg_operators.fourier.sampling import (
    Acceleration,
    CenterFraction,
    Density,
    SampledOperator,
    SamplingPattern,
    Seed,
)
from invreg_operators.fourier.transform import as_channels, as_complex, full_precision, unitary, unitary_adjoint
from invreg_operators.shared.batches import check_batch, check_images

_MEASUREMENTS = "measurements [B, 2 C, H, W]"


class FourierSampling(SampledOperator):
    """Some frequencies of each channel of a real image,

        A x = M U x,   U x [k] = (H W)^(-1/2) sum_p x[p] exp(-2 pi i <k, p>),   M a mask of zeros and ones,

    with the unitary discrete Fourier transform U. Pixels and frequencies are counted from the one at (H // 2, W // 2),
    so frequency zero is in the centre. Complex numbers are two channels: images `[B, C, H, W]` have measurements
    `[B, 2 C, H, W]`, real and imaginary part of the first channel, of the second, and so on. What is not measured is
    zero. A problem adds noise there, too, which has no effect: the adjoint ignores it.

    As U is unitary, a measured value has noise of the same size as a pixel would; ||A|| = 1, since frequency zero is
    always measured. The adjoint fills in zeros and takes the real part. The mask depends on the parameters and on the
    size of the images only.

    Source: Lustig, Donoho & Pauly 2007, Magnetic Resonance in Medicine 58, 1182-1195.
    """

    where = "fourier_sampling"

    def __init__(
        self,
        acceleration: Acceleration = 4.0,
        center_fraction: CenterFraction = 0.08,
        pattern: SamplingPattern = "lines",
        density: Density = 2.0,
        seed: Seed = 0,
    ) -> None:
        super().__init__(acceleration, center_fraction, pattern, density, seed)

    def forward(self, x: Tensor) -> Tensor:
        """A x `[B, 2 C, H, W]`, for x `[B, C, H, W]`."""
        check_batch(x, self.where)
        self.range_shape(tuple(x.shape[1:]))
        with torch.autocast(x.device.type, enabled=False):
            return as_channels(unitary(full_precision(x)) * self.mask_like(x)).to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y `[B, C, H, W]`, the image with zeros for what was not measured, for y `[B, 2 C, H, W]`."""
        check_batch(y, self.where, _MEASUREMENTS)
        self.domain_shape(tuple(y.shape[1:]))
        with torch.autocast(y.device.type, enabled=False):
            return unitary_adjoint(as_complex(y) * self.mask_like(y)).real.to(y.dtype)

    def normal_function(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(A*A) x. On real images, A*A has at each frequency the mean of the mask there and at the opposite one."""
        check_batch(x, self.where)
        height, width = x.shape[2:]
        mask = torch.fft.ifftshift(self.mask_like(x)).to(x.dtype)
        values = (mask + mask.flip(0, 1).roll((1, 1), (0, 1))) / 2
        with torch.autocast(x.device.type, enabled=False):
            factors = function(values[:, : width // 2 + 1])
            return torch.fft.irfft2(torch.fft.rfft2(x) * factors, s=(height, width))

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_images(domain_shape, self.where)
        return 2 * domain_shape[0], *domain_shape[1:]

    @property
    def channels(self) -> tuple[int, int]:
        return 1, 2

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-6, seed: int = 0) -> NormEstimate:
        """1, exactly: U is unitary, and frequency zero, all that a constant image has, is measured."""
        self.range_shape(domain_shape)
        return NormEstimate(1.0, 0.0)

    def extra_repr(self) -> str:
        return f"acceleration={self.acceleration:g}, pattern={self.pattern!r}, seed={self.seed}"
