"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from invreg import __version__, cli
from invreg.specs.bundled import quickstart_path
from invreg.specs.yaml import parse_yaml

SMALL = {
    "title": "Small",
    "data": {"name": "photos", "image_size": 48, "train_size": 48},
    "operator": "gaussian_blur",
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {"observation": "observation"},
    "analyses": ["quality"],
}


@pytest.fixture
def invreg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs a command line in a fresh folder: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["invreg", *arguments])
        with pytest.raises(SystemExit) as done:
            cli.main()
        captured = capsys.readouterr()
        return int(done.value.code or 0), captured.out, captured.err

    return call


@pytest.mark.slow
def test_run_prints_the_folder_last_and_reports_again(invreg, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    status, out, err = invreg("run", "small.json", "--set", "noise.std=2e-2", "--output", "out", "--device", "cpu")
    assert status == 0, err
    folder = tmp_path / out.splitlines()[-1]
    assert folder.parent == tmp_path / "out"
    assert parse_yaml((folder / "spec.yaml").read_text(), "")["noise"] == {"name": "gaussian", "std": 0.02}
    (folder / "report.html").unlink()
    status, out, _ = invreg("report", str(folder))
    assert status == 0
    assert Path(out.strip()).is_file()


def test_validate_prints_the_spec_with_all_defaults(invreg) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = invreg("validate")
    assert status == 0
    content = parse_yaml(out, "")
    assert content["title"] == parse_yaml(quickstart_path().read_text(), "")["title"]
    assert "tolerance" in content["methods"]["tv"]["reconstructor"]


def test_describe(invreg) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = invreg("describe", "operator")
    assert status == 0
    assert "gaussian_blur" in out
    status, out, _ = invreg("describe", "operator", "gaussian_blur")
    assert status == 0
    assert "std: number in pixels (> 0), default 1.66667" in out
    status, out, _ = invreg("describe", "operator", "gaussian_blur", "--json")
    assert json.loads(out)["properties"]["kernel_size"]["default"] == 11


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "nowhere.yaml"], 2, "nowhere.yaml: no such file"),
        (["run", "small.json", "--set", "operator.stdd=1"], 2, "operator.stdd: unknown parameter"),
        (["run", "small.json", "--set", "operator.std=-1"], 2, "operator.std"),
        (["run", "small.json", "--set", "operator.std=wide"], 2, "'wide'"),
        (["run", "small.json", "--set", "operator.kernel_size=4"], 2, "operator"),
        (["run", "small.json", "--set", "operator=gaussian_blurr"], 2, "did you mean 'gaussian_blur'"),
        (["run", "small.json", "--set", "methods.observation=nothing"], 2, "methods.observation.reconstructor"),
        (["run", "small.json", "--set", "analyses=[quality, qualitie]"], 2, "analyses.1"),
        (["run", "small.json", "--set", "nonsense"], 2, "--set"),
        (["run", "small.json", "--device", "abacus"], 2, "device"),
        (["run", "small.json", "--set", "data={name: image_folder, path: nowhere}"], 1, "nowhere"),
        (["run", "small.json", "--set", "data={name: image_folder, path: .}"], 1, "images"),
        (["run", "small.json", "--set", "data.image_size=8", "--set", "data.train_size=8"], 1, "metrics.1.ssim"),
        (["run", "small.json", "--set", "data.image_size=4", "--set", "data.train_size=4"], 1, "operator"),
        (["run", "small.json", "--output", "small.json"], 1, "cannot be written"),
        (["validate", "small.json", "--set", "seed=-1"], 2, "seed"),
        (["describe", "operators"], 2, "did you mean 'operator'"),
        (["describe", "operator", "nothing"], 2, "there is no operator 'nothing'"),
        (["report", "nowhere"], 1, "no such folder"),
        (["report", "."], 1, "holds no run"),
        (["runn"], 2, "No such command"),
        (["run", "--sett", "x=1"], 2, "No such option"),
        ([], 2, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_wrong_is_one_message(invreg, tmp_path: Path, arguments: list[str], status: int, message: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    done, out, err = invreg(*arguments)
    assert done == status, err
    assert message in err
    assert "Traceback" not in err + out
    assert not (tmp_path / "runs").exists()


def test_unwritable_output(invreg, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    status, _, err = invreg("run", "small.json", "--output", "/proc/nowhere")
    assert status == 1
    assert "cannot be written" in err


def test_ctrl_c_says_how_to_go_on(invreg, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("invreg.api.run", interrupted)
    status, out, err = invreg("run")
    assert (status, out) == (130, "")
    assert "the same command goes on" in err


def test_the_version_is_told(invreg) -> None:  # type: ignore[no-untyped-def]
    assert invreg("--version") == (0, f"invreg {__version__}\n", "")


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "invreg", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "plugins" in done.stdout
