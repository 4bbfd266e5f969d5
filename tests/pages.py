"""Looks at HTML pages in a browser without a window: reports, and the pages of a built site.

The browser is driven by Playwright (extra `browser`), which needs a Chromium: the one of the system, or the one that
the environment variable INVREG_BROWSER names.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

#: Widths of a desk and of a phone, and of the text on a sheet of A4.
DESK, PHONE, SHEET = 1400, 390, 700

_LOOK = Path(__file__).with_name("pages.js").read_text(encoding="utf-8")
_SITE_SCHEME = """(scheme) => {
    const { dataset } = document.body;
    if (dataset.mdColorScheme) dataset.mdColorScheme = scheme === "dark" ? "slate" : "default";
}"""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def missing() -> str:
    """What is not there that would be needed to look at pages; empty if all is."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "Playwright is not installed (extra `browser`)"
    return "" if _browser() else f"no browser: none of {', '.join(_BROWSERS)}, and INVREG_BROWSER is not set"


def _browser() -> str | None:
    return os.environ.get("INVREG_BROWSER") or next(filter(None, map(shutil.which, _BROWSERS)), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # In a container a browser of root has no sandbox; pages are our own.
        running = driver.chromium.launch(executable_path=_browser(), args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


def faults(running: Any, path: Path) -> list[str]:
    """What is wrong with a page: on a desk and a phone, light and dark, and on paper.

    Args:
        running: the browser.
        path: the file.

    Returns:
        One line for each fault, with where it is seen.
    """
    found: list[str] = []
    page = running.new_page(viewport={"width": DESK, "height": 900}, color_scheme="light")
    try:
        page.on("console", lambda message: found.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: found.append(f"error: {error}"))
        page.on("requestfailed", lambda request: found.append(f"not loaded: {request.url[:200]}"))
        page.on("request", lambda request: found.extend(_outside(request.url)))
        page.goto(path.resolve().as_uri())
        page.add_style_tag(content="* { transition: none !important; }")  # between the colours of light and dark
        # Images are loaded when they come into sight; here, all at once.
        page.evaluate(
            "Promise.allSettled([...document.images].map((one) => { one.loading = 'eager'; return one.decode(); }))"
        )
        for width in (DESK, PHONE):
            page.set_viewport_size({"width": width, "height": 900})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                # The theme of a site asks once, when a page is opened.
                page.evaluate(_SITE_SCHEME, scheme)
                found += [f"{width} {scheme}: {fault}" for fault in page.evaluate(_LOOK, False)]
        page.set_viewport_size({"width": SHEET, "height": 1000})
        page.emulate_media(media="print", color_scheme="light")
        found += [f"print: {fault}" for fault in page.evaluate(_LOOK, True)]
    finally:
        page.close()
    return list(dict.fromkeys(found))


def sheets(running: Any, path: Path) -> int:
    """How many sheets of A4 a page takes."""
    page = running.new_page()
    try:
        page.goto(path.resolve().as_uri())
        return len(re.findall(rb"/Type\s*/Page[^s]", page.pdf(format="A4")))
    finally:
        page.close()


def _outside(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:", "blob:")) else [f"request: {url[:200]}"]


class _Links(HTMLParser):
    """Where a page leads, and the places in it that others lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places |= {given[key] or "" for key in ("id", "name") if key in given}
        self.links += [given[key] or "" for key in ("href", "src") if key in given]


@cache
def _links(path: Path) -> _Links:
    return _Links(path.read_text(encoding="utf-8"))


def broken_links(path: Path, root: Path | None = None) -> list[str]:
    """Links of a page to files and places that are not there; addresses elsewhere are not looked up.

    Args:
        path: the file.
        root: where the addresses of a server begin.
    """
    found = []
    for link in dict.fromkeys(_links(path).links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or not link:
            continue
        start = root if root is not None and parts.path.startswith("/") else path.parent
        target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        if not target.is_file():
            found.append(f"leads to {link}, which is not there")
            continue
        # What begins with two underlines, scripts of the theme of a site understand.
        is_place = parts.fragment and target.suffix == ".html" and not parts.fragment.startswith("__")
        if is_place and unquote(parts.fragment) not in _links(target).places:
            found.append(f"leads to {link}, a place that is not there")
    return found
