"""Saliency maps: what the operator and learned forward maps do to single pixels of an image, as small kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field

from invreg import DataError, HasLocalForwardMap, Odd, generator, stream_key
from invreg_analyses.saliency.jacobian_rows import check_window, function_map, jacobian_rows, operator_map
from invreg_analyses.shared.canny_edges import inner
from invreg_analyses.shared.evaluated import as_evaluated

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from invreg_analyses.shared.progress import Progress

#: The side of the maps, a parameter of all analyses of saliency maps.
Window = Annotated[int, Field(ge=3, le=65, description="side of the saliency maps, in pixels"), Odd()]
#: The label of the operator among the maps; it comes first.
OPERATOR = "F"


def random_pixels(seed: int, shape: tuple[int, int], count: int, window: int) -> NDArray[np.int64]:
    """Random pixels whose window lies inside the image: a function of seed, shape and window only.

    Returns:
        Rows and columns, `[count, 2]`, all different. Fewer pixels are the first ones of more.

    Raises:
        SpecError: if the window does not fit.
        DataError: if the image does not have so many.
    """
    check_window(window, *shape)
    rows, columns = np.nonzero(inner(shape, window))
    if count > len(rows):
        raise DataError(
            f"{count} pixels of images of {shape[0]}x{shape[1]}",
            where="pixels",
            expected=f"at most {len(rows)}, whose window of {window}x{window} lies inside the image",
            hint="fewer pixels, or a smaller window",
        )
    key = stream_key(seed, "saliency", "pixels", *shape, window)
    chosen = torch.randperm(len(rows), generator=generator(key))[:count].numpy()
    return np.stack([rows[chosen], columns[chosen]], axis=1)


class SaliencyMaps:
    """Saliency maps of the operator and of networks with a learned forward map.

    Args:
        nets: reconstructors that have learned a forward map of the same operator, by label.
        device: of the computations.
        window: side of the maps.
        batch: images with derivatives in memory at once.
    """

    def __init__(self, nets: Mapping[str, Any], device: torch.device, window: int, batch: int) -> None:
        self._nets, self._device, self._window, self._batch = nets, device, window, max(batch, 1)
        #: The operator, and the networks by label. A network that is itself called F is told apart by its quotes.
        self.names = [OPERATOR, *(f"{label!r}" if label == OPERATOR else label for label in nets)]

    def at(self, x: Tensor, pixels: NDArray[np.int64], progress: Progress) -> NDArray[np.float32]:
        """The maps at P pixels of one image `[C, H, W]`: `[M, P, w, w]`, the operator first; see `jacobian_rows`."""
        image, advance = x[None].to(self._device), progress.advance
        target = operator_map(next(iter(self._nets.values())).target_operator)
        found = [jacobian_rows(target, image, pixels, self._window, self._batch, advance)]
        for label, net in self._nets.items():
            with as_evaluated(net):
                radius = net.forward_map_radius if isinstance(net, HasLocalForwardMap) else None
                phi = function_map(f"the forward map of {label}", net.forward_map, radius)
                found.append(jacobian_rows(phi, image, pixels, self._window, self._batch, advance))
        return torch.stack([rows.to(torch.float32) for rows in found]).numpy()
