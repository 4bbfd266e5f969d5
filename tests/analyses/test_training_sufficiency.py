"""Whether learned methods that are not better than others were trained long enough: no more is said than logs show."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from analysis_helpers import draw_svgs, make_run, set_values, through_files

from invreg.components.trainer import TrainingLog
from invreg_analyses.quality.quality import Quality
from invreg_analyses.shared.sufficiency import (
    NOT_BETTERING,
    STILL_BETTERING,
    TOO_BRIEF,
    UNKNOWN,
    TrainingLength,
    diagnose,
    row_if_behind,
    sufficiency_table,
    sufficiency_text,
    training_length,
)

PSNR = SimpleNamespace(metric="psnr", unit="dB", higher_is_better=True)
MSE = SimpleNamespace(metric="mse", unit="", higher_is_better=False)
#: Method minus reference.
BEHIND = {"difference": -0.4, "low": -0.5, "high": -0.3}


def log(
    values: list[Any], length: float = 800, name: str = "val_psnr", axis: str = "step", **summary: Any
) -> TrainingLog:
    """A training with evenly spread validations."""
    rows = [{axis: length * (i + 1) / len(values), "loss": 0.1, name: value} for i, value in enumerate(values)]
    return TrainingLog(rows, summary)


RISING = [20, 24, 26, 27, 27.5, 27.8, 28, 28.1, 28.2, 28.4]


def words(rows: list[dict[str, Any] | None], metric: Any = PSNR, places: list[str] | None = None) -> str:
    return sufficiency_text(sufficiency_table([row for row in rows if row]), metric, places or [])


def test_the_end_is_the_last_fifth() -> None:
    found = training_length(log(RISING, seconds=92.0), "psnr", True)
    assert found is not None
    assert (found.length, found.unit, found.seconds, found.end) == (800, "step", 92.0, 160)
    assert found.gain == pytest.approx(28.4 - 28.1)


def test_the_best_value_counts_because_its_weights_are_kept() -> None:
    found = training_length(log([20, 25, 28, 27, 26, 26, 26, 26, 27, 27.5]), "psnr", True)
    assert found is not None
    assert found.gain == 0
    falling = training_length(log([0.5, 0.2, 0.1, 0.1, 0.09], name="val_mse"), "mse", False)
    assert falling is not None
    assert falling.gain == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ([20, 21], 400),  # two validations: the second half is an end
        ([20, 21, 22], 800 / 3),
        ([20], math.nan),
        ([20, 21, 22, 23, math.nan], math.nan),  # nothing is known of the end
        ([math.nan, math.nan, math.nan, math.nan, 23], math.nan),  # nor of what was before
        ([20, None, None, None, 23], math.nan),  # nothing near the end to compare with
        (["oops", True, "20", 21, 22], 160),
        ([-math.inf, 20, 21, 21, 22], 160),
    ],
)
def test_what_the_log_does_not_show_is_not_known(values: list[Any], end: float) -> None:
    found = training_length(log(values), "psnr", True)
    assert found is not None
    assert found.end == pytest.approx(end, nan_ok=True)
    assert math.isnan(found.gain) == math.isnan(end)


def test_a_log_without_the_metric_or_without_an_axis() -> None:
    found = training_length(log(RISING, name="val_ssim"), "psnr", True)
    assert found is not None
    assert math.isnan(found.gain)
    for nothing in (TrainingLog(), TrainingLog([{}]), TrainingLog([{"step": "first", "val_psnr": 20}])):
        assert training_length(nothing, "psnr", True) is None


def test_a_search_has_no_end() -> None:
    rows = [{"trial": index, "weight": 0.1, "val_psnr": value} for index, value in enumerate(RISING)]
    found = training_length(TrainingLog(rows), "psnr", True)
    assert found is not None
    assert (found.length, found.unit) == (10, "trial")
    assert math.isnan(found.gain)


@pytest.mark.parametrize(
    ("behind", "certain", "gain", "verdict"),
    [
        (0.4, True, 0.2, TOO_BRIEF),
        (1.0, True, 0.2, TOO_BRIEF),  # five such fifths
        (1.01, True, 0.2, STILL_BETTERING),  # too far behind for that alone
        (0.4, False, 0.2, STILL_BETTERING),  # perhaps not behind at all
        (0.4, True, 0.004, NOT_BETTERING),  # written as 0.00 dB
        (0.4, True, 0.0, NOT_BETTERING),
        (0.4, True, math.nan, UNKNOWN),
    ],
)
def test_a_cause_is_claimed_only_if_the_log_shows_it(behind: float, certain: bool, gain: float, verdict: str) -> None:
    assert diagnose(behind, certain, TrainingLength(800, "step", 92.0, 160, gain), "dB") == verdict


def test_the_row_and_the_sentence() -> None:
    def found(training: TrainingLog, **difference: float) -> tuple[dict[str, Any], str]:
        row = row_if_behind("unet", "tv", BEHIND | difference, training, PSNR)
        assert row is not None
        return row, words([row], places=["at noise std 0.01"])

    row, text = found(log(RISING, seconds=92.0))
    assert text == "unet is 0.40 dB below tv at noise std 0.01: trained too briefly."
    assert (row["length"], row["unit"], row["seconds"], row["end"]) == (800, "step", 92.0, 160)
    assert row["gain"] == pytest.approx(0.3)
    row, text = found(log(RISING), difference=-3, low=-4, high=-2)
    assert text == "unet is 3.00 dB below tv at noise std 0.01: was still getting better."
    assert row["gain"] == pytest.approx(0.3)
    row, text = found(log([28.0] * 10))
    assert text.endswith(": got no better in the end.")
    assert (row["end"], row["gain"]) == (160, 0)
    row, text = found(log([28.0]))
    assert text.endswith(": the log does not say.")
    assert row["length"] == 800
    assert math.isnan(row["gain"])
    row, _ = found(log([28.0], length=1, axis="epoch"))
    assert (row["length"], row["unit"]) == (1, "epoch")
    row, text = found(TrainingLog([{"trial": 0}, {"trial": 1}]))
    assert text.endswith(": the log does not say.")
    assert (row["length"], row["unit"]) == (2, "trial")
    row, text = found(log(RISING), high=0.1)
    assert text == "unet is 0.40 dB below tv at noise std 0.01 (not certain): was still getting better."
    assert row["low"] < 0 < row["high"]
    assert "briefly" not in found(log(RISING), low=math.nan, high=math.nan)[1]


def test_lower_is_better_is_respected() -> None:
    training = log([0.5, 0.2, 0.1, 0.1, 0.09], name="val_mse")
    worse = {"difference": 0.01, "low": 0.005, "high": 0.02}
    row = row_if_behind("net", "tv", worse, training, MSE)
    assert row is not None
    assert words([row], MSE) == "net is 0.0100 above tv: trained too briefly."
    assert row["gain"] == pytest.approx(0.01)
    assert row_if_behind("net", "tv", {"difference": -0.01, "low": -0.02, "high": 0.0}, training, MSE) is None


def test_what_is_not_behind_is_not_mentioned() -> None:
    for difference in (0.4, 0.0, -0.001, math.nan):  # 0.001 dB is written as zero
        assert row_if_behind("net", "tv", BEHIND | {"difference": difference}, log(RISING), PSNR) is None
    assert row_if_behind("net", "tv", BEHIND, TrainingLog(), PSNR) is None
    assert words([]) == ""


def test_many_cases_are_summed_up() -> None:
    rows = [
        row_if_behind("net", "tv", {"difference": -d, "low": -d - 0.1, "high": -d + 0.1}, log(RISING), PSNR)
        for d in (0.2, 0.3, 0.4)
    ]
    two = words(rows[:2], places=["under blur at noise std 0.01", "under blur at noise std 0.1"])
    assert two == (
        "net is 0.20 to 0.30 dB below tv under blur at noise std 0.01 and under blur at noise std 0.1: "
        "trained too briefly."
    )
    assert words(rows) == "net is 0.20 to 0.40 dB below tv in 3 cases: trained too briefly."


@pytest.mark.slow
def test_quality_says_so(tmp_path: Path) -> None:
    logs = {"net": log(RISING, seconds=92.0), "good": log(RISING)}
    run = make_run({"raw": 0.3, "tv": 0.1, "net": 0.1, "good": 0.1}, 4, weights={"net": 3, "good": 3}, logs=logs)
    psnr = {"raw": [20.0] * 4, "tv": [26.0, 27, 28, 29], "net": [25.6, 26.7, 27.5, 28.6], "good": [27.0, 28, 29, 30]}
    set_values(run, "psnr", psnr)
    findings = through_files(Quality().analyze(run), tmp_path)
    (row,) = findings.tables["training"].to_dict("records")
    assert (row["method"], row["reference"], row["verdict"]) == ("net", "tv", TOO_BRIEF)
    assert row["behind"] == pytest.approx(0.4)
    assert 0 < row["low"] < 0.4 < row["high"]
    assert "good has the best mean PSNR" in findings.text
    assert (row["length"], row["unit"], row["seconds"]) == (800, "step", 92)
    assert findings.text.endswith("net is 0.40 dB below tv: trained too briefly.")
    draw_svgs(Quality(), findings)


def test_quality_blames_no_training_where_there_is_none() -> None:
    logs = {"tv": TrainingLog([{"trial": 0, "val_psnr": 20.0}]), "net": log(RISING)}
    run = make_run({"raw": 0.1, "tv": 0.3}, weights={}, logs=logs)  # tv is behind, and has no weights
    findings = Quality().analyze(run)
    assert findings.tables["training"].empty
    assert " is " not in findings.text
    only_learned = make_run({"a": 0.1, "b": 0.3}, weights={"a": 3, "b": 3}, logs={"b": log(RISING)})
    assert Quality().analyze(only_learned).tables["training"].empty
