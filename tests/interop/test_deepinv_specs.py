"""Physics and methods of DeepInverse by name: what a spec says of them, and what is wrong with one."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import invreg
from invreg import InvregWarning, Registry, SpecError, spec_of
from invreg.testing import check_operator

REGISTRY = Registry.installed()
SHAPE = (1, 12, 10)


def physics(name: str, parameters: dict[str, Any] | None = None, **more: Any) -> Any:
    return REGISTRY.build(
        "operator", {"name": "deepinv", "physics": name, "parameters": parameters, **more}, "operator"
    )


def images(seed: int = 0, *shape: int) -> torch.Tensor:
    return torch.rand(shape or (2, *SHAPE), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _installed(dinv: Any) -> None:
    """All tests here need DeepInverse."""


def test_the_size_follows_from_the_images_and_the_mask_from_the_seed() -> None:
    operator = physics("Inpainting", {"mask": 0.5})
    assert isinstance(operator, invreg.LinearOperator)
    x = images()
    masks = [one(torch.ones_like(x)) for one in (operator, physics("Inpainting", {"mask": 0.5}))]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], physics("Inpainting", {"mask": 0.5}, seed=1)(torch.ones_like(x)))
    torch.testing.assert_close(operator(x), x * masks[0])
    assert operator.range_shape((1, 5, 7)) == (1, 5, 7)
    assert operator.adjoint_defect(SHAPE) < 1e-6
    torch.testing.assert_close(copy.deepcopy(operator)(x), operator(x))


def test_it_is_written_as_the_spec_that_it_was_built_from() -> None:
    spec = {"name": "deepinv", "physics": "Inpainting", "parameters": {"mask": 0.5}, "seed": 3}
    operator = REGISTRY.build("operator", spec)
    assert spec_of(operator) == spec
    from invreg_foreign.deepinv_physics import DeepInversePhysics

    in_python = DeepInversePhysics("Inpainting", {"mask": 0.5}, seed=3)
    assert spec_of(in_python, REGISTRY) == spec
    assert type(in_python) is type(operator)


def test_lists_become_tensors_and_rows_a_filter() -> None:
    operator = physics("Blur", {"filter": [[0.0, 0.0, 0.0], [0.25, 0.5, 0.25], [0.0, 0.0, 0.0]], "padding": "circular"})
    x = images()
    torch.testing.assert_close(operator(x), 0.5 * x + 0.25 * (x.roll(1, -1) + x.roll(-1, -1)))


def test_filters_come_from_functions_generators_and_files(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.full((3, 3), 1 / 9))
    for given in (
        {"path": str(tmp_path / "k.npy")},
        {"function": "gaussian_blur", "parameters": {"sigma": [1.0, 1.0]}},
        {"generator": "MotionBlurGenerator", "parameters": {"psf_size": [5, 5]}, "seed": 2},
    ):
        operator = physics("BlurFFT", {"filter": given})
        constant = torch.ones(1, *SHAPE)
        torch.testing.assert_close(operator(constant), constant, rtol=1e-4, atol=1e-4)
    drawn = [physics("BlurFFT", {"filter": {**given, "seed": seed}})(images()) for seed in (2, 2, 3)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_what_is_drawn_leaves_the_generators_of_torch_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    physics("Inpainting", {"mask": 0.5})(images())
    assert torch.equal(torch.rand(3), expected)


def test_physics_stand_in_one_another_and_stacks_are_one_measurement() -> None:
    blur = {"physics": "BlurFFT", "parameters": {"filter": [[0.25, 0.25], [0.25, 0.25]]}}
    masked = {"physics": "Inpainting", "parameters": {"mask": 0.5}}
    stacked = physics("StackedLinearPhysics", {"physics_list": [blur, masked]})
    assert stacked.range_shape(SHAPE) == (2, *SHAPE[1:])
    composed = physics("ComposedLinearPhysics", {"physics": [blur, masked]})
    x = images()
    parts = stacked(x).split(1, 1)
    torch.testing.assert_close(parts[0], physics("BlurFFT", blur["parameters"])(x))  # type: ignore[arg-type]
    torch.testing.assert_close(composed(x), physics("Inpainting", {"mask": 0.5})(parts[0]))
    assert max(stacked.adjoint_defect(SHAPE), composed.adjoint_defect(SHAPE)) < 1e-5


def test_nonlinear_ones_are_no_linear_operators() -> None:
    operator = physics("SpatialUnwrapping", {"threshold": 4.0})
    assert not isinstance(operator, invreg.LinearOperator)
    assert operator.derivative_defect(SHAPE) < 1e-3
    torch.testing.assert_close(operator(images()), images())


def test_no_images_are_measured_as_nothing() -> None:
    operator = physics("BlurFFT", {"filter": [[0.25, 0.25], [0.25, 0.25]]})
    assert operator(images()[:0]).shape == operator.adjoint(images()[:0]).shape == (0, *SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "shape"),
    [
        ("BlurFFT", {"filter": [[0.25, 0.25], [0.25, 0.25]]}, (1, 13, 17)),
        ("Inpainting", {"mask": 0.5}, (3, 9, 7)),
        ("MRI", None, (1, 8, 8)),
        ("StackedLinearPhysics", {"physics_list": [{"physics": "Denoising"}, {"physics": "Inpainting"}]}, (1, 8, 8)),
    ],
)
def test_they_keep_what_operators_promise(name: str, parameters: Any, shape: tuple[int, ...]) -> None:
    if name == "StackedLinearPhysics":
        parameters["physics_list"][1]["parameters"] = {"mask": 0.5}
    check_operator(physics(name, parameters), image_shape=shape)


def test_norms_are_computed_in_float64() -> None:
    operator = physics("BlurFFT", {"filter": [[0.25, 0.25], [0.25, 0.25]]})
    assert operator.norm(SHAPE).value == pytest.approx(1.0, abs=1e-5)
    assert operator(images().double()).dtype == torch.float64


def test_a_physics_that_mixes_the_images_of_a_batch_is_given_one_after_the_other() -> None:
    operator = physics("SinglePhotonLidar", {"bins": 6})
    x = images(0, 3, 3, 4, 5)
    torch.testing.assert_close(operator(x), torch.cat([operator(one[None]) for one in x]))


@pytest.mark.parametrize("mode", ["ss", "sd"])
def test_a_wrong_adjoint_is_said_with_its_size_and_what_depends_on_it(mode: str) -> None:
    operator = physics("CompressiveSpectralImaging", {"mode": mode})
    with pytest.warns(InvregWarning, match=r"relative defect 0\.[1-9](.|\n)*tv, adjoint, pull-backs"):
        invreg.Problem(operator).check_adjoint((5, 16, 16))


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        (
            "Inpaintng",
            None,
            ["operator.physics: there is no physics of DeepInverse 'Inpaintng'", "did you mean 'Inpainting'?"],
        ),
        ("Inpainting", {"msk": 0.5}, ["operator.parameters.msk", "no parameter 'msk'", "did you mean 'mask'?"]),
        ("CompressedSensing", None, ["CompressedSensing needs m", "m: int"]),
        ("CompressedSensing", {"m": "many"}, ["operator.parameters.m", "'many' is a text", "expected: int"]),
        ("Downsampling", {"factor": None}, ["operator.parameters.factor", "no value"]),
        ("Inpainting", {"mask": [[1, 0], [1]]}, ["operator.parameters.mask", "rows of the same length"]),
        ("Inpainting", {"mask": {"path": "nowhere.npy"}}, ["operator.parameters.mask.path", "no such file"]),
        (
            "Blur",
            {"filter": {"function": "gausian_blur"}},
            ["parameters.filter.function", "did you mean 'gaussian_blur'?"],
        ),
        ("Blur", {"filter": {"generator": "MotionBlurGenerator", "oops": 1}}, ["'oops' beside 'generator'"]),
        ("Blur", {"device": "cuda"}, ["operator.parameters.device", "a run chooses its device"]),
        ("Denoising", {"noise_model": {"physics": "Blur"}}, ["noise_model has no place here", "noise:"]),
        ("StructuredRandom", {"transform_func": "dst1", "output_size": [1, 4, 4]}, ["takes a function, which no spec"]),
        (
            "ComposedLinearPhysics",
            {"physics": [{"physics": "Blurr"}]},
            ["parameters.physics.0.physics", "did you mean 'Blur'"],
        ),
        ("Blur", {"filter": [[1.0]], "use_fft": "yes"}, ["operator.parameters.use_fft", "'yes' is a text"]),
        ("MRI", {"img_size": [4, 4], "mask": "half"}, ["operator.parameters.mask", "'half' is a text"]),
        ("Inpainting", [0.5], ["operator.parameters"]),
        ("Inpainting", {"mask": float("nan")}, ["operator.parameters.mask", "not a number"]),
        ("Inpainting", {"mask": [[float("nan"), 1.0]]}, ["operator.parameters.mask", "NaN or infinite"]),
        ("Haze", {"offset": "much"}, ["operator.parameters.offset", "'much' is a text"]),
        ("SpatialUnwrapping", {"threshold": "1e-3"}, ["operator.parameters.threshold", "such as its default 1.0"]),
        ("LinearPhysics", None, ["there is no physics of DeepInverse 'LinearPhysics'"]),
    ],
)
def test_what_is_wrong_is_said_when_the_spec_is_read(name: str, parameters: Any, words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        physics(name, parameters)
    for word in words:
        assert word in str(caught.value)


def test_what_the_constructor_refuses_is_said_with_its_signature() -> None:
    with pytest.raises(SpecError, match=r"Inpainting refuses these parameters(.|\n)*mask: "):
        physics("Inpainting", {"mask": 1, "img_size": [1, 4, 4]})


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchkbnufft", None)
    with pytest.raises(SpecError, match=r"RadioInterferometry needs a package(.|\n)*pip install torchkbnufft"):
        physics("RadioInterferometry", {"samples_loc": [[0.1], [0.2]], "img_size": [8, 8]})


def test_without_deepinverse_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepinv", None)
    with pytest.raises(invreg.InvregError, match="pip install deepinv"):
        physics("Inpainting", {"mask": 0.5})


def test_images_of_another_size_are_refused() -> None:
    operator = physics("CompressedSensing", {"m": 5, "img_size": [1, 4, 4]})
    assert operator.range_shape((1, 4, 4)) == (5,)
    with pytest.raises(invreg.ShapeError, match="cannot measure images of shape"):
        operator.range_shape(SHAPE)


def test_files_with_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object))
    with pytest.raises(SpecError, match="cannot be read"):
        physics("Inpainting", {"mask": {"path": str(tmp_path / "o.npy")}})


# -- methods


def method(model: str, **given: Any) -> Any:
    return REGISTRY.build("reconstructor", {"name": "deepinv", "model": model, **given}, "methods.theirs")


def problem(std: float = 0.05) -> invreg.Problem:
    blur = physics("BlurFFT", {"filter": [[0.25, 0.25], [0.25, 0.25]]})
    return invreg.Problem(blur, REGISTRY.build("noise", {"name": "gaussian", "std": std}))


def test_an_algorithm_with_a_prior_minimises_without_a_step_size() -> None:
    theirs = method(
        "FISTA",
        parameters={"prior": {"prior": "TVPrior", "parameters": {"n_it_max": 20}}, "max_iter": 20},
        lambda_reg=0.01,
    )
    given = problem()
    theirs.setup(given, SHAPE)
    x = images() * 0 + torch.linspace(0, 1, 10)
    z = given.measure(x, seed=0)
    found = theirs(z)
    assert found.shape == x.shape
    assert float((found - x).norm()) < 0.8 * float((z - x).norm())
    torch.testing.assert_close(theirs(z[1:]), found[1:], rtol=0, atol=1e-6)  # the batch does not matter
    assert spec_of(theirs)["lambda_reg"] == 0.01


def test_denoisers_are_told_the_noise() -> None:
    given = invreg.Problem(physics("Denoising"), REGISTRY.build("noise", {"name": "gaussian", "std": 0.1}))
    theirs = method("MedianFilter")
    theirs.setup(given, SHAPE)
    assert theirs(images()).shape == (2, *SHAPE)


def test_masks_of_another_size_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.ones((5, 7)))
    operator = physics("Inpainting", {"mask": {"path": str(tmp_path / "mask.npy")}})
    with pytest.raises(invreg.ShapeError, match=r"(?s)images of shape \(1, 12, 10\).*expected: parameters \(masks"):
        operator.range_shape(SHAPE)


def test_weights_come_from_a_file_and_are_not_trained(tmp_path: Path, dinv: Any) -> None:
    from safetensors.torch import save_file

    parameters = {"in_channels": 1, "out_channels": 1, "depth": 2, "nf": 3}
    network = dinv.models.DnCNN(**parameters, pretrained=None)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    torch.save(network.state_dict(), tmp_path / "w.pth")
    given = invreg.Problem(physics("Denoising"), REGISTRY.build("noise", {"name": "gaussian", "std": 0.1}))
    for name in ("w.safetensors", "w.pth"):
        theirs = method("DnCNN", parameters=parameters, weights=str(tmp_path / name))
        theirs.setup(given, SHAPE)
        torch.testing.assert_close(theirs(images()), network(images(), 0.1).detach())
        assert not any(one.requires_grad for one in theirs.parameters())
    untrained = method("DnCNN", parameters=parameters)
    untrained.setup(given, SHAPE)
    assert any(one.requires_grad for one in untrained.parameters())
    other = method("DnCNN", parameters={**parameters, "nf": 4}, weights=str(tmp_path / "w.pth"))
    with pytest.raises(SpecError, match="does not fit DnCNN"):
        other.setup(given, SHAPE)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(SpecError, match=r"(?s)could run any program.*try: if you trust the file"):
        method("DnCNN", weights=str(tmp_path / "module.pth"))
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(SpecError, match=r"text\.pth' holds"):
        method("DnCNN", weights=str(tmp_path / "text.pth"))


def test_denoisers_inside_algorithms_have_trained_weights(tmp_path: Path, dinv: Any) -> None:
    parameters = {"in_channels": 1, "out_channels": 1, "depth": 2, "nf": 3}
    network = dinv.models.DnCNN(**parameters, pretrained=None)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pth")
    denoiser = {"denoiser": "DnCNN", "parameters": parameters, "weights": str(tmp_path / "w.pth")}
    theirs = method("DPIR", parameters={"sigma": 0.1, "denoiser": denoiser})
    theirs.setup(invreg.Problem(physics("Denoising"), REGISTRY.build("noise", "none")), SHAPE)
    expected = dinv.optim.DPIR(sigma=0.1, denoiser=network)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images()), expected(images(), dinv.physics.Denoising()))
    assert not any(one.requires_grad for one in theirs.parameters())
    for change, words in (
        ({"weights": "nowhere.pth"}, r"(?s)parameters\.denoiser\.weights.*no such file"),
        ({"weights": 3}, r"parameters\.denoiser\.weights.*3"),
        ({"weigths": "w.pth"}, r"(?s)'weigths' beside 'denoiser'.*weights: \.\.\."),
        ({"parameters": {**parameters, "nf": 4}}, "does not fit DnCNN"),
    ):
        with pytest.raises(SpecError, match=words):
            method("DPIR", parameters={"denoiser": {**denoiser, **change}})


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        ("FISTAA", {}, ["methods.theirs.model", "did you mean 'FISTA'?"]),
        ("PGD", {"parameters": {"prior": {"prior": "TVPriro"}}}, ["parameters.prior.prior", "did you mean 'TVPrior'?"]),
        ("MedianFilter", {"lambda_reg": 0.1}, ["lambda_reg", "MedianFilter has no lambda_reg"]),
        ("DnCNN", {"parameters": {"pretrained": "download"}}, ["pretrained", "nothing is downloaded"]),
        ("DnCNN", {"weights": "nowhere.pth"}, ["weights", "no such file"]),
        ("DPIR", {}, ["weights are not downloaded"]),
        ("PGD", {"sigma": 0.1}, ["sigma", "PGD is not a denoiser"]),
    ],
)
def test_what_is_wrong_with_a_method_is_said(model: str, given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        method(model, **given)
    for word in words:
        assert word in str(caught.value)


def test_what_a_model_cannot_do_is_said_when_it_is_set_up() -> None:
    given = invreg.Problem(physics("Denoising"), REGISTRY.build("noise", {"name": "gaussian", "std": 0.1}))
    with pytest.raises(SpecError, match="DnCNN does not reconstruct images of shape"):
        method("DnCNN", parameters={"in_channels": 3, "out_channels": 3, "depth": 2, "nf": 2}).setup(given, SHAPE)
    with pytest.raises(SpecError, match=r"DnCNN gives \(1, 2, 12, 10\)"):
        method("DnCNN", parameters={"in_channels": 1, "out_channels": 2, "depth": 2, "nf": 2}).setup(given, SHAPE)


@pytest.mark.slow
def test_a_run_with_their_physics_and_their_method(tmp_path: Path) -> None:
    spec = {
        "data": {"name": "photos", "image_size": 24, "train_size": 16, "downsample": 8},
        "operator": {"name": "deepinv", "physics": "Inpainting", "parameters": {"mask": 0.6}},
        "noise": {"name": "gaussian", "std": 0.02},
        "methods": {
            "tv": {"name": "tv", "weight": 0.01, "tolerance": 0.05},
            "theirs": {
                "name": "deepinv",
                "model": "PGD",
                "parameters": {"prior": {"prior": "TVPrior", "parameters": {"n_it_max": 10}}, "max_iter": 10},
                "lambda_reg": 0.02,
            },
        },
        "analyses": ["quality"],
    }
    result = invreg.run(spec, tmp_path, device="cpu", progress=False)
    assert result.warnings == [] or not any("adjoint" in one for one in result.warnings)
    again = invreg.load(result.folder)
    z = again.measurements(1)
    torch.testing.assert_close(
        again.methods["tv"].reconstructor(z), again.methods["tv"].reconstructions[:1], rtol=0, atol=1e-4
    )
