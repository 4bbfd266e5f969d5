"""The run folder: whole files, round trips, and what is broken."""

from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from processes import CONTEXT
from seals import reseal

from invreg.components.analyzer import Findings
from invreg.components.trainer import TrainedMethod, TrainingLog
from invreg.errors import StoreError
from invreg.specs.reading import read_spec
from invreg.storage.folder import tensor_bytes
from invreg.storage.method_folder import MethodFolder, TrainingRecord
from invreg.storage.run_folder import RunFolder
from invreg.storage.seal import parse_seal

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
    folder.write_bytes("w.safetensors", tensor_bytes(tensors))
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
    folder.write_bytes("w.safetensors", tensor_bytes(saved.state_dict()))
    loaded.load_state_dict(folder.read_tensors("w.safetensors"))
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert loaded.b.weight is loaded.a.weight
    loaded.mean[1] = 7  # the ties of buffers are those of the module, too
    assert loaded.same[1] == loaded.part[0] == 7


def test_findings_survive(folder: RunFolder) -> None:
    findings = Findings(
        scalars={"gap": 0.5, "rule": "elbow"},
        tables={
            "means": pd.DataFrame({"method": ["a"], "psnr": [30.0]}),
            "left_out": pd.DataFrame(columns=["method", "image", "series", "reason"]),
        },
        arrays={"map": np.arange(6.0).reshape(2, 3)},
        text="Seen.",
    )
    folder.analysis("quality").write_findings(findings)
    read = folder.analysis("quality").findings
    assert read.scalars == findings.scalars
    assert read.text == "Seen."
    np.testing.assert_array_equal(read.arrays["map"], findings.arrays["map"])
    pd.testing.assert_frame_equal(read.tables["means"], findings.tables["means"])
    assert list(read.tables["left_out"]) == ["method", "image", "series", "reason"]
    assert read.tables["left_out"].empty


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
    assert caught.value.exit_status == 2


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
    answers: multiprocessing.Queue[str] = CONTEXT.Queue()
    with folder.locked():
        process = CONTEXT.Process(target=_try_to_lock, args=(str(folder.path), answers))
        process.start()
        assert "another process" in answers.get(timeout=60)
        process.join()
    with folder.locked():
        pass


def test_what_killed_writers_have_left_is_removed(tmp_path: Path, folder: RunFolder) -> None:
    ours = ["methods/a/.weights.safetensors.k3x_91ab", ".report.html.aaaaaaaa", ".x\ny.00000000"]
    others = [
        "methods/a/weights.safetensors",
        ".lock",
        ".nfs000000000",
        ".x.swp",
        "methods/a/.a.b.Capitals",
        "a.k3x_91ab",
    ]
    victim = tmp_path / "elsewhere" / ".notes.txt.abcdefgh"
    for name in [*ours, *others, "cells/c/.a.b.aaaaaaaa", "methods/.label.aaaaaaaa/inside"]:
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_text("x")
    victim.parent.mkdir()
    victim.write_text("mine")
    (folder.path / "link").symlink_to(victim.parent)
    (folder.path / ".link.to.aaaaaaaa").symlink_to(victim)
    (folder.path / ".folder.aaaaaaaa").symlink_to(victim.parent)
    with folder.locked():
        pass
    assert victim.read_text() == "mine"
    assert [name for name in [*ours, "methods/.label.aaaaaaaa"] if (folder.path / name).exists()] == []
    kept = [*others, "cells/c/.a.b.aaaaaaaa", ".link.to.aaaaaaaa", ".folder.aaaaaaaa"]
    assert [name for name in kept if not (folder.path / name).exists()] == []


def test_a_folder_that_cannot_be_written_is_one_readable_error(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.open", read_only)
    with pytest.raises(StoreError, match="cannot be written: Read-only file system"), folder.locked():
        pass


ROWS = [{"step": 10, "loss": 0.5, "lr": 1e-5}, {"step": 20, "loss": float("nan"), "lr": 0.25}]


def test_progress_ends_as_a_copy_of_the_log_and_each_restores_the_other(folder: RunFolder) -> None:
    method = folder.method("net")
    for row in ROWS:
        method.append_progress(row)
    trained = TrainedMethod(torch.nn.Identity(), TrainingLog(ROWS))  # type: ignore[arg-type]
    method.write_trained(trained, {"name": "net"}, TrainingRecord(1.0, 0))
    log, progress = method.path / "log.csv", method.path / "progress.csv"
    before = log.read_bytes()
    assert progress.read_bytes() == before
    for lost in (progress, log):
        lost.unlink()
        method.restore_logs()
        assert lost.read_bytes() == before
    log.unlink()
    progress.write_text("step,loss\n10,0.1\n")  # not what was sealed
    method.restore_logs()
    with pytest.raises(StoreError, match=r"log\.csv: missing"):
        _ = method.log


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("step,loss,lr\n10,0.5,1e-05\n20,,0.25\n", ["10"]),  # a session that went further than it kept
        ("step,loss,lr\n10,0.5,1e-05\n20,", ["10"]),  # a row that was cut
        ("step,loss,lr\n10,0.5,1e-05\n", ["10"]),
        ("step,loss,lr\n20,,0.25\n", []),
        ("st", []),
        ("", []),
    ],
)
def test_progress_goes_on_where_the_checkpoint_is(folder: RunFolder, content: str, kept: list[str]) -> None:
    method = folder.method("net")
    method.path.mkdir(parents=True)
    (method.path / "progress.csv").write_text(content)
    method.cut_progress(ROWS[1])
    method.append_progress(ROWS[1])
    lines = (method.path / "progress.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", *kept, "20"]


def test_progress_is_not_written_through_links(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "victim").write_text("mine")
    method = folder.method("net")
    method.path.mkdir(parents=True)
    (method.path / "progress.csv").symlink_to(tmp_path / "victim")
    (method.path / "training").symlink_to(tmp_path)
    method.append_progress(ROWS[0])
    assert (tmp_path / "victim").read_text() == "mine"
    with pytest.raises(StoreError, match="leads out"):
        _ = method.scratch


def test_files_are_read_by_two_threads_at_once(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    method = folder.method("net")
    trained = TrainedMethod(torch.nn.Identity(), TrainingLog(ROWS))  # type: ignore[arg-type]
    method.write_trained(trained, {"name": "net"}, TrainingRecord(1.0, 0))
    reading = MethodFolder(method.path, is_sealed=True)
    others: list[dict[str, Any]] = []

    def slow(text: str) -> dict[str, str]:
        monkeypatch.undo()
        thread = threading.Thread(target=lambda: others.append(reading.reconstructor))
        thread.start()
        thread.join()
        return parse_seal(text)

    monkeypatch.setattr("invreg.storage.folder.parse_seal", slow)
    assert reading.reconstructor == {"name": "net"}
    assert others == [{"name": "net"}]
