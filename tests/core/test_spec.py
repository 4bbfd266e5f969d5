"""Reading specs: shorthands, overrides, and what is wrong with them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from invreg.errors import SpecError, join_errors
from invreg.schema.component import Component
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


_LEVELS = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 11)]
BOMB = "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x]", *_LEVELS])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("title: 2001-99-99", "line 1, column 8", "reads as a date; put a text like this in quotes"),
        ("title: 2001-01-01", "line 1, column 8", "reads as a date"),
        ("seed: !!timestamp x", "line 1, column 7", "reads as a date"),
        ("seed: !!float x", "line 1, column 7", "'x' cannot be read as float"),
        ("seed: !!int x", "line 1, column 7", "'x' cannot be read as int"),
        ("seed: !!bool x", "line 1, column 7", "'x' cannot be read as bool"),
        ("seed: 0x_", "line 1, column 7", "'0x_' cannot be read as int"),
        ("seed: 0b_", "line 1, column 7", "'0b_' cannot be read as int"),
        ("seed: " + "1" * 5000, "line 1, column 7", "(5,040 characters)"),
        ("seed: 9223372036854775808", "line 1, column 7", "the number 9223372036854775808 is too large"),
        ("x: 1e999", "line 1, column 4", "the number 1e999 is too large"),
        ("x: !!int 1" + ":1" * 500, "line 1, column 4", "is too large"),
        ("x: !!float 1" + ":1" * 500, "line 1, column 4", "cannot be read as float"),
        ("x: !!binary abc", "line 1, column 4", "the tag !!binary"),
        ("x: !!set {a, b}", "line 1, column 4", "the tag !!set"),
        ("x: !!omap [a: 1]", "line 1, column 4", "the tag !!omap"),
        ("x: !!pairs [a: 1]", "line 1, column 4", "the tag !!pairs"),
        ("x: !!map [1]", "line 1, column 4", "the tag !!map"),
        ("x: !!python/name:os.system y", "line 1, column 4", "the tag !!python/name:os.system"),
        ("x: !mine y", "line 1, column 4", "the tag !mine"),
        ("? [a]\n: 1", "line 1, column 3", "a list or a mapping as a key"),
        ("x: 1\n<<: {y: 1}\n<<: {z: 1}", "line 3, column 1", "the key '<<' is written twice"),
        ("x: {<<: 3}", "line 1, column 9", "for merging"),
        ("1: x\n1.0: y", "line 2, column 1", "is written twice"),
        ("[" * 20000, "line 1, column 65", "nested more than 64 deep"),
        ("{" * 20000, "line 1, column 65", "nested more than 64 deep"),
        ("- " * 20000, "line 1, column 129", "nested more than 64 deep"),
        ("data: &a {name: photos, x: *a}", "line 1, column 28", "*a stands inside itself"),
        (BOMB, "line 5", "more than 20,000 values, aliases written out"),
        (
            BOMB.replace("[x, x, x, x, x, x, x, x, x]", "{p: 1}").replace("[*", "{<<: [*").replace("]", "]}"),
            "line",
            "more",
        ),
        ("a0: &a0 [x]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 99)), "line 63", "64 deep"),
        ("x: [" + "1," * 30000 + "]", "line 1", "more than 20,000 values"),
        ("x: *b", "line 1, column 4", "undefined alias"),
        ("x: 1\ny: \0", "line 2, column 4", "the character U+0000"),
        ("x: \x1b[31m", "line 1, column 4", "the character U+001B"),
        ("x: \ud800", "line 1, column 4", "the character U+D800"),
        ('x: "\\ud800"', "line 1, column 4", "half a character"),
        ('x: "\\UFFFFFFFF"', "line 1, column", "too large"),
        ("%YAML 1." + "9" * 5000 + "\n---\nx: 1", "line 1, column", "limit"),
        ("x:\n\t- 1", "line 2, column 1", "cannot start any token"),
        ("x: 1\n---\ny: 2", "line 2, column 1", "another document"),
        ("x" * 400_001, "", "more than 400,000 characters"),
    ],
    ids=lambda value: value[:20],
)
def test_what_no_spec_holds_is_refused_in_one_message(text: str, place: str, problem: str) -> None:
    start = time.perf_counter()
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, "spec.yaml")
    message = str(caught.value)
    assert message.startswith("spec.yaml")
    assert place in message
    assert problem in message
    assert len(message) < 4000
    assert message.replace("\n", "").isprintable()
    assert time.perf_counter() - start < 10


def test_aliases_and_merge_keys_that_are_small_are_read() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: &c {<<: *a, y: 4}\nd: {<<: [*c, *a]}\ne: [*a, *a]\nf: <<\ng: ="
    parsed = parse_yaml(text, "x")
    assert parsed["b"] == {"x": 1, "y": 3}
    assert parsed["d"] == {"x": 1, "y": 4}
    assert parsed["e"] == [parsed["a"], parsed["a"]]
    assert (parsed["f"], parsed["g"]) == ("<<", "=")


LOOKALIKES = (
    *[
        "1e-3",
        "25921e05",
        ".5e3",
        "3.e5",
        "1_0e2",
        "+1e3",
        "1e5",
        "0o7",
        "0x1F",
        "0b1",
        "0x_",
        "010",
        "08",
        "1_000",
        "1:30",
        "190:20:30",
        "1:30.5",
        "-1",
        "1.",
        ".",
    ],
    *[
        "yes",
        "No",
        "on",
        "OFF",
        "true",
        "y",
        "~",
        "null",
        ".inf",
        "-.Inf",
        ".nan",
        "=",
        "<<",
        "2001-01-01",
        "2001-99-99",
        "2001-12-14t21:59:43.10-05:00",
    ],
    *["-", "?", ":", "#", "&", "*", "!", "|", ">", "%", "@", "`", "[", "]", "{", "}", ",", "---", "..."],
)
ODD = (
    *("", " ", "x ", " x", "\t", "x\t", "a: b", "a #b", "'", '"', "\\", "x" * 300, "x " * 300),
    *("a\nb", "\n", "a\n", "a\n\n", " a\n b", "a\r\nb", "\x85", "a\x85b", "\u2028", "a\u2029"),
    *("\ufeff", "\xa0", "\0", "\x1b", "😀"),
)


@pytest.mark.parametrize("text", [*LOOKALIKES, *ODD], ids=ascii)
def test_texts_stay_texts(text: str) -> None:
    assert parse_yaml(dump_yaml({"x": text}), "x") == {"x": text}
    assert parse_yaml(dump_yaml({text: [text]}), "x") == {text: [text]}
    assert parse_yaml(json.dumps({"x": text}), "x") == {"x": text}


@pytest.mark.slow
@given(st.text() | st.text("0123456789_.eE+-:xob~=<>%@ \n", max_size=8))
def test_every_text_stays_the_same_text(text: str) -> None:
    assert parse_yaml(dump_yaml({"x": text}), "x") == {"x": text}
    assert parse_yaml(dump_yaml([text, {text: text}]), "x") == [text, {text: text}]


def test_half_a_character_is_not_written() -> None:
    with pytest.raises(SpecError, match="half a character"):
        dump_yaml({"x": "\ud800"})


def _deep(levels: int) -> Any:
    return {"x": _deep(levels - 1)} if levels else 1


SELF: dict[str, Any] = {}
SELF["x"] = SELF


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"title": "\ud800"}, ["title: '\\ud800' holds the character U+D800"]),
        ({"title": "a\0b"}, ["title", "U+0000"]),
        ({"title": "a\uffff"}, ["title", "U+FFFF"]),
        ({"title": "x" * 5000}, ["title: a text of 5,000 characters", "at most 4,096"]),
        ({"data": {"name": "image_folder", "path": "x" * 100_000}}, ["data.path: a text of 100,000 characters"]),
        ({"data": {"name": "image_folder", "path": Path("\x1b")}}, ["data.path", "U+001B"]),
        ({"seed": 10**5000}, ["seed: a whole number beyond 64 bits"]),
        ({"seed": {10**5000: 1}}, ["seed.(a key)", "beyond 64 bits"]),
        ({"data": {"name": "photos", "x": _deep(100)}}, ["nested more than 64 deep"]),
        ({"data": SELF}, ["nested more than 64 deep"]),
        ({"data": [[0] * 100] * 1000}, ["more than 20,000 values"]),
        ({"methods": {"a" * 300: "tv"}}, ["a label of 300 characters"]),
        ({"methods": {"CON": "tv"}}, ["'CON'", "Windows"]),
        ({"methods": {"aux.x": "tv"}}, ["'aux.x'", "Windows"]),
        ({"methods": {str(n): {"trainer": n} for n in range(500)}}, ["500 problems", "... and", "more"]),
    ],
    ids=range(15),
)
def test_what_no_file_can_hold_is_refused_before_it_is_made(change: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec({**MINIMAL, **change})
    for part in parts:
        assert part in str(caught.value)
    assert len(str(caught.value)) < 4000


def test_long_paths_of_overrides_are_refused() -> None:
    with pytest.raises(SpecError, match="a path of 3,000 parts"):
        read_spec(MINIMAL, [".".join("a" * 3000) + "=1"])
    for position in ("²", "9" * 5000):
        with pytest.raises(SpecError, match="not a position in a list"):
            read_spec({**MINIMAL, "metrics": ["psnr"]}, [f"metrics.{position}=mse"])


def test_messages_are_cut_in_the_middle() -> None:
    error = SpecError("a" * 50_000 + "z", where="w" * 50_000, expected="e" * 50_000, hint="h" * 50_000)
    assert len(str(error)) < 4000
    assert "... (50,001 characters) ..." in str(error)
    assert str(SpecError("\x1b[31m\ud800")) == "\\x1b[31m\\ud800"


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
    with pytest.raises(SpecError, match=r"^overrides"):
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
        ("title: x".encode("utf-16"), "cannot be read"),
        (b"a" * 2_000_000, "more than 400,000 characters"),
    ],
)
def test_malformed_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=message) as caught:
        read_spec(path)
    assert "spec.yaml" in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(dump_yaml(MINIMAL), encoding="utf-8-sig")
    assert read_spec(tmp_path / "spec.yaml") == read_spec(MINIMAL)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "x" * 100_000, "/dev/zero"])
def test_paths_that_hold_no_spec(path: str) -> None:
    with pytest.raises(SpecError):
        read_spec(path)


def test_missing_file_suggests_the_near_name(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("{}")
    with pytest.raises(SpecError, match=r"did you mean 'quickstart\.yaml'"):
        read_spec(tmp_path / "quickstrat.yaml")


class Named(Component):
    pass


@pytest.mark.parametrize(
    ("inner", "place"),
    [
        (None, "methods.net.reconstructor"),
        ("Named", "methods.net.reconstructor"),
        ("Named.channels", "methods.net.reconstructor.channels"),
        ("named.start", "methods.net.reconstructor.start"),
        ("Named, subnetwork 2", "methods.net.reconstructor, subnetwork 2"),
        ("channels", "methods.net.reconstructor.channels"),
        ("Namedly", "methods.net.reconstructor.Namedly"),
    ],
)
def test_the_path_of_an_error_leaves_out_the_component_s_own_name(inner: str | None, place: str) -> None:
    component = Named()
    component.__dict__["_registered_as"] = "somebody:named"
    assert SpecError("x", where=inner).at("methods.net.reconstructor", of=component).where == place
    both = join_errors([SpecError("x", where=inner), SpecError("y", where=inner)])
    assert type(both) is SpecError, "a traceback shows the type"
    assert str(both.at("methods.net.reconstructor", of=component)).splitlines()[1:] == [f"{place}: x", f"{place}: y"]
