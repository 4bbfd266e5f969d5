"""The stages of one run, in their order: train, evaluate, analyse, report.

Each stage leaves whole files in the run folder and is skipped when they are there; so a run that was interrupted goes
on where it was, and running a finished spec again only reads.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch

from invreg.components.analyzer import CompletedRun, Findings
from invreg.components.events import Events
from invreg.components.trainer import Method, TrainedMethod, TrainingContext, TrainingLog
from invreg.computing.processes import processes
from invreg.computing.threads import Times
from invreg.errors import DataError, InvregError, InvregWarning, recorded_warnings
from invreg.plugins.registry import spec_of
from invreg.reporting.report import write_report
from invreg.running.agreement import require_equal
from invreg.running.environment import describe_environment
from invreg.running.evaluation import doubt, measure_quality, reconstruct, summarize
from invreg.running.inputs import RunInputs
from invreg.running.progress import ANALYSES
from invreg.running.shared_work import SharedWork
from invreg.running.training import finalise, fit
from invreg.specs.methods import make_method
from invreg.specs.plan import Plan, PlannedMethod
from invreg.storage.certificates import RunCertificates
from invreg.storage.method_folder import MethodFolder, TrainingRecord
from invreg.storage.result import MethodResult, Result
from invreg.storage.run_folder import RunFolder, RunIdentity
from invreg.storage.run_images import RunImages

#: Values of test images, and of their measurements, that are kept for the report: one byte each.
_MOST_SHOWN = 8_000_000


@dataclass(frozen=True)
class Stages:
    """One run in its folder.

    Several processes that carry out a run together execute its stages side by side. The folder belongs to the main
    one: what has to be read or written there, it does for all.

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
        together = processes()
        self._begin()
        methods = {label: self._train(planned) for label, planned in self.plan.methods.items()}
        for label, trained in methods.items():
            self._evaluate(label, trained)
        outcome = together.from_main(lambda: self._conclude(methods))
        result = Result(
            folder=self.folder.path,
            spec=self.plan.spec,
            problem=self.inputs.problem,
            metrics=outcome.metrics,
            summary=outcome.summary,
            methods={
                label: MethodResult(
                    trained.reconstructor,
                    trained.log,
                    outcome.seconds[label],
                    outcome.warnings[label],
                    self.folder.method(label),
                )
                for label, trained in methods.items()
            },
            findings=outcome.findings,
            _images=RunImages(self.folder, self.plan.spec, self.inputs.problem, self.device, self.plan.registry),
        )
        together.from_main(self._fail_if_an_analysis_failed)
        self.events.emit("invreg_run_finished", result=result)
        return result

    def _begin(self) -> None:
        together = processes()
        identity = RunIdentity(**self.inputs.images.fingerprint(), digest=self.plan.digest, format=2)
        require_equal(together.gather(lambda: asdict(identity)), "images", DataError)

        def begin() -> None:
            self.folder.begin(self.plan, identity, describe_environment(self.plan.registry, self.device))
            self.events.emit("invreg_run_started", folder=self.folder.path, spec=self.plan.spec)

        together.from_main(begin)

    def _conclude(self, methods: Mapping[str, TrainedMethod]) -> _Outcome:
        """Tables, analyses and report of the methods, trained and evaluated."""
        folders = {label: self.folder.method(label) for label in methods}
        metrics = pd.concat([folder.metrics for folder in folders.values()], ignore_index=True)
        seconds = {label: folder.training.seconds for label, folder in folders.items()}
        warnings = {label: folder.warnings for label, folder in folders.items()}
        sizes = {label: _count_parameters(trained) for label, trained in methods.items()}
        summary = summarize(metrics, sizes, seconds)
        self.folder.write_results(metrics, summary)
        reconstructions = {label: folder.reconstructions for label, folder in folders.items()}
        findings = self._analyse(methods, reconstructions, metrics)
        self.folder.write_test_images(_shown(self.inputs))
        write_report(self.folder, self.plan)
        self.folder.finish(self.plan)
        return _Outcome(metrics, summary, findings, seconds, warnings)

    # -- training

    def _train(self, planned: PlannedMethod) -> TrainedMethod:
        together, label, folder = processes(), planned.label, self.folder.method(planned.label)
        trainer, build = planned.trainer, self.inputs.builders[planned.label]
        if together.from_main(lambda: self._is_trained(folder)):
            trained = self._from_main(label, lambda: folder.load(build))
        elif together.count > 1 and trainer is not None and not trainer.shares_work():
            trained = self._from_main(label, lambda: self._fit_and_save(planned))
        else:
            trained = self._fit_and_save(planned)
        self.events.emit("invreg_method_trained", label=label, trained=trained)
        return trained

    def _is_trained(self, folder: MethodFolder) -> bool:
        self.shared.copy_to(self.plan, folder)
        if folder.is_trained:
            folder.remove_scratch()
            folder.restore_logs()
        return folder.is_trained

    def _from_main(self, label: str, work: Callable[[], TrainedMethod]) -> TrainedMethod:
        """A trained method, which the main process has from this work."""
        together, made = processes(), list[TrainedMethod]()

        def sent() -> tuple[dict[str, Any], dict[str, torch.Tensor], TrainingLog] | None:
            made.append(work())
            if together.count == 1:
                return None
            net = made[0].reconstructor
            weights = {name: value.cpu() for name, value in net.state_dict().items()}
            return spec_of(net, self.plan.registry), weights, made[0].log

        received = together.from_main(sent)
        if made or received is None:
            return made[0]
        spec, weights, log = received
        reconstructor = self.inputs.builders[label].of(spec)
        reconstructor.load_state_dict(weights)
        return TrainedMethod(reconstructor.eval(), log)

    def _fit_and_save(self, planned: PlannedMethod) -> TrainedMethod:
        together, folder = processes(), self.folder.method(planned.label)
        messages = together.from_main(lambda: folder.early_warnings)
        keep = folder.keep_warnings if together.is_main else None
        start, before = time.perf_counter(), Times.now()
        with recorded_warnings(messages, keep):
            trained = self._fit(planned, make_method(self.plan, self.inputs.builders[planned.label]))
            if complaint := Times.now().since(before).complaint:
                warnings.warn(complaint, InvregWarning, stacklevel=2)  # kept with its method, which it need not name
        seconds = trained.log.summary.get("seconds", time.perf_counter() - start if planned.trainer else 0.0)
        heard = [message for told in together.gather(lambda: messages) for message in told]
        together.from_main(lambda: self._save_method(planned.label, trained, seconds, list(dict.fromkeys(heard))))
        return trained

    def _fit(self, planned: PlannedMethod, method: Method) -> TrainedMethod:
        where = f"methods.{planned.label}"
        if planned.trainer is None:
            return finalise(TrainedMethod(method.build(), TrainingLog()), where)
        return finalise(fit(planned.trainer, method, self._context(planned.label), where), where)

    def _context(self, label: str) -> TrainingContext:
        scratch = self.folder.method(label).scratch
        if processes().is_main:
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

    def _evaluate(self, label: str, trained: TrainedMethod) -> None:
        together, folder = processes(), self.folder.method(label)
        if not together.from_main(lambda: folder.is_evaluated):
            evaluation = self.plan.spec.evaluation
            x_hat, seconds, messages = reconstruct(
                trained.reconstructor,
                self.inputs.test_measurements,
                self.device,
                evaluation.batch_size,
                f"methods.{label}",
            )
            together.from_main(lambda: self._save_evaluation(label, trained, x_hat, seconds, messages))
        # Also what was there already: the run may have been killed just before it was kept.
        together.from_main(lambda: self.shared.keep(self.plan, folder))

    def _save_evaluation(
        self, label: str, trained: TrainedMethod, x_hat: torch.Tensor, seconds: list[float], said: list[str]
    ) -> None:
        test, messages = self.inputs.images.test, list(self.inputs.warnings)
        messages += [message for message in said if message not in messages]
        with recorded_warnings(messages):
            if (found := doubt(x_hat, test.images, learned=_count_parameters(trained) > 0)) is not None:
                messages.append(found)
            table = measure_quality(label, x_hat, test.images, list(test.names), seconds, self.plan.metrics)
        self.folder.method(label).write_evaluation(x_hat, table, messages)

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
            self._report(number, key)
            found = self.folder.analysis(key).make(analyzer, completed, self.plan.registry)
            if found is not None:
                findings[key] = found
                self.events.emit("invreg_findings_made", name=key, findings=found)
        if self.plan.analyses:
            self._report(len(self.plan.analyses))
        return findings

    def _report(self, done: int, now: str = "") -> None:
        total, values = len(self.plan.analyses), {"now": now} if now else {}
        self.events.emit("invreg_progress", label=ANALYSES, stage="done", done=done, total=total, values=values)

    def _fail_if_an_analysis_failed(self) -> None:
        failed = [folder for key in self.plan.analyses if (folder := self.folder.analysis(key)).failure]
        if failed:
            first = failed[0]
            said, *more = str(first.failure).splitlines()
            mark = "  expected: "
            raise InvregError(
                f"failed: {said}",
                where=f"analyses: {', '.join(folder.key for folder in failed)}",
                expected=next((line.removeprefix(mark) for line in more if line.startswith(mark)), None),
                hint=f"see {first.failure_file}; the rest of the run is complete, and the same command takes up this "
                "analysis only",
            )


@dataclass(frozen=True)
class _Outcome:
    """What a run gave: its tables and findings; the seconds of training and the warnings, by label."""

    metrics: pd.DataFrame
    summary: pd.DataFrame
    findings: dict[str, Findings]
    seconds: dict[str, float]
    warnings: dict[str, list[str]]


def _shown(inputs: RunInputs) -> dict[str, torch.Tensor]:
    """The first test images and their measurements in bytes, as far as a report can show them."""
    truth, z = inputs.images.test.images, inputs.test_measurements
    amount = max(1, min(len(truth), _MOST_SHOWN // max(truth[0].numel(), z[0].numel())))
    shown = {"truth": _as_bytes(truth[:amount])}
    if z.shape == truth.shape:
        shown["measurement"] = _as_bytes(z[:amount])
    elif z.ndim == truth.ndim:  # values of another kind, as those of a sinogram: each from its smallest to its largest
        low, high = z[:amount].flatten(1).aminmax(dim=1)
        low, high = (value.reshape(-1, *[1] * (z.ndim - 1)) for value in (low, high))
        shown["measurement"] = _as_bytes((z[:amount] - low) / (high - low).clamp_min(1e-12))
    return shown


def _as_bytes(images: torch.Tensor) -> torch.Tensor:
    return (images.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def _count_parameters(trained: TrainedMethod) -> int:
    return sum(parameter.numel() for parameter in trained.reconstructor.parameters())
