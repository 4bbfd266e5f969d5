"""Magnetic resonance imaging with several coils: some of the frequencies of what each coil sees."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from invreg import NormEstimate, Shape, ShapeError
from invreg_operators.fourier.coil_maps import maps_in, ring_maps
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
from invreg_operators.shared.hashed_file import FileParameter


class MulticoilFourier(SampledOperator):
    """Some frequencies of the image as each of several coils sees it (SENSE),

        (A x)_c = M U (S_c x),   A* y = sum_c conj(S_c) U* M y_c,

    with the complex sensitivities S_c of the coils, the unitary Fourier transform U and a mask M of zeros and ones, as
    in [`FourierSampling`][invreg_operators.fourier.fourier_sampling.FourierSampling]. Complex numbers are two
    channels, real and imaginary part. Real images `[B, C, H, W]` have measurements `[B, 2 coils C, H, W]`: all coils of
    the first channel, then of the second; complex images `[B, 2 C, H, W]` as well. For real images the adjoint takes
    the real part.

    Without a file, the coils are line currents on a ring of 3/4 of the longer side around the centre, evenly spaced:

        S_c(p) = s_c(p) / sqrt(sum_d |s_d(p)|²),   s_c(p) = 1 / (1 - p / p_c),   p, p_c complex,

    for images of any size. As sum_c |S_c|² = 1, ||A|| <= 1 then, and ||A|| = 1 if all frequencies are measured.

    Source: Pruessmann et al. 1999, Magnetic Resonance in Medicine 42, 952-962.
    """

    where = "multicoil_fourier"

    def __init__(
        self,
        coils: Annotated[
            int, Field(ge=1, le=256, description="number of coils on the ring; that of a file counts")
        ] = 8,
        maps: Annotated[
            FileParameter | None,
            Field(
                description="NPY file of sensitivities in place of those of the ring, complex numbers "
                "[coils, height, width]; images have their size"
            ),
        ] = None,
        image: Annotated[
            Literal["real", "complex"],
            Field(description="what images are; complex: real and imaginary part of each channel in turn"),
        ] = "real",
        acceleration: Acceleration = 4.0,
        center_fraction: CenterFraction = 0.08,
        pattern: SamplingPattern = "lines",
        density: Density = 2.0,
        seed: Seed = 0,
    ) -> None:
        super().__init__(acceleration, center_fraction, pattern, density, seed)
        self._file, self.image = maps, image
        self._read = None if maps is None else maps_in(maps.found("maps", "an NPY file of sensitivities"))
        self.coils = coils if self._read is None else len(self._read)

    def forward(self, x: Tensor) -> Tensor:
        """A x `[B, 2 coils C, H, W]`, for x `[B, C, H, W]`, or `[B, 2 C, H, W]` if images are complex.

        Raises:
            ShapeError: if the maps come from a file and have another size, or a complex image an odd number of
                channels.
        """
        check_batch(x, self.where)
        self.range_shape(tuple(x.shape[1:]))
        with torch.autocast(x.device.type, enabled=False):
            maps = self.maps(x)
            seen = (as_complex(x) if self.image == "complex" else full_precision(x))[:, :, None] * maps
            return as_channels((unitary(seen) * self.mask_like(x)).flatten(1, 2)).to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y `[B, C, H, W]`, or `[B, 2 C, H, W]` if images are complex, for y `[B, 2 coils C, H, W]`."""
        check_batch(y, f"{self.where}.adjoint", "measurements [B, 2 coils C, H, W]")
        self.domain_shape(tuple(y.shape[1:]))
        with torch.autocast(y.device.type, enabled=False):
            each = unitary_adjoint(as_complex(y).unflatten(1, (-1, self.coils)) * self.mask_like(y))
            x = (each * self.maps(y).conj()).sum(2)
            return (as_channels(x) if self.image == "complex" else x.real).to(y.dtype)

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_images(domain_shape, self.where)
        channels, *size = domain_shape
        if self._file is not None and self._read is not None and tuple(self._read.shape[1:]) != tuple(size):
            needed = "x".join(map(str, self._read.shape[1:]))
            raise ShapeError(
                f"images of {size[0]}x{size[1]} pixels",
                where=self.where,
                expected=f"{needed}, the size of the maps in {self._file.path}",
                hint=f"data of {needed} pixels, for training, too, where crops count; or other maps",
            )
        if self.image == "complex" and channels % 2:
            raise ShapeError(
                f"complex images of shape {tuple(domain_shape)}",
                where=self.where,
                expected="real and imaginary part of each channel: an even number of channels",
                hint="image: real, for images without an imaginary part",
            )
        seen, measured = self.channels
        return channels // seen * measured, *size

    @property
    def channels(self) -> tuple[int, int]:
        return (2 if self.image == "complex" else 1), 2 * self.coils

    @property
    def layout(self) -> str:
        return f"2 x {self.coils} coils x channels"

    def norm(self, domain_shape: Shape, *, tolerance: float = 1e-4, seed: int = 0) -> NormEstimate:
        """As of every linear operator, less precisely: many singular values lie so close to the largest one that the
        usual tolerance takes minutes. On 48 x 48 pixels, this one missed the norm by 2e-6.
        """
        return super().norm(domain_shape, tolerance=tolerance, seed=seed)

    def maps(self, like: Tensor) -> Tensor:
        """S `[coils, H, W]`, complex, for images of the size, the precision and on the device of a tensor."""
        dtype = torch.complex128 if like.dtype == torch.float64 else torch.complex64
        if self._read is not None:
            return self._read.to(like.device, dtype)
        return ring_maps(self.coils, like.shape[-2], like.shape[-1], dtype, like.device)

    def extra_repr(self) -> str:
        maps = "" if self._file is None else f", maps={str(self._file.path)!r}"
        return f"coils={self.coils}{maps}, image={self.image!r}, acceleration={self.acceleration:g}, " + (
            f"pattern={self.pattern!r}, seed={self.seed}"
        )
