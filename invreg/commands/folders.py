"""Commands about runs and studies that are there: `invreg status`, `report`, `certify` and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invreg.commands.layout import laid_out, width
from invreg.commands.running import AsJson
from invreg.computing.waiting import said
from invreg.errors import CertificateError
from invreg.files import usable_path


def status(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A study folder.")], as_json: AsJson = False
) -> None:
    """Say how far a study is, and what its cells have reached."""
    from invreg.studies.status import read_status

    found = read_status(usable_path(folder, "STUDY"))
    if as_json:
        from dataclasses import asdict

        from invreg.commands.tables import print_json

        print_json(asdict(found))
    else:
        print(laid_out(str(found), width()))


def report(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run or study folder.")]) -> None:
    """Write the report anew, with figures from saved findings."""
    from invreg.api import redraw

    print(redraw(folder))


def certify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run folder.")], as_json: AsJson = False
) -> None:
    """Prove how stable the networks of a run are.

    Bounds that lie there are verified.
    """
    from invreg import api

    with said(f"{folder}: proving the stability of its networks, or verifying what is proven"):
        certificates = api.certify(folder)
    if not certificates:
        raise CertificateError(
            "no method of this run can certify its stability",
            where=str(folder),
            expected="at least one, like iresnet",
        )
    if as_json:
        from invreg.commands.tables import print_json

        print_json({label: certificate.content for label, certificate in certificates.items()})
    else:
        for label, certificate in certificates.items():
            print(laid_out(f"{label}: {certificate.sentence}", width()))
    if any(certificate.reconstruction_lipschitz is None for certificate in certificates.values()):
        raise typer.Exit(1)


def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run or study folder.")], as_json: AsJson = False
) -> None:
    """Check files against their hashes, and prove bounds again."""
    from invreg import api
    from invreg.commands.tables import print_json, print_table
    from invreg.storage.verification import GOOD

    with said(f"{folder}: comparing files with their hashes, and proving certificates again"):
        table = api.verify(folder)
    if as_json:
        print_json(table)
    else:
        print_table(table[["part", "what", "state"]])
        for row in table[table["advice"] != ""].itertuples():
            print(f"{row.part}/{row.what}: {row.state}: {row.advice}")
    if not table["state"].isin(GOOD).all():
        raise typer.Exit(1)
