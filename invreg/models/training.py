"""Training from Python, without a spec and a run folder."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

from invreg.components.dataset import ImageDataset, Splits
from invreg.components.events import Events
from invreg.components.foreign import blamed
from invreg.components.metric import Metric
from invreg.components.operator import Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.components.trainer import Method, Trainer, TrainingContext
from invreg.computing.device import choose_device
from invreg.computing.interruption import interruptible
from invreg.errors import InvregError, SpecError, StoreError
from invreg.files import make_folder, usable_path, write_whole
from invreg.models.model import Model
from invreg.models.training_data import splits_of
from invreg.plugins.registry import Registry
from invreg.running.inputs import load_inputs
from invreg.running.progress import TerminalProgress
from invreg.running.training import finalise, fit
from invreg.schema.component import Component
from invreg.schema.parameters import Parameters, model_or_none, validated_parameters
from invreg.schema.signature import built_with
from invreg.specs.methods import set_up

_WHERE = "training"


_Side = Annotated[int, Field(ge=1)]


class _Settings(BaseModel):
    """The parameters of `train` that are plain values."""

    model_config = ConfigDict(strict=True)

    seed: Annotated[int, Field(ge=0, description="a whole number, 0 or more")]
    name: Annotated[str | None, Field(min_length=1, description="a text")]
    batch_size: Annotated[int, Field(ge=1, description="number of validation images to reconstruct at once")]
    crop: Annotated[
        _Side | Annotated[tuple[_Side, _Side], Strict(False)] | None,
        Field(description="the side of a square, or height and width"),
    ]


def train(
    reconstructor: Reconstructor | Mapping[str, Any] | str,
    problem: Problem,
    images: Splits | ImageDataset | Mapping[str, Any] | str | Any,
    *,
    trainer: Trainer | Mapping[str, Any] | str,
    val: Any = None,
    crop: int | tuple[int, int] | None = None,
    metric: Metric | Mapping[str, Any] | str = "psnr",
    seed: int = 0,
    name: str | None = None,
    device: str = "auto",
    batch_size: int = 16,
    folder: str | Path | None = None,
    progress: bool = True,
    registry: Registry | None = None,
) -> Model:
    """Trains a reconstructor for a problem, as a run does, and gives the model.

    A reconstructor that is an instance is trained in place. One that is set up for this very problem keeps its weights
    and goes on from them; any other one is set up first.

    Args:
        reconstructor: an instance, or a name or a spec, as in `{"name": "iresnet", "subnetworks": 8}`.
        problem: operator and noise. Each step measures its crops, with new noise.
        images: a data set (an instance, its `Splits`, a name or a spec); or NumPy or torch, `[N, H, W]`,
            `[N, C, H, W]` or channels last, floating point in [0, 1] or of 8 or 16 bits; or a list of images of several
            sizes.
        trainer: an instance, or a name or a spec, as in `{"name": "reconstruction", "steps": 500}`.
        val: images of one size, for validation; the last tenth of the images if None.
        crop: height and width of the training crops; as large as all images allow, at most 96, if None. Neither this
            nor `val` is for data sets, which have their own.
        metric: chooses among weights and parameters.
        seed: of weights, crops and noise. The same seed and name give the weights that a run gives.
        name: of the model; that of the reconstructor if None.
        device: `auto`, `cpu`, `cuda`, ...
        batch_size: number of validation images to reconstruct at once.
        folder: where checkpoints are kept: the same call goes on after an interruption, and gives the result again
            after the end. Nothing is kept if None.
        progress: whether progress is shown on the terminal (standard error).
        registry: where components come from; all installed plugins if None.

    Returns:
        The model, with the log of its training.

    Raises:
        SpecError: if a name or a parameter is wrong, or the trainer cannot train this reconstructor.
        DataError: if the images cannot be used.
        TrainingError: if the training cannot go on.
        StoreError: if the folder belongs to a training on other images.
        KeyboardInterrupt: after Ctrl-C.

    Example:
        ```python
        model = invreg.train("unet", problem, photographs, trainer={"name": "reconstruction", "steps": 500})
        x_hat = model.reconstruct(z).image
        ```
    """
    registry = registry or Registry.installed()
    validated_parameters(_Settings, {"seed": seed, "name": name, "batch_size": batch_size, "crop": crop})
    if not isinstance(problem, Problem):
        raise SpecError(
            f"an instance of {type(problem).__name__}",
            where="problem",
            expected="an invreg.Problem",
            hint="invreg.Problem(operator, noise)",
        )
    net: Reconstructor = _component(registry, "reconstructor", reconstructor, Reconstructor)
    teacher: Trainer = _component(registry, "trainer", trainer, Trainer)
    decides: Metric = _component(registry, "metric", metric, Metric)
    metrics, label = {_name(decides, registry): decides}, name or _name(net, registry)
    where = choose_device(device)
    with interruptible(), _kept_in(folder) as place, _listening(registry, progress) as events:
        inputs = load_inputs(problem, splits_of(images, val, crop, registry), metrics, seed, batch_size, where)
        _check_folder(place, inputs.images)
        context = TrainingContext(
            problem=problem,
            image_shape=inputs.image_shape,
            images=inputs.images,
            val_measurements=inputs.val_measurements,
            device=where,
            seed=seed,
            folder=place,
            events=events,
            metrics=metrics,
            batch_size=batch_size,
        )
        _prepare(net, problem, inputs.image_shape, seed, label)
        method = _method(net.to(where), context, label, registry)
        try:
            with blamed(teacher, ""):
                teacher.check(method, net)
        except InvregError as error:
            raise error.at("trainer", of=teacher) from None
        trained = finalise(fit(teacher, method, context, _WHERE), _WHERE)
        events.emit("invreg_method_trained", label=label, trained=trained)
    return Model(label, trained.reconstructor, problem, inputs.image_shape, log=trained.log)


def _component(registry: Registry, kind: str, given: Any, base: type) -> Any:
    if isinstance(given, base):
        return given
    if isinstance(given, str | Mapping):
        return registry.build(kind, given, kind)
    raise SpecError(
        f"an instance of {type(given).__name__}",
        where=kind,
        expected=f"an invreg.{base.__name__}, a name or a spec",
        hint=_hint(given),
    )


def _name(component: Component, registry: Registry) -> str:
    cls = type(component)
    return component.__dict__.get("_registered_as") or registry.name_of(cls) or cls.__name__


def _hint(given: Any) -> str | None:
    if isinstance(given, type):
        return f"an instance of it: {given.__name__}(...)"
    is_network = any(cls.__module__ == "torch.nn.modules.module" for cls in type(given).__mro__)
    return "invreg.interop.reconstructor_from_torch(network)" if is_network else None


def _prepare(net: Reconstructor, problem: Problem, image_shape: Shape, seed: int, label: str) -> None:
    """Sets a reconstructor up, unless it is for this problem."""
    if net._problem is None:
        set_up(net, problem, image_shape, seed, label)
    elif net.problem is not problem and net.problem.operator is not problem.operator:
        raise SpecError(
            f"a {type(net).__name__} that is set up for another problem",
            where="reconstructor",
            expected="one that is not set up, or is for this very problem: train(net, net.problem, ...)",
        )
    elif not any(parameter.requires_grad for parameter in net.parameters()):  # as those of models
        net.requires_grad_(True)


def _method(net: Reconstructor, context: TrainingContext, label: str, registry: Registry) -> Method:
    """The method as its trainer sees it. The first reconstructor that is built is the one that was given."""
    cls, parameters = type(net), built_with(net)
    unused = [net]

    def build(**changes: Any) -> Reconstructor:
        if unused and not changes:
            return unused.pop()
        another = cls(**method.validated(**changes))
        set_up(another, context.problem, context.image_shape, context.seed, label)
        return another.to(context.device)

    method = Method(label, parameters, model_or_none(cls) or Parameters, build, registry)
    return method


@contextmanager
def _kept_in(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        path = usable_path(folder, "folder")
        make_folder(path, "folder")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="invreg-training-") as temporary:
        try:
            yield Path(temporary)
        except KeyboardInterrupt as stop:
            stop.__notes__ = ["nothing; with a folder, train(..., folder=...), checkpoints are"]
            raise


def _check_folder(folder: Path, images: Splits) -> None:
    """Refuses a folder in which a training on other images has begun."""
    path = folder / "images.json"
    content = json.dumps(images.fingerprint()).encode()
    if not path.exists():
        write_whole(path, content)
    elif path.read_bytes() != content:
        raise StoreError(
            "the folder belongs to a training on other images", where=str(folder), hint="another folder, or delete it"
        )


@contextmanager
def _listening(registry: Registry, progress: bool) -> Iterator[Events]:
    terminal = [TerminalProgress()] if progress else []
    try:
        for listener in terminal:
            listener.open()
        yield Events(registry.manager, terminal)
    finally:
        for listener in terminal:
            listener.close()
