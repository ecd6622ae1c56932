"""Figures of what edits do to what is written."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from expertjax.report import drawing
from expertjax.report.drawing import BLACK, BLUE, GREEN, GREY, ORANGE

_BLEUS = (BLUE, BLACK)
_MARKERS = {"with_word": "o", "perplexity": "^", "self_bleu_3": "D", "self_bleu_4": "v"}
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

    The control, as many units at random, is drawn beside the units that were chosen.

    Args:
      scores: from `generation.sweep.score_arms`; a control follows what it controls.
      concept: its name.
    """
    is_control = (scores["units"] == "control").to_numpy()
    scores = scores.assign(at=np.cumsum(~is_control) - 1)
    chosen = scores[~is_control]
    parts: list[tuple[pd.DataFrame, str, dict[str, Any]]] = [(chosen, "", {})]
    if is_control.any():
        others = scores[is_control | (scores["units"] == "none").to_numpy()]
        faint = {"ls": "--", "alpha": 0.55}
        parts = [(chosen, "chosen", {}), (others, "at random", faint)]
    figure = drawing.blank(5.2)
    axes = figure.subplots(3, 1, sharex=True)
    rows = (
        ({"with_word": ""}, "share with a word", (ORANGE,)),
        ({"perplexity": ""}, "perplexity", (GREEN,)),
        ({"self_bleu_3": "3-grams", "self_bleu_4": "4-grams"}, "Self-BLEU", _BLEUS),
    )
    for ax, (columns, label, colours) in zip(axes, rows, strict=True):
        for (name, grams), colour in zip(columns.items(), colours, strict=True):
            for table, which, style in parts if name in scores else ():
                names = ", ".join(filter(None, (grams, which))) or None
                look = {"color": colour, "marker": _MARKERS[name], "ms": 4} | style
                ax.plot(table["at"], table[name], label=names, **look)
        ax.set_ylabel(label, fontsize=9)
        drawing.tidy(ax)
        if ax.get_legend_handles_labels()[1]:
            beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
            ax.legend(fontsize=7.5, frameon=False, **beside)
    axes[0].set_ylim(0, 1)
    axes[1].set_ylim(0)
    axes[2].set_xticks(chosen["at"], [str(k) for k in chosen["num_units"]], fontsize=8)
    axes[2].set_xlabel(
        f"units edited for {concept}, k" if concept else "k", parse_math=False
    )
    return figure
