"""Inner loops in C, compiled where a C compiler is found.

The source travels as text, so wheels fit every machine and Python. It is compiled once, in seconds, and kept in the
cache of the user. Without a compiler, torch has to compute the same: that costs time and nothing else.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from invreg.errors import InvregWarning
from invreg.files import cache_folder, write_whole

#: Exact up to rounding, without what only signals of the processor would need.
_OPTIONS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-fvisibility=default")
#: Where Linux says what instructions the processor has.
_PROCESSOR = Path("/proc/cpuinfo")
_SECONDS = 60


@functools.cache
def compiled_library(source: Path, slower: str, *definitions: str) -> ctypes.CDLL | None:
    """The library of a C file that needs no other files, for the CPU; None if it cannot be compiled.

    It is compiled by `cc`, or by what the environment variable CC names, when a process first needs it and the cache
    does not have it. One warning says what is in the way.

    Args:
        source: the C file; with the compiler and the machine, its content decides whether a kept library fits.
        slower: what the warning says of the consequence: "tv: computed by torch, several times slower".
        definitions: macros of the preprocessor, "N=8", for a library of these sizes.
    """
    try:
        native = ["-march=native"] if _instructions() else []
        return _load(source, _compiler(), [*_OPTIONS, *native, *(f"-D{one}" for one in definitions)])
    except (OSError, subprocess.SubprocessError) as error:
        words = " ".join(str(error).split())[:300]
        warnings.warn(f"{slower}: {words}", InvregWarning, stacklevel=2)
        return None


def _compiler() -> list[str]:
    """The program, and what CC gives it before other arguments."""
    given = os.environ.get("CC", "")
    try:
        name, *arguments = shlex.split(given) or ["cc"]
    except ValueError as error:
        raise OSError(f"CC is {given!r}, which cannot be split into words: {error}") from None
    program = shutil.which(name)
    if program is None:
        raise OSError(f"no C compiler {name!r} was found")
    return [program, *arguments]


def _load(source: Path, compiler: list[str], options: list[str]) -> ctypes.CDLL:
    version = _run([*compiler, "--version"]).stdout
    machine = platform.machine(), sys.platform, _instructions()
    key = hashlib.sha256(repr((source.read_bytes(), compiler, options, version, machine)).encode())
    folder, name = cache_folder() / "compiled", f"{source.stem}-{key.hexdigest()[:32]}"
    for kept in folder.glob(f"{name}-*.so"):
        try:
            return _own(kept)
        except OSError:
            pass  # cut off, or of somebody else
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        made = Path(temporary) / f"{name}.so"
        found = _run([*compiler, *options, str(source), "-o", str(made), "-lm"])
        if found.returncode or not made.is_file():
            raise OSError(f"{compiler[0]} failed: {found.stderr or found.stdout or 'it has written nothing'}")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept = folder / f"{name}-{_digest(made)}.so"
            write_whole(kept, made.read_bytes())
            return _own(kept)
        except OSError:  # a cache that cannot be written or trusted: compiled anew by every process
            return ctypes.CDLL(str(made))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def _instructions() -> str:
    """The instructions of an x86 processor, which machines with the same home folder may not share; "" elsewhere."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return ""
    try:
        lines = _PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("flags")), "")


def _own(path: Path) -> ctypes.CDLL:
    """The library, if nobody else may have written it, and it is whole: one that is cut off would end the process."""
    if hasattr(os, "getuid"):
        for found in (path.stat(), path.parent.stat()):
            if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise OSError(f"{path} could have been written by somebody else")
    if not path.stem.endswith(f"-{_digest(path)}"):
        raise OSError(f"{path} has changed since it was made")
    return ctypes.CDLL(str(path))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 (the compiler that the user has)
        command, capture_output=True, timeout=_SECONDS, check=False, text=True, errors="replace"
    )
