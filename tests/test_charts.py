"""The charts of pages: what they take from tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import script

ROOT = Path(__file__).resolve().parents[1]


charts = script("benchmarks/charts.py")

TABLE = """
| method | PSNR in dB | bound of Lip(φ⁻¹) |
|---|---|---|
| tv | 31.00 (30.95 to 31.04) | |
| net | 31.5 | 1,000 |

![What it says](images/studies/equal_time.svg)
"""


def test_dots_have_ranges_and_say_what_is_proven() -> None:
    (chart,) = charts.charts(TABLE, "studies")
    assert (chart.names, chart.title) == (("tv", "net"), "What it says")
    assert chart.ranges == {"PSNR in dB": ((31.0, 30.95, 31.04), (31.5, 31.5, 31.5))}
    assert chart.proven == (False, True)
    assert len(charts.draw(chart).axes) == 1


def test_values_against_a_column_are_differences_in_panels() -> None:
    table = (
        "| photographs | operator | noise | multiscale | conv_resnet | unet |\n|---|---|---|---|---|---|\n"
        "| a | blur | 0.1 | 30.5 | 30 | none |\n| b | blur | 0.1 | 29 | 30 | 31 |\n"
        "![x](images/studies/two_resolutions.svg)"
    )
    (chart,) = charts.charts(table, "studies")
    assert chart.ranges == {"multiscale": ((0.5,) * 3, (-1.0,) * 3), "unet": (None, (1.0,) * 3)}
    assert [axes.get_title(loc="left") for axes in charts.draw(chart).axes] == ["a", "b"]


def test_a_page_has_the_charts_of_its_own_folder_only() -> None:
    assert not list(charts.charts(TABLE, "findings"))


@pytest.mark.parametrize("changed", ["PSNR in dB", "bound of Lip(φ⁻¹)"])
def test_a_table_without_what_a_chart_shows_is_refused(changed: str) -> None:
    with pytest.raises(ValueError, match=r"equal_time\.svg has the columns"):
        list(charts.charts(TABLE.replace(changed, "other"), "studies"))


def test_sentences_without_the_numbers_of_a_chart_are_refused() -> None:
    with pytest.raises(ValueError, match=r"by_noise\.svg has nothing like"):
        list(charts.charts("| a |\n|---|\n| b |\n![x](images/findings/by_noise.svg)", "findings"))
