"""Values from the literature beside those of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import toy
from invreg.components.metric import Metric
from invreg.errors import SpecError
from invreg.plugins.registry import Registry
from invreg.reporting.reference_tables import shown_reference
from invreg.specs.reading import read_content
from invreg.specs.references import reference_tables
from invreg.studies.plan import plan_study
from toy import study

PATHS = ["noise.std", "operator", "methods.net.lr"]
ROWS: list[dict[str, Any]] = [
    {"method": "tv", "noise.std": 0.1, "psnr": 30.0},
    {"method": "net", "noise.std": 0.1, "methods.net.lr": 1, "psnr": 31.5},
]


class Decibels(Metric):
    unit = "dB"
    higher_is_better = True

    def __call__(self, x_hat: Any, x: Any) -> Any:
        raise NotImplementedError


def reference(**changes: Any) -> dict[str, Any]:
    return {"best": [{"source": "Doe (2024), table 2", "values": ROWS, **changes}]}


def shown(results: list[dict[str, Any]], **changes: Any) -> Any:
    (given,) = reference_tables(reference(**changes), ["best"], PATHS, ["psnr"])["best"]
    table = pd.DataFrame(results, columns=["cell", *PATHS, "method", "psnr", "parameters", "training_seconds"])
    return shown_reference(given, table, {"noise.std": "noise std"}, {"psnr": Decibels()})


def texts(row: Any) -> list[str]:
    return [f"{cell.text} {cell.note}".strip() for cell in row]


def cell(name: str, method: str, psnr: float, lr: int = 1, **more: Any) -> dict[str, Any]:
    common = {"noise.std": 0.1, "operator": "blur(std=2)", "methods.net.lr": lr}
    return {"cell": name, **common, "method": method, "psnr": psnr, **more}


def test_values_stand_beside_those_of_the_cells_that_they_are_about() -> None:
    results = [
        *(cell("a", "tv", 25.0), cell("a", "net", 26.0)),
        *(cell("b", "tv", 25.0, lr=2), cell("b", "net", 28.0, lr=2)),
        {**cell("c", "tv", 20.0), "noise.std": 0.2},
    ]
    made = shown(results, against="tv", note="One image.", url="https://example.org/1")
    assert [name for name, _ in made.table.columns] == [
        *("noise std", "Method", "PSNR (dB), here", "PSNR (dB), source", "above tv, here", "above tv, source")
    ]
    assert texts(made.table.rows[0]) == ["0.1", "tv", "25.00", "30.00", "–", "–"]
    assert texts(made.table.rows[1]) == ["0.1", "net lr 1", "26.00", "31.50", "+1.00", "+1.50"]
    assert (made.source, made.url, made.note) == ("Doe (2024), table 2", "https://example.org/1", "One image.")
    assert made.table.source.startswith("data:text/csv")


def test_what_several_cells_have_is_a_span_and_what_none_has_is_missing() -> None:
    rows = [
        {"method": "tv", "operator": "blur", "psnr": 30.0, "training_seconds": [3600, 7200]},
        {"method": "unet", "parameters": 1234},
    ]
    results = [cell("a", "tv", 25.0, training_seconds=1.0), cell("b", "tv", 27.0, lr=2, training_seconds=2.0)]
    made = shown(results, values=rows)
    here, missing = (texts(row) for row in made.table.rows)
    assert here == ["blur", "tv", "25.00 to 27.00", "30.00", "1 s to 2 s", "1 h to 2 h", "–", "–"]
    assert missing == ["–", "unet", "–", "–", "–", "–", "–", "1,234"]


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (["x"], ["references", "a mapping of study analyses"]),
        ({"bets": []}, ["references.bets", "mean 'best'"]),
        ({"best": {}}, ["references.best", "a list of references"]),
        ({"best": ["Doe"]}, ["references.best.0", "source and values"]),
        ({"best": [{"values": ROWS}]}, ["references.best.0.source", "missing"]),
        (reference(source=""), ["references.best.0.source", "Doe (2024)"]),
        (reference(url="javascript:alert(1)"), ["references.best.0.url", "https://doi.org"]),
        (reference(valeus=[]), ["references.best.0.valeus", "mean 'values'"]),
        (reference(values=[]), ["references.best.0.values", "a list of rows"]),
        (reference(values=[{"method": f"m{i}", "psnr": 1} for i in range(1001)]), ["references.best.0.values", "1000"]),
        (reference(values=[3]), ["references.best.0.values.0", "mapping"]),
        (reference(values=[{"psnr": 3}]), ["values.0", "no method"]),
        (reference(values=[{"method": "tv"}]), ["values.0", "no value"]),
        (reference(values=[{"method": "tv", "pnsr": 3}]), ["values.0.pnsr", "mean 'psnr'"]),
        (reference(values=[{"method": "tv", "noise": 3, "psnr": 3}]), ["values.0.noise", "neither varied"]),
        (reference(values=[{"method": "tv", "psnr": "31 dB"}]), ["values.0.psnr", "'31 dB'", "a number"]),
        (reference(values=[{"method": "tv", "psnr": True}]), ["values.0.psnr", "a number"]),
        (reference(values=[{"method": "tv", "psnr": float("nan")}]), ["values.0.psnr", "a number"]),
        (reference(values=[{"method": "tv", "psnr": [3, 2]}]), ["values.0.psnr", "smallest and the largest"]),
        (reference(values=[ROWS[0], ROWS[0]]), ["values.1", "the same as another row"]),
        (reference(against="vt"), ["references.best.0.against", "one of net, tv"]),
    ],
)
def test_bad_references_are_refused_with_their_place(given: Any, parts: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        reference_tables(given, ["best"], PATHS, ["psnr"])
    for part in parts:
        assert part in str(caught.value)


def test_several_problems_are_said_at_once() -> None:
    rows = [{"psnr": 1}, {"method": "tv"}]
    with pytest.raises(SpecError, match="3 problems"):
        reference_tables({**reference(values=rows), "other": []}, ["best"], PATHS, ["psnr"])


@pytest.mark.parametrize(("method", "std"), [("gian", 0.01), ("gain", 0.7)])
def test_references_of_which_nothing_is_in_the_study_are_refused(method: str, std: float) -> None:
    values = [{"method": method, "noise.std": std, "psnr": 30}]
    given = {"best_by_noise": [{"source": "Doe", "values": values}]}
    with pytest.raises(SpecError, match=r"references.best_by_noise.0.values: no row is about"):
        plan_study(study(references=given), Registry(toy.plugins()))


def test_a_file_of_references_lies_beside_the_spec_and_is_kept_with_the_study(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("best: [{source: Doe, values: [{method: tv, psnr: 30}]}]")
    (tmp_path / "spec.yaml").write_text("references: values.yaml")
    expected = {"best": [{"source": "Doe", "values": [{"method": "tv", "psnr": 30}]}]}
    assert read_content(tmp_path / "spec.yaml")["references"] == expected
    assert read_content({"references": str(tmp_path / "values.yaml")})["references"] == expected
    assert read_content({"references": tmp_path / "values.yaml"})["references"] == expected
    assert read_content(tmp_path / "spec.yaml", ["references=null"])["references"] is None


def test_a_file_of_references_that_is_not_there_or_holds_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("- 1")
    for name, part in (("value.yaml", "mean 'values.yaml'"), ("values.yaml", "holds a list"), ("a\0b", "references")):
        with pytest.raises(SpecError, match="references") as caught:
            read_content({"references": str(tmp_path / name)})
        assert part in str(caught.value)
