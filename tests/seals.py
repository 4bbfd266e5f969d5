"""Seals made anew over files that a test has changed: what somebody can do who wants a change not to be seen."""

from __future__ import annotations

from pathlib import Path

from invreg.storage.seal import SUFFIX, digest, parse_seal, seal_text


def reseal(folder: Path) -> None:
    """Makes all seals below a folder anew, the innermost first; files that are gone leave them.

    What is not a seal any more stays as it is.
    """
    for seal in sorted(folder.rglob(f"*{SUFFIX}"), key=lambda path: -len(path.parts)):
        try:
            names = [name for name in parse_seal(seal.read_text()) if (seal.parent / name).is_file()]
        except (OSError, ValueError):
            continue
        seal.write_text(seal_text({name: digest((seal.parent / name).read_bytes()) for name in names}))
