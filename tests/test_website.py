"""Pages are finished before a site is built: what is made from code, what is kept, what is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "website"))

import prepare


@pytest.fixture
def site(tmp_path: Path) -> prepare.Site:
    (tmp_path / "docs").mkdir()
    return prepare.Site(tmp_path / "docs", tmp_path / "pages")


def _write(site: prepare.Site, name: str, text: str, seconds: int = 0) -> None:
    """Writes a page; `seconds` tells times apart that are nearer than the clock of files."""
    path = site.docs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (seconds, seconds))


def _read(site: prepare.Site, name: str) -> str:
    return (site.pages / name).read_text(encoding="utf-8")


def test_formulas_become_pictures_and_words(site: prepare.Site) -> None:
    _write(site, "a.md", "With $`x_1`$:\n\n```math\n\\frac{1}{2}\n```\n")
    assert site.prepare() == []
    page = _read(site, "a.md")
    assert page.count("<svg") == 2
    assert 'aria-label="x&#95;1"' in page
    assert "```" not in page


def test_files_of_the_repository_are_shown(site: prepare.Site) -> None:
    _write(site, "a.md", 'Before\n\n--8<-- "LICENSE"\n\nafter --8<-- "x"\n')
    assert site.prepare() == []
    license = (prepare.ROOT / "LICENSE").read_text(encoding="utf-8").strip()
    assert _read(site, "a.md") == f'Before\n\n{license}\n\nafter --8<-- "x"\n'


@pytest.mark.slow
def test_components_and_commands_are_described(site: prepare.Site) -> None:
    _write(site, "a.md", "<!-- parameters: reconstructor tv -->\n\n<!-- commands -->\n")
    assert site.prepare() == []
    assert "| `weight` |" in _read(site, "a.md")
    assert "### `invreg run`" in _read(site, "a.md")


def test_everything_else_is_copied_and_what_is_gone_is_removed(site: prepare.Site) -> None:
    (site.docs / "images").mkdir()
    (site.docs / "images" / "a.png").write_bytes(b"\x89PNG\r\n$`x`$")
    _write(site, "old/b.md", "b\n")
    assert site.prepare() == []
    assert (site.pages / "images" / "a.png").read_bytes() == b"\x89PNG\r\n$`x`$"
    (site.docs / "old" / "b.md").unlink()
    assert site.prepare() == []
    assert [path.name for path in sorted(site.pages.rglob("*"))] == ["images", "a.png"]


def test_only_what_has_changed_is_written(site: prepare.Site) -> None:
    _write(site, "a.md", "one\n", 1)
    _write(site, "b.md", "$`x`$\n", 1)
    site.prepare()
    before = {name: (site.pages / name).stat().st_mtime_ns for name in ("a.md", "b.md")}
    _write(site, "a.md", "two\n", 2)
    _write(site, "b.md", "$`x`$\n", 2)
    site.prepare()
    assert _read(site, "a.md") == "two\n"
    assert (site.pages / "a.md").stat().st_mtime_ns != before["a.md"]
    assert (site.pages / "b.md").stat().st_mtime_ns == before["b.md"]


def test_a_page_follows_the_file_that_it_shows(
    site: prepare.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "ROOT", tmp_path)
    _write(site, "../shown.txt", "one\n", 1)
    _write(site, "a.md", '--8<-- "shown.txt"\n', 1)
    site.prepare()
    _write(site, "../shown.txt", "two\n", 2)
    site.prepare()
    assert _read(site, "a.md") == "two\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$`\\frac{1}`$", r"^docs/in/a.md: the formula \\frac\{1\} cannot be typeset: "),
        ("```math\n\\nonsense\n```", r"^docs/in/a.md: the formula \\nonsense cannot be typeset: "),
        ('--8<-- "no/such/file"', "^docs/in/a.md: .*no/such/file"),
        ("--8<-- CHANGELOG.md", "^docs/in/a.md: --8<-- CHANGELOG.md stands for nothing"),
        ("<!-- command -->", "^docs/in/a.md: <!-- command --> stands for nothing"),
    ],
)
def test_what_cannot_be_made_is_said_with_its_page(site: prepare.Site, text: str, message: str) -> None:
    _write(site, "in/a.md", f"{text}\n", 1)
    _write(site, "b.md", "good\n", 1)
    (error,) = site.prepare()
    with pytest.raises(prepare.PageError, match=message):
        raise error
    assert not (site.pages / "in").exists()
    assert _read(site, "b.md") == "good\n"
    # Said once; then the page is mended.
    assert site.prepare() == []
    _write(site, "in/a.md", "good\n", 2)
    assert site.prepare() == []
    assert _read(site, "in/a.md") == "good\n"


@pytest.mark.slow
def test_a_component_that_there_is_not_is_said_with_its_page(site: prepare.Site) -> None:
    _write(site, "a.md", "<!-- parameters: reconstructor tw -->\n")
    (error,) = site.prepare()
    assert str(error).startswith("docs/a.md: there is no reconstructor 'tw'")


@pytest.mark.slow
def test_pages_are_renewed_while_a_builder_runs(
    site: prepare.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "builder.py").write_text(
        "import pathlib, sys, time\n"
        "docs, pages = map(pathlib.Path, sys.argv[1:])\n"
        "(docs / 'a.md').write_text('two')\n"
        "end = time.monotonic() + 60\n"
        "while (pages / 'a.md').read_text() != 'two' and time.monotonic() < end:\n"
        "    time.sleep(0.01)\n"
        "sys.exit(7)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(prepare, "_SECONDS", 0.01)
    _write(site, "a.md", "one", 1)
    site.prepare()
    assert prepare._built(site, ["builder", str(site.docs), str(site.pages)]) == 7
    assert _read(site, "a.md") == "two"
