"""`invreg new-plugin`: what it writes installs, passes its own tests and runs; what cannot be used is refused."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from subprocess import CompletedProcess

import processes
import pytest

from invreg import cli
from invreg.errors import InvregError, PluginError, SpecError
from invreg.plugins.scaffold import COMPONENT_KINDS, PLUGIN_KINDS, new_plugin


def _install_without_pip(package: Path) -> Path:
    """What `pip install -e` would leave behind; returns the folder for the path."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = package / "src"
    information = source / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["invreg"].items())
    (information / "entry_points.txt").write_text(f"[invreg]\n{points}", encoding="utf-8")
    return source


def _run(path: list[Path], *command: str, cwd: Path) -> CompletedProcess[str]:
    python_path = os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": python_path}
    return processes.call(*command, cwd=cwd, env=env)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packages")
    return {kind: new_plugin(f"invreg-own-{kind}", kind, folder) for kind in PLUGIN_KINDS}


@pytest.mark.slow
def test_the_tests_of_every_kind_pass_as_written_and_their_specs_are_valid(packages: dict[str, Path]) -> None:
    folder = packages["operator"].parent
    path = [_install_without_pip(package) for package in packages.values()]
    done = _run(path, "pytest", "-q", "-p", "no:cacheprovider", *map(str, packages.values()), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
    assert "warning" not in done.stdout
    code = """
import sys
from invreg import Registry
from invreg.specs.plan import make_plan
from invreg.specs.reading import read_spec
registry = Registry.installed()
print([p.problem for p in registry.plugins if p.distribution != "invreg" and p.problem])
for path in sys.argv[1:]:
    print(make_plan(read_spec(path), registry).spec.title)
"""
    specs = [str(package / f"own_{kind}.yaml") for kind, package in packages.items()]
    (folder / "asked.py").write_text(code)
    done = _run(path, str(folder / "asked.py"), *specs, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", *(f"Trying own_{kind}" for kind in packages)]


@pytest.mark.slow
def test_a_package_is_built_installed_and_run(tmp_path: Path) -> None:
    package = new_plugin("invreg-lens", "operator", tmp_path)
    target = tmp_path / "site"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = _run([], "pip", "install", *options, "--target", str(target), str(package), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    small = ["--set", "data.image_size=48", "--set", "methods={data: observation}"]
    done = _run(
        [target], "invreg", "run", str(package / "lens.yaml"), "--quiet", "--device", "cpu", *small, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.splitlines()[-1] / "report.html").is_file()


@pytest.mark.slow
def test_the_files_are_formatted_and_say_what_they_are(packages: dict[str, Path]) -> None:
    for kind, package in packages.items():
        files = [path for path in package.rglob("*.*") if path.suffix in (".py", ".toml", ".md", ".yaml")]
        assert len(files) == 7
        text = "".join(path.read_text(encoding="utf-8") for path in files)
        for token in (
            "@module@",
            "@component@",
            "@Class@",
            "@kind@",
            "@distribution@",
            "@interface@",
            "@version@",
            "@requirements@",
        ):
            assert token not in text
        assert f"class Own{kind.capitalize()}(invreg." in text
        source = package / "src" / f"invreg_own_{kind}"
        assert "return 1" in (source / "plugin.py").read_text(encoding="utf-8")
        required = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
        names = {requirement.partition(">=")[0] for requirement in required}
        imported = set(
            re.findall(r"^ *(?:import|from) (\w+)", (source / f"{COMPONENT_KINDS[kind]}.py").read_text(), re.M)
        )
        assert names == imported & {"invreg", "matplotlib", "numpy", "pandas", "pydantic", "scipy", "torch"}
    # Which packages are known as one's own, and which files are tests, is a matter of where they lie: the order of
    # imports is left out, and so is `assert`.
    done = _run([], "ruff", "check", "--ignore", "I001,S101", *map(str, packages.values()), cwd=Path.cwd())
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "cannot name a package"),
        ("two words", "cannot name a package"),
        ("../escape", "cannot name a package"),
        ("/absolute", "cannot name a package"),
        ("-option", "cannot name a package"),
        ("ends-", "cannot name a package"),
        ("größe", "cannot name a package"),
        ("3d", "'3d'"),
        ("class", "'class'"),
        ("invreg-null", "'null'"),
        ("invreg", "module 'invreg'"),
        ("json", "module 'json'"),
        ("Invreg.Operators", "module 'invreg_operators'"),
        ("invreg-gaussian-blur", "operator 'gaussian_blur' already exists"),
    ],
)
def test_names_that_cannot_be_used_are_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        new_plugin(name, "operator", tmp_path / "here")
    assert message in str(caught.value)
    assert not (tmp_path / "here").exists()


def test_the_name_gives_module_component_and_class(tmp_path: Path) -> None:
    folder = new_plugin("invreg-3D.scan", "dataset", tmp_path / "new" / "place")
    assert folder == tmp_path / "new" / "place" / "invreg-3D.scan"
    plugin = (folder / "src" / "invreg_3d_scan" / "plugin.py").read_text(encoding="utf-8")
    assert '{"invreg_3d_scan": Invreg3dScan}' in plugin
    shadowing = new_plugin("invreg-tensor", "operator", tmp_path)
    assert "class TensorOperator(" in (shadowing / "src/invreg_tensor/operator.py").read_text(encoding="utf-8")
    keyword = new_plugin("invreg-None", "operator", tmp_path)
    assert "class NoneOperator(" in (keyword / "src/invreg_none/operator.py").read_text(encoding="utf-8")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "invreg-mine"
    folder.mkdir()
    with pytest.raises(PluginError, match="nothing is overwritten"):
        new_plugin("invreg-mine", "operator", tmp_path)
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InvregError, match="cannot be written"):
        new_plugin("invreg-mine", "operator", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "invreg-mine"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["invreg", "new-plugin", *arguments])
        with pytest.raises(SystemExit) as done:
            cli.main()
        return int(done.value.code or 0)

    assert call("invreg-mine", "--kind", "analyzer", "--output", str(tmp_path)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "invreg-mine")
    assert call("invreg-mine", "--output", str(tmp_path)) == 1
    assert call("invreg-other", "--kind", "reconstructer", "--output", str(tmp_path)) == 2
    assert "did you mean 'reconstructor'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["invreg-mine"]
