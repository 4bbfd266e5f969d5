"""What another package has by name, and how its objects are made from plain values."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from invreg import InvregError, NamedClass, Shape, SpecError, did_you_mean, read_image
from invreg_foreign.schemas import descriptions_of, schema_of
from invreg_foreign.signatures import (
    Parameter,
    check_complete,
    check_names,
    parameters_of,
    takes_positional,
)

#: Stands for an object that can be made only for images of a known shape.
PENDING = object()


@dataclass(frozen=True)
class Catalogue:
    """Classes, or functions, of another package by name.

    Attributes:
        kind: what they are, for messages.
        entries: by name.
        shaped: the values of parameters that follow from the shape of an image, given name, parameters and shape.
        finished: what an object is in the place of a parameter, given the object, the reference and the parameter.
        seeded: further arguments, given all parameters and the seed.
        further: keys of a reference besides its name, `parameters` and `seed`.
    """

    kind: str
    entries: Mapping[str, Callable[..., Any]]
    shaped: Callable[[str, Mapping[str, Parameter], Shape], Mapping[str, Any]] = lambda name, known, shape: {}
    finished: Callable[[Any, Mapping[str, Any], Parameter | None, str], Any] = lambda made, given, parameter, where: (
        made
    )
    seeded: Callable[[Mapping[str, Parameter], int], Mapping[str, Any]] = lambda known, seed: {}
    further: frozenset[str] = frozenset()

    def find(self, name: Any, where: str) -> Callable[..., Any]:
        """The class of this name.

        Raises:
            SpecError: with the near name, and all that there are.
        """
        if not isinstance(name, str) or name not in self.entries:
            shown = f"{name!r:.80}"
            near = did_you_mean(name, self.entries) if isinstance(name, str) else None
            raise SpecError(
                f"there is no {self.kind} {shown}",
                where=where or None,
                expected=f"one of {', '.join(sorted(self.entries))}",
                hint=near if near and near.startswith("did") else None,
            )
        return self.entries[name]


@dataclass
class Maker:
    """Makes the objects that plain values describe, one inside the other.

    A reference is a mapping with the key of a catalogue: `{physics: Blur, parameters: {...}}`. `{path: k.npy}` is the
    array of a file.

    Attributes:
        catalogues: by the key of a reference.
        refused: parameters that have no place in a spec, with what to write in their place.
        array: an array of this package from nested lists, or from an array of NumPy.
        plain: what a text or a whole number stands for, where a parameter takes objects of this package.
        package: its name.
        image_shape: (C, H, W); None as long as it is not known.
        seed: of all random numbers.
        sandbox: in which constructors are called: it keeps what is random to itself.
    """

    catalogues: Mapping[str, Catalogue]
    refused: Mapping[str, str]
    array: Callable[[Any, Parameter], Any]
    plain: Callable[[Any, Parameter, str], Any]
    package: str
    image_shape: Shape | None = None
    seed: int = 0
    sandbox: Callable[[int], AbstractContextManager[Any]] = lambda seed: nullcontext()

    def make(
        self,
        key: str,
        name: Any,
        parameters: Any,
        where: str = "",
        reference: Mapping[str, Any] | None = None,
        parameter: Parameter | None = None,
    ) -> Any:
        """The object of a catalogue, with these parameters; `PENDING` if it needs the shape of the images.

        Args:
            key: of the catalogue.
            name: of the class.
            parameters: plain values by name.
            where: path of the parameters, for messages.
            reference: the whole mapping that names it.
            parameter: the parameter that it is for.

        Raises:
            SpecError: if the name or a parameter is unknown, one is missing or wrong, a package is missing, or the
                constructor refuses them.
        """
        catalogue = self.catalogues[key]
        cls = catalogue.find(name, key if not where else f"{where}.{key}")
        inside = f"{where}.parameters" if where else "parameters"
        parameters = {} if parameters is None else parameters
        if not isinstance(parameters, Mapping) or not all(isinstance(one, str) for one in parameters):
            raise SpecError(f"{parameters!r:.80}", where=inside, expected="a mapping of names to values")
        known, several = parameters_of(cls), takes_positional(cls)
        if several is not None and several not in known:
            known[several] = Parameter(several, frozenset({"list"}), "list", ())
        everything = dict(known)
        for refused, reason in self.refused.items():
            if refused in parameters and refused in known:
                raise SpecError(f"{refused} has no place here", where=f"{inside}.{refused}", expected=reason)
            known.pop(refused, None)
        check_names(parameters, known, inside, name)
        values = {one: self.argument(value, known[one], f"{inside}.{one}", name) for one, value in parameters.items()}
        shape = self.image_shape or (1, 1, 1)  # of which the names are looked at
        follows = {one: value for one, value in catalogue.shaped(name, known, shape).items() if one not in values}
        check_complete({*values, *follows}, known, inside, name)
        values = {**catalogue.seeded(everything, self.seed), **follows, **values}
        if (follows and self.image_shape is None) or _holds_pending(values):
            return PENDING
        made = self._call(cls, name, values, several, inside)
        return catalogue.finished(made, reference or {}, parameter, where)

    def described(self, key: str, name: str) -> NamedClass:
        """A class of a catalogue in words, with the schema of its parameters.

        Raises:
            SpecError: if there is none of this name.
        """
        catalogue = self.catalogues[key]
        cls = catalogue.find(name, key)
        known = {
            one: parameter
            for one, parameter in parameters_of(cls).items()
            if one not in self.refused and not _takes_functions(parameter)
        }
        if (several := takes_positional(cls)) is not None:
            known.setdefault(several, Parameter(several, frozenset({"list"}), "list", ()))
        follows = {
            **dict.fromkeys(catalogue.seeded(known, 0), "follows from the seed where it is left out"),
            **dict.fromkeys(catalogue.shaped(name, known, (1, 1, 1)), "follows from the images where it is left out"),
        }
        said = descriptions_of(cls)
        properties = {one: schema_of(known[one], follows.get(one), said.get(one)) for one in known}
        required = [one for one, parameter in known.items() if parameter.is_required and one not in follows]
        schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        place = f"{cls.__module__}.{getattr(cls, '__qualname__', name)}"
        return NamedClass(name, place, inspect.getdoc(cls) or "", schema)

    def argument(self, value: Any, parameter: Parameter, where: str, owner: str) -> Any:
        """What a plain value stands for in the place of a parameter.

        Raises:
            SpecError: if it stands for nothing there.
        """
        if isinstance(value, Mapping):
            return self._mapping(value, parameter, where, owner)
        if value is not None and _takes_functions(parameter):
            raise SpecError(
                f"{parameter.name} takes a function, which no spec can say",
                where=where,
                expected="leave it out",
                hint="an operator of your own, in a plugin: invreg new-plugin NAME",
            )
        parameter.check(value, where, owner)
        if isinstance(value, list | tuple):
            return self._list(value, parameter, where, owner)
        return self.plain(value, parameter, where)

    def _mapping(self, value: Mapping[str, Any], parameter: Parameter, where: str, owner: str) -> Any:
        keys = [key for key in (*self.catalogues, "path") if key in value]
        if not keys:
            parameter.check(value, where, owner)
            found = {}
            for name, item in value.items():
                loose = Parameter(str(name), frozenset({"Tensor"} if isinstance(item, list) else ()), "", None)
                found[name] = self.argument(item, loose, f"{where}.{name}", owner)
            return found
        key, *more = keys
        further = {"path"} if key == "path" else {key, "parameters", "seed", *self.catalogues[key].further}
        odd = sorted({str(one) for one in value} - further)
        if more or odd:
            raise SpecError(
                f"{', '.join(map(repr, [*more, *odd]))} beside {key!r}",
                where=where,
                expected=f"{{{key}: ..." + ", ".join(["", *(f"{one}: ..." for one in sorted(further - {key}))]) + "}",
            )
        if key == "path":
            return self.array(read_array(value["path"], where), parameter)
        seed, self.seed = self.seed, _seed(value.get("seed", self.seed), where)
        try:
            return self.make(key, value[key], value.get("parameters"), where, value, parameter)
        finally:
            self.seed = seed

    def _list(self, value: Any, parameter: Parameter, where: str, owner: str) -> Any:
        if any(isinstance(one, Mapping) for one in value):
            loose = Parameter(parameter.name, frozenset(), "", None)
            return [self.argument(one, loose, f"{where}.{index}", owner) for index, one in enumerate(value)]
        takes_arrays = parameter.wants & {"Tensor", "NDArray", "ndarray", "ArrayLike"}
        takes_lists = parameter.wants & {"tuple", "list", "Sequence", "Iterable"}
        whole = all(isinstance(one, int) for one in value)
        flat = not any(isinstance(one, list | tuple) for one in value)
        if (takes_arrays and not (takes_lists and flat)) or (not takes_lists and not whole and not parameter.wants):
            try:
                return self.array(value, parameter)
            except (TypeError, ValueError, OverflowError) as error:
                raise SpecError(
                    f"{value!r:.80} is no array of numbers: {error}", where=where, expected="rows of the same length"
                ) from None
        return tuple(tuple(one) if isinstance(one, list) else one for one in value)

    def _call(self, cls: Callable[..., Any], name: str, values: dict[str, Any], several: str | None, where: str) -> Any:
        positional = list(values.pop(several, ())) if several is not None else []
        try:
            with self.sandbox(self.seed), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what of their own defaults they find outdated is nothing to be done
                return cls(*positional, **values)
        except InvregError:
            raise
        except ImportError as error:
            missing, of = getattr(error, "name", None), self.package
            raise SpecError(
                f"{name} needs a package that cannot be imported: {error}",
                where=where,
                expected=f"{missing or 'the package that the message names'}, which {of} does not bring along",
                hint=f"pip install {missing.partition('.')[0]}" if missing else None,
            ) from error
        except Exception as error:
            if "cuda" in str(error).lower() and not torch.cuda.is_available():
                raise SpecError(
                    f"{name} computes on a CUDA GPU: {error}"[:600], where=where, expected="a machine with such a GPU"
                ) from error
            raise SpecError(
                f"{name} refuses these parameters: {type(error).__name__}: {error}"[:600],
                where=where,
                expected="; ".join(str(one) for one in parameters_of(cls).values() if one.name not in self.refused)[
                    :600
                ],
            ) from error


def read_array(path: Any, where: str) -> np.ndarray:
    """The array in a file: `.npy`, `.npz` with one array, or an image, whose values are divided by white.

    Raises:
        SpecError: if there is no such file, or it holds anything else; pickled objects are never read.
    """
    if not isinstance(path, str) or not path:
        raise SpecError(f"{path!r:.80}", where=f"{where}.path", expected="the path of a .npy or .npz file, or an image")
    file = Path(path).expanduser()
    if not file.is_file():
        raise SpecError(
            f"{path!r:.200}: no such file", where=f"{where}.path", expected="a .npy or .npz file, or an image"
        )
    if file.suffix.lower() not in (".npy", ".npz"):
        try:
            pixels = np.asarray(read_image(file).pixels)
        except InvregError as error:
            raise error.at(f"{where}.path") from None
        return pixels / 255.0 if pixels.dtype == np.uint8 else pixels
    try:
        with file.open("rb") as stream:
            found = np.load(stream, allow_pickle=False)
            if isinstance(found, np.lib.npyio.NpzFile):
                if len(found.files) != 1:
                    raise ValueError(f"it holds {len(found.files)} arrays, and one is expected")
                found = found[found.files[0]]
    except Exception as error:  # noqa: BLE001 (a file of someone else can be broken in any way)
        raise SpecError(
            f"{path!r:.200} cannot be read: {error}", where=f"{where}.path", expected="one array of numbers, no objects"
        ) from None
    if found.dtype.kind not in "fciub":
        raise SpecError(f"{path!r:.200} holds {found.dtype}", where=f"{where}.path", expected="numbers")
    if not np.isfinite(found).all():
        raise SpecError(f"{path!r:.200} holds NaN or infinite values", where=f"{where}.path", expected="finite numbers")
    return np.asarray(found)


def _seed(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SpecError(f"{value!r:.80}", where=f"{where}.seed", expected="a whole number, 0 or more")
    return value


def _takes_functions(parameter: Parameter) -> bool:
    return (
        bool(parameter.wants & {"Callable"}) and not parameter.wants & {"Tensor", "int", "float", "str", "bool"}
    ) or (not parameter.wants and not parameter.is_required and callable(parameter.default))


def _holds_pending(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    return value is PENDING or (isinstance(value, list | tuple) and any(map(_holds_pending, value)))
