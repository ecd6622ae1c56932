"""Figures of what edits do to what is written."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from expertjax.report import drawing
from expertjax.report.drawing import BLACK, BLUE, GREEN, ORANGE

_COLOURS = (ORANGE, BLUE)
_MARKERS = ("o", "s")


def parity_figure(table: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """Shares of both sides' words over k, below it the perplexity; a column per side.

    Args:
      table: from `generation.sweep.parity`.
      points: from `generation.sweep.parity_points`.
    """
    sides = list(dict.fromkeys(table["forced"]))
    figure = drawing.blank(4.4)
    axes = figure.subplots(2, len(sides), sharex=True, sharey="row", squeeze=False)
    for column, forced in enumerate(sides):
        means = (
            table[table["forced"] == forced]
            .groupby("num_units")
            .mean(numeric_only=True)
        )
        at = np.arange(len(means))
        top, bottom = axes[:, column]
        for name, colour, marker in zip(sides, _COLOURS, _MARKERS, strict=True):
            share = means[f"p_{name}"]
            top.plot(at, share, marker=marker, color=colour, ms=4, label=f"p({name})")
        point = points.loc[points["forced"] == forced, "num_units"].median()
        if np.isfinite(point):
            x = np.interp(point, means.index.to_numpy(float), at)
            label = f"parity, median k {point:.0f}"
            top.axvline(x, color=BLACK, ls=":", lw=1.2, label=label)
        top.set_title(f"forced: {forced}", fontsize=9, loc="left", parse_math=False)
        top.legend(fontsize=7.5, frameon=False)
        bottom.plot(at, means["perplexity"], marker="^", color=GREEN, ms=4)
        bottom.set_yscale("log")
        drawing.plain_numbers(bottom)
        bottom.set_xticks(at, [str(k) for k in means.index], fontsize=8)
        bottom.set_xlabel("units forced, k")
        for ax in (top, bottom):
            drawing.tidy(ax)
    axes[0, 0].set_ylabel("share of texts")
    axes[1, 0].set_ylabel("perplexity")
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
    axes[1].set_yscale("log")
    drawing.plain_numbers(axes[1])
    axes[2].legend(fontsize=7.5, frameon=False)
    axes[2].set_xticks(at, [str(k) for k in scores["num_units"]], fontsize=8)
    axes[2].set_xlabel(
        f"units edited for {concept}, k" if concept else "k", parse_math=False
    )
    return figure
