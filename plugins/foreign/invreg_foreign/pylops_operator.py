"""Operators of PyLops."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from invreg import NamedClass, Operator, Shape, ShapeError
from invreg.interop import operator_from_pylops
from invreg_foreign.catalogues import Catalogue, Maker
from invreg_foreign.packages import package
from invreg_foreign.per_shape import LinearPerShape
from invreg_foreign.signatures import Parameter

#: The base class, and one that is given functions.
_NOT_NAMED = {"LinearOperator", "FunctionOperator"}

#: Where PyLops keeps its operators.
_ROOMS = ("basicoperators", "signalprocessing", "waveeqprocessing", "medical", "avo")


class PyLopsOperator(LinearPerShape):
    """An operator of PyLops by the name of its class, on images of real numbers.

    Parameters are those of the class. `dims` are those of the images where they are left out: (H, W) for one channel,
    otherwise (C, H, W). Lists become arrays where arrays are wanted; `{path: kernel.npy}` is the array of a file, and
    `{operator: FirstDerivative, parameters: {...}}` another operator, alone or in a list. Complex values become real
    and imaginary parts. It computes on the CPU, image by image.

    Source: Ravasi and Vasconcelos 2020, SoftwareX 11, 100361.
    """

    name_parameter = "operator"

    def __init__(
        self,
        operator: Annotated[str, Field(description="the name of a class of PyLops", examples=["FirstDerivative"])],
        parameters: Annotated[
            dict[str, Any] | None, Field(description="of its constructor; none: its defaults")
        ] = None,
    ) -> None:
        super().__init__()
        self.operator, self.parameters_of_operator = operator, parameters
        # Where the shape of images is not needed, it is made here: what is wrong is found when the spec is checked.
        _maker(None).make("operator", operator, parameters)

    @classmethod
    def class_names(cls) -> list[str]:
        return sorted(_maker(None).catalogues["operator"].entries)

    @classmethod
    def class_named(cls, name: str) -> NamedClass:
        return _maker(None).described("operator", name)

    def make(self, image_shape: Shape) -> Operator:
        theirs = _maker(image_shape).make("operator", self.operator, self.parameters_of_operator)
        try:
            return operator_from_pylops(theirs, domain_shape=image_shape)
        except ShapeError as error:
            raise ShapeError(
                f"{self.operator} takes {theirs.shape[1]} values, and images of shape {image_shape} have "
                f"{int(np.prod(image_shape))}",
                expected="images of the size that it was made for",
                hint="leave dims out, which then follow from the images",
            ) from error

    def extra_repr(self) -> str:
        return self.operator


def _maker(image_shape: Shape | None) -> Maker:
    pylops = package("pylops")
    return Maker(
        catalogues={"operator": Catalogue("operator of PyLops", _operators(pylops), shaped=_shaped)},
        refused={"name": "nothing: operators of a spec have no names", "engine": "nothing: numpy, on the CPU"},
        array=_array,
        plain=lambda value, parameter, where: value,
        package="PyLops",
        image_shape=image_shape,
    )


def _operators(pylops: ModuleType) -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for room in _ROOMS:
        module = importlib.import_module(f"pylops.{room}")
        for name in dir(module):
            entry = getattr(module, name)
            makes = isinstance(entry, FunctionType) and name[0].isupper()  # FFT2D, say, chooses one by its engine
            if makes or (isinstance(entry, type) and issubclass(entry, pylops.LinearOperator)):
                found.setdefault(name, entry)
    return {name: entry for name, entry in found.items() if name not in _NOT_NAMED}


def _shaped(name: str, known: Mapping[str, Parameter], shape: Shape) -> dict[str, Any]:
    return {"dims": tuple(shape[1:] if shape[0] == 1 else shape)} if "dims" in known else {}


def _array(value: Any, parameter: Parameter) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "fciub":
        raise ValueError("it holds something else than numbers")
    if not np.isfinite(array).all():
        raise ValueError("it holds NaN or infinite values")
    return array
