"""Training curves: what is read from logs, and how it is drawn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from analysis_helpers import Stand, draw_svgs, make_run, texts, through_files
from pydantic import Field

from invreg.components.trainer import TrainedMethod, TrainingLog, search_range
from invreg_analyses.training.curves import TrainingCurves

LOG = TrainingLog(
    [
        {"step": 10 * i, "epoch": i / 2, "loss": 0.1 / i, "val_psnr": 20.0 + i * (6 - i), "lr": 1e-3, "seconds": i}
        for i in range(1, 6)
    ],
    {"seconds": 83.0, "best_step": 30},
)


def trials(name: str = "weight", settings: list[Any] | None = None) -> TrainingLog:
    values = [1e-4, 1e-3, 1e-2] if settings is None else settings
    return TrainingLog(
        [
            {"trial": i, name: v, "val_psnr": None if i == 2 else 20.0 + i, "seconds": 1.0, "state": "x", "cause": ""}
            for i, v in enumerate(values)
        ],
        {"trials": len(values), "seconds": 3.0},
    )


def test_losses_and_validations_are_found() -> None:
    run = make_run({"net": 0.1}, logs={"net": LOG})
    findings = TrainingCurves().analyze(run)
    curves = findings.tables["curves"]
    assert set(curves["quantity"]) == {"loss", "val_psnr"}
    assert list(curves.loc[curves["quantity"] == "loss", "position"]) == [10, 20, 30, 40, 50]
    assert list(curves.loc[curves["quantity"] == "val_psnr", "value"]) == [25, 28, 29, 28, 25]
    assert findings.text == "net: 50 steps in 1 min 23 s, best validation PSNR 29.00 dB."


def test_trials_are_points_of_settings_and_values(tmp_path: Path) -> None:
    run = make_run({"tv": 0.1}, logs={"tv": trials()})
    findings = through_files(TrainingCurves().analyze(run), tmp_path)
    table = findings.tables["trials"]
    assert list(table["parameter"].unique()) == ["weight"]
    assert list(table["setting"]) == [1e-4, 1e-3, 1e-2]
    assert list(table["value"][:2]) == [20.0, 21.0]
    assert math.isnan(table["value"][2])
    assert table["log"].all()  # a factor of 100
    found = texts(draw_svgs(TrainingCurves(), findings)["search_1"])
    assert "tv: weight" in found
    assert "1 of 3 trials failed" in found
    assert findings.text.startswith("tv: 3 trials in 3 s, best validation PSNR 21.00 dB")


@pytest.mark.slow
def test_stopped_trials_are_marked_and_never_the_best(tmp_path: Path) -> None:
    values = [22.0, None, 25.0, None, None, 21.0]
    states = ["complete", "failed", "complete", "stopped at step 6", "stopped at step 12", "complete"]
    rows = [
        {"trial": i, "reconstructor.narrow": 1 + i / 9, "trainer.lr": 10.0 ** (i - 6), "noise": f"white(std={i % 2})"}
        | {"val_psnr": value, "seconds": 1.0, "state": state, "cause": "why"}
        for i, (value, state) in enumerate(zip(values, states, strict=True))
    ]
    run = make_run({"m": 0.1})
    run.methods["m"] = TrainedMethod(Declared(), TrainingLog(rows, {"seconds": 6.0}))  # type: ignore[index]
    findings = through_files(TrainingCurves().analyze(run), tmp_path)
    table = findings.tables["trials"]
    assert list(table["parameter"].unique()) == ["reconstructor.narrow", "trainer.lr", "noise"]
    assert list(table["stopped"][:6]) == [False, False, False, True, True, False]
    assert table.groupby("parameter")["log"].first().to_dict() == {
        "noise": False,
        "reconstructor.narrow": True,  # declared
        "trainer.lr": True,
    }
    assert findings.text == "m: 6 trials (2 stopped early) in 6 s, best validation PSNR 25.00 dB."
    found = texts(draw_svgs(TrainingCurves(), findings)["search_1"])
    assert found.count("1 of 6 trials failed, 2 stopped early") == 3
    assert {"white(std=0)", "white(std=1)"} <= set(found)
    findings.tables["trials"] = table.drop(columns="stopped")  # type: ignore[index]
    found = texts(draw_svgs(TrainingCurves(), findings)["search_1"])
    assert found.count("3 of 6 trials failed") == 3


class Declared(Stand):
    def __init__(
        self,
        narrow: Annotated[float, Field(json_schema_extra=search_range(1.0, 2.0, log=True))] = 1.0,
        wide: Annotated[float, Field(json_schema_extra=search_range(1.0, 1e4))] = 1.0,
    ) -> None:
        super().__init__()


def test_the_declared_search_range_decides_on_the_axis() -> None:
    log = TrainingLog([{"trial": i, "narrow": 1 + i / 9, "wide": 10.0**i, "val_psnr": 20.0 + i} for i in range(5)])
    run = make_run({"m": 0.1})
    run.methods["m"] = TrainedMethod(Declared(), log)  # type: ignore[index]
    table = TrainingCurves().analyze(run).tables["trials"]
    assert table.groupby("parameter")["log"].first().to_dict() == {"narrow": True, "wide": False}


@pytest.mark.parametrize(
    "settings", [["edge", "forward", "edge"], [True, False, True], [None, 1.0, 2.0], [0.0, 1.0, 99.0]]
)
def test_settings_that_are_no_positive_numbers_are_drawn(settings: list[Any], tmp_path: Path) -> None:
    run = make_run({"tv": 0.1}, logs={"tv": trials("stencil", settings)})
    findings = through_files(TrainingCurves().analyze(run), tmp_path)
    found = texts(draw_svgs(TrainingCurves(), findings)["search_1"])
    assert "tv: stencil" in found
    if not all(isinstance(value, float) for value in settings):
        assert {str(value) for value in settings} <= set(found)


@pytest.mark.slow
def test_all_methods_share_the_panels_and_keep_their_colours(tmp_path: Path) -> None:
    weights = {"a": 3, "b": 3, "c": 3}
    run = make_run({"a": 0.1, "b": 0.1, "c": 0.1}, weights=weights, logs={"b": LOG, "c": LOG})
    findings = TrainingCurves().analyze(run)
    svg = draw_svgs(TrainingCurves(), findings)["curves"]
    assert svg == draw_svgs(TrainingCurves(), through_files(findings, tmp_path))["curves"]
    assert {"b", "c", "loss", "validation PSNR, dB", "step"} <= set(texts(svg))
    assert "#d55e00" in svg  # the second colour, though b is the first with a log
    assert "#cc79a7" in svg
    assert "#0072b2" not in svg


def test_logs_of_other_trainers_are_understood() -> None:
    log = TrainingLog([{"iteration": i, "train_loss": 1.0 / (i + 1), "note": "text"} for i in range(3)])
    findings = TrainingCurves().analyze(make_run({"net": 0.1}, logs={"net": log}))
    assert findings.text == "net: 2 iterations."
    assert {"iteration", "train loss"} <= set(texts(draw_svgs(TrainingCurves(), findings)["curves"]))


def test_losses_that_are_not_finite_are_kept_but_not_drawn() -> None:
    losses = [1.0, math.nan, 0.5, math.inf, 0.1]
    rows = [{"step": i, "loss": value} for i, value in enumerate(losses)]
    run = make_run({"net": 0.1}, logs={"net": TrainingLog(rows)})
    findings = TrainingCurves().analyze(run)
    np.testing.assert_array_equal(findings.tables["curves"]["value"], losses)
    (line,) = TrainingCurves().draw(findings)["curves"].axes[0].lines
    assert line.get_xydata().tolist() == [[0, 1.0], [2, 0.5], [4, 0.1]]


def test_a_run_without_logs_says_so(tmp_path: Path) -> None:
    findings = through_files(TrainingCurves().analyze(make_run({"raw": 0.1})), tmp_path)
    assert findings.text == "No method of this run has a training log."
    assert draw_svgs(TrainingCurves(), findings) == {}


def test_one_row_and_zero_losses_are_drawn() -> None:
    run = make_run({"net": 0.1}, logs={"net": TrainingLog([{"step": 1, "loss": 0.0, "val_psnr": 20.0}])})
    loss, psnr = TrainingCurves().draw(TrainingCurves().analyze(run))["curves"].axes
    assert [line.get_xydata().tolist() for line in loss.lines] == [[[1, 0.0]]]
    point, ring = psnr.lines
    assert point.get_xydata().tolist() == ring.get_xydata().tolist() == [[1, 20.0]]
    assert loss.lines[0].get_marker() not in ("", "None"), "a line of one point would not be seen"
