"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from invreg import __version__, cli, load, run
from invreg.errors import SpecError
from invreg.plugins.describe import first_sentence
from invreg.plugins.examples import example_spec
from invreg.plugins.registry import Registry
from invreg.schema.kinds import KINDS
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


@pytest.mark.slow
def test_labels_that_look_like_numbers_stay_texts(invreg, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    small = {"name": "iresnet", "subnetworks": 1, "channels": 1, "hidden": 2, "kernel_size": 3}
    spec = {
        **SMALL,
        "title": "1e5",
        "data": {"name": "phantoms", "image_size": 16, "train": 2, "val": 1, "test": 2},
        "methods": {
            "1e-3": {"reconstructor": small, "trainer": {"name": "reconstruction", "steps": 1, "batch_size": 1}},
            "1e-2": "observation",
        },
        "analyses": [],
    }
    (tmp_path / "small.json").write_text(json.dumps(spec))
    status, out, err = invreg("run", "small.json", "--device", "cpu", "--quiet")
    assert status == 0, err
    folder = out.splitlines()[-1]
    assert invreg("report", folder)[0] == 0
    status, out, _ = invreg("certify", folder)
    assert (status, out.partition(":")[0]) == (0, "1e-3")
    status, out, _ = invreg("run", f"{folder}/spec.yaml", "--device", "cpu", "--quiet")
    assert (status, out.splitlines()[-1]) == (0, folder)
    assert list(load(folder).methods) == ["1e-3", "1e-2"]


@pytest.mark.parametrize("output", ["a\0b", "x" * 300, "\ud800"])
def test_an_output_that_is_not_a_path_is_refused(tmp_path: Path, output: str) -> None:
    with pytest.raises(SpecError, match=r"output: .* cannot be a path"):
        run(SMALL, output)


def test_validate_prints_the_spec_with_all_defaults(invreg) -> None:  # type: ignore[no-untyped-def]
    status, out, err = invreg("validate")
    assert status == 0
    assert "shapes are checked when a run has the images" in " ".join(err.split())
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


def test_describe_takes_classes_of_components_that_name_them_only(invreg) -> None:  # type: ignore[no-untyped-def]
    for of in (("tracker", "tensorboard"), ("operator", "radon")):
        status, _, err = invreg("describe", *of, "Blur")
        assert status == 2
        assert "CLASS: " in err
        assert "'Blur'" in err


def test_describe_alone_lists_the_kinds(invreg) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = invreg("describe")
    assert status == 0
    assert {line.split()[0] for line in out.splitlines()} == {*KINDS, "tracker"}
    assert re.search(r"^operator +(\w+, )*gaussian_blur,", out, re.MULTILINE)
    assert re.search(r"^tracker +mlflow, tensorboard$", out, re.MULTILINE)
    status, out, _ = invreg("describe", "--json")
    assert "gaussian_blur" in json.loads(out)["operator"]


def test_descriptions_of_parameters_are_wrapped_and_links_are_plain(invreg) -> None:  # type: ignore[no-untyped-def]
    _, out, _ = invreg("describe", "operator", "radon")
    assert "image_size: [integer (>= 1, <= 65536), integer (>= 1, <= 65536)] in pixels or nothing" in out
    assert max(map(len, out.splitlines())) <= 100
    _, out, _ = invreg("describe", "dataset", "image_folder")
    one = "integer (>= 1, <= 16384)"
    text = f"train_size: integer in pixels (>= 1, <= 16384) or [{one}, {one}] in pixels or nothing"
    assert text in " ".join(out.split())
    _, out, _ = invreg("describe", "reconstructor", "unet")
    assert "See `ImageNetwork` for" in out
    assert "channels: list of integer (>= 1), default (16, 32, 64, 128, 256)" in out


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_lines_are_broken_between_words(invreg, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:  # type: ignore[no-untyped-def]
    _, whole, _ = invreg("describe", "operator")
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in (["describe", "operator"], ["describe", "operator", "radon"], ["plugins"]):
        _, out, _ = invreg(*command)
        longest = max(out.split(), key=len)
        assert max(map(len, out.splitlines())) <= max(min(columns, 100), len(longest) + columns // 2 + 6)
    assert invreg("describe", "operator")[1].split() == whole.split()


def test_help_is_whole_at_80_columns(invreg, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    status, out, _ = invreg("--help")
    assert status == 0
    assert "..." not in out.partition("Commands:")[2]
    assert max(map(len, out.splitlines())) <= 80


COMPONENTS = [(kind, name) for kind in KINDS for name in Registry.installed().names(kind)]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_the_example_of_a_component_is_one(kind: str, name: str) -> None:
    registry = Registry.installed()
    content = parse_yaml(example_spec(registry.entry(kind, name), registry), "example")
    (place,) = content
    found = next(iter(content["methods"].values()))[kind] if place == "methods" else content[place]
    component = found[0] if isinstance(found, list) else found
    component = {"name": component} if isinstance(component, str) else component
    assert component["name"] == name
    if name not in ("deepinv", "pylops", "scipy_matrix"):  # they look for other packages and for files
        registry.build(kind, component)


def test_first_sentences_are_sentences() -> None:
    registry = Registry.installed()
    for kind, name in COMPONENTS:
        sentence = first_sentence(registry.entry(kind, name).cls)
        assert sentence[-1] in ".?!"
        assert not sentence.endswith((" for.", " of.", " is.", " with.", ",.", ":."))
        assert "](" not in sentence
        assert "][" not in sentence


@pytest.mark.slow
def test_json_is_for_programs(invreg, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    run = ("run", "small.json", "--device", "cpu", "--quiet")
    planned = json.loads(invreg(*run, "--dry-run", "--json")[1])
    assert planned["finished"] is False
    status, out, _ = invreg(*run, "--json")
    assert status == 0
    result = json.loads(out)
    assert [row["method"] for row in result["summary"]] == ["observation"]
    assert Path(result["folder"]).samefile(Path(planned["folder"]))
    assert Path(result["report"]).is_file()
    assert result["failures"] == {}
    assert json.loads(invreg("validate", "small.json", "--json")[1])["noise"] == {"name": "gaussian", "std": 0.01}
    states = json.loads(invreg("verify", result["folder"], "--json")[1])
    assert {"part", "what", "state", "advice"} == set(states[0])


@pytest.mark.slow
def test_a_study_is_one_small_table(invreg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    data = {"name": "phantoms", "image_size": 16, "train": 1, "val": 1, "test": 2}
    matrix = {"noise.std": [0.01, 0.1], "operator.std": [0.5, 1.0]}
    spec = {**SMALL, "data": data, "operator": {"name": "gaussian_blur", "kernel_size": 3}, "matrix": matrix}
    (tmp_path / "study.json").write_text(json.dumps(spec))
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = invreg("run", "study.json", "--device", "cpu")
    assert status == 0, err
    assert [line for line in err.splitlines() if line.startswith("cell 3 of 4: noise.std 0.1, operator.std 0.5")]
    head, _, rest = out.partition("\n")
    assert head == "PSNR, the mean over the test images, of 4 cells:"
    assert re.search(r"^noise.std +operator.std +observation$", rest, re.MULTILINE)
    assert re.search(r"^0.1 +0.5 +\d\d\.\d\d$", rest, re.MULTILINE)
    assert (tmp_path / next(line for line in rest.splitlines() if line.startswith("table: "))[7:]).is_file()
    assert (tmp_path / out.splitlines()[-1]).is_dir()


def test_what_is_expected_is_not_said_twice(invreg, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    _, _, error = invreg("run", "small.json", "--track", "wandb")
    assert "try:" not in error
    _, _, error = invreg("run", "small.json", "--track", "tensorbord")
    assert "try: did you mean 'tensorboard'?" in error


@pytest.mark.slow
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
        (["run", "small.json", "--set", "data={name: image_folder, path: nowhere}"], 2, "nowhere"),
        (["run", "small.json", "--set", "data={name: image_folder, path: .}"], 2, "images"),
        (["run", "small.json", "--set", "data.image_size=8", "--set", "data.train_size=8"], 2, "metrics.1: "),
        (["run", "small.json", "--set", "data.image_size=4", "--set", "data.train_size=4"], 2, "operator"),
        (["run", "small.json", "--set", "operator.kernel_size=99"], 2, "operator: images of shape"),
        (["run", "small.json", "--set", "noise=0.05"], 2, "as in none or {name: gaussian, std: 0.05}"),
        (["run", "small.json", "--set", "methods=[tv]"], 2, "a mapping of labels of your choice to methods"),
        (["run", "small.json", "--track", "wandb"], 2, "expected: one of mlflow, tensorboard"),
        (["validate", "small.json", "--set", "methods.net=iresnet"], 2, "methods.net: 'iresnet' has weights"),
        (["validate", "small.json", "--set", "methods.net=unet"], 2, "methods.net: 'unet' has weights"),
        (["validate", "small.json", "--set", "analyses=[forward_map]"], 2, "analyses.0: no method of this spec"),
        (["run", "small.json", "--output", "small.json"], 2, "another --output"),
        (["validate", "small.json", "--set", "seed=-1"], 2, "seed"),
        (["describe", "operators"], 2, "did you mean 'operator'"),
        (["describe", "operator", "nothing"], 2, "there is no operator 'nothing'"),
        (["report", "nowhere"], 2, "no such folder"),
        (["report", "."], 2, "holds no run"),
        (["reconstruct", "gausian-deblur", "small.json"], 2, "did you mean 'gaussian-deblur'?"),
        (["status", "nowhere"], 2, "no such folder"),
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
    assert status == 2, "nothing was computed"
    assert re.search(r"error: /proc/nowhere/\S+: cannot be written", err)


def test_ctrl_c_says_how_to_go_on(invreg, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("invreg.api.run", interrupted)
    status, out, err = invreg("run")
    assert (status, out) == (130, "")
    assert "the same command goes on" in err


def test_the_version_is_told(invreg) -> None:  # type: ignore[no-untyped-def]
    assert invreg("--version") == (0, f"invreg {__version__}\n", "")


@pytest.mark.slow
def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "invreg", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "plugins" in done.stdout
