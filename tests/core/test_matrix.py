"""Cells of a study: combinations, include and exclude, and how values are shown."""

from __future__ import annotations

from typing import Any

import pytest

from invreg.errors import SpecError
from invreg.specs.matrix import expand, value_label

BASE: dict[str, Any] = {
    "operator": "identity",
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {"net": {"reconstructor": "iresnet"}},
    "metrics": ["psnr", "ssim"],
}


def values(matrix: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell.values for cell in expand(BASE, matrix)]


def test_every_combination_once_in_order() -> None:
    cells = expand(BASE, {"noise.std": [0.1, 0.2], "methods.net.reconstructor.lipschitz": [0.9, 0.99]})
    assert [tuple(cell.values.values()) for cell in cells] == [(0.1, 0.9), (0.1, 0.99), (0.2, 0.9), (0.2, 0.99)]
    assert cells[3].content["noise"] == {"name": "gaussian", "std": 0.2}
    assert cells[3].content["methods"]["net"]["reconstructor"] == {"name": "iresnet", "lipschitz": 0.99}
    assert BASE["methods"]["net"]["reconstructor"] == "iresnet"


def test_exclude_removes_what_matches_in_all_its_values() -> None:
    matrix = {"noise.std": [0.1, 0.2], "seed": [0, 1], "exclude": [{"noise.std": 0.1, "seed": 1}, {"noise.std": 0.2}]}
    assert values(matrix) == [{"noise.std": 0.1, "seed": 0}]


def test_include_extends_or_adds() -> None:
    matrix = {
        "noise.std": [0.1, 0.2],
        "include": [{"noise.std": 0.2, "title": "loud"}, {"noise.std": 0.3}, {"seed": 7}],
    }
    assert values(matrix) == [
        {"noise.std": 0.1, "seed": 7},
        {"noise.std": 0.2, "title": "loud", "seed": 7},
        {"noise.std": 0.3},
    ]


def test_include_alone_lists_the_cells() -> None:
    assert values({"include": [{"noise.std": 0.1}, {"noise.std": 0.3}]}) == [{"noise.std": 0.1}, {"noise.std": 0.3}]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ({"nois.std": [1]}, "no 'nois'"),
        ({"methods.nett.reconstructor.lipschitz": [1]}, r"no 'methods\.nett'"),
        ({"metrics.9.name": [1]}, r"no 'metrics\.9'"),
        ({"noise.std": 0.1}, "a list of values"),
        ({"noise.std": []}, "a list of values"),
        ({"noise.std": [0.1], "exclude": [{"noise.std": 0.1}]}, "leaves no combination"),
        ({"noise.std": [0.1], "exclude": [{"seed": 1}]}, r"exclude\.seed"),
        ({"noise.std": [0.1], "include": {"seed": 1}}, r"matrix\.include"),
        ({"noise.std.deeper": [0.1]}, "plain value"),
        ({}, "leaves no combination"),
        ({f"noise.{n}": [*range(10)] for n in range(8)}, "10 x 10 x 10 x 10 x 10 x 10 x 10 x 10 = 100,000,000 comb"),
    ],
)
def test_a_malformed_matrix_is_refused(matrix: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        expand(BASE, matrix)


def test_values_are_shown_as_short_as_they_are_clear() -> None:
    blur, narrow, wide = {"name": "blur"}, {"name": "blur", "std": 1}, {"name": "blur", "std": 2}
    other = {"name": "diffusion", "steps": 5}
    assert value_label(0.1, [0.1, 0.2]) == 0.1
    assert value_label(blur, [blur, other]) == "blur"
    assert value_label(other, [blur, other]) == "diffusion"
    assert value_label(wide, [narrow, wide, other]) == "blur(std=2)"
    assert value_label([1, 2], [[1, 2]]) == "[1, 2]"
    third, close = {"name": "blur", "std": 5 / 3}, {"name": "blur", "std": 1.66666666}
    assert value_label(third, [third, wide]) == "blur(std=1.66667)"
    assert value_label(third, [third, close]) == "blur(std=1.6666666666666667)"
    assert value_label("blur", ["blur", wide]) == "blur(defaults)"
    assert value_label("blur", ["blur", other]) == "blur"
