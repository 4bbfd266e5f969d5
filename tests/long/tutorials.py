"""Executes all tutorials as they are, and compares what they print with their pages.

    python tests/long/tutorials.py [NAME ...]

Names are parts of the names of files. Nothing is written. It ends with status 1 if a tutorial fails; other numbers than
on the page are named: another version of a library, or another processor, gives slightly other ones. Needs the extra
`tutorials`, and about five minutes of one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tutorials"))

import make  # noqa: E402


def main() -> None:
    from nbclient.exceptions import CellExecutionError

    failed = 0
    for tutorial in make.tutorials():
        if sys.argv[1:] and not any(name in tutorial.source.stem for name in sys.argv[1:]):
            continue
        try:
            printed = make.printed(tutorial)
        except CellExecutionError as error:
            print(f"{tutorial.source.name}: FAILED\n{error}")
            failed += 1
            continue
        page = tutorial.page.read_text(encoding="utf-8")
        others = [text for text in printed if text not in page]
        print(f"{tutorial.source.name}: {len(printed) - len(others)} of {len(printed)} outputs are those of the page")
        for text in others:
            print("    now: " + text.replace("\n", "\n    "))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
