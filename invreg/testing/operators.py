"""Checks of forward operators."""

from __future__ import annotations

import contextlib
import copy
import itertools
import re
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from invreg.components.operator import LinearOperator, Operator, Shape, UnknownOperator
from invreg.computing.streams import generator
from invreg.errors import ShapeError
from invreg.schema.component import Component
from invreg.testing.checks import Check, CheckFailure, Refused, failure_of, instance_of, run_checks, title_of
from invreg.testing.constructors import constructor_checks, rebuilt
from invreg.testing.derivatives import derivative_checks
from invreg.testing.linear import linear_checks
from invreg.testing.numbers import (
    demand_close,
    demand_equal,
    demand_finite,
    demand_same,
    images,
    transposed_in_memory,
    vectors,
)
from invreg.testing.saving import demand_saved
from invreg.testing.side_effects import check_no_global_state
from invreg.testing.stencils import stencil_check

#: Shapes of images that are tried, in this order, where a test gives none.
SHAPES: tuple[Shape, ...] = ((1, 24, 20), (1, 24, 24), (3, 24, 20), (1, 32, 32), (2, 24, 20), (1, 7, 10, 8))


def check_operator(
    operator: Operator | type[Operator],
    image_shape: Shape | None = None,
    *,
    other_shapes: Sequence[Shape] | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Checks that an operator keeps what all operators promise, and linear ones their adjoint.

    All checks are run on random images in float64 (and in float32 where that is the question), and all failures are
    reported together.

    Args:
        operator: an instance, or a class that can be built without arguments. A copy of it is tested.
        image_shape: shape of one image that it accepts, (C, H, W), or (C, D, H, W) for volumes; better with sides of
            different lengths. By default, the first of `SHAPES` that it does not refuse with a `ShapeError`.
        other_shapes: more of them; by default the image on its side, a square, and images with a row (and a column)
            more, as far as the operator does not refuse them with a `ShapeError`.
        tolerance: relative error allowed where derivatives are compared with difference quotients.

    Raises:
        CheckFailure: an `AssertionError` that names each failed check, with what was found, what was expected and what
            to change.
    """
    tested: Operator = instance_of(operator, Operator)  # type: ignore[type-abstract]
    shape = image_shape_for(tested) if image_shape is None else tuple(image_shape)
    if isinstance(tested, UnknownOperator):
        run_checks(title_of(operator), _checks_of_unknown(tested, shape))
        return
    demand_accepted(tested, shape, title_of(operator))
    run_checks(title_of(operator), _checks(tested, shape, other_shapes, tolerance))


def _checks_of_unknown(given: UnknownOperator, shape: Shape) -> Iterator[Check]:
    """Of an operator that cannot be evaluated, there is the shape of measurements."""
    yield "range_shape", lambda: _shape_of_unknown(given, shape)
    yield from constructor_checks(given)


def _shape_of_unknown(given: UnknownOperator, shape: Shape) -> None:
    found = given.range_shape(shape)
    if not isinstance(found, tuple) or not all(isinstance(side, int) and side > 0 for side in found):
        raise Refused(f"range_shape{shape} is {found!r}", "a tuple of positive numbers", "return the shape of one z")
    demand_equal(rebuilt(given).range_shape(shape), found, "range_shape of an operator built again", "keep no state")  # type: ignore[attr-defined]


def _checks(given: Operator, shape: Shape, others: Sequence[Shape] | None, tolerance: float) -> Iterator[Check]:
    # Each check has a copy of its own: what one leaves behind must not be found by another.
    def fresh() -> Operator:
        return copy.deepcopy(given).double()

    # First: later calls would find what a call has left behind.
    yield "no_global_state", lambda: _no_global_state(fresh(), shape)
    more = [tuple(other) for other in others] if others is not None else _accepted(fresh(), shape)
    yield "range_shape", lambda: _range_shape(fresh(), [shape, *more])
    yield (
        "finite_values",
        lambda: demand_finite(
            fresh()(images(1, 2, *shape)),
            "F(x) on random images in (0, 1)",
            "look for divisions by zero, roots and logs",
        ),
    )
    yield "dtype_kept", lambda: _dtype_kept(given, shape)
    yield "device", lambda: _device(given, shape)
    yield "single_precision", lambda: _single_precision(given, shape)
    yield "memory_layout", lambda: _memory_layout(fresh(), shape)
    yield "input_unchanged", lambda: _input_unchanged(fresh(), shape)
    yield "batch_independence", lambda: _batch_independence(fresh(), shape)
    yield "determinism", lambda: _determinism(fresh(), shape)
    yield "no_hidden_state", lambda: _no_hidden_state(fresh(), shape)
    yield from derivative_checks(fresh, shape, more, tolerance)
    if isinstance(given, LinearOperator):
        yield from linear_checks(fresh, shape, more)  # type: ignore[arg-type]
    yield "stencil_radius", lambda: stencil_check(fresh(), shape)
    yield "realisation", lambda: _realisation(fresh(), shape)
    yield "copies", lambda: _copies(given, shape)
    yield "save_and_load", lambda: demand_saved(fresh(), fresh(), images(1, 2, *shape))
    yield "parameters_kept", lambda: _parameters_kept(given, shape)
    yield from constructor_checks(given)


def image_shape_for(operator: Operator) -> Shape:
    """The first of `SHAPES` that the operator does not refuse; the first of all where it refuses each of them."""
    for shape in SHAPES:
        try:
            operator.range_shape(shape)
        except ShapeError:
            continue
        except Exception:  # noqa: BLE001 (the checks will find it)
            break
        return shape
    return SHAPES[0]


def demand_accepted(operator: Operator, shape: Shape, title: str) -> None:
    """One failure, instead of one for each check, where the images have a shape that the operator does not take."""
    try:
        operator.range_shape(shape)
    except ShapeError as error:
        failure = failure_of(
            "image_shape",
            error,
            f"an operator that takes images of shape {shape}",
            "give the check a shape that it takes: image_shape=(C, H, W)",
        )
        raise CheckFailure(title, [failure]) from None
    except Exception:  # noqa: BLE001 (the checks will find it)
        return


def _accepted(operator: Operator, shape: Shape) -> list[Shape]:
    channels, *depth, height, width = shape
    found: list[Shape] = []
    sizes = ((width, height), (height + 1, width + 1), (height, height), (height + 1, width))
    for other in dict.fromkeys((channels, *depth, *size) for size in sizes if size != (height, width)):
        try:
            operator.range_shape(other)
            operator(images(1, 1, *other))
        except ShapeError:
            continue
        except Exception:  # noqa: BLE001, S110 (the checks will find it)
            pass
        found.append(other)
    several = (3 if channels == 1 else 1, *shape[1:])
    with contextlib.suppress(Exception):  # an operator may be for one number of channels
        operator(images(1, 1, *several))
        found.append(several)
    return found


def _range_shape(operator: Operator, shapes: Sequence[Shape]) -> None:
    for shape, size in itertools.product(shapes, (1, 3)):
        told = tuple(operator.range_shape(shape))
        result = operator(images(1, size, *shape))
        demand_equal(
            tuple(result.shape),
            (size, *told),
            f"for {size} images of shape {shape}, range_shape() is {told} and the shape of F(x)",
            "return from range_shape() the shape of one measurement, without the batch",
        )


def _dtype_kept(given: Operator, shape: Shape) -> None:
    # Runs call an operator as it is built, with images in float32.
    _called(copy.deepcopy(given), images(1, 1, *shape, dtype=torch.float32))
    for dtype in (torch.float32, torch.float64):
        operator = copy.deepcopy(given).to(dtype)
        result = _called(operator, images(1, 1, *shape, dtype=dtype))
        fix = "make tensors with x.new_zeros, .to(x) or dtype=x.dtype, and call neither .float() nor .double()"
        demand_equal(result.dtype, dtype, f"for x in {dtype}, the dtype of F(x)", fix)
        if isinstance(operator, LinearOperator):
            demand_equal(operator.adjoint(result).dtype, dtype, f"for y in {dtype}, the dtype of A* y", fix)
    # A detour through float32 shows in tiny differences, which it rounds away.
    operator, x, h = copy.deepcopy(given).double(), images(1, 1, *shape), vectors(2, 1, *shape)
    coarse, fine = ((operator(x + t * h) - operator(x)) / t for t in (1e-6, 1e-8))
    demand_close(
        coarse,
        fine,
        0.02,
        "in float64, difference quotients with steps 1e-6 and 1e-8",
        "the result is computed in less than float64: look for .float(), torch.float32 and NumPy arrays of float32",
    )


def _called(operator: Operator, x: Tensor) -> Tensor:
    """F(x); where tensors of two dtypes meet, torch raises a RuntimeError that does not say what to do about it."""
    try:
        return operator(x)
    except RuntimeError as error:
        if not re.search("dtype|scalar type|Double|Half", str(error)):
            raise
        raise Refused(
            f"for x in {x.dtype}: {str(error).splitlines()[0]}",
            f"F(x) in {x.dtype}",
            "bring the tensors that it keeps to the dtype of x, as in self.kernel.to(x)",
        ) from None


def _results(operator: Operator, x: Tensor, h: Tensor, v: Tensor) -> dict[str, Tensor]:
    """All that an operator computes, by what it is called."""
    results = {"F(x)": operator(x), "jvp(x, h)": operator.jvp(x, h), "vjp(x, v)": operator.vjp(x, v)}
    if isinstance(operator, LinearOperator):
        results["A* v"] = operator.adjoint(v)
    return {name: result.detach() for name, result in results.items()}


def _single_precision(given: Operator, shape: Shape) -> None:
    operator = copy.deepcopy(given).double()
    x, h = images(1, 2, *shape), vectors(2, 2, *shape)
    v = vectors(3, *operator(x).shape)
    fine = _results(operator, x, h, v)
    coarse = _results(copy.deepcopy(given).float(), x.float(), h.float(), v.float())
    fix = "compute the same in both precisions; small constants such as 1e-10 are lost in float32"
    for name, value in fine.items():
        demand_close(coarse[name], value, 1e-3, f"{name} in float32 against float64", fix)


def _memory_layout(operator: Operator, shape: Shape) -> None:
    x, h = images(1, 2, *shape), vectors(2, 2, *shape)
    v = vectors(3, *operator(x).shape)
    expected = _results(operator, x, h, v)
    fix = "use reshape() instead of view(), and nothing that depends on strides"
    layouts: dict[str, Callable[[Tensor], Tensor]] = {
        "transposed in memory": transposed_in_memory,
        "every second of a longer batch": lambda t: torch.stack([t, t + 1], 1).flatten(0, 1)[::2],
    }
    for layout, laid_out in layouts.items():
        try:
            found = _results(operator, *(laid_out(t) for t in (x, h, v)))
        except RuntimeError as error:
            told = str(error).splitlines()[0]
            raise Refused(f"for tensors that are {layout}: {told}", "the same as for others", fix) from None
        for name, value in expected.items():
            demand_close(found[name], value, 1e-9, f"{name} for tensors that are {layout}, against others", fix)


def _device(given: Operator, shape: Shape) -> None:
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        operator, x = copy.deepcopy(given).to(device), images(1, 2, *shape, dtype=torch.float32)
        result = operator(x.to(device))
        fix = "register tensors with self.register_buffer, and make new ones on x.device"
        demand_equal(result.device.type, device, f"for x on {device}, the device of F(x)", fix)
        demand_close(result.cpu(), copy.deepcopy(given).cpu()(x), 1e-4, f"F(x) on {device} against the CPU", fix)


def _input_unchanged(operator: Operator, shape: Shape) -> None:
    x, h = images(1, 2, *shape), vectors(2, 2, *shape)
    v = vectors(3, 2, *operator(x.clone()).shape[1:])
    calls = {
        "forward": lambda: operator(x),
        "jvp": lambda: operator.jvp(x, h),
        "vjp": lambda: operator.vjp(x, v),
    }
    if isinstance(operator, LinearOperator):
        calls["adjoint"] = lambda: operator.adjoint(v)
    for name, call in calls.items():
        tensors = (x, h, v)
        before = [tensor.clone() for tensor in tensors]
        with torch.no_grad():
            call()
        for tensor, old in zip(tensors, before, strict=True):
            fix = f"in {name}(), replace operations that end in _ (or out=, +=, x[...] =) or work on x.clone()"
            demand_same(tensor, old, f"{name}() changed what it was given", fix)


def _batch_independence(operator: Operator, shape: Shape) -> None:
    x = images(1, 3, *shape) * torch.tensor([1.0, 0.1, 0.5], dtype=torch.float64).view(3, *[1] * len(shape))
    alone = torch.cat([operator(image[None]) for image in x])
    fix = "sum, average and normalise over the dimensions from 1 on, never over dimension 0"
    demand_close(operator(x), alone, 1e-9, "three images together against each alone", fix)
    demand_close(operator(x.flip(0)), alone.flip(0), 1e-9, "the batch in the opposite order", fix)


def _determinism(operator: Operator, shape: Shape) -> None:
    x = images(1, 2, *shape)
    fix = "an operator is free of noise: what is random belongs to a Noise, or is drawn once from a seed parameter"
    demand_close(operator(x), operator(x), 1e-12, "the same call twice", fix)


def _no_hidden_state(operator: Operator, shape: Shape) -> None:
    x, other = images(1, 2, *shape), images(2, 1, *shape) * 3
    before = {name: tensor.clone() for name, tensor in operator.state_dict().items()}
    first = operator(x)
    operator(other)
    fix = "forward() must not write to self; what depends on the image is computed in every call"
    demand_close(operator(x), first, 1e-12, "F(x) before and after another image", fix)
    for name, tensor in operator.state_dict().items():
        demand_same(tensor, before.get(name, torch.empty(0)), f"calls changed the buffer {name!r}", fix)


def _realisation(operator: Operator, shape: Shape) -> None:
    x = images(1, 1, *shape)
    drawn: list[object] = []
    given = "the generator that realisation() is given"
    check_no_global_state(lambda: drawn.append(operator.realisation(generator(7))), random_from=given)
    fix = "return an operator, and draw all random numbers from the generator that realisation() is given"
    again = operator.realisation(generator(7))
    if not isinstance(drawn[0], Operator) or not isinstance(again, Operator):
        raise Refused(f"realisation() returns {type(drawn[0]).__name__}", "an operator", fix)
    demand_close(again(x), drawn[0](x), 1e-12, "F(x) of two realisations from the same key", fix)
    told = tuple(operator.range_shape(shape))
    demand_equal(tuple(drawn[0](x).shape[1:]), told, "the shape of a measurement by a realisation", fix)


def _copies(given: Operator, shape: Shape) -> None:
    x = images(1, 2, *shape)
    operator = copy.deepcopy(given).double()
    first = operator(x)
    fix = "keep tensors in buffers (register_buffer), and nothing in self that belongs to one call, dtype or device"
    demand_close(copy.deepcopy(operator)(x), first, 1e-12, "a copy, made after a call, against its original", fix)
    single = copy.deepcopy(operator).float()
    demand_close(single(x.float()), first, 1e-4, "a copy in float32 against its original in float64", fix)


def _no_global_state(operator: Operator, shape: Shape) -> None:
    def work() -> None:
        x = images(1, 1, *shape)
        result = operator(x)
        operator.jvp(x, x)
        operator.vjp(x, result.detach())

    check_no_global_state(work)


def _parameters_kept(given: Operator, shape: Shape) -> None:
    x = images(1, 1, *shape)
    again: Component = rebuilt(given)
    if not isinstance(again, Operator):
        raise Refused("building it again gives no operator", "an operator", "do not override __new__")
    if given.state_dict():  # weights that were loaded are not parameters
        if set(again.state_dict()) != set(given.state_dict()):
            raise Refused("building it again makes other buffers", "the same buffers", "make them in the constructor")
        again.load_state_dict(given.state_dict())
    result: Tensor = copy.deepcopy(again).double()(x)
    demand_close(
        result,
        copy.deepcopy(given).double()(x),
        1e-9,
        "an operator built again from the same parameters",
        "the constructor's parameters alone decide what an operator does: change neither them nor what they hold",
    )
