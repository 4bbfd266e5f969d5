"""The stages of one run, in their order: train, evaluate, analyse, report.

Each stage leaves whole files in the run folder and is skipped when they are there; so a run that was interrupted goes
on where it was, and running a finished spec again only reads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch

from invreg.components.analyzer import CompletedRun, Findings
from invreg.components.events import Events
from invreg.components.trainer import Method, TrainedMethod, TrainingContext, TrainingLog
from invreg.errors import InvregError, recorded_warnings
from invreg.plugins.registry import spec_of
from invreg.reporting.report import write_report
from invreg.running.environment import describe_environment
from invreg.running.evaluation import doubt, measure_quality, reconstruct, summarize
from invreg.running.inputs import RunInputs
from invreg.running.shared_work import SharedWork
from invreg.running.training import finalise, fit
from invreg.specs.methods import make_method
from invreg.specs.plan import Plan, PlannedMethod
from invreg.storage.certificates import RunCertificates
from invreg.storage.method_folder import TrainingRecord
from invreg.storage.result import MethodResult, Result
from invreg.storage.run_folder import RunFolder, RunIdentity
from invreg.storage.run_images import RunImages


@dataclass(frozen=True)
class Stages:
    """One run in its folder.

    Attributes:
        plan: what to do.
        inputs: images, measurements and the problem.
        folder: where it is kept; locked by the caller.
        device: where to compute.
        events: who listens.
        shared: what cells of a study have in common.
    """

    plan: Plan
    inputs: RunInputs
    folder: RunFolder
    device: torch.device
    events: Events
    shared: SharedWork

    def execute(self) -> Result:
        self._begin()
        methods = {label: self._train(planned) for label, planned in self.plan.methods.items()}
        reconstructions, metrics = self._evaluate(methods)
        results = {label: MethodResult.of(trained, self.folder.method(label)) for label, trained in methods.items()}
        summary = summarize(
            metrics,
            {label: _count_parameters(trained) for label, trained in methods.items()},
            {label: result.training_seconds for label, result in results.items()},
        )
        self.folder.write_results(metrics, summary)
        findings = self._analyse(methods, reconstructions, metrics)
        write_report(self.folder, self.plan)
        self.folder.finish(self.plan)
        result = Result(
            folder=self.folder.path,
            spec=self.plan.spec,
            problem=self.inputs.problem,
            metrics=metrics,
            summary=summary,
            methods=results,
            findings=findings,
            _images=RunImages(self.folder, self.plan.spec, self.inputs.problem, self.device, self.plan.registry),
        )
        self._fail_if_an_analysis_failed()
        self.events.emit("invreg_run_finished", result=result)
        return result

    def _begin(self) -> None:
        identity = RunIdentity(**self.inputs.images.fingerprint(), digest=self.plan.digest, format=2)
        self.folder.begin(self.plan, identity, describe_environment(self.plan.registry, self.device))
        self.events.emit("invreg_run_started", folder=self.folder.path, spec=self.plan.spec)

    # -- training

    def _train(self, planned: PlannedMethod) -> TrainedMethod:
        label, folder = planned.label, self.folder.method(planned.label)
        build = self.inputs.builders[label]
        self.shared.copy_to(self.plan, folder)
        if folder.is_trained:
            folder.remove_scratch()
            folder.restore_logs()
            trained = folder.load(build)
        else:
            messages = folder.early_warnings
            start = time.perf_counter()
            with recorded_warnings(messages, folder.keep_warnings):
                trained = self._fit(planned, make_method(self.plan, build))
            seconds = trained.log.summary.get("seconds", time.perf_counter() - start if planned.trainer else 0.0)
            self._save_method(label, trained, seconds, messages)
        self.events.emit("invreg_method_trained", label=label, trained=trained)
        return trained

    def _fit(self, planned: PlannedMethod, method: Method) -> TrainedMethod:
        where = f"methods.{planned.label}"
        if planned.trainer is None:
            return finalise(TrainedMethod(method.build(), TrainingLog()), where)
        return finalise(fit(planned.trainer, method, self._context(planned.label), where), where)

    def _context(self, label: str) -> TrainingContext:
        scratch = self.folder.method(label).scratch
        scratch.mkdir(parents=True, exist_ok=True)
        return TrainingContext(
            problem=self.inputs.problem,
            image_shape=self.inputs.image_shape,
            images=self.inputs.images,
            val_measurements=self.inputs.val_measurements,
            device=self.device,
            seed=self.plan.spec.seed,
            folder=scratch,
            events=self.events,
            metrics=self.plan.metrics,
            batch_size=self.plan.spec.evaluation.batch_size,
        )

    def _save_method(self, label: str, trained: TrainedMethod, seconds: float, messages: list[str]) -> None:
        measured_range = self.inputs.problem.measured_range
        record = TrainingRecord(seconds, _count_parameters(trained), trained.log.summary, messages, measured_range)
        spec = spec_of(trained.reconstructor, self.plan.registry)
        self.folder.method(label).write_trained(trained, spec, record)

    # -- evaluation

    def _evaluate(self, methods: Mapping[str, TrainedMethod]) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
        reconstructions, tables = {}, []
        test, metrics = self.inputs.images.test, self.plan.metrics
        for label, trained in methods.items():
            folder = self.folder.method(label)
            if not folder.is_evaluated:
                messages = list(self.inputs.warnings)
                with recorded_warnings(messages):
                    x_hat, seconds = reconstruct(
                        trained.reconstructor,
                        self.inputs.test_measurements,
                        self.device,
                        self.plan.spec.evaluation.batch_size,
                        f"methods.{label}",
                    )
                if (found := doubt(x_hat, test.images, learned=_count_parameters(trained) > 0)) is not None:
                    messages.append(found)
                table = measure_quality(label, x_hat, test.images, list(test.names), seconds, metrics)
                folder.write_evaluation(x_hat, table, messages)
            # Also what was there already: the run may have been killed just before it was kept.
            self.shared.keep(self.plan, folder)
            reconstructions[label] = folder.reconstructions
            tables.append(folder.metrics)
        return reconstructions, pd.concat(tables, ignore_index=True)

    # -- analyses

    def _analyse(
        self, methods: Mapping[str, TrainedMethod], reconstructions: Mapping[str, torch.Tensor], metrics: pd.DataFrame
    ) -> dict[str, Findings]:
        completed = CompletedRun(
            title=self.plan.spec.title,
            seed=self.plan.spec.seed,
            device=self.device,
            problem=self.inputs.problem,
            images=self.inputs.images,
            measurements=self.inputs.test_measurements,
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
            found = self.folder.analysis(key).make(analyzer, completed, self.plan.registry)
            if found is not None:
                findings[key] = found
                self.events.emit("invreg_findings_made", name=key, findings=found)
        return findings

    def _fail_if_an_analysis_failed(self) -> None:
        failed = [folder for key in self.plan.analyses if (folder := self.folder.analysis(key)).failure]
        if failed:
            first = failed[0]
            raise InvregError(
                f"failed: {str(first.failure).splitlines()[0]}",
                where=f"analyses: {', '.join(folder.key for folder in failed)}",
                hint=f"see {first.failure_file}; the rest of the run is complete, and the same command takes up this "
                "analysis only",
            )


def _count_parameters(trained: TrainedMethod) -> int:
    return sum(parameter.numel() for parameter in trained.reconstructor.parameters())
