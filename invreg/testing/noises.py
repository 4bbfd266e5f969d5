"""Checks of noise models."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch

from invreg.components.noise import Noise
from invreg.computing.streams import generator
from invreg.testing.checks import Check, instance_of, run_checks, title_of
from invreg.testing.constructors import constructor_checks
from invreg.testing.numbers import demand_equal, demand_finite, demand_same, images
from invreg.testing.side_effects import check_no_global_state

_GENERATOR = "draw all random numbers from the generator that draw() is given"


def check_noise(noise: Noise | type[Noise], measurement_shape: tuple[int, ...] = (1, 9, 14)) -> None:
    """Checks that a noise model draws from its generator alone and leaves its input as it was.

    Args:
        noise: an instance, or a class that can be built without arguments.
        measurement_shape: shape of one measurement.

    Raises:
        CheckFailure: an `AssertionError` that names each failed check.
    """
    tested: Noise = instance_of(noise, Noise)  # type: ignore[type-abstract]
    run_checks(title_of(noise), _checks(copy.deepcopy(tested), measurement_shape))


def _checks(noise: Noise, shape: tuple[int, ...]) -> Iterator[Check]:
    z = images(1, 3, *shape, dtype=torch.float32)
    yield (
        "no_global_state",
        lambda: check_no_global_state(
            lambda: noise.draw(z.clone(), generator(7)), random_from="the generator that draw() is given"
        ),
    )
    yield (
        "determinism",
        lambda: demand_same(
            noise.draw(z.clone(), generator(7)), noise.draw(z.clone(), generator(7)), "the same key twice", _GENERATOR
        ),
    )
    yield (
        "range_shape",
        lambda: demand_equal(
            noise.draw(z.clone(), generator(7)).shape,
            z.shape,
            "the shape of the result",
            "return one value for each of z",
        ),
    )
    yield "dtype_kept", lambda: _dtype_kept(noise, shape)
    yield "input_unchanged", lambda: _input_unchanged(noise, shape)
    yield (
        "finite_values",
        lambda: demand_finite(
            noise.draw(z.clone(), generator(7)), "draw(z) for z in (0, 1)", "look for divisions, roots and logs"
        ),
    )
    yield from constructor_checks(noise)


def _dtype_kept(noise: Noise, shape: tuple[int, ...]) -> None:
    for dtype in (torch.float32, torch.float64):
        found = noise.draw(images(1, 2, *shape, dtype=dtype), generator(7)).dtype
        demand_equal(found, dtype, f"for z in {dtype}, the dtype of draw(z)", "end with .to(z.dtype)")


def _input_unchanged(noise: Noise, shape: tuple[int, ...]) -> None:
    z = images(1, 2, *shape)
    before = z.clone()
    noise.draw(z, generator(7)).add_(1)  # what is returned belongs to the caller
    demand_same(z, before, "draw() changes z, or returns z itself", "work on z.clone()")
