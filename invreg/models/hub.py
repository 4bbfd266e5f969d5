"""Models on the Hugging Face Hub: there and back, as the folders that they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from invreg.errors import InvregError, StoreError, message_of
from invreg.files import cannot_write, usable_path, whole_folder
from invreg.models.model_folder import CONFIG, ModelFolder


def push_model(folder: str | Path, repository: str, *, private: bool = False) -> str:
    """Uploads an exported model to the Hugging Face Hub; who you are is known from `hf auth login` or `HF_TOKEN`.

    Args:
        folder: of the model.
        repository: its name there, `user/name`; it is made if it does not exist.
        private: whether a repository that is made is private.

    Returns:
        Its address.

    Raises:
        StoreError: if the folder holds no model, or a file was changed.
        InvregError: without the package huggingface_hub or the network, or where the Hub refuses.
    """
    path = _checked(usable_path(folder, "folder"))
    hub = _hub(repository)
    try:
        api = hub.HfApi()
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=str(path), commit_message=f"Upload {path.name}")
    except Exception as error:
        raise _refused(error, repository, "hf auth login") from error
    return str(address)


def pull_model(repository: str, to: str | Path, *, revision: str | None = None) -> Path:
    """Downloads a model from the Hugging Face Hub. The folder is there as a whole or not at all.

    Args:
        repository: its name there, `user/name`.
        to: a folder that does not exist yet.
        revision: a branch, a tag or a commit; the newest if None.

    Raises:
        StoreError: if what is there is not a model, or was changed after its export, or the folder cannot be written.
        InvregError: without the package huggingface_hub or the network, or where the Hub refuses.
    """
    target = usable_path(to, "to")
    if target.exists():
        raise StoreError(
            "exists already", where=str(target), expected="a folder that does not exist yet", hint="another `to`"
        )
    hub = _hub(repository)
    try:
        with whole_folder(target) as made:
            try:
                hub.snapshot_download(repository, revision=revision, local_dir=str(made))
            except Exception as error:
                raise _refused(error, repository, "the name as it stands on the Hub") from error
            shutil.rmtree(made / ".cache", ignore_errors=True)
            _checked(made, name=repository)
    except OSError as error:
        raise cannot_write(target, error, "a folder that can be made", "free space, or another `to`") from None
    return target


def _checked(path: Path, name: str = "") -> Path:
    """The folder of a model whose files are as they were exported."""
    if not (path / CONFIG).is_file():
        raise StoreError(
            "holds no model (config.json is not there)", where=name or str(path), hint="`invreg export` makes one"
        )
    folder = ModelFolder(path)
    _ = folder.config
    folder.check_stages()
    return path


def _hub(repository: str) -> Any:
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise InvregError(f"{repository!r} is not the name of a repository", where="hub", expected="user/name")
    try:
        import huggingface_hub
    except ImportError:
        raise InvregError(
            "the Hugging Face Hub needs the package huggingface_hub", where="hub", hint="pip install 'invreg[hub]'"
        ) from None
    return huggingface_hub


def _refused(error: Exception, repository: str, hint: str) -> InvregError:
    lines = [line.strip() for line in message_of(error).splitlines() if line.strip()]
    return InvregError(
        f"the Hugging Face Hub cannot be reached, or refuses: {' '.join(lines)[:500]}",
        where=repository,
        expected="a network, and the right to this repository",
        hint=f"{hint}; or move the folder in another way: it is all there is",
    )
