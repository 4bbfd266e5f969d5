"""What TensorBoard's own reader finds in the files."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

import invreg
from invreg import Registry
from invreg_tracking.tensorboard import TensorBoardTracker

SPEC = {
    "title": "Tracked",
    "data": {"name": "photos", "image_size": 48, "train_size": 48},
    "operator": "gaussian_blur",
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {
        "back": "adjoint",
        "net": {
            "reconstructor": {"name": "iresnet", "subnetworks": 2, "channels": 2, "hidden": 4},
            "trainer": {"name": "reconstruction", "steps": 4, "batch_size": 2, "validations": 2},
        },
    },
    "analyses": [{"name": "quality", "resamples": 1000}],
}


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    folder = tmp_path_factory.mktemp("tensorboard")
    return invreg.run(SPEC, folder, "cpu", progress=False, track=["tensorboard"])


@pytest.mark.slow
def test_the_training_log_is_there(result: Any) -> None:
    rows = result.methods["net"].log.rows
    assert len(rows) == 2
    for key in ("loss", "val_psnr"):
        found = points(result.folder / "tensorboard" / "net", key)
        assert [step for step, _ in found] == [row["step"] for row in rows]
        assert [value for _, value in found] == pytest.approx([row[key] for row in rows], rel=1e-6)


@pytest.mark.slow
def test_the_test_metrics_are_those_of_the_summary(result: Any) -> None:
    for row in result.summary.to_dict("records"):
        found = points(result.folder / "tensorboard" / row["method"] / "test", "test/psnr")
        assert found == [(0, pytest.approx(row["psnr"], rel=1e-6))]


@pytest.mark.slow
def test_spec_figures_and_hyperparameters_are_there(result: Any) -> None:
    analyses = read(result.folder / "tensorboard" / "analyses").Tags()
    assert "spec/text_summary" in analyses["tensors"]
    assert any(tag.startswith("quality/") for tag in analyses["images"])
    net = read(result.folder / "tensorboard" / "net" / "test")
    assert "_hparams_/session_start_info" in net.summary_metadata
    content = net.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"reconstructor.subnetworks" in content


@pytest.mark.slow
def test_a_finished_run_is_not_written_twice(result: Any) -> None:
    again = invreg.run(SPEC, result.folder.parent, "cpu", progress=False, track=["tensorboard"])
    assert again.folder == result.folder  # type: ignore[union-attr]
    assert len(points(result.folder / "tensorboard" / "net" / "test", "test/psnr")) == 1
    assert len(points(result.folder / "tensorboard" / "net", "loss")) == 2


@pytest.mark.slow
def test_a_run_that_goes_on_replaces_what_it_computes_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    spec = invreg.Spec.model_validate(SPEC)
    for steps, offset in (((1, 2, 3), 0.0), ((3, 4), 10.0)):  # interrupted after 3, taken up again after 2
        tracker = TensorBoardTracker()
        tracker.invreg_run_started(tmp_path, spec)
        for step in steps:
            tracker.invreg_epoch_finished("net", 0, {"step": step, "epoch": 0.5, "loss": step + offset})
        tracker.close()
        time.sleep(1.1)  # the names of event files, by which they are ordered, have whole seconds
    assert points(tmp_path / "tensorboard" / "net", "loss") == [(1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0)]


def test_values_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    tracker = TensorBoardTracker()
    tracker.invreg_run_started(tmp_path, invreg.Spec.model_validate(SPEC))
    tracker.invreg_epoch_finished("tv", 3, {"weight": 0.1, "ended": "early", "nan": float("nan"), "ok": True})
    tracker.close()
    assert read(tmp_path / "tensorboard" / "tv").Tags()["scalars"] == ["weight"]
    assert points(tmp_path / "tensorboard" / "tv", "weight")[0][0] == 3


def test_without_tensorboard_it_is_named_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(invreg.InvregError, match=r"invreg\[tensorboard\]"):
        invreg.run(SPEC, tmp_path, "cpu", progress=False, track=["tensorboard"], registry=Registry.installed())
    assert list(tmp_path.iterdir()) == []
