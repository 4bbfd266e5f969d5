"""The analysis of convergence: toy networks whose errors and rates are known, and one real study."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import Field
from study_helpers import registry_with
from torch import Tensor, nn

import invreg
from invreg.api import certify, run
from invreg.components.analyzer import Findings
from invreg.components.certificate import StabilityCertificate, certificate_content
from invreg.components.operator import LinearOperator, NormalOperator, Operator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import ActsOnLiftedStates, LearnsForwardMap
from invreg.components.study_analyzer import CompletedStudy
from invreg.components.trainer import Method, TrainedMethod, TrainingContext, TrainingLog
from invreg.errors import CertificateError, DataError, SpecError
from invreg.plugins.registry import Registry
from invreg.storage.certificates import RunCertificates
from invreg.storage.result import StudyResult
from invreg.storage.run_folder import RunFolder
from invreg.storage.run_images import LastImages
from invreg_analyses.convergence.convergence import Convergence
from invreg_analyses.convergence.rates import fit_rate
from toy import Flatten, Nothing, Raw, ToyImages

#: They run or train something small, or read what a fixture has run.
pytestmark = pytest.mark.slow

COPIES = 4
L_PATH = "methods.net.reconstructor.lipschitz"
CHOICE = [[0.01, 0.999], [0.025, 0.99], [0.05, 0.95]]


class Scaling(Raw):
    """Knows the factor f of its operator up to f (1 + miss (1 - L)^power); reconstructs by dividing by that."""

    def __init__(
        self,
        lipschitz: Annotated[float, Field(gt=0, lt=1)] = 0.9,
        power: float = 1.5,
        miss: float = 0.8,
    ) -> None:
        super().__init__()
        self.lipschitz, self.power, self.miss = lipschitz, power, miss
        self.weight = nn.Parameter(torch.ones(3))

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        super().setup(problem, image_shape)
        operator = problem.operator
        if operator.range_shape(image_shape) != tuple(image_shape):
            assert isinstance(operator, LinearOperator)
            operator = NormalOperator(operator, image_shape)
        self.__dict__["_target"] = operator
        self.factor = getattr(operator, "factor", 1.0) * (1 + self.miss * (1 - self.lipschitz) ** self.power)

    @property
    def target_operator(self) -> Operator:
        return self.__dict__["_target"]

    def forward_map(self, x: Tensor) -> Tensor:
        return self.factor * x

    def forward(self, z: Tensor) -> Tensor:
        target = self.target_operator
        return super().forward(target.pull_back(z) if isinstance(target, NormalOperator) else z) / self.factor


class LiftedScaling(Scaling):
    """The same on stacks of copies, padded, and with another miss on the states than images would show."""

    def lift(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (1, 1, 1, 1), mode="reflect").repeat(1, COPIES, 1, 1)

    def unlift(self, state: Tensor) -> Tensor:
        return state.unflatten(1, (COPIES, -1)).mean(1)[..., 1:-1, 1:-1]

    def phi(self, state: Tensor) -> Tensor:
        return self.factor * state

    def forward_map(self, x: Tensor) -> Tensor:
        return x  # never asked


class CertifiedScaling(LiftedScaling):
    """Proves 1 / factor; `wrong` makes the bound too small, `broken` certificates are not accepted."""

    def __init__(self, lipschitz: float = 0.9, wrong: bool = False, broken: bool = False) -> None:
        super().__init__(lipschitz)
        self.wrong, self.broken = wrong, broken

    def certificate(self) -> StabilityCertificate:
        bound = (1e-3 if self.wrong else 1) / self.factor
        sides = {"product": 10 * bound, "certified": bound}
        return StabilityCertificate(certificate_content(sides, {"certified": None}, 99 * bound, "none", "z", {}))

    def verify(self, certificate: StabilityCertificate) -> None:
        if self.broken:
            raise CertificateError("another network's", where="certificate")


class Doubled(Flatten):
    """Twice the pixels, as vectors."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return 2 * y.reshape(-1, 1, 14, 18)


class Plain(Raw):
    """Has the parameter, but no forward map."""

    def __init__(self, lipschitz: float = 0.9) -> None:
        super().__init__()
        self.lipschitz = lipschitz


class Changing(Nothing):
    """A training that ends with another Lipschitz parameter."""

    def fit(self, method: Method, context: TrainingContext) -> TrainedMethod:
        return TrainedMethod(method.build(lipschitz=0.5), TrainingLog([{"step": 1}], {"seconds": 1.0}))


class Nets:
    @staticmethod
    @invreg.hookimpl
    def invreg_components() -> Mapping[str, type]:
        return {
            "scaling": Scaling,
            "lifted": LiftedScaling,
            "certified": CertifiedScaling,
            "plain": Plain,
            "doubled": Doubled,
            "changing": Changing,
        }


def registry() -> Registry:
    return registry_with(nets=Nets)


def diagonal(path: str = L_PATH, choice: list[list[float]] = CHOICE) -> dict[str, Any]:
    """A matrix with the cells of the choice only."""
    return {"include": [{"noise.std": std, path: lipschitz} for std, lipschitz in choice]}


def spec(reconstructor: Any = "scaling", **changes: Any) -> dict[str, Any]:
    return {
        "title": "Convergence",
        "data": {"name": "toy_images", "count": 5},
        "operator": {"name": "halve", "factor": 0.5},
        "noise": {"name": "white", "std": 0.02},
        "methods": {"raw": "raw", "net": {"reconstructor": reconstructor, "trainer": "nothing"}},
        "matrix": {"noise.std": [0.05, 0.025, 0.01], L_PATH: [0.95, 0.99, 0.999]},
        "metrics": ["psnr"],
        "study_analyses": [],
        **changes,
    }


def study_of(output: Path, content: dict[str, Any]) -> CompletedStudy:
    result = run(content, output, "cpu", progress=False, registry=registry())
    assert isinstance(result, StudyResult)
    assert not result.failures
    varied = list(result.cells[0].values)
    axes = {path: list(dict.fromkeys(cell.values[path] for cell in result.cells)) for path in varied}
    return CompletedStudy("Convergence", axes, result.table, result.cells)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> CompletedStudy:
    """Two operators; one network on images, one on states."""
    methods = {
        "net": {"reconstructor": "scaling", "trainer": "nothing"},
        "lifted": {"reconstructor": {"name": "lifted", "power": 0.5}, "trainer": "nothing"},
        "raw": "raw",
        "fixed": {"reconstructor": {"name": "scaling", "lipschitz": 0.95}, "trainer": "nothing"},
        "plain": {"reconstructor": "plain", "trainer": "nothing"},
    }
    paths = [L_PATH.replace("net", label) for label in ("net", "lifted", "plain")]
    operators = [{"name": "halve", "factor": factor} for factor in (0.5, 0.8)]
    pairs = [*CHOICE, [0.01, 0.99]]  # the last one is none of the choice
    cells = [
        {"operator": operator, "noise.std": std, **dict.fromkeys(paths, lipschitz)}
        for operator in operators
        for std, lipschitz in pairs
    ]
    matrix = {"include": cells}
    return study_of(tmp_path_factory.mktemp("toy"), spec(methods=methods, matrix=matrix))


@pytest.fixture(scope="module")
def findings(toy: CompletedStudy) -> Findings:
    return Convergence().analyze(toy)


def row_of(table: pd.DataFrame, **where: Any) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


IMAGES = ToyImages(5).splits().test.images.double()
NORMS = IMAGES.flatten(1).norm(dim=1).numpy()
PIXELS = IMAGES[0].numel()


@pytest.mark.parametrize(("operator", "factor"), [("halve(factor=0.5)", 0.5), ("halve(factor=0.8)", 0.8)])
@pytest.mark.parametrize(("method", "power"), [("net", 1.5), ("lifted", 0.5)])
def test_errors_are_the_known_ones(findings: Findings, operator: str, factor: float, method: str, power: float) -> None:
    for std, lipschitz in CHOICE:
        row = row_of(findings.tables["errors"], operator=operator, method=method, lipschitz=lipschitz)
        assert row["noise_std"] == std
        missed = 1 + 0.8 * (1 - lipschitz) ** power
        inversion = NORMS * (1 - 1 / missed)
        assert row["inversion"] == pytest.approx(inversion.mean(), rel=1e-3, abs=1e-6)  # float32
        assert row["inversion_se"] == pytest.approx(inversion.std(ddof=1) / math.sqrt(5), rel=1e-3, abs=1e-7)
        assert row["inversion_rmse"] == pytest.approx(inversion.mean() / math.sqrt(PIXELS), rel=1e-3, abs=1e-7)
        assert row["noise"] == pytest.approx(std * math.sqrt(PIXELS), rel=0.1)
        assert row["amplified"] == pytest.approx(row["noise"] / (factor * missed), rel=1e-4)
        assert row["inverse_bound"] == pytest.approx(1 / (1 - lipschitz))
        assert not row["is_proven"]
        assert row["images"] == 5
        assert row["total"] == pytest.approx(row["data_error"] / (1 - lipschitz) + row["inversion"])
        assert row["exceeds"] == 0
        own = findings.tables["values"]
        own = own[(own["operator"] == operator) & (own["method"] == method) & (own["lipschitz"] == lipschitz)]
        np.testing.assert_allclose(own["inversion"], inversion, rtol=1e-3, atol=1e-6)
        assert (own["error"] <= own["amplified"] + own["inversion"] + 1e-9).all()
        assert (own["error"] < own["total"]).all()


def test_data_errors_are_those_that_the_inverse_sees(findings: Findings) -> None:
    errors = findings.tables["errors"]
    on_images, on_states = errors[errors["method"] == "net"], errors[errors["method"] == "lifted"]
    np.testing.assert_allclose(on_images["data_error"], on_images["noise"])
    # The padding of one pixel repeats some of the noise: (16 x 20) instead of (14 x 18) values.
    ratios = on_states["data_error"].to_numpy() / on_states["noise"].to_numpy()
    np.testing.assert_allclose(ratios, math.sqrt(16 * 20 / (14 * 18)), rtol=0.05)


def test_the_noise_is_that_of_the_run(findings: Findings, toy: CompletedStudy) -> None:
    """`raw` hands the measurements on: its metrics know ||z - x||."""
    (cell,) = [
        cell
        for cell in toy.cells
        if cell.values["operator"] == "halve(factor=0.5)"
        and cell.values["noise.std"] == 0.01
        and cell.values[L_PATH] == 0.999
    ]
    found = cell.reconstructions("raw")
    expected = (found.double() - 0.5 * IMAGES).flatten(1).norm(dim=1).numpy()
    own = findings.tables["values"]
    own = own[(own["operator"] == "halve(factor=0.5)") & (own["method"] == "net") & (own["noise_std"] == 0.01)]
    np.testing.assert_allclose(own["noise"], expected, rtol=1e-5)


def test_approximation_and_its_exponent(findings: Findings) -> None:
    for method, power, space, verdict in (("net", 1.5, "X", "seen"), ("lifted", 0.5, "X^M", "not seen")):
        lifted = Scaling if method == "net" else LiftedScaling
        norms = NORMS
        if lifted is LiftedScaling:
            padded = nn.functional.pad(IMAGES, (1, 1, 1, 1), mode="reflect")
            norms = padded.flatten(1).norm(dim=1).numpy()
        for _, lipschitz in CHOICE:
            row = row_of(
                findings.tables["approximation"], operator="halve(factor=0.8)", method=method, lipschitz=lipschitz
            )
            expected = 0.8 * 0.8 * (1 - lipschitz) ** power * norms
            assert row["space"] == space
            assert row["misfit"] == pytest.approx(expected.mean(), rel=2e-3)
            pixels = PIXELS if method == "net" else 16 * 20
            assert row["misfit_rmse"] == pytest.approx(expected.mean() / math.sqrt(pixels), rel=2e-3)
        for operator in ("halve(factor=0.5)", "halve(factor=0.8)"):
            rate = row_of(findings.tables["rates"], operator=operator, method=method, quantity="misfit")
            assert rate["exponent"] == pytest.approx(power, abs=2e-3)
            assert rate["standard_error"] < 2e-3
            assert rate["verdict"] == verdict
            assert rate["space"] == space
            assert rate["points"] == 3
            assert rate["images_above_1"] == (5 if power > 1 else 0)
    assert "the local approximation property (2.4) is seen for 2, not seen for 2;" in findings.text
    assert "A few values of L cannot prove a limit." in findings.text


def test_the_rule_of_the_paper_is_said_not_to_satisfy_its_condition(findings: Findings) -> None:
    rule = findings.tables["rule"]
    assert len(rule) == 6
    own = rule[rule["operator"] == "halve(factor=0.8)"]
    assert own["noise_std"].tolist() == [0.05, 0.025, 0.01]
    np.testing.assert_allclose(own["per_pixel"], [1, 2.5, 10])
    np.testing.assert_allclose(own["delta"], own["noise_std"] * math.sqrt(PIXELS))
    np.testing.assert_allclose(own["norm"], own["per_pixel"] * math.sqrt(PIXELS))
    assert "per pixel, δ/(1 − L), which (2.5) wants to go to zero, is 1, 2.5, 10." in findings.text
    assert findings.scalars["rule_falls"] is False
    assert "the choice does not satisfy (2.5), so the theorem cannot explain what the errors do here." in findings.text


def test_methods_without_all_pairs_or_a_forward_map_are_left_out(findings: Findings) -> None:
    left_out = findings.tables["left_out"].set_index(["method", "operator"])["reason"]
    assert left_out["fixed", "halve(factor=0.5)"] == "no finished cell for 0.025: 0.99, 0.01: 0.999"
    assert left_out["plain", "halve(factor=0.8)"] == "it has no forward map"
    assert len(left_out) == 4
    assert set(findings.tables["errors"]["method"]) == {"net", "lifted"}
    assert "Left out: 4 networks, see the table `left_out`." in findings.text


def test_trends(findings: Findings) -> None:
    assert "with 0.05: 0.95, 0.025: 0.99, 0.01: 0.999, over 5 test images" in findings.text
    assert "falls at every step for 4 of 4 networks with exact data and for 4 with noisy data;" in findings.text
    trends = findings.tables["trends"]
    assert len(trends) == 4
    assert trends["inversion"].all()
    assert trends["error"].all()
    # 1 / (1 - L) grows faster than the noise falls.
    assert not trends["data_term"].any()


def test_figures_from_files(findings: Findings, tmp_path: Path) -> None:
    analysis = RunFolder(tmp_path).analysis("analysis")
    analysis.write_findings(findings)
    figures = Convergence().draw(analysis.findings)
    assert list(figures) == ["inversion_error", "approximation", "error_and_bound"]
    figure = figures["inversion_error"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["halve(factor=0.5)", "halve(factor=0.8)"]
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left > right
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "0.95\nδ = 0.05",
        "0.99\nδ = 0.025",
        "0.999\nδ = 0.01",
    ]
    errors = findings.tables["errors"]
    own = errors[(errors["operator"] == "halve(factor=0.5)") & (errors["method"] == "net")].sort_values("lipschitz")
    drawn = {c.get_label(): c[0].get_ydata(orig=False) for c in axes.containers}
    np.testing.assert_allclose(drawn["net, exact data"], own["inversion"])
    np.testing.assert_allclose(drawn["net, noisy data"], own["error"])
    labels = [text.get_text() for text in figures["approximation"].axes[0].get_legend().get_texts()]
    assert [label.partition(" ±")[0] for label in labels] == ["slope of p = 1", "net: p = 1.50", "lifted: p = 0.500"]
    for one in figures.values():
        one.canvas.draw()  # type: ignore[attr-defined]


def test_fewer_images_and_a_single_one(toy: CompletedStudy) -> None:
    few = Convergence(images=2).analyze(toy)
    assert set(few.tables["errors"]["images"]) == {2}
    assert "over the first 2 of 5 test images" in few.text
    expected = NORMS[:2] * (1 - 1 / (1 + 0.8 * 0.05**1.5))
    row = row_of(few.tables["errors"], operator="halve(factor=0.5)", method="net", lipschitz=0.95)
    assert row["inversion"] == pytest.approx(expected.mean(), rel=1e-3)
    one = Convergence(images=1)
    single = one.analyze(toy)
    assert single.tables["errors"]["inversion_se"].isna().all()
    for figure in one.draw(single).values():
        figure.canvas.draw()  # type: ignore[attr-defined]


def test_another_choice_of_two_pairs(toy: CompletedStudy) -> None:
    # 0.05 / 0.05 = 1, 0.01 / 0.01 = 1: neither grows nor falls.
    level = Convergence(choice=((0.05, 0.95), (0.01, 0.99))).analyze(toy)
    assert "is 1, 1. A few values of L cannot prove a limit. On these levels the choice does not" in level.text
    assert level.scalars["rule_falls"] is False
    rate = row_of(level.tables["rates"], operator="halve(factor=0.5)", method="net", quantity="misfit")
    assert math.isnan(rate["standard_error"])
    assert rate["verdict"] == "seen"


def test_a_falling_ratio_proves_nothing_either(tmp_path: Path) -> None:
    choice = [[0.05, 0.9], [0.001, 0.95]]
    study = study_of(tmp_path, spec(matrix=diagonal(choice=choice)))
    found = Convergence(choice=((0.05, 0.9), (0.001, 0.95))).analyze(study)
    assert found.text.endswith("is 0.5, 0.02. A few values of L cannot prove a limit.")
    assert found.scalars["rule_falls"] is True
    assert "cannot explain" not in found.text


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        (((0.01, 0.99),), "at least 2 items"),
        (((0.01, 0.9), (0.05, 0.99)), "larger L for less noise"),
        (((0.01, 0.99), (0.01, 0.9)), "0.01: 0.99, 0.01: 0.9"),
        (((0.01, 0.99), (0.05, 0.99)), "larger L"),
        (((0.01, 1.0), (0.05, 0.9)), "less than 1"),
        (((0.0, 0.99), (0.05, 0.9)), "choice"),
        ((), "at least 2 items"),
    ],
)
def test_a_choice_that_is_none_is_refused(choice: Any, what: str) -> None:
    with pytest.raises(SpecError, match="choice") as caught:
        Convergence(choice=choice)
    assert what in str(caught.value)


def test_the_choice_of_a_spec_is_checked() -> None:
    build = registry().build
    built = build("study_analyzer", {"name": "convergence", "choice": [[0.05, 0.9], [0.01, 0.99]], "images": 3})
    assert built.choice == ((0.05, 0.9), (0.01, 0.99))
    for wrong in ([[0.05, 0.9, 1], [0.01, 0.99]], [0.05, 0.9], [[0.05, "a"], [0.01, 0.99]], [[0.1, 1.5], [0.2, 0.1]]):
        with pytest.raises(SpecError):
            build("study_analyzer", {"name": "convergence", "choice": wrong})


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"matrix": {"noise.std": [0.05, 0.01], L_PATH: [0.95, 0.999]}},
            ["net under halve: no finished cell for 0.025: 0.99", "matrix: {noise.std: [0.05, 0.025, 0.01]"],
        ),
        (
            {"matrix": {"methods.net.trainer.steps": [1, 2]}},
            ["the study varies methods.net.trainer.steps", "0.05: 0.95, 0.025: 0.99, 0.01: 0.999"],
        ),
        (
            {"matrix": {"noise.std": [0.05, 0.01]}, "methods": {"raw": "raw"}},
            ["no method of it has a parameter `lipschitz`"],
        ),
        ({"noise": "none", "matrix": {L_PATH: [0.95, 0.99, 0.999]}}, ["net under halve: no finished cell for 0.05"]),
        ({"reconstructor": "plain", "matrix": diagonal()}, ["net under halve: it has no forward map"]),
    ],
)
def test_studies_without_the_pairs_are_refused(tmp_path: Path, changes: dict[str, Any], parts: list[str]) -> None:
    study = study_of(tmp_path, spec(**changes))
    with pytest.raises(SpecError) as caught:
        Convergence().analyze(study)
    for part in parts:
        assert part in str(caught.value)


def test_two_networks_for_one_pair_are_refused(tmp_path: Path) -> None:
    """A reconstructor that varies as a whole may change more than its Lipschitz parameter."""
    nets = [
        (0.05, {"name": "scaling", "lipschitz": 0.9, "power": 1.0}),
        (0.05, {"name": "scaling", "lipschitz": 0.9, "power": 2.0}),
        (0.01, {"name": "scaling", "lipschitz": 0.99, "power": 1.0}),
    ]
    cells = [{"noise.std": std, "methods.net.reconstructor": net} for std, net in nets]
    choice = ((0.05, 0.9), (0.01, 0.99))
    with pytest.raises(SpecError, match="two different net under halve"):
        Convergence(choice=choice).analyze(study_of(tmp_path, spec(matrix={"include": cells})))
    some = study_of(tmp_path / "one", spec(matrix={"include": cells[::2]}))
    rates = Convergence(choice=choice).analyze(some).tables["rates"]
    assert row_of(rates, quantity="misfit")["exponent"] == pytest.approx(1, abs=1e-3)


def test_other_paths_are_held_at_their_last_value(tmp_path: Path) -> None:
    cells = [{**cell, "seed": seed} for cell in diagonal()["include"] for seed in (0, 1)]
    study = study_of(tmp_path, spec(matrix={"include": cells}))
    assert "Held fixed: seed at 1." in Convergence().analyze(study).text
    noise = [
        row_of(Convergence(at=at).analyze(study).tables["errors"], lipschitz=0.99)["noise"]
        for at in (None, {"seed": 1}, {"seed": 0})
    ]
    assert noise[0] == noise[1] != noise[2]


@pytest.mark.parametrize("changes", [{}, {"wrong": True}, {"broken": True}])
def test_bounds_of_certificates(tmp_path: Path, changes: dict[str, bool]) -> None:
    study = study_of(tmp_path, spec({"name": "certified", **changes}, matrix=diagonal()))
    without = Convergence().analyze(study)
    assert not without.tables["errors"]["is_proven"].any()
    for cell in study.cells:
        assert not (cell.folder / "methods/net/certificate.json").exists()
        net: Any = cell.result.methods["net"].reconstructor
        assert RunCertificates(RunFolder(cell.folder), {"net": net})["net"]
    found = Convergence().analyze(study)
    row = row_of(found.tables["errors"], lipschitz=0.99)
    holds = "broken" not in changes
    proven = 1 / (0.5 * (1 + 0.8 * 0.01**1.5)) * (1e-3 if "wrong" in changes else 1)
    assert row["is_proven"] == holds
    assert row["inverse_bound"] == pytest.approx(proven if holds else 100)
    assert row["data_term"] == pytest.approx(row["inverse_bound"] * row["data_error"])
    assert row["nominal_term"] == pytest.approx(100 * row["data_error"])
    assert found.tables["errors"]["is_proven"].eq(holds).all()
    assert found.tables["trends"]["data_term"].tolist() == [holds]
    assert ("another network's" in found.text.partition("Warnings: ")[2]) != holds
    assert ("does not hold for 15 of 15 reconstructions" in found.text) == ("wrong" in changes)


def test_measurements_that_are_no_images(tmp_path: Path) -> None:
    """Then F stands for A*A / ||A||^2 = Id, and the inverse sees A* / ||A||^2 of the noise, with ||A|| = 2."""
    study = study_of(tmp_path, spec(operator="doubled", matrix=diagonal()))
    found = Convergence().analyze(study)
    row = row_of(found.tables["errors"], lipschitz=0.99)
    assert row["data_error"] == pytest.approx(row["noise"] / 2, rel=1e-4)
    assert row["total"] >= row["error"]
    rate = row_of(found.tables["rates"], quantity="misfit")
    assert rate["exponent"] == pytest.approx(1.5, abs=0.01)


def test_exact_networks_have_no_exponent(tmp_path: Path) -> None:
    study = study_of(tmp_path, spec({"name": "scaling", "miss": 0.0}, matrix=diagonal()))
    analyzer = Convergence()
    found = analyzer.analyze(study)
    assert found.tables["rates"]["exponent"].isna().all()
    assert found.tables["rates"].loc[found.tables["rates"]["quantity"] == "misfit", "verdict"].tolist() == [
        "not decided"
    ]
    assert "falls at every step for 0 of 1 network with exact data" in found.text
    assert "(2.4) is not decided for 1;" in found.text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in analyzer.draw(found).values():
            figure.canvas.draw()  # type: ignore[attr-defined]


def test_a_training_that_changes_the_parameter_is_left_out(tmp_path: Path) -> None:
    methods = {"net": {"reconstructor": "scaling", "trainer": "changing"}}
    with pytest.raises(SpecError, match=r"its training has changed lipschitz from 0\.95 to 0\.5"):
        Convergence().analyze(study_of(tmp_path, spec(methods=methods, matrix=diagonal())))


def test_other_images_than_those_of_the_run_are_refused(toy: CompletedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = ToyImages.splits
    monkeypatch.setattr(ToyImages, "splits", lambda self: splits(ToyImages(self.count, shift=7)))
    cells = [replace(cell, last=LastImages()) for cell in toy.cells]
    with pytest.raises(DataError, match="other images than those of the run"):
        Convergence().analyze(replace(toy, cells=cells))


def test_rates() -> None:
    h = [0.05, 0.01, 0.001]
    exact = fit_rate(h, [3 * value**2 for value in h])
    assert (exact.exponent, exact.factor, exact.points) == (pytest.approx(2), pytest.approx(3), 3)
    assert exact.standard_error == pytest.approx(0, abs=1e-9)
    # Against the formulas of a regression, by hand: x = 0, 1, 2, y = 0, 1, 3: slope 3/2, residuals 1/6, -1/3, 1/6.
    rate = fit_rate(list(np.exp([0.0, 1, 2])), list(np.exp([0.0, 1, 3])))
    assert rate.exponent == pytest.approx(1.5)
    assert rate.standard_error == pytest.approx(math.sqrt((1 / 36 + 1 / 9 + 1 / 36) / 1 / 2))
    assert math.isnan(fit_rate([0.1, 0.2], [1, 4]).standard_error)
    for bad in ([0.0, 1], [-1.0, 1], [math.nan, 1], [math.inf, 1]):
        assert math.isnan(fit_rate([0.1, 0.2], bad).exponent)
    assert math.isnan(fit_rate([0.1, 0.1], [1, 2]).exponent)
    assert math.isnan(fit_rate([0.1], [1]).exponent)


def test_the_toys_have_the_capabilities_they_are_meant_to_have() -> None:
    assert not isinstance(Plain(), LearnsForwardMap)
    assert not isinstance(Scaling(), ActsOnLiftedStates)
    assert isinstance(LiftedScaling(), ActsOnLiftedStates)


@pytest.mark.parametrize("name", ["iresnet", "explicit_iresnet"])
def test_invertible_networks_act_on_lifted_states(name: str) -> None:
    net = Registry.installed().build("reconstructor", {"name": name})
    assert isinstance(net, ActsOnLiftedStates)


def test_a_study_of_a_real_network(tmp_path: Path) -> None:
    net = {"name": "iresnet", "subnetworks": 2, "channels": 2, "hidden": 4, "kernel_size": 3, "padding": 2}
    content = {
        "title": "Real",
        "data": {"name": "phantoms", "train": 8, "val": 2, "test": 3, "image_size": 16},
        "operator": {"name": "gaussian_blur", "kernel_size": 3, "std": 0.8},
        "noise": {"name": "gaussian", "std": 0.05},
        "methods": {
            "net": {
                "reconstructor": net,
                "trainer": {"name": "reconstruction", "steps": 3, "batch_size": 4, "validations": 1},
            }
        },
        "matrix": diagonal(choice=[[0.05, 0.8], [0.01, 0.95]]),
        "study_analyses": [{"name": "convergence", "choice": [[0.05, 0.8], [0.01, 0.95]]}],
    }
    result = run(content, tmp_path, "cpu", progress=False)
    assert isinstance(result, StudyResult)
    assert not result.failures
    found = result.findings["convergence"]
    errors, rates = found.tables["errors"], found.tables["rates"]
    np.testing.assert_allclose(errors["inverse_bound"], 1 / (1 - errors["lipschitz"]))
    assert (errors["error"] <= errors["total"]).all()
    assert set(rates.loc[rates["quantity"] == "misfit", "space"]) == {"X^M"}
    cell = next(cell for cell in result.cells if cell.values["noise.std"] == 0.01)
    certify(cell.folder)
    study = CompletedStudy("Real", {path: [] for path in cell.values}, result.table, result.cells)
    again = Convergence(choice=((0.05, 0.8), (0.01, 0.95))).analyze(study)
    proven = again.tables["errors"].sort_values("lipschitz")
    assert proven["is_proven"].tolist() == [False, True]
    assert 1 <= proven["inverse_bound"].iloc[1] < 20
    assert (proven["error"] <= proven["total"]).all()
    # By hand, for the first image and one cell.
    own: Any = cell.result.methods["net"].reconstructor
    blur = cell.result.problem.operator
    x = cell.registry.build("dataset", cell.spec.data).splits().test.images[:1]
    with torch.no_grad():
        misfit = (own.phi(own.lift(x)) - own.lift(blur(x))).norm() / math.sqrt(2)
        inversion = (own(blur(x)) - x).norm()
    values = found.tables["values"]
    row = values[(values["noise_std"] == 0.01)].iloc[0]
    assert row["misfit"] == pytest.approx(float(misfit), rel=1e-4)
    assert row["inversion"] == pytest.approx(float(inversion), rel=1e-4)
    assert {path.stem for path in result.folder.glob("analyses/convergence/figures/*.png")} == {
        "inversion_error",
        "approximation",
        "error_and_bound",
    }
    assert "A few values of L cannot prove a limit." in result.report.read_text(encoding="utf-8")
