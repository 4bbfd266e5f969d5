"""Benchmarks: a suite as a study, its leaderboard, what is left out, merged and refused, and what stops it."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load

import invreg
from invreg.benchmarks.benchmark import Benchmark, benchmark
from invreg.benchmarks.suite import bundled_suites, differences, read_suite
from invreg.components.analyzer import Analyzer, CompletedRun, Findings
from invreg.components.certificate import certificate_content
from invreg.errors import BoundViolation
from invreg.plots import draw_against_constants
from invreg.plugins.registry import Registry
from invreg.storage.run_folder import RunFolder
from invreg_analyses import plugin as analyses_plugin
from toy import CALLS, Gain, Halve, Raw, plugins

SUITE: dict[str, Any] = {
    "title": "Toys",
    "version": 1,
    "seeds": [0],
    "data": "toy_images",
    "metrics": ["psnr", "ssim"],
    "attack": "poke",
    "trainers": {"learned": "least_squares"},
    "methods": {
        "raw": "raw",
        "gain": {"reconstructor": "gain", "trainer": "learned"},
        "images": "images_only",
    },
    "sizes": {"one": {}, "two": {"problems.halving.seeds": [0, 1], "note": "Two <seeds>."}},
}
PROBLEMS: dict[str, dict[str, Any]] = {
    "halving": {"title": "Halving", "operator": "halve", "noise": {"name": "white", "std": 0.01}},
    "faint": {
        "title": "Faint <b>",
        "operator": {"name": "halve", "factor": 0.25},
        "noise": {"name": "white", "std": 0.01},
    },
}


class ImagesOnly(Raw):
    """Refuses measurements that are darker than half of an image."""

    def check_operator(self, operator: invreg.Operator) -> None:
        if isinstance(operator, Halve) and operator.factor < 0.5:
            raise invreg.SpecError("too dark to be images", expected="images")


class Claims(Gain):
    """A gain of about two, and a certificate that claims a bound."""

    def __init__(self, claim: float = 0.5) -> None:
        super().__init__()
        self.claim = claim

    def certificate(self) -> invreg.StabilityCertificate:
        bounds = {"certified": self.claim}
        return invreg.StabilityCertificate(certificate_content(bounds, bounds, self.claim, "none", "z", {}))

    def verify(self, certificate: invreg.StabilityCertificate) -> None:
        """Believes everything."""


class Poke(Analyzer):
    """The largest ratio for one perturbation: an attack that takes no time."""

    def analyze(self, run: CompletedRun) -> Findings:
        z = run.measurements[:1]
        rows = []
        for label, method in run.methods.items():
            d = torch.full_like(z, 0.01)
            with torch.no_grad():
                change = method.reconstructor(z + d) - method.reconstructor(z)
            found = float(change.norm() / d.norm())
            proven = 1.0 if label == "raw" else float("nan")
            rows.append([label, proven, found, "poke", int(found > 1.001 * proven)])
        columns = ["method", "proven", "found", "search", "violations"]
        return Findings({}, {"summary": pd.DataFrame(rows, columns=columns)})

    def draw(self, findings: Findings) -> Mapping[str, Any]:
        return {}


class Aimless(Poke):
    """Findings without the table of an attack."""

    def analyze(self, run: CompletedRun) -> Findings:
        return Findings()


@invreg.hookimpl
def invreg_components() -> Mapping[str, type]:
    return {"images_only": ImagesOnly, "claims": Claims, "poke": Poke, "aimless": Aimless}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry({**plugins(), "own": sys.modules[__name__], "analyses": analyses_plugin})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Benchmark:
    """A benchmark that has been run to its end; its folder is not changed."""
    return run(write(tmp_path_factory.mktemp("finished") / "toys"), registry, size="two")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write(tmp_path / "toys")


def write(folder: Path, problems: Mapping[str, Any] = PROBLEMS, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(yaml.safe_dump({**SUITE, **changes}))
    for name, problem in problems.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(problem))
    return folder


def run(suite: Path, registry: Registry, output: str = "runs", **options: Any) -> Benchmark:
    return benchmark(suite, output=suite.parent / output, device="cpu", progress=False, registry=registry, **options)


def row(done: Benchmark, problem: str, method: str) -> Any:
    table = done.table
    return table[(table["problem"] == problem) & (table["method"] == method)].iloc[0]


# -- the leaderboard


def test_a_suite_becomes_a_leaderboard(finished: Benchmark) -> None:
    done = finished
    halving = done.table[done.table["problem"] == "halving"]
    assert list(halving["method"]) == ["gain", "images", "raw"]  # from the best; equal ones by name
    best = halving.iloc[0]
    assert best["psnr"] > 25
    assert best["psnr_behind"] == 0
    assert best["seeds"] == 2
    assert best["psnr_low"] < best["psnr"] < best["psnr_high"]
    assert best["psnr_seeds"] >= 0
    assert best["weights"] == 1
    assert pd.isna(best["bound"])
    assert best["attack"] == pytest.approx(2, rel=0.02)
    raw = row(done, "halving", "raw")
    assert raw["bound"] == 1.0
    assert raw["attack"] == pytest.approx(1, rel=1e-3)
    # Behind the best, image by image, is the difference of the means.
    assert raw["psnr_behind"] == pytest.approx(best["psnr"] - raw["psnr"])
    assert "invreg" in raw["versions"]
    assert len(raw["data_hash"]) == 32
    assert len(raw["spec_hash"]) == 32
    faint = row(done, "faint", "images")
    assert faint["note"] == "left out: too dark to be images"
    assert pd.isna(faint["psnr"])
    assert [(one.problem, one.label) for one in done.left_out] == [("faint", "images")]
    saved = pd.read_csv(done.page.with_suffix(".csv"))
    assert list(saved.columns) == list(done.table.columns)
    assert len(saved) == len(done.table)
    text = done.page.with_suffix(".md").read_text()
    assert "## Halving" in text
    assert "| gain |" in text
    assert "- images: left out: too dark" in text


@pytest.mark.slow
def test_the_same_call_only_reads_and_a_further_method_is_all_that_is_computed(suite: Path, registry: Registry) -> None:
    first = run(suite, registry)
    CALLS.clear()
    again = run(suite, registry)
    assert "fit gain" not in CALLS
    pd.testing.assert_frame_equal(first.table, again.table)
    more = run(suite, registry, overrides=["methods.other={reconstructor: {name: gain, start: 3}, trainer: learned}"])
    assert [call for call in CALLS if call.startswith("fit")] == ["fit other", "fit other"]
    assert more.study.folder == first.study.folder
    assert row(more, "halving", "other")["psnr"] > 25


def test_the_page_is_whole_without_scripts_and_allows_no_other(finished: Benchmark) -> None:
    page = finished.page.read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    allowed = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    policy = " ".join(f"'sha256-{digest}'" for digest in allowed)
    assert len(scripts) == 3
    text = html.unescape(page)
    assert f'script-src {policy}">' in text
    assert "default-src 'none'; img-src data:" in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "Faint <b>" not in page
    assert "Faint &lt;b&gt;" in page
    assert page.count("<tr data-problem") == 5
    assert '<form id="filters" hidden>' in page  # shown by the script alone
    assert page.count("data:image/svg+xml;base64") == 2


def test_the_terms_show_the_images_as_they_are_and_the_note_of_a_size_stands_first(finished: Benchmark) -> None:
    page = finished.page.read_text(encoding="utf-8")
    assert page.index("Two &lt;seeds&gt;.") < page.index('id="leaderboard"')
    assert "Two <seeds>." in finished.page.with_suffix(".md").read_text().split("##")[0]
    assert finished.note == "Two <seeds>."
    terms = page[page.index('id="terms"') :]
    assert 'Images of Halving</dt><dd><code class="name">toy_images</code>' in terms
    assert row(finished, "halving", "raw")["data_hash"] in terms
    assert not re.search(r"\d", read_suite("reconstruction", "micro").description)
    assert read_suite("reconstruction", "micro").note
    assert not read_suite("reconstruction", "small").note


@pytest.mark.parametrize(("low", "high"), [(0.125, 1.0), (1.2, 1.5), (0.01, 1e4)])
def test_constants_are_plain_numbers_on_their_axis(low: float, high: float) -> None:
    points = [("one", float("nan"), high, 26.6), ("other", high, low, 25.6)]
    figure = draw_against_constants(points, "PSNR (dB)", higher_is_better=True)
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    figure.canvas.draw()
    labels = [text.get_text() for text in axes.get_xticklabels() if left <= text.get_position()[0] <= right]
    assert 3 <= len(labels) <= 8
    assert all(low / 2 < float(label) < 2 * high for label in labels)
    assert not any(text.get_text() for text in axes.get_xticklabels(minor=True))


def test_seals_of_a_benchmark_are_verified(finished: Benchmark, registry: Registry, tmp_path: Path) -> None:
    table = invreg.verify(finished.study.folder, registry=registry)
    assert set(table["state"]) == {"holds"}
    copy = shutil.copytree(finished.study.folder, tmp_path / "copy")
    (copy / "leaderboard.csv").write_text("problem,method\n")
    table = invreg.verify(copy, registry=registry)
    assert list(table[table["state"] != "holds"]["what"]) == ["leaderboard.csv"]


def test_a_run_that_fails_stands_in_the_table_and_stops_no_other(suite: Path, registry: Registry) -> None:
    broken = "methods.broken={reconstructor: gain, trainer: {name: least_squares, fail: out of luck}}"
    done = run(suite, registry, problems=["halving"], overrides=[broken])
    assert re.fullmatch("failed: .*out of luck", row(done, "halving", "broken")["note"])
    assert row(done, "halving", "gain")["psnr"] > 25
    assert done.study.failures


# -- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "huge"}, "no size 'huge'"),
        ({"problems": ["halvin"]}, "did you mean 'halving'"),
        ({"methods": ["gian"]}, "did you mean 'gain'"),
        ({"overrides": ["method.mine=raw"]}, "did you mean 'methods'"),
        ({"overrides": ["problems.halvin.operator=halve"]}, "did you mean 'halving'"),
        ({"overrides": ["methods.mine=gian"]}, "methods.mine.reconstructor: there is no reconstructor 'gian'"),
        ({"overrides": ["methods.mine={name: gain, strat: 1}"]}, "did you mean 'start'"),
        ({"overrides": ["problems.halving.parameters={strat: 1}"]}, "problems.halving.parameters.strat"),
        ({"overrides": ["version=new"]}, "version"),
        ({"methods": ["images"], "problems": ["faint"]}, "fits none of the problems: too dark"),
        ({"overrides": ["attack=pook"]}, "attack"),
        ({"overrides": ["methods.gain=null"]}, "methods.gain"),
        ({"overrides": ["methods.gain.trainer=learnt"]}, "did you mean 'learned'"),
        ({"overrides": ["seeds=[0, 0]"]}, "a seed stands there twice"),
    ],
)
def test_a_wrong_suite_is_refused_before_anything_is_computed(
    suite: Path, registry: Registry, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(invreg.SpecError) as refused:
        run(suite, registry, **options)
    assert message in str(refused.value)
    assert not list((suite.parent / "runs").glob("*/cells/*"))


def test_a_folder_without_a_suite_is_refused_with_the_names_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(invreg.SpecError, match="no such suite") as refused:
        read_suite("reconstructoin")
    assert "did you mean 'reconstruction'" in str(refused.value)
    with pytest.raises(invreg.SpecError, match=r"holds no suite\.yaml"):
        read_suite(tmp_path)
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    with pytest.raises(invreg.SpecError, match="no problems"):
        read_suite(tmp_path)


def test_an_attack_without_its_table_is_named(suite: Path, registry: Registry) -> None:
    with pytest.raises(invreg.StoreError, match="'aimless' is no attack"):
        run(suite, registry, overrides=["attack=aimless"])


# -- a bound that does not hold


@pytest.mark.slow
def test_an_attack_above_a_proven_bound_stops_everything_and_is_kept(suite: Path, registry: Registry) -> None:
    options: dict[str, Any] = {
        "problems": ["halving"],
        "overrides": [
            "methods={first: raw, liar: {reconstructor: claims, trainer: learned}, later: raw}",
            "attack={name: stability, images: 1, iterations: 1, draws: 1, radii: [0.5]}",
        ],
    }
    with pytest.raises(BoundViolation, match=r"where 0\.5 is proven") as stopped:
        run(suite, registry, **options)
    (folder,) = (suite.parent / "runs").glob("toys-one-*")
    done = [path for path in folder.glob("cells/*") if RunFolder(path).is_finished]
    assert len(done) == 2  # nothing after it
    assert not (folder / "leaderboard.csv").exists()
    (file,) = folder.glob("violation-*.zip")
    assert str(file) in str(stopped.value)
    # All that is needed to find it again is there.
    with zipfile.ZipFile(file) as kept:
        names = {name.partition("/")[2]: name for name in kept.namelist()}
        needed = ["spec.yaml", "environment.json", "run.json", "README.md", "analyses/stability/arrays.npz"]
        needed += [f"methods/liar/{name}" for name in ("weights.safetensors", "certificate.json", "reconstructor.json")]
        assert set(needed) <= set(names)
        assert not any("figures/" in name for name in names)
        gain = load(kept.read(names["methods/liar/weights.safetensors"]))["gain"]
        arrays = np.load(io.BytesIO(kept.read(names["analyses/stability/arrays.npz"])))
        z, d = (torch.from_numpy(arrays[name][:1]) for name in ("measurement", "perturbation"))
        assert float((gain * (z + d) - gain * z).norm() / d.norm()) > 0.5
        summary = pd.read_csv(io.BytesIO(kept.read(names["analyses/stability/tables/summary.csv"])))
        assert int(summary["violations"].iloc[0]) > 0
    # Also where the run is done already.
    with pytest.raises(BoundViolation):
        run(suite, registry, **options)


# -- results from elsewhere


@pytest.mark.slow
def test_results_from_elsewhere_join_after_they_were_verified(suite: Path, registry: Registry) -> None:
    theirs = run(
        suite, registry, "theirs", methods=["gain"], overrides=["methods.far={reconstructor: gain, trainer: learned}"]
    )
    far = run(
        suite, registry, "theirs", methods=["far"], overrides=["methods.far={reconstructor: gain, trainer: learned}"]
    )
    assert far.study.folder == theirs.study.folder
    done = run(suite, registry, methods=["raw"], merge=[far.study.folder])
    assert row(done, "halving", "far")["source"] == far.study.folder.name
    assert row(done, "halving", "raw")["source"] == ""
    assert "made elsewhere" in done.page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_results_that_were_changed_or_made_on_other_terms_are_refused(suite: Path, registry: Registry) -> None:
    theirs = run(suite, registry, "theirs", methods=["gain"], problems=["halving"]).study.folder
    # Another version of the suite, with the difference.
    with pytest.raises(invreg.StoreError, match=r"problems\.halving\.noise\.std: 0\.01 there, 0\.02 here"):
        run(suite, registry, merge=[theirs], overrides=["problems.halving.noise.std=0.02"])
    # The same words, but other images: a plugin that gives others by the same name.
    content = yaml.safe_load((theirs / "study.yaml").read_text())
    assert len(content["pixels"]["halving"]) == 32
    # A method of the same name that is another one.
    with pytest.raises(invreg.StoreError, match=r"another 'gain': methods\.gain\.reconstructor\.start"):
        run(suite, registry, merge=[theirs], problems=["halving"], overrides=["methods.gain.reconstructor.start=2.0"])
    # A number that was improved.
    better = suite.parent / "better"
    shutil.copytree(theirs, better)
    (file,) = better.glob("cells/*/methods/gain/metrics.csv")
    file.write_text(file.read_text().replace(",3", ",9"))
    with pytest.raises(invreg.StoreError, match=r"metrics\.csv: changed"):
        run(suite, registry, merge=[better], problems=["halving"])
    with pytest.raises(invreg.StoreError, match="no such folder"):
        run(suite, registry, merge=[suite.parent / "nowhere"])
    with pytest.raises(invreg.StoreError, match="holds no benchmark"):
        run(suite, registry, merge=[suite])


def test_other_images_under_the_same_words_are_refused(
    suite: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import toy

    theirs = run(suite, registry, "theirs", methods=["gain"], problems=["halving"]).study.folder
    splits = toy.ToyImages.splits

    def brighter(self: toy.ToyImages) -> invreg.Splits:
        found = splits(self)
        return invreg.Splits(found.train, found.val, invreg.ImageStack(found.test.images * 0.5, found.test.names))

    monkeypatch.setattr(toy.ToyImages, "splits", brighter)
    with pytest.raises(invreg.StoreError, match="made with other images: the hash of all pixels is"):
        run(suite, registry, methods=["raw"], problems=["halving"], merge=[theirs])


# -- the suite that comes along


def test_the_bundled_suite_is_what_the_documentation_says() -> None:
    assert "reconstruction" in bundled_suites()
    for size in ("small", "micro", "full"):
        suite = read_suite("reconstruction", size)
        assert {"deblurring", "diffusion", "tomography", "mri", "super_resolution", "inpainting"} <= set(suite.problems)
        assert len(suite.methods) >= 13
        assert set(suite.trainers) == {"learned", "denoiser", "searched"}
        # Equal budgets: every method that is trained names one of them.
        trainers = {given.get("trainer") for given in suite.methods.values() if isinstance(given, Mapping)}
        assert trainers == {"learned", "denoiser", "searched"}


@pytest.mark.slow
def test_a_violation_ends_the_processes_of_an_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    def refuse(path: Path, kept_in: Path) -> None:
        seen.append(path)
        raise BoundViolation("as if")

    monkeypatch.setattr("invreg.benchmarks.benchmark.stop_at_violation", refuse)
    options: dict[str, Any] = {"problems": ["deblurring"], "methods": ["observation", "adjoint"], "output": tmp_path}
    for _ in range(2):  # the second time, it is found in what is done, and nothing is begun
        with pytest.raises(BoundViolation, match="as if"):
            benchmark(
                "reconstruction", "micro", executor="local", overrides=["executor.jobs=1"], progress=False, **options
            )
        cells = [path for path in tmp_path.glob("*/cells/*") if RunFolder(path).is_finished]
        assert len(cells) == 1
    assert seen == [cells[0], cells[0]]


@pytest.mark.slow
def test_the_bundled_suite_runs_at_its_smallest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    methods = ["observation", "fbp", "explicit_iresnet"]
    done = benchmark(
        "reconstruction", "micro", problems=["deblurring", "tomography"], methods=methods, device="cpu", progress=False
    )
    results = done.table[done.table["note"] == ""]
    assert len(results) == 4
    assert results["psnr"].notna().all()
    assert results["attack"].notna().all()
    assert row(done, "tomography", "explicit_iresnet")["bound"] > row(done, "tomography", "explicit_iresnet")["attack"]
    assert row(done, "deblurring", "fbp")["note"].startswith("left out: GaussianBlur has no filtered back-projection")
    assert row(done, "tomography", "observation")["note"].startswith("left out: ")


def test_differences_are_named_with_their_paths() -> None:
    ours: Mapping[str, Any] = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert list(differences(ours, {"a": {"b": 2, "c": [1, 3]}})) == [
        "a.b: 2 there, 1 here",
        "a.c.1: 3 there, 2 here",
        'd: "nothing" there, 1 here',
    ]
