"""Test images of the cells of a study with their data, as the runs had them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from invreg import DataError, choose_device, stream_key
from invreg.running.inputs import fingerprint
from invreg.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

    from invreg import ImageStack, StudyCell


@dataclass(frozen=True)
class MeasuredImages:
    """Some test images of a cell, on the CPU.

    Attributes:
        names: their names.
        x: the images, `[N, C, H, W]`.
        clean: F(x), `[N, ...range]`.
        noisy: the measurements z, with the noise that the run drew.
        total: how many test images the run had.
    """

    names: list[str]
    x: Tensor
    clean: Tensor
    noisy: Tensor
    total: int


class StudyImages:
    """Reads the test images of cells again. The last data set is kept: cells that follow each other mostly share it."""

    def __init__(self) -> None:
        self._kept: tuple[str, ImageStack, str] | None = None

    def first(self, cell: StudyCell, count: int) -> MeasuredImages:
        """The first test images of a cell, at most `count`, measured as in its run.

        Raises:
            DataError: if the data set no longer has the images that the cell was run with.
        """
        stack = self._stack(cell)
        x, problem, size = stack.images[:count], cell.result.problem, cell.spec.evaluation.batch_size
        keys = [stream_key(cell.spec.seed, "noise", "test", index) for index in range(len(x))]
        device, clean, noisy = choose_device(cell.device), [], []
        for i in range(0, len(x), size):
            batch = x[i : i + size].to(device)
            with torch.no_grad():
                clean.append(problem.operator(batch).cpu())
            noisy.append(problem.measure(batch, keys=keys[i : i + size]).cpu())
        return MeasuredImages(list(stack.names[:count]), x, torch.cat(clean), torch.cat(noisy), len(stack))

    def _stack(self, cell: StudyCell) -> ImageStack:
        key = cell.spec.data.model_dump_json()
        if self._kept is None or self._kept[0] != key:
            images = cell.registry.build("dataset", cell.spec.data).splits()
            self._kept = (key, images.test, str(fingerprint(images)["pixels"]))
        if self._kept[2] != RunFolder(cell.folder).read_json("run.json")["pixels"]:
            raise DataError(
                "other images than those of the run", where=str(cell.folder), hint="the files as they were then"
            )
        return self._kept[1]
