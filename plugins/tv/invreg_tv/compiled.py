"""The pixelwise part of an iteration, compiled where a C compiler is found.

`step.c` travels as text, so wheels fit every machine and Python. It is compiled once, in two seconds, and kept in the
cache of the user. Whatever fails, the same is computed by torch: a missing compiler costs time and nothing else.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invreg import InvregWarning, cache_folder

_SOURCE = Path(__file__).with_name("step.c")
#: Exact up to rounding, without what only signals of the processor would need.
_OPTIONS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_NAMES = {torch.float32: "step_float", torch.float64: "step_double"}
_SECONDS = 60


def compiled_step(dtype: torch.dtype) -> Callable[..., None] | None:
    """The compiled step for arrays of this dtype on the CPU, or None if there is none."""
    library = _library()
    if library is None or dtype not in _NAMES:
        return None
    function: Any = getattr(library, _NAMES[dtype])
    function.restype = None
    function.argtypes = [ctypes.c_void_p] * 10 + [ctypes.c_longlong] * 5 + [ctypes.c_double] * 5
    return function  # type: ignore[no-any-return]


def address(values: Tensor | None) -> int | None:
    """Where a contiguous tensor lies in memory."""
    return None if values is None else values.data_ptr()


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The library, compiled if need be; one line says what is in the way."""
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    program = shutil.which(compiler[0])
    try:
        if program is None:
            raise OSError(f"no C compiler {compiler[0]!r} was found")
        return _load([program, *compiler[1:], *_OPTIONS])
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        words = " ".join(str(error).split())[:300]
        message = f"tv: computed by torch, several times slower than by its compiled step: {words}"
        warnings.warn(message, InvregWarning, stacklevel=2)
        return None


def _load(command: list[str]) -> ctypes.CDLL:
    version = _run([command[0], "--version"]).stdout
    key = hashlib.sha256(repr((_SOURCE.read_bytes(), command, version, platform.machine(), sys.platform)).encode())
    kept = cache_folder() / "compiled" / f"tv-{key.hexdigest()[:32]}.so"
    try:
        return _own(kept)
    except (OSError, AttributeError):
        pass  # not there yet, cut off, or of somebody else
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Path(folder) / kept.name
        found = _run([*command, str(_SOURCE), "-o", str(made), "-lm"])
        if found.returncode:
            raise OSError(f"{command[0]} failed: {found.stderr or found.stdout}")
        try:
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside = kept.with_name(f".{kept.name}.{os.getpid()}")
            shutil.copyfile(made, beside)
            beside.chmod(0o700)
            beside.replace(kept)
            return _own(kept)
        except OSError:  # a cache that cannot be written or trusted: compiled anew by every process
            return _checked(made)


def _own(path: Path) -> ctypes.CDLL:
    """The library, if nobody else may have written it."""
    if hasattr(os, "getuid"):
        for found in (path.stat(), path.parent.stat()):
            if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise OSError(f"{path} could have been written by somebody else")
    return _checked(path)


def _checked(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name in _NAMES.values():
        getattr(library, name)
    return library


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 (the compiler that the user has)
        command, capture_output=True, timeout=_SECONDS, check=False, text=True, errors="replace"
    )
