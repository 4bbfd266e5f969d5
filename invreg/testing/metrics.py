"""Checks of image quality measures."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch

from invreg.components.metric import Metric
from invreg.components.operator import Shape
from invreg.errors import ShapeError
from invreg.testing.checks import Check, Refused, instance_of, run_checks, title_of
from invreg.testing.constructors import constructor_checks
from invreg.testing.numbers import demand_close, demand_equal, demand_finite, demand_same, images
from invreg.testing.side_effects import check_no_global_state


def check_metric(metric: Metric | type[Metric], image_shape: Shape = (1, 24, 20)) -> None:
    """Checks that a metric gives one value for each image, of this image alone, and knows which way is better.

    Args:
        metric: an instance, or a class that can be built without arguments.
        image_shape: shape of one image that it accepts, (C, H, W), or (C, D, H, W) for volumes.

    Raises:
        CheckFailure: an `AssertionError` that names each failed check.
    """
    tested: Metric = instance_of(metric, Metric)  # type: ignore[type-abstract]
    run_checks(title_of(metric), _checks(copy.deepcopy(tested), tuple(image_shape)))


def _checks(metric: Metric, shape: Shape) -> Iterator[Check]:
    x, x_hat = images(1, 3, *shape, dtype=torch.float32), images(2, 3, *shape, dtype=torch.float32)
    x_hat = 0.9 * x + 0.1 * x_hat
    yield "no_global_state", lambda: check_no_global_state(lambda: metric(x_hat, x))
    yield (
        "range_shape",
        lambda: demand_equal(
            tuple(metric(x_hat, x).shape), (3,), "for 3 images, the shape of the values", "reduce all dimensions but 0"
        ),
    )
    yield "finite_values", lambda: demand_finite(metric(x_hat, x), "values of two different images", "look for 0 / 0")
    yield (
        "batch_independence",
        lambda: demand_close(
            metric(x_hat, x),
            torch.cat([metric(x_hat[i : i + 1], x[i : i + 1]) for i in range(3)]),
            1e-5,
            "three images together against each alone",
            "reduce over the dimensions from 1 on, never over dimension 0",
        ),
    )
    yield "determinism", lambda: demand_same(metric(x_hat, x), metric(x_hat, x), "the same call twice", "use no chance")
    yield "input_unchanged", lambda: _input_unchanged(metric, x_hat, x)
    yield "direction", lambda: _direction(metric, x)
    yield "shape_error", lambda: _shape_error(metric, x)
    yield from constructor_checks(metric)


def _input_unchanged(metric: Metric, x_hat: torch.Tensor, x: torch.Tensor) -> None:
    before = x_hat.clone(), x.clone()
    metric(x_hat, x)
    demand_same(x_hat, before[0], "the reconstructions were changed", "work on a copy")
    demand_same(x, before[1], "the truths were changed", "work on a copy")


def _direction(metric: Metric, x: torch.Tensor) -> None:
    other = images(9, *x.shape, dtype=torch.float32)
    near, far = (float(metric((1 - share) * x + share * other, x).double().mean()) for share in (0.02, 0.9))
    if (near > far) != metric.higher_is_better:
        raise Refused(
            f"near the truth it is {near:.4g}, far from it {far:.4g}, and higher_is_better = {metric.higher_is_better}",
            "the better value near the truth",
            "correct higher_is_better",
        )


def _shape_error(metric: Metric, x: torch.Tensor) -> None:
    try:
        metric(x[..., :-1, :], x)
    except ShapeError:
        return
    except Exception as error:  # noqa: BLE001 (any other is the finding)
        found = f"{type(error).__name__}: {error}"
    else:
        found = "images of different shapes are compared"
    raise Refused(found, "ShapeError", "compare x_hat.shape with x.shape, and raise invreg.ShapeError")
