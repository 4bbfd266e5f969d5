"""The page about other packages: its code runs, and the reference has every public name."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from invreg import interop

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
@pytest.mark.usefixtures("dinv")
def test_the_code_of_the_page_runs() -> None:
    pytest.importorskip("pylops", reason="PyLops is not installed")
    page = (DOCS / "interop.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random images are no test of convergence
        for block in blocks:
            exec(compile(block, "interop.md", "exec"), names)
    for name in ("x_hat", "filled", "slope"):
        assert tuple(names[name].shape) == (2, 1, 20, 20), name  # type: ignore[attr-defined]


def test_every_public_name_is_in_the_reference_and_on_the_page() -> None:
    reference = (DOCS / "api" / "interop.md").read_text(encoding="utf-8")
    page = (DOCS / "interop.md").read_text(encoding="utf-8")
    for name in interop.__all__:
        assert re.search(rf"^::: invreg\.interop\.(\w+\.)?{name}$", reference, re.MULTILINE), name
        assert getattr(interop, name).__doc__
    unnamed = [name for name in interop.__all__ if name not in page]
    assert set(unnamed) <= {"noise_from_deepinverse", "operator_from_physics"}
