"""The page about the paper: each figure and table of Arndt & Nickel (2024), what the paper says, and what is seen here.

    invreg run specs/paper/tiny.yaml
    python benchmarks/paper.py runs/paper-tiny-...     takes the numbers of a finished study
    python benchmarks/paper.py                         makes the page and its charts from the numbers that are stored
    python benchmarks/paper.py --check                 ends with 1 if the page is another one

The numbers of the study, means over its test images, are stored in `paper.csv` beside this script, those of the paper in
`specs/paper/references.yaml`, and `docs/paper.md` is made from them. Each claim of the paper about quality has a rule here that decides whether the study shows the same. What
the page says of the study's scale, of figure 8 and of certificates is written by hand, from the report of the study;
figures 9 to 17 are those of `benchmarks/findings.py`.
"""

# ruff: noqa: E501 (paragraphs of the page are lines)

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from invreg.specs.reading import read_content
from invreg_analyses.shared.style import INK, LEARNED, MARKERS, REFERENCE, drawing, dress, new_figure

ROOT = Path(__file__).resolve().parents[1]
STORED = Path(__file__).with_suffix(".csv")
PAGE, IMAGES = ROOT / "docs" / "paper.md", ROOT / "docs" / "images" / "paper"

OPERATORS = {"perona_malik": "nonlinear diffusion", "gaussian_blur": "blur"}
NETWORKS = ("iresnet", "conv_resnet", "unet", "diffnet")

#: What the paper gives as numbers; studies of `specs/paper` show the same in their reports.
REFERENCES = ROOT / "specs" / "paper" / "references.yaml"
SMALL = {"name": "iresnet", "subnetworks": 12, "channels": 32, "hidden": 64}


def numbers_of(study: Path) -> pd.DataFrame:
    """The means of a finished study of `specs/paper`, one row for each operator, noise, method and L."""
    if not (study / "study.csv").is_file():
        sys.exit(f"{study} has no study.csv: expected the folder of a finished study of specs/paper")
    table = pd.read_csv(study / "study.csv")
    lipschitz = "methods.iresnet.reconstructor.lipschitz"
    if missing := {"operator", "noise.std", lipschitz} - set(table):
        sys.exit(f"{study} does not vary {', '.join(sorted(missing))}: expected a study of specs/paper")
    found = pd.DataFrame(
        {
            "operator": table["operator"].map(_operator),
            "noise": table["noise.std"],
            "method": table["method"],
            "lipschitz": table[lipschitz].where(table["method"] == "iresnet"),
            "psnr": table["psnr"].round(2),
        }
    )
    # Methods that do not depend on L stand in every cell.
    return found.drop_duplicates(["operator", "noise", "method", "lipschitz"], ignore_index=True)


def _operator(spec: str) -> str:
    return next(name for name in OPERATORS if name in spec)


def values_of_the_paper(analysis: str) -> list[dict[str, Any]]:
    """The rows that the paper gives for the figures or the table of a study analysis."""
    return [row for one in read_content(REFERENCES)[analysis] for row in one["values"]]


class Study:
    """The numbers that are stored."""

    def __init__(self) -> None:
        self.rows = pd.read_csv(STORED)
        self.noises = sorted(self.rows["noise"].unique())
        self.lipschitz = sorted(self.rows["lipschitz"].dropna().unique())

    def psnr(self, operator: str, noise: float, method: str, lipschitz: float | None = None) -> float:
        """The mean over the test images; of iresnet at the largest L, as in the paper."""
        found = self.rows.query("operator == @operator and noise == @noise and method == @method")
        if method == "iresnet":
            found = found[found["lipschitz"] == (lipschitz or max(self.lipschitz))]
        (value,) = found["psnr"]
        return float(value)

    def settings(self) -> Iterator[tuple[str, float]]:
        for operator in OPERATORS:
            for noise in self.noises:
                yield operator, noise

    def share(self, holds: Iterator[bool]) -> tuple[int, int]:
        found = list(holds)
        return sum(found), len(found)


# -- what the paper says, and whether it is seen


def claims(study: Study) -> Iterator[tuple[str, str, str, str]]:
    """Figure, claim of the paper, number here, verdict."""
    rises = study.share(
        study.psnr(operator, noise, "iresnet", low) < study.psnr(operator, noise, "iresnet", high)
        for operator, noise in study.settings()
        for low, high in zip(study.lipschitz, study.lipschitz[1:], strict=False)
    )
    yield (
        "2, 3",
        "the larger L, the better, for both operators at every noise level",
        _of(*rises, "steps"),
        _verdict(*rises),
    )
    for method in NETWORKS:
        better = study.share(
            study.psnr(operator, noise, method) > study.psnr(operator, noise, "tv")
            for operator, noise in study.settings()
        )
        yield "4, 5", f"`{method}` is better than `tv`", _of(*better, "settings"), _verdict(*better)
    best = study.share(
        study.psnr(operator, noise, "conv_resnet") == max(study.psnr(operator, noise, name) for name in NETWORKS)
        for operator, noise in study.settings()
    )
    yield "4, 5", "`conv_resnet` is the best network", _of(*best, "settings"), _verdict(*best)
    for rival in ("diffnet", "unet"):
        ahead = study.share(
            study.psnr("gaussian_blur", noise, "iresnet") > study.psnr("gaussian_blur", noise, rival)
            for noise in study.noises
        )
        claim = f"on the blur, `iresnet` is better than `{rival}` at all noise levels"
        yield "5", claim, _of(*ahead, "noise levels"), _verdict(*ahead)
    gaps = [
        max(study.psnr("perona_malik", noise, name) for name in NETWORKS) - study.psnr("perona_malik", noise, "iresnet")
        for noise in study.noises
    ]
    closer = gaps[-1] < gaps[0]
    number = f"{gaps[0]:.2f} dB behind the best at the lowest noise, {gaps[-1]:.2f} dB at the highest"
    yield "4", "on the diffusion, `iresnet` does particularly well at high noise", number, _verdict(int(closer), 1)


def _of(count: int, all_of: int, what: str) -> str:
    return f"{count} of {all_of} {what}"


def _verdict(count: int, all_of: int) -> str:
    return "seen" if count == all_of else "**not seen**" if count == 0 else "**in part**"


# -- the page


def page(study: Study) -> str:
    parts = [
        _HEAD,
        "\n".join(
            _table(
                ["the paper says", "here", "", "figure"],
                ((claim, number, verdict, figure) for figure, claim, number, verdict in claims(study)),
            )
        ),
        _MIDDLE,
        "\n".join(_sizes()),
        _FIGURES,
        "\n".join(_all_numbers(study)),
        _EXAMPLES,
        "\n".join(_margins(study)),
        _TAIL,
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _table(head: list[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _sizes() -> Iterator[str]:
    from invreg import Problem, Registry

    registry = Registry.installed()
    problem = Problem(registry.build("operator", "gaussian_blur"), registry.build("noise", "none"))
    rows = []
    for row in values_of_the_paper("settings_table"):
        name, count = row["method"], row["parameters"]
        net = registry.build("reconstructor", SMALL if name.startswith("small") else name)
        net.setup(problem, (1, 96, 96))
        ours = sum(parameter.numel() for parameter in net.parameters())
        rows.append(
            (
                f"`{name}`",
                f"{count:,}",
                f"{ours:,}",
                "equal" if ours == count else "**not equal**",
                _in_words(row["training_seconds"]),
            )
        )
    yield from _table(["network", "parameters in the paper", "here", "", "training in the paper"], iter(rows))


def _in_words(seconds: float | list[float]) -> str:
    """A time, or the shortest and the longest, in days where these are whole, else in hours."""
    ends = sorted(set(seconds if isinstance(seconds, list) else [seconds]))
    unit, length = ("day", 86_400) if all(end % 86_400 == 0 for end in ends) else ("hour", 3_600)
    return " to ".join(f"{end / length:g}" for end in ends) + f" {unit}{'s' if ends[-1] != length else ''}"


def _all_numbers(study: Study) -> Iterator[str]:
    head = ["operator, noise", "data", "tv", *(f"iresnet, L = {value:g}" for value in study.lipschitz), *NETWORKS[1:]]
    rows = (
        (
            f"{OPERATORS[operator]}, {noise:g}",
            *(f"{study.psnr(operator, noise, name):.2f}" for name in ("observation", "tv")),
            *(f"{study.psnr(operator, noise, 'iresnet', value):.2f}" for value in study.lipschitz),
            *(f"{study.psnr(operator, noise, name):.2f}" for name in NETWORKS[1:]),
        )
        for operator, noise in study.settings()
    )
    yield from _table(head, rows)


def _margins(study: Study) -> Iterator[str]:
    examples: dict[tuple[str, float], dict[str, float]] = {}
    for row in values_of_the_paper("example_grid"):
        examples.setdefault((row["operator"], row["noise.std"]), {})[row["method"]] = row["psnr"]
    rows = []
    for (operator, noise), example in examples.items():
        ours = [study.psnr(operator, noise, name) - study.psnr(operator, noise, "tv") for name in NETWORKS]
        theirs = [example[name] - example["tv"] for name in NETWORKS]
        cells = (f"{theirs[i]:+.2f} / {ours[i]:+.2f}" for i in range(len(NETWORKS)))
        rows.append((f"{OPERATORS[operator]}, {noise:g}", *(cell.replace("-", "−") for cell in cells)))
    yield from _table(["operator, noise", *(f"`{name}`" for name in NETWORKS)], iter(rows))


# -- charts


def draw(study: Study) -> dict[str, object]:
    """Figures 2 to 5 as they come out here, by the names of their files."""
    with drawing():
        sweep = new_figure(7.6, 2.7, "PSNR of iresnet over L")
        for axes, operator in zip(sweep.subplots(1, 2), OPERATORS, strict=True):
            for noise, color, marker in zip(study.noises, LEARNED, MARKERS, strict=False):
                values = [study.psnr(operator, noise, "iresnet", value) for value in study.lipschitz]
                axes.plot(range(len(values)), values, color=color, marker=marker, label=f"noise {noise:g}")
            axes.set_xticks(range(len(study.lipschitz)), [f"{value:g}" for value in study.lipschitz])
            axes.set(title=OPERATORS[operator], xlabel="L", ylabel="PSNR, dB")
            axes.margins(x=0.1)
            dress(axes)
        sweep.legend(*sweep.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
        methods = new_figure(7.6, 2.9, "PSNR above the data by method")
        for axes, operator in zip(methods.subplots(1, 2, sharey=True), OPERATORS, strict=True):
            for place, (name, color) in enumerate(zip(("tv", *NETWORKS), (REFERENCE[1], *LEARNED), strict=False)):
                gains = [
                    study.psnr(operator, noise, name) - study.psnr(operator, noise, "observation")
                    for noise in study.noises
                ]
                places = [n + 0.13 * (place - 2) for n in range(len(gains))]
                axes.plot(places, gains, color=color, marker=MARKERS[place], linestyle="none", label=name)
            axes.set_xticks(range(len(study.noises)), [f"{noise:g}" for noise in study.noises])
            axes.set(title=OPERATORS[operator], xlabel="noise")
            axes.margins(x=0.15)
            axes.tick_params(labelcolor=INK)
            dress(axes)
        methods.axes[0].set_ylabel("PSNR above the data, dB")
        methods.legend(*methods.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return {"lipschitz": sweep, "methods": methods}


def write_charts(study: Study) -> None:
    from matplotlib import rc_context

    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, figure in draw(study).items():
        with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
            figure.savefig(IMAGES / f"{name}.svg", format="svg", metadata={"Date": None})  # type: ignore[attr-defined]


_HEAD = """
# The paper, and what is seen here

C. Arndt and J. Nickel, *Invertible ResNets for Inverse Imaging Problems: Competitive Performance with Provable Regularization Properties* (2024, [arXiv:2409.13482](https://arxiv.org/abs/2409.13482)), compare invertible networks with others on two problems, and look into what they have learned. This page goes through all figures and tables: what the paper says, what is seen here, and with which command.

L is the [Lipschitz parameter](glossary.md#invertible-residual-network) of an invertible network: a larger L allows its inverse to amplify more. φ is the network, and φ⁻¹ its inverse, the reconstruction. `tv` is [total variation](methods/tv.md); the other networks are [baselines](methods/baselines.md).

**The scale differs by far.** The paper trains networks with four million weights on 16,284 images for days each. The study behind this page is `specs/paper/tiny.yaml`: networks with eight subnetworks and 27 thousand weights (the U-Net has three scales), crops of 48 × 48 pixels from eight photographs, 450 to 1200 steps, 61 test patches of three photographs. It was run once, from seed 0, on 23 November 2026, with the code of that day and a tenth more steps than the spec has now, and has not been repeated with today's code. It took 78 minutes on two cores that also had other work to do. Levels of PSNR belong to the images and cannot be compared; orders and differences can, with care.

```bash
invreg run specs/paper/tiny.yaml
python benchmarks/paper.py runs/paper-tiny-1a2b3c4d
```

`specs/paper/full.yaml` has the paper's own images, networks and trainings. Nobody has run it here: it takes months on one GPU.

## In one table
"""

_MIDDLE = """
A *setting* is an operator with a noise level. The rules stand in `benchmarks/paper.py`. What is not seen in trainings of minutes is not refuted: the report of the study says that the validation curves of `diffnet` and `iresnet` were still rising when the training ended, by 0.01 to 0.14 dB over its last fifth.

## Figure 1 and table 1: the networks

The analysis [`architecture`](analyses.md#architecture) draws each network as it is built (figure 1). The paper's counts of parameters decide what its text leaves open, and the defaults here are these networks:
"""

_FIGURES = """
Learning rates, epochs, batches and the optimiser of table 1 stand in `specs/paper/full.yaml`; the study here trains with this project's own settings. The times are those of the paper, on a GeForce RTX 3090. [Speed](speed.md#the-papers-trainings) says what is known of such trainings here.

## Figures 2 and 3: quality over L

The study analysis [`lipschitz_sweep`](studies.md#study-analyses).

![PSNR of the invertible network over L at three noise levels, for both operators](images/paper/lipschitz.svg)

## Figures 4 and 5: the methods

The study analysis [`method_comparison`](studies.md#study-analyses).

![PSNR of all methods above that of the data at three noise levels, for both operators](images/paper/methods.svg)

Mean PSNR in dB over the test patches:
"""

_EXAMPLES = """
## Figures 6 and 7: examples

The study analysis [`example_grid`](studies.md#study-analyses). The paper prints the PSNR of one image for each operator and two noise levels. What can be compared is the margin over total variation, in dB: the paper's for its one image / the mean over the patches here, both at L = 0.999.
"""

_TAIL = """
The paper's margins are larger throughout. Its networks have more than a hundred times as many weights, and are trained on far more images for far longer; total variation gains nothing from either.

## Figure 8: convergence

The paper: the error of inverting without noise falls along L(0.05) = 0.95, L(0.025) = 0.99, L(0.01) = 0.999, for both operators. Here ([`convergence`](studies.md#convergence)): it falls for both, too. The study analysis adds what the theorem asks for, and that is not seen: δ / (1 − L(δ)) grows along this choice, and condition (2.4) does not show in three points.

## Figures 9 to 17: what the networks have learned

These need longer trainings of single networks, and come from another study: 1500 steps on nonlinear diffusion, at noise 0.01 and 0.05.

```bash
invreg run specs/findings.yaml
python benchmarks/findings.py runs/findings-1a2b3c4d
```

[What the networks have learned](findings.md) has the numbers behind each line, their intervals, and the pictures.

| the paper says | here | figure |
|---|---|---|
| the learned operator is close to the true one at little noise, less so at much | seen | 9, 10 |
| a larger L is closer to the operator | not looked at: one L | 9 |
| at much noise, details and edges are over-amplified | seen | 10 |
| the direction of strongest regularisation is a checkerboard | seen | 11 |
| it lies in smooth areas | **not seen** at little noise | 11 |
| regularisation rises with the noise | seen | 12 |
| the operator's kernels form two clusters: strong edges, and the rest | seen | 13 |
| at little noise, the kernels of most pixels are one cluster | **not seen** | 13 |
| the clusters of a network resemble those of the operator most at much noise | **not seen** | 13 |
| the network blurs smooth areas less than the operator, with negative neighbours around a strong centre | seen | 14, 15 |
| and the less, the more noise there is | **not seen**: its kernels spread more | 14, 15 |
| smaller L make clusters less expressive | not looked at: one L | 16, 17 |

![The direction of strongest regularization on an image, for the operator alone and for both networks](images/findings/directions.png)

*As figure 11: directions in which the network reacts and the operator hardly does.*

![Mean kernels on edges and in smooth areas](images/findings/areas.png)

*As figure 15: mean kernels on edges (above) and in smooth areas (below).*

## Proven, beyond the paper

The paper's bound of φ⁻¹ is 1/(1 − L), 1000 for L = 0.999. The [certificates](theory/certificates.md) of the trained networks prove smaller ones, for all states of the network and for what an image meets, which enters as equal copies and leaves as their mean:

| operator | noise | φ⁻¹, all states | what an image meets |
|---|---|---|---|
| blur | 0.01 | 155 | 113 |
| blur | 0.025 | 130 | 76 |
| blur | 0.05 | 144 | 86 |
| nonlinear diffusion | 0.01 | 36 | 25 |
| nonlinear diffusion | 0.025 | 42 | 23 |
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, help="the folder of a finished study of specs/paper")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    if options.study:
        numbers_of(options.study).to_csv(STORED, index=False)
    study = Study()
    text = page(study)
    if options.check:
        sys.exit(
            0 if PAGE.read_text(encoding="utf-8") == text else "docs/paper.md is not what benchmarks/paper.py makes"
        )
    write_charts(study)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
