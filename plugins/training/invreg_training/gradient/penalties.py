"""Penalties of the derivative of a forward map, with which its inverse becomes an estimator of Bayes."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.autograd import forward_ad

from invreg import ActsOnLiftedStates, InvregError, LearnsForwardMap, Reconstructor, SpecError, TrainingError

#: By how much w'v may differ from its value for an exact inverse, as a share of it; see `LogDeterminant`.
_INEXACT = 0.5

_Weight = Annotated[
    float,
    Field(
        gt=0,
        description="sigma², the variance of the noise for which the inverse is to be the estimator, per pixel",
    ),
]


class Divergence(BaseModel):
    """Adds -2 w E div phi(x) / n to the approximation loss, for images with n numbers.

    The integral of p div phi is minus that of <grad p, phi>, so among all maps the minimiser is

        phi(x) = E[z | x] - w grad log p(x)

    for the density p of the images. With E[z | x] = A*A x and w = sigma², phi(x) = A*y is the normal equation of the
    maximum a posteriori estimate for y = A x + noise of variance sigma²: the inverse of the network is that estimator.
    The divergence is estimated by <v, phi'(x) v> with one random v of signs (Hutchinson's estimator) for each image.

    Source: Heilenkötter 2025, arXiv 2510.26704, where both penalties are introduced.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Literal["divergence"]
    weight: _Weight

    def __call__(self, reconstructor: Reconstructor, x: Tensor, value: Tensor, tangent: Tensor, v: Tensor) -> Tensor:
        """The penalty: phi(x) is `value`, phi'(x) v is `tangent`."""
        return -2 * self.weight * (v * tangent).mean()


class LogDeterminant(BaseModel):
    """Adds -2 w E log |det phi'(x)| / n to the approximation loss, for images with n numbers.

    E log |det phi'(x)| is, up to a constant, the entropy of phi(x), so the minimiser fulfils

        E[z | x] = u + w grad log q(u),    u = phi(x),

    for the density q of u. This is Tweedie's formula: for w = sigma², what the inverse gives for u has as measurement
    without noise the posterior mean of A x, if the density of the noisy measurements is q.

    Its gradient is that of <w, phi'(x) v> for w = phi'(x)^-T v held fixed, where v is random with signs. w is the
    derivative of the reconstruction, so a step inverts the network once. As this needs the reconstruction to be the
    inverse on images, states must be as large as images: no more channels, and no padding. The value of the penalty
    is not computed: the loss that is logged is that of the approximation.

    Source: Heilenkötter 2025, arXiv 2510.26704, where both penalties are introduced.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Literal["log_determinant"]
    weight: _Weight

    def __call__(self, reconstructor: Reconstructor, x: Tensor, value: Tensor, tangent: Tensor, v: Tensor) -> Tensor:
        """A number without value whose gradient is that of the penalty: phi(x) is `value`, phi'(x) v is `tangent`."""
        if isinstance(reconstructor, ActsOnLiftedStates) and (state := reconstructor.lift(x[:1])).shape != x[:1].shape:
            raise SpecError(
                f"states of shape {tuple(state.shape[1:])} for images of shape {tuple(x.shape[1:])}",
                where="penalty",
                expected="states as large as images, where the reconstruction is the inverse of the forward map",
                hint=f"channels: {x.shape[1]} and padding: 0; or the penalty divergence",
            )
        point = value.detach().requires_grad_()
        (w,) = torch.autograd.grad(reconstructor(point), point, v)
        product = (w * tangent).mean()
        # <w, phi' v> = <v, phi'^-1 phi' v> = <v, v>, which is 1 in the mean.
        if not torch.isfinite(product) or abs(product.item() - 1) > _INEXACT:
            raise TrainingError(
                f"the reconstruction is not the inverse of the forward map: <w, phi'(x) v> is {product.item():.3g}",
                where="penalty",
                expected="1, for w = R'(phi(x))* v",
                hint="a smaller training_tolerance, or the penalty divergence",
            )
        penalty = -2 * self.weight * product
        return penalty - penalty.detach()


def with_tangent(learned: LearnsForwardMap, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """phi(x), phi'(x) v and v, for random signs v.

    Raises:
        SpecError: if the forward map cannot be differentiated in this way, such as one of fixed points.
    """
    v = torch.randint(0, 2, x.shape, device=x.device).to(x.dtype).mul_(2).sub_(1)
    try:
        # Not torch.func.jvp, in which a normalisation that moves with each call cannot be changed.
        with forward_ad.dual_level():
            value, tangent = forward_ad.unpack_dual(learned.forward_map(forward_ad.make_dual(x, v)))
    except InvregError as error:
        raise SpecError(
            f"{type(learned).__name__} has a forward map without a derivative for penalties ({error.what})",
            where="penalty",
            expected="an explicit forward map, such as that of iresnet",
            hint="no penalty",
        ) from error
    if tangent is None:
        raise SpecError(
            f"the forward map of {type(learned).__name__} does not depend on the image",
            where="penalty",
            expected="a forward map that is differentiable in forward mode",
            hint="no penalty",
        )
    return value, tangent, v
