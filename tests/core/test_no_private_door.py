"""Each built-in plugin can be missing: what it brings is then not there, and everything else works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["invreg"]

#: Something for every section of a spec, in the order of preference; the last is a stranger's.
SPECS: dict[str, Any] = {
    "data": [{"name": "photos", "image_size": 32, "train_size": 32}, "toy_images"],
    "operator": ["gaussian_blur", "toy_blur"],
    "noise": [{"name": "gaussian", "std": 0.01}, {"name": "toy_noise", "std": 0.01}],
    "metrics": [["psnr"], ["toy_error"]],
    "analyses": [["quality"], []],
}

#: Every built-in method that is there is run; trained, if there is a trainer.
METHODS: dict[str, Any] = {
    "iresnet": {"name": "iresnet", "subnetworks": 1, "channels": 2, "hidden": 2},
    "unet": {"name": "unet", "channels": [2, 2], "padding": 0},
    "tv": {"name": "tv", "weight": 0.01, "max_iterations": 20},
    "observation": "observation",
}
TRAINER = {"name": "reconstruction", "steps": 2, "batch_size": 2}

CODE = """
import json, sys
from pathlib import Path

off, package, folder = sys.argv[1:4]
specs, methods, trainer = map(json.loads, sys.argv[4:])

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

if package != "invreg":  # the metrics are a module of the core
    sys.meta_path.insert(0, NotInstalled())
import invreg
from invreg.specs.json_schema import spec_schema
from invreg_metrics.metrics import MSE
from invreg.api import run
from invreg.testing.toys import ToyBlur, ToyImages, ToyNoise

class Stranger:
    @staticmethod
    @invreg.hookimpl
    def invreg_components():
        return {"toy_images": ToyImages, "toy_blur": ToyBlur, "toy_noise": ToyNoise, "toy_error": MSE}

registry = invreg.Registry.installed({"stranger": Stranger})
problems = {p.name: p.problem for p in registry.plugins if p.distribution == "invreg" and p.problem}
assert list(problems) == [off], problems
assert "switched off" in problems[off]
kinds = {"data": "dataset", "operator": "operator", "noise": "noise", "metrics": "metric", "analyses": "analyzer"}

def name_of(choice):
    return choice if isinstance(choice, str) else choice["name"]

def is_there(kind, choice):
    return all(name_of(one) in registry.names(kind) for one in (choice if isinstance(choice, list) else [choice]))

spec = {section: next(c for c in choices if is_there(kinds[section], c)) for section, choices in specs.items()}
spec["methods"] = {}
for label, choice in methods.items():
    if is_there("reconstructor", choice):
        learns = label in ("iresnet", "unet")
        if not learns:
            spec["methods"][label] = choice
        elif is_there("trainer", trainer):
            spec["methods"][label] = {"reconstructor": choice, "trainer": trainer}
spec_schema(registry)
result = run(spec, Path(folder), "cpu", progress=False, registry=registry)
assert result.report.is_file()
assert set(result.summary["method"]) == set(spec["methods"]), result.summary
whole = {**spec, **{section: choices[0] for section, choices in specs.items()}}
try:
    invreg.run({**whole, "methods": {"iresnet": methods["iresnet"]}}, folder, "cpu")
except invreg.InvregError as error:
    missing = "switched off" in str(error)
print(json.dumps([sorted(spec["methods"]), missing]))
"""


@pytest.mark.parametrize("name", POINTS)
def test_everything_else_works_without(name: str, tmp_path: Path) -> None:
    package = POINTS[name].partition(".")[0]
    given = [json.dumps(part) for part in (SPECS, METHODS, TRAINER)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, name, package, str(tmp_path), *given],
        env={**os.environ, "INVREG_DISABLE_PLUGINS": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    brought = {
        "iresnet": ["iresnet"],
        "training": ["iresnet", "unet"],
        "tv": ["tv"],
        "baselines": ["unet", "observation"],
    }
    methods, missing = json.loads(done.stdout.splitlines()[-1])
    assert methods == sorted(set(METHODS) - set(brought.get(name, [])))
    # A spec that needs what is missing says so.
    assert missing == (name in ("metrics", "operators", "datasets", "analyses", "iresnet"))
