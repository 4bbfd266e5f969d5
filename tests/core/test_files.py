"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from invreg.files import whole_folder, write_whole


def _file(target: Path) -> None:
    write_whole(target, b"new")


def _folder(target: Path) -> None:
    with whole_folder(target) as made:
        (made / "file").write_bytes(b"new")


@pytest.mark.parametrize("write", [_file, _folder])
def test_an_interruption_between_any_two_lines_leaves_nothing_behind(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    interrupted = 0
    for moment in range(1, 60):
        target = tmp_path / str(moment) / "target"
        target.parent.mkdir()
        if not _interrupted(write, target, moment):
            break
        interrupted += 1
        # Whole, or not there at all; nothing beside it.
        assert [path.name for path in target.parent.iterdir()] in ([], ["target"])
    assert 5 < interrupted < 59


def _interrupted(write: Callable[[Path], None], target: Path, moment: int) -> bool:
    """Whether Ctrl-C before so many lines of the module ended it."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != write_whole.__code__.co_filename:
            return None
        if event == "line":
            lines += 1
            if lines == moment:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        write(target)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
