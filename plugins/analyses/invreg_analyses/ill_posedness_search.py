"""Directions in which a learned forward map reacts to an image and the operator does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from invreg.errors import ConvergenceError, InvregError
from invreg.streams import generator, stream_key
from invreg_analyses.canny_edges import find_edges, smooth_areas
from invreg_analyses.derivatives import Derivative, function_derivative, like_network, operator_derivative
from invreg_analyses.extreme_directions import Directions, Form, ascent, largest
from invreg_analyses.ill_posedness_images import MaskedImage
from invreg_analyses.stability_search import as_evaluated

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from invreg_analyses.progress import Progress

#: The two regions in which directions are searched for.
WHOLE, PART = "whole image", "restricted"
REGIONS = (WHOLE, PART)

#: Accuracy of the norm of the derivative of the operator, which only has to be bounded, and the room that it gets.
_NORM_TOLERANCE, _ROOM = 1e-2, 1.05


@dataclass(frozen=True)
class Settings:
    """How directions are searched for.

    Attributes:
        directions: how many leading ones.
        tolerance: residual of each, relative to the squared norm of derivatives.
        max_products: products for each spectrum, about.
        ascent_steps: steps of gradient ascent, for comparison; 0 for none.
        seed: of the random directions that searches start from.
    """

    directions: int
    tolerance: float
    max_products: int
    ascent_steps: int
    seed: int


@dataclass
class Found:
    """What was found, as rows of tables.

    Attributes:
        leading: the directions of largest difference: method, image, region, rank, network, operator, difference,
            residual, products, neighbours, smooth.
        ascent: what gradient ascent reaches: method, image, region, steps, reached, largest.
        smallest: the directions in which the operator is smallest: image, region, rank, map, derivative, residual.
        left_out: method, image, region, reason.
        pictures: the first direction by (method, image, region), `[C, H, W]`; of the operator alone for the method "".
    """

    leading: list[dict[str, Any]] = field(default_factory=list)
    ascent: list[dict[str, Any]] = field(default_factory=list)
    smallest: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[tuple[str, str, str], NDArray[np.float32]] = field(default_factory=dict)


def investigate(
    nets: Mapping[str, Any],
    images: Sequence[MaskedImage],
    settings: Settings,
    device: torch.device,
    progress: Progress | None = None,
) -> Found:
    """All directions of all networks at all images.

    The operator alone is that of the first network that can be differentiated. A network that cannot be differentiated,
    a search that does not reach its tolerance and an image without a subject are left out, each with its reason.

    Raises:
        InvregError: if nothing at all was found; with all reasons.
    """
    found = Found()
    for image in images:
        if image.no_mask:
            found.left_out.append(_left_out("", image.name, PART, image.no_mask))
        for label, net in nets.items():
            try:
                with as_evaluated(net):
                    _Search(label, net, image, settings, device, found).run()
            except InvregError as error:
                found.left_out.append(_left_out(label, image.name, "", error.what))
            if progress:
                progress.advance()
    if not found.leading:
        reasons = "; ".join(dict.fromkeys(str(row["reason"]) for row in found.left_out if row["method"]))
        raise InvregError(
            reasons, where="local_ill_posedness", expected="a forward map and an operator with derivatives"
        )
    return found


class _Search:
    """The directions of one network at one image."""

    def __init__(
        self, label: str, net: Any, image: MaskedImage, settings: Settings, device: torch.device, found: Found
    ) -> None:
        self._label, self._image, self._settings, self._found = label, image, settings, found
        self._x = like_network(net, image.x.to(device))
        key = stream_key(settings.seed, "local_ill_posedness", "check", image.name)
        self._operator = operator_derivative(net.target_operator, self._x, key)
        self._network = function_derivative(f"the forward map of {label}", net.forward_map, self._x, key)
        self._smooth = smooth_areas(find_edges(image.x[0]))

    def run(self) -> None:
        """Searches in each region. The operator alone is looked at with the first network that gets here."""
        shift, is_first = self._squared_norm(), all(row["image"] != self._image.name for row in self._found.smallest)
        for region, mask in self._regions():
            try:
                self._lead(region, mask, shift)
                if is_first:
                    self._smallest(region, mask, shift)
            except ConvergenceError as error:
                self._found.left_out.append(_left_out(self._label, self._image.name, region, error.what))

    def _regions(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        yield WHOLE, np.ones(self._smooth.shape, dtype=bool)
        if self._image.mask is not None:
            yield PART, self._image.mask

    def _difference(self, h: Tensor) -> Tensor:
        """(J_phi* J_phi - J_F* J_F) h."""
        return _gram(self._network, h) - _gram(self._operator, h)

    def _squared_norm(self) -> float:
        """An upper bound of ||F'(x)||², with which the form of differences becomes positive."""
        form = Form(lambda h: _gram(self._operator, h), np.ones(self._smooth.shape, dtype=bool), self._x)
        start = form.start(self._generator("norm"))
        top = largest(form, 0.0, 1, _NORM_TOLERANCE, self._settings.max_products, start)
        return _ROOM * float(top.values[0] + top.residuals[0])

    def _lead(self, region: str, mask: NDArray[np.bool_], shift: float) -> None:
        settings, key = self._settings, {"method": self._label, "image": self._image.name, "region": region}
        form = Form(self._difference, mask, self._x)
        start = form.start(self._generator("start"))
        top = largest(form, shift, settings.directions, settings.tolerance, settings.max_products, start)
        for rank, (h, residual) in enumerate(zip(self._as_images(form, top), top.residuals, strict=True), 1):
            network, operator = _size(self._network, h), _size(self._operator, h)
            self._found.leading.append(
                {
                    **key,
                    "rank": rank,
                    "network": network,
                    "operator": operator,
                    "difference": network**2 - operator**2,
                    "residual": float(residual),
                    "products": top.products,
                    **self._pattern(h, mask),
                }
            )
            if rank == 1:
                self._keep(self._label, region, h)
        if settings.ascent_steps:
            _, reached = ascent(form, shift, settings.ascent_steps, start)
            row = {"steps": settings.ascent_steps, "reached": reached, "largest": float(top.values[0])}
            self._found.ascent.append({**key, **row})

    def _smallest(self, region: str, mask: NDArray[np.bool_], shift: float) -> None:
        """The directions in which the operator is smallest are those in which c Id - J_F* J_F is largest."""
        settings = self._settings
        form = Form(lambda h: shift * h - _gram(self._operator, h), mask, self._x)
        start = form.start(self._generator("start"))
        top = largest(form, 0.0, settings.directions, settings.tolerance, settings.max_products, start)
        for rank, (h, residual) in enumerate(zip(self._as_images(form, top), top.residuals, strict=True), 1):
            for name, derivative in (("", self._operator), (self._label, self._network)):
                self._found.smallest.append(
                    {
                        "image": self._image.name,
                        "region": region,
                        "rank": rank,
                        "map": name,
                        "derivative": _size(derivative, h),
                        "residual": float(residual),
                    }
                )
            if rank == 1:
                self._keep("", region, h)

    def _as_images(self, form: Form, found: Directions) -> Iterator[Tensor]:
        for vector in found.vectors:
            yield form.image(vector)

    def _keep(self, label: str, region: str, h: Tensor) -> None:
        self._found.pictures[label, self._image.name, region] = h[0].float().cpu().numpy()

    def _pattern(self, h: Tensor, mask: NDArray[np.bool_]) -> dict[str, float]:
        """Whether neighbouring pixels have opposite signs, and how much of h lies in smooth areas.

        - `neighbours`: the mean of h(p) h(q) over the mean of h², for vertical and horizontal neighbours: -1 for a
          checkerboard, 1 for a constant;
        - `smooth`: the share of ||h||² that lies away from edges, and `smooth_area`, that of the region.
        """
        squared = h.double().square()
        total = squared.sum()
        products = sum((h.double() * h.double().roll(1, axis))[..., 1:, 1:].sum() for axis in (-2, -1))
        own = squared[0].sum(0).cpu().numpy()
        return {
            "neighbours": float(products / (2 * total)),
            "smooth": float(own[self._smooth].sum() / own.sum()),
            "smooth_area": float(self._smooth[mask].mean()),
        }

    def _generator(self, purpose: str) -> torch.Generator:
        # Not by network: where two networks are equal, so are their directions.
        return generator(stream_key(self._settings.seed, "local_ill_posedness", purpose, self._image.name))


def _gram(derivative: Derivative, h: Tensor) -> Tensor:
    return derivative.pull(derivative.push(h)).detach()


def _size(derivative: Derivative, h: Tensor) -> float:
    """||J h||."""
    with torch.no_grad():
        return float(derivative.push(h).double().norm())


def _left_out(method: str, image: str, region: str, reason: str) -> dict[str, Any]:
    return {"method": method, "image": image, "region": region, "reason": reason}
