"""Problems whose measurements are no images: every method and every analysis, and what iresnet makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from invreg.api import run
from invreg.components.operator import NormalOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg.errors import InvregError, ShapeError, SpecError
from invreg.plugins.registry import Registry
from invreg.specs.plan import make_plan
from invreg.specs.reading import read_spec
from invreg_training.gradient.objectives import ApproximationLoss

REGISTRY = Registry.installed()
CHAIN = {"subnetworks": 2, "channels": 2, "hidden": 4, "kernel_size": 3, "padding": 2}
BRIEFLY = {"name": "reconstruction", "steps": 4, "batch_size": 4}


def network(kind: str = "iresnet", **changes: Any) -> dict[str, Any]:
    # The bound of an explicit inverse is less than 2^subnetworks.
    return {"name": kind, **CHAIN, "lipschitz": 0.9 if kind == "iresnet" else 0.7, **changes}


def tomography(**changes: Any) -> dict[str, Any]:
    return {
        "title": "Tomography",
        "data": {"name": "phantoms", "image_size": 24, "train": 8, "val": 2, "test": 3},
        "operator": {"name": "radon", "angles": 12},
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {"iresnet": {"reconstructor": network(), "trainer": BRIEFLY}},
        **changes,
    }


@pytest.mark.slow
def test_every_analysis_of_a_run_works_on_sinograms(tmp_path: Path) -> None:
    methods = {
        "adjoint": "adjoint",
        "fbp": {"reconstructor": "fbp", "trainer": {"name": "parameter_search", "trials": 3}},
        "tv": {"reconstructor": {"name": "tv", "weight": 0.003, "tolerance": 0.05}},
        "iresnet": {
            "reconstructor": network(),
            "trainer": {"name": "approximation", "steps": 4, "batch_size": 4},
        },
        "explicit": {"reconstructor": network("explicit_iresnet"), "trainer": BRIEFLY},
        "pulled": {"reconstructor": network("explicit_iresnet", pull_back="tikhonov"), "trainer": BRIEFLY},
        "unet": {
            "reconstructor": {"name": "unet", "channels": [4, 6], "start": {"name": "fbp", "window": "hann"}},
            "trainer": BRIEFLY,
        },
    }
    few = {
        "stability": {"images": 1, "iterations": 2, "draws": 1},
        "adversarial": {"images": 1, "iterations": 1, "radii": [1.0]},
        "conformal": {"coverage": 0.5},
        "noise_mismatch": {"levels": [0.02], "resamples": 1000},
        "local_ill_posedness": {"images": 1, "directions": 1, "ascent_steps": 1, "tolerance": 0.1, "mask": None},
        "firm_nonexpansiveness": {"pairs": 3, "perturbed": 2, "iterations": 2},
        "saliency_clusters": {
            "count": 1, "pixels": 20, "window": 5, "largest": 3, "references": 2, "repeats": 1,
        },
        "edge_saliency": {"images": 1, "pixels": 3, "window": 5, "resamples": 1000},
        "regularization_map": {"images": 1, "probes": 8},
        "radial_transfer": {"images": 1, "rings": 3, "directions": 1},
        "forward_map": {"count": 1},
        "new_measurements": {"path": str(tmp_path / "new.npy")},
    }  # fmt: skip
    np.save(tmp_path / "new.npy", np.ones((12, 34), np.float32))
    names = REGISTRY.names("analyzer")
    spec = tomography(methods=methods, analyses=[{"name": name, **few.get(name, {})} for name in names])
    result = run(spec, tmp_path / "runs", device="cpu", progress=False)
    assert set(result.findings) == set(names)
    assert set(result.metrics["method"]) == set(methods)
    assert np.isfinite(result.metrics["psnr"]).all()
    figures = {path.parent.parent.name for path in Path(result.folder).glob("analyses/*/figures/*.svg")}
    assert {"examples", "forward_map", "stability", "firm_nonexpansiveness", "saliency_clusters"} <= figures

    page = (Path(result.folder) / "report.html").read_text(encoding="utf-8")
    assert "Left out: adjoint, fbp, tv, unet (not a reconstructor that also holds a model of the forward" in page

    examples = result.findings["examples"]
    assert examples.scalars["data"] == "adjoint"
    assert examples.arrays["measurements"].shape[1:] == (1, 12, 34)
    stability = result.findings["stability"].tables["summary"].set_index("method")
    assert (stability["violations"] == 0).all()
    # Proven with respect to the sinogram: the certificate is about A*z / ||A||².
    norm = REGISTRY.build("operator", {"name": "radon", "angles": 12}).norm((1, 24, 24)).value
    certified = result.findings["certificate"].text
    assert "A*z / ||A||^2" in certified
    for label in ("iresnet", "explicit"):
        assert stability.loc[label, "found"] <= stability.loc[label, "proven"] < 10 / norm
        assert stability.loc[label, "factor"] == pytest.approx(1 / norm)
    # Behind a pull-back, about the sinogram itself; the norm of the pull-back is 5 / ||A||.
    assert "pulled, as certified for this analysis: two measurements that differ by d" in certified
    assert stability.loc["pulled", "found"] <= stability.loc["pulled", "proven"] < 5 * 10 / norm
    assert stability.loc["pulled", "factor"] == 1
    # A*A / ||A||² is positive and of norm 1, so firmly nonexpansive.
    firm = result.findings["firm_nonexpansiveness"].tables["maps"].set_index("method")
    assert firm["violations"].iloc[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("operator", [{"name": "radon", "angles": 10}, {"name": "fourier_sampling", "acceleration": 3}])
@pytest.mark.parametrize("kind", ["iresnet", "explicit_iresnet"])
def test_networks_stand_for_the_normal_operator(operator: dict[str, Any], kind: str) -> None:
    problem = Problem(REGISTRY.build("operator", operator), REGISTRY.build("noise", {"name": "gaussian", "std": 0.05}))
    net = REGISTRY.build("reconstructor", network(kind))
    shape = (1, 16, 16)
    torch.manual_seed(0)
    net.setup(problem, shape)
    net.double().eval().requires_grad_(False)
    x = torch.rand(2, *shape, dtype=torch.float64)
    a, norm = problem.operator, problem.operator.norm(shape).value
    target = net.target_operator
    assert isinstance(target, NormalOperator)
    torch.testing.assert_close(target(x), a.adjoint(a(x)) / norm**2)
    # The noise is in Y, and comes to X by A* as well.
    z = problem.measure(x, seed=3)
    assert z.shape == (2, *a.range_shape(shape))
    noise = z - a(x)
    assert float(noise.std()) == pytest.approx(0.05, rel=0.2)
    torch.testing.assert_close(target.pull_back(z), target(x) + a.adjoint(noise) / norm**2)
    x_hat = net(z)
    assert x_hat.shape == x.shape
    again = net.forward_map(x_hat)
    wanted = target.pull_back(z)
    assert float((again - wanted).norm() / wanted.norm()) < 1e-2
    # What approximation training compares.
    expected = (net.forward_map(x) - wanted).square().mean()
    torch.testing.assert_close(ApproximationLoss(net)(z, x), expected)
    assert net.certificate().content["reads"] == "A*z / ||A||^2"


@pytest.mark.slow
def test_every_analysis_of_a_study_works_on_frequencies(tmp_path: Path) -> None:
    names = REGISTRY.names("study_analyzer")
    few = {
        "convergence": {"choice": [[0.05, 0.5], [0.01, 0.9]]},
        "ill_posedness_by_noise": {"images": 1, "tolerance": 0.1, "mask": None},
        "saliency_by_noise": {"images": 1, "pixels": 20, "area_pixels": 3, "window": 5, "resamples": 1000},
        "noise_mismatch_by_training": {"resamples": 1000},
        "training_size": {"resamples": 1000},
    }
    spec = tomography(
        operator={"name": "fourier_sampling", "acceleration": 3, "pattern": "radial"},
        methods={
            "adjoint": "adjoint",
            "iresnet": {"reconstructor": network(), "trainer": BRIEFLY},
        },
        # What studies make of the findings of cells; `test_every_analysis_of_a_run_works_on_sinograms` has the others.
        analyses=[{"name": "stability", "images": 1, "iterations": 1, "draws": 1}],
        matrix={
            "noise.std": [0.01, 0.05],
            "methods.iresnet.reconstructor.lipschitz": [0.5, 0.9],
            "data.train": [6, 8],
            # One cell with fewer images, for `training_size`.
            "exclude": [
                {"data.train": 6, "noise.std": 0.05},
                {"data.train": 6, "methods.iresnet.reconstructor.lipschitz": 0.5},
            ],
        },
        study_analyses=[{"name": name, **few.get(name, {})} for name in names],
    )
    result = run(spec, tmp_path, device="cpu", progress=False)
    assert set(result.findings) == set(names)


def refused(spec: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        make_plan(read_spec(spec), REGISTRY)
    return str(caught.value)


def test_methods_that_cannot_work_are_refused_when_the_spec_is_checked() -> None:
    unet = {"name": "unet", "start": "fbp"}
    methods = {"fbp": "fbp", "unet": {"reconstructor": unet, "trainer": "reconstruction"}, "adjoint": "adjoint"}
    message = refused(tomography(operator="perona_malik", methods=methods))
    assert "methods.fbp.reconstructor: PeronaMalik has no filtered back-projection" in message
    assert "methods.unet.reconstructor.start: PeronaMalik has no filtered back-projection" in message
    assert "methods.adjoint.reconstructor: PeronaMalik is not linear" in message
    make_plan(read_spec(tomography(methods=methods)), REGISTRY)


def test_a_start_that_needs_training_is_refused_when_the_spec_is_checked() -> None:
    unet = {"name": "unet", "start": {"name": "unet", "start": None}}
    message = refused(tomography(methods={"unet": {"reconstructor": unet, "trainer": "reconstruction"}}))
    assert "methods.unet.reconstructor.start: UNet has weights, which nothing has trained" in message


def test_a_mistake_in_a_trainer_is_the_only_message_about_it() -> None:
    wrong = {"name": "parameter_search", "trainer": {"name": "reconstruction", "stepps": 3}, "parameters": {}}
    for trainer, expected in (
        ({"name": "reconstruction", "stepps": 3}, "methods.unet.trainer.stepps"),
        ({"name": "reconstruction", "steps": -1}, "methods.unet.trainer.steps"),
        ({"name": "reconstructing"}, "methods.unet.trainer"),
        (wrong, "methods.unet.trainer.trainer.stepps"),
    ):
        message = refused(tomography(methods={"unet": {"reconstructor": "unet", "trainer": trainer}}))
        assert message.startswith(expected), message
        assert "weights" not in message
        assert "problems in the spec" not in message


def test_a_search_without_a_trainer_is_refused_for_a_network_when_the_spec_is_checked() -> None:
    search: dict[str, Any] = {"name": "parameter_search", "parameters": {"padding": {"low": 1, "high": 3}}}
    message = refused(tomography(methods={"unet": {"reconstructor": "unet", "trainer": search}}))
    assert "methods.unet.trainer.trainer: 'unet' has weights, but 'parameter_search' does not train them" in message
    make_plan(
        read_spec(
            tomography(
                methods={
                    "unet": {"reconstructor": "unet", "trainer": {**search, "trainer": "reconstruction"}},
                    "fbp": {"reconstructor": "fbp", "trainer": {"name": "parameter_search"}},
                }
            )
        ),
        REGISTRY,
    )


def test_the_ready_spec_is_valid() -> None:
    plan = make_plan(read_spec(Path(__file__).parents[2] / "specs" / "radon.yaml"), REGISTRY)
    assert list(plan.methods) == [
        "fbp",
        "tv",
        "unet",
        "iresnet",
        "iresnet_tikhonov",
        "explicit_tikhonov",
        "multiscale_tikhonov",
    ]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"methods": {"observation": "observation"}}, "only those can be looked at as images"),
        ({"operator": {"name": "radon", "image_size": [24, 30]}}, "24x30, the image_size"),
    ],
)
def test_what_needs_the_images_is_refused_before_anything_is_computed(
    changes: dict[str, Any], match: str, tmp_path: Path
) -> None:
    with pytest.raises(InvregError, match=match):
        run(tomography(**changes), tmp_path, device="cpu", progress=False)


class Folded(Operator):
    """Nonlinear, with another range."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., ::2, :] ** 2

    def range_shape(self, domain_shape: Shape) -> Shape:
        return domain_shape[0], -(-domain_shape[1] // 2), domain_shape[2]


@pytest.mark.parametrize("kind", ["iresnet", "explicit_iresnet", "unet"])
def test_nonlinear_operators_with_another_range_are_refused(kind: str) -> None:
    net = REGISTRY.build("reconstructor", "unet" if kind == "unet" else network(kind))
    with pytest.raises(SpecError, match="linear"):
        net.setup(Problem(Folded()), (1, 16, 16))


def test_the_normal_operator_of_a_nonlinear_one_is_refused() -> None:
    with pytest.raises(InvregError, match=r"\.operator: PeronaMalik is not an instance of LinearOperator"):
        NormalOperator(REGISTRY.build("operator", "perona_malik"), (1, 8, 8))


def test_the_normal_operator_takes_the_shapes_of_its_operator() -> None:
    normal = NormalOperator(REGISTRY.build("operator", {"name": "radon", "angles": 5}), (1, 12, 12))
    assert normal.range_shape((1, 12, 12)) == (1, 12, 12)
    with pytest.raises(ShapeError):
        normal.range_shape((1, 12, 13))
