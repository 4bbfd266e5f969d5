"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_operators.beams.fan_beam import FanBeam
from invreg_operators.beams.radon import Radon
from invreg_operators.combined.composition import Composition
from invreg_operators.combined.finite_differences import FiniteDifferences
from invreg_operators.combined.stack import Stack
from invreg_operators.convolution.convolution import Convolution
from invreg_operators.convolution.downsampling import Downsampling
from invreg_operators.convolution.gaussian_blur import GaussianBlur
from invreg_operators.convolution.motion_blur import MotionBlur, UncertainMotionBlur
from invreg_operators.diffusion.implicit_diffusion import ImplicitDiffusion
from invreg_operators.diffusion.perona_malik import PeronaMalik
from invreg_operators.fourier.fourier_sampling import FourierSampling
from invreg_operators.fourier.multicoil_fourier import MulticoilFourier
from invreg_operators.fourier.phase_retrieval import PhaseRetrieval
from invreg_operators.measured import Measured
from invreg_operators.noise.correlated import CorrelatedNoise
from invreg_operators.noise.gaussian import GaussianNoise
from invreg_operators.noise.no_noise import NoNoise
from invreg_operators.noise.poisson import PoissonNoise
from invreg_operators.noise.poisson_gaussian import PoissonGaussianNoise
from invreg_operators.noise.salt_and_pepper import SaltAndPepperNoise
from invreg_operators.pointwise.gamma import Gamma
from invreg_operators.pointwise.identity import Identity
from invreg_operators.pointwise.inpainting import Inpainting
from invreg_operators.pointwise.saturation import Saturation


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {
        "identity": Identity,
        "gaussian_blur": GaussianBlur,
        "convolution": Convolution,
        "motion_blur": MotionBlur,
        "uncertain_motion_blur": UncertainMotionBlur,
        "downsampling": Downsampling,
        "inpainting": Inpainting,
        "saturation": Saturation,
        "gamma": Gamma,
        "perona_malik": PeronaMalik,
        "implicit_diffusion": ImplicitDiffusion,
        "finite_differences": FiniteDifferences,
        "radon": Radon,
        "fan_beam": FanBeam,
        "fourier_sampling": FourierSampling,
        "multicoil_fourier": MulticoilFourier,
        "phase_retrieval": PhaseRetrieval,
        "composition": Composition,
        "stack": Stack,
        "measured": Measured,
        "none": NoNoise,
        "gaussian": GaussianNoise,
        "poisson": PoissonNoise,
        "poisson_gaussian": PoissonGaussianNoise,
        "salt_and_pepper": SaltAndPepperNoise,
        "correlated": CorrelatedNoise,
    }
