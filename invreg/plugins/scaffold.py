"""A new plugin: a package with one component, whose tests pass as written."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

from invreg import __version__
from invreg.components.hookspecs import INTERFACE_VERSION
from invreg.errors import PluginError, SpecError, near_name
from invreg.files import whole_folder
from invreg.plugins.answers import answer
from invreg.schema.kinds import NO_TEXTS

TEMPLATES = Path(__file__).parent / "templates"

#: What a new plugin can begin with, and the kind of component that it is.
COMPONENT_KINDS = {
    "operator": "operator",
    "projector": "operator",
    "reconstructor": "reconstructor",
    "trainer": "trainer",
    "analyzer": "analyzer",
    "dataset": "dataset",
}
PLUGIN_KINDS = tuple(COMPONENT_KINDS)

#: What the templates import by these names.
_USED = ("Annotated", "Field", "Figure", "LinearOperator", "Mapping", "Path", "Tensor")

#: What the templates import besides invreg, in the oldest versions that invreg itself works with.
_REQUIREMENTS = {
    "operator": ("pydantic>=2.8", "torch>=2.4"),
    "projector": ("numpy>=1.26", "pydantic>=2.8", "scipy>=1.12", "torch>=2.4"),
    "reconstructor": ("pydantic>=2.8", "torch>=2.4"),
    "trainer": ("pydantic>=2.8", "torch>=2.4"),
    "analyzer": ("matplotlib>=3.8", "pandas>=2.1", "pydantic>=2.8"),
    "dataset": ("pydantic>=2.8", "torch>=2.4"),
}

_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def new_plugin(name: str, kind: str = "operator", output: str | Path = ".") -> Path:
    """Writes a package that brings one component; returns its folder, which is new.

    Args:
        name: name of the distribution, as in `invreg-camera`. The module is `invreg_camera`, the component `camera`.
        kind: one of `PLUGIN_KINDS`; a projector is an operator that calls another package.
        output: folder in which the package's folder is made.

    Raises:
        SpecError: if the name or the kind cannot be used; nothing is written.
        PluginError: if the folder is there already, or cannot be written.
    """
    if kind not in PLUGIN_KINDS:
        near = near_name(kind, PLUGIN_KINDS)
        raise SpecError(
            f"{kind!r} is not a kind that a new plugin can start with",
            where="kind",
            expected=f"one of {', '.join(PLUGIN_KINDS)}",
            hint=f"did you mean {near!r}?" if near else None,
        )
    template, kind = kind, COMPONENT_KINDS[kind]
    module, component = _names(name, kind)
    words = {
        "distribution": name,
        "module": module,
        "component": component,
        "Class": _class_name(component, kind),
        "kind": kind,
        "interface": str(INTERFACE_VERSION),
        "version": __version__,
        "requirements": ", ".join(f'"{name}"' for name in [f"invreg>={__version__}", *_REQUIREMENTS[template]]),
    }
    files = {
        "pyproject.toml": "common/pyproject.toml.in",
        "README.md": "common/README.md.in",
        f"{component}.yaml": f"{template}/spec.yaml.in",
        f"src/{module}/plugin.py": "common/plugin.py.in",
        f"src/{module}/{kind}.py": f"{template}/component.py.in",
        f"tests/test_{module}.py": f"{template}/test.py.in",
    }
    texts = {
        path: _filled((TEMPLATES / template).read_text(encoding="utf-8"), words) for path, template in files.items()
    }
    texts[f"src/{module}/__init__.py"] = f'"""A plugin for invreg: the {kind} {component}."""\n'
    texts[f"src/{module}/py.typed"] = ""
    return _write(Path(output).expanduser(), name, texts)


def _names(name: str, kind: str) -> tuple[str, str]:
    """The module and the component that belong to a distribution's name."""
    if not _DISTRIBUTION.fullmatch(name):
        raise SpecError(
            f"{name!r} cannot name a package",
            where="NAME",
            expected="ASCII letters, digits and - _ . between them, as in invreg-camera",
        )
    module = re.sub(r"[-_.]+", "_", name).lower()
    component = module.removeprefix("invreg_")
    if not component.isidentifier():
        component = module
    for word in (module, component):
        if not word.isidentifier() or keyword.iskeyword(word) or word in NO_TEXTS:
            raise SpecError(
                f"{name!r} would give the name {word!r}, which is not usable in Python and YAML",
                where="NAME",
                expected="a name that begins with a letter and is not a keyword, as in invreg-camera",
            )
    if importlib.util.find_spec(module) is not None:
        raise SpecError(
            f"there is a module {module!r} already, which the package would hide",
            where="NAME",
            expected="a name of its own",
            hint=f"invreg-{component}" if module == component else "another name",
        )
    if component in answer(f"names {kind}", lambda registry: "\n".join(registry.entries(kind))).split("\n"):
        raise SpecError(
            f"{kind} {component!r} already exists",
            where="NAME",
            expected="a name that is free, so that specs can use it without its distribution",
            hint=f"invreg-my-{component.replace('_', '-')}",
        )
    return module, component


def _class_name(component: str, kind: str) -> str:
    name = "".join(part[:1].upper() + part[1:] for part in component.split("_"))
    return f"{name}{kind.capitalize()}" if name in _USED or keyword.iskeyword(name) else name


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub(r"@(\w+)@", lambda match: words[match[1]], text)


def _write(output: Path, name: str, texts: dict[str, str]) -> Path:
    folder = output / name
    if folder.exists() or folder.is_symlink():
        raise PluginError(
            "is there already, and nothing is overwritten",
            where=str(folder),
            expected="a folder that does not exist",
            hint="another name, or another `output`",
        )
    try:
        with whole_folder(folder) as made:
            for path, text in texts.items():
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise PluginError(
            f"cannot be written: {error.strerror or error}", where=str(folder), expected="a folder that can be written"
        ) from None
    return folder
