"""Nothing pickles, evaluates or starts a shell: what comes from somebody else is data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for room in ("invreg", "plugins") for path in sorted((ROOT / room).rglob("*.py"))]

#: Modules by which pickles, or code in other clothes, come in.
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
#: Functions of modules, by their last name; what is allowed is decided by the arguments.
FORBIDDEN_ATTRIBUTES = {
    "os": {"system", "popen"},
    "yaml": {"load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all", "UnsafeLoader", "FullLoader"},
    "pd": {"read_pickle"},
    "torch": {"save"},
    "np": {"fromregex", "DataSource"},
}

#: Where a pickle is no door: what the processes of one command, which run one program, say to each other.
BETWEEN_PROCESSES = {"invreg/computing/processes.py": "imports pickle"}


def problems(source: str) -> Iterator[str]:
    """What a file does that nothing here may do."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            names = []
        for name in names:
            if FORBIDDEN_MODULES & set(name.split(".")):
                yield f"{line}: imports {name}"
        if isinstance(node, ast.Attribute):
            module = ast.unparse(node.value)
            if node.attr in FORBIDDEN_ATTRIBUTES.get(module, ()):
                yield f"{line}: {module}.{node.attr}"
        if isinstance(node, ast.Call):
            yield from (f"{line}: {problem}" for problem in _call(node))


def _call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in FORBIDDEN_CALLS:
        yield f"{name}()"
    if name == "torch.load" and arguments.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if name in ("np.load", "numpy.load") and arguments.get("allow_pickle") != "False":
        yield "np.load without allow_pickle=False"
    if arguments.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if arguments.get("shell", "False") != "False":
        yield "a shell"
    if name == "yaml.load" and not any("Loader" in ast.unparse(part) for part in [*node.args[1:], *node.keywords]):
        yield "yaml.load without a loader of its own"


@pytest.mark.slow
def test_nothing_pickles_evaluates_or_starts_a_shell() -> None:
    assert len(FILES) > 200
    found = {str(path.relative_to(ROOT)): list(problems(path.read_text(encoding="utf-8"))) for path in FILES}
    found = {name: [problem.partition(": ")[2] for problem in one] for name, one in found.items() if one}
    assert found == {name: [problem] for name, problem in BETWEEN_PROCESSES.items()}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "from multiprocessing import pickle",
        "import joblib.memory",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.savez(path, x, allow_pickle=flag)",
        "pd.read_pickle(path)",
        "yaml.unsafe_load(text)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.FullLoader)",
        "eval(text)",
        "exec(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "if True:\n    import shelve",
    ],
)
def test_each_of_these_would_be_found(source: str) -> None:
    assert list(problems(source))


def test_the_loader_of_yaml_constructs_nothing_but_plain_data() -> None:
    import yaml

    from invreg.errors import SpecError
    from invreg.specs import yaml as module

    loaders = [one for one in vars(module).values() if isinstance(one, type) and hasattr(one, "get_single_data")]
    assert loaders
    for loader in loaders:
        assert issubclass(loader, yaml.SafeLoader)
        assert not [tag for tag in (*loader.yaml_constructors, *loader.yaml_multi_constructors) if "python" in str(tag)]
    from invreg.specs.reading import read_content

    for tag in ("!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!python/module:os"):
        with pytest.raises(SpecError):
            read_content({"title": "x"}, [f"title={tag}"])


def test_the_rules_of_bandit_are_on() -> None:
    import tomllib

    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not [rule for rule in lint["ignore"] if rule.startswith("S")]
    relaxed = lint["per-file-ignores"]
    assert not [pattern for pattern in relaxed if pattern.startswith(("invreg", "plugins", "*"))]
