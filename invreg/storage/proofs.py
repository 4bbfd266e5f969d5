"""Which certificates have been verified on this machine, for which weights.

A run folder may come from anybody, and whoever can change a certificate can change a note beside it. So the note lies
outside of the folder, and its name is the hash of all that was verified: in the cache of this user, or in the folder
that the environment variable INVREG_CACHE names.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from invreg.files import cache_folder
from invreg.storage.seal import digest

#: What this process has verified: it stays known where no cache can be written.
_proven: set[str] = set()


def is_proven(*digests: str) -> bool:
    """Whether `note_proof` was called with the same hashes, by this version of invreg."""
    key = _key(digests)
    return key in _proven or _note(key).is_file()


def note_proof(*digests: str) -> None:
    """Notes that a certificate holds.

    Args:
        digests: the hashes of the certificate, the weights and the spec of the reconstructor.
    """
    key = _key(digests)
    _proven.add(key)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs a verification, not a result
        _note(key).parent.mkdir(parents=True, exist_ok=True)
        _note(key).touch()


def _key(digests: tuple[str, ...]) -> str:
    from invreg import __version__

    return digest("\n".join([__version__, *digests]).encode())


def _note(key: str) -> Path:
    return cache_folder() / "proofs" / key
