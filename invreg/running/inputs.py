"""The last checks before anything is computed: do the images, the problem and the methods fit together?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from invreg.components.dataset import ImageStack, Splits
from invreg.components.foreign import blamed, call_unchanged, require_values
from invreg.components.metric import Metric
from invreg.components.operator import Operator, Shape, UnknownOperator
from invreg.components.problem import Problem
from invreg.components.training_images import TrainingPairs
from invreg.computing.streams import generator
from invreg.errors import DataError, InvregError, SpecError, recorded_warnings
from invreg.plugins.registry import Registry
from invreg.running.evaluation import measured
from invreg.specs.methods import ReconstructorBuilder, make_method
from invreg.specs.plan import Plan, has_weights, nothing_to_analyse, nothing_trains


@dataclass(frozen=True)
class RunInputs:
    """The problem, the images and their measurements: what all methods of a run share.

    Attributes:
        problem: operator and noise, on the device.
        images: the splits; the training images lie on the device.
        image_shape: (C, H, W) of the validation and test images.
        val_measurements: on the device.
        test_measurements: on the CPU.
        warnings: what is wrong with the operator, but does not stop a run.
        builders: make the reconstructors of each method; the first one is set up.
    """

    problem: Problem
    images: Splits
    image_shape: Shape
    val_measurements: Tensor
    test_measurements: Tensor
    warnings: Sequence[str] = ()
    builders: Mapping[str, ReconstructorBuilder] = field(default_factory=dict)

    @property
    def own_bytes(self) -> int:
        """Memory of the measurements and of the methods that are set up."""
        weights = (tensor.nbytes for build in self.builders.values() for tensor in build.first().state_dict().values())
        return self.val_measurements.nbytes + self.test_measurements.nbytes + sum(weights)

    @property
    def image_bytes(self) -> int:
        """Memory of the images, which settings may share."""
        return self.images.train.nbytes + self.images.val.images.nbytes + self.images.test.images.nbytes


def load_inputs(
    problem: Problem, images: Splits, metrics: Mapping[str, Metric], seed: int, batch_size: int, device: torch.device
) -> RunInputs:
    """Checks the images against the operator and measures them.

    Args:
        problem: operator and noise; it is moved to the device, and learns which values measured pairs have.
        images: the splits.
        metrics: by name.
        seed: of the noise.
        batch_size: number of images to measure at once.
        device: where to compute.

    Raises:
        InvregError: if the images cannot be used with this operator.
    """
    image_shape = images.test.image_shape
    if images.val.image_shape != image_shape or images.train.channels != image_shape[0]:
        shapes = f"validation {images.val.image_shape}, training crops {images.train.crop_shape}, test {image_shape}"
        raise DataError(
            shapes,
            where="data",
            expected="the same shape for validation and test images, and the same channels for all",
        )
    operator = problem.operator
    range_shape, crop_range = (_range_shape(operator, shape) for shape in (image_shape, images.train.crop_shape))
    if isinstance(images.train, TrainingPairs):
        _check_measured("training", images.train.measurement_shape, operator, images.train.crop_shape, crop_range)
    sample = images.test.images[:1]
    for index, metric in enumerate(metrics.values()):
        try:
            measured(metric, sample, sample, f"metrics.{index}")
        except InvregError as error:
            error.where = f"metrics.{index}"
            raise
    problem.measured_range = images.train.measured_range
    problem.to(device)
    if not isinstance(operator, UnknownOperator):
        _check_calls(problem, sample.to(device), range_shape)
    messages: list[str] = []
    with recorded_warnings(messages):
        problem.check_adjoint(image_shape)
    measurements = {split: _measure(problem, images, split, seed, batch_size, device) for split in ("val", "test")}
    for split, z in measurements.items():
        _check_measured(split, tuple(z.shape[1:]), operator, image_shape, range_shape)
    images = Splits(images.train.to(device), images.val, images.test)
    return RunInputs(
        problem=problem,
        images=images,
        image_shape=image_shape,
        val_measurements=measurements["val"].to(device),
        test_measurements=measurements["test"],
        warnings=messages,
    )


def set_up_methods(plan: Plan, inputs: RunInputs, device: torch.device) -> dict[str, ReconstructorBuilder]:
    """Sets every method up, asks its trainer, and asks the analyses whether they find what they need.

    Raises:
        SpecError: with the path of the method or the analysis.
    """
    builders: dict[str, ReconstructorBuilder] = {}
    capable: dict[str, list[str]] = {key: [] for key in plan.analyses}
    for label, planned in plan.methods.items():
        build = builders[label] = ReconstructorBuilder(plan, label, inputs.problem, inputs.image_shape, device)
        reconstructor = build.first()
        if planned.trainer is None and planned.spec.start_from is None and has_weights(reconstructor):
            raise nothing_trains(label, planned.spec)
        if planned.trainer is not None:
            try:
                with blamed(planned.trainer, ""):
                    planned.trainer.check(make_method(plan, build), reconstructor)
            except InvregError as error:
                raise error.at(f"methods.{label}.trainer", of=planned.trainer) from None
        for key, analyzer in plan.analyses.items():
            if all(isinstance(reconstructor, capability) for capability in analyzer.requires):
                capable[key].append(label)
    for index, (key, labels) in enumerate(capable.items()):
        if not labels:
            raise nothing_to_analyse(index, key, plan.analyses[key])
    for index, (key, analyzer) in enumerate(plan.analyses.items()):
        if len(inputs.image_shape) != 3 and not analyzer.takes_volumes:
            raise not_for_volumes(plan.registry, "analyzer", key, inputs.image_shape, f"analyses.{index}")
        try:
            with blamed(analyzer, ""):
                analyzer.check(inputs.problem, inputs.images, list(plan.metrics))
        except InvregError as error:
            raise error.at(f"analyses.{index}", of=analyzer) from None
    return builders


def not_for_volumes(registry: Registry, kind: str, name: str, image_shape: Sequence[int], where: str) -> SpecError:
    """An analysis of a run or a study that understands images only.

    Args:
        registry: knows those that take volumes.
        kind: `analyzer` or `study_analyzer`.
        name: of the analysis.
        image_shape: of the volumes.
        where: the path of the analysis in the spec.
    """
    others = [other for other, entry in registry.entries(kind).items() if getattr(entry.cls, "takes_volumes", False)]
    return SpecError(
        f"{name!r} is for images, and these are volumes of shape {tuple(image_shape)}",
        where=where,
        expected="an analysis that takes volumes",
        hint=f"one of {', '.join(sorted(others))}, or leave this analysis out",
    )


@contextmanager
def _volumes_named(operator: Operator, shape: Shape) -> Iterator[None]:
    """While an operator is given volumes: that it may be written for images is said where it raises anything."""
    try:
        yield
    except InvregError as error:
        came_from_elsewhere = error.__cause__ is not None and not isinstance(error.__cause__, InvregError)
        if len(shape) > 3 and came_from_elsewhere and error.expected is None:
            error.expected = (
                f"an operator that takes volumes (channels, depth, height, width), here {tuple(shape)}; "
                f"{type(operator).__name__} seems to be for images alone"
            )
        raise


def _range_shape(operator: Operator, shape: Shape) -> Shape:
    """The shape of a measurement of one image.

    Raises:
        InvregError: if the operator does not take such images, or gives something else.
    """
    try:
        with _volumes_named(operator, shape), blamed(operator, ""):
            found = operator.range_shape(shape)
    except InvregError as error:
        place = error.where
        error.at("operator", of=operator)
        if error.where == f"operator.{place}":  # the name of an operator is not part of a path in the spec
            error.where = "operator"
        raise
    if not isinstance(found, tuple | list) or not all(isinstance(side, int) and side > 0 for side in found):
        what = f"{type(operator).__name__}.range_shape returned {found!r}"
        raise InvregError(what, where="operator", expected="a tuple of positive numbers, as in (1, 64, 90)")
    return tuple(found)


def _check_calls(problem: Problem, x: Tensor, range_shape: Shape) -> None:
    """Whether operator and noise give what they promise, on one image, and leave what they are given as it is.

    Raises:
        InvregError: naming the one that does not.
    """
    with torch.no_grad():
        with _volumes_named(problem.operator, tuple(x.shape[1:])):
            z = call_unchanged(problem.operator, x, "operator")
            z = require_values(z, (len(x), *range_shape), problem.operator, "operator")
            with blamed(problem.operator, "operator"):
                drawn = problem.operator.realisation(generator(0))
                found = z if drawn is problem.operator else drawn(x.clone())
        require_values(found, z.shape, drawn, "operator")
        if problem.noise is not None:
            with blamed(problem.noise, "noise"):
                noisy = problem.noise.sample(z, [0] * len(z))
            require_values(noisy, z.shape, problem.noise, "noise")


def _check_measured(split: str, found: Shape, operator: Operator, image_shape: Shape, expected: Shape) -> None:
    """Whether measurements have the shape that the operator gives them.

    Raises:
        DataError: if they do not.
    """
    if found != expected:
        unknown = isinstance(operator, UnknownOperator)
        raise DataError(
            f"{split} measurements of shape {found}",
            where="data",
            expected=f"{expected}, the shape of F(x) for images of shape {image_shape} under {type(operator).__name__}",
            hint=f"operator: {{name: measured, shape: {list(found)}}}" if unknown else "the operator that made them",
        )


def _measure(problem: Problem, images: Splits, split: str, seed: int, batch_size: int, device: torch.device) -> Tensor:
    stack: ImageStack = getattr(images, split)
    with blamed(problem.operator, "operator"):
        z = stack.measured(problem, split, seed, batch_size, device)
    if not torch.isfinite(z).all():
        raise InvregError(
            f"the measurements of the {split} images hold NaN or infinite values",
            where="operator",
            expected="finite values for images in [0, 1]",
            hint="check the operator and the noise on a single image",
        )
    return z
