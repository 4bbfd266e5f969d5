"""The example of a plugin: built and installed as a stranger's package, tested by itself, run from its spec."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import processes
import pytest

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "invreg-example-plugin"

SMALL = [
    "data.image_size=48",
    "data.train_size=32",
    "methods.unet.reconstructor={name: unet, channels: [4, 4], padding: 2}",
    "methods.unet.trainer={name: reconstruction, steps: 2, batch_size: 2, validations: 1}",
    "methods.iresnet.reconstructor={name: iresnet, subnetworks: 2, channels: 2, hidden: 4}",
    "methods.iresnet.trainer={name: reconstruction, steps: 2, batch_size: 2, validations: 1}",
    "analyses=[{name: quality, resamples: 1000}, {name: forward_map, count: 1},"
    " {name: local_ill_posedness, images: 1, mask: null, directions: 1, max_products: 60, ascent_steps: 0},"
    " {name: regularization_map, images: 1, probes: 8}, {name: radial_transfer, images: 1, rings: 3, directions: 1},"
    " {name: saliency_clusters, count: 1, pixels: 60, references: 2, repeats: 2, largest: 3}, edge_errors]",
]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package, from a copy: building leaves nothing behind here."""
    root = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, root / "source", ignore=shutil.ignore_patterns("runs", "__pycache__", "dist"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = _call(root, root, "pip", "install", *options, "--target", str(root / "site"), str(root / "source"))
    assert done.returncode == 0, done.stderr
    return root / "site"


def _call(target: Path, cwd: Path, *command: str) -> CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path}
    return processes.call(*command, cwd=cwd, env=env)


def test_it_lies_outside_the_wheel(target: Path) -> None:
    assert (target / "invreg_example" / "plugin.py").is_file()
    assert (target / "invreg_example" / "py.typed").is_file()
    assert not (target / "invreg").exists()


def test_its_operator_takes_at_most_forty_lines() -> None:
    text = (EXAMPLE / "src" / "invreg_example" / "operators.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40


def test_its_own_tests_pass(target: Path, tmp_path: Path) -> None:
    done = _call(target, tmp_path, "pytest", "-q", "-p", "no:cacheprovider", str(target.parent / "source" / "tests"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_its_spec_trains_networks_on_its_operator_and_analyses_them(target: Path, tmp_path: Path) -> None:
    options = [word for change in SMALL for word in ("--set", change)]
    spec = str(EXAMPLE / "motion.yaml")
    done = _call(target, tmp_path, "invreg", "run", spec, "--quiet", "--device", "cpu", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / done.stdout.splitlines()[-1]
    assert (folder / "report.html").is_file()
    learned = ("forward_map", "local_ill_posedness", "regularization_map", "radial_transfer", "saliency_clusters")
    for name in ("quality", *learned, "edge_errors"):
        assert list((folder / "analyses" / name / "figures").glob("*.svg")), name
    errors = (folder / "analyses" / "edge_errors" / "tables" / "errors.csv").read_text(encoding="utf-8").splitlines()
    assert errors[0] == "method,distance,rms"
    assert {line.split(",")[0] for line in errors[1:]} == {"landweber", "unet", "iresnet"}
    assert json.loads((folder / "environment.json").read_text())["plugins"]["invreg-example"] == "0.1.0"


@pytest.mark.slow
def test_its_method_enters_a_benchmark_by_one_line(target: Path, tmp_path: Path) -> None:
    line = "methods.landweber={reconstructor: landweber, trainer: searched}"
    options = ["--size", "micro", "--only", "tomography", "--method", "landweber", "--set", line, "--quiet"]
    done = _call(target, tmp_path, "invreg", "benchmark", "reconstruction", *options)
    assert done.returncode == 0, done.stderr
    (table,) = tmp_path.glob("runs/*/leaderboard.csv")
    (row,) = pd.read_csv(table).to_dict("records")
    assert row["method"] == "landweber"
    assert row["psnr"] > 20
    assert "invreg-example" in row["versions"]
