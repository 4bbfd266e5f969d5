"""Search for directions in which the derivative of a learned forward map is larger than that of the operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from invreg import ConvergenceError, Findings, InvregError, generator, stream_key
from invreg_analyses.ill_posedness.extreme_directions import Form, ascent, largest, smallest
from invreg_analyses.ill_posedness.images import MaskedImage
from invreg_analyses.shared.canny_edges import find_edges, smooth_areas
from invreg_analyses.shared.derivatives import Derivative, linearized

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from invreg_analyses.shared.progress import Progress

#: The two regions in which directions are searched for.
WHOLE, PART = "whole image", "restricted"
REGIONS = (WHOLE, PART)

#: Takes the place of a network where only the operator is examined.
OPERATOR_ALONE = "F alone"

#: Accuracy of the norm of the derivative of the operator, which only has to be bounded, and the room that it gets.
_NORM_TOLERANCE, _ROOM = 1e-2, 1.05

_KEY = ("method", "image", "region")
_COLUMNS = {
    "directions": None,  # of the first row: there is one
    "ascent": [*_KEY, "steps", "reached", "largest"],
    "operator": ["image", "region", "rank", "map", "derivative", "residual"],
    "left_out": [*_KEY, "reason"],
}


@dataclass(frozen=True)
class SearchSettings:
    """Settings of the search.

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
class SearchResult:
    """Rows of tables, and pictures.

    Attributes:
        directions: those of largest difference, with both derivatives, residual, products and pattern.
        ascent: the values that gradient ascent reaches.
        operator: the directions in which the operator is smallest.
        left_out: the searches that failed, with the reason.
        pictures: the first direction by (method, image, region), `[C, H, W]`; of the operator alone for the method "".
    """

    directions: list[dict[str, Any]] = field(default_factory=list)
    ascent: list[dict[str, Any]] = field(default_factory=list)
    operator: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[tuple[str, str, str], NDArray[np.float32]] = field(default_factory=dict)

    def leave_out(self, method: str, image: str, region: str, reason: str) -> None:
        self.left_out.append({"method": method, "image": image, "region": region, "reason": reason})

    def findings(self, images: Sequence[MaskedImage], labels: Sequence[str]) -> Findings:
        """Tables and arrays; first directions are NaN where none was found.

        Arrays: `images` `[I, C, H, W]`, `masks` `[I, H, W]`, `directions` `[methods, I, regions, C, H, W]` and
        `operator_directions` `[I, regions, C, H, W]`.
        """
        import pandas as pd

        tables = {name: pd.DataFrame(getattr(self, name), columns=columns) for name, columns in _COLUMNS.items()}
        tables["left_out"] = tables["left_out"].astype(object)
        shares = [(one.name, one.mask is not None, one.share) for one in images]
        tables["images"] = pd.DataFrame(shares, columns=["image", "has_part", "share"])
        tables["networks"] = pd.DataFrame({"method": list(labels)})
        x = np.stack([one.x[0].numpy() for one in images])
        nothing = np.zeros(x.shape[-2:], dtype=bool)
        masks = np.stack([nothing if one.mask is None else one.mask for one in images]).astype(np.uint8)
        missing = np.full(x.shape[1:], np.nan, dtype=np.float32)
        directions = np.array(
            [
                [[self.pictures.get((label, one.name, region), missing) for region in REGIONS] for one in images]
                for label in ("", *labels)
            ]
        )
        arrays = {"images": x, "masks": masks, "directions": directions[1:], "operator_directions": directions[0]}
        return Findings({}, tables, arrays)


def search_directions(
    nets: Mapping[str, Any],
    images: Sequence[MaskedImage],
    settings: SearchSettings,
    device: torch.device,
    progress: Progress | None = None,
) -> SearchResult:
    """All directions of all networks at all images.

    The operator alone is that of the first network that can be differentiated. A network that cannot be differentiated,
    a search that does not reach its tolerance and an image without a subject are left out, each with its reason.
    If the search for the operator alone fails, the networks are still looked at.

    Raises:
        InvregError: if nothing at all was found; with all reasons.
    """
    found, first_error = SearchResult(), None
    for image in images:
        alone: set[str] = set()  # regions in which the operator has been looked at
        if image.no_mask:
            found.leave_out("", image.name, PART, image.no_mask)
        for label, net in nets.items():
            try:
                key = stream_key(settings.seed, "local_ill_posedness", "check", image.name)
                with linearized(label, net, image.x.to(device), key) as derivatives:
                    _Search(label, image, settings, *derivatives, found).run(alone)
            except InvregError as error:
                first_error = first_error or error
                found.leave_out(label, image.name, "", error.what)
            if progress:
                progress.advance()
    if not found.directions:
        reasons = "; ".join(dict.fromkeys(str(row["reason"]) for row in found.left_out if row["method"]))
        raise InvregError(
            reasons,
            where="local_ill_posedness",
            expected="a forward map and an operator with derivatives",
            hint=first_error.hint if first_error else None,
        )
    return found


class _Search:
    """The directions of one network at one image."""

    def __init__(
        self,
        label: str,
        image: MaskedImage,
        settings: SearchSettings,
        x: Tensor,
        network: Derivative,
        operator: Derivative,
        found: SearchResult,
    ) -> None:
        self._label, self._image, self._settings, self._found = label, image, settings, found
        self._x, self._network, self._operator = x, network, operator
        self._smooth = smooth_areas(find_edges(image.x[0]))

    def run(self, alone: set[str]) -> None:
        """Searches in each region. The operator alone is looked at with the first network that gets here.

        Args:
            alone: the regions in which the operator has been looked at; this adds to them.
        """
        shift = self._squared_norm()
        for region, mask in self._regions():
            with self._noted(self._label, region):
                self._lead(region, mask, shift)
            if region not in alone:
                alone.add(region)
                with self._noted(OPERATOR_ALONE, region):
                    self._smallest(region, mask, shift)

    @contextmanager
    def _noted(self, label: str, region: str) -> Iterator[None]:
        """A search that ends before its tolerance is left out, and the others go on."""
        try:
            yield
        except ConvergenceError as error:
            self._found.leave_out(label, self._image.name, region, error.what)

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
        """The directions in which the network exceeds the operator most."""
        settings, key = self._settings, {"method": self._label, "image": self._image.name, "region": region}
        form = Form(self._difference, mask, self._x)
        start = form.start(self._generator("start"))
        top = largest(form, shift, settings.directions, settings.tolerance, settings.max_products, start)
        for rank, (vector, residual) in enumerate(zip(top.vectors, top.residuals, strict=True), 1):
            h = form.image(vector)
            network, operator = _size(self._network, h), _size(self._operator, h)
            sizes = {"network": network, "operator": operator, "difference": network**2 - operator**2}
            cost = {"residual": float(residual), "products": top.products}
            self._found.directions.append({**key, "rank": rank, **sizes, **cost, **pattern(h, mask, self._smooth)})
            if rank == 1:
                self._keep(self._label, region, h)
        if settings.ascent_steps:
            _, reached = ascent(form, shift, settings.ascent_steps, start)
            row = {"steps": settings.ascent_steps, "reached": reached, "largest": float(top.values[0])}
            self._found.ascent.append({**key, **row})

    def _smallest(self, region: str, mask: NDArray[np.bool_], shift: float) -> None:
        """The directions in which the operator is smallest."""
        settings, key = self._settings, {"image": self._image.name, "region": region}
        form = Form(lambda h: _gram(self._operator, h), mask, self._x)
        start = form.start(self._generator("start"))
        bottom = smallest(form, shift, settings.directions, settings.tolerance, settings.max_products, start)
        for rank, (vector, residual) in enumerate(zip(bottom.vectors, bottom.residuals, strict=True), 1):
            h = form.image(vector)
            for name, derivative in (("", self._operator), (self._label, self._network)):
                row = {"rank": rank, "map": name, "derivative": _size(derivative, h), "residual": float(residual)}
                self._found.operator.append({**key, **row})
            if rank == 1:
                self._keep("", region, h)

    def _keep(self, label: str, region: str, h: Tensor) -> None:
        self._found.pictures[label, self._image.name, region] = h[0].float().cpu().numpy()

    def _generator(self, purpose: str) -> torch.Generator:
        # Not by network: where two networks are equal, so are their directions.
        return generator(stream_key(self._settings.seed, "local_ill_posedness", purpose, self._image.name))


def pattern(h: Tensor, mask: NDArray[np.bool_], smooth: NDArray[np.bool_]) -> dict[str, float]:
    """Whether neighbouring pixels have opposite signs, and how much of h lies in smooth areas.

    - `neighbours`: the sum of 2 h(p) h(q) over that of h(p)² + h(q)², for all pairs of vertical and horizontal
      neighbours in the region: -1 for a checkerboard, 1 for a constant;
    - `vertical`, `horizontal`: the same for one kind of neighbours: stripes have 1 along and -1 across them;
    - `smooth`: the share of ||h||² that lies away from edges, and `smooth_area`, that of the region.

    Args:
        h: `[1, C, H, W]`.
        mask: `[H, W]`, the region.
        smooth: `[H, W]`, the pixels away from edges.
    """
    values = h[0].double().cpu().numpy()
    inside, own = np.broadcast_to(mask, values.shape), np.square(values).sum(0)
    down = _neighbours(values[:, 1:], values[:, :-1], inside[:, 1:] & inside[:, :-1])
    across = _neighbours(values[..., 1:], values[..., :-1], inside[..., 1:] & inside[..., :-1])
    return {
        "neighbours": _share(down[0] + across[0], down[1] + across[1]),
        "vertical": _share(*down),
        "horizontal": _share(*across),
        "smooth": float(own[smooth].sum() / own.sum()),
        "smooth_area": float(smooth[mask].mean()),
    }


def _neighbours(p: NDArray[np.float64], q: NDArray[np.float64], both: NDArray[np.bool_]) -> tuple[float, float]:
    """The sums of 2 h(p) h(q) and of h(p)² + h(q)² over neighbours that are both inside."""
    return float((2 * p * q)[both].sum()), float((p**2 + q**2)[both].sum())


def _share(products: float, squares: float) -> float:
    return products / squares if squares > 0 else float("nan")


def _gram(derivative: Derivative, h: Tensor) -> Tensor:
    return derivative.vjp(derivative.jvp(h)).detach()


def _size(derivative: Derivative, h: Tensor) -> float:
    """||J h||."""
    with torch.no_grad():
        return float(derivative.jvp(h).double().norm())
