"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_operators.convolution import Convolution
from invreg_operators.fan_beam import FanBeam
from invreg_operators.finite_differences import FiniteDifferences
from invreg_operators.fourier_sampling import FourierSampling
from invreg_operators.gaussian_blur import GaussianBlur
from invreg_operators.identity import Identity
from invreg_operators.implicit_diffusion import ImplicitDiffusion
from invreg_operators.measured import Measured
from invreg_operators.noise import GaussianNoise, NoNoise, PoissonNoise
from invreg_operators.perona_malik import PeronaMalik
from invreg_operators.radon import Radon


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {
        "identity": Identity,
        "gaussian_blur": GaussianBlur,
        "convolution": Convolution,
        "perona_malik": PeronaMalik,
        "implicit_diffusion": ImplicitDiffusion,
        "finite_differences": FiniteDifferences,
        "radon": Radon,
        "fan_beam": FanBeam,
        "fourier_sampling": FourierSampling,
        "measured": Measured,
        "none": NoNoise,
        "gaussian": GaussianNoise,
        "poisson": PoissonNoise,
    }
