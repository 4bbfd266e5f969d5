"""Noise on measurements, the same on every device and for every batch size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from invreg.computing.streams import generator
from invreg.errors import ShapeError
from invreg.schema.component import Component
from invreg.schema.kinds import base_of


@base_of("noise")
class Noise(Component, ABC):
    """A noise model: subclasses write `draw`."""

    @abstractmethod
    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """A noisy version of z `[B, ...]`, drawn from `generator` on the device of z; z itself is not changed."""

    def sample(self, z: Tensor, keys: Sequence[int]) -> Tensor:
        """Noisy measurements with one random key per image.

        Each image's noise is drawn alone, on the CPU, from its own key; so it depends neither on the batch
        it is in nor on the device.

        Args:
            z: clean measurements, `[B, ...]`.
            keys: B keys, see [`invreg.computing.streams.stream_key`][].

        Raises:
            ShapeError: if there are not as many keys as images.
        """
        if len(keys) != z.shape[0]:
            raise ShapeError(
                f"{len(keys)} keys for {z.shape[0]} images",
                where="Noise.sample",
                expected="one key per image",
            )
        single = [self.draw(image[None].cpu(), generator(key)) for image, key in zip(z, keys, strict=True)]
        return torch.cat(single).to(z) if single else z.clone()
