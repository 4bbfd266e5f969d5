"""Architectures as tables, and back: what a figure shows can be drawn again from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from invreg import Architecture, Layer, Skip, Stage
from invreg.components.architecture import Shape

if TYPE_CHECKING:
    import pandas as pd

_STAGES = (
    "method",
    "kind",
    "stage",
    "operation",
    "shape in",
    "shape out",
    "parameters",
    "repeats",
    "constraint",
    "inverse",
    "iterated",
    "residual",
    "from",
    "to",
    "joins",
)
_LAYERS = ("method", "stage", "operation", "shape in", "shape out", "parameters", "repeats", "constraint")
_NETWORKS = ("left", "right", "forward", "inverse", "formula", "constraint")


def architecture_tables(found: Mapping[str, Architecture], elsewhere: Mapping[str, int]) -> dict[str, pd.DataFrame]:
    """The tables `stages`, `layers` and `ends` of the architectures by method.

    In `stages`, each stage and each skip has a row, and so have parameters that belong to none of them; all repetitions
    are counted, so that the column `parameters` adds up to the network. `layers` says what the stages are made of.

    Args:
        found: architectures by method.
        elsewhere: the number of parameters that are in no stage, by method.
    """
    import pandas as pd

    stages, layers, ends = [], [], []
    for method, architecture in found.items():
        stages += [_stage_row(method, stage) for stage in architecture.stages]
        stages += [_skip_row(method, skip) for skip in architecture.skips]
        if elsewhere[method]:
            stages.append(_row(method, "elsewhere", parameters=elsewhere[method], repeats=1))
        layers += [_layer_row(method, stage, layer) for stage in architecture.stages for layer in stage.layers]
        ends.append({"method": method, **{name: getattr(architecture, name) for name in _NETWORKS}})
    return {
        "stages": pd.DataFrame(stages, columns=list(_STAGES)),
        "layers": pd.DataFrame(layers, columns=list(_LAYERS)),
        "ends": pd.DataFrame(ends, columns=["method", *_NETWORKS]),
    }


def read_architectures(tables: Mapping[str, pd.DataFrame]) -> dict[str, Architecture]:
    """The architectures that `architecture_tables` has written, by method."""
    stages, layers, ends = (tables[name] for name in ("stages", "layers", "ends"))
    found = {}
    for end in ends.to_dict("records"):
        method = end.pop("method")
        rows = stages[stages["method"] == method].to_dict("records")
        inside = layers[layers["method"] == method].to_dict("records")
        found[str(method)] = Architecture(
            [_read_stage(row, inside) for row in rows if row["kind"] == "stage"],
            [_read_skip(row) for row in rows if row["kind"] == "skip"],
            **{str(name): str(text) for name, text in end.items()},
        )
    return found


def written(shape: Shape) -> str:
    """A shape as people write it: 64 × 96 × 96."""
    return " × ".join(map(str, shape))


def _read(text: str) -> Shape:
    return tuple(int(part) for part in str(text).split(" × ") if part)


def _row(method: str, kind: str, **values: Any) -> dict[str, Any]:
    """A row of the table `stages`; columns that are not given stay empty."""
    given = {name.replace("_", " ").strip(): value for name, value in values.items()}
    return {**dict.fromkeys(_STAGES, ""), "method": method, "kind": kind, **given}


def _stage_row(method: str, stage: Stage) -> dict[str, Any]:
    return _row(
        method,
        "stage",
        stage=stage.name,
        operation=stage.operation,
        shape_in=written(stage.shape_in),
        shape_out=written(stage.shape_out),
        parameters=stage.total,
        repeats=stage.repeats,
        constraint=stage.constraint,
        inverse=stage.inverse,
        iterated=stage.iterated,
        residual=stage.residual,
    )


def _skip_row(method: str, skip: Skip) -> dict[str, Any]:
    return _row(
        method,
        "skip",
        operation=skip.operation,
        shape_out=written(skip.shape),
        parameters=skip.parameters,
        repeats=1,
        from_=skip.source,
        to=skip.target,
        joins=skip.joins,
    )


def _layer_row(method: str, stage: Stage, layer: Layer) -> dict[str, Any]:
    return {
        "method": method,
        "stage": stage.name,
        "operation": layer.operation,
        "shape in": written(layer.shape_in),
        "shape out": written(layer.shape_out),
        "parameters": layer.parameters * stage.repeats,
        "repeats": stage.repeats,
        "constraint": layer.constraint,
    }


def _read_stage(row: Mapping[Any, Any], inside: list[dict[Any, Any]]) -> Stage:
    repeats = int(row["repeats"])
    layers = [
        Layer(
            one["operation"],
            _read(one["shape in"]),
            _read(one["shape out"]),
            int(one["parameters"]) // repeats,
            one["constraint"],
        )
        for one in inside
        if one["stage"] == row["stage"]
    ]
    return Stage(
        row["stage"],
        row["operation"],
        _read(row["shape in"]),
        _read(row["shape out"]),
        int(row["parameters"]) // repeats,
        repeats,
        row["constraint"],
        row["inverse"],
        row["iterated"],
        row["residual"],
        layers,
    )


def _read_skip(row: Mapping[Any, Any]) -> Skip:
    return Skip(row["from"], row["to"], _read(row["shape out"]), row["operation"], row["joins"], int(row["parameters"]))
