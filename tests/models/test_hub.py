"""Models go to the Hugging Face Hub and come back; what stands in the way is said. No test uses a network."""

from __future__ import annotations

import shutil
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import invreg
from invreg import InvregError, Registry, StoreError
from invreg.models.hub import pull_model, push_model

_installed = cache(Registry.installed)


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invreg.export_model(run_folder, "net", to=tmp_path_factory.mktemp("models") / "net", registry=_installed())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Hub that is a folder: the calls of huggingface_hub that are used, with its names of parameters."""
    there = tmp_path / "hub"

    class HfApi:
        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
            (there / repo_id).mkdir(parents=True, exist_ok=exist_ok)
            return f"https://hub/{repo_id}"

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
            shutil.copytree(folder_path, there / repo_id, dirs_exist_ok=True)

    def snapshot_download(repo_id: str, *, revision: str | None, local_dir: str) -> str:
        if not (there / repo_id).is_dir():
            raise FileNotFoundError(f"404: {repo_id}")
        (Path(local_dir) / ".cache").mkdir()
        return str(shutil.copytree(there / repo_id, local_dir, dirs_exist_ok=True))

    fake: Any = SimpleNamespace(HfApi=HfApi, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return there


def test_a_model_goes_there_and_comes_back(hub: Path, exported: Path, tmp_path: Path) -> None:
    assert push_model(exported, "me/net") == "https://hub/me/net"
    folder = pull_model("me/net", tmp_path / "back")
    assert {path.name for path in folder.iterdir()} == {path.name for path in exported.iterdir()}
    z = np.random.default_rng(0).random((20, 20), np.float32)
    models = [invreg.load_model(path, device="cpu", registry=_installed()) for path in (exported, folder)]
    assert np.array_equal(*(model.reconstruct(z).image for model in models))


def test_what_was_altered_neither_goes_nor_comes(hub: Path, exported: Path, tmp_path: Path) -> None:
    push_model(exported, "me/net")
    altered = Path(shutil.copytree(exported, tmp_path / "altered"))
    for file in (altered / "model.safetensors", hub / "me" / "net" / "model.safetensors"):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match=r"model\.safetensors"):
        push_model(altered, "me/other")
    with pytest.raises(StoreError, match=r"model\.safetensors"):
        pull_model("me/net", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert not (hub / "me" / "other").exists()


def test_what_is_no_model_is_refused(hub: Path, exported: Path, tmp_path: Path) -> None:
    (hub / "me" / "text").mkdir(parents=True)
    with pytest.raises(StoreError, match="me/text: holds no model"):
        pull_model("me/text", tmp_path / "back")
    with pytest.raises(StoreError, match="holds no model"):
        push_model(tmp_path, "me/net")
    with pytest.raises(StoreError, match="exists already"):
        pull_model("me/net", exported)
    for name in ("net", "a/b/c", "/net", ""):
        with pytest.raises(InvregError, match="user/name"):
            push_model(exported, name)


def test_a_hub_that_refuses_is_one_message(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(InvregError, match="cannot be reached, or refuses: FileNotFoundError: 404") as error:
        pull_model("me/nothing", tmp_path / "back")
    assert len(str(error.value)) < 1000
    assert not (tmp_path / "back").exists()


def test_without_the_package_it_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InvregError, match=r"invreg\[hub\]"):
        push_model(exported, "me/net")


def test_without_a_network_it_says_so(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants  # accelerate needs it

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InvregError, match="cannot be reached"):
        pull_model("me/net", tmp_path / "back")
    assert not (tmp_path / "back").exists()
