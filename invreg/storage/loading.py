"""From the folder of a finished run to its result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invreg.components.device import choose_device
from invreg.components.problem import Problem
from invreg.components.trainer import TrainedMethod, TrainingLog
from invreg.errors import StoreError
from invreg.specs.methods import ReconstructorBuilder
from invreg.specs.plan import make_plan
from invreg.storage.result import MethodResult, Result
from invreg.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from invreg.plugins.registry import Registry


def holds_study(folder: Path) -> bool:
    """Whether the folder is that of a study."""
    return (folder / "study.yaml").is_file()


def load_run(folder: Path, device: str, registry: Registry) -> Result:
    """The result of a finished run.

    Raises:
        StoreError: if the folder holds no run, or an unfinished one.
        SpecError: if a plugin that the run used is missing.
    """
    store = RunFolder.existing(folder)
    plan = make_plan(store.spec, registry)
    where = choose_device(device)
    problem = Problem(plan.operator, plan.noise).to(where)
    image_shape = tuple(store.read_json("run.json")["image_shape"])
    builders = {label: ReconstructorBuilder(plan, label, problem, image_shape, where) for label in plan.methods}
    methods = {label: load_method(store, label, build) for label, build in builders.items()}
    findings = {key: store.read_findings(key) for key in plan.analyses}
    return Result(
        folder=store.path,
        spec=plan.spec,
        problem=problem,
        metrics=store.read_table("metrics.csv"),
        summary=store.read_table("summary.csv"),
        methods={label: method_result(store, label, trained) for label, trained in methods.items()},
        findings=findings,
    )


def load_method(folder: RunFolder, label: str, build: ReconstructorBuilder) -> TrainedMethod:
    """A trained method from its files.

    Raises:
        StoreError: if one is missing or broken, or the weights do not fit.
    """
    base = Path("methods") / label
    weights = folder.read_tensors(base / "weights.safetensors")
    reconstructor = build.of(folder.read_json(base / "reconstructor.json"))
    try:
        reconstructor.load_state_dict(weights)
    except RuntimeError as error:
        raise StoreError(
            f"the weights do not fit the reconstructor: {error}",
            where=str(folder.method(label) / "weights.safetensors"),
            hint="the plugin may have changed since: compare environment.json with `invreg plugins`",
        ) from None
    return TrainedMethod(reconstructor.eval(), load_log(folder, label))


def load_log(folder: RunFolder, label: str) -> TrainingLog:
    """The log of a training; nothing else is loaded.

    Raises:
        StoreError: if it is missing: there is no such method, or its training is not done.
    """
    record = folder.read_json(Path("methods") / label / "training.json")
    rows = [{str(key): value for key, value in row.items()} for row in folder.read_log(label).to_dict("records")]
    return TrainingLog(rows, record["summary"])


def method_result(folder: RunFolder, label: str, trained: TrainedMethod) -> MethodResult:
    """A trained method with what its files say about its training and its evaluation."""
    record = folder.read_json(Path("methods") / label / "training.json")
    return MethodResult(trained.reconstructor, trained.log, record["seconds"], load_warnings(folder, label))


def load_warnings(folder: RunFolder, label: str) -> list[str]:
    """What did not go as it should in the training and the evaluation of a method."""
    records = [folder.read_json(Path("methods") / label / name) for name in ("training.json", "evaluation.json")]
    return [text for record in records for text in record["warnings"]]
