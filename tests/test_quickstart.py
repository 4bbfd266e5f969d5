"""The quickstart with its real components, shortened: what a new user does first."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from processes import Command

import invreg
from invreg.specs.bundled import quickstart_path

pytestmark = pytest.mark.slow

SHORT = [
    "methods.tv.trainer.trials=2",
    "methods.tv.reconstructor.tolerance=1e-2",
    "methods.iresnet.trainer.steps=60",
    "methods.iresnet.trainer.validations=2",
    "methods.iresnet.reconstructor.subnetworks=4",
]
BSDS = Path(__file__).resolve().parents[2] / "shared" / "data" / "bsds500"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> invreg.Result:
    return invreg.run(quickstart_path(), tmp_path_factory.mktemp("runs"), "cpu", progress=False, overrides=SHORT)


def numbers(metrics: pd.DataFrame) -> pd.DataFrame:
    return metrics.drop(columns="seconds").sort_values(["method", "image"], ignore_index=True)


def test_all_methods_beat_the_observation(result: invreg.Result) -> None:
    psnr = result.summary.set_index("method")["psnr"]
    assert list(psnr.index) == ["observation", "tv", "iresnet"]
    assert 26.5 < psnr["observation"] < 28
    assert psnr["tv"] > psnr["observation"] + 2
    assert psnr["iresnet"] > psnr["observation"] + 0.5
    assert result.warnings == []


def test_the_network_can_be_asked_and_inverted(result: invreg.Result) -> None:
    net = result.methods["iresnet"].reconstructor
    x = torch.rand(2, 1, 64, 48)
    assert isinstance(net, invreg.LearnsForwardMap)
    assert net.forward_map(x).shape == x.shape
    loaded = invreg.load(result.folder, "cpu").methods["iresnet"].reconstructor
    with torch.no_grad():
        assert torch.equal(loaded(x), net(x))


def test_the_report_shows_what_was_found(result: invreg.Result) -> None:
    report = result.report.read_text(encoding="utf-8")
    for part in ("Gaussian deblurring, quickstart", "iresnet", "tv", "gaussian_blur", "data:image/"):
        assert part in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert {path.suffix for path in (result.folder / "analyses/examples/figures").iterdir()} == {".svg", ".png"}


def test_another_batch_size_gives_the_same_numbers(result: invreg.Result, tmp_path: Path) -> None:
    overrides = [*SHORT, "evaluation.batch_size=5", "analyses=[]", "methods.tv.trainer.trials=2"]
    other = invreg.run(quickstart_path(), tmp_path, "cpu", progress=False, overrides=overrides)
    pd.testing.assert_frame_equal(numbers(other.metrics), numbers(result.metrics), rtol=1e-5)


def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(result: invreg.Result, tmp_path: Path) -> None:
    settings = [*SHORT, "methods.iresnet.trainer.checkpoint_minutes=0.0", "analyses=[]"]
    arguments = [argument for override in settings for argument in ("--set", override)]
    process = Command("invreg", "run", "--quiet", "--device", "cpu", "--output", tmp_path, *arguments)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("*/methods/iresnet/training/checkpoint*")) and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.finish().returncode == -signal.SIGKILL
    (folder,) = tmp_path.glob("*/methods")
    assert (folder / "tv" / "training.json").exists()
    assert not (folder / "iresnet" / "training.json").exists()
    resumed = invreg.run(quickstart_path(), tmp_path, "cpu", progress=False, overrides=settings)
    pd.testing.assert_frame_equal(numbers(resumed.metrics), numbers(result.metrics))
    ours, theirs = (r.methods["iresnet"].reconstructor.state_dict() for r in (resumed, result))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.skipif(not BSDS.is_dir(), reason="the BSDS500 photographs are not there")
def test_any_folder_of_photographs(tmp_path: Path) -> None:
    overrides = [*SHORT, "data.name=image_folder", f"data.path={BSDS}", "methods.iresnet.trainer.steps=4"]
    result = invreg.run(quickstart_path(), tmp_path, "cpu", progress=False, overrides=overrides)
    assert result.spec.data.name == "image_folder"
    assert len(result.metrics) >= 3
