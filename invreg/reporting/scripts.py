"""The scripts of reports: files beside the templates, set into the page under a policy that names their hashes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

#: What a report may do: show images that are in it, and run exactly these scripts. Nothing is loaded from anywhere.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def script(name: str) -> str:
    """The text of a script, `sort` for `templates/sort.js`; it needs no other one, and a page is whole without it."""
    return (files("invreg.reporting") / "templates" / f"{name}.js").read_text(encoding="utf-8")


def content_policy(names: Sequence[str]) -> str:
    """The `Content-Security-Policy` of a page with these scripts: no other script runs, and no request is made."""
    hashes = [base64.b64encode(hashlib.sha256(script(name).encode()).digest()).decode() for name in names]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"{_POLICY}; script-src {allowed}" if allowed else _POLICY
