"""What the cells of a study have in common and do only once: reading the images, training equal methods."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from invreg.components.dataset import Splits
from invreg.components.foreign import blamed
from invreg.errors import DataError, StoreError
from invreg.files import whole_folder
from invreg.specs.plan import Plan
from invreg.storage.method_folder import MethodFolder

if TYPE_CHECKING:
    import torch


class SharedWork:
    """Images by data spec, and finished methods by all that determines them.

    Args:
        folder: where finished methods are kept; None for a run on its own, which shares nothing.
        before: what has been shared so far, whose images are taken over.
        keeps: whether methods that are finished are kept for others.
    """

    def __init__(self, folder: Path | None = None, before: SharedWork | None = None, keeps: bool = True) -> None:
        self._folder, self._keeps = folder, keeps
        self._images: tuple[str, Splits] | None = before._images if before else None

    def images(self, plan: Plan, device: torch.device) -> Splits:
        """The images of a plan, those for training on the device.

        Only the last ones are kept: the cells of a study come in an order that suits that.
        """
        key = plan.spec.data.model_dump_json()
        if self._images is None or self._images[0] != key:
            with blamed(plan.dataset, "data", DataError):
                read = plan.dataset.splits()
            if not isinstance(read, Splits):
                what = f"{type(plan.dataset).__name__}.splits() returned an instance of {type(read).__name__}"
                raise DataError(what, where="data", expected="invreg.Splits")
            self._images = (key, Splits(read.train.to(device), read.val, read.test))
        return self._images[1]

    def copy_to(self, plan: Plan, method: MethodFolder) -> None:
        """Copies a method that another cell has finished into its folder, whole or not at all.

        Raises:
            StoreError: if it was changed since.
        """
        if self._folder is None or method.is_trained:
            return
        source = MethodFolder(self._folder / method_digest(plan, method.label), is_sealed=True)
        if source.path.is_dir() and source.seals:  # without seals, it is from an earlier version
            try:
                source.check_stages()
            except StoreError as error:
                error.hint = f"delete the folder {source.path} and run the same spec again"
                raise
            shutil.rmtree(method.path, ignore_errors=True)
            _copy(source.path, method.path)

    def keep(self, plan: Plan, method: MethodFolder) -> None:
        """Keeps a finished and evaluated method for the other cells."""
        if self._folder is None or not self._keeps:
            return
        target = self._folder / method_digest(plan, method.label)
        if method.is_sealed and not MethodFolder(target).seals:
            shutil.rmtree(target, ignore_errors=True)
            _copy(method.path, target)


def method_digest(plan: Plan, label: str) -> str:
    """A hash of everything in the spec that a method and its metrics depend on: not the other methods, nor analyses."""
    content = plan.spec.model_dump(mode="json", include={"seed", "data", "operator", "noise", "metrics", "evaluation"})
    method = plan.spec.methods[label].model_dump(mode="json")
    text = json.dumps({**content, "label": label, "method": method}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _copy(source: Path, target: Path) -> None:
    with whole_folder(target) as made:
        shutil.copytree(source, made, dirs_exist_ok=True)
