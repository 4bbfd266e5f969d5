"""The one place that knows the order of a run: plan, check, train, evaluate, analyse, report.

Each stage leaves whole files in the run folder and is skipped when they are there; so a run that was interrupted goes
on where it was, and running a finished spec again only reads.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from invreg.analyzer import Analyzer, CompletedRun, Findings
from invreg.certification import RunCertificates
from invreg.environment import choose_device, describe_environment
from invreg.errors import InvregError, StoreError
from invreg.evaluation import measure_quality, reconstruct, recorded_warnings, summarize
from invreg.events import Events
from invreg.listeners import TerminalProgress, TrainingLogFiles
from invreg.loading import holds_study, load_method, load_run, method_result
from invreg.plan import Plan, PlannedMethod, make_plan
from invreg.preflight import Setting, check_methods, fingerprint, load_setting, make_method
from invreg.reconstructor import FinalisesWeights
from invreg.redrawing import redraw_run
from invreg.registry import Registry, spec_of
from invreg.report import write_report
from invreg.result import Result
from invreg.shared import Shared
from invreg.spec import Spec, read_content, read_spec
from invreg.store import RunFolder
from invreg.tracking import asked_for, close_trackers, make_trackers
from invreg.trainer import Method, TrainedMethod, TrainingContext, TrainingLog

if TYPE_CHECKING:
    from invreg.certificate import StabilityCertificate
    from invreg.study import StudyResult


def run(
    spec: Spec | Mapping[str, Any] | str | Path,
    output: str | Path = "runs",
    device: str = "auto",
    progress: bool = True,
    overrides: Iterable[str] = (),
    registry: Registry | None = None,
    track: Iterable[str] | None = None,
) -> Result | StudyResult:
    """Runs a spec, or goes on with a run of the same spec that was interrupted. A spec with a `matrix` is a study.

    Args:
        spec: a `Spec`, a mapping, or the path of a YAML or JSON file.
        output: the folder in which the run folder is made.
        device: `auto`, `cpu`, `cuda`, ...
        progress: whether progress is shown on the terminal (standard error).
        overrides: `path=value` changes to the spec.
        registry: where components come from; all installed plugins if None.
        track: names of experiment trackers that follow the run (`tensorboard`, `mlflow`); those in the environment
            variable `INVREG_TRACK` if None.

    Returns:
        The result; its reconstructors are ready to use. For a study, the table over all cells, and the cells.

    Raises:
        SpecError: if the spec is wrong; nothing has been computed.
        InvregError: if the run cannot be done or finished; what was done is kept.
    """
    registry = registry or Registry.installed()
    content, where = read_content(spec, overrides), Path(output).expanduser()
    tracked = asked_for(track)
    close_trackers(make_trackers(registry, tracked))  # one that cannot be had is refused before anything else
    if "matrix" in content:
        from invreg.study import run_study

        return run_study(content, where, device, progress, registry, tracked)
    plan, chosen, shared = make_plan(read_spec(content), registry), choose_device(device), Shared()
    return run_plan(plan, check_plan(plan, chosen, shared), where, chosen, progress, shared, tracked)


def check_plan(plan: Plan, device: torch.device, shared: Shared) -> Setting:
    """Reads the images and checks that problem, images, methods and analyses fit together; nothing is trained."""
    setting = load_setting(plan, shared.images(plan, device), device)
    check_methods(
        plan, setting, lambda planned: make_method(plan, planned, setting.problem, setting.image_shape, device)
    )
    return setting


def run_plan(
    plan: Plan,
    setting: Setting,
    output: Path,
    device: torch.device,
    progress: bool,
    shared: Shared,
    tracked: Iterable[str] = (),
) -> Result:
    """Runs a plan, whose check gave the setting, in its folder below `output`."""
    folder = RunFolder.create(output, plan.spec, plan.digest)
    terminal = [TerminalProgress()] if progress else []
    trackers = make_trackers(plan.registry, tracked)
    with folder.locked():
        events = Events(plan.registry.manager, [*terminal, TrainingLogFiles(folder.path)], trackers)
        try:
            return _Run(plan, setting, folder, device, events, shared).execute()
        finally:
            for listener in terminal:
                listener.close()
            close_trackers(trackers)


def load(folder: str | Path, device: str = "auto", registry: Registry | None = None) -> Result | StudyResult:
    """What a finished run or study gave, from its folder, reconstructors ready to use; the images are not needed.

    Args:
        folder: the folder of a run or of a study.
        device: where reconstructors are put. The cells of a study are loaded when their `result` is first asked for.
        registry: where components come from; all installed plugins if None.

    Raises:
        StoreError: if the folder holds neither, or it is not finished.
        SpecError: if a plugin that it needs is missing.
    """
    path, registry = Path(folder).expanduser(), registry or Registry.installed()
    if holds_study(path):
        from invreg.study_folder import load_study

        return load_study(path, device, registry)
    return load_run(path, device, registry)


def redraw(folder: str | Path, registry: Registry | None = None) -> Path:
    """Draws all figures of a run or a study again from saved findings and writes its report anew; nothing is computed.

    The figures and reports of a study's finished cells are made anew, too.

    Returns:
        The report.

    Raises:
        StoreError: if the folder holds neither a run nor a study, or it is not finished.
        InvregError: if figures could not be drawn; all others are.
    """
    path, registry = Path(folder).expanduser(), registry or Registry.installed()
    if holds_study(path):
        from invreg.study_folder import redraw_study

        return redraw_study(path, registry)
    return redraw_run(path, registry)


def certify(folder: str | Path, registry: Registry | None = None) -> dict[str, StabilityCertificate]:
    """Makes the certificates of a finished run that are missing, verifies those that are there, and renews its report.

    Returns:
        The certificates by label, of the methods that can certify their stability.

    Raises:
        CertificateError: if none can be made, or one that is there does not hold.
        StoreError: if the folder holds no finished run.
    """
    registry = registry or Registry.installed()
    result = load_run(Path(folder).expanduser(), "cpu", registry)
    store = RunFolder.existing(result.folder)
    with store.locked():
        certificates = RunCertificates(store, {label: one.reconstructor for label, one in result.methods.items()})
        found = dict(certificates)
        write_report(store, make_plan(store.spec, registry))
    return found


@dataclass(frozen=True)
class _Run:
    """One run in its folder."""

    plan: Plan
    setting: Setting
    folder: RunFolder
    device: torch.device
    events: Events
    shared: Shared

    def execute(self) -> Result:
        self._begin()
        methods = {label: self._train(planned) for label, planned in self.plan.methods.items()}
        reconstructions, metrics = self._evaluate(methods)
        results = {label: method_result(self.folder, label, trained) for label, trained in methods.items()}
        summary = summarize(
            metrics,
            {label: _count_parameters(trained) for label, trained in methods.items()},
            {label: result.training_seconds for label, result in results.items()},
        )
        self.folder.write_table("metrics.csv", metrics)
        self.folder.write_table("summary.csv", summary)
        findings = self._analyse(methods, reconstructions, metrics)
        write_report(self.folder, self.plan)
        result = Result(self.folder.path, self.plan.spec, self.setting.problem, metrics, summary, results, findings)
        self._fail_if_an_analysis_failed()
        self.events.emit("invreg_run_finished", result=result)
        return result

    def _begin(self) -> None:
        identity = {**fingerprint(self.setting.images), "digest": self.plan.digest}
        if self.folder.has("run.json"):
            before = self.folder.read_json("run.json")
            if before != identity:
                raise StoreError(
                    "was begun with other images under the same spec",
                    where=str(self.folder.path),
                    expected="the same files as then",
                    hint="another --output, or delete this folder",
                )
        self.folder.write_spec(self.plan.spec)
        self.folder.write_json("environment.json", describe_environment(self.plan.registry, self.device))
        self.folder.write_json("run.json", identity)
        self.events.emit("invreg_run_started", folder=self.folder.path, spec=self.plan.spec)

    # -- training

    def _train(self, planned: PlannedMethod) -> TrainedMethod:
        label, base = planned.label, Path("methods") / planned.label
        problem, shape = self.setting.problem, self.setting.image_shape
        self.shared.fetch(self.plan, label, self.folder.method(label))
        if self.folder.has(base / "training.json"):
            trained = load_method(self.plan, label, self.folder, problem, shape, self.device)
        else:
            method = make_method(self.plan, planned, problem, shape, self.device)
            messages: list[str] = []
            start = time.perf_counter()
            with recorded_warnings(messages):
                trained = self._fit(planned, method)
                self._finalise(label, trained)
            trained.reconstructor.eval()
            seconds = trained.log.summary.get("seconds", time.perf_counter() - start if planned.trainer else 0.0)
            self._save_method(label, trained, seconds, messages)
        self.events.emit("invreg_method_trained", label=label, trained=trained)
        return trained

    def _fit(self, planned: PlannedMethod, method: Method) -> TrainedMethod:
        if planned.trainer is None:
            return TrainedMethod(method.build(), TrainingLog())
        scratch = self.folder.method(planned.label) / "training"
        scratch.mkdir(parents=True, exist_ok=True)
        context = TrainingContext(
            problem=self.setting.problem,
            image_shape=self.setting.image_shape,
            images=self.setting.images,
            val_measurements=self.setting.val_measurements,
            device=self.device,
            seed=self.plan.spec.seed,
            folder=scratch,
            events=self.events,
            metrics=self.plan.metrics,
            batch_size=self.plan.spec.evaluation.batch_size,
        )
        try:
            return planned.trainer.fit(method, context)
        except InvregError as error:
            raise error.at(f"methods.{planned.label}") from None

    def _finalise(self, label: str, trained: TrainedMethod) -> None:
        """After the last step of training and before anything is saved, so that evaluation sees what is saved."""
        if isinstance(trained.reconstructor, FinalisesWeights):
            try:
                trained.reconstructor.finalise()
            except InvregError as error:
                raise error.at(f"methods.{label}") from None

    def _save_method(self, label: str, trained: TrainedMethod, seconds: float, messages: list[str]) -> None:
        base = Path("methods") / label
        self.folder.write_tensors(base / "weights.safetensors", trained.reconstructor.state_dict())
        self.folder.write_json(base / "reconstructor.json", spec_of(trained.reconstructor, self.plan.registry))
        self.folder.write_table(base / "log.csv", pd.DataFrame(trained.log.rows))
        record = {
            "seconds": seconds,
            "parameters": _count_parameters(trained),
            "summary": trained.log.summary,
            "warnings": messages,
        }
        self.folder.write_json(base / "training.json", record)
        shutil.rmtree(self.folder.path / base / "training", ignore_errors=True)

    # -- evaluation

    def _evaluate(self, methods: Mapping[str, TrainedMethod]) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
        reconstructions, tables = {}, []
        test, metrics = self.setting.images.test, self.plan.metrics
        for label, trained in methods.items():
            base = Path("methods") / label
            if not self.folder.has(base / "metrics.csv"):
                messages: list[str] = []
                with recorded_warnings(messages):
                    x_hat, seconds = reconstruct(
                        trained.reconstructor,
                        self.setting.test_measurements,
                        self.device,
                        self.plan.spec.evaluation.batch_size,
                    )
                self.folder.write_tensors(base / "reconstructions.safetensors", {"reconstructions": x_hat})
                self.folder.write_json(base / "evaluation.json", {"warnings": messages})
                table = measure_quality(label, x_hat, test.images, list(test.names), seconds, metrics)
                self.folder.write_table(base / "metrics.csv", table)
            # Also what was there already: the run may have been killed just before it could offer it.
            self.shared.offer(self.plan, label, self.folder.method(label))
            reconstructions[label] = self.folder.read_tensors(base / "reconstructions.safetensors")["reconstructions"]
            tables.append(self.folder.read_table(base / "metrics.csv"))
        return reconstructions, pd.concat(tables, ignore_index=True)

    # -- analyses

    def _analyse(
        self, methods: Mapping[str, TrainedMethod], reconstructions: Mapping[str, torch.Tensor], metrics: pd.DataFrame
    ) -> dict[str, Findings]:
        completed = CompletedRun(
            title=self.plan.spec.title,
            seed=self.plan.spec.seed,
            device=self.device,
            problem=self.setting.problem,
            images=self.setting.images,
            measurements=self.setting.test_measurements,
            methods=methods,
            reconstructions=reconstructions,
            metrics=metrics,
            metric_components=self.plan.metrics,
            batch_size=self.plan.spec.evaluation.batch_size,
            certificates=RunCertificates(
                self.folder, {label: trained.reconstructor for label, trained in methods.items()}
            ),
            events=self.events,
        )
        findings = {}
        for number, (key, analyzer) in enumerate(self.plan.analyses.items()):
            self.events.emit(
                "invreg_progress", label="analyses", stage=key, done=number, total=len(self.plan.analyses), values={}
            )
            found = self._analyse_one(key, analyzer, completed)
            if found is not None:
                findings[key] = found
                self.events.emit("invreg_findings_made", name=key, findings=found)
        return findings

    def _analyse_one(self, key: str, analyzer: Analyzer, completed: CompletedRun) -> Findings | None:
        """One analysis. What it raises is recorded, so that it costs neither the others nor the report."""
        base = Path("analyses") / key
        try:
            if not self._is_found(key, analyzer):
                self.folder.forget_findings(key)
                self.folder.write_json(base / "analyzer.json", spec_of(analyzer, self.plan.registry))
                self.folder.write_json(base / "left_out.json", analyzer.left_out(completed))
                self.folder.write_findings(key, analyzer.analyze(completed))
            # Read back even what was just written: figures must come from what is saved.
            found = self.folder.read_findings(key)
            if not self.folder.has(base / "figures.json"):
                self.folder.write_figures(key, analyzer.draw(found))
        except Exception as error:  # noqa: BLE001 (an analysis may be anyone's code)
            self.folder.write_failure(base, error)
            return None
        self.folder.clear_failure(base)
        return found

    def _is_found(self, key: str, analyzer: Analyzer) -> bool:
        """Whether the findings that lie there are those of this analyzer: its parameters may have changed since."""
        base = Path("analyses") / key
        if not (self.folder.has(base / "findings.json") and self.folder.has(base / "analyzer.json")):
            return False
        return bool(self.folder.read_json(base / "analyzer.json") == spec_of(analyzer, self.plan.registry))

    def _fail_if_an_analysis_failed(self) -> None:
        failed = [key for key in self.plan.analyses if self.folder.has(Path("analyses") / key / "failure.txt")]
        if failed:
            first = self.folder.analysis(failed[0]) / "failure.txt"
            cause = first.read_text(encoding="utf-8").splitlines()[0]
            raise InvregError(
                f"failed: {cause}",
                where=f"analyses: {', '.join(failed)}",
                hint=f"see {first}; the rest of the run is complete, and the same command takes up this analysis only",
            )


def _count_parameters(trained: TrainedMethod) -> int:
    return sum(parameter.numel() for parameter in trained.reconstructor.parameters())
