"""Finishes the pages of docs/, so that any builder of Markdown can make a site of them.

    python website/prepare.py                         writes the finished pages to build/pages, which mkdocs.yml names
    python website/prepare.py mkdocs build --strict   and then calls a builder: mkdocs, properdocs or zensical
    python website/prepare.py mkdocs serve            finishes pages anew when they change, as long as the builder runs

Formulas are typeset (`formulas.py`), what pages say of components and commands is made from the code (`components.py`,
`commands.py`), and `--8<-- "FILE"` on a line of its own is replaced by that file of the repository. Everything else is
copied. Changes of the code are seen when this is started anew.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import commands
import components
import formulas

from invreg.errors import InvregError

ROOT = Path(__file__).resolve().parents[1]
DOCS, PAGES = ROOT / "docs", ROOT / "build" / "pages"

_SNIPPET = re.compile(r'^--8<-- "(?P<path>[^"\n]+)"$', re.MULTILINE)
# What stands for something that is made, and was not found to be so.
_LEFT = re.compile(r"^(<!-- (beginning|class|command|component|parameter).*|--8<--.*)$", re.MULTILINE)
_SECONDS = 0.5  # between two looks at the sources


class PageError(Exception):
    """A page that cannot be finished."""


def finished(page: Path, docs: Path = DOCS) -> str:
    """The Markdown of a page, with everything in it that is made from code.

    Raises:
        PageError: if something in it cannot be made; it says which page.
    """
    markdown = page.read_text(encoding="utf-8")
    try:
        for step in (formulas.typeset, components.described, commands.described, _with_files):
            markdown = step(markdown)
        if left := _LEFT.search(markdown):
            raise ValueError(f"{left[0]} stands for nothing that can be made; see website/")
    except (InvregError, OSError, ValueError) as error:
        raise PageError(f"docs/{page.relative_to(docs).as_posix()}: {error}") from error
    return markdown


def _with_files(markdown: str) -> str:
    return _SNIPPET.sub(lambda match: (ROOT / match["path"]).read_text(encoding="utf-8").rstrip("\n"), markdown)


class Site:
    """The pages of a folder, finished in another one.

    Args:
        docs: the pages, with what belongs to them.
        pages: where they are written; what is not from `docs` is removed from it.
    """

    def __init__(self, docs: Path = DOCS, pages: Path = PAGES) -> None:
        self.docs, self.pages = docs, pages
        self._seen: dict[Path, float] = {}

    def prepare(self) -> list[PageError]:
        """Writes what has changed since the last call, so that builders that watch the folder see that alone.

        Returns:
            what could not be finished; those pages are left as they were.
        """
        errors = []
        sources = {path.relative_to(self.docs): path for path in self.docs.rglob("*") if path.is_file()}
        for name, source in sources.items():
            try:
                changed = max(path.stat().st_mtime for path in (source, *_files_of(source)))
                if self._seen.get(name) == changed:
                    continue
                self._seen[name] = changed
                content = finished(source, self.docs).encode() if source.suffix == ".md" else source.read_bytes()
            except PageError as error:
                errors.append(error)
                continue
            except FileNotFoundError:  # an editor is just writing it
                continue
            target = self.pages / name
            if not target.is_file() or target.read_bytes() != content:
                self._write(target, content)
        for path in sorted(self.pages.rglob("*"), reverse=True):
            if path.is_file() and path.relative_to(self.pages) not in sources:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        return errors

    def _write(self, target: Path, content: bytes) -> None:
        """At once, so that no builder reads a half of it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.pages.parent, delete=False) as file:
            file.write(content)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(target)


def _files_of(page: Path) -> Iterator[Path]:
    """The files of the repository that a page shows, as far as they are there."""
    if page.suffix == ".md":
        for match in _SNIPPET.finditer(page.read_text(encoding="utf-8")):
            if (path := ROOT / match["path"]).is_file():
                yield path


def _built(site: Site, builder: list[str]) -> int:
    """Runs a builder until it ends, and finishes pages anew meanwhile."""
    with subprocess.Popen([sys.executable, "-m", *builder], cwd=ROOT) as process:
        try:
            while True:
                try:
                    return process.wait(_SECONDS)
                except subprocess.TimeoutExpired:
                    for error in site.prepare():
                        print(error, file=sys.stderr)
        except KeyboardInterrupt:  # the builder has got it, too
            return process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builder", nargs=argparse.REMAINDER, help="mkdocs, properdocs or zensical, with its arguments")
    builder = parser.parse_args().builder
    site = Site()
    if errors := site.prepare():
        sys.exit("\n".join(map(str, errors)))
    sys.exit(_built(site, builder) if builder else 0)


if __name__ == "__main__":
    main()
