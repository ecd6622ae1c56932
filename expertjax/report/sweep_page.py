"""The page of a sweep: what a model writes at each number of edited units."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from expertjax.report import drawing
from expertjax.report.generation_figures import sweep_figure
from expertjax.report.rendering import sources, templates

STYLES = ("colours", "page", "tables", "sweep")
_OPEN = 12  # rows of texts that are shown at once
_COLUMNS = {
    "num_units": ("k", "d"),
    "units": ("units edited", ""),
    "num_texts": ("texts", "d"),
    "with_word": ("with a word", ".2f"),
    "perplexity": ("perplexity", ".1f"),
    "self_bleu_3": ("Self-BLEU, 3-grams", ".2f"),
    "self_bleu_4": ("Self-BLEU, 4-grams", ".2f"),
}
_UNITS = {"none": "none", "control": "random (control)", "file": "of the file"}


class _Text(NamedTuple):
    """One text: `pieces` of its continuation, and whether each is a word looked for."""

    num_units: int
    perplexity: str
    context: str
    pieces: list[tuple[str, bool]]
    has_word: bool


class _Row(NamedTuple):
    """The texts of one prompt and seed, side by side."""

    name: str
    chosen: list[_Text]
    control: list[_Text]


def render_sweep(
    texts: pd.DataFrame, scores: pd.DataFrame, facts: Mapping[str, str]
) -> str:
    """A self-contained page without scripts; all that is shown of texts is escaped.

    Args:
      texts: from `generation.generate`, with the columns perplexity, and found: where
        words of the concept stand in each continuation, as [(start, end)].
      scores: from `generation.sweep.score_arms`.
      facts: how texts were written: model, judge, concept and words (if any), others.
    """
    environment = templates()
    drawn = drawing.svg(sweep_figure(scores, facts.get("concept", "")))
    rows = _rows(texts, scores)
    columns = [name for name in _COLUMNS if name in scores]
    return environment.get_template("sweep.html").render(
        facts=facts,
        heads=[(_COLUMNS[name][0], name != "units") for name in columns],
        table=[_cells(row, columns) for row in scores.to_dict("records")],
        has_control=(scores["units"] == "control").any(),
        figure=base64.b64encode(drawn).decode(),
        shown=rows[:_OPEN],
        others=rows[_OPEN:],
        style=Markup(sources(environment, "css", STYLES)),
    )


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> list[tuple[str, bool]]:
    """Texts of a row of the table, and whether each is a number."""
    cells = []
    for name in columns:
        value, form = row[name], _COLUMNS[name][1]
        shown = _UNITS.get(value, value) if name == "units" else _number(value, form)
        cells.append((shown, name != "units"))
    return cells


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "n/a"


def _rows(texts: pd.DataFrame, scores: pd.DataFrame) -> list[_Row]:
    of_edit = scores.set_index("edit")
    several = texts["prompt"].nunique() > 1
    rows = []
    for (_, seed), group in texts.groupby(["prompt", "seed"], sort=False):
        name = f"seed {seed}"
        if several:
            name += f": {group['context'].iloc[0]}"
        both: dict[bool, list[_Text]] = {False: [], True: []}
        for text in group.sort_values("edit").itertuples():
            about = of_edit.loc[text.edit]
            shown = _Text(
                int(about["num_units"]),
                _number(text.perplexity, ".1f"),
                text.context,
                _pieces(text.continuation, text.found),
                bool(text.found),
            )
            both[about["units"] == "control"].append(shown)
        rows.append(_Row(name, both[False], both[True]))
    return rows


def _pieces(text: str, found: Sequence[tuple[int, int]]) -> list[tuple[str, bool]]:
    """The text cut at the words that were found."""
    pieces, last = [], 0
    for start, end in found:
        pieces += [(text[last:start], False), (text[start:end], True)]
        last = end
    return [*pieces, (text[last:], False)]
