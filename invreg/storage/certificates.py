"""Certificates of the methods of a run: made once, kept in the run folder, verified whenever they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from invreg.components.certificate import StabilityCertificate
from invreg.components.reconstructor import CertifiesStability
from invreg.errors import CertificateError

if TYPE_CHECKING:
    from invreg.components.reconstructor import Reconstructor
    from invreg.storage.run_folder import RunFolder


class RunCertificates(Mapping[str, StabilityCertificate]):
    """The certificates of all methods that certify their stability, by label.

    Each is made when it is first asked for, and saved as `methods/<label>/certificate.json`. One that lies there is
    verified against the weights instead, which is much faster.

    Args:
        folder: the run folder.
        reconstructors: all methods of the run, trained, by label.
    """

    def __init__(self, folder: RunFolder, reconstructors: Mapping[str, Reconstructor]) -> None:
        self._folder = folder
        self._methods = {
            label: reconstructor
            for label, reconstructor in reconstructors.items()
            if isinstance(reconstructor, CertifiesStability)
        }
        self._known: dict[str, StabilityCertificate] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._methods)

    def __len__(self) -> int:
        return len(self._methods)

    def __getitem__(self, label: str) -> StabilityCertificate:
        """The certificate of a method.

        Raises:
            KeyError: for a label whose method cannot certify anything.
            CertificateError: if none can be made, or the one that is there does not hold.
        """
        method = self._methods[label]
        if label not in self._known:
            name = certificate_file(label)
            if self._folder.has(name):
                found = read_certificate(self._folder, label)
                try:
                    method.verify(found)
                except CertificateError as error:
                    raise error.at(str(self._folder.path / name)) from None
            else:
                found = method.certificate()
                self._folder.write_json(name, found.content)
            self._folder.write_json(_verified_file(label), {"sha256": _digest(self._folder, label)})
            self._known[label] = found
        return self._known[label]


def certificate_file(label: str) -> Path:
    """Where the certificate of a method lies within a run folder."""
    return Path("methods") / label / "certificate.json"


def verified_sentence(folder: RunFolder, label: str) -> str:
    """What the certificate of a method says, if it lies there as it was when it was last verified; else that it is not.

    An empty text where there is none.
    """
    if not folder.has(certificate_file(label)):
        return ""
    record = folder.read_json(_verified_file(label)) if folder.has(_verified_file(label)) else {}
    if record.get("sha256") != _digest(folder, label):
        return "certificate.json has not been verified as it is now; `invreg certify` does so."
    return read_certificate(folder, label).sentence


def _verified_file(label: str) -> Path:
    return Path("methods") / label / "certificate-verified.json"


def _digest(folder: RunFolder, label: str) -> str:
    return hashlib.sha256((folder.path / certificate_file(label)).read_bytes()).hexdigest()


def read_certificate(folder: RunFolder, label: str) -> StabilityCertificate:
    """The certificate that lies in the run folder, as it is written there; nothing is verified.

    Raises:
        CertificateError: if the file does not hold a certificate.
        StoreError: if it is missing or cannot be read.
    """
    name = certificate_file(label)
    try:
        return StabilityCertificate(folder.read_json(name))
    except CertificateError as error:
        raise error.at(str(folder.path / name)) from None
