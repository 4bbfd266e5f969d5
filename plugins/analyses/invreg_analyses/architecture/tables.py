"""Architectures as tables, and back, so that figures can be drawn from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from invreg import Architecture, Layer, Shape, Skip, Stage

if TYPE_CHECKING:
    import pandas as pd

_LAYERS = ("method", "stage", "operation", "shape in", "shape out", "parameters", "repeats", "constraint")
_STAGES = ("method", "kind", *_LAYERS[1:], "inverse", "iterated", "residual", "from", "to", "joins")
_ENDS = ("left", "right", "forward", "inverse", "formula", "constraint")
#: Columns of attributes that are called otherwise.
_COLUMNS = {"name": "stage", "source": "from", "target": "to", "shape": "shape out"}


def architecture_tables(found: Mapping[str, Architecture], elsewhere: Mapping[str, int]) -> dict[str, pd.DataFrame]:
    """The tables `stages`, `layers` and `ends` of the architectures by method.

    In `stages`, each stage and each skip has a row, and so have parameters that belong to none of them; all repetitions
    are counted, so that the column `parameters` adds up to the network. `layers` has the layers of the stages.

    Args:
        found: architectures by method.
        elsewhere: the number of parameters that are in no stage, by method.
    """
    import pandas as pd

    stages, layers, ends = [], [], []
    for method, architecture in found.items():
        stages += [_row(method, stage, stage.repeats, kind="stage") for stage in architecture.stages]
        stages += [_row(method, skip, kind="skip") for skip in architecture.skips]
        if elsewhere[method]:
            stages.append({"method": method, "kind": "elsewhere", "parameters": elsewhere[method], "repeats": 1})
        for stage in architecture.stages:
            layers += [_row(method, layer, stage.repeats, stage=stage.name) for layer in stage.layers]
        ends.append({"method": method, **{name: getattr(architecture, name) for name in _ENDS}})
    empty = dict.fromkeys(_STAGES, "")
    return {
        "stages": pd.DataFrame([empty | row for row in stages], columns=list(_STAGES)),
        "layers": pd.DataFrame(layers, columns=list(_LAYERS)),
        "ends": pd.DataFrame(ends, columns=["method", *_ENDS]),
    }


def read_architectures(tables: Mapping[str, pd.DataFrame]) -> dict[str, Architecture]:
    """The architectures that `architecture_tables` has written, by method."""
    stages, layers, ends = (tables[name] for name in ("stages", "layers", "ends"))
    found = {}
    for end in ends.to_dict("records"):
        method = end.pop("method")
        inside = [row for row in layers.to_dict("records") if row["method"] == method]
        parts: dict[str, list[Any]] = {"stage": [], "skip": [], "elsewhere": []}
        for row in stages[stages["method"] == method].to_dict("records"):
            parts[row["kind"]].append(row)
        found[str(method)] = Architecture(
            [
                Stage(
                    **_read(Stage, row),
                    repeats=int(row["repeats"]),
                    layers=[Layer(**_read(Layer, one)) for one in inside if one["stage"] == row["stage"]],
                )
                for row in parts["stage"]
            ],
            [Skip(**_read(Skip, row)) for row in parts["skip"]],
            **{str(name): str(text) for name, text in end.items()},
        )
    return found


def written(shape: Shape) -> str:
    """A shape as text: 64 × 96 × 96."""
    return " × ".join(map(str, shape))


def _column(attribute: str) -> str:
    return _COLUMNS.get(attribute, attribute.replace("_", " "))


def _row(method: str, part: Stage | Skip | Layer, repeats: int = 1, **more: str) -> dict[str, Any]:
    """The attributes of a part, its parameters those of all repetitions."""
    row = {_column(name): written(value) if isinstance(value, tuple) else value for name, value in vars(part).items()}
    return row | {"method": method, "parameters": part.parameters * repeats, "repeats": repeats, **more}


def _read(kind: type, row: Mapping[Any, Any]) -> dict[str, Any]:
    """The attributes of a part from its row, but for its repetitions and its layers."""
    found: dict[str, Any] = {}
    for name in {field.name for field in fields(kind)} - {"repeats", "layers"}:
        value = row[_column(name)]
        if name.startswith("shape"):
            value = tuple(int(part) for part in str(value).split(" × ") if part)
        elif name == "parameters":
            value = int(value) // int(row["repeats"])
        found[name] = value
    return found
