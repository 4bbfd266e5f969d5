"""The examples that the API pages show for the built-in classes run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scripts import script

from invreg.schema.kinds import KINDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


components = script("website/components.py")


@pytest.mark.parametrize("kind", KINDS)
def test_examples_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    entries = components.built_in(kind)
    assert entries
    for entry in entries:
        if entry.name == "deepinv":
            request.getfixturevalue("dinv")
        torch.manual_seed(0)
        names: dict[str, object] = {}
        exec(components.BEGINNING, names)
        exec(components.example(kind, entry.name), names)
        assert isinstance(names[entry.name], entry.cls)
        result = names.get("values", names.get("x_hat", names["z"]))
        assert isinstance(result, torch.Tensor)
        assert result.isfinite().all(), entry.name


def test_each_class_has_an_entry_on_a_page() -> None:
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md")]
    for kind in KINDS:
        assert sum(f"<!-- classes: {kind} -->" in page for page in pages) == 1, kind


def test_an_entry_has_what_its_class_says_in_full() -> None:
    page = components.described("<!-- classes: reconstructor -->")
    start = page.index("#class-reconstructor-explicit_iresnet")
    entry = page[start : page.index("### ", start)]
    assert "**Raises**" in entry
    assert 'registry.build("reconstructor", {"name": "explicit_iresnet"' in entry
    assert "][" not in entry.replace("&#93;&#91;", "")
