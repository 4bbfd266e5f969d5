"""The tables of the report of a study: the result at a glance, nothing said twice, short names of cells."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from torch import Tensor

from invreg.components.metric import Metric
from invreg.reporting.study_tables import all_results, headline, in_short, result_table, short_names
from invreg.reporting.tables import Table

NOISE, BOUND = "noise.std", "methods.net.reconstructor.lipschitz"


class Decibels(Metric):
    unit = "dB"
    higher_is_better = True

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        raise AssertionError("a report computes nothing")


METRICS = {"psnr": Decibels()}


def cell(name: str, failure: str | None = None, **values: Any) -> Any:
    return SimpleNamespace(folder=Path(name), values=values, failure=failure)


def study(noises: list[float], bounds: list[float]) -> tuple[list[Any], pd.DataFrame]:
    """`net` depends on the noise and its bound, `tv` on the noise only."""
    cells, rows = [], []
    for noise, bound in itertools.product(noises, bounds):
        values = {NOISE: noise, BOUND: bound}
        cells.append(cell(f"{noise}-{bound}", **values))
        for label, psnr in (("tv", 30 - 100 * noise), ("net", 28 - 50 * noise + bound)):
            times = {"parameters": 0, "training_seconds": 1.0, "reconstruction_seconds": psnr + bound}
            rows.append(
                {"cell": cells[-1].folder.name, **values, "method": label, "psnr": psnr, "psnr_std": 1.0, **times}
            )
    return cells, pd.DataFrame(rows)


def texts(table: Table | None) -> list[list[str]]:
    assert table is not None
    return [[cell.text for cell in row] for row in table.rows]


def test_names_are_as_short_as_they_can_be_told_apart() -> None:
    paths = [NOISE, BOUND, "operator", "methods.a.trainer.lr", "methods.b.trainer.lr", "data.train"]
    assert short_names(paths) == {
        NOISE: "noise std",
        BOUND: "lipschitz",
        "operator": "operator",
        "methods.a.trainer.lr": "a trainer lr",
        "methods.b.trainer.lr": "b trainer lr",
        "data.train": "data train",
    }
    names = short_names([NOISE, BOUND])
    assert in_short({NOISE: 0.01, BOUND: None}, names) == "noise std 0.01, lipschitz –"


def test_few_cells_stand_beside_each_other_and_the_best_of_each_is_marked() -> None:
    cells, table = study([0.01, 0.1], [0.5])
    result = result_table(cells, table, short_names([NOISE, BOUND]), METRICS)
    assert result is not None
    assert [name for name, _ in result.columns] == ["Method", "noise std 0.01", "noise std 0.1"]
    assert texts(result) == [["tv", "29.00", "20.00"], ["net", "28.00", "23.50"]]
    assert [[cell.is_best for cell in row[1:]] for row in result.rows] == [[True, False], [False, True]]


def test_few_cells_with_long_names_are_rows() -> None:
    cells, table = study([0.01, 0.1], [0.5])
    result = result_table(cells, table, {NOISE: "level of the noise in the measurements"}, METRICS)
    assert [name for name, _ in result.columns] == ["level of the noise in the measurements", "tv", "net"]
    assert texts(result) == [["0.01", "29.00", "28.00"], ["0.1", "20.00", "23.50"]]


def test_a_method_that_does_not_depend_on_what_is_varied_stands_once() -> None:
    cells, table = study([0.01], [0.5, 0.9])
    names = short_names([NOISE, BOUND])
    result = result_table(cells, table, names, METRICS)
    assert result is not None
    assert [(cell.text, cell.columns) for cell in result.rows[0]] == [("tv", 1), ("29.00", 2)]
    assert [cell.columns for cell in result.rows[1]] == [1, 1, 1]
    rows = texts(all_results(table, names, METRICS))
    assert [row[:3] for row in rows] == [["0.01", "any", "tv"], ["0.01", "0.5", "net"], ["0.01", "0.9", "net"]]


def test_what_is_best_in_one_of_two_cells_only_stands_in_both() -> None:
    cells, table = study([0.01], [0.5, 0.9])
    table.loc[table["method"] == "net", "psnr"] = [28.0, 30.0]
    result = result_table(cells, table, short_names([NOISE, BOUND]), METRICS)
    assert texts(result) == [["tv", "29.00", "29.00"], ["net", "28.00", "30.00"]]


def test_many_cells_are_rows_with_equal_neighbours_joined() -> None:
    cells, table = study([0.01, 0.02, 0.1], [0.5, 0.9, 0.99])
    result = result_table(cells, table, short_names([NOISE, BOUND]), METRICS)
    assert result is not None
    assert [name for name, _ in result.columns] == ["noise std", "lipschitz", "tv", "net"]
    assert texts(result)[:2] == [["0.01", "0.5", "29.00", "28.00"], ["0.9", "28.40"]]
    assert [cell.rows for cell in result.rows[0]] == [3, 1, 3, 1]
    # Each row of the page has as many columns as the heading, spans counted.
    width = sum(cell.rows for row in result.rows for cell in row)
    assert width == 4 * len(cells)


def test_cells_with_a_method_each_are_listed_and_not_compared() -> None:
    _, table = study([0.01, 0.1], [0.5])
    labels = ["tv", "net", "unet", "crr"]
    own = table.assign(method=labels, cell=labels, psnr=[30.0, 31.0, 32.0, 33.0])
    alone = [cell(label, **{NOISE: 0.01, BOUND: 0.5}) for label in labels]
    names = short_names([NOISE])
    assert texts(result_table(alone, own, names, METRICS))[0] == ["0.01", "tv", "30.00"]
    by_label = own.rename(columns={NOISE: "label"}).assign(label=labels)
    assert texts(result_table(alone, by_label, {"label": "label"}, METRICS))[0] == ["tv", "30.00"]
    assert headline(alone, own, METRICS) == "Results of 4 cells."


def test_a_thousand_cells_are_not_all_at_the_top() -> None:
    cells, table = study([n / 1000 for n in range(500)], [0.5, 0.9])
    names = short_names([NOISE, BOUND])
    result = result_table(cells, table, names, METRICS)
    assert result is not None
    assert (len(result.rows), result.omitted) == (24, 976)
    assert len(all_results(table, names, METRICS).rows) == 1500


def test_the_headline_counts_where_each_method_is_best() -> None:
    cells, table = study([0.01, 0.1], [0.5])
    assert headline(cells, table, METRICS) == "tv has the best mean PSNR in 1 of 2 cells, net in 1."
    worse = table.assign(psnr=[1.0, 2.0, 1.0, 2.0])
    assert headline(cells, worse, METRICS) == "net has the best mean PSNR in all 2 cells."
    failed = [*cells, cell("x", "it broke", **cells[0].values)]
    assert headline(failed, worse, METRICS) == "net has the best mean PSNR in all 2 cells. 1 of 3 cells failed."
    alone = table[table["method"] == "tv"]
    assert headline(cells, alone, METRICS) == "Results of 2 cells."
    nothing = table.assign(psnr=math.nan)
    assert headline(cells, nothing, METRICS) == "No method has a finite mean PSNR."


def test_studies_of_failures_only_have_no_result() -> None:
    cells = [cell("a", "it broke", **{NOISE: 0.1})]
    empty = pd.DataFrame(columns=["cell", NOISE, "method"])
    assert result_table(cells, empty, short_names([NOISE]), METRICS) is None
    assert headline(cells, empty, METRICS) == "None of 1 cell could be finished."


@pytest.mark.parametrize("value", [None, math.nan])
def test_missing_means_and_cells_are_dashes(value: float | None) -> None:
    cells, table = study([0.01, 0.1], [0.5])
    table.loc[0, "psnr"] = value
    failed = [*cells, cell("x", "it broke", **{NOISE: 0.5, BOUND: 0.5})]
    rows = texts(result_table(failed, table, short_names([NOISE, BOUND]), METRICS))
    assert rows == [["tv", "–", "20.00", "–"], ["net", "28.00", "23.50", "–"]]
