"""Training of the denoiser of a plug-and-play method."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_helpers import ThreeConvs, make_context, make_method

from invreg.components.reconstructor import LearnsDenoiser, Reconstructor
from invreg.errors import SpecError
from invreg_training.gradient.denoising import DenoisingTraining
from invreg_training.gradient.objectives import DenoisingLoss


class Shrinkage(Reconstructor):
    """Plugs in D(x) = gain x, and gives D(z)."""

    needs_training = True
    denoiser_std = 0.5

    def setup(self, problem, image_shape) -> None:  # type: ignore[no-untyped-def]
        super().setup(problem, image_shape)
        self.gain = nn.Parameter(torch.ones(()))

    def denoise(self, x: Tensor) -> Tensor:
        return self.gain * x

    def forward(self, z: Tensor) -> Tensor:
        return self.denoise(z)


@pytest.mark.slow
def test_the_best_gain_is_found_whatever_the_measurement(tmp_path: Path) -> None:
    """That of Wiener: E x² / (E x² + s²)."""
    context = make_context(tmp_path)
    trainer = DenoisingTraining(steps=30, batch_size=8, lr=0.1, gradient_clip=None, validations=1)
    trained = trainer.fit(make_method(Shrinkage, context), context).reconstructor
    power = context.images.val.images.square().mean().item()
    assert trained.gain.item() == pytest.approx(power / (power + 0.25), abs=0.1)


def test_the_loss_is_that_of_denoising() -> None:
    made = Shrinkage()
    made.gain = nn.Parameter(torch.ones(()))
    assert isinstance(made, LearnsDenoiser)
    x = torch.rand(50, 1, 20, 20)
    assert DenoisingLoss(made)(torch.full_like(x, 7.0), x).item() == pytest.approx(0.25, rel=0.05)


def test_a_method_without_a_denoiser_is_refused(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    with pytest.raises(SpecError, match="has no denoiser"):
        DenoisingTraining(steps=1).fit(make_method(ThreeConvs, context), context)
