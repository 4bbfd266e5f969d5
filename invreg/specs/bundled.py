"""The spec that runs when none is given."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from invreg.errors import InvregError


def quickstart_path() -> Path:
    """Path of the bundled quickstart spec."""
    return bundled_spec("quickstart.yaml")


def bundled_spec(name: str) -> Path:
    """Path of a spec that comes with invreg.

    Raises:
        InvregError: if the installation lacks it.
    """
    package = Path(str(resources.files("invreg")))
    # An installed package carries the specs inside; in a checkout they lie beside the package.
    for folder in (package / "specs" / "bundled_specs", package.parent / "specs"):
        if (folder / name).is_file():
            return folder / name
    raise InvregError(
        f"the spec {name!r} is missing from this installation", where=str(package), hint="install invreg again"
    )
