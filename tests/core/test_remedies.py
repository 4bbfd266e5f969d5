"""A seal that cannot be read costs no more than what its message says: who does that has a whole folder again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import toy
from invreg.api import run, verify
from invreg.plugins.registry import Registry
from invreg.reporting.redrawing import redraw_run
from invreg.storage.verification import GOOD

REGISTRY = Registry(toy.plugins())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(run(toy.SPEC, tmp_path_factory.mktemp("finished"), "cpu", progress=False, registry=REGISTRY).folder)


def seals() -> list[str]:
    methods = [f"methods/{label}/{stage}" for label in ("raw", "gain") for stage in ("training", "evaluation")]
    return ["run", "report", "analyses/peek/findings", "analyses/peek/figures", *methods]


@pytest.mark.parametrize("name", seals())
def test_what_a_broken_seal_asks_for_mends_it(finished: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / finished.name
    shutil.copytree(finished, folder)
    seal = folder / f"{name}.sha256"
    seal.write_text("nothing\n")
    # The seal itself, and those that hold its hash.
    table = verify(folder, REGISTRY)
    said = " ".join(table.loc[~table["state"].isin(GOOD), "advice"])
    for place in set(re.findall(r"delete the folder (\S+)", said)):
        shutil.rmtree(place)
    for place in re.findall(r"delete (\S+\.csv)", said):
        Path(place).unlink(missing_ok=True)
    if "invreg report" in said:
        redraw_run(folder, REGISTRY)
    if "run the" in said:
        run(toy.SPEC, tmp_path, "cpu", progress=False, registry=REGISTRY)
    assert verify(folder, REGISTRY)["state"].isin(GOOD).all()
