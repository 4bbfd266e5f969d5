"""Executes the tutorials of this folder and makes their pages, pictures and notebooks in docs/learn.

    python tutorials/make.py                 those that are out of date; where only words have changed, what was
                                             printed and drawn is kept
    python tutorials/make.py certify learn   those whose names contain a word, executed in any case
    python tutorials/make.py --words         executes nothing: only pages of which nothing but words has changed
    python tutorials/make.py --check         only says which are

Each tutorial is a Python file in the percent format, which editors and jupytext read. It is executed from the first cell
to the last in a process and a folder of its own, with one thread. What it prints and draws goes into the page. A code
cell that draws says what is to be seen: `# %% alt="..."`.

A page is out of date when its tutorial has changed, or the code that was used: all files of invreg and its plugins of
which a function ran. `tutorials/made.json` remembers both. Needs the extra `tutorials`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LEARN = ROOT / "docs" / "learn"
RECORD = HERE / "made.json"

#: Bytes of a picture, and its width in pixels.
MOST_BYTES, WIDTH, THUMB_WIDTH = 90_000, 1400, 480

#: Runs before the first cell: pictures that are sharp on good screens, and which files of the project are used. Class
#: bodies and modules, which run when they are imported, do not count: every plugin is imported.
_BEFORE = """
%matplotlib inline
%config InlineBackend.print_figure_kwargs = {"bbox_inches": "tight", "dpi": 130}
import sys as _sys, warnings as _warnings
_warnings.filterwarnings("ignore", message="IProgress not found")
_used = set()
def _trace(frame, event, argument):
    if frame.f_code.co_flags & 1:
        _used.add(frame.f_code.co_filename)
_sys.settrace(_trace)
"""
_AFTER = "import json as _json; _sys.settrace(None); print(_json.dumps(sorted(_used)))"

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?://)[^)]+\)")
_SO_FAR = re.compile(r"^.+: [\d.]+ \w+ so far\n", re.MULTILINE)
#: Long lines of what was printed are broken by the style sheet.
_FENCE = '```{ .text .printed title="Output" }'
_OUTPUT = re.compile(
    rf"\n({re.escape(_FENCE)}\n.*?\n```\n|!\[[^\n]+\]\(images/[^\n]+\)\n|<div class=\"output\">[^\n]*</div>\n)",
    re.DOTALL,
)
_INLINE_FORMULA = re.compile(r"\$`([^`\n]+)`\$")
_FORMULA = re.compile(r"^```math\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Tutorial:
    """A file of this folder: `03_measured_pairs.py` becomes `docs/learn/measured-pairs.md`."""

    source: Path

    @property
    def name(self) -> str:
        return self.source.stem.partition("_")[2].replace("_", "-")

    @property
    def page(self) -> Path:
        return LEARN / f"{self.name}.md"

    @property
    def notebook(self) -> Path:
        return LEARN / f"{self.name}.ipynb"

    def pictures(self) -> list[Path]:
        return sorted((LEARN / "images").glob(f"{self.name}-*.webp"))

    def title(self) -> str:
        return re.search(r"^# # (.+)$", self.source.read_text(encoding="utf-8"), re.MULTILINE)[1]  # type: ignore[index]

    def says(self) -> str:
        """Its first paragraph."""
        text = self.source.read_text(encoding="utf-8")
        return " ".join(
            re.search(r"^# # .+\n#\n((?:# .+\n)+)", text, re.MULTILINE)[1].replace("# ", "").split()
        )  # type: ignore[index]


def tutorials() -> list[Tutorial]:
    return [Tutorial(path) for path in sorted(HERE.glob("[0-9]*.py"))]


def digest(*paths: Path) -> str:
    """Of the contents of files, with any ends of lines; empty where one is missing."""
    found = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            return ""
        found.update(hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).digest())
    return found.hexdigest()[:16]


@cache
def record() -> dict[str, Any]:
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def made(tutorial: Tutorial) -> dict[str, Any]:
    """What is remembered of the last execution."""
    return record().get(tutorial.name, {})


def is_edited(tutorial: Tutorial) -> bool:
    """Whether the tutorial or what was made of it has changed since."""
    was = made(tutorial)
    return was.get("source") != digest(tutorial.source) or was.get("page") != digest(
        tutorial.page, tutorial.notebook, *tutorial.pictures()
    )


def is_older_than_the_code(tutorial: Tutorial) -> bool:
    was = made(tutorial)
    return was.get("code") != digest(*(ROOT / path for path in was.get("uses", ())))


# -- execution


def make(tutorial: Tutorial, again: bool = True, words: bool = False) -> None:
    """Writes the page of a tutorial, its notebook, its pictures, and the record.

    Args:
        tutorial: it is executed.
        again: whether also where only its words have changed; what it printed and drew is kept otherwise.
        words: whether nothing is done where more than words has changed.
    """
    import jupytext

    source = digest(tutorial.source)  # before: it may be edited meanwhile
    notebook = jupytext.read(tutorial.source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    kept = None if again else _kept(tutorial, notebook)
    was = made(tutorial)
    if kept is None:
        if words:
            return
        begin = _seconds_of_children()
        outputs, used = _executed(notebook)
        seconds = round(_seconds_of_children() - begin)
        for old in tutorial.pictures():
            old.unlink()
        kept = _rendered(tutorial, notebook, outputs)
        uses = sorted(
            path.relative_to(ROOT).as_posix() for path in map(Path, used) if _is_ours(path)
        )
        code = digest(*(ROOT / path for path in uses))
    else:
        seconds, uses, code = was["seconds"], was["uses"], was["code"]
    _write_notebook(tutorial, notebook)
    tutorial.page.write_text("\n".join(_page(tutorial, notebook, kept, seconds)), encoding="utf-8")
    new = {
        "source": source,
        "page": digest(tutorial.page, tutorial.notebook, *tutorial.pictures()),
        "seconds": seconds,
        "code": code,
        "uses": uses,
    }
    record.cache_clear()
    RECORD.write_text(
        json.dumps({**record(), tutorial.name: new}, indent=1, sort_keys=True) + "\n",
        encoding="utf-8",
    )
    record.cache_clear()


def _kept(tutorial: Tutorial, notebook: Any) -> list[list[str]] | None:
    """What stands below each cell of the old page, if its code is that of the tutorial; None otherwise."""
    if not tutorial.page.is_file() or not made(tutorial):
        return None
    old = json.loads(tutorial.notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in old if cell["cell_type"] == "code"]
    if code != [cell.source for cell in notebook.cells if cell.cell_type == "code"]:
        return None
    rest, kept = tutorial.page.read_text(encoding="utf-8"), []
    for cell in notebook.cells:
        kept.append([])
        if cell.cell_type == "code":
            _, found, rest = rest.partition(_code(cell))
            if not found:
                return None
            while output := _OUTPUT.match(rest):
                alt = cell.metadata.get("alt", "")
                kept[-1].append(re.sub(r"^!\[[^\]]*\]", f"![{alt}]", output[1]))
                rest = rest[output.end() :]
    return kept


def _seconds_of_children() -> float:
    """Time of the processor, which other work does not change much; Windows does not tell it."""
    times = os.times()
    return times.children_user + times.children_system


def _is_ours(path: Path) -> bool:
    return path.is_file() and any(
        path.is_relative_to(ROOT / folder) for folder in ("invreg", "plugins")
    )


def _executed(notebook: Any) -> tuple[list[list[Any]], list[str]]:
    """The outputs of each cell, and the files of which a function ran."""
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(_BEFORE), *notebook.cells, nbformat.v4.new_code_cell(_AFTER)]
    whole = nbformat.v4.new_notebook(
        cells=[nbformat.from_dict(cell) for cell in cells], metadata=notebook.metadata
    )
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", NO_COLOR="1", COLUMNS="100")
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            whole, timeout=1200, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    *outputs, last = [cell.get("outputs", []) for cell in whole.cells]
    return outputs[1:], json.loads(last[0]["text"])


# -- pages


def _page(
    tutorial: Tutorial, notebook: Any, outputs: list[list[str]], seconds: int
) -> Iterator[str]:
    for place, (cell, found) in enumerate(zip(notebook.cells, outputs, strict=True)):
        if cell.cell_type == "code":
            yield _code(cell)
            yield from found
            continue
        if place > 0:
            yield cell.source + "\n"
            continue
        # The notebook is named below the title and what the page is about.
        name = tutorial.notebook.name
        title, about, *others = cell.source.split("\n\n", 2)
        link = f"[This page as a notebook]({name}){{ download={name} }}"
        yield "\n\n".join([title, about, link, *others]) + "\n"
    yield (
        f"*Executed in {max(1, seconds)} s of one core, imports included. "
        f"This page is made from `tutorials/{tutorial.source.name}`.*\n"
    )


def _code(cell: Any) -> str:
    return f"```python\n{cell.source}\n```\n"


def _rendered(tutorial: Tutorial, notebook: Any, outputs: list[list[Any]]) -> list[list[str]]:
    """What stands below each cell. Pictures are written."""
    parts: list[list[str]] = []
    pictures = 0
    for cell, found in zip(notebook.cells, outputs, strict=True):
        parts.append([])
        for output in _merged(found):
            data = output.get("data", {})
            if "image/png" in data:
                pictures += 1
                part = _picture(tutorial, cell, data["image/png"], pictures)
            elif "text/html" in data:
                part = f'<div class="output">{_html(data["text/html"])}</div>\n'
            elif output.output_type == "stream":
                part = _text(output["text"])
            else:
                part = _text(data["text/plain"])
            parts[-1].append(part)
    return parts


def printed(tutorial: Tutorial) -> list[str]:
    """What a tutorial prints now, as it would stand in its page. Nothing is written."""
    import jupytext

    outputs, _ = _executed(jupytext.read(tutorial.source, fmt="py:percent"))
    texts = [
        output["text"]
        for found in outputs
        for output in _merged(found)
        if output.output_type == "stream"
    ]
    return [_text(text) for text in texts]


def _merged(outputs: list[Any]) -> Iterator[Any]:
    """What was printed at once as one output, without the lines that say how long something has taken so far."""
    for is_text, group in groupby(outputs, lambda output: output.output_type == "stream"):
        if not is_text:
            yield from group
            continue
        first, *others = group
        first["text"] = _SO_FAR.sub("", "".join(output["text"] for output in (first, *others)))
        if first["text"].strip():
            yield first


def _text(text: str) -> str:
    return f"{_FENCE}\n{text.rstrip()}\n```\n"


def _html(code: str) -> str:
    """A table as those of pages: without classes, styles and blank lines."""
    code = re.sub(r"<style.*?</style>", "", code, flags=re.DOTALL)
    code = re.sub(r' (class|border|style)="[^"]*"', "", code)
    return re.sub(r"\s*\n\s*", "", code)


def _picture(tutorial: Tutorial, cell: Any, png: str, number: int) -> str:
    from PIL import Image

    alt = cell.metadata.get("alt")
    if not alt:
        sys.exit(
            f'{tutorial.source.name}: a cell draws and does not say what (# %% alt="..."):\n{cell.source}'
        )
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    path = LEARN / "images" / f"{tutorial.name}-{number}.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(picture, path, WIDTH)
    if number == 1 or "thumbnail" in cell.metadata:
        _save(picture, path.with_name(f"{tutorial.name}-thumb.webp"), THUMB_WIDTH)
    return f"![{alt}](images/{path.name})\n"


def _save(picture: Any, path: Path, width: int) -> None:
    """As WebP, as good as the size of a file allows."""
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)))
    for quality in (90, 80, 70, 55, 40):
        picture.save(path, "WEBP", quality=quality, method=6)
        if path.stat().st_size <= MOST_BYTES:
            return
    sys.exit(
        f"{path.name} has more than {MOST_BYTES} bytes at the lowest quality: draw less in one figure"
    )


def _write_notebook(tutorial: Tutorial, notebook: Any) -> None:
    """Without outputs; links to pages of the site, which a file of its own has not beside it, are words."""
    import nbformat

    cells = []
    for cell in notebook.cells:
        cell = nbformat.from_dict({**cell, "metadata": {}})
        if cell.cell_type == "markdown":
            text = _LINK.sub(r"\1", cell.source)
            text = _INLINE_FORMULA.sub(r"$\1$", _FORMULA.sub(r"$$\n\1\n$$", text))
            cell.source = text
        cells.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    plain = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    LEARN.mkdir(parents=True, exist_ok=True)
    tutorial.notebook.write_text(nbformat.writes(plain) + "\n", encoding="utf-8")


# -- the gallery


def gallery() -> str:
    """The page of all tutorials, with a picture of each."""
    cards = [
        f"[![]({_thumb(tutorial)}){{ loading=lazy }} **{tutorial.title()}** {_plain(tutorial.says())}]({tutorial.page.name})"
        for tutorial in tutorials()
    ]
    return "\n\n".join(
        [
            "# Learn",
            "Every page is a Python file that was executed, with what it printed and drew. Each takes about a minute or less "
            "on one core, and can be downloaded as a notebook. They train small networks for seconds; each page says what "
            "a real training takes. The [glossary](../glossary.md) explains the words.",
            '<div class="gallery" markdown>',
            *cards,
            "</div>",
            "",
        ]
    )


def _thumb(tutorial: Tutorial) -> str:
    return f"images/{tutorial.name}-thumb.webp"


def _plain(markdown: str) -> str:
    """Without links, which do not stand within a link."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="parts of names: these are executed, out of date or not"
    )
    parser.add_argument(
        "--words",
        action="store_true",
        help="execute nothing: renew pages where only words have changed",
    )
    parser.add_argument(
        "--check", action="store_true", help="execute nothing; exit with 1 if something has changed"
    )
    arguments = parser.parse_args()
    page = LEARN / "index.md"
    stems = [tutorial.source.stem for tutorial in tutorials()]
    for name in arguments.names:
        if not any(name in stem for stem in stems):
            sys.exit(f"no tutorial has {name!r} in its name: {', '.join(stems)}")
    if arguments.check:
        edited = [tutorial.source.name for tutorial in tutorials() if is_edited(tutorial)]
        older = [
            tutorial.source.name for tutorial in tutorials() if is_older_than_the_code(tutorial)
        ]
        is_listed = page.is_file() and page.read_text(encoding="utf-8") == gallery()
        print("changed since they were executed:", ", ".join(edited) or "none")
        print("executed with code that has changed:", ", ".join(older) or "none")
        sys.exit(0 if is_listed and not edited else 1)
    for tutorial in tutorials():
        named = any(name in tutorial.source.stem for name in arguments.names)
        is_old = is_older_than_the_code(tutorial) and not arguments.words
        if named or (not arguments.names and (is_edited(tutorial) or is_old)):
            print(f"{tutorial.source.name} ...", end=" ", flush=True)
            make(tutorial, again=named or is_old, words=arguments.words)
            print(f"{made(tutorial).get('seconds')} s")
    page.write_text(gallery(), encoding="utf-8")


if __name__ == "__main__":
    main()
