"""Noise models of DeepInverse and of invreg."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from invreg.components.noise import Noise
from invreg.errors import InvregError, SpecError
from invreg.interop.foreign import SPEC_HINT, require
from invreg.plugins.registry import Registry, spec_of


def noise_from_deepinverse(noise_model: Any) -> Noise | None:
    """A noise model of DeepInverse as one of invreg.

    `GaussianNoise` and normalised `PoissonNoise` with one level become `gaussian` and `poisson`, `ZeroNoise` None. Any
    other is wrapped: it then draws what torch's own generators give after they were seeded from the generator that
    `draw` is handed, and leaves them as they were.

    Raises:
        InvregError: if it is not a noise model, or DeepInverse is not installed.
    """
    models = require("deepinv.physics", "deepinv")
    if noise_model is None or type(noise_model) is models.ZeroNoise:
        return None
    if not callable(noise_model):
        raise InvregError(
            f"{type(noise_model).__name__} is not a noise model",
            where="noise_from_deepinverse",
            expected="a deepinv NoiseModel",
        )
    registry = Registry.installed()
    if type(noise_model) is models.GaussianNoise and noise_model.sigma.numel() == 1:
        return registry.build("noise", {"name": "gaussian", "std": _plain(noise_model.sigma)})
    if type(noise_model) is models.PoissonNoise and noise_model.gain.numel() == 1 and bool(noise_model.normalize):
        return registry.build("noise", {"name": "poisson", "photons": _plain(1 / noise_model.gain.double())})
    return DeepInverseNoise(noise_model)


def noise_to_deepinverse(noise: Noise | None) -> Any:
    """The noise model of DeepInverse that does the same."""
    models = require("deepinv.physics", "deepinv")
    if noise is None:
        return models.ZeroNoise()
    if isinstance(noise, DeepInverseNoise):
        return noise.noise_model
    name, parameters = _named(noise)
    if name == "none":
        return models.ZeroNoise()
    if name == "gaussian":
        return models.GaussianNoise(sigma=parameters["std"])
    if name == "poisson":
        # Ours takes rounding errors below 0 for 0; theirs has to be told.
        return models.PoissonNoise(gain=1 / parameters["photons"], normalize=True, clip_positive=True)
    from invreg.interop.physics import DrawnNoise

    return DrawnNoise(noise)


def standard_deviation(noise: Noise | None) -> float | None:
    """The standard deviation of Gaussian noise; None for any other."""
    name, parameters = _named(noise) if noise is not None else ("", {})
    return float(parameters["std"]) if name == "gaussian" else None


class DeepInverseNoise(Noise):
    """A noise model of DeepInverse for which invreg has no equal.

    Args:
        noise_model: a `deepinv.physics.NoiseModel`, or another function of measurements.
    """

    spec_hint = SPEC_HINT

    def __init__(self, noise_model: Any) -> None:
        self.noise_model = noise_model

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        own = getattr(self.noise_model, "rng", None)
        with torch.random.fork_rng([z.device] if z.device.type == "cuda" else []):
            torch.manual_seed(seed)
            if own is not None:
                self.noise_model.rng = None
            try:
                noisy: Tensor = self.noise_model(z.clone())
            finally:
                if own is not None:
                    self.noise_model.rng = own
        return noisy


def _named(noise: Noise) -> tuple[str, dict[str, Any]]:
    """The registered name of a noise model and its parameters: the core does not know the classes."""
    try:
        spec = spec_of(noise)
    except SpecError:
        return "", {}
    return spec["name"], spec


def _plain(level: Tensor) -> float:
    """A level in float32 as the number that a person wrote."""
    return float(f"{float(level):.7g}")
