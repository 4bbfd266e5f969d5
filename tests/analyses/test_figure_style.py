"""One colour per method, and nothing global changed."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd
import pytest
from analysis_helpers import draw_svgs, make_run

from invreg_analyses.quality.quality import Quality
from invreg_analyses.shared.style import LEARNED, REFERENCE, method_styles, shortened


def styles(**weights: int) -> dict[str, str]:
    table = pd.DataFrame({"method": list(weights), "weights": list(weights.values())})
    return {label: style.color for label, style in method_styles(table).items()}


def test_colours_follow_the_order_of_the_spec() -> None:
    assert styles(raw=0, net=5, tv=0, unet=7) == {
        "raw": REFERENCE[0],
        "net": LEARNED[0],
        "tv": REFERENCE[1],
        "unet": LEARNED[1],
    }


def test_more_methods_than_colours_differ_in_their_markers() -> None:
    table = pd.DataFrame({"method": [f"m{i}" for i in range(16)], "weights": 1})
    found = method_styles(table)
    assert len({(style.color, style.marker) for style in found.values()}) == 16
    table["weights"] = 0
    assert len({(style.color, style.marker) for style in method_styles(table).values()}) == 16


@pytest.mark.slow
def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = matplotlib.rcParams.copy()
    with matplotlib.rc_context({"font.size": 31.0, "axes.facecolor": "pink"}):
        svgs = draw_svgs(Quality(), Quality().analyze(make_run({"a": 0.1, "b": 0.2})))
        assert matplotlib.rcParams["font.size"] == 31.0
    assert matplotlib.rcParams.copy() == before
    assert "31px" not in svgs["by_image"]
    assert "#ffc0cb" not in svgs["by_image"]


@pytest.mark.slow
def test_pyplot_is_never_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it raises now
    svgs = draw_svgs(Quality(), Quality().analyze(make_run({"a": 0.1})))
    assert svgs
    assert all("<svg" in svg for svg in svgs.values())


def test_long_names_keep_both_ends() -> None:
    assert shortened("short") == "short"
    assert shortened("0123456789", 7) == "012…789"
    assert shortened("a\nb\tc") == "a b c"
