"""STL-10: its binary format, the choice of images, damaged files, and the download."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from invreg import DataError, Registry, SpecError, spec_of
from invreg_datasets import download as download_module, stl10 as module
from invreg_datasets.download import fetch
from invreg_datasets.stl10 import STL10, open_images
from invreg_datasets.stl10_download import download_stl10, main

COUNTS = {"unlabeled_X.bin": 30, "train_X.bin": 12, "test_X.bin": 9}
BYTES = 3 * 96 * 96

subset = pytest.mark.filterwarnings("ignore:.*images instead of.*:UserWarning")


def content(name: str) -> np.ndarray:
    """Random images `[N, 3, row, column]`."""
    generator = np.random.default_rng(list(name.encode()))
    return generator.integers(0, 256, (COUNTS[name], 3, 96, 96), dtype=np.uint8)


def as_file(images: np.ndarray) -> bytes:
    """The official layout, written down pixel by pixel in its order: image, channel, column, row."""
    return b"".join(channel[:, column].tobytes() for image in images for channel in image for column in range(96))


@pytest.fixture(scope="module")
def binaries() -> dict[str, bytes]:
    return {name: as_file(content(name)) for name in COUNTS}


@pytest.fixture
def root(tmp_path: Path, binaries: dict[str, bytes]) -> Path:
    (tmp_path / "stl10_binary").mkdir()
    for name, binary in binaries.items():
        (tmp_path / "stl10_binary" / name).write_bytes(binary)
    return tmp_path


def source(name: str) -> np.ndarray:
    """The image that a name such as `train-7` stands for."""
    stem, index = name.split("-")
    return content(f"{stem}_X.bin")[int(index)]


@subset
def test_pixels_are_where_they_belong(root: Path) -> None:
    splits = STL10(root, train=10, val=4, test=5, color="rgb").splits()
    assert splits.train._pixels.dtype == torch.uint8
    assert (len(splits.train.names), len(splits.val), len(splits.test)) == (10, 4, 5)
    for number, name in enumerate(splits.train.names):
        assert name.startswith("unlabeled-")
        assert np.array_equal((splits.train.image(number) * 255).round(), source(name))
    for stack, stem in ((splits.val, "train-"), (splits.test, "test-")):
        for name, image in zip(stack.names, stack.images, strict=True):
            assert name.startswith(stem)
            assert np.array_equal((image * 255).round(), source(name))


@subset
def test_grey_has_eight_bits(root: Path) -> None:
    splits = STL10(root, train=10, val=4, test=5, train_size=48).splits()
    assert splits.train._pixels.dtype == torch.uint8
    assert splits.train.crop_shape == (1, 48, 48)
    assert splits.val.image_shape == (1, 96, 96)
    for name, image in zip(splits.test.names, splits.test.images, strict=True):
        expected = np.rint(np.einsum("c,chw->hw", [0.2125, 0.7154, 0.0721], source(name)))
        assert np.abs(np.asarray(image[0]) * 255 - expected).max() < 1.01  # a tie may fall to either side
        assert (np.abs(np.asarray(image[0]) * 255 - expected) > 0.01).mean() < 1e-3


@subset
def test_the_seed_chooses(root: Path) -> None:
    def names(seed: int, **counts: int) -> list[str]:
        splits = STL10(root, seed=seed, **{"train": 10, "val": 4, "test": 5} | counts).splits()
        return [*splits.train.names, *splits.val.names, *splits.test.names]

    assert names(0) == names(0)
    assert names(0) != names(1)
    assert set(names(0)) < set(names(0, train=20)), "more training images are the same and more"


@subset
def test_no_image_is_taken_twice(root: Path) -> None:
    folder = root / "stl10_binary"
    repeated = content("test_X.bin")[[0, 1, 2] * 10]
    repeated[:5] = content("unlabeled_X.bin")[:5]
    (folder / "unlabeled_X.bin").write_bytes(as_file(repeated))
    # 25 of the 30 are copies of test images 0, 1 and 2; all 9 test images are taken
    splits = STL10(root, train=5, val=4, test=9).splits()
    assert set(splits.train.names) == {f"unlabeled-{index}" for index in range(5)}
    with pytest.raises(DataError, match=r"unlabeled_X\.bin: holds 30 images, 5 of them(.|\n)*train = 6"):
        STL10(root, train=6, val=4, test=9).splits()


@subset
def test_the_inner_folder_and_the_home_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("USERPROFILE", str(root))
    for given in (root / "stl10_binary", "~", "~/stl10_binary"):
        assert len(STL10(given, train=3, val=2, test=1).splits().val) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        STL10(tmp_path / "nowhere").splits()
    message = str(caught.value)
    assert str(tmp_path / "nowhere" / "test_X.bin") in message
    assert str(8000 * BYTES) in message
    assert f"python -m invreg_datasets.stl10_download {tmp_path / 'nowhere'}" in message


def test_the_suggested_folder_is_not_doubled(tmp_path: Path) -> None:
    (tmp_path / "stl10_binary").mkdir()
    with pytest.raises(DataError) as caught:
        STL10(tmp_path).splits()
    assert str(caught.value).endswith(f"python -m invreg_datasets.stl10_download {tmp_path}")


@subset
@pytest.mark.parametrize("removed", [1, 1000, BYTES - 1])
def test_a_truncated_file_is_named(root: Path, removed: int) -> None:
    path = root / "stl10_binary" / "train_X.bin"
    path.write_bytes(path.read_bytes()[:-removed])
    with pytest.raises(DataError) as caught:
        STL10(root, train=3, val=2, test=1).splits()
    assert f"{path}: has {12 * BYTES - removed} bytes" in str(caught.value)
    assert f"{5000 * BYTES} bytes" in str(caught.value)


@subset
def test_an_empty_file_and_too_few_images(root: Path) -> None:
    with pytest.raises(DataError, match=r"train_X\.bin: holds 12 images(.|\n)*val = 13"):
        STL10(root, train=3, val=13, test=1).splits()
    (root / "stl10_binary" / "test_X.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"test_X\.bin: has 0 bytes"):
        STL10(root, train=3, val=2, test=1).splits()


def test_an_incomplete_collection_is_mentioned(root: Path) -> None:
    with pytest.warns(UserWarning, match=r"test_X\.bin: 9 images instead of 8000"):
        open_images(root / "stl10_binary" / "test_X.bin")


def test_a_complete_file_is_mapped_not_read(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "unlabeled_X.bin"
    with path.open("wb") as file:
        file.truncate(100_000 * BYTES)  # sparse: it takes no space
        file.seek(99_999 * BYTES + 96)
        file.write(b"\x07")
    images = open_images(path)
    assert images.shape == (100_000, 3, 96, 96)
    assert images[99_999, 0, 0, 1] == 7, "the second column starts after 96 rows"
    assert images[99_999, 0].sum() == 7
    assert not recwarn.list


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"train": 100_001}, r"^STL10\.train: .*equal to 100000 \(given: 100001\)"),
        ({"val": 5001}, r"^STL10\.val: .*equal to 5000 \(given: 5001\)"),
        ({"test": 8001}, r"^STL10\.test: .*equal to 8000 \(given: 8001\)"),
        ({"test": 0}, r"^STL10\.test: .*equal to 1 \(given: 0\)"),
        ({"train_size": 97}, r"^STL10\.train_size: .*equal to 96 \(given: 97\)"),
        ({"color": "gray"}, r"^STL10\.color: input should be 'grey' or 'rgb'"),
    ],
)
def test_impossible_parameters(parameters: dict[str, int], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        STL10("anywhere", **parameters)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=message.removeprefix(r"^STL10\.")):
        Registry.installed().build("dataset", {"name": "stl10", "root": "anywhere", **parameters})


def test_in_a_spec() -> None:
    built = Registry.installed().build("dataset", {"name": "stl10", "root": "~/data/stl10"})
    assert spec_of(built) == {
        "name": "stl10",
        "root": "~/data/stl10",
        "train": 16284,
        "val": 64,
        "test": 128,
        "train_size": None,
        "color": "grey",
        "seed": 0,
    }


class Server(ThreadingHTTPServer):
    """Serves one file; can break off, ignore ranges or be out of order."""

    daemon_threads = True
    body = b""
    status = 200
    break_after: int | None = None
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/stl10_binary.tar.gz"

    @property
    def md5(self) -> str:
        return hashlib.md5(self.body).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        body = self.server.body[start:]
        status = self.server.status if self.server.status != 200 else 206 if start else 200
        if start >= len(self.server.body):
            status, body = 416, b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(binaries: dict[str, bytes]) -> Iterator[Server]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, binary in {"../../evil.bin": b"evil", "class_names.txt": b"x", **binaries}.items():
            entry = tarfile.TarInfo(f"stl10_binary/{name}")
            entry.size = len(binary)
            archive.addfile(entry, io.BytesIO(binary))
    running = Server()
    running.body = buffer.getvalue()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@subset
def test_download_and_use(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "new" / "stl10"
    assert main([str(root), "--url", server.url, "--md5", server.md5]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(root / "stl10_binary")
    assert {path.name for path in root.rglob("*")} == {"stl10_binary", *COUNTS}, (
        "nothing else, no archive, nothing outside"
    )
    assert len(STL10(root, train=20, val=4, test=5).splits().train.names) == 20
    assert len(server.asked) == 1
    download_stl10(root, server.url, server.md5, progress=False)
    assert len(server.asked) == 1, "what is there is not fetched again"


@subset
def test_a_truncated_file_is_fetched_again(server: Server, root: Path) -> None:
    path = root / "stl10_binary" / "test_X.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    download_stl10(root, server.url, server.md5, progress=False)
    assert path.read_bytes() == whole


def test_an_interrupted_download_goes_on(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "_CHUNK", 4096)
    target, part = tmp_path / "file", tmp_path / "file.part"
    server.break_after = 100_000
    with pytest.raises(DataError, match=r"127\.0\.0\.1(.|\n)*goes on where it stopped"):
        fetch(server.url, target, server.md5, progress=False)
    arrived = part.stat().st_size
    assert 0 < arrived <= 100_000
    assert not target.exists()
    server.break_after = None
    assert fetch(server.url, target, server.md5, progress=False) == target
    assert server.asked == [None, f"bytes={arrived}-"]
    assert target.read_bytes() == server.body
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"rubbish of an earlier attempt")
    server.ranges = False
    fetch(server.url, tmp_path / "file", server.md5, progress=False)
    assert (tmp_path / "file").read_bytes() == server.body


def test_all_was_there_but_for_the_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(server.body)
    fetch(server.url, tmp_path / "file", server.md5, progress=False)
    assert (tmp_path / "file").read_bytes() == server.body


def test_a_wrong_checksum_is_refused_and_the_next_attempt_starts_afresh(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"from another version of the file")
    with pytest.raises(DataError, match=f"MD5 checksum {server.md5}"):
        fetch(server.url, tmp_path / "file", server.md5, progress=False)
    assert list(tmp_path.iterdir()) == []
    fetch(server.url, tmp_path / "file", server.md5, progress=False)
    assert (tmp_path / "file").read_bytes() == server.body


def test_servers_that_refuse_or_do_not_exist(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.status = 404
    with pytest.raises(DataError, match="404"):
        fetch(server.url, tmp_path / "file", server.md5, progress=False)
    assert main([str(tmp_path), "--url", server.url]) == 1
    assert "404" in capsys.readouterr().err
    for url in ("http://127.0.0.1:9/file", "no address", "ftp://127.0.0.1/file"):
        with pytest.raises(DataError, match="cannot be downloaded"):
            fetch(url, tmp_path / "file", server.md5, progress=False)


def test_a_target_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    with pytest.raises(DataError, match="occupied"):
        fetch(server.url, tmp_path / "occupied" / "file", server.md5, progress=False)


@pytest.mark.parametrize("body", [b"no archive", b""])
def test_an_archive_that_is_none(server: Server, tmp_path: Path, body: bytes) -> None:
    server.body = body
    with pytest.raises(DataError, match=r"stl10_binary\.tar\.gz"):
        download_stl10(tmp_path, server.url, server.md5, progress=False)


def test_an_archive_of_something_else(server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("readme.txt"))
    server.body = buffer.getvalue()
    with pytest.raises(DataError, match=r"lacks test_X\.bin, train_X\.bin, unlabeled_X\.bin"):
        download_stl10(tmp_path, server.url, server.md5, progress=False)


def test_official_sizes() -> None:
    assert {name: count * BYTES for name, count in module.OFFICIAL.items()} == {
        "unlabeled_X.bin": 2_764_800_000,
        "train_X.bin": 138_240_000,
        "test_X.bin": 221_184_000,
    }
