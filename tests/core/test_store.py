"""The run folder: whole files, round trips, and what is broken."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from seals import reseal

from invreg.components.analyzer import Findings
from invreg.errors import StoreError
from invreg.specs.reading import read_spec
from invreg.storage.run_folder import RunFolder

SPEC = read_spec({"title": "A/B: test!", "data": "photos", "operator": "identity", "methods": {"raw": "observation"}})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, SPEC.title, "0123456789abcdef")


def test_the_name_carries_title_and_digest(folder: RunFolder) -> None:
    assert folder.path.name == "a-b-test-01234567"


@pytest.mark.parametrize(("title", "name"), [("Möbius' strip, ½", "mobius-strip-12"), ("逆問題", "run")])
def test_names_are_plain_letters(tmp_path: Path, title: str, name: str) -> None:
    folder = RunFolder.create(tmp_path, title, "0123456789abcdef")
    assert folder.path.name == f"{name}-01234567"


@pytest.mark.parametrize("name", ["../../../../escaped", "/tmp/escaped", "a/b", "..", "", "a\\b", "C:x", "dot."])
def test_tables_and_figures_stay_in_the_folder_of_their_analysis(tmp_path: Path, folder: RunFolder, name: str) -> None:
    before, quality = sorted(tmp_path.rglob("*")), folder.analysis("quality")
    with pytest.raises(StoreError, match="cannot name a file"):
        folder.analysis("quality").write_findings(
            Findings(tables={"fine": pd.DataFrame(), name: pd.DataFrame({"a": [1]})})
        )
    with pytest.raises(StoreError, match="cannot name a file"):
        quality.write_figures({name: Figure()})
    assert sorted(tmp_path.rglob("*")) == before


def test_findings_from_elsewhere_do_not_read_other_files(folder: RunFolder) -> None:
    folder.analysis("quality").write_findings(Findings())
    content = json.loads((folder.path / "analyses/quality/findings.json").read_text())
    folder.write_table("metrics.csv", pd.DataFrame({"method": ["a"]}))
    folder.write_json("analyses/quality/findings.json", content | {"tables": {"../../../metrics": []}})
    with pytest.raises(StoreError, match=r"findings\.json: was changed"):
        _ = folder.analysis("quality").findings
    reseal(folder.path)
    with pytest.raises(StoreError, match="cannot name a file"):
        _ = folder.analysis("quality").findings


def test_tables_tensors_and_json_survive(folder: RunFolder) -> None:
    table = pd.DataFrame({"method": ["001", "b"], "psnr": [1.25, np.inf]})
    folder.write_table("t.csv", table)
    pd.testing.assert_frame_equal(folder.read_table("t.csv"), table)
    tensors = {"a": torch.randn(3, 4).t(), "b": torch.tensor(2)}
    folder.write_tensors("w.safetensors", tensors)
    read = folder.read_tensors("w.safetensors")
    assert all(torch.equal(read[key], tensors[key]) for key in tensors)
    folder.write_json("x.json", {"nan": float("nan"), "list": [1, float("-inf")]})
    assert json.loads((folder.path / "x.json").read_text()) == {"nan": "nan", "list": [1, "-inf"]}


class _Tied(torch.nn.Module):
    """Two layers with one weight, one tensor as two buffers, and a buffer that is part of another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        self.b.weight = self.a.weight
        mean = torch.randn(4)
        for name, buffer in (("mean", mean), ("same", mean), ("part", mean[1:3])):
            self.register_buffer(name, buffer)


def test_tensors_that_share_memory_are_saved_and_loaded(folder: RunFolder) -> None:
    saved, loaded = _Tied(), _Tied()
    folder.write_tensors("w.safetensors", saved.state_dict())
    loaded.load_state_dict(folder.read_tensors("w.safetensors"))
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert loaded.b.weight is loaded.a.weight
    loaded.mean[1] = 7  # the ties of buffers are those of the module, too
    assert loaded.same[1] == loaded.part[0] == 7


def test_findings_survive(folder: RunFolder) -> None:
    findings = Findings(
        scalars={"gap": 0.5, "rule": "elbow"},
        tables={"means": pd.DataFrame({"method": ["a"], "psnr": [30.0]})},
        arrays={"map": np.arange(6.0).reshape(2, 3)},
        text="Seen.",
    )
    folder.analysis("quality").write_findings(findings)
    read = folder.analysis("quality").findings
    assert read.scalars == findings.scalars
    assert read.text == "Seen."
    np.testing.assert_array_equal(read.arrays["map"], findings.arrays["map"])
    pd.testing.assert_frame_equal(read.tables["means"], findings.tables["means"])


def test_a_failed_write_leaves_the_old_file(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("a.txt", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        folder.write_text("a.txt", "new")
    assert (folder.path / "a.txt").read_text() == "old"
    assert sorted(path.name for path in folder.path.iterdir()) == ["a.txt"]


def test_unwritable_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        RunFolder.create(tmp_path / "file", SPEC.title, "0" * 32)
    assert caught.value.exit_status == 1


def test_no_run_here(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no run"):
        RunFolder.existing(tmp_path)
    with pytest.raises(StoreError, match="no such folder"):
        RunFolder.existing(tmp_path / "nowhere")


def test_broken_files_are_named(folder: RunFolder) -> None:
    (folder.path / "bad.json").write_text("{")
    (folder.path / "bad.safetensors").write_bytes(b"\x00" * 9)
    with pytest.raises(StoreError, match=r"bad\.json"):
        folder.read_json("bad.json")
    with pytest.raises(StoreError, match=r"bad\.safetensors"):
        folder.read_tensors("bad.safetensors")
    with pytest.raises(StoreError, match="missing"):
        folder.read_table("none.csv")


def _try_to_lock(path: str, answers: multiprocessing.Queue[str]) -> None:
    try:
        with RunFolder(Path(path)).locked():
            answers.put("locked")
    except StoreError as error:
        answers.put(str(error))


@pytest.mark.slow
def test_two_processes_do_not_share_a_run(folder: RunFolder) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = context.Queue()
    with folder.locked():
        process = context.Process(target=_try_to_lock, args=(str(folder.path), answers))
        process.start()
        assert "another process" in answers.get(timeout=60)
        process.join()
    with folder.locked():
        pass
