"""Phase retrieval: magnitudes of the Fourier transforms of a coded image."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from invreg import Operator, Shape, ShapeError, generator, stream_key
from invreg_operators.fourier.transform import full_precision, unitary, unitary_adjoint
from invreg_operators.shared.batches import check_batch, check_direction, check_images


class PhaseRetrieval(Operator):
    """Magnitudes of coded diffraction patterns of each channel of a real image,

        F(x)_k = |U (c_k x)|,   k = 1, ..., codes,

    with the unitary Fourier transform U and codes c_k of modulus 1, whose phases are drawn uniformly at each pixel.
    Images `[B, C, H, W]` have measurements `[B, codes C, H, W]`: all codes of the first channel, then of the second.
    The codes depend on `seed` and on the size of the images only. With u_k = U (c_k x),

        F'(x) h = Re(conj(u_k) / |u_k| U (c_k h)),   F'(x)* v = Re sum_k conj(c_k) U* (v_k u_k / |u_k|),

    and 0 in place of u / |u| where u vanishes. ||F(x)|| = sqrt(codes) ||x||. F(-x) = F(x): an image is determined up to
    its sign at best, which the range [0, 1] decides.

    Source: Candès, Li & Soltanolkotabi 2015, Applied and Computational Harmonic Analysis 39, 277-299.
    """

    def __init__(
        self,
        codes: Annotated[int, Field(ge=1, le=1024, description="number of coded measurements")] = 4,
        seed: Annotated[int, Field(ge=0, description="seed of the codes")] = 0,
    ) -> None:
        super().__init__()
        self.codes, self.seed = codes, seed

    def forward(self, x: Tensor) -> Tensor:
        """F(x) `[B, codes C, H, W]`, for x `[B, C, H, W]`."""
        check_batch(x, "phase_retrieval")
        self.range_shape(tuple(x.shape[1:]))
        with torch.autocast(x.device.type, enabled=False):
            return self._coded(x).abs().flatten(1, 2).to(x.dtype)

    def jvp(self, x: Tensor, h: Tensor) -> Tensor:
        check_batch(x, "phase_retrieval")
        check_direction(x, h, "phase_retrieval")
        with torch.autocast(x.device.type, enabled=False):
            return (self._coded(x).sgn().conj() * self._coded(h)).real.flatten(1, 2).to(x.dtype)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        check_batch(x, "phase_retrieval")
        range_shape = (len(x), *self.range_shape(tuple(x.shape[1:])))
        if tuple(v.shape) != range_shape:
            raise ShapeError(f"v of shape {tuple(v.shape)}", where="phase_retrieval.vjp", expected=f"{range_shape}")
        with torch.autocast(x.device.type, enabled=False):
            weighted = self._coded(x).sgn() * full_precision(v).unflatten(1, (-1, self.codes))
            return (unitary_adjoint(weighted) * self.patterns(x).conj()).real.sum(2).to(x.dtype)

    def range_shape(self, domain_shape: Shape) -> Shape:
        check_images(domain_shape, "phase_retrieval")
        return self.codes * domain_shape[0], *domain_shape[1:]

    def patterns(self, like: Tensor) -> Tensor:
        """c `[codes, H, W]`, complex, for images of the size, the precision and on the device of a tensor."""
        dtype = torch.complex128 if like.dtype == torch.float64 else torch.complex64
        return _patterns(self.codes, like.shape[-2], like.shape[-1], self.seed, dtype, like.device)

    def extra_repr(self) -> str:
        return f"codes={self.codes}, seed={self.seed}"

    def _coded(self, x: Tensor) -> Tensor:
        """u `[B, C, codes, H, W]`."""
        return unitary(full_precision(x)[:, :, None] * self.patterns(x))


@lru_cache(maxsize=16)
def _patterns(codes: int, height: int, width: int, seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Not an inference tensor, even if first needed in inference mode: gradients pass through it later.
    with torch.inference_mode(False):
        random = generator(stream_key(seed, "phase retrieval", codes, height, width))
        phases = torch.rand((codes, height, width), generator=random, dtype=torch.float64) * (2 * torch.pi)
        return torch.polar(torch.ones_like(phases), phases).to(device, dtype)
