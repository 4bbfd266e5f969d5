"""What MLflow's own client finds in its store."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import invreg
from invreg_tracking.mlflow import MLflowTracker

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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        # A store of files takes no time to make; a data base takes its migrations.
        patch.setenv("MLFLOW_TRACKING_URI", (folder / "mlruns").as_uri())
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "trial")
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def result(store: Path) -> Any:
    return invreg.run(SPEC, store / "runs", "cpu", progress=False, track=["mlflow"])


def client() -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient()


def run_of(folder: Path) -> Any:
    return client().get_run(json.loads((folder / "mlflow.json").read_text(encoding="utf-8"))["run_id"])


@pytest.mark.slow
def test_parameters_and_metrics_are_there(result: Any) -> None:
    run = run_of(result.folder)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == result.folder.name
    assert client().get_experiment(run.info.experiment_id).name == "trial"
    assert run.data.params["methods.net.reconstructor.subnetworks"] == "2"
    assert run.data.params["noise.std"] == "0.01"
    for row in result.summary.to_dict("records"):
        assert run.data.metrics[f"{row['method']}/test/psnr"] == pytest.approx(row["psnr"])


@pytest.mark.slow
def test_the_training_log_is_there(result: Any) -> None:
    rows = result.methods["net"].log.rows
    history = client().get_metric_history(run_of(result.folder).info.run_id, "net/loss")
    assert [(one.step, one.value) for one in history] == [(row["step"], pytest.approx(row["loss"])) for row in rows]


@pytest.mark.slow
def test_artifacts_are_there(result: Any) -> None:
    found = {artifact.path for artifact in client().list_artifacts(run_of(result.folder).info.run_id)}
    assert {"report.html", "metrics.csv", "summary.csv"} <= found


@pytest.mark.slow
def test_a_finished_run_stays_one_run(result: Any, store: Path) -> None:
    before = run_of(result.folder).info.run_id
    invreg.run(SPEC, store / "runs", "cpu", progress=False, track=["mlflow"])
    run = run_of(result.folder)
    assert (run.info.run_id, run.info.status) == (before, "FINISHED")
    assert len(client().search_runs([run.info.experiment_id])) == 1
    assert len(client().get_metric_history(before, "net/loss")) == 2


@pytest.mark.slow
def test_a_run_that_goes_on_writes_no_row_twice(store: Path, tmp_path: Path) -> None:
    spec = invreg.Spec.model_validate({**SPEC, "title": "Interrupted"})
    statuses = []
    for steps in ((1, 2, 3), (3, 4)):
        tracker = MLflowTracker()
        tracker.invreg_run_started(tmp_path, spec)
        statuses.append(run_of(tmp_path).info.status)
        for step in steps:
            tracker.invreg_epoch_finished("net", 0, {"step": step, "loss": float(step), "ended": "no"})
        tracker.close()
        statuses.append(run_of(tmp_path).info.status)
    assert statuses == ["RUNNING", "KILLED"] * 2
    run = run_of(tmp_path).info.run_id
    history = client().get_metric_history(run, "net/loss")
    assert [(one.step, one.value) for one in history] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    client().delete_run(run)
    tracker = MLflowTracker()
    tracker.invreg_run_started(tmp_path, spec)  # the one that was deleted cannot be taken up
    tracker.close()
    assert run_of(tmp_path).info.run_id != run


def test_without_mlflow_it_is_named_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(invreg.InvregError, match=r"invreg\[mlflow\]"):
        invreg.run(SPEC, tmp_path, "cpu", progress=False, track=["mlflow"])
    assert list(tmp_path.iterdir()) == []
