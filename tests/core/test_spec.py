"""Reading specs: shorthands, overrides, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from invreg.errors import SpecError
from invreg.specs.reading import read_spec
from invreg.specs.spec import Spec
from invreg.specs.yaml import dump_yaml, parse_yaml

MINIMAL: dict[str, Any] = {"data": "photos", "operator": "identity", "methods": {"raw": "observation"}}


def test_shorthands() -> None:
    spec = read_spec(MINIMAL)
    assert spec.data.name == "photos"
    assert spec.methods["raw"].reconstructor.name == "observation"
    assert spec.methods["raw"].trainer is None
    assert spec.noise.name == "none"
    tv = read_spec({**MINIMAL, "methods": {"tv": {"name": "tv", "weight": 0.1}}}).methods["tv"]
    assert tv.reconstructor.parameters == {"weight": 0.1}
    assert [metric.name for metric in spec.metrics] == ["psnr", "ssim"]


def test_a_spec_survives_yaml() -> None:
    spec = read_spec({**MINIMAL, "noise": {"name": "gaussian", "std": 1e-4}, "title": "Ünïcode: yes"})
    assert Spec.model_validate(parse_yaml(dump_yaml(spec.model_dump()), "x")) == spec


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("-2E3", -2000.0),
        (".5", 0.5),
        ("3", 3),
        ("1.", 1.0),
        ("e4", "e4"),
        ("1-2", "1-2"),
    ],
)
def test_numbers_in_yaml_are_numbers(text: str, value: Any) -> None:
    parsed = parse_yaml(f"x: {text}", "x")["x"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_yaml_is_loaded_safely() -> None:
    with pytest.raises(SpecError):
        parse_yaml("x: !!python/object/apply:os.system ['true']", "evil.yaml")


def test_overrides(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(dump_yaml({**MINIMAL, "noise": "gaussian"}))
    overrides = [
        "noise.std=1e-2",
        "seed=4",
        "methods.raw.reconstructor=adjoint",
        "metrics=[mse]",
        "data.name=image_folder",
    ]
    spec = read_spec(path, [*overrides, "metrics.0.name=psnr"])
    assert spec.noise.parameters == {"std": 0.01}
    assert spec.seed == 4
    assert spec.methods["raw"].reconstructor.name == "adjoint"
    assert [metric.name for metric in spec.metrics] == ["psnr"]
    bare = {**MINIMAL, "methods": {"tv": {"name": "tv", "weight": 0.1}}}
    tv = read_spec(bare, ["methods.tv.reconstructor.weight=0.2"]).methods["tv"].reconstructor
    assert tv.parameters == {"weight": 0.2}
    assert spec.data.name == "image_folder"


@pytest.mark.parametrize("override", ["noise.std", "=3", "a..b=1", "seed.x=1", "metrics.7=psnr", "x=[1,"])
def test_bad_overrides(override: str) -> None:
    with pytest.raises(SpecError, match="--set"):
        read_spec({**MINIMAL, "metrics": ["psnr"], "seed": 1}, [override])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"operatr": "x"}, ["operatr", "unknown parameter", "did you mean 'operator'"]),
        ({"methods": {}}, ["methods"]),
        ({"methods": {"../x": "tv"}}, ["'../x'", "cannot name a folder"]),
        ({"methods": {"a": "tv", "A": "tv"}}, ["upper and lower case"]),
        ({"methods": {"a": {"trainer": "x"}}}, ["methods.a.reconstructor", "missing"]),
        ({"methods": {"a": {"reconstructor": "tv", "trainr": 1}}}, ["methods.a.trainr"]),
        ({"seed": -1}, ["seed"]),
        ({"seed": "zero"}, ["seed", "zero"]),
        ({"metrics": []}, ["metrics"]),
        ({"methods": ["tv", "observation"]}, ["methods: input should be a mapping", "labels", "{tv: {name: tv,"]),
        ({"noise": 0.05}, ["noise: input should be a name, or", "(given: 0.05)", "{name: gaussian, std: 0.05}"]),
        ({"operator": ["identity"]}, ["operator: input should be a name", "as in identity or {name: gaussian_blur"]),
        ({"analyses": [3]}, ["analyses.0: input should be a name", "(given: 3)"]),
        ({"analyses": "quality"}, ["analyses: input should be a list (given: 'quality')", "[quality, "]),
        ({"methods": {"a": 3}}, ["methods.a: input should be a mapping (given: 3)"]),
        ({"evaluation": 8}, ["evaluation: input should be a mapping (given: 8)", "{batch_size: 16}"]),
        (
            {"methods": {"net": {"reconstructor": "unet", "steps": 5}}},
            ["methods.net.steps: unknown parameter", "methods.net.trainer.steps"],
        ),
        ({"methods": {"net": {"reconstructor": "unet", "trainr": "x"}}}, ["did you mean 'trainer'?"]),
        ({"evaluation": {"batch_size": 0}}, ["evaluation.batch_size"]),
        ({"data": None}, ["data"]),
    ],
)
def test_structure_errors_name_the_path(change: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec({**MINIMAL, **change})
    for part in parts:
        assert part in str(caught.value)


def test_a_misspelt_label_in_an_override_is_recognised() -> None:
    methods = {"net": {"reconstructor": "unet", "trainer": "reconstruction"}}
    with pytest.raises(SpecError) as caught:
        read_spec({**MINIMAL, "methods": methods}, ["methods.nett.trainer.steps=5"])
    assert caught.value.where == "methods.nett.reconstructor"
    assert caught.value.hint == "did you mean the method 'net'?"


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        read_spec({**MINIMAL, "seed": -1, "titel": "x"})
    assert "seed" in str(caught.value)
    assert "titel" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2", "line"),
        (b"a: 1\na: 2", "written twice"),
        (b"- just\n- a list", "holds a list"),
        (b"", "is empty"),
        (b"true", "holds a truth value"),
        (b"tv", "holds a text"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_malformed_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=message) as caught:
        read_spec(path)
    assert "spec.yaml" in str(caught.value)
    assert caught.value.exit_status == 2


def test_missing_file_suggests_the_near_name(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("{}")
    with pytest.raises(SpecError, match=r"did you mean 'quickstart\.yaml'"):
        read_spec(tmp_path / "quickstrat.yaml")
