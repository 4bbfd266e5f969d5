"""Plugins that exit, hang, crash or write when they are imported or asked: named and set aside, and the others work."""

from __future__ import annotations

import json
import os
from pathlib import Path

import processes
import pytest

pytestmark = pytest.mark.slow

HOOK = "import invreg\n@invreg.hookimpl\ndef invreg_components():\n    {}\n    return {{}}\n"

#: What a plugin does, and how it is spoken of; in the hook where it begins with a bracket.
PLUGINS = {
    "good": ("pass", None),
    "exit": ("import sys; sys.exit(5)", "SystemExit: 5"),
    "hard_exit": ("import os; os._exit(5)", "calls os._exit"),
    "hard_exit_of_its_own": ("from os import _exit; _exit(5)", "calls os._exit"),
    "aborts": ("import os; os.abort()", "calls os.abort"),
    "interrupt": ("raise KeyboardInterrupt", "raises KeyboardInterrupt"),
    "generator": ("raise GeneratorExit('x')", "GeneratorExit: x"),
    "base": ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
    "mute": ("class Mute(Exception):\n    __str__ = None\nraise Mute()", "its message cannot be read"),
    "long": ("raise ValueError('o' * 100_000)", "(100,"),
    "garbage": ("import os; os.write(1, b'\\xff\\xfe garbage'); print('garbage')", None),
    "sleeps": ("import time; time.sleep(1000)", "takes longer than 3 s"),
    "loops": ("while True: pass", "takes longer than 3 s"),
    "forks": ("import os\nif os.fork() == 0: os._exit(0)", None),
    "exit_hook": ("#import sys; sys.exit(5)", "SystemExit: 5"),
    "hard_exit_hook": ("#import os; os._exit(5)", "calls os._exit"),
    "interrupt_hook": ("#raise KeyboardInterrupt", "raises KeyboardInterrupt"),
    "sleeps_hook": ("#import time; time.sleep(1000)", "takes longer than 3 s"),
}


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What `invreg plugins --json` says with all of them installed."""
    site = tmp_path_factory.mktemp("site")
    for name, (code, _) in PLUGINS.items():
        in_hook = code.startswith("#")
        source = HOOK.format(code[1:] if in_hook else "pass")
        (site / f"odd_{name}.py").write_text(source if in_hook else f"{code}\n{source}")
        info = site / f"invreg_odd_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: invreg-odd-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[invreg]\n{name} = odd_{name}\n")
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "INVREG_PLUGIN_SECONDS": "3"}
    done = processes.call("invreg", "plugins", "--json", env=environment)
    assert done.returncode == 0, done.stderr
    assert "garbage" in done.stderr
    return {plugin["distribution"]: plugin for plugin in json.loads(done.stdout)}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_that_misbehaves_is_set_aside_alone(plugins: dict[str, dict[str, object]], name: str) -> None:
    problem = plugins[f"invreg-odd-{name}"]["problem"]
    cause = PLUGINS[name][1]
    if cause is None:
        assert problem is None
    else:
        assert cause in str(problem)
        assert len(str(problem)) < 4000
    assert all(plugin["problem"] is None for plugin in plugins.values() if plugin["distribution"] == "invreg")


def test_ctrl_c_while_a_plugin_is_imported_ends_the_command(tmp_path: Path) -> None:
    (tmp_path / "odd_slow.py").write_text(
        "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(99)"
    )
    info = tmp_path / "invreg_odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: invreg-odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[invreg]\nslow = odd_slow\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = processes.call("invreg", "plugins", env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
