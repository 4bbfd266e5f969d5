"""Checks of reconstruction methods."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch

from invreg.components.operator import Operator, Shape
from invreg.components.problem import Problem
from invreg.components.pull_back import PullBack
from invreg.components.reconstructor import HasLocalForwardMap, LearnsForwardMap, Reconstructor
from invreg.errors import InvregError, SpecError
from invreg.testing.checks import Check, CheckFailure, Failure, Refused, failure_of, instance_of, run_checks, title_of
from invreg.testing.constructors import constructor_checks, rebuilt
from invreg.testing.numbers import demand_close, demand_equal, demand_finite, demand_same, images, transposed_in_memory
from invreg.testing.operators import demand_accepted, image_shape_for
from invreg.testing.pull_backs import pull_back_checks
from invreg.testing.saving import demand_saved
from invreg.testing.side_effects import check_no_global_state


def check_reconstructor(
    reconstructor: Reconstructor | type[Reconstructor],
    operator: Operator,
    image_shape: Shape | None = None,
    *,
    tolerance: float = 1e-4,
) -> None:
    """Checks that a method reconstructs images of the right shape, each alone, and can be saved, loaded and trained.

    Args:
        reconstructor: an instance that is not set up, or a class that can be built without arguments.
        operator: an operator that it is for.
        image_shape: shape of one image, (C, H, W), that the operator accepts; by default chosen as in `check_operator`.
        tolerance: relative difference allowed between an image alone and in a batch; methods that iterate until a
            tolerance of their own is reached may need more.

    Raises:
        CheckFailure: an `AssertionError` that names each failed check.
    """
    tested: Reconstructor = instance_of(reconstructor, Reconstructor)  # type: ignore[type-abstract]
    title = title_of(reconstructor)
    shape = image_shape_for(operator) if image_shape is None else tuple(image_shape)
    demand_accepted(operator, shape, title)
    try:
        tested.check_operator(operator)
        made = _set_up(tested, operator, shape)
    except SpecError as error:
        failure = failure_of("setup", error, "a method for this operator", "give the check an operator that it is for")
        raise CheckFailure(title, [failure]) from None
    except Exception as error:  # noqa: BLE001 (any exception is the finding)
        found = f"{type(error).__name__}: {error}"
        raise CheckFailure(title, [Failure("setup", found, "no exception", "correct setup()")]) from None
    run_checks(title, _checks(tested, made, operator, shape, tolerance))


def _set_up(given: Reconstructor, operator: Operator, shape: Shape) -> Reconstructor:
    made = rebuilt(given)
    if not isinstance(made, Reconstructor):
        raise TypeError("building it again gives no reconstructor")
    # Weights may come from torch's global generator, which a run seeds: two of the same seed are the same.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made.setup(Problem(copy.deepcopy(operator)), shape)
    return made.eval()


def _checks(
    given: Reconstructor, made: Reconstructor, operator: Operator, shape: Shape, tolerance: float
) -> Iterator[Check]:
    x = images(1, 3, *shape, dtype=torch.float32)
    with torch.no_grad():
        z = operator(x)

    def reconstruct(measurements: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = made(measurements.clone())
        return result

    yield "no_global_state", lambda: check_no_global_state(lambda: reconstruct(z))
    yield (
        "range_shape",
        lambda: demand_equal(
            tuple(reconstruct(z).shape),
            tuple(x.shape),
            "the shape of the reconstructions",
            "return images [B, C, H, W]",
        ),
    )
    yield (
        "dtype_kept",
        lambda: demand_equal(
            reconstruct(z).dtype, torch.float32, "for z in float32, the dtype of the images", "keep the dtype of z"
        ),
    )
    yield "finite_values", lambda: demand_finite(reconstruct(z), "reconstructions", "look for divisions and roots")
    yield (
        "determinism",
        lambda: demand_same(
            reconstruct(z), reconstruct(z), "the same call twice", "forward() uses no chance and keeps nothing in self"
        ),
    )
    yield (
        "batch_independence",
        lambda: demand_close(
            reconstruct(z),
            torch.cat([reconstruct(one[None]) for one in z]),
            tolerance,
            "three images together against each alone",
            "compute over the dimensions from 1 on; in eval mode, batch norms use what they have learned",
        ),
    )
    yield "no_hidden_state", lambda: _no_hidden_state(copy.deepcopy(made), z)
    yield "memory_layout", lambda: _memory_layout(made, z, tolerance)
    yield "input_unchanged", lambda: _input_unchanged(made, z)
    yield "mode_kept", lambda: _mode_kept(made, z)
    yield "copies", lambda: _copies(made, z)
    yield "other_image_sizes", lambda: _other_sizes(made, operator, shape)
    yield "save_and_load", lambda: demand_saved(made, _set_up(given, operator, shape), z)
    if any(weight.requires_grad for weight in made.parameters()):
        yield "gradients", lambda: _gradients(copy.deepcopy(made), z, x)
    if isinstance(made, LearnsForwardMap):
        yield "forward_map", lambda: _forward_map(made, x)
    if isinstance(made, LearnsForwardMap) and isinstance(made, HasLocalForwardMap):
        yield "forward_map_radius", lambda: _radius(made, made.forward_map_radius, x)
    if isinstance(made, PullBack):
        yield from pull_back_checks(made, shape)
    yield from constructor_checks(given)


def _no_hidden_state(made: Reconstructor, z: torch.Tensor) -> None:
    state = {name: value.clone() for name, value in made.state_dict().items()}
    fix = "in eval mode, forward() writes nothing to self"
    with torch.no_grad():
        first = made(z.clone())
        made(3 * z[:1].flip(-1))
        demand_same(made(z.clone()), first, "the images of one measurement, before and after another", fix)
    for name, value in made.state_dict().items():
        demand_same(value, state.get(name, torch.empty(0)), f"calls changed the weight or buffer {name!r}", fix)


def _memory_layout(made: Reconstructor, z: torch.Tensor, tolerance: float) -> None:
    fix = "use reshape() instead of view(), and nothing that depends on strides"
    with torch.no_grad():
        expected = made(z.clone())
        try:
            found = made(transposed_in_memory(z))
        except RuntimeError as error:
            told = str(error).splitlines()[0]
            raise Refused(f"for z that is transposed in memory: {told}", "the same as for others", fix) from None
    demand_close(found, expected, tolerance, "the images of z transposed in memory, against others", fix)


def _input_unchanged(made: Reconstructor, z: torch.Tensor) -> None:
    measurements = z.clone()
    with torch.no_grad():
        made(measurements)
    demand_same(measurements, z, "forward() changed the measurements", "work on z.clone()")


def _mode_kept(made: Reconstructor, z: torch.Tensor) -> None:
    made.eval()
    with torch.no_grad():
        made(z.clone())
    demand_equal(made.training, False, "after a call in eval mode, training", "do not call train() in forward()")


def _copies(made: Reconstructor, z: torch.Tensor) -> None:
    with torch.no_grad():
        demand_same(
            copy.deepcopy(made)(z.clone()),
            made(z.clone()),
            "a deep copy against the method",
            "keep what is needed in parameters, buffers and plain attributes",
        )


def _other_sizes(made: Reconstructor, operator: Operator, shape: Shape) -> None:
    channels, *sides = shape
    other = (channels, *(side + 4 * number for number, side in enumerate(sides, start=1)))
    x = images(4, 1, *other, dtype=torch.float32)
    try:
        with torch.no_grad():
            found = made(operator(x))
    except InvregError:
        return
    except Exception as error:  # noqa: BLE001 (any other is the finding)
        raise Refused(
            f"images of shape {other}, after setup for {shape}: {type(error).__name__}: {error}",
            "images of this shape, or a ShapeError",
            "compare z.shape with what setup() was told, and raise invreg.ShapeError",
        ) from None
    demand_equal(tuple(found.shape), tuple(x.shape), "for larger images, the shape of the reconstructions", "keep it")


def _radius(made: LearnsForwardMap, radius: int, x: torch.Tensor) -> None:
    pixel = tuple(side // 2 for side in x.shape[2:])
    changed = x.clone()
    everywhere: tuple[slice | int, ...] = (slice(None), slice(None), *pixel)
    changed[everywhere] += 0.5
    with torch.no_grad():
        moved = (made.forward_map(changed) - made.forward_map(x)).abs().amax((0, 1)) > 1e-6
    places = moved.nonzero()
    far = int((places - torch.tensor(pixel)).abs().max()) if len(places) else 0
    if far > radius:
        raise Refused(
            f"a change of one pixel is seen {far} pixels away by the forward map",
            f"at most {radius}, as forward_map_radius says",
            "correct forward_map_radius",
        )


def _gradients(made: Reconstructor, z: torch.Tensor, x: torch.Tensor) -> None:
    made.train()
    (made(z) - x).square().mean().backward()
    gradients = {name: weight.grad for name, weight in made.named_parameters() if weight.requires_grad}
    if all(gradient is None for gradient in gradients.values()):
        raise Refused("no parameter gets a gradient", "gradients", "do not detach, nor use torch.no_grad, in forward()")
    for name, gradient in gradients.items():
        if gradient is not None:
            demand_finite(gradient, f"the gradient of {name}", "look for roots and divisions at zero")


def _forward_map(made: LearnsForwardMap, x: torch.Tensor) -> None:
    with torch.no_grad():
        values = made.forward_map(x)
        target = made.target_operator(x)
    fix = "forward_map(x) returns what is believed of target_operator(x), which maps images to images"
    demand_equal(tuple(values.shape), tuple(x.shape), "the shape of forward_map(x)", fix)
    demand_equal(tuple(target.shape), tuple(x.shape), "the shape of target_operator(x)", fix)
    demand_finite(values, "forward_map(x)", "look for divisions and roots")
