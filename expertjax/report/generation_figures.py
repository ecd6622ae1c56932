"""Figures of what edits do to what is written."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from expertjax.report import drawing
from expertjax.report.drawing import BLACK, BLUE, GREEN, GREY, ORANGE

_COLOURS = (ORANGE, BLUE)
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": ORANGE, "marker": "o", "ms": 4},
    {"color": BLUE, "marker": "s", "ms": 4},
    {"color": BLACK, "ls": "--", "lw": 1.2},
)


def parity_figure(table: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """Both sides' words, perplexity and Self-BLEU over k; a column for each side.

    Args:
      table: from `generation.sweep.parity`.
      points: from `generation.sweep.parity_points`.
    """
    sides = list(dict.fromkeys(table["forced"]))
    figure = drawing.blank(5.6)
    axes = figure.subplots(3, len(sides), sharex=True, sharey="row", squeeze=False)
    for column, forced in enumerate(sides):
        of_side = table[table["forced"] == forced]
        means = of_side.groupby("num_units").mean(numeric_only=True)
        at = np.arange(len(means))
        top, middle, bottom = axes[:, column]
        lines = [f"p_{name}" for name in sides] + ["difference"]
        names = [f"p({name})" for name in sides] + [f"Δp = {sides[0]} - {sides[1]}"]
        for line, name, style in zip(lines, names, _STYLES, strict=True):
            top.plot(at, means[line], label=name if column == 0 else None, **style)
        top.axhline(0, color=GREY, lw=0.8)
        point = points.loc[points["forced"] == forced, "num_units"].median()
        title = f"forced: {forced}"
        if np.isfinite(point):
            x = np.interp(point, means.index.to_numpy(float), at)
            top.axvline(x, color=BLACK, ls=":", lw=1.2)
            title += f" (parity: median k {point:.0f})"
        top.set_title(title, fontsize=8, loc="left", parse_math=False)
        middle.plot(at, means["perplexity"], marker="^", color=GREEN, ms=4)
        for n, marker in ((3, "D"), (4, "v")):
            label = f"Self-BLEU, {n}-grams" if column == 0 else None
            bleu = means[f"self_bleu_{n}"]
            bottom.plot(at, bleu, marker=marker, color=GREY, ms=4, label=label)
        for ax in (middle, bottom):
            ax.set_ylim(0)
        bottom.set_xlabel("units forced, k")
        for ax in (top, middle, bottom):
            drawing.tidy(ax)
        bottom.set_xticks(at, [str(k) for k in means.index], fontsize=7, rotation=45)
    axes[0, 0].set_ylabel("share of texts")
    axes[1, 0].set_ylabel("perplexity")
    axes[2, 0].set_ylabel("Self-BLEU")
    drawing.figure_legend(figure, columns=3)
    return figure


def sweep_figure(scores: pd.DataFrame, concept: str = "") -> Figure:
    """Share of texts with a word of the concept, perplexity and Self-BLEU over k.

    Args:
      scores: from `generation.sweep.score_texts`, with a column num_units.
      concept: its name.
    """
    figure = drawing.blank(4.6)
    axes = figure.subplots(3, 1, sharex=True)
    at = np.arange(len(scores))
    rows = (
        (["with_word"], "share with a word", _COLOURS[:1]),
        (["perplexity"], "perplexity", (GREEN,)),
        (["self_bleu_3", "self_bleu_4"], "Self-BLEU", (BLUE, BLACK)),
    )
    for ax, (columns, label, colours) in zip(axes, rows, strict=True):
        for name, colour, marker in zip(columns, colours, ("o", "s"), strict=False):
            if name in scores:
                ax.plot(at, scores[name], marker=marker, color=colour, ms=4, label=name)
        ax.set_ylabel(label, fontsize=9)
        drawing.tidy(ax)
    axes[0].set_ylim(0, 1)
    axes[1].set_ylim(0)
    axes[2].legend(fontsize=7.5, frameon=False)
    axes[2].set_xticks(at, [str(k) for k in scores["num_units"]], fontsize=8)
    axes[2].set_xlabel(
        f"units edited for {concept}, k" if concept else "k", parse_math=False
    )
    return figure
