"""The size of the noise of measurements: the unit for the norms of perturbations."""

from __future__ import annotations

import torch
from torch import Tensor

from invreg import CompletedRun, UnknownOperator, stream_key
from invreg_analyses.stability.search import norms, sizes

#: Size of the probes for the scatter of computed reconstructions, relative to ||z||: a few roundings of float32.
PROBE = 1e-6
#: The norm of perturbations relative to that of the measurement, where a problem has no noise.
_WITHOUT_NOISE = 0.01


def noise_levels(run: CompletedRun, images: int) -> Tensor:
    """The norm of the noise of the first measurements, `[B]`, float64; where there is none, a share of ||z||."""
    z, x = run.measurements[:images], run.images.test.images[:images]
    if isinstance(run.problem.operator, UnknownOperator):
        # What the noise model adds to z is as large as what it has added to F(x).
        noise_model = run.problem.noise
        keys = [stream_key(run.seed, "level", str(name)) for name in run.images.test.names[: len(z)]]
        like = z.clamp(min=0)  # F gives no negative values to images, where noise depends on them
        again = like if noise_model is None else noise_model.sample(like, keys)
        level, size = norms(again.double() - like.double()), sizes(z)
    else:
        clean = []
        with torch.no_grad():
            for batch in x.split(run.batch_size):
                clean.append(run.problem.operator(batch.to(run.device)).cpu())
        level, size = norms(z.double() - torch.cat(clean).double()), sizes(z)
    return torch.where(level > PROBE * size, level, _WITHOUT_NOISE * size)
