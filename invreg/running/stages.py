"""The stages of one run, in their order: train, evaluate, analyse, report.

Each stage leaves whole files in the run folder and is skipped when they are there; so a run that was interrupted goes
on where it was, and running a finished spec again only reads.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from invreg.components.analyzer import Analyzer, CompletedRun, Findings
from invreg.components.events import Events
from invreg.components.reconstructor import FinalisesWeights
from invreg.components.trainer import Method, TrainedMethod, TrainingContext, TrainingLog
from invreg.errors import InvregError, StoreError
from invreg.plugins.registry import spec_of
from invreg.reporting.report import write_report
from invreg.running.environment import describe_environment
from invreg.running.evaluation import measure_quality, reconstruct, recorded_warnings, summarize
from invreg.running.setting import Setting, fingerprint
from invreg.running.shared_work import Shared
from invreg.specs.methods import make_method
from invreg.specs.plan import Plan, PlannedMethod
from invreg.storage.certificates import RunCertificates
from invreg.storage.loading import load_method, method_result
from invreg.storage.result import Result
from invreg.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Stages:
    """One run in its folder.

    Attributes:
        plan: what to do.
        setting: images, measurements and the problem.
        folder: where it is kept; locked by the caller.
        device: where to compute.
        events: who listens.
        shared: what cells of a study have in common.
    """

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
        build = self.setting.builders[label]
        self.shared.fetch(self.plan, label, self.folder.method(label))
        if self.folder.has(base / "training.json"):
            trained = load_method(self.folder, label, build)
        else:
            messages: list[str] = []
            start = time.perf_counter()
            with recorded_warnings(messages):
                trained = self._fit(planned, make_method(self.plan, build))
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
