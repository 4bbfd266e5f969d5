"""A whole run: its folder, its reproducibility, resuming, and what can go wrong."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import pytest
import torch

import invreg
import toy
from invreg.api import load, redraw, run
from invreg.components.hookspecs import hookimpl
from invreg.components.operator import LinearOperator
from invreg.components.reconstructor import Reconstructor
from invreg.computing import threads
from invreg.errors import DataError, InvregError, SpecError, StoreError, TrainingError
from invreg.plugins.registry import Registry
from invreg.schema import component
from invreg.specs.plan import make_plan
from invreg.specs.reading import read_spec

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_calls() -> Iterator[None]:
    toy.CALLS.clear()
    yield
    toy.CALLS.clear()


@pytest.fixture
def registry() -> Registry:
    return Registry(toy.plugins())


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(toy.SPEC), **changes}


def numbers(result: invreg.Result) -> pd.DataFrame:
    return result.metrics.drop(columns="seconds")


def test_a_run_leaves_everything_in_its_folder(registry: Registry, tmp_path: Path) -> None:
    result = run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    assert result.folder.parent == tmp_path
    for name in (
        "spec.yaml",
        "environment.json",
        "metrics.csv",
        "summary.csv",
        "report.html",
        "methods/gain/weights.safetensors",
        "methods/gain/reconstructor.json",
        "methods/gain/log.csv",
        "methods/gain/progress.csv",
        "analyses/peek/findings.json",
        "analyses/peek/figures/gains.svg",
        "analyses/peek/figures/gains.png",
    ):
        assert (result.folder / name).stat().st_size > 0, name
    assert not list(result.folder.rglob("*.pkl"))
    assert not (result.folder / "methods/gain/training").exists()
    assert list(result.metrics.columns) == ["method", "image", "psnr", "ssim", "seconds"]
    expected = [
        "method",
        "psnr",
        "psnr_std",
        "ssim",
        "ssim_std",
        "parameters",
        "training_seconds",
        "reconstruction_seconds",
    ]
    assert list(result.summary.columns) == expected
    psnr = result.summary.set_index("method")["psnr"]
    assert psnr["gain"] > psnr["raw"] + 10
    assert float(result.methods["gain"].reconstructor.gain) == pytest.approx(2, abs=0.05)  # type: ignore[arg-type]
    assert result.findings["peek"].scalars["count"] == 1


@pytest.mark.slow
def test_the_same_spec_gives_the_same_numbers(registry: Registry, tmp_path: Path) -> None:
    first = run(toy.SPEC, tmp_path / "a", "cpu", progress=False, registry=registry)
    second = run(toy.SPEC, tmp_path / "b", "cpu", progress=False, registry=registry)
    assert first.folder.name == second.folder.name
    pd.testing.assert_frame_equal(numbers(first), numbers(second))
    other = run(changed(seed=1), tmp_path / "a", "cpu", progress=False, registry=registry)
    assert other.folder != first.folder
    assert not numbers(other).equals(numbers(first))


@pytest.mark.slow
def test_the_batch_size_of_the_evaluation_changes_no_number(registry: Registry, tmp_path: Path) -> None:
    one = run(changed(evaluation={"batch_size": 1}), tmp_path, "cpu", progress=False, registry=registry)
    all_ = run(changed(evaluation={"batch_size": 64}), tmp_path, "cpu", progress=False, registry=registry)
    pd.testing.assert_frame_equal(numbers(one), numbers(all_), rtol=1e-5)


@pytest.mark.slow
def test_adding_a_method_changes_no_other(registry: Registry, tmp_path: Path) -> None:
    methods = {"more": {"reconstructor": "gain", "trainer": "least_squares"}, **toy.SPEC["methods"]}
    before = numbers(run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry))
    after = numbers(run(changed(methods=methods), tmp_path, "cpu", progress=False, registry=registry))
    rest = after[after["method"] != "more"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, before)


@pytest.mark.slow
def test_a_finished_run_is_only_read(registry: Registry, tmp_path: Path) -> None:
    first = run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    assert toy.CALLS == ["fit gain", "analyze", "draw"]
    toy.CALLS.clear()
    second = run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    assert toy.CALLS == []
    pd.testing.assert_frame_equal(first.metrics, second.metrics)


@pytest.mark.slow
def test_what_is_missing_is_done_again_and_only_that(registry: Registry, tmp_path: Path) -> None:
    first = run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    (first.folder / "analyses/peek/figures.json").unlink()
    toy.CALLS.clear()
    run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    assert toy.CALLS == ["draw"]
    (first.folder / "methods/gain/training.json").unlink()
    toy.CALLS.clear()
    again = run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    assert toy.CALLS == ["fit gain"]
    pd.testing.assert_frame_equal(numbers(first), numbers(again))


def test_loading_needs_no_images(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    monkeypatch.setattr(toy.ToyImages, "splits", lambda self: 1 / 0)
    loaded = load(made.folder, "cpu", registry)
    z = torch.rand(2, 1, 14, 18)
    assert torch.equal(loaded.methods["gain"].reconstructor(z), made.methods["gain"].reconstructor(z))
    pd.testing.assert_frame_equal(loaded.metrics, made.metrics)
    assert loaded.findings["peek"].text == "<Gains> found."
    assert loaded.spec == made.spec
    assert loaded.methods["gain"].log.rows == [{"epoch": 1, "loss": 0.0}]


def test_redrawing_computes_nothing(registry: Registry, tmp_path: Path) -> None:
    made = run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    toy.CALLS.clear()
    made.report.unlink()
    assert redraw(made.folder, registry) == made.report
    assert toy.CALLS == ["draw"]
    assert "&lt;Gains&gt; found." in made.report.read_text()


def test_other_images_under_the_same_spec_are_noticed(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    original = toy.ToyImages.splits
    monkeypatch.setattr(toy.ToyImages, "splits", lambda self: original(toy.ToyImages(shift=7)))
    with pytest.raises(StoreError, match="other images"):
        run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)


def test_a_failing_analysis_costs_only_itself(registry: Registry, tmp_path: Path) -> None:
    analyses = [{"name": "peek", "fail": True}, "peek"]
    with pytest.raises(InvregError, match="a bug in the analysis") as caught:
        run(changed(analyses=analyses), tmp_path, "cpu", progress=False, registry=registry)
    assert caught.value.exit_status == 1
    (folder,) = tmp_path.iterdir()
    assert (folder / "analyses/peek-2/findings.json").exists()
    failure = json.loads((folder / "analyses/peek/failure.json").read_text())
    assert failure["traceback"][0].startswith("Traceback")
    assert "a bug in the analysis" in (folder / "report.html").read_text()


def test_a_failing_listener_is_set_aside(registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Nervous:
        @invreg.hookimpl
        def invreg_run_started(self, folder: Path) -> None:
            raise RuntimeError("no network")

    class Calm:
        def __init__(self) -> None:
            self.heard: list[str] = []

        @invreg.hookimpl
        def invreg_run_started(self, folder: Path) -> None:
            self.heard.append("started")

        @invreg.hookimpl
        def invreg_run_finished(self, result: invreg.Result) -> None:
            self.heard.append("finished")

    calm = Calm()
    registry.manager.register(calm, "calm")
    registry.manager.register(Nervous(), "nervous")
    run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    assert calm.heard == ["started", "finished"]
    assert "plugin nervous failed in invreg_run_started" in caplog.text


def test_a_network_whose_class_says_nothing_is_refused_when_the_spec_is_checked(registry: Registry) -> None:
    with pytest.raises(SpecError, match="nothing trains them") as caught:
        make_plan(read_spec(changed(methods={"gain": "gain"})), registry)
    assert caught.value.where == "methods.gain"
    make_plan(read_spec(changed(methods={"raw": "raw"}, analyses=[])), registry)


@pytest.mark.parametrize(
    ("changes", "error", "parts"),
    [
        ({"operator": "halv"}, SpecError, ["operator", "did you mean 'halve'"]),
        ({"operator": {"name": "halve", "factor": -1}}, SpecError, ["operator.factor"]),
        ({"analyses": ["peek"], "methods": {"raw": "raw"}}, SpecError, ["analyses.0", "LearnsForwardMap"]),
        ({"methods": {"gain": "gain"}}, SpecError, ["methods.gain", "nothing trains them"]),
        (
            {"methods": {"raw": {"reconstructor": "raw", "trainer": "least_squares"}}, "analyses": []},
            SpecError,
            ["methods.raw.trainer", "nothing to train"],
        ),
        ({"metrics": ["psnr", "psnr"]}, SpecError, ["metrics", "twice"]),
        ({"data": {"name": "toy_images", "broken": True}}, DataError, ["image/0", "NaN"]),
    ],
)
def test_wrong_specs_leave_no_folder(
    registry: Registry, tmp_path: Path, changes: dict[str, Any], error: type[Exception], parts: list[str]
) -> None:
    with pytest.raises(error) as caught:
        run(changed(**changes), tmp_path / "runs", "cpu", progress=False, registry=registry)
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.exit_status == 2  # nothing was computed
    assert not (tmp_path / "runs").exists()
    assert toy.CALLS == []


def test_failing_training_names_the_method(registry: Registry, tmp_path: Path) -> None:
    methods = {"gain": {"reconstructor": "gain", "trainer": {"name": "least_squares", "fail": "the loss is NaN"}}}
    with pytest.raises(TrainingError, match="the loss is NaN") as caught:
        run(changed(methods=methods), tmp_path, "cpu", progress=False, registry=registry)
    assert "methods.gain" in str(caught.value)


def test_reconstructions_that_are_not_finite_stop_the_run(registry: Registry, tmp_path: Path) -> None:
    methods = {"gain": {"reconstructor": {"name": "gain", "spoil": True}, "trainer": "least_squares"}}
    with pytest.raises(InvregError, match="NaN or infinite"):
        run(changed(methods=methods), tmp_path, "cpu", progress=False, registry=registry)


class Slipped(LinearOperator):
    """A shift by three columns whose adjoint shifts on instead of back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.roll(3, -1)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y.roll(3, -1)


class Slip:
    @hookimpl
    def invreg_components(self) -> dict[str, type]:
        return {"slipped": Slipped, "shout": Shout}


class Shout(Reconstructor):
    """x = 100 z, with a weight or without."""

    def __init__(self, learned: bool = False) -> None:
        super().__init__()
        self.learned = learned

    def setup(self, problem: invreg.Problem, image_shape: tuple[int, ...]) -> None:
        super().setup(problem, image_shape)
        if self.learned:
            self.gain = torch.nn.Parameter(torch.tensor(100.0), requires_grad=False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (self.gain if self.learned else 100) * z


@pytest.mark.slow
def test_a_wrong_adjoint_is_in_the_report_and_changes_no_number(tmp_path: Path) -> None:
    registry = Registry({**toy.plugins(), "slip": Slip()})
    result = run(changed(operator="slipped"), tmp_path, "cpu", progress=False, registry=registry)
    for method in result.methods.values():
        assert re.search("adjoint is not the transpose .* relative defect (0.[89]|1)", "".join(method.warnings))
    assert "relative defect" in (result.folder / "report.html").read_text()
    again = run(changed(operator="slipped"), tmp_path, "cpu", progress=False, registry=registry)
    assert again.warnings == result.warnings  # also of a finished run


@pytest.mark.parametrize(
    ("learned", "said"), [(True, r"3 of 3 .*worse than the mean grey.*smaller lr"), (False, "worse than any image")]
)
def test_finite_divergence_is_said(tmp_path: Path, learned: bool, said: str) -> None:
    registry = Registry({**toy.plugins(), "slip": Slip()})
    methods = {"shout": {"reconstructor": {"name": "shout", "learned": learned}}, "raw": {"reconstructor": "raw"}}
    spec = changed(methods=methods, analyses=[])
    result = run(spec, tmp_path, "cpu", progress=False, registry=registry)
    assert re.search(said, "".join(result.methods["shout"].warnings), re.DOTALL)
    assert not result.methods["raw"].warnings
    assert "root mean square error" in (result.folder / "report.html").read_text()


def test_warnings_of_a_training_name_their_method_once(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_LONG", 0.0)
    monkeypatch.setattr(threads, "_MUCH", 0.0)
    methods = {"gain": toy.SPEC["methods"]["gain"]}
    spec = changed(data={"name": "toy_images", "count": 1}, methods=methods, analyses=[])
    result = run(spec, tmp_path, "cpu", progress=False, registry=registry)
    said = [text for text in result.warnings if "the machine was busy" in text or "single validation image" in text]
    assert len(said) == 2
    assert all(text.startswith("gain: ") and text.count("gain") == 1 for text in said)


def test_unknown_device(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="device"):
        run(toy.SPEC, tmp_path, "abacus", progress=False, registry=registry)


def test_an_unfinished_run_cannot_be_loaded(registry: Registry, tmp_path: Path) -> None:
    made = run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    (made.folder / "methods/gain/training.json").unlink()
    with pytest.raises(StoreError, match=r"training\.json"):
        load(made.folder, "cpu", registry)


@pytest.mark.slow
def test_another_analysis_joins_a_finished_run(registry: Registry, tmp_path: Path) -> None:
    first = run(changed(analyses=[]), tmp_path, "cpu", progress=False, registry=registry)
    toy.CALLS.clear()
    second = run(changed(analyses=["peek"]), tmp_path, "cpu", progress=False, registry=registry)
    assert second.folder == first.folder
    assert toy.CALLS == ["analyze", "draw"]
    assert list(second.findings) == ["peek"]
    assert "Gains" in second.report.read_text()
    again = run(changed(analyses=[]), tmp_path, "cpu", progress=False, registry=registry)
    assert again.findings == {}
    assert "Gains" not in again.report.read_text()


@pytest.mark.slow
def test_findings_of_other_parameters_are_not_used(registry: Registry, tmp_path: Path) -> None:
    analyses = [{"name": "peek", "fail": True}]
    with pytest.raises(InvregError, match="a bug in the analysis"):
        run(changed(analyses=analyses), tmp_path, "cpu", progress=False, registry=registry)
    result = run(changed(analyses=["peek"]), tmp_path, "cpu", progress=False, registry=registry)
    assert list(result.findings) == ["peek"]
    toy.CALLS.clear()
    with pytest.raises(InvregError, match="a bug in the analysis"):
        run(changed(analyses=analyses), tmp_path, "cpu", progress=False, registry=registry)
    assert toy.CALLS == ["analyze"]
    assert not (result.folder / "analyses/peek/findings.json").exists()


def test_each_component_is_validated_once_and_each_method_set_up_once(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()
    validate, set_up = component.validated_arguments, Reconstructor.setup

    def count_validation(model: Any, *args: Any) -> dict[str, Any]:
        counts[f"validated {model.__name__}"] += 1
        return validate(model, *args)

    def count_set_up(self: Reconstructor, *args: Any) -> None:
        counts[f"set up {type(self).__name__}"] += 1
        set_up(self, *args)

    monkeypatch.setattr(component, "validated_arguments", count_validation)
    monkeypatch.setattr(Reconstructor, "setup", count_set_up)
    components = ["ToyImages", "Halve", "ToyNoise", "Raw", "Gain", "LeastSquares", "PSNR", "SSIM", "Peek"]
    once = Counter({f"validated {name}": 1 for name in components} | {"set up Raw": 1, "set up Gain": 1})
    for what in (
        lambda: run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry),
        lambda: run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry),  # only reads
        lambda: load(next(tmp_path.iterdir()), "cpu", registry),
    ):
        counts.clear()
        what()
        assert counts == once


@pytest.mark.slow
def test_the_norm_of_an_operator_is_computed_once_for_all_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from invreg.components import operator

    norms: list[int] = []
    largest = operator._largest_singular_value
    monkeypatch.setattr(operator, "_largest_singular_value", lambda *a: norms.append(0) or largest(*a))
    spec = {
        "data": {"name": "phantoms", "image_size": 16, "train": 2, "val": 1, "test": 1},
        "operator": {"name": "radon", "angles": 6},
        "methods": {
            "adjoint": "adjoint",
            "tv": {"name": "tv", "max_iterations": 20},
            "iresnet": {
                "reconstructor": {"name": "iresnet", "subnetworks": 1, "channels": 2, "hidden": 2},
                "trainer": {"name": "reconstruction", "steps": 1, "batch_size": 1},
            },
        },
    }
    run(spec, tmp_path, "cpu", progress=False)
    assert len(norms) == 1


@pytest.mark.slow
def test_the_walk_in_the_documentation_is_the_one_that_a_run_takes(registry: Registry, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("### A walk through")[2].partition("\n## ")[0]
    walk = re.findall(r"^\| \d+ \| `([\w/.]+)` \| `([\w.]+)`", section, re.MULTILINE)
    assert len(walk) == len({file for file, _ in walk}) >= 14
    package = Path(invreg.__file__).parent
    entered: dict[str, int] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(package)):
            name = f"{Path(path).relative_to(package).as_posix()} {frame.f_code.co_qualname.partition('.<locals>')[0]}"
            entered.setdefault(name, len(entered))

    sys.setprofile(note)
    try:
        run(toy.SPEC, tmp_path, "cpu", progress=False, registry=registry)
    finally:
        sys.setprofile(None)
    # The command line only calls api.run, and the registry is given here.
    steps = [(file, call) for file, call in walk if file not in ("commands/running.py", "plugins/registry.py")]
    calls = [(file, call.rpartition(".")[2]) for file, call in steps]  # methods may be inherited
    first = [
        min(n for name, n in entered.items() if name.startswith(f"{file} ") and call in name) for file, call in calls
    ]
    assert first == sorted(first)
