"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_datasets.folder import ImageFolder
from invreg_datasets.pairs import MeasuredPairs
from invreg_datasets.phantoms import Phantoms
from invreg_datasets.photos import Photos
from invreg_datasets.stl10 import STL10
from invreg_datasets.volumes import VolumeFolder


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {
        "image_folder": ImageFolder,
        "measured_pairs": MeasuredPairs,
        "phantoms": Phantoms,
        "photos": Photos,
        "stl10": STL10,
        "volume_folder": VolumeFolder,
    }
