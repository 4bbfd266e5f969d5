"""What commands print of installed plugins: the same from the cache as from the plugins, and never out of date."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import invreg
from invreg.commands.asking import validated
from invreg.plugins import answers
from invreg.plugins.registry import Registry
from invreg.specs.bundled import quickstart_path
from invreg.specs.reading import read_content, read_spec
from invreg.specs.yaml import parse_yaml

PLUGIN = """import invreg
class {cls}(invreg.Metric):
    '''{text}'''
    higher_is_better = True
    def __call__(self, x, x_hat):
        return (x - x_hat).flatten(1).sum(1)
@invreg.hookimpl
def invreg_components():
    return {{'later': {cls}}}
"""


class ToyMetric(invreg.Metric):
    """The brightness."""

    higher_is_better = True

    def __call__(self, x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        return x_hat.flatten(1).sum(1)


COMMANDS = [
    ("plugins",),
    ("describe",),
    ("describe", "--json"),
    ("describe", "operator"),
    ("describe", "operator", "radon"),
    ("describe", "operator", "radon", "--json"),
    ("describe", "tracker"),
    ("schema",),
    ("validate",),
]


def aged(folder: Path, at: int) -> None:
    """As if all files in it were written long ago; files that were just written are not trusted."""
    for here, _, names in os.walk(folder):
        for path in (Path(here), *(Path(here, name) for name in names)):
            os.utime(path, (at, at))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(answers, "_STARTED", float("inf"))  # the files that these tests write are young
    return tmp_path / "cache" / "answers"


def asking(monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[[], str], list[str]]:
    made: list[str] = []

    def find(registry: Registry) -> str:
        made.append(", ".join(registry.names("metric")))
        return made[-1]

    return lambda: answers.answer("metrics", find), made


def test_an_answer_is_found_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, made = asking(monkeypatch)
    assert ask() == ask() == made[0]
    assert len(made) == 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[" * 100_000,
        lambda text: "null",
        lambda text: '{"state": {}, "texts": {"metrics": "wrong"}}',
        lambda text: '{"state": {"/": 1}, "texts": {"metrics": 1}}',
        lambda text: '{"state": 1, "texts": []}',
    ],
)
def test_a_cache_that_is_nonsense_is_made_anew(
    spoil: Callable[[str], str], cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask, made = asking(monkeypatch)
    right = ask()
    (file,) = cache.iterdir()
    file.write_text(spoil(file.read_text()))
    assert ask() == right
    assert len(made) == 2
    assert capsys.readouterr().err.count("is made anew") == 1
    assert ask() == right
    assert len(made) == 2


def test_a_cache_that_cannot_be_written_costs_a_line(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    ask, made = asking(monkeypatch)
    assert ask() == ask() == made[1]
    assert len(made) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.slow
def test_variables_and_search_paths_have_answers_of_their_own(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, made = asking(monkeypatch)
    assert "psnr" in ask()
    monkeypatch.setenv("INVREG_DISABLE_PLUGINS", "metrics")
    assert "psnr" not in ask()
    monkeypatch.delenv("INVREG_DISABLE_PLUGINS")
    assert "psnr" in ask()
    assert len(made) == 2
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "psnr" in ask()
    assert len(made) == 3


@pytest.mark.slow
def test_only_so_many_environments_are_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MOST_ENVIRONMENTS", 2)
    ask, _ = asking(monkeypatch)
    for name in ("a", "b", "c"):
        monkeypatch.setenv("INVREG_DISABLE_PLUGINS", name)
        ask()
    assert len(list(cache.iterdir())) == 2


def test_an_answer_of_today_is_found_each_time(cache: Path) -> None:
    made = [answers.answer("time", lambda registry: answers.OfToday("now")) for _ in range(2)]
    assert made == ["now", "now"]
    assert not cache.exists()


def test_an_answer_during_which_something_is_warned_of_is_found_each_time(cache: Path) -> None:
    def find(registry: Registry) -> str:
        warnings.warn("careful", stacklevel=2)
        return "text"

    for _ in range(2):
        with pytest.warns(UserWarning, match="careful"):
            assert answers.answer("careful", find) == "text"
    assert not cache.exists()


def test_only_the_latest_answers_are_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MOST_CHARACTERS", 25)
    for question in ("a", "b", "c"):
        answers.answer(question, lambda registry: "ten or so.")
    assert list(json.loads(next(cache.iterdir()).read_text())["texts"]) == ["b", "c"]
    answers.answer("d", lambda registry: "x" * 30)
    assert json.loads(next(cache.iterdir()).read_text())["texts"] == {}


QUICKSTART = read_content(quickstart_path())


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"matrix": {"noise.std": [0.01, 0.1]}}, True),
        ({"title": "."}, True),  # not a path, if it is one
        ({"matrix": {"noise.std": [0.01]}, "executor": "local"}, False),
        ({"metrics": ["psnr", "brightness"]}, False),  # of a third-party plugin, which may look at anything
        ({"data": {"name": "image_folder", "path": str(Path(__file__).parent)}}, False),
        ({"data": {"name": "image_folder", "path": "~/photographs"}}, False),
        ({"methods": {"net": {"reconstructor": "iresnet", "start_from": "gaussian-deblur"}}}, False),
        (
            {"methods": {"tv": {"name": "tv", "max_iterations": 10_000}}, "analyses": []},
            False,
        ),  # looked at for its memory
    ],
)
def test_a_spec_that_depends_on_more_than_its_text_is_checked_each_time(changes: dict[str, Any], kept: bool) -> None:
    third_party = SimpleNamespace(invreg_components=invreg.hookimpl(lambda: {"brightness": ToyMetric}))
    registry = Registry.installed({"third_party": third_party})
    text = validated(registry, {**QUICKSTART, **changes})
    assert isinstance(text, answers.OfToday) != kept
    assert read_spec(parse_yaml(text.removeprefix("---\n").partition("---\n")[0], "text")).seed == 0


def test_files_that_were_just_written_are_not_trusted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_STARTED", 0.0)
    ask, made = asking(monkeypatch)
    assert ask() == ask()
    assert len(made) == 2
    assert not cache.exists()


def without_times(text: str) -> list[str]:
    """Loading a plugin takes another time in each process."""
    return [line for line in text.splitlines() if "SLOW" not in line]


class Site:
    """A folder on the search path with an installed plugin, and commands in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder / "site", folder / "cache"
        (self.folder / "later").mkdir(parents=True)
        (self.folder / "later" / "data.txt").write_text("data")
        self.information = self.folder / "invreg_later-1.0.dist-info"
        self.information.mkdir()
        (self.information / "METADATA").write_text("Metadata-Version: 2.1\nName: invreg-later\nVersion: 1.0\n")
        (self.information / "entry_points.txt").write_text("[invreg]\nlater = later\n")
        self.write(PLUGIN.format(cls="Later", text="What it was."))

    def write(self, code: str, at: int = 1_700_000_000) -> None:
        (self.folder / "later" / "__init__.py").write_text(code)
        aged(self.folder, at)

    def say(self, *arguments: str, cached: bool = True) -> str:
        path = os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")]))
        cache = str(self.cache) if cached else os.devnull
        environment = {**os.environ, "PYTHONPATH": path, "INVREG_CACHE": cache, "PYTHONDONTWRITEBYTECODE": "1"}
        code = "from invreg import cli; import sys; sys.argv[0] = 'invreg'\ntry: cli.main()\nfinally: "
        code += "print('torch' in sys.modules, file=sys.stderr)"
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            env=environment,
            cwd=self.folder.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        self.had_torch = done.stderr.split()[-1] == "True"
        return done.stdout


@pytest.mark.slow
def test_commands_print_the_same_without_plugins_being_imported(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for command in COMMANDS:
        first = site.say(*command)
        assert site.had_torch
        assert site.say(*command) == first
        assert not site.had_torch, command
    for command in COMMANDS[:3]:
        assert without_times(site.say(*command, cached=False)) == without_times(site.say(*command))
    learned = site.say("plugins", "--json")
    assert site.say("plugins", "--json") == learned
    assert not site.had_torch


@pytest.mark.slow
def test_a_plugin_that_is_changed_breaks_or_goes_is_seen_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    metric = ("describe", "metric")
    assert "What it was." in site.say(*metric)
    assert "What it was." in site.say(*metric)
    assert not site.had_torch
    site.write(PLUGIN.format(cls="Later", text="What it is."), 1_700_000_001)  # as long as it was
    assert "What it is." in site.say(*metric)
    (site.folder / "later" / "data.txt").write_text("other data")
    aged(site.folder, 1_700_000_001)
    site.say(*metric)
    assert site.had_torch
    site.write("raise ValueError('out of order')", 1_700_000_002)
    for _ in range(2):
        assert "out of order" in site.say("plugins")
    site.write(PLUGIN.format(cls="Later", text="What it was."), 1_700_000_003)
    assert "later" in site.say("plugins")
    for file in site.information.iterdir():
        file.unlink()
    site.information.rmdir()
    assert "later" not in site.say("plugins")
