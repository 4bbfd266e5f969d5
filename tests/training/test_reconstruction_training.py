from __future__ import annotations

import dataclasses
import math
import signal
import time
from pathlib import Path

import pytest
import torch
from processes import Command
from torch import Tensor, nn
from training_helpers import (
    BoxBlur,
    Gain,
    Listener,
    RestlessConvs,
    ThreeConvs,
    make_context,
    make_method,
    make_splits,
    same_weights,
    smooth_images,
)
from training_worker import STEPS

from invreg.components.dataset import ImageStack, Splits
from invreg.components.reconstructor import Reconstructor
from invreg.components.trainer import TrainedMethod
from invreg.components.training_images import TrainingImages
from invreg.errors import ShapeError, SpecError, TrainingError
from invreg.schema.parameters import parameters_model
from invreg.testing.toys import ToyNoise
from invreg_training.checkpoint import read_checkpoint
from invreg_training.gradient.trainer import ReconstructionTraining

WORKER = Path(__file__).with_name("training_worker.py")


def fit(
    folder: Path, trainer: ReconstructionTraining, cls: type[Reconstructor] = ThreeConvs, **kwargs
) -> TrainedMethod:
    context = make_context(folder, **kwargs)
    return trainer.fit(make_method(cls, context), context)


@pytest.mark.slow
def test_training_improves_on_the_measurement_and_logs_it(tmp_path: Path) -> None:
    listener = Listener()
    context = make_context(tmp_path, noise=ToyNoise(0.01), listener=listener)
    trained = ReconstructionTraining(steps=60, batch_size=8).fit(make_method(ThreeConvs, context), context)
    observed = context.metrics["psnr"](context.val_measurements, context.images.val.images).mean()
    log = trained.log
    assert log.summary["best_val_psnr"] > observed + 1
    assert [row["step"] for row in log.rows] == list(range(6, 61, 6))
    assert list(log.rows[0]) == ["step", "epoch", "loss", "val_psnr", "lr", "seconds"]
    assert log.rows[-1]["loss"] < log.rows[0]["loss"]
    assert log.summary["steps"] == 60
    assert log.summary["ended"] == "all 60 steps done"
    assert log.summary["images_per_second"] > 0
    assert [entry["values"] for entry in listener.epochs] == log.rows
    assert listener.progress[-1]["done"] == listener.progress[-1]["total"] == 60
    assert listener.progress[-1]["stage"] == "train"
    assert {"loss", "psnr"} <= set(listener.progress[-1]["values"])
    assert not trained.reconstructor.training
    # what is returned is what was logged as the best
    with torch.no_grad():
        x_hat = trained.reconstructor(context.val_measurements)
    value = context.metrics["psnr"](x_hat, context.images.val.images).mean()
    assert float(value) == pytest.approx(log.summary["best_val_psnr"], abs=1e-4)


@pytest.mark.parametrize("optimizer", ["muon", "adam", "adamw"])
def test_same_seed_same_weights_other_seed_other_weights(tmp_path: Path, optimizer: str) -> None:
    trainer = ReconstructionTraining(steps=6, batch_size=4, optimizer=optimizer)
    first = fit(tmp_path / "a", trainer, noise=ToyNoise())
    torch.manual_seed(123)  # whatever happened before in this process must not matter
    torch.rand(5)
    second = fit(tmp_path / "b", trainer, noise=ToyNoise())
    other = fit(tmp_path / "c", trainer, noise=ToyNoise(), seed=1)
    assert same_weights(first.reconstructor, second.reconstructor)
    assert not same_weights(first.reconstructor, other.reconstructor)
    assert [r["loss"] for r in first.log.rows] == [r["loss"] for r in second.log.rows]


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(tmp_path, ReconstructionTraining(steps=2, batch_size=2), RestlessConvs)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["muon", "adam"])
@pytest.mark.parametrize("stop", [5, 12])
def test_resumed_training_ends_with_the_same_weights(tmp_path: Path, optimizer: str, stop: int) -> None:
    trainer = ReconstructionTraining(**{**STEPS, "optimizer": optimizer})
    whole = fit(tmp_path / "whole", trainer, RestlessConvs, noise=ToyNoise())

    class Interrupting(RestlessConvs):
        def training_progress(self, fraction: float) -> None:
            super().training_progress(fraction)
            if len(self.fractions) > stop:
                raise KeyboardInterrupt

    Interrupting.__qualname__ = RestlessConvs.__qualname__
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", trainer, Interrupting, noise=ToyNoise())
    found = read_checkpoint(tmp_path / "parts" / "checkpoint.safetensors")
    assert found is not None
    assert found[1]["state"]["step"] == stop
    resumed = fit(tmp_path / "parts", trainer, RestlessConvs, noise=ToyNoise())
    assert resumed.reconstructor.fractions == [i / 24 for i in range(stop, 24)]
    assert same_weights(whole.reconstructor, resumed.reconstructor)
    numbers = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.log.rows]
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in resumed.log.rows] == numbers


@pytest.mark.slow
def test_a_training_killed_at_any_time_goes_on(tmp_path: Path) -> None:
    trainer = ReconstructionTraining(**STEPS)
    whole = fit(tmp_path / "whole", trainer, RestlessConvs, noise=ToyNoise())
    checkpoint = tmp_path / "killed" / "reconstruction" / "checkpoint.safetensors"
    process = Command(WORKER, "reconstruction", tmp_path / "killed", tmp_path / "never", "0.05")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        found = read_checkpoint(checkpoint)  # whole at any time, though it is replaced after each step
        if found is not None and found[1]["state"]["step"] >= 7:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.finish().returncode == -signal.SIGKILL
    assert not (tmp_path / "never").exists()
    found = read_checkpoint(checkpoint)
    assert found is not None
    assert 7 <= found[1]["state"]["step"] < 24
    resumed = fit(checkpoint.parent, trainer, RestlessConvs, noise=ToyNoise())
    assert same_weights(whole.reconstructor, resumed.reconstructor)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    trainer = ReconstructionTraining(steps=5, batch_size=2)
    first = fit(tmp_path, trainer, RestlessConvs)
    again = fit(tmp_path, trainer, RestlessConvs)
    assert again.reconstructor.fractions == []
    assert same_weights(first.reconstructor, again.reconstructor)
    assert again.log == first.log


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    fit(tmp_path, ReconstructionTraining(steps=4, batch_size=2))
    with pytest.raises(TrainingError, match=r"trainer\.lr was 0\.003, now 0\.001") as caught:
        fit(tmp_path, ReconstructionTraining(steps=4, batch_size=2, lr=1e-3))
    assert "delete the folder" in str(caught.value)
    with pytest.raises(TrainingError, match="seed was 0, now 3"):
        fit(tmp_path, ReconstructionTraining(steps=4, batch_size=2), seed=3)
    with pytest.raises(TrainingError, match="noise"):
        fit(tmp_path, ReconstructionTraining(steps=4, batch_size=2), noise=ToyNoise(0.5))
    context = make_context(tmp_path)
    with pytest.raises(TrainingError, match="hidden"):
        ReconstructionTraining(steps=4, batch_size=2).fit(make_method(ThreeConvs, context, hidden=5), context)
    # how often checkpoints are written decides nothing
    fit(tmp_path, ReconstructionTraining(steps=4, batch_size=2, checkpoint_minutes=9.0))


@pytest.mark.parametrize("damage", ["truncated", "nonsense", "empty", "foreign"])
def test_a_broken_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    trainer = ReconstructionTraining(steps=3, batch_size=2)
    fit(tmp_path, trainer)
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    if damage == "foreign":
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(2)}, path)
    else:
        path.write_bytes(
            {"truncated": content[: len(content) // 2], "nonsense": b"no checkpoint", "empty": b""}[damage]
        )
    with pytest.raises(TrainingError, match="cannot be read") as caught:
        fit(tmp_path, trainer)
    assert str(path) in str(caught.value)
    assert f"delete the folder {tmp_path}" in str(caught.value)


def test_a_checkpoint_of_which_one_bit_was_changed_is_refused(tmp_path: Path) -> None:
    trainer = ReconstructionTraining(steps=3, batch_size=2)
    fit(tmp_path, trainer)
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    for place in range(len(content) - 1, 0, -len(content) // 40):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(TrainingError, match=f"cannot be read(?s:.)*delete the folder {tmp_path}"):
            fit(tmp_path, trainer)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match="cannot be written"):
        fit(tmp_path / "file" / "sub", ReconstructionTraining(steps=2, batch_size=2))


class Explosive(ThreeConvs):
    """A reconstruction, or the gradient of one, that stops being finite at step 3."""

    kind = "loss"

    def training_progress(self, fraction: float) -> None:
        self.bad = fraction >= 0.3 - 1e-9

    def forward(self, z: Tensor) -> Tensor:
        x = super().forward(z)
        if not (self.training and self.bad):
            return x
        if self.kind == "loss":
            return x / 0.0
        # 0 in the value, 0 * infinity in the gradient
        return (
            x + 0.0 * (0.0 * next(self.parameters()).sum()).sqrt() if self.kind == "gradient" else x.new_tensor(1 / 0)
        )


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize("clip", [0.1, None])
def test_a_loss_or_gradient_that_is_not_finite_ends_training(tmp_path: Path, kind: str, clip: float | None) -> None:
    class This(Explosive):
        pass

    This.kind = kind
    with pytest.raises(TrainingError, match="not finite at step 3") as caught:
        fit(tmp_path, ReconstructionTraining(steps=10, batch_size=2, gradient_clip=clip), This)
    assert "smaller lr" in str(caught.value)


def test_patience_ends_training_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    class Worsening(ThreeConvs):
        """Validates worse and worse from the third time on."""

        def setup(self, problem, image_shape) -> None:
            super().setup(problem, image_shape)
            self.register_buffer("age", torch.zeros(()))

        def training_progress(self, fraction: float) -> None:
            self.age += 1

        def forward(self, z: Tensor) -> Tensor:
            x = super().forward(z)
            return x if self.training else 0 * x + 0.5 + (self.age - 4).abs() * 10

    trained = fit(tmp_path, ReconstructionTraining(steps=20, batch_size=2, validations=10, patience=3), Worsening)
    assert trained.log.summary["steps"] == 10
    assert trained.log.summary["best_step"] == 4
    assert trained.log.summary["ended"].startswith("patience: 3")
    assert float(trained.reconstructor.age) == 4


def test_a_metric_where_lower_is_better_chooses_the_lowest(tmp_path: Path) -> None:
    trained = fit(tmp_path, ReconstructionTraining(steps=20, batch_size=4), metric="mse")
    values = [row["val_mse"] for row in trained.log.rows]
    assert trained.log.summary["best_val_mse"] == min(values) < max(values)


@pytest.mark.slow
def test_lengths(tmp_path: Path) -> None:
    splits = make_splits()  # 4 images of 24x24: 16 crops of 12x12 in an epoch
    assert len(splits.train) == 16
    trained = fit(tmp_path / "epochs", ReconstructionTraining(epochs=2, batch_size=5))
    assert trained.log.summary["steps"] == 8
    assert trained.log.summary["epochs"] == 2
    assert ReconstructionTraining().settings.budget(7).steps == 3500
    with pytest.raises(SpecError, match="one unit"):
        ReconstructionTraining(epochs=2, steps=3)
    capped = fit(tmp_path / "cap", ReconstructionTraining(steps=10**6, batch_size=2, max_minutes=0.005))
    assert capped.log.summary["steps"] < 10**6
    assert "max_minutes = 0.005" in capped.log.summary["ended"]
    assert "not trained to the end" in capped.log.summary["ended"]
    timed = fit(tmp_path / "time", ReconstructionTraining(batch_size=2, max_minutes=0.02, validations=20))
    assert timed.log.summary["ended"] == "max_minutes = 0.02 reached"
    assert timed.log.summary["seconds"] >= 1.2
    assert timed.log.rows[-1]["lr"] < 0.8 * max(row["lr"] for row in timed.log.rows)  # the rate followed the clock


def test_short_trainings_validate_less_often_where_no_number_is_given() -> None:
    settings = ReconstructionTraining(batch_size=8).settings
    batch, validated = 8 * 48 * 48, 12 * 96 * 96  # the quickstart's
    assert [settings.marks(steps, batch, validated) for steps in (700, 200, 100, 10)] == [10, 6, 3, 3]
    assert settings.marks(None, batch, validated) == 10
    assert ReconstructionTraining(validations=7).settings.marks(1, batch, validated) == 7


def test_more_validations_than_steps(tmp_path: Path) -> None:
    trained = fit(tmp_path, ReconstructionTraining(steps=3, batch_size=2, validations=50))
    assert [row["step"] for row in trained.log.rows] == [1, 2, 3]
    trained = fit(tmp_path / "one", ReconstructionTraining(steps=1, batch_size=1))
    assert [row["step"] for row in trained.log.rows] == [1]


def test_precision_is_chosen_per_trainer_in_one_process(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []

    class Watching(ThreeConvs):
        def forward(self, z: Tensor) -> Tensor:
            x = super().forward(z)
            seen.append((self.training, self.net(z).dtype))
            return x

    fit(tmp_path / "a", ReconstructionTraining(steps=1, batch_size=2, precision="bf16"), Watching)
    fit(tmp_path / "b", ReconstructionTraining(steps=1, batch_size=2), Watching)
    in_training = [dtype for training, dtype in seen if training]
    assert in_training == [torch.bfloat16, torch.float32]
    assert {dtype for training, dtype in seen if not training} == {torch.float32}


def test_frozen_weights_stay(tmp_path: Path) -> None:
    class HalfFrozen(ThreeConvs):
        def setup(self, problem, image_shape) -> None:
            super().setup(problem, image_shape)
            self.net[0].requires_grad_(False)

    context = make_context(tmp_path)
    method = make_method(HalfFrozen, context)
    trained = ReconstructionTraining(steps=3, batch_size=2, weight_decay=0.1).fit(method, context)
    fresh = ReconstructionTraining(steps=1, batch_size=2, lr=1e-12, muon_lr=1e-12).fit(
        method, make_context(tmp_path / "fresh")
    )
    assert torch.equal(trained.reconstructor.net[0].weight, fresh.reconstructor.net[0].weight)
    assert not torch.equal(trained.reconstructor.net[2].weight, fresh.reconstructor.net[2].weight)


def test_nothing_to_train_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    method = make_method(Gain, context)
    with pytest.raises(SpecError, match="no weights to train") as caught:
        ReconstructionTraining().check(method, method.build())
    assert "parameter_search" in str(caught.value)


def test_a_loss_without_gradient_is_named(tmp_path: Path) -> None:
    class Detached(ThreeConvs):
        def forward(self, z: Tensor) -> Tensor:
            return super().forward(z).detach()

    with pytest.raises(TrainingError, match="does not depend on any weight"):
        fit(tmp_path, ReconstructionTraining(steps=1, batch_size=2), Detached)


def test_shapes_that_would_be_broadcast_are_refused(tmp_path: Path) -> None:
    class Collapsing(ThreeConvs):
        def forward(self, z: Tensor) -> Tensor:
            return super().forward(z).mean(1, keepdim=True)

    with pytest.raises(ShapeError, match=r"reconstructions of shape \(2, 1, 12, 12\)"):
        fit(tmp_path, ReconstructionTraining(steps=1, batch_size=2), Collapsing, splits=make_splits(channels=3))


def test_images_of_odd_shapes(tmp_path: Path) -> None:
    images = smooth_images(3, 24, 4)
    train = TrainingImages([images[0], images[1][:, :13, :20], (images[2] * 255).round() / 255], list("abc"), (13, 11))
    val = ImageStack(smooth_images(1, 16, 5)[:, :, :, :9], ["one"])
    trained = fit(tmp_path / "odd", ReconstructionTraining(steps=3, batch_size=1), splits=Splits(train, val, val))
    assert math.isfinite(trained.log.summary["best_val_psnr"])


def test_measurements_must_belong_to_the_validation_images(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    wrong = dataclasses.replace(context, val_measurements=context.val_measurements[:-1])
    with pytest.raises(TrainingError, match="5 validation images, 4 measurements"):
        ReconstructionTraining(steps=1, batch_size=1).fit(make_method(ThreeConvs, wrong), wrong)
    with pytest.raises(TrainingError, match="no metric"):
        ReconstructionTraining(steps=1, batch_size=1).fit(
            make_method(ThreeConvs, context), dataclasses.replace(context, metrics={})
        )


def test_a_perfect_reconstruction_is_no_error(tmp_path: Path) -> None:
    class Perfect(ThreeConvs):
        def forward(self, z: Tensor) -> Tensor:
            return z + 0 * super().forward(z)

    class Identity(BoxBlur):
        def forward(self, x: Tensor) -> Tensor:
            return x

    trainer = ReconstructionTraining(steps=2, batch_size=1)
    trained = fit(tmp_path, trainer, Perfect, operator=Identity())
    assert trained.log.summary["best_val_psnr"] == math.inf
    assert fit(tmp_path, trainer, Perfect, operator=Identity()).log == trained.log


def test_validation_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    class Failing(ThreeConvs):
        def forward(self, z: Tensor) -> Tensor:
            return super().forward(z) + (0.0 if self.training else math.nan)

    with pytest.raises(TrainingError, match="psnr of the validation images is not a number"):
        fit(tmp_path, ReconstructionTraining(steps=2, batch_size=1), Failing)


def test_the_signature_is_a_schema() -> None:
    model = parameters_model(ReconstructionTraining)
    assert model().model_dump()["batch_size"] == 32
    assert model.model_validate({"steps": 1700, "betas": [0.9, 0.95], "precision": "bf16"}).steps == 1700
    for wrong in [
        {"steps": 0},
        {"lr": 0.0},
        {"precision": "fp8"},
        {"betas": [0.9, 1.0]},
        {"warmup": 1.0},
        {"epoch": 3},
        {"final_lr": -0.1},
        {"patience": 0},
        {"optimizer": "sgd"},
    ]:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model.model_validate(wrong)


def test_a_generator_of_double_precision_is_trained_in_it(tmp_path: Path) -> None:
    class Double(ThreeConvs):
        def setup(self, problem, image_shape) -> None:
            super().setup(problem, image_shape)
            self.double()

        def forward(self, z: Tensor) -> Tensor:
            return super().forward(z.double())

    trained = fit(tmp_path, ReconstructionTraining(steps=4, batch_size=2), Double)
    assert trained.log.rows[-1]["loss"] > 0
    assert all(p.dtype == torch.float64 for p in trained.reconstructor.parameters())


def test_modules_without_kernels_train_with_muon_too(tmp_path: Path) -> None:
    class Affine(Reconstructor):
        def setup(self, problem, image_shape) -> None:
            self.scale = nn.Parameter(torch.ones(1))
            self.unused = nn.Parameter(torch.ones(3, 3, 3, 3))

        def forward(self, z: Tensor) -> Tensor:
            return self.scale * z

    trained = fit(tmp_path, ReconstructionTraining(steps=4, batch_size=2), Affine)
    assert float(trained.reconstructor.scale.detach()) != 1
    assert torch.equal(trained.reconstructor.unused, torch.ones(3, 3, 3, 3))
