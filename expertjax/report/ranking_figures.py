"""Figures of several models: their expert presence, and how it ranks them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from expertjax.analysis.presence import Presence
from expertjax.analysis.ranking import Ranking, r2_by_luck
from expertjax.report import drawing
from expertjax.report.drawing import BLACK, BLUE, GREEN, GREY, ORANGE

_MAX_KEYS = 40
MAX_NAMED = 14  # models; of more, the others are drawn in grey
_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", BLACK)
_LINES, _MARKERS = ("-", "--", ":", "-."), "os^DvP*"
_DISC = {"boxstyle": "circle,pad=0.25", "facecolor": BLUE, "edgecolor": "white"}
_WORDS = {
    "acquired": "acquired concepts",
    "acquired_share": "acquired concepts, share",
    "experts": "experts (pairs)",
    "experts_share": "experts, share of all pairs",
    "units": "distinct expert units",
    "units_share": "expert units, share of all",
}


@dataclasses.dataclass(frozen=True)
class _Style:
    colour: str
    line: str
    marker: str
    label: str


def _styles(models: Sequence[str], value_M: np.ndarray) -> dict[str, _Style]:
    """How each model is drawn: those of highest value named, the others in grey."""
    named = np.argsort(-value_M, kind="stable")[:MAX_NAMED]
    styles = {}
    for i in range(len(models)):
        if i in named:
            colour, line = _COLOURS[i % 7], _LINES[i % 4]  # 28 that differ
            label = drawing.literal(drawing.short(models[i], 24))
            styles[models[i]] = _Style(colour, line, _MARKERS[(i + i // 7) % 7], label)
    rest = [model for model in models if model not in styles]
    for i, model in enumerate(rest):
        label = f"{len(rest)} other models" if i == 0 else "_"
        styles[model] = _Style("#b5bac2", "-", ".", label)
    # Named ones last, so that they are drawn on top; highest first in the legend.
    order = [*(models[i] for i in named), *rest]
    return {model: styles[model] for model in order}


def _legend_rows(figure: Figure, num_models: int) -> None:
    drawing.figure_legend(figure, columns=2 if num_models > 2 else num_models)


def _height(num_models: int, axes: float) -> float:
    return axes + 0.2 * -(-num_models // 2)


def presence_curves(presence: Presence, gamma: float) -> Figure:
    """Acquired concepts (above) and experts per unit and concept (below) over gamma.

    Args:
      presence: counts of the models.
      gamma: the threshold of the comparison, marked by a line.
    """
    at = presence.column(gamma)
    acquired_MxG = presence.counts("acquired")
    share_MxG = presence.counts("experts_share")
    figure = drawing.blank(_height(min(len(presence.models), MAX_NAMED + 1), 4.6))
    top, bottom = figure.subplots(2, 1, sharex=True)
    for model, style in _styles(presence.names, acquired_MxG[:, at]).items():
        row = presence.names.index(model)
        look: dict[str, Any] = {"color": style.colour, "ls": style.line, "lw": 1.7}
        top.plot(presence.gammas, acquired_MxG[row], label=style.label, **look)
        bottom.plot(presence.gammas, share_MxG[row], **look)
    top.set_ylabel("acquired concepts")
    top.set_ylim(0, len(presence.concepts) * 1.05)
    drawing.whole_numbers(top)
    bottom.set_yscale("log")
    bottom.set_ylabel("experts, share of pairs")
    bottom.set_xlabel("expert threshold γ")
    bottom.set_xlim(presence.gammas[0], presence.gammas[-1])
    for ax in (top, bottom):
        drawing.tidy(ax)
        ax.axvline(gamma, color=BLACK, lw=1)
    bottom.annotate(
        f"γ = {gamma:g}", (gamma, 1), (3, -3), fontsize=8.5, va="top",
        xycoords=bottom.get_xaxis_transform(), textcoords="offset points",
    )  # fmt: skip
    _legend_rows(figure, len(presence.models))
    figure.align_ylabels()
    return figure


def experts_by_depth(layers: pd.DataFrame, gamma: float) -> Figure:
    """Experts per thousand units of each layer, over relative depth.

    Args:
      layers: a row per model and layer, by `Presence.layers`.
      gamma: the threshold they were counted at.
    """
    models = list(layers["model"].unique())
    figure = drawing.blank(_height(min(len(models), MAX_NAMED + 1), 2.9))
    ax = figure.subplots()
    drawing.tidy(ax)
    totals = layers.groupby("model", sort=False)["experts"].sum().to_numpy()
    for model, style in _styles(models, totals).items():
        rows = layers[layers["model"] == model]
        density = 1000 * rows["experts"] / rows["num_units"]
        ax.plot(
            rows["depth"], density, color=style.colour, ls=style.line, lw=1.5,
            marker=style.marker, ms=4.5, label=style.label,
        )  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_ylim(0, None)
    ax.set_xlabel("relative depth of the layer")
    ax.set_ylabel(f"experts at γ = {gamma:g}\nper 1000 units")
    _legend_rows(figure, len(models))
    return figure


def r2_over_gamma(ranking: Ranking, benchmark: str) -> Figure:
    """r^2 of each measure over gamma; at gamma* its 95% interval.

    Args:
      ranking: by `ranking.rank`.
      benchmark: name of the scores.
    """
    measures = list(ranking.best["measure"])
    figure = drawing.blank(3.3 + 0.2 * -(-(len(measures) + 1) // 2))
    ax = figure.subplots()
    drawing.tidy(ax)
    gammas = ranking.table["gamma"]
    step = (gammas.max() - gammas.min()) / 90
    for i, best in enumerate(ranking.best.to_dict("records")):
        rows = ranking.table[ranking.table["measure"] == best["measure"]]
        colour, word = _COLOURS[i], _WORDS[best["measure"]]
        look: dict[str, Any] = {"color": colour, "ls": _LINES[i % 4], "lw": 1.7}
        ax.plot(rows["gamma"], rows["r2"], label=word, **look)
        # Beside each other where several measures have one gamma*.
        earlier = ranking.best["gamma"][:i].sub(best["gamma"]).abs().lt(step).sum()
        x = best["gamma"] + earlier * step
        ax.vlines(x, best["r2_low"], best["r2_high"], color=colour, lw=1.3)
        ax.plot(
            x, best["r2"], color=colour, marker=_MARKERS[i], ms=6, ls="", zorder=3,
            markeredgecolor="white",
        )  # fmt: skip
    luck = r2_by_luck(len(ranking.scores))
    label = f"5% by chance, at one γ, {len(ranking.scores)} models"
    ax.axhline(luck, color=GREY, ls=(0, (1, 2)), lw=1.4, label=label)
    ax.set_ylim(0, 1.02)
    ax.set_xlim(gammas.min(), gammas.max())
    ax.set_xlabel("expert threshold γ")
    name = drawing.short(benchmark, 20)
    ax.set_ylabel(f"r² against {drawing.short(name, 24)}", parse_math=False)
    drawing.figure_legend(figure, columns=2)
    return figure


def scores_scatter(
    presence: Presence, ranking: Ranking, measure: str, benchmark: str
) -> Figure:
    """Scores of the models against their counts at gamma*, with the line of fit.

    Models are numbered by score, the highest first; a key below names them.

    Args:
      presence: counts of the models.
      ranking: of them.
      measure: one of `ranking.best`.
      benchmark: name of the scores.
    """
    best = ranking.best.set_index("measure").loc[measure]
    rows = [presence.names.index(name) for name in ranking.scores.index]
    x_M = presence.counts(measure)[rows, presence.column(best["gamma"])]
    y_M = ranking.scores.to_numpy()
    order = np.argsort(-y_M, kind="stable")
    figure, ax = drawing.single(_height(min(len(y_M), _MAX_KEYS), 3.4))
    slope, offset = np.polyfit(x_M, y_M, 1)
    ends = np.array([x_M.min(), x_M.max()])
    ax.plot(ends, slope * ends + offset, color=GREY, lw=1.2, zorder=1)
    ax.plot(x_M, y_M, "o", color=BLUE, ms=10, markeredgecolor="white", zorder=2)
    for place, row in enumerate(order[::-1]):  # the best on top
        number = len(order) - place
        ax.text(
            x_M[row], y_M[row], str(number), color="white", fontsize=6.5,
            ha="center", va="center_baseline", zorder=3 + place, bbox=_DISC,
        )  # fmt: skip
    ax.margins(0.08)
    if "share" not in measure:
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlabel(f"{_WORDS[measure]} at γ* = {best['gamma']:g}")
    ax.set_ylabel(drawing.short(benchmark), parse_math=False)
    title = (
        f"r² = {best['r2']:.2f}, Spearman {best['spearman']:+.2f}, p = {best['p']:.2g}"
    )
    ax.set_title(title, fontsize=9, loc="left")
    names = [ranking.scores.index[row] for row in order[:_MAX_KEYS]]
    _number_key(figure, names, len(order) - len(names))
    return figure


def _number_key(figure: Figure, names: Sequence[str], num_more: int) -> None:
    """What the numbers stand for, below the axes."""
    labels = [
        f"{number}  {drawing.literal(drawing.short(name, 24))}"
        for number, name in enumerate(names, start=1)
    ]
    labels += [f"and {num_more} more"] if num_more else []
    handles = [Line2D([], [], ls="") for _ in labels]
    figure.legend(
        handles, labels, loc="outside lower left", ncols=2, fontsize=8, frameon=False,
        handlelength=0, handletextpad=0,
    )  # fmt: skip
