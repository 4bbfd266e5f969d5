"""Searched parameters: which exist, what they may be, and that a trial gets them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import BaseModel, Field
from training_helpers import Gain, make_context

from invreg.components.hookspecs import hookimpl
from invreg.components.noise import Noise
from invreg.components.reconstructor import Reconstructor
from invreg.components.trainer import Method, TrainedMethod, Trainer, TrainingContext, TrainingLog
from invreg.errors import SpecError
from invreg.plugins.registry import Registry, spec_of
from invreg.schema.parameters import parameters_model
from invreg_training import plugin
from invreg_training.search.search import ParameterSearch


class Grain(Noise):
    def __init__(self, std: Annotated[float, Field(ge=0, le=1)] = 0.5, cells: Annotated[int, Field(ge=1)] = 2) -> None:
        if std == 0.125:
            raise SpecError("std = 0.125 does not exist", where="std")
        self.std, self.cells = std, cells

    def draw(self, z: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return z


class Silence(Noise):
    def draw(self, z: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return z


class Layers(Noise):
    """A component that holds components."""

    def __init__(self, parts: list[Noise], named: dict[str, Grain] | None = None) -> None:
        self.parts, self.named = parts, named or {}

    def draw(self, z: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return z


class Window(BaseModel):
    size: Annotated[int, Field(ge=1)] = 3
    kind: str = "flat"


class Cabinet(Reconstructor):
    """Everything that a parameter can be."""

    def __init__(
        self,
        gain: float = 1.0,
        width: Annotated[int, Field(ge=1)] = 2,
        limit: float | None = None,
        number: Any = 1,
        channels: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=3)] = [4, 8],  # noqa: B006
        betas: tuple[Annotated[float, Field(ge=0, lt=1)], int] = (0.9, 2),
        rates: Annotated[dict[str, float] | None, Field()] = None,
        noise: Noise | None = None,
        free: Any = None,
        window: Window = Window(),  # noqa: B008
        size: Literal[1, 2, 4] = 1,
        fancy: bool = False,
        state: float = 0.0,
    ) -> None:
        super().__init__()
        self.gain, self.width, self.limit, self.number = gain, width, limit, number
        self.channels, self.betas, self.rates, self.noise = channels, betas, rates, noise
        self.free, self.window, self.size, self.fancy, self.state = free, window, size, fancy, state

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.gain * z


class Recipe(Trainer):
    """A trainer whose parameters nest, and which trains nothing."""

    seen: list[Recipe] = []  # noqa: RUF012

    def __init__(
        self,
        stages: list[dict[str, float]] | None = None,
        noise: Noise | None = None,
        lr: Annotated[float, Field(gt=0)] = 0.1,
        betas: tuple[float, float] = (0.9, 0.99),
        refused: bool = False,
        narrow: Grain | None = None,
    ) -> None:
        if lr == 7.0:
            raise SpecError("lr = 7 is unlucky", where="lr")
        if lr == 5.0 and betas[0] == 0.5:
            raise SpecError("lr = 5 and betas = 0.5 do not go together", where="lr")
        self.stages, self.noise, self.lr, self.betas, self.refused = stages, noise, lr, betas, refused
        self.narrow = narrow

    def check(self, method: Method, reconstructor: Reconstructor) -> None:
        if self.refused:
            raise SpecError("this recipe takes nobody", where="refused")

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        Recipe.seen.append(self)
        return TrainedMethod(method.build(), TrainingLog())


def components() -> dict[str, type]:
    return {
        "cabinet": Cabinet,
        "gain": Gain,
        "recipe": Recipe,
        "grain": Grain,
        "layers": Layers,
        "silence": Silence,
    }


REGISTRY = Registry({"training": plugin, "mine": SimpleNamespace(invreg_components=hookimpl(components))})


def cabinet(context: TrainingContext, **given: Any) -> Method:
    spec = spec_of(REGISTRY.build("reconstructor", {"name": "cabinet", **given}), REGISTRY)

    def build(**changes: Any) -> Reconstructor:
        reconstructor: Reconstructor = REGISTRY.build("reconstructor", {**spec, **changes})
        reconstructor.setup(context.problem, context.image_shape)
        return reconstructor

    parameters = {name: value for name, value in spec.items() if name != "name"}
    return Method("box", parameters, parameters_model(Cabinet), build, REGISTRY)


def search(parameters: dict[str, Any], trials: int = 6, **settings: Any) -> ParameterSearch:
    built: ParameterSearch = REGISTRY.build(
        "trainer", {"name": "parameter_search", "trials": trials, "parameters": parameters, **settings}
    )
    return built


NOISE = {
    "name": "layers",
    "parts": [
        {"name": "silence"},
        {"name": "layers", "parts": [{"name": "grain", "std": 0.25, "cells": 2}], "named": None},
    ],
    "named": {"first": {"name": "grain", "std": 0.5, "cells": 2}},
}

GIVEN: dict[str, Any] = {
    "rates": {"slow": 0.1, "fast": 1.0},
    "free": {"a": [1, {"b": 2.5}], "text": "t"},
    "noise": {
        "name": "layers",
        "parts": ["silence", {"name": "layers", "parts": [{"name": "grain", "std": 0.25}]}],
        "named": {"first": {"name": "grain"}},
    },
}


@pytest.mark.parametrize(
    ("name", "values", "own", "kind"),
    [
        ("gain", {"low": 1, "high": 2}, 1.0, float),
        ("width", {"low": 1, "high": 2**50, "log": True}, 2, int),
        ("width", {"low": 1, "high": 9}, 2, int),
        ("limit", {"low": 1, "high": 9}, None, (float, type(None))),
        ("channels", {"choices": [[1], [2, 3]]}, [4, 8], list),
        ("betas", {"choices": [[0.5, 1], [0.9, 2]]}, [0.9, 2], list),
        ("rates", {"choices": [None, {"other": 2.0}]}, {"slow": 0.1, "fast": 1.0}, (dict, type(None))),
        ("free", {"choices": ["t", "u", 3, None]}, {"a": [1, {"b": 2.5}], "text": "t"}, (str, int, dict, type(None))),
        ("number", {"low": 0, "high": 9}, 1, int),
        ("number", {"low": 0.0, "high": 9}, 1, (int, float)),
        ("window", {"choices": [{"size": 5, "kind": "flat"}]}, {"size": 3, "kind": "flat"}, dict),
        ("size", {"choices": [1, 2, 4]}, 1, int),
        ("fancy", {"choices": [True, False]}, False, bool),
        ("noise", {"choices": ["silence", {"name": "grain", "std": 0.0}]}, NOISE, (str, dict)),
    ],
)
def test_a_trial_gets_the_value(
    tmp_path: Path, name: str, values: dict[str, Any], own: Any, kind: type | tuple[type, ...]
) -> None:
    context = make_context(tmp_path)
    method = cabinet(context, **GIVEN)
    built: list[dict[str, Any]] = []

    def build(**changes: Any) -> Reconstructor:
        reconstructor = method.build(**changes)
        built.append(spec_of(reconstructor, REGISTRY))
        return reconstructor

    full = f"reconstructor.{name}"
    tried = search({full: values})
    tried.check(method, method.build())
    trained = tried.fit(Method(method.label, method.parameters, method.schema, build, REGISTRY), context)
    rows = trained.log.rows
    assert [row["state"] for row in rows] == ["complete"] * 6
    trials = json.loads((tmp_path / "trials.json").read_text())["trials"]
    given = [trial["parameters"][full] for trial in trials]
    assert given[0] == own
    untouched = spec_of(method.build(), REGISTRY)
    assert built[0] == untouched
    for value, spec in zip(given[1:], built[1:], strict=True):
        assert isinstance(value, kind)
        if "choices" in values:
            assert value in values["choices"]
        if name == "noise":
            value = spec_of(REGISTRY.build("noise", value), REGISTRY)
        assert spec[name] == value
        assert {k: v for k, v in spec.items() if k != name} == {k: v for k, v in untouched.items() if k != name}
    assert len({json.dumps(value) for value in given}) > 1
    assert spec_of(trained.reconstructor, REGISTRY) == built[trained.log.summary["best_trial"]]


@pytest.mark.parametrize(
    ("name", "values", "read"),
    [
        ("trainer.lr", {"low": 0.1, "high": 1.0}, lambda recipe: recipe.lr),
        ("trainer.stages", {"choices": [[{"rate": 2.0}], [{"rate": 3.0}]]}, lambda recipe: recipe.stages),
        (
            "trainer.noise",
            {"choices": [{"name": "grain", "std": 0.25}, None]},
            lambda recipe: recipe.noise and {"name": "grain", "std": recipe.noise.std},
        ),
        ("trainer.noise", {"choices": ["silence", None]}, lambda recipe: recipe.noise and "silence"),
        ("trainer.betas", {"choices": [[0.5, 0.5], [0.6, 0.6]]}, lambda recipe: list(recipe.betas)),
    ],
)
def test_the_trainer_of_a_trial_gets_the_value(tmp_path: Path, name: str, values: dict[str, Any], read: Any) -> None:
    context = make_context(tmp_path)
    method = cabinet(context)
    trainer = {"name": "recipe", "stages": [{"rate": 1.0}, {"rate": 5.0}], "noise": {"name": "grain"}, "lr": 0.7}
    tried = search({name: values}, trainer=trainer)
    tried.check(method, method.build())
    Recipe.seen.clear()
    tried.fit(method, context)
    trials = json.loads((tmp_path / "trials.json").read_text())["trials"]
    assert spec_of(Recipe.seen[0], REGISTRY) == spec_of(tried.trainer, REGISTRY)
    assert isinstance(Recipe.seen[1].betas, tuple)
    for trial, recipe in zip(trials[1:], Recipe.seen[1:], strict=True):
        assert trial["parameters"][name] == read(recipe)
    assert len({json.dumps(trial["parameters"][name]) for trial in trials}) > 1


def test_the_trials_of_a_search_can_be_searches(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    inner = {"name": "parameter_search", "trials": 2, "parameters": {"gain": {"low": 0.5, "high": 1.0}}}
    tried = search({"trainer.trials": {"choices": [1, 3]}}, 3, trainer=inner)
    method = cabinet(context)
    tried.check(method, method.build())
    trained = tried.fit(method, context)
    assert {row["trainer.trials"] for row in trained.log.rows} <= {1, 2, 3}
    assert {row["state"] for row in trained.log.rows} == {"complete"}
    assert json.loads((tmp_path / "trial-0" / "trials.json").read_text())["trials"][1]["value"] is not None


def test_tables_show_components_by_name(tmp_path: Path) -> None:
    context = make_context(tmp_path, seed=1)
    choices = [
        "silence",
        {"name": "grain", "std": 1.0},
        {"name": "layers", "parts": [{"name": "grain", "std": 0.25}]},
        None,
    ]
    trained = search({"noise": {"choices": choices}, "rates": {"choices": [None, {"a": 1.5}]}}, 24).fit(
        cabinet(context, noise="silence"), context
    )
    rows = trained.log.rows
    assert rows[0]["noise"] == "silence"
    assert {row["rates"] for row in rows} == {None, "{a: 1.5}"}
    assert {row["noise"] for row in rows} == {"silence", "grain(std=1.0)", "layers(parts=[grain(std=0.25)])", None}
    assert trained.log.summary["best noise"] == rows[trained.log.summary["best_trial"]]["noise"]


def test_components_in_python_stand_for_their_specs() -> None:
    grain = REGISTRY.build("noise", {"name": "grain", "std": 1.0})
    tried = ParameterSearch(parameters={"noise": {"choices": [grain, (1, 2), None]}})
    assert tried.parameters is not None
    assert tried.parameters["noise"].model_dump() == {
        "choices": [{"name": "grain", "std": 1.0, "cells": 2}, [1, 2], None]
    }
    with pytest.raises(SpecError, match="not registered"):
        ParameterSearch(parameters={"noise": {"choices": [Grain()]}})
    for nonsense in ("abc", [1], 3, {1: {"low": 1, "high": 2}}):
        with pytest.raises(SpecError, match="parameters"):
            ParameterSearch(parameters=nonsense)  # type: ignore[arg-type]


def test_a_parameter_that_is_called_like_a_column_keeps_its_own(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    rows = search({"state": {"low": 1.0, "high": 2.0}}, 2).fit(cabinet(context), context).log.rows
    assert rows[1]["state"] == "complete"
    assert 1 <= rows[1]["reconstructor.state"] <= 2


RANGE = {"low": 1, "high": 2}


@pytest.mark.parametrize(
    ("parameters", "where", "messages"),
    [
        ({"reconstructor.gian": RANGE}, "reconstructor.gian", ["the reconstructor has no parameter", "mean 'gain'"]),
        ({"channels.0": RANGE}, "channels.0", ["leads into the parameter 'channels'", "try: channels: {choices"]),
        ({"trianer.lr": RANGE}, "trianer.lr", ["unknown component 'trianer'", "did you mean 'trainer'?"]),
        (
            {"reconstructor.channels.0": RANGE},
            "reconstructor.channels.0",
            ["leads into the parameter 'channels'", "the name of a parameter", "reconstructor.channels: {choices"],
        ),
        ({"reconstructor.channels.x": RANGE}, "reconstructor.channels.x", ["leads into", "'channels'"]),
        ({"reconstructor.channels.1.2": RANGE}, "reconstructor.channels.1.2", ["leads into", "'channels'"]),
        ({"reconstructor.rates.fast": RANGE}, "rates.fast", ["leads into the parameter 'rates'"]),
        ({"reconstructor.window.size": RANGE}, "window.size", ["leads into the parameter 'window'"]),
        ({"reconstructor.noise.name": {"choices": ["grain"]}}, "noise.name", ["leads into the parameter 'noise'"]),
        ({"reconstructor.noise.parts.1.std": RANGE}, "noise.parts.1.std", ["leads into the parameter 'noise'"]),
        (
            {"trainer.betas.1": RANGE},
            "trainer.betas.1",
            ["leads into the parameter 'betas'", "trainer.betas: {choices"],
        ),
        ({"reconstructor.channels": RANGE}, "reconstructor.channels", ["not a number", "choices: [[4, 8], ...]"]),
        ({"width": {"low": 0, "high": 2}}, "parameters.width.low", ["greater than or equal to 1", "given: 0"]),
        ({"width": {"low": 1, "high": 2.5}}, "parameters.width.high", ["valid integer", "given: 2.5"]),
        ({"width": {"low": 1.0, "high": 2}}, "parameters.width.low", ["valid integer", "given: 1.0"]),
        ({"channels": {"choices": [[1], [1, 2, 3, 4]]}}, "channels.choices.1", ["at most 3 items"]),
        ({"betas": {"choices": [[0.5, 2], [1.5, 2]]}}, "betas.choices.1", ["betas.choices.1.0: input", "less than 1"]),
        ({"free": RANGE}, "parameters.free", ["not a number"]),
        ({"window": RANGE}, "window", ["not a number"]),
        ({"noise": RANGE}, "noise", ["not a number"]),
        ({"window": {"choices": [{"size": 0}]}}, "window.choices.0.size", ["greater than or equal to 1"]),
        ({"size": RANGE}, "size", ["not a number", "choices"]),
        ({"fancy": RANGE}, "fancy", ["not a number"]),
        ({"fancy": {"choices": [True, 1]}}, "fancy.choices.1", ["valid boolean", "given: 1"]),
        ({"reconstructor": {"choices": ["cabinet", "gain"]}}, "reconstructor", ["whole reconstructor", "two methods"]),
        ({"reconstructor.": RANGE}, "reconstructor.", ["no parameter ''"]),
        ({"": RANGE}, "parameters.", ["no parameter ''"]),
        ({"reconstructor..gain": RANGE}, "reconstructor..gain", ["no parameter '.gain'"]),
        ({".gain": RANGE}, ".gain", ["unknown component ''"]),
        ({"noise": {"choices": ["grian", None]}}, "noise.choices.0", ["there is no noise 'grian'", "'grain'"]),
        ({"noise": {"choices": [{"name": "grain", "sdt": 1}]}}, "noise.choices.0.sdt", ["unknown", "'std'"]),
        ({"noise": {"choices": [{"name": "grain", "std": 3.0}]}}, "noise.choices.0.std", ["less than or equal to 1"]),
        ({"noise": {"choices": [{"name": "grain", "std": 0.125}]}}, "noise.choices.0.std", ["does not exist"]),
        ({"noise": {"choices": [3]}}, "noise.choices.0", ["given: 3"]),
        ({"noise": {"choices": ["cabinet"]}}, "noise.choices.0", ["there is no noise 'cabinet'"]),
        ({"trainer.narrow": {"choices": ["silence"]}}, "trainer.narrow.choices.0", ["'silence' is not a Grain"]),
        ({"width": RANGE, "reconstructor.width": RANGE}, "reconstructor.width", ["named twice"]),
        ({"trainer.lrr": RANGE}, "trainer.lrr", ["the trainer 'recipe' has no parameter", "'lr'"]),
        ({"trainer.lr": {"low": 0.0, "high": 1.0}}, "trainer.lr.low", ["greater than 0", "given: 0.0"]),
        ({"trainer.lr": {"choices": [0.1, 7.0]}}, "parameters.trainer.lr.choices.1", ["lr = 7 is unlucky"]),
        ({"trainer": {"choices": ["recipe"]}}, "parameters.trainer", ["whole trainer", "two methods"]),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(
    tmp_path: Path, parameters: dict[str, Any], where: str, messages: list[str]
) -> None:
    context = make_context(tmp_path)
    method = cabinet(context, **GIVEN)
    with pytest.raises(SpecError) as caught:
        search(parameters, trainer="recipe").check(method, method.build())
    assert where in str(caught.value.where)
    for message in messages:
        assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_trainer_that_refuses_the_method_is_named(tmp_path: Path) -> None:
    method = cabinet(make_context(tmp_path))
    with pytest.raises(SpecError, match=r"^trainer\.refused: this recipe takes nobody"):
        search({"gain": RANGE}, trainer={"name": "recipe", "refused": True}).check(method, method.build())
    with pytest.raises(SpecError, match="trainer: Cabinet has no weights to train"):
        search({"gain": RANGE}, trainer="reconstruction").check(method, method.build())


def test_a_combination_that_a_constructor_refuses_is_a_failed_trial(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    parameters = {"trainer.lr": {"choices": [5.0, 6.0]}, "trainer.betas": {"choices": [[0.5, 0.5], [0.6, 0.6]]}}
    rows = search(parameters, 12, trainer="recipe").fit(cabinet(context), context).log.rows
    refused = [row for row in rows if row["trainer.lr"] == 5.0 and row["trainer.betas"] == "[0.5, 0.5]"]
    assert refused
    assert {row["state"] for row in refused} == {"failed"}
    assert all("lr = 5 and betas = 0.5 do not go together" in row["cause"] for row in refused)
    assert {row["state"] for row in rows if row not in refused} == {"complete"}
