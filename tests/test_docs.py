"""The documentation: it builds without a network, shows everything there is, and what it says can be done, is done."""

from __future__ import annotations

import ast
import html
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import processes
import pytest
import yaml

import invreg
import invreg.testing
from invreg import Registry
from invreg.components import hookspecs
from invreg.reporting.citation import bibtex
from invreg.schema.kinds import KINDS
from invreg.specs.plan import make_plan
from invreg.specs.reading import read_spec
from invreg.specs.yaml import parse_yaml
from invreg.studies.plan import plan_study
from invreg_metrics import plugin as metrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "examples" / "invreg-example-plugin"
BSDS = ROOT.parent / "shared" / "data" / "bsds500"
PAGES = sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md"))

# No network: whatever asks for one fails.
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}


@dataclass(frozen=True)
class Block:
    """A fenced block of code of a page."""

    page: Path
    language: str
    title: str | None
    code: str


def _blocks(page: Path) -> Iterator[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        title = re.search(r'title="([^"]+)"', match[2])
        yield Block(page, match[1], title[1] if title else None, match[3])


BLOCKS = [block for page in PAGES for block in _blocks(page)]


def _of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def _text(page: str) -> str:
    """The words of a built page."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


def _words(page: Path) -> list[str]:
    """The words of a built page that are no script."""
    return _text(re.sub(r"<script.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)).split()


def _article(page: Path) -> list[str]:
    """The words of a built page itself: what stands around it is the theme's."""
    text = page.read_text(encoding="utf-8")
    return _text(text[text.index("<article") : text.index("</article>")]).split()


# -- the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    prepare = str(ROOT / "website" / "prepare.py")
    command = [sys.executable, prepare, "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **OFFLINE}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    for page in PAGES:
        built = site / page.with_suffix(".html")
        assert built.is_file(), page
        assert "<h1" in built.read_text(encoding="utf-8"), f"{page} has no heading"


def test_the_search_works_from_a_disk(site: Path) -> None:
    # There, the theme reads the index as a script, and may start no worker; see tests/long/pages.py for its pages.
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    assert (site / "search/search_index.js").read_text(encoding="utf-8") == f"var __index = {index}"
    assert "assets/iframe-worker.js" in (site / "index.html").read_text(encoding="utf-8")


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loading = re.compile(r"""<(?:script|img|iframe|source)[^>]+src=["']?(?:https?:)?//|<link[^>]+href=["']?https?://""")
    importing = re.compile(r"""@import\s+["']?(?:url\()?["']?https?://|url\(["']?https?://""")
    for path in site.rglob("*.html"):
        assert not loading.search(path.read_text(encoding="utf-8")), path
    for path in site.rglob("*.css"):
        assert not importing.search(path.read_text(encoding="utf-8")), path


def test_no_formula_or_marker_is_left_raw(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\$<code>|<!-- (components|commands)|--8&lt;--", text), path


def test_every_component_and_parameter_is_listed(site: Path) -> None:
    page = (site / "spec.html").read_text(encoding="utf-8")
    registry = Registry.installed()
    listed = 0
    for kind in KINDS:
        for name in registry.names(kind):
            if registry.entry(kind, name).plugin.distribution != "invreg":
                continue
            start = page.find(f'id="{kind}-{name}"')
            assert start >= 0, f"{kind} {name} is not in spec.html"
            section = page[start:].split("<h3", 1)[0]
            for parameter in registry.parameters(kind, name).model_fields:
                assert f"<code>{parameter}</code>" in section, f"{kind} {name}: {parameter}"
            listed += 1
    assert listed >= 15


def test_every_public_name_is_in_the_api(site: Path) -> None:
    built = {path.stem: path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html")}
    stub = ast.parse((ROOT / "invreg" / "__init__.pyi").read_text(encoding="utf-8"))
    names = {alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names == set(invreg.__all__) - {"__version__"}
    # Headings are names that can be imported: those of `invreg`, or of the module of errors.
    missing = [
        name
        for name in sorted(names)
        if not any(f'id="{home}.{name}"' in page for page in built.values() for home in ("invreg", "invreg.errors"))
    ]
    assert missing == []


def test_every_command_is_listed(site: Path) -> None:
    from typer.main import get_command

    from invreg.cli import app

    page = _text((site / "quickstart.html").read_text(encoding="utf-8"))
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"invreg {name}" in page
        for parameter in command.params:
            if parameter.name != "help":
                assert (parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name.upper()) in page


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("MRI", "methods/operators.html"),
        ("CT", "methods/tomography.html"),
        ("super-resolution", "methods/operators.html"),
        ("cite", "index.html"),
    ],
)
def test_the_search_finds_the_words_that_people_use(site: Path, word: str, page: str) -> None:
    entries = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    texts = " ".join(_text(entry["text"]) for entry in entries if entry["location"].split("#")[0] == page)
    assert re.search(rf"\b{word}\b", texts, re.IGNORECASE)


def test_a_site_on_a_disk_has_what_its_search_needs(site: Path) -> None:
    assert (site / "search" / "search_index.js").read_text(encoding="utf-8").startswith("var __index = ")
    for page in (site / "index.html", site / "methods" / "tv.html"):
        text = page.read_text(encoding="utf-8")
        (script,) = re.findall(r'<script src="([^"]*iframe-worker.js)"', text)
        assert (page.parent / script).is_file()


@pytest.mark.slow
def test_properdocs_builds_the_same_pages(site: Path, tmp_path: Path) -> None:
    pytest.importorskip("properdocs", reason="ProperDocs is not installed")
    command = [sys.executable, "-m", "properdocs", "build", "--strict", "-f", "mkdocs.yml", "-d", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "SITE_URL": "https://example.org/1.0/"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in site.rglob("*.html"):
        other = tmp_path / page.relative_to(site)
        assert _words(other) == _words(page)
    # With an address, links of the page for what is not found hold below it, and the sitemap has all pages.
    assert 'href="/1.0/assets/' in (tmp_path / "404.html").read_text(encoding="utf-8")
    assert "https://example.org/1.0/quickstart.html" in (tmp_path / "sitemap.xml").read_text(encoding="utf-8")


def test_zensical_builds_the_same_pages(site: Path, tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="Zensical is not installed")
    # It writes beside its configuration, nowhere else.
    for name in ("mkdocs.yml", "build/pages"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tmp_path / name)
    for name in ("invreg", "plugins"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in PAGES:
        built, other = (folder / page.with_suffix(".html") for folder in (site, tmp_path / "site"))
        assert _article(other) == _article(built), page
    assert (tmp_path / "site" / "llms.txt").is_file()
    # From a disk, its search reads this script.
    assert (tmp_path / "site" / "search.js").read_text(encoding="utf-8").startswith("var __index = ")


# -- what pages say


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == invreg.__version__
    # What reports say is what the first page says.
    assert bibtex(invreg.__version__) in (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert f"version = {{{invreg.__version__}}}" in (DOCS / "index.md").read_text(encoding="utf-8")


def test_the_page_for_language_models_links_to_pages_that_exist() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (DOCS / "llms.txt").read_text(encoding="utf-8"))
    assert len(links) > 10
    assert [link for link in links if Path(link).with_suffix(".md") not in PAGES] == []


def test_the_readme_has_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    run, test = re.findall(r"^```console\n(.*?)\n```$", readme, re.MULTILINE | re.DOTALL)
    assert run == "pip install -c constraints.txt . && invreg run"
    assert test == 'pip install -c constraints.txt -e ".[test]" && pytest'
    assert test in (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace("install -q", "install")
    links = re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", readme)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_hooks_are_documented_with_their_exact_signatures() -> None:
    written = {
        re.sub(r": \.\.\.$", "", block.code.strip())
        for block in _of("python")
        if block.page == Path("plugins.md") and block.code.startswith("def invreg_")
    }
    hooks = [function for name, function in vars(hookspecs).items() if name.startswith("invreg_")]
    assert written == {f"def {hook.__name__}{inspect.signature(hook)}".replace("'", "") for hook in hooks}


@pytest.mark.parametrize("block", _of("python"), ids=lambda block: f"{block.page}: {block.code.splitlines()[0][:40]}")
def test_python_blocks_are_python(block: Block) -> None:
    assert ast.parse(block.code, str(block.page)).body, "an example without a statement"


METHODS = sorted({block.page for block in _of("python") if block.page.parts[0] == "methods"})

#: Stands in for the spec that the quickstart prints: the same labels, hardly any work.
MY_SPEC = """
data: {name: photos, image_size: 48, train_size: 48}
operator: gaussian_blur
noise: {name: gaussian, std: 0.01}
methods:
  tv: {name: tv, tolerance: 0.05}
  iresnet:
    reconstructor: {name: iresnet, subnetworks: 2, channels: 2, hidden: 4}
    trainer: {name: reconstruction, steps: 1, batch_size: 2}
analyses: [{name: quality, resamples: 1000}]
"""


@pytest.mark.parametrize("page", METHODS, ids=str)
def test_python_on_method_pages_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    names: dict[str, object] = {}
    for block in _of("python"):
        if block.page == page:
            exec(compile(block.code, str(page), "exec"), names)
    results = {name: value for name, value in names.items() if isinstance(value, torch.Tensor)}
    assert results
    assert all(value.isfinite().all() for value in results.values()), "an example computes what is not a number"


def test_python_of_the_quickstart_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(MY_SPEC, encoding="utf-8")
    names: dict[str, object] = {"x": torch.rand(2, 1, 96, 96)}
    for block in _of("python"):
        if block.page == Path("quickstart.md"):
            ran = next(iter(Path("runs").glob("*")), Path())
            code = re.sub(r"runs/gaussian-deblurring-\S+?(?=\")", ran.as_posix(), block.code)
            exec(compile(code, "quickstart.md", "exec"), names)
    assert tuple(names["x_hat"].shape) == (2, 1, 96, 96)  # type: ignore[attr-defined]


#: What the page about Python has in these places takes longer.
BRIEF = {
    '"photos", trainer={': '{"name": "phantoms", "image_size": 24, "train": 4, "val": 2, "test": 2}, '
    'trainer={"batch_size": 2, ',
    "crop=48": "crop=16",
    "[16, 32]": "[4, 8]",
    '"subnetworks": 10, "channels": 8, "hidden": 16, "kernel_size": 5, "lipschitz": 0.98': '"subnetworks": 2, '
    '"channels": 2, "hidden": 2, "kernel_size": 3, "lipschitz": 0.7',
}


def test_python_of_the_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in _of("python"):
        if block.page == Path("python.md") and block.title is None:
            code = re.sub(r'"steps": \d+', '"steps": 1, "validations": 1', block.code)
            for whole, brief in BRIEF.items():
                code = code.replace(whole, brief)
            exec(compile(code, "python.md", "exec"), names)
    assert names["found"].image.shape == (4, 1, 64, 80)  # type: ignore[attr-defined]
    assert isinstance(names["model"], invreg.Model)
    assert isinstance(names["result"], invreg.Result)
    assert Path("quality.png").is_file()
    assert Path("training/photographs/checkpoint.safetensors").is_file()


def test_the_plugin_of_the_python_page_works_in_a_spec(tmp_path: Path) -> None:
    registry = Registry.installed({"own": _example("own_network.py")})
    brief = {"name": "reconstruction", "steps": 1, "batch_size": 2}
    spec = {
        "data": {"name": "phantoms", "image_size": 24, "train": 4, "val": 2, "test": 2},
        "operator": "gaussian_blur",
        "methods": {"mine": {"reconstructor": {"name": "own_network", "width": 3}, "trainer": brief}},
    }
    result = invreg.run(spec, tmp_path, "cpu", progress=False, registry=registry)
    assert isinstance(result, invreg.Result)
    assert sum(parameter.numel() for parameter in result.methods["mine"].reconstructor.parameters()) == 30 + 28


def _example(title: str) -> ModuleType:
    """The plugin that a page shows in a block with this title."""
    (block,) = [block for block in _of("python") if block.title == title]
    module = ModuleType(Path(title).stem)
    # Resolving annotations needs the module where they were written.
    sys.modules[module.__name__] = module
    exec(compile(block.code, title, "exec"), vars(module))
    return module


def test_the_operators_of_the_plugin_page_pass_their_checks() -> None:
    gain, bins = _example("gain.py").Gain, _example("bins.py").SaturatingBins
    invreg.testing.check_operator(gain, (1, 6, 5))
    invreg.testing.check_operator(bins, (1, 6, 4))


def test_the_nonlinear_operator_of_the_plugin_page_works_in_a_spec(tmp_path: Path) -> None:
    class Own:
        @staticmethod
        @invreg.hookimpl
        def invreg_components() -> dict[str, type]:
            return {"saturating_bins": _example("bins.py").SaturatingBins}

    tv = {"name": "tv", "weight": 0.003, "tolerance": 0.1}
    unet = {"reconstructor": {"name": "unet", "channels": [2, 2], "start": tv}}
    spec = {
        "data": {"name": "phantoms", "image_size": 12, "train": 2, "val": 1, "test": 2},
        "operator": "saturating_bins",
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {"tv": tv, "unet": unet | {"trainer": {"name": "reconstruction", "steps": 1, "batch_size": 2}}},
    }
    registry = Registry.installed({"own": Own})
    result = invreg.run(spec, tmp_path, "cpu", progress=False, registry=registry)
    assert isinstance(result, invreg.Result)
    assert all(method.reconstructions.shape == (2, 1, 12, 12) for method in result.methods.values())


def test_the_examples_of_analyses_run(tmp_path: Path) -> None:
    from invreg_baselines import plugin as baselines
    from invreg_datasets import plugin as datasets
    from invreg_operators import plugin as operators

    plugins = {"metrics": metrics, "datasets": datasets, "operators": operators, "baselines": baselines}
    examples = {name: _example(f"{name}.py") for name in ("residuals", "over_values")}
    spec = {
        "data": {"name": "photos", "image_size": 48, "train_size": 48},
        "operator": "gaussian_blur",
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {"data": "observation", "back": "adjoint"},
        "analyses": ["data_residual"],
        "matrix": {"noise.std": [0.01, 0.05]},
        "study_analyses": [{"name": "over_values", "path": "noise.std"}],
    }
    study = invreg.run(spec, tmp_path, "cpu", progress=False, registry=Registry({**plugins, **examples}))
    assert isinstance(study, invreg.StudyResult)
    assert len(study.findings["over_values"].tables["means"]) == 4
    assert (study.folder / "analyses" / "over_values" / "figures" / "means.svg").is_file()
    for cell in study.cells:
        assert cell.failure is None
        assert len(cell.result.findings["data_residual"].tables["residuals"]) == 2  # type: ignore[union-attr]


def test_the_executor_of_the_cluster_page_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    invreg.testing.check_executor(_example("by_command.py").ByCommand(["env"]))


@pytest.mark.parametrize(
    "block", [b for b in _of("yaml") if "\nmethods:" in b.code], ids=lambda b: f"{b.page}: {b.title}"
)
def test_whole_specs_are_valid(block: Block, example: Path, request: pytest.FixtureRequest) -> None:
    if "name: deepinv" in block.code:
        request.getfixturevalue("dinv")
    content = parse_yaml(block.code, str(block.page))
    registry = _with_example(example) if block.title == "motion.yaml" else Registry.installed()
    if "matrix" in content:
        assert len(plan_study(content, registry).cells) > 1
    else:
        assert make_plan(read_spec(content), registry).methods


def test_commands_that_pages_give_exist() -> None:
    from typer.main import get_command

    from invreg.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    found = 0
    for block in _of("bash"):
        for line in block.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "invreg" not in words or words[0] == "pip":
                continue
            name, *rest = words[words.index("invreg") + 1 :]
            options = {option for parameter in commands[name].params for option in parameter.opts}
            assert all(word.split("=")[0] in options for word in rest if word.startswith("--")), line
            found += 1
    assert found > 5


def test_the_quickstart_page_knows_the_quickstart() -> None:
    from invreg.specs.bundled import quickstart_path

    spec = read_spec(quickstart_path())
    page = " ".join((DOCS / "quickstart.md").read_text(encoding="utf-8").split())
    trainers = {label: method.trainer.parameters for label, method in spec.methods.items() if method.trainer}
    assert f"`tv` tries {trainers['tv']['trials']} weights" in page
    assert f"`iresnet` is trained for {trainers['iresnet']['steps']} steps" in page
    for label in spec.methods:
        assert f"`{label}`" in page


@pytest.mark.skipif(not BSDS.is_dir(), reason="the BSDS500 photographs are not there")
def test_the_reference_numbers_of_tv_are_met() -> None:
    registry = Registry.installed()
    data = {"name": "image_folder", "path": str(BSDS), "downsample": 2, "val": 16, "test": 16}
    x = registry.build("dataset", data).splits().test.images
    page = (DOCS / "methods" / "tv.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `gaussian_blur` \| (.+) \|$", page, re.MULTILINE)
    assert len(rows) == 3
    for row in rows:
        std, weight, data_psnr, data_ssim, psnr, ssim, _ = map(float, row.split("|"))
        noise = registry.build("noise", {"name": "gaussian", "std": std})
        problem = invreg.Problem(registry.build("operator", "gaussian_blur"), noise)
        tv = registry.build("reconstructor", {"name": "tv", "weight": weight})
        tv.setup(problem, x.shape[1:])
        z = problem.measure(x, seed=0)
        found = [float(metric()(images, x).mean()) for images in (z, tv(z)) for metric in (metrics.PSNR, metrics.SSIM)]
        assert found == pytest.approx([data_psnr, data_ssim, psnr, ssim], abs=0.02)


# -- the tutorial, carried out


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's package as the page has it, in the form in which pip would install it."""
    folder = tmp_path_factory.mktemp("example")
    for block in BLOCKS:
        if block.page == Path("plugins.md") and block.title and (EXAMPLE / block.title).is_file():
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
    (folder / "src" / "invreg_example" / "__init__.py").touch()
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = folder / "src" / f"invreg_example-{project['version']}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    points = "\n".join(f"{name} = {value}" for name, value in project["entry-points"]["invreg"].items())
    (installed / "entry_points.txt").write_text(f"[invreg]\n{points}\n", encoding="utf-8")
    return folder


def _with_example(folder: Path) -> Registry:
    sys.path.insert(0, str(folder / "src"))
    try:
        return Registry.installed()
    finally:
        sys.path.remove(str(folder / "src"))


def _call(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return processes.call(*command, cwd=folder, env=env)


def _listed(folder: Path) -> str:
    """What `invreg plugins` says of the tutorial's package; how long its import took depends on the machine."""
    listed = _call(folder, "invreg", "plugins").stdout
    lines = listed[listed.index("example (") :].splitlines()
    return "\n".join(line for line in lines if "SLOW" not in line).replace(f"{folder}{os.sep}", "")


def _page_shows(text: str) -> bool:
    return text in (DOCS / "plugins.md").read_text(encoding="utf-8")


def test_the_tutorial_shows_the_examples_files_and_all_of_them() -> None:
    shown = {block.title: block.code for block in BLOCKS if block.page == Path("plugins.md") and block.title}
    for path in sorted(EXAMPLE.rglob("*")):
        name = path.relative_to(EXAMPLE).as_posix()
        if path.suffix in (".py", ".toml", ".yaml") and path.name != "__init__.py" and "runs" not in path.parts:
            assert shown.get(name) == path.read_text(encoding="utf-8"), name


def test_the_tutorials_package_is_found_as_the_page_says(example: Path) -> None:
    shown = _listed(example)
    assert "moving_average" in shown
    assert _page_shows(shown), shown


def test_a_broken_plugin_shows_as_the_page_says(example: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(example, broken, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    operators = broken / "src" / "invreg_example" / "operators.py"
    code = operators.read_text(encoding="utf-8")
    assert "length: Length = 7" in code
    operators.write_text(code.replace("length: Length = 7", "length=7"), encoding="utf-8")
    shown = _listed(broken)
    assert "SET ASIDE" in shown
    assert _page_shows(shown), shown
    failed = _call(broken, "invreg", "validate", "motion.yaml")
    assert failed.returncode == 2
    assert "has no annotation" in failed.stderr


def test_charts_are_those_of_their_tables() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "charts.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
