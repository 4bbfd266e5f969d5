"""The test of firm nonexpansiveness on maps for which the answer is known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from analysis_helpers import Learner, draw_svgs, make_run, texts, through_files, with_learners
from test_forward_map import Doubled
from torch import Tensor

from invreg.components.operator import Operator, Shape
from invreg.errors import InvregError
from invreg_analyses.forward_map.firm_nonexpansiveness import FirmNonexpansiveness
from toy import Halved


class Scaled(Operator):
    """Multiplies all pixels by one factor and the first by another."""

    def __init__(self, factor: float = 1.0, first: float = 1.0) -> None:
        super().__init__()
        self.factor, self.first = factor, first

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros_like(x)
        mask[..., 0, 0] = 1
        return x * (self.factor + (self.first - self.factor) * mask)


class Softplus(Operator):
    """log(1 + exp(x)): its derivative lies in (0, 1), so it is firmly nonexpansive."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.softplus(x)


def ratios(operator: Operator, **parameters: int | float) -> pd.DataFrame:
    return FirmNonexpansiveness(**parameters).analyze(make_run({"a": 0.1}, operator=operator)).tables["ratios"]


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "ratio"), [(0.5, 0.5), (1.0, 1.0), (0.0, 1.0), (2.0, 5.0), (-1.0, 5.0)])
def test_multiples_of_the_identity_have_one_ratio(factor: float, ratio: float) -> None:
    table = ratios(Scaled(factor, factor))
    assert table["ratio"].to_numpy() == pytest.approx(ratio, rel=1e-9)  # factor² + (1 - factor)²
    assert table["kind"].value_counts().to_dict() == {"images": 10, "noise": 5, "worst": 5}


def test_the_worst_direction_finds_what_images_and_noise_do_not() -> None:
    table = ratios(Scaled(0.5, 1.2), iterations=30).groupby("kind")["ratio"].max()
    assert table["worst"] == pytest.approx(1.2**2 + 0.2**2, rel=1e-6)
    assert table["noise"] < 0.8
    assert table["images"] < 0.8


def test_a_firmly_nonexpansive_nonlinear_map_passes() -> None:
    findings = FirmNonexpansiveness().analyze(make_run({"a": 0.1}, operator=Softplus()))
    (row,) = findings.tables["maps"].to_dict("records")
    assert (row["violations"], row["pairs"]) == (0, 20)
    assert f"{row['largest']:.3f} for the operator (0 of 20 pairs above 1)." in findings.text
    assert findings.text.endswith("This is a test, not a proof.")
    assert findings.tables["ratios"]["ratio"].between(0.5, 1).all()


@pytest.mark.slow
def test_a_violation_is_said_and_drawn(tmp_path: Path) -> None:
    analyzer = FirmNonexpansiveness()
    findings = analyzer.analyze(make_run({"a": 0.1}, operator=Scaled(0.5, 1.2)))
    assert ": 1.48 for the operator (5 of 20 pairs above 1)." in findings.text
    (row,) = findings.tables["maps"].to_dict("records")
    assert (row["kind"], row["violations"], row["pairs"]) == ("worst", 5, 20)
    assert row["image"].startswith("image-")
    drawn = draw_svgs(analyzer, findings)
    assert drawn == draw_svgs(analyzer, through_files(findings, tmp_path))
    assert {"operator F", "two images", "image and worst direction"} <= set(texts(drawn["ratios"]))


@pytest.mark.parametrize(("factor", "scale"), [(1.2, "linear"), (30.0, "log")])
def test_ratios_of_many_sizes_are_drawn_on_a_logarithmic_axis(factor: float, scale: str) -> None:
    findings = FirmNonexpansiveness().analyze(make_run({"a": 0.1}, operator=Scaled(0.5, factor)))
    axes = FirmNonexpansiveness().draw(findings)["ratios"].axes[0]
    assert axes.get_xscale() == scale
    low, high = axes.get_xlim()
    assert low <= 0.5
    assert high >= findings.tables["ratios"]["ratio"].max()
    bars = [(bar.get_x(), bar.get_height()) for group in axes.containers for bar in group]
    assert sum(height for _, height in bars) == len(findings.tables["ratios"])
    # No bar reaches over the line.
    assert sum(height for left, height in bars if left > 1) == findings.tables["maps"]["violations"].sum()


def test_the_identity_is_no_violation_by_rounding() -> None:
    run = make_run({"net": 0.1}, operator=Scaled())
    run = with_learners(run, net=Learner(Scaled(), lambda x: x.float() * 1.0))
    findings = FirmNonexpansiveness().analyze(run)
    assert (findings.tables["maps"]["violations"] == 0).all()
    assert findings.text.count("(0 of 20 pairs above 1)") == 2


@pytest.mark.slow
def test_learned_forward_maps_are_tested_too(tmp_path: Path) -> None:
    run = make_run({"raw": 0.1, "net": 0.1, "NA": 0.1}, operator=Halved())
    learners = {"net": Learner(Halved(), lambda x: 1.5 * x), "NA": Learner(Halved(), lambda x: 0.5 * x)}
    findings = FirmNonexpansiveness().analyze(with_learners(run, **learners))
    maps = findings.tables["maps"].set_index("method")
    assert maps["violations"].to_dict() == {"": 0, "net": 20, "NA": 0}
    assert "for φ of net (20 of 20 pairs above 1)" in findings.text
    drawn = draw_svgs(FirmNonexpansiveness(), through_files(findings, tmp_path))
    assert {"operator F", "φ of net", "φ of NA"} <= set(texts(drawn["ratios"]))


def test_the_normal_operator_stands_for_one_between_spaces() -> None:
    assert ratios(Doubled())["ratio"].to_numpy() == pytest.approx(1.0, rel=1e-6)


def test_a_nonlinear_operator_between_spaces_is_refused() -> None:
    class Cut(Operator):
        def forward(self, x: Tensor) -> Tensor:
            return x[..., 1:].square()

        def range_shape(self, domain_shape: Shape) -> Shape:
            return (*domain_shape[:2], domain_shape[2] - 1)

    with pytest.raises(InvregError, match="from images to images"):
        ratios(Cut())


@pytest.mark.parametrize("count", [1, 2, 20])
def test_any_number_of_images(count: int) -> None:
    run = make_run({"a": 0.1}, operator=Halved(), count=count)
    table = FirmNonexpansiveness(pairs=7, perturbed=3).analyze(run).tables["ratios"]
    expected = {"images": min(count * (count - 1) // 2, 7), "noise": min(count, 3), "worst": min(count, 3)}
    assert table["kind"].value_counts().to_dict() == {kind: n for kind, n in expected.items() if n}


@pytest.mark.slow
def test_equal_and_black_images_are_no_obstacle(tmp_path: Path) -> None:
    run = make_run({"a": 0.1}, operator=Halved(), count=2)
    run.images.test.images.zero_()
    findings = FirmNonexpansiveness().analyze(run)
    assert findings.tables["maps"]["pairs"].iloc[0] == 4  # two equal images have no ratio
    draw_svgs(FirmNonexpansiveness(), through_files(findings, tmp_path))


def test_the_pairs_depend_on_the_seed_alone() -> None:
    tables = [
        FirmNonexpansiveness(pairs=3, iterations=1)
        .analyze(make_run({"a": 0.1}, operator=Softplus(), count=8, seed=seed))
        .tables["ratios"]
        for seed in (0, 0, 1)
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])
