"""Certificates of the methods of a run: made once, kept in the run folder, verified whenever they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from invreg.components.certificate import StabilityCertificate
from invreg.components.reconstructor import CertifiesStability
from invreg.errors import CertificateError

if TYPE_CHECKING:
    from invreg.components.reconstructor import Reconstructor
    from invreg.storage.run_folder import RunFolder


class RunCertificates(Mapping[str, StabilityCertificate]):
    """The certificates of all methods that certify their stability, by label.

    Each is made when it is first asked for, and saved in the folder of its method. One that lies there is verified
    against the weights instead, which is much faster.

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
            folder = self._folder.method(label)
            if (certificate := folder.certificate) is not None:
                try:
                    method.verify(certificate)
                except CertificateError as error:
                    raise error.at(str(folder.certificate_file)) from None
            else:
                certificate = method.certificate()
                folder.write_certificate(certificate)
            folder.mark_certificate_verified()
            self._known[label] = certificate
        return self._known[label]

    def kept(self, label: str) -> StabilityCertificate | None:
        """The certificate that is there already, verified; None if there is none, or the method cannot certify.

        Raises:
            CertificateError: if it does not hold.
        """
        if label not in self._methods or self._folder.method(label).certificate is None:
            return None
        return self[label]
