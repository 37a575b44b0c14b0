"""``report.html``: a study to sort, filter and look into, as one file that asks nothing of any other."""

import base64
import hashlib
import json
import re
from html import escape
from importlib.resources import files
from typing import Any

from lrbench.report.embedded import LIMITS, Limits, embedded
from lrbench.report.findings import Findings

PLACE = re.compile(r"\{\{(\w+)\}\}")
"""Where something goes in ``page/page.html``."""


def page(found: Findings, limits: Limits = LIMITS) -> str:
    """The document. The same study gives the same bytes.

    Its content security policy lets the page's own script and style alone run, by their hashes, and lets nothing be
    fetched.
    """
    data, style, script = embedded(found, limits), _source("page.css"), _source("page.js")
    parts = {
        "policy": f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        "name": escape(data["study"]["name"]),
        "summary": escape(data["study"]["summary"]),
        "style": style,
        "script": script,
        "data": in_script(data),
    }
    return PLACE.sub(lambda place: parts[place[1]], _source("page.html"))


def in_script(data: Any) -> str:
    r"""Data as JSON that may stand within a ``script`` element: no label can end it.

    >>> print(in_script("</script>"))
    "\u003c/script\u003e"
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _source(name: str) -> str:
    return (files("lrbench.report") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The hash of an inline script or style as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
