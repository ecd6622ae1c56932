"""Renders the page: templates and packed data, brought together."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from expertjax.report import pack
from expertjax.report.data import ReportData
from expertjax.report.limits import Limits
from expertjax.report.payload import model_payload
from expertjax.report.rendering import sources, templates

# In this order: what is defined at the top level is used by what comes after.
_SCRIPTS = (
    "dom", "format", "route", "store", "table", "chart", "sentences", "search",
    "surface", "overview", "concept", "spread", "writes", "unit", "map", "compare",
    "main",
)  # fmt: skip
_STYLES = ("colours", "page", "tables")


@dataclasses.dataclass(frozen=True)
class ModelPart:
    """A model's share of the page.

    Attributes:
      name: of the model.
      scope: what was measured, in a few words.
      has_held_out: are there APs on held-out sentences?
      packed: its data, see `pack`.
    """

    name: str
    scope: str
    has_held_out: bool
    packed: str


def model_part(data: ReportData, limits: Limits, top_k: int) -> ModelPart:
    """Packs a model's results; see `payload.model_payload`."""
    scope = (
        f"{len(data.concepts):,} concepts, {len(data.units):,} units, "
        f"expert threshold γ = {data.gamma:g}"
    )
    packed = pack.pack_json(model_payload(data, limits, top_k))
    return ModelPart(data.model_name, scope, data.has_held_out, packed)


def render(parts: Sequence[ModelPart], comparison: dict[str, Any] | None = None) -> str:
    """The whole page.

    Args:
      parts: of one model or several.
      comparison: see `comparison.compare`, if there are several.
    """
    environment = templates()
    script = _script(environment)
    index = {"models": [part.name for part in parts], "comparison": comparison}
    several = comparison is not None
    title = f"{len(parts)} models" if several else parts[0].name
    scope = ", ".join(part.name for part in parts) if several else parts[0].scope
    return environment.get_template("page.html").render(
        title=title,
        scope=scope,
        has_held_out=any(part.has_held_out for part in parts),
        style=Markup(sources(environment, "css", _STYLES)),
        script=Markup(script),
        script_digest=pack.digest(script),
        library=pack.chart_library(),
        index=pack.pack_json(index),
        models=[part.packed for part in parts],
    )


def _script(environment: jinja2.Environment) -> str:
    """One script of its own scope, made of all files."""
    source = sources(environment, "js", _SCRIPTS)
    return f'"use strict";\n(() => {{\n{source}\n}})();\n'
