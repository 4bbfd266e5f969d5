"""Commands about trained methods as things of their own: `invreg export`, `push` and `pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_To = Annotated[Path, typer.Option(metavar="DIR", help="Folder to write; it must not exist yet.")]


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    method: Annotated[
        str | None, typer.Argument(metavar="METHOD", help="A method of the run; not needed if only one was trained.")
    ] = None,
    to: _To = Path("model"),
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the model; without one, that of the method.")
    ] = None,
    torch_export: Annotated[
        bool, typer.Option("--torch-export", help="Add program.pt2, the method as a program of torch.export.")
    ] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Add model.onnx, the method as a program of ONNX.")] = False,
) -> None:
    """Write a trained method as a model that needs no run.

    The folder of the model is the last line printed.
    """
    from invreg.models.export import export_model

    print(export_model(run, method, to=to, name=name, torch_export=torch_export, onnx=onnx))


def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of an exported model.")],
    repository: Annotated[
        str, typer.Argument(metavar="REPOSITORY", help="Its name on the Hugging Face Hub, user/name.")
    ],
    private: Annotated[bool, typer.Option("--private", help="Make a repository that does not exist private.")] = False,
) -> None:
    """Upload an exported model to the Hugging Face Hub.

    Its address is the last line printed.
    """
    from invreg.models.hub import push_model

    print(push_model(folder, repository, private=private))


def pull(
    repository: Annotated[
        str, typer.Argument(metavar="REPOSITORY", help="The name of a model on the Hugging Face Hub, user/name.")
    ],
    to: _To = Path("model"),
    revision: Annotated[
        str | None, typer.Option(metavar="REVISION", help="A branch, a tag or a commit; without one, the newest.")
    ] = None,
) -> None:
    """Download a model from the Hugging Face Hub.

    Its folder is the last line printed.
    """
    from invreg.models.hub import pull_model

    print(pull_model(repository, to, revision=revision))
