"""From a method of a run to a model of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.computing.device import choose_device
from invreg.errors import StoreError
from invreg.files import usable_path
from invreg.models.loading import model_of_run
from invreg.models.model_folder import History, save_model
from invreg.models.program import programs
from invreg.plugins.registry import Registry
from invreg.specs.plan import Plan
from invreg.storage.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd


def export_model(
    run: str | Path,
    method: str | None = None,
    *,
    to: str | Path,
    name: str | None = None,
    further: Mapping[str, pd.DataFrame] | None = None,
    torch_export: bool = False,
    onnx: bool = False,
    registry: Registry | None = None,
) -> Path:
    """Writes a trained method of a run as a model folder: weights, parameters, problem, certificate, card and hashes.

    The folder is there as a whole or not at all. It loads without the run, its images, and any pickle; it is laid out
    as the Hugging Face Hub expects a model.

    Args:
        run: the folder of a finished run.
        method: the label of the method; not needed if only one was trained.
        to: a folder that does not exist yet.
        name: of the model; the label if None.
        further: results on other images for the card, by what these are: columns `method` and one for each metric,
            with the name of the model as that of the method.
        torch_export: whether to add `program.pt2`, the method as a program of torch.export.
        onnx: whether to add `model.onnx`. Both give the images of the method up to 1e-5, and are for methods without
            iterations.
        registry: where components come from; all installed plugins if None.

    Returns:
        The folder.

    Raises:
        StoreError: if there is no such method, it is not trained and evaluated, or the folder cannot be written.
        SpecError: if the method is not named where there are several, or a plugin is missing.
        CertificateError: if its weights cannot be certified, or its certificate does not hold.
        InvregError: if a program was asked for, and the method cannot become one.
    """
    registry, target = registry or Registry.installed(), usable_path(to, "to")
    store = RunFolder.existing(usable_path(run, "run"))
    model, plan = model_of_run(store, method, choose_device("cpu"), registry, progress=True)
    label, model.name = model.name, name or model.name
    history = _history(store, plan, label, model.name, further or {})
    further_files = programs(model, as_torch=torch_export, as_onnx=onnx)
    return save_model(model, target, registry, history, further_files)


def _history(run: RunFolder, plan: Plan, label: str, name: str, further: Mapping[str, pd.DataFrame]) -> History:
    folder, identity = run.method(label), run.identity
    if not folder.is_evaluated:
        raise StoreError(
            f"the method {label!r} is not evaluated yet",
            where=str(run.path),
            hint="run the same spec again: what is done is kept",
        )
    if run.has("summary.csv"):
        summary = run.summary
    else:  # others of the run are not done yet
        summary = folder.metrics.drop(columns="image").groupby("method", sort=False).mean().reset_index()
    trainer = plan.spec.methods[label].trainer
    record = folder.training
    return History(
        data=without_paths(plan.spec.data.model_dump(mode="json")),
        images={"train": len(identity.train["images"]), "validation": len(identity.val), "test": len(identity.test)},
        trainer=None if trainer is None else without_paths(trainer.model_dump(mode="json")),
        summary={**record.summary, "seconds": record.seconds},
        warnings=list(dict.fromkeys(folder.warnings)),
        results=_rows(summary.replace({"method": {label: name}}), plan),
        further={title: _rows(table, plan) for title, table in further.items()},
        units={key: metric.unit for key, metric in plan.metrics.items() if metric.unit},
    )


def _rows(table: pd.DataFrame, plan: Plan) -> list[dict[str, Any]]:
    """One row per method, with the metrics of the plan."""
    columns = ["method", *(key for key in plan.metrics if key in table)]
    return [{str(key): value for key, value in row.items()} for row in table[columns].to_dict("records")]


def without_paths(value: Any) -> Any:
    """Plain values with the last part of each path: a model does not say where its maker keeps images."""
    if isinstance(value, Mapping):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and ("/" in value or "\\" in value):
        return value.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return value
