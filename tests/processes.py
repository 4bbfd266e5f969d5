"""Commands in processes of their own, which a server forks: the libraries that all of them import, it has imported."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

CONTEXT = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
if hasattr(CONTEXT, "set_forkserver_preload"):
    CONTEXT.set_forkserver_preload(["torch", "pandas", "scipy.ndimage", "skimage.metrics", "matplotlib.figure", "yaml"])


def _enter(target: str, arguments: list[str], folder: str, environment: dict[str, str], output: list[str]) -> None:
    for descriptor, path in zip((1, 2), output, strict=True):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = [target, *arguments]
    if target.endswith(".py"):
        sys.path.insert(0, str(Path(target).parent))
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


class Command:
    """`python -m MODULE` or `python FILE` with arguments, started; a part of `subprocess.Popen`."""

    def __init__(
        self, target: str | Path, *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.args = [str(target), *map(str, arguments)]
        self._place = tempfile.TemporaryDirectory(prefix="invreg-command-")
        self._output = [str(Path(self._place.name) / name) for name in ("stdout", "stderr")]
        for path in self._output:
            Path(path).touch()
        environment = dict(os.environ if env is None else env)
        entered = (self.args[0], self.args[1:], str(cwd or Path.cwd()), environment, self._output)
        self._process = CONTEXT.Process(target=_enter, args=entered)  # type: ignore[attr-defined]
        self._process.start()

    def poll(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self._process.pid, number)

    @property
    def errors(self) -> str:
        """What it has written to standard error so far."""
        return Path(self._output[1]).read_text(encoding="utf-8", errors="replace")

    def finish(self, timeout: float = 300.0) -> CompletedProcess[str]:
        """Waits for the end; its status, negative for a signal, and what it has printed."""
        self._process.join(timeout)
        if self.poll() is None:
            self._process.kill()
            raise TimeoutError(f"{self.args} takes longer than {timeout} s")
        output, errors = (Path(path).read_text(encoding="utf-8", errors="replace") for path in self._output)
        self._place.cleanup()
        return CompletedProcess(self.args, self.poll() or 0, output, errors)


def call(
    target: str | Path, *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Runs a command to its end."""
    return Command(target, *arguments, cwd=cwd, env=env).finish()
