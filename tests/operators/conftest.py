"""Real photographs, where they are available."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "bsds500" / "val"


@pytest.fixture(scope="session")
def photographs() -> Tensor:
    """100 photographs, grey, downsampled by 2 with area means, centre 96x96 crops, [100, 1, 96, 96]."""
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("the photographs of BSDS500 are not available")
    from PIL import Image

    crops = []
    for path in sorted(PHOTOGRAPHS.glob("*.jpg")):
        image = torch.from_numpy(np.array(Image.open(path).convert("L"))).float()[None] / 255
        image = torch.nn.functional.avg_pool2d(image, 2)
        top, left = (image.shape[1] - 96) // 2, (image.shape[2] - 96) // 2
        crops.append(image[:, top : top + 96, left : left + 96])
    assert len(crops) == 100
    return torch.stack(crops)
