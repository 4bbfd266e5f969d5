"""MLflow: one MLflow run for each run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invreg import Findings, InvregError, Result, RunFolder, Spec, hookimpl
from invreg_tracking.values import flat, is_number, numbers, step_of

#: Which of MLflow's runs belongs to a run folder.
_RECORD = "mlflow.json"

#: MLflow takes so many parameters in one call, each so long at most.
_BATCH, _LONGEST = 100, 500


class MLflowTracker:
    """Writes parameters, metrics and artifacts to the tracking server that `MLFLOW_TRACKING_URI` names.

    Without that variable, MLflow chooses the place; `MLFLOW_EXPERIMENT_NAME` names the experiment,
    `invreg` by default. `mlflow.json` in the run folder keeps the id of the MLflow run. A run that goes on takes it up
    again; rows that are already there are not written twice.

    Raises:
        InvregError: if MLflow is not installed.
    """

    def __init__(self) -> None:
        try:
            from mlflow import entities, tracking
        except ImportError as error:
            raise InvregError(
                f"cannot be imported: {error}",
                where="mlflow",
                expected="the package mlflow-skinny or mlflow",
                hint="pip install 'invreg[mlflow]'",
            ) from error
        self._client = tracking.MlflowClient()
        self._entities = entities
        self._run: str | None = None
        self._last_step: dict[str, int] = {}

    @hookimpl
    def invreg_run_started(self, folder: Path, spec: Spec) -> None:
        run = self._earlier_run(folder) or self._new_run(folder, spec)
        self._client.update_run(run, status="RUNNING")
        self._run = run

    @hookimpl
    def invreg_epoch_finished(self, label: str, epoch: int, values: Mapping[str, Any]) -> None:
        step, found = step_of(epoch, values), numbers(values)
        if not found:
            return
        if label not in self._last_step:
            history = self._client.get_metric_history(self._id(), f"{label}/{next(iter(found))}")
            self._last_step[label] = max((metric.step for metric in history), default=-1)
        if step > self._last_step[label]:
            self._log({f"{label}/{key}": value for key, value in found.items()}, step)

    @hookimpl
    def invreg_findings_made(self, name: str, findings: Findings) -> None:
        self._log({f"{name}/{key}": float(value) for key, value in findings.scalars.items() if is_number(value)}, 0)

    @hookimpl
    def invreg_run_finished(self, result: Result) -> None:
        for row in result.summary.to_dict("records"):
            self._log({f"{row['method']}/test/{key}": value for key, value in numbers(row).items()}, 0)
        for path in RunFolder(result.folder).files:
            self._client.log_artifact(self._id(), str(path))
        run, self._run = self._id(), None
        self._client.set_terminated(run, "FINISHED")

    def close(self) -> None:
        """Marks the run as killed on the server if it has not finished."""
        if self._run is not None:
            run, self._run = self._run, None
            self._client.set_terminated(run, "KILLED")

    def _earlier_run(self, folder: Path) -> str | None:
        from mlflow.exceptions import MlflowException

        record = folder / _RECORD
        if not record.is_file():
            return None
        run = str(json.loads(record.read_text(encoding="utf-8"))["run_id"])
        try:
            found = self._client.get_run(run)
        except MlflowException:  # on another server, or deleted there
            return None
        return run if found.info.lifecycle_stage == "active" else None

    def _new_run(self, folder: Path, spec: Spec) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "invreg"
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        tags = {"invreg.title": spec.title, "invreg.folder": str(folder)}
        run = str(self._client.create_run(experiment, run_name=folder.name, tags=tags).info.run_id)
        settings = flat(spec.model_dump(mode="json"))
        parameters = [self._entities.Param(key, str(value)[:_LONGEST]) for key, value in settings.items()]
        for start in range(0, len(parameters), _BATCH):
            self._client.log_batch(run, params=parameters[start : start + _BATCH])
        record = {"run_id": run, "tracking_uri": self._client.tracking_uri}
        (folder / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return run

    def _id(self) -> str:
        if self._run is None:
            raise InvregError("no run has started", where="mlflow")
        return self._run

    def _log(self, values: Mapping[str, float], step: int) -> None:
        import time

        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(key, value, now, step) for key, value in values.items()]
        if metrics:
            self._client.log_batch(self._id(), metrics=metrics)
