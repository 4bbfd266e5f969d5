"""Each built-in plugin can be missing: what it brings is then not there, and everything else works."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import invreg
from invreg.specs.json_schema import spec_schema
from invreg.testing.toys import ToyBlur, ToyError, ToyImages, ToyNoise

ROOT = Path(__file__).resolve().parents[2]
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["invreg"]

#: Something for every section of a spec, in the order of preference; the last comes from another package.
SECTIONS: dict[str, tuple[str, list[Any]]] = {
    "data": ("dataset", [{"name": "photos", "image_size": 32, "train_size": 32}, "toy_images"]),
    "operator": ("operator", ["gaussian_blur", "toy_blur"]),
    "noise": ("noise", [{"name": "gaussian", "std": 0.01}, {"name": "toy_noise", "std": 0.01}]),
    "metrics": ("metric", [["psnr"], ["toy_error"]]),
    "analyses": ("analyzer", [["quality"], []]),
}

#: Every built-in method that is there is run; trained, if there is a trainer.
METHODS: dict[str, Any] = {
    "iresnet": {"name": "iresnet", "subnetworks": 1, "channels": 2, "hidden": 2},
    "unet": {"name": "unet", "channels": [2, 2], "padding": 0},
    "tv": {"name": "tv", "weight": 0.01, "max_iterations": 20},
    "observation": "observation",
}
TRAINER = {"name": "reconstruction", "steps": 2, "batch_size": 2}

#: The methods that need a plugin.
BROUGHT = {
    "iresnet": ["iresnet"],
    "training": ["iresnet", "unet"],
    "tv": ["tv"],
    "baselines": ["unet", "observation"],
}


class NotInstalled:
    """Finds no module of a package, as if it were not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)


def others() -> object:
    @invreg.hookimpl
    def invreg_components() -> Mapping[str, type]:
        return {"toy_images": ToyImages, "toy_blur": ToyBlur, "toy_noise": ToyNoise, "toy_error": ToyError}

    return SimpleNamespace(invreg_components=invreg_components)


def is_there(registry: invreg.Registry, kind: str, choice: Any) -> bool:
    names = [one if isinstance(one, str) else one["name"] for one in (choice if isinstance(choice, list) else [choice])]
    return all(name in registry.names(kind) for name in names)


def spec_of_what_is_there(registry: invreg.Registry) -> dict[str, Any]:
    spec: dict[str, Any] = {
        section: next(choice for choice in choices if is_there(registry, kind, choice))
        for section, (kind, choices) in SECTIONS.items()
    }
    spec["methods"] = {}
    for label, choice in METHODS.items():
        learns = label in ("iresnet", "unet")
        if is_there(registry, "reconstructor", choice) and (not learns or is_there(registry, "trainer", TRAINER)):
            spec["methods"][label] = {"reconstructor": choice, "trainer": TRAINER} if learns else choice
    return spec


@pytest.mark.slow
@pytest.mark.parametrize("name", POINTS)
def test_everything_else_works_without(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = POINTS[name].partition(".")[0]
    monkeypatch.setenv("INVREG_DISABLE_PLUGINS", name)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled(package), *sys.meta_path])
    for module in [known for known in sys.modules if known.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)

    registry = invreg.Registry.installed({"others": others()})
    problems = {p.name: p.problem for p in registry.plugins if p.distribution == "invreg" and p.problem}
    assert list(problems) == [other for other, point in POINTS.items() if point.partition(".")[0] == package]
    assert "switched off" in problems[name]
    assert spec_schema(registry)["$defs"]

    spec = spec_of_what_is_there(registry)
    assert sorted(spec["methods"]) == sorted(set(METHODS) - set(BROUGHT.get(name, [])))
    result = invreg.run(spec, tmp_path, "cpu", progress=False, registry=registry)
    assert result.report.is_file()
    assert set(result.summary["method"]) == set(spec["methods"])

    # A spec that needs what is missing says so.
    whole = {section: choices[0] for section, (_, choices) in SECTIONS.items()}
    untrained = {**whole, "methods": {"iresnet": METHODS["iresnet"]}}
    with pytest.raises(invreg.InvregError) as caught:
        invreg.run(untrained, tmp_path, "cpu", progress=False)
    missing = name in ("metrics", "operators", "datasets", "analyses", "iresnet")
    assert ("switched off" in str(caught.value)) == missing
