"""Parameters by their path: which exist, what they may be, and that a trial gets them."""

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
from invreg_training.search.paths import arms
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
        self.gain, self.channels, self.betas, self.rates, self.noise = gain, channels, betas, rates, noise
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
    ) -> None:
        if lr == 7.0:
            raise SpecError("lr = 7 is unlucky", where="lr")
        self.stages, self.noise, self.lr, self.betas, self.refused = stages, noise, lr, betas, refused

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
    spec = REGISTRY.resolve("reconstructor", {"name": "cabinet", **given}).model_dump()

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


GIVEN: dict[str, Any] = {
    "rates": {"slow": 0.1, "fast": 1.0},
    "free": {"a": [1, {"b": 2.5}], "text": "t"},
    "noise": {
        "name": "layers",
        "parts": ["silence", {"name": "layers", "parts": [{"name": "grain", "std": 0.25}]}],
        "named": {"first": {"name": "grain"}},
    },
}


def at(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


@pytest.mark.parametrize(
    ("path", "values", "own", "kind"),
    [
        ("gain", {"low": 1, "high": 2}, 1.0, float),
        ("channels.1", {"low": 1, "high": 9}, 8, int),
        ("channels", {"choices": [[1], [2, 3]]}, [4, 8], list),
        ("betas.0", {"low": 0.1, "high": 0.9}, 0.9, float),
        ("betas.1", {"low": 1, "high": 2**50, "log": True}, 2, int),
        ("rates.fast", {"low": 1e-3, "high": 1, "log": True}, 1.0, float),
        ("rates", {"choices": [None, {"other": 2.0}]}, {"slow": 0.1, "fast": 1.0}, (dict, type(None))),
        ("free.a.1.b", {"low": 0.0, "high": 1.0}, 2.5, float),
        ("free.a.0", {"low": 0, "high": 9}, 1, int),
        ("free.a.0", {"low": 0.0, "high": 9}, 1, float),
        ("free.text", {"choices": ["t", "u", 3, None]}, "t", (str, int, type(None))),
        ("window.size", {"low": 1, "high": 9}, 3, int),
        ("size", {"choices": [1, 2, 4]}, 1, int),
        ("fancy", {"choices": [True, False]}, False, bool),
        ("noise.parts.1.parts.0.std", {"low": 0.0, "high": 1.0}, 0.25, float),
        ("noise.parts.1.parts.0.cells", {"low": 1, "high": 3}, 2, int),
        ("noise.named.first.std", {"choices": [0.5, 1.0]}, 0.5, float),
        ("noise.parts.0", {"choices": ["silence", {"name": "grain", "std": 0.0}]}, "silence", (str, dict)),
    ],
)
def test_a_trial_gets_the_value_at_the_path(
    tmp_path: Path, path: str, values: dict[str, Any], own: Any, kind: type | tuple[type, ...]
) -> None:
    context = make_context(tmp_path)
    method = cabinet(context, **GIVEN)
    built: list[dict[str, Any]] = []

    def build(**changes: Any) -> Reconstructor:
        reconstructor = method.build(**changes)
        built.append(spec_of(reconstructor, REGISTRY))
        return reconstructor

    full = f"reconstructor.{path}"
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
            if isinstance(at(spec, path), dict) and "name" in at(spec, path):
                value = REGISTRY.resolve("noise", value).model_dump()
        assert at(spec, path) == value
        parent, _, _ = path.partition(".")
        assert {k: v for k, v in spec.items() if k != parent} == {k: v for k, v in untouched.items() if k != parent}
    assert len({json.dumps(value) for value in given}) > 1
    assert spec_of(trained.reconstructor, REGISTRY) == built[trained.log.summary["best_trial"]]


@pytest.mark.parametrize(
    ("path", "values", "read"),
    [
        ("trainer.lr", {"low": 0.1, "high": 1.0}, lambda recipe: recipe.lr),
        ("trainer.stages.1.rate", {"low": 2.0, "high": 3.0}, lambda recipe: recipe.stages[1]["rate"]),
        ("trainer.noise.std", {"low": 0.2, "high": 1.0}, lambda recipe: recipe.noise.std),
        ("trainer.noise", {"choices": ["silence", None]}, lambda recipe: recipe.noise and "silence"),
        ("trainer.betas", {"choices": [[0.5, 0.5], [0.6, 0.6]]}, lambda recipe: list(recipe.betas)),
        ("trainer.betas.1", {"low": 0.1, "high": 0.2}, lambda recipe: recipe.betas[1]),
        (
            "trainer",
            {"choices": [{"name": "recipe", "lr": 3.0}, {"name": "recipe", "lr": 4.0}]},
            lambda recipe: {"name": "recipe", "lr": recipe.lr},
        ),
    ],
)
def test_the_trainer_of_a_trial_gets_the_value(tmp_path: Path, path: str, values: dict[str, Any], read: Any) -> None:
    context = make_context(tmp_path)
    method = cabinet(context)
    trainer = {"name": "recipe", "stages": [{"rate": 1.0}, {"rate": 5.0}], "noise": {"name": "grain"}, "lr": 0.7}
    tried = search({path: values}, trainer=trainer)
    tried.check(method, method.build())
    Recipe.seen.clear()
    tried.fit(method, context)
    trials = json.loads((tmp_path / "trials.json").read_text())["trials"]
    assert spec_of(Recipe.seen[0], REGISTRY) == spec_of(tried.trainer, REGISTRY)
    assert isinstance(Recipe.seen[1].betas, tuple)
    for trial, recipe in zip(trials[1:], Recipe.seen[1:], strict=True):
        assert trial["parameters"][path] == read(recipe)
    assert len({json.dumps(trial["parameters"][path]) for trial in trials}) > 1


def test_paths_lead_through_a_search_inside_a_search(tmp_path: Path) -> None:
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
        ({"channels.0": RANGE}, "channels.0", ["unknown component", "did you mean 'reconstructor.channels.0'?"]),
        ({"trianer.lr": RANGE}, "trianer.lr", ["unknown component 'trianer'", "did you mean 'trainer'?"]),
        ({"reconstructor.channels.2": RANGE}, "reconstructor.channels.2", ["a list of 2", "0 to 1"]),
        ({"reconstructor.channels.-1": RANGE}, "reconstructor.channels.-1", ["a list of 2"]),
        ({"reconstructor.channels.²": RANGE}, "reconstructor.channels.²", ["a list of 2"]),
        ({"reconstructor.channels.x": RANGE}, "reconstructor.channels.x", ["'x' is no position"]),
        ({"reconstructor.channels": RANGE}, "reconstructor.channels", ["no number", "choices: [[4, 8], ...]"]),
        ({"reconstructor.channels.0": {"low": 0, "high": 2}}, "reconstructor.channels.0.low", ["0 is not allowed"]),
        ({"reconstructor.channels.0": {"low": 1, "high": 2.5}}, "reconstructor.channels.0", ["whole numbers"]),
        ({"channels": {"choices": [[1], [1, 2, 3, 4]]}}, "channels.choices.1", ["at most 3 items"]),
        ({"reconstructor.betas.0": {"low": 0.5, "high": 1.5}}, "betas.0.high", ["1.5 is not allowed", "less than 1"]),
        ({"reconstructor.rates.fats": RANGE}, "rates.fats", ["no entry 'fats'", "did you mean 'fast'?"]),
        ({"reconstructor.gain.deep": RANGE}, "gain.deep", ["below gain, which is 1.0", "search gain itself"]),
        ({"reconstructor.free.text": RANGE}, "free.text", ["no number"]),
        ({"reconstructor.free.nothing.at.all": RANGE}, "free.nothing", ["no entry 'nothing'"]),
        ({"reconstructor.window.siez": RANGE}, "window.siez", ["did you mean 'size'?"]),
        ({"reconstructor.window.size": {"low": 0, "high": 2}}, "window.size.low", ["greater than or equal to 1"]),
        ({"size": RANGE}, "size", ["no number", "choices"]),
        ({"fancy": RANGE}, "fancy", ["no number"]),
        ({"fancy": {"choices": [True, 1]}}, "fancy.choices.1", ["1 is not allowed", "valid boolean"]),
        ({"reconstructor": {"choices": ["cabinet", "gain"]}}, "reconstructor", ["whole reconstructor", "two methods"]),
        ({"reconstructor.": RANGE}, "reconstructor.", ["no parameter ''"]),
        ({"": RANGE}, "parameters.", ["no parameter ''"]),
        ({"reconstructor..gain": RANGE}, "reconstructor..gain", ["no parameter ''"]),
        ({".gain": RANGE}, ".gain", ["unknown component ''"]),
        ({"noise": {"choices": ["grian", None]}}, "noise.choices.0", ["there is no noise 'grian'", "'grain'"]),
        ({"noise": {"choices": [{"name": "grain", "sdt": 1}]}}, "noise.choices.0.sdt", ["unknown", "'std'"]),
        ({"noise": {"choices": [{"name": "grain", "std": 3.0}]}}, "noise.choices.0.std", ["less than or equal to 1"]),
        ({"noise": {"choices": [{"name": "grain", "std": 0.125}]}}, "noise.choices.0.std", ["does not exist"]),
        ({"noise": {"choices": [3]}}, "noise.choices.0", ["3 is not allowed"]),
        ({"noise": {"choices": ["cabinet"]}}, "noise.choices.0", ["there is no noise 'cabinet'"]),
        ({"reconstructor.noise.name": {"choices": ["grain"]}}, "noise.name", ["choices of whole components"]),
        ({"reconstructor.noise.prats": RANGE}, "noise.prats", ["the noise 'layers' has no parameter", "'parts'"]),
        ({"reconstructor.noise.parts.1.parts.0.sdt": RANGE}, "0.sdt", ["the noise 'grain' has no", "'std'"]),
        ({"reconstructor.noise.parts.1.parts.0.std": RANGE}, "0.std.high", ["2 is not allowed"]),
        ({"reconstructor.noise.named.first": {"choices": ["silence"]}}, "choices.0", ["is no Grain"]),
        (
            {"noise": {"choices": ["silence"]}, "reconstructor.noise.named.first.std": {"low": 0.0, "high": 1.0}},
            "reconstructor.noise.named.first.std",
            ["lies inside 'noise'"],
        ),
        (
            {"reconstructor.channels.1": RANGE, "reconstructor.channels.01": RANGE},
            "reconstructor.channels.01",
            ["named twice"],
        ),
        ({"trainer.lrr": RANGE}, "trainer.lrr", ["the trainer 'recipe' has no parameter", "'lr'"]),
        ({"trainer.lr": {"low": 0.0, "high": 1.0}}, "trainer.lr.low", ["0.0 is not allowed", "greater than 0"]),
        ({"trainer.noise.std": RANGE}, "trainer.noise.std", ["below noise, which is null", "give noise"]),
        ({"trainer": RANGE}, "trainer", ["no number"]),
        ({"trainer": {"choices": ["recipy"]}}, "trainer.choices.0", ["did you mean 'recipe'?"]),
        ({"trainer": {"choices": [{"name": "recipe", "lr": 7.0}]}}, "trainer.choices.0.lr", ["unlucky"]),
        ({"trainer": {"choices": [{"name": "recipe", "refused": True}]}}, "choices.0.refused", ["takes nobody"]),
        ({"trainer": {"choices": ["recipe", "reconstruction"]}}, "choices.1", ["no weights to train"]),
        ({"trainer": {"choices": ["recipe"]}, "trainer.lr": RANGE}, "trainer.lr", ["lies inside 'trainer'"]),
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


def test_a_combination_that_a_constructor_refuses_is_a_failed_trial(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    rows = search({"trainer.lr": {"choices": [7.0, 8.0]}}, 8, trainer="recipe").fit(cabinet(context), context).log.rows
    assert {row["state"] for row in rows if row["trainer.lr"] == 7.0} == {"failed"}
    assert "lr = 7 is unlucky" in next(row["cause"] for row in rows if row["trainer.lr"] == 7.0)
    assert {row["state"] for row in rows if row["trainer.lr"] != 7.0} == {"complete"}


def test_unions_are_taken_apart() -> None:
    assert list(arms(Annotated[int | None, Field(ge=1)])) == [int, type(None)]
    assert list(arms(list[int] | Annotated[str, "mark"])) == [list[int], str]
