"""Remakes the figures and pictures of the documentation, all or some.

    python benchmarks/pictures.py                     lists them: who makes them, from which numbers, in what time
    python benchmarks/pictures.py operators charts    makes those of these makers
    python benchmarks/pictures.py operators/radon     makes those with these words in their path below docs/
    python benchmarks/pictures.py all
    python benchmarks/pictures.py findings --study runs/findings-...     takes them from this finished run or study
    python benchmarks/pictures.py --check             ends with 1 if a picture has no maker or no page, or is too large

A maker is a script that draws, or a spec whose figures are taken. A spec is run into runs/ first; what is finished
there is not computed again. A new picture is an entry of `MAKERS`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
#: Bytes of a picture; and the width in pixels of those that are taken from a run and stored as WebP.
MOST_BYTES, WIDTH = 300_000, 1400
_ENDINGS = {".png", ".svg", ".webp", ".jpg", ".jpeg", ".gif"}
_THIS = Path(__file__).resolve().relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Script:
    """A script that draws pictures.

    Attributes:
        path: of the script, below the root of the repository.
        pictures: patterns of their paths below docs/.
        numbers: where what they show comes from.
        minutes: of one core, for all of them.
        selecting: the arguments that make only some, by their paths below docs/; without it, the script makes all.
    """

    path: str
    pictures: tuple[str, ...]
    numbers: str
    minutes: float
    selecting: Callable[[Sequence[str]], list[str]] = lambda pictures: []

    def make(self, pictures: Sequence[str], study: Path | None) -> None:
        if study is not None:
            sys.exit(f"{self.path} takes nothing from a study: leave --study out")
        _call(ROOT / self.path, *self.selecting(pictures))


@dataclass(frozen=True)
class Taken:
    """A figure of a run folder.

    Attributes:
        figures: a pattern of its path there, such as `analyses/quality/figures/by_image.png`.
        showing: words of its caption, where the pattern fits several.
    """

    figures: str
    showing: str = ""


@dataclass(frozen=True)
class Study:
    """Figures of the run or the study of a spec.

    Attributes:
        spec: its path below the root of the repository.
        taken: figures by the path of the picture below docs/. From a PNG can come a WebP, at most `WIDTH` pixels wide.
        minutes: of one core, for the whole study.
    """

    spec: str
    taken: Mapping[str, Taken]
    minutes: float

    @property
    def pictures(self) -> tuple[str, ...]:
        return tuple(self.taken)

    @property
    def numbers(self) -> str:
        return f"invreg run {self.spec}"

    def make(self, pictures: Sequence[str], study: Path | None) -> None:
        folder = study or self._run()
        for picture in pictures:
            _take(_figure(folder, self.taken[picture]), DOCS / picture)

    def _run(self) -> Path:
        command = [sys.executable, "-m", "invreg", "run", str(ROOT / self.spec), "--output", str(ROOT / "runs")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"{self.spec} has failed")
        return Path(done.stdout.splitlines()[-1])


Maker = Script | Study

#: The analyses of the cell with the least noise, in studies over noise levels.
_LITTLE_NOISE = "cells/*-noise-std-0-01-*/analyses"

MAKERS: dict[str, Maker] = {
    "learn": Script(
        "tutorials/make.py",
        ("learn/images/*.webp",),
        "tutorials/*.py, executed",
        5,
        lambda pictures: sorted({Path(picture).stem.rpartition("-")[0].replace("-", "_") for picture in pictures}),
    ),
    "operators": Script(
        "benchmarks/operator_pictures.py",
        ("images/operators/*.png",),
        "specs/operators and specs/radon.yaml, with total variation",
        2,
        lambda pictures: ["--only", *(Path(picture).stem for picture in pictures)],
    ),
    "charts": Script(
        "benchmarks/charts.py",
        ("images/speed/*.svg", "images/studies/*.svg", "images/findings/*.svg"),
        "the tables of docs/speed.md, studies.md and findings.md",
        0.3,
    ),
    "paper": Script(
        "benchmarks/paper.py",
        ("images/paper/*.svg",),
        "benchmarks/paper.csv, taken from specs/paper/tiny.yaml by this script",
        0.1,
    ),
    "quickstart": Study(
        "specs/quickstart.yaml",
        {
            "images/quickstart/quality.png": Taken("analyses/quality/figures/by_image.png"),
            "images/quickstart/examples.png": Taken("analyses/examples/figures/example_*.png", "camera[0,0]"),
            "images/quickstart/training_curves.png": Taken("analyses/training_curves/figures/curves.png"),
        },
        3,
    ),
    "quality_against_bound": Study(
        "specs/quality_against_bound.yaml",
        {"images/quality_against_bound.svg": Taken("analyses/quality_against_bound/figures/*.svg")},
        20,
    ),
    "findings": Study(
        "specs/findings.yaml",
        {
            "images/findings/directions.png": Taken(
                "analyses/ill_posedness_by_noise/figures/*_picture_*.png", "chelsea[0,1]"
            ),
            "images/findings/regularization.png": Taken(
                "cells/*-noise-std-0-05-*/analyses/regularization_map/figures/maps_*.png", "flower[1,1]"
            ),
            "images/findings/areas.png": Taken("analyses/saliency_by_noise/figures/*_areas.png"),
            "images/findings/clusters.png": Taken("analyses/saliency_by_noise/figures/*_pixels.png"),
        },
        30,
    ),
    "analyses_of_a_model": Script(
        "benchmarks/analysis_pictures.py",
        tuple(f"images/analyses/{name}.webp" for name in ("architecture", "firm_nonexpansiveness", "new_measurements")),
        "a run with the model gaussian-deblur",
        2,
    ),
    "analyses": Study(
        "specs/paper/robustness.yaml",
        {
            "images/analyses/adversarial.webp": Taken("cells/*-0-01-*/analyses/adversarial/figures/over_size.png"),
            "images/analyses/noise_mismatch.webp": Taken(
                "cells/*-0-01-*/analyses/noise_mismatch/figures/over_levels.png"
            ),
        },
        10,
    ),
}


def all_pictures() -> list[str]:
    """The pictures of the documentation, as paths below docs/."""
    return sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*") if path.suffix.lower() in _ENDINGS)


def makers_of(picture: str) -> list[str]:
    """The names of what makes a picture: one of them, if all is well."""
    return [name for name, maker in MAKERS.items() if any(fnmatch(picture, one) for one in maker.pictures)]


def pictures_of(name: str) -> list[str]:
    """What a maker makes: what is there, and what a study gives that is not there yet."""
    maker = MAKERS[name]
    named = set(maker.pictures) if isinstance(maker, Study) else set()
    return sorted(named | {picture for picture in all_pictures() if name in makers_of(picture)})


def faults() -> list[str]:
    """Pictures without a maker, with two, on no page, too large, or missing."""
    shown, found = _shown(), []
    for picture in all_pictures():
        if len(makers := makers_of(picture)) != 1:
            found.append(f"docs/{picture} is made by {' and '.join(makers) or 'nothing'}: see MAKERS of {_THIS}")
        if picture not in shown:
            found.append(f"docs/{picture} is on no page")
        if (size := (DOCS / picture).stat().st_size) >= MOST_BYTES:
            found.append(f"docs/{picture} has {size} bytes; expected less than {MOST_BYTES}: draw less, or a WebP")
    missing = [picture for name in MAKERS for picture in pictures_of(name) if not (DOCS / picture).is_file()]
    return found + [f"docs/{picture} is not there" for picture in missing]


def _shown() -> set[str]:
    """What pages link to below docs/."""
    return {
        Path(os.path.normpath(page.parent / link)).relative_to(DOCS).as_posix()
        for page in DOCS.rglob("*.md")
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if Path(link).suffix.lower() in _ENDINGS
    }


def _figure(folder: Path, taken: Taken) -> Path:
    """The figure of a run folder that is meant."""
    fitting = [path for path in sorted(folder.glob(taken.figures)) if taken.showing in _caption(path)]
    if len(fitting) != 1:
        which = f" with {taken.showing!r} in its caption" if taken.showing else ""
        sys.exit(f"{folder} has {len(fitting)} figures {taken.figures}{which}: expected one, of a finished run")
    return fitting[0]


def _caption(path: Path) -> str:
    from PIL import Image

    return str(Image.open(path).info.get("Title", "")) if path.suffix == ".png" else ""


def _take(figure: Path, picture: Path) -> None:
    """Copies a figure, or stores it as WebP."""
    from PIL import Image

    picture.parent.mkdir(parents=True, exist_ok=True)
    if figure.suffix == picture.suffix:
        shutil.copyfile(figure, picture)
        return
    image = Image.open(figure).convert("RGB")
    image.thumbnail((WIDTH, image.height))
    image.save(picture, "WEBP", quality=90, method=6)


def _call(script: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, str(script), *arguments], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"{script.relative_to(ROOT)} has failed")


def _chosen(words: Sequence[str]) -> dict[str, list[str]]:
    """Pictures by the names of their makers."""
    chosen: dict[str, list[str]] = {}
    for name in MAKERS:
        own = pictures_of(name)
        if not {name, "all"} & set(words):
            own = [picture for picture in own if any(word in picture for word in words if word not in MAKERS)]
        if own:
            chosen[name] = own
    for word in words:
        if word not in MAKERS and word != "all" and not any(word in one for own in chosen.values() for one in own):
            sys.exit(f"no maker and no picture is called {word!r}; makers: {', '.join(MAKERS)}, all")
    return chosen


def _listing() -> str:
    lines = ["| maker | pictures | minutes of one core | from |", "|---|---|---|---|"]
    for name, maker in MAKERS.items():
        by = f" ({maker.path})" if isinstance(maker, Script) else ""
        lines.append(f"| {name} | {len(pictures_of(name))} | {maker.minutes:g} | {maker.numbers}{by} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="makers, words of paths, or all")
    parser.add_argument("--study", type=Path, metavar="FOLDER", help="of the finished run that has the figures")
    parser.add_argument("--check", action="store_true", help="only look whether all is well")
    options = parser.parse_args()
    if options.check:
        found = faults()
        sys.exit("\n".join(found) if found else 0)
    if not options.what:
        print(_listing())
        return
    chosen = _chosen(options.what)
    if options.study is not None and len(chosen) != 1:
        sys.exit(f"--study is for one maker, not for {', '.join(chosen)}")
    for name, pictures in chosen.items():
        print(f"{name}: {', '.join(pictures)}", flush=True)
        MAKERS[name].make(pictures, options.study)
    if found := faults():
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
