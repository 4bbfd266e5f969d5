"""`invreg reconstruct`: files in; images, table and page out. What cannot be done is named, what is done is kept."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scripts import script

import invreg
from invreg import CertificateError, DataError, Model, cli, read_image, write_image
from invreg.models import measured_files
from invreg.models.file_record import RECORD, key_of
from invreg.models.file_sources import find_sources
from invreg.models.measured_files import PAGE, TABLE, Options, reconstruct_files

UNITS = (
    "White is 1; residuals are root mean squares; distances and rounding are Euclidean, over all values of an image: "
    "e in each of n values is e times the square root of n."
)

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(run_folder: Path) -> Model:
    return invreg.load_model(run_folder, "net", device="cpu")


@pytest.fixture
def call(run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """`invreg reconstruct RUN --method net ...` in a fresh folder: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        command = ["reconstruct", str(run_folder), *arguments, "--device", "cpu"]
        if "--method" not in arguments:
            command += ["--method", "net"]
        monkeypatch.setattr(sys, "argv", ["invreg", *command])
        with pytest.raises(SystemExit) as done:
            cli.main()
        captured = capsys.readouterr()
        return int(done.value.code or 0), captured.out, captured.err

    return run


def scene(channels: int, height: int, width: int) -> np.ndarray[Any, Any]:
    """Something smooth with noise, `[C, H, W]` in [0, 1]."""
    rows, columns = np.mgrid[:height, :width]
    planes = [0.5 + 0.3 * np.sin(rows / (3 + c)) * np.cos(columns / (4 + c)) for c in range(channels)]
    noise = np.random.default_rng(height + width).normal(0, 0.02, (channels, height, width))
    return np.clip(np.stack(planes) + noise, 0, 1)


def write_all(folder: Path) -> dict[str, str]:
    """Files of all kinds, and the depth that each has."""
    write_image(folder / "grey8.png", scene(1, 20, 30))
    write_image(folder / "grey16.png", scene(1, 33, 21), "uint16")
    write_image(folder / "colour8.png", scene(3, 24, 24))
    write_image(folder / "deep" / "colour16.png", scene(3, 17, 40), "uint16")
    write_image(folder / "deep" / "grey8.tif", scene(1, 18, 22), "uint8")
    write_image(folder / "deep" / "er" / "colour16.tiff", scene(3, 16, 16), "uint16")
    write_image(folder / "float.tif", scene(1, 19, 23))
    write_image(folder / "photograph.jpg", scene(3, 32, 24))
    write_image(folder / "array.npy", scene(3, 20, 25), layout="HWC")
    write_image(folder / "archive.npz", scene(1, 20, 25), layout="HW")
    depths = {"grey8.png": "uint8", "grey16.png": "uint16", "colour8.png": "uint8", "deep/colour16.png": "uint16"}
    depths |= {"deep/grey8.tif": "uint8", "deep/er/colour16.tiff": "uint16", "float.tif": "float32"}
    return depths | {"photograph.jpg": "uint8", "array.npy": "float32", "archive.npz": "float32"}


def unit(path: Path) -> np.ndarray[Any, Any]:
    found = read_image(path, 1 if read_image(path, 1).depth == "float32" else None).pixels
    return found / np.float32(255) if found.dtype == np.uint8 else found


# -- what is written


def test_every_kind_of_file_in_its_own_format_and_depth(call: Call, model: Model, tmp_path: Path) -> None:
    depths = write_all(tmp_path / "in")
    status, out, err = call("in", "--output", "out", "--quiet")
    assert (status, err) == (0, "")
    note = "note: 5 files: the method is for grey images: each of the 3 colours was reconstructed alone"
    assert out.splitlines()[-5:] == [UNITS, note, f"table: out/{TABLE}", f"page: out/{PAGE}", "out"]
    table = pd.read_csv(tmp_path / "out" / TABLE).set_index("output")
    assert dict(table["depth"]) == depths
    for name, row in table.iterrows():
        z, x = unit(tmp_path / "in" / str(name)), unit(tmp_path / "out" / str(name))
        expected = model.reconstruct(z)
        assert x.shape == z.shape == (row["channels"], row["height"], row["width"])
        assert np.linalg.norm(x - expected.image) <= row["rounding"], name
        step = {"uint8": 1 / 255, "uint16": 1 / 65_535, "float32": 0}[str(row["depth"])]
        if name != "photograph.jpg":
            assert np.abs(x - expected.image.clip(0, 1 if step else np.inf)).max() <= step / 2 + 1e-6, name
        assert row["residual"] == expected.residual
        assert row["expected_residual"] == pytest.approx(0.02, rel=0.2)
        assert row["distance"] == expected.distance > 0
        assert np.isnan(row["data_distance"])
        assert (tmp_path / "in" / str(name)).suffix == (tmp_path / "out" / str(name)).suffix
    assert np.load(tmp_path / "out" / "array.npy").shape == (20, 25, 3)
    assert np.load(tmp_path / "out" / "archive.npz")["image"].shape == (20, 25)
    assert "each of the 3 colours was reconstructed alone" in table.loc["colour8.png", "notes"]


@pytest.mark.parametrize(
    ("form", "ending", "depths"),
    [
        ("npy", ".npy", ("float32", "float32", "float32")),
        ("tif", ".tif", ("float32", "float32", "float32")),
        ("PNG", ".png", ("uint8", "uint16", "uint16")),
        ("jpeg", ".jpg", ("uint8", "uint8", "uint8")),
    ],
)
def test_another_format(call: Call, tmp_path: Path, form: str, ending: str, depths: tuple[str, ...]) -> None:
    write_image(tmp_path / "a.png", scene(1, 20, 20))
    write_image(tmp_path / "b.png", scene(1, 20, 20), "uint16")
    write_image(tmp_path / "c.tif", scene(1, 20, 20))
    assert call("a.png", "b.png", "c.tif", "--format", form, "--quiet")[0] == 0
    for name, depth in zip("abc", depths, strict=True):
        assert read_image(tmp_path / "reconstructions" / f"{name}{ending}", 1).depth == depth


def test_formats_that_are_only_read_become_png(call: Call, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray((scene(1, 20, 20)[0] * 255).astype(np.uint8)).save(tmp_path / "a.bmp")
    assert call("a.bmp", "--quiet")[0] == 0
    assert read_image(tmp_path / "reconstructions" / "a.png").depth == "uint8"
    assert "written as PNG: .bmp is only read" in (tmp_path / "reconstructions" / TABLE).read_text()


def test_white_goes_in_and_out(call: Call, model: Model, tmp_path: Path) -> None:
    z = scene(1, 20, 20).astype(np.float32)
    write_image(tmp_path / "a.tif", z, "float32", white=4000)
    write_image(tmp_path / "b.png", z, "uint16", white=4000)
    assert call("a.tif", "b.png", "--white", "4000", "--quiet")[0] == 0
    for name, accuracy in (("a.tif", 1e-5), ("b.png", 3e-4)):
        written = read_image(tmp_path / "reconstructions" / name, 4000)
        assert written.pixels == pytest.approx(model.reconstruct(z).image.clip(0, None), abs=accuracy)
        assert read_image(tmp_path / "reconstructions" / name, 1).pixels.max() > 1000
    status, _, err = call("a.tif", "--output", "other", "--quiet")
    assert status == 1
    assert "values in [0, 1]" in err


def test_a_data_error_adds_what_it_can_do(call: Call, model: Model, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", scene(1, 20, 20))
    assert call("a.png", "--data-error", "0.5", "--quiet")[0] == 0
    row = pd.read_csv(tmp_path / "reconstructions" / TABLE).iloc[0]
    assert model.certificate is not None
    assert model.certificate.reconstruction_lipschitz is not None
    assert row["data_distance"] > row["distance"] + 0.25
    assert "every measurement within 0.5" in html.unescape((tmp_path / "reconstructions" / PAGE).read_text())


def test_a_certificate_is_made_before_the_clock_of_the_first_file(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    for name in ("certificate.json", "certificate.sha256"):
        (run / "methods" / "net" / name).unlink()
    model = invreg.load_model(run, "net", device="cpu")
    certificate, made = type(model.reconstructor).certificate, []

    def slow(self: Any) -> invreg.StabilityCertificate:
        made.append(time.sleep(1.5))
        return certificate(self)

    monkeypatch.setattr(type(model.reconstructor), "certificate", slow)
    for name in "ab":
        write_image(tmp_path / f"{name}.png", scene(1, 20, 20))
    sources = find_sources([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out")
    result = reconstruct_files(model, sources, tmp_path / "out", Options(prove=False), progress=False)
    assert made == []
    result = reconstruct_files(model, sources, tmp_path / "out", Options(), progress=True)
    assert len(made) == 1
    assert all(one.seconds < 1.4 and one.distance is not None for one in result.files)
    assert "net: proving the stability of the network, once" in capsys.readouterr().err
    assert model.certificate is not None
    assert "Stability" in result.page.read_text()


def test_without_proofs(call: Call, run_folder: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", scene(1, 20, 20))
    status, out, _ = call("a.png", "--no-proof", "--quiet")
    assert status == 0
    assert "distance" not in out
    assert "White is 1; residuals are root mean squares; rounding is Euclidean" in out
    assert np.isnan(pd.read_csv(tmp_path / "reconstructions" / TABLE)["distance"]).all()
    assert call("a.png", "--method", "unet", "--output", "unet", "--quiet")[0] == 0
    unproven = invreg.load_model(run_folder, "unet")
    with pytest.raises(CertificateError, match="which proves nothing"):
        reconstruct_files(unproven, [], tmp_path / "x", Options(data_error=0.1), progress=False)


# -- which files


def test_files_folders_and_patterns_each_once(tmp_path: Path) -> None:
    write_all(tmp_path / "in")
    output = tmp_path / "in" / "out"
    write_image(output / "x.png", scene(1, 8, 8))
    (tmp_path / "in" / "notes.txt").touch()

    def targets(*given: str) -> list[str]:
        return sorted(source.target for source in find_sources([tmp_path / one for one in given], output))

    everything = targets("in")
    assert len(everything) == 10
    assert "deep/er/colour16.tiff" in everything
    assert targets("in", "in/grey8.png", "in/deep/../grey8.png") == everything
    assert targets("in/*8.png") == ["colour8.png", "grey8.png"]
    assert targets("in/**/*16.*") == ["colour16.png", "colour16.tiff", "grey16.png"]
    assert targets("in/deep", "in/missing.png") == ["colour16.png", "er/colour16.tiff", "grey8.tif", "missing.png"]
    with pytest.raises(DataError, match="no file fits this pattern"):
        targets("in/*.gif")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        targets("empty")
    with pytest.raises(DataError, match="but those in the output folder"):
        find_sources([output], output)


def test_two_files_for_one_place(call: Call, tmp_path: Path) -> None:
    for name in ("a/x.png", "b/x.png"):
        write_image(tmp_path / name, scene(1, 20, 20))
    status, _, err = call("a/x.png", "b/x.png")
    assert status == 2
    assert "a/x.png and b/x.png would both be written to x.png" in err
    assert not (tmp_path / "reconstructions").exists()
    write_image(tmp_path / "a" / "x.npy", scene(1, 20, 20))
    assert call("a", "--format", "npy")[0] == 2
    assert call("a", "b/x.png", "--format", "npy")[0] == 2


def test_measurements_are_not_overwritten(call: Call, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png", scene(1, 20, 20))
    before = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for output in ("in", "link"):
        status, _, err = call("in", "--output", output)
        assert status == 2
        assert "holds no images but those in the output folder" in err
        status, _, err = call("in/a.png", "--output", output)
        assert status == 2
        assert "the reconstruction of in/a.png would overwrite the measurement in/a.png" in err
    assert (tmp_path / "in" / "a.png").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["a.png"]


def test_files_of_others_are_not_overwritten(call: Call, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", scene(1, 20, 20))
    write_image(tmp_path / "b.png", scene(1, 20, 20))
    write_image(tmp_path / "out" / "a.png", scene(1, 4, 4))
    before = (tmp_path / "out" / "a.png").read_bytes()
    status, _, err = call("a.png", "b.png", "--output", "out", "--quiet")
    assert status == 1
    assert re.search(r"failed: out/a\.png: exists, and is not a reconstruction by invreg", err)
    assert (tmp_path / "out" / "a.png").read_bytes() == before
    assert (tmp_path / "out" / "b.png").is_file()


# -- what goes wrong


def test_bad_files_do_not_stop_the_others(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_image(folder / "good.png", scene(1, 20, 20))
    write_image(folder / "last.png", scene(1, 20, 20))
    (folder / "broken<script>.png").write_bytes(b"\x89PNG\r\n\x1a\n but not more")
    np.save(folder / "nan.npy", np.full((20, 20), np.nan))
    np.save(folder / "large.npy", scene(1, 20, 20) * 255)
    np.save(folder / "channels.npy", np.zeros((5, 20, 20)))
    np.save(folder / "integers.npy", np.zeros((20, 20), np.int64))
    write_image(folder / "tiny.png", np.full((1, 1, 1), 0.5))
    status, out, err = call("in", "missing.png", "--output", "out")
    assert status == 1
    assert out.splitlines()[-1] == "out"
    failed = {line.split(":")[1].strip() for line in err.splitlines() if line.startswith("failed: ")}
    names = ["broken<script>.png", "nan.npy", "large.npy", "channels.npy", "integers.npy", "tiny.png"]
    assert failed == {f"in/{name}" for name in names} | {"missing.png"}
    assert "divide by the value of white" in err
    table = pd.read_csv(tmp_path / "out" / TABLE)
    assert list(table["output"].dropna()) == ["good.png", "last.png"]
    assert list(table["height"].dropna()) == [20, 20]
    assert ",20,20,1," in (tmp_path / "out" / TABLE).read_text()
    errors = dict(table[["file", "error"]].dropna().itertuples(index=False))
    assert set(errors) == failed
    assert "divide by the value of white" in errors["in/large.npy"]
    assert table["error"].isna().sum() == 2
    page = (tmp_path / "out" / PAGE).read_text()
    assert "2 of 9 files reconstructed by net" in page
    assert page.count("<script>") == page.count("<script") == 3
    assert "broken&lt;script&gt;.png" in page


def test_what_a_file_cannot_hold_is_not_asked_for(call: Call, tmp_path: Path) -> None:
    np.save(tmp_path / "volume.npy", np.zeros((12, 20, 22), np.float32))
    np.save(tmp_path / "volumes.npy", np.zeros((2, 1, 20, 22), np.float32))
    np.save(tmp_path / "alpha.npy", np.zeros((20, 22, 4), np.float32))
    status, _, err = call("volume.npy", "volumes.npy", "alpha.npy", "--quiet")
    assert status == 1
    volume, volumes, alpha = err.split("failed: ")[1:]
    assert "expected: [H, W] or [1, H, W]: the method is for grey images, and takes" in volume
    assert "try: leave out the alpha channel" in alpha
    assert "try: this looks like a volume" in volume
    assert "a volume is for methods of volumes" in volumes
    assert "[N," not in err


def test_notes_are_printed(call: Call, tmp_path: Path) -> None:
    for name in "ab":
        write_image(tmp_path / f"{name}.png", scene(3, 20, 20))
    write_image(tmp_path / "c.npy", np.moveaxis(scene(3, 20, 20), 0, -1))
    _, out, _ = call("a.png", "b.png", "c.npy", "--quiet")
    assert re.search("note: [23] files: the method is for grey images: each of the 3 colours", out)
    assert out.splitlines()[-1] == "reconstructions"


def test_where_no_file_could_be_reconstructed_no_empty_table_is_shown(call: Call, tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([None, {}], dtype=object))
    np.savez(tmp_path / "objects.npz", np.array([None, {}], dtype=object))
    status, out, err = call("objects.npy", "objects.npz", "missing.png", "--output", "out", "--quiet")
    assert status == 1
    assert err.count("holds objects of Python, not numbers") == 2
    assert out.splitlines()[0] == f"table: out/{TABLE}"
    page = (tmp_path / "out" / PAGE).read_text()
    assert "0 of 3 files reconstructed by net" in page
    assert "<table" not in page
    assert "All files" not in page
    assert page.count("holds objects of Python") == 2
    table = pd.read_csv(tmp_path / "out" / TABLE)
    assert list(table["file"]) == ["objects.npy", "objects.npz", "missing.png"]
    assert table["output"].isna().all()
    assert "no such file" in table["error"][2]


def test_an_error_that_nobody_foresaw_is_of_its_file(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_image(tmp_path / "a.png", scene(1, 20, 20))
    write_image(tmp_path / "b.png", scene(1, 21, 20))
    reconstruct = Model.reconstruct

    def failing(self: Model, z: Any, *arguments: Any, **named: Any) -> Any:
        if z.shape[1] == 20:
            raise RuntimeError("sizes that do not fit")
        return reconstruct(self, z, *arguments, **named)

    monkeypatch.setattr(Model, "reconstruct", failing)
    status, _, err = call("a.png", "b.png", "--quiet")
    assert status == 1
    assert "failed: a.png: RuntimeError: sizes that do not fit" in err
    assert (tmp_path / "reconstructions" / "b.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--white", "0"], "--white: white = 0"),
        (["--white", "nan"], "--white: white = nan"),
        (["--data-error", "-1"], "--data-error: -1"),
        (["--data-error", "1", "--no-proof"], "--no-proof: a data error without proofs(.|\n)*or no --data-error"),
        (["--format", "pgn"], "--format: 'pgn'(.|\n)*did you mean 'png'"),
        (["--format", "xyz"], "--format: 'xyz'\n  expected: one of png, jpeg, tiff, npy, npz\n\\Z"),
        (["--method", "nett"], "did you mean 'net'"),
        (["--output", "x" * 300], "cannot be a path"),
    ],
)
def test_options_that_make_no_sense(call: Call, tmp_path: Path, arguments: list[str], message: str) -> None:
    write_image(tmp_path / "a.png", scene(1, 20, 20))
    status, _, err = call("a.png", *arguments)
    assert status == 2
    assert re.search(message, err)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_folder_that_cannot_be_written(call: Call, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", scene(1, 20, 20))
    (tmp_path / "file").touch()
    for output in ("file", "file/below"):
        status, out, err = call("a.png", "--output", output)
        assert (status, out) == (2, "")
        assert re.search(rf"error: {output}: cannot be written(.|\n)*another --output", err)


# -- going on


@pytest.mark.slow
def test_the_same_again_computes_nothing(
    call: Call, model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_image(tmp_path / "a.png", scene(1, 20, 20))
    write_image(tmp_path / "b.png", scene(1, 20, 20))
    assert call("a.png", "b.png", "--quiet")[0] == 0
    folder = tmp_path / "reconstructions"
    table = (folder / TABLE).read_text()

    computed: list[str] = []
    compute = measured_files._compute

    def counted(model: Model, source: Any, *arguments: Any) -> Any:
        computed.append(source.name)
        return compute(model, source, *arguments)

    monkeypatch.setattr(measured_files, "_compute", counted)

    def again(*arguments: str) -> list[str]:
        computed.clear()
        assert call(*(arguments or ("a.png", "b.png")), "--quiet")[0] == 0
        return list(computed)

    assert again() == []
    assert (folder / TABLE).read_text() == table
    (folder / "a.png").unlink()
    assert again() == ["a.png"]
    (folder / "a.png").write_bytes((folder / "b.png").read_bytes() + b"x")
    assert again() == ["a.png"]
    write_image(tmp_path / "b.png", scene(1, 20, 22))
    assert again() == ["b.png"]
    assert again("a.png", "b.png", "--white", "250") == ["a.png", "b.png"]
    assert again("a.png", "b.png", "--method", "unet") == ["a.png", "b.png"]
    assert again() == ["a.png", "b.png"]
    with (folder / RECORD).open("a") as file:
        file.write('{"output": "b.png", "key": "cut sh')
    assert again() == []
    write_image(tmp_path / "c.png", scene(1, 20, 20))
    assert again("c.png") == ["c.png"]
    assert again("c.png", "a.png") == []
    with torch.no_grad():
        weight = next(model.reconstructor.parameters())
        before = key_of(model, asdict(Options()))
        weight.add_(1)
        assert key_of(model, asdict(Options())) != before
        weight.sub_(1)


def test_a_kill_before_the_record_leaves_a_place_that_is_ours(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_image(tmp_path / "a.png", scene(1, 20, 20))
    monkeypatch.setattr(measured_files.Record, "end", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    assert call("a.png", "--quiet")[0] == 1
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert (tmp_path / "reconstructions" / "a.png").is_file()
    assert json.loads((tmp_path / "reconstructions" / RECORD).read_text()) == {"output": "a.png"}
    assert call("a.png", "--quiet")[0] == 0


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(run_folder: Path, tmp_path: Path) -> None:
    for index in range(60):
        write_image(tmp_path / "in" / f"{index:02}.png", scene(3, 120, 120 + index))
    command = [sys.executable, "-m", "invreg", "reconstruct", str(run_folder), "in", "--method", "net", "--quiet"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = tmp_path / "reconstructions"
    deadline = time.monotonic() + 120
    while not (folder / "02.png").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert output == ""
    kept = int(re.search(r"kept: the reconstructions of (\d+) of 60 files in reconstructions", errors)[1])  # type: ignore[index]
    assert 2 <= kept < 60
    assert len(pd.read_csv(folder / TABLE)) == kept == len(list(folder.glob("*.png")))
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"kept: {kept} of 60 files" in done.stdout
    assert all(path.stat().st_mtime_ns == when for path, when in times.items())
    assert len(pd.read_csv(folder / TABLE)) == 60


# -- the page


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))


def test_the_page_shows_before_and_after_and_runs_only_its_own_scripts(call: Call, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    write_image(tmp_path / name, scene(1, 20, 30))
    write_image(tmp_path / "large.png", scene(1, 32, 900))
    assert call(name, "large.png", "--quiet")[0] == 0
    page = (tmp_path / "reconstructions" / PAGE).read_text()
    seen = _Tags()
    seen.feed(page)
    assert not seen.tags & {"iframe", "object", "link"}
    assert page.count("<script>") == page.count("<script") == len(re.findall(r"&#39;sha256-[^;]+&#39;", page)) == 3
    assert "default-src &#39;none&#39;" in page
    titles = [str(image["alt"]).partition(":")[0] for image in seen.images]
    details = ["Detail of the measurement", "Detail of the reconstruction"]
    assert titles == ["Measurement", "Reconstruction"] * 2 + details
    assert all(str(image["src"]).startswith("data:image/") for image in seen.images)
    assert [int(str(image["width"])) for image in seen.images] == [240, 240, 880, 880, 400, 400]
    assert html.escape(name) in page
    assert "Every computed image is proven to be within" in page
    assert html.escape(UNITS) in page
    assert "in each value, as a root mean square" in page


@pytest.mark.slow
def test_a_long_list_is_shown_in_part(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_files, "SHOWN", 2)
    for index in range(4):
        write_image(tmp_path / f"{index}.png", scene(1, 12, 12))
    sources = find_sources([tmp_path / "*.png"], tmp_path / "out")
    result = reconstruct_files(model, sources, tmp_path / "out", Options(), progress=False)
    seen = _Tags()
    seen.feed(result.page.read_text())
    assert len(seen.images) == 4
    assert "The first 2 are shown." in result.page.read_text()
    assert len(result.summary) == 4


@pytest.mark.slow
def test_the_commands_of_the_readme(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"`(invreg reconstruct gaussian-deblur [^`]*)`", readme)
    monkeypatch.chdir(tmp_path)
    write_image("my.png", scene(3, 40, 30))
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert not done.value.code, capsys.readouterr().err
    assert read_image("reconstructions/my.png").pixels.shape == (3, 40, 30)
    row = pd.read_csv(Path("reconstructions") / TABLE).iloc[0]
    assert 0 < row["distance"] < 0.1
    assert Path("reconstructions", PAGE).is_file()


# -- what is proven


@pytest.mark.slow
def test_no_distance_is_above_its_bound() -> None:
    """A short form of tests/long/reconstructed_files.py."""
    long_form = script("tests/long/reconstructed_files.py")
    found = long_form.campaign(12, seed=2)
    assert len(found) == 12
    assert {one.kind for one in found} == set(long_form.NETWORKS)
    assert [one for one in found if not one.holds] == []
    assert max(one.computed / one.distance for one in found) > 0.01, "bounds that say something"
    assert sum(one.near > one.distance for one in found) == 6, "measurements that far away change the image more"
