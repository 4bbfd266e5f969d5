"""An inverse problem: an operator and the noise on its measurements."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from invreg.components.noise import Noise
from invreg.components.operator import LinearOperator, NormalOperator, NormEstimate, Operator, Shape, as_linear
from invreg.computing.streams import generator as stream, stream_key
from invreg.errors import InvregError, InvregWarning, ShapeError, SpecError, message_of
from invreg.summaries import Summary

# What rounding makes of adjoints: 1e-7 in float32, and up to 4e-5 for operators of other packages. GPUs may convolve
# in TF32.
_DEFECT, _GPU_DEFECT = 1e-4, 2e-3
# What curvature and rounding make of difference quotients in float32.
_DERIVATIVE_DEFECT = 2e-2


@runtime_checkable
class HasDerivativeDefect(Protocol):
    """A nonlinear operator whose derivative may be wrong, as that of another package."""

    def derivative_defect(self, domain_shape: Shape) -> float:
        """The larger one of the relative defects of F'(x) against quotients, and of its adjoint."""


class Problem:
    """The measurement model z = F(x) + noise, with F and the noise where they are physically: z lies in Y.

    Args:
        operator: the forward operator F: X -> Y.
        noise: the noise model, or None for clean measurements.

    What is computed of the operator (its norm) is computed once: an operator that is changed afterwards needs a new
    problem.

    Attributes:
        measured_range: the smallest and the largest value of the measurements in training, where these were measured
            (`TrainingPairs`); None where they are F(x) + noise.
    """

    def __init__(self, operator: Operator, noise: Noise | None = None) -> None:
        _require("operator", operator, Operator)
        if noise is not None:
            _require("noise", noise, Noise)
        self.operator = operator
        self.noise = noise
        self.measured_range: tuple[float, float] | None = None
        self._norms: dict[Shape, NormEstimate] = {}
        self._normal_operators: dict[Shape, NormalOperator] = {}
        self._largest: dict[Shape, float | None] = {}
        self._adjoints_checked: set[Shape] = set()

    def __repr__(self) -> str:
        return f"Problem({self.operator!r}, {self.noise!r})"

    def _repr_html_(self) -> str:
        return Summary(
            "Problem: z = F(x) + noise", (), [("F", repr(self.operator)), ("noise", repr(self.noise))]
        ).html()

    def to(self, device: torch.device | str) -> Problem:
        """Moves the operator's buffers to `device`."""
        self.operator.to(device)
        return self

    def norm(self, image_shape: Shape) -> NormEstimate:
        """The norm ||A|| of a linear operator on images of this shape, (C, H, W).

        Raises:
            InvregError: if the operator is not linear.
            ConvergenceError: if the norm is not found.
        """
        shape = tuple(image_shape)
        if shape not in self._norms:
            operator = as_linear(self.operator, "Problem.norm", "the norm of operator.linearize(x)")
            self._norms[shape] = operator.norm(shape)
        return self._norms[shape]

    def normal_operator(self, image_shape: Shape) -> NormalOperator:
        """A*A / ||A||² for a linear operator A, with its norm on images of this shape, (C, H, W).

        Raises:
            InvregError: if the operator is not linear, or zero.
        """
        shape = tuple(image_shape)
        if shape not in self._normal_operators:
            operator = as_linear(self.operator, "Problem.normal_operator", "operator.linearize(x), which is linear")
            self._normal_operators[shape] = NormalOperator(operator, shape, self.norm(shape).value)
        return self._normal_operators[shape]

    def check_adjoint(self, image_shape: Shape) -> None:
        """Compares the adjoint of a linear operator with its forward map, once for images of this shape, (C, H, W).

        It costs one evaluation of both, and changes no random number. Methods ask for it in `setup`, and a run before
        it begins. Operators without an adjoint are passed over. Of a nonlinear operator that has a method
        `derivative_defect`, the derivative is compared with difference quotients and with its adjoint in the same way.

        Warns:
            InvregWarning: with the relative defect (`LinearOperator.adjoint_defect`), if it is more than rounding.
        """
        operator, shape = self.operator, tuple(image_shape)
        if shape in self._adjoints_checked:
            return
        self._adjoints_checked.add(shape)
        if isinstance(operator, LinearOperator):
            wrong = _wrong_adjoint(operator, shape)
        else:
            wrong = _wrong_derivative(operator, shape)
        if wrong is None:
            return
        what, expected, hint = wrong
        where = f"operator {type(operator).__name__}"
        message = InvregError(what[:1000], where=where, expected=expected, hint=hint)
        warnings.warn(str(message), InvregWarning, stacklevel=3)

    def largest_measurement(self, image_shape: Shape, like: Tensor) -> float | None:
        """About the largest size of a measurement of images in [0, 1]: that of a white, a black and a random image.

        Where training has seen measurements that were measured, it is the largest size among them.

        Args:
            image_shape: (C, H, W).
            like: a tensor of the device and dtype to compute in.

        Returns:
            None where the operator, or the noise, does not take such images.
        """
        if self.measured_range is not None:
            return max(map(abs, self.measured_range))
        shape = tuple(image_shape)
        if shape not in self._largest:
            start = torch.Generator().manual_seed(0)
            images = (torch.ones(shape), torch.zeros(shape), torch.rand(shape, generator=start))
            found = 0.0
            with torch.autocast(like.device.type, enabled=False):
                try:
                    for image in images:
                        found = max(found, float(self.measure(image[None].to(like), seed=0).abs().max()))
                except Exception:  # noqa: BLE001 (what fails for these images may work for others)
                    found = math.nan
            self._largest[shape] = found if math.isfinite(found) else None
        return self._largest[shape]

    def measure(
        self,
        x: Tensor,
        *,
        seed: int | None = None,
        keys: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Noisy measurements of the images x.

        Parameters that an operator draws for each image (`Operator.realisation`) come from the same source as the
        noise, and from streams of their own where there are keys: the noise is that of an operator that draws none.

        Exactly one source of randomness is given: `seed` (image i gets the key (seed, i)), `keys` (one per
        image: the same noise for every batch size and device) or `generator` (on the device of x: the
        fast way, for training).

        Args:
            x: images, `[B, C, H, W]`.

        Returns:
            z `[B, ...range]`.
        """
        given = [source is not None for source in (seed, keys, generator)]
        if sum(given) != 1:
            raise TypeError("measure() takes exactly one of seed, keys and generator")
        with torch.no_grad():
            if generator is not None:
                z = self._clean(x, itertools.repeat(generator))
                return z if self.noise is None else self.noise.draw(z, generator)
            if keys is None:
                keys = [stream_key(seed or 0, "measure", index) for index in range(x.shape[0])]
            z = self._clean(x, (stream(stream_key(key, "operator")) for key in keys))
            return z if self.noise is None else self.noise.sample(z, keys)

    def _clean(self, x: Tensor, streams: Iterable[torch.Generator]) -> Tensor:
        """F(x), each image with what its stream draws of the operator."""
        if type(self.operator).realisation is Operator.realisation:  # streams need not be made
            return self.operator(x)
        count = len(x) if x.dim() else 0
        drawn = [self.operator.realisation(numbers) for _, numbers in zip(range(count), streams, strict=False)]
        if all(each is self.operator for each in drawn):
            return self.operator(x)
        if len(drawn) != len(x):
            raise ShapeError(f"{len(drawn)} keys for {len(x)} images", where="measure", expected="one key per image")
        return torch.cat([each(image[None]) for image, each in zip(x, drawn, strict=True)])

    def measure_split(
        self,
        x: Tensor,
        split: str,
        seed: int,
        batch_size: int,
        device: torch.device,
        positions: Sequence[int] | None = None,
    ) -> Tensor:
        """Noisy measurements of the images of a split, with the noise that a run with this seed draws for them.

        Args:
            x: images, `[N, C, H, W]`.
            split: `val` or `test`.
            seed: the run's seed.
            batch_size: number of images to measure at once.
            device: where the operator is.
            positions: the place of each image in the split; 0 to N - 1 if None.

        Returns:
            z `[N, ...range]`, on the CPU.
        """
        keys = [stream_key(seed, "noise", split, index) for index in (positions or range(len(x)))]
        starts = range(0, len(x), batch_size)
        # A copy: the images stay what they are, whatever an operator does with its input.
        batches = ((x[i : i + batch_size].to(device, copy=True), keys[i : i + batch_size]) for i in starts)
        parts = [self.measure(batch, keys=own).cpu() for batch, own in batches]
        return torch.cat(parts)


def _require(name: str, given: object, base: type) -> None:
    if not isinstance(given, base):
        raise SpecError(
            repr(given) if isinstance(given, str) else f"an instance of {type(given).__name__}",
            where=f"Problem.{name}",
            expected=f"an instance of {base.__name__}",
            hint=f"invreg.Registry.installed().build({name!r}, {given!r})" if isinstance(given, str) else None,
        )


def _wrong_adjoint(operator: LinearOperator, shape: Shape) -> tuple[str, str, str] | None:
    """What is wrong with the adjoint, what was expected, and a hint; None if nothing is."""
    try:
        defect = operator.adjoint_defect(shape)
        on_gpu = any(tensor.is_cuda for tensor in (*operator.parameters(), *operator.buffers()))
        if defect <= (_GPU_DEFECT if on_gpu else _DEFECT):
            return None
        what = f"the adjoint is not the transpose of the forward map: relative defect {defect:.2g}"
    except NotImplementedError:
        return None
    except InvregError as error:
        what = f"the adjoint cannot be compared with the forward map: {error}"
    except Exception as error:  # noqa: BLE001 (an operator that nobody needs the adjoint of goes on without it)
        what = f"the adjoint cannot be compared with the forward map: {message_of(error)}"
    return (
        what,
        f"<A x, y> = <x, A* y> up to rounding, for images of shape {shape}",
        "invreg.testing.check_operator says more; methods that use A* (tv, adjoint, pull-backs) go wrong",
    )


def _wrong_derivative(operator: Operator, shape: Shape) -> tuple[str, str, str] | None:
    """The same of the derivative of a nonlinear operator."""
    if not isinstance(operator, HasDerivativeDefect):
        return None
    try:
        defect = operator.derivative_defect(shape)
        if defect <= _DERIVATIVE_DEFECT:
            return None
        what = f"the derivative does not fit the forward map: relative defect {defect:.2g}"
    except Exception as error:  # noqa: BLE001 (an operator that nobody needs the derivative of goes on without it)
        what = f"the derivative cannot be computed: {message_of(error)}"
    return (
        what,
        f"F'(x) as difference quotients have it, and its adjoint, for images of shape {shape}",
        "methods that linearise F (tv for nonlinear operators, training through F) go wrong",
    )
