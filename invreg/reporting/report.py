"""The HTML report of a run: one file, readable offline and, with all that it says, without scripts."""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from invreg.reporting.citation import bibtex
from invreg.reporting.content import AnalysisContent, ComponentContent, MethodContent, ReportContent
from invreg.reporting.scripts import content_policy, script
from invreg.reporting.tables import Table, column_title, plain, results_table, to_table
from invreg.storage.run_folder import METHODS
from invreg.text import count, duration, metric_title, number, with_unit

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from jinja2 import Environment

    from invreg.specs.plan import Plan
    from invreg.storage.analysis_folder import SavedFigure
    from invreg.storage.run_folder import RunFolder, RunIdentity

#: An SVG larger than this is replaced by its PNG; so are the largest ones while all figures are above the second limit.
LARGEST_SVG = 1_500_000
LARGEST_TOTAL = 4_000_000
#: The resolution at which the run folder keeps PNGs.
PNG_DPI = 160
#: Words of what an analysis found that are shown before the rest is folded.
GLANCE = 60
#: Wider figures have to be scrolled or enlarged on a phone, in pixels.
PHONE = 360


def write_report(folder: RunFolder, plan: Plan) -> Path:
    """Writes `report.html` into a run folder, from what lies there.

    Raises:
        StoreError: if the run is not finished, or the file cannot be written.
    """
    return folder.write_report(render_report(ReportContent.of(folder, plan)))


def report_environment() -> Environment:
    """The templates of reports, with autoescape and the filters that they use."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("invreg.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(script=script, content_policy=content_policy, bibtex=bibtex)
    environment.filters.update(
        count=count,
        duration=duration,
        plain=plain,
        whole_table=lambda frame: to_table(frame, len(frame)),
        heading=_heading,
        parameters=_parameters,
        column=column_title,
        lead=lead,
    )
    return environment


def render_report(content: ReportContent) -> str:
    """The report as one HTML document: no network, no scripts but its own; everything that is shown is escaped."""
    return (
        report_environment()
        .get_template("report.html")
        .render(
            content=content,
            title=content.spec.title,
            spec_yaml=content.spec.to_yaml(),
            headline=headline(content),
            images_in_words=_images_in_words(content.images),
            results=results_table(content),
            results_caption=_results_caption(content),
            figures=with_sources(content.analyses),
            tables=tables_of(content.analyses, content.metrics),
            logs={method.label: log_table(method, content.metrics) for method in content.methods},
            warnings=[(method.label, text) for method in content.methods for text in method.warnings],
        )
    )


def headline(content: ReportContent) -> str:
    """The result in one sentence: the best method, how good it is, and how far ahead.

    The comparison is with the best method without learned weights; where that is the best of all, or there is none,
    with the second best.
    """
    name, metric = next(iter(content.metrics.items()))
    means = {str(row["method"]): float(row[name]) for row in content.summary.to_dict("records")}
    finite = {label: value for label, value in means.items() if math.isfinite(value)}
    title = metric_title(name)
    if not finite:
        return f"No method has a finite mean {title}."
    ranking = sorted(finite, key=lambda label: finite[label], reverse=metric.higher_is_better)
    best, images = ranking[0], len(content.images.test)
    value = with_unit(number(finite[best], metric.unit), metric.unit)
    text = f"{best} reaches {'a mean ' if images > 1 else 'a '}{title} of {value} on {count(images)} test image"
    text += "s" if images != 1 else ""
    learned = {method.label for method in content.methods if method.training.parameters}
    other = next((label for label in ranking if label not in learned), best)
    other = next(iter(ranking[1:]), best) if other == best else other
    if other == best:
        return f"{text}."
    difference = number(finite[best] - finite[other], metric.unit, signed=True)
    return f"{text}, {with_unit(difference, metric.unit)} {'over' if metric.higher_is_better else 'against'} {other}."


def lead(text: str) -> tuple[str, str]:
    """The sentences that a text begins with, as far as they are read at a glance, and the rest."""
    sentences = re.split(r"(?<=[.!?]) (?=\S)", text)
    shown = sentences[:1]
    for sentence in sentences[1:]:
        if len(" ".join([*shown, sentence]).split()) > GLANCE:
            break
        shown.append(sentence)
    return " ".join(shown), " ".join(sentences[len(shown) :])


def _heading(name: str) -> str:
    """A name from a spec as a heading: `training_curves` becomes "Training curves"."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _parameters(component: ComponentContent) -> list[tuple[str, str]]:
    """The parameters that are set: one that is None is left to the component."""
    return [(str(key), plain(value, digits=6)) for key, value in component.parameters.items() if value is not None]


def _images_in_words(images: RunIdentity) -> str:
    channels, *sides = images.image_shape
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    elements = "voxels" if len(sides) == 3 else "pixels"
    counts = {"training": len(images.train["images"]), "validation": len(images.val), "test": len(images.test)}
    listed = ", ".join(f"{count(number)} {split} images" for split, number in counts.items())
    return f"{listed}; {kind}, {' × '.join(map(str, sides))} {elements}, values in [0, 1]"


def _results_caption(content: ReportContent) -> str:
    images = len(content.images.test)
    text = f"Mean ± standard deviation over {images} test images" if images > 1 else "One test image"
    return f"{text}; the best value of each metric is bold." if len(content.summary) > 1 else f"{text}."


def with_sources(analyses: Sequence[AnalysisContent]) -> list[list[dict[str, Any]]]:
    """The figures of each analysis with data URIs: SVG, but PNG for what would make the file too large."""
    figures = [figure for analysis in analyses for figure in analysis.figures]
    as_png = [f.svg is None or (f.png is not None and len(f.svg) > LARGEST_SVG) for f in figures]
    excess = sum(len(_chosen(f, png)) for f, png in zip(figures, as_png, strict=True)) - LARGEST_TOTAL
    savings = [(len(f.svg or b"") - len(f.png or f.svg or b""), i) for i, f in enumerate(figures) if not as_png[i]]
    for saved, i in sorted(savings, reverse=True):
        if excess > 0 and saved > 0:
            as_png[i], excess = True, excess - saved
    folders = [analysis.address for analysis in analyses for _ in analysis.figures]
    sourced = iter([_sourced(*given) for given in zip(figures, as_png, folders, strict=True)])
    return [[next(sourced) for _ in analysis.figures] for analysis in analyses]


def _chosen(figure: SavedFigure, as_png: bool) -> bytes:
    return (figure.png if as_png else figure.svg) or b""


def _sourced(figure: SavedFigure, as_png: bool, folder: str) -> dict[str, Any]:
    content = _chosen(figure, as_png)
    kind = "image/png" if as_png else "image/svg+xml"
    width = _width(content)
    kept = {"svg": figure.svg, "png": figure.png}
    return {
        "uri": f"data:{kind};base64,{base64.b64encode(content).decode()}",
        "width": width,
        "wide": width is None or width > PHONE,
        "caption": figure.caption or _heading(figure.name),
        "files": [(suffix, f"{folder}/figures/{quote(figure.name)}.{suffix}") for suffix in kept if kept[suffix]],
    }


def _width(content: bytes) -> int | None:
    """The width of a figure on a page, in pixels: a PNG has more of them, and is shown at the size of its SVG."""
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        return round(struct.unpack(">I", content[16:20])[0] * 96 / PNG_DPI)
    found = re.search(rb'<svg[^>]*? width="([0-9.]+)pt"', content[:4000])
    return round(float(found.group(1)) * 96 / 72) if found else None


def tables_of(analyses: Sequence[AnalysisContent], metrics: Collection[str]) -> list[list[tuple[str, Table]]]:
    """The tables of each analysis with their titles: none that is empty, and none that was there before."""
    seen: list[pd.DataFrame] = []
    shown: list[list[tuple[str, Table]]] = []
    for analysis in analyses:
        shown.append([])
        for name, frame in analysis.findings.tables.items():
            if not frame.size or any(frame.equals(other) for other in seen):
                continue
            seen.append(frame)
            address = f"{analysis.address}/tables/{quote(name)}.csv"
            shown[-1].append((_heading(name), to_table(frame, metrics=metrics, address=address, name=name)))
    return shown


def log_table(method: MethodContent, metrics: Collection[str]) -> Table | None:
    """The training log of a method, if there is one."""
    if not len(method.log):
        return None
    address = f"{METHODS}/{quote(method.label)}/log.csv"
    return to_table(method.log, metrics=metrics, address=address, name=f"{method.label} log")
