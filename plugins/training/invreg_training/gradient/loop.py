"""The training loop."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from invreg import (
    FollowsTraining,
    OutOfMemory,
    Reconstructor,
    TrainingContext,
    TrainingError,
    TrainingLog,
    generator,
    hold_signals,
    interrupt,
    memory_guard,
    signal_heard,
    stream_key,
)
from invreg_training.checkpoint import read_checkpoint
from invreg_training.gradient.optimizers import Optimizers
from invreg_training.gradient.precision import usable_precision
from invreg_training.gradient.schedule import rate_factor
from invreg_training.gradient.settings import TrainingSettings
from invreg_training.gradient.state import State
from invreg_training.processes import DataParallel
from invreg_training.randomness import seed_layers
from invreg_training.statistics import unshare_statistics
from invreg_training.validation import deciding_metric, is_better, validate

# Seconds between two reports of progress; on a GPU also between two looks at the loss, each of which waits for it.
_REPORT_EVERY = 0.2

_SMALLER = "a smaller batch_size, or smaller crops: data.train_size"

_BELOW_ONE = math.nextafter(1.0, 0.0)


class TrainingLoop:
    """Steps, validations and checkpoints of one training.

    Args:
        settings: the parameters of the trainer.
        loss: a module that holds the reconstructor: forward(z, x) is a number.
        label: the method, for events.
        identity: all that determines the result of the training; a checkpoint of another identity is refused.
        context: problem, images, device, folder.
        reconstructor: on the device; it is trained in place.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        loss: nn.Module,
        label: str,
        identity: dict[str, Any],
        context: TrainingContext,
        reconstructor: Reconstructor,
    ) -> None:
        self.settings, self.loss, self.label, self.identity = settings, loss, label, identity
        self.context, self.reconstructor = context, reconstructor
        self.parallel = DataParallel(context.device)
        self.together = self.parallel.together
        self.share = self.parallel.share(settings.batch_size)
        self.problem = self.parallel.problem(context.problem)
        self.steps_per_epoch = context.images.train.steps_per_epoch(settings.batch_size)
        self.budget = settings.budget(self.steps_per_epoch)
        trained = settings.batch_size * math.prod(context.images.train.crop_shape)
        self.marks = settings.marks(self.budget.steps, trained, context.images.val.images.numel())
        self.metric_name, self.metric = deciding_metric(context)
        self.optimizers = Optimizers(
            reconstructor,
            settings.optimizer,
            lr=settings.lr,
            muon_lr=settings.muon_lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        self.precision = usable_precision(settings.precision, context.device)
        self.state = State()
        self.path = context.folder / "checkpoint.safetensors"
        self._started = 0.0
        self._is_whole = True  # whether what is in memory is what some number of whole steps leave
        self._kept = 0  # the step of the last checkpoint
        # Kept on the device between two looks: the losses since then, and the first step that went wrong.
        self._losses = torch.zeros((), device=context.device)
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=context.device)

    def run(self) -> TrainingLog:
        """Trains from the start or from the last checkpoint, and leaves the best weights in the reconstructor."""
        checkpoint = self.together.from_main(lambda: read_checkpoint(self.path))
        self.state = State.of(checkpoint, self.path, self.identity, self.reconstructor, self.optimizers)
        self._kept = self.state.step
        if self.state.ended is None or self.state.validation_is_due:
            try:
                # Among several processes, a signal waits until all of them are interrupted, after the same step.
                with hold_signals() if self.together.count > 1 else nullcontext():
                    self._train()
            except KeyboardInterrupt as stop:
                stop.add_note(self._keep())
                raise
            finally:
                unshare_statistics(self.reconstructor)
        self.reconstructor.load_state_dict(self.state.best_weights)
        self._report()
        return TrainingLog(self.state.rows, self._summary())

    def _train(self) -> None:
        state, now = self.state, time.perf_counter
        loss = self.parallel.wrap(self.loss)
        self.reconstructor.train()
        self._started = now() - state.seconds
        reported = saved = now()
        if state.validation_is_due:  # the training was interrupted between the two
            self._tell_progress(state.fraction)
            self._validate()
            self._save()
        while state.ended is None:
            state.fraction = self.budget.fraction(state.step, state.seconds)
            with hold_signals():
                self._is_whole = False
                self._guarded_step(loss)
                state.step += 1
                self._read_clock()
                state.ended = self.budget.ended(state.step, state.seconds)
                state.validation_is_due = state.ended is not None or self._has_crossed_a_mark()
                self._is_whole = True
                self._hear()
            report = now() - reported >= _REPORT_EVERY
            if report or self.context.device.type == "cpu":
                self._look()
            if report:
                self._report()
                reported = now()
            if state.validation_is_due:
                self._validate()
            if state.ended or now() - saved >= 60 * self.settings.checkpoint_minutes:
                self._save()
                saved = now()
        self.optimizers.zero_grad()

    def _keep(self) -> str:
        """Saves what an interruption has left, if it came between two steps; says what is kept."""
        problem = ""
        if self._is_whole and self.state.step > self._kept:
            try:
                self._save()
            except TrainingError as error:
                problem = f" (no further: {error.what})"
        of = "" if self.budget.steps is None else f" of {self.budget.steps}"
        return f"{self.label} up to step {self._kept}{of}{problem}"

    def _read_clock(self) -> None:
        self.state.seconds = time.perf_counter() - self._started
        if self.budget.seconds is not None:  # decisions follow from it: they must be the same everywhere
            self.state.seconds = self.together.gather(lambda: self.state.seconds)[0]

    def _hear(self) -> None:
        """Interrupts all processes after the same step, if one of them has heard a signal."""
        if self.together.count > 1 and (number := max(self.together.gather(signal_heard))):
            interrupt(number)

    def _guarded_step(self, loss: nn.Module) -> None:
        settings, train = self.settings, self.context.images.train
        try:
            with memory_guard(f"training on {self.context.device}", (settings.batch_size, *train.crop_shape), _SMALLER):
                self._step(loss)
        except OutOfMemory:
            raise
        except Exception:
            self._look()  # an earlier loss that was not finite is the likelier cause of what failed now
            raise

    def _tell_progress(self, fraction: float) -> None:
        if isinstance(self.reconstructor, FollowsTraining):
            self.reconstructor.training_progress(min(fraction, _BELOW_ONE))

    def _rate(self) -> float:
        """The learning rate of the step that begins, or of the last one, as a multiple of its peak."""
        return rate_factor(self.state.fraction, self.settings.warmup, self.settings.final_lr)

    def _step(self, loss: nn.Module) -> None:
        settings, context, step = self.settings, self.context, self.state.step
        rank, seed = self.parallel.rank, context.seed
        self._tell_progress(self.state.fraction)
        noise = generator(stream_key(seed, "training noise", step, 0), context.device)
        train, size = context.images.train, settings.batch_size
        x, z = train.measured_batch(self.problem, seed, step, size, noise, self.share)
        # Layers that draw random numbers (dropout) draw from the global generators: theirs follow the step, too.
        seed_layers(context.device, stream_key(seed, "layers", step, rank))
        self.optimizers.zero_grad()
        with torch.autocast(context.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            value = loss(z, x)
        if not value.requires_grad:
            raise TrainingError(
                "the loss does not depend on any weight",
                where="trainer",
                expected=f"a {type(self.reconstructor).__name__} that is differentiable in its weights",
            )
        self.parallel.backward(value)
        norm = nn.utils.clip_grad_norm_(
            self.optimizers.parameters, math.inf if settings.gradient_clip is None else settings.gradient_clip
        )
        self.optimizers.step(self._rate())
        value = self.parallel.mean(value.detach())
        bad = ~(torch.isfinite(value) & torch.isfinite(norm)) & (self._first_bad < 0)
        self._first_bad = torch.where(bad, step, self._first_bad)
        self._losses += value
        self.state.loss_count += 1

    def _look(self) -> None:
        """Takes the losses from the device; refuses to go on from a step that went wrong."""
        first_bad = int(self._first_bad)
        if first_bad >= 0:
            raise TrainingError(
                f"the loss or its gradient is not finite at step {first_bad}",
                where="trainer",
                expected="finite numbers",
                hint="a smaller lr (and muon_lr), a longer warmup, or precision: float32",
            )
        with hold_signals():
            self.state.loss_sum += float(self._losses)
            self._losses.zero_()

    def _has_crossed_a_mark(self) -> bool:
        """Whether the last step has crossed one of the evenly spread marks."""
        count = self.marks
        fraction = self.budget.fraction(self.state.step, self.state.seconds)
        # A mark that rounding has put a little too far must not be missed by a step.
        return math.floor(fraction * count + 1e-9) > math.floor(self.state.fraction * count + 1e-9)

    def _validate(self) -> None:
        """Evaluates the weights, keeps them if they are the best so far, and adds a row to the log.

        It may be interrupted at any point: only its last lines change the state, and they are not interrupted.
        """
        self._look()
        state, start = self.state, time.perf_counter()
        value = validate(self.reconstructor, self.context)
        self.reconstructor.train()
        seconds = time.perf_counter() - start
        self._read_clock()
        better = is_better(value, state.best, self.metric)
        stale = 0 if better else state.stale + 1
        row = {
            "step": state.step,
            "epoch": round(state.step / self.steps_per_epoch, 4),
            "loss": state.loss_sum / state.loss_count,
            f"val_{self.metric_name}": value,
            "lr": self.settings.lr * self._rate(),
            "seconds": round(state.seconds, 3),
        }
        ended, patience = state.ended, self.settings.patience
        if ended is None and patience is not None and stale >= patience:
            ended = f"patience: {stale} validations in a row without a better {self.metric_name}"
        if ended is None:
            ended = self.context.stop_rule(state.step, value)
        if self.together.is_main:
            epoch = state.step // self.steps_per_epoch
            self.context.events.emit("invreg_epoch_finished", label=self.label, epoch=epoch, values=row)
        with hold_signals():
            self._is_whole = False
            state.validation_seconds += seconds
            if better:
                state.best, state.best_step = value, state.step
                state.best_weights = {k: v.detach().clone() for k, v in self.reconstructor.state_dict().items()}
            state.rows.append(row)
            state.loss_sum, state.loss_count = 0.0, 0
            state.stale, state.ended, state.validation_is_due = stale, ended, False
            self._is_whole = True

    def _report(self) -> None:
        if not self.together.is_main:
            return
        state, budget = self.state, self.budget
        values: dict[str, Any] = {}
        if state.loss_count:
            values["loss"] = state.loss_sum / state.loss_count
        elif state.rows:
            values["loss"] = state.rows[-1]["loss"]
        if state.rows:
            values[self.metric_name] = state.rows[-1][f"val_{self.metric_name}"]
        done, total = (state.step, budget.steps) if budget.steps else (state.seconds, budget.seconds)
        if state.ended:  # ended early, perhaps: what is done is all that will be
            total = done
        self.context.events.emit(
            "invreg_progress", label=self.label, stage="train", done=done, total=total, values=values
        )

    def _save(self) -> None:
        self._look()
        if self.together.is_main:
            self.state.save(self.path, self.identity, self.reconstructor, self.optimizers)
        self._kept = self.state.step

    def _summary(self) -> dict[str, Any]:
        state = self.state
        training = max(state.seconds - state.validation_seconds, 1e-9)
        return {
            "steps": state.step,
            "epochs": round(state.step / self.steps_per_epoch, 4),
            "best_step": state.best_step,
            f"best_val_{self.metric_name}": state.best,
            "ended": state.ended,
            "seconds": round(state.seconds, 3),
            "validation_seconds": round(state.validation_seconds, 3),
            "images_per_second": round(state.step * self.settings.batch_size / training, 2),
        }
