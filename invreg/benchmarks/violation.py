"""What happens when an attack finds more than a proven bound allows: everything stops, and all is kept to repeat it."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invreg.components.certificate import rounded_up
from invreg.errors import BoundViolation, StoreError
from invreg.files import write_whole
from invreg.storage.run_folder import ANALYSES, METHODS, RunFolder
from invreg.text import number, plural, unique_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

#: The columns that the table `summary` of an attack has.
ATTACK_COLUMNS = ("method", "proven", "found", "search", "violations")

#: Any entry of an archive gets this time, so that the same files make the same archive.
_TIME = (1980, 1, 1, 0, 0, 0)

_README = """# A proven bound does not hold

{text}

What lies here is the part of the run that is needed to find it again:

- `spec.yaml`: `invreg run spec.yaml` repeats all of it, with the versions in `environment.json`;
- `methods/{label}/`: the trained weights, and the certificate;
- `analyses/`: the findings of the attack; if it kept the worst pair, `arrays.npz` has the measurement and the
  perturbation;
- the hashes of all files.

Either the proof is wrong, or its code, or the attack, or the arithmetic is less exact than the attack allows for.
Please report it with this file.
"""


def attack_of(run: RunFolder) -> pd.DataFrame:
    """The table of the attack of a run, one row per method.

    Raises:
        StoreError: if the analysis has no such table.
    """
    key = unique_names([given.name for given in run.spec.analyses])[0]
    table = run.analysis(key).findings.tables.get("summary")
    missing = [name for name in ATTACK_COLUMNS if table is None or name not in table]
    if table is None or missing:
        raise StoreError(
            f"the analysis {key!r} is no attack: its findings lack {', '.join(missing)}",
            where=str(run.path),
            expected=f"a table `summary` with the columns {', '.join(ATTACK_COLUMNS)}",
            hint="attack: stability",
        )
    return table


def stop_at_violation(path: Path, kept_in: Path) -> None:
    """Looks whether the attack of a finished run has broken a proven bound.

    Args:
        path: the run folder.
        kept_in: the folder of the archive with all that is needed to repeat it.

    Raises:
        BoundViolation: if it has; the archive is written.
    """
    run = RunFolder(path)
    for row in attack_of(run).to_dict("records"):
        if not int(row["violations"]):
            continue
        text = _in_words(row)
        file = kept_in / f"violation-{run.path.name}.zip"
        write_whole(file, archive(run, str(row["method"]), text))
        raise BoundViolation(
            text,
            where=f"{run.path.name}, {row['method']}",
            expected="no pair of measurements that a proven bound excludes",
            hint=f"report it with {file}, which holds all that is needed to repeat it; nothing else is computed until "
            "it is understood",
        )


def _in_words(row: dict[str, Any]) -> str:
    found, proven = float(row["found"]), float(row["proven"])
    bound = "nothing" if math.isnan(proven) else rounded_up(proven)
    times = plural(int(row["violations"]), "time")
    return (
        f"the attack `{row['search']}` changed a reconstruction {number(found)} times as much as its measurement, "
        f"where {bound} is proven ({times} above the bound)"
    )


def archive(run: RunFolder, label: str, text: str) -> bytes:
    """A ZIP file of what belongs to one method of a run: spec, versions, weights, certificate, findings, hashes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in [("README.md", _README.format(text=text, label=label).encode()), *_files(run, label)]:
            file.writestr(zipfile.ZipInfo(f"{run.path.name}/{name}", _TIME), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _files(run: RunFolder, label: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted(run.path.rglob("*")):
        name = path.relative_to(run.path)
        parts = name.parts
        mine = len(parts) == 1 and path.suffix in (".yaml", ".json", ".csv", ".sha256")
        mine = mine or parts[:2] == (METHODS, label) or (parts[0] == ANALYSES and "figures" not in parts[:-1])
        if mine and path.is_file() and not path.is_symlink():
            yield name.as_posix(), path.read_bytes()
