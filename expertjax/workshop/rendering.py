"""What is shown, as HTML: every text of a user or a model is escaped here."""

import html
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from expertjax.generation.scores import find_words
from expertjax.workshop.find import Found, verdict
from expertjax.workshop.limits import MOST_SHOWN
from expertjax.workshop.look import Looked
from expertjax.workshop.steer import ARMS

_NAMES = {
    "plain": ("As it is", "nothing edited"),
    "edited": ("Edited", "your units"),
    "random": ("Control", "as many units at random"),
}


def escaped(text: str) -> str:
    """A text as HTML; Gradio's templates see no `${` and no `{{` in it either."""
    return (
        html.escape(text)
        .replace("$", "&#36;")
        .replace("{", "&#123;")
        .replace("`", "&#96;")
    )


def marked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """A text with some runs of characters marked."""
    parts, last = [], 0
    for start, end in sorted(spans):
        if start < last or start < 0:
            continue
        parts += [escaped(text[last:start]), f"<mark>{escaped(text[start:end])}</mark>"]
        last = end
    return "".join([*parts, escaped(text[last:])])


def note(text: str, kind: str = "note") -> str:
    """One line of the studio's own."""
    role = ' role="alert"' if kind == "refusal" else ""
    return f'<p class="{kind}"{role}>{escaped(text)}</p>'


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in heads)
    lines = []
    for row in rows:
        cells = zip(heads, row, strict=True)
        lines.append(
            "".join(
                f'<td data-head="{escaped(head)}">{cell}</td>' for head, cell in cells
            )
        )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _where(row: pd.Series) -> str:
    return f"<code>{escaped(str(row['module']))}[{row['index']}]</code>"


def found_html(found: Found) -> str:
    """The verdict, and the best units with what excites them."""
    first, *rest = verdict(found)
    n_pos, n_neg = found.counts
    run = f"{n_pos} with it, {n_neg} without; {found.num_run} of these were run now."
    if found.dropped:
        run += f" {len(found.dropped)} left out: longer than the model is given here."
    held_out = "ap_heldout" in found.top
    heads = [
        "unit",
        "where",
        "AP",
        *(["held out"] if held_out else []),
        "what excites it",
    ]
    rows = []
    for _, row in found.top.iterrows():
        ap = f"<b>{row['ap']:.3f}</b>" if row["above_chance"] else f"{row['ap']:.3f}"
        star = ' <span class="beyond" title="above the surface">●</span>'
        ap += star if row.get("above_surface") and row["above_chance"] else ""
        rows.append(
            [
                str(row["unit"]),
                _where(row),
                ap,
                *([f"{row['ap_heldout']:.3f}"] if held_out else []),
                _excited_html(found.excited[found.excited["unit"] == row["unit"]]),
            ]
        )
    legend = "AP in bold is above luck; ● is above the surface too."
    return "".join(
        [
            f'<div class="verdict"><p class="lead">{escaped(first)}</p>',
            *map(note, rest),
            note(run),
            "</div>",
            _table("Best units", heads, rows),
            note(legend),
        ]
    )


def _excited_html(excited: pd.DataFrame) -> str:
    items = []
    for row in excited.itertuples():
        side = "with" if row.label else "without"
        text = marked(row.text, [(row.start, row.end)] if row.start >= 0 else [])
        at = "" if row.start >= 0 else f" <i>at {escaped(row.token or 'no token')}</i>"
        items.append(
            f'<li class="{side}"><span class="side">{side}</span> {text}{at}</li>'
        )
    return f'<ul class="excited">{"".join(items)}</ul>'


def heat_html(looked: Looked, units: Sequence[int]) -> str:
    """A line of tokens for each unit: the deeper its colour, the larger the value.

    Tokens of the first line can be clicked.
    """
    lines = []
    for unit in units[:MOST_SHOWN]:
        z_T = looked.z_TxU[:, unit].astype(np.float64)
        largest = np.nanmax(np.abs(z_T), initial=1e-9)
        cells = [
            _token(i, span.token, float(z), float(z) / largest)
            for i, (span, z) in enumerate(zip(looked.spans, z_T, strict=True))
        ]
        said = f"{np.nanmin(z_T):.2f} to {np.nanmax(z_T):.2f}"
        lines.append(
            f"<h4>Unit {unit} <small>{escaped(said)}</small></h4>"
            f'<div class="tokens">{"".join(cells)}</div>'
        )
    if not lines:
        cells = [_token(i, span.token, 0, 0) for i, span in enumerate(looked.spans)]
        lines.append(f'<div class="tokens">{"".join(cells)}</div>')
    return "".join(lines)


def _token(position: int, token: str, z: float, share: float) -> str:
    """One token as a button; orange for what is positive, blue for what is negative."""
    share = 0.0 if np.isnan(share) else share
    colour = "213, 94, 0" if share > 0 else "0, 114, 178"
    return (
        f'<button type="button" data-token="{position}" title="{z:.3f}" '
        f'style="background: rgba({colour}, {0.55 * abs(share):.3f})">'
        f"{escaped(token) or '·'}</button>"
    )


def token_html(looked: Looked, position: int, unusual: pd.DataFrame) -> str:
    """What is unusual at a token, and what the model expects after it."""
    parts = [f"<h4>At “{escaped(looked.spans[position].token)}”</h4>"]
    if looked.candidates:
        likely = [
            f"<li><code>{escaped(repr(token)[1:-1])}</code> {100 * p:.0f}%</li>"
            for token, p in looked.candidates[position]
        ]
        parts.append(
            f'{note("Most likely next:")}<ol class="next">{"".join(likely)}</ol>'
        )
    rows = [
        [
            str(row["unit"]),
            _where(row),
            f"{row['activation']:.2f}",
            f"{row['usual']:.2f}",
            f"{row['deviations']:+.1f}",
        ]
        for _, row in unusual.iterrows()
    ]
    parts.append(note("Units furthest from what they usually do, in deviations:"))
    heads = ("unit", "where", "here", "usually", "deviations")
    return "".join([*parts, _table("Unusual units", heads, rows)])


def texts_html(
    prompt: str,
    continuations: Sequence[str],
    words: Sequence[str],
    perplexity: Sequence[float] | None = None,
) -> str:
    """Three texts side by side; perplexities once they are complete."""
    cards = []
    for i, (arm, text) in enumerate(zip(ARMS, continuations, strict=True)):
        name, means = _NAMES[arm]
        spans = find_words([text], words)[0]
        below = "writing …"
        if perplexity is not None:
            count = (
                f"{len(spans)} marked word{'s' * (len(spans) != 1)}, " if words else ""
            )
            below = f"{count}perplexity {perplexity[i]:.1f}"
        cards.append(
            f'<section class="text {arm}"><h4>{name} <small>{means}</small></h4>'
            f'<p class="written"><span class="prompt">{escaped(prompt)}</span>'
            f"{marked(text, spans)}</p>{note(below)}</section>"
        )
    return f'<div class="texts">{"".join(cards)}</div>'


def how_html(snippet: str, command: str) -> str:
    """What reproduces the texts."""
    return (
        f'<h4>Python</h4><pre id="snippet" tabindex="0">{escaped(snippet)}</pre>'
        f'<h4>Command line</h4><pre id="command" tabindex="0">{escaped(command)}</pre>'
    )
