"""What of DeepInverse can be named in a spec."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from invreg import Shape, SpecError
from invreg_foreign.catalogues import PENDING, Catalogue, Maker
from invreg_foreign.packages import package
from invreg_foreign.signatures import Parameter
from invreg_foreign.weights import give_weights

#: Physics, and a generator, that are told the height and the width of an image, without its channels.
_OF_PLANES = {
    "MRI",
    "MultiCoilMRI",
    "DynamicMRI",
    "ProductConvolutionBlurGenerator",
    "SequentialMRI",
    "NonCartesianMRI",
    "PET",
    "RadioInterferometry",
    "TomographyWithAstra",
    "UltrasoundPlaneWave",
}

#: Functions whose results are filters.
_FILTERS = ("gaussian_blur", "bilinear_filter", "bicubic_filter", "sinc_filter", "kaiser_window")

_ASK_A_SERVER = {"Client", "DiffusersDenoiserWrapper"}

_REFUSED = {
    "device": "nothing: a run chooses its device",
    "noise_model": "the noise of the spec: `noise: {name: gaussian, std: 0.01}`",
    "sensor_model": "nothing: measurements are F(x) + noise, and nothing comes after it",
    "pretrained": "`weights: FILE` beside parameters, with the path of a file; nothing is downloaded",
}


def maker(image_shape: Shape | None, seed: int) -> Maker:
    """Makes objects of DeepInverse.

    Raises:
        InvregError: if it is not installed, or cannot be imported.
    """
    deepinv = package("deepinv")
    return Maker(
        catalogues={
            "physics": Catalogue("physics of DeepInverse", _physics(deepinv), shaped=_shaped, seeded=_generators),
            "generator": Catalogue(
                "generator of DeepInverse",
                _subclasses(deepinv.physics.generator, deepinv.physics.generator.PhysicsGenerator),
                shaped=_shaped,
                finished=partial(_drawn, image_shape),
                seeded=_generators,
                further=frozenset({"key"}),
            ),
            "function": Catalogue(
                "filter of DeepInverse", {name: getattr(deepinv.physics.functional, name) for name in _FILTERS}
            ),
            "config": Catalogue(
                "configuration of DeepInverse", {"SolverConfig": deepinv.physics.Scattering.SolverConfig}
            ),
            "transform": _classes("transform of DeepInverse", deepinv.transform, deepinv.transform.Transform),
            "prior": _classes("prior of DeepInverse", deepinv.optim, deepinv.optim.Prior),
            "data_fidelity": _classes("data fidelity of DeepInverse", deepinv.optim, deepinv.optim.DataFidelity),
            "denoiser": Catalogue(
                "denoiser of DeepInverse",
                _models(deepinv.models),
                shaped=_shaped_models,
                finished=_trained,
                seeded=_generators,
                further=frozenset({"weights"}),
            ),
            "model": Catalogue(
                "model of DeepInverse",
                _models(deepinv.models) | _subclasses(deepinv.optim, deepinv.models.Reconstructor),
                shaped=_shaped_models,
                seeded=_generators,
            ),
        },
        refused=_REFUSED,
        array=_tensor,
        plain=_plain,
        package="DeepInverse",
        image_shape=image_shape,
        seed=seed,
        sandbox=_seeded,
    )


def physics_class(name: str) -> type[Any] | None:
    """The class of this name in `deepinv.physics`; None if there is none."""
    return _physics(package("deepinv")).get(name)


def is_linear(cls: type[Any]) -> bool:
    """Whether it is a `LinearPhysics`."""
    return issubclass(cls, package("deepinv").physics.LinearPhysics)


def _physics(deepinv: ModuleType) -> dict[str, type[Any]]:
    """All but the base classes, which are given functions."""
    found = _subclasses(deepinv.physics, deepinv.physics.Physics)
    return {name: cls for name, cls in found.items() if name not in ("Physics", "LinearPhysics", "DecomposablePhysics")}


def _models(module: ModuleType) -> dict[str, type[Any]]:
    """Reconstructors, denoisers and other networks, but those that ask a server."""
    return {name: cls for name, cls in _subclasses(module, nn.Module).items() if name not in _ASK_A_SERVER}


def _subclasses(module: ModuleType, base: type[Any]) -> dict[str, type[Any]]:
    known = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return {name: cls for name, cls in known.items() if isinstance(cls, type) and issubclass(cls, base)}


def _classes(kind: str, module: ModuleType, base: type[Any]) -> Catalogue:
    return Catalogue(kind, _subclasses(module, base), seeded=_generators)


def _shaped(name: str, known: Mapping[str, Parameter], shape: Shape) -> dict[str, Any]:
    """The sizes that DeepInverse asks for where images of this shape, (C, H, W), are measured."""
    size = tuple(shape[-2:]) if name in _OF_PLANES else tuple(shape)
    found: dict[str, Any] = {"img_size": size, "img_width": shape[-1]}
    # LinearPhysics itself asks for a size only where an adjoint is to be found.
    return {key: value for key, value in found.items() if key in known and known[key].owner != "LinearPhysics"}


def _shaped_models(name: str, known: Mapping[str, Parameter], shape: Shape) -> dict[str, Any]:
    """The sizes that a network needs; others have the sizes that they were made for."""
    return {key: value for key, value in _shaped(name, known, shape).items() if known[key].is_required}


def _generators(known: Mapping[str, Parameter], seed: int) -> dict[str, Any]:
    """What is drawn follows from the seed, and no weights are downloaded."""
    found: dict[str, Any] = {"rng": torch.Generator().manual_seed(seed)} if "rng" in known else {}
    return found | ({"pretrained": None} if "pretrained" in known else {})


def _trained(made: Any, given: Mapping[str, Any], parameter: Parameter | None, where: str) -> Any:
    """A denoiser with the weights that its reference names, which are not trained any further."""
    if "weights" in given:
        give_weights(made, given["weights"], type(made).__name__, f"{where}.weights" if where else "weights")
        made.requires_grad_(False)
    return made


def _drawn(
    image_shape: Shape | None, made: Any, given: Mapping[str, Any], parameter: Parameter | None, where: str
) -> Any:
    """What a generator draws, in the place of a tensor; the generator itself, where it is asked for."""
    name = parameter.name if parameter is not None else ""
    wants = parameter.wants if parameter is not None else frozenset()
    if "generator" in name or any(word.endswith("Generator") and word != "Generator" for word in wants):
        return made
    sized = "img_size" in inspect.signature(made.step).parameters
    if sized and image_shape is None:
        return PENDING
    further = {"img_size": tuple(image_shape[-2:])} if sized and image_shape is not None else {}
    with _seeded(int(given.get("seed", 0))):
        drawn = made.step(batch_size=1, seed=int(given.get("seed", 0)), **further)
    key = given.get("key", name if name in drawn else next(iter(drawn)) if len(drawn) == 1 else name)
    if key not in drawn:
        raise SpecError(f"it draws nothing called {key!r}", where=f"{where}.key", expected=f"one of {', '.join(drawn)}")
    return drawn[key]


def _tensor(value: Any, parameter: Parameter) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "fciub":
        raise ValueError("it holds something else than numbers")
    if not np.isfinite(array).all():
        raise ValueError("it holds NaN or infinite values")
    tensor = torch.from_numpy(array.astype(np.complex64 if array.dtype.kind == "c" else np.float32))
    return tensor[None, None] if parameter.name == "filter" and tensor.dim() == 2 else tensor


def _plain(value: Any, parameter: Parameter, where: str) -> Any:
    if "Generator" in parameter.wants and isinstance(value, int):
        return torch.Generator().manual_seed(value)
    if parameter.name == "dtype" and isinstance(value, str):
        found = getattr(torch, value, None)
        if not isinstance(found, torch.dtype):
            raise SpecError(f"{value!r}", where=where, expected="a type of torch: float32, float64, complex64, ...")
        return found
    return value


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """What is drawn inside follows from the seed, torch's own generators are left alone, and nothing is downloaded."""
    with (
        torch.random.fork_rng(devices=[]),
        mock.patch("torch.hub.load_state_dict_from_url", _refuse_download),
        mock.patch("torch.hub.download_url_to_file", _refuse_download),
    ):
        torch.manual_seed(seed)
        yield


def _refuse_download(*_: Any, **__: Any) -> Any:
    raise RuntimeError("weights are not downloaded: give the object that needs them another one, or a file of weights")
