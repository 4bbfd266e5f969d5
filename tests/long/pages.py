"""Every page of built sites, and reports, looked at in a browser: on a desk, on a phone, in the dark and on paper.

    python website/prepare.py mkdocs build
    python tests/long/pages.py site runs/gaussian-deblurring-quickstart-1a2b3c4d/report.html

Says which boxes are wider than the page, which text has a contrast below 4.5 (3 if it is large), what the console says,
what is requested from elsewhere, and which links and images are broken. Ends with status 1 if there is anything.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import broken_links, browser, faults, missing, sheets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="HTML files, and folders of them")
    parser.add_argument("--sheets", type=int, help="the most sheets of A4 that a page may take")
    options = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    pages = {
        page: path for path in options.paths for page in (sorted(path.rglob("*.html")) if path.is_dir() else [path])
    }
    bad = 0
    with browser() as running:
        for page, root in pages.items():
            found = broken_links(page, root if root.is_dir() else None)
            # The page for what is not found is shown at any address, so its own are those of a server.
            found += [] if page.name == "404.html" else faults(running, page)
            if options.sheets is not None and (taken := sheets(running, page)) > options.sheets:
                found.append(f"takes {taken} sheets, at most {options.sheets}")
            bad += bool(found)
            for fault in found:
                print(f"{page}: {fault}", flush=True)
    print(f"{len(pages)} pages, {bad} with faults")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
