"""From entry points to loaded plugins. Each is loaded on its own, and an error is kept with the plugin."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from invreg.components import hookspecs
from invreg.errors import PluginError, message_of, readable
from invreg.plugins.isolation import isolated
from invreg.schema.sources import place_of_error

#: Plugins of this distribution come first, and keep their names when third-party plugins claim them too.
OWN = "invreg"

#: A plugin that takes more CPU time, in seconds, to be imported and to name its components is called slow.
SLOW = 1.0

#: The problem of a plugin that is not wanted.
SWITCHED_OFF = "switched off by INVREG_DISABLE_PLUGINS"

_VALUE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(\s*:\s*[^\W\d]\w*(\.[^\W\d]\w*)*)?\s*(\[.*\])?")


@dataclass
class Plugin:
    """A plugin and what became of it.

    Attributes:
        name: the entry point's name.
        distribution: the distribution that brought it, with its `version`.
        components: (kind, name) of all that it registers.
        problem: why it was set aside; None if it works.
        conflicts: names that it shares with another distribution, with what follows.
        interface: the version of the plugin interface that it is written for; None if that was not asked.
        seconds: CPU time that it took to import it and to ask for its components.
        trackers: names of the trackers that it offers, once `invreg.plugins.tracking.note_trackers` has looked.
    """

    name: str
    distribution: str
    version: str
    components: list[tuple[str, str]] = field(default_factory=list)
    problem: str | None = None
    conflicts: list[str] = field(default_factory=list)
    interface: int | None = None
    seconds: float = 0.0
    trackers: list[str] = field(default_factory=list)

    @property
    def watched_as(self) -> str | None:
        """The name under which `isolated` watches it; None for the plugins of invreg itself, which need no watch."""
        return None if self.distribution == OWN else self.name


@dataclass(frozen=True)
class _Point:
    """An entry point with its distribution's name and version, which are read from a file on every access."""

    point: metadata.EntryPoint
    distribution: str
    version: str


def installed_plugins() -> Iterator[tuple[Plugin, object | None]]:
    """All plugins of the group `invreg` with what their entry points name; None where that cannot be had.

    Those named in the environment variable `INVREG_DISABLE_PLUGINS` are not imported.
    """
    disabled = {_normal(name.strip()) for name in os.environ.get("INVREG_DISABLE_PLUGINS", "").split(",")} - {""}
    scan = _scanned()
    for found in scan.points:
        plugin = Plugin(found.point.name, found.distribution, found.version)
        if disabled & {_normal(plugin.name), _normal(plugin.distribution)}:
            plugin.problem = SWITCHED_OFF
            yield plugin, None
            continue
        yield plugin, _load(plugin, found.point)
    for plugin in scan.without_points:
        if _normal(plugin.distribution) not in disabled:
            yield replace(plugin, components=[], conflicts=[], trackers=[]), None


def files_of_plugins() -> Iterator[Path]:
    """All files and folders of plugins and of invreg that may change what plugins register, but those of Python."""
    scan = _scanned()
    yield from scan.files
    packages = {OWN, *(found.point.module for found in scan.points)}
    for folder in {folder for package in packages for folder in _package_folders(package)}:
        for here, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield Path(here)
            yield from (Path(here, name) for name in names)
    for found in scan.points:
        listed = (found.point.dist.files if found.point.dist else None) or []
        yield from (Path(str(file.locate())) for file in listed if file.suffix != ".pyc")


def _package_folders(module: str) -> list[str]:
    """The folders of the outermost imported package that is not a namespace for several distributions."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        found = sys.modules.get(".".join(parts[:count]))
        if getattr(found, "__file__", None):
            return list(getattr(found, "__path__", []))
    return []


def _load(plugin: Plugin, point: metadata.EntryPoint) -> object | None:
    if not _VALUE.fullmatch(point.value):
        plugin.problem = (
            f"its entry point names {point.value!r}\n"
            f'  expected: a module, as in {point.name} = "my_package.plugin"\n'
            "  try: correct it under [project.entry-points.invreg] in its pyproject.toml and install it again"
        )
        return None
    start = time.process_time()
    try:
        with isolated(plugin.watched_as):
            loaded: object = point.load()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        plugin.problem = readable(_import_problem(point, error))
        return None
    finally:
        plugin.seconds = time.process_time() - start
    return loaded


def _import_problem(point: metadata.EntryPoint, error: BaseException) -> str:
    place = place_of_error(error, lambda file: file in (__file__, metadata.__file__) or "importlib" in Path(file).parts)
    told = message_of(error)
    if isinstance(error, PluginError):
        return str(error.at(point.value))
    if isinstance(error, SyntaxError) and error.filename:
        told, place = f"{type(error).__name__}: {error.msg}", f"{error.filename}:{error.lineno}"
    problem = f"cannot be imported from {point.value!r}: {told}" + (f" ({place})" if place else "")
    module, _, attribute = point.value.partition("[")[0].replace(" ", "").partition(":")
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return f"{problem}\n  try: its entry point names a module that is not in the package"
    if attribute and place is None and isinstance(error, AttributeError):
        return f"{problem}\n  try: its entry point names something that {module} does not have"
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "invreg":
        from invreg import __version__

        return f"{problem}\n  try: it may be written for another version of invreg than {__version__}"
    return problem


@dataclass(frozen=True)
class _Scan:
    """What the folders of `sys.path` hold, and the state in which they were read."""

    folders: dict[Path, int]
    files: dict[Path, int]
    points: list[_Point]
    without_points: list[Plugin]

    @property
    def is_current(self) -> bool:
        """Packages are installed and removed by making and removing folders, or by writing their metadata anew."""
        return _folders() == self.folders and all(_changed(file) == at for file, at in self.files.items())


_last_scan: _Scan | None = None


def _scanned() -> _Scan:
    """The plugins that can be found; reading the metadata of some hundred packages takes longer than all the rest."""
    global _last_scan
    if _last_scan is None or not _last_scan.is_current:
        folders = _folders()
        points = sorted(_entry_points(), key=lambda p: (p.distribution != OWN, p.distribution, p.point.name))
        names = {found.distribution for found in points}
        folder_of = [getattr(found.point.dist, "_path", None) for found in points]
        files = {
            folder / name
            for folder in folder_of
            if isinstance(folder, Path)
            for name in ("entry_points.txt", "METADATA")
        }
        changed = {file: _changed(file) for file in files}
        _last_scan = _Scan(folders, changed, points, list(_without_entry_points(names)))
    return _last_scan


def _folders() -> dict[Path, int]:
    """The folders of `sys.path`, the working directory by its name, and when each was last changed."""
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        here = Path()
    return {folder: _changed(folder) for folder in (here / one for one in sys.path)}


def _changed(path: Path) -> int:
    """When a folder or a file was last changed; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _entry_points() -> list[_Point]:
    """All entry points of the group, each once (an editable installation can list its metadata twice)."""
    unique: dict[tuple[str, str, str], _Point] = {}
    known: dict[int, tuple[str, str]] = {}
    for point in metadata.entry_points(group=hookspecs.PROJECT):
        if id(point.dist) not in known:
            known[id(point.dist)] = (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
        distribution, version = known[id(point.dist)]
        unique[distribution, point.name, point.value] = _Point(point, distribution, version)
    return list(unique.values())


def _without_entry_points(known: set[str]) -> Iterator[Plugin]:
    """Installed distributions that are called invreg-something, as plugins are, and name no plugin."""
    seen = {_normal(name) for name in known} | {OWN}
    for folder in dict.fromkeys(map(Path, sys.path)):
        if not folder.is_dir():
            continue
        for path in sorted(folder.glob("invreg[-_.]*-info")):
            name, _, version = path.name.rpartition(".")[0].partition("-")
            if path.name.endswith((".dist-info", ".egg-info")) and _normal(name) not in seen:
                seen.add(_normal(name))
                yield Plugin(
                    "(no entry point)",
                    _normal(name),
                    version.partition("-")[0],
                    problem="registers nothing: it has no entry point of the group 'invreg'\n"
                    "  try: [project.entry-points.invreg] in its pyproject.toml, and install it again",
                )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
