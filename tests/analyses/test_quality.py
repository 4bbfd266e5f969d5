"""The quality analysis: numbers against numbers by hand, and figures from saved findings."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from analysis_helpers import draw_svgs, make_run, set_values, texts, through_files

from invreg.errors import SpecError
from invreg.plugins.registry import Registry
from invreg_analyses.quality.quality import Quality

LEARNED = {"net": 100}


def row(table: pd.DataFrame, **keys: str) -> pd.Series:
    for key, value in keys.items():
        table = table[table[key] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_means_and_differences_are_those_computed_by_hand() -> None:
    run = make_run({"tv": 0.1, "net": 0.05}, count=4, weights=LEARNED)
    set_values(run, "psnr", {"tv": [20.0, 24.0, 28.0, 32.0], "net": [21.0, 26.0, 27.0, 34.0]})
    tables = Quality().analyze(run).tables
    tv = row(tables["means"], metric="psnr", method="tv")
    assert tv["mean"] == 26.0
    assert tv["std"] == pytest.approx(math.sqrt((36 + 4 + 4 + 36) / 3))
    pair = row(tables["differences"], metric="psnr", method="net", other="tv")
    assert pair["difference"] == 1.0  # +1, +2, -1, +2
    assert (pair["wins"], pair["images"]) == (3, 4)
    half = 3.1824 * math.sqrt(2) / 2  # Student's for three degrees of freedom, standard deviation √2
    assert (pair["low"], pair["high"]) == pytest.approx((1 - half, 1 + half), abs=1e-3)


def test_pairs_take_away_what_the_images_have_in_common() -> None:
    # Images differ by 10 dB, methods by about 0.5 dB on each: the pairs are sure, the single means are not.
    run = make_run({"tv": 0.1, "net": 0.1}, count=6, weights=LEARNED)
    base = [20.0, 22.0, 24.0, 26.0, 28.0, 30.0]
    gains = [0.4, 0.6, 0.5, 0.5, 0.6, 0.4]
    set_values(run, "psnr", {"tv": base, "net": [b + d for b, d in zip(base, gains, strict=True)]})
    findings = Quality().analyze(run)
    pair = row(findings.tables["differences"], metric="psnr", method="net")
    assert 0.4 <= pair["low"] < pair["high"] <= 0.6
    means = findings.tables["means"]
    assert row(means, metric="psnr", method="net")["low"] < row(means, metric="psnr", method="tv")["high"]
    low, high = (f"{pair[end]:+.2f}" for end in ("low", "high"))
    assert findings.text == (f"net has the best mean PSNR, 25.50 dB on 6 images: +0.50 [{low}, {high}] dB against tv.")
    assert (pair["wins"], pair["images"]) == (6, 6)
    assert findings.scalars["resamples"] == 10_000


@pytest.mark.slow
def test_lower_is_better_is_respected() -> None:
    run = make_run({"tv": 0.1, "net": 0.05}, weights=LEARNED, metrics=("mse", "psnr"))
    findings = Quality().analyze(run)
    pair = row(findings.tables["differences"], metric="mse")
    assert (pair["method"], pair["other"]) == ("net", "tv")
    assert pair["difference"] < 0
    assert pair["wins"] == 5
    assert findings.scalars["best"] == "net"
    assert findings.text.startswith("net has the best mean MSE")
    labels = " ".join(texts(draw_svgs(Quality(), findings)["by_image"]))
    assert "MSE (lower is better)" in labels
    assert "PSNR, dB (higher is better)" in labels


def test_the_baseline_is_the_best_method_without_weights() -> None:
    run = make_run({"raw": 0.3, "tv": 0.1, "net": 0.05, "other": 0.01}, weights={"net": 3, "other": 3})
    assert Quality().analyze(run).scalars["baseline"] == "tv"
    run = make_run({"first": 0.1, "second": 0.05}, weights={"first": 3, "second": 3})
    findings = Quality().analyze(run)
    assert findings.scalars["baseline"] == "first"
    assert "against first" in findings.text


def test_the_interval_of_a_difference_that_may_be_zero_includes_zero() -> None:
    run = make_run({"tv": 0.1, "net": 0.1}, count=4, weights=LEARNED)
    set_values(run, "psnr", {"tv": [20.0, 20.0, 20.0, 20.0], "net": [25.0, 16.0, 24.0, 16.0]})
    findings = Quality().analyze(run)
    pair = row(findings.tables["differences"], metric="psnr")
    assert pair["low"] < 0 < pair["high"]
    assert f": +0.25 [−{-pair['low']:.2f}, +{pair['high']:.2f}] dB against tv." in findings.text


def test_adding_a_method_changes_no_number_of_the_others() -> None:
    two = Quality().analyze(make_run({"tv": 0.1, "net": 0.05})).tables["means"]
    run = make_run({"tv": 0.1, "net": 0.05, "third": 0.2})
    three = Quality().analyze(run).tables["means"]
    kept = three[three["method"] != "third"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, two)


def test_the_seed_of_the_run_decides_the_intervals() -> None:
    tables = [Quality().analyze(make_run({"tv": 0.1}, 20, seed=seed)).tables["means"] for seed in (0, 0, 1)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0]["low"].equals(tables[2]["low"])


@pytest.mark.slow
def test_missing_values_are_left_out_and_shown(tmp_path: Path) -> None:
    run = make_run({"tv": 0.1, "net": 0.05}, count=4, weights=LEARNED)
    set_values(run, "psnr", {"tv": [20.0, math.nan, 28.0, 30.0], "net": [math.inf, 26.0, 29.0, 32.0]})
    findings = through_files(Quality().analyze(run), tmp_path)
    assert row(findings.tables["means"], metric="psnr", method="tv")["missing"] == 1
    pair = row(findings.tables["differences"], metric="psnr")
    assert (pair["images"], pair["missing"], pair["difference"]) == (2, 2, 1.5)
    assert row(findings.tables["means"], metric="psnr", method="net")["missing"] == 1
    figures = {name: texts(svg) for name, svg in draw_svgs(Quality(), findings).items()}
    assert figures["by_image"].count("1 not finite") == 2
    assert "2 not finite" in figures["differences"]


@pytest.mark.slow
def test_no_finite_value_at_all_is_said() -> None:
    run = make_run({"tv": 0.1, "net": 0.05}, count=3)
    set_values(run, "psnr", {"tv": [math.nan] * 3, "net": [math.nan] * 3})
    findings = Quality().analyze(run)
    assert findings.text.startswith("No method has a finite PSNR")
    assert "3 not finite" in texts(draw_svgs(Quality(), findings)["by_image"])


@pytest.mark.slow
def test_a_method_without_a_finite_value_ranks_last() -> None:
    run = make_run({"tv": 0.1, "net": 0.05}, count=3, weights=LEARNED)
    set_values(run, "psnr", {"net": [math.nan] * 3})
    findings = Quality().analyze(run)
    assert findings.scalars["best"] == "tv"
    draw_svgs(Quality(), findings)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 60])
def test_any_number_of_images(count: int, tmp_path: Path) -> None:
    run = make_run({"tv": 0.1, "net": 0.05}, count=count, weights=LEARNED, metrics=("psnr",))
    findings = through_files(Quality().analyze(run), tmp_path)
    assert ("on 1 image:" if count == 1 else f"on {count} images:") in findings.text
    assert set(draw_svgs(Quality(), findings)) == {"by_image", "differences"}


def test_one_method_has_nothing_to_be_compared_with() -> None:
    findings = Quality().analyze(make_run({"net": 0.05}, weights=LEARNED))
    assert findings.text.startswith("net has a mean PSNR")
    assert "against" not in findings.text
    assert list(findings.tables["differences"].columns)[:3] == ["metric", "method", "other"]
    assert set(draw_svgs(Quality(), findings)) == {"by_image"}


@pytest.mark.slow
def test_figures_from_files_equal_figures_from_memory(tmp_path: Path) -> None:
    noise = {"1e3": 0.1, "NA": 0.2, "a + b_c.d": 0.05, "010": 0.3}
    names = ["$x^2$", "nan", "a & <b>.png", "_hidden", 'ü, "q".png']
    run = make_run(noise, weights={"NA": 5, "010": 7}, names=names)
    findings = Quality().analyze(run)
    read = through_files(findings, tmp_path)
    for name, table in findings.tables.items():
        pd.testing.assert_frame_equal(read.tables[name], table, check_dtype=False)
    assert draw_svgs(Quality(), read) == draw_svgs(Quality(), findings)
    labels = texts(draw_svgs(Quality(), read)["by_image"])
    assert [label for label in labels if label in noise] == list(noise)


@pytest.mark.slow
def test_many_metrics_and_methods_are_drawn() -> None:
    run = make_run({f"method {i}": 0.05 * (i + 1) for i in range(9)}, metrics=("psnr", "ssim", "mse"))
    assert "method 8" in texts(draw_svgs(Quality(), Quality().analyze(run))["by_image"])


@pytest.mark.parametrize("given", [{"confidence": 1.0}, {"confidence": 0.2}, {"resamples": 10}, {"boxes": True}])
def test_nonsense_parameters_are_refused(given: dict[str, object]) -> None:
    import invreg_analyses.plugin

    with pytest.raises(SpecError, match=next(iter(given))):
        Registry({"analyses": invreg_analyses.plugin}).build("analyzer", {"name": "quality", **given})
