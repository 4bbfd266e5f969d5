"""Plugins that are installed, changed and removed while a process runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from invreg import Registry
from invreg.plugins import discovery


def install(site: Path, *names: str) -> Path:
    information = site / "invreg_later-1.0.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: invreg-later\nVersion: 1.0\n")
    points = "".join(f"{name} = not_there\n" for name in names)
    (information / "entry_points.txt").write_text(f"[invreg]\n{points}")
    return information


def found() -> list[str]:
    return [plugin.name for plugin in Registry.installed().plugins if plugin.distribution == "invreg-later"]


def test_plugins_come_change_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found() == []
    monkeypatch.syspath_prepend(str(tmp_path))
    assert found() == []
    information = install(tmp_path, "first")
    assert found() == ["first"]
    install(tmp_path, "first", "second")
    assert found() == ["first", "second"]
    for file in information.iterdir():
        file.unlink()
    information.rmdir()
    assert found() == []


def test_the_working_directory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "here")
    monkeypatch.syspath_prepend("")
    assert found() == []
    monkeypatch.chdir(tmp_path)
    assert found() == ["here"]


def test_metadata_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Registry.installed()
    monkeypatch.setattr(discovery, "_entry_points", lambda: pytest.fail("read again"))
    assert "iresnet" in Registry.installed().names("reconstructor")
