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

#: Something for every kind, in the order of preference.
SPECS: dict[str, Any] = {
    "data": ["photos"],
    "operator": ["gaussian_blur"],
    "noise": [{"name": "gaussian", "std": 0.01}],
    "methods": [{"tv": "tv"}, {"data": "observation"}],
    "metrics": [["psnr"]],
    "analyses": [["quality"], []],
}

CODE = """
import json, sys
off, package, specs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

if package != "invreg":  # the metrics are a module of the core
    sys.meta_path.insert(0, NotInstalled())
from invreg import Registry, cli
registry = Registry.installed()
problems = {p.name: p.problem for p in registry.plugins if p.distribution == "invreg" and p.problem}
assert list(problems) == [off], problems
assert "switched off" in problems[off]
kinds = {"data": "dataset", "operator": "operator", "noise": "noise", "metrics": "metric", "analyses": "analyzer"}
spec = {}
for section, choices in specs.items():
    for choice in choices:
        if section == "methods":
            needed = [("reconstructor", name) for name in choice.values()]
        else:
            items = choice if isinstance(choice, list) else [choice]
            needed = [(kinds[section], c if isinstance(c, str) else c["name"]) for c in items]
        if all(name in registry.names(kind) for kind, name in needed):
            spec[section] = choice
            break
from invreg.errors import SpecError
from invreg.json_schema import spec_schema
from invreg.plan import make_plan
from invreg.spec import read_spec
spec_schema(registry)
for kind in ("operator", "noise", "dataset", "reconstructor", "metric", "trainer", "analyzer", "study_analyzer"):
    for name in registry.names(kind):
        registry.parameters(kind, name)
if set(specs) == set(spec):
    make_plan(read_spec(spec), registry)
    print("planned")
else:
    try:
        make_plan(read_spec({**{k: v[0] for k, v in specs.items()}, **spec}), registry)
    except SpecError as error:
        assert "switched off" in str(error), error
        print("refused")
"""


@pytest.mark.parametrize("name", POINTS)
def test_everything_else_works_without(name: str) -> None:
    package = POINTS[name].partition(".")[0]
    done = subprocess.run(
        [sys.executable, "-c", CODE, name, package, json.dumps(SPECS)],
        env={**os.environ, "INVREG_DISABLE_PLUGINS": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused = name in ("metrics", "operators", "datasets")  # what every spec needs comes from these
    assert done.stdout.split() == ["refused" if refused else "planned"]
