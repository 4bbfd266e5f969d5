"""Tables of the built-in components, made from the registry.

`<!-- components: operator -->` in a page is replaced by all components of that kind with their parameters,
`<!-- parameters: operator radon -->` by the parameters of one of them, and `<!-- classes: operator -->` by what the
documentation of their classes says in full, with an example that goes on from `BEGINNING`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

_KIND = re.compile(r"^<!-- components: (?P<kind>\w+) -->$", re.MULTILINE)
_PARAMETERS = re.compile(r"^<!-- parameters: (?P<kind>\w+) (?P<name>\w+) -->$", re.MULTILINE)
_CLASSES = re.compile(r"^<!-- classes: (?P<kind>\w+) -->$", re.MULTILINE)
# Where the prose of a Google-style docstring ends.
_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Example|Examples|Source|Sources)\b[^\n]*:", re.MULTILINE)
_HEAD = re.compile(r"(?P<name>Args|Attributes|Raises|Returns|Example|Examples|Source|Sources)\b[^:\n]*:")
_REFERENCE = re.compile(r"\[(`[^`]+`)\]\[[^\]]*\]")
# In formulas, characters that mean something to Markdown are meant as they are.
_CODE_OR_SPECIAL = re.compile(r"`[^`]*`|[*_\[\]<]")


#: What all examples go on from.
BEGINNING = """
import torch

import invreg

registry = invreg.Registry.installed()
x = torch.rand(2, 1, 32, 32)
blur = registry.build("operator", "gaussian_blur")
problem = invreg.Problem(blur, registry.build("noise", {"name": "gaussian", "std": 0.01}))
z = problem.measure(x, seed=0)
""".strip()

_SMALL = {"subnetworks": 4, "channels": 8, "hidden": 16}

#: Parameters where there are no defaults, or where these make large networks.
_PARAMETERS_OF: dict[tuple[str, str], dict[str, Any]] = {
    ("operator", "composition"): {"operators": ["gaussian_blur", {"name": "gamma", "exponent": 1.5}]},
    ("operator", "convolution"): {"kernel": [[0.0, 0.2, 0.0], [0.2, 0.2, 0.2], [0.0, 0.2, 0.0]]},
    ("operator", "deepinv"): {"physics": "Inpainting", "parameters": {"mask": 0.5}},
    ("operator", "finite_differences"): {"operator": "perona_malik"},
    ("operator", "pylops"): {"operator": "FirstDerivative"},
    ("operator", "scipy_matrix"): {"path": "A.npz"},
    ("operator", "stack"): {"operators": ["identity", "gaussian_blur"]},
    ("noise", "correlated"): {"std": 0.02},
    ("noise", "gaussian"): {"std": 0.02},
    ("dataset", "image_folder"): {"path": "photographs"},
    ("dataset", "measured_pairs"): {"path": "pairs"},
    ("dataset", "stl10"): {"root": "stl10"},
    ("dataset", "volume_folder"): {"path": "volumes"},
    ("reconstructor", "deepinv"): {"model": "MedianFilter"},
    ("reconstructor", "conv_resnet"): _SMALL,
    ("reconstructor", "iresnet"): {**_SMALL, "lipschitz": 0.9},
    ("reconstructor", "explicit_iresnet"): {**_SMALL, "lipschitz": 0.9},
    ("reconstructor", "unet"): {"channels": [8, 16]},
    ("analyzer", "new_measurements"): {"path": "scans"},
}

#: What else an example needs before it.
_BEFORE = {
    ("operator", "scipy_matrix"): "import scipy.sparse\n\nscipy.sparse.save_npz('A.npz', scipy.sparse.eye_array(1024))",
    ("reconstructor", "fbp"): "problem = invreg.Problem(registry.build('operator', 'radon'), problem.noise)\n"
    "z = problem.measure(x, seed=0)",
}

#: What is done with a component of a kind; nothing more where it takes files, a run or a cluster.
_USE = {
    "operator": "z = {name}(x)",
    "noise": "z = invreg.Problem(blur, {name}).measure(x, seed=0)",
    "reconstructor": "{name}.setup(problem, (1, 32, 32))\nx_hat = {name}(z)",
    "metric": "values = {name}(z, x)  # one for each image",
}
_ONLY_BUILT = {("operator", "measured")}


def example(kind: str, name: str) -> str:
    """Python that builds a component and uses it."""
    parameters = _PARAMETERS_OF.get((kind, name))
    spec = repr({"name": name, **parameters} if parameters else name).replace("'", '"')
    lines = [_BEFORE.get((kind, name), "").replace("'", '"'), f'{name} = registry.build("{kind}", {spec})']
    if kind in _USE and (kind, name) not in _ONLY_BUILT:
        lines.append(_USE[kind].format(name=name))
    return "\n".join(filter(None, lines))


def built_in(kind: str) -> list[Any]:
    """The entries of this distribution: what else is installed where the site is built does not belong into it."""
    registry = _registry()
    entries = [registry.entry(kind, name) for name in registry.names(kind)]
    return [entry for entry in entries if entry.plugin.distribution == "invreg"]


def described(markdown: str) -> str:
    """A page with its tables and entries of components.

    Raises:
        SpecError: if it asks for a kind or a component that there is not.
    """
    markdown = markdown.replace("<!-- beginning -->", f"```python\n{BEGINNING}\n```")
    markdown = _CLASSES.sub(lambda match: "\n".join(_classes(match["kind"])), markdown)
    markdown = _KIND.sub(lambda match: "\n".join(_kind(match["kind"])), markdown)
    return _PARAMETERS.sub(lambda match: "\n".join(_parameters(_registry().entry(*match.groups()))), markdown)


@cache
def _registry() -> Any:
    from invreg import Registry

    return Registry.installed()


def _kind(kind: str) -> Iterator[str]:
    for entry in built_in(kind):
        yield from _component(entry)


def _classes(kind: str) -> Iterator[str]:
    for entry in built_in(kind):
        yield f"### `{entry.name}` {{ #class-{kind}-{entry.name} }}\n"
        yield f"*class {entry.cls.__name__}* ([parameters](../spec.md#{kind}-{entry.name}))\n"
        yield _whole(inspect.getdoc(entry.cls) or "") + "\n"
        yield f"```python\n{example(kind, entry.name)}\n```\n"


def _whole(documentation: str) -> str:
    """The documentation of a class; the names of its sections in bold, and their entries as lists."""
    parts = []
    for paragraph in _REFERENCE.sub(r"\1", documentation).split("\n\n"):
        if paragraph.startswith("    "):  # a formula, which is code to Markdown
            parts.append(paragraph)
            continue
        if not (section := _HEAD.match(paragraph)):
            # Formulas stand in lines of their own, indented or not.
            parts.append(paragraph if paragraph.lstrip().startswith(("- ", "* ", "|")) else _escaped(paragraph))
            continue
        entries = re.sub(r"\n {8,}", " ", paragraph[section.end() :])
        lines = [line.strip() for line in entries.splitlines() if line.strip()]
        parts.append("\n".join([f"**{section['name']}**", "", *(f"- {_escaped(line)}" for line in lines)]))
    return "\n\n".join(parts)


def _component(entry: Any) -> Iterator[str]:
    yield f"### `{entry.name}` {{ #{entry.kind}-{entry.name} }}\n"
    yield _prose(inspect.getdoc(entry.cls) or "") + "\n"
    yield from _parameters(entry)


def _parameters(entry: Any) -> Iterator[str]:
    from invreg.schema.parameters import parameters_model

    model = parameters_model(entry.cls)
    if not model.model_fields:
        yield "No parameters.\n"
        return
    properties = model.model_json_schema()["properties"]
    yield "| parameter | type | default | |"
    yield "|---|---|---|---|"
    for name, info in model.model_fields.items():
        cells = (f"`{name}`", _type(info, properties[name]), _default(info), _meaning(info))
        yield "| " + " | ".join(cell.replace("|", "&#124;").replace("\n", " ") for cell in cells) + " |"
    yield ""


def _prose(documentation: str) -> str:
    """The first paragraph: `invreg describe` and the pages on methods say more."""
    section = _SECTION.search(documentation)
    prose = (documentation[: section.start()] if section else documentation).split("\n\n")[0].strip()
    # References lead into the API pages, where not every module of a plugin is listed.
    return _escaped(re.sub(r"[:,]$", ".", _REFERENCE.sub(r"\1", prose)))


def _escaped(text: str) -> str:
    return _CODE_OR_SPECIAL.sub(lambda match: match[0] if match[0][0] == "`" else f"&#{ord(match[0])};", text)


def _type(info: Any, described: dict[str, Any]) -> str:
    from invreg.plugins import describe
    from invreg.schema.parameters import nested

    mark = nested(info.rebuild_annotation())
    if mark:
        optional = any(option.get("type") == "null" for option in described.get("anyOf", []))
        return f"a {mark.kind}" + (" or nothing" if optional else "")
    text = describe.type_in_words(described)
    return re.sub(r"'(\w+)'", r"`\1`", text).replace(">=", "≥").replace("<=", "≤")


def _default(info: Any) -> str:
    if info.is_required():
        return "**required**"
    default = info.default
    if default is None:
        return "`null`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:.6g}`" if isinstance(default, float) else f"`{default}`"


def _meaning(info: Any) -> str:
    parts = [_escaped(info.description or "")]
    extra = info.json_schema_extra
    if isinstance(extra, dict) and "search" in extra:
        search = extra["search"]
        if "choices" in search:
            parts.append("searched among " + ", ".join(f"`{choice}`" for choice in search["choices"]))
        else:
            scale = ", logarithmic" if search.get("log") else ""
            parts.append(f"searched from {search['low']:g} to {search['high']:g}{scale}")
    return "; ".join(part for part in parts if part)
