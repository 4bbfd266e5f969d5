"""Pictures of the documentation: one script remakes them all, pages show them, and they are small."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from scripts import script

ROOT = Path(__file__).resolve().parents[1]


pictures = script("benchmarks/pictures.py")


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Documentation with two pictures: one of a script, one of a study."""
    docs = tmp_path / "docs"
    for name in ("drawn", "taken"):
        _picture(docs / "images" / f"{name}.png")
    (docs / "guide").mkdir()
    (docs / "guide" / "page.md").write_text("![](../images/drawn.png){ loading=lazy } ![x](../images/taken.png)\n")
    makers = {
        "drawn": pictures.Script("draw.py", ("images/drawn*.png",), "a table", 1, lambda chosen: ["--only", *chosen]),
        "taken": pictures.Study("spec.yaml", {"images/taken.png": pictures.Taken("figures/*.png", "cat")}, 1),
    }
    monkeypatch.setattr(pictures, "DOCS", docs)
    monkeypatch.setattr(pictures, "MAKERS", makers)
    return docs


def _picture(path: Path, title: str = "", size: tuple[int, int] = (4, 3)) -> None:
    about = PngImagePlugin.PngInfo()
    about.add_text("Title", title)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path, pnginfo=about)


def test_all_pictures_have_a_maker_and_a_page_and_are_small() -> None:
    assert pictures.faults() == []
    assert len(pictures.all_pictures()) > 50


def test_what_makes_pictures_is_there() -> None:
    for maker in pictures.MAKERS.values():
        assert (ROOT / (maker.path if isinstance(maker, pictures.Script) else maker.spec)).is_file()


def test_tutorials_and_operators_are_named_as_their_scripts_name_them() -> None:
    stems = [path.stem for path in (ROOT / "tutorials").glob("[0-9]*.py")]
    for picture in pictures.pictures_of("learn"):
        (word,) = pictures.MAKERS["learn"].selecting([picture])
        assert sum(word in stem for stem in stems) == 1, picture
    assert pictures.MAKERS["operators"].selecting(["images/operators/radon.png"]) == ["--only", "radon"]


def test_faults_are_found(docs: Path) -> None:
    assert pictures.faults() == []
    _picture(docs / "images" / "orphan.png")
    (docs / "images" / "drawn_2.png").write_bytes(b"0" * pictures.MOST_BYTES)
    (docs / "images" / "taken.png").unlink()
    found = pictures.faults()
    assert len(found) == 5
    assert "docs/images/drawn_2.png is on no page" in found
    assert any("drawn_2.png has 300000 bytes" in fault for fault in found)
    assert any("orphan.png is made by nothing: see MAKERS" in fault for fault in found)
    assert "docs/images/orphan.png is on no page" in found
    assert "docs/images/taken.png is not there" in found


def test_two_makers_of_one_picture_are_a_fault(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pictures.MAKERS, "other", pictures.Script("other.py", ("images/*.png",), "", 1))
    assert any("taken.png is made by taken and other" in fault for fault in pictures.faults())


def test_figures_are_taken_by_their_caption(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    for name in ("dog", "cat"):
        _picture(run / "figures" / f"{name}.png", f"A {name}")
    monkeypatch.setattr(sys, "argv", ["pictures.py", "taken", "--study", str(run)])
    pictures.main()
    assert Image.open(docs / "images" / "taken.png").info["Title"] == "A cat"
    (run / "figures" / "cat.png").unlink()
    with pytest.raises(SystemExit, match=r"0 figures figures/.*'cat' in its caption: expected one, of a finished run"):
        pictures.main()


def test_a_figure_becomes_a_webp_of_at_most_the_width(tmp_path: Path) -> None:
    for width, expected in ((3000, (1400, 700)), (100, (100, 50))):
        _picture(tmp_path / "figure.png", size=(width, width // 2))
        pictures._take(tmp_path / "figure.png", tmp_path / "images" / "figure.webp")
        assert Image.open(tmp_path / "images" / "figure.webp").size == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "no maker and no picture is called 'nonsense'"),
        (["all", "--study", "runs"], "--study is for one maker, not for drawn, taken"),
        (["drawn", "--study", "runs"], "draw.py takes nothing from a study"),
    ],
)
def test_wrong_orders_are_refused(
    docs: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pictures.py", *arguments])
    with pytest.raises(SystemExit, match=message):
        pictures.main()


def test_scripts_are_called_for_what_is_chosen(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(pictures, "_call", lambda script, *arguments: calls.append((script.name, *arguments)))
    monkeypatch.setattr(sys, "argv", ["pictures.py", "images/drawn"])
    pictures.main()
    assert calls == [("draw.py", "--only", "images/drawn.png")]


def test_without_orders_everything_is_listed(
    docs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pictures.py"])
    pictures.main()
    assert "| drawn | 1 | 1 | a table (draw.py) |" in capsys.readouterr().out
