"""specs/operators: a spec for every built-in operator, with methods that fit it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import invreg
from invreg.specs.plan import check_sizes, make_plan
from invreg.specs.reading import read_spec

ROOT = Path(__file__).resolve().parents[2]
SPECS = {path.stem: path for path in sorted((ROOT / "specs" / "operators").glob("*.yaml"))}
REGISTRY = invreg.Registry.installed()

#: Operators without a spec there: these two read files.
FROM_FILES = {"measured", "scipy_matrix"}
#: Nonlinear with another range: no certified network, and no U-Net, takes its measurements.
TV_ALONE = {"phase_retrieval"}


def planned(name: str, request: pytest.FixtureRequest) -> Any:
    if name == "deepinv":
        request.getfixturevalue("dinv")
    if name == "pylops":
        pytest.importorskip("pylops")
    return make_plan(read_spec(SPECS[name]), REGISTRY)


def test_every_built_in_operator_has_a_spec() -> None:
    own = {name for name, entry in REGISTRY.entries("operator").items() if entry.plugin.distribution == "invreg"}
    assert set(SPECS) == own - FROM_FILES
    assert {path.stem for path in (ROOT / "docs" / "images" / "operators").glob("*.png")} == {
        "tomography",
        *set(SPECS) - {"deepinv", "finite_differences", "pylops"},
    }


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in ("deepinv", "pylops") else name for name in SPECS],
)
def test_it_is_valid_and_compares_a_certified_network(name: str, request: pytest.FixtureRequest) -> None:
    plan = planned(name, request)
    check_sizes(plan)
    assert plan.spec.operator.name == name
    assert set(plan.spec.methods) == ({"tv"} if name in TV_ALONE else {"tv", "certified", "unet"})
    times = {label: method.trainer.parameters.get("max_minutes") for label, method in plan.spec.methods.items()}
    assert times == {label: None if label == "tv" else 1.0 for label in times}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_its_networks_give_images(name: str, request: pytest.FixtureRequest) -> None:
    plan = planned(name, request)
    problem, shape = invreg.Problem(plan.operator, plan.noise), (1, 24, 24)
    z = problem.measure(torch.rand((1, *shape), generator=torch.Generator().manual_seed(0)), seed=0)
    for label, method in plan.methods.items():
        reconstructor = method.unused[0]
        reconstructor.setup(problem, shape)
        if label != "tv":
            assert reconstructor.eval()(z).shape == (1, *shape)
