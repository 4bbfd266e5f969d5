"""The ready specs of the paper's study: they are valid, and say what the paper says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from invreg.components.problem import Problem
from invreg.plugins.registry import Registry
from invreg.running.shared_work import method_digest
from invreg.specs.methods import ReconstructorBuilder
from invreg.specs.reading import read_content
from invreg.studies.plan import plan_study

FOLDER = Path(__file__).parents[2] / "specs" / "paper"
LEVELS = [0.01, 0.025, 0.05]
#: Table 1 of the paper: weights, epochs, batch size, learning rate.
TABLE = {
    "iresnet": (4_263_700, 500, 32, 1e-4),
    "small iresnet": (640_140, 300, 32, 1e-3),
    "diffnet": (101_310, 100, 16, 2e-3),
    "unet": (5_468_705, 500, 64, 5e-4),
    "conv_resnet": (4_263_873, 300, 16, 1e-4),
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.installed()


def plan(name: str, registry: Registry) -> Any:
    return plan_study(read_content(FOLDER / f"{name}.yaml"), registry)


def test_the_spec_of_the_findings_asks_all_questions_at_little_and_at_much_noise(registry: Registry) -> None:
    study = plan_study(read_content(FOLDER.parent / "findings.yaml"), registry)
    assert [cell.values["noise.std"] for cell in study.cells] == [0.01, 0.05]
    asked = {type(analyzer).__name__ for analyzer in study.cells[0].plan.analyses.values()}
    assert {"ForwardMap", "LocalIllPosedness", "SaliencyClusters", "EdgeSaliency", "RegularizationMap"} <= asked
    assert {"IllPosednessByNoise", "SaliencyByNoise"} <= {type(one).__name__ for one in study.analyses.values()}


def test_the_specs_of_the_newer_questions_ask_them(registry: Registry) -> None:
    robustness, sizes = plan("robustness", registry), plan("training_size", registry)
    assert [cell.values["noise.std"] for cell in robustness.cells] == LEVELS
    asked = {type(analyzer).__name__ for analyzer in robustness.cells[0].plan.analyses.values()}
    assert {"NoiseMismatch", "Adversarial", "Conformal"} <= asked
    assert {type(one).__name__ for one in robustness.analyses.values()} >= {"NoiseMismatchByTraining"}
    assert {type(one).__name__ for one in sizes.analyses.values()} == {"TrainingSize"}
    assert len(sizes.cells) == 8
    networks = [study.cells[0].plan.spec.methods["explicit_iresnet"].reconstructor for study in (robustness, sizes)]
    assert networks[0] == networks[1]


@pytest.mark.parametrize("name", ["smoke", "tiny", "small", "full"])
def test_each_spec_has_the_papers_cells_and_trains_nothing_twice(name: str, registry: Registry) -> None:
    study = plan(name, registry)
    found = {(str(cell.values["operator"]), cell.values["noise.std"]) for cell in study.cells}
    assert found == {(operator, std) for operator in ("perona_malik", "gaussian_blur") for std in LEVELS}
    assert study.axes["methods.iresnet.reconstructor.lipschitz"] == [0.95, 0.99, 0.999]
    assert len(study.cells) == 18
    for label in study.cells[0].plan.spec.methods:
        trainings = {method_digest(cell.plan, label) for cell in study.cells}
        assert len(trainings) == (18 if "iresnet" in label else 6), label
    for cell in study.cells:
        networks = [m.reconstructor for label, m in cell.plan.spec.methods.items() if "iresnet" in label]
        assert len({network.parameters["lipschitz"] for network in networks}) == 1
        assert {"observation", "tv", "iresnet", "conv_resnet", "unet", "diffnet"} <= set(cell.plan.spec.methods)


def test_smoke_and_tiny_differ_in_the_length_of_training_only(registry: Registry) -> None:
    smoke, tiny = (plan(name, registry).cells[0].plan.spec for name in ("smoke", "tiny"))
    for field in ("data", "operator", "noise", "metrics", "seed"):
        assert getattr(smoke, field) == getattr(tiny, field), field
    # A certificate takes half a minute, however long the training was.
    names = [[analysis.name for analysis in spec.analyses] for spec in (smoke, tiny)]
    assert [*names[0], "certificate"] == names[1]
    for label, method in smoke.methods.items():
        assert method.reconstructor == tiny.methods[label].reconstructor
        if method.trainer is not None and "steps" in method.trainer.parameters:
            assert method.trainer.parameters["steps"] <= 10


@pytest.mark.slow
def test_full_is_table_1(registry: Registry) -> None:
    planned = plan("full", registry).cells[0].plan
    problem = Problem(planned.operator, planned.noise)
    for label, (weights, epochs, batch_size, lr) in TABLE.items():
        network = ReconstructorBuilder(planned, label, problem, (1, 96, 96), torch.device("cpu"))()
        assert sum(parameter.numel() for parameter in network.parameters()) == weights, label
        trainer = planned.spec.methods[label].trainer.parameters
        assert (trainer["epochs"], trainer["batch_size"], trainer["lr"]) == (epochs, batch_size, lr), label
        assert trainer["optimizer"] == "adam"
        assert (trainer["gradient_clip"], trainer["warmup"], trainer["final_lr"]) == (None, 0, 1)
        parameters = planned.spec.methods[label].reconstructor.parameters
        assert (parameters["padding"], parameters["center"]) == (0, 0)
    assert planned.spec.data.parameters["train"] == 16_284
    blur = plan("full", registry).cells[-1].plan.spec.operator.parameters
    assert (blur["kernel_size"], blur["std"]) == (11, pytest.approx(5 / 3, abs=1e-12))
