"""Training from Python: the weights that a run gives, from images as people have them."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import invreg
from invreg import DataError, InvregWarning, Model, Problem, Registry, SpecError, Splits, StoreError, hookimpl
from invreg.models.training_data import splits_of

BRIEF = {"name": "reconstruction", "steps": 2, "batch_size": 2}
NET = {"name": "conv_resnet", "subnetworks": 1, "channels": 4, "hidden": 4, "kernel_size": 3}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.installed()


@pytest.fixture
def problem(registry: Registry, run_spec: dict[str, Any]) -> Problem:
    return Problem(registry.build("operator", run_spec["operator"]), registry.build("noise", run_spec["noise"]))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((6, 20, 24), dtype=np.float32)


def weights(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.reconstructor.state_dict().items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["net", "unet"])
def test_gives_the_weights_and_the_log_of_a_run(
    run_folder: Path, run_spec: dict[str, Any], problem: Problem, label: str
) -> None:
    method = run_spec["methods"][label]
    model = invreg.train(
        method["reconstructor"],
        problem,
        run_spec["data"],
        trainer=method["trainer"],
        name=label,
        device="cpu",
        progress=False,
    )
    of_run = invreg.load_model(run_folder, label, device="cpu")
    assert_equal(weights(model), weights(of_run))
    assert [row["loss"] for row in model.log.rows] == pytest.approx([row["loss"] for row in of_run.log.rows], abs=0)
    assert model.log.summary["steps"] == method["trainer"]["steps"] == of_run.log.summary["steps"]
    assert model.image_shape == of_run.image_shape == (1, 32, 32)


def test_the_model_reconstructs_and_asks_for_no_gradient(problem: Problem, images: np.ndarray) -> None:
    model = invreg.train(NET, problem, images, trainer=BRIEF, device="cpu", progress=False)
    assert model.name == "conv_resnet"
    found = model.reconstruct(images[0]).image
    assert isinstance(found, np.ndarray)
    assert found.shape == (20, 24)
    assert not model.reconstructor.training
    assert not any(parameter.requires_grad for parameter in model.reconstructor.parameters())


def test_instances_are_trained_in_place(registry: Registry, problem: Problem, images: np.ndarray) -> None:
    net, trainer = registry.build("reconstructor", NET), registry.build("trainer", BRIEF)
    dataset = registry.build("dataset", {"name": "phantoms", "image_size": 32, "train": 4, "val": 2, "test": 1})
    metric = registry.build("metric", "ssim")
    model = invreg.train(net, problem, dataset, trainer=trainer, metric=metric, device="cpu", progress=False)
    assert model.reconstructor is net
    assert "best_val_ssim" in model.log.summary


def test_a_model_is_trained_further(problem: Problem, images: np.ndarray) -> None:
    model = invreg.train(NET, problem, images, trainer=BRIEF, device="cpu", progress=False)
    before = weights(model)
    still = {**BRIEF, "steps": 1, "optimizer": "adam", "lr": 1e-12}
    further = invreg.train(model.reconstructor, model.problem, images, trainer=still, device="cpu", progress=False)
    for name, tensor in weights(further).items():
        assert torch.allclose(tensor.double(), before[name].double(), atol=1e-2 if "running" in name else 1e-6), name
    longer = invreg.train(model.reconstructor, model.problem, images, trainer=BRIEF, device="cpu", progress=False)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in weights(longer).items())


def test_a_method_for_another_problem_is_refused(registry: Registry, problem: Problem, images: np.ndarray) -> None:
    net = registry.build("reconstructor", NET)
    net.setup(Problem(registry.build("operator", "identity")), (1, 20, 20))
    with pytest.raises(SpecError, match="set up for another problem"):
        invreg.train(net, problem, images, trainer=BRIEF, device="cpu", progress=False)


def test_parameters_are_searched(problem: Problem, images: np.ndarray) -> None:
    search = {"name": "parameter_search", "trials": 2, "parameters": {"weight": {"low": 0.001, "high": 0.1}}}
    tv = {"name": "tv", "tolerance": 0.1, "weight": 0.5}
    model = invreg.train(tv, problem, images, trainer=search, device="cpu", progress=False)
    assert len(model.log.rows) == 2
    assert invreg.built_with(model.reconstructor)["tolerance"] == 0.1
    assert 0.001 <= invreg.built_with(model.reconstructor)["weight"] <= 0.1


class Interrupting:
    """Listens until a training has been validated so often, and then interrupts it as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self.left = after

    @hookimpl
    def invreg_epoch_finished(self, label: str, epoch: int, values: dict[str, Any]) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_goes_on_in_its_folder_with_equal_weights(tmp_path: Path, problem: Problem, images: np.ndarray) -> None:
    trainer = {**BRIEF, "steps": 6, "validations": 6, "checkpoint_minutes": 0}
    keywords: dict[str, Any] = {"trainer": trainer, "device": "cpu", "progress": False}
    whole = invreg.train(NET, problem, images, **keywords)
    registry = Registry.installed({"interrupting": Interrupting(3)})
    with pytest.raises(KeyboardInterrupt):
        invreg.train(NET, problem, images, folder=tmp_path / "net", registry=registry, **keywords)
    assert (tmp_path / "net" / "checkpoint.safetensors").is_file()
    resumed = invreg.train(NET, problem, images, folder=tmp_path / "net", **keywords)
    assert_equal(weights(whole), weights(resumed))
    with pytest.raises(StoreError, match="other images"):
        invreg.train(NET, problem, 1 - images, folder=tmp_path / "net", **keywords)


def test_without_a_folder_an_interruption_keeps_nothing(problem: Problem, images: np.ndarray) -> None:
    registry = Registry.installed({"interrupting": Interrupting(1)})
    with pytest.raises(KeyboardInterrupt) as stop:
        invreg.train(NET, problem, images, trainer=BRIEF, registry=registry, device="cpu", progress=False)
    assert stop.value.__notes__ == ["nothing; with a folder, train(..., folder=...), checkpoints are"]


def test_a_single_validation_image_is_warned_of(problem: Problem, images: np.ndarray) -> None:
    options: dict[str, Any] = {"trainer": BRIEF, "device": "cpu", "progress": False}
    with pytest.warns(InvregWarning, match="^a single validation image chooses the weights"):
        invreg.train(NET, problem, images, val=images[:1], **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InvregWarning)
        invreg.train(NET, problem, images, val=images[:2], **options)


def test_shows_progress(problem: Problem, images: np.ndarray, capfd: pytest.CaptureFixture[str]) -> None:
    invreg.train(NET, problem, images, trainer=BRIEF, device="cpu")
    out, err = capfd.readouterr()
    assert out == ""
    assert "conv_resnet  train 2/2" in err
    assert "conv_resnet  ready" in err


# -- images as people have them


def grey(count: int = 4, height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, height, width), dtype=np.uint8)


def content(splits: Splits) -> tuple[list[Tensor], Tensor]:
    return [splits.train.image(index) for index in range(len(splits.train.names))], splits.val.images


def test_every_form_of_the_same_images_gives_the_same_splits() -> None:
    byte = grey()
    unit = (byte / 255).astype(np.float32)
    forms = [
        byte,
        unit,
        torch.from_numpy(byte),
        torch.from_numpy(unit)[:, None],
        unit[..., None],
        list(unit),
        [image[None] for image in unit],
        unit.astype(">f4"),
        unit.astype(np.float64),
        (byte.astype(np.uint16) * 257),
        unit[::-1][::-1],
    ]
    train, val = content(splits_of(forms[0]))
    assert len(train) == 3
    assert torch.equal(val[0, 0], torch.from_numpy(unit[3]))
    for form in forms[1:]:
        other_train, other_val = content(splits_of(form))
        assert torch.allclose(other_val, val, atol=1e-7)
        assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(train, other_train, strict=True))


def test_colours_last_become_colours_first() -> None:
    images = np.random.default_rng(0).random((3, 12, 16, 3))
    splits = splits_of(images)
    assert splits.train.channels == 3
    assert torch.allclose(splits.val.images[0, :, 5, 7], torch.from_numpy(images[2, 5, 7]).float())


def test_images_of_several_sizes_are_cut_in_their_middle_for_validation() -> None:
    sizes = [(40, 30), (25, 50), *[(20 + 2 * index, 34) for index in range(18)]]
    images = [np.full(size, index / 100) for index, size in enumerate(sizes)]
    splits = splits_of(images)
    assert len(splits.train.names) == 18
    assert splits.train.crop == (20, 20)
    assert splits.val.images.shape == (2, 1, 52, 34)
    assert splits.val.images[1].unique().tolist() == pytest.approx([0.19])


def test_own_validation_images_and_crops_are_used() -> None:
    unit = grey() / 255
    splits = splits_of(unit, val=unit[:2], crop=(8, 12))
    assert (len(splits.train.names), len(splits.val), splits.train.crop) == (4, 2, (8, 12))
    assert splits_of(np.zeros((2, 300, 200))).train.crop == (96, 96)


@pytest.mark.parametrize(
    ("images", "keywords", "message"),
    [
        (np.zeros((5, 20)), {}, r"an array of shape \(5, 20\)"),
        (np.zeros((1, 20, 20)), {}, "one image alone"),
        (np.zeros((4, 20, 20), dtype=np.int32), {}, "values of type int32"),
        (np.full((4, 20, 20), 200.0), {}, "values from 200 to 200"),
        (np.full((4, 20, 20), np.nan), {}, "NaN"),
        ([], {}, "no images"),
        (7, {}, "an instance of int"),
        (["a.png"], {}, "an instance of str"),
        (np.zeros((4, 20, 20)), {"crop": 21}, "smaller than the 21x21 crop"),
        (np.zeros((4, 20, 20)), {"val": [np.zeros((9, 9)), np.zeros((8, 9))]}, "one shape"),
        ("photos", {"crop": 9}, "crop beside a data set"),
        (
            [*np.zeros((9, 20, 20)), np.zeros((20, 20, 3))],
            {},
            r"^images: a grey image in images\[0\], and a colour image in",
        ),
        (
            [np.zeros((20, 20, 3)), *np.zeros((9, 20, 20))],
            {},
            r"^images: a colour image in images\[0\], and a grey image",
        ),
        (np.zeros((4, 20, 20)), {"val": [np.zeros((9, 9)), np.zeros((9, 9, 3))]}, r"^val: a grey image in val\[0\]"),
    ],
)
def test_what_is_no_image_is_named(images: Any, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        splits_of(images, **keywords)


# -- what cannot be trained


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reconstructor": nn.Conv2d(1, 1, 3)}, "reconstructor_from_torch"),
        ({"reconstructor": "unett"}, "did you mean 'unet'"),
        ({"reconstructor": Problem}, "an instance of it"),
        ({"trainer": {"name": "reconstruction", "stepps": 3}}, "trainer.stepps"),
        ({"reconstructor": "observation"}, "no weights to train"),
        ({"problem": "gaussian_blur"}, r"invreg.Problem\(operator, noise\)"),
        ({"metric": 3}, "an invreg.Metric"),
        ({"seed": "x"}, "seed: "),
        ({"batch_size": 0}, "batch_size: .*greater than or equal to 1"),
        ({"crop": "x"}, "crop: "),
        ({"crop": (8,)}, "crop.1: missing"),
        ({"name": 3}, "name: "),
        ({"folder": 3}, "folder: an instance of int"),
    ],
)
def test_what_is_wrong_is_named(problem: Problem, images: np.ndarray, change: dict[str, Any], message: str) -> None:
    given = {"reconstructor": copy.deepcopy(NET), "problem": problem, "trainer": BRIEF, **change}
    with pytest.raises(SpecError, match=message):
        invreg.train(images=images, device="cpu", progress=False, **given)


def test_a_folder_that_cannot_be_made_is_refused(problem: Problem, images: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file: cannot be written(.|\n)*another `folder`"):
        invreg.train(NET, problem, images, trainer=BRIEF, folder=tmp_path / "file", device="cpu", progress=False)
