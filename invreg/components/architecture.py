"""The architecture of a built network as plain data: what it is made of, in which order, for drawings and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from invreg.errors import InvregError

#: (C, H, W), without the batch; of other lengths where something is not an image.
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One operation inside a stage.

    Attributes:
        operation: what it is, in a few words: "conv 5×5".
        shape_in: of what it is given.
        shape_out: of what it returns.
        parameters: its number of trainable parameters; in one of the repetitions, where the stage is repeated.
        constraint: what holds for it for all weights: "‖K‖ ≤ 1".
    """

    operation: str
    shape_in: Shape
    shape_out: Shape
    parameters: int = 0
    constraint: str = ""


@dataclass(frozen=True)
class Stage:
    """One step on the way from the left end of a network to the right one; perhaps several times in a row.

    Attributes:
        name: unique in its architecture.
        operation: what it does from left to right: a formula, or a few words.
        shape_in: at its left side.
        shape_out: at its right side.
        parameters: its number of trainable parameters, in one of the repetitions.
        repeats: how often it stands there, each time with parameters of its own.
        constraint: what holds for it for all weights: "Lip(f) ≤ 0.5".
        inverse: what it does from right to left, in a network that has two directions.
        iterated: the direction that is computed by fixed points of `layers`, if one is.
        residual: whether what the layers give is added to what the stage is given, or subtracted from it.
        layers: what it is made of, in the direction that is not iterated; their parameters are those of the stage.
    """

    name: str
    operation: str
    shape_in: Shape
    shape_out: Shape
    parameters: int = 0
    repeats: int = 1
    constraint: str = ""
    inverse: str = ""
    iterated: Literal["", "forward", "inverse"] = ""
    residual: Literal["", "+", "−"] = ""
    layers: Sequence[Layer] = ()

    @property
    def total(self) -> int:
        """The parameters of all repetitions."""
        return self.parameters * self.repeats


@dataclass(frozen=True)
class Skip:
    """A connection from one stage to a later one, past those between them.

    Attributes:
        source: the stage whose result is taken; empty for what enters the network.
        target: the stage that it reaches.
        shape: of what arrives.
        operation: what is done to it on the way.
        joins: how the target takes it: "concatenated", "added".
        parameters: its number of trainable parameters.
    """

    source: str
    target: str
    shape: Shape
    operation: str = "identity"
    joins: str = "added"
    parameters: int = 0


@dataclass(frozen=True)
class Architecture:
    """A network from its left end to its right one, as it is built.

    Attributes:
        stages: from left to right.
        skips: connections past stages.
        left: what stands at the left end: "z".
        right: what stands at the right end: "x̂".
        forward: what the direction from left to right is.
        inverse: what the direction from right to left is, which then is the reconstruction; empty for networks that go
            one way only.
        formula: the network as a whole.
        constraint: what holds for it for all weights.

    Raises:
        InvregError: if there are no stages, names are used twice, skips lead nowhere or backwards, neighbouring stages
            do not fit together, or numbers contradict each other.
    """

    stages: Sequence[Stage]
    skips: Sequence[Skip] = ()
    left: str = "z"
    right: str = "x̂"
    forward: str = "reconstruction"
    inverse: str = ""
    formula: str = ""
    constraint: str = ""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        _require(bool(names), "no stages", "at least one stage")
        _require(len({*names, ""}) == len(names) + 1, f"stages {names}", "a name for each stage, and different ones")
        for stage in self.stages:
            _check_stage(stage)
        for before, after in pairwise(self.stages):
            _require(
                before.shape_out == after.shape_in,
                f"{before.name} gives {before.shape_out} and {after.name} takes {after.shape_in}",
                "stages that fit together",
            )
        places = {"": -1, **{name: place for place, name in enumerate(names)}}
        for skip in self.skips:
            known = skip.source in places and skip.target in names
            _require(
                known and places[skip.source] < places[skip.target],
                f"a skip from {skip.source!r} to {skip.target!r}",
                "stages of this architecture, the later one as the target",
            )
            _require(skip.parameters >= 0, f"a skip with {skip.parameters} parameters", "0 or more")

    @property
    def parameters(self) -> int:
        """The parameters of all stages and skips."""
        return sum(stage.total for stage in self.stages) + sum(skip.parameters for skip in self.skips)


def _check_stage(stage: Stage) -> None:
    _require(stage.repeats >= 1, f"{stage.repeats} repeats of {stage.name}", "1 or more")
    _require(stage.parameters >= 0, f"{stage.parameters} parameters in {stage.name}", "0 or more")
    _require(
        stage.repeats == 1 or stage.shape_in == stage.shape_out,
        f"{stage.name}, repeated, takes {stage.shape_in} and gives {stage.shape_out}",
        "the same shape, where a stage follows itself",
    )
    inside = sum(layer.parameters for layer in stage.layers)
    _require(
        not stage.layers or inside == stage.parameters,
        f"layers with {inside} parameters in {stage.name} with {stage.parameters}",
        "layers whose parameters are those of their stage",
    )


def _require(fine: bool, what: str, expected: str) -> None:
    if not fine:
        raise InvregError(what, where="architecture", expected=expected)
