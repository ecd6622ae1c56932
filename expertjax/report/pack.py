"""Data and the chart library as text that stands in a page: gzip, then base64.

Base64 has no character that HTML or JSON could read as its own, so that nothing in
the data can end the element it stands in. Browsers inflate it by themselves
(`DecompressionStream`).
"""

import base64
import dataclasses
import functools
import gzip
import hashlib
import importlib.metadata
import json
from typing import Any


@dataclasses.dataclass(frozen=True)
class Library:
    """A JavaScript library that is bundled into the page.

    Attributes:
      name: with its version.
      packed: the packed source.
      digest: for a Content-Security-Policy: only this very source may run.
      licence: its text.
    """

    name: str
    packed: str
    digest: str
    licence: str


def pack(text: str) -> str:
    """Packs a text; the same bytes for the same text."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def pack_json(payload: dict[str, Any]) -> str:
    """Packs lists, numbers and texts.

    Raises:
      ValueError: a number is not finite.
    """
    options: dict[str, Any] = {"allow_nan": False, "separators": (",", ":")}
    return pack(json.dumps(payload, ensure_ascii=False, **options))


def digest(source: str) -> str:
    """The hash by which a Content-Security-Policy knows a script."""
    return (
        "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    )


@functools.cache
def chart_library() -> Library:
    """plotly.js, as the Python package `plotly` brings it (MIT)."""
    from plotly.offline import get_plotlyjs, get_plotlyjs_version

    source = get_plotlyjs()
    files = importlib.metadata.files("plotly") or []
    licences = [file for file in files if file.name.startswith("LICENSE")]
    return Library(
        name=f"plotly.js {get_plotlyjs_version()}",
        packed=pack(source),
        digest=digest(source),
        licence="\n\n".join(file.read_text() for file in licences),
    )
