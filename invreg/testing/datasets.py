"""Checks of data sets."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch

from invreg.components.dataset import ImageDataset, ImageStack, MeasuredDataset, MeasuredStack, Splits
from invreg.testing.checks import Check, Refused, instance_of, run_checks, title_of
from invreg.testing.constructors import constructor_checks, rebuilt
from invreg.testing.numbers import demand_equal, demand_same
from invreg.testing.side_effects import check_no_global_state


def check_dataset(dataset: ImageDataset | type[ImageDataset]) -> None:
    """Checks that a data set always gives the same splits, of images that fit together, and that no test image is used.

    Args:
        dataset: an instance, or a class that can be built without arguments; a small one.

    Raises:
        CheckFailure: an `AssertionError` that names each failed check.
    """
    tested: ImageDataset = instance_of(dataset, ImageDataset)  # type: ignore[type-abstract]
    run_checks(title_of(dataset), _checks(copy.deepcopy(tested)))


def _checks(dataset: ImageDataset) -> Iterator[Check]:
    yield "no_global_state", lambda: check_no_global_state(dataset.splits)
    yield "determinism", lambda: _determinism(dataset)
    yield "range_shape", lambda: _shapes(dataset.splits())
    yield "disjoint_splits", lambda: _disjoint(dataset.splits())
    yield from constructor_checks(dataset)


def _determinism(dataset: ImageDataset) -> None:
    again = rebuilt(dataset)
    if not isinstance(again, ImageDataset):
        raise Refused("building it again gives no data set", "a data set", "do not override __new__")
    first, second = dataset.splits(), again.splits()
    fix = "sort files by name, and draw from a generator with a seed parameter"
    for name in ("val", "test"):
        a, b = getattr(first, name), getattr(second, name)
        demand_equal(list(a.names), list(b.names), f"names of {name}, drawn twice,", fix)
        demand_same(a.images, b.images, f"images of {name}, drawn twice", fix)
        if isinstance(dataset, MeasuredDataset):
            demand_same(_measured(a, name), _measured(b, name), f"measurements of {name}, drawn twice", fix)
    for step in (0, 3):
        demand_same(first.train.batch(0, step, 4), second.train.batch(0, step, 4), f"batch of step {step}", fix)


def _measured(stack: ImageStack, name: str) -> torch.Tensor:
    if not isinstance(stack, MeasuredStack):
        raise Refused(
            f"{name} is of the type {type(stack).__name__}", "invreg.MeasuredStack", "give the measurements along"
        )
    return stack.measurements


def _shapes(splits: Splits) -> None:
    fix = "give images of one number of channels, and val and test images of one size"
    demand_equal(splits.test.image_shape, splits.val.image_shape, "the shape of test images", fix)
    demand_equal(splits.train.channels, splits.val.image_shape[0], "the number of channels of training images", fix)


def _disjoint(splits: Splits) -> None:
    seen = {name: _contents(getattr(splits, name).images) for name in ("val", "test")}
    train = splits.train
    seen["train"] = _contents(train.image(index) for index in range(len(train.names)))
    for first, second in (("val", "test"), ("train", "test"), ("train", "val")):
        shared = len(seen[first] & seen[second])
        if shared:
            images = "image is" if shared == 1 else "images are"
            raise Refused(
                f"{shared} {images} in both {first} and {second}", "none", "split before drawing, without overlap"
            )


def _contents(images: Iterable[torch.Tensor]) -> set[tuple[torch.Size, bytes]]:
    return {(image.shape, image.to(torch.float32).contiguous().numpy().tobytes()) for image in images}
