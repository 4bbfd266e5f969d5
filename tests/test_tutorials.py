"""Tutorials have the pages that they gave, and small pictures. `tests/long/tutorials.py` runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import script

ROOT = Path(__file__).resolve().parents[1]


make = script("tutorials/make.py")
TUTORIALS = make.tutorials()


def _names(tutorial: Any) -> str:
    return str(tutorial.name)


def test_the_gallery_shows_all_tutorials() -> None:
    assert (make.LEARN / "index.md").read_text(encoding="utf-8") == make.gallery(), "run tutorials/make.py"
    made = {path.stem for path in make.LEARN.glob("*.md")} - {"index"}
    assert made == {tutorial.name for tutorial in TUTORIALS}
    assert set(make.record()) == made


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=_names)
def test_the_page_is_what_the_file_gave(tutorial: Any) -> None:
    assert not make.is_edited(tutorial), f"python tutorials/make.py {tutorial.source.stem}"


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=_names)
def test_the_page_is_in_the_navigation(tutorial: Any) -> None:
    assert f"learn/{tutorial.page.name}\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=_names)
def test_pictures_are_small_and_said_in_words(tutorial: Any) -> None:
    page = tutorial.page.read_text(encoding="utf-8")
    shown = re.findall(r"^!\[(.+)\]\(images/(.+)\)$", page, re.MULTILINE)
    assert shown
    for words, name in shown:
        assert len(words) > 10
        assert (make.LEARN / "images" / name).stat().st_size < 100_000
    assert {name for _, name in shown} | {f"{tutorial.name}-thumb.webp"} == {path.name for path in tutorial.pictures()}


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=_names)
def test_the_notebook_has_the_code_of_the_page_and_no_links_into_the_site(tutorial: Any) -> None:
    cells = json.loads(tutorial.notebook.read_text(encoding="utf-8"))["cells"]
    page = tutorial.page.read_text(encoding="utf-8")
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(f"```python\n{cell}\n```" in page for cell in code)
    words = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert not re.search(r"\]\((?!https?://)", words)
    assert "$`" not in words


@pytest.mark.slow
def test_the_page_of_the_paper_is_that_of_its_numbers() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "paper.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
