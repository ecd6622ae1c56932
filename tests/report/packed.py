"""Reading what a page has packed."""

import base64
import gzip
import html.parser
import json
from typing import Any


class Reader(html.parser.HTMLParser):
    """Collects elements, and the text of each but scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: dict[str, str] = {}
        self.inside: list[tuple[str, str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside.append((tag, dict(attrs).get("id") or ""))

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag, name = self.inside[-1] if self.inside else ("", "")
        if tag == "script":
            self.scripts[name] = self.scripts.get(name, "") + data
        elif tag != "style":
            self.text.append(data)

    def having(self, attribute):
        return [a[attribute] for _, a in self.elements if attribute in a]


def unpack(packed: str) -> str:
    return gzip.decompress(base64.b64decode(packed, validate=True)).decode()


def model_of(page: str, number: int = 0) -> dict[str, Any]:
    """The data of a model in a page."""
    return json.loads(unpack(Reader(page).scripts[f"model-{number}"]))
