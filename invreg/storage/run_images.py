"""The test images of finished runs with their measurements, read and measured again as the runs had them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from invreg.components.dataset import ImageStack
from invreg.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from invreg.components.problem import Problem
    from invreg.plugins.registry import Registry
    from invreg.specs.spec import Spec
    from invreg.storage.run_folder import RunFolder

#: Which images: the first so many, those at these positions, or all.
Which = int | Sequence[int] | None


class LastImages:
    """The test images that were read last: cells of a study that follow each other mostly share them."""

    def __init__(self) -> None:
        self._kept: tuple[str, ImageStack, str] | None = None

    def read(self, spec: Spec, registry: Registry) -> tuple[ImageStack, str]:
        """The test images of a spec, and the hash of the pixels of all its images."""
        key = spec.data.model_dump_json()
        if self._kept is None or self._kept[0] != key:
            splits = registry.build("dataset", spec.data).splits()
            self._kept = (key, splits.test, str(splits.fingerprint()["pixels"]))
        return self._kept[1:]


@dataclass(frozen=True)
class RunImages:
    """The test images of a run.

    Attributes:
        folder: the run folder.
        spec: its spec.
        problem: operator and noise, on the device.
        device: where to measure.
        registry: where the data set comes from.
        last: images that runs share.
    """

    folder: RunFolder
    spec: Spec
    problem: Problem
    device: torch.device
    registry: Registry
    last: LastImages = field(default_factory=LastImages, repr=False)

    def images(self, which: Which = None) -> ImageStack:
        """Test images with their names, on the CPU.

        Args:
            which: the first so many, those at these positions, or all if None.

        Raises:
            DataError: if the data set no longer has the images of the run.
        """
        stack, pixels = self.last.read(self.spec, self.registry)
        if pixels != self.folder.identity.pixels:
            raise DataError(
                "other images than those of the run", where=str(self.folder.path), hint="the files as they were then"
            )
        if which is None:
            return stack
        return stack.select(range(len(stack))[:which] if isinstance(which, int) else which)

    def measurements(self, which: Which = None) -> Tensor:
        """The measurements `[N, ...range]` of these test images, with the noise that the run drew, on the CPU.

        Raises:
            DataError: if the data set no longer has the images of the run.
        """
        positions = None if which is None or isinstance(which, int) else which
        size = self.spec.evaluation.batch_size
        return self.images(which).measured(self.problem, "test", self.spec.seed, size, self.device, positions)
